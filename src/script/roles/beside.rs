//! Calls that a check does not make, because nobody can say what they would change.

use super::Acting;
use crate::base::error::Location;
use crate::domain::node::{Node, NodeSet};
use crate::domain::resource::{Item, Outcome};
use crate::script::Host;
use rhai::NativeCallContext;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longer commands are cut in reports.
const SHOWN: usize = 60;

/// A call that reaches nodes and is no resource.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function: `sh`, `put`.
    pub function: &'static str,
    /// What it is about: the command, the path.
    pub about: String,
    /// Whether it may change something on the node.
    pub may_change: bool,
    /// Why a check does not make it.
    why: &'static str,
}

impl Call {
    /// It only looks.
    pub fn reads(function: &'static str) -> Self {
        Self { function, about: String::new(), may_change: false, why: "" }
    }

    /// It may change something.
    pub fn changes(function: &'static str, about: impl Into<String>) -> Self {
        Self { function, about: about.into(), may_change: true, why: "a check does not run it" }
    }

    /// It waits for what a check does not bring about.
    pub fn waits(function: &'static str, about: impl Into<String>) -> Self {
        Self { why: "a check does not wait", ..Self::changes(function, about) }
    }
}

/// What is reported beside the resources of the ledger, by node: what a check did not do, and roles within the role.
#[derive(Default)]
pub(super) struct Beside(Mutex<Vec<(Arc<Node>, Item)>>);

impl Beside {
    pub(super) fn of(&self, node: &Node) -> Vec<Item> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(n, _)| n.name == node.name).map(|(_, item)| item.clone()).collect()
    }

    /// Whether there is something that a check does not know.
    pub(super) fn is_unknown(&self) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|(_, item)| matches!(item.outcome, Outcome::Unknown(_)))
    }

    pub(super) fn add(&self, items: &[(Arc<Node>, Item)]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(items);
    }
}

impl Acting {
    pub(super) fn note_unknown(&self, host: &Host, context: &NativeCallContext, nodes: &NodeSet, call: &Call) {
        self.note_not_run(host, context, nodes, call);
        self.foresee_anything(nodes, &format!("{} {}", call.function, shortened(&call.about)));
    }

    /// Notes a call that does nothing to the nodes themselves.
    pub(super) fn note_not_run(&self, host: &Host, context: &NativeCallContext, nodes: &NodeSet, call: &Call) {
        let place = host.sources().locate(context.call_source().unwrap_or_default(), context.call_position());
        self.note(nodes, call.function, &shortened(&call.about), call.why, Some(&place));
    }

    /// Notes something that a check cannot know, on all these nodes, and tells it.
    pub(super) fn note(&self, nodes: &NodeSet, kind: &'static str, name: &str, why: &str, place: Option<&Location>) {
        self.tell(nodes, &item(kind, name, Outcome::Unknown(why.to_owned()), place));
    }

    /// Notes that a handler of the role's own has run; in a check, that it would.
    pub(super) fn note_handler(&self, nodes: &NodeSet, name: &str) {
        self.tell(nodes, &Item { what: vec!["run".to_owned()], ..item("handler", name, Outcome::Changed, None) });
        if self.ledger.mode().check {
            self.foresee_anything(nodes, &format!("handler {name}"));
        }
    }

    fn foresee_anything(&self, nodes: &NodeSet, what: &str) {
        let why = format!("{what} would be run first");
        nodes.iter().for_each(|node| self.ledger.foresight().anything(&node.name, &why));
    }

    fn tell(&self, nodes: &NodeSet, item: &Item) {
        let items: Vec<(Arc<Node>, Item)> = nodes.iter().map(|node| (node.clone(), item.clone())).collect();
        self.beside.add(&items);
        self.watch.items(&self.role.name, &items);
    }
}

fn item(kind: &'static str, name: &str, outcome: Outcome, place: Option<&Location>) -> Item {
    let (what, notify) = (Vec::new(), Vec::new());
    Item { kind, name: name.to_owned(), outcome, what, diff: None, notify, place: place.cloned(), took: Duration::ZERO }
}

fn shortened(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let cut = line.len() < text.trim().len() || line.chars().count() > SHOWN;
    if cut { format!("{}…", line.chars().take(SHOWN).collect::<String>()) } else { line.to_owned() }
}
