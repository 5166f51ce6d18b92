//! Changes in place: starting and stopping, another instance type, tags, and what an interrupted command left half done.

use super::client::Client;
use super::launch::{self, terminate};
use super::machine::Machine;
use super::network::{self, Found, forgive};
use super::remove::delete;
use super::settings::{GroupSettings, Settings};
use super::tags::{self, Tags};
use super::user_data::UserData;
use super::{Aws, ending, firewall};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::transport::provider::{Difference, NodeFound, NodeSpec, NodeStatus, Remedy, Site};
use aws_sdk_ec2::types::{AttributeValue, BlobAttributeValue, Subnet};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// In what a machine differs from what is wanted of it.
pub fn difference(settings: &Settings, ami: &str, found: &NodeFound, wanted: &NodeSpec) -> Option<Difference> {
    let group = settings.group(&wanted.group);
    let is = |key: &str| found.spec.options.get(key).and_then(Value::as_str).unwrap_or_default();
    let spot = found.spec.options.get("spot") == Some(&Value::Bool(true));
    let mut replace: Vec<String> = Vec::new();
    let mut differs = |what: &str, old: &str, new: &str| {
        if old != new {
            let word = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
            replace.push(format!("{what}: {} -> {}", word(old), word(new)));
        }
    };
    differs("ami", is("ami"), ami);
    differs("spot", if spot { "true" } else { "false" }, if group.spot { "true" } else { "false" });
    differs("volumes", is("volumes"), &volumes(&group));
    differs("instance_profile", is("instance_profile"), group.instance_profile.as_deref().unwrap_or_default());
    let data = group.user_data.as_ref().map(UserData::digest).unwrap_or_default();
    if settings.user_data_replaces {
        differs("user data", is("user_data"), &data);
    }
    if let Some(zone) = settings.zones.first().filter(|_| !settings.zones.iter().any(|z| z == is("availability_zone"))) {
        differs("availability_zone", is("availability_zone"), zone);
    }
    if !replace.is_empty() {
        let loses = group.stateful.then(|| format!("group {} is stateful", wanted.group));
        return Some(Difference { remedy: Remedy::Replace, reason: replace.join(", "), loses });
    }
    in_place(&group, found, &data, spot)
}

fn in_place(group: &GroupSettings, found: &NodeFound, data: &str, spot: bool) -> Option<Difference> {
    let is = |key: &str| found.spec.options.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = is("instance_type");
    let down = found.status != NodeStatus::Running;
    // What a stop takes from a machine like this.
    let loss = || -> Option<String> {
        let running = !down;
        (running && has_instance_store(kind)).then(|| format!("stopping a {kind} loses what is on its instance store"))
    };
    let mut reasons: Vec<String> = Vec::new();
    let mut stops = false;
    if let Some(wanted) = group.types.first().filter(|_| !group.types.iter().any(|t| t == kind)) {
        reasons.push(format!("instance_type: {kind} -> {wanted}"));
        stops = true;
    }
    if is("user_data") != data {
        reasons.push("user data is stored; it does not run by itself".to_owned());
        stops = true;
    }
    if stops && spot {
        let loses = Some("a one-time spot instance cannot be stopped".to_owned());
        return Some(Difference { remedy: Remedy::Replace, reason: reasons.join(", "), loses });
    }
    let tags = found.spec.options.get("tags").and_then(|t| serde_json::from_value(t.clone()).ok()).unwrap_or_default();
    if ends_itself(&tags) && !group.ends_itself && !spot {
        reasons.push("it no longer ends itself".to_owned());
    }
    reasons.extend(stale_tags(found));
    if !reasons.is_empty() {
        let loses = if stops { loss() } else { None };
        return Some(Difference { remedy: Remedy::Adjust, reason: reasons.join(", "), loses });
    }
    if is("state") == "pending" && !group.stopped {
        return Some(Difference::new(Remedy::Start, "it is still starting"));
    }
    match (down, group.stopped) {
        (true, false) => Some(Difference::new(Remedy::Start, "it is stopped")),
        (false, true) => Some(Difference { remedy: Remedy::Stop, reason: "state: running -> stopped".to_owned(), loses: loss() }),
        _ => None,
    }
}

/// Whether EC2 ends the machine when it turns itself off.
fn ends_itself(have: &Tags) -> bool {
    have.get(tags::AT_EXPIRY).is_some_and(|word| word == tags::TERMINATE)
}

/// Tags that differ from the config, whether it or they changed.
fn stale_tags(found: &NodeFound) -> Option<String> {
    let keys = found.spec.options.get("stale_tags").and_then(Value::as_array)?;
    let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
    (!keys.is_empty()).then(|| format!("tags: {}", keys.join(", ")))
}

