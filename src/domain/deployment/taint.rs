//! Nodes marked to be made anew by the next provision.

use super::{Deployment, hosts};
use crate::base::error::Result;
use crate::base::project::Project;

/// Marks the nodes that the selector names, or takes the mark from them. Returns their names. Touches no node.
pub fn taint(project: &Project, name: &str, selector: &str, mark: bool) -> Result<Vec<String>> {
    let deployment = Deployment::open(project, name)?;
    hosts::refuse(&deployment.record, "tainting")?;
    let lock = deployment.lock(&format!("opsrun {} {name}", if mark { "taint" } else { "untaint" }))?;
    let names = deployment.nodes().select(selector)?.names();
    let store = &deployment.store;
    // Anew: what was read before the lock was taken may be old.
    let mut record = store.read()?.unwrap_or(deployment.record);
    record.tainted.retain(|node| !names.contains(node));
    if mark {
        record.tainted.extend(names.iter().cloned());
    }
    store.write(&record, &lock)?;
    Ok(names)
}
