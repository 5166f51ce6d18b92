//! Images that are named by a pattern or a parameter: found once, pinned, and taken anew when the user says so.

use crate::lab::in_the_console;
use crate::project::{PROVISION, Project, said};
use serde_json::Value;

const OTHER: &str = "ami-785db401";
const ONE: crate::project::Groups = &[("server", 1)];

fn image_of(project: &Project) -> String {
    let out = in_the_console(
        project,
        "print([i['ImageId'] for r in ec2.describe_instances()['Reservations'] for i in r['Instances'] if i['State']['Name'] == 'running'][0])",
    );
    out.trim().to_owned()
}

/// Makes an image of the account's own. Returns its ID.
fn publish(project: &Project, name: &str) -> String {
    let script = format!(
        "made = ec2.register_image(Name='{name}', Architecture='x86_64', RootDeviceName='/dev/sda1', VirtualizationType='hvm', \
         BlockDeviceMappings=[{{'DeviceName': '/dev/sda1', 'Ebs': {{'VolumeSize': 8}}}}])\nprint(made['ImageId'])"
    );
    in_the_console(project, &script).trim().to_owned()
}

/// Nothing of the account's own images stays.
fn withdraw(project: &Project) {
    let script = "for i in ec2.describe_images(Owners=['self'])['Images']:\n ec2.deregister_image(ImageId=i['ImageId'], DeleteAssociatedSnapshots=True)";
    in_the_console(project, script);
}

fn plan(project: &Project, more: &[&str]) -> Value {
    let out = project.succeeds(&[&["plan", "lab", "configs/lab.yml", "--json"], more].concat());
    serde_json::from_slice(&out.stdout).unwrap()
}

fn notes(plan: &Value) -> String {
    plan["notes"].to_string()
}

fn parameter(project: &Project, value: &str) {
    let script = format!(
        "boto3.client('ssm', region_name='eu-central-1').put_parameter(Name='/lab/image', Value='{value}', Type='String', Overwrite=True)"
    );
    in_the_console(project, &script);
}

#[test]
fn a_pattern_means_the_newest_and_stays_until_it_is_refreshed() {
    let project = Project::new();
    let first = publish(&project, "lab-base-1");
    project.config(ONE, "server_ami: { name: \"lab-base-*\", owner: self }");
    assert!(notes(&plan(&project, &[])).contains(&first));
    project.provision();
    assert_eq!(image_of(&project), first);
    let id = project.ids()["server-0"].clone();

    let newer = publish(&project, "lab-base-2");
    publish(&project, "other-base-3");
    let shown = plan(&project, &[]);
    assert!(notes(&shown).contains(&newer) && notes(&shown).contains("--refresh-images"), "{shown:#}");
    assert_eq!(shown["changes"][0]["action"], "unchanged");
    project.config(&[("server", 2)], "server_ami: { name: \"lab-base-*\", owner: self }");
    project.provision();
    assert_eq!(project.ids()["server-0"], id);
    assert!(project.aws.calls_of("RunInstances").iter().all(|c| c.params["ImageId"] == first), "a new node is like the others");

    let shown = plan(&project, &["--refresh-images"]);
    assert_eq!(shown["changes"][0]["action"], "change", "{shown:#}");
    project.succeeds(&[PROVISION, &["--refresh-images"]].concat());
    assert_eq!(image_of(&project), newer);
    assert_ne!(project.ids()["server-0"], id);
    project.aws.forget();
    project.provision();
    project.assert_untouched("it is the newest");
    withdraw(&project);
    project.deprovision("by pattern");
}

#[test]
fn a_parameter_is_followed_when_refreshed_and_spares_stateful_groups() {
    let project = Project::new();
    parameter(&project, crate::project::IMAGE);
    project.config(ONE, "server_ami: \"resolve:ssm:/lab/image\"\nserver_stateful: true");
    project.provision();
    assert_eq!(image_of(&project), crate::project::IMAGE);
    parameter(&project, OTHER);
    let refresh = [PROVISION, &["--refresh-images"]].concat();
    let out = project.fails(2, &refresh);
    assert!(out.contains("stateful") && out.contains("--replace"), "{out}");
    project.succeeds(&[refresh.as_slice(), &["--replace"]].concat());
    assert_eq!(image_of(&project), OTHER);
    // A pin needs nobody to answer.
    in_the_console(&project, "boto3.client('ssm', region_name='eu-central-1').delete_parameter(Name='/lab/image')");
    project.provision();
    project.deprovision("by parameter");
}

#[test]
fn what_names_no_image_is_refused_before_anything_is_made() {
    let project = Project::new();
    publish(&project, "lab-base-1");
    parameter(&project, "not an image");
    let of_moto =
        in_the_console(&project, "i = ec2.describe_images(ImageIds=[IMAGE])['Images'][0]; print(i['Name'] + '|' + i['OwnerId'])");
    let (name, owner) = of_moto.trim().split_once('|').unwrap();
    let other = format!("{{ name: \"{name}\", owner: {owner} }}\nserver_instance_type: c7g.large");
    for (ami, told) in [
        ("{ name: \"no-such-*\", owner: self }", "has no image in eu-central-1 whose name is like \"no-such-*\""),
        ("{ name: \"lab-base-*\", owner: 999999999999 }", "999999999999 has no image"),
        ("{ name: \"lab-base-*\" }", "Anybody can publish an image of any name"),
        ("{ name: x, owner: self, arch: y }", "unknown key `server_ami.arch`"),
        ("debian-12", "must be an image's ID"),
        ("\"resolve:ssm:/lab/none\"", "there is no parameter /lab/none in eu-central-1"),
        ("\"resolve:ssm:/lab/image\"", "does not hold the ID of an image"),
        (other.as_str(), "is for x86_64, but c7g.large runs arm64"),
    ] {
        project.aws.forget();
        project.config(ONE, &format!("server_ami: {ami}"));
        let out = project.run(PROVISION);
        assert_eq!(out.status.code(), Some(2), "{ami}: {}", said(&out));
        assert!(said(&out).contains(told), "{ami}: {}", said(&out));
        project.assert_untouched(ami);
        assert!(!project.path("deployments/lab/state.json").exists());
    }
}

#[test]
fn a_denied_parameter_names_the_action() {
    let project = Project::new();
    project.config(ONE, "server_ami: \"resolve:ssm:/lab/image\"");
    project.aws.script(
        &serde_json::json!([{ "do": "error", "action": "GetParameter", "code": "AccessDeniedException", "status": 400 }]),
    );
    let out = project.fails(1, PROVISION);
    assert!(out.contains("ssm:GetParameter"), "{out}");
    assert!(said(&project.succeeds(&["aws", "policy"])).contains("ssm:GetParameter"));
}
