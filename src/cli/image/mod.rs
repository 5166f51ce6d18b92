//! `opsrun image`: disks of prepared machines, for others to be made from.

mod bake;
mod place;

use super::App;
use super::complete::{deployments, images, nodes};
use super::table::{age, columns, row};
use crate::base::error::Result;
use crate::base::units::format_size;
use crate::domain::image::{Baked, NewImage, Removed};
use crate::domain::{deployment, image};
use clap::Subcommand;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use place::Place;
use serde_json::json;

/// Bake, list, save and remove images of machines
///
/// `bake` makes one of roles: on a machine of its own, which is removed afterwards. Its name is app-role-hash, and the hash is
/// over all that goes in, so the same content is not baked twice. `save` keeps what is on a stopped machine. Images of provider
/// `aws` are AMIs of the account; those of provider `machine` are kept in OPSRUN_CACHE.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun image bake nginx --config configs/local.yml     an image for provider `machine`, or AWS: as the config says
  opsrun image bake --env staging                        those of all groups of an environment, at the same time
  opsrun image ls --env staging
  opsrun image prune --keep 3 --env staging
  opsrun node stop 4504 server-0 && opsrun image save 4504 server-0 web
  opsrun image ls
  opsrun image rm web

`ls --json` prints an array of objects. Those of provider machine: name, on (what it stands on), from (the machine it was saved
from), created, bytes, used_by, and facts, if it was baked. Those of AWS: id, name, app, role, role_hash, base, base_wanted,
architecture, commit, created, state, bytes, used_by.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Bake(bake::Args),
    /// List all images, and who uses them
    ///
    /// Those in this user's cache; with --env, --config or --region, those that were baked in an account of AWS.
    Ls {
        #[command(flatten)]
        place: Place,
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
    ///
    /// An AMI is deregistered first, and its snapshots go after it. One that instances, launch templates, auto-scaling groups or
    /// parameters of stacks use is refused; then none of those named is removed.
    Rm {
        /// Images, by name; AMIs also by ID
        #[arg(value_name = "NAME", required = true, add = ArgValueCandidates::new(images))]
        names: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Remove all but the newest images that were baked
    ///
    /// Keeps the newest N of each application's roles, and those that somebody uses.
    Prune {
        /// How many to keep
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: u32,
        /// Only those of this role
        #[arg(long, value_name = "ROLE", add = ArgValueCompleter::new(super::complete::roles))]
        role: Option<String>,
        #[command(flatten)]
        place: Place,
        /// Print what came of it as JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    match &args.what {
        What::Bake(args) => bake::run(args, app),
        What::Ls { place, json } => match place.get()? {
            image::Place::Cache => list(*json, app),
            place => list_baked(&place, *json, app),
        },
        What::Save { deployment, node, name } => {
            app.block_on(deployment::save_image(&app.project, deployment, node, &NewImage::plain(name), &app.cx))?;
            app.ui.note(&format!("image {name} is saved: use it with `image: {name}`"));
            Ok(())
        }
        What::Rm { names, place } => {
            let removed = app.block_on(async {
                let shelf = place.get()?.open(&app.project).await?;
                image::remove(&shelf, names, &app.cx).await
            })?;
            for name in removed {
                app.ui.note(&format!("image {name} is removed"));
            }
            Ok(())
        }
        What::Prune { keep, role, place, json } => {
            let removed = app.block_on(async {
                let shelf = place.get()?.open(&app.project).await?;
                image::prune(&shelf, usize::try_from(*keep).unwrap_or(usize::MAX), role.as_deref(), &app.cx).await
            })?;
            if *json {
                return app.ui.json(&json!({ "removed": removed.removed, "used": removed.used }));
            }
            tell(&removed, app);
            Ok(())
        }
    }
}

fn tell(done: &Removed, app: &App) {
    for name in &done.removed {
        app.ui.note(&format!("image {name} is removed"));
    }
    for image in &done.used {
        app.ui.note(&format!("image {} stays: {} uses it", image.name, image.used_by.join(", ")));
    }
    if done.removed.is_empty() && done.used.is_empty() {
        app.ui.note("nothing to remove");
    }
}

fn list(json: bool, app: &App) -> Result<()> {
    let images = image::images(&app.project)?;
    if json {
        return app.ui.json(&images);
    }
    if images.is_empty() {
        app.ui.note(
            "no images: `opsrun image save DEPLOYMENT NODE NAME` makes one of a stopped machine, `opsrun image bake` one of roles",
        );
        return Ok(());
    }
    let mut rows = vec![row(["NAME", "SIZE", "ON", "FROM", "AGE", "USED BY"])];
    rows.extend(images.iter().map(|line| {
        let image = &line.image;
        let used_by = users(&line.used_by);
        row([&image.name, &format_size(image.bytes), &image.on, &image.from, &age(image.created), &used_by])
    }));
    app.ui.data(&columns(&rows));
    Ok(())
}

fn list_baked(place: &image::Place, json: bool, app: &App) -> Result<()> {
    let images: Vec<Baked> = app.block_on(async { place.open(&app.project).await?.list_with_users(&app.cx).await })?;
    if json {
        return app.ui.json(&images);
    }
    if images.is_empty() {
        app.ui.note("no images were baked here: opsrun image bake");
        return Ok(());
    }
    let mut rows = vec![row(["NAME", "ID", "ROLE", "BASE", "ARCH", "STATE", "AGE", "USED BY"])];
    rows.extend(images.iter().map(|i| {
        let old = i.created.map(age).unwrap_or_default();
        row([&i.name, &i.id, &i.role, &i.base, &i.architecture, &i.state, &old, &users(&i.used_by)])
    }));
    app.ui.data(&columns(&rows));
    Ok(())
}

fn users(used_by: &[String]) -> String {
    if used_by.is_empty() { "-".to_owned() } else { used_by.join(", ") }
}
