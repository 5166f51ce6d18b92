//! `opsrun deploy NAME`: makes nodes what their roles say.

use super::App;
use super::complete::{deployments, roles, selectors};
use super::deploying::{Painter, document, summary};
use super::run::{host_with, run_name};
use crate::base::error::{Error, Result};
use crate::base::event::Cx;
use crate::base::secret::mask_texts;
use crate::domain::config::Config;
use crate::domain::deployment::{Deployment, hosts, open_awake};
use crate::domain::resource::Mode;
use crate::domain::role::Setting;
use crate::domain::rollout::{Amount, Pace, Watch};
use crate::domain::runs::RunFolder;
use crate::script::roles::{Deploy, How, Wish};
use crate::script::run::on_script_thread;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Make nodes what their roles say: packages, files, services
///
/// A role is a folder roles/NAME/ of the project, or one that comes with opsrun (`opsrun role ls`). Without --roles each group
/// of the config gets its own: `groups: { server: { count: 3, roles: [base, web] } }`. What is right already is left alone,
/// so a second deploy changes nothing. A node on which something fails is taken out; the others go on.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun deploy 4504 --roles web --check --diff        what would change, and how; changes nothing
  opsrun deploy 4504 --roles base,web
  opsrun deploy 4504                                   the roles that the config gives to each group
  opsrun deploy 4504 --limit 'server-[01]' --set port=8080
  opsrun deploy 4504 --batch 20% --max-failures 1      a fifth of each group at a time; stops when more than one node failed

Variables: a role's defaults.yml < `vars:` of the config < `vars:` of the group < --set. The config files are read anew.
Under a role's name: for that role alone (`vars: { nginx: { sites: … } }`, --set nginx.default_site=true). `{ secret: NAME }`
names a secret: of the environment, of `secrets:` in the config, or asked for.
Batches never mix groups, and go in the order of the config. Between batches the role's `fn healthy(nodes, vars)`, if it has
one, must not fail. With --batch and without --max-failures the first failed node stops the batches after its own.
Ends with 0 when all is as wanted, 1 when a node failed or was not begun on, 2 when nothing was touched because of bad input.
A check ends with 0, whatever would change, and with 1 when a node could not be asked.
--json prints one object: deployment, check, roles, started, took, stopped, counts (nodes by outcome), nodes (node, group,
outcome, ok, changed, failed, skipped, unknown, took, error, items). An outcome is ok, changed, failed, skipped or unknown.")]
pub struct Args {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// These roles on all nodes, instead of those of the config
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',', add = ArgValueCompleter::new(roles))]
    roles: Vec<String>,
    /// Only on these nodes: a group, a name, a glob, or several separated by commas
    #[arg(long, value_name = "NODES", add = ArgValueCompleter::new(selectors))]
    limit: Option<String>,
    /// So many nodes of a group at a time: a number, or a share such as 20%
    #[arg(long, value_name = "N|N%", value_parser = amount)]
    batch: Option<Amount>,
    /// Begin no further batch when more nodes than this have failed
    #[arg(long, value_name = "N|N%", value_parser = amount)]
    max_failures: Option<Amount>,
    /// Change nothing; say what would be changed
    #[arg(long)]
    check: bool,
    /// Show how the content of files differs
    #[arg(long)]
    diff: bool,
    /// Set a variable of the roles; the value is read as YAML; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<Setting>,
    /// Print what came of it as JSON
    #[arg(long)]
    json: bool,
}

/// The parser of the command line has no place for hints of their own.
pub(super) fn one_line(error: &Error) -> String {
    match error.details().hints.first() {
        Some(hint) => format!("{}. {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

fn amount(text: &str) -> std::result::Result<Amount, String> {
    Amount::parse(text).map_err(|e| one_line(&e))
}

pub(super) fn setting(text: &str) -> std::result::Result<Setting, String> {
    Setting::parse(text).map_err(|e| one_line(&e))
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let deployment = app.block_on(open_awake(&app.project, &args.name, &app.client(), &app.cx))?;
    let config = deployment.config_now()?;
    let deploy = wanted(args, app, &deployment, &config)?;
    // A check changes nothing, so that nobody has to wait for it.
    let lock = if args.check { None } else { Some(deployment.lock(&format!("opsrun deploy {}", args.name))?) };
    deploy.unused.iter().for_each(|text| app.ui.warn(text));
    let run_name = run_name(Path::new("deploy"));
    let folder = RunFolder::begin_deploy(&deployment, &run_name, &deploy.roles, &words())?;
    let cx = Cx::new(app.cx.cancel.clone(), folder.logged(app.cx.events.clone())?);
    let how = How {
        pace: Pace { batch: args.batch, max_failures: args.max_failures },
        mode: Mode { check: args.check, diff: args.diff },
    };
    let host = host_with(app, Vec::new(), Some(args.name.clone()), cx.clone(), run_name);
    let watch: Arc<dyn Watch> = Arc::new(Painter::new(&app.ui, cx, how.mode, args.json));
    let (started, begun) = (Timestamp::now(), Instant::now());
    let outcome = on_script_thread(&host, || deploy.run(&host, how, &watch))?;
    if let (Ok(rollout), false, true, true) = (&outcome, args.check, args.roles.is_empty(), args.set.is_empty()) {
        app.block_on(async {
            hosts::mark(&app.project, &deployment, &rollout.succeeded(), &app.cx).await;
            Ok(())
        })?;
    }
    drop(lock);
    let told = outcome.and_then(|rollout| {
        let mut doc = document(&args.name, &deploy, &rollout, how.mode, started, begun.elapsed());
        // What a command said on its stderr is in it, too.
        mask_texts(&mut doc);
        folder.keep("deploy.json", format!("{doc:#}\n").as_bytes())?;
        if args.json {
            app.ui.json(&doc)?;
        } else {
            app.ui.data(&summary(&args.name, &rollout, how.mode, begun.elapsed(), app.ui.out_style()));
        }
        rollout.check().map_err(Error::begun)
    });
    if let Err(e) = folder.end(&told) {
        app.ui.warn(&format!("this deploy's end is not recorded: {}", e.message()));
    }
    told
}

/// Finds out what is wanted of which nodes, and refuses what cannot be.
fn wanted(args: &Args, app: &App, deployment: &Deployment, config: &Config) -> Result<Deploy> {
    let nodes = match &args.limit {
        Some(limit) => deployment.nodes().select(limit)?,
        None => deployment.nodes().clone(),
    };
    let nodes = hosts::pushed_to(deployment, &nodes, &app.cx)?;
    if nodes.is_empty() {
        return Err(Error::usage(format!("deployment {} has no nodes", args.name))
            .hint(format!("Make some first: opsrun provision {}", args.name)));
    }
    let wish = Wish { roles: (!args.roles.is_empty()).then_some(args.roles.as_slice()), settings: &args.set, ..Wish::default() };
    Deploy::new(&app.project.root, config, &nodes, wish).map_err(|e| e.exit_with(2))
}

/// The command line, as the manifest keeps it.
fn words() -> Vec<String> {
    std::env::args().skip(2).collect()
}
