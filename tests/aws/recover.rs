//! What a command that was cut off had begun is ended first, as it was written down.

use crate::aws::{REGION, When};
use crate::lab::in_the_console;
use crate::project::{DEPROVISION, PROVISION, Project, said};
use serde_json::json;
use std::time::Duration;

/// Where the launch of a new lab with one group stands among its changes.
const LAUNCH: usize = 10;

fn killed_at_launch(project: &Project, when: When) {
    project.aws.stop_at(LAUNCH, when);
    let mut child = project.start(PROVISION);
    let held = project.aws.stopped(Duration::from_secs(60));
    child.kill().unwrap();
    child.wait().unwrap();
    project.aws.release();
    assert_eq!(held.as_deref(), Some("RunInstances"), "{}", project.story());
}

/// Killed in the launch, the config edited, run again: the launch is asked for once more as it was, and then made what is wanted.
#[test]
fn a_launch_is_replayed_before_an_edited_config_counts() {
    for (when, hidden) in [(When::Before, false), (When::After, false), (When::After, true)] {
        let story = format!("killed {when:?} the launch, hidden: {hidden}");
        let project = Project::new();
        project.config(&[("server", 3)], "settle_time: 3s");
        if hidden {
            project.aws.script(&json!([{ "do": "hide", "action": "RunInstances", "seconds": 3 }]));
        }
        killed_at_launch(&project, when);
        let first = project.aws.calls_of("RunInstances").remove(0);
        project.aws.forget();
        project.config(&[("server", 1), ("client", 1)], "settle_time: 3s\nserver_instance_type: c7i.xlarge");
        project.provision();
        let again = project.aws.calls_of("RunInstances");
        let again = again.iter().find(|c| c.params["ClientToken"] == first.params["ClientToken"]);
        let again = again.unwrap_or_else(|| panic!("{story}: not replayed\n{}", project.story()));
        assert_eq!(first.params["InstanceType"], again.params["InstanceType"], "{story}");
        assert_eq!(again.params["MinCount"], "3", "{story}");
        // Where the plan could not see them yet, the type is what a further run changes.
        project.provision();
        project.assert_lab(&[("server", 1), ("client", 1)], &story);
        project.deprovision(&story);
    }
}

/// Machines that were still starting when a command was cut off are waited for by the next.
#[test]
fn what_is_still_starting_is_waited_for() {
    let project = Project::new();
    project.config(&[("server", 2)], "");
    project.aws.script(&json!([{ "do": "slow_start", "describes": 12 }]));
    killed_at_launch(&project, When::After);
    project.aws.forget();
    let out = project.provision();
    assert!(said(&out).contains("still starting"), "{}", said(&out));
    project.assert_lab(&[("server", 2)], "were still starting");
    project.deprovision("still starting");
}

/// Spot capacity is waited for with further attempts, and never asked for in a request that stays.
#[test]
fn spot_capacity_is_waited_for() {
    let project = Project::new();
    project.config(&[("client", 2)], "client_spot: true\nspot_timeout: 60s");
    project.aws.script(&json!([{ "do": "capacity", "market": "spot", "first": 2 }]));
    let out = project.provision();
    assert!(said(&out).contains("trying again"), "{}", said(&out));
    assert_eq!(project.aws.calls_of("RunInstances").len(), 3, "{}", project.story());
    project.assert_lab(&[("client", 2)], "there was spot capacity at last");
    project.deprovision("spot");
}

/// The plan of a removal names what goes; and what does not go is named with the reason.
#[test]
fn what_is_left_is_listed_with_the_reason() {
    let project = Project::new();
    project.config(&[("server", 1)], "launch_timeout: 4s");
    project.provision();
    let before = project.aws.resources(REGION);
    let id = |kind: &str| before.iter().find(|r| r.kind == kind).unwrap().id.clone();
    let (subnet, vpc) = (id("subnet"), id("VPC"));
    let interface = in_the_console(
        &project,
        &format!("print(ec2.create_network_interface(SubnetId='{subnet}')['NetworkInterface']['NetworkInterfaceId'])"),
    );
    project.aws.forget();
    let said = project.fails(1, DEPROVISION);
    let plan = said.split("looking").next().unwrap_or_default();
    for word in [
        "REMOVE instance server-0",
        "REMOVE volume of server-0",
        "REMOVE security group server",
        "REMOVE subnet in eu-central-1a",
        "REMOVE internet gateway",
        "REMOVE VPC",
        "REMOVE key pair opsrun-lab",
    ] {
        assert!(plan.contains(word), "{word}: {said}");
    }
    for word in ["does not let go", &subnet, &vpc, "has dependencies"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(project.aws.resources(REGION).iter().any(|r| r.kind == "key pair"), "the name stays taken while something is left");
    in_the_console(&project, &format!("ec2.delete_network_interface(NetworkInterfaceId='{}')", interface.trim()));
    project.deprovision("somebody's interface was in the way");
}

/// A page of AWS's answer holds only so much.
#[test]
fn all_pages_are_read() {
    let project = Project::new();
    let groups = &[("server", 3), ("client", 2), ("monitor", 1), ("loader", 1), ("proxy", 2)];
    project.config(groups, "");
    project.aws.script(&json!([{ "do": "page", "action": "DescribeInstances", "most": 2 }]));
    project.provision();
    project.assert_lab(groups, "in pages of two launches");
    project.aws.forget();
    project.aws.script(&json!([{ "do": "page", "action": "DescribeInstances", "most": 2 }]));
    project.provision();
    project.assert_untouched("all were seen");
    project.deprovision("in pages");
}

/// Ten times the nodes take no more calls, their names apart: a tag goes to as many machines as share it, and names are not shared.
#[test]
fn calls_do_not_grow_with_nodes() {
    let project = Project::new();
    let scaled = |from: usize, to: usize| {
        project.config(&[("server", from)], "");
        project.provision();
        project.aws.forget();
        project.config(&[("server", to)], "");
        project.provision();
        let mut calls = std::collections::BTreeMap::new();
        for call in project.aws.calls() {
            *calls.entry(call.action).or_insert(0) += 1;
        }
        // Waiting looks as often as it takes.
        calls.remove("DescribeInstances");
        calls
    };
    let (mut few, mut many) = (scaled(1, 3), scaled(3, 30));
    assert_eq!((few.remove("CreateTags"), many.remove("CreateTags")), (Some(2), Some(27)), "one a node");
    assert_eq!(few, many);
    let down = scaled(30, 3);
    assert!(down.get("TerminateInstances") == Some(&1) && !down.contains_key("CreateTags"), "{down:?}");
    project.assert_lab(&[("server", 3)], "up and down");
    project.deprovision("scaled");
}
