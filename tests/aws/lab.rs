//! The lab from beginning to end: what is asked of the cloud, and that nothing more is asked when nothing is to do.

use crate::aws::REGION;
use crate::project::{DEPROVISION, FULL, IMAGE, PROVISION, Project, said};
use serde_json::{Value, json};

#[test]
fn made_found_and_removed() {
    let project = Project::new();
    project.config(FULL, "");
    project.provision();
    project.assert_lab(FULL, "provisioned");

    let changes = project.aws.changes();
    assert_eq!(changes[0].action, "ImportKeyPair", "the claim comes first\n{}", project.story());
    assert_eq!(changes[0].params["KeyName"], "opsrun-lab");
    let launches = project.aws.calls_of("RunInstances");
    let mut counts: Vec<_> = launches.iter().map(|c| (c.params["MinCount"].clone(), c.params["MaxCount"].clone())).collect();
    counts.sort();
    let one = |n: &str| (n.to_owned(), n.to_owned());
    assert_eq!(counts, [one("1"), one("2"), one("3")], "one launch for each group, all of it or none");
    for launch in &launches {
        assert!(launch.params.contains_key("ClientToken"), "{launch:?}");
        assert!(launch.params.values().any(|v| v == "opsrun:uuid"), "tagged at creation: {launch:?}");
    }

    project.aws.forget();
    project.provision();
    project.assert_untouched("provisioned again with nothing to do");

    project.deprovision("the whole lab");
    let changes = project.aws.changes();
    assert_eq!(changes.last().unwrap().action, "DeleteKeyPair", "the claim goes last\n{}", project.story());
    project.aws.forget();
    project.succeeds(DEPROVISION);
    assert!(project.aws.calls().is_empty(), "what is gone needs no cloud");
}

#[test]
fn status_ls_and_ssh_config_show_it() {
    let project = Project::new();
    project.config(FULL, "expires: 12h");
    project.provision();
    let out = project.succeeds(&["status", "lab", "--json"]);
    let status: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 6, "{status:#}");
    for node in status["nodes"].as_array().unwrap() {
        assert!(node["status"] == "running" && node["address"].as_str().unwrap().contains('.'), "{status:#}");
    }
    let ids = project.ids();
    let list = said(&project.succeeds(&["ls"]));
    assert!(list.contains("lab") && list.contains("aws"), "{list}");
    let ssh = std::fs::read_to_string(project.path("deployments/lab/ssh_config")).unwrap();
    for name in ids.keys() {
        assert!(ssh.contains(name.as_str()), "{name} is not in {ssh}");
    }
    project.deprovision("shown");
}

#[test]
fn scaled_up_and_down() {
    let project = Project::new();
    project.config(FULL, "");
    project.provision();
    let before = project.ids();
    for (story, groups) in
        [("up", [("server", 5), ("client", 2), ("monitor", 1)]), ("down", [("server", 2), ("client", 1), ("monitor", 1)])]
    {
        project.config(&groups, "");
        project.provision();
        project.assert_lab(&groups, story);
    }
    let after = project.ids();
    for name in ["server-0", "server-1", "client-0", "monitor-0"] {
        assert_eq!(before[name], after[name], "{name} was not to be touched");
    }
    project.deprovision("scaled");
}

#[test]
fn replaced_and_tainted() {
    let project = Project::new();
    project.config(FULL, "");
    project.provision();
    let before = project.ids();
    project.succeeds(&["replace", "lab", "server-1", "--yes", "--no-wait"]);
    project.assert_lab(FULL, "server-1 replaced");
    let after = project.ids();
    assert_ne!(before["server-1"], after["server-1"]);
    assert_eq!(before["server-0"], after["server-0"]);
    project.succeeds(&["taint", "lab", "client-0"]);
    project.provision();
    project.assert_lab(FULL, "client-0 was tainted");
    assert_ne!(before["client-0"], project.ids()["client-0"]);
    project.succeeds(&["taint", "lab", "client-1"]);
    project.succeeds(&["untaint", "lab", "client-1"]);
    project.aws.forget();
    project.provision();
    project.assert_untouched("tainted and untainted");
    project.deprovision("replaced");
}

