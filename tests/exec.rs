//! Commands on many nodes, through the real binary and local nodes.

#[path = "common/lab.rs"]
mod lab;

use lab::{Lab, assert_ok, stderr, stdout};
use std::time::{Duration, Instant};

fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn output_is_prefixed_and_goes_where_the_node_sent_it() {
    let lab = Lab::provisioned();
    let out = lab.run(&["exec", "lab", "server-[01]", "--", "echo out $OPSRUN_NODE; echo err >&2"]);
    assert_ok(&out);
    assert_eq!(sorted_lines(&stdout(&out)), ["server-0 | out server-0", "server-1 | out server-1"]);
    assert_eq!(sorted_lines(&stderr(&out)), ["server-0 | err", "server-1 | err"]);

    let out = lab.run(&["exec", "lab", "server,client", "--collapse", "--", "printf", "%s\n", "a  b", "$HOME"]);
    assert_ok(&out);
    assert_eq!(stdout(&out), "server-[0-2], client-0 | a  b\nserver-[0-2], client-0 | $HOME\n");
}

#[test]
fn json_tells_how_each_command_ended() {
    let lab = Lab::provisioned();
    let line = "case $OPSRUN_NODE in server-0) echo fine;; server-1) echo bad >&2; exit 7;; server-2) kill -9 $$;; esac";
    let out = lab.run(&["exec", "lab", "server", "--json", "--", line]);
    assert_eq!(out.status.code(), Some(1));
    let rows: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let field = |key: &str| rows.as_array().unwrap().iter().map(|r| r[key].clone()).collect::<Vec<_>>();
    assert_eq!(field("node"), ["server-0", "server-1", "server-2"]);
    assert_eq!(field("ok"), [true, false, false]);
    assert_eq!(field("code"), [serde_json::json!(0), serde_json::json!(7), serde_json::Value::Null]);
    assert_eq!(field("signal"), [serde_json::Value::Null, serde_json::Value::Null, serde_json::json!("KILL")]);
    assert_eq!(field("stdout"), ["fine", "", ""]);
    assert_eq!(field("stderr"), ["", "bad", ""]);
    // One that was stopped tells what it had said by then.
    let out = lab.run(&["exec", "lab", "server-0", "--json", "--timeout=1s", "--", "echo so far; echo so bad >&2; sleep 60"]);
    assert_eq!(out.status.code(), Some(1));
    let rows: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&rows[0]["stdout"], &rows[0]["stderr"]), (&"so far".into(), &"so bad".into()), "{rows}");
    assert_eq!(rows[0]["error"], "command did not end within 1s and was stopped");
}

#[test]
fn all_nodes_finish_and_the_error_names_those_that_failed() {
    let lab = Lab::provisioned();
    let out =
        lab.run(&["exec", "lab", "server", "--", "touch done; [ $OPSRUN_NODE != server-1 ] || { echo no luck >&2; exit 3; }"]);
    assert_eq!(out.status.code(), Some(1));
    let text = stderr(&out);
    assert!(text.contains("error: 1 of 3 nodes failed"), "{text}");
    assert!(text.contains("  server-1: command failed with exit code 3"), "{text}");
    assert!(text.contains("    | no luck"), "{text}");
    for n in 0..3 {
        assert!(lab.path(&format!("deployments/lab/local/server-{n}/done")).exists());
    }
}

