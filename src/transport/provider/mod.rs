//! Where nodes come from. One trait: what exists, create, change, destroy.

pub mod aws;
pub mod calls;
mod files;
mod host_key;
pub mod local;
pub mod machine;
mod processes;
pub mod static_hosts;

use crate::base::endpoint::{Endpoint, FirstContact};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A node as the config wants it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeSpec {
    /// `server-0`
    pub name: String,
    pub group: String,
    pub index: usize,
    /// What only this provider understands (`instance_type`, `host`, …), as the config gave it for the group.
    #[serde(default)]
    pub options: Map<String, Value>,
}

/// Whether a node can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    Running,
    /// Exists, but does not answer: the provider's `create` brings it back.
    Stopped,
    /// Was stopped on purpose: `create` starts it, but nobody does so unasked.
    Off,
}

/// A node as it exists.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeFound {
    pub spec: NodeSpec,
    pub status: NodeStatus,
    pub endpoint: Endpoint,
    /// Its SSH host keys in known_hosts form (`ssh-ed25519 AAAA…`), when the provider knows them before the first connection.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// How those are learned, when the provider does not know them, and they are not just taken as they are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_contact: Option<FirstContact>,
}

/// What a provider is told about the deployment it works for.
#[derive(Clone, Debug)]
pub struct Site {
    /// `4504`
    pub deployment: String,
    /// Unique for all time; marks everything that belongs to the deployment.
    pub uuid: uuid::Uuid,
    /// `deployments/4504`, absolute. The provider may keep a folder of its own in it, named after itself.
    pub dir: PathBuf,
    /// The private key nodes must accept, and its public half beside it (`.pub`).
    pub private_key: PathBuf,
    pub public_key: PathBuf,
}

/// By this an image says what it is made of: a hash. Among the facts of images that were baked.
pub const ROLE_HASH: &str = "opsrun:role-hash";

/// An image to be saved.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NewImage {
    pub name: String,
    /// What is to be known of it: its tags, where it has such.
    pub facts: BTreeMap<String, String>,
}

impl NewImage {
    /// With a name, and nothing more to say of it.
    pub fn plain(name: impl Into<String>) -> Self {
        Self { name: name.into(), facts: BTreeMap::new() }
    }
}

/// What makes a node that differs what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Removed and made anew.
    Replace,
    /// Changed in place, by `create`.
    Adjust,
    Start,
    Stop,
}

/// In what a node differs from what is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    pub remedy: Remedy,
    pub reason: String,
    /// What is lost by it that the user must agree to by name (`--replace`).
    pub loses: Option<String>,
}

impl Difference {
    pub fn new(remedy: Remedy, reason: impl Into<String>) -> Self {
        Self { remedy, reason: reason.into(), loses: None }
    }
}

/// The options that differ, sorted.
fn differing<'a>(old: &'a Map<String, Value>, new: &'a Map<String, Value>) -> Vec<&'a String> {
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| old.get(*key) != new.get(*key));
    keys
}

