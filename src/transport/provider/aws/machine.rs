//! Instances, as the cloud describes them.

use super::Aws;
use super::client::{Answer, Client};
use super::settings::{HostKeys, Settings};
use super::tags::{self, Tags};
use crate::base::endpoint::{Endpoint, FirstContact};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::transport::provider::{NodeFound, NodeSpec, NodeStatus, Site};
use aws_sdk_ec2::types::{Filter, Instance, InstanceLifecycleType, InstanceStateName};
use jiff::Timestamp;
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// The most that AWS gives in one answer.
const PAGE: i32 = 1000;

/// What each instance was launched as, by its ID.
pub type Launched = HashMap<String, Origin>;

/// What an instance was launched as.
#[derive(Clone, Debug)]
pub struct Origin {
    pub group: String,
    pub index: usize,
    pub tags: Tags,
    /// When AWS said so.
    pub at: Timestamp,
}

/// One instance.
#[derive(Clone, Debug)]
pub struct Machine {
    pub id: String,
    pub state: InstanceStateName,
    pub group: String,
    pub index: usize,
    pub tags: Tags,
    pub kind: String,
    pub ami: String,
    pub spot: bool,
    pub zone: String,
    pub public: Option<String>,
    pub private: Option<String>,
    /// Why it ended, when it did by itself.
    pub reason: Option<String>,
    pub volumes: Vec<String>,
    /// When it was launched, in seconds.
    pub since: i64,
}

impl Machine {
    fn of(instance: &Instance, launched: &Launched) -> Option<Self> {
        let id = instance.instance_id()?.to_owned();
        let mut tags = tags::map(instance.tags());
        let place = usize::try_from(instance.ami_launch_index().unwrap_or_default()).ok()?;
        // Named once all of a launch are there; until then the launch says who is who.
        let named = tags.get("Index").and_then(|i| i.parse().ok());
        let index = named.or_else(|| tags.get(tags::NODES).and_then(|n| tags::indexes(n).get(place).copied()));
        // Where somebody took its tags away, the journal knows it still.
        let origin = launched.get(&id);
        let (group, index) = match (tags.get("Group"), index, origin) {
            (Some(group), Some(index), _) => (group.clone(), index),
            (_, _, Some(origin)) => (origin.group.clone(), origin.index),
            _ => Default::default(),
        };
        for key in tags::OF_LAUNCH {
            if let (false, Some(value)) = (tags.contains_key(key), origin.and_then(|o| o.tags.get(key))) {
                tags.insert(key.to_owned(), value.clone());
            }
        }
        let text = |word: Option<&str>| word.filter(|w| !w.is_empty()).map(str::to_owned);
        let reason = instance.state_reason().and_then(|r| {
            let (code, message) = (r.code().unwrap_or_default(), r.message().unwrap_or_default());
            text(Some(if message.is_empty() { code } else { message }))
        });
        let volumes = instance.block_device_mappings().iter().filter_map(|m| text(m.ebs()?.volume_id()));
        Some(Self {
            id,
            state: instance.state().and_then(|s| s.name().cloned()).unwrap_or(InstanceStateName::Pending),
            group,
            index,
            kind: instance.instance_type().map(|t| t.as_str().to_owned()).unwrap_or_default(),
            ami: text(instance.image_id()).unwrap_or_default(),
            spot: instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
            zone: instance.placement().and_then(|p| text(p.availability_zone())).unwrap_or_default(),
            public: text(instance.public_ip_address()),
            private: text(instance.private_ip_address()),
            reason,
            volumes: volumes.collect(),
            since: instance.launch_time().map(aws_sdk_ec2::primitives::DateTime::secs).unwrap_or_default(),
            tags,
        })
    }

    pub fn name(&self) -> String {
        if self.is_known() { format!("{}-{}", self.group, self.index) } else { self.id.clone() }
    }

