//! `opsrun run SCRIPT [NAME] [ARGS…]`, which is also `opsrun SCRIPT.rhai [NAME] [ARGS…]`.

use super::App;
use super::complete::{ScriptWords, scripts};
use crate::base::error::{Error, Result};
use crate::base::event::Cx;
use crate::domain::deployment::Deployment;
use crate::domain::runs::RunFolder;
use crate::domain::stack::Plan;
use crate::script::run::{self, Ended};
use crate::script::{Host, HostSettings};
use crate::ui::stack;
use clap_complete::engine::ArgValueCompleter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const EXAMPLES: &str = "\
Examples:
  opsrun run scripts/setup.rhai 4504
  opsrun scripts/setup.rhai 4504                     the same
  opsrun scripts/setup.rhai --help                   what it takes
  opsrun scripts/populate_and_snapshot.rhai 4504 --rows=200000

Exit codes: 0 done; 1 it failed; 2 it could not begin; 130 interrupted; else what it gave to exit(n).";

/// Run a script
///
/// The words after the script are its own: the deployment's name first, when it works on one.
/// `opsrun run SCRIPT --help` shows what it takes.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The script
    #[arg(add = ArgValueCompleter::new(scripts))]
    pub script: PathBuf,
    /// The deployment's name, and the script's own options and arguments
    #[arg(value_name = "NAME, ARGS", trailing_var_arg = true, allow_hyphen_values = true, add = ArgValueCompleter::new(ScriptWords))]
    pub words: Vec<String>,
}

pub fn run(args: Args, app: &App) -> Result<()> {
    let wants_help = args.words.iter().take_while(|w| *w != "--").any(|w| w == "--help" || w == "-h");
    if wants_help {
        app.ui.data(&run::help(&host(app, &args.script, args.words, None), &args.script)?);
        return Ok(());
    }
    app.catch_signals();
    let run_name = run_name(&args.script);
    let folder = run_folder(app, &args, &run_name)?;
    let events = match &folder {
        Some(folder) => folder.logged(app.cx.events.clone())?,
        None => app.cx.events.clone(),
    };
    let host = host_with(app, args.words, None, Cx::new(app.cx.cancel.clone(), events), run_name);
    let ended = run::run_file(&host, &args.script);
    if let Some(folder) = folder {
        // How the script ended is what counts, even where it cannot be written down.
        if let Err(e) = folder.end(&ended) {
            app.ui.warn(&format!("this run's end is not recorded: {}", e.message()));
        }
    }
    match ended? {
        Ended::Through | Ended::Exit(0) => Ok(()),
        Ended::Exit(code) => Err(Error::exit(code)),
    }
}

/// The folder for the log of this run, when the first word names a deployment.
fn run_folder(app: &App, args: &Args, run_name: &str) -> Result<Option<RunFolder>> {
    let Some(name) = args.words.first().filter(|n| Deployment::exists(&app.project, n) && args.script.is_file()) else {
        return Ok(None);
    };
    let deployment = Deployment::open(&app.project, name)?;
    RunFolder::begin(&deployment, run_name, &args.script, &args.words[1..]).map(Some)
}

pub(super) fn run_name(script: &Path) -> String {
    let name = script.file_stem().unwrap_or_default().to_string_lossy();
    format!("{}-{name}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ"))
}

/// The host of a script that runs for this command line.
pub fn host(app: &App, script: &Path, words: Vec<String>, deployment: Option<String>) -> Arc<Host> {
    host_with(app, words, deployment, app.cx.clone(), run_name(script))
}

pub(super) fn host_with(app: &App, words: Vec<String>, deployment: Option<String>, cx: Cx, run_name: String) -> Arc<Host> {
    let ui = app.ui.clone();
    let hidden = app.ui.clone();
    let ask_secret = move |name: &str| {
        if !hidden.is_interactive() {
            return Ok(None);
        }
        hidden.ask_secret(&format!("{name}: ")).map(Some)
    };
    let style = app.ui.err_style();
    Host::new(HostSettings {
        project: app.project.clone(),
        cx,
        handle: app.handle(),
        words,
        deployment,
        client: app.client(),
        run_name,
        ask_secret: Some(Arc::new(ask_secret)),
        paint: Some(Arc::new(move |plan: &Plan| stack::render(plan, style))),
        ask: Some(Arc::new(move |question: &str| ui.ask(question))),
    })
}
