//! The machines of a stack, found by their tags. They are the stack's to make and to end, and those of an auto-scaling group come
//! and go as it likes: a machine has its name for as long as it lives.

use super::client::Client;
use super::console;
use super::health::{self, Target, TargetGroup};
use super::machine::{Launched, Machine};
use super::network;
use super::settings::{HostKeys, Settings};
use super::tags::{self, Tags};
use crate::base::endpoint::FirstContact;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::transport::provider::calls::Calls;
use crate::transport::provider::{NodeFound, NodeSpec, NodeStatus, Provider, ROLE_HASH, Site};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// AWS's own mark on what an auto-scaling group has launched.
const SCALING_GROUP: &str = "aws:autoscaling:groupName";
/// As many as one call takes.
const MEMBERS: usize = 50;

/// Whose machines these are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Of {
    pub app: String,
    pub env: String,
    /// What its commands are called with.
    pub environment: String,
}

/// Which node a machine is: its group and its number there.
pub type Place = (String, usize);

/// The machines of a stack.
pub struct Fleet {
    of: Of,
    settings: Settings,
    calls: Arc<dyn Calls>,
    /// By ID: what machines were called before.
    known: BTreeMap<String, Place>,
    client: OnceCell<Client>,
}

/// One machine, with all that is to be known of it.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub group: String,
    pub index: usize,
    pub id: String,
    /// `running`
    pub state: String,
    pub zone: String,
    pub instance_type: String,
    pub image: String,
    pub private: Option<String>,
    pub public: Option<String>,
    /// What was made of it: by its own tag, or else by its image's.
    pub role_hash: Option<String>,
    pub member: Option<Member>,
}

/// Its part in an auto-scaling group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Member {
    pub scaling_group: String,
    /// Of the launch template.
    pub version: Option<String>,
    /// `InService`, `Pending:Wait`, `Terminating`
    pub lifecycle: Option<String>,
    /// `Healthy`, in the group's eyes.
    pub health: Option<String>,
}

/// A machine with its name, and what its image says.
struct Named {
    machine: Machine,
    place: Place,
    image: Tags,
}

impl Named {
    fn name(&self) -> String {
        format!("{}-{}", self.place.0, self.place.1)
    }

    fn role_hash(&self) -> Option<String> {
        self.machine.tags.get(ROLE_HASH).or_else(|| self.image.get(ROLE_HASH)).cloned()
    }
}

impl Fleet {
    pub fn new(of: Of, settings: Settings, calls: Arc<dyn Calls>, known: BTreeMap<String, Place>) -> Self {
        Self { of, settings, calls, known, client: OnceCell::new() }
    }

    async fn client(&self, cx: &Cx) -> Result<&Client> {
        let client = self.client.get_or_try_init(|| Client::connect(&self.settings.access, self.calls.clone())).await?;
        let account = client.account(cx).await?;
        client.settle_in(&account)?;
        Ok(client)
    }

    /// Those that are not on their end, by name.
    async fn machines(&self, cx: &Cx) -> Result<Vec<Named>> {
        let client = self.client(cx).await?;
        let alive = ["pending", "running", "stopping", "stopped"];
        let filters = vec![
            tags::filter("tag:App", [&self.of.app]),
            tags::filter("tag:Env", [&self.of.env]),
            tags::filter("instance-state-name", alive),
        ];
        let mut machines = client.instances(filters, &Launched::new(), cx).await?;
        // A machine that an image is baked of has these tags, too, and is a deployment of its own.
        machines.retain(|m| !m.tags.contains_key(tags::UUID));
        machines.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        let (placed, odd): (Vec<_>, Vec<_>) = machines.into_iter().partition(|m| m.tags.contains_key("Group"));
        if !odd.is_empty() {
            let ids = odd.iter().map(|m| m.id.as_str()).collect::<Vec<_>>().join(", ");
            cx.events.warn(format!("left out, because no tag Group says what they are: {ids}"));
        }
        let images = images(client, &placed, cx).await?;
        let group = |m: &Machine| m.tags.get("Group").cloned().unwrap_or_default();
        let ids: Vec<(String, String)> = placed.iter().map(|m| (m.id.clone(), group(m))).collect();
        let mut places = places(&ids, &self.known);
        let named = placed.into_iter().filter_map(|machine| {
            let place = places.remove(&machine.id)?;
            let image = images.get(&machine.ami).cloned().unwrap_or_default();
            Some(Named { machine, place, image })
        });
        let mut named: Vec<Named> = named.collect();
        named.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(named)
    }

