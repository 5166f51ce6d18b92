//! Ending machines and removing them, whatever state a crash left them in, and proving that they are gone.

use super::super::processes::{self, Process};
use super::layout::{Home, Layout, remove_tree};
use super::{boot, cgroup, images, network, running, tool};
use crate::base::error::{Error, IoResultExt, Kind, Result, ResultExt};
use crate::base::event::Cx;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// Nothing survives SIGKILL for longer, other than in the kernel.
const KILL_WITHIN: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_millis(10);

/// Ends everything that runs in the machine, at once, and removes its cgroups. Its files stay.
pub async fn kill(home: &Home, cx: &Cx) -> Result<()> {
    let begin = Instant::now();
    loop {
        let left = processes_of(home);
        if left.is_empty() {
            break;
        }
        for process in &left {
            process.signal(Signal::SIGKILL);
        }
        if begin.elapsed() > KILL_WITHIN {
            let list = left.into_iter().map(Process::describe).collect::<Vec<_>>().join(", ");
            return Err(Error::new(Kind::Provider, format!("these processes of the machine cannot be ended: {list}"))
                .hint("They may hang in the kernel. `dmesg` may tell why; then try again.")
                .on_node(&home.node));
        }
        cx.cancel.check()?;
        tokio::time::sleep(EVERY).await;
    }
    if tool::host_runs_systemd() {
        // Gone with its processes, unless something detached itself.
        let _ = tool::run("systemctl", &["stop", &boot::unit(home)], cx).await;
    }
    cgroup::remove(home).await.on_node(&home.node)
}

fn processes_of(home: &Home) -> Vec<Process> {
    let mut found: Vec<Process> = running::of(&home.mark).all().copied().collect();
    found.extend(cgroup::processes(home).into_iter().filter_map(Process::read));
    found
}

/// How long an orderly end may take: as long as systemd gives its services.
const STOP_WITHIN: Duration = Duration::from_secs(100);

/// Shuts the machine down as its own `poweroff` would; `at_once`, as if its plug were pulled. Its files stay.
pub async fn stop(home: &Home, at_once: bool, cx: &Cx) -> Result<()> {
    if at_once {
        return kill(home, cx).await;
    }
    let begin = Instant::now();
    // nspawn passes it on as the order to power off.
    running::of(&home.mark).outer.iter().for_each(|p| p.signal(Signal::SIGTERM));
    while !running::of(&home.mark).outer.is_empty() {
        if begin.elapsed() > STOP_WITHIN {
            cx.events.warn(format!("{} does not shut down: ending it", home.node));
            break;
        }
        cx.cancel.check()?;
        tokio::time::sleep(EVERY).await;
    }
    kill(home, cx).await
}

/// Removes these machines: what runs in them, their addresses, their files.
pub async fn machines(layout: &Layout, names: &[String], cx: &Cx) -> Result<()> {
    let homes: Vec<Home> = names.iter().map(|name| layout.home(name)).collect();
    let ended = futures::future::join_all(homes.iter().map(|home| kill(home, cx))).await;
    ended.into_iter().collect::<Result<Vec<()>>>()?;
    let mut addresses = Vec::new();
    for home in &homes {
        if let Some(record) = home.record()? {
            images::release(home, &record)?;
            addresses.push(record.address);
        }
        let gone = layout.root.join(format!(".gone-{}", home.node));
        remove_tree(&gone)?;
        match std::fs::rename(&home.dir, &gone) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &home.dir, &e)),
            _ => {}
        }
        remove_tree(&gone)?;
        remove_tree(&layout.new_home(&home.node).dir)?;
    }
    network::forget(&addresses, cx).await;
    let marks: Vec<String> = homes.iter().map(|home| home.mark.clone()).collect();
    network::release(&marks, cx).await
}

/// Removes all machines, known or not, and the folder, then looks whether anything is left.
pub async fn everything(layout: &Layout, cx: &Cx) -> Result<()> {
    let mut names: BTreeSet<String> = running::find(layout.uuid).into_keys().collect();
    names.extend(cgroup::nodes(layout.uuid));
    names.extend(layout.folders()?.into_iter().filter(|name| !name.starts_with('.')));
    machines(layout, &names.into_iter().collect::<Vec<_>>(), cx).await?;
    remove_tree(&layout.root)?;
    prove(layout)
}

fn prove(layout: &Layout) -> Result<()> {
    let marked = running::find(layout.uuid);
    let mut left: Vec<String> = marked.values().flat_map(running::Found::all).map(|p| processes::describe(p.pid)).collect();
    left.extend(cgroup::nodes(layout.uuid).into_iter().map(|node| format!("a cgroup of {node}")));
    left.extend(network::leftovers(layout.uuid)?);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").at("read", "/proc/self/mountinfo")?;
    let source = format!("opsrun:{}/", layout.uuid);
    left.extend(
        mounts.lines().filter(|l| l.contains(&source)).filter_map(|l| l.split(' ').nth(4)).map(|at| format!("the mount {at}")),
    );
    if layout.root.exists() {
        left.push(format!("directory {}", layout.root.display()));
    }
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Provider, format!("machines left something behind: {}", left.join(", ")))
        .hint("Something may have started while they were removed: try again."))
}
