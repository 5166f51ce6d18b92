//! Commands: one exec channel each, with live output, and an end that reaches the whole process group.
//!
//! `ending` says how a command is made to end before its time.

use super::ending::Mark;
use super::pool::{Lease, Use};
use super::{Client, Take, connect};
use crate::base::capture::Capture;
use crate::base::command::{Command, Exit, Output};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Stream};
use crate::base::units::format_duration;
use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// A background process that keeps the output open this long after the command's end is mentioned.
const LINGERING: Duration = Duration::from_secs(5);

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

pub(super) struct Parts {
    pub read: ChannelReadHalf,
    pub write: ChannelWriteHalf<Msg>,
    pub lease: Lease,
    pub mark: Mark,
    node: String,
}

pub(super) async fn run(client: &Client, endpoint: &Endpoint, command: &Command, live: bool, cx: &Cx) -> Result<Output> {
    let mut capture = Capture::new(command, &endpoint.name, live, &cx.events);
    let mut input = Once(Some(command.input()).filter(|input| !input.is_empty()));
    let (end, took) = drive(client, endpoint, command, &mut input, &mut capture, cx).await?;
    match end {
        End::Exit(exit) => Ok(capture.finish(exit, took)),
        End::TimedOut => {
            let so_far = capture.finish(Exit::Signal("TERM".to_owned()), took);
            Err(failure(command.timed_out(so_far), endpoint, command))
        }
        other => Err(failure(other.into_error(endpoint), endpoint, command)),
    }
}

/// As `run`, with input in pieces after the command's own, and the output handed over as it comes.
pub(super) async fn run_into(
    client: &Client,
    endpoint: &Endpoint,
    command: &Command,
    input: Vec<Bytes>,
    take: &mut Take<'_>,
    cx: &Cx,
) -> Result<Exit> {
    let mut input = Pieces(std::iter::once(command.input()).chain(input).filter(|piece| !piece.is_empty()).collect());
    match drive(client, endpoint, command, &mut input, &mut Taker(take), cx).await?.0 {
        End::Exit(exit) => Ok(exit),
        other => Err(failure(other.into_error(endpoint), endpoint, command)),
    }
}

/// Runs a command to whatever end, and says how long it ran.
async fn drive(
    client: &Client,
    endpoint: &Endpoint,
    command: &Command,
    source: &mut impl Source,
    sink: &mut impl Sink,
    cx: &Cx,
) -> Result<(End, Duration)> {
    let session = client.session(endpoint, cx).await.map_err(|e| failure(e, endpoint, command))?;
    let start = Instant::now();
    let deadline = command.timeout.map(|limit| start + limit);
    let mut running = Running::start(client, endpoint, session, command).await.map_err(|e| failure(e, endpoint, command))?;
    match running.drive(source, sink, deadline, cx).await {
        End::Cut(why) => Err(failure(
            Error::new(Kind::Connection, format!("lost the connection to {} while a command ran: {why}", endpoint.address()))
                .hint(format!("The command may still be running on {}.", endpoint.name)),
            endpoint,
            command,
        )),
        end => Ok((end, start.elapsed())),
    }
}

fn failure(error: Error, endpoint: &Endpoint, command: &Command) -> Error {
    let mut error = error.on_node(&endpoint.name);
    error.details_mut().command = Some(command.line.clone());
    error
}

/// Where a command's input comes from, in pieces.
pub(super) trait Source: Send {
    /// The next piece, or none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send;
}

/// Where a command's output goes. Must not wait for long: it holds up everything else on the connection.
pub(super) trait Sink: Send {
    /// Whether to go on, with a warning, when the command has ended and something it started still holds its output open.
    fn leaves_stragglers(&self) -> bool {
        false
    }

    fn take(&mut self, stream: Stream, data: Bytes) -> impl Future<Output = Result<()>> + Send;
}

/// Input that is all there already.
pub(super) struct Once(pub Option<Bytes>);

impl Source for Once {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

/// Input in pieces that are there already.
struct Pieces(VecDeque<Bytes>);

impl Source for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.pop_front())
    }
}

/// Output for somebody who takes it at once.
struct Taker<'a, 'b>(&'a mut Take<'b>);

impl Sink for Taker<'_, '_> {
    fn leaves_stragglers(&self) -> bool {
        true
    }

    async fn take(&mut self, stream: Stream, data: Bytes) -> Result<()> {
        (self.0)(stream, &data);
        Ok(())
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
        let mark = Mark::new(endpoint, command);
        let line = mark.put_on(&command.wrapped());
        let (read, write) = channel.split();
        let parts = Parts { read, write, lease, mark, node: endpoint.name.clone() };
        let running = Self { client, endpoint, parts: Some(parts) };
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
        let Self { read, write, lease, node, .. } = self;
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
        let mut done = false;
        let mut exit = None;
        let mut lingering: Option<Instant> = None;
        loop {
            let message = tokio::select! {
                message = read.wait() => message,
                outcome = &mut feed, if !done => match outcome {
                    Ok(()) => {
                        done = true;
                        continue;
                    }
                    Err(error) => return End::Broken(error),
                },
                () = &mut cancelled => return End::Cancelled,
                () = &mut deadline => return End::TimedOut,
                () = at(lingering) => {
                    let what = "the command has ended, but something it started still holds its output open";
                    cx.events.warn(format!("{node}: {what}; redirect that, or start it as a job"));
                    if let Some(exit) = exit.take().filter(|_| sink.leaves_stragglers()) {
                        let _ = write.close().await;
                        return End::Exit(exit);
                    }
                    lingering = None;
                    continue;
                }
            };
            let taken = match message {
                Some(ChannelMsg::Data { data }) => sink.take(Stream::Stdout, data).await,
                Some(ChannelMsg::ExtendedData { data, .. }) => sink.take(Stream::Stderr, data).await,
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
}

/// A signal's name without `SIG`.
pub(super) fn signal(sig: &Sig) -> String {
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
