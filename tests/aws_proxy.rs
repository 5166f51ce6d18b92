//! The fake AWS of the tests does what it says, seen through boto3 and through its own control.

#[path = "common/aws.rs"]
mod aws;

use aws::{Aws, REGION, When, python, support};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

fn boto3(aws: &Aws, script: &str) -> Command {
    let text = format!(
        "import boto3\nfrom botocore.config import Config\nec2 = boto3.client('ec2', region_name='{REGION}', config=Config(retries={{'total_max_attempts': 1}}))\n{script}"
    );
    let mut command = Command::new(python());
    aws.environment(&mut command);
    command.args(["-c", &text]);
    command
}

fn python_tests(file: &str) {
    let aws = Aws::start();
    let mut tests = Command::new(python());
    aws.environment(&mut tests);
    let out = tests.arg(support(file)).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn each_fault_appears_in_boto3() {
    python_tests("test_aws_proxy.py");
}

#[test]
fn stacks_have_instances_and_meet_what_is_ordered() {
    python_tests("test_aws_bridge.py");
}

#[test]
fn what_exists_and_what_was_called() {
    let aws = Aws::start();
    aws.assert_none(REGION, "at first");
    let out = boto3(&aws, "ec2.create_vpc(CidrBlock='10.0.0.0/16')").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    aws.assert_exactly(REGION, &[("VPC", 1)], "after CreateVpc");
    let changes = aws.changes();
    assert_eq!(changes.iter().map(|c| (c.action.as_str(), c.status)).collect::<Vec<_>>(), [("CreateVpc", 200)]);
    aws.script(&json!([{ "do": "deny", "action": "CreateVpc" }]));
    let out = boto3(&aws, "ec2.create_vpc(CidrBlock='10.0.0.0/16')").output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("UnauthorizedOperation"));
    assert_eq!(aws.calls_of("CreateVpc")[1].error.as_deref(), Some("UnauthorizedOperation"));
}

#[test]
fn a_program_is_killed_exactly_at_a_call() {
    for (when, exist) in [(When::Before, 1), (When::After, 2)] {
        let aws = Aws::start();
        aws.stop_at(2, when);
        let mut program = boto3(&aws, "for n in range(9): ec2.create_vpc(CidrBlock=f'10.{n}.0.0/16')").spawn().unwrap();
        assert_eq!(aws.stopped(Duration::from_secs(60)).as_deref(), Some("CreateVpc"));
        program.kill().unwrap();
        program.wait().unwrap();
        aws.release();
        aws.assert_exactly(REGION, &[("VPC", exist)], &format!("killed {when:?} the second call"));
    }
}

/// A real sshd behind ProxyCommand, with what its user data and its key pair say, and with host keys of its own.
#[test]
fn an_instance_is_played_by_a_machine() {
    let (aws, dir) = (Aws::start(), tempfile::tempdir().unwrap());
    let key = dir.path().join("id");
    let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    let launch = format!(
        "ec2.import_key_pair(KeyName='k', PublicKeyMaterial=open('{}.pub', 'rb').read())\n\
         image = ec2.describe_images()['Images'][0]['ImageId']\n\
         data = '#cloud-config\\nruncmd:\\n- touch /etc/ssh/booted\\n'\n\
         ec2.run_instances(ImageId=image, InstanceType='c7i.large', KeyName='k', MinCount=1, MaxCount=1, UserData=data)\n\
         one = ec2.describe_instances()['Reservations'][0]['Instances'][0]\n\
         print(one['InstanceId'], one['PrivateIpAddress'])",
        key.display()
    );
    let out = boto3(&aws, &launch).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let (id, address) = said.trim().split_once(' ').unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&out.stderr)));
    let ssh = || {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"]);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", dir.path().join("known_hosts").display()));
        ssh.arg("-o").arg(format!("ProxyCommand={}", aws.machine(&dir.path().join("machines"), REGION)));
        ssh.arg("-i").arg(&key).arg(format!("root@{address}")).arg("ls /etc/ssh; touch here; ls");
        ssh.output().unwrap()
    };
    for _ in 0..2 {
        let out = ssh();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(said.starts_with("booted\n") && said.ends_with("\nhere\n") && said.contains("ssh_host_ed25519_key"), "{said}");
    }
    assert!(dir.path().join("machines").join(id).join("home/here").exists(), "its home is its own");
    let out = boto3(&aws, &format!("ec2.stop_instances(InstanceIds=['{id}'])")).output().unwrap();
    assert!(out.status.success());
    let out = ssh();
    assert!(String::from_utf8_lossy(&out.stderr).contains("no instance runs at"), "{}", String::from_utf8_lossy(&out.stderr));
}
