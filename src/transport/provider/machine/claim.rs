//! Who uses what all machines of this host share: an address, an image.

use super::layout::Home;
use super::running;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// More machines than this are counted instead of named.
const NAMED: usize = 4;

/// One machine's word that it uses something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// `<uuid>/<node>`
    pub mark: String,
    /// The machine's folder: while it has a record, the claim holds.
    pub dir: PathBuf,
    /// Who made the claim: it also holds while this process lives, which is about to make the folder.
    pub pid: u32,
}

impl Claim {
    pub fn of(home: &Home) -> Self {
        Self { mark: home.mark.clone(), dir: home.dir.clone(), pid: std::process::id() }
    }

    /// Whether it still means anything: whoever removes a deployment's folder by hand gives nothing back.
    pub fn holds(&self) -> bool {
        self.dir.join("record.json").exists()
            || Path::new(&format!("/proc/{}", self.pid)).exists()
            // A folder may have been moved while its machine runs.
            || running::of(&self.mark).all().next().is_some()
    }
}

/// Names those who claim something: `server-0, server-1 of /lab/deployments/4504`.
pub fn describe(claims: &[Claim]) -> Vec<String> {
    let deployment = |claim: &Claim| claim.dir.ancestors().nth(2).unwrap_or(&claim.dir).to_owned();
    let parts = claims.chunk_by(|a, b| deployment(a) == deployment(b)).map(|claims| {
        let nodes: Vec<&str> = claims.iter().filter_map(|c| c.mark.rsplit('/').next()).collect();
        let place = claims.first().map(deployment).unwrap_or_default();
        match nodes.len() {
            0..=NAMED => format!("{} of {}", nodes.join(", "), place.display()),
            many => format!("{many} machines of {}", place.display()),
        }
    });
    parts.collect()
}
