//! Proof by tags that nothing of an environment is left, or what is, why, and what removes it.

use super::{Stack, Waits};
use crate::base::error::Result;
use crate::base::event::{Cx, Unit};
use crate::domain::formation::{Template, deletion_policy};
use crate::transport::provider::aws::tagged::{self, Tagged};
use serde::Serialize;
use std::time::Instant;

/// Something that still carries the tags of the environment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LeftOver {
    /// `DB snapshot shop-staging-final`
    pub what: String,
    pub arn: String,
    pub why: String,
    /// What removes it. None: its service's console does.
    pub command: Option<String>,
}

/// Service, kind, what people call it, and the command that removes it. `{id}`, `{arn}`, `{last}` (what follows the last `/`).
const KINDS: [(&str, &str, &str, &str); 45] = [
    ("ec2", "instance", "instance", "aws ec2 terminate-instances --instance-ids {id}"),
    ("ec2", "volume", "volume", "aws ec2 delete-volume --volume-id {id}"),
    ("ec2", "snapshot", "snapshot", "aws ec2 delete-snapshot --snapshot-id {id}"),
    ("ec2", "image", "image", "aws ec2 deregister-image --image-id {id}"),
    ("ec2", "network-interface", "network interface", "aws ec2 delete-network-interface --network-interface-id {id}"),
    ("ec2", "launch-template", "launch template", "aws ec2 delete-launch-template --launch-template-id {id}"),
    ("ec2", "vpc", "VPC", "aws ec2 delete-vpc --vpc-id {id}"),
    ("ec2", "subnet", "subnet", "aws ec2 delete-subnet --subnet-id {id}"),
    ("ec2", "security-group", "security group", "aws ec2 delete-security-group --group-id {id}"),
    ("ec2", "internet-gateway", "internet gateway", "aws ec2 delete-internet-gateway --internet-gateway-id {id}"),
    ("ec2", "route-table", "route table", "aws ec2 delete-route-table --route-table-id {id}"),
    ("ec2", "natgateway", "NAT gateway", "aws ec2 delete-nat-gateway --nat-gateway-id {id}"),
    ("ec2", "elastic-ip", "address", "aws ec2 release-address --allocation-id {id}"),
    ("ec2", "key-pair", "key pair", "aws ec2 delete-key-pair --key-pair-id {id}"),
    ("ec2", "vpc-endpoint", "VPC endpoint", "aws ec2 delete-vpc-endpoints --vpc-endpoint-ids {id}"),
    (
        "rds",
        "db",
        "DB instance",
        "aws rds delete-db-instance --db-instance-identifier {id} --final-db-snapshot-identifier {id}-final",
    ),
    (
        "rds",
        "cluster",
        "DB cluster",
        "aws rds delete-db-cluster --db-cluster-identifier {id} --final-db-snapshot-identifier {id}-final",
    ),
    ("rds", "snapshot", "DB snapshot", "aws rds delete-db-snapshot --db-snapshot-identifier {id}"),
    (
        "rds",
        "cluster-snapshot",
        "DB cluster snapshot",
        "aws rds delete-db-cluster-snapshot --db-cluster-snapshot-identifier {id}",
    ),
    ("rds", "subgrp", "DB subnet group", "aws rds delete-db-subnet-group --db-subnet-group-name {id}"),
    ("rds", "pg", "DB parameter group", "aws rds delete-db-parameter-group --db-parameter-group-name {id}"),
    (
        "rds",
        "auto-backup",
        "automated backup",
        "aws rds delete-db-instance-automated-backup --db-instance-automated-backups-arn {arn}",
    ),
    ("elasticache", "cluster", "cache cluster", "aws elasticache delete-cache-cluster --cache-cluster-id {id}"),
    (
        "elasticache",
        "replicationgroup",
        "replication group",
        "aws elasticache delete-replication-group --replication-group-id {id}",
    ),
    ("elasticache", "snapshot", "cache snapshot", "aws elasticache delete-snapshot --snapshot-name {id}"),
    (
        "elasticache",
        "subnetgroup",
        "cache subnet group",
        "aws elasticache delete-cache-subnet-group --cache-subnet-group-name {id}",
    ),
    ("elasticloadbalancing", "loadbalancer", "load balancer", "aws elbv2 delete-load-balancer --load-balancer-arn {arn}"),
    ("elasticloadbalancing", "targetgroup", "target group", "aws elbv2 delete-target-group --target-group-arn {arn}"),
    ("elasticloadbalancing", "listener", "listener", "aws elbv2 delete-listener --listener-arn {arn}"),
    (
        "autoscaling",
        "autoScalingGroup",
        "auto-scaling group",
        "aws autoscaling delete-auto-scaling-group --force-delete --auto-scaling-group-name {last}",
    ),
    ("cloudformation", "stack", "stack", "aws cloudformation delete-stack --stack-name {arn}"),
    ("s3", "", "bucket", "aws s3 rb --force s3://{id}"),
    ("dynamodb", "table", "table", "aws dynamodb delete-table --table-name {id}"),
    ("elasticfilesystem", "file-system", "file system", "aws efs delete-file-system --file-system-id {id}"),
    ("secretsmanager", "secret", "secret", "aws secretsmanager delete-secret --secret-id {arn}"),
    ("ssm", "parameter", "parameter", "aws ssm delete-parameter --name /{id}"),
    ("logs", "log-group", "log group", "aws logs delete-log-group --log-group-name {id}"),
    ("kms", "key", "key", "aws kms schedule-key-deletion --key-id {id}"),
    ("sns", "", "topic", "aws sns delete-topic --topic-arn {arn}"),
    ("iam", "role", "role", "aws iam delete-role --role-name {last}"),
    ("iam", "user", "user", "aws iam delete-user --user-name {last}"),
    ("iam", "policy", "policy", "aws iam delete-policy --policy-arn {arn}"),
    ("iam", "instance-profile", "instance profile", "aws iam delete-instance-profile --instance-profile-name {last}"),
    ("ecr", "repository", "repository", "aws ecr delete-repository --force --repository-name {id}"),
    ("lambda", "function", "function", "aws lambda delete-function --function-name {id}"),
];

