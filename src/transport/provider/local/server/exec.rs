//! Commands of a node, without a terminal: `/bin/sh -c` in a process group of its own.

use super::super::reaper::{Ended, Started};
use super::super::slayer::Target;
use super::Node;
use super::channel::Link;
use bytes::BytesMut;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
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

/// What is to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Program {
    /// A line for `/bin/sh`.
    Line(Vec<u8>),
    /// The user's shell.
    Shell,
}

impl Program {
    /// The program and its arguments.
    pub fn words(self, node: &Node) -> Vec<OsString> {
        match self {
            Self::Line(line) => vec!["/bin/sh".into(), "-c".into(), OsString::from_vec(line)],
            Self::Shell => vec![node.house.shell.clone().into()],
        }
    }
}

/// A command with a node's environment, and the entry in that which marks it.
pub fn command(node: &Node, words: &[OsString], env: &[(String, String)]) -> (Command, String) {
    let serial = format!("{}.{}", std::process::id(), node.next_command());
    let (program, arguments) = words.split_first().map_or((OsStr::new("/bin/sh"), &[][..]), |(p, rest)| (p.as_os_str(), rest));
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", &node.house.path);
    command.envs(node.house.locale.iter().cloned()).envs(env.iter().cloned());
    command.env("HOME", &node.home).current_dir(&node.home);
    let user = &node.house.user;
    command.env("USER", user).env("LOGNAME", user).env("SHELL", &node.house.shell);
    command.env("OPSRUN_NODE", &node.name).env("OPSRUN_DEPLOYMENT", &node.deployment);
    command.env(super::super::layout::MARK, node.id()).env("OPSRUN_COMMAND", &serial);
    (command, format!("OPSRUN_COMMAND={serial}"))
}

/// Runs it to its end and tells the client how it went.
pub async fn run(
    node: Arc<Node>,
    link: Link,
    program: Program,
    env: Vec<(String, String)>,
    orders: mpsc::UnboundedReceiver<Order>,
) {
    let (mut command, mark) = command(&node, &program.words(&node), &env);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = node.house.reaper.spawn(&mut command);
    match started.and_then(Pipes::take) {
        Ok((pipes, leader, exit)) => {
            let job = Job { node: &node, link: &link, target: Target { leader, mark }, lingers: true };
            let (input, output) = pipes.carry(&link);
            job.follow(exit, orders, input, output, |_| {}).await;
        }
        Err(e) => cannot_start(&link, &node, &e).await,
    }
}

/// Says why on stderr, and ends as OpenSSH does when it cannot run a command.
pub async fn cannot_start(link: &Link, node: &Node, error: &io::Error) {
    let why = if node.home.is_dir() { error.to_string() } else { format!("its directory {} is gone", node.home.display()) };
    let _ = link.send(format!("opsrun: cannot start the command on {}: {why}\n", node.name).into(), true).await;
    link.exit(Ended::Code(255)).await;
    link.eof().await;
    link.close().await;
}

struct Pipes {
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

impl Pipes {
    fn take(mut started: Started) -> io::Result<(Self, i32, oneshot::Receiver<Ended>)> {
        let missing = || io::Error::other("a pipe is missing");
        let stdin = pipe::Sender::from_owned_fd(OwnedFd::from(started.child.stdin.take().ok_or_else(missing)?))?;
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(started.child.stdout.take().ok_or_else(missing)?))?;
        let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(started.child.stderr.take().ok_or_else(missing)?))?;
        Ok((Self { stdin, stdout, stderr }, started.pid, started.ended))
    }

    fn carry(self, link: &Link) -> (impl Future<Output = Result<(), Lost<pipe::Sender>>>, impl Future<Output = ()>) {
        let Self { stdin, stdout, stderr } = self;
        let output = async {
            tokio::join!(pump(stdout, link, false), pump(stderr, link, true));
        };
        (feed(link, stdin), output)
    }
}

/// A command that runs, and what to do about it.
pub struct Job<'a> {
    pub node: &'a Node,
    pub link: &'a Link,
    pub target: Target,
    /// Whether output is waited for after the command ended, for as long as somebody holds its streams.
    pub lingers: bool,
}

impl Job<'_> {
    /// Carries input, output and orders until the command and its output have ended, or the client is gone.
    pub async fn follow<Stdin>(
        self,
        mut exit: oneshot::Receiver<Ended>,
        mut orders: mpsc::UnboundedReceiver<Order>,
        input: impl Future<Output = Result<(), Lost<Stdin>>>,
        output: impl Future<Output = ()>,
        resize: impl Fn(rustix::termios::Winsize),
    ) {
        let Self { node, link, target, lingers } = self;
        node.started(target.leader);
        tokio::pin!(input, output);
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
                        node.house.slayer.end(target).await;
                    }
                    return;
                }
                Some(order) = orders.recv() => match order {
                    Order::Signal(signal) if ended.is_none() => {
                        let _ = killpg(Pid::from_raw(target.leader), signal);
                    }
                    Order::Signal(_) => {}
                    Order::Resize(size) => resize(size),
                },
                () = &mut output, if !drained => drained = true,
                status = &mut exit, if ended.is_none() => {
                    ended = Some((status.unwrap_or(Ended::Code(255)), Instant::now()));
                }
                () = last_words => {
                    if !lingers {
                        break;
                    }
                    told = true;
                    if let Some((how, _)) = ended {
                        link.exit(how).await;
                    }
                }
                input = &mut input, if !fed => match input {
                    Err(lost) if ended.is_none() => {
                        // It must not take what came so far for everything.
                        node.house.slayer.end(target).await;
                        let why = format!("opsrun: {} could not keep the command's input: {}\n", node.name, lost.why);
                        let _ = link.send(why.into(), true).await;
                        ended = Some((Ended::Code(255), Instant::now()));
                        break;
                    }
                    _ => fed = true,
                },
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

/// Input that could not be kept until the command took it (the disk is full). The command's stdin is still open.
pub struct Lost<Stdin> {
    why: io::Error,
    _stdin: Stdin,
}

impl<Stdin> Lost<Stdin> {
    pub fn new(why: io::Error, stdin: Stdin) -> Self {
        Self { why, _stdin: stdin }
    }
}

/// What the client sends becomes stdin, which ends when the client says so.
async fn feed(link: &Link, mut stdin: pipe::Sender) -> Result<(), Lost<pipe::Sender>> {
    let fed = copy_input(link, &mut stdin).await;
    link.inbound.discard();
    fed.map_err(|why| Lost::new(why, stdin))
}

/// Fails only when input was lost: a command need not read all of it.
pub async fn copy_input(link: &Link, stdin: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    while let Some(piece) = link.inbound.next().await? {
        if stdin.write_all(&piece).await.is_err() {
            break;
        }
    }
    Ok(())
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
