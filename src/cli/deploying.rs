//! How a deploy looks: a line for each change, diffs, the summary, the JSON document.

use super::table::{columns, nodes, row};
use crate::base::event::{Cx, Event};
use crate::base::units::format_duration;
use crate::domain::fleet::fold_names;
use crate::domain::node::{Node, NodeSet};
use crate::domain::resource::{Item, Mode, Outcome};
use crate::domain::rollout::{Batch, Counts, Line, NodeOutcome, Rollout, State, Watch, fold};
use crate::script::roles::Deploy;
use crate::ui::style::Style;
use crate::ui::{Ui, diff};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// With more nodes than this, those with the same numbers share a row of the summary.
const ROWS: usize = 16;

/// Draws a deploy while it goes on.
pub struct Painter {
    cx: Cx,
    style: Style,
    mode: Mode,
    quiet: bool,
    /// Standard output is for one JSON document.
    json: bool,
}

impl Painter {
    pub fn new(ui: &Ui, cx: Cx, mode: Mode, json: bool) -> Self {
        let style = if json { ui.err_style() } else { ui.out_style() };
        Self { cx, style, mode, quiet: ui.is_quiet(), json }
    }

    fn say(&self, text: String) {
        if self.json {
            self.cx.events.info(text);
        } else if !self.quiet {
            self.cx.events.send(Event::Print { text });
        }
    }

    fn line(&self, line: &Line) -> String {
        let outcome = line.outcome(self.mode.check);
        let outcome = match line.item.outcome {
            Outcome::Changed => self.style.yellow(&outcome),
            Outcome::Failed(_) => self.style.red(&outcome),
            _ => self.style.cyan(&outcome),
        };
        let mut text = format!("{}  {}  {outcome}", line.nodes(), line.resource());
        if self.mode.diff
            && let Some(difference) = &line.item.diff
        {
            text += &format!("\n{}", diff::render(difference, self.style).trim_end());
        }
        text
    }
}

impl Watch for Painter {
    fn items(&self, _: &str, items: &[(Arc<Node>, Item)]) {
        for line in fold(items, self.mode.diff) {
            self.say(self.line(&line));
        }
    }

    fn batch(&self, batch: &Batch) {
        if batch.of > 1 {
            self.say(self.style.bold(&format!("batch {} of {}: {}", batch.number, batch.of, folded(&batch.nodes))));
        }
    }
}

