//! The network of a deployment: key pair, VPC, internet gateway, route, a subnet for each zone in use.

use super::client::{Answer, Client, Trouble, no_retries};
use super::settings::Settings;
use super::tags;
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::Cx;
use crate::transport::provider::Site;
use aws_sdk_ec2::types::{InternetGateway, KeyPairInfo, ResourceType, RouteTable, SecurityGroup, Subnet, Vpc};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Room for 16 zones of 4091 addresses each.
pub const NETWORK: &str = "10.0.0.0/16";

/// What there is of it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub key: Option<KeyPairInfo>,
    pub vpcs: Vec<Vpc>,
    pub gateways: Vec<InternetGateway>,
    pub subnets: Vec<Subnet>,
    pub groups: Vec<SecurityGroup>,
    pub tables: Vec<RouteTable>,
}

impl Found {
    /// The gateway is attached to the VPC, and the VPC's route table leads to it.
    pub fn is_connected(&self) -> bool {
        let (Some(vpc), Some(gateway)) = (self.vpc(), self.gateway()) else { return false };
        self.is_attached(vpc, gateway) && self.tables.iter().any(|table| leads_to(table, gateway))
    }

    /// The VPC in use: the first, where a lost answer made two.
    pub fn vpc(&self) -> Option<&str> {
        self.vpcs.iter().filter_map(|v| v.vpc_id()).min()
    }

    pub fn gateway(&self) -> Option<&str> {
        self.gateways.iter().filter_map(|g| g.internet_gateway_id()).min()
    }

    fn is_attached(&self, vpc: &str, gateway: &str) -> bool {
        let mut gateways = self.gateways.iter().filter(|g| g.internet_gateway_id() == Some(gateway));
        gateways.any(|g| g.attachments().iter().any(|a| a.vpc_id() == Some(vpc)))
    }
}

fn leads_to(table: &RouteTable, gateway: &str) -> bool {
    table.routes().iter().any(|r| r.destination_cidr_block() == Some("0.0.0.0/0") && r.gateway_id() == Some(gateway))
}

/// What nodes are launched into.
#[derive(Clone, Debug)]
pub struct Network {
    pub vpc: String,
    pub key: String,
    /// Subnets by zone. Groups that are launched at the same time share them.
    pub subnets: Arc<Mutex<BTreeMap<String, String>>>,
    /// Security groups by node group.
    pub groups: BTreeMap<String, String>,
    /// The subnets are somebody else's.
    pub borrowed: bool,
}

/// The name of the key pair. It is unique in a region: whoever imports it first has the deployment's name.
pub fn key_name(site: &Site) -> String {
    format!("opsrun-{}", site.deployment)
}

/// Reads all that carries the deployment's UUID, at once.
pub async fn look(client: &Client, site: &Site, cx: &Cx) -> Result<Found> {
    let of = || tags::of(site);
    let ec2 = &client.ec2;
    let keys = async {
        let request = ec2.describe_key_pairs().filters(tags::filter("key-name", [key_name(site)])).include_public_key(true);
        client.read("DescribeKeyPairs", cx, request.send()).await
    };
    let vpcs = async { client.read("DescribeVpcs", cx, ec2.describe_vpcs().filters(of()).send()).await };
    let gateways =
        async { client.read("DescribeInternetGateways", cx, ec2.describe_internet_gateways().filters(of()).send()).await };
    let subnets = async { client.read("DescribeSubnets", cx, ec2.describe_subnets().filters(of()).send()).await };
    let groups = async { client.read("DescribeSecurityGroups", cx, ec2.describe_security_groups().filters(of()).send()).await };
    let tables = async { client.read("DescribeRouteTables", cx, ec2.describe_route_tables().filters(of()).send()).await };
    let (keys, vpcs, gateways, subnets, groups, tables) = tokio::try_join!(keys, vpcs, gateways, subnets, groups, tables)?;
    Ok(Found {
        key: keys.key_pairs().first().cloned(),
        vpcs: vpcs.vpcs.unwrap_or_default(),
        gateways: gateways.internet_gateways.unwrap_or_default(),
        subnets: subnets.subnets.unwrap_or_default(),
        groups: groups.security_groups.unwrap_or_default(),
        tables: tables.route_tables.unwrap_or_default(),
    })
}

/// Whether the claim is this deployment's.
pub fn is_ours(site: &Site, key: &KeyPairInfo) -> bool {
    tags::map(key.tags()).get(tags::UUID) == Some(&site.uuid.to_string())
}

