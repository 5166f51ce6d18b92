//! One connection: how it is made, kept trying for, and what its end is called.

use super::Inner;
use super::auth;
use super::eager::Eager;
use super::hostkeys::KnownHosts;
use super::pool::{Lease, Use};
use super::proxy::ProxyProcess;
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Progress, Unit};
use crate::base::units::format_duration;
use russh::client::{self, DisconnectReason, Handle};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKeyOrCertificate};
use russh::{Preferred, cipher, kex};
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Pauses between attempts grow from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));
/// A host that hangs up before it has said who it is was busy (sshd's MaxStartups, a full queue): it is tried again this long.
const BUSY_FOR: Duration = Duration::from_secs(3);
/// Handshakes under way at once. A listening queue holds 128 as a rule, and what comes on top is lost or reset.
pub(super) const LANES: usize = 128;
/// An address that does not even answer for this long no longer keeps others from trying.
const SLOW: Duration = Duration::from_secs(2);
/// Room for the small packets of a handshake or a command. Larger reads go past it.
const READ_BUFFER: usize = 4 << 10;
/// Waiting longer than this is shown.
const SHOW_AFTER: Duration = Duration::from_secs(3);

/// An authenticated connection to one host. It closes when its last user lets go of it.
pub(super) struct Connection {
    pub handle: Handle<Gate>,
    /// Room for further sessions: servers allow ten a connection, unless told otherwise.
    pub sessions: Arc<Semaphore>,
    closing: Arc<OnceLock<String>>,
    /// What carries this connection, when it is not a socket.
    _carrier: Option<Carrier>,
}

/// Kept only so that it lives as long as the connection does.
enum Carrier {
    Jump { _lease: Lease },
    Process { _process: ProxyProcess },
}

impl Connection {
    pub fn is_dead(&self) -> bool {
        self.handle.is_closed()
    }

    /// Why it closed, as far as anybody said.
    pub fn why_closed(&self) -> &str {
        self.closing.get().map_or("the connection was closed", String::as_str)
    }
}

/// A failed attempt, and whether another one may do better.
pub(super) struct Failure {
    pub error: Error,
    pub retry: bool,
    /// The host was there, but busy.
    pub busy: bool,
}

impl Failure {
    pub fn last(error: Error) -> Self {
        Self { error, retry: false, busy: false }
    }

    pub fn passing(error: Error) -> Self {
        Self { error, retry: true, busy: false }
    }
}

/// What can go wrong inside russh's own task: its errors, or ours about the host key.
#[derive(Debug)]
pub(super) enum Fault {
    Ssh(russh::Error),
    Ours(Error),
}

impl From<russh::Error> for Fault {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

/// Stands at the gate of a connection: checks the host's key and hears why it ends.
pub(super) struct Gate {
    known: Arc<KnownHosts>,
    endpoint: Endpoint,
    closing: Arc<OnceLock<String>>,
}

impl client::Handler for Gate {
    type Error = Fault;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Fault> {
        self.known.check(&self.endpoint, &shown.public_key()).map_err(Fault::Ours)?;
        Ok(true)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Fault>) -> Result<(), Fault> {
        let why = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => format!("the host ended the connection: {}", info.message.trim()),
            DisconnectReason::Error(Fault::Ssh(e)) => describe(e),
            DisconnectReason::Error(Fault::Ours(e)) => e.message().to_owned(),
        };
        let _ = self.closing.set(why);
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// A library error in a user's words.
pub(super) fn describe(error: &russh::Error) -> String {
    match error {
        russh::Error::IO(e) => describe_io(e),
        russh::Error::HUP | russh::Error::Disconnect | russh::Error::SendError | russh::Error::RecvError => {
            "the connection was closed".to_owned()
        }
        russh::Error::KeepaliveTimeout => "the host stopped answering".to_owned(),
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            format!("no common {kind:?} algorithm; the host offers {}", theirs.join(", "))
        }
        russh::Error::Version => "it does not speak SSH".to_owned(),
        other => other.to_string(),
    }
}

fn describe_io(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::ConnectionRefused => "connection refused".to_owned(),
        Io::ConnectionReset | Io::BrokenPipe => "the connection was reset".to_owned(),
        Io::UnexpectedEof => "the connection was closed".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

/// Algorithms in the order of their cost: hybrid post-quantum exchange costs ten times what curve25519 does, and
/// AES-GCM is free where the processor knows AES.
fn preferred(known: &[Algorithm]) -> Preferred {
    const AES: [cipher::Name; 2] = [cipher::AES_128_GCM, cipher::AES_256_GCM];
    const CTR: [cipher::Name; 3] = [cipher::AES_256_CTR, cipher::AES_192_CTR, cipher::AES_128_CTR];
    let chacha = [cipher::CHACHA20_POLY1305];
    let ciphers = if has_aes() { [&AES[..], &chacha, &CTR].concat() } else { [&chacha[..], &AES, &CTR].concat() };
    // What OpenSSH's end computes fastest stands first: its P-256 is assembler, its X25519 is portable C (2.5 ms more of
    // 19 ms a connection), and the post-quantum exchanges cost more than all else together.
    let quick = [kex::ECDH_SHA2_NISTP256, kex::CURVE25519, kex::CURVE25519_PRE_RFC_8731];
    let others = Preferred::DEFAULT.kex.iter().filter(|name| !quick.contains(name));
    let exchange = quick.iter().chain(others).copied().collect();
    let ecdsa = |curve| Algorithm::Ecdsa { curve };
    let rsa = |hash| Algorithm::Rsa { hash: Some(hash) };
    let mut keys = vec![
        Algorithm::Ed25519,
        ecdsa(EcdsaCurve::NistP256),
        ecdsa(EcdsaCurve::NistP384),
        ecdsa(EcdsaCurve::NistP521),
        rsa(HashAlg::Sha512),
        rsa(HashAlg::Sha256),
    ];
    // Stable: known ones first, otherwise as they were.
    keys.sort_by_key(|key| !known.iter().any(|k| k == key || (is_rsa(k) && is_rsa(key))));
    Preferred { kex: Cow::Owned(exchange), key: Cow::Owned(keys), cipher: Cow::Owned(ciphers), ..Preferred::DEFAULT }
}

fn is_rsa(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { .. })
}

fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
    return false;
}

