//! Variables that only name a secret: `{ secret: NAME }`.

use crate::lab::{Lab, assert_ok, stderr, stdout};
use crate::roles::{lab, on_node};
use std::process::Output;

const MAIN: &str = r#"
fn apply(nodes, vars) {
    nodes.template("conf", "conf", #{ mode: "0600", vars: #{ name: "app" } });
    nodes.command("cat > given", #{ stdin: vars.password, creates: "given" });
    print(`the password is ${vars.password}`);
}
"#;

fn site(vars: &str) -> Lab {
    let lab = lab(MAIN);
    lab.write("roles/web/defaults.yml", "password: \"\"\nusers: {}\n");
    lab.write("roles/web/templates/conf", "{{ name }} {{ password }} {{ users.app.password }}\n");
    lab.write("configs/local.yml", &format!("provider: local\nserver_count: 4\nclient_count: 1\n{vars}"));
    lab
}

fn deploy(lab: &Lab, args: &[&str]) -> Output {
    let words = [&["deploy", "lab", "--roles", "web", "--limit", "server-0", "--diff"], args].concat();
    lab.command(&words).env("FIRST", "one-for-all").output().unwrap()
}

#[test]
fn they_come_from_the_environment_and_the_config_and_are_shown_nowhere() {
    let lab = site(
        "secrets: { second: { file: second.txt } }\n\
         vars: { web: { password: { secret: FIRST }, users: { app: { password: { secret: second } } } } }\n",
    );
    lab.write("configs/second.txt", "two-for-app\n");
    let check = deploy(&lab, &["--check"]);
    let done = deploy(&lab, &["--json"]);
    let again = deploy(&lab, &[]);
    for out in [&check, &done, &again] {
        assert_ok(out);
        let all = format!("{}{}", stdout(out), stderr(out));
        assert!(!all.contains("one-for-all") && !all.contains("two-for-app"), "{all}");
    }
    assert!(stdout(&again).contains("0 of 1 node changed"), "{}", stdout(&again));
    // What a command that fails says of one is kept with the run.
    lab.write(
        "roles/web/main.rhai",
        "fn apply(nodes, vars) { nodes.sh(`echo it is $P; echo and $P >&2; false`, #{ env: #{ P: vars.password } }); }",
    );
    let failed = deploy(&lab, &[]);
    assert!(stderr(&failed).contains("and ***") && !stderr(&failed).contains("one-for-all"), "{}", stderr(&failed));
    assert_eq!(on_node(&lab, "server-0", "tr o 0 < conf; tr o 0 < given"), "app 0ne-f0r-all tw0-f0r-app\n0ne-f0r-all");
    for file in walkdir::WalkDir::new(lab.path("deployments/lab")).into_iter().flatten().filter(|e| e.file_type().is_file()) {
        if file.path().components().any(|c| c.as_os_str() == "local") {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned();
        assert!(!text.contains("one-for-all") && !text.contains("two-for-app"), "{}", file.path().display());
    }
}

#[test]
fn one_that_is_nowhere_stops_a_deploy_before_anything_is_touched() {
    let lab = site("vars: { users: { app: { password: { secret: NOWHERE } } } }\n");
    let out = deploy(&lab, &[]);
    let told = stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{told}");
    assert!(told.contains("there is no secret NOWHERE") && told.contains("finding the variable users of role web"), "{told}");
    assert_eq!(on_node(&lab, "server-0", "ls"), "");
}
