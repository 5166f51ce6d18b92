//! The fake AWS of the tests does what it says, seen through boto3 and through its own control.

#[path = "common/aws.rs"]
mod aws;

use aws::{Aws, REGION, When, python, support};
use serde_json::json;
use std::process::{Command, Output};
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
    assert!(out.status.success(), "{}", text(&out.stderr));
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
    assert!(out.status.success(), "{}", text(&out.stderr));
    aws.assert_exactly(REGION, &[("VPC", 1)], "after CreateVpc");
    let changes = aws.changes();
    assert_eq!(changes.iter().map(|c| (c.action.as_str(), c.status)).collect::<Vec<_>>(), [("CreateVpc", 200)]);
    aws.script(&json!([{ "do": "deny", "action": "CreateVpc" }]));
    let out = boto3(&aws, "ec2.create_vpc(CidrBlock='10.0.0.0/16')").output().unwrap();
    assert!(text(&out.stderr).contains("UnauthorizedOperation"));
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Instances that are played, and a key pair for them.
struct Machines {
    aws: Aws,
    dir: tempfile::TempDir,
    whole: bool,
}

impl Machines {
    fn new(whole: bool) -> Self {
        let (aws, dir) = (Aws::start(), tempfile::tempdir().unwrap());
        let made =
            Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(dir.path().join("id")).status().unwrap();
        assert!(made.success());
        let key = dir.path().join("id.pub");
        let machines = Self { aws, dir, whole };
        machines.said(&format!("ec2.import_key_pair(KeyName='k', PublicKeyMaterial=open('{}', 'rb').read())", key.display()));
        machines
    }

    fn said(&self, script: &str) -> String {
        let out = boto3(&self.aws, script).output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout).trim().to_owned()
    }

    /// The id and the address of a new one; the image is an expression.
    fn launch(&self, image: &str) -> (String, String) {
        let said = self.said(&format!(
            "data = '#cloud-config\\nruncmd:\\n- touch /etc/ssh/booted\\n'\n\
             one = ec2.run_instances(ImageId={image}, InstanceType='c7i.large', KeyName='k', MinCount=1, MaxCount=1, UserData=data)['Instances'][0]\n\
             print(one['InstanceId'], one['PrivateIpAddress'])"
        ));
        let (id, address) = said.split_once(' ').unwrap();
        (id.to_owned(), address.to_owned())
    }

    fn ssh(&self, address: &str, command: &str) -> Output {
        let folder = self.dir.path().join("machines");
        let way = if self.whole { self.aws.whole_machine(&folder, REGION) } else { self.aws.machine(&folder, REGION) };
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"]);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", self.dir.path().join("known_hosts").display()));
        ssh.arg("-o").arg(format!("ProxyCommand={way}")).arg("-i").arg(self.dir.path().join("id"));
        ssh.arg(format!("root@{address}")).arg(command).output().unwrap()
    }
}

/// A real sshd behind ProxyCommand, with what its user data and its key pair say, and with host keys of its own.
#[test]
fn an_instance_is_played_by_a_machine() {
    let machines = Machines::new(false);
    let (id, address) = machines.launch("ec2.describe_images()['Images'][0]['ImageId']");
    let ssh = || machines.ssh(&address, "ls /etc/ssh; touch here; ls");
    for _ in 0..2 {
        let out = ssh();
        let said = text(&out.stdout);
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert!(said.starts_with("booted\n") && said.ends_with("\nhere\n") && said.contains("ssh_host_ed25519_key"), "{said}");
    }
    assert!(machines.dir.path().join("machines").join(&id).join("home/here").exists(), "its home is its own");
    machines.said(&format!("ec2.stop_instances(InstanceIds=['{id}'])"));
    let out = ssh();
    assert!(text(&out.stderr).contains("no instance runs at"), "{}", text(&out.stderr));
}

/// What is done to a whole one is not done to this machine, is in the image that is made of it, and its shutdown stops it.
#[test]
fn a_whole_instance_is_baked() {
    let machines = Machines::new(true);
    let (id, address) = machines.launch("ec2.describe_images()['Images'][0]['ImageId']");
    let id_here = std::fs::read("/etc/machine-id").ok();
    let bake = "echo web > /etc/opsrun-baked; rm -f /etc/machine-id; mkdir /opt/opsrun-baked; ls /run/systemd";
    std::thread::scope(|scope| {
        let baking = scope.spawn(|| machines.ssh(&address, bake));
        let beside = scope.spawn(|| machines.ssh(&address, "true"));
        assert!(
            text(&baking.join().unwrap().stderr).contains("/run/systemd"),
            "the service manager of this machine is not its own"
        );
        assert!(beside.join().unwrap().status.success());
    });
    let out = machines.ssh(&address, "cat /etc/opsrun-baked");
    assert_eq!(text(&out.stdout), "web\n", "{}", text(&out.stderr));
    assert!(!std::path::Path::new("/etc/opsrun-baked").exists() && !std::path::Path::new("/opt/opsrun-baked").exists());
    assert_eq!(std::fs::read("/etc/machine-id").ok(), id_here);
    machines.ssh(&address, "rm /etc/ssh/ssh_host_*; shutdown -h now");
    let state = machines.said(&format!(
        "print(ec2.describe_instances(InstanceIds=['{id}'])['Reservations'][0]['Instances'][0]['State']['Name'])"
    ));
    assert_eq!(state, "stopped");
    let made = machines.said(&format!(
        "print(ec2.create_image(InstanceId='{id}', Name='web-abc')['ImageId'])\nec2.describe_images(Owners=['self'])"
    ));
    let (_, address) = machines.launch(&format!("'{made}'"));
    let out = machines
        .ssh(&address, "cat /etc/opsrun-baked; ls -d /opt/opsrun-baked /etc/machine-id; ls /etc/ssh/ssh_host_ed25519_key");
    assert_eq!(text(&out.stdout), "web\n/opt/opsrun-baked\n/etc/ssh/ssh_host_ed25519_key\n", "{}", text(&out.stderr));
}

/// The formations that come with opsrun, merged by it, go through a change set, up, round and down.
#[test]
fn the_formations_of_opsrun_are_taken() {
    let (aws, dir) = (Aws::start(), tempfile::tempdir().unwrap());
    let opsrun = |verb: &str| {
        let out =
            Command::new(env!("CARGO_BIN_EXE_opsrun")).args(["manage", "staging", verb]).current_dir(&dir).output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        out.stdout
    };
    opsrun("init");
    let template = dir.path().join("merged.yml");
    std::fs::write(&template, opsrun("template")).unwrap();
    let mut tests = Command::new(python());
    aws.environment(&mut tests);
    let out = tests
        .arg(support("test_aws_formations.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TEMPLATE", template)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
}