    /// All there is to know, with what auto-scaling groups say of their members.
    pub async fn hosts(&self, cx: &Cx) -> Result<Vec<Host>> {
        let machines = self.machines(cx).await?;
        let in_groups = machines.iter().filter(|m| m.machine.tags.contains_key(SCALING_GROUP));
        let ids: Vec<String> = in_groups.map(|m| m.machine.id.clone()).collect();
        let mut members = members(self.client(cx).await?, &ids, cx).await?;
        let host = |named: Named| {
            let (name, role_hash) = (named.name(), named.role_hash());
            let Named { machine, place: (group, index), .. } = named;
            let tagged = machine.tags.get(SCALING_GROUP).map(|g| Member { scaling_group: g.clone(), ..Member::default() });
            Host {
                name,
                group,
                index,
                member: members.remove(&machine.id).or(tagged),
                id: machine.id,
                state: machine.state.as_str().to_owned(),
                zone: machine.zone,
                instance_type: machine.kind,
                image: machine.ami,
                private: machine.private,
                public: machine.public,
                role_hash,
            }
        };
        Ok(machines.into_iter().map(host).collect())
    }

    /// The target groups of a stack.
    pub async fn target_groups(&self, stack: &str, cx: &Cx) -> Result<Vec<TargetGroup>> {
        health::target_groups(self.client(cx).await?, stack, cx).await
    }

    /// What is behind each of them, in their order.
    pub async fn targets(&self, groups: &[TargetGroup], cx: &Cx) -> Result<Vec<Vec<Target>>> {
        health::targets(self.client(cx).await?, groups, cx).await
    }

    /// Writes on machines what was made of them.
    pub async fn tag_role_hash(&self, ids: &[String], hash: &str, cx: &Cx) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        network::tag(self.client(cx).await?, ids, &Tags::from([(ROLE_HASH.to_owned(), hash.to_owned())]), cx).await
    }

    fn found(&self, named: &Named, site: &Site) -> NodeFound {
        let (machine, (group, index)) = (&named.machine, &named.place);
        let user = self.settings.group(group).user;
        let of_image = || machine.tags.get(tags::USER).or_else(|| named.image.get(tags::USER)).cloned();
        let user = user.or_else(of_image).unwrap_or_else(|| super::USER.to_owned());
        let mut endpoint = machine.endpoint(named.name(), user, &self.settings, site);
        if !site.private_key.exists() {
            // Which key its stack gave it, nobody told us.
            endpoint.keys.clear();
            endpoint.agent = true;
        }
        let own = machine.tags.get(tags::HOST_KEY);
        let mut options = Map::new();
        let mut set = |key: &str, value: Option<&str>| value.map(|v| options.insert(key.to_owned(), Value::from(v)));
        set("id", Some(&machine.id));
        set("instance_type", Some(&machine.kind));
        set("ami", Some(&machine.ami));
        set("availability_zone", Some(&machine.zone));
        set("state", Some(machine.state.as_str()));
        set("scaling_group", machine.tags.get(SCALING_GROUP).map(String::as_str));
        set("role_hash", named.role_hash().as_deref());
        options.insert("spot".to_owned(), json!(machine.spot));
        NodeFound {
            spec: NodeSpec { name: named.name(), group: group.clone(), index: *index, options },
            status: if machine.is_down() { NodeStatus::Off } else { NodeStatus::Running },
            endpoint,
            host_keys: own.iter().map(|key| (*key).clone()).collect(),
            // Nobody gave it a host key to be known by: its user data is the stack's.
            first_contact: (own.is_none() && self.settings.host_keys != HostKeys::Shown).then_some(FirstContact::Console),
        }
    }

    fn not_ours(&self, what: &str) -> Error {
        Error::new(Kind::Provider, format!("the machines of environment {} are its stack's to {what}", self.of.environment))
            .hint(format!("Change the environment, then: opsrun manage {} update", self.of.environment))
    }
}

/// The tags of the machines' images. One that is gone, or somebody else's, has none.
async fn images(client: &Client, machines: &[Machine], cx: &Cx) -> Result<BTreeMap<String, Tags>> {
    let ids: BTreeSet<&str> = machines.iter().map(|m| m.ami.as_str()).filter(|id| !id.is_empty()).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    // Unlike a list of IDs, a filter does not mind those that are gone.
    let request = client.ec2.describe_images().filters(tags::filter("image-id", ids));
    let answer = client.read("DescribeImages", cx, request.send()).await?;
    let image = |i: &aws_sdk_ec2::types::Image| Some((i.image_id()?.to_owned(), tags::map(i.tags())));
    Ok(answer.images().iter().filter_map(image).collect())
}

/// What auto-scaling groups say of these machines, by ID.
async fn members(client: &Client, ids: &[String], cx: &Cx) -> Result<BTreeMap<String, Member>> {
    let ask = |some: &[String]| {
        let request = client.scaling.describe_auto_scaling_instances().set_instance_ids(Some(some.to_vec()));
        client.read("autoscaling:DescribeAutoScalingInstances", cx, request.send())
    };
    let answers = futures::future::join_all(ids.chunks(MEMBERS).map(ask)).await;
    let mut members = BTreeMap::new();
    for answer in answers {
        for one in answer?.auto_scaling_instances() {
            let text = |word: Option<&str>| word.filter(|w| !w.is_empty()).map(str::to_owned);
            let member = Member {
                scaling_group: one.auto_scaling_group_name().unwrap_or_default().to_owned(),
                version: one.launch_template().and_then(|t| text(t.version())),
                lifecycle: text(one.lifecycle_state()),
                health: text(one.health_status()),
            };
            members.insert(one.instance_id().unwrap_or_default().to_owned(), member);
        }
    }
    Ok(members)
}

