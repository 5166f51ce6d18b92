//! All deployments that have something in a region, told by tags alone: for cleaning up, and for who lost a deployment's folder.

use super::Aws;
use super::client::Client;
use super::tags::{self, Tags};
use super::{network, remove};
use crate::base::error::{Error, Result};
use crate::base::event::Cx;
use crate::transport::provider::Site;
use aws_sdk_ec2::types::InstanceStateName;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use uuid::Uuid;

/// What one deployment has in the region.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    pub uuid: Uuid,
    pub name: String,
    pub owner: Option<String>,
    /// Why clean-ups spare it. Any one thing that says so speaks for all.
    pub keep: Option<String>,
    /// The latest that anything of it says.
    pub expires_at: Option<Timestamp>,
    pub created: Option<Timestamp>,
    /// `host:/path` of its folder, as it was made or adopted.
    pub home: Option<String>,
    /// When the last machine was started, or the name claimed.
    pub touched: Option<Timestamp>,
    /// IDs by kind: `instance`, `key pair`, `VPC`, … Machines that have ended are not there.
    pub resources: BTreeMap<String, Vec<String>>,
    /// The key that its machines accept.
    pub public_key: Option<String>,
}

impl Holding {
    fn new(uuid: Uuid) -> Self {
        Self {
            uuid,
            name: String::new(),
            owner: None,
            keep: None,
            expires_at: None,
            created: None,
            home: None,
            touched: None,
            resources: BTreeMap::new(),
            public_key: None,
        }
    }

    /// How many machines it has.
    pub fn machines(&self) -> usize {
        self.resources.get("instance").map_or(0, Vec::len)
    }

