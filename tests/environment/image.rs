//! Images baked in the cloud of the tests: moto with what it lacks, and machines that are played by real sshds with files of their
//! own (`tests/support/aws_machine.py --whole`). What real machines make of it, `baking.rs` tests.

use crate::aws::{REGION, Resource, When};
use crate::lab::{stderr, stdout};
use crate::shop::{COMMON, Shop, said};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// One of moto's own images.
const BASE: &str = "ami-1e749f67";
const BAKE: &[&str] = &["image", "bake", "--env", "staging"];

/// The shop, with machines that can be reached.
struct Kitchen(Shop);

impl Kitchen {
    /// With these groups, as YAML.
    fn new(groups: &str) -> Self {
        let kitchen = Self(Shop::small());
        let way = kitchen.0.aws.whole_machine(&kitchen.0.path("machines"), REGION);
        kitchen
            .write("environments/common.yml", &format!("{COMMON}proxy_command: \"{way}\"\navailability_zone: eu-central-1a\n"));
        kitchen.groups(groups);
        kitchen.role("hello", "nodes.file(\"/etc/hello\", #{ content: vars.said + \"\\n\" });");
        kitchen.write("roles/hello/defaults.yml", "said: hi\n");
        kitchen
    }

    /// One group.
    fn web() -> Self {
        Self::new(&group("web", "hello"))
    }

    fn groups(&self, groups: &str) {
        self.write(
            "environments/staging.yml",
            &format!("formations: [small]\nvariables: {{ said: good day }}\ngroups:\n{groups}"),
        );
    }

    fn role(&self, name: &str, body: &str) {
        self.write(&format!("roles/{name}/main.rhai"), &format!("fn apply(nodes, vars) {{ {body} }}"));
    }

    fn write(&self, name: &str, text: &str) {
        self.0.write(name, text);
    }

    fn run(&self, words: &[&str]) -> Output {
        self.0.command(words).output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, words: &[&str]) -> Output {
        let out = self.run(words);
        assert!(out.status.success(), "{words:?}: {}\n{}", said(&out), self.0.story());
        out
    }

    #[track_caller]
    fn fails(&self, words: &[&str]) -> String {
        let out = self.run(words);
        assert_eq!(out.status.code(), Some(1), "{words:?}: {}\n{}", said(&out), self.0.story());
        said(&out)
    }

    #[track_caller]
    fn bake(&self, more: &[&str]) -> Vec<Value> {
        let out = self.succeeds(&[BAKE, more, &["--json"]].concat());
        serde_json::from_str(&stdout(&out)).unwrap()
    }

    fn of_kind(&self, kind: &str) -> Vec<Resource> {
        self.0.aws.resources(REGION).into_iter().filter(|r| r.kind == kind).collect()
    }

    fn deployments(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path("deployments")).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| !n.starts_with('.')).collect()
    }

    /// So many images, each with its snapshot, and nothing else.
    #[track_caller]
    fn assert_images(&self, count: usize, story: &str) {
        self.0.aws.assert_exactly(REGION, &[("image", count), ("snapshot", count)], &format!("{story}\n{}", self.0.story()));
        assert_eq!(self.deployments(), Vec::<String>::new(), "{story}");
    }

    fn console(&self, script: &str) -> String {
        let mut python = Command::new(crate::aws::python());
        self.0.aws.environment(&mut python);
        python.env("AWS_ACCESS_KEY_ID", "console");
        let text = format!("import boto3\nec2 = boto3.client('ec2', region_name='{REGION}')\n{script}");
        let out = python.args(["-c", &text]).output().unwrap();
        assert!(out.status.success(), "{}", stderr(&out));
        stdout(&out).trim().to_owned()
    }

    /// The folders of played machines.
    fn machines(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path("machines")).into_iter().flatten().flatten();
        entries.map(|e| e.path()).collect()
    }
}

fn group(name: &str, role: &str) -> String {
    format!("  {name}: {{ instance_type: c7i.large, image: {BASE}, user: root, roles: [{role}] }}\n")
}

