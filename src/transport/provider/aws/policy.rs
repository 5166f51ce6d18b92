//! What opsrun must be allowed to do: the minimal IAM policy.

use serde_json::{Value, json};

/// Actions that only look. IAM has no conditions for them.
const READS: [&str; 16] = [
    "DescribeAvailabilityZones",
    "DescribeImages",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeInternetGateways",
    "DescribeKeyPairs",
    "DescribeLaunchTemplateVersions",
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

/// Returns the policy document.
pub fn document() -> Value {
    let actions = |names: &[&str]| names.iter().map(|n| format!("ec2:{n}")).collect::<Vec<_>>();
    json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Sid": "Look", "Effect": "Allow", "Action": actions(&READS), "Resource": "*" },
            { "Sid": "WhoAmI", "Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*" },
            { "Sid": "NamesOfImages", "Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*" },
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
