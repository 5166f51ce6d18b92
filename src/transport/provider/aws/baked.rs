//! Images of the account's own: made of a machine that is stopped, listed with who uses them, removed with their snapshots.

use super::client::{Client, Trouble, no_retries, pause};
use super::images::{Choice, look_up};
use super::machine::Machine;
use super::network;
use super::remove::delete;
use super::settings::Access;
use super::tags::{self, Tags};
use super::{Aws, users};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Unit};
use crate::transport::provider::calls::Unwritten;
use crate::transport::provider::{NewImage, ROLE_HASH, Site};
use aws_sdk_ec2::types::{Filter, Image, ResourceType, Snapshot};
use jiff::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Copying a disk takes minutes, and of a large one much longer.
const PATIENCE: Duration = Duration::from_secs(3600);
const PAGE: i32 = 1000;

/// One image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnImage {
    pub id: String,
    pub name: String,
    /// `pending`, `available`, `failed`, …
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
    pub created: Option<Timestamp>,
    pub architecture: String,
    pub tags: Tags,
    pub snapshots: Vec<String>,
    /// Of its disks, in GiB.
    pub size: u64,
}

impl OwnImage {
    fn of(image: &Image) -> Option<Self> {
        let disks = || image.block_device_mappings().iter().filter_map(|m| m.ebs());
        Some(Self {
            id: image.image_id()?.to_owned(),
            name: image.name().unwrap_or_default().to_owned(),
            state: image.state().map(|s| s.as_str().to_owned()).unwrap_or_default(),
            reason: image.state_reason().and_then(|r| r.message()).map(str::to_owned),
            created: image.creation_date().and_then(|date| date.parse().ok()),
            architecture: image.architecture().map(|a| a.as_str().to_owned()).unwrap_or_default(),
            tags: tags::map(image.tags()),
            snapshots: disks().filter_map(|d| d.snapshot_id()).map(str::to_owned).collect(),
            size: disks().filter_map(|d| u64::try_from(d.volume_size()?).ok()).sum(),
        })
    }

    pub fn is_available(&self) -> bool {
        self.state == "available"
    }

    /// Whether it will never be of use.
    pub fn is_failed(&self) -> bool {
        ["failed", "error", "invalid"].contains(&self.state.as_str())
    }
}

impl Client {
    /// Images of this account that match, whatever their state; those that were deregistered apart.
    async fn own_images(&self, filters: Vec<Filter>, cx: &Cx) -> Result<Vec<OwnImage>> {
        let (mut images, mut next) = (Vec::new(), None);
        loop {
            let request = self.ec2.describe_images().owners("self").set_filters(Some(filters.clone()));
            let request = request.max_results(PAGE).set_next_token(next);
            let page = self.read("DescribeImages", cx, request.send()).await?;
            images.extend(page.images().iter().filter_map(OwnImage::of).filter(|i| i.state != "deregistered"));
            next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
            if next.is_none() {
                images.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
                return Ok(images);
            }
        }
    }

    async fn image_named(&self, name: &str, cx: &Cx) -> Result<Option<OwnImage>> {
        Ok(self.own_images(vec![tags::filter("name", [name])], cx).await?.into_iter().find(|i| i.name == name))
    }

    async fn own_snapshots(&self, filter: Filter, cx: &Cx) -> Result<Vec<Snapshot>> {
        let (mut snapshots, mut next) = (Vec::new(), None);
        loop {
            let request = self.ec2.describe_snapshots().owner_ids("self").filters(filter.clone());
            let request = request.max_results(PAGE).set_next_token(next);
            let page = self.read("DescribeSnapshots", cx, request.send()).await?;
            snapshots.extend(page.snapshots().iter().cloned());
            next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(snapshots);
            }
        }
    }
}

/// Makes an image of a machine that is stopped, and waits until it can be used. One of that name that has the same content is
/// taken for it: an earlier command may have been cut off, or another was quicker.
pub async fn save(aws: &Aws, client: &Client, site: &Site, node: &str, image: &NewImage, cx: &Cx) -> Result<()> {
    let machines = client.machines(site, cx).await?;
    let machine = machines.iter().find(|m| m.name() == node);
    let machine = machine.ok_or_else(|| Error::new(Kind::NotFound, "this machine does not exist").on_node(node))?;
    if !machine.is_stopped() {
        return Err(Error::new(
            Kind::Provider,
            "a machine must be stopped to be saved: what its programs hold in memory would be lost",
        )
        .hint(format!("Stop it first: opsrun node stop {} {node}", site.deployment))
        .on_node(node));
    }
    let mut tags: Tags = image.facts.clone();
    tags.insert("Name".to_owned(), image.name.clone());
    tags.insert(tags::UUID.to_owned(), site.uuid.to_string());
    if let Some(owner) = &aws.settings.owner {
        tags.insert("Owner".to_owned(), owner.clone());
    }
    let id = create(client, machine, image, &tags, cx).await?;
    let made = wait(client, &id, &image.name, cx).await?;
    tag_snapshots(client, &made, &tags, cx).await
}