    fn take(&mut self, kind: &str, id: &str, tags: &Tags) {
        self.resources.entry(kind.to_owned()).or_default().push(id.to_owned());
        let text = |key: &str| tags.get(key).filter(|t| !t.is_empty()).cloned();
        let time = |key: &str| tags.get(key).and_then(|t| t.parse::<Timestamp>().ok());
        if let Some(name) = text("Deployment") {
            self.name = name;
        }
        self.owner = self.owner.take().or_else(|| text("Owner"));
        self.keep = self.keep.take().or_else(|| text("keep").filter(|k| tags::keeps(k)));
        // The key pair speaks for all: who adopts writes it there.
        if kind == "key pair" || self.home.is_none() {
            self.home = text(tags::HOME).or(self.home.take());
        }
        self.expires_at = self.expires_at.max(time("expires-at"));
        self.created = match (self.created, time(tags::CREATED)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

/// When each machine was started, and when each key pair was made.
struct Ages {
    machines: BTreeMap<String, Timestamp>,
    keys: BTreeMap<String, (Option<Timestamp>, Option<String>)>,
}

impl Aws {
    /// Every deployment with something in the region. Reads only.
    pub async fn holdings(&self, cx: &Cx) -> Result<Vec<Holding>> {
        let client = self.client().await?;
        client.account(cx).await?;
        let (marked, ages) = tokio::try_join!(marked(client, cx), ages(client, cx))?;
        let mut found: BTreeMap<Uuid, Holding> = BTreeMap::new();
        for (id, (kind, tags)) in &marked {
            let Some(uuid) = tags.get(tags::UUID).and_then(|t| t.parse().ok()) else { continue };
            // Machines that have ended keep their tags for an hour.
            if kind == "instance" && !ages.machines.contains_key(id) {
                continue;
            }
            let holding = found.entry(uuid).or_insert_with(|| Holding::new(uuid));
            holding.take(kind, id, tags);
            holding.touched = holding.touched.max(ages.machines.get(id).copied());
            if let Some((made, key)) = ages.keys.get(id) {
                holding.touched = holding.touched.max(*made);
                holding.public_key.clone_from(key);
            }
        }
        let mut found: Vec<Holding> = found.into_values().collect();
        // Tags may outlive what carried them.
        let gone = found.iter().filter(|h| h.machines() == 0).map(|h| async {
            let site = Site {
                deployment: h.name.clone(),
                uuid: h.uuid,
                dir: PathBuf::new(),
                private_key: PathBuf::new(),
                public_key: PathBuf::new(),
            };
            Ok::<_, Error>((h.uuid, !remove::is_left(client, &site, cx).await?))
        });
        let gone: Vec<(Uuid, bool)> = futures::future::try_join_all(gone).await?;
        found.retain(|h| !gone.contains(&(h.uuid, true)));
        found.sort_by(|a, b| (&a.name, a.uuid).cmp(&(&b.name, b.uuid)));
        Ok(found)
    }

    /// Says in the cloud, too, that the deployment's folder is here.
    pub async fn take_home(&self, site: &Site, cx: &Cx) -> Result<()> {
        let client = self.client().await?;
        let Some(key) = network::look(client, site, cx).await?.key.and_then(|k| k.key_pair_id) else { return Ok(()) };
        let tags = Tags::from([(tags::HOME.to_owned(), tags::home(&site.dir))]);
        network::tag(client, &[key], &tags, cx).await
    }

    /// The region that is looked at.
    pub async fn region(&self) -> Result<String> {
        Ok(self.client().await?.region.clone())
    }

    /// Writes down here where the deployment lives.
    pub async fn settle_in(&self, cx: &Cx) -> Result<()> {
        let client = self.client().await?;
        let account = client.account(cx).await?;
        client.settle_in(&account)
    }
}

/// Everything that carries a UUID of ours: kind and tags, by ID.
async fn marked(client: &Client, cx: &Cx) -> Result<BTreeMap<String, (String, Tags)>> {
    let keys = [tags::UUID, tags::CREATED, tags::HOME, "Deployment", "Owner", "keep", "expires-at"];
    let mut found = described(client, &[tags::filter("key", keys)], cx).await?;
    found.retain(|_, (_, tags)| tags.contains_key(tags::UUID));
    Ok(found)
}

/// What DescribeTags says: kind and tags, by ID.
pub async fn described(
    client: &Client,
    filters: &[aws_sdk_ec2::types::Filter],
    cx: &Cx,
) -> Result<BTreeMap<String, (String, Tags)>> {
    let (mut found, mut next): (BTreeMap<String, (String, Tags)>, _) = (BTreeMap::new(), None);
    loop {
        let request = client.ec2.describe_tags().set_filters(Some(filters.to_vec())).set_next_token(next);
        let page = client.read("DescribeTags", cx, request.send()).await?;
        for tag in page.tags() {
            let (Some(id), Some(key)) = (tag.resource_id(), tag.key()) else { continue };
            let kind = tag.resource_type().map(|k| kind_name(k.as_str())).unwrap_or_default();
            let entry = found.entry(id.to_owned()).or_insert_with(|| (kind, Tags::new()));
            entry.1.insert(key.to_owned(), tag.value().unwrap_or_default().to_owned());
        }
        next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// `key-pair` as people write it.
fn kind_name(kind: &str) -> String {
    if kind == "vpc" { "VPC".to_owned() } else { kind.replace('-', " ") }
}

async fn ages(client: &Client, cx: &Cx) -> Result<Ages> {
    let ours = || tags::filter("tag-key", [tags::UUID]);
    let time = |t: Option<&aws_sdk_ec2::primitives::DateTime>| t.and_then(|t| Timestamp::from_second(t.secs()).ok());
    let mut machines = BTreeMap::new();
    let mut next = None;
    loop {
        let request = client.ec2.describe_instances().filters(ours()).set_next_token(next);
        let page = client.read("DescribeInstances", cx, request.send()).await?;
        for instance in page.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances) {
            let state = instance.state().and_then(|s| s.name());
            if matches!(state, Some(InstanceStateName::Terminated | InstanceStateName::ShuttingDown)) {
                continue;
            }
            let Some(id) = instance.instance_id() else { continue };
            machines.insert(id.to_owned(), time(instance.launch_time()).unwrap_or(Timestamp::UNIX_EPOCH));
        }
        next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    let request = client.ec2.describe_key_pairs().filters(ours()).include_public_key(true);
    let pairs = client.read("DescribeKeyPairs", cx, request.send()).await?;
    let key = |k: &aws_sdk_ec2::types::KeyPairInfo| {
        Some((k.key_pair_id()?.to_owned(), (time(k.create_time()), k.public_key().map(|text| text.trim().to_owned()))))
    };
    Ok(Ages { machines, keys: pairs.key_pairs().iter().filter_map(key).collect() })
}
