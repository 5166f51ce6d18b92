//! Locks on files, for what all opsruns of this machine share. The kernel lets go of them when their holder dies.

use crate::base::error::{IoResultExt, Result};
use crate::base::event::Cx;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(10);
/// Whoever waits longer wants to know what for.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// Held until dropped.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits for the lock; `waiting` is called once when that takes long. The file's folder must exist, or come to exist by us.
    pub async fn take(path: &Path, cx: &Cx, waiting: impl Fn()) -> Result<Self> {
        let begin = Instant::now();
        let mut told = false;
        loop {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).at("make", dir)?;
            }
            let file = match OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path) {
                // The folder was removed just now, by whoever held the lock.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.at("open", path)?,
            };
            // Whoever held it may have removed the file: then this is the lock of nothing.
            let same = || std::fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
            if file.try_lock().is_ok() && same() {
                return Ok(Self { _file: file });
            }
            if !told && begin.elapsed() > TELL_AFTER {
                waiting();
                told = true;
            }
            cx.cancel.check()?;
            tokio::time::sleep(EVERY).await;
        }
    }
}
