//! The background process that serves all local nodes of one deployment.

use super::super::NodeSpec;
use super::address;
use super::control::{Answer, Problem, Report, Request, SocketPath};
use super::layout::{self, Layout, NodeRecord, SiteRecord};
use super::processes;
use super::reaper::Reaper;
use super::server::{House, Node};
use super::slayer::{Slayer, Target};
use crate::base::error::{Error, IoResultExt, Kind, Result};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify};

/// How often it looks whether its folder is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const NO_LOCALE: &str = "C.UTF-8";

/// The lock of the one supervisor a deployment may have. Held for as long as it lives.
pub struct Hold {
    file: File,
    path: PathBuf,
    /// The process that held it before, if any.
    before: Option<i32>,
}

impl Hold {
    /// Returns none when another supervisor lives.
    pub fn take(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.pid();
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).at("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(e)) => return Err(Error::io("lock", &path, &e)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).at("read", &path)?;
        let before = text.trim().parse().ok();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .at("write", &path)?;
        Ok(Some(Self { file, path, before }))
    }

    /// Whether our folder is still where it was.
    fn is_in_place(&self) -> bool {
        let same = |there: std::fs::Metadata, ours: std::fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(ours)) => same(there, ours),
            _ => false,
        }
    }
}

/// Serves the nodes below `root` until it is told to end or the folder is gone. `ready` is called once it takes orders.
pub fn supervise(root: &Path, hold: Hold, ready: impl FnOnce()) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)))
        .enable_all()
        .build()
        .map_err(|e| Error::internal(format!("cannot start the async runtime: {e}")))?;
    let outcome = runtime.block_on(run(Layout { root: root.to_owned() }, hold, ready));
    runtime.shutdown_background();
    outcome
}

/// A node as it is remembered, and as it is served if it is.
enum State {
    Served(NodeRecord, Arc<Node>),
    Down(NodeRecord, Problem),
}

struct Supervisor {
    layout: Layout,
    house: House,
    nodes: Mutex<BTreeMap<String, State>>,
    end: Notify,
}

async fn run(layout: Layout, hold: Hold, ready: impl FnOnce()) -> Result<()> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |e: std::io::Error| Error::new(Kind::Provider, format!("{what}: {e}"))
    };
    let (mut terminate, mut hangup, mut interrupt) = (
        signal(SignalKind::terminate()).map_err(failed("cannot catch signals"))?,
        signal(SignalKind::hangup()).map_err(failed("cannot catch signals"))?,
        signal(SignalKind::interrupt()).map_err(failed("cannot catch signals"))?,
    );
    let socket = SocketPath::of(&layout).at("open", layout.state())?;
    let _ = std::fs::remove_file(&socket.path);
    let listener = UnixListener::bind(&socket.path).at("listen on", layout.state().join("control"))?;
    let reaper = Reaper::default();
    tokio::spawn(reaper.clone().run());
    let house = house(&layout, reaper);
    let supervisor = Arc::new(Supervisor { layout, house, nodes: Mutex::default(), end: Notify::new() });
    if let Some(before) = hold.before {
        supervisor.end_orphans(before).await?;
    }
    supervisor.restore().await?;
    ready();
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(supervisor.clone().converse(stream));
                }
            }
            _ = terminate.recv() => break,
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
            () = supervisor.end.notified() => break,
            _ = look.tick() => {
                if !hold.is_in_place() {
                    supervisor.abandon().await;
                    break;
                }
            }
        }
    }
    drop(listener);
    let _ = std::fs::remove_file(&socket.path);
    supervisor.stop_all().await;
    Ok(())
}

fn house(layout: &Layout, reaper: Reaper) -> House {
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let mut locale: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
        .filter(|(n, _)| n.starts_with("LC_") || n == "TZ")
        .collect();
    locale.push(("LANG".to_owned(), variable("LANG").unwrap_or_else(|| NO_LOCALE.to_owned())));
    House {
        reaper,
        slayer: Slayer::start(),
        user: super::user(),
        shell: variable("SHELL").filter(|s| Path::new(s).is_file()).unwrap_or_else(|| "/bin/sh".to_owned()),
        path: variable("PATH").unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        locale,
        spool: layout.state(),
        exe: PathBuf::from("/proc/self/exe"),
    }
}

