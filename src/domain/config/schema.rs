//! What may be written in a config, and what it means.

use super::cloud;
use super::merge::FLAT;
use super::reader::{Reader, as_config, choice, free_map, get, wrong};
use super::tree::{Data, Entry, Node};
use super::{Config, Group, HostKeys, ProviderKind};
use crate::base::error::{Error, Result};
use crate::base::{suggest, units};
use std::collections::BTreeMap;
use std::path::Path;

/// Keys at the top, beside those of `cloud`.
const TOP: [&str; 16] = [
    "provider",
    "owner",
    "access_key",
    "secret_key",
    "region",
    "availability_zone",
    "private_key_path",
    "public_key_path",
    "known_hosts",
    "ssh_config",
    "host_keys",
    "keep",
    "expires",
    "groups",
    "vars",
    "secrets",
];
/// Keys that only make sense where machines are rented: they tell the provider when nothing else does.
pub const CLOUD: [&str; 4] = ["access_key", "secret_key", "region", "availability_zone"];

/// Reads the merged tree.
pub fn read(tree: &Node, home: Option<&Path>) -> Result<Config> {
    let top = tree.map().unwrap_or_default();
    let mut reader = Reader::new(home);
    // First of all, so that no later message shows a secret.
    let secrets = reader.secrets(top)?;
    check_top_keys(top)?;
    let groups = reader.groups(top)?;
    if let Some(entry) = get(top, "provider") {
        reader.remember("provider".to_owned(), entry);
    }
    let provider = provider(top, &groups)?;
    let text = |reader: &mut Reader, key| reader.optional(top, key, Reader::text);
    let path = |reader: &mut Reader, key| reader.optional(top, key, Reader::path);
    let mut config = Config {
        provider,
        owner: text(&mut reader, "owner")?,
        region: text(&mut reader, "region")?,
        availability_zone: text(&mut reader, "availability_zone")?,
        cloud: cloud::read(&mut reader, top)?,
        private_key_path: path(&mut reader, "private_key_path")?,
        public_key_path: path(&mut reader, "public_key_path")?,
        known_hosts: path(&mut reader, "known_hosts")?,
        ssh_config: path(&mut reader, "ssh_config")?,
        host_keys: reader.optional(top, "host_keys", |_, e, name| {
            let known = [HostKeys::Strict, HostKeys::Pin, HostKeys::Bootstrap, HostKeys::Console];
            choice(e, name, &known.map(|k| (k.word(), k)))
        })?,
        keep: reader.optional(top, "keep", |_, e, name| match e.value.data {
            Data::List(_) | Data::Map(_) => Err(wrong(e, name, "must be true, false or a word")),
            _ => Ok(e.value.to_json()),
        })?,
        expires: reader.optional(top, "expires", |reader, e, name| {
            let text = reader.text(e, name)?;
            units::parse_duration(&text).map_err(|bad| as_config(&bad, e, name))?;
            Ok(text)
        })?,
        stack: None,
        groups,
        vars: reader.optional(top, "vars", |_, e, name| free_map(e, name))?.unwrap_or_default(),
        secrets,
        places: BTreeMap::new(),
    };
    for var in get(top, "vars").and_then(|e| e.value.map()).unwrap_or_default() {
        reader.remember(format!("vars.{}", var.key), var);
    }
    config.places = reader.into_places();
    check_hosts(&config)?;
    check_keys(&config)?;
    cloud::check(&config)?;
    Ok(config)
}

fn check_keys(config: &Config) -> Result<()> {
    if config.public_key_path.is_some() && config.private_key_path.is_none() {
        let error = Error::config("`public_key_path` is given without `private_key_path`");
        return Err(at_key(config, error, "public_key_path")
            .hint("Give both, or neither: without them the deployment gets a key pair of its own."));
    }
    Ok(())
}

/// `hosts` and the provider must fit each other.
fn check_hosts(config: &Config) -> Result<()> {
    for group in &config.groups {
        let (name, key) = (&group.name, format!("groups.{}.hosts", group.name));
        match config.provider {
            ProviderKind::Static if group.hosts.is_empty() && group.count > 0 => {
                let key = format!("groups.{name}.count");
                let error =
                    Error::config(format!("group `{name}` has no `hosts`, which `provider: static` takes its nodes from"));
                return Err(at_key(config, error, &key)
                    .hint(format!("Write `groups: {{ {name}: {{ hosts: [\"user@address:port\", …] }} }}`.")));
            }
            ProviderKind::Local | ProviderKind::Machine | ProviderKind::Aws if !group.hosts.is_empty() => {
                let provider = config.provider.name();
                let error = Error::config(format!("group `{name}` has `hosts`, but the provider is `{provider}`"));
                return Err(at_key(config, error, &key)
                    .hint("Use `provider: static` to work on these hosts, or `count` for nodes that are made."));
            }
            _ => {}
        }
        if let Some(twice) = group.hosts.iter().enumerate().find_map(|(i, h)| group.hosts[..i].contains(h).then_some(h)) {
            let error = Error::config(format!("group `{name}` lists the host \"{twice}\" twice"));
            return Err(at_key(config, error, &key).hint("Two nodes on one host would get into each other's way."));
        }
    }
    Ok(())
}

pub fn at_key(config: &Config, error: Error, key: &str) -> Error {
    match config.place(key) {
        Some(place) => error.at(place),
        None => error,
    }
}

fn check_top_keys(top: &[Entry]) -> Result<()> {
    let known = || TOP.into_iter().chain(cloud::TOP);
    let Some(unknown) = top.iter().find(|e| !known().any(|key| key == e.key)) else { return Ok(()) };
    let groups = get(top, "groups").and_then(|g| g.value.map()).unwrap_or_default();
    let names = groups.iter().map(|g| g.key.as_str()).chain(["server", "client", "monitor"]);
    let flat: Vec<String> = names.flat_map(|g| FLAT.iter().map(move |s| format!("{g}_{s}"))).collect();
    let error = Error::config(format!("unknown key `{}`", unknown.key)).at(unknown.place.location());
    let known = known().chain(flat.iter().map(String::as_str));
    Err(match suggest::nearest(&unknown.key, known) {
        Some(near) => error.hint(format!("Did you mean `{near}`?")),
        None => error.hint("Settings of your own, for scripts to read, go under `vars:`."),
    })
}

/// Which provider: as written, or told by what only it needs.
fn provider(top: &[Entry], groups: &[Group]) -> Result<ProviderKind> {
    if let Some(entry) = get(top, "provider") {
        let known = [
            ("local", ProviderKind::Local),
            ("machine", ProviderKind::Machine),
            ("static", ProviderKind::Static),
            ("aws", ProviderKind::Aws),
        ];
        return choice(entry, "provider", &known);
    }
    if groups.iter().any(|g| !g.hosts.is_empty()) {
        return Ok(ProviderKind::Static);
    }
    let rented = get(top, "groups").and_then(|g| g.value.map()).unwrap_or_default().iter();
    let rented = rented.flat_map(|g| g.value.map().unwrap_or_default()).filter(|e| e.key == "instance_type" || e.key == "ami");
    if CLOUD.iter().any(|key| get(top, key).is_some()) || rented.into_iter().next().is_some() {
        return Ok(ProviderKind::Aws);
    }
    Err(Error::config("no `provider` is given").hint(
        "Add `provider: local` for nodes on this machine, or `provider: static` and `hosts` for machines you have. Config files can be given together: configs/local.yml has one.",
    ))
}