pub(super) fn config(keepalive: Duration, known: &[Algorithm]) -> Arc<client::Config> {
    Arc::new(client::Config {
        preferred: preferred(known),
        nodelay: true,
        keepalive_interval: (!keepalive.is_zero()).then_some(keepalive),
        keepalive_max: 3,
        // A thousand connections: what is not read yet stays with the sender, not in our memory.
        channel_buffer_size: 16,
        ..client::Config::default()
    })
}

/// Connects, trying again until the endpoint's deadline where that can help.
pub(super) async fn connect(inner: &Arc<Inner>, endpoint: &Endpoint, cx: &Cx) -> Result<Connection> {
    let start = Instant::now();
    let mut pause = BACKOFF.0;
    let mut attempts = 1_u32;
    let mut shown: Option<Progress> = None;
    loop {
        let left = endpoint.retry_for.saturating_sub(start.elapsed());
        // The last attempt ends with the deadline, but every attempt gets a fair chance.
        let limit = if endpoint.retry_for.is_zero() {
            endpoint.connect_timeout
        } else {
            endpoint.connect_timeout.min(left.max(Duration::from_secs(1)))
        };
        let failure = match Box::pin(attempt(inner, endpoint, limit, cx)).await {
            Ok(connection) => return Ok(connection),
            Err(failure) => failure,
        };
        let waited = start.elapsed();
        let retry_for = if failure.busy { endpoint.retry_for.max(BUSY_FOR) } else { endpoint.retry_for };
        if !failure.retry || waited + pause >= retry_for {
            return Err(if attempts > 1 {
                failure.error.context(format!("tried {attempts} times in {}", format_duration(waited)))
            } else {
                failure.error
            });
        }
        if waited + pause > SHOW_AFTER {
            let label = format!("waiting for {}: {}", endpoint.name, failure.error.message());
            match &shown {
                Some(progress) => progress.label(label),
                None => shown = Some(cx.events.progress(label, 0, Unit::Items)),
            }
        }
        // Those who were turned away together do not come back together.
        let scatter = Duration::from_millis(u64::from(waited.subsec_nanos() % 100));
        tokio::time::sleep(pause + scatter).await;
        pause = (pause * 2).min(BACKOFF.1);
        attempts += 1;
    }
}

fn unreachable(endpoint: &Endpoint, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Connection, format!("cannot connect to {}: {why}", endpoint.address()))
}