impl Supervisor {
    /// Commands that hung on a supervisor which was killed have nobody to talk to any more.
    async fn end_orphans(&self, before: i32) -> Result<()> {
        let Some(site) = layout::read_json::<SiteRecord>(&self.layout.site())? else { return Ok(()) };
        let mark = SiteRecord::mark(site.uuid, "");
        let orphans = processes::all().into_iter().filter(|p| p.session == before && p.has_env(&mark, true));
        let groups: HashSet<i32> = orphans.map(|p| p.group).collect();
        // The mark of a command that never was: only the groups count.
        let ends = groups.into_iter().map(|leader| self.house.slayer.end(Target { leader, mark: "OPSRUN_COMMAND=".to_owned() }));
        futures::future::join_all(ends).await;
        Ok(())
    }

    /// Serves every node that is remembered. One whose address is taken must not keep the others down.
    async fn restore(&self) -> Result<()> {
        let Some(site) = layout::read_json::<SiteRecord>(&self.layout.site())? else { return Ok(()) };
        let mut nodes = self.nodes.lock().await;
        for record in self.layout.records()? {
            nodes.insert(record.spec.name.clone(), self.revive(&site, record));
        }
        Ok(())
    }

    fn revive(&self, site: &SiteRecord, record: NodeRecord) -> State {
        let name = &record.spec.name;
        let serve = || {
            let key_file = self.layout.host_key(name);
            let key = russh::keys::load_secret_key(&key_file, None)
                .map_err(|e| Error::new(Kind::Provider, format!("cannot read the host key {}: {e}", key_file.display())))?;
            let home = self.layout.home(name);
            std::fs::create_dir_all(&home).at("make", &home)?;
            let listener = address::reclaim(name, record.socket())?;
            Node::serve(name, home, site, self.house.clone(), key, listener)
        };
        match serve() {
            Ok(node) => State::Served(record, node),
            Err(e) => State::Down(record, Problem::from(&e)),
        }
    }

