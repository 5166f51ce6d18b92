//! `opsrun node stop|start|reboot NAME NODES`: turns nodes off and on.

use super::App;
use super::complete::{deployments, selectors};
use super::table::nodes;
use crate::base::error::Result;
use crate::domain::deployment::{self, Deployment, Power};
use clap::Subcommand;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};

/// Turn nodes off and on, where their provider can
///
/// A stopped node keeps its disk and stays off until it is started, or the deployment provisioned again.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun node stop 4504 server-2
  opsrun node stop 4504 'server-*' --at-once     as if their plugs were pulled
  opsrun node start 4504 server
  opsrun node reboot 4504 server-0,client")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Shut nodes down; they stay off until they are started
    Stop {
        #[command(flatten)]
        which: Which,
        /// Do not shut down first: as if the plug were pulled
        #[arg(long)]
        at_once: bool,
    },
    /// Start nodes that were stopped
    Start {
        #[command(flatten)]
        which: Which,
    },
    /// Shut nodes down and start them again
    Reboot {
        #[command(flatten)]
        which: Which,
        /// Do not shut down first: as if the plug were pulled
        #[arg(long)]
        at_once: bool,
    },
}

#[derive(clap::Args, Debug)]
struct Which {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// Which nodes: a group, a name, a glob, or several separated by commas
    #[arg(value_name = "NODES", add = ArgValueCompleter::new(selectors))]
    nodes: String,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let (which, power, done) = match &args.what {
        What::Stop { which, at_once } => (which, Power::Stop { at_once: *at_once }, "stopped"),
        What::Start { which } => (which, Power::Start, "started"),
        What::Reboot { which, at_once } => (which, Power::Reboot { at_once: *at_once }, "rebooted"),
    };
    let names = Deployment::open(&app.project, &which.name)?.nodes().select(&which.nodes)?.names();
    app.block_on(deployment::power(&app.project, &which.name, &names, power, &app.cx))?;
    app.ui.note(&format!("{} {done}: {}", nodes(names.len()), names.join(", ")));
    Ok(())
}
