//! Commands on a node that outlive the connection, and the controller: started once, found again by name.
//!
//! A job is a folder `~/.opsrun/jobs/NAME` on the node and a small supervisor shell in a session of its own.
//! As long as the supervisor lives it holds a lock on `alive`: that it is gone (with its process, or with the machine)
//! needs no guess about process numbers. What the job did is in `log`, how it ended in `code`.

mod protocol;

use crate::base::capture;
use crate::base::command::{Command, Exit, Output};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Event, Events, Listener, Stream};
use crate::base::{shell, units};
use async_trait::async_trait;
use protocol::Report;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One call to the node waits at most this long, so that a connection that died unnoticed is found out.
const LONG_POLL: Duration = Duration::from_secs(120);
/// How long a node may be out of reach while its job is waited for.
const OUT_OF_REACH: Duration = Duration::from_secs(600);
/// How long `stop` lets processes end by themselves.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs shell commands on one machine. What jobs need of SSH, and no more, so that tests can do without it.
#[async_trait]
pub trait Machine: Send + Sync {
    async fn run(&self, command: &Command, live: bool, cx: &Cx) -> Result<Output>;
    /// The node's name, for errors.
    fn name(&self) -> &str;
}

/// How a job stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    Running,
    Ended {
        code: i32,
        /// `stop` ended it.
        stopped: bool,
        took: Duration,
    },
    /// It ended without a word: the machine rebooted, or the supervisor was killed. The reason, as a phrase.
    Lost(&'static str),
    /// There is no job of this name.
    Missing,
}

/// What `start` found or did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Started {
    /// Process number of the supervisor, which leads the job's session.
    pub pid: u32,
    /// A job of this name was running already and goes on; nothing was started.
    pub attached: bool,
}

/// A name for a job that was not given one.
pub fn fresh_name() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("job-{}", &id[..12])
}

/// Refuses names that cannot be a folder's.
pub fn check_name(name: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 80 || name.starts_with('.') || !name.chars().all(fine) {
        return Err(Error::usage(format!("\"{name}\" is no name for a job"))
            .hint("Job names are made of letters, digits, \"-\", \"_\" and \".\", at most 80 of them."));
    }
    Ok(())
}

/// Starts the command as a job, unless a job of this name still runs: then that one is the job.
///
/// Of the command, `line`, `env`, `cwd`, `sudo` and `user` count; its stdin is empty. Safe to repeat after a lost connection
/// with the same `token`, which is to be unique for each wish to start something.
pub async fn start(machine: &dyn Machine, name: &str, token: &str, command: &Command, cx: &Cx) -> Result<Started> {
    check_name(name)?;
    // The user's line may read its stdin: there is to be nothing in it but what the environment needs.
    let command = Command { stdin: crate::base::command::Stdin::Empty, timeout: None, ..command.clone() };
    let input = command.input();
    let line = command.wrapped();
    let other_user = if command.sudo || command.user.is_some() { "yes" } else { "no" };
    let settings = [
        ("token", token),
        ("line", line.as_str()),
        ("bytes", &input.len().to_string()),
        ("root", other_user),
        ("supervisor", protocol::SUPERVISOR),
    ];
    let call = protocol::call(name, &settings, protocol::START).stdin(input);
    let said = call_for_text(machine, &call, &format!("starting job {name}"), cx).await?;
    let mut lines = said.lines();
    let report = Report::parse(lines.next().unwrap_or_default())?;
    let attached = match lines.next() {
        Some("attached no") => {
            cx.events.warn(format!(
                "{}: job {name} still runs with another command: that one goes on, nothing was started",
                machine.name()
            ));
            true
        }
        Some("attached yes") => true,
        _ => false,
    };
    Ok(Started { pid: report.pid, attached })
}

/// How the job stands now.
pub async fn status(machine: &dyn Machine, name: &str, cx: &Cx) -> Result<State> {
    check_name(name)?;
    let call = protocol::call(name, &[], "report");
    let said = call_for_text(machine, &call, &format!("asking for job {name}"), cx).await?;
    Ok(Report::parse(&said)?.state)
}

