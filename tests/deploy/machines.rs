//! Roles on real Debian machines: services, their handlers, broken runs, cut connections, `role test`.

use crate::lab::{Lab, assert_ok, stderr, stdout};
use crate::roles::told;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

const TICKER: &str = r#"
fn apply(nodes, vars) {
    nodes.file("/etc/ticker.conf", #{ content: `every = ${vars.every}`, notify: "restart ticker" });
    nodes.unit("ticker.service", #{ content: "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n" });
    nodes.service("ticker", #{ state: "started", enabled: true });
}
fn healthy(nodes, vars) { nodes.sh("systemctl is-active ticker", #{ quiet: true }); }
"#;

/// Runs the program in the lab's project, with the base system that this user's machines share.
fn run(lab: &Lab, args: &[&str]) -> Output {
    lab.command(args).env_remove("OPSRUN_CACHE").output().unwrap()
}

fn machines(count: usize) -> Lab {
    assert!(
        nix::unistd::Uid::effective().is_root(),
        "machines need root, and what this installs: apt-get install systemd-container debootstrap iproute2 nftables"
    );
    let lab = Lab::new();
    lab.write("configs/machines.yml", &format!("provider: machine\ngroups: {{ server: {{ count: {count} }} }}\n"));
    lab.write("roles/ticker/main.rhai", TICKER);
    lab.write("roles/ticker/defaults.yml", "every: 5\n");
    assert_ok(&run(&lab, &["provision", "lab", "configs/machines.yml", "--yes", "-q"]));
    lab
}

#[track_caller]
fn deploy(lab: &Lab, args: &[&str]) -> (i32, String) {
    let out = run(lab, &[&["deploy", "lab", "--roles", "ticker"], args].concat());
    (out.status.code().unwrap(), told(&stdout(&out)))
}

/// What a command prints on each node.
fn ask(lab: &Lab, command: &str) -> Vec<String> {
    let out = run(lab, &["exec", "lab", "*", "-q", "--json", "--", command]);
    let results: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout).unwrap();
    results.iter().map(|r| r["stdout"].as_str().unwrap().to_owned()).collect()
}

/// Differs for every start of the service.
fn starts(lab: &Lab) -> Vec<String> {
    ask(lab, "systemctl show -p InvocationID --value ticker")
}

#[test]
fn services_are_restarted_once_and_only_where_something_changed() {
    let lab = machines(3);
    let (code, check) = deploy(&lab, &["--check"]);
    assert_eq!(
        (code, check.as_str()),
        (
            0,
            "\
server-[0-2]  file /etc/ticker.conf  would change: created
server-[0-2]  unit ticker.service  would change: created
server-[0-2]  service ticker.service  would change: enabled, started
server-[0-2]  handler restart ticker  would be run
NODE      RIGHT  WOULD CHANGE  FAILED  SKIPPED  UNKNOWN  TIME
server-0  0      4             0       0        0        TIME
server-1  0      4             0       0        0        TIME
server-2  0      4             0       0        0        TIME
lab: 3 of 3 nodes would change; nothing was changed (TIME)
"
        )
    );
    assert_eq!(ask(&lab, "ls /etc/ticker.conf /etc/systemd/system/ticker.service /var/lib/opsrun 2>/dev/null"), ["", "", ""]);

    let (code, out) = deploy(&lab, &[]);
    assert!(code == 0 && out.contains("server-[0-2]  handler restart ticker  restarted\n"), "{out}");
    let first = starts(&lab);
    let (_, out) = deploy(&lab, &[]);
    assert!(out.contains("lab: 0 of 3 nodes changed"), "{out}");
    assert_eq!(starts(&lab), first);

    // On one of them someone changed the file.
    assert_ok(&run(&lab, &["exec", "lab", "server-1", "-q", "--", "echo 'every = 7' > /etc/ticker.conf"]));
    let (_, out) = deploy(&lab, &["--diff"]);
    assert!(out.starts_with("server-1  file /etc/ticker.conf  changed: content\n--- /etc/ticker.conf\n"), "{out}");
    assert!(out.contains("\n-every = 7\n+every = 5\n"), "{out}");
    let second = starts(&lab);
    assert_eq!((&second[0], &second[2]), (&first[0], &first[2]));
    assert_ne!(second[1], first[1]);

    // A service that does not start: its own last words are in the error.
    lab.write("roles/ticker/main.rhai", &TICKER.replace("/bin/sleep infinity", "/bin/sh -c 'echo no such clock; exit 4'"));
    let out = run(&lab, &["deploy", "lab", "--roles", "ticker", "--limit", "server-0", "--set", "every=9"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("no such clock"), "{}", stderr(&out));
}

#[test]
fn a_run_that_was_killed_restarts_what_it_owed() {
    let lab = machines(2);
    assert_eq!(deploy(&lab, &[]).0, 0);
    let first = starts(&lab);
    let slow = TICKER.replace("nodes.service(", "nodes.sh(\"touch /reached; [ -e /go ] || sleep 300\");\n    nodes.service(");
    lab.write("roles/ticker/main.rhai", &slow);
    let mut command = lab.command(&["deploy", "lab", "--roles", "ticker", "--set", "every=6"]);
    let mut child = command.env_remove("OPSRUN_CACHE").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while ask(&lab, "ls /reached 2>/dev/null") != ["/reached", "/reached"] {
        assert!(begun.elapsed() < Duration::from_secs(60), "the role did not get there");
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ask(&lab, "touch /go");
    assert_eq!(ask(&lab, "cat /etc/ticker.conf"), ["every = 6", "every = 6"]);
    assert_eq!(starts(&lab), first);
    let (code, out) = deploy(&lab, &["--set", "every=6"]);
    assert!(code == 0 && out.starts_with("server-[0-1]  handler restart ticker  restarted\nNODE"), "{out}");
    let second = starts(&lab);
    assert!(second.iter().all(|s| !first.contains(s)), "{first:?} {second:?}");
    let (_, out) = deploy(&lab, &["--set", "every=6"]);
    assert!(out.starts_with("NODE"), "{out}");
    assert_eq!(ask(&lab, "find /var/lib/opsrun -type f"), ["", ""]);
}

#[test]
fn a_connection_that_is_cut_fails_its_node_alone() {
    let lab = machines(2);
    let cut = "nodes.command(\"[ $(hostname) != server-1 ] || pkill -KILL -f '^sshd: root'\", #{ unless: \"test -e /cut\" });";
    lab.write("roles/ticker/main.rhai", &TICKER.replace("    nodes.unit(", &format!("    {cut}\n    nodes.unit(")));
    let out = run(&lab, &["deploy", "lab", "--roles", "ticker"]);
    assert_eq!(out.status.code(), Some(1), "{}{}", stdout(&out), stderr(&out));
    assert!(stderr(&out).contains("error: 1 of 2 nodes failed\n  server-1: "), "{}", stderr(&out));
    assert!(told(&stdout(&out)).contains("server-0  handler restart ticker  restarted\n"), "{}", stdout(&out));
    assert_eq!(
        ask(&lab, "cat /etc/ticker.conf; ls /etc/systemd/system/ticker.service 2>/dev/null"),
        ["every = 5/etc/systemd/system/ticker.service", "every = 5"]
    );
    // Again, and it goes on where it was; what was owed is done.
    ask(&lab, "touch /cut");
    let (code, out) = deploy(&lab, &[]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("server-1  unit ticker.service  changed: created\n"), "{out}");
    assert!(out.contains("server-1  handler restart ticker  restarted\n"), "{out}");
}

#[test]
fn a_new_role_passes_its_test_and_nothing_is_left() {
    let lab = Lab::new();
    assert_ok(&lab.run(&["role", "new", "clock"]));
    let out = run(&lab, &["role", "test", "clock"]);
    assert_ok(&out);
    let err = stderr(&out);
    for line in ["first run: 3 resources changed", "second run: nothing changed", "test.rhai: passed", "role clock passed"] {
        assert!(err.contains(line), "{err}");
    }
    assert_eq!(stdout(&run(&lab, &["ls", "--json"])), "[]\n");

    // A role that never comes to rest is told what it changed again.
    let path = lab.path("roles/clock/main.rhai");
    let main = std::fs::read_to_string(&path).unwrap();
    let restless = main.replace("fn apply(nodes, vars) {", "fn apply(nodes, vars) {\n    nodes.command(\"date > /etc/now\");");
    std::fs::write(&path, restless).unwrap();
    let out = run(&lab, &["role", "test", "clock", "--json"]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let doc: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(doc["passed"], false);
    let steps: Vec<(&str, bool)> =
        doc["steps"].as_array().unwrap().iter().map(|s| (s["step"].as_str().unwrap(), s["passed"].as_bool().unwrap())).collect();
    assert_eq!(steps, [("machine", true), ("first run", true), ("second run", false)]);
    let err = stderr(&out);
    assert!(err.contains("error: role clock changed 1 resource again in its second run"), "{err}");
    assert!(err.contains("command date > /etc/now"), "{err}");
    assert_eq!(stdout(&run(&lab, &["ls", "--json"])), "[]\n");
}

#[test]
fn a_role_test_that_is_interrupted_removes_its_machine() {
    let lab = Lab::new();
    lab.write("roles/slow/main.rhai", r#"fn apply(nodes, vars) { nodes.sh("echo begun; sleep 300"); }"#);
    let mut command = lab.command(&["role", "test", "slow"]);
    command.env_remove("OPSRUN_CACHE").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut heard = String::new();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    while !heard.contains("begun") {
        heard += &lines.next().expect("it ended before the role began").unwrap();
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(stdout(&run(&lab, &["ls", "--json"])), "[]\n");
}
