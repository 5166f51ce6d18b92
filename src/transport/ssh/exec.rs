//! Commands: one exec channel each, with live output, and an end that reaches the whole process group.
//!
//! How a command is ended: sshd starts each session's shell as the leader of a process group of its own, and OpenSSH (7.9
//! and later) passes a `signal` request on to that whole group. Closing the channel alone ends nothing that does not write.
//! Where we are not root but the command is (`sudo`, or another user), sshd may not signal it: then a second session sends
//! the signal through sudo, to the group whose number the first one said before it changed the user.

use super::pool::{Lease, Use};
use super::{Client, connect};
use crate::base::capture::Capture;
use crate::base::command::{Command, Exit, Output};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Stream};
use crate::base::units::format_duration;
use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// After SIGKILL, and for closing: what takes longer is left to the host.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// A background process that keeps the output open this long after the command's end is mentioned.
const LINGERING: Duration = Duration::from_secs(5);
/// The prefix of the line by which a command that changes the user says its process group.
const GROUP_MARK: &str = "opsrun-process-group ";

/// A session channel on a live connection.
pub(super) struct Session {
    pub lease: Lease,
    pub channel: Channel<Msg>,
}

impl Client {
    /// Opens a session, replacing a kept connection that turns out to be dead. Nothing has been run by then.
    pub(super) async fn session(&self, endpoint: &Endpoint, cx: &Cx) -> Result<Session> {
        const ATTEMPTS: usize = 3;
        let mut attempt = 1;
        loop {
            let lease = self.0.lease(endpoint, Use::Session, cx).await?;
            let limit = endpoint.connect_timeout.max(Duration::from_secs(5));
            let open = async { Ok(timeout(limit, lease.connection().handle.channel_open_session()).await) };
            let why = match cx.cancel.guard(open).await? {
                Ok(Ok(channel)) => return Ok(Session { lease, channel }),
                Ok(Err(russh::Error::ChannelOpenFailure(reason))) if attempt == ATTEMPTS => {
                    format!("it refuses to open a session ({reason:?})")
                }
                Ok(Err(error)) => connect::describe(&error),
                Err(_) => format!("no answer within {}", format_duration(limit)),
            };
            self.0.pool.retire(endpoint, Use::Session, &lease);
            if attempt == ATTEMPTS {
                let message = format!("cannot run commands on {}: {why}", endpoint.address());
                return Err(Error::new(Kind::Connection, message).on_node(&endpoint.name));
            }
            attempt += 1;
        }
    }
}

/// A command under way. Dropped before its end, it is ended in the background.
pub(super) struct Running<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    parts: Option<Parts>,
}

struct Parts {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    group: Group,
    lease: Lease,
    node: String,
}

/// How the process group of a command can be reached.
#[derive(Clone, Debug, Default)]
struct Group {
    /// It runs as somebody whom our user may not signal.
    foreign: bool,
    leader: Option<u32>,
    /// Beginning of stderr, until the line that says the group has come.
    waiting: Option<Vec<u8>>,
}

pub(super) async fn run(client: &Client, endpoint: &Endpoint, command: &Command, live: bool, cx: &Cx) -> Result<Output> {
    let fail = |error: Error| {
        let mut error = error.on_node(&endpoint.name);
        error.details_mut().command = Some(command.line.clone());
        error
    };
    let session = client.session(endpoint, cx).await.map_err(fail)?;
    let start = Instant::now();
    let mut running = Running::start(client, endpoint, session, command).await.map_err(fail)?;
    let mut capture = Capture::new(command, &endpoint.name, live, &cx.events);
    let deadline = command.timeout.map(|limit| start + limit);
    let end = running.drive(&mut Once(Some(command.input())), &mut capture, deadline, cx).await;
    let took = start.elapsed();
    match end {
        End::Exit(exit) => Ok(capture.finish(exit, took)),
        End::TimedOut => {
            let limit = format_duration(command.timeout.unwrap_or_default());
            let mut error = Error::new(Kind::Timeout, format!("command did not end within {limit} and was stopped"));
            let said = capture.finish(Exit::Signal("TERM".to_owned()), took).failure(&command.line);
            error.details_mut().stderr = said.and_then(|e| e.details().stderr.clone());
            Err(fail(error))
        }
        End::Cut(why) => Err(fail(
            Error::new(Kind::Connection, format!("lost the connection to {} while a command ran: {why}", endpoint.address()))
                .hint(format!("The command may still be running on {}.", endpoint.name)),
        )),
        other => Err(fail(other.into_error(endpoint))),
    }
}

