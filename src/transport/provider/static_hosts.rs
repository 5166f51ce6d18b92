//! Hosts that exist already: named by address, or looked up in an ssh_config. Nothing is made and nothing unmade.
//!
//! No host is ever contacted here; whether one answers is the SSH client's to find out.

use super::{NodeFound, NodeSpec, NodeStatus, Provider, Site};
use crate::base::endpoint::{Endpoint, HostKeyPolicy};
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::Cx;
use async_trait::async_trait;
use serde_json::Value;
use ssh2_config::{HostParams, ParseRule, SshConfig};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A jump through a jump through a jump …: a loop.
const MAX_JUMPS: usize = 8;

/// The provider `static`.
#[derive(Debug, Default)]
pub struct StaticHosts;

impl StaticHosts {
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Provider for StaticHosts {
    fn name(&self) -> &'static str {
        "static"
    }

    async fn list(&self, site: &Site, _: &Cx) -> Result<Vec<NodeFound>> {
        let mut known = read(site)?;
        let mut book = Book::default();
        for node in &mut known {
            // The ssh_config may say something new. If it is gone, what it said when the node was taken in still holds.
            if let Ok(endpoint) = book.endpoint(site, &node.spec) {
                node.endpoint = endpoint;
            }
        }
        Ok(known)
    }

    async fn create(&self, site: &Site, specs: &[NodeSpec], _: &Cx) -> Result<Vec<NodeFound>> {
        let mut known = read(site)?;
        let mut book = Book::default();
        let mut made = Vec::new();
        for spec in specs {
            let endpoint = book.endpoint(site, spec).map_err(|e| e.on_node(&spec.name))?;
            made.push(NodeFound { spec: spec.clone(), status: NodeStatus::Running, endpoint, host_keys: Vec::new() });
        }
        known.retain(|old| made.iter().all(|new| new.spec.name != old.spec.name));
        known.extend(made.iter().cloned());
        write(site, &known)?;
        Ok(made)
    }

    async fn destroy(&self, site: &Site, names: &[String], _: &Cx) -> Result<()> {
        let mut known = read(site)?;
        known.retain(|node| !names.contains(&node.spec.name));
        write(site, &known)
    }

    async fn destroy_all(&self, site: &Site, _: &Cx) -> Result<()> {
        let dir = folder(site);
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", &dir, &e)),
            _ => Ok(()),
        }
    }
}

fn folder(site: &Site) -> PathBuf {
    site.dir.join("static")
}

fn read(site: &Site) -> Result<Vec<NodeFound>> {
    let path = folder(site).join("hosts.json");
    match std::fs::read(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => serde_json::from_slice(&other.at("read", &path)?)
            .map_err(|e| Error::new(Kind::Io, format!("cannot understand {}: {e}", path.display()))),
    }
}

fn write(site: &Site, nodes: &[NodeFound]) -> Result<()> {
    let dir = folder(site);
    let (path, temp) = (dir.join("hosts.json"), dir.join("hosts.json.new"));
    let text = serde_json::to_vec_pretty(nodes).map_err(|e| Error::internal(format!("hosts cannot be written as JSON: {e}")))?;
    std::fs::create_dir_all(&dir).at("create", &dir)?;
    std::fs::write(&temp, text).at("write", &path)?;
    std::fs::File::open(&temp).and_then(|f| f.sync_all()).at("write", &path)?;
    std::fs::rename(&temp, &path).at("write", &path)
}

/// What the user wrote for a host.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Host {
    user: Option<String>,
    name: String,
    port: Option<u16>,
}

impl Host {
    /// Reads `[USER@]HOST[:PORT]`; an IPv6 address with a port is in brackets.
    fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::config(format!("\"{text}\" is not a host: {why}"))
                .hint("Hosts look like \"root@10.0.0.5:2222\", or are names in ssh_config.")
        };
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let (name, port) = if let Some(inner) = rest.strip_prefix('[') {
            let (name, after) = inner.split_once(']').ok_or_else(|| bad("the bracket is not closed"))?;
            match after.strip_prefix(':') {
                Some(port) => (name, Some(port)),
                None if after.is_empty() => (name, None),
                None => return Err(bad("after the bracket comes only `:PORT`")),
            }
        } else {
            match rest.split_once(':') {
                Some((name, port)) if !port.contains(':') => (name, Some(port)),
                _ => (rest, None),
            }
        };
        if name.is_empty() || name.starts_with('-') || user.as_ref().is_some_and(|u| u.is_empty() || u.starts_with('-')) {
            return Err(bad("a part of it is missing"));
        }
        let port =
            port.map(|p| p.parse().ok().filter(|p| *p > 0).ok_or_else(|| bad("the port must be 1 to 65535"))).transpose()?;
        Ok(Self { user, name: name.to_owned(), port })
    }
}