#[test]
fn another_type_is_changed_in_place() {
    let project = Project::new();
    project.config(FULL, "");
    project.provision();
    let before = project.ids();
    project.config(FULL, "client_instance_type: c7i.xlarge");
    let plan = said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]));
    assert!(plan.contains("c7i.xlarge") && plan.contains("c7i.large"), "{plan}");
    project.aws.forget();
    project.provision();
    project.assert_lab(FULL, "client nodes of another type");
    assert_eq!(before, project.ids(), "stopped, changed, started: the same machines");
    assert!(!project.aws.calls_of("StopInstances").is_empty(), "{}", project.story());
    project.deprovision("changed in place");
}

#[test]
fn other_user_data_is_a_new_machine_or_is_stored() {
    let project = Project::new();
    let config = |more: &str| {
        project.config(&[("server", 1)], &format!("groups: {{ server: {{ user_data: init.sh }} }}\n{more}"));
    };
    config("");
    project.write("configs/init.sh", "#!/bin/sh\necho one\n");
    project.provision();
    let first = project.ids();
    project.write("configs/init.sh", "#!/bin/sh\necho two\n");
    let plan = said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]));
    assert!(plan.contains("REPLACE  user data: "), "{plan}");
    project.provision();
    let second = project.ids();
    assert_ne!(first, second, "it runs at the first boot only");

    config("user_data_change: store");
    project.write("configs/init.sh", "#!/bin/sh\necho three\n");
    project.aws.forget();
    project.provision();
    assert_eq!(second, project.ids(), "stored on the machine there is");
    assert_eq!(project.aws.calls_of("StopInstances").len(), 1, "{}", project.story());
    let stored = project.aws.calls_of("ModifyInstanceAttribute").into_iter().filter(|c| c.params.contains_key("UserData.Value"));
    assert_eq!(stored.count(), 1, "{}", project.story());
    let plan = said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]));
    assert!(plan.contains("nothing to change"), "{plan}");
    project.deprovision("with other user data");
}

#[test]
fn a_new_image_replaces_only_when_allowed() {
    let project = Project::new();
    project.config(&[("server", 2)], "server_stateful: true");
    project.provision();
    let before = project.ids();
    project.config(&[("server", 2)], "server_stateful: true\nserver_ami: ami-785db401");
    project.aws.forget();
    let out = project.run(PROVISION);
    assert!(!out.status.success() && said(&out).contains("--replace"), "{}", said(&out));
    project.assert_untouched("a stateful group is not replaced unasked");
    project.succeeds(&[PROVISION, &["--replace"]].concat());
    let after = project.ids();
    assert!(before.iter().all(|(name, id)| after[name] != *id), "{before:?} {after:?}");
    project.assert_lab(&[("server", 2)], "replaced");
    project.deprovision("replaced");
}

#[test]
fn ports_and_tags_change_without_touching_machines() {
    let project = Project::new();
    project.config(FULL, "");
    project.provision();
    let before = project.ids();
    project.config(FULL, "allow_from: [203.0.113.0/24]\nkeep: \"until friday\"");
    project.aws.forget();
    project.provision();
    assert_eq!(before, project.ids());
    for action in ["RunInstances", "TerminateInstances", "StopInstances"] {
        assert!(project.aws.calls_of(action).is_empty(), "{}", project.story());
    }
    let opened = project.aws.calls_of("AuthorizeSecurityGroupIngress");
    assert!(opened.iter().any(|c| c.params.values().any(|v| v == "203.0.113.0/24")), "{}", project.story());
    let closed = project.aws.calls_of("RevokeSecurityGroupIngress");
    assert!(closed.iter().any(|c| c.params.values().any(|v| v == "198.51.100.7/32")), "{}", project.story());
    assert!(project.instances().iter().all(|i| i.tags.get("keep").map(String::as_str) == Some("until friday")));
    project.deprovision("ports and tags");
}

/// Somebody stopped one in the console and ended another.
#[test]
fn stopped_is_started_and_ended_is_made_anew() {
    let project = Project::new();
    project.config(FULL, "");
    project.provision();
    let ids = project.ids();
    in_the_console(&project, &format!("ec2.stop_instances(InstanceIds=['{}'])", ids["server-0"]));
    in_the_console(&project, &format!("ec2.terminate_instances(InstanceIds=['{}'])", ids["server-2"]));
    let plan = said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]));
    assert!(plan.contains("server-0") && plan.contains("server-2"), "{plan}");
    project.provision();
    project.assert_lab(FULL, "one was stopped, one ended");
    let now = project.ids();
    assert_eq!((&ids["server-0"], &ids["server-1"]), (&now["server-0"], &now["server-1"]));
    assert_ne!(ids["server-2"], now["server-2"]);
    project.deprovision("repaired");
}

