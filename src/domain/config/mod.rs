//! What a deployment should be: several YAML files merged into one `Config`.
//!
//! `merge` joins the files, `schema` checks and types what they say, `files` looks at the files they name.

pub mod cloud;
pub mod files;
mod merge;
pub mod prices;
pub mod reader;
mod schema;
#[cfg(test)]
mod tests;
pub mod tree;

pub use merge::FLAT;
pub use tree::{Place, Source};

use crate::base::endpoint::{Endpoint, HostKeyPolicy};
use crate::base::error::{IoResultExt, Location, Result};
use crate::base::secret::Secret;
use crate::domain::node::{Node, NodeSet};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where nodes come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    Local,
    Machine,
    Static,
    Aws,
}

impl ProviderKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Machine => "machine",
            Self::Static => "static",
            Self::Aws => "aws",
        }
    }

    /// Whether this option of a group means anything to it.
    pub fn uses(self, option: &str) -> bool {
        match self {
            Self::Machine => ["image", "cpus", "memory"].contains(&option),
            Self::Aws => cloud::GROUP.contains(&option),
            Self::Local | Self::Static => false,
        }
    }
}

/// How host keys become known that are not known yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKeys {
    /// Not at all.
    Strict,
    /// As they are shown at first sight.
    Pin,
    /// Machines are given one, over which their own are asked for.
    Bootstrap,
    /// From their consoles.
    Console,
}

impl HostKeys {
    pub fn word(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Pin => "pin",
            Self::Bootstrap => "bootstrap",
            Self::Console => "console",
        }
    }

    /// What it means for a connection; none: what is fit for the node.
    pub fn policy(self) -> Option<HostKeyPolicy> {
        match self {
            Self::Strict => Some(HostKeyPolicy::Strict),
            Self::Pin => Some(HostKeyPolicy::Pin),
            Self::Bootstrap | Self::Console => None,
        }
    }
}

/// Nodes that are alike.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Group {
    #[serde(skip)]
    pub name: String,
    pub count: usize,
    /// The hosts that are the nodes, for `provider: static`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Whom to log in as; the provider's own choice when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What `opsrun deploy` makes of these nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Variables of its roles, before those of all groups.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub vars: serde_json::Map<String, serde_json::Value>,
    /// What only the provider understands: `instance_type`, `ami`, `state` (see `cloud`), `image`, `cpus`, `memory`.
    #[serde(flatten)]
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// A stack, and the environment it is of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StackOf {
    pub name: String,
    pub environment: String,
    pub app: String,
    pub env: String,
}

/// Where a secret's value is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    Value(Secret),
    Env(String),
    File(PathBuf),
}

/// The merged configuration. What is serialized of it never holds a secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    pub provider: ProviderKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    /// What only rented machines need.
    #[serde(flatten)]
    pub cloud: cloud::Cloud,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key_path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_path: Option<PathBuf>,
    /// Only the host keys in this file are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<PathBuf>,
    /// Where names in `hosts` are looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_config: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_keys: Option<HostKeys>,
    /// Whether clean-ups spare the deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<serde_json::Value>,
    /// How long after its creation the deployment may be cleaned up: `8h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The nodes are the machines of this stack: found, and never made or removed. No key of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackOf>,
    #[serde(with = "groups_by_name")]
    pub groups: Vec<Group>,
    /// Whatever the scripts want to know.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub vars: serde_json::Map<String, serde_json::Value>,
    #[serde(skip)]
    secrets: BTreeMap<String, SecretSource>,
    /// Where each key stands, by its dotted name; empty in a config read back from a deployment.
    #[serde(skip)]
    places: BTreeMap<String, (String, Place)>,
}

/// Configs are equal when they ask for the same; places and secrets do not count.
impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.to_json() == other.to_json()
    }
}

impl Config {
    /// Reads and merges the files, and looks at the key files they name.
    pub fn load(paths: &[PathBuf]) -> Result<Self> {
        let mut seen = Vec::new();
        let mut sources = Vec::new();
        for path in paths {
            let bytes = std::fs::read(path).map_err(|e| files::unreadable(path, &e))?;
            let real = std::fs::canonicalize(path).at("find", path)?;
            if seen.contains(&real) {
                continue;
            }
            seen.push(real.clone());
            sources.push(Source {
                name: path.display().to_string(),
                dir: real.parent().unwrap_or(Path::new("/")).to_owned(),
                text: String::from_utf8(bytes).map_err(|e| files::not_utf8(path, &e))?,
            });
        }
        let config = Self::from_sources(sources, std::env::var_os("HOME").map(PathBuf::from).as_deref())?;
        files::check(&config)?;
        Ok(config)
    }

