//! Where the provider keeps what.
//!
//! `<deployment>/machine/<node>/` holds one machine: `upper` is what differs from the layers beneath (`lower-0`, the topmost, to
//! `lower-N`, the base: links, so that no path needs quoting in mount options), `work` is overlayfs's own, `root` is where it is
//! mounted, in a mount namespace that dies with the machine. A folder appears and vanishes in one step.

use super::super::files::{read_json, write_json};
use super::super::{NodeSpec, Site};
use crate::base::checksum::hex;
use crate::base::error::{Error, IoResultExt, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The variable by which the processes of a machine are found, with `<uuid>/<node>` as its value.
pub const MARK: &str = "OPSRUN_NODE_ID";

/// What is remembered of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MachineRecord {
    pub spec: NodeSpec,
    pub address: Ipv4Addr,
    /// `ssh-ed25519 AAAA…`
    pub host_key: String,
    /// The layers beneath its own, topmost first. The last is the base system.
    pub layers: Vec<PathBuf>,
    /// It was stopped on purpose: only `provision` or a start brings it back.
    #[serde(default)]
    pub off: bool,
}

/// The paths below `<deployment>/machine`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    pub root: PathBuf,
    pub uuid: uuid::Uuid,
}

/// The paths of one machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    pub dir: PathBuf,
    pub node: String,
    /// `<uuid>/<node>`
    pub mark: String,
}

impl Layout {
    pub fn of(site: &Site) -> Self {
        Self { root: site.dir.join("machine"), uuid: site.uuid }
    }

    pub fn home(&self, node: &str) -> Home {
        Home { dir: self.root.join(node), node: node.to_owned(), mark: format!("{}/{node}", self.uuid) }
    }

    /// Where a machine is put together before it appears.
    pub fn new_home(&self, node: &str) -> Home {
        Home { dir: self.root.join(format!(".new-{node}")), ..self.home(node) }
    }

    /// Makes the folder: its keys and files are root's alone.
    pub fn make(&self) -> Result<()> {
        match std::fs::DirBuilder::new().mode(0o700).create(&self.root) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made.at("make", &self.root),
        }
    }

    /// Every machine that is remembered, by group and number.
    pub fn records(&self) -> Result<Vec<MachineRecord>> {
        let mut records = Vec::new();
        for name in self.folders()?.iter().filter(|n| !n.starts_with('.')) {
            records.extend(self.home(name).record()?);
        }
        records.sort_by(|a, b| (&a.spec.group, a.spec.index, &a.spec.name).cmp(&(&b.spec.group, b.spec.index, &b.spec.name)));
        Ok(records)
    }

    /// The names of all folders, half-made and half-removed ones included.
    pub fn folders(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("read", &self.root, &e)),
        };
        Ok(entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect())
    }

    /// Deletes what a command that was cut off left half-made or half-removed.
    pub fn sweep(&self) -> Result<()> {
        for name in self.folders()?.iter().filter(|n| n.starts_with('.')) {
            remove_tree(&self.root.join(name))?;
        }
        Ok(())
    }
}

impl Home {
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// What its console said since it was started last.
    pub fn console(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// What `boot::main` is told.
    pub fn boot(&self) -> PathBuf {
        self.dir.join("boot.json")
    }

    pub fn record(&self) -> Result<Option<MachineRecord>> {
        read_json(&self.dir.join("record.json"))
    }

    pub fn write_record(&self, record: &MachineRecord) -> Result<()> {
        write_json(&self.dir.join("record.json"), record)
    }

    /// What nspawn and the kernel call it: short enough for its end of the network cable, `vb-<id>`.
    pub fn id(&self) -> String {
        hex(&digest(&self.mark)[..6])
    }
}

pub fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Removes a whole tree; one that is not there is fine.
pub fn remove_tree(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(Error::io("remove", dir, &e).hint("Something may still be mounted or running in it: `fuser -vm` on it tells."))
        }
        _ => Ok(()),
    }
}
