//! What the user wants: a name, and the config it should be.

use super::inputs::{self, Inputs};
use super::{Background, Plan, config_of, cost, expiry, hosts, provider_for};
use crate::base::error::{Error, IoResultExt, Result};
use crate::base::money::Money;
use crate::base::project::Project;
use crate::domain::config::{Config, Group, ProviderKind};
use crate::transport::provider::{NodeSpec, Provider};
use crate::transport::state::{self, Record, SCHEMA, Store};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// What the config of a deployment is made from, and for what.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Config files, or those of the environment; absolute.
    pub inputs: Vec<PathBuf>,
    pub environment: Option<String>,
    /// The image that its machine is to become.
    pub bake: Option<Value>,
}

/// A deployment as it should be.
#[derive(Clone)]
pub struct Request {
    pub(super) store: Store,
    pub(super) config: Config,
    pub(super) inputs: Vec<PathBuf>,
    pub(super) environment: Option<String>,
    pub(super) bake: Option<Value>,
    pub(super) provider: Arc<dyn Provider>,
    /// When the deployment was made, or now.
    pub(super) created: Timestamp,
    /// When it expires, where it was extended.
    pub(super) extended: Option<Timestamp>,
    /// The user agrees to lose what is on stateful nodes.
    pub(super) replace: bool,
    /// Newer images are taken where the config leaves open which it is.
    pub(super) refresh_images: bool,
    /// What it may cost by the hour.
    pub(super) max_hourly: Option<Money>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("name", &self.store.name()).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Request {
    /// Reads the config files; without any, those that the deployment was last provisioned from.
    pub fn new(project: &Project, name: &str, files: &[PathBuf]) -> Result<Self> {
        let deployments = project.deployments();
        let store = Store::new(&deployments, name)?;
        state::sweep(&deployments);
        let record = store.read()?;
        let inputs = match (&record, files) {
            (None, []) => {
                return Err(Error::usage(format!("there is no deployment \"{name}\" yet, and no config file is given"))
                    .hint(format!("Name the files that say what it should be: opsrun provision {name} configs/local.yml")));
            }
            (Some(record), []) => record.inputs.clone(),
            (_, files) => files.iter().map(std::path::absolute).collect::<std::io::Result<_>>().at("find", Path::new("."))?,
        };
        if let Some(record) = &record {
            hosts::refuse(record, "provisioning")?;
        }
        let config = match (&record, files) {
            (Some(record), []) => inputs::config_now(record)?,
            // The user's own words for the files: errors repeat them.
            _ => Config::load(files)?,
        };
        let kept = record.as_ref().filter(|_| files.is_empty());
        let (environment, bake) = kept.map(|r| (r.environment.clone(), r.bake.clone())).unwrap_or_default();
        Self::build(store, config, record.as_ref(), Origin { inputs, environment, bake })
    }

    /// A deployment with a config that was made from such files (see `Inputs`), or from an environment's.
    pub fn made(project: &Project, name: &str, config: Config, origin: Origin) -> Result<Self> {
        let deployments = project.deployments();
        let store = Store::new(&deployments, name)?;
        state::sweep(&deployments);
        let record = store.read()?;
        Self::build(store, config, record.as_ref(), origin)
    }

    fn build(store: Store, config: Config, record: Option<&Record>, origin: Origin) -> Result<Self> {
        let Origin { inputs, environment, bake } = origin;
        let created = record.map_or_else(Timestamp::now, |r| r.created);
        let extended = record.and_then(|r| expiry::extension(r, &config));
        let images = record.map(|r| r.images.clone()).unwrap_or_default();
        let files = Inputs { files: &inputs, environment: environment.as_deref() };
        let background = Background { store: &store, inputs: files, created, extended, images: &images, complete: true };
        let provider = provider_for(&config, &background)?.into();
        let request = Self {
            store,
            config,
            inputs,
            environment,
            bake,
            provider,
            created,
            extended,
            replace: false,
            refresh_images: false,
            max_hourly: None,
        };
        request.check(record)?;
        Ok(request)
    }

    /// Lets nodes be replaced, or stopped, that lose data by it.
    pub fn allow_replace(&mut self, yes: bool) {
        self.replace = yes;
    }

    /// Takes the newest images that the config's patterns and parameters lead to, in place of those it has taken before.
    pub fn refresh_images(&mut self, yes: bool) {
        self.refresh_images = yes;
    }

    /// Refuses what costs more by the hour than this, and what nobody knows the cost of.
    pub fn limit_cost(&mut self, limit: Option<Money>) {
        self.max_hourly = limit;
    }

    /// Fails when the plan breaks the limit.
    pub fn check_cost(&self, plan: &Plan) -> Result<()> {
        self.max_hourly.map_or(Ok(()), |limit| cost::within(limit, plan.cost.as_ref(), &self.config))
    }

    pub fn name(&self) -> &str {
        self.store.name()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is written down of a deployment that is new.
    pub(super) fn record(&self, uuid: Uuid) -> Record {
        Record {
            schema: SCHEMA,
            name: self.name().to_owned(),
            uuid,
            provider: self.config.provider.name().to_owned(),
            created: self.created,
            inputs: Vec::new(),
            environment: None,
            bake: None,
            config: Value::Null,
            nodes: Vec::new(),
            tainted: Vec::new(),
            images: BTreeMap::new(),
            extended: None,
            dir: None,
        }
    }

    /// A deployment stays with its provider.
    pub(super) fn check(&self, record: Option<&Record>) -> Result<()> {
        let Some(record) = record else { return Ok(()) };
        let (old, new) = (record.provider.as_str(), self.config.provider.name());
        if old == new {
            return Ok(());
        }
        let error = Error::config(format!("deployment \"{}\" is of provider `{old}`; it cannot become `{new}`", self.name()))
            .hint(format!("Use another name, or remove it first: opsrun deprovision {}", self.name()));
        Err(match self.config.place("provider") {
            Some(place) => error.at(place),
            None => error,
        })
    }

    /// The nodes there should be: by group as configured, then by index.
    pub(super) fn specs(&self) -> Vec<NodeSpec> {
        let of_group = |group: &Group| -> Vec<NodeSpec> {
            (0..group.count)
                .map(|index| NodeSpec {
                    name: format!("{}-{index}", group.name),
                    group: group.name.clone(),
                    index,
                    options: options(&self.config, group, index),
                })
                .collect()
        };
        self.config.groups.iter().flat_map(of_group).collect()
    }

    /// How many nodes each group had when last provisioned.
    pub(super) fn old_counts(record: Option<&Record>) -> Result<Vec<(String, usize)>> {
        let config = record.map(config_of).transpose()?;
        Ok(config.map(|c| c.groups.into_iter().map(|g| (g.name, g.count)).collect()).unwrap_or_default())
    }
}

/// What the provider needs to know of one node, and nothing that it has no use for: a difference in here means a change.
fn options(config: &Config, group: &Group, index: usize) -> Map<String, Value> {
    let mut options = Map::new();
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            options.insert(key.to_owned(), Value::String(value));
        }
    };
    match config.provider {
        // Its nodes have one user, who runs opsrun.
        // On EC2, the provider has the whole config, and compares it with what the cloud says of each machine.
        ProviderKind::Local | ProviderKind::Aws => {}
        ProviderKind::Machine => {
            let known = group.options.iter().filter(|(key, _)| ProviderKind::Machine.uses(key));
            options.extend(known.map(|(key, value)| (key.clone(), value.clone())));
        }
        ProviderKind::Static => {
            set("host", group.hosts.get(index).cloned());
            set("user", group.user.clone());
            set("ssh_config", config.ssh_config.as_ref().map(|p| p.display().to_string()));
        }
    }
    options
}
