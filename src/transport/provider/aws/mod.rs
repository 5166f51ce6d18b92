//! Nodes on EC2.
//!
//! The cloud is the source of truth: everything carries the deployment's UUID as a tag, and is found, changed and deleted by it.
//! A call that changes something is written down before it is made (`client`), so that whatever kills us, the next command knows
//! what may exist. Nothing is made twice: launches carry a token (`launch`); what AWS knows no token for is looked for by its tags
//! until it must have come to light (`Client::once`).

pub mod baked;
mod bodies;
mod census;
mod client;
mod console;
mod ending;
mod fault;
mod firewall;
pub mod fleet;
pub mod health;
pub mod images;
mod launch;
mod machine;
mod network;
pub mod policy;
mod preflight;
mod remove;
pub mod settings;
pub mod stack;
mod survey;
pub mod tagged;
mod tags;
mod update;
pub mod user_data;
mod users;

use super::calls::Calls;
use super::host_key::HostKey;
use super::{Difference, Fixture, NewImage, NodeFound, NodeSpec, Provider, Resolved, Site, Survey};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use async_trait::async_trait;
pub use census::Holding;
pub use client::{Answer, Client};
pub use ending::timer;
pub use fault::denied_action;
use launch::Order;
use machine::Machine;
use network::Network;
use settings::{HostKeys, Settings};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use tags::Tags;
pub use tags::{AT_EXPIRY, folder_here};
use tokio::sync::{Mutex, OnceCell};
use user_data::{Body, Part};
use uuid::Uuid;

/// Whom to log in as where the config does not say: the user of Amazon's own images.
const USER: &str = "ec2-user";

/// The provider `aws`.
pub struct Aws {
    settings: Settings,
    calls: Arc<dyn Calls>,
    client: OnceCell<Client>,
    images: Mutex<HashMap<String, Image>>,
    /// IDs of images by what the config says instead of them.
    chosen: std::sync::Mutex<BTreeMap<String, String>>,
    /// Zones by instance type.
    offers: Mutex<HashMap<String, Vec<String>>>,
    allow_from: OnceCell<Vec<String>>,
    /// What the last survey saw, for the changes that follow it.
    looked: Mutex<Option<network::Found>>,
    /// Groups and counts that were found to be possible.
    checked: Mutex<Option<BTreeMap<String, usize>>>,
}

/// A machine image.
#[derive(Clone, Debug)]
pub struct Image {
    pub architecture: String,
    pub root_device: String,
    /// The size in GiB of its root volume, where the image wants that to outlive the machine.
    pub kept_root: Option<i32>,
}

impl Aws {
    /// `pinned`: what the config's words for images meant before.
    pub fn new(settings: Settings, calls: Arc<dyn Calls>, pinned: BTreeMap<String, String>) -> Self {
        Self {
            settings,
            calls,
            client: OnceCell::new(),
            images: Mutex::default(),
            chosen: std::sync::Mutex::new(pinned),
            offers: Mutex::default(),
            allow_from: OnceCell::new(),
            looked: Mutex::default(),
            checked: Mutex::default(),
        }
    }

    async fn client(&self) -> Result<&Client> {
        self.client.get_or_try_init(|| Client::connect(&self.settings.access, self.calls.clone())).await
    }

    /// What an instance of the group is given by the request that makes it.
    fn group_tags(&self, site: &Site, group: &str) -> Tags {
        let settings = self.settings.group(group);
        let mut tags = tags::shared(site, &self.settings);
        tags.insert("Group".to_owned(), group.to_owned());
        tags.insert(tags::USER.to_owned(), settings.user.unwrap_or_else(|| USER.to_owned()));
        if settings.ends_itself {
            tags.insert(AT_EXPIRY.to_owned(), tags::TERMINATE.to_owned());
        }
        if let Some(data) = &settings.user_data {
            tags.insert(tags::USER_DATA.to_owned(), data.digest());
        }
        if let Some(profile) = &settings.instance_profile {
            tags.insert(tags::PROFILE.to_owned(), profile.clone());
        }
        let volumes = update::volumes(&self.settings.group(group));
        if !volumes.is_empty() {
            tags.insert(tags::VOLUMES.to_owned(), volumes);
        }
        tags
    }

    /// The ID of the image that the group's machines are to have; empty while nobody has found out.
    fn ami(&self, group: &str) -> String {
        let choice = self.settings.group(group).ami;
        let chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        choice.id().map(str::to_owned).or_else(|| chosen.get(&choice.to_string()).cloned()).unwrap_or_default()
    }

