//! A deployment: nodes that a provider made from a config, and the folder that knows them.
//!
//! `Request` is what the user wants, `plan` what that takes, `apply` does it, `destroy` undoes it all.
//! The provider is asked what exists each time, so each of these can be repeated after a crash and then converges.

mod account;
mod adopt;
mod apply;
mod aws;
mod contact;
mod cost;
mod destroy;
mod expiry;
#[cfg(test)]
mod fake;
pub mod gc;
pub mod hosts;
mod inputs;
mod plan;
mod power;
mod registry;
mod request;
mod status;
mod taint;
#[cfg(test)]
mod tests;
mod throw_away;
mod wait;
mod wake;

pub use crate::transport::provider::aws::policy::document as aws_policy;
pub use crate::transport::provider::{Fate, Fixture};
pub use account::locals;
pub use adopt::{Adopted, Adoption, adopt};
pub use apply::{Wait, apply};
pub use aws::access as aws_access;
pub use cost::{Cost, CostChange};
pub use destroy::{belongings, destroy};
pub use expiry::{Ending, Extended, extend, renew_timers, words as expiry_words};
pub use inputs::Inputs;
pub use plan::{Action, NodeChange, Plan, plan};
pub use power::{Power, power, save_image};
pub use registry::{Background, provider_for};
pub use request::{Origin, Request};
pub use status::{GroupCount, NodeState, NodeStatusLine, Status, Summary, list, overview, status};
pub use taint::taint;
pub use throw_away::{ThrowAway, sweep};
pub use wait::Reach;
pub use wake::open_awake;

use super::config::Config;
use super::node::{Node, NodeSet};
use crate::base::error::{Error, IoResultExt, Kind, Result, ResultExt};
use crate::base::project::Project;
use crate::base::secret::Secret;
use crate::transport::provider::{Provider, Site};
use crate::transport::state::keys::KeyFiles;
use crate::transport::state::lock::Lock;
use crate::transport::state::{self, Record, Store, ssh_files};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// A deployment as its folder knows it.
#[derive(Clone, Debug)]
pub struct Deployment {
    store: Store,
    record: Record,
    config: Config,
    nodes: NodeSet,
}

impl Deployment {
    /// Opens an existing deployment, to use its nodes. Takes no lock and asks no provider.
    pub fn open(project: &Project, name: &str) -> Result<Self> {
        let store = Store::new(&project.deployments(), name)?;
        let Some(record) = store.read()? else {
            let error = state::not_found(&project.deployments(), name);
            return Err(if store.dir().is_dir() {
                Error::new(
                    Kind::NotFound,
                    format!("deployment \"{name}\" was never finished: {} has no state.json", store.dir().display()),
                )
                .hint(format!("Run `opsrun provision {name}` again, or remove what there is: opsrun deprovision {name}"))
            } else {
                error
            });
        };
        Self::from_record(store, record)
    }

    fn from_record(store: Store, record: Record) -> Result<Self> {
        let config = config_of(&record)?;
        let nodes = NodeSet::new(nodes_of(&record));
        Ok(Self { store, record, config, nodes })
    }

