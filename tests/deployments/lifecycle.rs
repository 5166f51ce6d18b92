//! The life of a deployment, as its user sees it.

use crate::lab::Lab;
use serde_json::json;

#[test]
fn scales_up_and_down_and_drops_a_group() {
    let lab = Lab::new();
    let provision = || lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
    lab.config("server_count: 3\nclient_count: 1\n");
    let first = provision();
    assert_eq!(
        first.stderr,
        "new deployment lab (provider local)\n  + server-0  create  new\n  + server-1  create  new\n  + server-2  create  new\n  + client-0  create  new\n4 to create\nlocal nodes are no isolation: they share this machine's kernel, users, files and network\ndeployment lab is ready: 4 nodes (4 created)\n"
    );
    assert_eq!(lab.ssh("server-2", "echo $OPSRUN_NODE_ID").trim().rsplit('/').next(), Some("server-2"));
    lab.ssh("server-0", "echo precious > kept");
    let old = lab.addresses();

    lab.config("server_count: 5\nclient_count: 1\n");
    let plan = lab.run(&["plan", "lab"]).ok();
    assert_eq!(
        plan.stdout,
        "deployment lab (provider local)\n  + server-3  create  server: 3 to 5 nodes\n  + server-4  create  server: 3 to 5 nodes\n2 to create, 4 unchanged\n"
    );
    provision();
    assert_eq!(lab.nodes().len(), 6);
    let new = lab.addresses();
    assert!(old.iter().all(|a| new.contains(a)), "nodes that stay keep their addresses");

    lab.config("groups: { server: { count: 2 }, client: { count: 1 } }\n");
    let refused = lab.run(&["provision", "lab"]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.ends_with(
            "3 to remove, 3 unchanged\nerror: there is no terminal to ask on: Remove server-4, server-3, server-2 from deployment lab, with everything on it?\nhint: Add --yes to say yes beforehand.\n"
        ),
        "{}",
        refused.stderr
    );
    provision();
    assert_eq!(lab.nodes(), ["server-0 running", "server-1 running", "client-0 running"]);
    assert_eq!(lab.ssh("server-0", "cat kept"), "precious\n");

    lab.config("server_count: 2\n");
    provision();
    assert_eq!(lab.nodes(), ["server-0 running", "server-1 running"]);
    let again = lab.run(&["provision", "lab"]).ok();
    assert_eq!(again.stderr, "deployment lab (provider local)\nnothing to change: 2 nodes as wanted\n");

    let addresses = [old, new, lab.addresses()].concat();
    assert_eq!(lab.run(&["deprovision", "lab", "--yes"]).ok().stderr, "deployment lab is removed (2 nodes)\n");
    lab.assert_nothing_left(&addresses);
    assert_eq!(lab.run(&["deprovision", "lab"]).ok().stderr, "there is no deployment lab: nothing to remove\n");
}

#[test]
fn programs_read_json() {
    let lab = Lab::new();
    lab.config("server_count: 1\nvars: { heap: 256M }\n");
    let plan = lab.run(&["plan", "lab", "lab.yml", "--json"]).json();
    assert_eq!(
        plan,
        json!({
            "name": "lab", "provider": "local", "new": true, "settings": [], "notes": [],
            "changes": [{ "node": "server-0", "group": "server", "index": 0, "action": "create", "reason": "new" }],
        })
    );
    let made = lab.run(&["provision", "lab", "lab.yml", "--yes", "--json"]).json();
    let status = lab.run(&["status", "lab", "--json"]).json();
    assert_eq!(made, status);
    let node = &status["nodes"][0];
    assert_eq!(
        (&status["name"], &status["provider"], &status["interrupted"], &status["holder"]),
        (&json!("lab"), &json!("local"), &json!(null), &json!(null))
    );
    assert_eq!(
        (&node["name"], &node["group"], &node["index"], &node["status"]),
        (&json!("server-0"), &json!("server"), &json!(0), &json!("running"))
    );
    assert_eq!(format!("{}:{}", node["address"].as_str().unwrap(), node["port"]), lab.addresses()[0].to_string());
    let listed = lab.run(&["ls", "--json"]).json();
    assert_eq!(listed[0]["groups"], json!([{ "name": "server", "count": 1 }]));
    let inventory = lab.run(&["inventory", "lab", "--list"]).json();
    assert_eq!(inventory["server"], json!({ "hosts": ["server-0"] }));
    assert_eq!(inventory["_meta"]["hostvars"]["server-0"]["ansible_host"], node["address"]);
    assert_eq!(
        lab.run(&["inventory", "lab"]).ok().stdout,
        std::fs::read_to_string(lab.path("deployments/lab/inventory"))
            .unwrap()
            .replace(&*lab.home.path().to_string_lossy(), "HOME")
    );

    lab.config("server_count: 1\nvars: { heap: 512M }\n");
    assert_eq!(lab.run(&["plan", "lab", "--json"]).json()["settings"], json!(["vars.heap"]));
}

