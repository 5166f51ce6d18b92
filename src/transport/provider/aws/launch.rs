//! Launching: one request for all nodes of a group that are missing, so that AWS makes all of them or none.
//!
//! The request is written down whole, with a token by which AWS knows it again: a command that finds it without an answer sends
//! the same once more, before it looks at anything else. Only user data is not in it, because it may hold secrets: that is kept
//! apart, for as long as the answer is not known (`bodies`).

use super::bodies::Bodies;
use super::client::{Answer, Client, Trouble, no_retries};
use super::machine::{Launched, Machine, Origin};
use super::network::{self, Network};
use super::tags::{self, Tags};
use super::user_data::Body;
use super::{Aws, fault::Fault};
use crate::base::checksum::sha256;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::transport::provider::Site;
use crate::transport::provider::calls::Reply;
use crate::transport::provider::host_key::HostKey;
use aws_sdk_ec2::operation::run_instances::RunInstancesOutput;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, IamInstanceProfileSpecification, InstanceInterruptionBehavior,
    InstanceMarketOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType, MarketType, ResourceType,
    ShutdownBehavior, SpotInstanceType, SpotMarketOptions, VolumeType,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use uuid::Uuid;

const CALL: &str = "RunInstances";
/// Changing calls at the same time, of those that are needed for each node.
const AT_ONCE: usize = 16;
/// AWS knows a token for at least this long; an older request is looked for by its tags instead.
const TOKEN_LIVES: Duration = Duration::from_secs(50 * 60);

/// A request for instances, with all that it takes to make it again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Launch {
    pub token: String,
    pub group: String,
    /// The nodes' indexes, in launch order.
    pub indexes: Vec<usize>,
    pub instance_type: String,
    pub ami: String,
    pub root_device: String,
    pub zone: String,
    pub subnet: String,
    pub security_group: String,
    pub key: String,
    pub public_address: bool,
    pub spot: bool,
    pub volume_type: Option<String>,
    pub volume_size: Option<i32>,
    pub volumes: Vec<super::settings::Volume>,
    /// The digest of the user data.
    pub user_data: Option<String>,
    #[serde(skip)]
    pub body: Option<Body>,
    /// It is gone once it turns itself off.
    #[serde(default)]
    pub ends_itself: bool,
    pub instance_profile: Option<String>,
    pub tags: Tags,
}

/// The token of a launch: the same only for the very same attempt.
fn token(site: &Site, group: &str, generation: Uuid, attempt: u32, zone: &str, kind: &str) -> String {
    sha256(format!("{}/{group}/{generation}/{attempt}/{zone}/{kind}", site.uuid))
}

impl Launch {
    fn request(&self, client: &Client) -> RunInstancesFluentBuilder {
        let count = i32::try_from(self.indexes.len()).unwrap_or(i32::MAX);
        let interface = InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .subnet_id(&self.subnet)
            .groups(&self.security_group)
            .associate_public_ip_address(self.public_address)
            .delete_on_termination(true);
        let mut request = client
            .ec2
            .run_instances()
            .client_token(&self.token)
            .min_count(count)
            .max_count(count)
            .image_id(&self.ami)
            .instance_type(InstanceType::from(self.instance_type.as_str()))
            .key_name(&self.key)
            .network_interfaces(interface.build())
            .set_block_device_mappings(Some(self.devices()).filter(|d| !d.is_empty()));
        for kind in [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface] {
            request = request.tag_specifications(tags::specification(kind, &self.tags));
        }
        if let Some(body) = &self.body {
            request = request.user_data(BASE64_STANDARD.encode(&body.0));
        }
        if self.ends_itself {
            request = request.instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate);
        }
        if let Some(name) = &self.instance_profile {
            request = request.iam_instance_profile(profile(name));
        }
        if self.spot {
            let once = SpotMarketOptions::builder()
                .spot_instance_type(SpotInstanceType::OneTime)
                .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate);
            let market = InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(once.build());
            request = request.instance_market_options(market.build());
        }
        request
    }

    fn devices(&self) -> Vec<BlockDeviceMapping> {
        let device = |name: &str, disk: EbsBlockDevice| BlockDeviceMapping::builder().device_name(name).ebs(disk).build();
        let disk = |kind: Option<&str>, size: Option<i32>| {
            EbsBlockDevice::builder()
                .set_volume_type(kind.map(VolumeType::from))
                .set_volume_size(size)
                .delete_on_termination(true)
                .build()
        };
        let root = (self.volume_type.is_some() || self.volume_size.is_some())
            .then(|| device(&self.root_device, disk(self.volume_type.as_deref(), self.volume_size)));
        root.into_iter().chain(self.volumes.iter().map(|v| device(&v.device, disk(Some(&v.kind), Some(v.size))))).collect()
    }

    /// Sends it. Returns the IDs of the instances, in launch order.
    async fn send(&self, client: &Client, site: &Site, cx: &Cx) -> Answer<Vec<String>> {
        let request = serde_json::to_value(self).unwrap_or_default();
        let bodies = Bodies::of(site);
        if let Some(body) = &self.body {
            bodies.keep(&self.token, body)?;
        }
        let sent =
            client.change(CALL, request, cx, ids, || self.request(client).customize().config_override(no_retries()).send()).await;
        // Without an answer the same must be asked again.
        if sent.as_ref().map_or_else(|trouble| trouble.is(|f| !f.unsure), |_| true) {
            bodies.forget(&self.token)?;
        }
        Ok(ids(&sent?))
    }
}

