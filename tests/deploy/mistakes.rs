//! Wrong words: each is told with its place and the nearest name, before anything is touched where that can be.

use crate::lab::{Lab, stderr};
use crate::roles::lab;

/// The code and the words of a deploy that is refused.
fn refused(lab: &Lab, args: &[&str]) -> (i32, String) {
    let out = lab.run(&[&["deploy", "lab", "--limit", "server-0"], args].concat());
    let root = lab.path("").canonicalize().unwrap();
    (out.status.code().unwrap(), stderr(&out).replace(&format!("{}/", root.display()), ""))
}

#[test]
fn names_that_are_not_there() {
    let lab = lab("fn apply(nodes, vars) {}");
    lab.write("roles/web/defaults.yml", "port: 80\nname: !required what it is called\n");
    assert_eq!(
        refused(&lab, &["--roles", "wbe"]),
        (
            2,
            "error: there is no role wbe\nhint: Did you mean \"web\"?\n\
             hint: Looked in roles and in the standard library; `opsrun role new wbe` begins one.\n"
                .to_owned()
        )
    );
    assert_eq!(
        refused(&lab, &["--roles", "web", "--set", "prot=1"]),
        (2, "error: --set: role web has no variable `prot`\nhint: Did you mean \"port\"?\n".to_owned())
    );
    assert_eq!(
        refused(&lab, &["--roles", "web"]),
        (
            2,
            "\
error: role web needs the variable `name`: what it is called
  while finding the variables for group server
  --> roles/web/defaults.yml:2:1
  2 | name: !required what it is called
    | ^
hint: Give it under `vars:` of the config, or of a group, or with --set name=…
"
            .to_owned()
        )
    );
    let (code, said) = refused(&lab, &[]);
    assert_eq!(code, 2);
    assert!(said.starts_with("error: no roles are named, and the config names none for these nodes\n"), "{said}");
    assert!(refused(&lab, &["--roles", "web", "--batch", "200%"]).1.contains("\"200%\" is no number of nodes"));
    assert!(!lab.path("deployments/lab/runs").exists(), "a deploy that was refused leaves no run");
}

#[test]
fn a_role_of_the_config_is_shown_where_it_is_named() {
    let lab = lab("fn apply(nodes, vars) {}");
    lab.write("configs/local.yml", "provider: local\ngroups:\n  server: { count: 4, roles: [web, bsae] }\n");
    lab.write("roles/base/main.rhai", "fn apply(nodes, vars) {}");
    let (code, said) = refused(&lab, &[]);
    assert_eq!(code, 2);
    assert!(said.starts_with("error: there is no role bsae\n  --> configs/local.yml:3:30\n"), "{said}");
    assert!(said.contains("hint: Did you mean \"base\"?\n"), "{said}");
}

#[test]
fn scripts_that_cannot_be_applied() {
    let lab = lab("fn aply(nodes, vars) {}");
    let (code, said) = refused(&lab, &["--roles", "web"]);
    assert_eq!(code, 2);
    assert!(said.contains("role web has no fn apply(nodes, vars)") && said.contains("function \"aply\""), "{said}");
    lab.write("roles/web/main.rhai", "fn apply(nodes, vars) {\n    nodes.file(\"x\"\n}\n");
    let (code, said) = refused(&lab, &["--roles", "web"]);
    assert_eq!(code, 2);
    assert!(said.contains("--> roles/web/main.rhai:3:1"), "{said}");
    lab.write("roles/web/main.rhai", "import \"hlper\" as h;\nfn apply(nodes, vars) {}\n");
    lab.write("roles/web/helper.rhai", "");
    let (code, said) = refused(&lab, &["--roles", "web"]);
    assert_eq!(code, 2);
    assert!(said.contains("there is no module \"hlper\"") && said.contains("Did you mean \"helper\"?"), "{said}");
    // `opsrun check` knows roles as it knows scripts.
    lab.write("roles/web/main.rhai", "fn apply(nodes, vars) { nodes.fiel(\"x\"); }\n");
    let out = lab.run(&["check", "roles"]);
    assert!(stderr(&out).contains("nothing has a method fiel") && stderr(&out).contains("\"file\""), "{}", stderr(&out));
}

