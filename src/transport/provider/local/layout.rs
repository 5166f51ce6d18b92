//! Where the provider keeps what: `<deployment>/local/<node>/` are the homes, `.supervisor/` beside them is ours.

use super::super::{NodeSpec, Site};
use crate::base::error::{Error, IoResultExt, Result};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

pub use super::super::files::{check_name, read_json, write_json, write_private};

/// The paths below `<deployment>/local`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    pub root: PathBuf,
}

/// What the supervisor must know of the deployment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SiteRecord {
    pub deployment: String,
    pub uuid: uuid::Uuid,
    /// The one key that may log in, in authorized_keys form.
    pub authorized_key: String,
}

impl SiteRecord {
    pub fn of(site: &Site) -> Result<Self> {
        let authorized_key = std::fs::read_to_string(&site.public_key).at("read", &site.public_key)?.trim().to_owned();
        Ok(Self { deployment: site.deployment.clone(), uuid: site.uuid, authorized_key })
    }

    /// `OPSRUN_NODE_ID=<uuid>/<node>`: the mark in the environment of everything that a node runs.
    pub fn mark(uuid: uuid::Uuid, node: &str) -> String {
        format!("{MARK}={uuid}/{node}")
    }
}

/// The variable by which the processes of a node are found again.
pub const MARK: &str = "OPSRUN_NODE_ID";

/// What is remembered of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    pub spec: NodeSpec,
    pub address: Ipv4Addr,
    pub port: u16,
    /// `ssh-ed25519 AAAA…`
    pub host_key: String,
}

impl NodeRecord {
    pub fn socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, self.port)
    }
}

impl Layout {
    pub fn of(site: &Site) -> Self {
        Self { root: site.dir.join("local") }
    }

    pub fn home(&self, node: &str) -> PathBuf {
        self.root.join(node)
    }

    pub fn state(&self) -> PathBuf {
        self.root.join(".supervisor")
    }

    fn nodes(&self) -> PathBuf {
        self.state().join("nodes")
    }

    pub fn record(&self, node: &str) -> PathBuf {
        self.nodes().join(format!("{node}.json"))
    }

    pub fn host_key(&self, node: &str) -> PathBuf {
        self.nodes().join(format!("{node}.key"))
    }

    pub fn site(&self) -> PathBuf {
        self.state().join("site.json")
    }

    /// Holds the supervisor's process ID, and its lock for as long as it lives.
    pub fn pid(&self) -> PathBuf {
        self.state().join("pid")
    }

    pub fn log(&self) -> PathBuf {
        self.state().join("log")
    }

    /// Makes the folders, for their owner only where they hold keys or take orders.
    pub fn make(&self) -> Result<()> {
        std::fs::create_dir_all(&self.root).at("make", &self.root)?;
        for dir in [self.state(), self.nodes()] {
            match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => made.at("make", &dir)?,
            }
        }
        Ok(())
    }

    /// Every node that is remembered, by name.
    pub fn records(&self) -> Result<Vec<NodeRecord>> {
        let dir = self.nodes();
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("read", &dir, &e)),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry.at("read", &dir)?.path();
            if path.extension() == Some(OsStr::new("json"))
                && let Some(record) = read_json::<NodeRecord>(&path)?
            {
                records.push(record);
            }
        }
        records.sort_by(|a, b| (&a.spec.group, a.spec.index, &a.spec.name).cmp(&(&b.spec.group, b.spec.index, &b.spec.name)));
        Ok(records)
    }
}