/// What the group's disks look like, in one word, to see whether it changed.
pub fn volumes(group: &GroupSettings) -> String {
    let size = |size: Option<i32>| size.map(|s| s.to_string()).unwrap_or_default();
    let mut words = Vec::new();
    if group.volume_type.is_some() || group.volume_size.is_some() {
        words.push(format!("root:{}:{}", group.volume_type.as_deref().unwrap_or_default(), size(group.volume_size)));
    }
    words.extend(group.volumes.iter().map(|v| format!("{}:{}:{}", v.device, v.kind, v.size)));
    words.join(" ")
}

/// Whether machines of this type have disks that a stop empties: told by the letters of its family.
fn has_instance_store(kind: &str) -> bool {
    let family = kind.split('.').next().unwrap_or(kind);
    let digit = family.find(|c: char| c.is_ascii_digit()).unwrap_or(family.len());
    let (class, rest) = family.split_at(digit);
    ["i", "im", "is", "d", "h", "x", "f"].contains(&class) || rest.contains('d')
}

/// Starts the machines among these nodes that are down and should not be, and waits until all of them are up.
pub async fn start(aws: &Aws, client: &Client, machines: &[Machine], specs: &[NodeSpec], cx: &Cx) -> Result<()> {
    let wanted = |m: &&Machine| specs.iter().any(|s| s.name == m.name()) && !aws.settings.group(&m.group).stopped;
    // Those that are changed over a stop are left down for it.
    let waits = |m: &&Machine| !(m.is_up() || m.is_down() && is_rebuilt(aws, m));
    let not_up: Vec<&Machine> = machines.iter().filter(wanted).filter(waits).collect();
    let down: Vec<String> = not_up.iter().filter(|m| m.is_down()).map(|m| m.id.clone()).collect();
    if !down.is_empty() {
        client.wait_until(&down, "stopped", aws.settings.launch_timeout, cx, Machine::is_stopped).await?;
        start_these(client, &down, cx).await?;
    }
    if not_up.is_empty() {
        return Ok(());
    }
    let now = client.wait_until(&ids(&not_up), "running", aws.settings.launch_timeout, cx, Machine::is_up).await?;
    match now.iter().find(|m| m.is_over()) {
        None => Ok(()),
        Some(m) => {
            let why = m.reason.clone().unwrap_or_else(|| "no reason is given".to_owned());
            Err(Error::new(Kind::Provider, format!("AWS ended it while it was starting: {why}"))
                .on_node(m.name())
                .hint("Run the same command again: it is made anew."))
        }
    }
}

async fn start_these(client: &Client, ids: &[String], cx: &Cx) -> Result<()> {
    let send = || client.ec2.start_instances().set_instance_ids(Some(ids.to_vec())).send();
    client.change("StartInstances", json!({ "ids": ids }), cx, |_| Vec::new(), send).await?;
    Ok(())
}

/// Stops these and waits until they are down.
pub async fn stop_these(aws: &Aws, client: &Client, ids: &[String], at_once: bool, cx: &Cx) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let send = || client.ec2.stop_instances().set_instance_ids(Some(ids.to_vec())).force(at_once).send();
    client.change("StopInstances", json!({ "ids": ids }), cx, |_| Vec::new(), send).await?;
    client.wait_until(ids, "stopped", aws.settings.launch_timeout, cx, Machine::is_stopped).await.map(drop)
}

/// Stops the machines among these nodes whose group is to be down. Returns all machines as they are then.
pub async fn stop_wanted(
    aws: &Aws,
    client: &Client,
    site: &Site,
    specs: &[NodeSpec],
    machines: Vec<Machine>,
    cx: &Cx,
) -> Result<Vec<Machine>> {
    let wanted = |m: &&Machine| specs.iter().any(|s| s.name == m.name()) && aws.settings.group(&m.group).stopped;
    let up: Vec<String> = machines.iter().filter(wanted).filter(|m| !m.is_down()).map(|m| m.id.clone()).collect();
    if up.is_empty() {
        return Ok(machines);
    }
    stop_these(aws, client, &up, false, cx).await?;
    client.machines(site, cx).await
}