/// An instance profile by its name or ARN.
pub fn profile(name: &str) -> IamInstanceProfileSpecification {
    let profile = IamInstanceProfileSpecification::builder();
    if name.starts_with("arn:") { profile.arn(name).build() } else { profile.name(name).build() }
}

fn ids(answer: &RunInstancesOutput) -> Vec<String> {
    let mut instances: Vec<_> = answer.instances().iter().collect();
    instances.sort_by_key(|i| i.ami_launch_index());
    instances.iter().filter_map(|i| i.instance_id()).map(str::to_owned).collect()
}

/// The launches of which the answer is not known.
pub fn open(client: &Client) -> Result<Vec<Launch>> {
    Ok(client.open(CALL)?.into_iter().filter_map(|call| serde_json::from_value(call.request).ok()).collect())
}

/// Which nodes the instances are that were launched so far.
pub fn launched(client: &Client) -> Result<Launched> {
    let mut nodes = Launched::new();
    for call in client.all(CALL)? {
        let (Some(Reply::Made(ids)), Some(at)) = (call.reply, call.replied) else { continue };
        let Ok(launch) = serde_json::from_value::<Launch>(call.request) else { continue };
        for (id, index) in ids.into_iter().zip(launch.indexes) {
            nodes.insert(id, Origin { group: launch.group.clone(), index, tags: launch.tags.clone(), at });
        }
    }
    Ok(nodes)
}

/// Sends every request again of which the answer is not known.
pub async fn replay(aws: &Aws, client: &Client, site: &Site, cx: &Cx) -> Result<()> {
    let bodies = Bodies::of(site);
    for open in client.open(CALL)? {
        let Ok(mut launch) = serde_json::from_value::<Launch>(open.request.clone()) else {
            client.end(open.id, Reply::Refused("the request cannot be read".to_owned()))?;
            continue;
        };
        launch.body = bodies.read(&launch.token)?;
        let whole = launch.body.as_ref().map(Body::digest) == launch.user_data;
        let age = Duration::try_from(Timestamp::now().duration_since(open.at)).unwrap_or_default();
        if !whole && age < aws.settings.access.settle {
            // Somebody removed a file of ours: what came of the launch must come to light by itself.
            super::client::pause(aws.settings.access.settle.saturating_sub(age), cx).await?;
        }
        if !whole || age > TOKEN_LIVES.max(aws.settings.access.settle) {
            let machines = client.machines(site, cx).await?;
            let made = machines.iter().filter(|m| m.tags.get(tags::LAUNCH) == Some(&launch.token)).map(|m| m.id.clone());
            client.end(open.id, Reply::Made(made.collect()))?;
            continue;
        }
        cx.events.debug(format!("asking again for {} of group {}, as written down", launch.indexes.len(), launch.group));
        let again = client
            .finish(open.id, CALL, cx, ids, || launch.request(client).customize().config_override(no_retries()).send())
            .await;
        match again {
            // Refused for good: none were made, and the rest of the work starts from what there is.
            Err(Trouble::Refused(fault)) if !fault.unsure => {}
            Err(trouble) => return Err(trouble.into()),
            Ok(_) => {}
        }
    }
    bodies.keep_only(&[])
}

