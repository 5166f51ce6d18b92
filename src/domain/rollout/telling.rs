//! What came of resources as lines for people: the same on many nodes is one line.

use crate::domain::fleet::fold_names;
use crate::domain::node::Node;
use crate::domain::resource::{Item, Outcome};
use std::sync::Arc;

/// What items are of that say that a handler was run: it does something, and makes nothing other than it was.
const HANDLER: &str = "handler";

/// The same outcome of the same resource, on some nodes.
#[derive(Clone, Debug)]
pub struct Line {
    pub nodes: Vec<String>,
    pub item: Item,
}

/// Folds outcomes that read alike. What is as it should be, or was skipped, is left out. `diffs`: they are shown too, so that
/// different ones are not alike.
pub fn fold(items: &[(Arc<Node>, Item)], diffs: bool) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (node, item) in items.iter().filter(|(_, item)| !matches!(item.outcome, Outcome::Ok | Outcome::Skipped)) {
        match lines.iter_mut().find(|line| same(&line.item, item) && (!diffs || line.item.diff == item.diff)) {
            Some(line) => line.nodes.push(node.name.clone()),
            None => lines.push(Line { nodes: vec![node.name.clone()], item: item.clone() }),
        }
    }
    lines
}

fn same(a: &Item, b: &Item) -> bool {
    let outcome = match (&a.outcome, &b.outcome) {
        (Outcome::Changed, Outcome::Changed) => true,
        (Outcome::Unknown(a), Outcome::Unknown(b)) => a == b,
        (Outcome::Failed(a), Outcome::Failed(b)) => a.message() == b.message(),
        _ => false,
    };
    outcome && a.kind == b.kind && a.name == b.name && a.what == b.what && a.place == b.place
}

impl Line {
    /// `server-[0-7]`
    pub fn nodes(&self) -> String {
        fold_names(&self.nodes.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// `template /etc/nginx/nginx.conf`
    pub fn resource(&self) -> String {
        if self.item.name.is_empty() { self.item.kind.to_owned() } else { format!("{} {}", self.item.kind, self.item.name) }
    }

    /// `changed: content`; in a check `would change: content`.
    pub fn outcome(&self, check: bool) -> String {
        let what = self.item.what.join(", ");
        if self.item.kind == HANDLER && matches!(self.item.outcome, Outcome::Changed) {
            return if check { "would be run".to_owned() } else { what };
        }
        let verb = match &self.item.outcome {
            Outcome::Changed if check => "would change",
            Outcome::Changed => "changed",
            Outcome::Unknown(why) => return format!("unknown: {why}"),
            Outcome::Failed(error) => return format!("failed: {}", error.message()),
            Outcome::Ok | Outcome::Skipped => return String::new(),
        };
        if what.is_empty() { verb.to_owned() } else { format!("{verb}: {what}") }
    }

    /// All of it on one line.
    pub fn text(&self, check: bool) -> String {
        format!("{}  {}  {}", self.nodes(), self.resource(), self.outcome(check))
    }
}
