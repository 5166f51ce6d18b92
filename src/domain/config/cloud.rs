//! Keys that only a provider of rented machines has a use for.

use super::reader::{Reader, as_config, choice, get, wrong};
use super::schema::at_key;
use super::tree::{Data, Entry, Node};
use super::{Config, HostKeys, ProviderKind};
use crate::base::error::{Error, Result};
use crate::base::units;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// Keys at the top of a config.
pub const TOP: [&str; 15] = [
    "fallback_zones",
    "endpoint_url",
    "vpc",
    "subnet",
    "allow_from",
    "addresses",
    "bastion",
    "proxy_command",
    "settle_time",
    "launch_timeout",
    "contact_timeout",
    "spot_timeout",
    "user_data_change",
    "expires_action",
    "prices",
];

/// Keys of a group.
pub const GROUP: [&str; 12] = [
    "instance_type",
    "ami",
    "state",
    "spot",
    "volume_type",
    "volume_size",
    "volumes",
    "user_data",
    "ports",
    "web_ports",
    "instance_profile",
    "stateful",
];

/// Which of a machine's addresses is connected to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addresses {
    Public,
    Private,
}

/// What changed user data means for machines that have the old.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserDataChange {
    Replace,
    Store,
}

/// What happens by itself when a deployment expires; without it, nothing does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiresAction {
    /// The machines end themselves.
    Terminate,
}

/// The keys at the top.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cloud {
    /// Tried in this order when `availability_zone` has no room.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallback_zones: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// A VPC that is there already: used, never deleted. So with the subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Networks that may reach port 22 and the web ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
    /// `user@host:port` to go through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bastion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_command: Option<String>,
    /// How long the cloud may take until what was made is seen by every reader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spot_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data_change: Option<UserDataChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_action: Option<ExpiresAction>,
    /// What machines cost by the hour: the user's own figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<PathBuf>,
}

/// Reads the keys at the top.
pub fn read(reader: &mut Reader, top: &[Entry]) -> Result<Cloud> {
    let text = |reader: &mut Reader, key| reader.optional(top, key, Reader::text);
    let time = |reader: &mut Reader, key| {
        reader.optional(top, key, |reader, entry, name| {
            let text = reader.text(entry, name)?;
            units::parse_duration(&text).map_err(|bad| as_config(&bad, entry, name))?;
            Ok(text)
        })
    };
    Ok(Cloud {
        fallback_zones: reader.optional(top, "fallback_zones", |_, e, name| texts(e, name))?.unwrap_or_default(),
        endpoint_url: reader.optional(top, "endpoint_url", url)?,
        vpc: text(reader, "vpc")?,
        subnet: text(reader, "subnet")?,
        allow_from: reader.optional(top, "allow_from", |_, e, name| networks(e, name))?.unwrap_or_default(),
        addresses: reader.optional(top, "addresses", |_, e, name| {
            choice(e, name, &[("public", Addresses::Public), ("private", Addresses::Private)])
        })?,
        bastion: text(reader, "bastion")?,
        proxy_command: text(reader, "proxy_command")?,
        settle_time: time(reader, "settle_time")?,
        launch_timeout: time(reader, "launch_timeout")?,
        contact_timeout: time(reader, "contact_timeout")?,
        spot_timeout: time(reader, "spot_timeout")?,
        user_data_change: reader.optional(top, "user_data_change", |_, e, name| {
            choice(e, name, &[("replace", UserDataChange::Replace), ("store", UserDataChange::Store)])
        })?,
        expires_action: reader
            .optional(top, "expires_action", |_, e, name| choice(e, name, &[("terminate", ExpiresAction::Terminate)]))?,
        prices: reader.optional(top, "prices", Reader::path)?,
    })
}

/// Reads one key of a group.
pub fn option(reader: &Reader, entry: &Entry, name: &str) -> Result<Value> {
    Ok(match entry.key.as_str() {
        "state" => choice(entry, name, &[("running", "running"), ("stopped", "stopped")])?.into(),
        "spot" | "stateful" => match entry.value.data {
            Data::Bool(word) => word.into(),
            _ => return Err(wrong(entry, name, "must be true or false")),
        },
        "instance_type" => match &entry.value.data {
            Data::List(_) => texts(entry, name)?.into(),
            _ => reader.text(entry, name)?.into(),
        },
        "volume_size" => gibibytes(&entry.value, entry, name)?.into(),
        "ami" => image(reader, entry, name)?,
        "volumes" => volumes(entry, name)?,
        "ports" | "web_ports" => ports(entry, name)?,
        "user_data" => reader.path(entry, name)?.to_string_lossy().into_owned().into(),
        _ => reader.text(entry, name)?.into(),
    })
}