/// Where a command's input comes from, in pieces.
pub(super) trait Source: Send {
    /// The next piece, or none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send;
}

/// Where a command's output goes. Must not wait for long: it holds up everything else on the connection.
pub(super) trait Sink: Send {
    fn take(&mut self, stream: Stream, data: Bytes) -> impl Future<Output = Result<()>> + Send;
}

/// Input that is all there already.
pub(super) struct Once(pub Option<Bytes>);

impl Source for Once {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

impl Sink for Capture {
    async fn take(&mut self, stream: Stream, data: Bytes) -> Result<()> {
        self.push(stream, &data);
        Ok(())
    }
}

/// How the driving of a command ended.
pub(super) enum End {
    Exit(Exit),
    Cancelled,
    TimedOut,
    /// The source or the sink failed.
    Broken(Error),
    /// The connection broke.
    Cut(String),
    /// The host would not start it.
    Refused,
    /// The channel closed, and nobody said with what exit code.
    Vanished,
}

impl End {
    /// The error that an end without an exit is.
    pub fn into_error(self, endpoint: &Endpoint) -> Error {
        let address = endpoint.address();
        match self {
            Self::Broken(error) => error,
            Self::Cancelled => Error::cancelled(),
            Self::Exit(exit) => Error::internal(format!("a command that ended with {exit:?} was taken for a failed one")),
            Self::TimedOut => Error::new(Kind::Timeout, "command did not end in time"),
            Self::Cut(why) => Error::new(Kind::Connection, format!("lost the connection to {address}: {why}")),
            Self::Refused => Error::new(Kind::Connection, format!("{address} refuses to run commands")),
            Self::Vanished => {
                Error::new(Kind::Connection, format!("{address} closed the session without saying how the command ended"))
                    .hint("Its SSH session was killed, or the machine is going down.")
            }
        }
    }
}

impl<'a> Running<'a> {
    pub async fn start(client: &'a Client, endpoint: &'a Endpoint, session: Session, command: &Command) -> Result<Self> {
        let Session { lease, channel } = session;
        let foreign = endpoint.user != "root" && (command.sudo || command.user.is_some());
        let line = command.wrapped();
        let line = if foreign { format!("echo \"{GROUP_MARK}$$\" >&2; {line}") } else { line };
        let (read, write) = channel.split();
        let group = Group { foreign, leader: None, waiting: foreign.then(Vec::new) };
        let running = Self { client, endpoint, parts: Some(Parts { read, write, group, lease, node: endpoint.name.clone() }) };
        if let Some(parts) = &running.parts {
            // The answer is awaited together with the output, which saves a round trip.
            parts.write.exec(true, line).await.map_err(|e| {
                Error::new(Kind::Connection, format!("cannot run commands on {}: {}", endpoint.address(), connect::describe(&e)))
            })?;
        }
        Ok(running)
    }

    /// Feeds the source and fills the sink until the command's end, a cancel, the deadline, or an error of either.
    /// The command is then over on the host, or (when it had to be stopped) made to be.
    pub async fn drive(&mut self, source: &mut impl Source, sink: &mut impl Sink, deadline: Option<Instant>, cx: &Cx) -> End {
        let end = match &mut self.parts {
            Some(parts) => parts.drive(source, sink, deadline, cx).await,
            None => End::Vanished,
        };
        match end {
            End::Cancelled | End::TimedOut | End::Broken(_) => self.end().await,
            _ => self.parts = None,
        }
        end
    }

