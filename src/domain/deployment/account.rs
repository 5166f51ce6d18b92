//! A cloud account without a deployment: for commands that look at what is there by its tags.

use super::aws;
use super::inputs::Inputs;
use crate::base::error::{Error, Result};
use crate::base::project::Project;
use crate::domain::config::tree::Source;
use crate::domain::config::{Config, ProviderKind};
use crate::transport::provider::Site;
use crate::transport::provider::aws::Aws;
use crate::transport::provider::calls::Unwritten;
use crate::transport::state::{self, Store};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Credentials, a region, and what a config says besides.
pub struct Account {
    pub config: Config,
    pub aws: Aws,
}

impl Account {
    /// `files` are config files, for credentials that the environment has not. No request is made.
    pub fn new(region: Option<&str>, files: &[PathBuf]) -> Result<Self> {
        let mut config = read(files)?;
        if let Some(region) = region {
            config.region = Some(region.to_owned());
        }
        let settings = aws::settings(&config, Inputs::files(files), &aws::Times::none(), false)?;
        let aws = Aws::new(settings, Arc::new(Unwritten::default()), BTreeMap::new());
        Ok(Self { config, aws })
    }
}

/// The config of these files, which must be about AWS; an empty one without any.
pub fn read(files: &[PathBuf]) -> Result<Config> {
    if files.is_empty() {
        let text = "provider: aws\n".to_owned();
        return Config::from_sources(vec![Source { name: "(none)".to_owned(), dir: PathBuf::from("/"), text }], None);
    }
    let config = Config::load(files)?;
    if config.provider == ProviderKind::Aws {
        return Ok(config);
    }
    let error = Error::config(format!("this is about AWS, but the config is of provider `{}`", config.provider.name()));
    Err(match config.place("provider") {
        Some(place) => error.at(place),
        None => error,
    })
}

/// What the provider is told of a deployment that has no folder here.
pub fn site_of(project: &Project, name: &str, uuid: Uuid) -> Site {
    let dir = project.deployments().join(name);
    let keys = state::keys::KeyFiles::own(&dir);
    Site { deployment: name.to_owned(), uuid, dir, private_key: keys.private, public_key: keys.public }
}

/// A deployment whose folder is here.
pub struct Local {
    pub uuid: Uuid,
    pub dir: PathBuf,
    pub owner: Option<String>,
}

/// All of them that can be read.
pub fn locals(project: &Project) -> Vec<Local> {
    let deployments = project.deployments();
    let local = |name: String| {
        let store = Store::new(&deployments, &name).ok()?;
        let record = store.read().ok()??;
        let owner = record.config.get("owner").and_then(|o| o.as_str()).map(str::to_owned);
        Some(Local { uuid: record.uuid, dir: store.dir().to_owned(), owner })
    };
    state::names(&deployments).unwrap_or_default().into_iter().filter_map(local).collect()
}