/// Changes these nodes in place: type and user data over one stop for all of them, tags at once.
pub async fn update(aws: &Aws, client: &Client, site: &Site, machines: &[Machine], specs: &[NodeSpec], cx: &Cx) -> Result<()> {
    let ours: Vec<&Machine> = machines.iter().filter(|m| specs.iter().any(|s| s.name == m.name())).collect();
    let rebuilt: Vec<&Machine> = ours.iter().copied().filter(|m| is_rebuilt(aws, m)).collect();
    if !rebuilt.is_empty() {
        let (down, up): (Vec<&Machine>, Vec<&Machine>) = rebuilt.iter().copied().partition(|m| m.is_down());
        stop_these(aws, client, &ids(&up), false, cx).await?;
        client.wait_until(&ids(&down), "stopped", aws.settings.launch_timeout, cx, Machine::is_stopped).await?;
        let modified = rebuilt.iter().map(|m| async { modify(aws, client, m, cx).await.map_err(|e| e.on_node(m.name())) });
        launch::at_once(modified.collect()).await?;
        let wanted = rebuilt.iter().filter(|m| !aws.settings.group(&m.group).stopped);
        let wanted: Vec<String> = wanted.map(|m| m.id.clone()).collect();
        if !wanted.is_empty() {
            start_these(client, &wanted, cx).await?;
            client.wait_until(&wanted, "running", aws.settings.launch_timeout, cx, Machine::is_up).await?;
        }
    }
    for machine in ours.iter().filter(|m| ends_itself(&m.tags) && !aws.settings.group(&m.group).ends_itself && !m.spot) {
        ending::set(client, &machine.id, &machine.tags, false, cx).await?;
    }
    // One call for all that need the same.
    let mut needs: BTreeMap<Tags, Vec<String>> = BTreeMap::new();
    for machine in ours {
        let mut wanted = aws.group_tags(site, &machine.group);
        // A machine that is there has a timer only once one was set on it.
        wanted.remove(tags::AT_EXPIRY);
        let needed = needs.entry(tags::stale(&machine.tags, &wanted)).or_default();
        needed.extend(std::iter::once(&machine.id).chain(&machine.volumes).cloned());
    }
    for (stale, ids) in needs.iter().filter(|(stale, _)| !stale.is_empty()) {
        for some in ids.chunks(200) {
            network::tag(client, some, stale, cx).await?;
        }
    }
    Ok(())
}

fn ids(machines: &[&Machine]) -> Vec<String> {
    machines.iter().map(|m| m.id.clone()).collect()
}

/// Whether it has to be stopped to become what is wanted.
fn is_rebuilt(aws: &Aws, machine: &Machine) -> bool {
    new_type(aws, machine).is_some() || new_data(aws, machine)
}

fn new_type(aws: &Aws, machine: &Machine) -> Option<String> {
    let types = aws.settings.group(&machine.group).types;
    if types.contains(&machine.kind) { None } else { types.into_iter().next() }
}

fn new_data(aws: &Aws, machine: &Machine) -> bool {
    let has = machine.tags.get(tags::USER_DATA).cloned().unwrap_or_default();
    has != aws.settings.group(&machine.group).user_data.as_ref().map(UserData::digest).unwrap_or_default()
}

/// Gives a stopped machine another type, other user data, or both.
async fn modify(aws: &Aws, client: &Client, machine: &Machine, cx: &Cx) -> Result<()> {
    if let Some(kind) = new_type(aws, machine) {
        let value = || AttributeValue::builder().value(&kind).build();
        let send = || client.ec2.modify_instance_attribute().instance_id(&machine.id).instance_type(value()).send();
        let request = json!({ "id": machine.id, "instance_type": kind });
        client.change("ModifyInstanceAttribute", request, cx, |_| Vec::new(), send).await?;
    }
    if new_data(aws, machine) {
        let data = aws.settings.group(&machine.group).user_data.unwrap_or_default();
        // It has met us: what is for the first contact is no part of it.
        let body = aws.body(&machine.group, None)?;
        let blob = || aws_sdk_ec2::primitives::Blob::new(body.0.as_slice());
        let value = || BlobAttributeValue::builder().value(blob()).build();
        let send = || client.ec2.modify_instance_attribute().instance_id(&machine.id).user_data(value()).send();
        let request = json!({ "id": machine.id, "user_data": data.digest() });
        client.change("ModifyInstanceAttribute", request, cx, |_| Vec::new(), send).await?;
        if data.bytes().is_empty() {
            // What is empty now must not look like the old.
            let none = Tags::from([(tags::USER_DATA.to_owned(), String::new())]);
            network::tag(client, std::slice::from_ref(&machine.id), &none, cx).await?;
        }
    }
    Ok(())
}

