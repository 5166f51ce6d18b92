//! All that carries certain tags, in every service that AWS's index of tags knows.
//!
//! The index lags: it names what is gone already. What can be described is described, and what cannot any more is left out.

use super::client::{Answer, Client};
use super::tags::{self, Tags};
use crate::base::error::{Error, Result};
use crate::base::event::Cx;
use aws_sdk_ec2::types::{
    Filter, Image, ImageState, InstanceStateName, LaunchTemplate, NetworkInterface, NetworkInterfaceStatus, Reservation,
    Snapshot, SnapshotState, Tag, Volume, VolumeState,
};
use aws_sdk_resourcegroupstagging::types::{ResourceTagMapping, TagFilter};
use std::collections::{BTreeMap, BTreeSet};

/// Something with tags.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tagged {
    pub arn: Arn,
    /// `stopped`, `deleting`, as its service calls it.
    pub state: Option<String>,
    /// What people call it, where it has a name besides its ID.
    pub name: Option<String>,
    pub tags: Tags,
    /// Its own service shows it. Otherwise only the index does, which may be old.
    pub seen: bool,
}

/// `arn:aws:ec2:eu-central-1:111122223333:instance/i-1`, taken apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Arn {
    pub text: String,
    /// `ec2`
    pub service: String,
    /// `instance`; empty where the service has only one kind.
    pub kind: String,
    /// `i-1`
    pub id: String,
}

impl Arn {
    pub fn read(text: &str) -> Self {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let service = parts.get(2).copied().unwrap_or_default();
        let rest = parts.get(5).copied().unwrap_or_default();
        let (kind, id) = match rest.find(['/', ':']) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => ("", rest),
        };
        Self { text: text.to_owned(), service: service.to_owned(), kind: kind.to_owned(), id: id.to_owned() }
    }

    fn is(&self, service: &str, kind: &str) -> bool {
        self.service == service && self.kind == kind
    }
}

/// The kinds of EC2 that are described, and so are never believed to exist because of the index.
const DESCRIBED: [&str; 6] = ["instance", "volume", "snapshot", "image", "network-interface", "launch-template"];

/// Returns all that carries every one of these tags.
pub async fn all(client: &Client, wanted: &[(&str, &str)], cx: &Cx) -> Result<Vec<Tagged>> {
    let mut found = described(client, wanted, cx).await?;
    let indexed = indexed(client, wanted, cx).await?;
    let others: Vec<&str> =
        indexed.iter().filter(|t| t.arn.service == "ec2" && !is_described(&t.arn)).map(|t| t.arn.id.as_str()).collect();
    let living = living(client, &others, cx).await?;
    for tagged in indexed.iter().filter(|t| !is_described(&t.arn)) {
        let seen = match tagged.arn.service.as_str() {
            "ec2" => Some(living.contains(&tagged.arn.id)),
            _ => is_seen(client, &tagged.arn, cx).await?,
        };
        if seen != Some(false) {
            found.push(Tagged { seen: seen.is_some(), ..tagged.clone() });
        }
    }
    // A group that makes machines is in no index in some regions.
    for (arn, tags) in groups(client, wanted, cx).await? {
        if found.iter().all(|f| f.arn != arn) {
            found.push(Tagged { arn, state: None, name: None, tags, seen: true });
        }
    }
    found.sort_by(|a, b| a.arn.cmp(&b.arn));
    Ok(found)
}

fn is_described(arn: &Arn) -> bool {
    arn.service == "ec2" && DESCRIBED.contains(&arn.kind.as_str())
}