    /// Whether anything says which node it is.
    pub fn is_known(&self) -> bool {
        !self.group.is_empty()
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, InstanceStateName::Terminated | InstanceStateName::ShuttingDown)
    }

    pub fn is_gone(&self) -> bool {
        self.state == InstanceStateName::Terminated
    }

    pub fn is_up(&self) -> bool {
        self.state == InstanceStateName::Running
    }

    pub fn is_stopped(&self) -> bool {
        self.state == InstanceStateName::Stopped
    }

    pub fn is_down(&self) -> bool {
        matches!(self.state, InstanceStateName::Stopped | InstanceStateName::Stopping)
    }

    /// Whether it carries the name that it has by its launch.
    pub fn is_named(&self) -> bool {
        self.tags.get("Name") == Some(&self.name()) && self.tags.contains_key("Index")
    }

    /// How it is reached.
    pub fn endpoint(&self, name: String, user: String, settings: &Settings, site: &Site) -> Endpoint {
        // A machine that is down has no public address.
        let (first, second) =
            if settings.private_addresses { (&self.private, &self.public) } else { (&self.public, &self.private) };
        let host = first.as_ref().or(second.as_ref()).cloned().unwrap_or_else(|| self.id.clone());
        let private = self.private.clone().filter(|private| *private != host);
        let mut endpoint = Endpoint::new(name, host, 22, user);
        endpoint.private_host = private;
        endpoint.keys = vec![site.private_key.clone()];
        endpoint.jump = settings.bastion.clone().map(|mut jump| {
            if jump.keys.is_empty() {
                jump.keys = vec![site.private_key.clone()];
            }
            if jump.known_hosts.is_empty() {
                jump.known_hosts = vec![site.dir.join("known_hosts")];
            }
            Box::new(jump)
        });
        endpoint.proxy_command.clone_from(&settings.proxy_command);
        endpoint
    }

    /// As the other storeys see it.
    pub fn found(&self, aws: &Aws, site: &Site) -> NodeFound {
        let settings = &aws.settings;
        let group = settings.group(&self.group);
        let user = group.user.or_else(|| self.tags.get(tags::USER).cloned()).unwrap_or_else(|| super::USER.to_owned());
        let endpoint = self.endpoint(self.name(), user, settings, site);
        let own = self.tags.get(tags::HOST_KEY);
        let stale = aws.stale_tags(site, self).into_keys();
        let options = json!({
            "id": self.id,
            "instance_type": self.kind,
            "ami": self.ami,
            "spot": self.spot,
            "availability_zone": self.zone,
            "state": self.state.as_str(),
            "stale_tags": stale.collect::<Vec<_>>(),
            "user_data": self.tags.get(tags::USER_DATA),
            "tags": self.tags,
            "volumes": self.tags.get(tags::VOLUMES),
            "instance_profile": self.tags.get(tags::PROFILE),
        });
        NodeFound {
            spec: NodeSpec {
                name: self.name(),
                group: self.group.clone(),
                index: self.index,
                options: options.as_object().cloned().unwrap_or_default(),
            },
            status: if self.is_down() { NodeStatus::Off } else { NodeStatus::Running },
            endpoint,
            host_keys: own.iter().map(|key| (*key).clone()).collect(),
            first_contact: match (self.tags.get(tags::FIRST_KEY), settings.host_keys) {
                _ if own.is_some() => None,
                (Some(key), HostKeys::Bootstrap | HostKeys::Console) => Some(FirstContact::Given(key.clone())),
                (None, HostKeys::Console) => Some(FirstContact::Console),
                (_, HostKeys::Bootstrap | HostKeys::Shown) => None,
            },
        }
    }
}

