//! Whether a deployment's folder is still the one its state was written for: folders are copied, renamed and moved.
//!
//! A copy has the UUID of its original, and whoever removes it by that removes what belongs to the original.

use super::{Record, Store};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::shell::quote;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Refuses a copy and a renamed folder. Of one that was moved with its project, the paths into itself are brought up to date.
pub(super) fn settle(store: &Store, mut record: Record) -> Result<Record> {
    let dir = store.dir();
    let shown = |path: &Path| quote(&path.to_string_lossy());
    if let Some(original) = record.dir.take().filter(|original| original != dir) {
        if is_another(dir, &original, &record) {
            let (name, at) = (&record.name, original.display());
            return Err(Error::new(Kind::Config, format!("{} is a copy of deployment \"{name}\" in {at}", dir.display()))
                .hint("Two folders cannot own the same nodes: removing one would end what runs on the other's.")
                .hint(format!("Be rid of the copy with: rm -r {} (and make a deployment of its own instead)", shown(dir))));
        }
        for node in &mut record.nodes {
            rebase(&mut node.endpoint, &original, dir);
        }
    }
    if record.name != store.name() {
        let right = dir.with_file_name(&record.name);
        return Err(Error::new(
            Kind::Config,
            format!("{} holds deployment \"{}\", so it was renamed", dir.display(), record.name),
        )
        .hint(format!("Rename it back: mv {} {}", shown(dir), shown(&right))));
    }
    Ok(record)
}

/// Whether the original is still there, and is not this very folder by another way.
fn is_another(dir: &Path, original: &Path, record: &Record) -> bool {
    let place = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let text = std::fs::read(original.join("state.json")).unwrap_or_default();
    let theirs: Option<Record> = serde_json::from_slice(&text).ok();
    theirs.is_some_and(|theirs| theirs.uuid == record.uuid) && place(dir) != place(original)
}

fn rebase(endpoint: &mut Endpoint, from: &Path, to: &Path) {
    let paths = endpoint.keys.iter_mut().chain(&mut endpoint.known_hosts);
    for path in paths {
        if let Ok(inside) = path.strip_prefix(from).map(Path::to_owned) {
            *path = to.join(inside);
        }
    }
    if let Some(jump) = &mut endpoint.jump {
        rebase(jump, from, to);
    }
}
