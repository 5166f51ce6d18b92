//! `opsrun image bake [ROLE…]`: images made of roles.

use crate::base::error::{Error, Result};
use crate::cli::App;
use crate::cli::complete::{environments, roles};
use crate::cli::deploying::Painter;
use crate::cli::run::{host_with, run_name};
use crate::domain::image::{self, Bake, Place, Shelf};
use crate::domain::resource::Mode;
use crate::domain::rollout::Watch;
use crate::script::roles::{Fresh, bake_all, check_bakes};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Make images of roles
///
/// For each image a machine is made (in the config's subnet, or in a network of its own), the roles are brought to it, its
/// identity is taken away (host keys, machine ID, what cloud-init knows, our key, histories), it is stopped, imaged, and
/// removed. An image that is there is not made again. When something fails, the machine is kept until it expires, and the next
/// bake of the same content goes on with it. Several are baked at the same time.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun image bake --env staging                      the images of all groups that have roles
  opsrun image bake nginx --env staging --group web    of this role alone, from the base of this group
  opsrun image bake nginx redis --config lab.yml       two images
  opsrun image bake base,nginx --config lab.yml        one image of both roles
  opsrun image bake --config lab.yml --group web       of the roles that the config gives to the group
  opsrun image bake --env staging --refresh-images     from a newer base, if there is one

The base is the group's `image` (in configs for AWS: `ami`): an ID, a pattern, or a parameter, which is looked up once; images
baked later for the same application stand on the same base, until --refresh-images takes a newer one.
Variables are those of the environment or config and of the group. Secrets that roles put on the machine are in its image.
--json prints an array of objects: name, id, app, role, role_hash, base, base_wanted, architecture, commit, created, state,
bytes, used_by, made (false: it was there).")]
pub struct Args {
    /// The roles, one image each; several joined by commas are one image of all
    #[arg(value_name = "ROLE", add = ArgValueCompleter::new(roles))]
    roles: Vec<String>,
    /// For the groups of this environment
    #[arg(long, value_name = "NAME", conflicts_with = "config", required_unless_present = "config", add = ArgValueCompleter::new(environments))]
    env: Option<String>,
    /// For a group of these configs, of provider aws or machine; may be given again
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// The group whose base, machine type and variables are meant
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// The first part of the name; otherwise the environment's `app`, or the name of the project's folder
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Without the machine that an earlier bake has left
    #[arg(long)]
    fresh: bool,
    /// From the newest images that patterns and parameters lead to
    #[arg(long)]
    refresh_images: bool,
    /// How long the machine of a bake that fails is kept
    #[arg(long, value_name = "TIME", default_value = "6h")]
    expires: String,
    /// Print the images as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let words: Vec<Vec<String>> = args.roles.iter().map(|word| word.split(',').map(str::to_owned).collect()).collect();
    let place = Place::of(args.env.clone(), args.config.clone(), None)?;
    let mut orders = place.orders(&app.project, &words, args.group.as_deref()).map_err(|e| e.exit_with(2))?;
    for order in &mut orders {
        order.expires(&args.expires).map_err(|e| e.exit_with(2))?;
        if let Some(name) = &args.app {
            order.set_app(name);
        }
    }
    if orders.is_empty() {
        app.ui.note("no group has roles: there is nothing to bake");
        return if args.json { app.ui.json(&json!([])) } else { Ok(()) };
    }
    let (shelf, bakes): (Shelf, Vec<Bake>) = app.block_on(async {
        let shelf = place.open(&app.project).await?;
        let bakes = image::plan(&app.project, &shelf, orders, args.refresh_images, &app.cx).await?;
        Ok((shelf, bakes))
    })?;
    for bake in &bakes {
        let recipe = &bake.recipe;
        let from = if recipe.base.wanted == recipe.base.id { String::new() } else { format!(" ({})", recipe.base.wanted) };
        app.ui.note(&format!("image {}: {} on {}{from}", recipe.name(), recipe.roles.join(", "), recipe.base.id));
    }
    let host = host_with(app, Vec::new(), None, app.cx.clone(), run_name(Path::new("bake")));
    let watch: Arc<dyn Watch> = Arc::new(Painter::new(&app.ui, app.cx.clone(), Mode::default(), args.json));
    let outcomes = bake_all(&host, &shelf, &bakes, args.fresh, &watch);
    let ready: Vec<&Fresh> = outcomes.iter().flatten().collect();
    for Fresh { image, made } in &ready {
        let word = if *made { "is baked" } else { "is there already" };
        let id = if image.id == image.name { String::new() } else { format!(" ({})", image.id) };
        app.ui.note(&format!("image {}{id} {word}", image.name));
    }
    if args.json {
        app.ui.json(&ready.iter().map(|fresh| document(fresh)).collect::<Vec<_>>())?;
    }
    check_bakes(&bakes, outcomes).map(drop).map_err(Error::begun)
}

fn document(fresh: &Fresh) -> Value {
    let mut value = serde_json::to_value(&fresh.image).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.insert("made".to_owned(), fresh.made.into());
    }
    value
}