/// "host: a -> b" for each option that differs.
fn option_differences(old: &Map<String, Value>, new: &Map<String, Value>) -> String {
    let show = |value: Option<&Value>| match value {
        None => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    differing(old, new)
        .into_iter()
        .map(|k| (k, old.get(k), new.get(k)))
        .map(|(k, a, b)| format!("{k}: {} -> {}", show(a), show(b)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What happens to something that is no node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    Create,
    Change,
    Remove,
}

/// Something that a deployment needs besides its nodes: a network, a key pair, an open port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Fixture {
    pub fate: Fate,
    /// `security group server`
    pub what: String,
    pub reason: String,
    /// It ends what an earlier command had begun: nobody needs to have been shown it.
    #[serde(skip)]
    pub overdue: bool,
}

/// What the words of a config that are not definite mean.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resolved {
    /// By the config's words: stays so until the user wants it anew.
    pub pins: BTreeMap<String, String>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// What `survey` found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    pub fixtures: Vec<Fixture>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Makes and unmakes nodes. Every call can be repeated after a crash at any point and then converges.
#[async_trait]
pub trait Provider: Send + Sync {
    /// `local`, `static`, …
    fn name(&self) -> &'static str;

    /// Whether its nodes are processes of this machine: they may have ended with it, and looking costs next to nothing.
    fn runs_here(&self) -> bool {
        false
    }

    /// Whether it can work here at all, and make these nodes: looked at before anything is touched.
    fn check(&self, _specs: &[NodeSpec]) -> Result<()> {
        Ok(())
    }

    /// Whether a change of this option needs no new node: `create` brings it about on the one there is.
    fn adjusts(&self, _option: &str) -> bool {
        false
    }

    /// Finds out what the config leaves open (which image a pattern means): as it is pinned, unless `refresh`. Reads only.
    async fn resolve(&self, _pinned: &BTreeMap<String, String>, _refresh: bool, _cx: &Cx) -> Result<Resolved> {
        Ok(Resolved::default())
    }

    /// What the deployment needs besides its nodes, and whether the nodes can be had at all. Reads only.
    async fn survey(&self, _site: &Site, _specs: &[NodeSpec], _cx: &Cx) -> Result<Survey> {
        Ok(Survey::default())
    }

    /// What it takes to make a node that exists what is wanted; none when it is so already.
    fn difference(&self, found: &NodeFound, wanted: &NodeSpec) -> Option<Difference> {
        let (old, new) = (&found.spec.options, &wanted.options);
        let keys = differing(old, new);
        match found.status {
            _ if keys.iter().any(|key| !self.adjusts(key)) => {
                Some(Difference::new(Remedy::Replace, option_differences(old, new)))
            }
            NodeStatus::Stopped => Some(Difference::new(Remedy::Start, "it does not run")),
            NodeStatus::Off => Some(Difference::new(Remedy::Start, "it was stopped")),
            NodeStatus::Running if keys.is_empty() => None,
            NodeStatus::Running => Some(Difference::new(Remedy::Adjust, option_differences(old, new))),
        }
    }

    /// Every node of the deployment that exists, in any order. Reads only.
    async fn list(&self, site: &Site, cx: &Cx) -> Result<Vec<NodeFound>>;

    /// Makes these nodes exist and run; nodes that already do are left as they are. Returns them in the order asked.
    async fn create(&self, site: &Site, specs: &[NodeSpec], cx: &Cx) -> Result<Vec<NodeFound>>;

    /// Makes these nodes, and all that runs on them, not exist. Names that do not exist are fine.
    async fn destroy(&self, site: &Site, names: &[String], cx: &Cx) -> Result<()>;

    /// What belongs to the deployment and would go with it, nodes included, in the words of the provider. Reads only. Empty where
    /// there are only nodes.
    async fn belongings(&self, _site: &Site, _cx: &Cx) -> Result<Vec<Fixture>> {
        Ok(Vec::new())
    }

    /// After the last node: removes all else that carries the deployment's UUID, and proves that nothing is left.
    async fn destroy_all(&self, site: &Site, cx: &Cx) -> Result<()>;

    /// Turns these nodes off, until `create` turns them on: in order, or `at_once` as if their plug were pulled.
    async fn stop(&self, _: &Site, _names: &[String], _at_once: bool, _: &Cx) -> Result<()> {
        Err(cannot(self.name(), "stop and start nodes"))
    }

    /// Writes what changes over a deployment's life (when it expires) on everything of it that carries marks.
    async fn retag(&self, _: &Site, _: &Cx) -> Result<()> {
        Ok(())
    }

    /// Says whether these nodes, when they turn themselves off, are gone for good.
    async fn end_themselves(&self, _: &Site, _names: &[String], _ends: bool, _: &Cx) -> Result<()> {
        Ok(())
    }

    /// Reads the host keys of these nodes off their consoles, by node name. Waits until they are there.
    async fn console_keys(&self, _: &Site, _names: &[String], _: &Cx) -> Result<Vec<(String, Vec<String>)>> {
        Err(Error::new(Kind::Provider, format!("provider `{}` knows no consoles", self.name())))
    }

    /// Keeps with these nodes, by their IDs, the host keys by which they are known from now on: for who finds them without this
    /// deployment's folder.
    async fn keep_host_keys(&self, _: &Site, _keys: &[(String, String)], _: &Cx) -> Result<()> {
        Ok(())
    }

    /// Keeps what a node that is off has on its disk, as an image that others can be made from.
    async fn save_image(&self, _: &Site, _node: &str, _image: &NewImage, _: &Cx) -> Result<()> {
        Err(cannot(self.name(), "save nodes as images"))
    }
}

fn cannot(provider: &str, what: &str) -> Error {
    Error::new(Kind::Provider, format!("provider `{provider}` cannot {what}"))
        .hint("`provider: machine` can: real Debian machines on this host, for root on Linux.")
}
