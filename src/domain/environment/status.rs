//! An environment as it stands: its stack, its machines and their health. One pass of reads, and nothing is changed.

use super::health::{self, Health, Short};
use super::{Environment, hosts_of};
use crate::base::error::{Error, Result};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::domain::deployment::hosts::role_hashes;
use crate::domain::stack::{Output, Stack, Status as StackStatus};
use crate::transport::provider::aws::fleet::Host;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is to be known at a look. Programs read this as JSON: fields may be added, none change.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub environment: String,
    pub stack: String,
    pub region: Option<String>,
    /// Null: there is no stack.
    pub status: Option<StackStatus>,
    pub reason: Option<String>,
    pub created: Option<Timestamp>,
    pub updated: Option<Timestamp>,
    /// AWS refuses to delete it.
    pub protected: bool,
    pub outputs: Vec<Output>,
    pub groups: Vec<GroupStatus>,
    pub hosts: Vec<HostStatus>,
    /// Target groups that do not have their targets.
    pub short: Vec<Short>,
    /// Null: nobody has looked, which takes minutes.
    pub drift: Option<bool>,
}

/// The machines of a group, counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GroupStatus {
    pub name: String,
    pub hosts: usize,
    pub running: usize,
    /// Null: no load balancer watches them.
    pub healthy: Option<usize>,
    /// What should be made of them; null where it is not known.
    pub role_hash: Option<String>,
    /// How many were made of something else, or of nobody knows what.
    pub outdated: Option<usize>,
}

/// One machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HostStatus {
    pub name: String,
    pub group: String,
    pub id: String,
    /// `running`
    pub state: String,
    pub address: Option<String>,
    pub private_address: Option<String>,
    pub instance_type: String,
    pub zone: String,
    pub image: String,
    /// What was made of it.
    pub role_hash: Option<String>,
    /// Whether that is what should be; null where it is not known.
    pub current: Option<bool>,
    /// Null: it stays until the stack replaces it.
    pub scaling_group: Option<String>,
    pub launch_template_version: Option<String>,
    /// `InService`, in its auto-scaling group.
    pub lifecycle: Option<String>,
    /// The load balancer's word: `healthy`; null where none watches it.
    pub health: Option<String>,
    /// Why it is not healthy.
    pub reason: Option<String>,
}

/// Looks at all of it at once.
pub async fn look(project: &Project, environment: &Environment, cx: &Cx) -> Result<Status> {
    let fleet = hosts_of(project, environment)?;
    let stack = async { Stack::open(environment).await?.look(cx).await };
    let health = async {
        // The names of nodes are put in below: they are asked for at the same time.
        let groups = fleet.target_groups(&environment.stack, cx).await?;
        health::look(&fleet, &groups, &BTreeMap::new(), environment, cx).await
    };
    let wanted = async {
        let found = role_hashes(project, environment, cx).await;
        let unknown = |e: &Error| cx.events.warn(format!("which machines are outdated is not known: {e}"));
        cx.cancel.check()?;
        Ok(found.inspect_err(unknown).unwrap_or_default())
    };
    let (stack, hosts, health, wanted) = futures::try_join!(stack, fleet.hosts(cx), health, wanted)?;
    let hosts: Vec<HostStatus> = hosts.into_iter().map(|host| of_host(host, &health, &wanted)).collect();
    let mut names: Vec<String> = environment.groups.iter().map(|g| g.name.clone()).collect();
    names.extend(hosts.iter().map(|h| h.group.clone()));
    let mut groups: Vec<GroupStatus> = Vec::new();
    for name in names {
        if groups.iter().all(|g| g.name != name) {
            groups.push(of_group(&name, &hosts, &wanted));
        }
    }
    let seen = stack.as_ref();
    Ok(Status {
        environment: environment.name.clone(),
        stack: environment.stack.clone(),
        region: environment.region.clone(),
        status: seen.map(|s| s.status),
        reason: seen.and_then(|s| s.reason.clone()),
        created: seen.and_then(|s| s.created),
        updated: seen.and_then(|s| s.updated),
        protected: seen.is_some_and(|s| s.protected),
        outputs: seen.map(|s| s.outputs.clone()).unwrap_or_default(),
        groups,
        hosts,
        short: health.short,
        drift: None,
    })
}

