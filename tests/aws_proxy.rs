//! The fake EC2 of the tests does what it says, seen through boto3 and through its own control.

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

#[test]
fn each_fault_appears_in_boto3() {
    let aws = Aws::start();
    let mut tests = Command::new(python());
    aws.environment(&mut tests);
    let out = tests.arg(support("test_aws_proxy.py")).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
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
