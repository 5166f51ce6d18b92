//! `opsrun inventory NAME`: a deployment as Ansible reads it.

use super::App;
use super::complete::deployments;
use crate::base::error::Result;
use crate::domain::deployment::Deployment;
use clap_complete::engine::ArgValueCandidates;

/// Print a deployment's nodes as an Ansible inventory
///
/// The same text stands in the deployment's folder as `inventory`, kept up to date.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun inventory 4504 > hosts
  ansible -i deployments/4504/inventory server -m ping
  opsrun inventory 4504 --list | jq '._meta.hostvars'      the JSON of a dynamic inventory")]
pub struct Args {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// Print the JSON that Ansible expects of a dynamic inventory
    #[arg(long)]
    list: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let deployment = Deployment::open(&app.project, &args.name)?;
    if args.list {
        return app.ui.json(&deployment.inventory_json());
    }
    app.ui.data(&deployment.inventory());
    Ok(())
}
