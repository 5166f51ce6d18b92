//! Capacity, quotas, throttling, lost replies, late visibility: the cloud as it is on a bad day.

use crate::aws::REGION;
use crate::project::{DEPROVISION, FULL, PROVISION, Project, said};
use serde_json::json;
use std::time::Duration;

const ZONES: &str = "fallback_zones: [eu-central-1b]";

#[test]
fn without_room_in_a_zone_the_whole_group_goes_to_the_next() {
    let project = Project::new();
    project.config(FULL, ZONES);
    // Room for two of three: never part of a group.
    project.aws.script(&json!([{ "do": "capacity", "zone": "*1a", "type": "c7i.large", "available": 2 }]));
    project.provision();
    let zones: Vec<String> = project
        .aws
        .calls_of("RunInstances")
        .into_iter()
        .filter(|c| c.status == 200)
        .map(|c| c.params["MinCount"].clone())
        .collect();
    assert_eq!(zones.len(), 3, "{}", project.story());
    let names = project.node_names();
    assert_eq!(names.len(), 6, "{names:?}\n{}", project.story());
    // There is room again: what was refused before must not be launched now.
    project.aws.forget();
    project.provision();
    project.assert_untouched("provisioned again, with room in the first zone again");
    project.deprovision("fallen back to another zone");
}

#[test]
fn subnets_of_zones_that_were_not_used_are_removed() {
    let project = Project::new();
    project.config(FULL, ZONES);
    project.aws.script(&json!([{ "do": "capacity", "zone": "*1a" }]));
    project.provision();
    project.assert_lab(FULL, "all in the second zone");
    project.deprovision("all in the second zone");
}

#[test]
fn without_room_in_any_zone_the_next_type_is_taken() {
    let project = Project::new();
    project.config(&[("server", 3)], &format!("{ZONES}\nserver_instance_type: [c7i.large, m7i.large]"));
    project.aws.script(&json!([{ "do": "capacity", "type": "c7i.large" }]));
    project.provision();
    project.assert_lab(&[("server", 3)], "of the second type");
    let launches = project.aws.calls_of("RunInstances");
    let types: Vec<&str> = launches.iter().map(|c| c.params["InstanceType"].as_str()).collect();
    assert_eq!(types, ["c7i.large", "c7i.large", "m7i.large"], "zones first, then types");
    project.aws.forget();
    project.provision();
    project.assert_untouched("the type that was fallen back on is one of those listed");
    project.deprovision("of the second type");
}