#[test]
fn handlers_templates_and_options_that_are_not_there() {
    let notify = |what: &str| {
        format!("fn apply(nodes, vars) {{ nodes.file(\"x\", #{{ content: \"x\", {what} }}); }}\nfn flush(nodes, vars) {{}}\n")
    };
    let lab = lab(&notify("notify: \"fulsh\""));
    let (code, said) = refused(&lab, &["--roles", "web"]);
    assert_eq!(code, 1);
    assert!(said.contains("role web has no handler \"fulsh\"") && said.contains("Did you mean \"flush\"?"), "{said}");
    lab.write("roles/web/main.rhai", &notify("notify: \"relaod nginx\""));
    assert!(refused(&lab, &["--roles", "web"]).1.contains("Did you mean \"reload nginx\"?"));
    lab.write("roles/web/main.rhai", &notify("mdoe: \"0600\""));
    assert!(refused(&lab, &["--roles", "web"]).1.contains("file has no option \"mdoe\"\n"));

    lab.write("roles/web/main.rhai", "fn apply(nodes, vars) { nodes.template(\"site.cnf\", \"x\"); }");
    lab.write("roles/web/templates/site.conf", "a\nport {{ prot }}\n");
    lab.write("roles/web/defaults.yml", "port: 80\n");
    let (_, said) = refused(&lab, &["--roles", "web"]);
    assert!(said.contains("role web has no file site.cnf in its templates/") && said.contains("\"site.conf\""), "{said}");
    lab.write("roles/web/main.rhai", "fn apply(nodes, vars) { nodes.template(\"site.conf\", \"x\"); }");
    let (code, said) = refused(&lab, &["--roles", "web"]);
    assert_eq!(code, 1);
    assert!(said.contains("roles/web/templates/site.conf:2: variable \"prot\" is not set"), "{said}");
    assert!(said.contains("2 | port {{ prot }}") && said.contains("hint: Did you mean \"port\"?"), "{said}");
    assert!(said.contains("roles/web/main.rhai:1:"), "{said}");
}

#[test]
fn roles_that_require_each_other() {
    let lab = lab("fn apply(nodes, vars) {}");
    lab.write("roles/web/requires", "base\n");
    lab.write("roles/base/main.rhai", "fn apply(nodes, vars) {}");
    lab.write("roles/base/requires", "web\n");
    let (code, said) = refused(&lab, &["--roles", "web"]);
    assert_eq!(code, 2);
    assert!(said.starts_with("error: these roles require each other: web -> base -> web\n"), "{said}");
}

#[test]
fn what_is_called_otherwise_elsewhere_is_named_and_what_is_missing_is_told_how_to_ask_for() {
    let lab = lab("fn apply(nodes, vars) { nodes.group(\"x\"); }");
    let (code, said) = refused(&lab, &["--roles", "web"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("there is no function group(Nodes, string)") && said.contains("hint: Did you mean \"user_group\"?"),
        "{said}"
    );
    lab.write("roles/web/main.rhai", "fn apply(nodes, vars) { nodes.lineinfile(\"x\", \"y\"); }");
    let (_, said) = refused(&lab, &["--roles", "web"]);
    assert!(said.contains("hint: Did you mean \"line\"?"), "{said}");
    lab.write("roles/web/main.rhai", "fn apply(nodes, vars) { nodes.file(\"none/x\", #{ content: \"y\" }); }");
    let (_, said) = refused(&lab, &["--roles", "web"]);
    assert!(said.contains("there is no directory ") && said.contains("hint: Ask for it first: nodes.directory(\""), "{said}");
}

#[test]
fn variables_of_the_config_that_nothing_uses_are_told() {
    let lab = lab("fn apply(nodes, vars) { let x = vars.get(\"spoken_of\"); }");
    lab.write("roles/web/defaults.yml", "greeting: hello\n");
    lab.write("roles/web/templates/t", "{{ in_template }}");
    lab.write("roles/other/main.rhai", "fn apply(nodes, vars) {}");
    lab.write("roles/other/defaults.yml", "of_another: 1\n");
    lab.write(
        "configs/local.yml",
        "provider: local\nvars:\n  greting: typo\n  spoken_of: 1\n  in_template: 1\n  of_another: 1\n  nginx: { sites: {} }\n\
         groups:\n  server:\n    count: 4\n    vars:\n      gretings: x\n      greeting: right\n  client:\n    count: 1\n    vars: { elsewhere: 1 }\n",
    );
    let out = lab.run(&["deploy", "lab", "--roles", "web", "--limit", "server-0"]);
    let root = lab.path("").canonicalize().unwrap();
    assert_eq!(
        stderr(&out).replace(&format!("{}/", root.display()), ""),
        "warning: no role has the variable `greting` of the config (configs/local.yml:3:12): is `greeting` meant?\n\
         warning: no role has the variable `gretings` of the config (configs/local.yml:12:17): is `greeting` meant?\n"
    );
    assert_eq!(out.status.code(), Some(0));
}
