//! What came of one node.

use crate::base::error::Error;
use crate::domain::node::Node;
use crate::domain::resource::{Item, NodeReport, Outcome};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// How a node ended, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    Changed,
    /// Nothing would be changed as far as a check can know, and it cannot know all.
    Unknown,
    Failed,
    /// It was not begun on.
    Skipped,
}

/// How many resources ended how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    pub ok: usize,
    pub changed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub unknown: usize,
}

/// What came of a role on one node.
#[derive(Clone, Debug)]
pub struct RoleItems {
    pub role: String,
    pub items: Vec<Item>,
}

/// What came of one node.
#[derive(Clone, Debug)]
pub struct NodeOutcome {
    pub node: Arc<Node>,
    pub roles: Vec<RoleItems>,
    pub failure: Option<Error>,
    /// How many nodes had failed before it did.
    pub(super) failed_as: usize,
    pub took: Duration,
    /// Work on it was begun.
    pub(super) tried: bool,
}

impl NodeOutcome {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node, roles: Vec::new(), failure: None, failed_as: 0, took: Duration::ZERO, tried: false }
    }

    pub(super) fn take_in(&mut self, role: String, report: NodeReport, nth: usize) {
        self.roles.push(RoleItems { role, items: report.items });
        self.took += report.took;
        if let (None, Some(error)) = (&self.failure, report.failure) {
            self.failure = Some(error.on_node(self.node.name.as_str()));
            self.failed_as = nth;
        }
    }

    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.roles.iter().flat_map(|r| &r.items)
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for item in self.items() {
            *match item.outcome {
                Outcome::Ok => &mut counts.ok,
                Outcome::Changed => &mut counts.changed,
                Outcome::Failed(_) => &mut counts.failed,
                Outcome::Skipped => &mut counts.skipped,
                Outcome::Unknown(_) => &mut counts.unknown,
            } += 1;
        }
        // What failed need not be a resource: a command, a connection.
        if self.failure.is_some() {
            counts.failed = counts.failed.max(1);
        }
        counts
    }

    pub fn state(&self) -> State {
        let counts = self.counts();
        match () {
            () if self.failure.is_some() => State::Failed,
            () if !self.tried => State::Skipped,
            () if counts.changed > 0 => State::Changed,
            () if counts.unknown > 0 => State::Unknown,
            () => State::Ok,
        }
    }
}
