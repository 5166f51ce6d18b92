//! `opsrun ssh NAME NODE [COMMAND…]`: a shell on a node, or a remote shell for rsync and its like.

use super::App;
use super::complete::{deployments, nodes};
use crate::base::command::Exit;
use crate::base::error::{Error, Kind, Result};
use crate::domain::deployment::open_awake;
use crate::transport::ssh::{Pipes, Terminal};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// The exit code when the node could not be reached, as ssh has it.
const UNREACHABLE: u8 = 255;

/// Open a shell on a node, or run a command there
///
/// Bytes pass through as they are, and the command's exit code is ours, so this is a remote shell for rsync and others.
/// The command's words are joined by spaces and read by the login shell, as ssh does it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun ssh 4504 server-0
  opsrun ssh 4504 server-0 uptime
  opsrun ssh -t 4504 server-0 top
  rsync -a -e 'opsrun ssh 4504' conf/ server-0:conf/

Exit codes: the command's own (128 and the signal's number when one ended it); 255 when the node cannot be reached.")]
pub struct Args {
    /// Ask for a terminal even though a command is given
    #[arg(short = 't', long)]
    tty: bool,
    /// Log in as this user (rsync says it so)
    #[arg(short = 'l', value_name = "USER", hide = true)]
    login: Option<String>,
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// The node
    #[arg(value_name = "NODE", add = ArgValueCompleter::new(nodes))]
    node: String,
    /// The command; a shell when none
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub fn run(args: Args, app: &App) -> Result<()> {
    let deployment = app.block_on(open_awake(&app.project, &args.name, &app.client(), &app.cx))?;
    let (user, name) = match args.node.split_once('@') {
        Some((user, name)) => (Some(user.to_owned()), name),
        None => (args.login, args.node.as_str()),
    };
    let node = deployment.nodes().select(name)?.one()?.clone();
    let mut endpoint = node.endpoint.clone();
    if let Some(user) = user {
        endpoint.user = user;
    }
    let words: Vec<&[u8]> = args.command.iter().map(|w| w.as_bytes()).collect();
    let command = (!words.is_empty()).then(|| words.join(&b' '));
    let interactive = args.tty || (command.is_none() && std::io::stdin().is_terminal());
    let terminal = interactive.then(here);
    let client = app.client();
    // A wrong key or an unknown host is said while the terminal is still in its senses.
    app.block_on(client.connect(&endpoint, &app.cx)).map_err(unreachable)?;
    for pipe in [std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()] {
        wait_on(pipe);
    }
    let raw = if interactive { Raw::set() } else { None };
    let outcome = app.block_on(async {
        let pipes = Pipes {
            stdin: tokio::io::stdin(),
            stdout: tokio::io::stdout(),
            stderr: tokio::io::stderr(),
            resized: if interactive { resizes() } else { mpsc::unbounded_channel().1 },
        };
        client.shell(&endpoint, command.as_deref(), terminal.as_ref(), pipes, &app.cx).await
    });
    drop(raw);
    match outcome.map_err(unreachable)? {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => Err(Error::exit(u8::try_from(code).unwrap_or(u8::MAX))),
        Exit::Signal(name) => {
            let number = Signal::from_str(&format!("SIG{name}")).map_or(0, |s| s as i32);
            Err(Error::exit(u8::try_from(128 + number).unwrap_or(u8::MAX)))
        }
    }
}

/// Makes reads and writes wait. rsync hands its remote shell pipes that do not, and a full pipe would look like an error.
fn wait_on(pipe: BorrowedFd) {
    if let Ok(flags) = fcntl(pipe, FcntlArg::F_GETFL) {
        let flags = OFlag::from_bits_retain(flags) & !OFlag::O_NONBLOCK;
        let _ = fcntl(pipe, FcntlArg::F_SETFL(flags));
    }
}

fn unreachable(error: Error) -> Error {
    match error.kind() {
        Kind::Connection | Kind::Auth | Kind::HostKey | Kind::Timeout => error.exit_with(UNREACHABLE),
        _ => error.begun(),
    }
}

/// The terminal we are on, to ask the node for one like it.
fn here() -> Terminal {
    let term = std::env::var("TERM").ok().filter(|t| !t.is_empty()).unwrap_or_else(|| "xterm".to_owned());
    let (columns, rows) = size().unwrap_or((80, 24));
    Terminal { term, columns, rows }
}

fn size() -> Option<(u32, u32)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).or_else(|_| rustix::termios::tcgetwinsize(std::io::stdin()));
    size.ok().filter(|s| s.ws_col > 0 && s.ws_row > 0).map(|s| (s.ws_col.into(), s.ws_row.into()))
}

fn resizes() -> mpsc::UnboundedReceiver<(u32, u32)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    if let Ok(mut changed) = signal(SignalKind::window_change()) {
        tokio::spawn(async move {
            while changed.recv().await.is_some() {
                if size().is_some_and(|size| sender.send(size).is_err()) {
                    return;
                }
            }
        });
    }
    receiver
}

/// The local terminal passes every key on, until dropped.
struct Raw(Termios);

impl Raw {
    fn set() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}
