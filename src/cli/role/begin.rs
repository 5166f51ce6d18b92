//! `opsrun role new NAME`: a role that works, to be changed into the one that is wanted.

use crate::base::error::{Error, Kind, Result};
use crate::cli::App;
use crate::domain::{files, role};

/// Write a new role into the project's roles/: one that works, with comments, to be changed into yours
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun role new web && opsrun role test web")]
pub struct Args {
    /// Its name: letters, digits, `_` and `-`
    #[arg(value_name = "ROLE")]
    name: String,
}

const MAIN: &str = r#"// What this role does, in a sentence or two: `opsrun role doc NAME` shows it.

fn apply(nodes, vars) {
    // What is right already is left alone. `opsrun doc Nodes` lists what a role can ask for:
    //   nodes.packages(["nginx-light"]);
    //   nodes.file("/etc/motd", #{ content: "welcome\n", mode: "0644" });
    //   nodes.service("nginx", #{ state: "started", enabled: true });
    nodes.directory("/etc/NAME");
    // A file of templates/, with the variables filled in; `notify` says what to do when it changed.
    nodes.template("NAME.conf", "/etc/NAME/NAME.conf", #{ mode: "0644", notify: "changed" });
}

// A handler runs once, at the end, on the nodes where something that notifies it changed.
// "restart UNIT" and "reload UNIT" need no function: notify: "restart nginx".
fn changed(nodes, vars) {
    nodes.sh("date > /etc/NAME/last-change");
}

// The health gate, if there is one: a node on which this fails has failed, and stops a rollout in batches.
fn healthy(nodes, vars) {
    nodes.sh("test -s /etc/NAME/NAME.conf");
}
"#;

const DEFAULTS: &str = "\
# The role's variables. A config's `vars:`, a group's `vars:` and `--set` override them, in this order.
# One without a default that makes sense: `domain: !required the name the site answers to`.
greeting: hello # the first line of NAME.conf
";

const TEMPLATE: &str = "\
# Written by opsrun (role NAME): changes made here by hand are lost.
greeting = {{ greeting }}
node = {{ node.name }}
";

const REQUIRES: &str = "\
# Roles that come before this one, one a line.
";

const TEST: &str = r#"// `opsrun role test NAME` runs this on a throw-away machine, after the role was applied to it twice.

fn test(nodes, vars) {
    for n in nodes {
        assert(n.read("/etc/NAME/NAME.conf")[0].contains(`greeting = ${vars.greeting}`), "the greeting is in the file");
    }
}
"#;

pub fn run(args: &Args, app: &App) -> Result<()> {
    let name = &args.name;
    role::check_name(name)?;
    let dir = app.project.root.join("roles").join(name);
    if dir.exists() {
        return Err(Error::new(Kind::Usage, format!("{} is there already", dir.display()))
            .hint("Choose another name, or change the role that is there."));
    }
    let template = format!("templates/{name}.conf");
    let texts = [
        ("main.rhai", MAIN),
        ("defaults.yml", DEFAULTS),
        ("requires", REQUIRES),
        (template.as_str(), TEMPLATE),
        ("test.rhai", TEST),
    ];
    for (path, text) in texts {
        files::write(&dir.join(path), text.replace("NAME", name).as_bytes(), None)?;
    }
    app.ui.note(&format!("wrote roles/{name}/: change main.rhai, then try it with `opsrun role test {name}`"));
    Ok(())
}
