//! Handlers: once, at the end, only where something changed, and not forgotten by a run that broke.

use crate::lab::{Lab, stdout};
use crate::roles::{deploy, lab, on_node, wait_for};
use std::process::Stdio;

const NOTIFYING: &str = r#"
fn apply(nodes, vars) {
    nodes.file("a", #{ content: vars.a, notify: ["second", "first"] });
    nodes.file("b", #{ content: vars.b, notify: "first" });
    nodes.sh("echo apply >> log");
}
fn first(nodes, vars) { nodes.sh("echo first >> log"); }
fn second(nodes, vars) { nodes.sh("echo second >> log"); }
"#;

fn notifying() -> Lab {
    let lab = lab(NOTIFYING);
    lab.write("roles/web/defaults.yml", "a: \"1\"\nb: \"1\"\n");
    lab
}

fn log(lab: &Lab, node: &str) -> String {
    on_node(lab, node, "cat log; rm -f log").replace('\n', " ")
}

#[test]
fn handlers_run_once_in_order_and_only_where_something_changed() {
    let lab = notifying();
    let (code, out) = deploy(&lab, &["--roles", "web", "--limit", "server-[01]"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("server-[0-1]  handler second  run\nserver-[0-1]  handler first  run\n"), "{out}");
    assert_eq!(log(&lab, "server-0"), "apply second first");
    log(&lab, "server-1");

    on_node(&lab, "server-1", "echo other > b");
    let (_, out) = deploy(&lab, &["--roles", "web", "--limit", "server-[01]", "--check"]);
    assert!(out.contains("server-1  file b  would change: content\n"), "{out}");
    assert!(out.contains("server-1  handler first  would be run\n"), "{out}");
    let (_, out) = deploy(&lab, &["--roles", "web", "--limit", "server-[01]"]);
    assert!(out.contains("server-1  handler first  run\n") && !out.contains("second"), "{out}");
    assert_eq!((log(&lab, "server-0"), log(&lab, "server-1")), ("apply".into(), "apply first".into()));
    assert_eq!(on_node(&lab, "server-1", "ls .opsrun/pending 2>/dev/null"), "");
}

#[test]
fn a_run_that_was_killed_before_its_handlers_has_the_nodes_remember() {
    let lab = notifying();
    let slow = NOTIFYING.replace("echo apply >> log", "touch reached; [ -e go ] || sleep 300");
    lab.write("roles/web/main.rhai", &slow);
    let mut child = lab
        .command(&["deploy", "lab", "--roles", "web", "--limit", "server-0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&lab, "reached");
    child.kill().unwrap();
    child.wait().unwrap();
    on_node(&lab, "server-0", "touch go");
    // Nothing differs any more, and the handlers of the broken run are run; then they are forgotten.
    let (code, out) = deploy(&lab, &["--roles", "web", "--limit", "server-0"]);
    assert_eq!(code, 0, "{out}");
    assert!(!out.contains("file a"), "{out}");
    assert_eq!(log(&lab, "server-0"), "second first");
    deploy(&lab, &["--roles", "web", "--limit", "server-0"]);
    assert_eq!(log(&lab, "server-0"), "");
}

#[test]
fn a_node_that_failed_remembers_its_handlers() {
    let lab = notifying();
    lab.write("roles/web/main.rhai", &NOTIFYING.replace("echo apply >> log", "[ ! -e broken ]"));
    on_node(&lab, "server-1", "touch broken");
    let (code, out) = deploy(&lab, &["--roles", "web", "--limit", "server-[01]"]);
    assert_eq!(code, 1);
    assert!(out.contains("server-0  handler first  run\n") && !out.contains("server-1  handler"), "{out}");
    on_node(&lab, "server-1", "rm broken");
    let (code, out) = deploy(&lab, &["--roles", "web", "--limit", "server-[01]"]);
    assert_eq!(code, 0);
    assert!(out.contains("server-1  handler second  run\nserver-1  handler first  run\n"), "{out}");
}

#[test]
fn a_handler_that_is_gone_is_forgotten_with_a_word() {
    let lab = notifying();
    on_node(&lab, "server-0", "mkdir -p .opsrun/pending/web && touch .opsrun/pending/web/flush");
    let out = lab.run(&["deploy", "lab", "--roles", "web", "--limit", "server-0"]);
    assert_eq!(out.status.code(), Some(0), "{}", stdout(&out));
    let err = crate::lab::stderr(&out);
    assert!(err.contains("handler flush of role web was left to be run by an earlier deploy"), "{err}");
    assert_eq!(on_node(&lab, "server-0", "ls .opsrun/pending 2>/dev/null"), "");
}
