//! Real machines on this host: Debian with systemd, journald and sshd, each under systemd-nspawn on layers of its own.
//!
//! They share the kernel, so they are for trying, testing and benchmarking, not for keeping enemies apart: root in a machine should be
//! taken for root of the host. What each has of its own: file system, processes, users, services, hostname, network with firewall, and
//! limits of memory and processors. They outlive the command that started them, and are found again by the deployment's UUID in the
//! environment of their processes, the names of their cgroups and the claims of their addresses.
//!
//! `base` builds the system all stand on, `boot` starts one, `remove` ends and removes, `network` and `cgroup` are what they share.

mod base;
mod boot;
mod cgroup;
mod identity;
mod layout;
mod lock;
mod network;
mod options;
mod remove;
mod running;
mod tool;

use super::{NodeFound, NodeSpec, NodeStatus, Provider, Site, files};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, IoResultExt, Kind, Result, ResultExt};
use crate::base::event::{Cx, Unit};
use async_trait::async_trait;
use futures::future::join_all;
use layout::{Home, Layout, MachineRecord};
use network::Network;
use options::Options;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Runs the hidden subcommand of this provider, if `words` (without the program's name) ask for it. Returns its exit code.
pub fn hidden(words: &[OsString]) -> Option<u8> {
    let (first, rest) = words.split_first()?;
    (first.to_str()? == boot::COMMAND).then(|| boot::main(rest))
}

/// The provider `machine`.
pub struct Machine {
    exe: PathBuf,
    cache: PathBuf,
}

impl Machine {
    /// `exe` is the opsrun binary, which machines are started through; `cache` is where the base system is kept.
    pub fn new(exe: PathBuf, cache: PathBuf) -> Self {
        Self { exe, cache }
    }

    /// Brings a machine up that does not run.
    async fn start(&self, home: &Home, record: &MachineRecord, network: &Network, neighbours: &str, cx: &Cx) -> Result<()> {
        // Its first process may have survived a killed nspawn.
        remove::kill(home, cx).await?;
        identity::connect(home, record, network, neighbours)?;
        let limits = Options::of(&record.spec)?.limits;
        boot::start(&self.exe, home, record, network, limits, cx).await
    }
}

/// A new machine's folder, complete but for its start. Appears in one step.
fn make(layout: &Layout, spec: &NodeSpec, layers: Vec<PathBuf>, address: Ipv4Addr, key: &str) -> Result<MachineRecord> {
    let (half, home) = (layout.new_home(&spec.name), layout.home(&spec.name));
    layout::remove_tree(&half.dir)?;
    for dir in ["upper", "work", "root"] {
        let dir = half.dir.join(dir);
        std::fs::create_dir_all(&dir).at("make", &dir)?;
    }
    for (number, layer) in layers.iter().enumerate() {
        let link = half.dir.join(format!("lower-{number}"));
        std::os::unix::fs::symlink(layer, &link).at("make", &link)?;
    }
    let host_key = identity::give(&half, &layers, key)?;
    let record = MachineRecord { spec: spec.clone(), address, host_key, layers, off: false };
    half.write_record(&record)?;
    std::fs::rename(&half.dir, &home.dir).at("make", &home.dir)?;
    Ok(record)
}

fn found(site: &Site, record: MachineRecord, running: bool) -> NodeFound {
    let mut endpoint = Endpoint::new(&record.spec.name, record.address.to_string(), 22, "root");
    endpoint.keys = vec![site.private_key.clone()];
    endpoint.known_hosts = vec![site.dir.join("known_hosts")];
    let status = if running { NodeStatus::Running } else { NodeStatus::Stopped };
    NodeFound { spec: record.spec, status, endpoint, host_keys: vec![record.host_key] }
}

#[async_trait]
impl Provider for Machine {
    fn name(&self) -> &'static str {
        "machine"
    }

    fn runs_here(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        tool::check_host()
    }

    async fn list(&self, site: &Site, _: &Cx) -> Result<Vec<NodeFound>> {
        let layout = Layout::of(site);
        let records = layout.records()?;
        let running = running::running(layout.uuid);
        let nodes = records.into_iter().map(|record| {
            let running = running.contains(&record.spec.name);
            found(site, record, running)
        });
        Ok(nodes.collect())
    }

    async fn create(&self, site: &Site, specs: &[NodeSpec], cx: &Cx) -> Result<Vec<NodeFound>> {
        tool::check_host()?;
        let layout = Layout::of(site);
        specs.iter().try_for_each(|spec| files::check_name(&spec.name))?;
        let wanted = specs.iter().map(Options::of).collect::<Result<Vec<Options>>>()?;
        let key = std::fs::read_to_string(&site.public_key).at("read", &site.public_key)?.trim().to_owned();
        let base = base::ensure(&self.cache, cx).await?;
        layout.make()?;
        layout.sweep()?;
        let homes: Vec<Home> = specs.iter().map(|spec| layout.home(&spec.name)).collect();
        let records = homes.iter().map(Home::record).collect::<Result<Vec<_>>>()?;
        let had = homes.iter().cloned().zip(records.iter().map(|r| r.as_ref().map(|r| r.address))).collect::<Vec<_>>();
        let (network, addresses) = network::claim(&had, cx).await?;
        let mut machines = Vec::new();
        for (((spec, _options), address), old) in specs.iter().zip(&wanted).zip(addresses).zip(records) {
            let record = match old {
                Some(old) => MachineRecord { spec: spec.clone(), address, off: false, ..old },
                None => make(&layout, spec, vec![base.clone()], address, &key).on_node(&spec.name)?,
            };
            layout.home(&spec.name).write_record(&record)?;
            machines.push(record);
        }
        let neighbours = layout.records()?;
        let neighbours = identity::neighbours(neighbours.iter().map(|r| (r.spec.name.as_str(), r.address)));
        let running = running::running(layout.uuid);
        let down: Vec<(&Home, &MachineRecord)> =
            homes.iter().zip(&machines).filter(|(home, _)| !running.contains(&home.node)).collect();
        let progress = cx.events.progress(format!("starting {} machines", down.len()), down.len() as u64, Unit::Items);
        let starts = down.iter().map(|(home, record)| {
            let (network, neighbours, progress) = (&network, &neighbours, &progress);
            async move {
                let started = self.start(home, record, network, neighbours, cx).await;
                progress.advance(1);
                started.on_node(&home.node)
            }
        });
        let mut failed: Vec<Error> = join_all(starts).await.into_iter().filter_map(Result::err).collect();
        cx.cancel.check()?;
        match failed.len() {
            0 => Ok(machines.into_iter().map(|record| found(site, record, true)).collect()),
            1 => Err(failed.remove(0)),
            many => Err(Error::new(Kind::Provider, format!("{many} of {} machines could not be started", specs.len()))
                .with_failed(failed)),
        }
    }

    async fn destroy(&self, site: &Site, names: &[String], cx: &Cx) -> Result<()> {
        names.iter().try_for_each(|name| files::check_name(name))?;
        remove::machines(&Layout::of(site), names, cx).await
    }

    async fn destroy_all(&self, site: &Site, cx: &Cx) -> Result<()> {
        remove::everything(&Layout::of(site), cx).await
    }
}
