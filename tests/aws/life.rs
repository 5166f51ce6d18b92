//! Time, money, and what is left behind: expiry and its timers, prices, cleaning up by tags, and a lost folder built anew.

use crate::aws::REGION;
use crate::lab::in_the_console;
use crate::project::{FULL, PROVISION, Project, said};
use crate::real::RealMachine;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PRICES: &str = "currency: USD\ninstances:\n  c7i.large: 1.00\n  c7i.xlarge: { hourly: 2.50, spot: 0.75 }\n";
const GC: &[&str] = &["gc", "--region", REGION, "--config", "configs/quick.yml"];

fn json_of(project: &Project, words: &[&str]) -> Value {
    serde_json::from_slice(&project.succeeds(words).stdout).unwrap()
}

/// The values of a tag on everything of the lab, network interfaces apart: moto drops their tags.
fn tag_values(project: &Project, key: &str) -> Vec<String> {
    let all = project.aws.resources(REGION).into_iter().filter(|r| r.kind != "network interface");
    let mut values: Vec<String> =
        all.map(|r| r.tags.get(key).cloned().unwrap_or_else(|| format!("none on {}", r.kind))).collect();
    values.sort();
    values.dedup();
    values
}

fn verdicts(found: &Value) -> Vec<(String, String)> {
    let word = |c: &Value, key: &str| c[key].as_str().unwrap_or_default().to_owned();
    found["candidates"].as_array().unwrap().iter().map(|c| (word(c, "name"), word(c, "verdict"))).collect()
}

#[test]
fn extend_moves_the_time_everywhere() {
    let project = Project::new();
    project.config(FULL, "expires: 12h");
    project.provision();
    let before = tag_values(&project, "expires-at");
    assert_eq!(before.len(), 1, "{before:?}");
    let done = json_of(&project, &["extend", "lab", "48h", "--json"]);
    let until = done["expires_at"].as_str().unwrap().to_owned();
    assert_eq!(tag_values(&project, "expires-at").as_slice(), std::slice::from_ref(&until), "on everything\n{}", project.story());
    let status = json_of(&project, &["status", "lab", "--json"]);
    assert_eq!(status["expires_at"], until);
    assert!(said(&project.succeeds(&["status", "lab"])).contains("expires in 48 h"));
    assert!(said(&project.succeeds(&["ls"])).contains("in 48 h"));

    project.aws.forget();
    project.provision();
    project.assert_untouched("what was extended stays so");
    let said = project.fails(2, &["extend", "lab", "1h"]);
    assert!(said.contains("expires in 48 h already") && said.contains("--shorten"), "{said}");
    project.assert_untouched("refused");
    project.succeeds(&["extend", "lab", "1h", "--shorten"]);
    assert_ne!(tag_values(&project, "expires-at"), [until]);

    project.config(FULL, "expires: 24h");
    project.provision();
    let status = json_of(&project, &["status", "lab", "--json"]);
    let hours = |from: &Value, to: &Value| {
        let time = |v: &Value| v.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        time(to).duration_since(time(from)).as_secs() / 3600
    };
    assert_eq!(hours(&status["created"], &status["expires_at"]), 24, "a new word in the config counts from the making again");
    project.deprovision("extended");
}

#[test]
fn what_the_config_no_longer_says_no_tag_says() {
    let project = Project::new();
    project.config(FULL, "expires: 12h\nkeep: until friday");
    project.provision();
    project.config(FULL, "");
    project.provision();
    let tags: Vec<String> =
        project.instances().into_iter().flat_map(|i| [i.tags["keep"].clone(), i.tags["expires-at"].clone()]).collect();
    assert!(tags.iter().all(|t| t == "false" || t == "never"), "{tags:?}");
    project.aws.forget();
    project.provision();
    project.assert_untouched("taken back once");
    project.deprovision("taken back");
}

