//! Removal: by the UUID, never by a name alone, in the order in which AWS lets go, and proven by two clean looks.

use super::Aws;
use super::client::{Answer, Client, Trouble, pause};
use super::fault::Fault;
use super::firewall;
use super::launch::terminate;
use super::machine::Machine;
use super::network::{self, key_name};
use super::tags;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::transport::provider::Site;
use crate::transport::provider::calls::Reply;
use aws_sdk_ec2::types::VolumeState;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long AWS may take to let go of what ended machines used.
const PATIENCE: Duration = Duration::from_secs(600);

/// Removes all that is left of the deployment, and proves it.
pub async fn everything(aws: &Aws, client: &Client, site: &Site, cx: &Cx) -> Result<()> {
    let start = Instant::now();
    let settle = aws.settings.settle;
    let mut clean: Option<Instant> = None;
    loop {
        let left = pass(client, site, cx).await?;
        if left.is_empty() {
            // One clean look may be a reader that does not see yet: the second one proves it.
            match clean {
                Some(first) if first.elapsed() >= settle => return close(client),
                Some(first) => pause(settle.saturating_sub(first.elapsed()), cx).await?,
                None => {
                    clean = Some(Instant::now());
                    cx.events.debug(format!("nothing is left of {}: looking again in {} s", site.deployment, settle.as_secs()));
                    pause(settle, cx).await?;
                }
            }
            continue;
        }
        clean = None;
        if start.elapsed() > PATIENCE + settle {
            let error = Error::new(Kind::Provider, format!("AWS does not let go of {}", left.join(", ")));
            return Err(error.hint("Run the same command again. Should it stay, something that opsrun did not make uses it."));
        }
        pause(Duration::from_millis(500).min(settle), cx).await?;
    }
}

/// What was asked for without an answer came to nothing, or is gone by now.
fn close(client: &Client) -> Result<()> {
    for call in ["RunInstances", "CreateVpc", "CreateSubnet", "CreateInternetGateway", "CreateSecurityGroup"] {
        for open in client.open(call)? {
            client.end(open.id, Reply::Refused("removed, or never seen".to_owned()))?;
        }
    }
    Ok(())
}

/// Removes what can be removed now. Returns what was there.
async fn pass(client: &Client, site: &Site, cx: &Cx) -> Result<Vec<String>> {
    let machines = client.machines(site, cx).await?;
    if !machines.is_empty() {
        let ids: Vec<String> = machines.iter().map(|m| m.id.clone()).collect();
        terminate(client, &ids, cx).await?;
        client.wait_until(&ids, "terminated", PATIENCE, cx, Machine::is_gone).await?;
    }
    let mut left: Vec<String> = machines.into_iter().map(|m| m.id).collect();
    left.extend(volumes(client, site, cx).await?);
    let found = network::look(client, site, cx).await?;
    for group in &found.groups {
        firewall::clear(client, group, cx).await?;
    }
    for id in found.groups.iter().filter_map(|g| g.group_id()) {
        left.push(id.to_owned());
        delete("DeleteSecurityGroup", id, client, cx, || client.ec2.delete_security_group().group_id(id).send()).await?;
    }
    for id in found.subnets.iter().filter_map(|s| s.subnet_id()) {
        left.push(id.to_owned());
        delete("DeleteSubnet", id, client, cx, || client.ec2.delete_subnet().subnet_id(id).send()).await?;
    }
    for gateway in &found.gateways {
        let Some(id) = gateway.internet_gateway_id() else { continue };
        left.push(id.to_owned());
        for vpc in gateway.attachments().iter().filter_map(|a| a.vpc_id()) {
            let detach = || client.ec2.detach_internet_gateway().internet_gateway_id(id).vpc_id(vpc).send();
            delete("DetachInternetGateway", id, client, cx, detach).await?;
        }
        let send = || client.ec2.delete_internet_gateway().internet_gateway_id(id).send();
        delete("DeleteInternetGateway", id, client, cx, send).await?;
    }
    for id in found.vpcs.iter().filter_map(|v| v.vpc_id()) {
        left.push(id.to_owned());
        delete("DeleteVpc", id, client, cx, || client.ec2.delete_vpc().vpc_id(id).send()).await?;
    }
    // The claim goes last: as long as anything is there, nobody else may take the name.
    let ours = |key: &&aws_sdk_ec2::types::KeyPairInfo| tags::map(key.tags()).get(tags::UUID) == Some(&site.uuid.to_string());
    if found.key.as_ref().is_some_and(|key| ours(&key)) {
        let name = key_name(site);
        if left.is_empty() {
            // By its name, which is unique: that it carries our UUID was just seen.
            delete("DeleteKeyPair", &name, client, cx, || client.ec2.delete_key_pair().key_name(&name).send()).await?;
        }
        left.push(name);
    }
    Ok(left)
}

/// Whether anything is there of a deployment that has no machines.
pub async fn is_left(client: &Client, site: &Site, cx: &Cx) -> Result<bool> {
    let (found, volumes) = tokio::try_join!(network::look(client, site, cx), volumes_left(client, site, cx))?;
    let network::Found { key, vpcs, gateways, subnets, groups } = &found;
    let none = vpcs.is_empty() && gateways.is_empty() && subnets.is_empty() && groups.is_empty() && volumes.is_empty();
    Ok(!none || key.as_ref().is_some_and(|key| tags::map(key.tags()).get(tags::UUID) == Some(&site.uuid.to_string())))
}

/// Volumes that outlived their machine.
async fn volumes_left(client: &Client, site: &Site, cx: &Cx) -> Result<Vec<String>> {
    let request = client.ec2.describe_volumes().filters(tags::of(site));
    let volumes = client.read("DescribeVolumes", cx, request.send()).await?;
    let there = volumes.volumes().iter().filter(|v| v.state() != Some(&VolumeState::Deleting));
    Ok(there.filter_map(|v| v.volume_id().map(str::to_owned)).collect())
}

async fn volumes(client: &Client, site: &Site, cx: &Cx) -> Result<Vec<String>> {
    let left = volumes_left(client, site, cx).await?;
    for id in &left {
        delete("DeleteVolume", id, client, cx, || client.ec2.delete_volume().volume_id(id).send()).await?;
    }
    Ok(left)
}

/// Deletes one thing. Gone already is fine; still in use is tried again by the next pass.
pub async fn delete<T, E, F>(call: &'static str, id: &str, client: &Client, cx: &Cx, send: impl Fn() -> F) -> Result<()>
where
    E: aws_sdk_ec2::error::ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = std::result::Result<T, aws_sdk_ec2::error::SdkError<E, aws_sdk_ec2::config::http::HttpResponse>>>,
{
    let done: Answer<T> = client.change(call, json!({ "id": id }), cx, |_| Vec::new(), send).await;
    let in_use = |f: &Fault| f.code.ends_with("DependencyViolation") || f.code.ends_with("InUse") || f.is("Gateway.NotAttached");
    match done {
        Err(Trouble::Refused(fault)) if fault.is_absent() => Ok(()),
        Err(Trouble::Refused(fault)) if in_use(&fault) => {
            cx.events.debug(format!("{id} is still in use: {}", fault.message));
            Ok(())
        }
        other => Ok(other.map(drop)?),
    }
}
