//! What can be known to go wrong before anything is made: zones, types, images, room, and permissions.

use super::client::{Client, Trouble};
use super::fault::Fault;
use super::network::{self, Found};
use super::settings::GroupSettings;
use super::{Aws, tags};
use crate::base::error::{Error, Kind, Result, ResultExt};
use crate::base::event::Cx;
use crate::transport::provider::Site;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{InstanceType, ResourceType, Subnet};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};

/// What a subnet of ours has room for: a /20, less the five addresses that AWS keeps.
const OURS: usize = 4091;

/// Whether what is missing can be had.
pub async fn check(
    aws: &Aws,
    client: &Client,
    site: &Site,
    missing: &BTreeMap<&str, usize>,
    found: &Found,
    cx: &Cx,
) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    // Shown and applied are compared moments apart: what was possible still is.
    let wanted: BTreeMap<String, usize> = missing.iter().map(|(group, count)| ((*group).to_owned(), *count)).collect();
    if aws.checked.lock().await.as_ref() == Some(&wanted) {
        return Ok(());
    }
    let groups: Vec<(&str, GroupSettings)> = missing.keys().map(|g| (*g, aws.settings.group(g))).collect();
    let types: BTreeSet<String> = groups.iter().flat_map(|(_, g)| g.types.iter().cloned()).collect();
    let subnets = async {
        match &aws.settings.vpc {
            Some(vpc) => network::borrowed_subnets(client, &aws.settings, vpc, cx).await,
            None => Ok(found.subnets.clone()),
        }
    };
    let architectures = architectures(client, &types, cx);
    let ((), architectures, (), subnets) =
        tokio::try_join!(zones(aws, client, cx), architectures, aws.learn_offers(client, &types, cx), subnets)?;
    for (name, group) in &groups {
        let ami = aws.ami(name);
        let image = aws.image(client, &ami, cx).await.context(|| format!("looking up the image of group {name}"))?;
        for kind in &group.types {
            offered(aws, client, name, kind, cx).await?;
            let runs = architectures.get(kind).map(Vec::as_slice).unwrap_or_default();
            if !image.architecture.is_empty() && !runs.is_empty() && !runs.contains(&image.architecture) {
                let runs = runs.join(", ");
                let message = format!("group {name}: image {ami} is for {}, but {kind} runs {runs}", image.architecture);
                return Err(Error::config(message).hint("Take an image of the type's architecture, or a type of the image's."));
            }
        }
    }
    room(missing, aws, &subnets)?;
    permissions(aws, client, site, &groups, found, cx).await?;
    *aws.checked.lock().await = Some(wanted);
    Ok(())
}

async fn zones(aws: &Aws, client: &Client, cx: &Cx) -> Result<()> {
    if aws.settings.zones.is_empty() {
        return Ok(());
    }
    let answer = client.read("DescribeAvailabilityZones", cx, client.ec2.describe_availability_zones().send()).await?;
    let known: Vec<&str> = answer.availability_zones().iter().filter_map(|z| z.zone_name()).collect();
    match aws.settings.zones.iter().find(|z| !known.contains(&z.as_str())) {
        Some(zone) => Err(Error::config(format!("there is no zone {zone} in region {}", client.region))
            .hint(format!("There are {}.", known.join(", ")))),
        None => Ok(()),
    }
}

/// The type can be had in one of the zones at least.
async fn offered(aws: &Aws, client: &Client, group: &str, kind: &str, cx: &Cx) -> Result<()> {
    let offered = aws.offered(client, kind, cx).await?;
    if offered.is_empty() {
        return Err(Error::config(format!("group {group}: AWS offers no {kind} in {}", client.region))
            .hint("Look for a misspelt `instance_type`, or choose another `region`."));
    }
    let zones = &aws.settings.zones;
    if !zones.is_empty() && !zones.iter().any(|z| offered.contains(z)) {
        return Err(Error::config(format!("group {group}: AWS offers no {kind} in {}", zones.join(", ")))
            .hint(format!("It can be had in {}.", offered.join(", "))));
    }
    Ok(())
}

/// Subnets that are there must have room, where there is no other place to go.
fn room(missing: &BTreeMap<&str, usize>, aws: &Aws, subnets: &[Subnet]) -> Result<()> {
    let borrowed = aws.settings.vpc.is_some();
    let mut free: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for subnet in subnets {
        let (Some(zone), Some(id)) = (subnet.availability_zone(), subnet.subnet_id()) else { continue };
        let left = usize::try_from(subnet.available_ip_address_count().unwrap_or(i32::MAX)).unwrap_or(0);
        free.insert(zone, (id, left));
    }
    let mut places: Vec<(&str, usize)> = match aws.settings.zones.as_slice() {
        [] if borrowed => free.values().copied().collect(),
        [] => return Ok(()),
        zones if borrowed => zones.iter().filter_map(|z| free.get(z.as_str()).copied()).collect(),
        zones => zones.iter().map(|z| free.get(z.as_str()).copied().unwrap_or(("", OURS))).collect(),
    };
    places.sort_by_key(|(_, left)| *left);
    let Some((id, most)) = places.last().copied() else { return Ok(()) };
    let (group, largest) = missing.iter().max_by_key(|(_, count)| **count).map_or(("", 0), |(g, c)| (*g, *c));
    let all: usize = missing.values().sum();
    // A group stays together; where there is one place only, all have to fit in.
    let (what, needed) = if places.len() == 1 { ("all nodes".to_owned(), all) } else { (format!("group {group}"), largest) };
    if needed <= most {
        return Ok(());
    }
    let id = if id.is_empty() { "a subnet" } else { id };
    let error = Error::new(Kind::Provider, format!("subnet {id} has {most} free addresses, but {what} needs {needed}"));
    Err(error.hint("Name further zones (`fallback_zones`), a larger `subnet`, or divide the group."))
}