#[test]
fn an_image_is_baked_tagged_and_not_baked_twice() {
    let kitchen = Kitchen::web();
    let baked = kitchen.bake(&[]);
    let (name, hash) = (baked[0]["name"].as_str().unwrap(), baked[0]["role_hash"].as_str().unwrap());
    assert_eq!(name, format!("shop-hello-{}", &hash[..12]));
    kitchen.assert_images(1, "a bake leaves its image, and nothing else");
    let image = kitchen.of_kind("image").remove(0);
    for of in [&image, &kitchen.of_kind("snapshot")[0]] {
        let tag = |key: &str| of.tags.get(key).map(String::as_str).unwrap_or_default();
        let has = [tag("App"), tag("Role"), tag("Name"), tag("Owner"), tag("opsrun:base"), tag("opsrun:architecture")];
        assert_eq!(has, ["shop", "hello", name, "shop@example.com", BASE, "x86_64"], "{of:?}");
        assert_eq!(tag("opsrun:role-hash"), hash);
        assert!(!tag("opsrun:uuid").is_empty() && !of.tags.contains_key("expires-at"), "{of:?}");
    }
    let [machine] = &kitchen.machines()[..] else { panic!("one machine") };
    let text = |file: &str| std::fs::read_to_string(machine.join(file)).unwrap_or_default();
    assert_eq!(text("changes/etc/hello"), "good day\n");
    assert_eq!((text("home/.ssh/authorized_keys"), text("changes/etc/machine-id")), (String::new(), String::new()));
    assert!(
        std::fs::read_dir(machine.join("etc-ssh"))
            .unwrap()
            .flatten()
            .all(|f| !f.file_name().to_string_lossy().starts_with("ssh_host"))
    );

    kitchen.0.aws.forget();
    assert_eq!(kitchen.bake(&[])[0]["made"], false);
    kitchen.0.assert_untouched("the same content is there");
    kitchen.write("roles/hello/defaults.yml", "said: hi\nmore: 1\n");
    assert_eq!(kitchen.bake(&[])[0]["made"], true);
    kitchen.assert_images(2, "other content is another image");
    let out = stdout(&kitchen.succeeds(&["image", "ls", "--env", "staging"]));
    assert!(out.contains(name) && out.contains("available") && out.contains(BASE), "{out}");
}

#[test]
fn groups_are_baked_at_once_and_one_that_fails_stops_no_other() {
    let kitchen = Kitchen::new(&[group("web", "hello"), group("other", "broken"), group("third", "small")].concat());
    kitchen.role("broken", "nodes.sh(\"exit 3\");");
    kitchen.role("small", "nodes.file(\"/etc/small\", #{ content: \"x\" });");
    let said = kitchen.fails(BAKE);
    assert!(said.contains("1 of 3 images could not be baked") && said.contains("The machine is kept"), "{said}");
    assert_eq!((kitchen.of_kind("image").len(), kitchen.of_kind("instance").len()), (2, 1));
    let kept = kitchen.of_kind("instance").remove(0).id;
    kitchen.0.aws.forget();
    // As after a repair: what it fails for is none of the role's content.
    let node = kitchen.deployments().remove(0);
    kitchen.fails(BAKE);
    assert_eq!(kitchen.of_kind("instance")[0].id, kept, "the next bake goes on with the same machine");
    kitchen.succeeds(&["deprovision", &node, "--yes"]);
    kitchen.assert_images(2, "the kept machine removed");
}

#[test]
fn a_secret_of_the_environment_reaches_the_role_and_is_kept_nowhere() {
    let kitchen = Kitchen::new(&group("web", "hello, closed"));
    kitchen.role("closed", "nodes.file(\"/etc/closed\", #{ content: vars.password }); nodes.sh(\"test -e /etc/go-on\");");
    kitchen.write("roles/closed/defaults.yml", "password: none\n");
    let staging = std::fs::read_to_string(kitchen.0.path("environments/staging.yml")).unwrap();
    let staging = staging.replace("good day }", "good day, password: { secret: word } }");
    kitchen.write("environments/staging.yml", &format!("{staging}secrets: {{ word: open-sesame-4711 }}\n"));
    kitchen.fails(BAKE);
    let [kept] = &kitchen.deployments()[..] else { panic!("it is kept") };
    let mut texts = 0;
    for file in walk(&kitchen.0.path("deployments").join(kept)) {
        texts += 1;
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()).into_owned();
        assert!(!text.contains("open-sesame-4711"), "{} holds the secret", file.display());
    }
    assert!(texts > 5, "the folder has files");
    let machine = kitchen.machines().remove(0);
    assert_eq!(std::fs::read_to_string(machine.join("changes/etc/closed")).unwrap(), "open-sesame-4711");
    let out = kitchen.succeeds(&["exec", kept, "web-0", "--", "touch /etc/go-on"]);
    assert!(out.status.success());
    kitchen.bake(&[]);
    kitchen.assert_images(1, "went on with it");
}

fn walk(dir: &std::path::Path) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.into_iter().flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn lost_answers_late_sight_and_pending_images_end_in_one_image() {
    let faults = [
        json!([{ "do": "lose", "action": "CreateImage", "first": 1 }]),
        json!([{ "do": "lose", "action": "CreateImage", "first": 1 }, { "do": "hide", "describes": 3, "action": "CreateImage" }]),
        json!([{ "do": "drop", "action": "CreateImage", "first": 2 }]),
        json!([{ "do": "slow_image", "describes": 6 }]),
        json!([{ "do": "throttle", "every": 4, "first": 12 }]),
    ];
    let kitchen = Kitchen::web();
    for (n, fault) in faults.iter().enumerate() {
        kitchen.write("roles/hello/files/n", &n.to_string());
        kitchen.0.aws.script(fault);
        kitchen.bake(&[]);
        kitchen.assert_images(n + 1, &fault.to_string());
    }
}

