//! `opsrun status NAME`: how each node of a deployment is.

use super::App;
use super::complete::deployments;
use super::table::{age, columns, long_price, nodes, row};
use crate::base::error::Result;
use crate::domain::deployment::{self, NodeState, Status};
use crate::ui::style::Style;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;

/// Show how each node of a deployment is
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun status 4504
  opsrun status 4504 --json | jq -r '.nodes[] | select(.status != \"running\").name'

--json prints one object: name, uuid, provider, created, expires_at, keep, region, cost (currency, hourly, at_least,
unknown), dir, inputs, nodes (name, group, index, address, port, user, status: running, stopped or missing, instance_type
and id where its provider has them), runs, interrupted (the change that was cut off, or null), holder (who is changing
it now, or null). Fields may be added; none will change.")]
pub struct Args {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let status = app.block_on(deployment::status(&app.project, &args.name, &app.cx))?;
    if args.json {
        return app.ui.json(&status);
    }
    app.ui.data(&render(&status, app.ui.out_style()));
    Ok(())
}

fn render(status: &Status, style: Style) -> String {
    let running = status.nodes.iter().filter(|n| n.status == NodeState::Running).count();
    let typed = status.nodes.iter().any(|n| n.instance_type.is_some());
    let mut out = format!(
        "{}: provider {}, {running} of {} running, made {} ago\n",
        style.bold(&status.name),
        status.provider,
        nodes(status.nodes.len()),
        age(status.created)
    );
    let (now, region) = (Timestamp::now(), status.region.iter().map(|r| format!("region {r}")));
    let kept = status.keep.iter().map(|why| if why == "true" { "kept".to_owned() } else { format!("kept: {why}") });
    let expires = status.expires_at.iter().map(|at| deployment::expiry_words(*at, now));
    let cost = status.cost.iter().map(|cost| format!("cost: {}", long_price(cost)));
    let said: Vec<String> = region.chain(expires).chain(kept).chain(cost).collect();
    if !said.is_empty() {
        out += &format!("  {}\n", said.join(", "));
    }
    let mut rows = vec![row(["  NODE", "STATUS", "ADDRESS", if typed { "TYPE" } else { "" }])];
    rows.extend(status.nodes.iter().map(|n| {
        let address = format!("{}@{}:{}", n.user, n.address, n.port);
        row([&format!("  {}", n.name), word(n.status), &address, n.instance_type.as_deref().unwrap_or_default()])
    }));
    for (line, node) in columns(&rows).lines().zip(std::iter::once(None).chain(status.nodes.iter().map(Some))) {
        out += &match node.map(|n| n.status) {
            None => style.dim(line),
            Some(NodeState::Running) => line.to_owned(),
            Some(_) => style.yellow(line),
        };
        out.push('\n');
    }
    if !status.runs.is_empty() {
        out += &format!("  {} runs, the last in {}\n", status.runs.len(), status.runs[status.runs.len() - 1].display());
    }
    if let Some(holder) = &status.holder {
        out +=
            &format!("  being changed by `{}` (process {} of {} on {})\n", holder.command, holder.pid, holder.user, holder.host);
    }
    if let Some(action) = &status.interrupted {
        out += &style.yellow(&format!("  the last {action} was cut off before its end: run it again\n"));
    } else if running < status.nodes.len() {
        out += &style.yellow(&format!("  bring them back: opsrun provision {}\n", status.name));
    }
    out
}

fn word(state: NodeState) -> &'static str {
    match state {
        NodeState::Running => "running",
        NodeState::Stopped => "stopped",
        NodeState::Missing => "missing",
    }
}