    /// Ends the command on the host: TERM, some grace, KILL, and the channel closed.
    async fn end(&mut self) {
        if let Some(parts) = self.parts.take() {
            parts.end(self.client, self.endpoint).await;
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (client, endpoint) = (self.client.clone(), self.endpoint.clone());
        let endings = client.0.endings.clone();
        endings.spawn_on(async move { parts.end(&client, &endpoint).await }, &runtime);
    }
}

impl Parts {
    async fn drive(&mut self, source: &mut impl Source, sink: &mut impl Sink, deadline: Option<Instant>, cx: &Cx) -> End {
        let Self { read, write, group, lease, node } = self;
        let feed = async {
            while let Some(chunk) = source.next().await? {
                if write.data_bytes(chunk).await.is_err() {
                    // The reading side hears of the end, and knows its reason.
                    return std::future::pending().await;
                }
            }
            let _ = write.eof().await;
            Ok(())
        };
        let (cancelled, deadline) = (cx.cancel.cancelled(), at(deadline));
        tokio::pin!(feed, cancelled, deadline);
        let mut fed = false;
        let mut exit = None;
        let mut lingering: Option<Instant> = None;
        loop {
            let message = tokio::select! {
                message = read.wait() => message,
                outcome = &mut feed, if !fed => match outcome {
                    Ok(()) => {
                        fed = true;
                        continue;
                    }
                    Err(error) => return End::Broken(error),
                },
                () = &mut cancelled => return End::Cancelled,
                () = &mut deadline => return End::TimedOut,
                () = at(lingering) => {
                    cx.events.warn(format!(
                        "{node}: the command has ended, but something it started still holds its output open; redirect that, or start it as a job"
                    ));
                    lingering = None;
                    continue;
                }
            };
            let taken = match message {
                Some(ChannelMsg::Data { data }) => sink.take(Stream::Stdout, data).await,
                Some(ChannelMsg::ExtendedData { data, .. }) => sink.take(Stream::Stderr, group.heard(data)).await,
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    exit = Some(Exit::Code(i32::try_from(exit_status).unwrap_or(i32::MAX)));
                    lingering = Some(Instant::now() + LINGERING);
                    Ok(())
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    exit = Some(Exit::Signal(signal(&signal_name)));
                    Ok(())
                }
                Some(ChannelMsg::Failure) => return End::Refused,
                Some(ChannelMsg::Close) | None => {
                    return match exit {
                        Some(exit) => End::Exit(exit),
                        None if lease.connection().is_dead() || message.is_none() => {
                            // The session task notes the reason just before it goes.
                            sleep(Duration::from_millis(10)).await;
                            End::Cut(lease.connection().why_closed().to_owned())
                        }
                        None => End::Vanished,
                    };
                }
                Some(_) => Ok(()),
            };
            if let Err(error) = taken {
                return End::Broken(error);
            }
        }
    }

    async fn end(mut self, client: &Client, endpoint: &Endpoint) {
        for (sig, grace) in [(Sig::TERM, client.0.settings.kill_grace), (Sig::KILL, LAST_WAIT)] {
            if self.lease.connection().is_dead() {
                return;
            }
            let _ = self.write.signal(sig.clone()).await;
            if self.group.foreign {
                let drained = async {
                    self.drain_until_group().await;
                    self.group.leader
                };
                if let Ok(Some(leader)) = timeout(LAST_WAIT, drained).await {
                    let _ = timeout(grace, kill_foreign(client, endpoint, leader, &signal(&sig))).await;
                }
            }
            if timeout(grace, self.drain()).await.is_ok() {
                return;
            }
        }
        let _ = timeout(LAST_WAIT, self.write.close()).await;
    }

    /// Takes what still comes, so that the connection is not held up, until the channel closes.
    async fn drain(&mut self) {
        while !matches!(self.read.wait().await, Some(ChannelMsg::Close) | None) {}
    }

    async fn drain_until_group(&mut self) {
        while self.group.waiting.is_some() {
            match self.read.wait().await {
                Some(ChannelMsg::ExtendedData { data, .. }) => drop(self.group.heard(data)),
                Some(ChannelMsg::Close) | None => return,
                Some(_) => {}
            }
        }
    }
}

impl Group {
    /// Looks for the line that says the group; returns what of stderr is the command's own.
    fn heard(&mut self, data: Bytes) -> Bytes {
        const ENOUGH: usize = 64 << 10;
        let Some(mut seen) = self.waiting.take() else { return data };
        seen.extend_from_slice(&data);
        let mark = GROUP_MARK.as_bytes();
        if let Some(at) = memchr::memmem::find(&seen, mark)
            && let Some(length) = memchr::memchr(b'\n', &seen[at..])
        {
            self.leader = std::str::from_utf8(&seen[at + mark.len()..at + length]).ok().and_then(|n| n.parse().ok());
            seen.drain(at..=at + length);
            return seen.into();
        }
        if seen.len() > ENOUGH {
            return seen.into();
        }
        self.waiting = Some(seen);
        Bytes::new()
    }
}

async fn kill_foreign(client: &Client, endpoint: &Endpoint, leader: u32, name: &str) -> Result<()> {
    let line = format!("sudo -n kill -{name} -- -{leader} || kill -{name} -- -{leader}");
    let cx = Cx::quiet();
    let session = client.session(endpoint, &cx).await?;
    let command = Command::new(line);
    let (mut read, write) = session.channel.split();
    let _ = write.exec(true, command.wrapped()).await;
    let _ = write.eof().await;
    while !matches!(read.wait().await, Some(ChannelMsg::Close) | None) {}
    Ok(())
}

fn signal(sig: &Sig) -> String {
    match sig {
        Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
