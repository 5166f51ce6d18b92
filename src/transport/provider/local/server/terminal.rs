//! Commands of a node with a terminal.

use super::super::slayer::Target;
use super::Node;
use super::channel::Link;
use super::exec::{Job, Lost, Order, Program, cannot_start, command, copy_input, pump};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{
    InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices as Cc, Termios, tcgetattr, tcsetattr,
};
use russh::Pty;
use rustix::termios::{Winsize, tcsetwinsize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;

/// The hidden subcommand that gives a program its terminal: `opsrun __terminal <program> <argument>…`, with the terminal as stdin.
pub const COMMAND: &str = "__terminal";

/// The terminal a client asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub term: String,
    pub size: Winsize,
    pub modes: Vec<(Pty, u32)>,
}

pub fn size(columns: u32, rows: u32, width: u32, height: u32) -> Winsize {
    let short = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Winsize { ws_row: short(rows), ws_col: short(columns), ws_xpixel: short(width), ws_ypixel: short(height) }
}

/// Runs it to its end and tells the client how it went.
pub async fn run(
    node: Arc<Node>,
    link: Link,
    program: Program,
    mut env: Vec<(String, String)>,
    wanted: Wanted,
    orders: mpsc::UnboundedReceiver<Order>,
) {
    env.push(("TERM".to_owned(), wanted.term.clone()));
    let started = open(&wanted).and_then(|(master, slave)| {
        let mut words: Vec<OsString> = vec![node.house.exe.clone().into(), COMMAND.into()];
        words.extend(program.words(&node));
        let (mut command, mark) = command(&node, &words, &env);
        command.stdin(Stdio::from(slave.try_clone()?)).stdout(Stdio::from(slave.try_clone()?)).stderr(Stdio::from(slave));
        let started = node.house.reaper.spawn(&mut command)?;
        Ok((Master::new(master)?, started, mark))
    });
    match started {
        Ok((master, started, mark)) => {
            let target = Target { leader: started.pid, mark };
            let job = Job { node: &node, link: &link, target, lingers: false };
            let resize = |size| {
                let _ = tcsetwinsize(master.0.get_ref(), size);
            };
            job.follow(started.ended, orders, feed(&link, master.clone()), pump(master.clone(), &link, false), resize).await;
        }
        Err(e) => cannot_start(&link, &node, &e).await,
    }
}

/// Both ends of a new terminal. Neither is inherited by processes that were not meant to have it.
fn open(wanted: &Wanted) -> io::Result<(PtyMaster, File)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(ptsname_r(&master)?)?;
    tcsetwinsize(&master, wanted.size)?;
    let mut settings = tcgetattr(&slave)?;
    wanted.modes.iter().for_each(|(mode, value)| apply(&mut settings, *mode, *value));
    tcsetattr(&slave, SetArg::TCSANOW, &settings)?;
    fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
    Ok((master, slave))
}

