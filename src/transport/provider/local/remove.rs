//! Unmaking nodes, whatever state a crash left them in, and proving that they are gone.

use super::control::{Client, Request};
use super::daemon;
use super::layout::{self, Layout, NodeRecord, SiteRecord};
use super::processes::{self, Process};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use nix::sys::signal::Signal;
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How long processes may take to end after SIGTERM before they are killed.
const GRACE: Duration = Duration::from_secs(3);
const GIVE_UP: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_millis(20);
/// How long a supervisor may take to end by itself.
const SUPERVISOR_WITHIN: Duration = Duration::from_secs(12);

/// Removes these nodes: their servers, their processes, their directories.
pub async fn nodes(layout: &Layout, uuid: uuid::Uuid, names: &[String], cx: &Cx) -> Result<()> {
    names.iter().try_for_each(|name| layout::check_name(name))?;
    if !layout.root.exists() {
        return Ok(());
    }
    let (mut supervisor, mut groups) = (None, HashSet::new());
    if let Some(mut client) = Client::connect(layout).await
        && let Some(answer) = cx.cancel.guard(client.ask(&Request::Stop { names: names.to_vec() })).await?
    {
        supervisor = Some(answer.pid);
        groups.extend(answer.nodes.into_iter().flat_map(|n| n.groups));
    }
    let marks: Vec<String> = names.iter().map(|name| SiteRecord::mark(uuid, name)).collect();
    let homes: Vec<_> = names.iter().map(|name| processes::canonical(&layout.home(name))).collect();
    let find = || {
        let all = processes::all();
        let descendants: HashSet<i32> =
            supervisor.map(|s| processes::descendants(&all, s)).unwrap_or_default().iter().map(|p| p.pid).collect();
        // Those that cleared their environment are known by where they work or what started them.
        let unmarked = |p: &Process| {
            descendants.contains(&p.pid)
                && (groups.contains(&p.group) || p.cwd().is_some_and(|cwd| homes.iter().any(|home| cwd.starts_with(home))))
        };
        all.into_iter().filter(|p| marks.iter().any(|mark| p.has_env(mark, false)) || unmarked(p)).collect()
    };
    end(find, cx).await?;
    for name in names {
        remove_tree(&layout.home(name))?;
        // The record outlives the home, so that a node half removed can be removed again, but not the key: a record without
        // its key could be neither served nor made anew. A key without a record is replaced when the name is used again.
        remove_file(&layout.record(name))?;
        remove_file(&layout.host_key(name))?;
    }
    Ok(())
}

/// Removes all nodes, the supervisor and the directory, then looks whether anything is left.
pub async fn everything(layout: &Layout, uuid: uuid::Uuid, cx: &Cx) -> Result<()> {
    let records = layout.records().unwrap_or_default();
    let supervisor = stop_supervisor(layout, cx).await?;
    let mark = SiteRecord::mark(uuid, "");
    let find = || {
        let all = processes::all();
        let descendants: HashSet<i32> =
            supervisor.map(|s| processes::descendants(&all, s)).unwrap_or_default().iter().map(|p| p.pid).collect();
        all.into_iter().filter(|p| descendants.contains(&p.pid) || Some(p.pid) == supervisor || p.has_env(&mark, true)).collect()
    };
    end(find, cx).await?;
    remove_tree(&layout.root)?;
    prove(layout, &records, find)
}

/// Ends the supervisor, and returns its process ID if it had to be left to be killed.
async fn stop_supervisor(layout: &Layout, cx: &Cx) -> Result<Option<i32>> {
    let asked = match Client::connect(layout).await {
        Some(mut client) => cx.cancel.guard(client.ask(&Request::Shutdown)).await?.map(|a| a.pid),
        None => None,
    };
    let deadline = Instant::now() + SUPERVISOR_WITHIN;
    let path = layout.pid();
    let Ok(file) = std::fs::File::open(&path) else { return Ok(None) };
    while file.try_lock().is_err() {
        cx.cancel.check()?;
        // One that cannot be asked (it hangs, or starts just now) is ended like any process.
        if asked.is_none() || Instant::now() > deadline {
            let written = || std::fs::read_to_string(&path).ok()?.trim().parse().ok();
            if let Some(pid) = asked.or_else(written).filter(|pid| daemon::is_supervisor(*pid)) {
                return Ok(Some(pid));
            }
            if Instant::now() > deadline {
                let path = path.display();
                return Err(Error::new(Kind::Provider, format!("another process holds {path}, and it is no supervisor of ours"))
                    .hint(format!("`fuser {path}` names it.")));
            }
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(None)
}

/// Ends all that `find` finds until it finds nothing: SIGTERM, then SIGKILL.
async fn end(find: impl Fn() -> Vec<Process>, cx: &Cx) -> Result<()> {
    let spared = processes::self_and_ancestors();
    let begin = Instant::now();
    let mut asked = HashSet::new();
    loop {
        let alive: Vec<Process> = find().into_iter().filter(|p| !spared.contains(&p.pid)).collect();
        if alive.is_empty() {
            return Ok(());
        }
        for process in &alive {
            if begin.elapsed() > GRACE {
                process.signal(Signal::SIGKILL);
            } else if asked.insert(process.pid) {
                process.signal(Signal::SIGTERM);
                process.signal(Signal::SIGCONT);
            }
        }
        if begin.elapsed() > GIVE_UP {
            let list = alive.into_iter().map(Process::describe).collect::<Vec<_>>().join(", ");
            return Err(Error::new(Kind::Provider, format!("these processes of local nodes cannot be ended: {list}"))
                .hint("They may belong to another user, or hang in the kernel. End them, then try again."));
        }
        cx.cancel.check()?;
        tokio::time::sleep(EVERY).await;
    }
}

fn prove(layout: &Layout, records: &[NodeRecord], find: impl Fn() -> Vec<Process>) -> Result<()> {
    let spared = processes::self_and_ancestors();
    let mut left: Vec<String> = find().into_iter().filter(|p| !spared.contains(&p.pid)).map(Process::describe).collect();
    if layout.root.exists() {
        left.push(format!("directory {}", layout.root.display()));
    }
    for record in records {
        if let Some(process) = processes::listener_of(record.socket()) {
            left.push(format!("{process} listening on {}", record.socket()));
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Provider, format!("local nodes left something behind: {}", left.join(", ")))
        .hint("Something may have started while the nodes were removed: try again."))
}

/// Removes a tree even where its owner took his own permissions away (as Go's module cache does).
fn remove_tree(dir: &Path) -> Result<()> {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    match std::fs::remove_dir_all(dir) {
        Ok(()) => return Ok(()),
        Err(e) if gone(&e) => return Ok(()),
        Err(_) => {}
    }
    for entry in walkdir::WalkDir::new(dir).into_iter().flatten().filter(|e| e.file_type().is_dir()) {
        let _ = std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o700));
    }
    match std::fs::remove_dir_all(dir) {
        Err(e) if !gone(&e) => {
            Err(Error::io("remove", dir, &e).hint("A file in it may belong to another user, or something may be mounted in it."))
        }
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, &e)),
        _ => Ok(()),
    }
}
