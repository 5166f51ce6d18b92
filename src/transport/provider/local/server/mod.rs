//! The SSH server of one node.

mod channel;
mod connection;
mod exec;
mod forward;
mod inbound;
mod sftp;
mod stream;
pub mod terminal;

use super::layout::SiteRecord;
use super::reaper::Reaper;
use super::slayer::Slayer;
use crate::base::error::{Error, Kind, Result};
use connection::Connection;
use inbound::Backlog;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{PrivateKey, PublicKey};
use russh::{Preferred, cipher, compression, kex, server};
use std::borrow::Cow;
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stream::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A connection that has not logged in by then is dropped.
const LOGIN_WITHIN: Duration = Duration::from_secs(30);

/// What all nodes of a supervisor share.
#[derive(Clone)]
pub struct House {
    pub reaper: Reaper,
    pub slayer: Slayer,
    /// The user everything runs as.
    pub user: String,
    /// The shell of interactive sessions.
    pub shell: String,
    pub path: String,
    /// `LANG`, `LC_*` and `TZ` as the supervisor found them.
    pub locale: Vec<(String, String)>,
    /// Where input that nobody reads may wait.
    pub spool: PathBuf,
    /// The supervisor's own executable.
    pub exe: PathBuf,
}

/// One node that is served.
pub struct Node {
    pub name: String,
    pub deployment: String,
    pub uuid: uuid::Uuid,
    pub home: PathBuf,
    pub house: House,
    address: Ipv4Addr,
    key: KeyData,
    /// Process groups started here that may still live.
    groups: Mutex<HashSet<i32>>,
    commands: AtomicU64,
    /// Ends the node, its connections and their commands.
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Node {
    /// Begins to serve. The listener must be bound to a loopback address.
    pub fn serve(
        name: &str,
        home: PathBuf,
        site: &SiteRecord,
        house: House,
        host_key: PrivateKey,
        listener: std::net::TcpListener,
    ) -> Result<Arc<Self>> {
        let broken = |what: String| Error::new(Kind::Provider, what).on_node(name);
        let listener = TcpListener::from_std(listener).map_err(|e| broken(format!("cannot listen: {e}")))?;
        let address = match listener.local_addr() {
            Ok(SocketAddr::V4(socket)) if socket.ip().is_loopback() => *socket.ip(),
            _ => return Err(Error::internal("a local node must listen on a loopback address")),
        };
        let key = PublicKey::from_openssh(&site.authorized_key)
            .map_err(|e| broken(format!("the deployment's public key cannot be read: {e}")))?;
        let node = Arc::new(Self {
            name: name.to_owned(),
            deployment: site.deployment.clone(),
            uuid: site.uuid,
            home,
            house,
            address,
            key: key.key_data().clone(),
            groups: Mutex::default(),
            commands: AtomicU64::new(1),
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        node.tasks.spawn(accept(node.clone(), listener, Arc::new(config(host_key))));
        Ok(node)
    }

    /// `<uuid>/<node>`
    fn id(&self) -> String {
        format!("{}/{}", self.uuid, self.name)
    }

    /// Whether the deployment's key is still the one that lets one in here.
    pub fn admits_key_of(&self, site: &SiteRecord) -> bool {
        PublicKey::from_openssh(&site.authorized_key).is_ok_and(|key| *key.key_data() == self.key)
    }

    fn is_ending(&self) -> bool {
        self.end.is_cancelled()
    }

    async fn ending(&self) {
        self.end.cancelled().await;
    }

    /// Closes the listener and all connections, and ends their commands.
    pub async fn stop(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn groups_mut(&self) -> std::sync::MutexGuard<'_, HashSet<i32>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The groups that have live processes in them.
    pub fn groups(&self) -> Vec<i32> {
        let mut groups = self.groups_mut();
        groups.retain(|group| nix::sys::signal::killpg(nix::unistd::Pid::from_raw(*group), None).is_ok());
        groups.iter().copied().collect()
    }

    fn started(&self, group: i32) {
        const MANY: usize = 4096;
        self.groups_mut().insert(group);
        if self.groups_mut().len() > MANY {
            self.groups();
        }
    }

    fn next_command(&self) -> u64 {
        self.commands.fetch_add(1, Ordering::Relaxed)
    }
}

async fn accept(node: Arc<Node>, listener: TcpListener, config: Arc<server::Config>) {
    loop {
        let accepted = tokio::select! {
            () = node.end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, _)) => {
                node.tasks.spawn(connection(node.clone(), tcp, config.clone()));
            }
            // Out of descriptors: others must close first.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(node: Arc<Node>, tcp: TcpStream, config: Arc<server::Config>) {
    let _ = tcp.set_nodelay(true);
    let end = node.end.child_token();
    // However this task ends, everything of the connection ends with it.
    let _guard = end.clone().drop_guard();
    let backlog = Arc::new(Backlog::default());
    let stream = Stream::new(tcp, backlog.clone(), &end);
    let logged_in = Arc::new(AtomicBool::new(false));
    let name = node.name.clone();
    let handler = Connection::new(node, end.clone(), backlog, logged_in.clone());
    let session = async {
        let outcome = match server::run_stream(config, stream, handler).await {
            Ok(session) => session.await,
            Err(e) => Err(e),
        };
        match outcome {
            // The client went away, each in its own way.
            Ok(()) | Err(russh::Error::IO(_) | russh::Error::Disconnect | russh::Error::HUP) => {}
            Err(e) => log(&format!("a connection to {name} broke: {e}")),
        }
    };
    let impatience = async {
        tokio::time::sleep(LOGIN_WITHIN).await;
        if logged_in.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
        end.cancel();
        // The stream breaks now, and the session with it.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = session => {}
        () = impatience => {}
    }
}

/// For the supervisor's log, which is its stderr.
fn log(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{} {text}", jiff::Zoned::now().strftime("%F %T"));
}

fn config(host_key: PrivateKey) -> server::Config {
    const WINDOW: u32 = 4 << 20;
    server::Config {
        server_id: russh::SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-opsrun_", env!("CARGO_PKG_VERSION")))),
        methods: (&[russh::MethodKind::PublicKey][..]).into(),
        // There is no password to guess: waiting would only cost time.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        window_size: WINDOW,
        event_buffer_size: 64,
        preferred: preferred(),
        inactivity_timeout: None,
        nodelay: true,
        ..server::Config::default()
    }
}

/// Quick ones first; what a client prefers wins anyhow.
fn preferred() -> Preferred {
    const KEX: &[kex::Name] = &[
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::MLKEM768X25519_SHA256,
        kex::DH_G16_SHA512,
        kex::DH_G14_SHA256,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    const CIPHERS: &[cipher::Name] =
        &[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR, cipher::AES_128_CTR];
    const COMPRESSION: &[compression::Name] = &[compression::NONE];
    Preferred {
        kex: Cow::Borrowed(KEX),
        cipher: Cow::Borrowed(CIPHERS),
        compression: Cow::Borrowed(COMPRESSION),
        ..Preferred::DEFAULT
    }
}