#[test]
fn an_image_that_fails_is_made_again_of_the_same_machine() {
    let kitchen = Kitchen::web();
    kitchen.0.aws.script(&json!([{ "do": "image_fails", "first": 1, "message": "Client.SnapshotQuota: too many" }]));
    let said = kitchen.fails(BAKE);
    assert!(said.contains("AWS could not make image") && said.contains("too many"), "{said}");
    let machine = kitchen.of_kind("instance").remove(0).id;
    kitchen.0.aws.forget();
    kitchen.bake(&[]);
    kitchen.assert_images(1, "again");
    let made = kitchen.0.aws.calls_of("CreateImage");
    assert_eq!((made.len(), made[0].params["InstanceId"].as_str()), (1, machine.as_str()));
    assert!(kitchen.0.aws.calls_of("RunInstances").is_empty(), "no other machine was needed");
}

#[test]
fn an_image_of_that_name_which_is_somebody_elses_is_left_alone() {
    let kitchen = Kitchen::web();
    let name = kitchen.bake(&[])[0]["name"].as_str().unwrap().to_owned();
    let id = kitchen.of_kind("image").remove(0).id;
    kitchen.console(&format!("ec2.delete_tags(Resources=['{id}'], Tags=[{{'Key': 'opsrun:role-hash'}}])"));
    kitchen.0.aws.forget();
    let said = kitchen.fails(BAKE);
    assert!(said.contains(&format!("there is an image \"{name}\" ({id}) already, and opsrun did not bake it")), "{said}");
    kitchen.0.assert_untouched("somebody else's image");
}

#[test]
fn images_in_use_are_refused_and_old_ones_go_with_their_snapshots() {
    let kitchen = Kitchen::web();
    let mut made = Vec::new();
    for n in 0..4 {
        kitchen.write("roles/hello/files/n", &n.to_string());
        let image = kitchen.bake(&[]).remove(0);
        made.push((image["name"].as_str().unwrap().to_owned(), image["id"].as_str().unwrap().to_owned()));
    }
    let instance = kitchen.console(&format!(
        "print(ec2.run_instances(ImageId='{}', MinCount=1, MaxCount=1, InstanceType='c7i.large')['Instances'][0]['InstanceId'])",
        made[0].1
    ));
    kitchen.console(&format!(
        "ec2.create_launch_template(LaunchTemplateName='heads', LaunchTemplateData={{'ImageId': '{}'}})",
        made[1].1
    ));
    let template =
        "{\"Parameters\": {\"WebImage\": {\"Type\": \"String\"}}, \"Resources\": {\"Topic\": {\"Type\": \"AWS::SNS::Topic\"}}}";
    kitchen.console(&format!(
        "cfn = boto3.client('cloudformation', region_name='{REGION}')\ncfn.create_stack(StackName='elsewhere', TemplateBody='{template}', \
         Parameters=[{{'ParameterKey': 'WebImage', 'ParameterValue': '{}'}}])",
        made[2].1
    ));
    kitchen.0.aws.forget();
    let said = kitchen.fails(&["image", "rm", &made[2].0, "--env", "staging"]);
    assert!(said.contains("in use by stack elsewhere (parameter WebImage)"), "{said}");
    kitchen.console(&format!(
        "cfn = boto3.client('cloudformation', region_name='{REGION}')\ncfn.delete_stack(StackName='elsewhere')"
    ));
    kitchen.0.aws.forget();
    let said = kitchen.fails(&["image", "rm", &made[0].0, &made[2].0, "--env", "staging"]);
    assert!(said.contains(&format!("image \"{}\" ({}) is in use by instance {instance}", made[0].0, made[0].1)), "{said}");
    let said = kitchen.fails(&["image", "rm", &made[1].1, "--region", REGION]);
    assert!(said.contains("in use by launch template heads (version 1)"), "{said}");
    kitchen.0.assert_untouched("one is in use: none is removed");

    let policy = stdout(&kitchen.succeeds(&["aws", "policy"]));
    let missing = |action: &String| !policy.contains(&format!("\"{action}\""));
    let missing: Vec<String> = kitchen.0.aws.actions(crate::aws::KEY).into_iter().filter(missing).collect();
    assert!(missing.is_empty(), "called, and not in the policy: {missing:?}");

    let out = kitchen.succeeds(&["image", "prune", "--keep", "1", "--env", "staging", "--json"]);
    let done: Value = serde_json::from_str(&stdout(&out)).unwrap();
    assert_eq!(done["removed"], json!([made[2].0]));
    let used: Vec<&str> = done["used"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap()).collect();
    assert_eq!(used, [made[1].0.as_str(), made[0].0.as_str()]);
    assert_eq!((kitchen.of_kind("image").len(), kitchen.of_kind("snapshot").len()), (3, 3));

    kitchen.succeeds(&["image", "rm", &made[3].0, "--env", "staging"]);
    assert_eq!((kitchen.of_kind("image").len(), kitchen.of_kind("snapshot").len()), (2, 2));
    let out = kitchen.run(&["image", "rm", &made[3].0, "--env", "staging"]);
    let said = stderr(&out);
    assert!(out.status.code() == Some(2) && said.contains(&format!("there is no image \"{}\"", made[3].0)), "{said}");
}

