//! What opsrun must be allowed to do: the minimal IAM policy.

use serde_json::{Value, json};

/// Actions that only look. IAM has no conditions for them.
const READS: [&str; 18] = [
    "DescribeAvailabilityZones",
    "DescribeImages",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeInternetGateways",
    "DescribeKeyPairs",
    "DescribeLaunchTemplateVersions",
    "DescribeLaunchTemplates",
    "DescribeNetworkInterfaces",
    "DescribeRouteTables",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeSubnets",
    "DescribeTags",
    "DescribeVolumes",
    "DescribeVpcs",
    "GetConsoleOutput",
];
const MAKES: [&str; 8] = [
    "CreateImage",
    "CreateInternetGateway",
    "CreateSecurityGroup",
    "CreateSubnet",
    "CreateTags",
    "CreateVpc",
    "ImportKeyPair",
    "RunInstances",
];
/// Actions on what is there: allowed on what carries the tag of a deployment, and on nothing else.
const ON_OURS: [&str; 17] = [
    "AttachInternetGateway",
    "AuthorizeSecurityGroupIngress",
    "CreateRoute",
    "DeleteInternetGateway",
    "DeleteKeyPair",
    "DeleteSecurityGroup",
    "DeleteSnapshot",
    "DeleteSubnet",
    "DeleteVolume",
    "DeleteVpc",
    "DeregisterImage",
    "DetachInternetGateway",
    "ModifyInstanceAttribute",
    "RevokeSecurityGroupIngress",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

/// What stacks of environments take. What is in them takes what it takes: CloudFormation does that with these credentials, or
/// with those of the environment's `role_arn` (which needs iam:PassRole).
const STACKS: &[&str] = &[
    "cloudformation:ContinueUpdateRollback",
    "cloudformation:CreateChangeSet",
    "cloudformation:DeleteChangeSet",
    "cloudformation:DeleteStack",
    "cloudformation:DescribeChangeSet",
    "cloudformation:DescribeEvents",
    "cloudformation:DescribeStackDriftDetectionStatus",
    "cloudformation:DescribeStackEvents",
    "cloudformation:DescribeStackResourceDrifts",
    "cloudformation:DescribeStackResources",
    "cloudformation:DescribeStacks",
    "cloudformation:DetectStackDrift",
    "cloudformation:DetectStackResourceDrift",
    "cloudformation:ExecuteChangeSet",
    "cloudformation:GetStackPolicy",
    "cloudformation:GetTemplate",
    "cloudformation:ListChangeSets",
    "cloudformation:ListImports",
    "cloudformation:ListStackResources",
    "cloudformation:RollbackStack",
    "cloudformation:SetStackPolicy",
    "cloudformation:UpdateTerminationProtection",
    // Templates too large for a call, in the bucket that the environment names.
    "s3:GetObject",
    "s3:PutObject",
    // How its machines are.
    "autoscaling:DescribeAutoScalingInstances",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:DescribeTargetHealth",
    // Proof that nothing of an environment is left.
    "autoscaling:DescribeAutoScalingGroups",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetGroups",
    "s3:ListBucket",
    "tag:GetResources",
];

/// Who uses an image is asked before it is removed.
const USERS: [&str; 2] = ["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeLaunchConfigurations"];

/// Returns the policy document.
pub fn document() -> Value {
    let actions = |names: &[&str]| names.iter().map(|n| format!("ec2:{n}")).collect::<Vec<_>>();
    json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Sid": "Look", "Effect": "Allow", "Action": actions(&READS), "Resource": "*" },
            { "Sid": "WhoAmI", "Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*" },
            { "Sid": "NamesOfImages", "Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*" },
            { "Sid": "Stacks", "Effect": "Allow", "Action": STACKS, "Resource": "*" },
            { "Sid": "UsersOfImages", "Effect": "Allow", "Action": USERS, "Resource": "*" },
            { "Sid": "Make", "Effect": "Allow", "Action": actions(&MAKES), "Resource": "*" },
            {
                "Sid": "ChangeWhatIsOurs",
                "Effect": "Allow",
                "Action": actions(&ON_OURS),
                "Resource": "*",
                "Condition": { "Null": { "aws:ResourceTag/opsrun:uuid": "false" } },
            },
        ],
    })
}