/// Fails when the deployment's name is somebody else's in this region, or the nodes' key is another.
pub fn check_key(site: &Site, key: &KeyPairInfo) -> Result<()> {
    let tags = tags::map(key.tags());
    let name = key_name(site);
    if !is_ours(site, key) {
        let owner = tags.get("Owner").map(|o| format!(" of {o}")).unwrap_or_default();
        let whose = match tags.get(tags::UUID) {
            Some(uuid) => format!("another deployment{owner} (UUID {uuid})"),
            None => format!("something{owner} that opsrun did not make"),
        };
        return Err(Error::new(
            Kind::Provider,
            format!("the name {} is taken here: key pair {name} belongs to {whose}", site.deployment),
        )
        .hint("Choose another name for the deployment."));
    }
    let body = |text: &str| text.split_whitespace().nth(1).map(str::to_owned);
    let (Some(theirs), Ok(ours)) = (key.public_key().and_then(body), std::fs::read_to_string(&site.public_key)) else {
        return Ok(());
    };
    if body(&ours).is_some_and(|ours| ours != theirs) {
        let message = format!("key pair {name} holds another key than {}", site.public_key.display());
        return Err(Error::new(Kind::Provider, message)
            .hint("The nodes accept the key they were made with: give that one, or deprovision and make them anew."));
    }
    Ok(())
}

/// Claims the name. The first call that changes anything.
pub async fn claim(client: &Client, site: &Site, settings: &Settings, found: &Found, cx: &Cx) -> Result<()> {
    if let Some(key) = &found.key {
        return check_key(site, key);
    }
    let name = key_name(site);
    let material = std::fs::read_to_string(&site.public_key).at("read", &site.public_key)?;
    let tags = tags::named(site, settings, &name);
    let send = || {
        let blob = aws_sdk_ec2::primitives::Blob::new(material.trim().as_bytes());
        let tags = tags::specification(ResourceType::KeyPair, &tags);
        client.ec2.import_key_pair().key_name(&name).public_key_material(blob).tag_specifications(tags).send()
    };
    let id = |answer: &aws_sdk_ec2::operation::import_key_pair::ImportKeyPairOutput| {
        answer.key_pair_id().map(str::to_owned).into_iter().collect()
    };
    match client.change("ImportKeyPair", json!({ "name": name, "public_key": material.trim(), "tags": tags }), cx, id, send).await
    {
        // Somebody was quicker, or our own request got through without an answer.
        Err(trouble) if trouble.is(|f| f.is("InvalidKeyPair.Duplicate")) => {
            for _ in 0..20 {
                let filter = tags::filter("key-name", [name.as_str()]);
                let request = client.ec2.describe_key_pairs().filters(filter).include_public_key(true);
                let keys = client.read("DescribeKeyPairs", cx, request.send()).await?;
                if let Some(key) = keys.key_pairs().first() {
                    return check_key(site, key);
                }
                super::client::pause(std::time::Duration::from_millis(500), cx).await?;
            }
            Err(trouble.into())
        }
        other => Ok(other.map(drop)?),
    }
}

/// Makes the network around the groups' subnets. Subnets are made for a zone when it is launched into.
pub async fn ensure(client: &Client, site: &Site, settings: &Settings, found: &Found, cx: &Cx) -> Result<Network> {
    let name = key_name(site);
    let mut network = Network {
        vpc: String::new(),
        key: name.clone(),
        subnets: Arc::default(),
        groups: BTreeMap::new(),
        borrowed: settings.vpc.is_some(),
    };
    if let Some(vpc) = &settings.vpc {
        network.vpc.clone_from(vpc);
        let subnets = borrowed_subnets(client, settings, vpc, cx).await?;
        network.subnets = Arc::new(Mutex::new(subnets.iter().filter_map(in_zone).collect()));
        return Ok(network);
    }
    network.vpc = ensure_vpc(client, site, settings, found, cx).await?;
    let gateway = ensure_gateway(client, site, settings, found, cx).await?;
    if !found.is_connected() {
        attach(client, &network.vpc, &gateway, found, cx).await?;
        route(client, site, settings, &network.vpc, &gateway, cx).await?;
    }
    network.subnets = Arc::new(Mutex::new(found.subnets.iter().filter_map(in_zone).collect()));
    Ok(network)
}