#[test]
fn machines_that_end_themselves() {
    let project = Project::new();
    let more = "expires: 12h\nexpires_action: terminate\nserver_stateful: true\nproxy_command: /bin/false";
    project.config(FULL, more);
    let plan = said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]));
    assert!(plan.contains("machines end themselves: client, monitor; advice only: server"), "{plan}");
    project.provision();
    for launch in project.aws.calls_of("RunInstances") {
        let ends = launch.params.get("InstanceInitiatedShutdownBehavior").map(String::as_str);
        let data = launch.params.get("UserData").cloned().unwrap_or_default();
        let timer = decoded(&project, &data).contains("opsrun-expire.timer");
        let stateful = launch.params["MinCount"] == "3";
        assert_eq!((ends, timer), if stateful { (None, false) } else { (Some("terminate"), true) }, "{launch:?}");
    }
    project.aws.forget();
    project.provision();
    project.assert_untouched("the timer in the user data is no change of it");

    // Nobody answers: they must not end at their old time.
    let said_so = project.fails(1, &["extend", "lab", "20h"]);
    for word in ["client-0", "client-1", "monitor-0", "At their old time they stop"] {
        assert!(said_so.contains(word), "{said_so}");
    }
    assert!(!said_so.contains("server-0"), "{said_so}");
    let stops = project.aws.calls_of("ModifyInstanceAttribute");
    assert_eq!(stops.len(), 3, "{}", project.story());
    assert!(stops.iter().all(|c| c.params["InstanceInitiatedShutdownBehavior.Value"] == "stop"), "{stops:?}");
    let plan = said(&project.succeeds(&["plan", "lab"]));
    assert!(plan.contains("opsrun extend lab sets their timers"), "{plan}");
    project.deprovision("they end themselves");
}

/// The text of user data, as a MIME message and packed or not.
fn decoded(project: &Project, data: &str) -> String {
    in_the_console(
        project,
        &format!(
            "import base64,gzip\nd=base64.b64decode('{data}')\nd=gzip.decompress(d) if d[:2]==b'\\x1f\\x8b' else d\nprint(d.decode())"
        ),
    )
}

#[test]
fn keep_disarms_what_would_end_itself() {
    let project = Project::new();
    project.config(&[("client", 2)], "expires: 12h\nexpires_action: terminate");
    project.provision();
    project.config(&[("client", 2)], "expires: 12h\nexpires_action: terminate\nkeep: true");
    let plan = said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]));
    assert!(plan.contains("kept: client") && plan.contains("no longer ends itself"), "{plan}");
    project.aws.forget();
    project.provision();
    let stops = project.aws.calls_of("ModifyInstanceAttribute");
    assert!(stops.len() == 2 && stops.iter().all(|c| c.params["InstanceInitiatedShutdownBehavior.Value"] == "stop"), "{stops:?}");
    assert!(project.aws.calls_of("StopInstances").is_empty(), "{}", project.story());
    project.aws.forget();
    project.provision();
    project.assert_untouched("disarmed once");
    project.deprovision("kept");
}

/// What cannot be stopped cannot be kept from ending by its timer: the plan says what can.
#[test]
fn spot_machines_that_end_themselves_are_told_when_they_are_kept() {
    let project = Project::new();
    let more = "client_spot: true\nexpires: 12h\nexpires_action: terminate";
    project.config(&[("client", 2)], more);
    project.provision();
    project.config(&[("client", 2)], &format!("{more}\nkeep: true"));
    let plan = said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]));
    assert!(plan.contains("opsrun exec lab client-0,client-1 --sudo -- systemctl disable --now opsrun-expire.timer"), "{plan}");
    project.provision();
    assert!(project.aws.calls_of("ModifyInstanceAttribute").is_empty(), "{}", project.story());
    project.aws.forget();
    project.provision();
    project.assert_untouched("the tag keep was written once");
    project.deprovision("kept spot machines");
}

#[test]
fn wrong_words_about_time_and_money_are_refused_where_they_stand() {
    let project = Project::new();
    for (more, words) in [
        ("expires: 12h\nexpires_action: reboot", ["expires_action", "must be terminate"]),
        ("expires_action: terminate", ["`expires_action` is given without `expires`", "expires: 12h"]),
        ("expires: soon", ["expires", "is not a duration"]),
        ("prices: none.yml", ["prices", "none.yml"]),
    ] {
        project.config(FULL, more);
        let said = project.fails(2, PROVISION);
        assert!(words.iter().all(|w| said.contains(w)) && said.contains("configs/lab.yml:"), "{more}: {said}");
    }
    project.write("configs/prices.yml", "currency: USD\nregion: us-east-1\ninstances: { c7i.large: 1 }\n");
    project.config(FULL, "prices: prices.yml");
    let said = project.fails(2, PROVISION);
    assert!(said.contains("has the prices of us-east-1, but the region is eu-central-1"), "{said}");
    assert!(project.aws.changes().is_empty());
}

