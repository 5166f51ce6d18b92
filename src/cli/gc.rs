//! `opsrun gc --region R`: removes what has expired in a cloud, and what nobody knows of.

use super::App;
use super::provision::declined;
use super::table::{columns, row};
use crate::base::error::{Error, Kind, Result};
use crate::base::units::parse_duration;
use crate::domain::deployment::expiry_words;
use crate::domain::deployment::gc::{Candidate, Findings, Removal, Sweep, Verdict, remove, survey};
use crate::ui::style::Style;
use clap::ValueHint;
use jiff::Timestamp;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Remove what has expired in a cloud, and what nobody knows of
///
/// Goes by the tags of what there is. Shows every deployment with what becomes of it, asks, and removes as `deprovision` does:
/// by its UUID, looking twice that nothing is left. Removed are those whose time has passed, and orphans: without a folder
/// on this host and without a time to expire at, or leftovers without machines. Never removed: what carries the tag `keep`. Those of
/// others only when they are named. What was touched less than --min-age ago may be in the making, and is no orphan.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun gc --region eu-central-1                    show, and ask
  opsrun gc --region eu-central-1 --yes              remove without asking
  opsrun gc --region eu-central-1 4504               this one, whoever owns it, if it has expired or is an orphan
  opsrun gc --region eu-central-1 --config configs/credentials.yml --json

Your own are those with the `owner` of --owner or of the config; without either, of the deployments whose folders are here.
Without a terminal to ask on, and without --yes, nothing is removed.
--json prints one object: region, owners, candidates (name, uuid, owner, created, expires_at, keep, dir, resources,
verdict: expired, orphaned, kept, foreign, young or alive, why) and, with --yes, removed (name, uuid, removed, why).")]
pub struct Args {
    /// Only these deployments, whoever owns them
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The region to look at; else the config's, or AWS_REGION
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Config files, for credentials and owner
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Vec<PathBuf>,
    /// Whose deployments may be removed without being named
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Younger ones are no orphans
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = age)]
    min_age: Duration,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

fn age(text: &str) -> std::result::Result<Duration, String> {
    parse_duration(text).map_err(|e| e.message().to_owned())
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let sweep = Sweep {
        region: args.region.clone(),
        files: args.config.clone(),
        names: args.names.clone(),
        owner: args.owner.clone(),
        min_age: args.min_age,
    };
    let found = app.block_on(survey(&app.project, &sweep, &app.cx))?;
    let Findings { region, candidates, owners } = &found;
    let gone: Vec<&Candidate> = candidates.iter().filter(|c| c.verdict.removes()).collect();
    if args.json {
        let mut out = json!({ "region": region, "owners": owners, "candidates": candidates });
        let removed =
            if args.yes && !gone.is_empty() { app.block_on(remove(&app.project, &sweep, &found, &app.cx))? } else { Vec::new() };
        if args.yes {
            out["removed"] = json!(removed);
        }
        app.ui.json(&out)?;
        return failed(&removed);
    }
    app.ui.data(&render(&found, app.ui.out_style()));
    if gone.is_empty() {
        return Ok(());
    }
    if !args.yes {
        if !app.ui.is_interactive() {
            app.ui.note("nothing was removed: there is no terminal to ask on (--yes removes)");
            return Ok(());
        }
        let names: Vec<&str> = gone.iter().map(|c| c.name.as_str()).collect();
        if !app.ui.confirm(&format!("Remove {} with everything on them?", names.join(", ")), "--yes")? {
            return Err(declined());
        }
    }
    let done = app.block_on(remove(&app.project, &sweep, &found, &app.cx))?;
    for removal in done.iter().filter(|r| r.removed) {
        app.ui.note(&format!("{} ({}) is removed", removal.name, removal.uuid));
    }
    failed(&done)
}

fn render(found: &Findings, style: Style) -> String {
    if found.candidates.is_empty() {
        return format!("no deployments in {}\n", found.region);
    }
    let mut rows = vec![row(["DEPLOYMENT", "OWNER", "SINCE", "HAS", "WHAT BECOMES OF IT", "UUID"])];
    let now = Timestamp::now();
    rows.extend(found.candidates.iter().map(|c| {
        let since = c.created.map_or_else(|| "?".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M").to_string());
        let owner = c.owner.as_deref().unwrap_or("-");
        row([&c.name, owner, &since, &has(c), &format!("{}: {}", word(c.verdict), why(c, now)), &c.uuid])
    }));
    let mut out = String::new();
    for (line, candidate) in columns(&rows).lines().zip(std::iter::once(None).chain(found.candidates.iter().map(Some))) {
        out += &match candidate {
            None => style.dim(line),
            Some(c) if c.verdict.removes() => style.red(line),
            Some(_) => line.to_owned(),
        };
        out.push('\n');
    }
    out
}

/// `3 instances, 1 VPC`
fn has(candidate: &Candidate) -> String {
    // What costs money, or is in the way; the rest comes and goes with it.
    let mut all: Vec<String> = Vec::new();
    for kind in ["instance", "volume", "elastic ip", "VPC", "key pair"] {
        if let Some(count) = candidate.resources.get(kind) {
            all.push(format!("{count} {kind}{}", if *count == 1 { "" } else { "s" }));
        }
    }
    if all.is_empty() { format!("{} other things", candidate.resources.values().sum::<usize>()) } else { all.join(", ") }
}

fn why(candidate: &Candidate, now: Timestamp) -> String {
    match (candidate.verdict, candidate.expires_at) {
        (Verdict::Alive, Some(at)) if !candidate.why.starts_with("expire") => {
            format!("{}; {}", candidate.why, expiry_words(at, now))
        }
        _ => candidate.why.clone(),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Expired | Verdict::Orphaned => "REMOVE",
        Verdict::Kept => "kept",
        Verdict::Foreign => "not yours",
        Verdict::Young => "left alone",
        Verdict::Alive => "alive",
    }
}

fn failed(done: &[Removal]) -> Result<()> {
    let left: Vec<String> = done.iter().filter_map(|r| Some(format!("{} ({})", r.name, r.why.as_ref()?))).collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Provider, format!("not removed: {}", left.join("; ")))
        .hint("Run the same again: it goes on where it stopped.")
        .begun())
}