impl Client {
    /// Every instance that matches, page by page.
    pub(super) async fn instances(&self, filters: Vec<Filter>, launched: &Launched, cx: &Cx) -> Answer<Vec<Machine>> {
        let (mut machines, mut next) = (Vec::new(), None);
        loop {
            let request = self.ec2.describe_instances().set_filters(Some(filters.clone())).max_results(PAGE).set_next_token(next);
            let page = self.read("DescribeInstances", cx, request.send()).await?;
            let instances = page.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances);
            machines.extend(instances.filter_map(|i| Machine::of(i, launched)));
            next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(machines);
            }
        }
    }

    /// Every instance of the deployment that has not ended: by its tags, and by the IDs that launches are known to have made,
    /// because a search by tags may not see yet what was just made. What cannot be seen at all yet is waited for.
    pub async fn machines(&self, site: &Site, cx: &Cx) -> Result<Vec<Machine>> {
        let mut launched = super::launch::launched(self)?;
        for id in self.made("TerminateInstances")? {
            launched.remove(&id);
        }
        let mut wait = std::time::Duration::from_millis(100);
        loop {
            let mut machines = self.instances(vec![tags::of(site)], &launched, cx).await?;
            let unseen = |machines: &[Machine]| -> Vec<String> {
                let seen: HashSet<&str> = machines.iter().map(|m| m.id.as_str()).collect();
                launched.keys().filter(|id| !seen.contains(id.as_str())).cloned().collect()
            };
            // A filter takes 200 values, and unlike a list of IDs it does not mind those that are gone.
            for some in unseen(&machines).chunks(200) {
                machines.extend(self.instances(vec![tags::filter("instance-id", some.to_vec())], &launched, cx).await?);
            }
            let late = unseen(&machines).into_iter().any(|id| launched.get(&id).is_some_and(|origin| self.may_appear(origin.at)));
            if !late {
                machines.retain(|m| !m.is_over());
                machines.sort_by(|a, b| (&a.group, a.index, &a.id).cmp(&(&b.group, b.index, &b.id)));
                return Ok(machines);
            }
            cx.events.debug("what was just launched is not to be seen yet: looking again");
            super::client::pause(wait, cx).await?;
            wait = (wait * 2).min(std::time::Duration::from_secs(5));
        }
    }

    /// These instances, also those that have ended. One that is not seen yet is not among them.
    pub async fn machines_by_id(&self, ids: &[String], cx: &Cx) -> Result<Vec<Machine>> {
        let mut machines = Vec::new();
        for some in ids.chunks(200) {
            machines.extend(self.instances(vec![tags::filter("instance-id", some.to_vec())], &Launched::new(), cx).await?);
        }
        Ok(machines)
    }

    /// Stays until none of these is there any more. One that AWS has forgotten is gone as well.
    pub async fn wait_gone(&self, ids: &[String], deadline: std::time::Duration, cx: &Cx) -> Result<()> {
        let there: Vec<String> = self.machines_by_id(ids, cx).await?.into_iter().filter(|m| !m.is_gone()).map(|m| m.id).collect();
        if there.is_empty() {
            return Ok(());
        }
        self.wait_until(&there, "terminated", deadline, cx, Machine::is_gone).await.map(drop)
    }

    /// Stays until all of these are as asked. The first that can no longer become so ends the wait, with its reason.
    pub async fn wait_until(
        &self,
        ids: &[String],
        what: &str,
        deadline: std::time::Duration,
        cx: &Cx,
        done: impl Fn(&Machine) -> bool,
    ) -> Result<Vec<Machine>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let start = std::time::Instant::now();
        let progress = cx.events.progress(
            format!(
                "waiting for {} to be {what}",
                if ids.len() == 1 { "1 instance".to_owned() } else { format!("{} instances", ids.len()) }
            ),
            ids.len() as u64,
            crate::base::event::Unit::Items,
        );
        let (mut wait, mut told) = (std::time::Duration::from_millis(200), 0);
        loop {
            let machines = self.machines_by_id(ids, cx).await?;
            let ready = machines.iter().filter(|m| done(m)).count();
            progress.advance((ready.saturating_sub(told)) as u64);
            told = told.max(ready);
            if ready == ids.len() || machines.iter().any(|m| m.is_gone() && !done(m)) {
                return Ok(machines);
            }
            if start.elapsed() >= deadline {
                let late: Vec<&str> =
                    ids.iter().map(String::as_str).filter(|id| !machines.iter().any(|m| m.id == **id && done(m))).collect();
                let message = format!("{} not {what} after {} s", late.join(", "), deadline.as_secs());
                return Err(Error::new(Kind::Timeout, message)
                    .hint("Run the same command again to wait on, or give it longer with `launch_timeout`."));
            }
            super::client::pause(wait, cx).await?;
            wait = (wait * 3 / 2).min(std::time::Duration::from_secs(5));
        }
    }
}
