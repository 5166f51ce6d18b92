//! Which processes belong to which machine, as `/proc` tells it.

use super::super::processes::{self, Process};
use super::layout::MARK;
use std::collections::{HashMap, HashSet};

/// The processes of one machine that carry its mark.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// nspawn, and before it what starts it.
    pub outer: Vec<Process>,
    /// The machine's own first process. It can outlive a killed nspawn.
    pub inner: Vec<Process>,
}

impl Found {
    pub fn all(&self) -> impl Iterator<Item = &Process> {
        self.outer.iter().chain(&self.inner)
    }
}

/// The marked processes of a deployment, by node.
pub fn find(uuid: uuid::Uuid) -> HashMap<String, Found> {
    let prefix = format!("{MARK}={uuid}/");
    let mut found: HashMap<String, Found> = HashMap::new();
    for process in processes::all() {
        let environ = process.environ();
        let mark = environ.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(prefix.as_bytes()));
        let Some(node) = mark.and_then(|m| std::str::from_utf8(m).ok()) else { continue };
        let entry = found.entry(node.to_owned()).or_default();
        if inside(process.pid) { entry.inner.push(process) } else { entry.outer.push(process) }
    }
    found
}

/// Which nodes run. One whose nspawn is gone cannot be stopped or rebooted any more: it does not count.
pub fn running(uuid: uuid::Uuid) -> HashSet<String> {
    find(uuid).into_iter().filter(|(_, found)| !found.outer.is_empty()).map(|(node, _)| node).collect()
}

/// The processes of the machine with this mark.
pub fn of(mark: &str) -> Found {
    let entry = format!("{MARK}={mark}");
    let mut found = Found::default();
    for process in processes::all().into_iter().filter(|p| p.has_env(&entry, false)) {
        if inside(process.pid) { found.inner.push(process) } else { found.outer.push(process) }
    }
    found
}

/// The first process of the machine that this nspawn runs.
pub fn init_of(nspawn: i32) -> Option<i32> {
    // Where the kernel lists children, nobody needs to look at all processes there are.
    let children: Vec<i32> = match std::fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")) {
        Ok(list) => list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        Err(_) => processes::all().into_iter().filter(|p| p.parent == nspawn).map(|p| p.pid).collect(),
    };
    children.into_iter().find(|pid| inside(*pid))
}

/// Whether a process has another number in a namespace of its own.
fn inside(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("NSpid:")).is_some_and(|numbers| numbers.split_whitespace().count() > 1)
}
