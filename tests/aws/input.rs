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

/// Each denied action is named, with the way to the whole policy, before anything is changed.
#[test]
fn denied_actions() {
    let project = Project::new();
    project.config(FULL, "");
    let reads = ["DescribeInstances", "DescribeKeyPairs"];
    let changes = ["ImportKeyPair", "CreateVpc", "CreateInternetGateway", "CreateSecurityGroup", "RunInstances", "CreateTags"];
    for action in reads.iter().chain(&changes) {
        project.aws.script(&json!([{ "do": "deny", "action": action }]));
        refused(&project, &[&format!("ec2:{action}"), "opsrun aws policy"]);
        assert!(!project.path("deployments/lab").exists(), "{action} was denied, and there is a deployment");
    }
}

/// An action that no dry run tells of: what was made goes when the removal is allowed again.
#[test]
fn an_action_denied_on_the_way() {
    let project = Project::new();
    project.config(FULL, "");
    project.aws.script(&json!([{ "do": "deny", "action": "CreateRoute" }]));
    let said = project.fails(1, PROVISION);
    assert!(said.contains("ec2:CreateRoute") && said.contains("opsrun aws policy"), "{said}");
    project.aws.script(&json!([]));
    project.deprovision("CreateRoute was denied");
}

/// Only in other zones than the one that is asked for.
#[test]
fn a_type_that_the_zone_does_not_have() {
    let project = Project::new();
    project.config(FULL, "server_instance_type: f2.6xlarge");
    refused(&project, &["f2.6xlarge", "eu-central-1a", "eu-central-1b, eu-central-1c"]);
}

/// The deployment's own key pair was made anew by somebody, with another key.
#[test]
fn a_key_pair_with_another_key() {
    let project = Project::new();
    project.config(&[("server", 1)], "");
    project.provision();
    in_the_console(
        &project,
        "tags = ec2.describe_key_pairs(KeyNames=['opsrun-lab'])['KeyPairs'][0]['Tags']\n\
         ec2.delete_key_pair(KeyName='opsrun-lab')\n\
         key = b'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHlt8IqM3Dd5PBrXUXiPi0yz7JjiW6mP5Yk3VYjzvRxw somebody'\n\
         ec2.import_key_pair(KeyName='opsrun-lab', PublicKeyMaterial=key, TagSpecifications=[{'ResourceType': 'key-pair', 'Tags': tags}])",
    );
    project.aws.forget();
    project.config(&[("server", 2)], "");
    refused(&project, &["opsrun-lab", "another key"]);
    project.deprovision("another key");
}

/// Both words are there, and they contradict each other.
#[test]
fn spot_that_is_to_be_stopped() {
    let project = Project::new();
    project.config(FULL, "client_spot: true\nclient_state: stopped");
    refused(&project, &["client", "one-time spot instance cannot be stopped"]);
}

/// Said in the plan, because everybody in the world is many.
#[test]
fn open_to_the_whole_internet_is_said() {
    let project = Project::new();
    project.config(FULL, "allow_from: 0.0.0.0/0");
    let plan = crate::project::said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]));
    assert!(plan.contains("whole internet") && plan.contains("22 for 0.0.0.0/0"), "{plan}");
    project.assert_untouched("a plan changes nothing");
}

/// Every project of every test looks at this at its end: see `Project::drop`.
#[test]
fn the_policy_is_for_what_is_called() {
    let project = Project::new();
    let out = project.succeeds(&["aws", "policy"]);
    let policy: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    let text = policy.to_string();
    assert!(!text.contains("ec2:*") && !text.contains("\"*:*\""), "{text}");
}
