//! Starts processes and learns how they end, without a thread or a task each.
//!
//! The supervisor is the subreaper of everything its nodes run, so it must wait for children it never started, too.
//! Therefore one loop waits for all of them, and nothing else in the supervisor may wait for a child.

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    Code(i32),
    Signal { signal: nix::sys::signal::Signal, core: bool },
}

/// A process that was started here.
pub struct Started {
    /// For its pipes only: never wait for it.
    pub child: Child,
    pub pid: i32,
    pub ended: oneshot::Receiver<Ended>,
}

#[derive(Clone, Default)]
pub struct Reaper(Arc<Mutex<HashMap<i32, oneshot::Sender<Ended>>>>);

impl Reaper {
    pub fn spawn(&self, command: &mut Command) -> std::io::Result<Started> {
        // Held over both steps, so that a process that ends at once finds its entry.
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(std::io::Error::other)?;
        let (sender, ended) = oneshot::channel();
        waiting.insert(pid, sender);
        Ok(Started { child, pid, ended })
    }

    /// Waits for children, ours and adopted ones, for ever.
    pub async fn run(self) -> std::io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        loop {
            self.reap();
            children.recv().await;
        }
    }

    fn reap(&self) {
        loop {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (pid, ended) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ended::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, core)) => (pid, Ended::Signal { signal, core }),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if let Some(sender) = waiting.remove(&Pid::as_raw(pid)) {
                let _ = sender.send(ended);
            }
        }
    }
}
