//! What a role does, says, and leaves alone.

use crate::lab::{Lab, assert_ok, stderr, stdout};
use std::time::{Duration, Instant};

/// A project with four servers and a client, and the role `web`.
pub fn lab(main: &str) -> Lab {
    let lab = Lab::new();
    lab.write("configs/local.yml", "provider: local\nserver_count: 4\nclient_count: 1\n");
    lab.write("roles/web/main.rhai", main);
    assert_ok(&lab.run(&["provision", "lab", "configs/local.yml", "--yes", "-q"]));
    lab
}

/// What was printed, with times that differ from run to run as `TIME`, and paths in the login folder without `./`.
pub fn told(text: &str) -> String {
    let time = regex::Regex::new(r"\b\d+(m|s|ms|us|ns)( \d+(s|ms|us|ns))?\b").unwrap();
    let lines = text.lines().map(|line| time.replace_all(line, "TIME").trim_end().replace(" ./", " "));
    lines.map(|l| format!("{l}\n")).collect()
}

/// The outcome of `opsrun deploy lab …`: its code and standard output.
#[track_caller]
pub fn deploy(lab: &Lab, args: &[&str]) -> (i32, String) {
    let out = lab.run(&[&["deploy", "lab"], args].concat());
    (out.status.code().unwrap(), told(&stdout(&out)))
}

/// The text of a file on a node.
pub fn on_node(lab: &Lab, node: &str, command: &str) -> String {
    let out = lab.run(&["exec", "lab", node, "-q", "--json", "--", command]);
    let results: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    results[0]["stdout"].as_str().unwrap().to_owned()
}