    /// What new machines are given to begin with: the user's own, and what opsrun needs there.
    fn body(&self, group: &str, first: Option<&HostKey>) -> Result<Body> {
        let own = self.settings.group(group).user_data.unwrap_or_default();
        let mut parts = Vec::new();
        if let Some(key) = first {
            if own.sets("ssh_keys") {
                return Err(Error::config(format!(
                    "the user data of group {group} gives its machines host keys itself (ssh_keys)"
                ))
                .hint(
                    "Say how they are to be known then: `known_hosts: FILE` with those keys, or `host_keys: console` or `pin`.",
                ));
            }
            parts.push(first_key_part(key));
        }
        if let Some(at) = self.settings.expires_at.filter(|_| self.settings.group(group).ends_itself) {
            parts.push(Part { name: "opsrun-expire.sh", kind: "text/x-shellscript", text: timer(at) });
        }
        own.with(&parts, group)
    }

    /// A host key for the first contact with the machines of one launch, where that is how they are met.
    fn first_key(&self, site: &Site) -> Result<Option<HostKey>> {
        let wanted = self.settings.host_keys == HostKeys::Bootstrap;
        wanted.then(|| HostKey::make(&format!("opsrun-{}", site.deployment))).transpose()
    }

    /// The tags of a machine that are not as they should be: what to set them to. Its name apart, which is written last.
    fn stale_tags(&self, site: &Site, machine: &Machine) -> Tags {
        let mut tags = self.group_tags(site, &machine.group);
        // Its timer is set by a call of its own.
        tags.retain(|key, _| !tags::OF_LAUNCH.contains(&key.as_str()) && key != AT_EXPIRY);
        tags::stale(&machine.tags, &tags)
    }

    /// What only one node carries.
    fn own_tags(group: &str, index: usize) -> Tags {
        [("Name", format!("{group}-{index}")), ("Index", index.to_string())].map(|(k, v)| (k.to_owned(), v)).into()
    }

    async fn name(client: &Client, id: &str, volumes: &[String], group: &str, index: usize, cx: &Cx) -> Result<()> {
        let ids: Vec<String> = std::iter::once(id.to_owned()).chain(volumes.iter().cloned()).collect();
        network::tag(client, &ids, &Self::own_tags(group, index), cx).await
    }

    /// Looks the image up, once.
    async fn image(&self, client: &Client, ami: &str, cx: &Cx) -> Result<Image> {
        let mut images = self.images.lock().await;
        if let Some(image) = images.get(ami) {
            return Ok(image.clone());
        }
        let none = |why: &str| {
            Error::config(format!("there is no image {ami} in {}{why}", client.region))
                .hint("Images have another ID in each region, and those of other accounts must be shared with yours.")
        };
        let request = client.ec2.describe_images().image_ids(ami);
        let found = match client.read("DescribeImages", cx, request.send()).await {
            Err(t) if t.is(|f| f.code.starts_with("InvalidAMIID")) => return Err(none("")),
            other => other?,
        };
        let image = found.images().first().ok_or_else(|| none(" that these credentials may use"))?;
        let root = image.block_device_mappings().iter().find(|m| m.device_name() == image.root_device_name());
        let kept = root.and_then(|m| m.ebs()).filter(|disk| disk.delete_on_termination() == Some(false));
        let image = Image {
            kept_root: kept.and_then(aws_sdk_ec2::types::EbsBlockDevice::volume_size),
            architecture: image.architecture().map(|a| a.as_str().to_owned()).unwrap_or_default(),
            root_device: image.root_device_name().unwrap_or("/dev/sda1").to_owned(),
        };
        images.insert(ami.to_owned(), image.clone());
        Ok(image)
    }

    /// The zones to launch this type in, best first.
    async fn zones(&self, client: &Client, kind: &str, network: &Network, cx: &Cx) -> Result<Vec<String>> {
        let used: Vec<String> = network.subnets.lock().await.keys().cloned().collect();
        if !self.settings.zones.is_empty() {
            return Ok(self.settings.zones.clone());
        }
        let mut zones = self.offered(client, kind, cx).await?;
        if network.borrowed {
            zones.retain(|z| used.contains(z));
        }
        // The deployment stays in one zone while there is room.
        zones.sort_by_key(|z| (!used.contains(z), z.clone()));
        if zones.is_empty() {
            return Err(Error::config(format!("AWS offers no {kind} in {}", client.region))
                .hint("Look for a misspelt `instance_type`, or choose another `region`."));
        }
        Ok(zones)
    }

