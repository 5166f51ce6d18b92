//! Environments: their files, their template, what its parameters get.

#[path = "common/lab.rs"]
mod lab;

use lab::{Lab, assert_ok, stderr, stdout};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const COMMON: &str = "\
app: shop
region: eu-central-1
formations: [network, own]
variables: { network_cidr: 10.1.0.0/16 }
";
const OWN: &str = "\
Parameters:
  App: { Type: String, Description: The application. Part of every name. }
  Topic: { Type: String, AllowedPattern: '[a-z]+' }
  Count: { Type: Number, MinValue: 1, MaxValue: 9, Default: 3 }
  Word: { Type: String, NoEcho: true, Default: none }
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: !Sub '${App}-${Topic}'
      Tags: [{ Key: Count, Value: !Ref Count }, { Key: Word, Value: !Ref Word }]
";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("environments/common.yml", COMMON);
    lab.write("environments/staging.yml", "parameters: { Topic: orders }\n");
    lab.write("formations/own.yml", OWN);
    lab
}

/// cfn-lint, which comes with moto.
fn lint(template: &str) {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let program = cache.join("opsrun-test/moto/bin/cfn-lint");
    assert!(program.exists(), "this test needs cfn-lint ({} is missing): sh tests/setup.sh", program.display());
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(template.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}\n{template}", stdout(&out));
}

#[test]
fn the_example_works_as_it_is() {
    let lab = Lab::new();
    let out = lab.run(&["manage", "staging", "init"]);
    assert_ok(&out);
    assert!(stderr(&out).contains("environments/staging.yml"), "{}", stderr(&out));
    let template = lab.run(&["manage", "staging", "template"]);
    assert_ok(&template);
    assert_eq!(stderr(&template), "");
    lint(&stdout(&template));
    let parameters: serde_json::Value =
        serde_json::from_slice(&lab.run(&["manage", "staging", "parameters", "--json"]).stdout).unwrap();
    let of = |name: &str| parameters.as_array().unwrap().iter().find(|p| p["name"] == name).unwrap().clone();
    assert_eq!(of("Env"), serde_json::json!({ "name": "Env", "value": "staging", "from": "env" }));
    assert_eq!(of("WebMin"), serde_json::json!({ "name": "WebMin", "value": "1", "from": "groups.web.min" }));
    assert_eq!(of("DatabaseSize")["from"], "variables.database_size");
    assert_eq!(of("DatabaseInstanceType")["value"], "db.t4g.micro");
    assert_eq!(of("WebImage")["from"], "baked");
    assert_eq!(stdout(&lab.run(&["manage", "ls"])), "NAME     STACK         REGION\nstaging  shop-staging  eu-central-1\n");
    // A second time changes nothing that is there.
    lab.write("environments/common.yml", COMMON);
    assert_ok(&lab.run(&["manage", "production", "init"]));
    assert_eq!(std::fs::read_to_string(lab.path("environments/common.yml")).unwrap(), COMMON);
    assert!(lab.path("environments/production.yml").is_file());
}

#[test]
fn own_formations_are_merged_with_those_that_come_along() {
    let lab = lab();
    let out = lab.run(&["manage", "staging", "template"]);
    assert_ok(&out);
    let text = stdout(&out);
    lint(&text);
    assert!(text.contains("QueueName: !Sub \"${App}-${Topic}\"") && text.contains("Type: AWS::EC2::VPC"), "{text}");
}

#[test]
fn a_hidden_parameter_is_never_shown() {
    let lab = lab();
    lab.write(
        "environments/staging.yml",
        "parameters: { Topic: orders, Word: { secret: word } }\nsecrets: { word: { env: WORD } }\n",
    );
    for verb in [
        &["manage", "staging", "parameters"][..],
        &["manage", "staging", "parameters", "--json"],
        &["manage", "staging", "template"],
    ] {
        let out = lab.command(verb).env("WORD", "xyzzy").output().unwrap();
        assert_ok(&out);
        assert!(!stdout(&out).contains("xyzzy") && !stderr(&out).contains("xyzzy"));
    }
    let out = lab.command(&["manage", "staging", "parameters"]).env_remove("WORD").output().unwrap();
    assert!(stderr(&out).contains("the environment has no variable WORD"), "{}", stderr(&out));
}