fn of_host(host: Host, health: &Health, wanted: &BTreeMap<String, String>) -> HostStatus {
    // Of several target groups, the one that is not content.
    let mut told: Vec<_> = health.targets.iter().filter(|t| t.target.id == host.id).map(|t| &t.target).collect();
    told.sort_by_key(|t| t.is_healthy());
    let told = told.first();
    let member = host.member.unwrap_or_default();
    HostStatus {
        current: wanted.get(&host.group).map(|wanted| host.role_hash.as_ref() == Some(wanted)),
        health: told.map(|t| t.state.clone()),
        reason: told.filter(|t| !t.is_healthy()).and_then(|t| t.description.clone().or_else(|| t.reason.clone())),
        name: host.name,
        group: host.group,
        id: host.id,
        state: host.state,
        address: host.public,
        private_address: host.private,
        instance_type: host.instance_type,
        zone: host.zone,
        image: host.image,
        role_hash: host.role_hash,
        scaling_group: Some(member.scaling_group).filter(|g| !g.is_empty()),
        launch_template_version: member.version,
        lifecycle: member.lifecycle,
    }
}

fn of_group(name: &str, hosts: &[HostStatus], wanted: &BTreeMap<String, String>) -> GroupStatus {
    let all = || hosts.iter().filter(|h| h.group == name);
    let watched = all().any(|h| h.health.is_some());
    let role_hash = wanted.get(name).cloned();
    GroupStatus {
        name: name.to_owned(),
        hosts: all().count(),
        running: all().filter(|h| h.state == "running").count(),
        healthy: watched.then(|| all().filter(|h| h.health.as_deref() == Some("healthy")).count()),
        outdated: role_hash.as_ref().map(|_| all().filter(|h| h.current != Some(true)).count()),
        role_hash,
    }
}

impl Status {
    /// For people.
    pub fn text(&self) -> String {
        let place = self.region.as_ref().map(|r| format!(" in {r}")).unwrap_or_default();
        let mut out = match self.status {
            None => format!("{}: stack {}{place} does not exist\n", self.environment, self.stack),
            Some(status) => format!("{}: stack {}{place} is {}\n", self.environment, self.stack, status.name()),
        };
        let mut say = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                out.push_str(&format!("{key:<12}{value}\n"));
            }
        };
        say("reason", self.reason.clone());
        say("updated", self.updated.or(self.created).map(|t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()));
        say("protected", self.protected.then(|| "AWS refuses to delete it".to_owned()));
        for output in &self.outputs {
            say("output", Some(format!("{} = {}", output.name, output.value)));
        }
        for group in &self.groups {
            say("group", Some(group.text()));
        }
        for short in &self.short {
            let Short { target_group, targets, wanted } = short;
            say("missing", Some(format!("target group {target_group} has {targets} of {wanted} targets")));
        }
        for host in &self.hosts {
            say("host", Some(host.text()));
        }
        if self.status.is_some() {
            let looked = match self.drift {
                None => format!("not looked for: opsrun manage {} plan --drift", self.environment),
                Some(true) => "some of it was changed by hand".to_owned(),
                Some(false) => "none".to_owned(),
            };
            say("drift", Some(looked));
        }
        out
    }
}

/// As much of a hash as people read.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

impl GroupStatus {
    fn text(&self) -> String {
        let mut text = format!("{}: {} of {} running", self.name, self.running, self.hosts);
        if let Some(healthy) = self.healthy {
            text.push_str(&format!(", {healthy} healthy"));
        }
        match (self.outdated, &self.role_hash) {
            (Some(0) | None, _) | (_, None) => {}
            (Some(outdated), Some(hash)) => {
                text.push_str(&format!(", {outdated} not made of the current roles ({})", short(hash)));
            }
        }
        text
    }
}

impl HostStatus {
    fn text(&self) -> String {
        let address = self.address.as_ref().or(self.private_address.as_ref()).map_or("-", String::as_str);
        let mut parts =
            vec![format!("{} {} {address} {} {}", self.name, self.state, self.instance_type, self.zone), self.id.clone()];
        if let Some(health) = &self.health {
            let why = self.reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
            parts.push(format!("{health}{why}"));
        }
        parts.extend(self.lifecycle.clone().filter(|l| l != "InService"));
        parts.extend(self.role_hash.as_ref().map(|hash| {
            let old = if self.current == Some(false) { ", not the current ones" } else { "" };
            format!("roles {}{old}", short(hash))
        }));
        parts.join(", ")
    }
}