/// The ssh_config that hosts are looked up in, read once.
#[derive(Default)]
struct Book {
    read: Option<(PathBuf, SshConfig)>,
}

impl Book {
    fn endpoint(&mut self, site: &Site, spec: &NodeSpec) -> Result<Endpoint> {
        let option = |key: &str| spec.options.get(key).and_then(Value::as_str);
        let text = option("host").ok_or_else(|| Error::config(format!("node {} has no host", spec.name)))?;
        let mut host = Host::parse(text)?;
        if host.user.is_none() {
            host.user = option("user").map(str::to_owned);
        }
        let config = option("ssh_config").map(|path| self.open(Path::new(path))).transpose()?;
        let mut endpoint = resolve(site, config, &host, 0)?;
        endpoint.name.clone_from(&spec.name);
        Ok(endpoint)
    }

    fn open(&mut self, path: &Path) -> Result<&SshConfig> {
        let config = match self.read.take() {
            Some((known, config)) if known == path => config,
            _ => parse(path)?,
        };
        Ok(&self.read.insert((path.to_owned(), config)).1)
    }
}

fn parse(path: &Path) -> Result<SshConfig> {
    let text = std::fs::read(path).at("read", path)?;
    let config = SshConfig::default()
        .parse(&mut text.as_slice(), ParseRule::ALLOW_UNKNOWN_FIELDS | ParseRule::ALLOW_UNSUPPORTED_FIELDS)
        .map_err(|e| Error::config(format!("cannot understand {}: {e}", path.display())))?;
    // Taken for an unknown option of the host before it, a Match block would give that host what is meant for others.
    if config.get_hosts().iter().any(|h| h.params.ignored_fields.keys().any(|k| k.eq_ignore_ascii_case("match"))) {
        return Err(Error::config(format!("{} has a Match block, which opsrun does not understand", path.display()))
            .hint("Point `ssh_config` to a file with Host blocks only."));
    }
    Ok(config)
}

fn resolve(site: &Site, config: Option<&SshConfig>, host: &Host, depth: usize) -> Result<Endpoint> {
    if depth > MAX_JUMPS {
        return Err(Error::config(format!("the way to {} has more than {MAX_JUMPS} jumps", host.name))
            .hint("Look at its ProxyJump lines: do they form a circle?"));
    }
    let said = config.map(|c| c.query(&host.name));
    let said = said.as_ref();
    let address = said.and_then(|s| s.host_name.clone()).map_or_else(|| host.name.clone(), |h| h.replace("%h", &host.name));
    let user = host.user.clone().or_else(|| said.and_then(|s| s.user.clone())).map_or_else(this_user, Ok)?;
    let port = host.port.or(said.and_then(|s| s.port)).unwrap_or(22);
    let mut endpoint = Endpoint::new(&host.name, address, port, user);
    endpoint.agent = true;
    endpoint.keys = said.and_then(|s| s.identity_file.clone()).unwrap_or_else(default_keys);
    endpoint.host_keys = HostKeyPolicy::Pin;
    endpoint.known_hosts = vec![site.dir.join("known_hosts")];
    endpoint.known_hosts.extend(users_known_hosts());
    let Some(said) = said else { return Ok(endpoint) };
    if let Some(timeout) = said.connect_timeout {
        endpoint.connect_timeout = timeout;
    }
    if let Some(files) = other(said, "userknownhostsfile") {
        let home = home();
        let expand = |f: String| match (f.strip_prefix("~/"), &home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(f),
        };
        let given = files.into_iter().filter(|f| f != "none" && f != "/dev/null").map(expand);
        endpoint.known_hosts = std::iter::once(site.dir.join("known_hosts")).chain(given).collect();
    }
    if other(said, "stricthostkeychecking").is_some_and(|w| w.first().is_some_and(|w| w == "yes")) {
        endpoint.host_keys = HostKeyPolicy::Strict;
    }
    let jumps = said.proxy_jump.iter().flatten().filter(|j| *j != "none");
    for jump in jumps {
        let before = endpoint.jump.take();
        let mut next = resolve(site, config, &Host::parse(jump)?, depth + 1)?;
        if before.is_some() {
            next.jump = before;
        }
        endpoint.jump = Some(Box::new(next));
    }
    if endpoint.jump.is_none()
        && let Some(words) = other(said, "proxycommand").filter(|w| w.first().is_none_or(|w| w != "none"))
    {
        endpoint.proxy_command = Some(words.join(" "));
    }
    Ok(endpoint)
}

/// A line of ssh_config that its parser only passes through.
fn other(said: &HostParams, key: &str) -> Option<Vec<String>> {
    let fields = said.unsupported_fields.iter().chain(&said.ignored_fields);
    fields.into_iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, words)| words.clone())
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|h| !h.is_empty()).map(PathBuf::from)
}

