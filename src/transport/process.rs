//! Commands on this machine, with the same shape and the same end as commands on hosts.

use crate::base::capture::Capture;
use crate::base::command::{Command, Exit, Output};
use crate::base::error::{Error, Result};
use crate::base::event::{Cx, Stream};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::time::{Instant, sleep, sleep_until};

/// Between SIGTERM and SIGKILL.
const KILL_GRACE: Duration = Duration::from_millis(if cfg!(test) { 600 } else { 3000 });
/// A background process that keeps the output open this long after the command's end is mentioned.
const LINGERING: Duration = Duration::from_secs(5);

/// Runs a command with `/bin/sh`, in a process group of its own. With `live`, its lines are events while it runs (with an
/// empty node name). On timeout, on cancel and when the future is dropped, the whole group gets SIGTERM, then SIGKILL.
pub async fn run(command: &Command, live: bool, cx: &Cx) -> Result<Output> {
    let fail = |mut error: Error| {
        error.details_mut().command = Some(command.line.clone());
        error
    };
    let start = Instant::now();
    let mut child = tokio::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(command.wrapped())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| fail(Error::io("start", "/bin/sh", &e)))?;
    let (Some(stdin), Some(mut stdout), Some(mut stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(fail(Error::internal("a command has no pipes")));
    };
    let mut group = Group::new(child);
    let mut capture = Capture::new(command, "", live, &cx.events);
    let feed = feed(stdin, command.input());
    let deadline = at(command.timeout.map(|limit| start + limit));
    let cancelled = cx.cancel.cancelled();
    tokio::pin!(feed, deadline, cancelled);
    let (mut out, mut err) = (Some(vec![0; 16 << 10]), Some(vec![0; 16 << 10]));
    let mut status: Option<ExitStatus> = None;
    let mut fed = false;
    let mut lingering = None;
    while status.is_none() || out.is_some() || err.is_some() {
        tokio::select! {
            read = read(&mut stdout, &mut out), if out.is_some() => capture.push(Stream::Stdout, read),
            read = read(&mut stderr, &mut err), if err.is_some() => capture.push(Stream::Stderr, read),
            () = &mut feed, if !fed => fed = true,
            ended = group.wait(), if status.is_none() => {
                status = Some(ended.map_err(|e| fail(Error::io("wait for", "a command", &e)))?);
                lingering = Some(Instant::now() + LINGERING);
            }
            () = &mut cancelled => {
                group.end().await;
                return Err(fail(Error::cancelled()));
            }
            () = &mut deadline => {
                group.end().await;
                return Err(command.timed_out(capture.finish(Exit::Signal("TERM".to_owned()), start.elapsed())));
            }
            () = at(lingering) => {
                cx.events.warn("the command has ended, but something it started still holds its output open; redirect that");
                lingering = None;
            }
        }
    }
    group.over();
    let Some(status) = status else { return Err(Error::internal("a command ended without a status")) };
    Ok(capture.finish(exit(status), start.elapsed()))
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(number)) => Exit::Signal(
            Signal::try_from(number).map_or_else(|_| number.to_string(), |s| s.as_str().trim_start_matches("SIG").to_owned()),
        ),
        (None, None) => Exit::Code(-1),
    }
}

async fn feed(mut stdin: ChildStdin, input: bytes::Bytes) {
    // A command need not read its input.
    let _ = stdin.write_all(&input).await;
}

/// What came next; at the end the buffer is taken away.
async fn read<'a>(pipe: &mut (impl AsyncRead + Unpin), buffer: &'a mut Option<Vec<u8>>) -> &'a [u8] {
    let read = match buffer.as_mut() {
        Some(buffer) => pipe.read(buffer).await.unwrap_or(0),
        None => 0,
    };
    if read == 0 {
        *buffer = None;
    }
    buffer.as_ref().map_or(&[], |buffer| &buffer[..read])
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// The groups of commands under way.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn groups() -> MutexGuard<'static, BTreeSet<i32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills every command under way, for a program that is about to end without waiting for anything.
/// They are in groups of their own, so neither a terminal's Ctrl-C nor our end reaches them.
pub fn kill_all() {
    for group in groups().iter() {
        let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
    }
}

/// A running command's process group. Dropped before its end, it is ended in the background.
struct Group {
    running: Option<Child>,
    /// Also the group's number. The child itself forgets it once it has ended, while its group may live on.
    pid: Option<i32>,
}

