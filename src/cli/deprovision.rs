//! `opsrun deprovision NAME`: removes a deployment, and proves that nothing is left.

use super::App;
use super::complete::deployments;
use super::provision::declined;
use super::table::nodes;
use crate::base::error::Result;
use crate::base::suggest;
use crate::domain::deployment::{self, Deployment, Fixture};
use clap_complete::engine::ArgValueCandidates;

/// Remove a deployment: its nodes, all that runs on them, and its folder
///
/// Shows first what goes with it in the cloud. Interrupted, it goes on when run again. A deployment that does not exist is fine: there is nothing to remove.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun deprovision 4504
  opsrun deprovision 4504 --yes           without asking; needed where there is no terminal")]
pub struct Args {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    if Deployment::exists(&app.project, &args.name) {
        show(args, app)?;
        if !args.yes {
            ask(args, app)?;
        }
    }
    match app.block_on(deployment::destroy(&app.project, &args.name, &app.cx))? {
        Some(gone) => app.ui.note(&format!("deployment {} is removed ({})", args.name, nodes(gone.len()))),
        None => app.ui.note(&nothing(args, app)),
    }
    Ok(())
}

/// What goes besides the nodes that everybody knows of.
fn show(args: &Args, app: &App) -> Result<()> {
    let style = app.ui.err_style();
    let all = app.block_on(deployment::belongings(&app.project, &args.name, &app.cx));
    // Where it cannot be read what there is, the removal itself says why.
    for Fixture { what, reason, .. } in all.iter().flatten() {
        let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        app.ui.note(&style.red(&format!("  - REMOVE {what}{reason}")));
    }
    app.cx.cancel.check()
}

fn ask(args: &Args, app: &App) -> Result<()> {
    let style = app.ui.err_style();
    // A folder that cannot be read is no reason not to ask.
    let what = match Deployment::open(&app.project, &args.name) {
        Ok(deployment) => {
            let names = deployment.nodes().names();
            let runs = match deployment.runs().len() {
                0 => String::new(),
                1 => " and the results of 1 run".to_owned(),
                runs => format!(" and the results of {runs} runs"),
            };
            format!("{} ({}){runs}", nodes(names.len()), names.join(", "))
        }
        Err(e) => format!("everything of it ({})", e.message()),
    };
    app.ui.note(&style.red(&format!("This removes {what} of deployment {}, which cannot be undone.", args.name)));
    let question = format!("Remove deployment {}?", args.name);
    if app.ui.confirm(&question, "--yes")? { Ok(()) } else { Err(declined()) }
}

/// There is no such deployment; perhaps another was meant.
fn nothing(args: &Args, app: &App) -> String {
    let names: Vec<String> = deployment::list(&app.project).unwrap_or_default().into_iter().map(|s| s.name).collect();
    let near = suggest::nearest(&args.name, names.iter().map(String::as_str));
    let meant = near.map(|n| format!(" (there is one called {n})")).unwrap_or_default();
    format!("there is no deployment {}: nothing to remove{meant}", args.name)
}
