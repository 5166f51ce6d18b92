//! An environment of an application: `environments/<name>.yml` over `environments/common.yml`.
//!
//! `read` is the file format, `machines` how AWS and its machines are reached, `values` what the formations' parameters get from it.

mod ask;
pub mod health;
mod machines;
mod read;
pub mod status;
mod values;

pub use ask::{Ask, load as load_asking, parameters as ask_for_parameters};
pub use read::{init, names};
pub use values::{Content, Origin, Value as ParameterValue, camel, parameters};

use super::deployment::hosts::fleet_for as hosts_of;
use crate::base::error::{Error, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::config::SecretSource;
use crate::domain::config::tree::{Entry, Place};
use crate::domain::formation::{self, File, Template};
use crate::domain::notify::Notify;
use crate::transport::provider::aws::images::Choice;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An environment as its files say it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// What its file is called.
    pub name: String,
    pub app: String,
    pub env: String,
    pub region: Option<String>,
    /// The name of its stack: `<app>-<env>`, unless the file says another.
    pub stack: String,
    /// Destroying it takes its name, typed.
    pub protected: bool,
    /// Where templates go that are too large for a call.
    pub bucket: Option<String>,
    pub role_arn: Option<String>,
    pub stack_policy: Option<PathBuf>,
    pub groups: Vec<Group>,
    /// Shared by formations and roles.
    pub variables: Map<String, Value>,
    /// Who is told when a long verb has ended.
    pub notify: Notify,
    /// How long its machines may take to be healthy.
    pub health_timeout: Duration,
    project: PathBuf,
    formations: Vec<(String, Place)>,
    parameters: Vec<Entry>,
    secrets: BTreeMap<String, SecretSource>,
    /// A role of a group cannot be read.
    roles_problem: Option<Error>,
    /// Those of its keys that a deployment's config has, too.
    machines: Vec<Entry>,
    /// The files it was read from, for messages.
    files: Vec<String>,
}

/// Machines that are alike.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Group {
    pub name: String,
    pub instance_type: Option<String>,
    pub min: Option<u32>,
    pub max: Option<u32>,
    /// The image its machines start from, or the one that is baked from.
    pub image: Option<Choice>,
    /// Whom to log in as.
    pub user: Option<String>,
    pub roles: Vec<String>,
    /// Variables of its roles, before those of all groups.
    pub variables: Map<String, Value>,
}

impl Environment {
    /// Reads the environment of this name.
    pub fn load(project: &Path, name: &str) -> Result<Self> {
        read::load(project, name)
    }

    /// Reads, merges and checks its formations; fails, too, when a role of a group cannot be read.
    pub fn template(&self) -> Result<Template> {
        self.roles_problem.clone().map_or(Ok(()), Err)?;
        let find = |(name, place): &(String, Place)| -> Result<File> {
            formation::library::find(&self.project, name).map_err(|e| {
                let at = e.details().places.is_empty();
                if at { e.at(place.location()) } else { e }
            })
        };
        Template::new(&self.formations.iter().map(find).collect::<Result<Vec<_>>>()?)
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Result<&Group> {
        self.groups.iter().find(|g| g.name == name).ok_or_else(|| {
            let error = Error::usage(format!("environment {} has no group \"{name}\"", self.name));
            let names = || self.groups.iter().map(|g| g.name.as_str());
            let hint = did_you_mean(name, names());
            error.hint(hint.unwrap_or_else(|| format!("Its groups are: {}.", names().collect::<Vec<_>>().join(", "))))
        })
    }

    /// The files it was read from, absolute.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| self.project.join(file)).collect()
    }

    /// The project's folder.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// What every resource is tagged with.
    pub fn tags(&self) -> [(&'static str, &str); 2] {
        [("App", &self.app), ("Env", &self.env)]
    }
}