#[test]
fn mistakes_are_named_with_file_and_line() {
    let lab = lab();
    let refused = |file: &str, text: &str, expected: &[&str]| {
        let before = std::fs::read_to_string(lab.path(file)).unwrap();
        lab.write(file, text);
        let out = lab.run(&["manage", "staging", "template"]);
        lab.write(file, &before);
        assert_eq!(out.status.code(), Some(2), "{}", stdout(&out));
        for words in expected {
            assert!(stderr(&out).contains(words), "no \"{words}\" in:\n{}", stderr(&out));
        }
    };
    let staging = "environments/staging.yml";
    refused(
        staging,
        "parameters: { Topik: orders }\n",
        &["have no parameter `Topik`", "staging.yml:1", "Did you mean \"Topic\"?"],
    );
    refused(staging, "regoin: x\n", &["unknown key `regoin`", "staging.yml:1", "Did you mean \"region\"?"]);
    refused(
        staging,
        "parameters: { Topic: Orders }\n",
        &["parameter Topic (parameters.Topic) must be like [a-z]+, not \"Orders\"", "staging.yml:1"],
    );
    refused(staging, "parameters: { Topic: orders, Count: 12 }\n", &["must be 9 or less, not \"12\""]);
    refused(staging, "parameters: { Topic: orders, Count: many }\n", &["must be a number, not \"many\""]);
    refused(
        staging,
        "{}\n",
        &["parameter Topic has no value", "formations/own.yml:3", "environments/common.yml or environments/staging.yml"],
    );
    refused(
        staging,
        "formations: [netwrok]\n",
        &["there is no formation `netwrok`", "staging.yml:1", "Did you mean \"network\"?"],
    );
    refused(
        staging,
        "groups: { web: { instance_type: t3.small } }\n",
        &["group `web` has neither an `image` nor `roles`", "staging.yml:1"],
    );
    refused(staging, "groups: { web: { roles: [nginxx] } }\n", &["nginxx", "Did you mean \"nginx\"?"]);
    refused(
        staging,
        "groups: { web: { image: ami-1, min: 3, max: 2 } }\n",
        &["`groups.web.max` must be at least groups.web.min, which is 3, not 2"],
    );
    refused(
        staging,
        "groups: { web: { image: debian-12 } }\n",
        &["`groups.web.image` must be an image's ID, `resolve:ssm:PARAMETER`, or { name: PATTERN, owner: ACCOUNT }"],
    );
    refused(staging, "app: \"my shop\"\n", &["\"my shop-staging\" cannot be the name of a stack"]);
    let clash = format!("{OWN}  Vpc: {{ Type: AWS::EC2::VPC }}\n");
    refused("formations/own.yml", &clash, &["Resources: `Vpc` is in std/formations/network.yml:15 and in formations/own.yml:12"]);
    let odd = lab.run(&["manage", "stagign", "template"]);
    assert_eq!(odd.status.code(), Some(2));
    assert!(stderr(&odd).contains("Did you mean \"staging\"?"), "{}", stderr(&odd));
}

#[test]
fn a_template_that_is_too_large_for_a_call_is_said() {
    let lab = lab();
    let many: String = (0..400)
        .map(|i| format!("  Queue{i}: {{ Type: AWS::SQS::Queue, Properties: {{ QueueName: {} }} }}\n", "q".repeat(80)))
        .collect();
    lab.write("formations/own.yml", &format!("{OWN}{many}"));
    let out = lab.run(&["manage", "staging", "template"]);
    assert_ok(&out);
    assert!(stderr(&out).contains("AWS takes 51200 with a call: name a bucket"), "{}", stderr(&out));
}

const VERBS: &str = "\
/// Counts the groups.
///
/// One after the other.
fn count(env) {
    let p = params(#{
        from: 0,       // where to begin
        yes: false,    // do not ask
    });
    confirm(`Count ${env.name}?`);
    print(`${env.app} has ${env.groups.len() + p.from}`);
    #{ groups: env.groups.len(), stack: env.stack_name }
}

/// Never ends well.
fn fall(env) { inner(env) }