    /// Reads a tree that is merged already, and looks at the key files it names.
    pub fn from_tree(tree: &tree::Node, home: Option<&Path>) -> Result<Self> {
        let config = schema::read(tree, home)?;
        files::check(&config)?;
        Ok(config)
    }

    /// Merges texts, without looking at any file. `home` is what `~` stands for.
    pub fn from_sources(sources: Vec<Source>, home: Option<&Path>) -> Result<Self> {
        schema::read(&merge::merge(sources)?, home)
    }

    /// Returns the group of this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|g| g.name == name)
    }

    /// Returns how many nodes there should be.
    pub fn node_count(&self) -> usize {
        self.groups.iter().map(|g| g.count).sum()
    }

    /// Returns the nodes there will be, before there are any: with names and groups, and without a way to reach them.
    pub fn planned_nodes(&self, deployment: &str) -> NodeSet {
        let node = |group: &Group, index: usize| {
            let name = format!("{}-{index}", group.name);
            let endpoint = Endpoint::new(name.clone(), "", 0, "");
            let provider = self.provider.name().to_owned();
            Node { deployment: deployment.to_owned(), name, group: group.name.clone(), index, provider, endpoint }
        };
        NodeSet::new(self.groups.iter().flat_map(|g| (0..g.count).map(move |index| node(g, index))))
    }

    /// Returns where a key stands, by its dotted name (`groups.server.count`), for errors about its value.
    pub fn place(&self, key: &str) -> Option<Location> {
        self.places.get(key).map(|(_, place)| place.location())
    }

    /// Returns a key as the user wrote it: `server_count` or `groups.server.count`.
    pub fn written<'a>(&'a self, key: &'a str) -> &'a str {
        self.places.get(key).map_or(key, |(written, _)| written)
    }

    /// The same, with the secrets that another config names.
    #[must_use]
    pub fn with_secrets_of(self, other: Self) -> Self {
        Self { secrets: other.secrets, ..self }
    }

    /// Returns the names of the secrets, without their values.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        self.secrets.keys().map(String::as_str)
    }

    /// Returns a secret from wherever the files say it is, or none when they do not name it.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>> {
        self.secrets.get(name).map(|source| files::fetch_secret(self, name, source)).transpose()
    }

    /// Returns the settings that this config's provider has no use for, as the user wrote them.
    pub fn unused(&self) -> Vec<String> {
        let rented = self.provider == ProviderKind::Aws;
        let cloud = schema::CLOUD.iter().chain(&cloud::TOP).filter(|_| !rented);
        let mut keys: Vec<&str> = cloud.copied().filter(|k| self.places.contains_key(*k)).collect();
        let of_group = |g: &Group| -> Vec<String> {
            let user =
                g.user.as_ref().filter(|_| matches!(self.provider, ProviderKind::Local | ProviderKind::Machine)).map(|_| "user");
            let options = g.options.keys().map(String::as_str).filter(|key| !self.provider.uses(key));
            options.chain(user).map(|k| format!("groups.{}.{k}", g.name)).collect()
        };
        let dotted: Vec<String> = self.groups.iter().flat_map(of_group).collect();
        keys.extend(dotted.iter().map(String::as_str));
        keys.into_iter().map(|k| self.written(k).to_owned()).collect()
    }

    /// Returns the config in its nested form, without secrets.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// `groups` as a map from name to group, in order.
mod groups_by_name {
    use super::Group;
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::{Map, Value};

    pub fn serialize<S: Serializer>(groups: &[Group], serializer: S) -> Result<S::Ok, S::Error> {
        let map: Result<Map<String, Value>, serde_json::Error> =
            groups.iter().map(|g| Ok((g.name.clone(), serde_json::to_value(g)?))).collect();
        map.map_err(S::Error::custom)?.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Group>, D::Error> {
        let map = Map::<String, Value>::deserialize(deserializer)?;
        map.into_iter()
            .map(|(name, value)| Ok(Group { name, ..serde_json::from_value(value).map_err(D::Error::custom)? }))
            .collect()
    }
}