fn in_zone(subnet: &Subnet) -> Option<(String, String)> {
    Some((subnet.availability_zone()?.to_owned(), subnet.subnet_id()?.to_owned()))
}

/// The subnets of a VPC that is not ours: the one named, or all.
pub async fn borrowed_subnets(client: &Client, settings: &Settings, vpc: &str, cx: &Cx) -> Result<Vec<Subnet>> {
    let request = client.ec2.describe_subnets().filters(tags::filter("vpc-id", [vpc]));
    let subnets = client.read("DescribeSubnets", cx, request.send()).await?.subnets.unwrap_or_default();
    let wanted = |s: &Subnet| settings.subnet.as_deref().is_none_or(|id| s.subnet_id() == Some(id));
    let found: Vec<Subnet> = subnets.into_iter().filter(wanted).collect();
    if found.is_empty() {
        let what = settings.subnet.as_deref().unwrap_or("subnet");
        return Err(Error::config(format!("there is no {what} in VPC {vpc} of region {}", client.region))
            .hint("Look at `vpc`, `subnet` and `region` in the config."));
    }
    Ok(found)
}

async fn ensure_vpc(client: &Client, site: &Site, settings: &Settings, found: &Found, cx: &Cx) -> Result<String> {
    if let Some(id) = found.vpc() {
        return Ok(id.to_owned());
    }
    let tags = tags::named(site, settings, &key_name(site));
    let find = || async {
        let vpcs = client.read("DescribeVpcs", cx, client.ec2.describe_vpcs().filters(tags::of(site)).send()).await?;
        Ok(vpcs.vpcs().iter().filter_map(|v| v.vpc_id()).min().map(str::to_owned))
    };
    let send = || {
        let tags = tags::specification(ResourceType::Vpc, &tags);
        let request = client.ec2.create_vpc().cidr_block(NETWORK).tag_specifications(tags);
        request.customize().config_override(no_retries()).send()
    };
    let id = |answer: &aws_sdk_ec2::operation::create_vpc::CreateVpcOutput| {
        answer.vpc().and_then(|v| v.vpc_id()).unwrap_or_default().to_owned()
    };
    let request = json!({ "cidr": NETWORK, "tags": tags });
    let id = client.once("CreateVpc", request, cx, find, id, send).await?;
    Ok(id)
}

async fn ensure_gateway(client: &Client, site: &Site, settings: &Settings, found: &Found, cx: &Cx) -> Result<String> {
    if let Some(id) = found.gateway() {
        return Ok(id.to_owned());
    }
    let tags = tags::named(site, settings, &key_name(site));
    let find = || async {
        let request = client.ec2.describe_internet_gateways().filters(tags::of(site));
        let gateways = client.read("DescribeInternetGateways", cx, request.send()).await?;
        Ok(gateways.internet_gateways().iter().filter_map(|g| g.internet_gateway_id()).min().map(str::to_owned))
    };
    let send = || {
        let tags = tags::specification(ResourceType::InternetGateway, &tags);
        client.ec2.create_internet_gateway().tag_specifications(tags).customize().config_override(no_retries()).send()
    };
    let id = |answer: &aws_sdk_ec2::operation::create_internet_gateway::CreateInternetGatewayOutput| {
        answer.internet_gateway().and_then(|g| g.internet_gateway_id()).unwrap_or_default().to_owned()
    };
    let id = client.once("CreateInternetGateway", json!({ "tags": tags }), cx, find, id, send).await?;
    Ok(id)
}

async fn attach(client: &Client, vpc: &str, gateway: &str, found: &Found, cx: &Cx) -> Result<()> {
    if found.is_attached(vpc, gateway) {
        return Ok(());
    }
    let send = || client.ec2.attach_internet_gateway().vpc_id(vpc).internet_gateway_id(gateway).send();
    let request = json!({ "vpc": vpc, "gateway": gateway });
    forgive(client.change("AttachInternetGateway", request, cx, |_| Vec::new(), send).await, &["Resource.AlreadyAssociated"])
}