    /// Whether there is a deployment of this name. False for what cannot be a name.
    pub fn exists(project: &Project, name: &str) -> bool {
        Store::new(&project.deployments(), name).is_ok_and(|s| s.dir().join("state.json").is_file())
    }

    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// When it expires, if it does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        expiry::of_record(&self.record, &self.config)
    }

    /// Unique for all time; marks all that belongs to the deployment.
    pub fn uuid(&self) -> Uuid {
        self.record.uuid
    }

    /// `deployments/4504`, absolute.
    pub fn dir(&self) -> &Path {
        self.store.dir()
    }

    pub fn provider(&self) -> &str {
        &self.record.provider
    }

    pub fn created(&self) -> Timestamp {
        self.record.created
    }

    /// The config files it was last provisioned from, absolute.
    pub fn inputs(&self) -> &[PathBuf] {
        &self.record.inputs
    }

    /// The merged config, without secrets.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The environment it belongs to.
    pub fn environment(&self) -> Option<&str> {
        self.record.environment.as_deref()
    }

    /// The config as its files say it now, and, where one of them is gone, as it was when last provisioned.
    pub fn config_now(&self) -> Result<Config> {
        if self.inputs().iter().all(|file| file.is_file()) {
            return inputs::config_now(&self.record).context(|| format!("reading the config of deployment {}", self.name()));
        }
        Ok(self.config.clone())
    }

    /// Becomes the one that changes it, until dropped. `command` is what others are told.
    pub fn lock(&self, command: &str) -> Result<Lock> {
        let gone = || state::not_found(self.dir().parent().unwrap_or(self.dir()), self.name());
        self.store.lock(command)?.ok_or_else(gone)
    }

    /// Whether the node was kept down on purpose when last provisioned.
    fn is_stopped(&self, node: &str) -> bool {
        self.record.nodes.iter().any(|n| n.name == node && n.stopped)
    }

    /// Whether nobody has been on it yet, as far as is known.
    fn is_new(&self, node: &str) -> bool {
        self.record.nodes.iter().any(|n| n.name == node && n.first_contact.is_some())
    }

    /// All nodes: by group as configured, then by index.
    pub fn nodes(&self) -> &NodeSet {
        &self.nodes
    }

    /// The auto-scaling group that a node is of: it may go at any time, and what is made of it goes with it.
    pub fn scaling_group(&self, node: &str) -> Option<&str> {
        self.record.nodes.iter().find(|n| n.name == node)?.scaling_group.as_deref()
    }

    /// The nodes that stay until somebody ends them: those of no auto-scaling group.
    pub fn staying(&self) -> NodeSet {
        self.nodes.iter().filter(|n| self.scaling_group(&n.name).is_none()).cloned().collect()
    }

    /// Returns a secret that the config names, read anew from the config files: the deployment's folder holds none.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>> {
        Inputs::of(&self.record)
            .read()
            .and_then(|config| config.secret(name))
            .context(|| format!("looking up secret {name} of deployment {}", self.name()))
    }

    /// Returns the public key that its nodes accept, as a line of authorized_keys.
    pub fn public_key(&self) -> Result<String> {
        let file = key_files(&self.store, &self.config).public;
        Ok(std::fs::read_to_string(&file).at("read", &file)?.trim().to_owned())
    }

    /// Returns the folders of earlier script runs, oldest first.
    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.dir().join("runs")) else { return Vec::new() };
        let mut runs: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
        runs.sort();
        runs
    }

    /// Returns the Ansible inventory as INI text.
    pub fn inventory(&self) -> String {
        ssh_files::inventory(self.name(), self.dir(), &self.record.nodes)
    }

    /// Returns the inventory as Ansible wants it from a dynamic inventory's `--list`.
    pub fn inventory_json(&self) -> serde_json::Value {
        ssh_files::inventory_json(self.dir(), &self.record.nodes)
    }
}

/// The nodes as they are written down.
fn nodes_of(record: &Record) -> impl Iterator<Item = Node> {
    record.nodes.iter().map(|n| Node {
        deployment: record.name.clone(),
        name: n.name.clone(),
        group: n.group.clone(),
        index: n.index,
        provider: record.provider.clone(),
        endpoint: n.endpoint.clone(),
    })
}

fn config_of(record: &Record) -> Result<Config> {
    serde_json::from_value(record.config.clone()).map_err(|e| {
        Error::new(Kind::Io, format!("state.json of deployment \"{}\" holds a config we cannot read: {e}", record.name))
    })
}

/// What the provider is told. Names the keys, makes none.
fn site(store: &Store, record: &Record, config: &Config) -> Site {
    let keys = key_files(store, config);
    Site {
        deployment: record.name.clone(),
        uuid: record.uuid,
        dir: store.dir().to_owned(),
        private_key: keys.private,
        public_key: keys.public,
    }
}

fn key_files(store: &Store, config: &Config) -> KeyFiles {
    match &config.private_key_path {
        Some(private) => KeyFiles::given(store.dir(), private, config.public_key_path.as_deref()),
        None => KeyFiles::own(store.dir()),
    }
}

/// The provider of a recorded deployment.
fn provider_of(store: &Store, record: &Record) -> Result<Box<dyn Provider>> {
    provider_for(&config_of(record)?, &Background::of(store, record))
}