/// Finishes what a command that was killed left half done, and removes what no group of the config needs any more.
pub async fn tidy(aws: &Aws, client: &Client, site: &Site, found: &Found, cx: &Cx) -> Result<()> {
    let machines = client.machines(site, cx).await?;
    let (mut twins, mut kept): (Vec<String>, Vec<&Machine>) = (Vec::new(), Vec::new());
    for machine in &machines {
        if kept.iter().any(|other| other.name() == machine.name()) {
            twins.push(machine.id.clone());
        } else {
            kept.push(machine);
        }
    }
    terminate(client, &twins, cx).await?;
    let unnamed = kept.iter().filter(|m| m.is_known() && !m.is_named());
    launch::at_once(unnamed.map(|m| Aws::name(client, &m.id, &m.volumes, &m.group, m.index, cx)).collect()).await?;
    for (id, tags) in stale_fixtures(aws, site, found) {
        network::tag(client, &[id], &tags, cx).await?;
    }
    doubles(client, found, cx).await?;
    let there = firewall::by_group(found);
    let spare = there.iter().filter(|(group, _)| !aws.settings.groups.contains_key(*group));
    for (group, security) in spare {
        // Others name it as a source, and machines that are just ending still use it.
        let ended: Vec<String> = client.made("TerminateInstances")?;
        client.wait_gone(&ended, aws.settings.launch_timeout, cx).await?;
        if machines.iter().all(|m| m.group != **group) {
            firewall::clear(client, security, cx).await?;
            let Some(id) = security.group_id() else { continue };
            delete("DeleteSecurityGroup", id, client, cx, || client.ec2.delete_security_group().group_id(id).send()).await?;
        }
    }
    Ok(())
}

/// Parts of the network whose tags are not as they should be, because the config moved on or somebody changed them.
pub fn stale_fixtures(aws: &Aws, site: &Site, found: &Found) -> Vec<(String, Tags)> {
    let wanted = tags::shared(site, &aws.settings);
    let all = found.vpcs.iter().map(|v| (v.vpc_id(), v.tags()));
    let all = all.chain(found.gateways.iter().map(|g| (g.internet_gateway_id(), g.tags())));
    let all = all.chain(found.subnets.iter().map(|s| (s.subnet_id(), s.tags())));
    let all = all.chain(found.groups.iter().map(|g| (g.group_id(), g.tags())));
    let all = all.chain(found.tables.iter().map(|t| (t.route_table_id(), t.tags())));
    let all = all.chain(found.key.iter().map(|k| (k.key_pair_id(), k.tags())));
    all.filter_map(|(id, tags)| {
        let have = tags::map(tags);
        let stale = tags::stale(&have, &wanted);
        (!stale.is_empty()).then(|| Some((id?.to_owned(), stale)))?
    })
    .collect()
}

/// A second VPC or gateway can only come from a request that was thought lost: nothing uses it.
async fn doubles(client: &Client, found: &Found, cx: &Cx) -> Result<()> {
    let first = found.gateway();
    for id in found.gateways.iter().filter_map(|g| g.internet_gateway_id()).filter(|id| Some(*id) != first) {
        let send = || client.ec2.delete_internet_gateway().internet_gateway_id(id).send();
        delete("DeleteInternetGateway", id, client, cx, send).await?;
    }
    let first = found.vpc();
    for id in found.vpcs.iter().filter_map(|v| v.vpc_id()).filter(|id| Some(*id) != first) {
        delete("DeleteVpc", id, client, cx, || client.ec2.delete_vpc().vpc_id(id).send()).await?;
    }
    Ok(())
}

/// The subnets in which no machine is: made for a launch that then went elsewhere, or left by the last of their nodes.
pub fn unused<'a>(subnets: &'a [Subnet], machines: &[Machine]) -> Vec<&'a Subnet> {
    let used: BTreeSet<&str> = machines.iter().map(|m| m.zone.as_str()).collect();
    subnets.iter().filter(|s| !s.availability_zone().is_some_and(|z| used.contains(z))).collect()
}

/// Removes the subnets in which no machine is.
pub async fn unused_subnets(aws: &Aws, client: &Client, site: &Site, machines: &[Machine], cx: &Cx) -> Result<()> {
    if aws.settings.vpc.is_some() {
        return Ok(());
    }
    let request = client.ec2.describe_subnets().filters(tags::of(site));
    let subnets = client.read("DescribeSubnets", cx, request.send()).await?.subnets.unwrap_or_default();
    let unused = unused(&subnets, machines);
    if unused.is_empty() {
        return Ok(());
    }
    // Machines of a failed launch that are still ending hold on to theirs.
    client.wait_gone(&client.made("TerminateInstances")?, aws.settings.launch_timeout, cx).await?;
    for id in unused.iter().filter_map(|s| s.subnet_id()) {
        let send = || client.ec2.delete_subnet().subnet_id(id).send();
        let done = client.change("DeleteSubnet", json!({ "id": id }), cx, |_| Vec::new(), send).await;
        // What still uses it is not a machine of ours: the plan shows it until it can go.
        forgive(done, &["DependencyViolation", "InvalidSubnetID.NotFound"])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_with_disks_of_their_own_are_known() {
        assert!(
            ["i4i.large", "c5d.large", "m6gd.xlarge", "r6id.large", "d3.xlarge", "im4gn.large"]
                .iter()
                .all(|t| has_instance_store(t))
        );
        assert!(["t3.large", "c7i.2xlarge", "m5.large", "r6g.large"].iter().all(|t| !has_instance_store(t)));
    }
}