/// Waits until the job has ended, through lost connections, and returns what came of it with the last `keep` bytes of its log as stdout.
///
/// A job that is lost or does not exist is an error. When `timeout` passes first that is an error too; the job goes on.
pub async fn wait(machine: &dyn Machine, name: &str, timeout: Option<Duration>, keep: usize, cx: &Cx) -> Result<Output> {
    check_name(name)?;
    let begin = Instant::now();
    let mut reach = Reach::new(machine, cx);
    loop {
        let left = timeout.map_or(LONG_POLL, |t| t.saturating_sub(begin.elapsed()).min(LONG_POLL));
        let patience = format!("{}.{:03}", left.as_secs(), left.subsec_millis().max(u32::from(left.is_zero())));
        let call = protocol::call(name, &[("patience", &patience), ("keep", &keep.to_string())], protocol::WAIT);
        let call = Command { timeout: Some(left + Duration::from_secs(60)), keep: keep + 4096, ..call };
        let output = match cx.cancel.guard(machine.run(&call, false, cx)).await {
            Ok(output) => output,
            Err(e) => {
                reach.lost(e).await?;
                continue;
            }
        };
        reach.found();
        protocol::succeeded(&output, &format!("waiting for job {name}")).map_err(|e| e.on_node(machine.name()))?;
        let (report, log, size) = protocol::split_wait(&output.stdout)?;
        match report.state {
            State::Running => {
                if let Some(limit) = timeout.filter(|t| begin.elapsed() >= *t) {
                    let limit = units::format_duration(limit);
                    return Err(Error::new(Kind::Timeout, format!("job {name} still runs after {limit}"))
                        .on_node(machine.name())
                        .hint("It was not stopped: wait again, or stop it."));
                }
            }
            State::Ended { code, took, .. } => {
                let dropped = size.saturating_sub(log.len() as u64);
                return Ok(Output { exit: Exit::Code(code), stdout: log.to_vec(), stderr: Vec::new(), dropped, took });
            }
            State::Lost(why) => {
                let mut error = Error::new(Kind::Command, format!("job {name} is lost: {why}")).on_node(machine.name());
                error.details_mut().stderr = capture::tail(log);
                return Err(error);
            }
            State::Missing => return Err(missing(machine, name)),
        }
    }
}

/// Stops all processes of the job: SIGTERM, and SIGKILL for what is left after `timeout`. Returns how the job stands then;
/// one that had ended before is left as it is.
pub async fn stop(machine: &dyn Machine, name: &str, timeout: Duration, cx: &Cx) -> Result<State> {
    check_name(name)?;
    let tenths = (timeout.as_millis() / 100).to_string();
    let call = protocol::call(name, &[("tenths", &tenths)], protocol::STOP);
    let call = Command { timeout: Some(timeout + Duration::from_secs(60)), ..call };
    let said = call_for_text(machine, &call, &format!("stopping job {name}"), cx).await?;
    let mut lines = said.lines();
    let report = Report::parse(lines.next().unwrap_or_default())?;
    if lines.next() == Some("killed yes") {
        let waited = units::format_duration(timeout);
        cx.events.warn(format!("{}: job {name} did not end within {waited} of SIGTERM and was killed", machine.name()));
    }
    Ok(report.state)
}

/// The last `lines` lines of the job's log, or all of it (as much as a command's output may be).
pub async fn log(machine: &dyn Machine, name: &str, lines: Option<usize>, cx: &Cx) -> Result<Vec<u8>> {
    check_name(name)?;
    let read = match lines {
        Some(n) => format!("tail -n {n} \"$d/log\""),
        None => "cat \"$d/log\"".to_owned(),
    };
    let call = protocol::call(name, &[], &format!("[ -d \"$d\" ] || exit 66\n{read}"));
    let output = machine.run(&call, false, cx).await?;
    if output.exit == Exit::Code(66) {
        return Err(missing(machine, name));
    }
    protocol::succeeded(&output, &format!("reading the log of job {name}")).map_err(|e| e.on_node(machine.name()))?;
    Ok(output.stdout)
}

