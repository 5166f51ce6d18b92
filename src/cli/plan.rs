//! `opsrun plan NAME FILES…`: what provision would do. Also how a plan looks.

use super::App;
use super::complete::deployments;
use super::table::{columns, long_price, nodes, short_price};
use crate::base::error::Result;
use crate::base::money::Money;
use crate::domain::deployment::{self, Action, CostChange, Ending, Fate, Fixture, Plan, Request};
use crate::ui::style::Style;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
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

  opsrun plan 4504 --max-hourly 12.50     exit code 2 when it would cost more, or nobody knows

--json prints one object: name, provider, new, changes (node, group, index, action, reason), expires_at, endings (by group:
advisory, terminate or keep), cost (before, after, at_most; where the config names prices), settings, notes.
An action is create, remove, change (removed and made anew), repair (brought back), adjust (changed in place), stop or
unchanged; loses says what needs --replace. With provider aws, resources holds fate, what and reason of all that is no
node: the network, the key pair, open ports.")]
pub struct Args {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// Config files
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// As provision would with --refresh-images
    #[arg(long)]
    refresh_images: bool,
    /// Refuse what would cost more by the hour, or has no price
    #[arg(long, value_name = "AMOUNT", value_parser = money)]
    max_hourly: Option<Money>,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let mut request = Request::new(&app.project, &args.name, &args.files)?;
    request.refresh_images(args.refresh_images);
    request.limit_cost(args.max_hourly);
    let plan = app.block_on(deployment::plan(&request, &app.cx))?;
    if args.json {
        app.ui.json(&plan)?;
    } else {
        app.ui.data(&render(&plan, app.ui.out_style()));
    }
    request.check_cost(&plan)
}

/// An amount on the command line.
pub fn money(text: &str) -> std::result::Result<Money, String> {
    Money::parse(text).map_err(|e| e.message().to_owned())
}

/// Returns the plan as lines for people.
pub fn render(plan: &Plan, style: Style) -> String {
    let rows: Vec<Vec<String>> = plan
        .changes
        .iter()
        .filter(|c| c.action != Action::Unchanged)
        .map(|c| {
            let loss = c.loses.as_ref().map(|why| format!(" [needs --replace: {why}]")).unwrap_or_default();
            vec![format!("  {} {}", sign(c.action), c.node), word(c.action).to_owned(), format!("{}{loss}", c.reason)]
        })
        .collect();
    let what = if plan.new { "new deployment" } else { "deployment" };
    let mut out = format!("{}\n", style.bold(&format!("{what} {} (provider {})", plan.name, plan.provider)));
    for (line, change) in columns(&rows).lines().zip(plan.changes.iter().filter(|c| c.action != Action::Unchanged)) {
        let painted = match change.action {
            Action::Create => style.green(line),
            Action::Remove | Action::Change => style.red(line),
            Action::Repair | Action::Adjust | Action::Stop => style.yellow(line),
            Action::Unchanged => line.to_owned(),
        };
        out += &format!("{painted}\n");
    }
    for Fixture { fate, what, reason, .. } in &plan.resources {
        let line = |sign: &str, word: &str| {
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            format!("  {sign} {word} {what}{reason}")
        };
        out += &match fate {
            Fate::Create => style.green(&line("+", "create")),
            Fate::Change => style.yellow(&line("~", "change")),
            Fate::Remove => style.red(&line("-", "REMOVE")),
        };
        out.push('\n');
    }
    out += &times_and_cost(plan);
    if !plan.settings.is_empty() {
        out += &format!("  settings that differ: {}\n", plan.settings.join(", "));
    }
    for note in &plan.notes {
        out += &format!("  {} {note}\n", style.yellow("note:"));
    }
    out += &format!("{}\n", summary(plan));
    out
}

/// `expires in 12 h: client ends itself; server: advice only`
fn times_and_cost(plan: &Plan) -> String {
    let mut out = String::new();
    if let Some(at) = plan.expires_at {
        let of = |ending: Ending, words: &str| {
            let groups: Vec<&str> = plan.endings.iter().filter(|(_, e)| **e == ending).map(|(g, _)| g.as_str()).collect();
            (!groups.is_empty()).then(|| format!("{words}: {}", groups.join(", ")))
        };
        let endings =
            [of(Ending::Terminate, "machines end themselves"), of(Ending::Advisory, "advice only"), of(Ending::Keep, "kept")];
        let endings: Vec<String> = endings.into_iter().flatten().collect();
        let endings = if endings.is_empty() { String::new() } else { format!("; {}", endings.join("; ")) };
        out +=
            &format!("  {} ({}){endings}\n", deployment::expiry_words(at, Timestamp::now()), at.strftime("%Y-%m-%d %H:%M UTC"));
    }
    if let Some(CostChange { before, after, at_most }) = &plan.cost {
        let was = if plan.new || before == after { String::new() } else { format!("{} -> ", short_price(before)) };
        let most =
            if at_most == after { String::new() } else { format!("; on the types it may fall back on: {}", long_price(at_most)) };
        out += &format!("  cost: {was}{}{most}\n", long_price(after));
    }
    out
}

/// Returns the plan's numbers as a sentence: "3 to create, 1 to remove, 2 unchanged".
pub fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("nothing to change: {} as wanted", nodes(plan.count(Action::Unchanged)));
    }
    counted(plan, ["to create", "to replace", "to remove", "to bring back", "to adjust", "to stop", "unchanged"])
}

/// The same when it is done: "3 created, 1 removed, 2 unchanged".
pub fn done(plan: &Plan) -> String {
    counted(plan, ["created", "replaced", "removed", "brought back", "adjusted", "stopped", "unchanged"])
}

fn counted(plan: &Plan, words: [&str; 7]) -> String {
    let actions =
        [Action::Create, Action::Change, Action::Remove, Action::Repair, Action::Adjust, Action::Stop, Action::Unchanged];
    let said: Vec<String> = actions
        .into_iter()
        .zip(words)
        .map(|(action, words)| (plan.count(action), words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    match (said.is_empty(), plan.resources.len()) {
        (true, 0) => "no nodes".to_owned(),
        (true, more) => format!("{more} other changes"),
        (false, 0) => said.join(", "),
        (false, more) => format!("{}; {more} other changes", said.join(", ")),
    }
}

fn sign(action: Action) -> &'static str {
    match action {
        Action::Create => "+",
        Action::Remove => "-",
        Action::Change => "±",
        Action::Repair | Action::Adjust | Action::Stop => "~",
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
        Action::Stop => "stop",
        Action::Unchanged => "",
    }
}
