//! `opsrun image ls|save|rm`: disks of prepared machines, for others to be made from.

use super::App;
use super::complete::{deployments, nodes};
use super::table::{age, columns, row};
use crate::base::error::Result;
use crate::base::units::format_size;
use crate::domain::{deployment, image};
use clap::Subcommand;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};

/// List, save and remove images of machines
///
/// An image is what was added to a machine since it was made, without what makes it that machine: name, ID, keys,
/// address. With `image: NAME` in a config, groups of provider `machine` are made from it. Images are kept in OPSRUN_CACHE.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun node stop 4504 server-0 && opsrun image save 4504 server-0 web
  opsrun image ls
  opsrun image rm web

`ls --json` prints an array of objects: name, on (what it stands on), from (the machine it was saved from), created,
bytes, used_by.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// List all images, and who uses them
    Ls {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Save what is on a stopped machine as an image
    Save {
        /// The deployment
        #[arg(value_name = "DEPLOYMENT", add = ArgValueCandidates::new(deployments))]
        deployment: String,
        /// The machine, which must be stopped
        #[arg(value_name = "NODE", add = ArgValueCompleter::new(nodes))]
        node: String,
        /// The image
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Remove images that nobody uses
    Rm {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    match &args.what {
        What::Ls { json } => list(*json, app),
        What::Save { deployment, node, name } => {
            app.block_on(deployment::save_image(&app.project, deployment, node, name, &app.cx))?;
            app.ui.note(&format!("image {name} is saved: use it with `image: {name}`"));
            Ok(())
        }
        What::Rm { names } => {
            for name in names {
                app.block_on(image::remove_image(&app.project, name, &app.cx))?;
                app.ui.note(&format!("image {name} is removed"));
            }
            Ok(())
        }
    }
}

fn list(json: bool, app: &App) -> Result<()> {
    let images = image::images(&app.project)?;
    if json {
        return app.ui.json(&images);
    }
    if images.is_empty() {
        app.ui.note("no images: `opsrun image save DEPLOYMENT NODE NAME` makes one of a stopped machine");
        return Ok(());
    }
    let mut rows = vec![row(["NAME", "SIZE", "ON", "FROM", "AGE", "USED BY"])];
    rows.extend(images.iter().map(|line| {
        let used_by = if line.used_by.is_empty() { "-".to_owned() } else { line.used_by.join(", ") };
        let image = &line.image;
        row([&image.name, &format_size(image.bytes), &image.on, &image.from, &age(image.created), &used_by])
    }));
    app.ui.data(&columns(&rows));
    Ok(())
}
