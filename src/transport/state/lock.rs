//! One writer at a time: an advisory lock that says who holds it and that they are alive.
//!
//! The kernel lets go of it when the holder dies, so a lock is never stale for longer than a child that the holder had just
//! forked needs to become the program it is to run.

use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::host;
use crate::base::secret;
use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How often a holder shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long a lock whose holder is dead, or has not said who it is, may take to be free or named.
const PATIENCE: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(20);

/// Who holds a lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub host: String,
    pub user: String,
    pub command: String,
    pub since: Timestamp,
}

impl Holder {
    fn this_process(command: &str) -> Self {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        Self {
            pid: std::process::id(),
            host: host::name(),
            user: user.map_or_else(|| nix::unistd::geteuid().to_string(), |u| u.name),
            command: secret::mask(command).into_owned(),
            since: Timestamp::now(),
        }
    }
}

impl Holder {
    /// Whether the process is known to be gone. Of another host nothing is known.
    fn is_dead(&self) -> bool {
        let Ok(pid) = i32::try_from(self.pid) else { return true };
        self.host == host::name() && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)
    }
}

/// The right to change a deployment, until dropped.
#[derive(Debug)]
pub struct Lock {
    file: Flock<File>,
    heart: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Lock {
    /// Takes the lock of the folder, or says who has it. None when there is no such folder (any more).
    pub fn take(name: &str, dir: &Path, command: &str) -> Result<Option<Self>> {
        let path = dir.join("lock");
        let start = Instant::now();
        loop {
            let file = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path) {
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
                other => other.at("lock", &path)?,
            };
            let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((mut file, Errno::EWOULDBLOCK)) => {
                    let holder = read(&mut file);
                    if start.elapsed() < PATIENCE && holder.as_ref().is_none_or(Holder::is_dead) {
                        std::thread::sleep(EVERY);
                        continue;
                    }
                    return Err(held(name, &file, holder));
                }
                Err((_, errno)) => return Err(Error::io("lock", &path, &errno.into())),
            };
            // The folder may have been removed, and even made anew, between opening and locking.
            let same = std::fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
            if same {
                return Self::announce(file, command).at("lock", &path).map(Some);
            }
        }
    }

    fn announce(mut file: Flock<File>, command: &str) -> std::io::Result<Self> {
        let text = serde_json::to_string(&Holder::this_process(command)).unwrap_or_default();
        // On a full disk others cannot read who holds it, but held it is: removing a deployment is what makes room.
        let _ = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| writeln!(file, "{text}"));
        let beat = file.try_clone()?;
        let (stop, stopped) = mpsc::channel();
        let heart = std::thread::Builder::new().name("lock-heartbeat".to_owned()).spawn(move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
                // The file's time is the heartbeat; should this fail, the lock itself still holds.
                let _ = beat.set_modified(SystemTime::now());
            }
        })?;
        Ok(Self { file, heart: Some((stop, heart)) })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some((stop, heart)) = self.heart.take() {
            drop(stop);
            let _ = heart.join();
        }
        let _ = self.file.set_len(0);
    }
}

/// Returns who holds the lock of the folder right now, if anyone does.
pub fn holder(dir: &Path) -> Option<Holder> {
    let file = OpenOptions::new().read(true).open(dir.join("lock")).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => None,
        Err((mut file, _)) => read(&mut file).filter(|holder| !holder.is_dead()),
    }
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn held(name: &str, file: &File, holder: Option<Holder>) -> Error {
    let beat = file.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    let Some(holder) = holder else {
        return Error::new(Kind::Locked, format!("another process is just about to change deployment \"{name}\""))
            .hint("Try again in a moment.");
    };
    let Holder { pid, host, user, command, since } = holder;
    let age = Timestamp::now().duration_since(since).as_secs().max(0);
    let message =
        format!("deployment \"{name}\" is being changed by `{command}` (process {pid} of {user} on {host}, for {age} s)");
    let error = Error::new(Kind::Locked, message).hint("Wait until it is done, or stop it there with Ctrl-C, and try again.");
    match beat {
        Some(silent) if silent > 5 * HEARTBEAT => {
            error.hint(format!("It has shown no sign of life for {} s: if it hangs, end it with: kill {pid}", silent.as_secs()))
        }
        _ => error,
    }
}
