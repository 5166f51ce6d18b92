//! Bad input and bad times: what the user reads.

use crate::lab::Lab;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

#[test]
fn configs_are_refused_with_their_place() {
    let lab = Lab::new();
    let refuse = |texts: &[&str], expected: &str| {
        let names: Vec<String> = (0..texts.len()).map(|i| format!("{}.yml", ["a", "b"][i])).collect();
        for (name, text) in names.iter().zip(texts) {
            lab.write(name, text);
        }
        let words: Vec<&str> = ["provision", "lab", "--yes"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let ran = lab.run(&words);
        assert_eq!((ran.code, ran.stderr.as_str()), (2, expected));
    };
    refuse(
        &["provider: local\nserver_count: 3\n", "server_count: 5\n"],
        "error: `server_count` is set twice: to 3 in a.yml:2, and to 5 in b.yml:1
  --> b.yml:1:15
  1 | server_count: 5
    |               ^
hint: Keep one of the two: files given together must agree, whatever their order.
",
    );
    refuse(
        &["provider: local\ngroups:\n  server:\n    cuont: 3\n"],
        "error: unknown key `groups.server.cuont`
  --> a.yml:4:5
  4 |     cuont: 3
    |     ^
hint: Did you mean \"count\"?
",
    );
    refuse(
        &["provider: local\nserver_count: many\n"],
        "error: `server_count` must be a whole number, 0 or more, not the text \"many\"
  --> a.yml:2:15
  2 | server_count: many
    |               ^
",
    );
    refuse(
        &["region: eu-central-1\nserver_count: 1\n"],
        "error: group `server` has no `instance_type`, which provider aws needs
  --> a.yml:2:15
  2 | server_count: 1
    |               ^
hint: Write `server_instance_type: …`.
",
    );
    refuse(
        &["provider: local\nserver_count: 1\nprivate_key_path: nowhere/id\n"],
        "error: `private_key_path`: cannot read HOME/nowhere/id: no such file or directory
  --> a.yml:3:19
  3 | private_key_path: nowhere/id
    |                   ^
",
    );
    lab.write("id", "");
    std::fs::set_permissions(lab.path("id"), std::fs::Permissions::from_mode(0o640)).unwrap();
    refuse(
        &["provider: local\nserver_count: 1\nprivate_key_path: id\n"],
        "error: `private_key_path`: others may read the private key HOME/id (mode 0640, expected 0600)
  --> a.yml:3:19
  3 | private_key_path: id
    |                   ^
hint: Make it yours alone: chmod 600 HOME/id
",
    );
    assert!(!lab.path("deployments").exists(), "nothing was touched");
}

#[test]
fn names_are_refused_or_corrected() {
    let lab = Lab::new();
    let said = |words: &[&str]| {
        let ran = lab.run(words);
        (ran.code, ran.stderr)
    };
    lab.config("server_count: 1\n");
    assert_eq!(
        said(&["provision", "a/b", "lab.yml"]),
        (2, "error: \"a/b\" cannot be the name of a deployment\nhint: A name begins with a letter or digit and holds at most 64 letters, digits, `.`, `_` and `-`.\n".into())
    );
    assert_eq!(
        said(&["provision", "lab"]),
        (2, "error: there is no deployment \"lab\" yet, and no config file is given\nhint: Name the files that say what it should be: opsrun provision lab configs/local.yml\n".into())
    );
    assert_eq!(
        said(&["provision", "lab", "lba.yml"]),
        (2, "error: cannot read lba.yml: no such file or directory\nhint: Did you mean \"lab.yml\"?\n".into())
    );
    lab.run(&["provision", "lab", "lab.yml", "--yes", "--no-wait"]).ok();
    for command in ["status", "inventory"] {
        assert_eq!(
            said(&[command, "lba"]),
            (2, "error: there is no deployment \"lba\" in HOME/deployments\nhint: Did you mean \"lab\"?\n".into())
        );
    }
    assert_eq!(
        said(&["deprovision", "lba"]),
        (0, "there is no deployment lba: nothing to remove (there is one called lab)\n".into())
    );
    lab.write("lab.yml", "groups: { server: { hosts: [192.0.2.1] } }\n");
    assert_eq!(
        said(&["provision", "lab", "--yes"]),
        (2, "error: deployment \"lab\" is of provider `local`; it cannot become `static`\nhint: Use another name, or remove it first: opsrun deprovision lab\n".into())
    );
}

#[test]
fn secrets_stay_out_of_the_folder() {
    let lab = Lab::new();
    lab.config("server_count: 1\nsecret_key: Sup3rS3cretValue\nsecrets: { token: An0therS3cretValue }\n");
    let ran = lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
    let grep = std::process::Command::new("grep").args(["-rE", "S3cretValue"]).arg(lab.path("deployments")).output().unwrap();
    assert_eq!(
        (grep.status.code(), ran.stderr.contains("S3cret")),
        (Some(1), false),
        "{}",
        String::from_utf8_lossy(&grep.stdout)
    );
    let told = std::fs::read_to_string(lab.path("deployments/lab/deployment.yml")).unwrap();
    assert!(told.contains("# Secrets stay in those files: secret_key, token\n"), "{told}");
}

/// A holder that stands still with the lock in its hand.
#[test]
fn a_second_writer_is_told_who_holds_the_deployment() {
    let lab = Lab::new();
    lab.config("server_count: 2\n");
    for _ in 0..50 {
        let mut first = lab.start(&["provision", "lab", "lab.yml", "--yes"]);
        let pid = Pid::from_raw(i32::try_from(first.id()).unwrap());
        let until = Instant::now() + Duration::from_secs(20);
        while !lab.path("deployments/lab/state.json").exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
        kill(pid, Signal::SIGSTOP).unwrap();
        let status = lab.run(&["status", "lab", "--json"]).json();
        let holds = status["holder"]["pid"] == first.id();
        let (second, third) = (lab.run(&["provision", "lab", "lab.yml", "--yes"]), lab.run(&["deprovision", "lab", "--yes"]));
        kill(pid, Signal::SIGCONT).unwrap();
        first.wait().unwrap();
        if holds {
            for ran in [second, third] {
                let expected = format!("deployment \"lab\" is being changed by `opsrun provision lab` (process {pid} of ");
                assert_eq!(ran.code, 1);
                assert!(ran.stderr.contains(&expected) && ran.stderr.contains("hint: Wait until it is done"), "{}", ran.stderr);
            }
            assert_eq!(lab.nodes(), ["server-0 running", "server-1 running"]);
            assert_eq!(lab.run(&["status", "lab", "--json"]).json()["holder"], serde_json::Value::Null);
            return;
        }
        lab.run(&["deprovision", "lab", "--yes"]).ok();
    }
    panic!("the first writer was never caught with the lock");
}

#[test]
fn ctrl_c_ends_the_wait_and_keeps_what_was_made() {
    let lab = Lab::new();
    // A listener that never says a word: as unreachable as it gets without leaving this machine.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    lab.write("hosts.yml", &format!("groups: {{ server: {{ hosts: ['me@{}'] }} }}\n", deaf.local_addr().unwrap()));
    let mut child = lab.start(&["provision", "lab", "hosts.yml", "--yes"]);
    let until = Instant::now() + Duration::from_secs(20);
    while !lab.path("deployments/lab/ssh_config").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let asked = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(lab.nodes(), ["server-0 running"]);
}

/// No file may grow: as on a full disk, but without one.
#[test]
fn on_a_full_disk_nothing_is_half_written_and_removal_works() {
    let lab = Lab::new();
    lab.config("server_count: 1\n");
    lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
    let state = std::fs::read(lab.path("deployments/lab/state.json")).unwrap();
    let full = |words: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 0; exec {} {words}", env!("CARGO_BIN_EXE_opsrun"));
        let mut sh = std::process::Command::new("sh");
        let out = sh.args(["-c", &script]).current_dir(lab.home.path()).env("OPSRUN_HOME", lab.home.path()).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    lab.config("server_count: 2\n");
    let (code, stderr) = full("provision lab --yes");
    assert!(code == Some(1) && stderr.contains("error: cannot write ") && stderr.contains("state.json: "), "{stderr}");
    assert_eq!(std::fs::read(lab.path("deployments/lab/state.json")).unwrap(), state);
    assert_eq!(lab.nodes(), ["server-0 running"]);
    let (code, stderr) = full("deprovision lab --yes");
    assert_eq!((code, stderr.as_str()), (Some(0), "deployment lab is removed (1 node)\n"));
    lab.assert_nothing_left(&[]);
}
