//! `opsrun role`: what roles there are, a new one, a test of one, its manual.

mod begin;
mod test;

use super::App;
use super::complete::roles;
use super::table::{columns, row};
use crate::base::error::Result;
use crate::domain::role::{self, Role};
use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

/// List, begin, test and read about roles: folders that say what nodes should be
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun role ls
  opsrun role new web                 writes roles/web/, which works as it is
  opsrun role test web                applies it twice to a throw-away machine, and runs its test.rhai
  opsrun role doc web                 what it does, and its variables
  opsrun deploy 4504 --roles web --check --diff

A role is a folder: main.rhai with `fn apply(nodes, vars)`, and, as needed, defaults.yml (its variables; `name: !required what
it is for` must be given), requires (the roles that come before it, one a line), templates/, files/, test.rhai with
`fn test(nodes, vars)`, test.yml (variables for the test). A project's own role goes before one of the same name that comes
with opsrun.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Ls(LsArgs),
    New(begin::Args),
    Test(test::Args),
    Doc(DocArgs),
}

/// List the roles of the project, and those that come with opsrun
#[derive(clap::Args, Debug)]
#[command(after_help = "--json prints an array with one object a role: name, folder, about, problem (null when there is none).")]
struct LsArgs {
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

/// Show what a role does, its variables, and what it requires
#[derive(clap::Args, Debug)]
#[command(after_help = "\
--json prints one object: name, folder, about, requires, variables (name, default as YAML or null when it must be given,
about), templates, files.")]
struct DocArgs {
    /// The role
    #[arg(value_name = "ROLE", add = ArgValueCompleter::new(roles))]
    name: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    match &args.command {
        Command::Ls(args) => ls(args, app),
        Command::New(args) => begin::run(args, app),
        Command::Test(args) => test::run(args, app),
        Command::Doc(args) => doc(args, app),
    }
}

fn ls(args: &LsArgs, app: &App) -> Result<()> {
    let root = &app.project.root;
    let all: Vec<(String, String, Result<Role>)> =
        role::names(root).into_iter().map(|(name, folder)| (name.clone(), folder, Role::load(root, &name))).collect();
    if args.json {
        let entry = |(name, folder, role): &(String, String, Result<Role>)| {
            let problem = role.as_ref().err().map(|e| e.message().to_owned());
            json!({ "name": name, "folder": folder, "about": role.as_ref().map(Role::about).ok(), "problem": problem })
        };
        return app.ui.json(&all.iter().map(entry).collect::<Vec<_>>());
    }
    if all.is_empty() {
        app.ui.note("no roles yet: `opsrun role new NAME` begins one");
        return Ok(());
    }
    let mut rows = vec![row(["ROLE", "FOLDER", "WHAT IT DOES"])];
    rows.extend(all.iter().map(|(name, folder, role)| {
        let about = match role {
            Ok(role) => role.about().lines().next().unwrap_or_default().to_owned(),
            Err(error) => format!("({})", error.message()),
        };
        let cwd = std::env::current_dir().map(|d| format!("{}/", d.display())).unwrap_or_default();
        row([name, folder.strip_prefix(&cwd).unwrap_or(folder), &about])
    }));
    app.ui.data(&columns(&rows));
    Ok(())
}

fn doc(args: &DocArgs, app: &App) -> Result<()> {
    let role = Role::load(&app.project.root, &args.name)?;
    let (variables, requires) = (role.variables(), role.requires.iter().map(|r| r.name.as_str()).collect::<Vec<_>>());
    let (templates, files) = (role.files_in("templates"), role.files_in("files"));
    if args.json {
        return app.ui.json(&json!({
            "name": role.name, "folder": role.folder(), "about": role.about(), "requires": requires,
            "variables": variables, "templates": templates, "files": files,
        }));
    }
    let style = app.ui.out_style();
    let mut out = format!("{} ({})\n", style.bold(&role.name), role.folder());
    if !role.about().is_empty() {
        out += &format!("\n{}\n", role.about());
    }
    if !variables.is_empty() {
        let mut rows = vec![row(["  VARIABLE", "DEFAULT", "WHAT IT IS"])];
        rows.extend(
            variables.iter().map(|v| row([&format!("  {}", v.name), v.default.as_deref().unwrap_or("must be given"), &v.about])),
        );
        out += &format!("\n{}", columns(&rows));
    }
    for (what, names) in
        [("requires", requires.iter().map(|r| (*r).to_owned()).collect()), ("templates", templates), ("files", files)]
    {
        if !names.is_empty() {
            out += &format!("\n{what}: {}\n", names.join(", "));
        }
    }
    app.ui.data(&out);
    Ok(())
}