impl Group {
    fn new(child: Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        groups().extend(pid);
        Self { running: Some(child), pid }
    }

    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        match &mut self.running {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        }
    }

    async fn end(&mut self) {
        if let (Some(child), Some(pid)) = (self.running.take(), self.pid) {
            end(child, pid).await;
        }
    }

    /// It ended by itself: whatever it left behind was meant to stay.
    fn over(&mut self) {
        self.running = None;
        if let Some(pid) = self.pid {
            groups().remove(&pid);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let (Some(child), Some(pid)) = (self.running.take(), self.pid)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(end(child, pid));
        }
    }
}

async fn end(child: Child, pid: i32) {
    terminate(child, pid).await;
    groups().remove(&pid);
}

async fn terminate(mut child: Child, pid: i32) {
    let group = Pid::from_raw(pid);
    for (signal, grace) in [(Signal::SIGTERM, KILL_GRACE), (Signal::SIGKILL, Duration::from_secs(1))] {
        if killpg(group, signal) == Err(Errno::EPERM) {
            // Behind sudo, the group is root's.
            let kill = format!("sudo -n kill -s {} -- -{pid}", signal.as_str().trim_start_matches("SIG"));
            let _ = tokio::process::Command::new("/bin/sh").args(["-c", &kill]).stdin(Stdio::null()).output().await;
        }
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            let _ = child.try_wait();
            if killpg(group, None) == Err(Errno::ESRCH) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cancel::Cancel;
    use crate::base::error::Kind;
    use crate::base::event::{Events, Lines};

    fn alive(word: &str) -> bool {
        let listed = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).lines().any(|l| l.contains(word))
    }

    #[tokio::test]
    async fn output_exit_signal_input_environment() {
        let lines = Lines::default();
        let cx = Cx::new(Cancel::new(), Events::new(lines.clone()));
        let output = run(&Command::new("echo one; printf two; echo err >&2; exit 4"), true, &cx).await.unwrap();
        assert_eq!((output.exit, &output.stdout[..], &output.stderr[..]), (Exit::Code(4), &b"one\ntwo"[..], &b"err\n"[..]));
        let mut heard = lines.texts();
        heard.sort();
        assert_eq!(heard, ["err", "one", "two"]);
        assert!(lines.nodes().iter().all(String::is_empty), "it is this machine that prints");
        let output = run(&Command::new("kill -9 $$"), false, &cx).await.unwrap();
        assert_eq!(output.exit, Exit::Signal("KILL".to_owned()));
        let input: Vec<u8> = (0..=255).cycle().take(5_000_000).collect();
        let output = run(&Command::new("cat").stdin(input.clone()), false, &cx).await.unwrap();
        assert!(output.stdout == input);
        let output = run(&Command::new("true").stdin(input), false, &cx).await.unwrap();
        assert!(output.exit.is_success());
        let command = Command { env: vec![("A".into(), "it's".into())], cwd: Some("/".into()), ..Command::new("echo $A $PWD") };
        assert_eq!(run(&command, false, &cx).await.unwrap().stdout, b"it's /\n");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn ends_the_whole_group() {
        // What the shell has left behind, still holding its output, is of the group too.
        let orphan = format!("sleep 87.{:07}", std::process::id());
        let command = Command { timeout: Some(Duration::from_millis(300)), ..Command::new(format!("{orphan} & exit 0")) };
        assert_eq!(run(&command, false, &Cx::quiet()).await.unwrap_err().kind(), Kind::Timeout);
        assert!(!alive(&orphan));
        for stubborn in [false, true] {
            let token = format!("sleep 88.{:07}{}", std::process::id(), u8::from(stubborn));
            let trap = if stubborn { "trap '' TERM;" } else { "" };
            let line = format!("{trap} {token} & {token}; wait");
            let command = Command { timeout: Some(Duration::from_millis(300)), ..Command::new(line.clone()) };
            let error = run(&command, false, &Cx::quiet()).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Timeout);
            assert!(!alive(&token));
            let cx = Cx::quiet();
            let command = Command::new(line);
            let (result, ()) = tokio::join!(run(&command, false, &cx), async {
                sleep(Duration::from_millis(300)).await;
                assert!(alive(&token));
                cx.cancel.cancel();
            });
            assert!(result.unwrap_err().is_cancelled());
            assert!(!alive(&token));
            let cx = Cx::quiet();
            let _ = tokio::time::timeout(Duration::from_millis(300), run(&command, false, &cx)).await;
            sleep(if stubborn { KILL_GRACE + Duration::from_millis(500) } else { Duration::from_millis(500) }).await;
            assert!(!alive(&token));
        }
    }
}
