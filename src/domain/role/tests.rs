use super::*;
use serde_json::{Map, Value, json};

struct Lab(tempfile::TempDir);

impl Lab {
    fn new(files: &[(&str, &str)]) -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = lab.0.path().join("roles").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        lab
    }

    fn order(&self, names: &[&str]) -> Result<Vec<String>> {
        let asked: Vec<Asked> = names.iter().map(|n| Asked::by_name(*n)).collect();
        Ok(in_order(self.0.path(), &asked)?.iter().map(|r| r.name.clone()).collect())
    }

    fn role(&self, name: &str) -> Role {
        Role::load(self.0.path(), name).unwrap()
    }

    /// The error's message, places and hints as one text.
    fn told(&self, error: &Error) -> String {
        let dir = format!("{}/", self.0.path().canonicalize().unwrap().display());
        let details = error.details();
        let mut out = vec![details.message.clone()];
        out.extend(details.places.iter().map(|p| format!("at {p} {}", p.source.as_deref().unwrap_or_default())));
        out.extend(details.hints.iter().map(|h| format!("hint: {h}")));
        out.join("\n").replace(&dir, "")
    }
}

fn map(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { panic!("not a map") }
}

#[test]
fn what_is_required_comes_first_and_once() {
    let lab = Lab::new(&[
        ("base/main.rhai", ""),
        ("users/main.rhai", ""),
        ("users/requires", "base\n"),
        ("web/main.rhai", ""),
        ("web/requires", "# first of all\n\n base # clocks\nusers\n"),
    ]);
    assert_eq!(lab.order(&["web", "base", "users"]).unwrap(), ["base", "users", "web"]);
}

#[test]
fn a_cycle_is_shown_as_a_path() {
    let lab = Lab::new(&[
        ("a/main.rhai", ""),
        ("a/requires", "b\n"),
        ("b/main.rhai", ""),
        ("b/requires", "\nc"),
        ("c/main.rhai", ""),
        ("c/requires", "b"),
    ]);
    assert_eq!(
        lab.told(&lab.order(&["a"]).unwrap_err()),
        "these roles require each other: b -> c -> b\nat roles/b/requires:2 c\nat roles/c/requires:1 b\n\
         hint: Move what both need into a role of its own, and require that from both."
    );
}

#[test]
fn names_that_are_none() {
    let lab = Lab::new(&[("nginx/main.rhai", ""), ("nginx/requires", "base\n\nbaes extra"), ("empty/x", "")]);
    assert!(lab.told(&lab.order(&["ngnix"]).unwrap_err()).contains("there is no role ngnix\nhint: Did you mean \"nginx\"?"));
    assert_eq!(
        lab.told(&lab.order(&["nginx"]).unwrap_err()),
        "\"baes extra\" is not one role\nat roles/nginx/requires:3 baes extra\nhint: `requires` names one role a line."
    );
    assert!(lab.told(&lab.order(&["empty"]).unwrap_err()).starts_with("role empty has no main.rhai"));
    assert!(lab.told(&lab.order(&["../x"]).unwrap_err()).starts_with("\"../x\" cannot be the name of a role"));
}

#[test]
fn variables_come_in_layers() {
    let lab = Lab::new(&[("web/main.rhai", ""), ("web/defaults.yml", "port: 80\nhost: a\nversion: \"1.0\"\nlist: [1]\n")]);
    let role = lab.role("web");
    let (deployment, group) = (map(json!({ "port": 81, "host": "b", "other": 1 })), map(json!({ "host": "c" })));
    let set: Vec<Setting> = ["version=1.10", "list=[2, x]"].iter().map(|s| Setting::parse(s).unwrap()).collect();
    let vars = role.vars(&[&deployment, &group], &set, &[]).unwrap();
    assert_eq!(Value::Object(vars), json!({ "port": 81, "host": "c", "version": "1.10", "list": [2, "x"], "other": 1 }));
    assert!(Setting::parse("port").is_err());
    let unknown = check_settings(&[Arc::new(role)], &[Setting::parse("prot=1").unwrap()]).unwrap_err();
    assert_eq!(lab.told(&unknown), "--set: role web has no variable `prot`\nhint: Did you mean \"port\"?");
}