/// What EC2 shows by itself.
async fn described(client: &Client, wanted: &[(&str, &str)], cx: &Cx) -> Result<Vec<Tagged>> {
    let account = client.account(cx).await?;
    let filters = || -> Option<Vec<Filter>> {
        Some(wanted.iter().map(|(key, value)| tags::filter(&format!("tag:{key}"), [*value])).collect())
    };
    let ec2 = &client.ec2;
    let (instances, volumes, snapshots, images, interfaces, templates) = tokio::try_join!(
        client.read(
            "DescribeInstances",
            cx,
            ec2.describe_instances().set_filters(filters()).into_paginator().items().send().try_collect()
        ),
        client.read(
            "DescribeVolumes",
            cx,
            ec2.describe_volumes().set_filters(filters()).into_paginator().items().send().try_collect()
        ),
        client.read(
            "DescribeSnapshots",
            cx,
            ec2.describe_snapshots().owner_ids("self").set_filters(filters()).into_paginator().items().send().try_collect()
        ),
        client.read(
            "DescribeImages",
            cx,
            ec2.describe_images().owners("self").set_filters(filters()).into_paginator().items().send().try_collect()
        ),
        client.read(
            "DescribeNetworkInterfaces",
            cx,
            ec2.describe_network_interfaces().set_filters(filters()).into_paginator().items().send().try_collect()
        ),
        client.read(
            "DescribeLaunchTemplates",
            cx,
            ec2.describe_launch_templates().set_filters(filters()).into_paginator().items().send().try_collect()
        ),
    )
    .map_err(Error::from)?;
    let mut found = Vec::new();
    let mut add = |kind: &str, id: Option<&str>, state: Option<&str>, name: Option<&str>, own: &[Tag]| {
        // Images and snapshots are named without an account.
        let owner = if matches!(kind, "image" | "snapshot") { "" } else { account.as_str() };
        let (part, region) = (partition(&client.region), &client.region);
        let arn = format!("arn:{part}:ec2:{region}:{owner}:{kind}/{}", id.unwrap_or_default());
        let (state, name) = (state.map(str::to_owned), name.map(str::to_owned));
        found.push(Tagged { arn: Arn::read(&arn), state, name, tags: tags::map(own), seen: true });
    };
    let instances: Vec<Reservation> = instances;
    for instance in instances.iter().flat_map(Reservation::instances) {
        let state = instance.state().and_then(|s| s.name());
        if state != Some(&InstanceStateName::Terminated) {
            add("instance", instance.instance_id(), state.map(InstanceStateName::as_str), None, instance.tags());
        }
    }
    let volumes: Vec<Volume> = volumes;
    for v in &volumes {
        add("volume", v.volume_id(), v.state().map(VolumeState::as_str), None, v.tags());
    }
    let snapshots: Vec<Snapshot> = snapshots;
    for s in &snapshots {
        add("snapshot", s.snapshot_id(), s.state().map(SnapshotState::as_str), s.description(), s.tags());
    }
    let images: Vec<Image> = images;
    for i in &images {
        add("image", i.image_id(), i.state().map(ImageState::as_str), i.name(), i.tags());
    }
    let interfaces: Vec<NetworkInterface> = interfaces;
    for i in &interfaces {
        let state = i.status().map(NetworkInterfaceStatus::as_str);
        add("network-interface", i.network_interface_id(), state, i.description(), i.tag_set());
    }
    let templates: Vec<LaunchTemplate> = templates;
    for t in &templates {
        add("launch-template", t.launch_template_id(), None, t.launch_template_name(), t.tags());
    }
    Ok(found)
}