/// One of the client's terminal modes. Those that make no difference to a pseudo-terminal are left out.
fn apply(settings: &mut Termios, mode: Pty, value: u32) {
    let on = value != 0;
    let character = match mode {
        Pty::VINTR => Some(Cc::VINTR),
        Pty::VQUIT => Some(Cc::VQUIT),
        Pty::VERASE => Some(Cc::VERASE),
        Pty::VKILL => Some(Cc::VKILL),
        Pty::VEOF => Some(Cc::VEOF),
        Pty::VEOL => Some(Cc::VEOL),
        Pty::VSTART => Some(Cc::VSTART),
        Pty::VSTOP => Some(Cc::VSTOP),
        Pty::VSUSP => Some(Cc::VSUSP),
        Pty::VREPRINT => Some(Cc::VREPRINT),
        Pty::VWERASE => Some(Cc::VWERASE),
        Pty::VLNEXT => Some(Cc::VLNEXT),
        _ => None,
    };
    if let Some(index) = character {
        // 255 is "none" on the wire, 0 is here.
        settings.control_chars[index as usize] = u8::try_from(value).ok().filter(|v| *v != 255).unwrap_or(0);
    }
    match mode {
        Pty::ICRNL => settings.input_flags.set(InputFlags::ICRNL, on),
        Pty::INLCR => settings.input_flags.set(InputFlags::INLCR, on),
        Pty::IGNCR => settings.input_flags.set(InputFlags::IGNCR, on),
        Pty::ISTRIP => settings.input_flags.set(InputFlags::ISTRIP, on),
        Pty::IXON => settings.input_flags.set(InputFlags::IXON, on),
        Pty::IXANY => settings.input_flags.set(InputFlags::IXANY, on),
        Pty::IXOFF => settings.input_flags.set(InputFlags::IXOFF, on),
        Pty::IUTF8 => settings.input_flags.set(InputFlags::IUTF8, on),
        Pty::ISIG => settings.local_flags.set(LocalFlags::ISIG, on),
        Pty::ICANON => settings.local_flags.set(LocalFlags::ICANON, on),
        Pty::ECHO => settings.local_flags.set(LocalFlags::ECHO, on),
        Pty::ECHOE => settings.local_flags.set(LocalFlags::ECHOE, on),
        Pty::ECHOK => settings.local_flags.set(LocalFlags::ECHOK, on),
        Pty::ECHONL => settings.local_flags.set(LocalFlags::ECHONL, on),
        Pty::ECHOCTL => settings.local_flags.set(LocalFlags::ECHOCTL, on),
        Pty::ECHOKE => settings.local_flags.set(LocalFlags::ECHOKE, on),
        Pty::IEXTEN => settings.local_flags.set(LocalFlags::IEXTEN, on),
        Pty::NOFLSH => settings.local_flags.set(LocalFlags::NOFLSH, on),
        Pty::TOSTOP => settings.local_flags.set(LocalFlags::TOSTOP, on),
        Pty::OPOST => settings.output_flags.set(OutputFlags::OPOST, on),
        Pty::ONLCR => settings.output_flags.set(OutputFlags::ONLCR, on),
        Pty::OCRNL => settings.output_flags.set(OutputFlags::OCRNL, on),
        _ => {}
    }
}

/// What the client types; when it ends, so does the line discipline's input.
async fn feed(link: &Link, mut master: Master) -> Result<(), Lost<Master>> {
    const END_OF_INPUT: u8 = 4;
    if let Err(why) = copy_input(link, &mut master).await {
        return Err(Lost::new(why, master));
    }
    let end = tcgetattr(master.0.get_ref()).map_or(END_OF_INPUT, |s| s.control_chars[Cc::VEOF as usize]);
    let _ = master.write_all(&[end]).await;
    link.inbound.discard();
    Ok(())
}

/// The controlling side of a terminal.
#[derive(Clone)]
struct Master(Arc<AsyncFd<PtyMaster>>);

impl Master {
    #[allow(
        deprecated,
        reason = "its heir is unsafe, and sound for just such a type: it owns its descriptor and never changes it"
    )]
    fn new(master: PtyMaster) -> io::Result<Self> {
        AsyncFd::new(master).map(|fd| Self(Arc::new(fd)))
    }
}

impl AsyncRead for Master {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            match guard.try_io(|fd| fd.get_ref().read(room)) {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // EIO: nobody has the terminal open any more.
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Master {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(written) = guard.try_io(|fd| fd.get_ref().write(buf)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The body of the hidden subcommand: makes stdin the controlling terminal, then becomes the program. Returns only when that fails.
pub fn main(words: &[OsString]) -> u8 {
    use std::os::unix::process::CommandExt;
    let Some((program, arguments)) = words.split_first() else { return 2 };
    let stdin = io::stdin();
    let error = nix::unistd::setsid()
        .map_err(io::Error::from)
        .and_then(|_| rustix::process::ioctl_tiocsctty(&stdin).map_err(io::Error::from))
        .map_or_else(|e| e, |()| std::process::Command::new(program).args(arguments).exec());
    let _ = writeln!(io::stderr(), "opsrun: cannot start {}: {error}", program.display());
    127
}
