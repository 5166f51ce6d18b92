//! A deployment in a temporary folder, removed at the end whatever happens.

use opsrun::base::event::Cx;
use opsrun::transport::provider::local::Local;
use opsrun::transport::provider::{NodeFound, NodeSpec, Provider, Site};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub struct Lab {
    pub site: Site,
    pub provider: Local,
    pub runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

pub fn specs(group: &str, count: usize) -> Vec<NodeSpec> {
    let spec =
        |index| NodeSpec { name: format!("{group}-{index}"), group: group.to_owned(), index, options: serde_json::Map::new() };
    (0..count).map(spec).collect()
}

pub fn write_key(path: &Path) {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(key.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
    std::fs::write(path.with_extension("pub"), key.public_key().to_openssh().unwrap()).unwrap();
}

impl Lab {
    pub fn new() -> Self {
        Self::below("deployments/lab")
    }

    pub fn below(path: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("opsrun-local-").tempdir().unwrap();
        let site_dir = dir.path().join(path);
        std::fs::create_dir_all(&site_dir).unwrap();
        let private_key = site_dir.join("id");
        write_key(&private_key);
        let site = Site {
            deployment: "lab".to_owned(),
            uuid: uuid::Uuid::new_v4(),
            public_key: site_dir.join("id.pub"),
            private_key,
            dir: site_dir,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { site, provider: Local::new(PathBuf::from(env!("CARGO_BIN_EXE_opsrun"))), runtime, _dir: dir }
    }

    pub fn create(&self, specs: &[NodeSpec]) -> Vec<NodeFound> {
        self.try_create(specs).unwrap_or_else(|e| panic!("create: {e} {:?}", e.details().failed))
    }

    pub fn try_create(&self, specs: &[NodeSpec]) -> opsrun::base::error::Result<Vec<NodeFound>> {
        let nodes = self.runtime.block_on(self.provider.create(&self.site, specs, &Cx::quiet()))?;
        let known: String = nodes
            .iter()
            .flat_map(|n| n.host_keys.iter().map(|k| format!("[{}]:{} {k}\n", n.endpoint.host, n.endpoint.port)))
            .collect();
        std::fs::write(self.known_hosts(), known).unwrap();
        Ok(nodes)
    }

    /// Calls the provider in another process: this test program again, at `act` below. `what` is `GROUP:COUNT` to create or `destroy`.
    fn child(&self, what: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "lab::act", "--nocapture"]).stdout(Stdio::null());
        command.env("LAB_SITE", &self.site.dir).env("LAB_UUID", self.site.uuid.to_string()).env("LAB_WHAT", what);
        command
    }

    pub fn in_a_process(&self, what: &str, prepare: impl FnOnce(&mut Command)) -> std::process::ExitStatus {
        let mut command = self.child(what);
        prepare(&mut command);
        command.status().unwrap()
    }

    /// Returns whether it was killed before it had ended by itself.
    pub fn killed_after(&self, what: &str, delay: Duration) -> bool {
        let mut child = self.child(what).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        !child.wait().unwrap().success()
    }

    pub fn node(&self) -> NodeFound {
        self.create(&specs("server", 1)).remove(0)
    }

    pub fn list(&self) -> Vec<NodeFound> {
        self.runtime.block_on(self.provider.list(&self.site, &Cx::quiet())).unwrap()
    }

    pub fn destroy(&self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        self.runtime.block_on(self.provider.destroy(&self.site, &names, &Cx::quiet())).unwrap();
    }

    pub fn destroy_all(&self) {
        self.runtime.block_on(self.provider.destroy_all(&self.site, &Cx::quiet())).unwrap();
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.site.dir.join("known_hosts")
    }

    pub fn local(&self) -> PathBuf {
        self.site.dir.join("local")
    }

    pub fn home(&self, node: &NodeFound) -> PathBuf {
        self.local().join(&node.spec.name)
    }

    pub fn supervisor(&self) -> i32 {
        std::fs::read_to_string(self.local().join(".supervisor/pid")).unwrap().trim().parse().unwrap()
    }

    /// A file for `ssh -F`: hosts by node name.
    pub fn ssh_config(&self, nodes: &[NodeFound]) -> PathBuf {
        let quoted = |path: &Path| format!("\"{}\"", path.display());
        let mut text = String::new();
        for node in nodes {
            let e = &node.endpoint;
            text.push_str(&format!("Host {}\n  HostName {}\n  Port {}\n  User {}\n", e.name, e.host, e.port, e.user));
            text.push_str(&format!(
                "  IdentityFile {}\n  UserKnownHostsFile {}\n",
                quoted(&e.keys[0]),
                quoted(&e.known_hosts[0])
            ));
        }
        text.push_str("Host *\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n  BatchMode yes\n  LogLevel ERROR\n");
        let path = self.site.dir.join("ssh_config");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `ssh -F <config> <options…>`, ready for a destination and a command.
    pub fn tool(&self, name: &str, nodes: &[NodeFound]) -> Command {
        let mut command = Command::new(name);
        command.arg("-F").arg(self.ssh_config(nodes));
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        command
    }

    pub fn ssh(&self, node: &NodeFound, line: &str) -> Output {
        self.tool("ssh", std::slice::from_ref(node))
            .arg(&node.spec.name)
            .arg(line)
            .output()
            .expect("apt-get install openssh-client")
    }

    /// Stdout of a command that must succeed.
    pub fn sh(&self, node: &NodeFound, line: &str) -> String {
        let out = self.ssh(node, line);
        assert!(out.status.success(), "{line}: {:?} {}", out.status, String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Processes that carry the deployment's mark.
    pub fn processes(&self) -> Vec<i32> {
        let mark = format!("OPSRUN_NODE_ID={}/", self.site.uuid);
        let has = |pid: i32| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|e| e.split(|b| *b == 0).any(|entry| entry.starts_with(mark.as_bytes())))
        };
        let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        pids.filter(|pid| has(*pid)).collect()
    }

    pub fn assert_nothing_left(&self, supervisor: i32) {
        assert_eq!(self.processes(), Vec::<i32>::new());
        assert!(!self.local().exists(), "{}", self.local().display());
        assert!(!alive(supervisor), "supervisor {supervisor} lives");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.local().join(".supervisor/log")).unwrap_or_default();
            println!("the supervisor's log:\n{log}");
        }
        let _ = self.runtime.block_on(self.provider.destroy_all(&self.site, &Cx::quiet()));
    }
}

