//! An environment's machines as a deployment. The stack is made beside opsrun (with boto3); its machines are real sshds with host
//! keys of their own, played behind ProxyCommand (`tests/support/aws_machine.py`).

use crate::aws::{Aws, REGION};
use crate::lab::{assert_ok, stderr, stdout};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Of moto's own.
const IMAGE: &str = "ami-1e749f67";
const OTHER: &str = "ami-785db401";

/// Web heads in an auto-scaling group, and a worker by itself.
const FORMATION: &str = "\
Parameters:
  App: { Type: String }
  Env: { Type: String }
  WebImage: { Type: 'AWS::EC2::Image::Id' }
  WebMin: { Type: Number }
  WorkerImage: { Type: 'AWS::EC2::Image::Id' }
Resources:
  Template:
    Type: AWS::EC2::LaunchTemplate
    Properties:
      LaunchTemplateData: { ImageId: !Ref WebImage, InstanceType: t3.small, KeyName: shop }
  Group:
    Type: AWS::AutoScaling::AutoScalingGroup
    UpdatePolicy: { AutoScalingRollingUpdate: { MaxBatchSize: 1 } }
    Properties:
      AvailabilityZones: [eu-central-1a, eu-central-1b]
      MinSize: !Ref WebMin
      MaxSize: 4
      LaunchTemplate: { LaunchTemplateId: !Ref Template, Version: !GetAtt Template.LatestVersionNumber }
      TargetGroupARNs: [!Ref Targets]
      Tags:
        - { Key: App, Value: !Ref App, PropagateAtLaunch: true }
        - { Key: Env, Value: !Ref Env, PropagateAtLaunch: true }
        - { Key: Group, Value: web, PropagateAtLaunch: true }
  Targets:
    Type: AWS::ElasticLoadBalancingV2::TargetGroup
    Properties:
      Name: shop-web
      Port: 80
      Protocol: HTTP
      VpcId: vpc-1
      Tags: [{ Key: Group, Value: web }]
  Worker:
    Type: AWS::EC2::Instance
    Properties:
      ImageId: !Ref WorkerImage
      InstanceType: t3.small
      KeyName: shop
      Tags: [{ Key: App, Value: !Ref App }, { Key: Env, Value: !Ref Env }, { Key: Group, Value: worker }]
";

/// A project with the environment `staging` of `shop`, and its cloud with the stack.
pub struct Shop {
    dir: tempfile::TempDir,
    pub aws: Aws,
}

impl Shop {
    pub fn new() -> Self {
        let shop = Self { dir: tempfile::Builder::new().prefix("opsrun hosts ").tempdir().unwrap(), aws: Aws::start() };
        let key = shop.path("key");
        let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status().unwrap();
        assert!(made.success());
        let public = std::fs::read_to_string(shop.path("key.pub")).unwrap();
        shop.console(&format!("ec2.import_key_pair(KeyName='shop', PublicKeyMaterial={public:?}.encode())"));
        shop.write("formations/own.yml", FORMATION);
        shop.write("roles/mark/main.rhai", "fn apply(nodes, vars) { nodes.file(\"/root/marked\", #{ content: vars.mark }); }\n");
        shop.write("roles/mark/defaults.yml", "mark: one\n");
        shop.environment("");
        shop
    }