#[test]
fn an_unreachable_host_among_good_ones_is_listed_and_the_others_finish() {
    let lab = Lab::provisioned();
    let status = lab.run(&["status", "lab", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let address = |i: usize| {
        let n = &status["nodes"][i];
        format!("{}@{}:{}", n["user"].as_str().unwrap(), n["address"].as_str().unwrap(), n["port"])
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    lab.write(
        "configs/mixed.yml",
        &format!(
            "provider: static\nprivate_key_path: {key}\nknown_hosts: {known}\ngroups:\n  web:\n    hosts: [\"{}\", \"root@127.0.0.1:{closed}\", \"{}\"]\n",
            address(0),
            address(1),
            key = lab.path("deployments/lab/keys/id_ed25519").display(),
            known = lab.path("deployments/lab/known_hosts").display(),
        ),
    );
    assert_ok(&lab.run(&["provision", "mixed", "configs/mixed.yml", "--yes", "--no-wait"]));
    let out = lab.run(&["exec", "mixed", "web", "--", "echo $OPSRUN_NODE"]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(sorted_lines(&stdout(&out)), ["web-0 | server-0", "web-2 | server-1"]);
    let text = stderr(&out);
    assert!(text.contains("error: 1 of 3 nodes failed"), "{text}");
    assert!(text.contains("web-1:") && text.contains(&format!("127.0.0.1:{closed}")) && text.contains("refused"), "{text}");
}

#[test]
fn a_command_that_takes_too_long_is_stopped_with_all_its_children() {
    let lab = Lab::provisioned();
    let mark = format!("opsrun-test-{}", std::process::id());
    let begin = Instant::now();
    let out = lab.run(&[
        "exec",
        "lab",
        "client-0",
        "--timeout=500ms",
        "--",
        &format!("sh -c 'sleep 60; : {mark}' & sleep 60; : {mark}"),
    ]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("500ms"), "{}", stderr(&out));
    assert!(begin.elapsed() < Duration::from_secs(30));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lab::processes_with(&mark), Vec::<u32>::new());
}

#[test]
fn environment_and_stdin_reach_the_command_and_no_process_list() {
    let lab = Lab::provisioned();
    let seen = "tr '\\0' ' ' < /proc/$$/cmdline; tr '\\0' ' ' < /proc/$PPID/cmdline; echo; echo $WORD";
    let out = lab.run(&["exec", "lab", "client-0", "--env=WORD=hush-hush", "--", seen]);
    assert_ok(&out);
    let text = stdout(&out);
    assert_eq!(text.matches("hush-hush").count(), 1, "{text}");

    let mut child = lab
        .command(&["exec", "lab", "server", "--stdin", "--", "wc -c"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &vec![b'x'; 3_000_000]).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(sorted_lines(&stdout(&out)), ["server-0 | 3000000", "server-1 | 3000000", "server-2 | 3000000"]);
}

#[test]
fn endless_and_binary_output_does_no_harm() {
    let lab = Lab::provisioned();
    // 64 MiB without a newline, and bytes that are no UTF-8.
    let out = lab.run(&["exec", "lab", "server", "--json", "--", "head -c 67108864 /dev/zero | tr '\\0' x; printf '\\377\\n'"]);
    assert_ok(&out);
    assert!(out.stdout.len() < 60_000_000, "kept too much: {}", out.stdout.len());
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let lab = Lab::provisioned();
    for words in [&["exec", "lab", "server", "echo hi"][..], &["ls", "--json"], &["doc"], &["ssh", "lab", "server-0", "echo hi"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let out = lab.command(words).stdout(full).output().unwrap();
        assert_eq!(out.status.code(), Some(1), "{words:?}: {}", stderr(&out));
        assert!(stderr(&out).contains("cannot write to standard output: no space left on device"), "{words:?}: {}", stderr(&out));
    }
}

#[test]
fn wrong_names_are_met_with_the_nearest() {
    let lab = Lab::provisioned();
    let out = lab.run(&["exec", "lab", "sevrer", "--", "true"]);
    assert_eq!((out.status.code(), stderr(&out).contains("Did you mean \"server\"?")), (Some(2), true), "{}", stderr(&out));
    let out = lab.run(&["exec", "lob", "server", "--", "true"]);
    assert!(stderr(&out).contains("Did you mean \"lab\"?"), "{}", stderr(&out));
    let out = lab.run(&["exec", "lab", "server", "--env=A;id;B=1", "--", "true"]);
    assert_eq!((out.status.code(), stderr(&out).contains("is no name for")), (Some(2), true), "{}", stderr(&out));
}

#[test]
fn the_command_needs_no_dashes_before_it() {
    let lab = Lab::provisioned();
    let out = lab.run(&["exec", "lab", "client-0", "--timeout=20s", "printf", "%s-", "--json", "a b"]);
    assert_eq!((out.status.code(), stdout(&out).as_str()), (Some(0), "client-0 | --json-a b-\n"), "{}", stderr(&out));
}

#[test]
fn a_supervisor_that_was_killed_is_started_again_by_the_next_command() {
    let lab = Lab::provisioned();
    let before = lab::processes_with(&format!("{}/deployments/lab/local", lab.path("").display()).replace("//", "/"));
    assert!(!before.is_empty());
    for pid in before {
        let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
    let out = lab.run(&["exec", "lab", "server-0", "--", "echo back"]);
    assert_ok(&out);
    assert_eq!(stdout(&out), "server-0 | back\n");
    assert!(stderr(&out).contains("starting again; what ran there is gone"), "{}", stderr(&out));
}
