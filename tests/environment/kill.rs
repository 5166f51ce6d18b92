//! The kill matrix of the verbs: SIGKILL before and after every call that changes the cloud; then the same command again, which must
//! end in what it would have made undisturbed; then decommission and clean, after which nothing may be left.
//!
//! A spread of the points of `commission` is taken by default; all points of all verbs by `tests/bench/environment_kill.sh`.

use crate::aws::{REGION, When, python};
use crate::shop::{COMMON, Shop, said};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How far apart the points are that a test takes when it does not take all: odd, so that befores and afters take turns.
const STRIDE: usize = 11;
/// One of moto's own images.
const BASE: &str = "ami-1e749f67";

/// Web heads that are baked, and a queue.
const HEADS: &str = "\
Parameters:
  App: { Type: String }
  Env: { Type: String }
  Delay: { Type: Number, Default: 1 }
  WebImage: { Type: 'AWS::EC2::Image::Id' }
  WebMin: { Type: Number }
Resources:
  Template:
    Type: AWS::EC2::LaunchTemplate
    Properties:
      LaunchTemplateData: { ImageId: !Ref WebImage, InstanceType: t3.small, KeyName: shop }
  Group:
    Type: AWS::AutoScaling::AutoScalingGroup
    UpdatePolicy: { AutoScalingRollingUpdate: { MaxBatchSize: 1 } }
    Properties:
      AvailabilityZones: [eu-central-1a]
      MinSize: !Ref WebMin
      MaxSize: 4
      LaunchTemplate: { LaunchTemplateId: !Ref Template, Version: !GetAtt Template.LatestVersionNumber }
      Tags:
        - { Key: App, Value: !Ref App, PropagateAtLaunch: true }
        - { Key: Env, Value: !Ref Env, PropagateAtLaunch: true }
        - { Key: Group, Value: web, PropagateAtLaunch: true }
  Queue:
    Type: AWS::SQS::Queue
    Properties: { QueueName: !Sub '${App}-${Env}-queue', DelaySeconds: !Ref Delay }
";

const COMMISSION: &[&str] = &["commission", "--yes"];
const UPDATE: &[&str] = &["update", "--yes"];
const DECOMMISSION: &[&str] = &["decommission", "--yes"];
const CLEAN: &[&str] = &["clean", "--yes"];

struct Scenario {
    what: &'static str,
    /// What has been done before.
    before: &'static [&'static [&'static str]],
    /// The word that the role then leaves on machines; another one is another image.
    said: &'static str,
    command: &'static [&'static str],
}

pub fn heads() -> Shop {
    let shop = Shop::new();
    let key = shop.path("key");
    assert!(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status().unwrap().success());
    let public = std::fs::read_to_string(shop.path("key.pub")).unwrap();
    let mut console = Command::new(python());
    shop.aws.environment(&mut console);
    let import = format!(
        "import boto3\nboto3.client('ec2', region_name='{REGION}').import_key_pair(KeyName='shop', PublicKeyMaterial={public:?}.encode())"
    );
    assert!(console.env("AWS_ACCESS_KEY_ID", "console").args(["-c", &import]).status().unwrap().success());
    let way = shop.aws.whole_machine(&shop.path("machines"), REGION);
    shop.write(
        "environments/common.yml",
        &format!(
            "{COMMON}availability_zone: eu-central-1a\nproxy_command: \"{way}\"\nprivate_key_path: ../key\nhost_keys: pin\n\
         formations: [heads]\ngroups:\n  web: {{ min: 2, image: {BASE}, user: root, roles: [mark] }}\n"
        ),
    );
    shop.write("formations/heads.yml", HEADS);
    shop.write("roles/mark/main.rhai", "fn apply(nodes, vars) { nodes.file(\"/etc/mark\", #{ content: vars.said }); }\n");
    shop.write("roles/mark/defaults.yml", "said: one\n");
    shop.write("environments/staging.yml", "variables: { said: one }\n");
    shop
}