#[test]
fn prices_are_shown_and_limited() {
    let project = Project::new();
    project.write("configs/prices.yml", PRICES);
    project.config(FULL, "prices: prices.yml");
    let plan = json_of(&project, &["plan", "lab", "configs/lab.yml", "--json"]);
    assert_eq!((&plan["cost"]["before"]["hourly"], &plan["cost"]["after"]["hourly"]), (&json!(0.0), &json!(6.0)), "{plan:#}");

    let over = project.fails(2, &[PROVISION, &["--max-hourly", "5.99"]].concat());
    assert!(over.contains("it would cost 6.00 USD an hour, more than the 5.99"), "{over}");
    project.fails(2, &["plan", "lab", "configs/lab.yml", "--max-hourly", "5.99"]);
    project.assert_untouched("it would cost too much");
    project.succeeds(&[PROVISION, &["--max-hourly", "6"]].concat());

    let status = json_of(&project, &["status", "lab", "--json"]);
    assert_eq!(status["cost"], json!({ "currency": "USD", "hourly": 6.0, "at_least": 6.0, "unknown": [] }));
    assert!(said(&project.succeeds(&["status", "lab"])).contains("cost: 6.00 USD an hour"));
    assert!(said(&project.succeeds(&["ls"])).contains("6.00 USD"));

    project.config(FULL, "prices: prices.yml\nclient_instance_type: c7i.xlarge");
    let plan = said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]));
    assert!(plan.contains("cost: 6.00 USD -> 9.00 USD an hour"), "{plan}");
    project.config(FULL, "prices: prices.yml\nclient_instance_type: m5.large");
    let plan = said(&project.succeeds(&["plan", "lab", "configs/lab.yml"]));
    assert!(plan.contains("m5.large has no price") && plan.contains("unknown"), "{plan}");
    project.aws.forget();
    let unknown = project.fails(2, &[PROVISION, &["--max-hourly", "100"]].concat());
    assert!(unknown.contains("m5.large has no price"), "{unknown}");
    project.config(FULL, "");
    let none = project.fails(2, &[PROVISION, &["--max-hourly", "100"]].concat());
    assert!(none.contains("the config names no file of them"), "{none}");
    project.assert_untouched("nobody knows what it would cost");
    project.deprovision("priced");
}

/// The cloud does not answer: the list comes all the same, and says so in the row.
#[test]
fn a_list_needs_no_cloud() {
    let project = Project::new();
    project.config(FULL, "expires: 12h");
    project.provision();
    let ls = |words: &[&str]| {
        let mut command = project.command(words);
        // Nobody listens there.
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").output().unwrap()
    };
    let start = Instant::now();
    let out = ls(&["ls"]);
    assert!(out.status.success() && said(&out).contains("lab") && said(&out).contains("not asked"), "{}", said(&out));
    assert!(start.elapsed() < Duration::from_secs(60), "it waits for nobody");
    let rows: Value = serde_json::from_slice(&ls(&["ls", "--json"]).stdout).unwrap();
    assert!(rows[0]["running"].is_null() && rows[0]["unreached"].is_string() && rows[0]["nodes"] == 6, "{rows:#}");
    let rows: Value = serde_json::from_slice(&ls(&["ls", "--offline", "--json"]).stdout).unwrap();
    assert!(rows[0]["unreached"].is_null() && rows[0]["expires_at"].is_string(), "{rows:#}");
    project.deprovision("listed");
}

#[test]
fn gc_removes_what_has_expired() {
    let project = Project::new();
    project.look_quickly();
    project.config(&[("server", 1)], "expires: 12h");
    project.provision();
    assert_eq!(verdicts(&json_of(&project, &[GC, &["--json"]].concat())), [("lab".to_owned(), "alive".to_owned())]);
    project.succeeds(&[GC, &["--yes"]].concat());
    assert_eq!(project.node_names(), ["server-0"], "it has time left");

    project.succeeds(&["extend", "lab", "0s", "--shorten"]);
    let list = said(&project.succeeds(GC));
    assert!(list.contains("lab") && list.contains("REMOVE: expired") && list.contains("lab@example.com"), "{list}");
    assert_eq!(project.node_names(), ["server-0"], "a list removes nothing");
    project.succeeds(&[GC, &["--yes"]].concat());
    project.aws.assert_none(REGION, "expired and collected");
    assert!(!project.path("deployments/lab").exists());
    assert!(said(&project.succeeds(GC)).contains("no deployments in eu-central-1"));
}