fn folded(nodes: &NodeSet) -> String {
    let names = nodes.names();
    fold_names(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Returns what came of every node as a table, and all of it as a sentence.
pub fn summary(name: &str, rollout: &Rollout, mode: Mode, took: Duration, style: Style) -> String {
    let mut rows = vec![row([
        "NODE",
        if mode.check { "RIGHT" } else { "OK" },
        if mode.check { "WOULD CHANGE" } else { "CHANGED" },
        "FAILED",
        "SKIPPED",
        "UNKNOWN",
        "TIME",
    ])];
    let mut states = Vec::new();
    for (names, node, longest) in alike(rollout) {
        let Counts { ok, changed, failed, skipped, unknown } = node.counts();
        let time = if node.state() == State::Skipped { "not begun".to_owned() } else { format_duration(longest) };
        let numbers = [ok, changed, failed, skipped, unknown].map(|n| n.to_string());
        let [ok, changed, failed, skipped, unknown] = &numbers;
        rows.push(row([&fold_names(&names), ok, changed, failed, skipped, unknown, &time]));
        states.push(node.state());
    }
    let mut out = String::new();
    for (at, line) in columns(&rows).lines().enumerate() {
        let state = at.checked_sub(1).and_then(|at| states.get(at));
        out += &match state {
            None | Some(State::Skipped) => style.dim(line),
            Some(State::Failed) => style.red(line),
            Some(State::Changed) => style.yellow(line),
            Some(State::Unknown) => style.cyan(line),
            Some(State::Ok) => line.to_owned(),
        };
        out.push('\n');
    }
    out += &format!("{}\n", style.bold(&sentence(name, rollout, mode, took)));
    out
}

fn sentence(name: &str, rollout: &Rollout, mode: Mode, took: Duration) -> String {
    let count = |state| rollout.count(state);
    let all = rollout.nodes.len();
    let mut parts = Vec::new();
    let changed = rollout.changed();
    if mode.check {
        parts.push(format!("{changed} of {} would change", nodes(all)));
    } else {
        parts.push(format!("{changed} of {} changed", nodes(all)));
    }
    for (state, word) in [(State::Unknown, "not known"), (State::Failed, "failed"), (State::Skipped, "not begun on")] {
        if count(state) > 0 {
            parts.push(format!("{} {word}", count(state)));
        }
    }
    let tail = if mode.check { "; nothing was changed" } else { "" };
    format!("{name}: {}{tail} ({})", parts.join(", "), format_duration(took))
}

/// Nodes as rows of the summary: each its own, or, when there are many, those with the same numbers together.
fn alike(rollout: &Rollout) -> Vec<(Vec<&str>, &NodeOutcome, Duration)> {
    let mut found: Vec<(Vec<&str>, &NodeOutcome, Duration)> = Vec::new();
    let fold = rollout.nodes.len() > ROWS;
    for node in &rollout.nodes {
        let same = |other: &NodeOutcome| other.counts() == node.counts() && other.state() == node.state();
        match found.iter_mut().find(|(_, other, _)| fold && same(other)) {
            Some((names, _, longest)) => {
                names.push(&node.node.name);
                *longest = node.took.max(*longest);
            }
            None => found.push((vec![&node.node.name], node, node.took)),
        }
    }
    found
}

/// Returns all that came of it, for programs.
pub fn document(name: &str, deploy: &Deploy, rollout: &Rollout, mode: Mode, started: Timestamp, took: Duration) -> Value {
    let states = [State::Ok, State::Changed, State::Unknown, State::Failed, State::Skipped];
    let counts: serde_json::Map<String, Value> = states.iter().map(|s| (word(*s), rollout.count(*s).into())).collect();
    json!({
        "deployment": name,
        "check": mode.check,
        "roles": deploy.roles.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        "started": started,
        "took": took.as_secs_f64(),
        "stopped": rollout.stopped,
        "counts": counts,
        "nodes": rollout.nodes.iter().map(|n| node(n, mode.diff)).collect::<Vec<_>>(),
    })
}

fn word(state: State) -> String {
    serde_json::to_value(state).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn node(outcome: &NodeOutcome, diffs: bool) -> Value {
    let counts = outcome.counts();
    let items = outcome.roles.iter().flat_map(|r| r.items.iter().map(|i| item(&r.role, i, diffs)));
    json!({
        "node": outcome.node.name,
        "group": outcome.node.group,
        "outcome": outcome.state(),
        "ok": counts.ok, "changed": counts.changed, "failed": counts.failed,
        "skipped": counts.skipped, "unknown": counts.unknown,
        "took": outcome.took.as_secs_f64(),
        "error": outcome.failure.as_ref().map(failure),
        "items": items.collect::<Vec<_>>(),
    })
}

fn failure(error: &crate::base::error::Error) -> Value {
    let details = error.details();
    json!({
        "kind": details.kind.name(),
        "message": details.message,
        "stderr": details.stderr,
        "place": details.places.first().map(ToString::to_string),
        "context": details.context,
        "hints": details.hints,
    })
}

fn item(role: &str, item: &Item, diffs: bool) -> Value {
    let (outcome, why) = match &item.outcome {
        Outcome::Ok => ("ok", None),
        Outcome::Changed => ("changed", None),
        Outcome::Unknown(why) => ("unknown", Some(why.clone())),
        Outcome::Failed(error) => ("failed", Some(error.message().to_owned())),
        Outcome::Skipped => ("skipped", None),
    };
    let mut value = json!({
        "role": role, "kind": item.kind, "name": item.name, "outcome": outcome, "what": item.what,
        "took": item.took.as_secs_f64(), "place": item.place.as_ref().map(ToString::to_string),
    });
    if let Some(map) = value.as_object_mut() {
        if let Some(why) = why {
            map.insert("why".to_owned(), why.into());
        }
        if let Some(difference) = item.diff.as_ref().filter(|_| diffs) {
            map.insert("diff".to_owned(), diff::render(difference, Style::plain()).into());
        }
    }
    value
}