fn ready(scenario: &Scenario) -> Shop {
    let shop = heads();
    for words in scenario.before {
        shop.succeeds(words);
    }
    shop.write("environments/staging.yml", &format!("variables: {{ said: {} }}\nparameters: {{ Delay: 2 }}\n", scenario.said));
    shop
}

/// What exists, by kind.
fn counts(shop: &Shop) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for resource in shop.aws.resources(REGION) {
        *counts.entry(resource.kind).or_default() += 1;
    }
    counts
}

/// Runs the verb until it reaches the call, and kills it there. Returns the action, or none if it ended before.
fn killed_at(shop: &Shop, words: &[&str], call: usize, when: When, story: &str) -> Option<String> {
    shop.aws.forget();
    shop.aws.stop_at(call, when);
    let words = [&["manage", "staging"], words].concat();
    let mut child = shop.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    loop {
        if let Some(action) = shop.aws.stopped(Duration::from_millis(100)) {
            child.kill().unwrap();
            child.wait().unwrap();
            shop.aws.release();
            return Some(action);
        }
        if let Some(status) = child.try_wait().unwrap() {
            shop.aws.release();
            assert!(status.success(), "{story}, never killed: {status}\n{}", shop.story());
            return None;
        }
        assert!(start.elapsed() < Duration::from_secs(180), "{story}: neither ends nor calls\n{}", shop.story());
    }
}

/// Takes one point of the matrix. Returns false when the verb makes no such call.
fn point(scenario: &Scenario, call: usize, when: When, wanted: &BTreeMap<String, usize>) -> bool {
    let shop = ready(scenario);
    let story = format!("{}: killed {} call {call}", scenario.what, if when == When::Before { "before" } else { "after" });
    let Some(action) = killed_at(&shop, scenario.command, call, when, &story) else { return false };
    let story = format!("{story}, {action}");
    shop.aws.forget();
    let out = shop.manage(scenario.command);
    assert!(out.status.success(), "{story}, then again: {}\n{}", said(&out), shop.story());
    assert_eq!(counts(&shop), *wanted, "{story}, then again: {}\n{}", said(&out), shop.story());
    gone(&shop, &story);
    println!("{story}: converged, and nothing was left");
    true
}

/// Decommissioned and cleaned, only the key pair is left, which was there before.
fn gone(shop: &Shop, story: &str) {
    for words in [DECOMMISSION, CLEAN] {
        let out = shop.manage(words);
        assert!(out.status.success(), "{story}, then {}: {}\n{}", words[0], said(&out), shop.story());
    }
    shop.aws.assert_exactly(REGION, &[("key pair", 1)], &format!("{story}, decommissioned and cleaned\n{}", shop.story()));
}

fn matrix(scenario: &Scenario) {
    let undisturbed = ready(scenario);
    undisturbed.succeeds(scenario.command);
    let wanted = counts(&undisturbed);
    gone(&undisturbed, scenario.what);
    let all = std::env::var("KILL_POINTS").is_ok_and(|v| v == "all");
    let mut taken = 0;
    for n in (0..).step_by(if all { 1 } else { STRIDE }) {
        let when = if n % 2 == 0 { When::Before } else { When::After };
        if !point(scenario, n / 2 + 1, when, &wanted) {
            break;
        }
        taken += 1;
    }
    assert!(taken > 0, "{} makes no call", scenario.what);
    println!("{}: {taken} points", scenario.what);
}

#[test]
fn commission() {
    matrix(&Scenario { what: "commission", before: &[], said: "one", command: COMMISSION });
}

#[test]
#[ignore = "in the bench: sh tests/bench/environment_kill.sh"]
fn update() {
    matrix(&Scenario { what: "update", before: &[COMMISSION], said: "two", command: UPDATE });
}

#[test]
#[ignore = "in the bench: sh tests/bench/environment_kill.sh"]
fn decommission() {
    matrix(&Scenario { what: "decommission", before: &[COMMISSION], said: "one", command: DECOMMISSION });
}

#[test]
#[ignore = "in the bench: sh tests/bench/environment_kill.sh"]
fn clean() {
    matrix(&Scenario { what: "clean", before: &[COMMISSION, DECOMMISSION], said: "one", command: CLEAN });
}
