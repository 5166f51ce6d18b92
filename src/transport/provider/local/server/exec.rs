//! Commands of a node, without a terminal: `/bin/sh -c` in a process group of its own.

use super::super::reaper::{Ended, Started};
use super::super::slayer::Target;
use super::Node;
use super::channel::Link;
use bytes::BytesMut;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Once a command ended, its last output has this long to come out before the end is told. Whoever keeps the streams open longer (a
/// process in the background) keeps the channel open, as with OpenSSH.
const LAST_WORDS: Duration = Duration::from_millis(100);
const PIECE: usize = 64 << 10;

/// What the client asks of a command that runs.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    Signal(Signal),
    Resize(rustix::termios::Winsize),
}

/// A command as the shell of a node runs it. `shell` is none for the interactive shell.
pub fn command(node: &Node, program: &OsStr, arguments: &[&OsStr], env: &[(String, String)]) -> (Command, String) {
    let mark = format!("OPSRUN_COMMAND={}.{}", std::process::id(), node.next_command());
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(node.house.locale.iter().cloned()).envs(env.iter().cloned());
    command.env("HOME", &node.home).current_dir(&node.home);
    let user = &node.house.user;
    command.env("USER", user).env("LOGNAME", user).env("SHELL", &node.house.shell);
    if !env.iter().any(|(name, _)| name == "PATH") {
        command.env("PATH", &node.house.path);
    }
    command.env("OPSRUN_NODE", &node.name).env("OPSRUN_DEPLOYMENT", &node.deployment);
    for entry in [node.mark().as_str(), &mark] {
        if let Some((name, value)) = entry.split_once('=') {
            command.env(name, value);
        }
    }
    (command, mark)
}

/// Runs the line to its end and tells the client how it went.
pub async fn run(node: Arc<Node>, link: Link, line: Vec<u8>, env: Vec<(String, String)>, orders: mpsc::UnboundedReceiver<Order>) {
    let (mut command, mark) = command(&node, OsStr::new("/bin/sh"), &[OsStr::new("-c"), OsStr::from_bytes(&line)], &env);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = node.house.reaper.spawn(&mut command);
    // The pipes' other ends are the child's alone from here on.
    drop(command);
    match started.and_then(Running::new) {
        Ok(running) => running.follow(&node, &link, mark, orders).await,
        Err(e) => cannot_start(&link, &node, &e).await,
    }
}

pub async fn cannot_start(link: &Link, node: &Node, error: &io::Error) {
    let why = if node.home.is_dir() { error.to_string() } else { format!("its directory {} is gone", node.home.display()) };
    let _ = link.send(format!("opsrun: cannot start the command on {}: {why}\n", node.name).into(), true).await;
    link.exit(Ended::Code(255)).await;
    link.eof().await;
    link.close().await;
}

struct Running {
    started: Started,
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

impl Running {
    fn new(mut started: Started) -> io::Result<Self> {
        let missing = || io::Error::other("a pipe is missing");
        let stdin = pipe::Sender::from_owned_fd(OwnedFd::from(started.child.stdin.take().ok_or_else(missing)?))?;
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(started.child.stdout.take().ok_or_else(missing)?))?;
        let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(started.child.stderr.take().ok_or_else(missing)?))?;
        Ok(Self { started, stdin, stdout, stderr })
    }

    async fn follow(self, node: &Node, link: &Link, mark: String, mut orders: mpsc::UnboundedReceiver<Order>) {
        let Self { started, stdin, stdout, stderr } = self;
        let leader = started.pid;
        node.started(leader);
        let mut exit = started.ended;
        let feeding = feed(link, stdin);
        let output = async { tokio::join!(pump(stdout, link, false), pump(stderr, link, true)) };
        tokio::pin!(feeding, output);
        let (mut fed, mut drained, mut told) = (false, false, false);
        let mut ended: Option<(Ended, Instant)> = None;
        while !(drained && ended.is_some()) {
            let last_words = async {
                match ended {
                    Some((_, at)) if !told => tokio::time::sleep_until(at + LAST_WORDS).await,
                    _ => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = link.closed.cancelled() => {
                    if ended.is_none() {
                        node.house.slayer.end(Target { leader, mark }).await;
                    }
                    return;
                }
                Some(order) = orders.recv(), if ended.is_none() => {
                    if let Order::Signal(signal) = order {
                        let _ = killpg(Pid::from_raw(leader), signal);
                    }
                }
                _ = &mut output, if !drained => drained = true,
                status = &mut exit, if ended.is_none() => {
                    ended = Some((status.unwrap_or(Ended::Code(255)), Instant::now()));
                }
                () = last_words => {
                    told = true;
                    if let Some((how, _)) = ended {
                        link.exit(how).await;
                    }
                }
                () = &mut feeding, if !fed => fed = true,
            }
        }
        if let Some((how, _)) = ended
            && !told
        {
            link.exit(how).await;
        }
        link.eof().await;
        link.close().await;
    }
}

/// What the client sends becomes stdin, which ends when the client says so.
async fn feed(link: &Link, mut stdin: pipe::Sender) {
    while let Ok(Some(piece)) = link.inbound.next().await {
        if stdin.write_all(&piece).await.is_err() {
            break;
        }
    }
    link.inbound.discard();
}

/// Carries a stream to the client until it ends or the channel does.
pub async fn pump(mut from: impl AsyncRead + Unpin, link: &Link, stderr: bool) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if link.send(buffer.split().freeze(), stderr).await.is_err() {
                    return;
                }
            }
        }
    }
}