/// Why one attempt came to nothing.
enum Miss {
    Capacity(String),
    Quota(String),
    Fatal(Error),
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

impl From<Trouble> for Miss {
    fn from(trouble: Trouble) -> Self {
        let words = |f: &Fault| format!("{} ({})", f.message.trim_end_matches('.'), f.code);
        match &trouble {
            Trouble::Refused(fault) if fault.is_capacity() => Self::Capacity(words(fault)),
            Trouble::Refused(fault) if fault.is_quota() => Self::Quota(words(fault)),
            _ => Self::Fatal(trouble.into()),
        }
    }
}

/// What a group's launch needs to know.
pub struct Order<'a> {
    pub aws: &'a Aws,
    pub client: &'a Client,
    pub site: &'a Site,
    pub network: &'a Network,
    pub group: &'a str,
    pub indexes: Vec<usize>,
    pub generation: Uuid,
    /// What its machines are first known by.
    pub first_key: Option<HostKey>,
}

impl Order<'_> {
    /// Launches all the nodes: in the first zone that has room, of the first type that there is.
    pub async fn launch(&self, cx: &Cx) -> Result<()> {
        let group = self.aws.settings.group(self.group);
        let (start, mut attempt, mut wait) = (Instant::now(), 0, Duration::from_secs(1));
        loop {
            let mut misses: Vec<String> = Vec::new();
            let mut exhausted: BTreeSet<&str> = BTreeSet::new();
            let mut room = false;
            for kind in &group.types {
                if exhausted.contains(quota_class(kind)) {
                    continue;
                }
                for zone in self.aws.zones(self.client, kind, self.network, cx).await? {
                    attempt += 1;
                    match self.attempt(kind, &zone, attempt, cx).await {
                        Ok(()) => return Ok(()),
                        Err(Miss::Fatal(error)) => return Err(error.context(format!("launching group {}", self.group))),
                        Err(Miss::Capacity(why)) => {
                            room = true;
                            cx.events.info(format!("no room for {} in {zone}: {why}", self.what(kind)));
                            misses.push(format!("{kind} in {zone}: {why}"));
                        }
                        Err(Miss::Quota(why)) => {
                            cx.events.info(format!("the account may not have {}: {why}", self.what(kind)));
                            misses.push(format!("{kind}: {why}"));
                            exhausted.insert(quota_class(kind));
                            break;
                        }
                    }
                }
            }
            let waited = start.elapsed();
            if group.spot && room && waited < self.aws.settings.spot_timeout {
                let left = self.aws.settings.spot_timeout.saturating_sub(waited);
                cx.events.info(format!(
                    "no spot capacity for {}: trying again for {} s",
                    self.what(&group.types[0]),
                    left.as_secs()
                ));
                super::client::pause(wait.min(left), cx).await?;
                wait = (wait * 2).min(Duration::from_secs(60));
                continue;
            }
            return Err(self.refused(&misses, room));
        }
    }

    fn what(&self, kind: &str) -> String {
        format!("{} {kind}", self.indexes.len())
    }

    /// `room`: at least one attempt failed for want of room, not of quota.
    fn refused(&self, misses: &[String], room: bool) -> Error {
        let many = self.indexes.len();
        let nodes = format!("{many} node{} of group {}", if many == 1 { "" } else { "s" }, self.group);
        let (message, advice) = if room {
            let advice = "Name other zones (`fallback_zones`) or further types (`instance_type: [a, b]`), or try again later.";
            (format!("AWS has no room for {nodes}"), advice)
        } else {
            let advice = "Ask for more in Service Quotas, or add a type of another quota (`instance_type: [a, b]`).";
            (format!("the account's quota in {} does not allow {nodes}", self.client.region), advice)
        };
        let error = Error::new(Kind::Provider, message);
        misses.iter().fold(error, |e, miss| e.hint(format!("Tried: {miss}."))).hint(advice)
    }

    async fn attempt(&self, kind: &str, zone: &str, attempt: u32, cx: &Cx) -> std::result::Result<(), Miss> {
        let (aws, client, site) = (self.aws, self.client, self.site);
        let settings = aws.settings.group(self.group);
        let subnet = network::subnet(client, site, &aws.settings, self.network, zone, cx).await?;
        let token = token(site, self.group, self.generation, attempt, zone, kind);
        let ami = aws.ami(self.group);
        let body = aws.body(self.group, self.first_key.as_ref())?;
        let body = (settings.user_data.is_some() || !body.0.is_empty()).then_some(body);
        let mut tags = aws.group_tags(site, self.group);
        tags.insert(tags::LAUNCH.to_owned(), token.clone());
        // A tag holds 256 letters: the rest of a long list is in the journal.
        let nodes = tags::ranges(&self.indexes);
        if nodes.len() <= 256 {
            tags.insert(tags::NODES.to_owned(), nodes);
        }
        if let Some(key) = &self.first_key {
            tags.insert(tags::FIRST_KEY.to_owned(), key.public.clone());
        }
        let image = aws.image(client, &ami, cx).await?;
        let launch = Launch {
            token,
            group: self.group.to_owned(),
            indexes: self.indexes.clone(),
            instance_type: kind.to_owned(),
            root_device: image.root_device,
            ami,
            zone: zone.to_owned(),
            subnet,
            security_group: self.network.groups.get(self.group).cloned().unwrap_or_default(),
            key: self.network.key.clone(),
            public_address: !aws.settings.private_addresses,
            spot: settings.spot,
            volume_type: settings.volume_type,
            // A size is what makes us speak of the root volume, and say that it goes with its machine.
            volume_size: settings.volume_size.or(image.kept_root),
            volumes: settings.volumes,
            user_data: body.as_ref().map(Body::digest),
            body,
            ends_itself: settings.ends_itself,
            instance_profile: settings.instance_profile,
            tags,
        };
        let ids = launch.send(client, site, cx).await?;
        name_all(client, &ids, &launch, cx).await?;
        let machines = client.wait_until(&ids, "running", aws.settings.launch_timeout, cx, Machine::is_up).await?;
        let Some(ended) = machines.iter().find(|m| m.is_over()) else { return Ok(()) };
        let why = ended.reason.clone().unwrap_or_else(|| "it ended at once, without a reason".to_owned());
        // Never part of a group: what did start goes as well.
        let rest: Vec<String> = machines.iter().filter(|m| !m.is_over()).map(|m| m.id.clone()).collect();
        terminate(client, &rest, cx).await?;
        if why.contains("VolumeLimitExceeded") || why.contains("Client.") {
            let error = Error::new(Kind::Provider, format!("AWS ended {} while it was starting: {why}", ended.name()));
            return Err(Miss::Fatal(error));
        }
        Err(Miss::Capacity(why))
    }
}

