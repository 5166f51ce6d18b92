//! `opsrun taint`, `untaint` and `replace`: nodes that the next provision makes anew, or this very command.

use super::App;
use super::complete::deployments;
use super::provision;
use crate::base::error::{Result, ResultExt};
use crate::domain::deployment;
use clap_complete::engine::ArgValueCandidates;

/// Mark nodes, so that the next provision makes them anew
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun taint 4504 server-1
  opsrun taint 4504 'client-*'            the plan shows them as REPLACE; `opsrun provision 4504` does it
  opsrun untaint 4504 server-1            not after all")]
pub struct Args {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// Nodes: a name, a group, a glob, or several with commas
    #[arg(value_name = "NODES")]
    nodes: String,
}

/// Make nodes anew: taint and provision in one
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun replace 4504 server-1            shows the plan and asks
  opsrun replace 4504 server-1 --yes --replace   a node of a stateful group, with the loss of its data")]
pub struct ReplaceArgs {
    #[command(flatten)]
    nodes: Args,
    #[command(flatten)]
    how: provision::How,
}

pub fn run(args: &Args, mark: bool, app: &App) -> Result<()> {
    let names = deployment::taint(&app.project, &args.name, &args.nodes, mark)?;
    let said = if mark { "will be made anew by" } else { "will be left as they are by" };
    app.ui.note(&format!("{} {said} the next: opsrun provision {}", names.join(", "), args.name));
    Ok(())
}

pub fn replace(args: &ReplaceArgs, app: &App) -> Result<()> {
    deployment::taint(&app.project, &args.nodes.name, &args.nodes.nodes, true)?;
    let keeps = || format!("Not replaced nodes stay marked; take the mark away with: opsrun untaint {} …", args.nodes.name);
    provision::apply(&args.nodes.name, &[], &args.how, app).hint(keeps)
}