    /// The zones in which a type can be had.
    async fn offered(&self, client: &Client, kind: &str, cx: &Cx) -> Result<Vec<String>> {
        self.learn_offers(client, &BTreeSet::from([kind.to_owned()]), cx).await?;
        Ok(self.offers.lock().await.get(kind).cloned().unwrap_or_default())
    }

    /// Looks up, once, in which zones these types can be had.
    async fn learn_offers(&self, client: &Client, kinds: &BTreeSet<String>, cx: &Cx) -> Result<()> {
        let mut offers = self.offers.lock().await;
        let unknown: Vec<&String> = kinds.iter().filter(|kind| !offers.contains_key(*kind)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let request = client.ec2.describe_instance_type_offerings();
        let request = request.location_type(aws_sdk_ec2::types::LocationType::AvailabilityZone);
        let request = request.filters(tags::filter("instance-type", unknown.iter().copied()));
        let found = client.read("DescribeInstanceTypeOfferings", cx, request.send()).await?;
        for kind in unknown {
            let offered = found.instance_type_offerings().iter();
            // Some emulators answer with all types, whatever is asked for.
            let offered = offered.filter(|o| o.instance_type().is_some_and(|t| t.as_str() == kind));
            let mut zones: Vec<String> = offered.filter_map(|o| o.location().map(str::to_owned)).collect();
            zones.sort();
            offers.insert(kind.clone(), zones);
        }
        Ok(())
    }

    /// The networks that may connect from outside.
    async fn allow_from(&self, cx: &Cx) -> Result<Vec<String>> {
        if !self.settings.allow_from.is_empty() {
            return Ok(self.settings.allow_from.clone());
        }
        self.allow_from.get_or_try_init(|| survey::own_address(cx)).await.cloned()
    }

    /// Brings everything but the machines up to what is wanted, and finishes what a command that was killed had begun.
    async fn prepare(&self, client: &Client, site: &Site, cx: &Cx) -> Result<Network> {
        let account = client.account(cx).await?;
        client.settle_in(&account)?;
        let found = match self.looked.lock().await.take() {
            Some(found) => found,
            None => network::look(client, site, cx).await?,
        };
        network::claim(client, site, &self.settings, &found, cx).await?;
        launch::replay(self, client, site, cx).await?;
        let mut network = network::ensure(client, site, &self.settings, &found, cx).await?;
        let allow_from = self.allow_from(cx).await?;
        network.groups = firewall::ensure(client, site, &self.settings, &network, &found, &allow_from, cx).await?;
        update::tidy(self, client, site, &found, cx).await?;
        Ok(network)
    }
}

/// Tells cloud-init to give the machine this host key, in place of making its own.
fn first_key_part(key: &HostKey) -> Part {
    let private: String = key.private.lines().map(|l| format!("    {l}\n")).collect();
    let text = format!(
        "#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n{private}  ed25519_public: {}\n",
        key.public
    );
    Part { name: "opsrun-first-host-key", kind: "text/cloud-config", text }
}

#[async_trait]
impl Provider for Aws {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn check(&self, specs: &[NodeSpec]) -> Result<()> {
        let groups: BTreeSet<&str> = specs.iter().map(|s| s.group.as_str()).collect();
        // As large as the one that will be made.
        let key = (self.settings.host_keys == HostKeys::Bootstrap).then(|| HostKey::make("opsrun")).transpose()?;
        groups.into_iter().try_for_each(|group| self.body(group, key.as_ref()).map(drop))
    }

    async fn resolve(&self, pinned: &BTreeMap<String, String>, refresh: bool, cx: &Cx) -> Result<Resolved> {
        if self.settings.groups.values().all(|g| g.ami.id().is_some()) {
            return Ok(Resolved::default());
        }
        let client = self.client().await?;
        client.account(cx).await?;
        let resolved = images::resolve(self, client, pinned, refresh, cx).await?;
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&resolved.pins);
        Ok(resolved)
    }

    async fn survey(&self, site: &Site, specs: &[NodeSpec], cx: &Cx) -> Result<Survey> {
        survey::survey(self, self.client().await?, site, specs, cx).await
    }

    fn difference(&self, found: &NodeFound, wanted: &NodeSpec) -> Option<Difference> {
        update::difference(&self.settings, &self.ami(&wanted.group), found, wanted)
    }

    async fn list(&self, site: &Site, cx: &Cx) -> Result<Vec<NodeFound>> {
        let client = self.client().await?;
        client.account(cx).await?;
        let machines = client.machines(site, cx).await?;
        let known = machines.iter().filter(|m| m.is_known());
        let mut nodes: Vec<NodeFound> = known.map(|m| m.found(self, site)).collect();
        // Two of one name are the trace of a crash; the second is removed by the next provision.
        nodes.dedup_by(|b, a| a.spec.name == b.spec.name);
        Ok(nodes)
    }

