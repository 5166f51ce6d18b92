//! Removal: by the UUID, never by a name alone, in the order in which AWS lets go, and proven by two clean looks.

use super::Aws;
use super::client::{Answer, Client, Trouble, pause};
use super::fault::Fault;
use super::firewall;
use super::launch::{self, terminate};
use super::machine::Machine;
use super::network::{self, key_name};
use super::tags;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::base::units;
use crate::transport::provider::calls::Reply;
use crate::transport::provider::{Fate, Fixture, Site};
use aws_sdk_ec2::types::{Volume, VolumeState};
use serde_json::json;
use std::time::{Duration, Instant};

/// Something that is still there.
struct Left {
    what: String,
    /// Why AWS did not let go of it, when it was asked to.
    why: Option<String>,
}

impl Left {
    fn words(&self) -> String {
        match &self.why {
            Some(why) => format!("{} ({})", self.what, why.trim_end_matches('.')),
            None => self.what.clone(),
        }
    }
}

/// All that would be removed, in the order in which it goes.
pub async fn belongings(client: &Client, site: &Site, cx: &Cx) -> Result<Vec<Fixture>> {
    let machines = client.machines(site, cx);
    let (machines, volumes, found) = tokio::try_join!(machines, volumes_left(client, site, cx), network::look(client, site, cx))?;
    let mut all: Vec<Fixture> = Vec::new();
    let mut goes = |what: String, reason: String| all.push(Fixture { fate: Fate::Remove, what, reason, overdue: false });
    for machine in &machines {
        goes(format!("instance {}", machine.name()), format!("{}, {}", machine.id, machine.state.as_str()));
    }
    for volume in &volumes {
        let id = volume.volume_id().unwrap_or_default();
        let node = machines.iter().find(|m| m.volumes.iter().any(|v| v == id));
        let node = node.map(|m| format!(" of {}", m.name())).unwrap_or_default();
        goes(format!("volume{node}"), format!("{}, {} GiB", id, volume.size().unwrap_or_default()));
    }
    for (group, security) in firewall::by_group(&found) {
        goes(format!("security group {group}"), security.group_id().unwrap_or_default().to_owned());
    }
    for subnet in &found.subnets {
        let zone = subnet.availability_zone().unwrap_or_default();
        goes(format!("subnet in {zone}"), subnet.subnet_id().unwrap_or_default().to_owned());
    }
    for id in found.gateways.iter().filter_map(|g| g.internet_gateway_id()) {
        goes("internet gateway".to_owned(), id.to_owned());
    }
    for id in found.vpcs.iter().filter_map(|v| v.vpc_id()) {
        goes("VPC".to_owned(), id.to_owned());
    }
    if found.key.as_ref().is_some_and(|key| network::is_ours(site, key)) {
        goes(format!("key pair {}", key_name(site)), String::new());
    }
    Ok(all)
}

/// Removes all that is left of the deployment, and proves it.
pub async fn everything(aws: &Aws, client: &Client, site: &Site, cx: &Cx) -> Result<()> {
    let start = Instant::now();
    let (settle, patience) = (aws.settings.access.settle, aws.settings.launch_timeout);
    let mut clean: Option<Instant> = None;
    loop {
        let left = pass(client, site, patience, cx).await?;
        if left.is_empty() {
            // One clean look may be a reader that does not see yet: the second one proves it.
            match clean {
                Some(first) if first.elapsed() >= settle => return close(client),
                Some(first) => pause(settle.saturating_sub(first.elapsed()), cx).await?,
                None => {
                    clean = Some(Instant::now());
                    let again = units::format_duration(settle);
                    cx.events.info(format!("nothing is left of {}: looking again in {again}, to be sure", site.deployment));
                    pause(settle, cx).await?;
                }
            }
            continue;
        }
        clean = None;
        if start.elapsed() > patience + settle {
            let what: Vec<&str> = left.iter().map(|l| l.what.as_str()).collect();
            let error = Error::new(Kind::Provider, format!("AWS does not let go of {}", what.join(", ")));
            let error =
                left.iter().filter(|l| l.why.is_some()).fold(error, |e, l| e.hint(format!("Still there: {}.", l.words())));
            return Err(error.hint("Something that opsrun did not make may use it: remove that first."));
        }
        pause(Duration::from_millis(500).min(settle), cx).await?;
    }
}

/// What was asked for without an answer came to nothing, or is gone by now.
fn close(client: &Client) -> Result<()> {
    for call in ["RunInstances", "CreateVpc", "CreateSubnet", "CreateInternetGateway", "CreateSecurityGroup", "CreateImage"] {
        for open in client.open(call)? {
            client.end(open.id, Reply::Refused("removed, or never seen".to_owned()))?;
        }
    }
    Ok(())
}