/// Waits until a role has made this file on server-0.
#[track_caller]
pub fn wait_for(lab: &Lab, file: &str) {
    let start = Instant::now();
    while on_node(lab, "server-0", "ls").lines().all(|l| l != file) {
        assert!(start.elapsed() < Duration::from_secs(60), "there is no {file}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const SITE: &str = r#"
fn apply(nodes, vars) {
    nodes.directory("etc");
    nodes.file("etc/motd", #{ source: "motd" });
    nodes.template("site.conf", "etc/site.conf", #{ mode: "0600" });
}
"#;

fn site() -> Lab {
    let lab = lab(SITE);
    lab.write("roles/web/defaults.yml", "port: 80\n");
    lab.write("roles/web/files/motd", "welcome\n");
    lab.write(
        "roles/web/templates/site.conf",
        "listen {{ node.address }}:{{ port }}\nname {{ node.name }}\n{% if facts.cpus > 0 %}\nhas cpus\n{% endif %}\n\
         {% for n in groups.server %}\npeer {{ n.name }}\n{% endfor %}\n",
    );
    lab
}

#[test]
fn a_second_deploy_changes_nothing_and_a_check_never_does() {
    let lab = site();
    let (code, check) = deploy(&lab, &["--roles", "web", "--check"]);
    assert_eq!(
        (code, check.as_str()),
        (
            0,
            "\
server-[0-3], client-0  directory etc  would change: created
server-[0-3], client-0  file etc/motd  would change: created
server-[0-3], client-0  template etc/site.conf  would change: created
NODE      RIGHT  WOULD CHANGE  FAILED  SKIPPED  UNKNOWN  TIME
server-0  0      3             0       0        0        TIME
server-1  0      3             0       0        0        TIME
server-2  0      3             0       0        0        TIME
server-3  0      3             0       0        0        TIME
client-0  0      3             0       0        0        TIME
lab: 5 of 5 nodes would change; nothing was changed (TIME)
"
        )
    );
    assert_eq!(on_node(&lab, "server-1", "ls"), "");

    let (code, first) = deploy(&lab, &["--roles", "web", "--limit", "server-[01]"]);
    assert_eq!(
        (code, first.as_str()),
        (
            0,
            "\
server-[0-1]  directory etc  changed: created
server-[0-1]  file etc/motd  changed: created
server-[0-1]  template etc/site.conf  changed: created
NODE      OK  CHANGED  FAILED  SKIPPED  UNKNOWN  TIME
server-0  0   3        0       0        0        TIME
server-1  0   3        0       0        0        TIME
lab: 2 of 2 nodes changed (TIME)
"
        )
    );
    let conf = on_node(&lab, "server-1", "cat etc/site.conf");
    let lines: Vec<&str> = conf.lines().collect();
    assert!(lines[0].starts_with("listen 127.") && lines[0].ends_with(":80"), "{conf}");
    assert_eq!(lines[1..], ["name server-1", "has cpus", "peer server-0", "peer server-1", "peer server-2", "peer server-3"]);
    assert_eq!(on_node(&lab, "server-1", "stat -c %a etc/site.conf"), "600");

    let (code, second) = deploy(&lab, &["--roles", "web", "--limit", "server-[01]"]);
    assert_eq!(
        (code, second.as_str()),
        (
            0,
            "\
NODE      OK  CHANGED  FAILED  SKIPPED  UNKNOWN  TIME
server-0  3   0        0       0        0        TIME
server-1  3   0        0       0        0        TIME
lab: 0 of 2 nodes changed (TIME)
"
        )
    );
}

#[test]
fn a_diff_shows_what_differs_and_no_secret() {
    let lab = lab(r#"
fn apply(nodes, vars) {
    nodes.file("motd", #{ content: "welcome to " + vars.place + "\nlast line\n" });
    nodes.file("key", #{ content: secret("API_KEY"), mode: "0600" });
}
"#);
    lab.write("roles/web/defaults.yml", "place: here\n");
    let with_key = |key: &str, args: &[&str]| {
        let out = lab
            .command(&[&["deploy", "lab", "--limit", "server-0", "--roles", "web"], args].concat())
            .env("API_KEY", key)
            .output();
        let out = out.unwrap();
        assert_ok(&out);
        (told(&stdout(&out)), stderr(&out))
    };
    with_key("first-of-all-keys", &[]);
    let (out, err) = with_key("second-of-all-keys", &["--set", "place=there", "--check", "--diff"]);
    assert_eq!(
        out,
        "\
server-0  file motd  would change: content
--- motd
+++ motd
@@ -1,2 +1,2 @@
-welcome to here
+welcome to there
 last line
server-0  file key  would change: content
  (not shown: it holds a secret)
NODE      RIGHT  WOULD CHANGE  FAILED  SKIPPED  UNKNOWN  TIME
server-0  0      2             0       0        0        TIME
lab: 1 of 1 node would change; nothing was changed (TIME)
"
    );
    let (json, _) = with_key("third-of-all-keys", &["--diff", "--json"]);
    let runs = lab.path("deployments/lab/runs");
    let kept: String = walkdir::WalkDir::new(runs)
        .into_iter()
        .flatten()
        .filter(|e| e.file_type().is_file())
        .map(|e| std::fs::read_to_string(e.path()).unwrap())
        .collect();
    for text in [&out, &err, &json, &kept] {
        assert!(!text.contains("-of-all-keys"), "{text}");
    }
    assert_eq!(on_node(&lab, "server-0", "cat key"), "third-of-all-keys");
}

#[test]
fn variables_come_in_layers_and_groups_have_roles() {
    let lab = lab(r#"fn apply(nodes, vars) { nodes.file("v", #{ content: `${vars.port} ${vars.name}` }); }"#);
    lab.write("roles/web/defaults.yml", "port: 80\nname: !required what it is called\n");
    lab.write(
        "configs/local.yml",
        "provider: local\nvars: { port: 81, name: all }\ngroups:\n  server: { count: 4, roles: [web] }\n  \
         client: { count: 1, roles: [web], vars: { port: 82 } }\n",
    );
    // Edited since the deployment was made: the files count.
    let (code, out) = deploy(&lab, &["--limit", "server-0,client-0"]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(on_node(&lab, "server-0", "cat v"), "81 all");
    assert_eq!(on_node(&lab, "client-0", "cat v"), "82 all");
    deploy(&lab, &["--limit", "client-0", "--set", "name=x y"]);
    assert_eq!(on_node(&lab, "client-0", "cat v"), "82 x y");
}

#[test]
fn what_is_required_comes_first_and_applies_to_the_same_nodes() {
    let lab = lab(r#"fn apply(nodes, vars) { nodes.sh("cat base >> web"); }"#);
    lab.write("roles/base/main.rhai", r#"fn apply(nodes, vars) { nodes.file("base", #{ content: "base\n" }); }"#);
    lab.write("roles/web/requires", "base # its file\n");
    let (code, out) = deploy(&lab, &["--roles", "web,base", "--limit", "server-2"]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(on_node(&lab, "server-2", "cat web"), "base");
}

#[test]
fn a_check_goes_on_with_what_it_foresees_after_commands_and_in_later_roles() {
    let lab = lab("fn apply(nodes, vars) {
    nodes.directory(\"conf\");
    nodes.sh(\"mkdir made\");
    nodes.file(\"conf/a\", #{ content: \"a\" });
    nodes.file(\"made/b\", #{ content: \"b\" });
}");
    lab.write("roles/site/requires", "web\n");
    lab.write(
        "roles/site/main.rhai",
        "fn apply(nodes, vars) { nodes.file(\"conf/c\", #{ content: \"c\" }); nodes.directory(\"conf\"); }",
    );
    let (code, out) = deploy(&lab, &["--roles", "site", "--check", "--limit", "server-0"]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "\
server-0  directory conf  would change: created
server-0  sh mkdir made  unknown: a check does not run it
server-0  file conf/a  would change: created
server-0  file made/b  unknown: sh mkdir made would be run first
server-0  file conf/c  would change: created
NODE      RIGHT  WOULD CHANGE  FAILED  SKIPPED  UNKNOWN  TIME
server-0  1      3             0       0        2        TIME
lab: 1 of 1 node would change; nothing was changed (TIME)
"
        )
    );
    assert_eq!(deploy(&lab, &["--roles", "site", "--limit", "server-0"]).0, 0);
    assert_eq!(on_node(&lab, "server-0", "ls conf made"), "conf:\na\nc\n\nmade:\nb");
}

#[test]
fn what_a_check_cannot_know_is_unknown_and_not_run() {
    let lab = lab(r#"
fn apply(nodes, vars) {
    let version = nodes.sh("echo 12", #{ reads: true, quiet: true })[0].stdout;
    nodes.file("version", #{ content: version });
    nodes.sh("touch was-run");
    nodes.write("written", "x");
    let size = nodes.first.one("stat -c %s was-run");
    nodes.file("size", #{ content: `${parse_int(size)}` });
}
"#);
    let (code, out) = deploy(&lab, &["--roles", "web", "--check", "--limit", "server-[01]"]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "\
server-[0-1]  file version  would change: created
server-[0-1]  sh touch was-run  unknown: a check does not run it
server-[0-1]  write written  unknown: a check does not run it
server-0  one stat -c %s was-run  unknown: a check does not run it
server-[0-1]  role web  unknown: the script went no further, which may come of what was not run: \
error parsing integer number '': cannot parse integer from empty string
NODE      RIGHT  WOULD CHANGE  FAILED  SKIPPED  UNKNOWN  TIME
server-0  0      1             0       0        4        TIME
server-1  0      1             0       0        3        TIME
lab: 2 of 2 nodes would change; nothing was changed (TIME)
"
        )
    );
    assert_eq!(on_node(&lab, "server-0", "ls"), "");
    let (code, out) = deploy(&lab, &["--roles", "web", "--limit", "server-[01]"]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(on_node(&lab, "server-1", "cat size"), "0");
}

#[test]
fn a_check_changes_nothing_here_either() {
    let lab = lab(r#"
fn apply(nodes, vars) {
    let version = sh("echo 12", #{ reads: true, quiet: true }).stdout.trim();
    sh("touch was-run");
    file::write("written", "x");
    file::append("made/written", "x");
    nodes.file("version", #{ content: `${version} ${file::exists("written")}` });
    provision("other", "configs/local.yml");
}
"#);
    let (code, out) = deploy(&lab, &["--roles", "web", "--check", "--limit", "server-0"]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "\
server-0  sh touch was-run  unknown: a check does not run it
server-0  file::write written  unknown: a check does not run it
server-0  file::append made/written  unknown: a check does not run it
server-0  provision other  unknown: a check does not run it
server-0  file version  would change: created
server-0  role web  unknown: the script went no further, which may come of what was not run: a check does not run provision other
NODE      RIGHT  WOULD CHANGE  FAILED  SKIPPED  UNKNOWN  TIME
server-0  0      1             0       0        5        TIME
lab: 1 of 1 node would change; nothing was changed (TIME)
"
        )
    );
    assert!(["was-run", "written", "made", "deployments/other"].iter().all(|path| !lab.path(path).exists()));
}

#[test]
fn json_is_one_document() {
    let lab = site();
    let out = lab.run(&["deploy", "lab", "--roles", "web", "--limit", "server-0", "--json"]);
    let doc: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(doc["counts"], serde_json::json!({ "ok": 0, "changed": 1, "unknown": 0, "failed": 0, "skipped": 0 }));
    let node = &doc["nodes"][0];
    assert_eq!((&node["node"], &node["outcome"], &node["changed"]), (&"server-0".into(), &"changed".into(), &3.into()));
    let item = &node["items"][2];
    assert_eq!(item["kind"], "template");
    assert_eq!(item["name"], "./etc/site.conf");
    assert_eq!(item["outcome"], "changed");
    assert_eq!(item["what"], serde_json::json!(["created"]));
    assert_eq!(item["place"], "roles/web/main.rhai:5:11");
    assert!(told(&stderr(&out)).contains("server-0  template etc/site.conf  changed: created"), "{}", stderr(&out));
    // The same is kept with the run.
    let runs = std::fs::read_dir(lab.path("deployments/lab/runs")).unwrap();
    let run = runs.flatten().next().unwrap().path();
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(run.join("deploy.json")).unwrap()).unwrap();
    assert_eq!(kept["nodes"], doc["nodes"]);
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(run.join("manifest.json")).unwrap()).unwrap();
    assert_eq!((&manifest["outcome"], &manifest["roles"]), (&"done".into(), &serde_json::json!(["web"])));
}

#[test]
fn a_script_applies_roles_too() {
    let lab = site();
    let out = lab.script(
        r#"
let servers = deployment().nodes("server").take(2);
let done = servers.apply_role("web", #{ port: 8080 });
print(`${done.changed} ${done.changed_nodes} ${done.results[0].changed}`);
print(servers.apply_role("web", #{ port: 8080 }).changed);
print(servers.apply_role("web", #{}, #{ check: true }).changed_nodes.len);
try { servers.apply_role("web", #{ prot: 1 }); } catch (e) { print(`${e.message}: ${e.hints}`); }
"#,
        &["lab"],
    );
    assert_ok(&out);
    assert_eq!(
        stdout(&out),
        "true server-[0-1] 3\nfalse\n2\nrole web has no variable `prot`: [\"Did you mean \\\"port\\\"?\"]\n"
    );
    assert!(told(&stderr(&out)).contains("server-[0-1]  directory etc  changed: created"), "{}", stderr(&out));
}
