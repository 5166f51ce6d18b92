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
        let Some(name) = self.environment else { return Config::load(self.files) };
        // `<project>/environments/<name>.yml`
        let project = self.files.first().and_then(|file| file.parent()).and_then(Path::parent);
        let project = project.ok_or_else(|| Error::internal(format!("environment {name} is in no project")))?;
        Environment::load(project, name)?.config("groups: {}")
    }
}

/// The config as the files say it now. Where it was made from them, it stays as it was made, but for its secrets, which are
/// wherever the files say.
pub(super) fn config_now(record: &Record) -> Result<Config> {
    let read = Inputs::of(record).read()?;
    if record.environment.is_none() && record.bake.is_none() {
        return Ok(read);
    }
    Ok(config_of(record)?.with_secrets_of(read))
}
