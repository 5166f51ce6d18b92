//! `opsrun ls`: all deployments.

use super::App;
use super::table::{age, columns, row, short_price};
use crate::base::error::Result;
use crate::domain::deployment::{self, Summary};
use jiff::Timestamp;

/// List all deployments
///
/// Each provider is asked which nodes run, all at once and for a few seconds at most; a cloud that does not answer is said so in
/// its row. Costs are by the hour, as the `prices` file of the config says.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun ls
  opsrun ls --offline                     what the folders say, without asking anybody
  opsrun ls --json | jq -r '.[].name'

--json prints an array with one object a deployment: name, provider, created, expires_at, keep, region, groups (name and
count of each), nodes, addresses (by node), running, cost (currency, hourly, at_least, unknown), unreached (why its
provider could not be asked), dir, problem. What is not known, or not there, is null.")]
pub struct Args {
    /// Ask no provider: what the folders say
    #[arg(long)]
    offline: bool,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let all =
        if args.offline { deployment::list(&app.project)? } else { app.block_on(deployment::overview(&app.project, &app.cx))? };
    if args.json {
        return app.ui.json(&all);
    }
    if all.is_empty() {
        app.ui.note(&format!("no deployments in {}", app.project.deployments().display()));
        return Ok(());
    }
    let mut rows = vec![row(["NAME", "PROVIDER", "NODES", "STATE", "AGE", "EXPIRES", "COST/H", "GROUPS"])];
    rows.extend(all.iter().map(|s| {
        let made = s.created.map(age).unwrap_or_default();
        let provider = s.provider.as_deref().unwrap_or("-");
        row([&s.name, provider, &s.nodes.to_string(), &state(s), &made, &expires(s), &price(s), &last(s)])
    }));
    app.ui.data(&columns(&rows));
    Ok(())
}

fn state(summary: &Summary) -> String {
    match summary.running {
        None => "-".to_owned(),
        Some(0) if summary.nodes == 0 => "empty".to_owned(),
        Some(0) => "down".to_owned(),
        Some(running) if running == summary.nodes => "running".to_owned(),
        Some(running) => format!("{running} running"),
    }
}

/// `in 3 h`, `2 h ago`
fn expires(summary: &Summary) -> String {
    match (&summary.keep, summary.expires_at) {
        (Some(_), _) => "kept".to_owned(),
        (None, None) => "-".to_owned(),
        (None, Some(at)) => {
            deployment::expiry_words(at, Timestamp::now()).replacen("expires ", "", 1).replacen("expired ", "", 1)
        }
    }
}

fn price(summary: &Summary) -> String {
    summary.cost.as_ref().map_or_else(|| "-".to_owned(), short_price)
}

fn last(summary: &Summary) -> String {
    match (&summary.problem, &summary.unreached) {
        (Some(problem), _) => format!("({problem})"),
        (None, Some(why)) => format!("(not asked: {why})"),
        (None, None) => summary.groups.iter().map(|g| format!("{} {}", g.count, g.name)).collect::<Vec<_>>().join(", "),
    }
}
