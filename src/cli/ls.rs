//! `opsrun ls`: all deployments.

use super::App;
use super::table::{age, columns, row};
use crate::base::error::Result;
use crate::domain::deployment::{self, Summary};

/// List all deployments
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun ls
  opsrun ls --json | jq -r '.[].name'

--json prints an array with one object a deployment: name, provider, created, groups (name and count of each), nodes,
dir, problem (null when there is none).")]
pub struct Args {
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let all = deployment::list(&app.project)?;
    if args.json {
        return app.ui.json(&all);
    }
    if all.is_empty() {
        app.ui.note(&format!("no deployments in {}", app.project.deployments().display()));
        return Ok(());
    }
    let mut rows = vec![row(["NAME", "PROVIDER", "NODES", "AGE", "GROUPS"])];
    rows.extend(all.iter().map(|s| {
        let made = s.created.map(age).unwrap_or_default();
        row([&s.name, s.provider.as_deref().unwrap_or("-"), &s.nodes.to_string(), &made, &last(s)])
    }));
    app.ui.data(&columns(&rows));
    Ok(())
}

fn last(summary: &Summary) -> String {
    match &summary.problem {
        Some(problem) => format!("({problem})"),
        None => summary.groups.iter().map(|g| format!("{} {}", g.count, g.name)).collect::<Vec<_>>().join(", "),
    }
}