#[test]
fn without_room_at_all_it_says_so_and_leaves_no_instance() {
    let project = Project::new();
    project.config(&[("server", 3)], ZONES);
    project.aws.script(&json!([{ "do": "capacity" }]));
    let said = project.fails(1, PROVISION);
    for word in ["server", "eu-central-1a", "eu-central-1b", "c7i.large"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(project.instances().is_empty());
    assert!(project.aws.resources(REGION).iter().all(|r| r.kind != "subnet"), "subnets that nothing is in\n{}", project.story());
    // Later there is room.
    project.aws.script(&json!([]));
    project.provision();
    project.assert_lab(&[("server", 3)], "there is room again");
    project.deprovision("no room at first");
}

#[test]
fn a_quota_skips_zones_and_types_of_the_same_quota() {
    let project = Project::new();
    project.config(&[("server", 3)], &format!("{ZONES}\nserver_instance_type: [c7i.large, m7i.large, g4dn.xlarge]"));
    project.aws.script(&json!([{ "do": "quota", "type": "[cm]7i.*" }]));
    project.provision();
    let types: Vec<String> = project.aws.calls_of("RunInstances").into_iter().map(|c| c.params["InstanceType"].clone()).collect();
    assert_eq!(types, ["c7i.large", "g4dn.xlarge"], "one quota for c and m, in all zones");
    project.deprovision("quota");
}

#[test]
fn a_quota_on_all_stops_and_names_it() {
    let project = Project::new();
    project.config(&[("server", 3)], ZONES);
    project.aws.script(&json!([{ "do": "quota" }]));
    let said = project.fails(1, PROVISION);
    assert!(said.to_lowercase().contains("quota"), "{said}");
    assert_eq!(project.aws.calls_of("RunInstances").len(), 1, "{}", project.story());
    project.deprovision("quota");
}

#[test]
fn an_instance_that_ends_while_it_starts_is_a_failed_launch() {
    let project = Project::new();
    project.config(&[("server", 3)], ZONES);
    let why = "Server.InsufficientInstanceCapacity";
    project.aws.script(&json!([{
        "do": "launch_fails", "zone": "*1a", "count": 1, "describes": 2, "code": why,
        "message": "Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request",
    }]));
    let out = project.provision();
    assert!(said(&out).contains("Insufficient capacity to satisfy instance request"), "{}", said(&out));
    project.assert_lab(&[("server", 3)], "one of three ended while starting");
    project.deprovision("a failed launch");
}

#[test]
fn an_instance_that_always_ends_shows_its_reason() {
    let project = Project::new();
    project.config(&[("server", 2)], "");
    let message = "Client.InternalError: Client error on launch (the key of the volume cannot be used)";
    project.aws.script(&json!([{ "do": "launch_fails", "code": "Client.InternalError", "message": message }]));
    let said = project.fails(1, PROVISION);
    assert!(said.contains("the key of the volume cannot be used"), "{said}");
    assert!(project.instances().is_empty(), "{}", project.story());
    project.deprovision("failed launches");
}

#[test]
fn throttling_is_sat_out() {
    let project = Project::new();
    project.config(FULL, "");
    project.aws.script(&json!([{ "do": "throttle", "every": 5, "first": 15 }]));
    project.provision();
    project.assert_lab(FULL, "every fifth call was throttled");
    project.deprovision("throttled");
}

/// The first answer to each kind of change is lost.
#[test]
fn lost_answers_double_nothing() {
    let project = Project::new();
    project.config(FULL, "");
    let changes = [
        "ImportKeyPair",
        "CreateVpc",
        "CreateInternetGateway",
        "AttachInternetGateway",
        "CreateRoute",
        "CreateSubnet",
        "CreateSecurityGroup",
        "AuthorizeSecurityGroupIngress",
        "RunInstances",
        "CreateTags",
    ];
    let rules: Vec<_> = changes.iter().map(|c| json!({ "do": "lose", "action": c, "first": 1 })).collect();
    project.aws.script(&json!(rules));
    again_until_done(&project, PROVISION);
    project.assert_lab(FULL, "the first answer to each kind of change was lost");
    let changes = [
        "TerminateInstances",
        "DeleteSecurityGroup",
        "DeleteSubnet",
        "DetachInternetGateway",
        "DeleteInternetGateway",
        "DeleteVpc",
        "DeleteKeyPair",
    ];
    let rules: Vec<_> = changes.iter().map(|c| json!({ "do": "lose", "action": c, "first": 1 })).collect();
    project.aws.script(&json!(rules));
    again_until_done(&project, DEPROVISION);
    project.aws.assert_none(REGION, "answers lost while removing");
}

/// The first request of each kind does not arrive.
#[test]
fn dropped_requests_are_made_again() {
    let project = Project::new();
    project.config(FULL, "");
    let changes = [
        "ImportKeyPair",
        "CreateVpc",
        "CreateInternetGateway",
        "CreateSubnet",
        "CreateSecurityGroup",
        "RunInstances",
        "CreateTags",
    ];
    let rules: Vec<_> = changes.iter().map(|c| json!({ "do": "drop", "action": c, "first": 1 })).collect();
    project.aws.script(&json!(rules));
    again_until_done(&project, PROVISION);
    project.assert_lab(FULL, "the first request of each kind did not arrive");
    project.deprovision("dropped requests");
}

/// A person at the keyboard does the same again; more than a few times would be too much to ask.
fn again_until_done(project: &Project, command: &[&str]) {
    for _ in 0..3 {
        if project.run(command).status.success() {
            return;
        }
    }
    project.succeeds(command);
}

#[test]
fn everything_is_seen_late() {
    let project = Project::new();
    project.config(FULL, "settle_time: 3s");
    project.aws.script(&json!([{ "do": "hide", "describes": 2 }]));
    project.provision();
    project.assert_lab(FULL, "each new thing was in the third answer only");
    project.deprovision("seen late");
}

/// Removed right after it was made, before it can be seen.
#[test]
fn what_cannot_be_seen_yet_is_removed_too() {
    let project = Project::new();
    project.config(&[("server", 2)], "settle_time: 3s");
    project
        .aws
        .script(&json!([{ "do": "hide", "action": "RunInstances", "seconds": 2 }, { "do": "lose", "action": "RunInstances" }]));
    let mut child = project.start(PROVISION);
    while project.aws.calls_of("RunInstances").is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it launched");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    project.aws.script(&json!([]));
    project.deprovision("killed when the launch was under way, its answer lost, its instances not seen yet");
}

#[test]
fn machines_that_take_their_time_to_end() {
    let project = Project::new();
    project.config(FULL, "");
    project.aws.script(&json!([{ "do": "slow_start", "describes": 4 }, { "do": "slow_end", "seconds": 3 }]));
    project.provision();
    project.deprovision("slow machines");
}

#[test]
fn ctrl_c_while_waiting_stops_at_once_and_the_same_again_goes_on() {
    let project = Project::new();
    project.config(FULL, "");
    project.aws.script(&json!([{ "do": "slow_start", "seconds": 600 }]));
    let mut child = project.start(PROVISION);
    while project.aws.calls_of("RunInstances").iter().filter(|c| c.status == 200).count() < 3 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it launched");
        std::thread::sleep(Duration::from_millis(20));
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), nix::sys::signal::SIGINT).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", said(&out));
    assert_eq!(project.instances().len(), 6);
    project.deprovision("interrupted");
}

/// Two people start the same name at once: one gets it, the other is told, and nothing is double.
#[test]
fn two_who_start_the_same_name() {
    let (first, second) = (Project::new(), tempfile::tempdir().unwrap());
    first.config(FULL, "");
    let configs = second.path().join("configs");
    std::fs::create_dir_all(&configs).unwrap();
    std::fs::copy(first.path("configs/lab.yml"), configs.join("lab.yml")).unwrap();
    let mut other = first.command(PROVISION);
    other.current_dir(second.path()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let (one, two) = (first.start(PROVISION), other.spawn().unwrap());
    let (one, two) = (one.wait_with_output().unwrap(), two.wait_with_output().unwrap());
    let (winner, loser) = if one.status.success() { (&one, &two) } else { (&two, &one) };
    assert!(winner.status.success() && !loser.status.success(), "{}\n{}", said(&one), said(&two));
    assert!(said(loser).contains("lab"), "{}", said(loser));
    first.assert_lab(FULL, "two started the same name");
    // Who lost has nothing, and takes nothing away.
    let theirs = if one.status.success() { second.path().to_owned() } else { first.path("") };
    assert!(!theirs.join("deployments/lab").exists(), "{}", said(loser));
    let ended = first.command(DEPROVISION).current_dir(theirs).output().unwrap();
    assert!(ended.status.success(), "{}", said(&ended));
    first.assert_lab(FULL, "who lost has deprovisioned");
}
