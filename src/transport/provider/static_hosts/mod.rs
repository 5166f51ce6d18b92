//! Hosts that exist already: named by address, or looked up in an ssh_config. Nothing is made and nothing unmade.
//!
//! No host is ever contacted here; whether one answers is the SSH client's to find out.

mod glob;
mod host;
mod ssh_config;

use super::{NodeFound, NodeSpec, NodeStatus, Provider, Site};
use crate::base::endpoint::{Endpoint, HostKeyPolicy};
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::Cx;
use async_trait::async_trait;
use host::{Host, read_port};
use serde_json::Value;
use ssh_config::{Query, SshConfig};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A jump through a jump through a jump …: a loop.
const MAX_JUMPS: usize = 8;

/// The provider `static`.
#[derive(Debug, Default)]
pub struct StaticHosts;

impl StaticHosts {
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Provider for StaticHosts {
    fn name(&self) -> &'static str {
        "static"
    }

    async fn list(&self, site: &Site, _: &Cx) -> Result<Vec<NodeFound>> {
        let mut known = read(site)?;
        let mut book = Book::new();
        for node in &mut known {
            // The ssh_config may say something new. If it is gone, what it said when the node was taken in still holds.
            if let Ok(endpoint) = book.endpoint(site, &node.spec) {
                node.endpoint = endpoint;
            }
        }
        Ok(known)
    }

    async fn create(&self, site: &Site, specs: &[NodeSpec], _: &Cx) -> Result<Vec<NodeFound>> {
        let mut known = read(site)?;
        let mut book = Book::new();
        let mut made = Vec::new();
        for spec in specs {
            let endpoint = book.endpoint(site, spec).map_err(|e| e.on_node(&spec.name))?;
            made.push(NodeFound {
                spec: spec.clone(),
                status: NodeStatus::Running,
                endpoint,
                host_keys: Vec::new(),
                first_contact: None,
            });
        }
        known.retain(|old| made.iter().all(|new| new.spec.name != old.spec.name));
        known.extend(made.iter().cloned());
        write(site, &known)?;
        Ok(made)
    }

    async fn destroy(&self, site: &Site, names: &[String], _: &Cx) -> Result<()> {
        let mut known = read(site)?;
        known.retain(|node| !names.contains(&node.spec.name));
        write(site, &known)
    }

    async fn destroy_all(&self, site: &Site, _: &Cx) -> Result<()> {
        let dir = folder(site);
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", &dir, &e)),
            _ => Ok(()),
        }
    }
}

fn folder(site: &Site) -> PathBuf {
    site.dir.join("static")
}

fn read(site: &Site) -> Result<Vec<NodeFound>> {
    let path = folder(site).join("hosts.json");
    match std::fs::read(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => serde_json::from_slice(&other.at("read", &path)?)
            .map_err(|e| Error::new(Kind::Io, format!("cannot understand {}: {e}", path.display()))),
    }
}

fn write(site: &Site, nodes: &[NodeFound]) -> Result<()> {
    let dir = folder(site);
    let (path, temp) = (dir.join("hosts.json"), dir.join("hosts.json.new"));
    let text = serde_json::to_vec_pretty(nodes).map_err(|e| Error::internal(format!("hosts cannot be written as JSON: {e}")))?;
    std::fs::create_dir_all(&dir).at("create", &dir)?;
    std::fs::write(&temp, text).at("write", &path)?;
    std::fs::File::open(&temp).and_then(|f| f.sync_all()).at("write", &path)?;
    std::fs::rename(&temp, &path).at("write", &path)
}

/// The ssh_config that hosts are looked up in, read once.
struct Book {
    home: PathBuf,
    user: String,
    read: Option<(PathBuf, SshConfig)>,
}

