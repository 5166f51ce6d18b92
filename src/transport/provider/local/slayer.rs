//! Ends what commands leave behind when their connection goes away: politely, then not.
//!
//! One task does it for all, so that a thousand connections cut at once cost one look at `/proc`, not a thousand.

use super::processes::{self, Process};
use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long a process may take to clean up after SIGHUP and SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// Nothing survives SIGKILL for longer, other than in the kernel.
const GIVE_UP: Duration = Duration::from_secs(6);
const EVERY: Duration = Duration::from_millis(25);

/// Which processes belong to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The process that was started: its group's leader, and its session's if it has a terminal.
    pub leader: i32,
    /// The entry in the environment that tells this command's processes from others. Those that made groups of their own (as `timeout`
    /// does) are found by it; those that made sessions of their own were detached on purpose and are spared.
    pub mark: String,
}

struct Job {
    target: Target,
    since: Instant,
    /// What has been asked to end already.
    asked: Vec<i32>,
    done: oneshot::Sender<()>,
}

#[derive(Clone)]
pub struct Slayer(mpsc::UnboundedSender<(Target, oneshot::Sender<()>)>);

impl Slayer {
    pub fn start() -> Self {
        let (sender, jobs) = mpsc::unbounded_channel();
        tokio::spawn(run(jobs));
        Self(sender)
    }

    /// Completes when nothing of the command is left.
    pub async fn end(&self, target: Target) {
        let (done, ended) = oneshot::channel();
        if self.0.send((target, done)).is_ok() {
            let _ = ended.await;
        }
    }
}

async fn run(mut new: mpsc::UnboundedReceiver<(Target, oneshot::Sender<()>)>) {
    let mut jobs: Vec<Job> = Vec::new();
    loop {
        if jobs.is_empty() {
            let Some(first) = new.recv().await else { return };
            jobs.push(job(first));
        }
        while let Ok(next) = new.try_recv() {
            jobs.push(job(next));
        }
        round(&mut jobs);
        if !jobs.is_empty() {
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn job((target, done): (Target, oneshot::Sender<()>)) -> Job {
    Job { target, since: Instant::now(), asked: Vec::new(), done }
}

/// Looks once at all processes and sends each what it is due. Jobs that are done are taken out.
fn round(jobs: &mut Vec<Job>) {
    let me = nix::unistd::getpid().as_raw();
    let by_leader: HashMap<i32, usize> = jobs.iter().enumerate().map(|(i, j)| (j.target.leader, i)).collect();
    let mut members: Vec<Vec<Process>> = jobs.iter().map(|_| Vec::new()).collect();
    for process in processes::all() {
        if process.pid == me {
            continue;
        }
        let index = by_leader.get(&process.group).or_else(|| by_leader.get(&process.session)).copied().or_else(|| {
            let environ = (process.session == me).then(|| process.environ())?;
            jobs.iter().position(|j| environ.split(|b| *b == 0).any(|e| e == j.target.mark.as_bytes()))
        });
        if let Some(index) = index {
            members[index].push(process);
        }
    }
    let mut members = members.into_iter();
    jobs.retain_mut(|job| {
        let alive = members.next().unwrap_or_default();
        for process in &alive {
            if job.since.elapsed() > GRACE {
                process.signal(Signal::SIGKILL);
            } else if !job.asked.contains(&process.pid) {
                for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGCONT] {
                    process.signal(signal);
                }
                job.asked.push(process.pid);
            }
        }
        let over = alive.is_empty() || job.since.elapsed() > GIVE_UP;
        if over {
            let (nobody, _) = oneshot::channel();
            let _ = std::mem::replace(&mut job.done, nobody).send(());
        }
        !over
    });
}