/// Gives the instances of a launch their names, in launch order. Can be repeated.
async fn name_all(client: &Client, ids: &[String], launch: &Launch, cx: &Cx) -> Result<()> {
    let nodes = ids.iter().zip(&launch.indexes);
    at_once(nodes.map(|(id, index)| Aws::name(client, id, &[], &launch.group, *index, cx)).collect()).await
}

/// Does what takes a call for each node: several at the same time, as many as AWS takes without being busy.
pub async fn at_once(calls: Vec<impl Future<Output = Result<()>>>) -> Result<()> {
    use futures::stream::{StreamExt, TryStreamExt};
    futures::stream::iter(calls).buffer_unordered(AT_ONCE).try_collect().await
}

/// Ends the instances.
pub async fn terminate(client: &Client, ids: &[String], cx: &Cx) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let send = || client.ec2.terminate_instances().set_instance_ids(Some(ids.to_vec())).send();
    let gone = |_: &_| ids.to_vec();
    match client.change("TerminateInstances", serde_json::json!({ "ids": ids }), cx, gone, send).await {
        // One that is gone already keeps the others from being ended: each by itself.
        Err(trouble) if trouble.is(Fault::is_absent) && ids.len() > 1 => {
            for id in ids {
                Box::pin(terminate(client, std::slice::from_ref(id), cx)).await?;
            }
            Ok(())
        }
        Err(trouble) if trouble.is(Fault::is_absent) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// Types that share a quota: it is counted by family, over the whole region.
fn quota_class(kind: &str) -> &str {
    let family = kind.split('.').next().unwrap_or(kind);
    let letters = family.trim_start_matches("u-").len() != family.len();
    let prefix = family.find(|c: char| c.is_ascii_digit()).map_or(family, |end| &family[..end]);
    match prefix {
        _ if letters => "high memory",
        "a" | "c" | "d" | "h" | "i" | "im" | "is" | "m" | "r" | "t" | "z" => "standard",
        "g" | "gr" | "vt" => "g",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_shared_by_families() {
        assert_eq!(quota_class("i4i.2xlarge"), quota_class("c7i.large"));
        assert_eq!(quota_class("im4gn.large"), "standard");
        assert_ne!(quota_class("p4d.24xlarge"), quota_class("m5.large"));
        assert_eq!(quota_class("g5.xlarge"), quota_class("vt1.3xlarge"));
        assert_eq!(quota_class("u-6tb1.metal"), "high memory");
    }
}
