//! `opsrun manage`: environments of an application.

mod template;
mod verb;

use super::App;
use super::table::{columns, row};
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::domain::environment::{self, Ask, Environment};
use crate::ui::Ui;
use clap::Subcommand;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde_json::json;
use std::ffi::OsStr;

/// Look after environments of an application: images, stack, machines, roles
#[derive(clap::Args, Debug)]
#[command(
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    after_help = "\
Procedures (stdlib/manage.rhai; those of the project's scripts/manage.rhai go before them, and add to them):
  plan           Show what commission or update would change
  commission     Build the environment, or bring it to what its files say
  update         The same, of one that is there
  deploy         Bring roles to its machines: pushed, or by new images
  status         Show stack, machines, health, and who has an older role
  decommission   Remove it, and prove that nothing is left
  clean          Remove its images that nobody uses

Examples:
  opsrun manage ls                        the environments of this project
  opsrun manage staging init              writes environments/common.yml and environments/staging.yml, which work as they are
  opsrun manage staging template          the formations of staging, merged and checked, as one template
  opsrun manage staging plan              what would change; nothing is changed
  opsrun manage staging commission        images, stack, machines, roles, health; run again, it goes on
  opsrun manage staging deploy --help     what a verb takes
  opsrun manage staging status --json

An environment is environments/<name>.yml over environments/common.yml: app, env, region, formations (template files, or names
of those that come with opsrun), groups, variables, parameters, secrets, stack, protected, bucket, role_arn, stack_policy, health,
notify. Without a terminal to ask on, verbs that change something need --yes.
Ends with 0 when it is done, 1 when it failed, 2 when nothing was touched because of bad input, 130 when interrupted."
)]
pub struct Args {
    /// The environment, or `ls`
    #[arg(add = ArgValueCompleter::new(environments))]
    environment: String,
    #[command(subcommand)]
    verb: Option<Verb>,
    /// With `ls`: print them as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Init(InitArgs),
    Template(template::Args),
    Parameters(template::ParametersArgs),
    /// A procedure of `manage.rhai`, with its own options.
    #[command(external_subcommand)]
    Procedure(Vec<String>),
}

/// The verbs that are no procedures.
const NATIVE: [(&str, &str); 3] = [
    ("init", "Write the files of a first environment, with comments"),
    ("template", "Print the formations as one template, merged and checked"),
    ("parameters", "Show what the parameters of the formations get, and from where"),
];

/// Write the files of a first environment, with comments
#[derive(clap::Args, Debug)]
#[command(after_help = "Files that are there stay as they are.")]
struct InitArgs {}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let name = &args.environment;
    match &args.verb {
        None if name == "ls" => ls(args.json, app),
        None => Err(verb::unnamed(name, app)),
        Some(_) if args.json => Err(Error::usage("--json goes behind the verb")),
        Some(Verb::Procedure(words)) => verb::run(name, words, app),
        Some(Verb::Init(_)) => init(name, app),
        Some(Verb::Template(verb)) => template::run(verb, &load_with_values(name, app)?, app),
        Some(Verb::Parameters(verb)) => template::parameters(verb, &load_with_values(name, app)?, app),
    }
}

/// Reads an environment; on a terminal, what it does not say is asked for.
fn load(name: &str, app: &App) -> Result<Environment> {
    environment::load_asking(&app.project.root, name, &Terminal(&app.ui))
}

/// The same for what gives the stack its values: those that are missing are asked for, too.
fn load_with_values(name: &str, app: &App) -> Result<Environment> {
    let mut environment = load(name, app)?;
    environment::ask_for_parameters(&app.project.root, &mut environment, &Terminal(&app.ui))?;
    Ok(environment)
}

struct Terminal<'a>(&'a Ui);

impl Ask for Terminal<'_> {
    fn line(&self, question: &str) -> Result<Option<String>> {
        self.0.ask(question)
    }

    fn hidden(&self, question: &str) -> Result<Option<Secret>> {
        if self.0.is_interactive() { self.0.ask_secret(question).map(Some) } else { Ok(None) }
    }

    fn tell(&self, text: &str) {
        self.0.note(text);
    }
}

fn init(name: &str, app: &App) -> Result<()> {
    let written = environment::init(&app.project.root, name)?;
    if written.is_empty() {
        app.ui.note(&format!("nothing to write: environments/common.yml and environments/{name}.yml are there"));
        return Ok(());
    }
    for path in written {
        app.ui.note(&format!("written: {}", path.display()));
    }
    app.ui.note(&format!("Look through them; then: opsrun manage {name} plan"));
    Ok(())
}

fn ls(as_json: bool, app: &App) -> Result<()> {
    let names = environment::names(&app.project.root);
    let all: Vec<(String, Result<Environment>)> =
        names.into_iter().map(|n| (n.clone(), Environment::load(&app.project.root, &n))).collect();
    if as_json {
        let one = |(name, read): &(String, Result<Environment>)| match read {
            Ok(e) => json!({ "name": name, "stack": e.stack, "region": e.region, "protected": e.protected, "problem": null }),
            Err(e) => json!({ "name": name, "stack": null, "region": null, "protected": null, "problem": e.message() }),
        };
        return app.ui.json(&all.iter().map(one).collect::<Vec<_>>());
    }
    if all.is_empty() {
        app.ui.note(&format!("no environments in {}", app.project.root.join("environments").display()));
        return Ok(());
    }
    let mut rows = vec![row(["NAME", "STACK", "REGION", ""])];
    rows.extend(all.iter().map(|(name, read)| match read {
        Ok(e) => row([name, &e.stack, e.region.as_deref().unwrap_or("-"), if e.protected { "protected" } else { "" }]),
        Err(e) => row([name, "-", "-", &format!("({})", e.message())]),
    }));
    app.ui.data(&columns(&rows));
    Ok(())
}

fn environments(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let project = crate::base::project::Project::find();
    let names = project.map(|p| environment::names(&p.root)).unwrap_or_default();
    let names = names.into_iter().chain(["ls".to_owned()]).filter(|n| n.starts_with(&*current));
    names.map(CompletionCandidate::new).collect()
}
