//! Where things are: the project's folder, its deployments, the cache of this machine.

use super::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The folders a run works with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Project {
    /// The project's folder: scripts, configs, roles, an own `stdlib/`.
    pub root: PathBuf,
    /// The folder that holds `deployments/`: `OPSRUN_HOME`, else the root.
    pub home: PathBuf,
    /// Downloads kept for all projects of this user: `OPSRUN_CACHE`, else `$XDG_CACHE_HOME/opsrun`, else `~/.cache/opsrun`.
    pub cache: PathBuf,
}

/// A folder with one of these in it is taken for the project's.
const MARKS: [&str; 6] = ["deployments", "configs", "scripts", "roles", "environments", ".git"];

impl Project {
    /// Finds the project that the working directory is in: the nearest folder upwards with a mark, else the directory itself.
    pub fn find() -> Result<Self> {
        let cwd = std::env::current_dir().map_err(|e| Error::io("find", "the working directory", &e))?;
        let root = cwd.ancestors().find(|d| MARKS.iter().any(|m| d.join(m).exists())).unwrap_or(&cwd).to_owned();
        let home = absolute_env("OPSRUN_HOME", &cwd).unwrap_or_else(|| root.clone());
        let cache = absolute_env("OPSRUN_CACHE", &cwd)
            .or_else(|| absolute_env("XDG_CACHE_HOME", &cwd).map(|d| d.join("opsrun")))
            .or_else(|| absolute_env("HOME", &cwd).map(|d| d.join(".cache/opsrun")))
            .unwrap_or_else(|| root.join(".opsrun/cache"));
        Ok(Self { root, home, cache })
    }

    pub fn deployments(&self) -> PathBuf {
        self.home.join("deployments")
    }
}

fn absolute_env(name: &str, cwd: &Path) -> Option<PathBuf> {
    std::env::var_os(name).filter(|v| !v.is_empty()).map(|v| cwd.join(v))
}