/// Which node each machine is, by its ID: what it was before, or else the lowest number of its group that is free. `machines`
/// are IDs and groups, the oldest first.
fn places(machines: &[(String, String)], known: &BTreeMap<String, Place>) -> BTreeMap<String, Place> {
    let before = |(id, group): &&(String, String)| known.get(id).filter(|(was, _)| was == group).cloned();
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    let mut taken: BTreeSet<Place> = BTreeSet::new();
    for one in machines {
        if let Some(place) = before(&one).filter(|place| taken.insert(place.clone())) {
            places.insert(one.0.clone(), place);
        }
    }
    for (id, group) in machines {
        if places.contains_key(id) {
            continue;
        }
        let free = (0..=taken.len()).map(|index| (group.clone(), index)).find(|place| !taken.contains(place));
        if let Some(place) = free {
            taken.insert(place.clone());
            places.insert(id.clone(), place);
        }
    }
    places
}

#[async_trait]
impl Provider for Fleet {
    fn name(&self) -> &'static str {
        "aws"
    }

    async fn list(&self, site: &Site, cx: &Cx) -> Result<Vec<NodeFound>> {
        Ok(self.machines(cx).await?.iter().map(|named| self.found(named, site)).collect())
    }

    async fn create(&self, _: &Site, _: &[NodeSpec], _: &Cx) -> Result<Vec<NodeFound>> {
        Err(self.not_ours("make"))
    }

    /// Names of machines that are gone already are fine.
    async fn destroy(&self, _: &Site, names: &[String], cx: &Cx) -> Result<()> {
        let machines = self.machines(cx).await?;
        if machines.iter().any(|m| names.contains(&m.name())) {
            return Err(self
                .not_ours("end")
                .hint(format!("To end them all: opsrun manage {} decommission", self.of.environment)));
        }
        Ok(())
    }

    async fn destroy_all(&self, _: &Site, cx: &Cx) -> Result<()> {
        match self.machines(cx).await?.as_slice() {
            [] => Ok(()),
            _ => Err(self.not_ours("end")),
        }
    }

    /// Reads them off the consoles, and keeps them with the machines, for who finds these without our folder.
    async fn console_keys(&self, site: &Site, names: &[String], cx: &Cx) -> Result<Vec<(String, Vec<String>)>> {
        let machines = self.machines(cx).await?;
        let wanted = machines.iter().filter(|m| names.contains(&m.name())).map(|m| (m.name(), m.machine.id.clone()));
        let wanted: Vec<(String, String)> = wanted.collect();
        let told = console::of_all(self.client(cx).await?, wanted.clone(), self.settings.contact_timeout, cx).await?;
        let key = |name: &str| {
            let (_, keys) = told.iter().find(|(n, _)| n == name)?;
            keys.iter().find(|k| k.starts_with("ssh-ed25519 ")).cloned()
        };
        let keys: Vec<_> = wanted.into_iter().filter_map(|(name, id)| Some((id, key(&name)?))).collect();
        if let Err(error) = self.keep_host_keys(site, &keys, cx).await {
            cx.events.warn(format!("host keys could not be kept with their machines: {error}"));
        }
        Ok(told)
    }

    async fn keep_host_keys(&self, _: &Site, keys: &[(String, String)], cx: &Cx) -> Result<()> {
        network::keep_host_keys(self.client(cx).await?, keys, cx).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_keeps_its_name_and_a_new_one_gets_the_lowest_that_is_free() {
        let machines = |list: &[(&str, &str)]| list.iter().map(|(i, g)| ((*i).to_owned(), (*g).to_owned())).collect::<Vec<_>>();
        let name = |places: &BTreeMap<String, Place>, id: &str| places.get(id).map(|(g, i)| format!("{g}-{i}")).unwrap();
        let first = places(&machines(&[("a", "web"), ("b", "web"), ("d", "db"), ("c", "web")]), &BTreeMap::new());
        assert_eq!(["a", "b", "c", "d"].map(|id| name(&first, id)), ["web-0", "web-1", "web-2", "db-0"]);
        // b ended; e and f came.
        let second = places(&machines(&[("a", "web"), ("d", "db"), ("c", "web"), ("e", "web"), ("f", "web")]), &first);
        assert_eq!(["a", "c", "d", "e", "f"].map(|id| name(&second, id)), ["web-0", "web-2", "db-0", "web-1", "web-3"]);
        // It was told to be of another group.
        let third = places(&machines(&[("a", "db"), ("d", "db")]), &second);
        assert_eq!(["a", "d"].map(|id| name(&third, id)), ["db-1", "db-0"]);
    }
}
