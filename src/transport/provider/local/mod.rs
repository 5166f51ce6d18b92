//! Nodes on this machine: a directory, a loopback address and an SSH server of our own for each.
//!
//! **This is no isolation.** All nodes share this machine's kernel, users, files, processes and network: a command on a node can do
//! whatever the user who runs opsrun can do, and reads and writes the same `/etc` and `/tmp` as everybody else. What a node has of its
//! own is its home directory, its address and its name. It is made to try, test and develop scripts, not to confine anything.
//!
//! One supervisor process per deployment serves all its nodes. It outlives the command that started it, and is found again by the lock
//! it holds. What a node runs carries `OPSRUN_NODE_ID=<uuid>/<node>` in its environment and is found by that, even when the supervisor
//! was killed and the process had detached itself.

mod address;
mod control;
mod daemon;
mod layout;
mod reaper;
mod remove;
mod server;
mod slayer;
mod supervisor;

use super::{NodeFound, NodeSpec, NodeStatus, Provider, Site, processes};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use async_trait::async_trait;
use control::{Client, Report, Request};
use layout::{Layout, NodeRecord, SiteRecord};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::PathBuf;

/// Said once, when the first node is made.
pub const NOTICE: &str = "local nodes are no isolation: they share this machine's kernel, users, files and network";

/// Runs one of the hidden subcommands of this provider, if `words` (without the program's name) ask for one. Returns its exit code.
pub fn hidden(words: &[OsString]) -> Option<u8> {
    let (first, rest) = words.split_first()?;
    match first.to_str()? {
        daemon::COMMAND => Some(daemon::main(rest)),
        server::terminal::COMMAND => Some(server::terminal::main(rest)),
        _ => None,
    }
}

/// The provider `local`.
pub struct Local {
    exe: PathBuf,
}

impl Local {
    /// `exe` is the opsrun binary, which is started again as the supervisor.
    pub fn new(exe: PathBuf) -> Self {
        Self { exe }
    }
}

fn found(site: &Site, user: &str, record: NodeRecord, running: bool) -> NodeFound {
    let mut endpoint = Endpoint::new(&record.spec.name, record.address.to_string(), record.port, user);
    endpoint.keys = vec![site.private_key.clone()];
    endpoint.known_hosts = vec![site.dir.join("known_hosts")];
    let status = if running { NodeStatus::Running } else { NodeStatus::Stopped };
    NodeFound { spec: record.spec, status, endpoint, host_keys: vec![record.host_key], first_contact: None }
}

/// Who runs opsrun, and therefore the nodes' commands. Not every user ID has a name (in containers, say).
fn user() -> String {
    let uid = nix::unistd::getuid();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid{uid}"), |user| user.name)
}

#[async_trait]
impl Provider for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn runs_here(&self) -> bool {
        true
    }

    async fn list(&self, site: &Site, cx: &Cx) -> Result<Vec<NodeFound>> {
        let (layout, user) = (Layout::of(site), user());
        let records = layout.records()?;
        let running: HashSet<String> = match Client::connect(&layout).await {
            Some(mut client) => {
                let answer = cx.cancel.guard(client.ask(&Request::List)).await?;
                answer.into_iter().flat_map(|a| a.nodes).filter(|n| n.running).map(|n| n.name).collect()
            }
            None => HashSet::new(),
        };
        let nodes = records.into_iter().map(|record| {
            let running = running.contains(&record.spec.name);
            found(site, &user, record, running)
        });
        Ok(nodes.collect())
    }

    async fn create(&self, site: &Site, specs: &[NodeSpec], cx: &Cx) -> Result<Vec<NodeFound>> {
        let (layout, user) = (Layout::of(site), user());
        specs.iter().try_for_each(|spec| layout::check_name(&spec.name))?;
        let record = SiteRecord::of(site)?;
        if !layout.site().exists() {
            cx.events.info(NOTICE);
        }
        layout.make()?;
        layout::write_json(&layout.site(), &record)?;
        let request = Request::Serve { site: record, specs: specs.to_vec() };
        let answer = daemon::ask(&self.exe, &layout, &request, cx).await?;
        let mut reports: HashMap<String, Report> = answer.nodes.into_iter().map(|n| (n.name.clone(), n)).collect();
        let (mut nodes, mut failed) = (Vec::new(), Vec::new());
        for spec in specs {
            match reports.remove(&spec.name) {
                Some(Report { record: Some(record), running: true, .. }) => nodes.push(found(site, &user, record, true)),
                Some(Report { problem: Some(problem), .. }) => failed.push(problem.error().on_node(&spec.name)),
                _ => failed.push(Error::internal("the supervisor did not answer for this node").on_node(&spec.name)),
            }
        }
        match failed.len() {
            0 => Ok(nodes),
            1 => Err(failed.remove(0)),
            many => Err(Error::new(Kind::Provider, format!("{many} of {} local nodes could not be made", specs.len()))
                .with_failed(failed)),
        }
    }

    async fn destroy(&self, site: &Site, names: &[String], cx: &Cx) -> Result<()> {
        remove::nodes(&Layout::of(site), site.uuid, names, cx).await
    }

    async fn destroy_all(&self, site: &Site, cx: &Cx) -> Result<()> {
        remove::everything(&Layout::of(site), site.uuid, cx).await
    }
}
