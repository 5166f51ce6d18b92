//! What a deployment's config comes from: files of the user's, or an environment.

use super::config_of;
use crate::base::error::{Error, Result};
use crate::domain::config::Config;
use crate::domain::environment::Environment;
use crate::transport::state::Record;
use std::path::{Path, PathBuf};

/// The files, and whose they are.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub files: &'a [PathBuf],
    /// They are those of this environment.
    pub environment: Option<&'a str>,
}

impl<'a> Inputs<'a> {
    pub fn of(record: &'a Record) -> Self {
        Self { files: &record.inputs, environment: record.environment.as_deref() }
    }

    /// Config files.
    pub fn files(files: &'a [PathBuf]) -> Self {
        Self { files, environment: None }
    }

    /// What they say now, secrets included. An environment says how its machines are reached, and has no nodes here.
    pub fn read(self) -> Result<Config> {
        match self.environment()? {
            None => Config::load(self.files),
            Some(environment) => environment.config("groups: {}"),
        }
    }

    /// The environment, if it is one.
    fn environment(self) -> Result<Option<Environment>> {
        let Some(name) = self.environment else { return Ok(None) };
        // `<project>/environments/<name>.yml`
        let project = self.files.first().and_then(|file| file.parent()).and_then(Path::parent);
        let project = project.ok_or_else(|| Error::internal(format!("environment {name} is in no project")))?;
        Environment::load(project, name).map(Some)
    }
}

/// The config as the files say it now. Where it was made from them, it stays as it was made, but for its secrets, which are
/// wherever the files say.
pub(super) fn config_now(record: &Record) -> Result<Config> {
    let recorded = config_of(record)?;
    if recorded.stack.is_some()
        && let Some(environment) = Inputs::of(record).environment()?
    {
        // What its machines are to be is the environment's word; how many there are was found out.
        let mut config = environment.hosts()?;
        for group in &mut config.groups {
            group.count = recorded.group(&group.name).map_or(0, |g| g.count);
        }
        return Ok(config);
    }
    let read = Inputs::of(record).read()?;
    if record.environment.is_none() && record.bake.is_none() {
        return Ok(read);
    }
    Ok(recorded.with_secrets_of(read))
}