/// Removes what can be removed now. Returns what was there.
async fn pass(client: &Client, site: &Site, patience: Duration, cx: &Cx) -> Result<Vec<Left>> {
    let machines = client.machines(site, cx).await?;
    if !machines.is_empty() {
        let ids: Vec<String> = machines.iter().map(|m| m.id.clone()).collect();
        terminate(client, &ids, cx).await?;
        client.wait_until(&ids, "terminated", patience, cx, Machine::is_gone).await?;
    }
    let mut left: Vec<Left> = machines.into_iter().map(|m| Left { what: m.id, why: None }).collect();
    let (volumes, found) = tokio::try_join!(volumes(client, site, cx), network::look(client, site, cx))?;
    left.extend(volumes);
    let ec2 = &client.ec2;
    launch::at_once(found.groups.iter().map(|group| firewall::clear(client, group, cx)).collect()).await?;
    for id in found.groups.iter().filter_map(|g| g.group_id()) {
        let send = || ec2.delete_security_group().group_id(id).send();
        left.push(gone("security group", id, delete("DeleteSecurityGroup", id, client, cx, send).await?));
    }
    for id in found.subnets.iter().filter_map(|s| s.subnet_id()) {
        let send = || ec2.delete_subnet().subnet_id(id).send();
        left.push(gone("subnet", id, delete("DeleteSubnet", id, client, cx, send).await?));
    }
    for gateway in &found.gateways {
        let Some(id) = gateway.internet_gateway_id() else { continue };
        let mut held = None;
        for vpc in gateway.attachments().iter().filter_map(|a| a.vpc_id()) {
            let detach = || ec2.detach_internet_gateway().internet_gateway_id(id).vpc_id(vpc).send();
            held = delete("DetachInternetGateway", id, client, cx, detach).await?;
        }
        let send = || ec2.delete_internet_gateway().internet_gateway_id(id).send();
        let why = delete("DeleteInternetGateway", id, client, cx, send).await?;
        left.push(gone("internet gateway", id, held.or(why)));
    }
    for id in found.vpcs.iter().filter_map(|v| v.vpc_id()) {
        left.push(gone("VPC", id, delete("DeleteVpc", id, client, cx, || ec2.delete_vpc().vpc_id(id).send()).await?));
    }
    // The claim goes last: as long as anything is there, nobody else may take the name.
    if found.key.as_ref().is_some_and(|key| network::is_ours(site, key)) {
        let name = key_name(site);
        if left.is_empty() {
            // By its name, which is unique: that it carries our UUID was just seen.
            delete("DeleteKeyPair", &name, client, cx, || ec2.delete_key_pair().key_name(&name).send()).await?;
        }
        left.push(gone("key pair", &name, None));
    }
    Ok(left)
}

fn gone(what: &str, id: &str, why: Option<String>) -> Left {
    Left { what: format!("{what} {id}"), why }
}

/// Whether anything is there of a deployment that has no machines.
pub async fn is_left(client: &Client, site: &Site, cx: &Cx) -> Result<bool> {
    let (found, volumes) = tokio::try_join!(network::look(client, site, cx), volumes_left(client, site, cx))?;
    let network::Found { key, vpcs, gateways, subnets, groups, .. } = &found;
    let none = vpcs.is_empty() && gateways.is_empty() && subnets.is_empty() && groups.is_empty() && volumes.is_empty();
    Ok(!none || key.as_ref().is_some_and(|key| network::is_ours(site, key)))
}

/// Volumes that outlived their machine, or have one still.
async fn volumes_left(client: &Client, site: &Site, cx: &Cx) -> Result<Vec<Volume>> {
    let request = client.ec2.describe_volumes().filters(tags::of(site));
    let volumes = client.read("DescribeVolumes", cx, request.send()).await?.volumes.unwrap_or_default();
    Ok(volumes.into_iter().filter(|v| v.state() != Some(&VolumeState::Deleting)).collect())
}

async fn volumes(client: &Client, site: &Site, cx: &Cx) -> Result<Vec<Left>> {
    let mut left = Vec::new();
    for id in volumes_left(client, site, cx).await?.iter().filter_map(|v| v.volume_id()) {
        let why = delete("DeleteVolume", id, client, cx, || client.ec2.delete_volume().volume_id(id).send()).await?;
        left.push(gone("volume", id, why));
    }
    Ok(left)
}

/// Deletes one thing. Gone already is fine. Returns why AWS does not let go of it, when it is still in use.
pub async fn delete<T, E, F>(
    call: &'static str,
    id: &str,
    client: &Client,
    cx: &Cx,
    send: impl Fn() -> F,
) -> Result<Option<String>>
where
    E: aws_sdk_ec2::error::ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = std::result::Result<T, aws_sdk_ec2::error::SdkError<E, aws_sdk_ec2::config::http::HttpResponse>>>,
{
    let done: Answer<T> = client.change(call, json!({ "id": id }), cx, |_| Vec::new(), send).await;
    let in_use = |f: &Fault| f.code.ends_with("DependencyViolation") || f.code.ends_with("InUse") || f.is("Gateway.NotAttached");
    match done {
        Err(Trouble::Refused(fault)) if fault.is_absent() => Ok(None),
        Err(Trouble::Refused(fault)) if in_use(&fault) => {
            cx.events.debug(format!("{id} is still in use: {}", fault.message));
            Ok(Some(fault.message))
        }
        other => Ok(other.map(|_| None)?),
    }
}