async fn create(client: &Client, machine: &Machine, image: &NewImage, tags: &Tags, cx: &Cx) -> Result<String> {
    let (id, name) = (&machine.id, &image.name);
    let find = || async {
        match client.image_named(name, cx).await? {
            Some(found) => same(&found, image).map(|()| Some(found.id)),
            None => Ok(None),
        }
    };
    let send = || {
        let of = |kind| tags::specification(kind, tags);
        let request = client.ec2.create_image().instance_id(id).name(name).no_reboot(true);
        let request = request.description(format!("Made by opsrun of {}", machine.name()));
        let request = request.tag_specifications(of(ResourceType::Image)).tag_specifications(of(ResourceType::Snapshot));
        request.customize().config_override(no_retries()).send()
    };
    let made =
        |answer: &aws_sdk_ec2::operation::create_image::CreateImageOutput| answer.image_id().unwrap_or_default().to_owned();
    let request = json!({ "instance": id, "name": name, "tags": tags });
    match client.once("CreateImage", request, cx, find, made, send).await {
        // It is there, but not to be seen yet.
        Err(trouble) if trouble.is(|f| f.is("InvalidAMIName.Duplicate")) => {
            for _ in 0..20 {
                if let Some(found) = find().await? {
                    return Ok(found);
                }
                pause(Duration::from_millis(500), cx).await?;
            }
            Err(trouble.into())
        }
        other => Ok(other?),
    }
}

/// Whether an image that is there is what was to be made.
fn same(found: &OwnImage, wanted: &NewImage) -> Result<()> {
    let hash = wanted.facts.get(ROLE_HASH);
    if hash.is_some() && found.tags.get(ROLE_HASH) == hash {
        return Ok(());
    }
    let whose = match found.tags.get(ROLE_HASH) {
        Some(_) => "of other content",
        None => "that opsrun did not make for this",
    };
    Err(Error::new(Kind::Provider, format!("there is an image \"{}\" already, {whose} ({})", wanted.name, found.id))
        .hint(format!("Look at its tags, then remove it or take another name: aws ec2 describe-images --image-ids {}", found.id)))
}

async fn wait(client: &Client, id: &str, name: &str, cx: &Cx) -> Result<OwnImage> {
    let start = Instant::now();
    let progress = cx.events.progress(format!("waiting for image {name} ({id}) to be available"), 0, Unit::Items);
    let mut pace = Duration::from_millis(200);
    loop {
        // By a filter: an ID that is not to be seen yet would be an error.
        let found = client.own_images(vec![tags::filter("image-id", [id])], cx).await?.into_iter().find(|i| i.id == id);
        match found {
            Some(image) if image.is_available() => return Ok(image),
            Some(image) if image.is_failed() => {
                let reason = image.reason.unwrap_or_else(|| "it gives no reason".to_owned());
                return Err(Error::new(Kind::Provider, format!("AWS could not make image {name} ({id}): {reason}"))
                    .hint("Run the same command again: it removes what came of it, and makes it anew of the same machine."));
            }
            _ => {}
        }
        if start.elapsed() >= PATIENCE {
            let minutes = PATIENCE.as_secs() / 60;
            return Err(Error::new(Kind::Timeout, format!("image {name} ({id}) is not available after {minutes} min"))
                .hint("AWS may still be at it. Run the same command again to wait on."));
        }
        progress.label(format!("waiting for image {name} ({id}) to be available, for {} s", start.elapsed().as_secs()));
        pause(pace, cx).await?;
        pace = (pace * 3 / 2).min(Duration::from_secs(10));
    }
}

/// Snapshots are found by their tags once the image is gone.
async fn tag_snapshots(client: &Client, image: &OwnImage, tags: &Tags, cx: &Cx) -> Result<()> {
    if image.snapshots.is_empty() {
        return Ok(());
    }
    let found = client.own_snapshots(tags::filter("snapshot-id", image.snapshots.clone()), cx).await?;
    let bare = |s: &&Snapshot| tags::map(s.tags()).get("Name") != tags.get("Name");
    let ids: Vec<String> = found.iter().filter(bare).filter_map(|s| s.snapshot_id()).map(str::to_owned).collect();
    if ids.is_empty() { Ok(()) } else { network::tag(client, &ids, tags, cx).await }
}

/// The images of an account, in one region.
pub struct Shelf {
    client: Client,
    settle: Duration,
}