/// The VPC's own route table sends what is not for the VPC to the gateway.
async fn route(client: &Client, site: &Site, settings: &Settings, vpc: &str, gateway: &str, cx: &Cx) -> Result<()> {
    let filters = [tags::filter("vpc-id", [vpc]), tags::filter("association.main", ["true"])];
    let request = client.ec2.describe_route_tables().set_filters(Some(filters.to_vec()));
    let tables = client.read("DescribeRouteTables", cx, request.send()).await?;
    let Some((table, id)) = tables.route_tables().first().and_then(|t| Some((t, t.route_table_id()?))) else {
        return Err(Error::new(Kind::Provider, format!("{vpc} has no route table")).hint("Run the same command again."));
    };
    // First: only what carries the UUID may be changed (see `policy`).
    let tags = tags::named(site, settings, &key_name(site));
    if tags.iter().any(|(k, v)| tags::map(table.tags()).get(k) != Some(v)) {
        tag(client, &[id.to_owned()], &tags, cx).await?;
    }
    if !leads_to(table, gateway) {
        let send = || client.ec2.create_route().route_table_id(id).destination_cidr_block("0.0.0.0/0").gateway_id(gateway).send();
        let request = json!({ "table": id, "to": "0.0.0.0/0", "gateway": gateway });
        let made = client.change("CreateRoute", request, cx, |_| Vec::new(), send).await;
        forgive(made, &["RouteAlreadyExists"])?;
    }
    Ok(())
}

/// Sets tags. Can be repeated.
pub async fn tag(client: &Client, ids: &[String], tags: &tags::Tags, cx: &Cx) -> Result<()> {
    let send = || {
        let request = client.ec2.create_tags().set_resources(Some(ids.to_vec()));
        request.set_tags(Some(tags::list(tags))).send()
    };
    client.change("CreateTags", json!({ "ids": ids, "tags": tags }), cx, |_| Vec::new(), send).await?;
    Ok(())
}

/// Keeps their host keys with these machines, by ID.
pub async fn keep_host_keys(client: &Client, keys: &[(String, String)], cx: &Cx) -> Result<()> {
    let tagged = keys.iter().map(|(id, key)| async move {
        let tags = tags::Tags::from([(tags::HOST_KEY.to_owned(), key.clone())]);
        tag(client, std::slice::from_ref(id), &tags, cx).await
    });
    futures::future::try_join_all(tagged).await.map(drop)
}

/// A subnet in this zone: the one there is, or a new one.
pub async fn subnet(client: &Client, site: &Site, settings: &Settings, network: &Network, zone: &str, cx: &Cx) -> Answer<String> {
    let mut subnets = network.subnets.lock().await;
    if let Some(id) = subnets.get(zone) {
        return Ok(id.clone());
    }
    if network.borrowed {
        let zones: Vec<&str> = subnets.keys().map(String::as_str).collect();
        let message = format!("VPC {} has no subnet in {zone}", network.vpc);
        return Err(Error::config(message).hint(format!("It has some in {}.", zones.join(", "))).into());
    }
    let tags = tags::named(site, settings, &format!("{}-{zone}", key_name(site)));
    let cidr = format!("10.0.{}.0/20", 16 * letter(zone));
    let find = || async {
        let filters = vec![tags::of(site), tags::filter("availability-zone", [zone])];
        let request = client.ec2.describe_subnets().set_filters(Some(filters));
        let subnets = client.read("DescribeSubnets", cx, request.send()).await?;
        Ok(subnets.subnets().iter().filter_map(|s| s.subnet_id()).min().map(str::to_owned))
    };
    let send = || {
        let request = client.ec2.create_subnet().vpc_id(&network.vpc).cidr_block(&cidr).availability_zone(zone);
        let request = request.tag_specifications(tags::specification(ResourceType::Subnet, &tags));
        request.customize().config_override(no_retries()).send()
    };
    let id = |answer: &aws_sdk_ec2::operation::create_subnet::CreateSubnetOutput| {
        answer.subnet().and_then(|s| s.subnet_id()).unwrap_or_default().to_owned()
    };
    let request = json!({ "vpc": network.vpc, "zone": zone, "cidr": cidr, "tags": tags });
    let id = client.once("CreateSubnet", request, cx, find, id, send).await?;
    subnets.insert(zone.to_owned(), id.clone());
    Ok(id)
}

/// `eu-central-1c` is 2.
fn letter(zone: &str) -> usize {
    zone.bytes().last().map_or(0, |b| usize::from(b.saturating_sub(b'a')) % 16)
}

/// Takes a refusal that says "it is so already" for success.
pub fn forgive<T>(answer: Answer<T>, codes: &[&str]) -> Result<()> {
    match answer {
        Err(Trouble::Refused(fault)) if codes.contains(&fault.code.as_str()) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}
