//! What load balancers say of the machines behind them.

use super::client::Client;
use super::stack;
use crate::base::error::Result;
use crate::base::event::Cx;
use futures::future::try_join_all;
use serde::Serialize;

const KIND: &str = "AWS::ElasticLoadBalancingV2::TargetGroup";
const NESTED: &str = "AWS::CloudFormation::Stack";
/// As many as one call takes.
const TAGGED: usize = 20;

/// A target group of a stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetGroup {
    pub arn: String,
    /// Its name in the template.
    pub logical_id: String,
    /// Which machines it is for, by its tag.
    pub group: Option<String>,
}

/// Something that a load balancer sends requests to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Target {
    /// An instance's, or an address.
    pub id: String,
    pub port: Option<i32>,
    /// `healthy`, `initial`, `unhealthy`, `draining`, `unused`, `unavailable`
    pub state: String,
    /// `Target.ResponseCodeMismatch`
    pub reason: Option<String>,
    pub description: Option<String>,
}

impl Target {
    pub fn is_healthy(&self) -> bool {
        self.state == "healthy"
    }

    /// It gets no new requests, because it is about to go.
    pub fn is_leaving(&self) -> bool {
        self.state == "draining"
    }
}

/// The target groups of a stack, and of the stacks in it.
pub async fn target_groups(client: &Client, name: &str, cx: &Cx) -> Result<Vec<TargetGroup>> {
    let (mut found, mut stacks) = (Vec::new(), vec![name.to_owned()]);
    while let Some(name) = stacks.pop() {
        for resource in stack::resources(client, &name, cx).await? {
            let Some(id) = resource.physical_id else { continue };
            match resource.kind.as_str() {
                // One that failed to be made may have a name, and no group behind it.
                KIND if id.starts_with("arn:") => {
                    found.push(TargetGroup { arn: id, logical_id: resource.logical_id, group: None });
                }
                NESTED => stacks.push(id),
                _ => {}
            }
        }
    }
    found.sort_by(|a, b| a.logical_id.cmp(&b.logical_id));
    for some in found.chunks_mut(TAGGED) {
        let arns = some.iter().map(|g| g.arn.clone()).collect();
        let request = client.balancing.describe_tags().set_resource_arns(Some(arns));
        let answer = client.read("elasticloadbalancing:DescribeTags", cx, request.send()).await?;
        for group in some {
            let tags = answer.tag_descriptions().iter().find(|d| d.resource_arn() == Some(&group.arn));
            let tag = tags.and_then(|d| d.tags().iter().find(|t| t.key() == Some("Group")));
            group.group = tag.and_then(|t| t.value()).map(str::to_owned);
        }
    }
    Ok(found)
}

/// What is behind each of these, in their order.
pub async fn targets(client: &Client, groups: &[TargetGroup], cx: &Cx) -> Result<Vec<Vec<Target>>> {
    try_join_all(groups.iter().map(|group| async move {
        let request = client.balancing.describe_target_health().target_group_arn(&group.arn);
        let answer = client.read("elasticloadbalancing:DescribeTargetHealth", cx, request.send()).await?;
        let text = |word: Option<&str>| word.filter(|w| !w.is_empty()).map(str::to_owned);
        let target = |d: &aws_sdk_elasticloadbalancingv2::types::TargetHealthDescription| {
            let health = d.target_health();
            let target = d.target()?;
            Some(Target {
                id: target.id().unwrap_or_default().to_owned(),
                port: target.port(),
                state: health.and_then(|h| h.state()).map(|s| s.as_str().to_owned()).unwrap_or_default(),
                reason: health.and_then(|h| h.reason()).map(|r| r.as_str().to_owned()),
                description: text(health.and_then(|h| h.description())),
            })
        };
        Ok(answer.target_health_descriptions().iter().filter_map(target).collect())
    }))
    .await
}
