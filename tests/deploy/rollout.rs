//! Batches, limits, and the health gate.

use crate::lab::{Lab, assert_ok, stderr, stdout};
use crate::roles::{deploy, told};

fn eight(main: &str) -> Lab {
    let lab = Lab::new();
    lab.write("configs/local.yml", "provider: local\nserver_count: 8\n");
    lab.write("roles/web/main.rhai", main);
    assert_ok(&lab.run(&["provision", "lab", "configs/local.yml", "--yes", "-q"]));
    lab
}

const TWO_FAIL: &str = r#"
fn apply(nodes, vars) {
    nodes.file("before", #{ content: "x" });
    nodes.sh("case $OPSRUN_NODE in *-2|*-5) echo 'no space left' >&2; exit 3;; esac");
    nodes.file("after", #{ content: "x" });
}
"#;

#[test]
fn two_of_eight_fail_and_the_others_go_on() {
    let lab = eight(TWO_FAIL);
    let out = lab.run(&["deploy", "lab", "--roles", "web"]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        told(&stdout(&out)),
        "\
server-[0-7]  file before  changed: created
server-[0-1], server-[3-4], server-[6-7]  file after  changed: created
NODE      OK  CHANGED  FAILED  SKIPPED  UNKNOWN  TIME
server-0  0   2        0       0        0        TIME
server-1  0   2        0       0        0        TIME
server-2  0   1        1       0        0        TIME
server-3  0   2        0       0        0        TIME
server-4  0   2        0       0        0        TIME
server-5  0   1        1       0        0        TIME
server-6  0   2        0       0        0        TIME
server-7  0   2        0       0        0        TIME
lab: 8 of 8 nodes changed, 2 failed (TIME)
"
    );
    let err = stderr(&out);
    let error = &err[err.find("error:").unwrap()..];
    assert_eq!(
        error,
        "\
error: 2 of 8 nodes failed
  server-2, server-5: command failed with exit code 3
    command case $OPSRUN_NODE in *-2|*-5) echo 'no space left' >&2; exit 3;; esac
    | no space left
    --> roles/web/main.rhai:4:11
    4 |     nodes.sh(\"case $OPSRUN_NODE in *-2|*-5) echo 'no space left' >&2; exit 3;; esac\");
      |           ^
  while applying role web
"
    );
}

#[test]
fn batches_stop_when_too_many_fail() {
    let lab = eight(TWO_FAIL);
    let (code, out) = deploy(&lab, &["--roles", "web", "--batch", "25%", "--max-failures", "1"]);
    assert_eq!(
        (code, out.as_str()),
        (
            1,
            "\
batch 1 of 4: server-[0-1]
server-[0-1]  file before  changed: created
server-[0-1]  file after  changed: created
batch 2 of 4: server-[2-3]
server-[2-3]  file before  changed: created
server-3  file after  changed: created
batch 3 of 4: server-[4-5]
server-[4-5]  file before  changed: created
server-4  file after  changed: created
NODE      OK  CHANGED  FAILED  SKIPPED  UNKNOWN  TIME
server-0  0   2        0       0        0        TIME
server-1  0   2        0       0        0        TIME
server-2  0   1        1       0        0        TIME
server-3  0   2        0       0        0        TIME
server-4  0   2        0       0        0        TIME
server-5  0   1        1       0        0        TIME
server-6  0   0        0       0        0        not begun
server-7  0   0        0       0        0        not begun
lab: 6 of 8 nodes changed, 2 failed, 2 not begun on (TIME)
"
        )
    );
    let out = lab.run(&["deploy", "lab", "--roles", "web", "--batch", "2"]);
    assert!(stderr(&out).contains("hint: Not begun on server-[4-7]: 1 of 8 nodes failed, and none may."), "{}", stderr(&out));
}

#[test]
fn a_node_that_is_not_healthy_stops_the_next_batch() {
    let lab = eight(
        r#"
fn apply(nodes, vars) { nodes.file("x", #{ content: "x" }); }
fn healthy(nodes, vars) { nodes.sh("[ $OPSRUN_NODE != server-1 ] || { echo sick >&2; exit 1; }"); }
"#,
    );
    let out = lab.run(&["deploy", "lab", "--roles", "web", "--batch", "2"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(told(&stdout(&out)).ends_with("lab: 2 of 8 nodes changed, 1 failed, 6 not begun on (TIME)\n"), "{}", stdout(&out));
    assert!(stderr(&out).contains("while asking role web whether it is healthy"), "{}", stderr(&out));
    // A check does not ask: nothing was brought about that could be healthy.
    assert_eq!(deploy(&lab, &["--roles", "web", "--batch", "2", "--check"]).0, 0);
}

#[test]
fn many_nodes_with_the_same_numbers_share_a_row() {
    let lab = Lab::new();
    lab.write("configs/local.yml", "provider: local\nserver_count: 20\nclient_count: 1\n");
    lab.write("roles/web/main.rhai", r#"fn apply(nodes, vars) { nodes.select("server").file("x", #{ content: "x" }); }"#);
    assert_ok(&lab.run(&["provision", "lab", "configs/local.yml", "--yes", "-q"]));
    let (code, out) = deploy(&lab, &["--roles", "web"]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "\
server-[0-19]  file x  changed: created
NODE           OK  CHANGED  FAILED  SKIPPED  UNKNOWN  TIME
server-[0-19]  0   1        0       0        0        TIME
client-0       0   0        0       0        0        TIME
lab: 20 of 21 nodes changed (TIME)
"
        )
    );
}