#[test]
fn gc_removes_orphans_and_spares_what_is_kept_or_anothers() {
    let project = Project::new();
    project.look_quickly();
    project.config(&[("server", 1)], "");
    project.provision();
    project.lose_folder();
    let found = |words: &[&str]| verdicts(&json_of(&project, &[GC, words, &["--json"]].concat()));
    let is = |word: &str| [("lab".to_owned(), word.to_owned())];
    assert_eq!(found(&[]), is("young"), "it may be in the making");
    assert_eq!(found(&["--min-age", "0s"]), is("orphaned"));
    assert_eq!(found(&["--min-age", "0s", "--owner", "another@example.com"]), is("foreign"));
    project.aws.forget();
    project.succeeds(&[GC, &["--min-age", "0s", "--owner", "another@example.com", "--yes"]].concat());
    project.assert_untouched("it is another's");

    let ids = project.ids();
    let tag = |value: &str| {
        let resource = &ids["server-0"];
        in_the_console(
            &project,
            &format!("ec2.create_tags(Resources=['{resource}'], Tags=[{{'Key': 'keep', 'Value': '{value}'}}])"),
        );
    };
    tag("until friday");
    project.aws.forget();
    let out = json_of(&project, &[GC, &["--min-age", "0s", "--yes", "--json", "lab"]].concat());
    assert_eq!(verdicts(&out), is("kept"), "one thing that is kept keeps all of it, even when it is named");
    project.assert_untouched("it is kept");
    tag("false");
    let named = [GC, &["--min-age", "0s", "--owner", "another@example.com", "--yes", "--json", "lab"]].concat();
    let out = json_of(&project, &named);
    assert_eq!(out["removed"][0]["removed"], true, "named, it is removed whoever owns it: {out:#}");
    project.aws.assert_none(REGION, "an orphan, removed by name");
    let none = project.fails(2, &named);
    assert!(none.contains("nothing of a deployment lab"), "{none}");
}

/// A folder of another project on this host: what it knows is no orphan.
#[test]
fn gc_sees_the_folders_of_other_projects() {
    let project = Project::new();
    project.look_quickly();
    project.config(&[("server", 1)], "");
    project.provision();
    let all = [GC, &["--min-age", "0s", "--yes", "--json"]].concat();
    let elsewhere = |words: &[&str]| project.command(words).env("OPSRUN_HOME", project.path("elsewhere")).output().unwrap();
    std::fs::create_dir(project.path("elsewhere")).unwrap();
    let out = elsewhere(&all);
    let found: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", said(&out)));
    assert_eq!(verdicts(&found), [("lab".to_owned(), "alive".to_owned())], "{found:#}");
    assert_eq!(project.node_names(), ["server-0"]);
    project.deprovision("known to another project");
}

/// What others of its kind overlook: no machine is there any more, but a network and a key pair are.
#[test]
fn gc_removes_leftovers_without_machines() {
    let project = Project::new();
    project.look_quickly();
    project.config(&[("server", 1)], "expires: 12h");
    project.provision();
    let id = &project.ids()["server-0"];
    in_the_console(&project, &format!("ec2.terminate_instances(InstanceIds=['{id}'])"));
    project.lose_folder();
    let out = json_of(&project, &[GC, &["--min-age", "0s", "--yes", "--json"]].concat());
    assert_eq!(verdicts(&out), [("lab".to_owned(), "orphaned".to_owned())], "{out:#}");
    project.aws.assert_none(REGION, "leftovers");
}

