//! Bad input is found before the first call that changes anything, where the cloud can tell; each is an error that names it.

use crate::lab::in_the_console;
use crate::project::{FULL, PROVISION, Project};
use serde_json::json;

/// Fails, touches nothing, and says all of these.
#[track_caller]
fn refused(project: &Project, words: &[&str]) -> String {
    let out = project.run(PROVISION);
    let said = crate::project::said(&out);
    assert!(!out.status.success(), "{said}");
    project.assert_untouched(&said);
    for word in words {
        assert!(said.contains(word), "{word:?} is not said: {said}");
    }
    said
}

#[test]
fn wrong_credentials() {
    let project = Project::new();
    project.config(FULL, "");
    project.aws.script(&json!([{ "do": "error", "code": "AuthFailure", "status": 401, "message": "AWS was not able to validate the provided access credentials" }]));
    refused(&project, &["credentials"]);
}

#[test]
fn no_credentials() {
    let project = Project::new();
    project.config(FULL, "");
    let mut command = project.command(PROVISION);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("HOME", project.path("nobody"));
    let out = command.output().unwrap();
    let said = crate::project::said(&out);
    assert!(!out.status.success() && said.contains("credentials"), "{said}");
    assert!(project.aws.calls().is_empty());
}

#[test]
fn unknown_image() {
    let project = Project::new();
    project.config(FULL, "server_ami: ami-0123456789abcdef0");
    refused(&project, &["ami-0123456789abcdef0", "server"]);
}

#[test]
fn unknown_type() {
    let project = Project::new();
    project.config(FULL, "server_instance_type: c99.huge");
    refused(&project, &["c99.huge"]);
}

#[test]
fn unknown_zone() {
    let project = Project::new();
    project.config(FULL, "availability_zone: eu-central-1x");
    refused(&project, &["eu-central-1x"]);
}

#[test]
fn unknown_region() {
    let project = Project::new();
    project.config(FULL, "region: eu-nowhere-1\navailability_zone: eu-nowhere-1a");
    refused(&project, &["eu-nowhere-1"]);
}

/// The image is for x86_64, the type for arm64.
#[test]
fn another_architecture() {
    let project = Project::new();
    project.config(FULL, "server_instance_type: c7g.large");
    refused(&project, &["c7g.large", "arm64", "x86_64"]);
}

#[test]
fn unknown_vpc() {
    let project = Project::new();
    project.config(FULL, "vpc: vpc-0123456789abcdef0");
    refused(&project, &["vpc-0123456789abcdef0"]);
}

#[test]
fn a_subnet_without_enough_addresses() {
    let project = Project::new();
    let made = in_the_console(
        &project,
        "vpc = ec2.create_vpc(CidrBlock='10.9.0.0/16')['Vpc']['VpcId']\n\
         subnet = ec2.create_subnet(VpcId=vpc, CidrBlock='10.9.1.0/28', AvailabilityZone='eu-central-1a')['Subnet']['SubnetId']\n\
         print(vpc, subnet)",
    );
    let (vpc, subnet) = made.trim().split_once(' ').unwrap();
    project.aws.forget();
    project.config(&[("server", 12)], &format!("vpc: {vpc}\nsubnet: {subnet}"));
    refused(&project, &[subnet, "12"]);
}

/// The name is taken: by a key pair that somebody made, or by another deployment.
#[test]
fn a_name_that_belongs_to_another() {
    let project = Project::new();
    in_the_console(
        &project,
        "ec2.create_key_pair(KeyName='opsrun-lab', TagSpecifications=[{'ResourceType': 'key-pair', 'Tags': [{'Key': 'Owner', 'Value': 'somebody@example.com'}]}])",
    );
    project.aws.forget();
    project.config(FULL, "");
    refused(&project, &["opsrun-lab", "somebody@example.com"]);
}

/// Each denied action is named, with the way to the whole policy.
#[test]
fn denied_actions() {
    for action in ["DescribeInstances", "ImportKeyPair", "CreateVpc", "CreateSecurityGroup", "RunInstances", "CreateTags"] {
        let project = Project::new();
        project.config(FULL, "");
        project.aws.script(&json!([{ "do": "deny", "action": action }]));
        let said = project.fails(1, PROVISION);
        for words in [&format!("ec2:{action}"), "opsrun aws policy"] {
            assert!(said.contains(words), "{words} is not said: {said}");
        }
        project.aws.script(&json!([]));
        project.deprovision(&format!("{action} was denied"));
    }
}

#[test]
fn the_policy_allows_what_is_called() {
    let project = Project::new();
    let out = project.succeeds(&["aws", "policy"]);
    let policy: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let policy = policy.to_string();
    project.config(FULL, "");
    project.provision();
    project.config(&[("server", 2)], "server_instance_type: c7i.xlarge");
    project.provision();
    project.deprovision("for its calls");
    for call in project.aws.calls() {
        let action = format!("\"{}:{}\"", call.service, call.action);
        assert!(policy.contains(&action), "{action} is called, and not in the policy: {policy}");
    }
}
