//! Who uses an image: instances, launch templates, auto-scaling groups, and stacks that have it for a parameter.

use super::client::Client;
use super::tags;
use crate::base::error::Result;
use crate::base::event::Cx;
use aws_sdk_ec2::types::{InstanceStateName, LaunchTemplateVersion};
use std::collections::{BTreeMap, BTreeSet};

/// A filter takes so many values.
const SOME: usize = 200;

type Users = BTreeMap<String, Vec<String>>;

/// What each auto-scaling group launches from.
struct Launches {
    group: String,
    /// A launch template's ID and version.
    template: Option<(String, String)>,
    /// A launch configuration.
    configuration: Option<String>,
}

pub async fn of(client: &Client, ids: &BTreeSet<String>, cx: &Cx) -> Result<Users> {
    if ids.is_empty() {
        return Ok(Users::new());
    }
    let all = tokio::try_join!(
        instances(client, ids, cx),
        templates(client, ids, cx),
        groups(client, ids, cx),
        stacks(client, ids, cx)
    )?;
    let mut users = Users::new();
    for (id, user) in [all.0, all.1, all.2, all.3].into_iter().flatten() {
        let of = users.entry(id).or_default();
        if !of.contains(&user) {
            of.push(user);
        }
    }
    Ok(users)
}

async fn instances(client: &Client, ids: &BTreeSet<String>, cx: &Cx) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for some in ids.iter().cloned().collect::<Vec<_>>().chunks(SOME) {
        let mut next = None;
        loop {
            let request = client.ec2.describe_instances().filters(tags::filter("image-id", some.to_vec())).set_next_token(next);
            let page = client.read("DescribeInstances", cx, request.send()).await?;
            for instance in page.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances) {
                let over = [InstanceStateName::Terminated, InstanceStateName::ShuttingDown];
                let state = instance.state().and_then(|s| s.name());
                let (Some(id), Some(image)) = (instance.instance_id(), instance.image_id()) else { continue };
                if state.is_none_or(|s| !over.contains(s)) {
                    let name = tags::map(instance.tags()).remove("Name").map(|n| format!(" ({n})")).unwrap_or_default();
                    found.push((image.to_owned(), format!("instance {id}{name}")));
                }
            }
            next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// The newest and the default version of each launch template: older ones are only history. Those of stacks have their first
/// version for a default for ever, and it counts for nothing: their groups name the newest.
async fn templates(client: &Client, ids: &BTreeSet<String>, cx: &Cx) -> Result<Vec<(String, String)>> {
    let newest = newest_of_stacks(client, cx).await?;
    let history = |version: &&LaunchTemplateVersion| {
        let newest = version.launch_template_id().and_then(|id| newest.get(id));
        newest.is_some_and(|newest| version.version_number() != Some(*newest))
    };
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let request = client.ec2.describe_launch_template_versions().versions("$Latest").versions("$Default");
        let page = client.read("DescribeLaunchTemplateVersions", cx, request.set_next_token(next).send()).await?;
        found.extend(page.launch_template_versions().iter().filter(|v| !history(v)).filter_map(|v| in_template(v, ids)));
        next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// The number of the newest version, by the ID of each launch template that a stack has made.
async fn newest_of_stacks(client: &Client, cx: &Cx) -> Result<BTreeMap<String, i64>> {
    let (mut found, mut next) = (BTreeMap::new(), None);
    loop {
        let request = client.ec2.describe_launch_templates().set_next_token(next);
        let page = client.read("DescribeLaunchTemplates", cx, request.send()).await?;
        for template in page.launch_templates() {
            let tags = tags::map(template.tags());
            let of_stack =
                tags.contains_key("aws:cloudformation:stack-id") || (tags.contains_key("App") && tags.contains_key("Env"));
            if let (true, Some(id), Some(newest)) = (of_stack, template.launch_template_id(), template.latest_version_number()) {
                found.insert(id.to_owned(), newest);
            }
        }
        next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
        if next.is_none() {
            return Ok(found);
        }
    }
}

fn in_template(version: &LaunchTemplateVersion, ids: &BTreeSet<String>) -> Option<(String, String)> {
    let image = version.launch_template_data()?.image_id().filter(|image| ids.contains(*image))?;
    let name = version.launch_template_name().or(version.launch_template_id()).unwrap_or_default();
    Some((image.to_owned(), format!("launch template {name} (version {})", version.version_number().unwrap_or_default())))
}

async fn groups(client: &Client, ids: &BTreeSet<String>, cx: &Cx) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for Launches { group, template, configuration } in launches(client, cx).await? {
        if let Some((template, version)) = template {
            let request = client.ec2.describe_launch_template_versions().launch_template_id(&template).versions(&version);
            let versions = match client.read("DescribeLaunchTemplateVersions", cx, request.send()).await {
                Err(t) if t.is(|f| f.code.starts_with("InvalidLaunchTemplate")) => continue,
                other => other?,
            };
            let images = versions.launch_template_versions().iter().filter_map(|v| in_template(v, ids));
            found.extend(images.map(|(image, _)| (image, format!("auto-scaling group {group}"))));
        }
        if let Some(name) = configuration {
            let request = client.scaling.describe_launch_configurations().launch_configuration_names(&name);
            let answer = client.read("autoscaling:DescribeLaunchConfigurations", cx, request.send()).await?;
            let images = answer.launch_configurations().iter().filter_map(|c| c.image_id()).filter(|id| ids.contains(*id));
            found.extend(images.map(|image| (image.to_owned(), format!("auto-scaling group {group}"))));
        }
    }
    Ok(found)
}

async fn launches(client: &Client, cx: &Cx) -> Result<Vec<Launches>> {
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let request = client.scaling.describe_auto_scaling_groups().set_next_token(next);
        let page = client.read("autoscaling:DescribeAutoScalingGroups", cx, request.send()).await?;
        for group in page.auto_scaling_groups() {
            let mixed = || group.mixed_instances_policy()?.launch_template()?.launch_template_specification();
            let template = group
                .launch_template()
                .or_else(mixed)
                .and_then(|t| Some((t.launch_template_id()?.to_owned(), t.version().unwrap_or("$Default").to_owned())));
            found.push(Launches {
                group: group.auto_scaling_group_name().unwrap_or_default().to_owned(),
                template,
                configuration: group.launch_configuration_name().filter(|n| !n.is_empty()).map(str::to_owned),
            });
        }
        next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
        if next.is_none() {
            return Ok(found);
        }
    }
}

async fn stacks(client: &Client, ids: &BTreeSet<String>, cx: &Cx) -> Result<Vec<(String, String)>> {
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let request = client.stacks.describe_stacks().set_next_token(next);
        let page = client.read("cloudformation:DescribeStacks", cx, request.send()).await?;
        for stack in page.stacks() {
            let gone = stack.stack_status().is_some_and(|s| s.as_str() == "DELETE_COMPLETE");
            for parameter in stack.parameters().iter().filter(|_| !gone) {
                let value = parameter.resolved_value().or(parameter.parameter_value()).unwrap_or_default();
                if ids.contains(value) {
                    let (name, key) = (stack.stack_name().unwrap_or_default(), parameter.parameter_key().unwrap_or_default());
                    found.push((value.to_owned(), format!("stack {name} (parameter {key})")));
                }
            }
        }
        next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
        if next.is_none() {
            return Ok(found);
        }
    }
}