    async fn converse(self: Arc<Self>, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(request) = serde_json::from_str::<Request>(&line) else { return };
            let nodes = self.obey(request).await;
            let answer = Answer { pid: nix::unistd::getpid().as_raw(), nodes };
            let Ok(mut text) = serde_json::to_vec(&answer) else { return };
            text.push(b'\n');
            if write.write_all(&text).await.is_err() {
                return;
            }
        }
    }

    async fn obey(&self, request: Request) -> Vec<Report> {
        match request {
            Request::Serve { site, specs } => self.serve(&site, specs).await,
            Request::Stop { names } => self.stop(names).await,
            Request::List => self.nodes.lock().await.iter().map(|(name, state)| state.report(name)).collect(),
            Request::Shutdown => {
                let names = self.nodes.lock().await.keys().cloned().collect();
                let reports = self.stop(names).await;
                self.end.notify_one();
                reports
            }
        }
    }

    async fn serve(&self, site: &SiteRecord, specs: Vec<NodeSpec>) -> Vec<Report> {
        let mut nodes = self.nodes.lock().await;
        let mut reports = Vec::new();
        for spec in specs {
            let name = spec.name.clone();
            let taken: HashSet<_> = nodes.values().map(|s| s.record().address).collect();
            let state = match nodes.remove(&name) {
                Some(state) => self.renew(site, state, spec).await,
                None => self.remember_or_make(site, spec, &taken),
            };
            match state {
                Ok(state) => {
                    reports.push(state.report(&name));
                    nodes.insert(name, state);
                }
                Err(e) => {
                    let problem = Some(Problem::from(&e));
                    reports.push(Report { name, record: None, running: false, problem, groups: Vec::new() });
                }
            }
        }
        reports
    }

    /// A node that was there already, with the key and the options of today.
    async fn renew(&self, site: &SiteRecord, state: State, spec: NodeSpec) -> Result<State> {
        let mut record = state.record().clone();
        if record.spec != spec {
            record.spec = spec;
            layout::write_json(&self.layout.record(&record.spec.name), &record)?;
        }
        match state {
            State::Served(_, node) if node.admits_key_of(site) && node.home.is_dir() => Ok(State::Served(record, node)),
            other => {
                other.stop().await;
                Ok(self.revive(site, record))
            }
        }
    }

    /// A node that was stopped to be removed, but is wanted again before it was, keeps its address.
    fn remember_or_make(&self, site: &SiteRecord, spec: NodeSpec, taken: &HashSet<Ipv4Addr>) -> Result<State> {
        if let Some(record) = layout::read_json::<NodeRecord>(&self.layout.record(&spec.name))? {
            return Ok(self.revive(site, NodeRecord { spec, ..record }));
        }
        self.make(site, spec, taken).map(|(record, node)| State::Served(record, node))
    }

    /// A new node. Its record is written before it answers, so that a crash leaves nothing that nobody knows of.
    fn make(&self, site: &SiteRecord, spec: NodeSpec, taken: &HashSet<Ipv4Addr>) -> Result<(NodeRecord, Arc<Node>)> {
        let name = spec.name.clone();
        let unusable =
            |e: &dyn std::fmt::Display| Error::new(Kind::Provider, format!("cannot make a host key: {e}")).on_node(&name);
        let (listener, socket) = address::claim(site.uuid, &name, taken)?;
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).map_err(|e| unusable(&e))?;
        let text = key.to_openssh(LineEnding::LF).map_err(|e| unusable(&e))?;
        layout::write_private(&self.layout.host_key(&name), text.as_bytes())?;
        let host_key = key.public_key().to_openssh().map_err(|e| unusable(&e))?;
        let record = NodeRecord { spec, address: *socket.ip(), port: socket.port(), host_key };
        layout::write_json(&self.layout.record(&name), &record)?;
        let home = self.layout.home(&name);
        std::fs::create_dir_all(&home).at("make", &home)?;
        let node = Node::serve(&name, home, site, self.house.clone(), key, listener)?;
        Ok((record, node))
    }

    /// Forgets these nodes, too: they are about to be removed.
    async fn stop(&self, names: Vec<String>) -> Vec<Report> {
        let stopped: Vec<(String, State)> = {
            let mut nodes = self.nodes.lock().await;
            names.into_iter().filter_map(|name| nodes.remove(&name).map(|state| (name, state))).collect()
        };
        futures::future::join_all(stopped.iter().map(|(_, state)| state.stop())).await;
        stopped.iter().map(|(name, state)| Report { running: false, ..state.report(name) }).collect()
    }

    async fn stop_all(&self) {
        let nodes = self.nodes.lock().await;
        futures::future::join_all(nodes.values().map(State::stop)).await;
    }

    /// The folder was removed under us: nothing of the nodes shall stay.
    async fn abandon(&self) {
        self.stop_all().await;
        let me = nix::unistd::getpid().as_raw();
        let rest = processes::descendants(&processes::all(), me);
        for signal in [nix::sys::signal::Signal::SIGTERM, nix::sys::signal::Signal::SIGKILL] {
            for process in &rest {
                if processes::Process::read(process.pid).is_some_and(|p| p.session == process.session) {
                    process.signal(signal);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl State {
    fn record(&self) -> &NodeRecord {
        match self {
            Self::Served(record, _) | Self::Down(record, _) => record,
        }
    }

    fn report(&self, name: &str) -> Report {
        let (running, problem, groups) = match self {
            Self::Served(_, node) => (true, None, node.groups()),
            Self::Down(_, problem) => (false, Some(problem.clone()), Vec::new()),
        };
        Report { name: name.to_owned(), record: Some(self.record().clone()), running, problem, groups }
    }

    async fn stop(&self) {
        if let Self::Served(_, node) = self {
            node.stop().await;
        }
    }
}
