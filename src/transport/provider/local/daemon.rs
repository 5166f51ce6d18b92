//! How a supervisor comes to be: started by the provider, cut loose from whoever started that.

use super::control::{Answer, Client, Request};
use super::layout::Layout;
use super::processes;
use super::supervisor::{self, Hold};
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::Cx;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::Instant;

/// The hidden subcommand: `opsrun __supervise <dir> [detached]`.
pub const COMMAND: &str = "__supervise";
const DETACHED: &str = "detached";

/// What a starting supervisor says on its stdout: one of these, or an error.
const READY: &str = "ready";
const BUSY: &str = "busy";

const READY_WITHIN: Duration = Duration::from_secs(20);
/// Descriptors: three for each command and one for each connection. More than this makes programs slow that close all they could have.
const MOST_FILES: u64 = 1 << 16;
/// What a supervisor needs of its environment. Keys and tokens that the user has in his are not for the nodes to see.
const KEPT: [&str; 7] = ["PATH", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR", "RUST_BACKTRACE"];

/// A connection to the deployment's supervisor, which is started if there is none.
async fn ensure(exe: &Path, layout: &Layout, cx: &Cx) -> Result<Client> {
    let deadline = Instant::now() + READY_WITHIN;
    let late = || {
        Error::new(Kind::Timeout, "the supervisor of the local nodes did not get ready")
            .hint(format!("Its log is {}.", layout.log().display()))
    };
    loop {
        if let Some(client) = Client::connect(layout).await {
            return Ok(client);
        }
        let start = tokio::time::timeout_at(deadline, start(exe, layout));
        let word = cx.cancel.guard(async { start.await.unwrap_or_else(|_| Err(late())) }).await?;
        match word.trim() {
            READY => {}
            // Another one is starting, or ending.
            BUSY => tokio::time::sleep(Duration::from_millis(10)).await,
            "" => {
                let log = std::fs::read_to_string(layout.log()).unwrap_or_default();
                let tail: Vec<&str> = log.trim_end().lines().rev().take(3).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                return Err(Error::new(Kind::Provider, format!("the supervisor of the local nodes died: {}", tail.join("; ")))
                    .hint(format!("Its log is {}.", layout.log().display())));
            }
            error => return Err(Error::new(Kind::Provider, format!("cannot start the supervisor of the local nodes: {error}"))),
        }
        if Instant::now() > deadline {
            return Err(late());
        }
    }
}

/// Asks the deployment's supervisor, started if there is none.
pub async fn ask(exe: &Path, layout: &Layout, request: &Request, cx: &Cx) -> Result<Answer> {
    let deadline = Instant::now() + READY_WITHIN;
    while Instant::now() < deadline {
        let mut client = ensure(exe, layout, cx).await?;
        if let Some(answer) = cx.cancel.guard(client.ask(request)).await? {
            return Ok(answer);
        }
        // It was about to end when we reached it.
        cx.cancel.check()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Error::new(Kind::Provider, "the supervisor of the local nodes does not understand this opsrun")
        .hint("It may have been started by another version. Deprovision with that version, or end its process.")
        .hint(format!("Its process ID is in {}.", layout.pid().display())))
}

/// Whether a process is a supervisor, and not some other that got its number.
pub fn is_supervisor(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    pid > 1 && line.split(|b| *b == 0).nth(1).is_some_and(|word| word == COMMAND.as_bytes())
}

/// Starts one and returns its first word.
async fn start(exe: &Path, layout: &Layout) -> Result<String> {
    let log = File::options().append(true).create(true).mode(0o600).open(layout.log()).at("open", layout.log())?;
    let mut command = tokio::process::Command::new(exe);
    command.arg(COMMAND).arg(&layout.root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).current_dir("/").env_clear();
    command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let mut child = command.spawn().at("start", exe)?;
    let stdout = child.stdout.take();
    // The child only starts another and ends; that one inherits the pipe and speaks.
    let _ = child.wait().await;
    let mut word = String::new();
    if let Some(stdout) = stdout {
        let _ = BufReader::new(stdout).read_line(&mut word).await;
    }
    Ok(word)
}

/// The body of the hidden subcommand. Returns its exit code; errors went to the log and to whoever waits.
pub fn main(arguments: &[std::ffi::OsString]) -> u8 {
    let [dir, rest @ ..] = arguments else { return 2 };
    let mut out = std::io::stdout();
    let outcome = if rest.first().is_some_and(|w| w == DETACHED) { detached(Path::new(dir)) } else { detach(Path::new(dir)) };
    match outcome {
        Ok(()) => 0,
        Err(e) => {
            let text = e.to_string().replace('\n', " ");
            let _ = writeln!(out, "{text}").and_then(|()| out.flush());
            let _ = writeln!(std::io::stderr(), "{} {text}", jiff::Zoned::now().strftime("%F %T"));
            1
        }
    }
}

/// Starts the process that stays and leaves it to init: whoever called us need not wait for that one, ever.
fn detach(dir: &Path) -> Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("opsrun").arg(COMMAND).arg(dir).arg(DETACHED);
    command.spawn().map(drop).at("start", "/proc/self/exe")
}

fn detached(dir: &Path) -> Result<()> {
    processes::close_inherited();
    let _ = nix::sys::prctl::set_name(c"opsrun");
    let os = |what: &str, e: nix::Error| Error::new(Kind::Provider, format!("{what}: {e}"));
    nix::unistd::setsid().map_err(|e| os("cannot start a session", e))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| os("cannot become the reaper of the nodes' processes", e))?;
    let files = getrlimit(Resource::Nofile);
    let wanted = files.maximum.unwrap_or(MOST_FILES).min(MOST_FILES);
    if files.current.is_some_and(|now| now < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: files.maximum });
    }
    let layout = Layout { root: dir.to_owned() };
    let mut out = std::io::stdout();
    let mut say = move |word: &str| {
        let _ = writeln!(out, "{word}").and_then(|()| out.flush());
        // From now on nobody listens: the pipe must close.
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            let _ = nix::unistd::dup2_stdout(null);
        }
    };
    if let Some(hold) = Hold::take(&layout)? {
        return supervisor::supervise(dir, hold, || say(READY));
    }
    say(BUSY);
    Ok(())
}
