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
mod claim;
mod hosts;
mod identity;
pub mod images;
mod layout;
mod lock;
mod network;
mod options;
mod remove;
mod running;
mod tool;

use super::{NewImage, NodeFound, NodeSpec, NodeStatus, Provider, Site, files};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, IoResultExt, Kind, Result, ResultExt};
use crate::base::event::{Cx, Unit};
use async_trait::async_trait;
use cgroup::Limits;
use futures::future::join_all;
use images::Images;
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

    /// Brings these up, all at once, and tells the others of them.
    async fn start_all(&self, layout: &Layout, down: &[(&Home, &MachineRecord)], network: &Network, cx: &Cx) -> Result<()> {
        if down.is_empty() {
            return Ok(());
        }
        let neighbours = hosts::lines(layout)?;
        let progress = cx.events.progress(format!("starting {} machines", down.len()), down.len() as u64, Unit::Items);
        let starts = down.iter().map(|(home, record)| {
            let (neighbours, progress) = (&neighbours, &progress);
            async move {
                let started = self.start(home, record, network, neighbours, cx).await;
                progress.advance(1);
                started.on_node(&home.node)
            }
        });
        gather(join_all(starts).await, "started", cx)?;
        let told: Vec<&str> = down.iter().map(|(home, _)| home.node.as_str()).collect();
        hosts::refresh(layout, &told, cx).await
    }

    /// Brings a machine up that does not run.
    async fn start(&self, home: &Home, record: &MachineRecord, network: &Network, neighbours: &str, cx: &Cx) -> Result<()> {
        if let Some(gone) = record.layers.iter().find(|layer| !layer.is_dir()) {
            return Err(Error::new(Kind::Provider, format!("what the machine stands on is gone: {}", gone.display()))
                .hint("Bring it back, or remove the machine: without it, nobody can read what is in it."));
        }
        // Its first process may have survived a killed nspawn.
        remove::kill(home, cx).await?;
        identity::connect(home, record, network, neighbours)?;
        boot::start(&self.exe, home, record, network, Options::of(&record.spec)?.limits, cx).await
    }
}

/// Changes what a running machine may use.
async fn adjust(home: &Home, limits: Limits, cx: &Cx) -> Result<()> {
    if !tool::host_runs_systemd() {
        return cgroup::limit(home, limits);
    }
    let mut words = vec!["set-property".to_owned(), "--runtime".to_owned(), boot::unit(home)];
    words.extend(boot::properties(limits));
    tool::run("systemctl", &words, cx).await.map(drop)
}

/// One error for all that failed.
fn gather(results: Vec<Result<()>>, done: &str, cx: &Cx) -> Result<()> {
    let total = results.len();
    let mut failed: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
    cx.cancel.check()?;
    match failed.len() {
        0 => Ok(()),
        1 => Err(failed.remove(0)),
        many => Err(Error::new(Kind::Provider, format!("{many} of {total} machines could not be {done}")).with_failed(failed)),
    }
}

/// The key that may log in, as a line of authorized_keys.
fn public_key(site: &Site) -> Result<String> {
    Ok(std::fs::read_to_string(&site.public_key).at("read", &site.public_key)?.trim().to_owned())
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
    let status = match (running, record.off) {
        (true, _) => NodeStatus::Running,
        (false, true) => NodeStatus::Off,
        (false, false) => NodeStatus::Stopped,
    };
    NodeFound { spec: record.spec, status, endpoint, host_keys: vec![record.host_key], first_contact: None }
}

