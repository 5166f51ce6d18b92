//! The SSH client: pooled connections, commands, file transfer, forwarding.

mod auth;
mod connect;
mod eager;
mod ending;
mod exec;
mod forward;
mod hostkeys;
mod keys;
mod pool;
mod proxy;
mod shell;
mod transfer;

use crate::base::command::{Command, Exit, Output};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Stream};
use bytes::Bytes;
use hostkeys::KnownHosts;
use keys::KeyRing;
use pool::Pool;
use russh::keys::Algorithm;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use forward::{Forward, Tunnel};
pub use keys::AskPassphrase;
pub use shell::{Pipes, Terminal};
pub use transfer::{GetOptions, MirrorOptions, Mirrored, PutOptions};

/// How a client behaves towards all its hosts.
#[derive(Clone)]
pub struct Settings {
    /// A host that says nothing for this long is asked whether it is still there; after three such the connection is dead.
    pub keepalive: Duration,
    /// Asked for the passphrase of an encrypted key file, once for each file.
    pub ask_passphrase: AskPassphrase,
    /// The socket of the ssh-agent, for endpoints that ask for it; `SSH_AUTH_SOCK` by default.
    pub agent: Option<PathBuf>,
    /// A command that is to end gets SIGTERM, and SIGKILL after this long.
    pub kill_grace: Duration,
    /// Commands that share one connection; further ones open another. OpenSSH allows ten unless told otherwise.
    pub sessions_per_connection: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keepalive: Duration::from_secs(15),
            ask_passphrase: Arc::new(|path| {
                let message = format!(
                    "the private key {} is encrypted, and there is no terminal to ask for its passphrase",
                    path.display()
                );
                Err(Error::new(Kind::Auth, message).hint(format!("Unlock it in an ssh-agent: ssh-add {}", path.display())))
            }),
            agent: std::env::var_os("SSH_AUTH_SOCK").filter(|s| !s.is_empty()).map(PathBuf::from),
            kill_grace: Duration::from_secs(3),
            sessions_per_connection: 8,
        }
    }
}

/// Takes output as it comes.
pub type Take<'a> = dyn FnMut(Stream, &[u8]) + Send + 'a;

/// Reaches hosts. Clones share connections and keys; connections close when the last clone is dropped.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// For hosts of which nothing is known yet: most of them, so they share one.
    plain_config: Arc<russh::client::Config>,
    keys: KeyRing,
    known: Arc<KnownHosts>,
    pool: Pool,
    /// Room for handshakes under way.
    lanes: Semaphore,
    digests: transfer::Digests,
    cksums: transfer::Cksums,
    readers: transfer::Readers,
    /// Commands that nobody waits for any more and that are being ended.
    endings: TaskTracker,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Inner {
    fn config(&self, known: &[Algorithm]) -> Arc<russh::client::Config> {
        if known.is_empty() || known.contains(&Algorithm::Ed25519) {
            self.plain_config.clone()
        } else {
            connect::config(self.settings.keepalive, known)
        }
    }
}

impl Client {
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            plain_config: connect::config(settings.keepalive, &[]),
            keys: KeyRing::new(settings.ask_passphrase.clone()),
            known: Arc::default(),
            pool: Pool::default(),
            lanes: Semaphore::new(connect::LANES),
            digests: transfer::Digests::default(),
            cksums: transfer::Cksums::default(),
            readers: transfer::Readers::default(),
            endings: TaskTracker::new(),
            settings,
        }))
    }

    /// Forgets the connections to a host that was turned off: they may not have noticed.
    pub fn forget(&self, endpoint: &Endpoint) {
        self.0.pool.forget(endpoint);
    }

    /// Runs a command to its end. With `live`, its lines are events while it runs.
    ///
    /// An error means that it could not be run to its end: unreachable, refused, timed out, cancelled, or the connection
    /// was cut. A command that ended, even with a failure, is an `Output`.
    ///
    /// On timeout and cancel the whole process group on the host gets SIGTERM, then SIGKILL. So it does when the future is
    /// dropped; `settle` waits for that.
    pub async fn run(&self, endpoint: &Endpoint, command: &Command, live: bool, cx: &Cx) -> Result<Output> {
        exec::run(self, endpoint, command, live, cx).await
    }

    /// As `run`, with further input in pieces that are not copied, and the output handed to `take` as it comes: nothing of it
    /// is kept here. What the command leaves running is not waited for.
    pub async fn run_into(
        &self,
        endpoint: &Endpoint,
        command: &Command,
        input: Vec<Bytes>,
        take: &mut Take<'_>,
        cx: &Cx,
    ) -> Result<Exit> {
        exec::run_into(self, endpoint, command, input, take, cx).await
    }

    /// Connects, and so proves that the host is reachable and lets us in. Commands then find the connection ready.
    pub async fn connect(&self, endpoint: &Endpoint, cx: &Cx) -> Result<()> {
        self.0.lease(endpoint, pool::Use::Tunnel, cx).await.map(drop)
    }

    /// Waits until commands that were abandoned (their future was dropped) have ended on their hosts.
    pub async fn settle(&self) {
        self.0.endings.close();
        self.0.endings.wait().await;
        self.0.endings.reopen();
    }
}