async fn attempt(inner: &Arc<Inner>, endpoint: &Endpoint, limit: Duration, cx: &Cx) -> Result<Connection, Failure> {
    // What goes through another host or a command needs no lane: it has another queue, or none.
    let direct = endpoint.jump.is_none() && endpoint.proxy_command.is_none();
    let mut lane = if direct { inner.lanes.acquire().await.ok() } else { None };
    let deadline = tokio::time::Instant::now() + limit;
    let timed_out = |what: &str| {
        Failure::passing(
            unreachable(endpoint, format!("{what} within {}", format_duration(limit)))
                .hint("Check the address and port, and that no firewall drops packets on the way."),
        )
    };
    let closing = Arc::new(OnceLock::new());
    let gate = Gate { known: inner.known.clone(), endpoint: endpoint.clone(), closing: closing.clone() };
    let known = inner.known.algorithms(endpoint).map_err(Failure::last)?;
    let config = inner.config(&known);
    let (mut handle, carrier) = tokio::time::timeout_at(deadline, open(inner, endpoint, config, gate, &mut lane, cx))
        .await
        .map_err(|_| timed_out("no answer"))??;
    auth::authenticate(inner, &mut handle, endpoint, &closing, limit).await?;
    Ok(Connection {
        handle,
        sessions: Arc::new(Semaphore::new(inner.settings.sessions_per_connection.max(1))),
        closing,
        _carrier: carrier,
    })
}

/// The way there (a socket, a jump host, a command), and the key exchange over it.
async fn open(
    inner: &Arc<Inner>,
    endpoint: &Endpoint,
    config: Arc<client::Config>,
    gate: Gate,
    lane: &mut Option<SemaphorePermit<'_>>,
    cx: &Cx,
) -> Result<(Handle<Gate>, Option<Carrier>), Failure> {
    if let Some(jump) = &endpoint.jump {
        let lease = Box::pin(inner.lease(jump, Use::Tunnel, cx)).await.map_err(|error| {
            let retry = matches!(error.kind(), Kind::Connection | Kind::Timeout);
            let error = error.on_node(&jump.name).context(format!("going through {} to {}", jump.name, endpoint.name));
            Failure { error, retry, busy: false }
        })?;
        let channel = lease
            .connection()
            .handle
            .channel_open_direct_tcpip(endpoint.host.clone(), endpoint.port.into(), "127.0.0.1", 0)
            .await
            .map_err(|e| {
                let why = match e {
                    russh::Error::ChannelOpenFailure(reason) => format!("{} cannot reach it ({reason:?})", jump.name),
                    other => describe(&other),
                };
                Failure::passing(unreachable(endpoint, why))
            })?;
        let handle = handshake(endpoint, config, channel.into_stream(), gate).await?;
        return Ok((handle, Some(Carrier::Jump { _lease: lease })));
    }
    if let Some(command) = &endpoint.proxy_command {
        let (process, stream) = ProxyProcess::start(command, endpoint).map_err(Failure::last)?;
        let handle = match handshake(endpoint, config, stream, gate).await {
            Ok(handle) => handle,
            Err(failure) => return Err(process.explain(failure).await),
        };
        return Ok((handle, Some(Carrier::Process { _process: process })));
    }
    let mut connecting = std::pin::pin!(tokio::net::TcpStream::connect((endpoint.host.as_str(), endpoint.port)));
    let socket = if let Ok(socket) = tokio::time::timeout(SLOW, &mut connecting).await {
        socket
    } else {
        *lane = None;
        connecting.await
    };
    let socket = socket.map_err(|e| {
        let error = unreachable(endpoint, describe_io(&e));
        Failure::passing(match e.kind() {
            std::io::ErrorKind::ConnectionRefused => error.hint("Nothing listens there: is the machine up, and is it this port?"),
            _ => error,
        })
    })?;
    let _ = socket.set_nodelay(true);
    // The library reads each packet in two pieces: without a buffer that is two system calls for each.
    let socket = tokio::io::BufReader::with_capacity(READ_BUFFER, socket);
    let handle = handshake(endpoint, config, socket, gate).await.map_err(|f| Failure { busy: f.retry, ..f })?;
    Ok((handle, None))
}

async fn handshake<S>(endpoint: &Endpoint, config: Arc<client::Config>, stream: S, gate: Gate) -> Result<Handle<Gate>, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    client::connect_stream(config, Eager::new(stream), gate).await.map_err(|fault| match fault {
        Fault::Ours(error) => Failure::last(error),
        Fault::Ssh(error) => {
            let retry = matches!(
                error,
                russh::Error::IO(_)
                    | russh::Error::HUP
                    | russh::Error::Disconnect
                    | russh::Error::SendError
                    | russh::Error::RecvError
                    | russh::Error::ConnectionTimeout
            );
            Failure { error: unreachable(endpoint, describe(&error)), retry, busy: false }
        }
    })
}