#[async_trait]
impl Provider for Machine {
    fn name(&self) -> &'static str {
        "machine"
    }

    fn runs_here(&self) -> bool {
        true
    }

    fn check(&self, specs: &[NodeSpec]) -> Result<()> {
        tool::check_host()?;
        for spec in specs {
            files::check_name(&spec.name)?;
            if let Some(image) = Options::of(spec)?.image {
                Images::new(&self.cache).check(&image).on_node(&spec.name)?;
            }
        }
        Ok(())
    }

    async fn list(&self, site: &Site, _: &Cx) -> Result<Vec<NodeFound>> {
        tool::check_root()?;
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
        self.check(specs)?;
        let layout = Layout::of(site);
        let key = public_key(site)?;
        layout.make()?;
        layout.sweep()?;
        let homes: Vec<Home> = specs.iter().map(|spec| layout.home(&spec.name)).collect();
        let records = homes.iter().map(Home::record).collect::<Result<Vec<_>>>()?;
        let had: Vec<_> = homes.iter().cloned().zip(records.iter().map(|r| r.as_ref().map(|r| r.address))).collect();
        let mut layers = Vec::new();
        for ((spec, home), record) in specs.iter().zip(&homes).zip(&records) {
            layers.push(match (record, Options::of(spec)?.image) {
                (Some(record), _) => record.layers.clone(),
                (None, Some(image)) => Images::new(&self.cache).claim(&image, home, cx).await.on_node(&spec.name)?,
                (None, None) => vec![base::ensure(&self.cache, cx).await?],
            });
        }
        let running = running::running(layout.uuid);
        let (network, addresses) = network::claim(&had, cx).await?;
        let mut machines = Vec::new();
        for ((((spec, home), layers), address), old) in specs.iter().zip(&homes).zip(layers).zip(addresses).zip(records) {
            let record = match old {
                Some(old) => {
                    if running.contains(&home.node) && old.spec.options != spec.options {
                        adjust(home, Options::of(spec)?.limits, cx).await.on_node(&spec.name)?;
                    }
                    let record = MachineRecord { spec: spec.clone(), address, off: false, ..old };
                    home.write_record(&record)?;
                    record
                }
                None => make(&layout, spec, layers, address, &key).on_node(&spec.name)?,
            };
            machines.push(record);
        }
        let down: Vec<(&Home, &MachineRecord)> =
            homes.iter().zip(&machines).filter(|(home, _)| !running.contains(&home.node)).collect();
        self.start_all(&layout, &down, &network, cx).await?;
        Ok(machines.into_iter().map(|record| found(site, record, true)).collect())
    }

    async fn stop(&self, site: &Site, names: &[String], at_once: bool, cx: &Cx) -> Result<()> {
        let layout = Layout::of(site);
        let (mut homes, mut addresses) = (Vec::new(), Vec::new());
        for name in names {
            let home = layout.home(name);
            let Some(record) = home.record()? else {
                return Err(Error::new(Kind::NotFound, "this machine does not exist").on_node(name));
            };
            // First of all, so that no other command takes it for one that broke.
            addresses.push(record.address);
            home.write_record(&MachineRecord { off: true, ..record })?;
            homes.push(home);
        }
        let progress = cx.events.progress(format!("stopping {} machines", homes.len()), homes.len() as u64, Unit::Items);
        let stops = homes.iter().map(|home| async {
            let stopped = remove::stop(home, at_once, cx).await;
            progress.advance(1);
            stopped
        });
        gather(join_all(stops).await, "stopped", cx)?;
        network::forget(&addresses, cx).await;
        Ok(())
    }

    fn adjusts(&self, option: &str) -> bool {
        ["cpus", "memory"].contains(&option)
    }

    async fn save_image(&self, site: &Site, node: &str, image: &NewImage, cx: &Cx) -> Result<()> {
        let layout = Layout::of(site);
        let home = layout.home(node);
        let Some(record) = home.record()? else {
            return Err(Error::new(Kind::NotFound, "this machine does not exist").on_node(node));
        };
        if running::running(layout.uuid).contains(node) {
            return Err(Error::new(
                Kind::Provider,
                "a machine must be stopped to be saved: what its programs hold in memory would be lost",
            )
            .hint(format!("Stop it first: opsrun node stop {} {node}", site.deployment))
            .on_node(node));
        }
        Images::new(&self.cache)
            .save(&site.deployment, &home, &record, &public_key(site)?, image, cx)
            .await
            .map(drop)
            .on_node(node)
    }

    async fn destroy(&self, site: &Site, names: &[String], cx: &Cx) -> Result<()> {
        names.iter().try_for_each(|name| files::check_name(name))?;
        let layout = Layout::of(site);
        remove::machines(&layout, names, cx).await?;
        hosts::refresh(&layout, &[], cx).await
    }

    async fn destroy_all(&self, site: &Site, cx: &Cx) -> Result<()> {
        remove::everything(&Layout::of(site), cx).await
    }
}