/// What only makes sense together.
pub fn check(config: &Config) -> Result<()> {
    let learned = matches!(config.host_keys, Some(HostKeys::Bootstrap | HostKeys::Console));
    if config.provider != ProviderKind::Aws {
        if learned {
            let error =
                Error::config(format!("`host_keys: {}` is for provider aws", config.host_keys.map_or("", HostKeys::word)));
            return Err(at_key(config, error, "host_keys").hint("Elsewhere it is strict or pin."));
        }
        return Ok(());
    }
    if learned && config.known_hosts.is_some() {
        let error =
            Error::config("`known_hosts` and `host_keys` say different things: only the keys in that file, or others as well");
        return Err(at_key(config, error, "host_keys").hint("Keep one of the two."));
    }
    let cloud = &config.cloud;
    if cloud.subnet.is_some() && cloud.vpc.is_none() {
        let error = Error::config("`subnet` is given without `vpc`");
        return Err(at_key(config, error, "subnet").hint("Name the VPC it belongs to as well: `vpc: vpc-…`."));
    }
    if cloud.expires_action.is_some() && config.expires.is_none() {
        let error = Error::config("`expires_action` is given without `expires`");
        return Err(at_key(config, error, "expires_action").hint("Say when as well: `expires: 12h`."));
    }
    if cloud.bastion.is_some() && cloud.proxy_command.is_some() {
        let error = Error::config("`bastion` and `proxy_command` are both given");
        return Err(at_key(config, error, "proxy_command").hint("Keep one: either is a way to the nodes."));
    }
    for (one, other) in [("access_key", "secret_key"), ("secret_key", "access_key")] {
        if config.places.contains_key(one) && !config.places.contains_key(other) {
            let error = Error::config(format!("`{one}` is given without `{other}`"));
            return Err(at_key(config, error, one)
                .hint("Give both, or neither: then the credentials that every AWS tool uses are taken."));
        }
    }
    for group in &config.groups {
        let is = |key: &str, value: Value| group.options.get(key) == Some(&value);
        if is("spot", true.into()) && is("state", "stopped".into()) {
            let error = Error::config(format!("group `{}`: a one-time spot instance cannot be stopped", group.name));
            let error = at_key(config, error, &format!("groups.{}.state", group.name));
            return Err(error.hint("Take `spot: true` away, or set the group's count to 0."));
        }
    }
    for group in config.groups.iter().filter(|g| g.count > 0) {
        for needed in ["instance_type", "ami"] {
            if !group.options.contains_key(needed) {
                let error = Error::config(format!("group `{}` has no `{needed}`, which provider aws needs", group.name));
                let error = at_key(config, error, &format!("groups.{}.count", group.name));
                return Err(error.hint(format!("Write `{}_{needed}: …`.", group.name)));
            }
        }
    }
    Ok(())
}

fn texts(entry: &Entry, name: &str) -> Result<Vec<String>> {
    let expected = "must be a list of words";
    let one = |node: &Node| match &node.data {
        Data::Text(text) if !text.trim().is_empty() => Ok(text.clone()),
        _ => Err(wrong(entry, name, expected)),
    };
    match &entry.value.data {
        Data::List(items) if !items.is_empty() => items.iter().map(one).collect(),
        _ => Err(wrong(entry, name, expected)),
    }
}

fn url(reader: &Reader, entry: &Entry, name: &str) -> Result<String> {
    let text = reader.text(entry, name)?;
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(text);
    }
    Err(wrong(entry, name, "must be an address like \"http://127.0.0.1:5000\""))
}