/// Shows the job's log line by line as events, from its beginning, until the job has ended; goes on after lost connections.
pub async fn follow(machine: &dyn Machine, name: &str, cx: &Cx) -> Result<()> {
    check_name(name)?;
    let seen = Arc::new(AtomicU64::new(0));
    let counting = Cx::new(cx.cancel.clone(), Events::new(Counting { seen: seen.clone(), inner: cx.events.clone() }));
    let mut reach = Reach::new(machine, cx);
    loop {
        let from = (seen.load(Ordering::Relaxed) + 1).to_string();
        let call = protocol::call(name, &[("from", &from)], protocol::FOLLOW);
        let call = Command { keep: 0, ..call };
        match cx.cancel.guard(machine.run(&call, true, &counting)).await {
            Ok(output) if output.exit == Exit::Code(66) => return Err(missing(machine, name)),
            Ok(output) => {
                return protocol::succeeded(&output, &format!("following job {name}")).map_err(|e| e.on_node(machine.name()));
            }
            Err(e) => reach.lost(e).await?,
        }
    }
}

/// Forgets a job that has ended: its folder and log are removed.
pub async fn forget(machine: &dyn Machine, name: &str, cx: &Cx) -> Result<()> {
    check_name(name)?;
    let body = "if running; then echo \"it still runs\" >&2; exit 1; fi\nrm -rf \"$d\"";
    call_for_text(machine, &protocol::call(name, &[], body), &format!("removing job {name}"), cx).await.map(drop)
}

/// The names of all jobs on the machine, running or not.
pub async fn list(machine: &dyn Machine, cx: &Cx) -> Result<Vec<String>> {
    let call = protocol::call("x", &[], "[ ! -d \"$jobs\" ] || ls \"$jobs\"");
    let said = call_for_text(machine, &call, "listing jobs", cx).await?;
    Ok(said.lines().map(str::to_owned).collect())
}

fn missing(machine: &dyn Machine, name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no job {name}")).on_node(machine.name())
}

async fn call_for_text(machine: &dyn Machine, call: &Command, doing: &str, cx: &Cx) -> Result<String> {
    let output = machine.run(call, false, cx).await.map_err(|e| e.context(doing.to_owned()))?;
    protocol::succeeded(&output, doing).map_err(|e| e.on_node(machine.name()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Patience with a node that cannot be reached for a while.
struct Reach<'a> {
    machine: &'a dyn Machine,
    cx: &'a Cx,
    since: Option<Instant>,
}

impl<'a> Reach<'a> {
    fn new(machine: &'a dyn Machine, cx: &'a Cx) -> Self {
        Self { machine, cx, since: None }
    }

    fn found(&mut self) {
        self.since = None;
    }

    /// Returns after a pause when the call may be tried again.
    async fn lost(&mut self, error: Error) -> Result<()> {
        let passing = matches!(error.kind(), Kind::Connection | Kind::Timeout);
        let since = *self.since.get_or_insert_with(|| {
            if passing {
                self.cx.events.warn(format!("{}: {}; the job goes on, trying again", self.machine.name(), error.message()));
            }
            Instant::now()
        });
        if !passing || since.elapsed() > OUT_OF_REACH {
            return Err(error);
        }
        let pause = (since.elapsed() / 4).clamp(Duration::from_millis(200), Duration::from_secs(10));
        let slept = async {
            tokio::time::sleep(pause).await;
            Ok(())
        };
        self.cx.cancel.guard(slept).await
    }
}

/// Counts the lines that pass by, so that following can go on where it was cut.
struct Counting {
    seen: Arc<AtomicU64>,
    inner: Events,
}

impl Listener for Counting {
    fn event(&self, event: Event) {
        if let Event::Line { stream: Stream::Stdout, .. } = &event {
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.send(event);
    }
}

/// The shell assignment of a value.
fn assignment(name: &str, value: &str) -> String {
    format!("{name}={}\n", shell::quote(value))
}

#[cfg(test)]
mod tests;