/// CloudFormation's own tags, which stay on what it leaves behind.
const LOGICAL_ID: &str = "aws:cloudformation:logical-id";
const OF_STACK: &str = "aws:cloudformation:stack-name";
/// The tags of images of ours, and of what deployments of ours are made of.
const ROLE_HASH: &str = "opsrun:role-hash";
const UUID: &str = "opsrun:uuid";
const DEPLOYMENT: &str = "Deployment";

impl Stack {
    /// Returns all that still carries the tags `App` and `Env` of this environment: nothing, when all is gone. What is being
    /// deleted, and what only AWS's index of tags still names, is waited for as long as AWS may take to notice.
    pub async fn left_over(&self, cx: &Cx) -> Result<Vec<LeftOver>> {
        let start = Instant::now();
        let template = self.environment.template().ok();
        let progress = cx.events.progress(format!("{}: looking for what is left", self.name), 0, Unit::Items);
        let mut waits = Waits::new(self.pace());
        loop {
            let found = tagged::all(&self.client, &self.environment.tags(), cx).await?;
            let passing = found.iter().filter(|t| is_going(t) || !(t.seen || is_kept(t, template.as_ref()))).count();
            if passing == 0 || start.elapsed() > self.settle {
                let tell = |t: &Tagged| left(t, template.as_ref(), &self.environment.name, &self.client.region);
                return Ok(found.iter().map(tell).collect());
            }
            progress.label(format!("{}: {passing} are still on their way out", self.name));
            waits.wait(cx).await?;
        }
    }
}

/// It is on its way out.
fn is_going(tagged: &Tagged) -> bool {
    tagged.state.as_deref().is_some_and(|s| matches!(s, "shutting-down" | "deleting" | "pending-deletion"))
}

/// It stays on purpose: there is no use in waiting for its end.
fn is_kept(tagged: &Tagged, template: Option<&Template>) -> bool {
    let entry = || template?.resource(tagged.tags.get(LOGICAL_ID)?);
    tagged.arn.kind.ends_with("snapshot") || entry().is_some_and(|e| deletion_policy(e).starts_with("Retain"))
}

fn left(tagged: &Tagged, template: Option<&Template>, environment: &str, region: &str) -> LeftOver {
    let arn = &tagged.arn;
    let known = KINDS.iter().find(|(service, kind, ..)| arn.service == *service && arn.kind == *kind);
    let name = tagged.name.as_ref().filter(|n| !n.is_empty()).map(|n| format!(" ({n})")).unwrap_or_default();
    let what = match known {
        Some((_, _, words, _)) => format!("{words} {}{name}", last(&arn.text, arn)),
        None => format!("{} {}{name}", format!("{} {}", arn.service, arn.kind).trim(), arn.id),
    };
    let command = known.map(|(.., command)| {
        let filled = command.replace("{id}", &arn.id).replace("{arn}", &arn.text).replace("{last}", last(&arn.text, arn));
        format!("{filled} --region {region}")
    });
    let (why, better) = why(tagged, template, environment);
    LeftOver { what, arn: arn.text.clone(), why, command: better.or(command) }
}

/// `web` of `…:autoScalingGroup:uuid:autoScalingGroupName/web`; the ID itself where nothing of the sort is in it.
fn last<'a>(text: &'a str, arn: &'a tagged::Arn) -> &'a str {
    match arn.service.as_str() {
        "autoscaling" | "iam" => text.rsplit('/').next().unwrap_or(text),
        _ => &arn.id,
    }
}

