//! `opsrun provision NAME FILES…`: makes a deployment what its config says.

use super::App;
use super::complete::deployments;
use super::plan::{done, money, render};
use super::table::nodes;
use crate::base::error::{Error, Kind, Result};
use crate::base::money::Money;
use crate::domain::deployment::{self, Action, Plan, Request, Wait};
use crate::domain::fleet::Fleet;
use clap_complete::engine::ArgValueCandidates;
use std::path::PathBuf;

/// Make a deployment what its config says: shows the plan, asks, applies it
///
/// Config files are merged, in whatever order they come; a key that two of them set differently is an error. Without
/// any, those of the last provision are read again. Done again after an edit, or after an interruption, only what
/// differs is changed.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun provision 4504 configs/local.yml
  opsrun provision 4504 configs/credentials.yml configs/4504.yml --yes
  opsrun provision 4504                   with the files of the last time, edited since
  opsrun provision 4504 --no-wait --yes   return when the machines are asked for, contact none of them
  opsrun provision 4504 --refresh-images  with the newest images that a pattern or parameter in the config leads to

  opsrun provision 4504 --max-hourly 12.50    never for more than this

`prices: prices.yml` in a config names a file of your own figures, which plan, status and ls go by. There are no others:
    currency: USD
    region: eu-central-1        optional: refuse to count with them elsewhere
    instances:                  by the hour
      c7i.large: 1.00
      i4i.xlarge: { hourly: 4.00, spot: 2.00 }
    volumes:                    by the GiB and month of 30 days; left out, volumes are not counted
      gp3: 1.00
A root volume is counted where the config says its size.

Without a terminal to ask on, changes need --yes. Nothing to change needs no answer.
--json prints the deployment as `opsrun status --json` does, when all is done.")]
pub struct Args {
    /// The deployment: letters, digits, `.`, `_` and `-`
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// Config files
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    how: How,
}

/// How the plan is carried out.
#[derive(clap::Args, Debug)]
pub struct How {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Agree to lose what is on nodes that are stateful, or that cannot be stopped without a loss
    #[arg(long)]
    replace: bool,
    /// Take the newest images that patterns and parameters in the config lead to
    #[arg(long)]
    refresh_images: bool,
    /// Return when the nodes are asked for, without waiting until they answer
    #[arg(long)]
    no_wait: bool,
    /// Refuse what would cost more by the hour, or has no price
    #[arg(long, value_name = "AMOUNT", value_parser = money)]
    max_hourly: Option<Money>,
    /// Print the deployment as JSON when done
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    apply(&args.name, &args.files, &args.how, app)
}

/// Shows the plan, asks, carries it out.
pub fn apply(name: &str, files: &[PathBuf], args: &How, app: &App) -> Result<()> {
    let mut request = Request::new(&app.project, name, files)?;
    request.allow_replace(args.replace);
    request.refresh_images(args.refresh_images);
    request.limit_cost(args.max_hourly);
    let plan = app.block_on(deployment::plan(&request, &app.cx))?;
    app.ui.note(render(&plan, app.ui.err_style()).trim_end());
    request.check_cost(&plan)?;
    ask(args, &plan, app)?;
    let client = app.client();
    let wait = if args.no_wait { Wait::No } else { Wait::UntilAllAnswer(&client) };
    let made = app.block_on(deployment::apply(&request, &plan, wait, &app.cx))?;
    if !args.no_wait {
        let woken: Vec<String> = plan.changes.iter().filter(|c| c.action == Action::Repair).map(|c| c.node.clone()).collect();
        let fleet = Fleet::new(app.client(), app.cx.clone());
        app.block_on(deployment::renew_timers(&made, &woken, &fleet, &app.cx)).map_err(Error::begun)?;
    }
    if args.json {
        let status = app.block_on(deployment::status(&app.project, name, &app.cx)).map_err(Error::begun)?;
        return app.ui.json(&status);
    }
    if !plan.is_empty() {
        let ready = if args.no_wait { "asked for" } else { "ready" };
        app.ui.note(&format!("deployment {} is {ready}: {} ({})", made.name(), nodes(made.nodes().len()), done(&plan)));
    }
    Ok(())
}

/// Asks whether to go on, unless nothing would change or the answer was given beforehand.
fn ask(args: &How, plan: &Plan, app: &App) -> Result<()> {
    if args.yes || plan.is_empty() {
        return Ok(());
    }
    let lost: Vec<&str> = plan.changes.iter().filter(|c| c.action.destroys()).map(|c| c.node.as_str()).collect();
    let question = if lost.is_empty() {
        format!("Change deployment {}?", plan.name)
    } else {
        format!("Remove {} from deployment {}, with everything on it?", lost.join(", "), plan.name)
    };
    if app.ui.confirm(&question, "--yes")? { Ok(()) } else { Err(declined()) }
}

/// The user said no.
pub fn declined() -> Error {
    Error::new(Kind::Cancelled, "nothing was changed")
}
