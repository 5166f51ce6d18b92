//! Tab on the command line, through the completion script in a real bash.

#[path = "common/lab.rs"]
mod lab;

use lab::{Lab, assert_ok, stderr, stdout};
use std::process::Command;

/// What bash is offered for the last of these words.
fn offered(lab: &Lab, words: &[&str]) -> Vec<String> {
    let script = "source <(opsrun completions bash)
complete -p opsrun | sed 's/.*-F \\([^ ]*\\).*/\\1/' > function
COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
$(cat function) opsrun \"${COMP_WORDS[COMP_CWORD]}\" opsrun
printf '%s\\n' \"${COMPREPLY[@]}\"";
    let ours = lab.command(&[]);
    let mut bash = Command::new("bash");
    let path = std::path::Path::new(ours.get_program()).parent().unwrap();
    bash.arg("-c").arg(script).arg("bash").args(words).current_dir(ours.get_current_dir().unwrap());
    bash.env("PATH", format!("{}:{}", path.display(), std::env::var("PATH").unwrap())).env_remove("OPSRUN_HOME");
    let out = bash.output().unwrap();
    assert_ok(&out);
    assert_eq!(stderr(&out), "");
    stdout(&out).lines().map(|l| l.trim_end().to_owned()).filter(|l| !l.is_empty()).collect()
}

#[test]
fn offers_deployments_nodes_groups_and_scripts() {
    let lab = Lab::provisioned();
    lab.write("scripts/load.rhai", "let p = params(#{ rows: 1000, name: \"x\" });\ndeployment();\n");
    let offered = |words: &[&str]| offered(&lab, words);
    assert_eq!(offered(&["opsrun", "stat"]), ["status"]);
    assert!(offered(&["opsrun", "deprovision", ""]).contains(&"lab".to_owned()));
    assert_eq!(offered(&["opsrun", "exec", "lab", "cl"]), ["client", "client-0"]);
    assert_eq!(offered(&["opsrun", "exec", "lab", "server-0,cl"]), ["server-0,client", "server-0,client-0"]);
    assert_eq!(offered(&["opsrun", "ssh", "lab", "root@ser"]), ["root@server-0", "root@server-1", "root@server-2"]);
    assert_eq!(offered(&["opsrun", "cp", "lab", "conf"]), ["configs/"]);
    assert_eq!(offered(&["opsrun", "repl", "--load", "scripts/l"]), ["scripts/load.rhai"]);
    assert_eq!(offered(&["opsrun", "scripts/l"]), ["scripts/load.rhai"]);
    assert_eq!(offered(&["opsrun", "scripts/load.rhai", "l"]), ["lab"]);
    assert_eq!(offered(&["opsrun", "run", "scripts/load.rhai", "lab", "--r"]), ["--rows="]);
    assert_eq!(offered(&["opsrun", "doc", "Deployment.save"]), ["Deployment.save_result"]);
    lab.write("roles/clock/main.rhai", "fn apply(nodes, vars) {}");
    lab.write("roles/calendar/main.rhai", "fn apply(nodes, vars) {}");
    assert_eq!(offered(&["opsrun", "deploy", "lab", "--roles", "clock,ca"]), ["clock,calendar"]);
    assert_eq!(offered(&["opsrun", "role", "test", "cl"]), ["clock"]);
    assert!(offered(&["opsrun", "exec", "nosuch", "cl"]).is_empty());
    lab.write("environments/staging.yml", "app: shop\nformations: [network]\n");
    lab.write("scripts/manage.rhai", "fn rotate_keys(env) { params(#{ keep: 3, now: false }); }\n");
    assert_eq!(offered(&["opsrun", "manage", "st"]), ["staging"]);
    assert_eq!(offered(&["opsrun", "manage", "staging", "rot"]), ["rotate_keys"]);
    let options = offered(&["opsrun", "manage", "staging", "rotate_keys", "--"]);
    assert_eq!(options[..3], ["--keep=", "--now", "--json"]);
}