/// `203.0.113.7` or `203.0.113.0/24`, one or a list.
fn networks(entry: &Entry, name: &str) -> Result<Vec<String>> {
    let expected = "must be a network like 203.0.113.0/24, or a list of such";
    let one = |node: &Node| {
        let Data::Text(text) = &node.data else { return Err(wrong(entry, name, expected)) };
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        let address: std::net::Ipv4Addr = address.parse().map_err(|_| wrong(entry, name, expected))?;
        let bits: u32 = bits.parse().ok().filter(|b| *b <= 32).ok_or_else(|| wrong(entry, name, expected))?;
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        let network = std::net::Ipv4Addr::from(u32::from(address) & mask);
        if network != address {
            return Err(wrong(entry, name, expected).hint(format!("The network that holds {text} is {network}/{bits}.")));
        }
        Ok(format!("{address}/{bits}"))
    };
    match &entry.value.data {
        Data::List(items) if !items.is_empty() => items.iter().map(one).collect(),
        _ => Ok(vec![one(&entry.value)?]),
    }
}

/// `ami-…`, `resolve:ssm:/parameter`, or `{ name: PATTERN, owner: ACCOUNT }`
pub fn image(reader: &Reader, entry: &Entry, name: &str) -> Result<Value> {
    let expected = "must be an image's ID, `resolve:ssm:PARAMETER`, or { name: PATTERN, owner: ACCOUNT }";
    let Data::Map(keys) = &entry.value.data else {
        let word = reader.text(entry, name)?;
        return if word.starts_with("ami-") || word.starts_with("resolve:ssm:/") {
            Ok(word.into())
        } else {
            Err(wrong(entry, name, expected).hint("IDs begin with ami-, and names of parameters with /."))
        };
    };
    if let Some(other) = keys.iter().find(|e| !["name", "owner"].contains(&e.key.as_str())) {
        return Err(Error::config(format!("unknown key `{name}.{}`", other.key))
            .at(other.place.location())
            .hint(format!("`{name}` {expected}.")));
    }
    let pattern = get(keys, "name").ok_or_else(|| wrong(entry, name, expected))?;
    let Some(owner) = get(keys, "owner") else {
        return Err(Error::config(format!("`{name}` has a name, but no `owner`"))
            .at(entry.value.place.location())
            .hint("Anybody can publish an image of any name. Say whose it must be: an account's number, or self, or amazon."));
    };
    // The number of an account as it is written: one that begins with 0 is none to YAML.
    let owner = match &owner.value.data {
        Data::Int(_) | Data::Float(_) if owner.value.raw.bytes().all(|b| b.is_ascii_digit()) => owner.value.raw.clone(),
        _ => reader.text(owner, &format!("{name}.owner"))?,
    };
    Ok(serde_json::json!({ "name": reader.text(pattern, &format!("{name}.name"))?, "owner": owner }))
}

fn ports(entry: &Entry, name: &str) -> Result<Value> {
    let expected = "must be a list of ports, like [80, 9042]";
    let Data::List(items) = &entry.value.data else { return Err(wrong(entry, name, expected)) };
    let one = |node: &Node| match node.data {
        Data::Int(port @ 1..=65535) => Ok(Value::from(port)),
        _ => Err(wrong(entry, name, expected)),
    };
    items.iter().map(one).collect::<Result<Vec<Value>>>().map(Value::from)
}

fn gibibytes(node: &Node, entry: &Entry, name: &str) -> Result<i64> {
    match node.data {
        Data::Int(size @ 1..=65_536) => Ok(size),
        _ => Err(wrong(entry, name, "must be a size in GiB, 1 to 65536")),
    }
}

/// `[{ device: /dev/sdf, size: 100, type: gp3 }]`
fn volumes(entry: &Entry, name: &str) -> Result<Value> {
    let expected = "must be a list like [{ device: /dev/sdf, size: 100, type: gp3 }]";
    let Data::List(items) = &entry.value.data else { return Err(wrong(entry, name, expected)) };
    let one = |node: &Node| {
        let map = node.map().ok_or_else(|| wrong(entry, name, expected))?;
        if map.iter().any(|e| !["device", "size", "type"].contains(&e.key.as_str())) {
            return Err(wrong(entry, name, expected));
        }
        let text = |key: &str| get(map, key).map(|e| e.value.to_json()).filter(Value::is_string);
        let size = get(map, "size").ok_or_else(|| wrong(entry, name, expected))?;
        let device = text("device").ok_or_else(|| wrong(entry, name, expected))?;
        let kind = text("type").unwrap_or_else(|| "gp3".into());
        Ok(serde_json::json!({ "device": device, "size": gibibytes(&size.value, entry, name)?, "type": kind }))
    };
    items.iter().map(one).collect::<Result<Vec<Value>>>().map(Value::from)
}
