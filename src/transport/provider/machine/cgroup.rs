//! A cgroup of its own for each machine, in every hierarchy this host has, where no systemd runs that would make one.
//!
//! Two machines that were started from the same cgroup would both use `payload` and `supervisor` beneath it. With systemd on the
//! host a scope unit does all this; see `boot`.

use super::layout::Home;
use crate::base::error::{Error, IoResultExt, Kind, Result};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The folder in each hierarchy that holds all machines of this host.
const PARENT: &str = "opsrun";
const PERIOD: u64 = 100_000;
/// The kernel takes a moment to forget processes that have ended.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// What a machine may use at most; all there is when none.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpus: Option<u64>,
}

/// Where the hierarchies are mounted.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = Vec::new();
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        if after.starts_with("cgroup ") || after.starts_with("cgroup2 ") {
            found.extend(before.split(' ').nth(4).map(PathBuf::from));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// `<uuid>.<node>`
fn name(home: &Home) -> String {
    home.mark.replace('/', ".")
}

fn dirs(home: &Home) -> Vec<PathBuf> {
    let name = name(home);
    hierarchies().into_iter().map(|h| h.join(PARENT).join(&name)).collect()
}

/// Makes the machine's cgroups, or finds them, and sets its limits.
pub fn make(home: &Home, limits: Limits) -> Result<()> {
    for hierarchy in hierarchies() {
        let (parent, dir) = (hierarchy.join(PARENT), hierarchy.join(PARENT).join(name(home)));
        // Between the two steps another opsrun may remove the parent, which it finds empty.
        let mut made = std::fs::create_dir_all(&dir);
        for _ in 0..10 {
            match &made {
                Err(e) if e.kind() == ErrorKind::NotFound => made = std::fs::create_dir_all(&dir),
                _ => break,
            }
        }
        made.at("make", &dir)?;
        for (from, to) in [(&hierarchy, &parent), (&parent, &dir)] {
            inherit(from, to);
        }
    }
    limit(home, limits)
}

/// What must be set before a cgroup can be used: processors and memory nodes in version 1, controllers in version 2.
fn inherit(from: &Path, to: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        // In version 2 an empty file is right.
        if to.join("cpuset.cpu_exclusive").exists() && std::fs::read_to_string(to.join(file)).is_ok_and(|t| t.trim().is_empty()) {
            let _ = std::fs::read(from.join(file)).and_then(|bytes| std::fs::write(to.join(file), bytes));
        }
    }
    for controller in ["+memory", "+cpu"] {
        // Not every host has or allows them; whether a limit can be set is seen when it is.
        let _ = std::fs::write(from.join("cgroup.subtree_control"), controller);
    }
}

/// Sets what the machine may use, also while it runs.
pub fn limit(home: &Home, limits: Limits) -> Result<()> {
    let quota = limits.cpus.map(|thousandths| thousandths * PERIOD / 1000);
    let or = |value: Option<u64>, none: &str| value.map_or_else(|| none.to_owned(), |v| v.to_string());
    set(
        home,
        "memory",
        limits.memory.is_some(),
        &[("memory.limit_in_bytes", or(limits.memory, "-1")), ("memory.max", or(limits.memory, "max"))],
    )?;
    let max = quota.map_or_else(|| "max".to_owned(), |q| format!("{q} {PERIOD}"));
    set(home, "cpu", limits.cpus.is_some(), &[("cpu.cfs_quota_us", or(quota, "-1")), ("cpu.max", max)])
}

/// Writes the one of these files that exists.
fn set(home: &Home, what: &str, wanted: bool, files: &[(&str, String)]) -> Result<()> {
    let dirs = dirs(home);
    let places = files.iter().flat_map(|(file, value)| dirs.iter().map(move |dir| (dir.join(file), value)));
    match places.into_iter().find(|(path, _)| path.exists()) {
        Some((path, value)) => std::fs::write(&path, value).map_err(|e| match e.kind() {
            ErrorKind::ResourceBusy => {
                Error::new(Kind::Provider, format!("the machine uses more {what} than the new limit right now"))
                    .hint("Stop it, then provision again.")
            }
            _ => Error::io("write", &path, &e),
        }),
        None if wanted => Err(Error::new(Kind::Provider, format!("this host's cgroups cannot limit {what}"))
            .hint(format!("Take the limit out of the config, or boot the host with its {what} controller on."))),
        None => Ok(()),
    }
}

/// Puts this process into the machine's cgroups.
pub fn enter(home: &Home) -> Result<()> {
    for dir in dirs(home) {
        let file = dir.join("cgroup.procs");
        std::fs::write(&file, std::process::id().to_string()).at("write", &file)?;
    }
    Ok(())
}

/// Every process in the machine's cgroups.
pub fn processes(home: &Home) -> Vec<i32> {
    let files = dirs(home).into_iter().flat_map(|dir| walkdir::WalkDir::new(dir).into_iter().flatten());
    let lists = files.filter(|e| e.file_name() == "cgroup.procs").filter_map(|e| std::fs::read_to_string(e.path()).ok());
    let mut pids: Vec<i32> = lists.flat_map(|list| list.lines().filter_map(|l| l.parse().ok()).collect::<Vec<_>>()).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Removes the machine's cgroups, which must have no processes any more.
pub async fn remove(home: &Home) -> Result<()> {
    let begin = Instant::now();
    loop {
        let left: Vec<PathBuf> = dirs(home).into_iter().filter(|dir| !gone(dir)).collect();
        let Some(dir) = left.first() else { break };
        if begin.elapsed() > EMPTY_WITHIN {
            return Err(Error::new(Kind::Provider, format!("the cgroup {} cannot be removed: it is in use", dir.display()))
                .hint("Look for processes in its cgroup.procs files, end them, and try again."));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for hierarchy in hierarchies() {
        // Fails while there are other machines.
        let _ = std::fs::remove_dir(hierarchy.join(PARENT));
    }
    Ok(())
}

/// Removes what can be removed of a cgroup; whether nothing is left.
fn gone(dir: &Path) -> bool {
    for entry in walkdir::WalkDir::new(dir).contents_first(true).into_iter().flatten().filter(|e| e.file_type().is_dir()) {
        let _ = std::fs::remove_dir(entry.path());
    }
    !dir.exists()
}

/// The names of the nodes of this deployment that have a cgroup.
pub fn nodes(uuid: uuid::Uuid) -> Vec<String> {
    let prefix = format!("{uuid}.");
    let parents = hierarchies().into_iter().filter_map(|h| std::fs::read_dir(h.join(PARENT)).ok());
    let names = parents.flat_map(|entries| entries.flatten().filter_map(|e| e.file_name().into_string().ok()));
    let mut nodes: Vec<String> = names.filter_map(|n| n.strip_prefix(&prefix).map(str::to_owned)).collect();
    nodes.sort();
    nodes.dedup();
    nodes
}
