//! Deployments that are to be gone when the command that makes them ends, even if that is killed: the next sweep removes them.
//!
//! `deployments/.throw-away/<name>` says so, from before there is anything to remove until all is gone. Its maker holds a lock on
//! it, which the kernel takes back from a process that is killed.

use super::destroy;
use crate::base::error::{IoResultExt, Result};
use crate::base::event::Cx;
use crate::base::project::Project;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The word that a deployment is to be thrown away, while its maker lives.
#[derive(Debug)]
pub struct ThrowAway {
    path: PathBuf,
    _lock: File,
}

impl ThrowAway {
    /// Says so of a deployment that is about to be made.
    pub fn begin(project: &Project, name: &str) -> Result<Self> {
        let dir = dir(project);
        loop {
            std::fs::create_dir_all(&dir).at("make", &dir)?;
            // Another command may take the empty folder away in between.
            match take(&dir.join(name)) {
                Ok(Some(taken)) => return Ok(taken),
                Ok(None) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e).at("make", dir.join(name)),
            }
        }
    }

    /// All of it is gone.
    pub fn end(self) {
        // The next sweep finds nothing to remove, and tries again.
        let _ = std::fs::remove_file(&self.path);
        if let Some(dir) = self.path.parent() {
            // Stays while there are others.
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// Removes what commands that were killed have left. Returns the names of what was there.
pub async fn sweep(project: &Project, cx: &Cx) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in names(project) {
        let Some(left) = take(&dir(project).join(&name)).unwrap_or_default() else { continue };
        if destroy(project, &name, cx).await?.is_some() {
            removed.push(name);
        }
        left.end();
    }
    Ok(removed)
}

/// Whether this deployment is to be thrown away and its maker lives no more.
pub fn is_left_over(project: &Project, name: &str) -> bool {
    let file = File::open(dir(project).join(name));
    file.is_ok_and(|file| file.try_lock_shared().is_ok())
}

fn dir(project: &Project) -> PathBuf {
    project.deployments().join(".throw-away")
}

fn names(project: &Project) -> Vec<String> {
    let entries = std::fs::read_dir(dir(project)).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// Takes the lock, unless somebody lives who has it.
fn take(path: &Path) -> std::io::Result<Option<ThrowAway>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    // Whoever had it may have removed the file: then this is the lock of nothing.
    let same = || std::fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
    let taken = file.try_lock().is_ok() && same();
    Ok(taken.then(|| ThrowAway { path: path.to_owned(), _lock: file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_in_use_stays_and_the_rest_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let project = Project { home: root.clone(), cache: root.clone(), root };
        let used = ThrowAway::begin(&project, "used").unwrap();
        // As after a kill: the file is there, and nobody has its lock.
        std::fs::write(super::dir(&project).join("left"), "").unwrap();
        std::fs::create_dir_all(project.deployments().join("left")).unwrap();
        std::fs::create_dir_all(project.deployments().join("used")).unwrap();
        assert!(is_left_over(&project, "left") && !is_left_over(&project, "used") && !is_left_over(&project, "other"));
        assert_eq!(sweep(&project, &Cx::quiet()).await.unwrap(), ["left"]);
        assert!(!project.deployments().join("left").exists() && project.deployments().join("used").exists());
        used.end();
        assert!(!super::dir(&project).exists());
        assert!(sweep(&project, &Cx::quiet()).await.unwrap().is_empty());
    }
}