#[test]
fn static_hosts_are_asked_for_without_contacting_them() {
    let lab = Lab::new();
    lab.write("hosts.yml", "groups: { server: { hosts: ['root@192.0.2.1:2222', 192.0.2.2], user: bench } }\n");
    lab.run(&["provision", "lab", "hosts.yml", "--yes", "--no-wait"]).ok();
    assert_eq!(lab.nodes(), ["server-0 running", "server-1 running"]);
    let ssh_config = std::fs::read_to_string(lab.path("deployments/lab/ssh_config")).unwrap();
    assert!(ssh_config.contains("HostName 192.0.2.1\n  Port 2222\n  User root\n"), "{ssh_config}");
    assert!(ssh_config.contains("HostName 192.0.2.2\n  Port 22\n  User bench\n"), "{ssh_config}");
    lab.write("hosts.yml", "groups: { server: { hosts: ['root@192.0.2.1:2222', 192.0.2.3], user: bench } }\n");
    let plan = lab.run(&["plan", "lab"]).ok().stdout;
    assert!(plan.contains("± server-1  REPLACE  host: 192.0.2.2 -> 192.0.2.3"), "{plan}");
    assert!(ssh_config.contains("StrictHostKeyChecking accept-new"), "{ssh_config}");

    lab.write("known", "");
    lab.write("hosts.yml", "groups: { server: { hosts: [192.0.2.1] } }\nknown_hosts: known\n");
    lab.run(&["provision", "lab", "--yes", "--no-wait"]).ok();
    let ssh_config = std::fs::read_to_string(lab.path("deployments/lab/ssh_config")).unwrap();
    let known = format!("UserKnownHostsFile {}\n", lab.path("known").display());
    assert!(ssh_config.contains(&known) && ssh_config.contains("StrictHostKeyChecking yes"), "{ssh_config}");
    lab.run(&["deprovision", "lab", "--yes"]).ok();
    assert!(lab.path("known").exists());
    lab.assert_nothing_left(&[]);
}

#[test]
fn the_users_own_key_is_used_in_place() {
    let lab = Lab::new();
    let made = std::process::Command::new("ssh-keygen").args(["-q", "-t", "ecdsa", "-N", "", "-f"]).arg(lab.path("id")).status();
    assert!(made.expect("needs ssh-keygen: apt-get install openssh-client").success());
    lab.config("server_count: 1\nprivate_key_path: id\n");
    lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
    assert_eq!(lab.ssh("server-0", "echo hi"), "hi\n");
    assert!(!lab.path("deployments/lab/keys").exists());
}

