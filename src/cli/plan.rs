//! `opsrun plan NAME FILES…`: what provision would do. Also how a plan looks.

use super::App;
use super::complete::deployments;
use super::table::{columns, nodes};
use crate::base::error::Result;
use crate::domain::deployment::{self, Action, Plan, Request};
use crate::ui::style::Style;
use clap_complete::engine::ArgValueCandidates;
use std::path::PathBuf;

/// Show what provision would do, and do nothing
///
/// Config files are merged, in whatever order they come. Without any, those of the last provision are read again.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun plan 4504 configs/local.yml
  opsrun plan 4504                        with the files of the last time, edited since
  opsrun plan 4504 --json | jq '.changes[] | select(.action != \"unchanged\")'

--json prints one object: name, provider, new, changes (node, group, index, action, reason), settings, notes.
An action is create, remove, change (removed and made anew), repair, adjust (changed in place) or unchanged.")]
pub struct Args {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// Config files
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let request = Request::new(&app.project, &args.name, &args.files)?;
    let plan = app.block_on(deployment::plan(&request, &app.cx))?;
    if args.json {
        return app.ui.json(&plan);
    }
    app.ui.data(&render(&plan, app.ui.out_style()));
    Ok(())
}

/// Returns the plan as lines for people.
pub fn render(plan: &Plan, style: Style) -> String {
    let rows: Vec<Vec<String>> = plan
        .changes
        .iter()
        .filter(|c| c.action != Action::Unchanged)
        .map(|c| vec![format!("  {} {}", sign(c.action), c.node), word(c.action).to_owned(), c.reason.clone()])
        .collect();
    let what = if plan.new { "new deployment" } else { "deployment" };
    let mut out = format!("{}\n", style.bold(&format!("{what} {} (provider {})", plan.name, plan.provider)));
    for (line, change) in columns(&rows).lines().zip(plan.changes.iter().filter(|c| c.action != Action::Unchanged)) {
        let painted = match change.action {
            Action::Create => style.green(line),
            Action::Remove | Action::Change => style.red(line),
            Action::Repair | Action::Adjust => style.yellow(line),
            Action::Unchanged => line.to_owned(),
        };
        out += &format!("{painted}\n");
    }
    if !plan.settings.is_empty() {
        out += &format!("  settings that differ: {}\n", plan.settings.join(", "));
    }
    for note in &plan.notes {
        out += &format!("  {} {note}\n", style.yellow("note:"));
    }
    out += &format!("{}\n", summary(plan));
    out
}

/// Returns the plan's numbers as a sentence: "3 to create, 1 to remove, 2 unchanged".
pub fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("nothing to change: {} as wanted", nodes(plan.count(Action::Unchanged)));
    }
    counted(plan, ["to create", "to replace", "to remove", "to bring back", "to adjust", "unchanged"])
}

/// The same when it is done: "3 created, 1 removed, 2 unchanged".
pub fn done(plan: &Plan) -> String {
    counted(plan, ["created", "replaced", "removed", "brought back", "adjusted", "unchanged"])
}

fn counted(plan: &Plan, words: [&str; 6]) -> String {
    let actions = [Action::Create, Action::Change, Action::Remove, Action::Repair, Action::Adjust, Action::Unchanged];
    let said: Vec<String> = actions
        .into_iter()
        .zip(words)
        .map(|(action, words)| (plan.count(action), words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    if said.is_empty() { "no nodes".to_owned() } else { said.join(", ") }
}

fn sign(action: Action) -> &'static str {
    match action {
        Action::Create => "+",
        Action::Remove => "-",
        Action::Change => "±",
        Action::Repair | Action::Adjust => "~",
        Action::Unchanged => " ",
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Remove => "REMOVE",
        Action::Change => "REPLACE",
        Action::Repair => "bring back",
        Action::Adjust => "adjust",
        Action::Unchanged => "",
    }
}
