//! Somebody changed something outside: the plan shows it, and the next provision takes it back.

use crate::lab::in_the_console;
use crate::project::{FULL, PROVISION, Project, said};

fn plan(project: &Project) -> String {
    said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]))
}

#[test]
fn a_port_a_route_and_tags_are_put_back() {
    let project = Project::new();
    project.config(FULL, "");
    project.provision();
    let ids = project.ids();
    let before = project.aws.resources(crate::aws::REGION);
    let of = |kind: &str| before.iter().find(|r| r.kind == kind).unwrap().id.clone();
    let (group, vpc) = (of("security group"), of("VPC"));
    let (server, client) = (&ids["server-0"], &ids["client-0"]);
    in_the_console(
        &project,
        &format!(
            "rule = [{{'IpProtocol': 'tcp', 'FromPort': 3306, 'ToPort': 3306, 'IpRanges': [{{'CidrIp': '0.0.0.0/0'}}]}}]\n\
             ec2.authorize_security_group_ingress(GroupId='{group}', IpPermissions=rule)\n\
             table = ec2.describe_route_tables(Filters=[{{'Name': 'vpc-id', 'Values': ['{vpc}']}}])['RouteTables'][0]['RouteTableId']\n\
             ec2.delete_route(RouteTableId=table, DestinationCidrBlock='0.0.0.0/0')\n\
             ec2.create_tags(Resources=['{vpc}', '{client}'], Tags=[{{'Key': 'Owner', 'Value': 'me'}}])\n\
             ec2.create_tags(Resources=['{server}'], Tags=[{{'Key': 'Name', 'Value': 'mine'}}])"
        ),
    );
    let shown = plan(&project);
    for word in ["close 3306 for 0.0.0.0/0", "route to the internet", &vpc, "tags: Owner", "its Name says mine"] {
        assert!(shown.contains(word), "{word} is not in the plan: {shown}");
    }
    project.provision();
    assert_eq!(ids, project.ids(), "no machine was touched");
    project.assert_lab(FULL, "put back");
    project.aws.forget();
    project.provision();
    project.assert_untouched("all was put back");
    project.deprovision("drifted");
}

/// All tags of one instance are gone, the UUID too: the journal knows it still.
#[test]
fn a_machine_without_its_tags_is_not_lost() {
    let project = Project::new();
    project.config(FULL, "");
    project.provision();
    let ids = project.ids();
    let strip = |node: &str| {
        let id = &ids[node];
        format!(
            "ec2.delete_tags(Resources=['{id}'], Tags=[{{'Key': t['Key']}} for t in ec2.describe_tags(Filters=[{{'Name': 'resource-id', 'Values': ['{id}']}}])['Tags']])"
        )
    };
    in_the_console(&project, &strip("server-1"));
    project.provision();
    assert_eq!(ids, project.ids(), "it has its tags again, and no second one was made");
    project.assert_lab(FULL, "tags were taken away");
    in_the_console(&project, &strip("server-1"));
    project.deprovision("without tags");
}

/// A key of the config that goes takes back what its tag said.
#[test]
fn a_tag_goes_with_its_key() {
    let project = Project::new();
    project.config(FULL, "keep: \"until friday\"");
    project.provision();
    project.config(FULL, "");
    let shown = plan(&project);
    assert!(shown.contains("tags: keep"), "{shown}");
    project.provision();
    let left: Vec<_> = project
        .aws
        .resources(crate::aws::REGION)
        .into_iter()
        .filter(|r| r.tags.get("keep").is_some_and(|keep| keep == "until friday"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    project.aws.forget();
    project.provision();
    project.assert_untouched("the tag is gone");
    project.deprovision("kept no more");
}

/// Stopped, changed and started in the console: changed back; and the addresses that people use are the new ones.
#[test]
fn a_type_changed_outside_is_changed_back_and_addresses_are_refreshed() {
    let project = Project::new();
    project.config(&[("server", 2)], "");
    project.provision();
    let ids = project.ids();
    let id = &ids["server-1"];
    in_the_console(
        &project,
        &format!(
            "ec2.stop_instances(InstanceIds=['{id}'])\n\
             ec2.modify_instance_attribute(InstanceId='{id}', InstanceType={{'Value': 'c7i.2xlarge'}})"
        ),
    );
    let shown = plan(&project);
    assert!(shown.contains("c7i.2xlarge -> c7i.large"), "{shown}");
    project.provision();
    project.assert_lab(&[("server", 2)], "changed back");
    assert_eq!(ids, project.ids());
    let address = in_the_console(
        &project,
        &format!("print(ec2.describe_instances(InstanceIds=['{id}'])['Reservations'][0]['Instances'][0]['PublicIpAddress'])"),
    );
    for file in ["ssh_config", "inventory"] {
        let text = std::fs::read_to_string(project.path("deployments/lab").join(file)).unwrap();
        assert!(text.contains(address.trim()), "{} is not in {file}: {text}", address.trim());
    }
    project.deprovision("changed outside");
}

/// What is on an instance store does not outlive a stop: it needs a word of its own.
#[test]
fn a_stop_that_loses_an_instance_store_is_asked_for() {
    let project = Project::new();
    let type_of = |kind: &str| format!("server_instance_type: {kind}");
    project.config(&[("server", 2)], &type_of("i4i.large"));
    project.provision();
    project.aws.forget();
    for (more, wish) in [(type_of("i4i.xlarge"), "another type"), (type_of("i4i.large") + "\nserver_state: stopped", "stopped")] {
        project.config(&[("server", 2)], &more);
        let said = project.fails(2, PROVISION);
        assert!(said.contains("instance store") && said.contains("--replace"), "{wish}: {said}");
        project.assert_untouched(wish);
    }
    project.succeeds(&[PROVISION, &["--replace"]].concat());
    assert!(project.instances().iter().all(|i| i.state == "stopped"), "{}", project.story());
    assert_eq!(project.aws.calls_of("StopInstances").len(), 1, "one call for both\n{}", project.story());
    project.deprovision("stopped");
}

/// The words of a stateful group hold for `replace`, too.
#[test]
fn a_node_of_a_stateful_group_is_replaced_only_when_allowed() {
    let project = Project::new();
    project.config(&[("server", 2)], "server_stateful: true");
    project.provision();
    let before = project.ids();
    project.aws.forget();
    let said = project.fails(2, &["replace", "lab", "server-1", "--yes", "--no-wait"]);
    assert!(said.contains("stateful") && said.contains("--replace"), "{said}");
    project.assert_untouched("stateful");
    project.succeeds(&["replace", "lab", "server-1", "--yes", "--no-wait", "--replace"]);
    let after = project.ids();
    assert!(before["server-0"] == after["server-0"] && before["server-1"] != after["server-1"]);
    project.deprovision("stateful");
}