#[test]
fn one_time_spot_is_launched_by_market_options_and_never_stopped() {
    let project = Project::new();
    project.config(&[("server", 1), ("client", 2)], "client_spot: true");
    project.provision();
    let spot = project.aws.calls_of("RunInstances").into_iter().find(|c| c.params["MinCount"] == "2").unwrap();
    assert_eq!(spot.params["InstanceMarketOptions.MarketType"], "spot");
    assert!(project.aws.calls_of("RequestSpotInstances").is_empty());
    let before = project.ids();
    project.config(&[("server", 1), ("client", 2)], "client_spot: true\nclient_instance_type: c7i.xlarge");
    project.aws.forget();
    let said = said(&project.run(PROVISION));
    assert!(said.contains("--replace"), "{said}");
    project.assert_untouched("spot cannot be stopped, so this is a replacement, which is asked for");
    project.succeeds(&[PROVISION, &["--replace"]].concat());
    let after = project.ids();
    assert_eq!(before["server-0"], after["server-0"]);
    assert_ne!(before["client-0"], after["client-0"]);
    project.deprovision("spot");
}

/// An existing VPC is used and never deleted.
#[test]
fn a_borrowed_vpc_stays() {
    let project = Project::new();
    let made = in_the_console(
        &project,
        "vpc = ec2.create_vpc(CidrBlock='10.9.0.0/16')['Vpc']['VpcId']\n\
         subnet = ec2.create_subnet(VpcId=vpc, CidrBlock='10.9.1.0/24', AvailabilityZone='eu-central-1a')['Subnet']['SubnetId']\n\
         print(vpc, subnet)",
    );
    let (vpc, subnet) = made.trim().split_once(' ').unwrap();
    project.config(FULL, &format!("vpc: {vpc}\nsubnet: {subnet}"));
    project.provision();
    assert_eq!(project.node_names().len(), 6);
    project.succeeds(DEPROVISION);
    project.aws.assert_exactly(REGION, &[("VPC", 1), ("subnet", 1)], "what was borrowed stays");
}

/// Does something behind opsrun's back.
pub fn in_the_console(project: &Project, script: &str) -> String {
    let mut python = std::process::Command::new(crate::aws::python());
    project.aws.environment(&mut python);
    python.env("AWS_ACCESS_KEY_ID", "console");
    let text = format!("import boto3\nec2 = boto3.client('ec2', region_name='{REGION}')\nIMAGE = '{IMAGE}'\n{script}");
    let out = python.args(["-c", &text]).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    String::from_utf8(out.stdout).unwrap()
}

/// Secrets given in a config are in no file that opsrun writes.
#[test]
fn secrets_are_written_nowhere() {
    let project = Project::new();
    project.config(&[("server", 1)], "access_key: AKIAEXAMPLE\nsecret_key: a-very-secret-key");
    project.provision();
    for entry in walkdir::WalkDir::new(project.path("deployments")).into_iter().flatten().filter(|e| e.file_type().is_file()) {
        let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
        assert!(!text.contains("a-very-secret-key"), "{}", entry.path().display());
    }
    assert!(project.aws.calls_of("RunInstances").len() == 1);
    project.deprovision("with keys of the config");
}

/// The last thing done before a deprovision calls it done is to look twice.
#[test]
fn removal_is_proven_by_two_clean_looks() {
    let project = Project::new();
    project.config(&[("server", 1)], "");
    project.provision();
    project.aws.forget();
    project.deprovision("proven");
    let calls = project.aws.calls();
    let last = calls.iter().rposition(|c| c.mutating).unwrap();
    let looks = calls[last..].iter().filter(|c| c.action == "DescribeVpcs" || c.action == "DescribeInstances");
    let mut counts = std::collections::BTreeMap::new();
    looks.for_each(|c| *counts.entry(c.action.clone()).or_insert(0) += 1);
    assert!(counts.values().all(|n| *n >= 2) && counts.len() == 2, "{counts:?}");
}

/// A resource without a Describe answer for a while is not made twice.
#[test]
fn a_tag_search_that_sees_nothing_yet_proves_nothing() {
    let project = Project::new();
    project.config(FULL, "settle_time: 3s");
    project.aws.script(&json!([
        { "do": "lose", "action": "CreateVpc", "first": 1 },
        { "do": "hide", "action": "CreateVpc", "describes": 3 },
    ]));
    project.provision();
    project.assert_lab(FULL, "the answer to CreateVpc was lost, and the VPC was not to be seen at first");
    project.deprovision("a late VPC");
}