#[test]
fn every_command_shows_examples() {
    let lab = Lab::new();
    // As clap lists them: a command that is added has examples, too.
    let all = lab.run(&["--help"]).ok().stdout;
    let listed = all.split_once("Commands:\n").and_then(|(_, rest)| rest.split_once("\n\n")).expect("commands are listed").0;
    let commands: Vec<&str> = listed.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert!(commands.contains(&"provision") && commands.contains(&"check"), "{commands:?}");
    for command in commands.into_iter().filter(|c| *c != "help") {
        let words = if command == "hdr" { vec!["hdr", "summary", "--help"] } else { vec![command, "--help"] };
        let help = lab.run(&words).ok().stdout;
        let examples = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{command} --help has no examples:\n{help}")).1;
        assert!(examples.contains(&format!("opsrun {command} ")) || examples.contains(&format!("opsrun {command}\n")), "{help}");
    }
}

#[test]
fn a_terminal_is_asked() {
    let lab = Lab::new();
    lab.config("server_count: 1\n");
    let session = |words: &[&str]| {
        let mut command = lab.command(words);
        command.stdin(std::process::Stdio::inherit());
        rexpect::session::spawn_command(command, Some(20_000)).unwrap()
    };
    let ends = |mut s: rexpect::session::PtySession, code: i32| {
        s.exp_eof().unwrap();
        let status = format!("{:?}", s.process().wait().unwrap());
        assert!(status.starts_with("Exited(") && status.ends_with(&format!(", {code})")), "{status}");
    };
    let mut no = session(&["provision", "lab", "lab.yml"]);
    no.exp_string("Change deployment lab? [y/N] ").unwrap();
    no.send_line("n").unwrap();
    no.exp_string("nothing was changed").unwrap();
    ends(no, 130);
    assert!(!lab.path("deployments").exists());
    let mut yes = session(&["provision", "lab", "lab.yml"]);
    yes.exp_string("[y/N] ").unwrap();
    yes.send_line("y").unwrap();
    yes.exp_string("deployment lab is ready").unwrap();
    ends(yes, 0);
    let mut gone = session(&["deprovision", "lab"]);
    gone.exp_string("This removes 1 node (server-0)").unwrap();
    gone.exp_string("Remove deployment lab? [y/N] ").unwrap();
    gone.send_line("yes").unwrap();
    ends(gone, 0);
    lab.assert_nothing_left(&[]);
}

#[test]
fn tab_completes_deployments() {
    let lab = Lab::new();
    lab.config("server_count: 0\n");
    lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
    let mut tab = lab.command(&["--", "opsrun", "status", "l"]);
    let out = tab.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "2").env("_CLAP_IFS", "\n").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "lab");
}

#[test]
fn lives_for_a_time_that_can_be_moved() {
    let lab = Lab::new();
    lab.config("server_count: 1\nexpires: 3h\n");
    let plan = lab.run(&["plan", "lab", "lab.yml"]).ok();
    assert!(plan.stdout.contains("\n  expires in 3 h ("), "{}", plan.stdout);
    lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
    let listed = lab.run(&["ls"]).ok().stdout;
    let words: Vec<&str> = listed.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(words[..4], ["lab", "local", "1", "running"], "{listed}");
    assert!(listed.contains("in 3 h") && listed.ends_with("1 server\n"), "{listed}");

    let done = lab.run(&["extend", "lab", "30h", "--json"]).ok().json();
    let row = &lab.run(&["ls", "--json"]).ok().json()[0];
    assert_eq!((&row["expires_at"], &row["running"], &row["cost"]), (&done["expires_at"], &json!(1), &json!(null)));
    assert_eq!(lab.run(&["status", "lab", "--json"]).ok().json()["expires_at"], done["expires_at"]);
    assert!(lab.run(&["provision", "lab"]).ok().stderr.contains("nothing to change"), "extended is not changed");
    let refused = lab.run(&["extend", "lab", "1h"]);
    assert_eq!(refused.code, 2);
    assert_eq!(
        refused.stderr,
        "error: lab expires in 30 h already, which is later\nhint: The time counts from now. To let it expire earlier, say so: --shorten.\n"
    );
    lab.run(&["extend", "lab", "0s", "--shorten"]).ok();
    let plan = lab.run(&["plan", "lab"]).ok().stdout;
    assert!(plan.contains("expired") && plan.contains("opsrun extend lab 6h"), "{plan}");
}