/// The architectures that each of these types runs.
async fn architectures(client: &Client, types: &BTreeSet<String>, cx: &Cx) -> Result<BTreeMap<String, Vec<String>>> {
    let wanted = types.iter().map(|t| InstanceType::from(t.as_str())).collect();
    let request = client.ec2.describe_instance_types().set_instance_types(Some(wanted));
    let answer = match client.read("DescribeInstanceTypes", cx, request.send()).await {
        Err(Trouble::Refused(fault)) if fault.is("InvalidInstanceType") => {
            let unknown: Vec<&str> = types.iter().map(String::as_str).filter(|t| fault.message.contains(t)).collect();
            let unknown = if unknown.is_empty() { types.iter().map(String::as_str).collect() } else { unknown };
            return Err(Error::config(format!("there is no instance type {} in {}", unknown.join(", "), client.region))
                .hint("Look for a misspelt `instance_type`, or choose another `region`."));
        }
        other => other?,
    };
    let runs = answer.instance_types().iter().filter_map(|t| {
        let architectures = t.processor_info()?.supported_architectures().iter().map(|a| a.as_str().to_owned());
        Some((t.instance_type()?.as_str().to_owned(), architectures.collect()))
    });
    Ok(runs.collect())
}

/// Asks whether the calls that come would be allowed, as far as AWS tells without making them (`DryRun`).
async fn permissions(
    aws: &Aws,
    client: &Client,
    site: &Site,
    groups: &[(&str, GroupSettings)],
    found: &Found,
    cx: &Cx,
) -> Result<()> {
    let (ec2, name) = (&client.ec2, network::key_name(site));
    let shared = tags::named(site, &aws.settings, &name);
    let tags = |kind: ResourceType| tags::specification(kind, &shared);
    let key = async {
        let public = aws_sdk_ec2::primitives::Blob::new(
            *b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        );
        let request = ec2.import_key_pair().dry_run(true).key_name(&name).public_key_material(public);
        allowed("ImportKeyPair", found.key.is_none(), cx, request.tag_specifications(tags(ResourceType::KeyPair)).send()).await
    };
    let own = aws.settings.vpc.is_none();
    let vpc = async {
        let request = ec2.create_vpc().dry_run(true).cidr_block(network::NETWORK).tag_specifications(tags(ResourceType::Vpc));
        allowed("CreateVpc", own && found.vpcs.is_empty(), cx, request.send()).await
    };
    let gateway = async {
        let request = ec2.create_internet_gateway().dry_run(true).tag_specifications(tags(ResourceType::InternetGateway));
        allowed("CreateInternetGateway", own && found.gateways.is_empty(), cx, request.send()).await
    };
    let firewall = async {
        let request = ec2.create_security_group().dry_run(true).group_name(&name).description(&name);
        let request = request.set_vpc_id(aws.settings.vpc.clone()).tag_specifications(tags(ResourceType::SecurityGroup));
        let new = groups.iter().any(|(group, _)| !super::firewall::by_group(found).contains_key(*group));
        allowed("CreateSecurityGroup", new, cx, request.send()).await
    };
    let launches =
        futures::future::try_join_all(groups.iter().map(|(group, settings)| launch(aws, client, site, group, settings, cx)));
    let network = async { tokio::try_join!(key, vpc, gateway, firewall).map(drop).map_err(Error::from) };
    tokio::try_join!(network, launches).map(drop)
}

/// Whether the group's launch would be allowed, with its tags and its instance profile.
async fn launch(aws: &Aws, client: &Client, site: &Site, group: &str, settings: &GroupSettings, cx: &Cx) -> Result<()> {
    let tags = aws.group_tags(site, group);
    let kind = settings.types.first().map(|t| InstanceType::from(t.as_str()));
    let mut request = client.ec2.run_instances().dry_run(true).min_count(1).max_count(1).set_instance_type(kind);
    request = request.image_id(aws.ami(group)).set_subnet_id(aws.settings.subnet.clone());
    for kind in [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface] {
        request = request.tag_specifications(tags::specification(kind, &tags));
    }
    if let Some(profile) = &settings.instance_profile {
        request = request.iam_instance_profile(super::launch::profile(profile));
    }
    let answer = allowed("RunInstances", true, cx, request.send()).await;
    answer.map_err(|trouble| Error::from(trouble).context(format!("asking whether group {group} may be launched")))
}

/// Fails when the answer to a dry run is that these credentials may not. All else it cannot tell: the call itself will. Boxed,
/// because the SDK's futures are large.
fn allowed<'a, T, E>(
    call: &'static str,
    needed: bool,
    cx: &'a Cx,
    send: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
) -> BoxFuture<'a, Result<(), Trouble>>
where
    T: Send + 'a,
    E: ProvideErrorMetadata + std::error::Error + Send + 'static,
{
    Box::pin(async move {
        if !needed {
            return Ok(());
        }
        let Err(error) = cx.cancel.guard(async { Ok(send.await) }).await? else { return Ok(()) };
        let fault = Fault::new(call, &error);
        if fault.is_denied() { Err(Trouble::Refused(fault)) } else { Ok(()) }
    })
}