#[test]
fn two_roles_may_call_different_things_the_same() {
    let lab = Lab::new(&[
        ("base/main.rhai", ""),
        ("base/defaults.yml", "users: {}\n"),
        ("db/main.rhai", ""),
        ("db/defaults.yml", "users: {}\nport: 1\n"),
    ]);
    let (base, db) = (lab.role("base"), lab.role("db"));
    let deployment = map(json!({ "users": { "all": 1 }, "db": { "users": { "app": 1 }, "port": 2 } }));
    let group = map(json!({ "port": 3 }));
    let settings = [Setting::parse("base.users={root: 1}").unwrap()];
    assert_eq!(base.vars(&[&deployment, &group], &settings, &[]).unwrap()["users"], json!({ "root": 1 }));
    let vars = db.vars(&[&deployment, &group], &settings, &[]).unwrap();
    assert_eq!(Value::Object(vars), json!({ "users": { "app": 1 }, "port": 3 }));
    let typo = db.vars(&[&map(json!({ "db": { "prot": 1 } }))], &[], &[]).unwrap_err();
    assert_eq!(lab.told(&typo), "role db has no variable `prot`\nhint: Did you mean \"port\"?");
    let told = |word: &str| {
        let roles = [Arc::new(lab.role("base")), Arc::new(lab.role("db"))];
        lab.told(&check_settings(&roles, &[Setting::parse(word).unwrap()]).unwrap_err())
    };
    assert_eq!(told("base.port=1"), "--set: role base has no variable `port`\nhint: There is: users.");
    assert_eq!(told("bse.users=1"), "--set: role bse is none of those that are asked for\nhint: Did you mean \"base\"?");
}

#[test]
fn what_must_be_given_is_asked_for() {
    let lab = Lab::new(&[
        ("web/main.rhai", ""),
        ("web/defaults.yml", "port: 80\ndomain: !required the name the site answers to\nkey: !required\n"),
    ]);
    let role = lab.role("web");
    assert_eq!(
        lab.told(&role.vars(&[], &[], &[]).unwrap_err()),
        "role web needs the variable `domain`: the name the site answers to\n\
         at roles/web/defaults.yml:2:1 domain: !required the name the site answers to\n\
         hint: Give it under `vars:` of the config, or of a group, or with --set domain=…"
    );
    let vars = role.vars(&[&map(json!({ "domain": "x" }))], &[Setting::parse("key=1").unwrap()], &[]).unwrap();
    assert_eq!(Value::Object(vars), json!({ "port": 80, "domain": "x", "key": 1 }));
    assert!(role.vars(&[&map(json!({ "domain": "x" }))], &[], &["key"]).is_ok());
}

#[test]
fn files_stay_within_the_role() {
    let lab = Lab::new(&[("web/main.rhai", "1"), ("web/templates/a/b.conf", "x"), ("secret", "no")]);
    let role = lab.role("web");
    assert_eq!(role.file("templates/a/b.conf").unwrap().unwrap().content, b"x");
    assert_eq!(role.file("../secret").unwrap(), None);
    assert_eq!(role.file("templates/none").unwrap(), None);
    assert_eq!(role.files_in("templates"), ["a/b.conf"]);
}

#[test]
fn what_there_is_to_say_of_a_role() {
    let lab = Lab::new(&[
        ("web/main.rhai", "// A web server.\n// With a page.\n\nfn apply(nodes, vars) {}\n"),
        (
            "web/defaults.yml",
            "port: 80 # where it listens\n\n# who may\n# see it\nallow: [a, b]\nname: !required its name\nx: \"1\"\n",
        ),
    ]);
    let role = lab.role("web");
    assert_eq!(role.about(), "A web server.\nWith a page.");
    let said: Vec<String> =
        role.variables().iter().map(|v| format!("{}={} {}", v.name, v.default.as_deref().unwrap_or("!"), v.about)).collect();
    assert_eq!(said, ["port=80 where it listens", "allow=[\"a\",\"b\"] who may see it", "name=! its name", "x='1' "]);
}