pub fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| !s.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

pub fn kill9(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("the killed process is gone", || !alive(pid));
}

/// Waits until it is true, or fails after ten seconds.
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !check() {
        assert!(begin.elapsed() < Duration::from_secs(10), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `Lab::child` runs. As a test of its own it has nothing to do.
#[test]
fn act() {
    let Ok(dir) = std::env::var("LAB_SITE") else { return };
    if let Ok(path) = std::env::var("LAB_INHERIT") {
        let file = std::fs::File::create(path).unwrap();
        // Not closed on exec, as the descriptors of shells are not.
        nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        std::mem::forget(file);
    }
    let dir = PathBuf::from(dir);
    let uuid = std::env::var("LAB_UUID").unwrap().parse().unwrap();
    let site = Site { deployment: "lab".to_owned(), uuid, private_key: dir.join("id"), public_key: dir.join("id.pub"), dir };
    let provider = Local::new(PathBuf::from(env!("CARGO_BIN_EXE_opsrun")));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    match std::env::var("LAB_WHAT").unwrap().split_once(':') {
        Some((group, count)) => {
            runtime.block_on(provider.create(&site, &specs(group, count.parse().unwrap()), &Cx::quiet())).unwrap();
        }
        None => runtime.block_on(provider.destroy_all(&site, &Cx::quiet())).unwrap(),
    }
}