/// Why it is there, and the command of ours that removes it.
fn why(tagged: &Tagged, template: Option<&Template>, environment: &str) -> (String, Option<String>) {
    let tag = |key: &str| tagged.tags.get(key).map(String::as_str);
    let clean = || Some(format!("opsrun manage {environment} clean"));
    if is_going(tagged) {
        return ("it is being deleted, and goes by itself".to_owned(), None);
    }
    if tagged.arn.service == "cloudformation" {
        return ("the stack is there".to_owned(), Some(format!("opsrun manage {environment} decommission")));
    }
    if tag(ROLE_HASH).is_some() && matches!(tagged.arn.kind.as_str(), "image" | "snapshot") {
        return ("an image that opsrun baked, kept for the next commission".to_owned(), clean());
    }
    if tag(UUID).is_some() {
        let name = tag(DEPLOYMENT).unwrap_or_default();
        return (format!("it belongs to deployment {name}, kept from a bake or made by hand"), clean());
    }
    if tagged.arn.kind.ends_with("snapshot") {
        return ("a snapshot: taken when what it is of was deleted (DeletionPolicy: Snapshot), or by hand".to_owned(), None);
    }
    if let Some(id) = tag(LOGICAL_ID) {
        let stack = tag(OF_STACK).unwrap_or("its stack");
        let entry = template.and_then(|t| t.resource(id));
        return match entry.map(|e| (deletion_policy(e), &e.place)) {
            Some((policy, place)) if policy.starts_with("Retain") => {
                (format!("its DeletionPolicy is {policy} ({id} in {place})"), None)
            }
            _ => (format!("it was {id} of stack {stack}, and was left when that was deleted"), None),
        };
    }
    if tagged.seen {
        ("no stack says that it made it; it carries the environment's tags".to_owned(), None)
    } else {
        ("AWS's index of tags names it; opsrun cannot ask its service, and it may be gone already".to_owned(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::formation::File;
    use crate::transport::provider::aws::tagged::Arn;

    fn told(arn: &str, state: Option<&str>, seen: bool, tags: &[(&str, &str)]) -> LeftOver {
        let text = "Resources:\n  Files:\n    Type: AWS::S3::Bucket\n    DeletionPolicy: Retain\n    UpdateReplacePolicy: Retain\n  Vpc:\n    Type: AWS::EC2::VPC\n";
        let template = Template::new(&[File { name: "formations/files.yml".to_owned(), text: text.to_owned() }]).unwrap();
        let tagged = Tagged {
            arn: Arn::read(arn),
            state: state.map(str::to_owned),
            name: None,
            tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            seen,
        };
        left(&tagged, Some(&template), "staging", "eu-central-1")
    }

    #[test]
    fn what_is_left_says_what_it_is_why_and_how_it_goes() {
        let bucket = told("arn:aws:s3:::shop-files", None, true, &[(LOGICAL_ID, "Files"), (OF_STACK, "shop-staging")]);
        assert_eq!(bucket.what, "bucket shop-files");
        assert_eq!(bucket.why, "its DeletionPolicy is Retain (Files in formations/files.yml:2)");
        assert_eq!(bucket.command.unwrap(), "aws s3 rb --force s3://shop-files --region eu-central-1");

        let snapshot = told("arn:aws:rds:eu-central-1:1:snapshot:shop-snapshot-database-1", None, false, &[]);
        assert_eq!(snapshot.what, "DB snapshot shop-snapshot-database-1");
        assert!(snapshot.why.contains("DeletionPolicy: Snapshot"));
        assert!(
            snapshot.command.unwrap().starts_with("aws rds delete-db-snapshot --db-snapshot-identifier shop-snapshot-database-1")
        );

        let image = told("arn:aws:ec2:eu-central-1::image/ami-1", Some("available"), true, &[(ROLE_HASH, "abc")]);
        assert_eq!(image.command.unwrap(), "opsrun manage staging clean");

        let vpc = told("arn:aws:ec2:eu-central-1:1:vpc/vpc-1", None, true, &[(LOGICAL_ID, "Vpc"), (OF_STACK, "shop-staging")]);
        assert_eq!(vpc.why, "it was Vpc of stack shop-staging, and was left when that was deleted");

        let group = "arn:aws:autoscaling:eu-central-1:1:autoScalingGroup:0-1:autoScalingGroupName/shop-staging-web";
        let group = told(group, None, true, &[]);
        assert_eq!(group.what, "auto-scaling group shop-staging-web");
        assert!(group.command.unwrap().contains("--auto-scaling-group-name shop-staging-web --region"));

        let stack = told("arn:aws:cloudformation:eu-central-1:1:stack/shop-staging/55", None, true, &[]);
        assert_eq!(stack.command.unwrap(), "opsrun manage staging decommission");

        let instance = told("arn:aws:ec2:eu-central-1:1:instance/i-1", Some("shutting-down"), true, &[]);
        assert!(instance.why.contains("goes by itself"));

        let odd = told("arn:aws:kinesis:eu-central-1:1:stream/clicks", None, false, &[]);
        assert_eq!((odd.what.as_str(), odd.command), ("kinesis stream clicks", None));
        assert!(odd.why.contains("may be gone already"));
    }
}