fn partition(region: &str) -> &'static str {
    match region {
        r if r.starts_with("cn-") => "aws-cn",
        r if r.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// What the index names.
async fn indexed(client: &Client, wanted: &[(&str, &str)], cx: &Cx) -> Result<Vec<Tagged>> {
    let filters = wanted.iter().map(|(key, value)| TagFilter::builder().key(*key).values(*value).build()).collect();
    let request = client.tagging.get_resources().set_tag_filters(Some(filters)).into_paginator().items().send();
    let entries: Vec<ResourceTagMapping> = client.read("tag:GetResources", cx, request.try_collect()).await?;
    let tagged = |entry: &ResourceTagMapping| {
        let tags = entry.tags().iter().map(|t| (t.key().to_owned(), t.value().to_owned())).collect();
        Some(Tagged { arn: Arn::read(entry.resource_arn()?), state: None, name: None, tags, seen: false })
    };
    Ok(entries.iter().filter_map(tagged).collect())
}

/// Which of these of EC2 are there: only what is has tags.
async fn living(client: &Client, ids: &[&str], cx: &Cx) -> Result<BTreeSet<String>> {
    const AT_ONCE: usize = 200;
    let mut living = BTreeSet::new();
    for some in ids.chunks(AT_ONCE) {
        let found = super::census::described(client, &[tags::filter("resource-id", some.iter().copied())], cx).await?;
        living.extend(found.into_keys());
    }
    Ok(living)
}

/// Asks the service itself. None: opsrun does not speak with it.
async fn is_seen(client: &Client, arn: &Arn, cx: &Cx) -> Result<Option<bool>> {
    let gone = |answer: Answer<bool>| match answer {
        Ok(there) => Ok(Some(there)),
        Err(trouble) if trouble.is(|f| f.is_absent() || f.message.contains("does not exist")) => Ok(Some(false)),
        // It is there, and is none of our business to look at.
        Err(trouble) if trouble.is(|f| f.is_denied() || f.code.starts_with("AuthFailure")) => Ok(None),
        Err(trouble) => Err(Error::from(trouble)),
    };
    if arn.is("cloudformation", "stack") {
        let request = client.stacks.describe_stacks().stack_name(&arn.text);
        let answer = client.read("cloudformation:DescribeStacks", cx, request.send()).await;
        return gone(
            answer.map(|a| a.stacks().iter().any(|s| s.stack_status().is_some_and(|s| s.as_str() != "DELETE_COMPLETE"))),
        );
    }
    if arn.is("elasticloadbalancing", "loadbalancer") {
        let request = client.balancing.describe_load_balancers().load_balancer_arns(&arn.text);
        let answer = client.read("elasticloadbalancing:DescribeLoadBalancers", cx, request.send()).await;
        return gone(answer.map(|a| !a.load_balancers().is_empty()));
    }
    if arn.is("elasticloadbalancing", "targetgroup") {
        let request = client.balancing.describe_target_groups().target_group_arns(&arn.text);
        let answer = client.read("elasticloadbalancing:DescribeTargetGroups", cx, request.send()).await;
        return gone(answer.map(|a| !a.target_groups().is_empty()));
    }
    if arn.is("elasticloadbalancing", "listener") {
        let request = client.balancing.describe_listeners().listener_arns(&arn.text);
        let answer = client.read("elasticloadbalancing:DescribeListeners", cx, request.send()).await;
        return gone(answer.map(|a| !a.listeners().is_empty()));
    }
    if arn.is("autoscaling", "autoScalingGroup") {
        let name = arn.text.rsplit_once("autoScalingGroupName/").map_or("", |(_, name)| name);
        let request = client.scaling.describe_auto_scaling_groups().auto_scaling_group_names(name);
        let answer = client.read("autoscaling:DescribeAutoScalingGroups", cx, request.send()).await;
        return gone(answer.map(|a| !a.auto_scaling_groups().is_empty()));
    }
    if arn.service == "s3" && arn.kind.is_empty() {
        let request = client.buckets.head_bucket().bucket(&arn.id);
        return gone(client.read("s3:HeadBucket", cx, request.send()).await.map(|_| true));
    }
    Ok(None)
}

/// The groups that make machines.
async fn groups(client: &Client, wanted: &[(&str, &str)], cx: &Cx) -> Result<BTreeMap<Arn, Tags>> {
    use aws_sdk_autoscaling::types::{AutoScalingGroup, Filter};
    let filters = wanted.iter().map(|(key, value)| Filter::builder().name(format!("tag:{key}")).values(*value).build());
    let request = client.scaling.describe_auto_scaling_groups().set_filters(Some(filters.collect()));
    let found: Vec<AutoScalingGroup> =
        client.read("autoscaling:DescribeAutoScalingGroups", cx, request.into_paginator().items().send().try_collect()).await?;
    let tags_of = |group: &AutoScalingGroup| -> Tags {
        let tag = |t: &aws_sdk_autoscaling::types::TagDescription| {
            Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned()))
        };
        group.tags().iter().filter_map(tag).collect()
    };
    // An emulator may not filter.
    let ours = |tags: &Tags| wanted.iter().all(|(key, value)| tags.get(*key).is_some_and(|v| v == value));
    Ok(found
        .iter()
        .filter_map(|g| Some((Arn::read(g.auto_scaling_group_arn()?), tags_of(g))))
        .filter(|(_, tags)| ours(tags))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_taken_apart_whatever_their_form() {
        for (text, service, kind, id) in [
            ("arn:aws:ec2:eu-central-1:1:instance/i-1", "ec2", "instance", "i-1"),
            (
                "arn:aws:rds:eu-central-1:1:snapshot:shop-staging-snapshot-database-1",
                "rds",
                "snapshot",
                "shop-staging-snapshot-database-1",
            ),
            ("arn:aws:s3:::shop-files", "s3", "", "shop-files"),
            (
                "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/web/73e2",
                "elasticloadbalancing",
                "targetgroup",
                "web/73e2",
            ),
            ("arn:aws:secretsmanager:eu-central-1:1:secret:db-abc", "secretsmanager", "secret", "db-abc"),
            ("nonsense", "", "", ""),
        ] {
            let arn = Arn::read(text);
            assert_eq!((arn.service.as_str(), arn.kind.as_str(), arn.id.as_str()), (service, kind, id), "{text}");
        }
    }
}