impl Shelf {
    pub async fn connect(access: &Access) -> Result<Self> {
        Ok(Self { client: Client::connect(access, Arc::new(Unwritten::default())).await?, settle: access.settle })
    }

    pub fn region(&self) -> &str {
        &self.client.region
    }

    /// What a choice means now: the image's ID and its architecture.
    pub async fn base(&self, choice: &Choice, cx: &Cx) -> Result<(String, String)> {
        let id = match choice.id() {
            Some(id) => id.to_owned(),
            None => look_up(&self.client, choice, cx).await?.id,
        };
        let image = self.architecture(&id, cx).await?;
        image.map(|architecture| (id.clone(), architecture)).ok_or_else(|| {
            Error::config(format!("there is no image {id} in {}", self.client.region))
                .hint("Images have another ID in each region, and those of other accounts must be shared with yours.")
        })
    }

    /// The architecture of an image; none when there is no such image.
    pub async fn architecture(&self, id: &str, cx: &Cx) -> Result<Option<String>> {
        let request = self.client.ec2.describe_images().image_ids(id);
        let found = match self.client.read("DescribeImages", cx, request.send()).await {
            Err(t) if t.is(|f| f.code.starts_with("InvalidAMIID")) => return Ok(None),
            other => other?,
        };
        let architecture = |i: &Image| i.architecture().map(|a| a.as_str().to_owned()).unwrap_or_default();
        Ok(found.images().first().map(architecture))
    }

    /// All images that were baked here, oldest first.
    pub async fn list(&self, cx: &Cx) -> Result<Vec<OwnImage>> {
        self.client.own_images(vec![tags::filter("tag-key", [ROLE_HASH])], cx).await
    }

    /// The image of this name, whoever made it.
    pub async fn named(&self, name: &str, cx: &Cx) -> Result<Option<OwnImage>> {
        self.client.image_named(name, cx).await
    }

    /// Who uses which of these images, in words.
    pub async fn users(&self, ids: &BTreeSet<String>, cx: &Cx) -> Result<BTreeMap<String, Vec<String>>> {
        users::of(&self.client, ids, cx).await
    }

    /// Snapshots of images that are no more, by the name of the image: a removal was cut off.
    pub async fn left_over(&self, cx: &Cx) -> Result<BTreeMap<String, Vec<String>>> {
        let snapshots = self.client.own_snapshots(tags::filter("tag-key", [ROLE_HASH]), cx);
        let (snapshots, images) = tokio::try_join!(snapshots, self.list(cx))?;
        let used: BTreeSet<&String> = images.iter().flat_map(|i| &i.snapshots).collect();
        let mut left: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for snapshot in snapshots {
            let Some(id) = snapshot.snapshot_id().map(str::to_owned) else { continue };
            let age = snapshot.start_time().map_or(0, |at| Timestamp::now().as_second() - at.secs());
            let name = tags::map(snapshot.tags()).remove("Name").unwrap_or_default();
            // The image that one belongs to may be new, and not to be seen yet.
            let new = age < i64::try_from(self.settle.as_secs()).unwrap_or(i64::MAX);
            if !used.contains(&id) && !new && images.iter().all(|i| i.name != name) {
                left.entry(name).or_default().push(id);
            }
        }
        Ok(left)
    }

    /// Stays until an image that is being made can be used.
    pub async fn wait(&self, id: &str, name: &str, cx: &Cx) -> Result<OwnImage> {
        wait(&self.client, id, name, cx).await
    }

    /// Removes an image, and then its snapshots: until nothing refers to them, AWS does not let go of them.
    pub async fn remove(&self, image: &OwnImage, cx: &Cx) -> Result<()> {
        let (client, id) = (&self.client, &image.id);
        let send = || client.ec2.deregister_image().image_id(id).send();
        match client.change("DeregisterImage", json!({ "id": id, "name": image.name }), cx, |_| Vec::new(), send).await {
            Err(Trouble::Refused(fault)) if fault.code.starts_with("InvalidAMIID") => {}
            other => drop(other?),
        }
        self.remove_snapshots(&image.snapshots, cx).await
    }

    pub async fn remove_snapshots(&self, ids: &[String], cx: &Cx) -> Result<()> {
        let client = &self.client;
        for id in ids {
            let begun = Instant::now();
            while let Some(why) =
                delete("DeleteSnapshot", id, client, cx, || client.ec2.delete_snapshot().snapshot_id(id).send()).await?
            {
                if begun.elapsed() > self.settle {
                    return Err(Error::new(Kind::Provider, format!("AWS does not let go of snapshot {id}: {why}")).hint(
                        "Another image, or a fast restore, may use it. Remove that first, then run the same command again.",
                    ));
                }
                pause(Duration::from_millis(500), cx).await?;
            }
        }
        Ok(())
    }
}