private fn inner(env) { throw \"no way\"; }
";

#[test]
fn a_verb_of_the_project_is_a_procedure() {
    let lab = lab();
    lab.write("scripts/manage.rhai", VERBS);
    let out = lab.run(&["manage", "staging", "count", "--yes", "--from=2"]);
    assert_ok(&out);
    assert_eq!((stdout(&out).as_str(), stderr(&out).as_str()), ("shop has 2\n", ""));
    let out = lab.run(&["manage", "staging", "count", "-y", "--json"]);
    assert_ok(&out);
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(told, serde_json::json!({ "groups": 0, "stack": "shop-staging" }));
    assert_eq!(stderr(&out), "shop has 0\n");
    let help = lab.run(&["manage", "staging", "count", "--help"]);
    assert_eq!(
        stdout(&help),
        "Counts the groups.\n\nOne after the other.\n\nUsage: opsrun manage staging count [OPTIONS]\n\n\
         Options, with their defaults:\n  --from=0     where to begin\n  --yes=false  do not ask\n  \
         --json       print what came of it as JSON\n"
    );
    // What was done is kept.
    let runs: Vec<PathBuf> =
        std::fs::read_dir(lab.path("deployments/.environments/staging")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(runs.len(), 2);
    let manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(runs[0].join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["environment"], "staging");
    assert_eq!(manifest["outcome"], "done");
    assert!(std::fs::read_to_string(runs[0].join("log.txt")).unwrap().contains("shop has"));
    assert_eq!(stdout(&lab.run(&["ls"])), stdout(&Lab::new().run(&["ls"])));
}

#[test]
fn wrong_words_of_verbs_are_told() {
    let lab = lab();
    lab.write("scripts/manage.rhai", VERBS);
    let refused = |words: &[&str], code: i32, parts: &[&str]| {
        let out = lab.run(&[&["manage", "staging"], words].concat());
        let said = stderr(&out);
        assert_eq!(out.status.code(), Some(code), "{said}");
        assert!(parts.iter().all(|p| said.contains(p)), "{words:?}: {said}");
    };
    refused(&["coumt"], 2, &["there is no verb \"coumt\"", "count"]);
    refused(&[], 2, &["what is to be done with environment staging?", "template", "Counts the groups"]);
    refused(&["count", "--form=1"], 2, &["no option --form", "--from"]);
    refused(&["count", "twice"], 2, &["\"twice\" is no option", "--from"]);
    refused(&["count"], 1, &["there is no terminal to ask on: Count staging?", "--yes"]);
    refused(&["fall", "--hard"], 2, &["fall takes no options: --hard"]);
    refused(&["fall"], 1, &["no way", "scripts/manage.rhai:17", "log: "]);
    lab.write("environments/staging.yml", "grups: {}\n");
    refused(&["count", "--yes"], 2, &["grups", "environments/staging.yml:1"]);
    lab.write("scripts/manage.rhai", "fn count(env) {");
    refused(&["count"], 2, &["scripts/manage.rhai:1"]);
}

#[test]
fn environments_can_be_typed_at() {
    let lab = lab();
    let out = lab.run(&["repl", "-e", "environment(\"staging\")", "-e", "environment(\"staging\").parameters().len() > 3"]);
    assert_ok(&out);
    assert!(stdout(&out).contains("staging") && stdout(&out).contains("true"), "{}", stdout(&out));
}

#[test]
fn a_parameter_without_a_value_is_asked_for_on_a_terminal() {
    let lab = lab();
    lab.write("environments/staging.yml", "protected: false # for now\n");
    let out = lab.run(&["manage", "staging", "parameters"]);
    assert_eq!(out.status.code(), Some(2));
    let said = stderr(&out);
    assert!(said.contains("parameter Topic has no value") && said.contains("environments/staging.yml"), "{said}");

    let mut command = lab.command(&["manage", "staging", "parameters"]);
    command.stdin(Stdio::inherit());
    let mut terminal = rexpect::session::spawn_command(command, Some(30_000)).unwrap();
    terminal.exp_string("Parameter Topic: ").unwrap();
    terminal.send_line("ORDERS").unwrap();
    terminal.exp_string("it must be like [a-z]+").unwrap();
    terminal.exp_string("Parameter Topic: ").unwrap();
    terminal.send_line("orders").unwrap();
    terminal.exp_string("Write what is not hidden into environments/staging.yml? [Y/n] ").unwrap();
    terminal.send_line("").unwrap();
    let rest = terminal.exp_eof().unwrap();
    assert!(rest.contains("orders"), "{rest}");
    let text = std::fs::read_to_string(lab.path("environments/staging.yml")).unwrap();
    assert!(text.starts_with("protected: false # for now\n") && text.contains("Topic: orders"), "{text}");
    assert_ok(&lab.run(&["manage", "staging", "parameters"]));
}
