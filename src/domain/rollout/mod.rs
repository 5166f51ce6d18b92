//! Bringing roles to many nodes: in which order, how many at a time, and when to stop.

mod amount;
mod outcome;
mod telling;

pub use amount::Amount;
pub use outcome::{Counts, NodeOutcome, RoleItems, State};
pub use telling::{Line, fold};

use super::fleet::fold_names;
use super::node::{Node, NodeSet};
use super::resource::{Item, NodeReport};
use crate::base::error::{Error, Result};
use std::sync::Arc;

/// Who follows the work. A face draws it.
pub trait Watch: Send + Sync {
    /// This came of resources of a role, on these nodes.
    fn items(&self, role: &str, items: &[(Arc<Node>, Item)]);

    /// A batch is begun.
    fn batch(&self, _batch: &Batch) {}
}

/// How fast, and how far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// So many nodes of a group at a time; none: all nodes at once.
    pub batch: Option<Amount>,
    /// More failed nodes than this, and no further batch is begun. With batches, none unless said otherwise.
    pub max_failures: Option<Amount>,
}

/// Nodes that are worked on together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    pub nodes: NodeSet,
    /// From 1.
    pub number: usize,
    pub of: usize,
}

/// What came of one batch.
#[derive(Clone, Debug, Default)]
pub struct BatchDone {
    /// By role, in the order in which they were applied.
    pub reports: Vec<(String, NodeReport)>,
    /// Something went wrong that is no node's fault, so that other nodes need not be tried.
    pub broken: Option<Error>,
    /// The work was stopped.
    pub interrupted: Option<Error>,
}

/// What came of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    /// In the order of the nodes.
    pub nodes: Vec<NodeOutcome>,
    /// Why nodes were skipped, a sentence.
    pub stopped: Option<String>,
    pub broken: Option<Error>,
    pub interrupted: Option<Error>,
}

impl Pace {
    /// Cuts nodes into batches. They keep their order, and a batch never holds nodes of two groups.
    pub fn batches(&self, nodes: &NodeSet) -> Vec<Batch> {
        let parts: Vec<NodeSet> = match self.batch {
            None => vec![nodes.clone()],
            Some(amount) => by_group(nodes)
                .into_iter()
                .flat_map(|group| {
                    let size = amount.of(group.len()).max(1);
                    (0..group.len()).step_by(size).map(|from| group.slice(from, size)).collect::<Vec<_>>()
                })
                .collect(),
        };
        let of = parts.len();
        parts.into_iter().enumerate().map(|(at, nodes)| Batch { nodes, number: at + 1, of }).collect()
    }

    /// How many failed nodes are too many to go on, of so many.
    fn limit(&self, nodes: usize) -> Option<usize> {
        match self.max_failures {
            Some(amount) => Some(amount.of(nodes)),
            None => self.batch.map(|_| 0),
        }
    }
}

fn by_group(nodes: &NodeSet) -> Vec<NodeSet> {
    nodes.groups().into_iter().map(|g| nodes.iter().filter(|n| n.group == g).cloned().collect()).collect()
}

/// Does the work batch by batch, and stops when too many nodes have failed.
pub fn roll_out(nodes: &NodeSet, pace: &Pace, mut work: impl FnMut(&Batch) -> BatchDone) -> Rollout {
    let mut rollout = Rollout {
        nodes: nodes.iter().map(|n| NodeOutcome::new(n.clone())).collect(),
        stopped: None,
        broken: None,
        interrupted: None,
    };
    let limit = pace.limit(nodes.len());
    for batch in pace.batches(nodes) {
        let done = work(&batch);
        rollout.take_in(&batch, done);
        let failed = rollout.count(State::Failed);
        if rollout.broken.is_some() || rollout.interrupted.is_some() {
            break;
        }
        if let Some(limit) = limit.filter(|limit| failed > *limit)
            && batch.number < batch.of
        {
            let allowed = if limit == 0 { "none may".to_owned() } else { format!("at most {limit} may") };
            rollout.stopped = Some(format!("{failed} of {} nodes failed, and {allowed}", nodes.len()));
            break;
        }
    }
    rollout
}

impl Rollout {
    fn take_in(&mut self, batch: &Batch, done: BatchDone) {
        for (role, report) in done.reports {
            let nth = self.nodes.iter().filter(|n| n.failure.is_some()).count();
            if let Some(node) = self.nodes.iter_mut().find(|n| n.node.name == report.node.name) {
                node.take_in(role, report, nth);
            }
        }
        for node in self.nodes.iter_mut().filter(|n| batch.nodes.iter().any(|b| b.name == n.node.name)) {
            node.tried = true;
            if let Some(broken) = &done.broken {
                node.failure.get_or_insert_with(|| broken.clone());
            }
        }
        self.broken = done.broken;
        self.interrupted = done.interrupted;
    }

    /// Nodes that are now as was wanted.
    pub fn succeeded(&self) -> NodeSet {
        let good = |n: &&NodeOutcome| self.broken.is_none() && matches!(n.state(), State::Ok | State::Changed);
        self.nodes.iter().filter(good).map(|n| n.node.clone()).collect()
    }

    /// How many nodes ended so.
    pub fn count(&self, state: State) -> usize {
        self.nodes.iter().filter(|n| n.state() == state).count()
    }

    /// Nodes on which something was changed, or would be.
    pub fn changed(&self) -> usize {
        self.nodes.iter().filter(|n| n.counts().changed > 0).count()
    }

    /// Fails when anything did: the first cause first, nodes that failed alike together.
    pub fn check(&self) -> Result<()> {
        if let Some(error) = self.interrupted.clone().or_else(|| self.broken.clone()) {
            return Err(error);
        }
        let mut failed: Vec<&NodeOutcome> = self.nodes.iter().filter(|n| n.failure.is_some()).collect();
        failed.sort_by_key(|n| n.failed_as);
        let failed: Vec<Error> = failed.into_iter().filter_map(|n| n.failure.clone()).collect();
        let skipped: Vec<&str> =
            self.nodes.iter().filter(|n| n.state() == State::Skipped).map(|n| n.node.name.as_str()).collect();
        let Some(first) = failed.first() else { return Ok(()) };
        let mut error = if let [_] = self.nodes.as_slice() {
            first.clone()
        } else {
            let error = Error::new(first.kind(), format!("{} of {} nodes failed", failed.len(), self.nodes.len()));
            // What was being done is said once, where it was the same for all.
            let story = first.details().context.iter();
            let shared = story.filter(|line| failed.iter().all(|e| e.details().context.contains(line)));
            shared.cloned().collect::<Vec<_>>().into_iter().fold(error, Error::context).with_failed(failed)
        };
        if let Some(stopped) = &self.stopped {
            error = error.hint(format!("Not begun on {}: {stopped}.", fold_names(&skipped)));
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests;