    async fn create(&self, site: &Site, specs: &[NodeSpec], cx: &Cx) -> Result<Vec<NodeFound>> {
        let client = self.client().await?;
        let network = self.prepare(client, site, cx).await?;
        let machines = client.machines(site, cx).await?;
        update::start(self, client, &machines, specs, cx).await?;
        update::update(self, client, site, &machines, specs, cx).await?;
        let mut missing: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for spec in specs.iter().filter(|s| machines.iter().all(|m| m.name() != s.name)) {
            missing.entry(&spec.group).or_default().push(spec.index);
        }
        let generation = Uuid::new_v4();
        let launches = missing.into_iter().map(|(group, mut indexes)| {
            indexes.sort_unstable();
            let network = &network;
            async move {
                let first_key = self.first_key(site)?;
                let order = Order { aws: self, client, site, network, group, indexes, generation, first_key };
                order.launch(cx).await.map_err(|e| e.on_node(group))
            }
        });
        // Each group goes to its end, whatever becomes of the others: a launch that is cut off would have to be cleaned up.
        let launched = futures::future::join_all(launches).await;
        cx.cancel.check()?;
        let machines = client.machines(site, cx).await?;
        let tidied = update::unused_subnets(self, client, site, &machines, cx).await;
        let mut failed: Vec<Error> = launched.into_iter().filter_map(Result::err).collect();
        match failed.len() {
            0 => tidied?,
            1 => return Err(failed.remove(0)),
            many => {
                return Err(Error::new(Kind::Provider, format!("{many} groups could not be launched")).with_failed(failed));
            }
        }
        let machines = update::stop_wanted(self, client, site, specs, machines, cx).await?;
        let node = |spec: &NodeSpec| machines.iter().find(|m| m.name() == spec.name).map(|m: &Machine| m.found(self, site));
        let gone = |spec: &NodeSpec| Error::new(Kind::Provider, "it was made, and AWS no longer knows it").on_node(&spec.name);
        specs.iter().map(|spec| node(spec).ok_or_else(|| gone(spec))).collect()
    }

    async fn console_keys(&self, site: &Site, names: &[String], cx: &Cx) -> Result<Vec<(String, Vec<String>)>> {
        let client = self.client().await?;
        client.account(cx).await?;
        console::keys(self, client, site, names, cx).await
    }

    async fn keep_host_keys(&self, _: &Site, keys: &[(String, String)], cx: &Cx) -> Result<()> {
        let client = self.client().await?;
        client.account(cx).await?;
        network::keep_host_keys(client, keys, cx).await
    }

    async fn stop(&self, site: &Site, names: &[String], at_once: bool, cx: &Cx) -> Result<()> {
        let client = self.client().await?;
        client.account(cx).await?;
        let machines = client.machines(site, cx).await?;
        let wanted = machines.into_iter().filter(|m| names.contains(&m.name()) && !m.is_down());
        update::stop_these(self, client, &wanted.map(|m| m.id).collect::<Vec<_>>(), at_once, cx).await
    }

    async fn save_image(&self, site: &Site, node: &str, image: &NewImage, cx: &Cx) -> Result<()> {
        let client = self.client().await?;
        client.account(cx).await?;
        baked::save(self, client, site, node, image, cx).await
    }

    async fn destroy(&self, site: &Site, names: &[String], cx: &Cx) -> Result<()> {
        let client = self.client().await?;
        client.account(cx).await?;
        let machines = client.machines(site, cx).await?;
        let ids: Vec<String> = machines.into_iter().filter(|m| names.contains(&m.name())).map(|m| m.id).collect();
        launch::terminate(client, &ids, cx).await
    }

    async fn retag(&self, site: &Site, cx: &Cx) -> Result<()> {
        self.write_expiry(site, cx).await
    }

    async fn end_themselves(&self, site: &Site, names: &[String], ends: bool, cx: &Cx) -> Result<()> {
        self.set_ending(site, names, ends, cx).await
    }

    async fn belongings(&self, site: &Site, cx: &Cx) -> Result<Vec<Fixture>> {
        let client = self.client().await?;
        client.account(cx).await?;
        remove::belongings(client, site, cx).await
    }

    async fn destroy_all(&self, site: &Site, cx: &Cx) -> Result<()> {
        let client = self.client().await?;
        remove::everything(self, client, site, cx).await
    }
}