#[test]
fn a_lost_folder_is_built_anew() {
    let project = Project::new();
    project.config(FULL, "expires: 12h");
    project.provision();
    project.succeeds(&["extend", "lab", "30h"]);
    let before = (project.ids(), json_of(&project, &["status", "lab", "--json"]));
    let said_so = project.fails(2, &["adopt", "lab", "configs/lab.yml"]);
    assert!(said_so.contains("deployments/lab is there already"), "{said_so}");
    project.lose_folder();
    let ssh_config = |folder: &str| std::fs::read_to_string(project.path(folder).join("ssh_config")).unwrap();
    let ssh = ssh_config("lost");
    project.aws.forget();

    let said_so = project.fails(2, &["adopt", "lab", "configs/lab.yml"]);
    assert!(said_so.contains("private key of lab") && said_so.contains("--key"), "{said_so}");
    let other = project.path("other");
    let made =
        std::process::Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&other).status().unwrap();
    assert!(made.success());
    let said_so = project.fails(2, &["adopt", "lab", "configs/lab.yml", "--key", other.to_str().unwrap()]);
    assert!(said_so.contains("is not the key of lab"), "{said_so}");
    let said_so = project.fails(2, &["adopt", "lba", "--region", REGION, "--without-key"]);
    assert!(said_so.contains("lab"), "{said_so}");
    assert!(!project.path("deployments/lab").exists() && !project.path("deployments/lba").exists());

    for files in [&["configs/lab.yml"][..], &["--region", REGION]] {
        let out = said(&project.succeeds(&[&["adopt", "lab", "--key", "lost/keys/id_ed25519"], files].concat()));
        assert!(out.contains("6 nodes") && out.contains("host keys"), "{out}");
        let homes: Vec<String> = project.aws.changes().into_iter().map(|c| c.action).collect();
        assert_eq!(homes, ["CreateTags"], "only where its folder is\n{}", project.story());
        project.aws.forget();
        let plan = json_of(&project, &["plan", "lab", "configs/lab.yml", "--json"]);
        assert!(plan["changes"].as_array().unwrap().iter().all(|c| c["action"] == "unchanged"), "{files:?}: {plan:#}");
        assert!(plan["settings"] == json!([]) && plan["resources"].is_null(), "{files:?}: {plan:#}");
        project.provision();
        project.assert_untouched("adopted, and provisioned from its config");
        assert_eq!(ssh_config("deployments/lab"), ssh, "{files:?}");
        let after = json_of(&project, &["status", "lab", "--json"]);
        for key in ["uuid", "expires_at", "nodes"] {
            assert_eq!(before.1[key], after[key], "{files:?}");
        }
        std::fs::rename(project.path("deployments/lab"), project.path(&format!("again{}", files.len()))).unwrap();
    }
    assert_eq!(before.0, project.ids());
    project.succeeds(&["adopt", "lab", "configs/lab.yml", "--without-key"]);
    project.deprovision("adopted");
}

/// A machine of the lab that is a real Debian with systemd: the timer is set, moved, and turns it off.
#[test]
fn the_timer_of_a_real_machine() {
    let project = Project::new();
    let key = project.path("key");
    let made = std::process::Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    let machine = RealMachine::boot(&project, "private_key_path: ../key\n");
    let through = machine.way();
    let more = format!(
        "expires: 12h\nexpires_action: terminate\nclient_user: root\nprivate_key_path: ../key\nhost_keys: pin\nproxy_command: \"{through}\""
    );
    project.config(&[("client", 1)], &more);
    project.provision();
    let on = |line: &str| said(&project.succeeds(&["exec", "lab", "client-0", "--", line]));

    let done = json_of(&project, &["extend", "lab", "20h", "--json"]);
    assert_eq!(done["timed"], json!(["client-0"]), "{done:#}");
    let next = || on("systemctl show -p NextElapseUSecRealtime --value opsrun-expire.timer");
    let first = next();
    assert!(on("systemctl is-enabled opsrun-expire.timer; systemctl is-active opsrun-expire.timer").contains("enabled"));
    project.succeeds(&["extend", "lab", "30h"]);
    assert_ne!(first, next(), "moved");
    project.succeeds(&["extend", "lab", "0s", "--shorten"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let node = machine.node();
        if node["status"] != "running" {
            break;
        }
        assert!(Instant::now() < deadline, "it did not turn itself off: {node:#}");
        std::thread::sleep(Duration::from_millis(500));
    }
    project.deprovision("it had a real machine");
}