impl Book {
    fn new() -> Self {
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|u| u.name).unwrap_or_default();
        let home = std::env::var_os("HOME").filter(|h| !h.is_empty()).map_or_else(|| PathBuf::from("/"), PathBuf::from);
        Self { home, user, read: None }
    }

    /// How the host of this node is reached, from its options: `host`, and `user`, `port`, `ssh_config`, `private_key_path`,
    /// `known_hosts`, `host_keys`.
    fn endpoint(&mut self, site: &Site, spec: &NodeSpec) -> Result<Endpoint> {
        let option = |key: &str| spec.options.get(key).and_then(Value::as_str);
        let mut host = Host::from_value(spec.options.get("host").ok_or_else(|| Error::config("this node has no `host`"))?)?;
        host.user = host.user.or_else(|| option("user").map(str::to_owned));
        host.port = host.port.map_or_else(|| spec.options.get("port").map(read_port).transpose(), |p| Ok(Some(p)))?;
        if let Some(path) = option("ssh_config").map(|p| self.expand(p)) {
            self.open(&path)?;
        } else {
            self.read = None;
        }
        let mut endpoint = self.resolve(site, &host, 0)?;
        endpoint.name.clone_from(&spec.name);
        if let Some(key) = option("private_key_path") {
            endpoint.keys = vec![self.expand(key)];
        }
        if let Some(known) = option("known_hosts") {
            endpoint.known_hosts = vec![self.expand(known)];
            endpoint.host_keys = HostKeyPolicy::Strict;
        }
        match option("host_keys") {
            None => {}
            Some("strict") => endpoint.host_keys = HostKeyPolicy::Strict,
            Some("pin") => endpoint.host_keys = HostKeyPolicy::Pin,
            Some(other) => {
                return Err(Error::config(format!("`host_keys` cannot be \"{other}\"")).hint("It is \"strict\" or \"pin\"."));
            }
        }
        Ok(endpoint)
    }

    fn open(&mut self, path: &Path) -> Result<()> {
        if self.read.as_ref().is_none_or(|(known, _)| known != path) {
            self.read = Some((path.to_owned(), SshConfig::read(path, &self.home)?));
        }
        Ok(())
    }

    fn expand(&self, path: &str) -> PathBuf {
        path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| self.home.join(rest))
    }

    fn resolve(&self, site: &Site, host: &Host, depth: usize) -> Result<Endpoint> {
        if depth > MAX_JUMPS {
            return Err(Error::config(format!("the way to {} has more than {MAX_JUMPS} jumps", host.name))
                .hint("Look at its ProxyJump lines: do they form a circle?"));
        }
        let query =
            Query { host: &host.name, user: host.user.as_deref(), port: host.port, local_user: &self.user, home: &self.home };
        let said = self.read.as_ref().map(|(_, config)| config.answer(&query)).transpose()?.unwrap_or_default();
        let user = host.user.clone().or(said.user).unwrap_or_else(|| self.user.clone());
        if user.is_empty() {
            return Err(Error::config("no user to log in as: none is given, and this process's own has no name")
                .hint("Write the host as \"user@host\"."));
        }
        let address = said.host_name.unwrap_or_else(|| host.name.clone()).to_ascii_lowercase();
        let mut endpoint = Endpoint::new(&host.name, address, host.port.or(said.port).unwrap_or(22), user);
        endpoint.keys = if said.identity_files.is_empty() { self.default_keys() } else { said.identity_files };
        endpoint.agent = said.agent != Some(false) && said.identities_only != Some(true);
        // Keys that were pinned for this deployment, then those the user knows.
        let known = said.known_hosts.unwrap_or_else(|| vec![self.home.join(".ssh/known_hosts")]);
        endpoint.known_hosts = vec![site.dir.join("known_hosts")];
        endpoint.known_hosts.extend(known.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]));
        // A host nobody knows is pinned at first contact; a key that changes is refused in any case, also for who told ssh not to ask.
        let strict = said.strict.is_some_and(|w| ["yes", "true"].contains(&w.as_str()));
        endpoint.host_keys = if strict { HostKeyPolicy::Strict } else { HostKeyPolicy::Pin };
        if let Some(timeout) = said.connect_timeout.filter(|t| !t.is_zero()) {
            endpoint.connect_timeout = timeout;
        }
        for jump in said.proxy_jump.iter().flatten() {
            let mut next = self.resolve(site, &Host::parse(jump.trim_start_matches("ssh://"))?, depth + 1)?;
            if let Some(before) = endpoint.jump.take() {
                next.jump = Some(before);
            }
            endpoint.jump = Some(Box::new(next));
        }
        endpoint.proxy_command = said.proxy_command.filter(|line| !line.is_empty() && endpoint.jump.is_none());
        Ok(endpoint)
    }

    /// The keys that ssh itself would try.
    fn default_keys(&self) -> Vec<PathBuf> {
        ["id_ed25519", "id_ecdsa", "id_rsa"]
            .iter()
            .map(|name| self.home.join(".ssh").join(name))
            .filter(|p| p.is_file())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(dir: &Path) -> Site {
        let key = dir.join("keys/id");
        Site { deployment: "lab".into(), uuid: uuid::Uuid::nil(), dir: dir.into(), private_key: key.clone(), public_key: key }
    }

    fn spec(index: usize, options: &Value) -> NodeSpec {
        let options = options.as_object().cloned().unwrap_or_default();
        NodeSpec { name: format!("server-{index}"), group: "server".into(), index, options }
    }

    #[tokio::test]
    async fn names_come_from_ssh_config_and_the_host_line_wins() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("ssh_config");
        std::fs::write(
            &config,
            "Host bench-*\n  User bench\n  Port 2200\n  IdentityFile /keys/bench\n  ProxyJump gate\nHost bench-3\n  HostName 10.0.0.3\nHost gate\n  HostName 192.0.2.1\n  User jumper\n  UserKnownHostsFile /known/gate\n",
        )
        .unwrap();
        let site = site(dir.path());
        let options = |host: &str| serde_json::json!({ "host": host, "ssh_config": config.to_str().unwrap() });
        let specs = [spec(0, &options("bench-3")), spec(1, &options("root@bench-4:22"))];
        let made = StaticHosts.create(&site, &specs, &Cx::quiet()).await.unwrap();
        assert_eq!(made[0].endpoint.address(), "bench@10.0.0.3:2200");
        assert_eq!(made[0].endpoint.name, "server-0");
        assert_eq!(made[0].endpoint.keys, [Path::new("/keys/bench")]);
        let jump = made[0].endpoint.jump.as_ref().unwrap();
        assert_eq!((jump.address(), jump.known_hosts[1].as_path()), ("jumper@192.0.2.1:22".into(), Path::new("/known/gate")));
        assert_eq!(made[1].endpoint.address(), "root@bench-4:22");
        assert_eq!(StaticHosts.list(&site, &Cx::quiet()).await.unwrap(), made);
        std::fs::remove_file(&config).unwrap();
        assert_eq!(StaticHosts.list(&site, &Cx::quiet()).await.unwrap(), made, "the last known way still holds");
        StaticHosts.destroy(&site, &["server-0".to_owned()], &Cx::quiet()).await.unwrap();
        assert_eq!(StaticHosts.list(&site, &Cx::quiet()).await.unwrap().len(), 1);
        StaticHosts.destroy_all(&site, &Cx::quiet()).await.unwrap();
        assert!(!dir.path().join("static").exists());
    }

    #[tokio::test]
    async fn options_of_the_node_count_where_the_host_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = async |options: Value| {
            let specs = [spec(0, &options)];
            StaticHosts.create(&site(dir.path()), &specs, &Cx::quiet()).await.map(|mut made| made.remove(0).endpoint)
        };
        let json = serde_json::json!({ "host": { "host": "::1", "port": 2022 }, "user": "me", "port": 7 });
        let made = endpoint(json).await.unwrap();
        assert_eq!((made.user.as_str(), made.host.as_str(), made.port), ("me", "::1", 2022));
        assert_eq!((made.host_keys, made.agent), (HostKeyPolicy::Pin, true));
        assert_eq!(
            made.known_hosts[0],
            dir.path().join("known_hosts"),
            "new keys are pinned for the deployment, not for the user"
        );
        let json = serde_json::json!({ "host": "you@h", "user": "me", "port": 7, "known_hosts": "/k", "private_key_path": "/p" });
        let made = endpoint(json).await.unwrap();
        assert_eq!((made.address(), made.host_keys), ("you@h:7".into(), HostKeyPolicy::Strict));
        assert_eq!((made.known_hosts, made.keys), (vec!["/k".into()], vec!["/p".into()]));
        let error = endpoint(serde_json::json!({ "host": "h", "host_keys": "any" })).await.unwrap_err();
        assert_eq!(error.message(), "`host_keys` cannot be \"any\"");
        assert_eq!(error.details().node.as_deref(), Some("server-0"));
        let error = endpoint(serde_json::json!({ "host": "a b" })).await.unwrap_err();
        assert_eq!(error.message(), "\"a b\" is not a host: its host has ' ' in it");
    }

    #[tokio::test]
    async fn what_would_mislead_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("ssh_config");
        let try_with = async |text: &str| {
            std::fs::write(&config, text).unwrap();
            let options = serde_json::json!({ "host": "a", "ssh_config": config.to_str().unwrap() });
            StaticHosts.create(&site(dir.path()), &[spec(0, &options)], &Cx::quiet()).await.unwrap_err().message().to_owned()
        };
        assert!(try_with("Host a\n User x\nMatch exec y\n Port 3\n").await.contains("`Match exec` cannot be decided here"));
        assert!(try_with("Host a\n ProxyJump a\n").await.contains("more than 8 jumps"));
    }
}
