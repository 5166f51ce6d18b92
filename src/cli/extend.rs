//! `opsrun extend NAME 6h`: how long a deployment is meant to live.

use super::App;
use super::complete::deployments;
use crate::base::error::{Error, Result};
use crate::base::units::parse_duration;
use crate::domain::deployment::{self, Extended};
use crate::domain::fleet::Fleet;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;

/// Let a deployment live longer
///
/// Sets the time at which it expires: written down here and on everything it has in the cloud. The time counts from now, so
/// doing it twice is the same as doing it once. Where the config says `expires_action: terminate`, the timers of the machines
/// are moved, too, over SSH; one that cannot be reached is kept from ending at its old time (it would only stop; a
/// spot machine cannot).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun extend 4504 6h                       six hours from now
  opsrun extend 4504 2d
  opsrun extend 4504 2026-12-24T18:00:00Z     until then
  opsrun extend 4504 30m --shorten            earlier than it would have been

Expiry is advice: `opsrun ls` shows it and `opsrun gc` goes by it. It lasts until `expires` is changed in the config.
--json prints one object: name, before, expires_at, timed (nodes that end themselves then), not_reached (node and why).
Exit codes: 1 when a machine that ends itself could not be reached.")]
pub struct Args {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// How long from now, or until when: 6h, 2d, 2026-12-24T18:00:00Z
    #[arg(value_name = "TIME", value_parser = until)]
    until: Timestamp,
    /// Let it expire earlier than it would
    #[arg(long)]
    shorten: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

fn until(text: &str) -> std::result::Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let say = |e: &Error| {
        let hint = e.details().hints.first().map(|h| format!(". {h}")).unwrap_or_default();
        format!("{}{hint} A time is written like 2026-12-24T18:00:00Z.", e.message())
    };
    let length = parse_duration(text).map_err(|e| say(&e))?;
    Timestamp::now().checked_add(length).map_err(|e| e.to_string())
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let fleet = Fleet::new(app.client(), app.cx.clone());
    let done = app.block_on(deployment::extend(&app.project, &args.name, args.until, args.shorten, &fleet, &app.cx))?;
    if args.json {
        app.ui.json(&done)?;
    } else {
        say(&done, app);
    }
    if done.not_reached.is_empty() { Ok(()) } else { Err(unreached(&done)) }
}

fn say(done: &Extended, app: &App) {
    let Extended { name, expires_at, timed, .. } = done;
    let words = deployment::expiry_words(*expires_at, Timestamp::now());
    app.ui.note(&format!("deployment {name} {words} ({})", expires_at.strftime("%Y-%m-%d %H:%M UTC")));
    if !timed.is_empty() {
        let names: Vec<&str> = timed.iter().map(String::as_str).collect();
        app.ui.note(&format!("then these end themselves: {}", crate::domain::fleet::fold_names(&names)));
    }
}

fn unreached(done: &Extended) -> Error {
    let nodes: Vec<String> = done.not_reached.iter().map(|n| format!("{} ({})", n.node, n.why)).collect();
    Error::new(crate::base::error::Kind::Connection, format!("the timer could not be moved on {}", nodes.join(", ")))
        .hint("At their old time they stop, and are not ended; only spot machines, which cannot stop, end.")
        .hint(format!("Once they answer, run the same again: opsrun extend {} {}", done.name, done.expires_at))
        .begun()
}