#[test]
fn a_base_named_by_a_pattern_stays_until_it_is_refreshed() {
    let kitchen = Kitchen::new(&group("web", "hello").replace(BASE, "{ name: \"debian-12-*\", owner: self }"));
    let publish = |name: &str| {
        kitchen.console(&format!(
            "print(ec2.register_image(Name='{name}', Architecture='x86_64', RootDeviceName='/dev/sda1', VirtualizationType='hvm', \
             BlockDeviceMappings=[{{'DeviceName': '/dev/sda1', 'Ebs': {{'VolumeSize': 8}}}}])['ImageId'])"
        ))
    };
    let first = publish("debian-12-1");
    assert_eq!(kitchen.bake(&[])[0]["base"], json!(first));
    let second = publish("debian-12-2");
    assert_eq!(kitchen.bake(&[])[0]["made"], false, "a newer base alone is no reason to bake");
    kitchen.write("roles/hello/files/n", "1");
    assert_eq!(kitchen.bake(&[])[0]["base"], json!(first));
    let refreshed = kitchen.bake(&["--refresh-images"]).remove(0);
    assert_eq!((&refreshed["base"], &refreshed["made"]), (&json!(second), &json!(true)));
    assert_eq!(kitchen.bake(&[])[0]["made"], false, "and the newer one stays in turn");
}

/// Killed between the two halves of a removal.
#[test]
fn a_removal_that_was_cut_off_is_ended_by_the_next() {
    let kitchen = Kitchen::web();
    let name = kitchen.bake(&[])[0]["name"].as_str().unwrap().to_owned();
    let remove = &["image", "rm", &name, "--env", "staging"];
    assert!(kill_at(&kitchen, remove, 1, When::After).is_some());
    kitchen.0.aws.assert_exactly(REGION, &[("snapshot", 1)], "the image is deregistered, and its snapshot is there");
    // Snapshots are new for so long as the settle time says.
    std::thread::sleep(Duration::from_millis(1100));
    kitchen.succeeds(remove);
    kitchen.0.assert_nothing("removed");
}

/// Runs the command until it reaches the call, and kills it there. Returns the action, or none if it ended before.
fn kill_at(kitchen: &Kitchen, words: &[&str], call: usize, when: When) -> Option<String> {
    let aws = &kitchen.0.aws;
    aws.forget();
    aws.stop_at(call, when);
    let mut child = kitchen.0.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    loop {
        if let Some(action) = aws.stopped(Duration::from_millis(100)) {
            child.kill().unwrap();
            child.wait().unwrap();
            aws.release();
            return Some(action);
        }
        if child.try_wait().unwrap().is_some() {
            aws.release();
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "never killed: {}\n{}", said(&out), kitchen.0.story());
            return None;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "neither ends nor calls\n{}", kitchen.0.story());
    }
}

/// How far apart the points are that the test takes when it does not take all (KILL_POINTS=all; see `tests/bench/image_kill.sh`).
const STRIDE: usize = 7;

/// Killed before and after every call that changes the cloud: the same command again ends in one image and nothing else.
#[test]
fn killed_at_any_call_the_next_bake_ends_in_one_image() {
    let all = std::env::var("KILL_POINTS").is_ok_and(|v| v == "all");
    let mut taken = 0;
    for n in (0..).step_by(if all { 1 } else { STRIDE }) {
        let when = if n % 2 == 0 { When::Before } else { When::After };
        let kitchen = Kitchen::web();
        let Some(action) = kill_at(&kitchen, BAKE, n / 2 + 1, when) else { break };
        let story = format!("killed {when:?} call {}, {action}", n / 2 + 1);
        kitchen.0.aws.forget();
        kitchen.succeeds(BAKE);
        kitchen.assert_images(1, &story);
        taken += 1;
        if all {
            println!("{story}: one image, and nothing else");
        }
    }
    assert!(taken > 0, "a bake makes no call");
    println!("bake: {taken} points");
}
