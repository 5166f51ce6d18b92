//! What goes wrong on the way.

use crate::lab::{stderr, stdout};
use crate::roles::{deploy, lab, on_node, told, wait_for};
use std::process::Stdio;

#[test]
fn one_deploy_at_a_time_and_a_check_beside_it() {
    let lab = lab(r#"fn apply(nodes, vars) { nodes.sh("touch reached; while [ ! -e go ]; do sleep 0.1; done"); }"#);
    let mut first = lab
        .command(&["deploy", "lab", "--roles", "web", "--limit", "server-0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&lab, "reached");
    let second = lab.run(&["deploy", "lab", "--roles", "web"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("deployment \"lab\" is being changed by `opsrun deploy lab`"), "{}", stderr(&second));
    assert_eq!(deploy(&lab, &["--roles", "web", "--check"]).0, 0);
    on_node(&lab, "server-0", "touch go");
    assert!(first.wait().unwrap().success());
}

#[test]
fn ctrl_c_stops_and_tells_what_was_done() {
    let lab = lab(r#"fn apply(nodes, vars) { nodes.file("a", #{ content: "x" }); nodes.sh("touch reached; sleep 300"); }"#);
    let mut command = lab.command(&["deploy", "lab", "--roles", "web", "--limit", "server-0"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&lab, "reached");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", stderr(&out));
    assert!(told(&stdout(&out)).contains("server-0  file a  changed: created\n"), "{}", stdout(&out));
    assert!(stdout(&out).contains("\nserver-0  0   1 "), "{}", stdout(&out));
}

#[test]
fn a_mistake_in_the_script_is_told_once_and_stops_all_batches() {
    let lab = lab("fn apply(nodes, vars) {\n    nodes.file(\"x\", #{ content: vars.prot });\n}\n");
    lab.write("roles/web/defaults.yml", "port: 80\n");
    let out = lab.run(&["deploy", "lab", "--roles", "web", "--batch", "1"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stdout(&out).starts_with("batch 1 of 5: server-0\nNODE"), "{}", stdout(&out));
    assert_eq!(
        stderr(&out),
        "\
error: the map has no key prot
  while applying role web
  --> roles/web/main.rhai:2:38
  2 |     nodes.file(\"x\", #{ content: vars.prot });
    |                                      ^
hint: Did you mean \"port\"?
"
    );
}

#[test]
fn a_node_that_cannot_be_reached_fails_alone() {
    let lab = lab(r#"fn apply(nodes, vars) { nodes.file("x", #{ content: "x" }); }"#);
    // Its record says another port: nobody listens there.
    let path = lab.path("deployments/lab/state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    state["nodes"][1]["endpoint"]["port"] = 1.into();
    std::fs::write(&path, state.to_string()).unwrap();
    let out = lab.run(&["deploy", "lab", "--roles", "web", "--limit", "server-[0-2]"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(told(&stdout(&out)).starts_with("server-0, server-2  file x  changed: created\n"), "{}", stdout(&out));
    assert!(stderr(&out).contains("error: 1 of 3 nodes failed\n  server-1: "), "{}", stderr(&out));
}

#[test]
fn a_failure_in_the_middle_keeps_what_changed_before() {
    // The file is right when apply is called again for the others, and it changed all the same.
    let lab = lab(r#"
fn apply(nodes, vars) {
    let file = nodes.file("x", #{ content: "x" });
    nodes.sh("[ $OPSRUN_NODE != server-1 ]");
    if file.changed { file.changed_nodes.sh("echo changed >> log"); }
}
"#);
    let (code, out) = deploy(&lab, &["--roles", "web", "--limit", "server-[0-2]"]);
    assert_eq!(code, 1);
    assert!(out.starts_with("server-[0-2]  file x  changed: created\nNODE"), "{out}");
    assert_eq!(on_node(&lab, "server-0", "cat log"), "changed");
    assert_eq!(on_node(&lab, "server-1", "cat log 2>&1 | head -c 3"), "cat");
}

#[test]
fn a_resource_that_fails_takes_its_node_out_of_what_comes_after() {
    let lab = lab(r#"
fn apply(nodes, vars) {
    nodes.file("first", #{ content: "x" });
    nodes.directory("blocked");
    nodes.each(|n| n.sh("echo each >> log"));
    nodes.sh("echo all >> log");
    nodes.file("last", #{ content: "x" });
}
"#);
    on_node(&lab, "server-1", "touch blocked");
    let out = lab.run(&["deploy", "lab", "--roles", "web", "--limit", "server-[0-2]"]);
    assert_eq!(out.status.code(), Some(1));
    let said = told(&stdout(&out));
    assert!(said.starts_with("server-[0-2]  file first  changed: created\n"), "{said}");
    assert!(said.contains("\nserver-0, server-2  directory blocked  changed: created\n"), "{said}");
    assert!(said.contains("\nserver-0, server-2  file last  changed: created\n"), "{said}");
    assert!(said.contains("\nserver-1  0   1        1 "), "{said}");
    let err = stderr(&out);
    // The first cause alone: that the node was out of the rest only follows from it.
    assert!(err.contains("error: 1 of 3 nodes failed\n  server-1: "), "{err}");
    assert!(err.contains("roles/web/main.rhai:4:11") && !err.contains("something failed here before"), "{err}");
    assert_eq!(on_node(&lab, "server-0", "grep -c all log"), "1");
    assert_eq!(on_node(&lab, "server-1", "ls"), "blocked\nfirst");
}
