//! The roles that come with opsrun: each is applied twice to a real machine, and then holds what its test.rhai asserts.
//!
//! Needs Linux, root, and: apt-get install systemd-container debootstrap iproute2 nftables openssh-client.

#[path = "common/lab.rs"]
mod lab;

use lab::{Lab, assert_ok, stderr, stdout};
use serde_json::Value;

/// What is in the binary, not what lies in the folder: the project is an empty one.
fn passes(role: &str) {
    let lab = Lab::new();
    // The base system is built once, and kept for all tests.
    let out = lab.command(&["role", "test", role, "--json"]).env_remove("OPSRUN_CACHE").output().unwrap();
    assert_ok(&out);
    let report: Value = serde_json::from_str(&stdout(&out)).unwrap();
    let steps: Vec<&str> = report["steps"].as_array().unwrap().iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["machine", "first run", "second run", "test.rhai"], "{}", stderr(&out));
}

#[test]
fn base() {
    passes("base");
}

#[test]
fn firewall() {
    passes("firewall");
}

#[test]
fn nginx() {
    passes("nginx");
}

#[test]
fn node_exporter() {
    passes("node_exporter");
}

#[test]
fn postgresql() {
    passes("postgresql");
}

#[test]
fn redis() {
    passes("redis");
}

/// The names of the roles in the binary, with what they say of themselves.
fn library(lab: &Lab) -> Vec<(String, String)> {
    let out = lab.run(&["role", "ls", "--json"]);
    assert_ok(&out);
    let roles: Vec<Value> = serde_json::from_str(&stdout(&out)).unwrap();
    let text = |role: &Value, key: &str| role[key].as_str().unwrap().to_owned();
    roles.iter().map(|role| (text(role, "name"), text(role, "about"))).collect()
}

#[test]
fn each_is_tested_here_and_named_in_the_readme() {
    let (readme, here) = (include_str!("../README.md"), include_str!("roles_library.rs"));
    let roles = library(&Lab::new());
    assert!(!roles.is_empty());
    for (name, about) in roles {
        assert!(here.contains(&format!("passes(\"{name}\")")), "write a test for role {name}");
        let line = readme.lines().find(|l| l.starts_with(&format!("- `{name}`")));
        assert!(line.is_some(), "give role {name} a line in the README: - `{name}`: …");
        assert!(!about.is_empty(), "main.rhai of role {name} begins with what it does, as a comment");
    }
}

#[test]
fn every_variable_says_what_it_is() {
    let lab = Lab::new();
    for (name, _) in library(&lab) {
        let out = lab.run(&["role", "doc", &name, "--json"]);
        assert_ok(&out);
        let role: Value = serde_json::from_str(&stdout(&out)).unwrap();
        for variable in role["variables"].as_array().unwrap() {
            assert_ne!(variable["about"], "", "role {name}, variable {}: a comment above it in defaults.yml", variable["name"]);
        }
    }
}

#[test]
fn a_role_of_the_project_goes_before_one_of_the_library() {
    let lab = Lab::new();
    lab.write("roles/nginx/main.rhai", "// Ours.\nfn apply(nodes, vars) {}\n");
    let about = |name: &str| library(&lab).into_iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(about("nginx"), "Ours.");
    assert!(about("redis").starts_with("Redis"));
}