    pub fn environment(&self, more: &str) {
        let way = self.aws.machine(&self.path("machines"), REGION);
        let text = format!(
            "app: shop\nregion: {REGION}\nformations: [own]\nprivate_key_path: ../key\nproxy_command: \"{way}\"\nsettle_time: 1s\n\
             contact_timeout: 60s\ngroups:\n  web: {{ image: {IMAGE}, user: root, min: 2 }}\n  \
             worker: {{ image: {IMAGE}, user: root, roles: [mark] }}\n{more}"
        );
        self.write("environments/staging.yml", &text);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Does something beside opsrun, and returns what was printed.
    pub fn console(&self, script: &str) -> String {
        let mut python = Command::new(crate::aws::python());
        self.aws.environment(&mut python);
        python.env("AWS_ACCESS_KEY_ID", "console");
        let clients = [("ec2", "ec2"), ("stacks", "cloudformation"), ("scaling", "autoscaling")];
        let clients: String =
            clients.iter().map(|(n, s)| format!("{n} = boto3.client('{s}', region_name='{REGION}')\n")).collect();
        let out = python.args(["-c", &format!("import boto3, json\n{clients}{script}")]).output().unwrap();
        assert_ok(&out);
        stdout(&out)
    }

    /// Makes or changes the stack, and waits until that is done.
    pub fn stack(&self, what: &str, web_image: &str, min: usize) {
        let values =
            [("App", "shop"), ("Env", "staging"), ("WebImage", web_image), ("WorkerImage", IMAGE), ("WebMin", &min.to_string())];
        let values: Vec<Value> = values.iter().map(|(k, v)| json!({ "ParameterKey": k, "ParameterValue": v })).collect();
        self.console(&format!(
            "stacks.{what}_stack(StackName='shop-staging', TemplateBody=open({:?}).read(), Parameters=json.loads({:?}), \
             Tags=[{{'Key': k, 'Value': v}} for k, v in {{'App': 'shop', 'Env': 'staging', 'opsrun:environment': 'shop-staging'}}.items()])\n\
             stacks.get_waiter('stack_{what}_complete').wait(StackName='shop-staging', WaiterConfig={{'Delay': 1, 'MaxAttempts': 60}})",
            self.path("formations/own.yml").to_str().unwrap(),
            Value::from(values).to_string(),
        ));
    }

    /// Lets the machines that run boot, so that their consoles tell their host keys.
    pub fn boot(&self) {
        let way = self.aws.machine(&self.path("machines"), REGION);
        let found = self.console(
            "pages = ec2.describe_instances(Filters=[{'Name': 'instance-state-name', 'Values': ['running']}])['Reservations']\n\
             print(*(i['PublicIpAddress'] for r in pages for i in r['Instances']))",
        );
        for address in found.split_whitespace() {
            let out = Command::new("sh").args(["-c", &format!("{} --boot", way.replace("%h", address))]).output().unwrap();
            assert_ok(&out);
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opsrun"));
        self.aws.environment(&mut command);
        command.args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        command
            .env_remove("OPSRUN_HOME")
            .env_remove("SSH_AUTH_SOCK")
            .env("NO_COLOR", "1")
            .env("OPSRUN_CACHE", self.path("cache"));
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    #[track_caller]
    pub fn succeeds(&self, words: &[&str]) -> String {
        let out = self.run(words);
        assert_ok(&out);
        stdout(&out)
    }

    #[track_caller]
    pub fn fails(&self, words: &[&str]) -> String {
        let out = self.run(words);
        assert!(!out.status.success(), "{}", stdout(&out));
        stderr(&out)
    }

    /// Has opsrun find the machines.
    #[track_caller]
    pub fn find(&self) -> BTreeMap<String, String> {
        self.write("find.rhai", "environment(\"staging\").hosts();");
        self.succeeds(&["find.rhai"]);
        self.ids()
    }

    /// The same, and contacts none: nobody has booted them.
    #[track_caller]
    pub fn find_unmet(&self) -> BTreeMap<String, String> {
        self.write("ids.rhai", "for h in environment(\"staging\").look().hosts { print(`${h.name} ${h.id}`); }");
        let out = self.succeeds(&["ids.rhai"]);
        out.lines().filter_map(|l| l.split_once(' ')).map(|(name, id)| (name.to_owned(), id.to_owned())).collect()
    }

    fn state(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("deployments/shop-staging/state.json")).unwrap()).unwrap()
    }

    /// IDs by name, as they are written down.
    pub fn ids(&self) -> BTreeMap<String, String> {
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        self.state()["nodes"].as_array().unwrap().iter().map(|n| (text(&n["name"]), text(&n["id"]))).collect()
    }
}

fn names(ids: &BTreeMap<String, String>) -> Vec<&str> {
    ids.keys().map(String::as_str).collect()
}

#[test]
fn machines_of_a_stack_are_a_deployment() {
    let shop = Shop::new();
    shop.stack("create", IMAGE, 2);
    shop.boot();
    let ids = shop.find();
    assert_eq!(names(&ids), ["web-0", "web-1", "worker-0"]);
    let known = std::fs::read_to_string(shop.path("deployments/shop-staging/known_hosts")).unwrap();
    assert_eq!(known.lines().filter(|l| l.contains("ssh-ed25519")).count(), 3, "read off the consoles: {known}");
    let tagged = shop.console("print(json.dumps([t['Value'] for t in ec2.describe_tags(Filters=[{'Name': 'key', 'Values': ['opsrun:host-key']}])['Tags']]))");
    assert_eq!(tagged.matches("ssh-ed25519 ").count(), 3, "{tagged}");
    let marks: Vec<Value> = shop.state()["nodes"].as_array().unwrap().iter().map(|n| n["scaling_group"].clone()).collect();
    assert!(marks[0].is_string() && marks[1].is_string() && marks[2].is_null(), "{marks:?}");

    let out = shop.succeeds(&["exec", "shop-staging", "*", "--", "cat /etc/ssh/ssh_host_ed25519_key.pub"]);
    assert_eq!(out.matches("ssh-ed25519 ").count(), 3, "{out}");
    assert_eq!(shop.succeeds(&["ssh", "shop-staging", "worker-0", "echo", "here"]), "here\n");
    let status: Value = serde_json::from_str(&shop.succeeds(&["status", "shop-staging", "--json"])).unwrap();
    assert!(status["nodes"].as_array().unwrap().iter().all(|n| n["status"] == "running"), "{status:#}");
    assert_eq!((&status["expires_at"], status["nodes"].as_array().unwrap().len()), (&Value::Null, 3));
    let inventory = shop.succeeds(&["inventory", "shop-staging"]);
    assert!(inventory.contains("[web]\nweb-0 ") && inventory.contains("[worker]\nworker-0 "), "{inventory}");
    assert!(shop.succeeds(&["ls"]).contains("shop-staging"));

    // Found anew on another machine: the keys are with the machines, which need not be asked.
    std::fs::remove_dir_all(shop.path("deployments")).unwrap();
    shop.aws.forget();
    assert_eq!(shop.find(), ids);
    assert!(shop.aws.calls_of("GetConsoleOutput").is_empty());
    let out = shop.succeeds(&["exec", "shop-staging", "*", "--", "echo up"]);
    assert_eq!(out.matches("up").count(), 3, "{out}");
}

#[test]
fn a_machine_keeps_its_name_while_it_lives() {
    let shop = Shop::new();
    shop.stack("create", IMAGE, 3);
    shop.boot();
    let before = shop.find();
    assert_eq!(names(&before), ["web-0", "web-1", "web-2", "worker-0"]);
    shop.console(&format!(
        "ec2.terminate_instances(InstanceIds=['{}'])\nprint(scaling.describe_auto_scaling_groups()['AutoScalingGroups'][0]['Instances'])",
        before["web-1"]
    ));
    shop.boot();
    // Nobody said so, and the next command knows.
    assert_eq!(shop.succeeds(&["exec", "shop-staging", "web-1", "--", "echo new"]).matches("new").count(), 1);
    let after = shop.ids();
    assert_eq!(names(&after), names(&before));
    assert_ne!(after["web-1"], before["web-1"]);
    assert!(["web-0", "web-2", "worker-0"].iter().all(|n| after[*n] == before[*n]));

    // A new image rolls: other machines, the same names.
    shop.stack("update", OTHER, 3);
    shop.boot();
    shop.succeeds(&["exec", "shop-staging", "web", "--", "true"]);
    let rolled = shop.ids();
    assert_eq!(names(&rolled), names(&before));
    assert_eq!(rolled["worker-0"], before["worker-0"]);
    assert!(["web-0", "web-1", "web-2"].iter().all(|n| rolled[*n] != after[*n]));

    // Without the cloud, what is known is used.
    let out = shop
        .command(&["exec", "shop-staging", "worker-0", "--", "echo still"])
        .env("AWS_ACCESS_KEY_ID", "")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .output()
        .unwrap();
    assert!(stdout(&out).contains("still") && stderr(&out).contains("only which it had"), "{}{}", stdout(&out), stderr(&out));
}

#[test]
fn the_stack_alone_makes_and_ends_them() {
    let shop = Shop::new();
    shop.stack("create", IMAGE, 1);
    shop.boot();
    shop.find();
    shop.write(
        "configs/lab.yml",
        &format!("provider: aws\nregion: {REGION}\nweb_count: 1\nweb_ami: {IMAGE}\nweb_instance_type: t3.small\n"),
    );
    shop.aws.forget();
    for words in [
        &["deprovision", "shop-staging", "--yes"][..],
        &["provision", "shop-staging", "--yes"],
        &["provision", "shop-staging", "configs/lab.yml", "--yes"],
        &["extend", "shop-staging", "3h"],
        &["taint", "shop-staging", "web-0"],
    ] {
        let out = shop.fails(words);
        assert!(out.contains("stack") && out.contains("opsrun manage staging"), "{words:?}: {out}");
    }
    let gc = shop.run(&["gc", "--region", REGION, "--yes"]);
    assert_ok(&gc);
    assert!(!stdout(&gc).contains("shop") && !stderr(&gc).contains("shop"), "{}{}", stdout(&gc), stderr(&gc));
    assert!(shop.aws.changes().is_empty(), "{:?}", shop.aws.changes());
    // When they are gone, so may be the folder.
    shop.console("stacks.delete_stack(StackName='shop-staging')\nstacks.get_waiter('stack_delete_complete').wait(StackName='shop-staging', WaiterConfig={'Delay': 1, 'MaxAttempts': 60})");
    shop.succeeds(&["deprovision", "shop-staging", "--yes"]);
    assert!(!shop.path("deployments/shop-staging").exists());
}

#[test]
fn a_deployment_of_that_name_is_left_alone() {
    let shop = Shop::new();
    shop.write("configs/local.yml", "provider: local\nserver_count: 1\n");
    shop.succeeds(&["provision", "shop-staging", "configs/local.yml", "--yes"]);
    shop.write("find.rhai", "environment(\"staging\").hosts();");
    let out = shop.fails(&["find.rhai"]);
    assert!(out.contains("that is not of this environment") && out.contains("opsrun deprovision shop-staging"), "{out}");
    shop.succeeds(&["deprovision", "shop-staging", "--yes"]);
}

#[test]
fn the_load_balancer_says_when_all_is_well() {
    let shop = Shop::new();
    shop.stack("create", IMAGE, 2);
    shop.write(
        "well.rhai",
        "for t in environment(\"staging\").wait_until_well() { print(`${t.node} ${t.state} of ${t.target_group}`); }",
    );
    shop.aws.targets(&json!([{ "initial": 2 }]));
    assert_eq!(shop.succeeds(&["well.rhai"]), "web-0 healthy of Targets\nweb-1 healthy of Targets\n");

    // One is ill: who, why, and what to try.
    shop.environment("health: { timeout: 1s }\n");
    let ids = shop.find_unmet();
    shop.aws.targets(&json!([
        { "target": ids["web-1"], "state": "unhealthy", "reason": "Target.ResponseCodeMismatch", "description": "Health checks failed with these codes: [503]" },
        { "target": "*", "state": "healthy", "reason": "" },
    ]));
    let out = shop.fails(&["well.rhai"]);
    for words in [
        "1 of 2 targets of the load balancer are not healthy after 1s",
        "web-1: unhealthy: Health checks failed with these codes: [503] (Target.ResponseCodeMismatch)",
        "opsrun exec shop-staging web-1 -- curl",
        "health: { timeout: 20m }",
    ] {
        assert!(out.contains(words), "no \"{words}\" in {out}");
    }
    assert!(!out.contains("web-0"), "{out}");

    // More machines are wanted than there are.
    shop.environment("health: { timeout: 1s }\n");
    let text = std::fs::read_to_string(shop.path("environments/staging.yml")).unwrap().replace("min: 2", "min: 3");
    shop.write("environments/staging.yml", &text);
    shop.aws.targets(&json!([{ "initial": 0 }]));
    let out = shop.fails(&["well.rhai"]);
    assert!(out.contains("Targets has 2 of 3 targets after 1s"), "{out}");
}

#[test]
fn a_status_shows_stack_machines_and_health_at_once() {
    let shop = Shop::new();
    shop.write(
        "look.rhai",
        "let s = environment(\"staging\").look(); print(s.text); print(to_json(s.hosts)); print(to_json(s.groups));",
    );
    let out = shop.succeeds(&["look.rhai"]);
    assert!(out.contains("staging: stack shop-staging in eu-central-1 does not exist"), "{out}");
    shop.stack("create", IMAGE, 2);
    let ids = shop.find_unmet();
    shop.aws.targets(&json!([
        { "initial": 0 },
        { "target": ids["web-0"], "state": "unhealthy", "reason": "Target.Timeout", "description": "Request timed out" },
        { "target": "*", "state": "healthy", "reason": "" },
    ]));
    shop.console(&format!(
        "ec2.create_tags(Resources=['{}'], Tags=[{{'Key': 'opsrun:role-hash', 'Value': '0a1b2c3d4e5f'}}])",
        ids["worker-0"]
    ));
    shop.aws.forget();
    let out = shop.succeeds(&["look.rhai"]);
    for words in [
        "staging: stack shop-staging in eu-central-1 is CREATE_COMPLETE",
        "group       web: 2 of 2 running, 1 healthy",
        "group       worker: 1 of 1 running, 1 not made of the current roles (",
        "unhealthy (Request timed out)",
        "roles 0a1b2c3d4e5f, not the current ones",
        "drift       not looked for: opsrun manage staging plan --drift",
    ] {
        assert!(out.contains(words), "no \"{words}\" in {out}");
    }
    assert!(out.contains("\"lifecycle\":\"InService\"") && out.contains("\"launch_template_version\":\"1\""), "{out}");
    assert!(shop.aws.changes().is_empty(), "{:?}", shop.aws.changes());
}

#[test]
fn roles_are_pushed_to_machines_that_stay_and_written_on_them() {
    let shop = Shop::new();
    shop.stack("create", IMAGE, 1);
    shop.boot();
    shop.find();
    shop.write("look.rhai", "for g in environment(\"staging\").look().groups { if g.name == \"worker\" { print(g.outdated); } }");
    assert_eq!(shop.succeeds(&["look.rhai"]), "1\n", "nobody knows what it was made of");
    let out = shop.fails(&["deploy", "shop-staging", "--limit", "web"]);
    assert!(
        out.contains("web-0 of auto-scaling groups get their roles by a new image")
            && out.contains("opsrun manage staging deploy"),
        "{out}"
    );
    let out = shop.run(&["deploy", "shop-staging"]);
    assert_ok(&out);
    assert!(
        stdout(&out).contains("worker-0") && stderr(&out).contains("web-0 of auto-scaling groups"),
        "{}{}",
        stdout(&out),
        stderr(&out)
    );
    assert_eq!(shop.succeeds(&["ssh", "shop-staging", "worker-0", "cat /root/marked"]), "one");
    assert_eq!(shop.succeeds(&["look.rhai"]), "0\n");

    // What the roles say changes: it shows, until it is pushed.
    shop.environment("variables: { mark: two }\n");
    assert_eq!(shop.succeeds(&["look.rhai"]), "1\n");
    shop.succeeds(&["deploy", "shop-staging", "--check"]);
    assert_eq!(shop.succeeds(&["look.rhai"]), "1\n", "a check changes nothing");
    shop.write("push.rhai", "print(environment(\"staging\").push_roles([]));");
    assert!(shop.succeeds(&["push.rhai"]).contains("[\"worker-0\"]"));
    assert_eq!(shop.succeeds(&["ssh", "shop-staging", "worker-0", "cat /root/marked"]), "two");
    assert_eq!(shop.succeeds(&["look.rhai"]), "0\n");

    // Gone, they are forgotten.
    shop.console(
        "stacks.delete_stack(StackName='shop-staging')\n\
         stacks.get_waiter('stack_delete_complete').wait(StackName='shop-staging', WaiterConfig={'Delay': 1, 'MaxAttempts': 60})",
    );
    shop.write("forget.rhai", "environment(\"staging\").forget_hosts();");
    shop.succeeds(&["forget.rhai"]);
    assert!(!shop.path("deployments/shop-staging").exists());
}
