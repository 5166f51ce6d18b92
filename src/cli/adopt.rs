//! `opsrun adopt NAME`: builds a lost deployment's folder anew.

use super::App;
use super::table::nodes;
use crate::base::error::{Error, Result};
use crate::domain::deployment::{self, Adoption};
use clap::ValueHint;
use std::path::PathBuf;
use uuid::Uuid;

/// Build a lost deployment's folder anew, from the cloud's tags
///
/// For one whose folder is lost, or that was made on another machine. Nodes, addresses, ssh_config and inventory come from the
/// tags; nothing is changed in the cloud but the tag that says where its folder is. Afterwards `opsrun provision NAME FILES…` finds nothing to change, if the files are
/// those it was made from.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun adopt 4504 configs/4504.yml --key ~/backup/4504/id_ed25519
  opsrun adopt 4504 --region eu-central-1 --key id_ed25519      without its config: as much of it as tags tell
  opsrun adopt 4504 --region eu-central-1 --without-key         only to look at it, and to remove it

What no tag tells: the private key (--key, or private_key_path in the config), host keys of nodes that nobody has logged in
to yet (learned at the next contact), the results of earlier runs. --json prints the deployment as `opsrun status --json` does.")]
pub struct Args {
    /// The deployment, as its tag says
    #[arg(value_name = "NAME")]
    name: String,
    /// The config files it was made from
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Where it is; else the config's region, or AWS_REGION
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The private key that its nodes accept: copied into the folder
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "without_key")]
    key: Option<PathBuf>,
    /// Do without the private key
    #[arg(long)]
    without_key: bool,
    /// Which one, where several have the name
    #[arg(long, value_name = "UUID")]
    uuid: Option<Uuid>,
    /// Print the deployment as JSON when done
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let adoption = Adoption {
        name: args.name.clone(),
        region: args.region.clone(),
        files: args.files.clone(),
        key: args.key.clone(),
        without_key: args.without_key,
        uuid: args.uuid,
    };
    let adopted = app.block_on(deployment::adopt(&app.project, &adoption, &app.cx))?;
    let made = &adopted.deployment;
    app.ui.note(&format!("deployment {} is adopted: {} in {}", made.name(), nodes(made.nodes().len()), made.dir().display()));
    for missing in &adopted.missing {
        app.ui.note(&format!("could not be rebuilt: {missing}"));
    }
    if args.json {
        let status = app.block_on(deployment::status(&app.project, &args.name, &app.cx)).map_err(Error::begun)?;
        return app.ui.json(&status);
    }
    Ok(())
}