/// The keys that ssh itself would try.
fn default_keys() -> Vec<PathBuf> {
    let Some(home) = home() else { return Vec::new() };
    ["id_ed25519", "id_ecdsa", "id_rsa"].iter().map(|name| home.join(".ssh").join(name)).filter(|p| p.is_file()).collect()
}

fn users_known_hosts() -> impl Iterator<Item = PathBuf> {
    let own = home().map(|h| h.join(".ssh/known_hosts"));
    own.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).filter(|p| p.is_file())
}

fn this_user() -> Result<String> {
    match nix::unistd::User::from_uid(nix::unistd::getuid()) {
        Ok(Some(user)) => Ok(user.name),
        _ => Err(Error::config("no user to log in as: none is given, and this process's own has no name")
            .hint("Write the hosts as \"user@host\".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(dir: &Path) -> Site {
        let key = dir.join("keys/id");
        Site { deployment: "lab".into(), uuid: uuid::Uuid::nil(), dir: dir.into(), private_key: key.clone(), public_key: key }
    }

    fn spec(index: usize, options: &Value) -> NodeSpec {
        let options = options.as_object().cloned().unwrap_or_default();
        NodeSpec { name: format!("server-{index}"), group: "server".into(), index, options }
    }

    #[test]
    fn hosts_are_read_in_every_form() {
        let host = |text: &str| Host::parse(text).map(|h| (h.user.unwrap_or_default(), h.name, h.port.unwrap_or_default()));
        let is =
            |text: &str, user: &str, name: &str, port: u16| assert_eq!(host(text).unwrap(), (user.into(), name.into(), port));
        is("bench-3", "", "bench-3", 0);
        is("root@10.0.0.5:2222", "root", "10.0.0.5", 2222);
        is("me@corp@host", "me@corp", "host", 0);
        is("fe80::1", "", "fe80::1", 0);
        is("root@[fe80::1]:22", "root", "fe80::1", 22);
        for bad in ["", "@h", "u@", "h:", "h:0", "h:99999", "[::1", "[::1]x", "-oProxyCommand=x", ":22"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn names_come_from_ssh_config_and_the_host_line_wins() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("ssh_config");
        std::fs::write(
            &config,
            "Host bench-*\n  User bench\n  Port 2200\n  IdentityFile /keys/bench\n  ProxyJump gate\nHost bench-3\n  HostName 10.0.0.3\nHost gate\n  HostName 192.0.2.1\n  User jumper\n  UserKnownHostsFile /known/gate\n",
        )
        .unwrap();
        let site = site(dir.path());
        let options = |host: &str| serde_json::json!({ "host": host, "ssh_config": config.to_str().unwrap() });
        let specs = [spec(0, &options("bench-3")), spec(1, &options("root@bench-4:22"))];
        let made = StaticHosts.create(&site, &specs, &Cx::quiet()).await.unwrap();
        assert_eq!(made[0].endpoint.address(), "bench@10.0.0.3:2200");
        assert_eq!(made[0].endpoint.name, "server-0");
        assert_eq!(made[0].endpoint.keys, [Path::new("/keys/bench")]);
        let jump = made[0].endpoint.jump.as_ref().unwrap();
        assert_eq!(
            (jump.address(), jump.known_hosts.last().unwrap().as_path()),
            ("jumper@192.0.2.1:22".into(), Path::new("/known/gate"))
        );
        assert_eq!(made[1].endpoint.address(), "root@bench-4:22");
        assert_eq!(StaticHosts.list(&site, &Cx::quiet()).await.unwrap(), made);
        std::fs::remove_file(&config).unwrap();
        assert_eq!(StaticHosts.list(&site, &Cx::quiet()).await.unwrap(), made, "the last known way still holds");
        StaticHosts.destroy(&site, &["server-0".to_owned()], &Cx::quiet()).await.unwrap();
        assert_eq!(StaticHosts.list(&site, &Cx::quiet()).await.unwrap().len(), 1);
        StaticHosts.destroy_all(&site, &Cx::quiet()).await.unwrap();
        assert!(!dir.path().join("static").exists());
    }

    #[tokio::test]
    async fn what_would_mislead_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("ssh_config");
        let try_with = async |text: &str| {
            std::fs::write(&config, text).unwrap();
            let options = serde_json::json!({ "host": "a", "ssh_config": config.to_str().unwrap() });
            StaticHosts.create(&site(dir.path()), &[spec(0, &options)], &Cx::quiet()).await.unwrap_err().message().to_owned()
        };
        assert!(try_with("Host a\n User x\nMatch user y\n Port 3\n").await.contains("Match block"));
        assert!(try_with("Host a\n ProxyJump a\n").await.contains("more than 8 jumps"));
    }

    proptest::proptest! {
        #[test]
        fn no_host_panics(text in "[a-z0-9@:.\\[\\]%-]{0,16}|\\PC{0,12}") {
            let _ = Host::parse(&text);
        }
    }
}
