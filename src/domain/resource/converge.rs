//! Brings nodes to what is wanted of them, in few round trips.

use super::{Item, Mode, Outcome, Wanted};
use crate::base::error::Error;
use crate::domain::fleet::Fleet;
use crate::domain::node::Node;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Whose resources they are.
#[derive(Clone, Default, Debug)]
pub struct Scope {
    /// The role, under whose name handlers are remembered on the nodes.
    pub role: Option<String>,
}

/// What came of one node.
#[derive(Clone, Debug)]
pub struct NodeReport {
    pub node: Arc<Node>,
    /// One for each resource, in their order.
    pub items: Vec<Item>,
    pub took: Duration,
    /// Handlers to be run: what changed has notified them, or an earlier run did and broke before it ran them.
    pub pending: BTreeSet<String>,
    /// The first thing that went wrong: the error of an item that failed, or of something that was no resource.
    pub failure: Option<Error>,
}

impl NodeReport {
    /// How many of its resources were changed; in a check: would be.
    pub fn changed(&self) -> usize {
        self.items.iter().filter(|i| matches!(i.outcome, Outcome::Changed)).count()
    }
}

/// Brings every node to what is wanted of it, all nodes in parallel; one report a node, in the order given.
pub async fn converge(fleet: &Fleet, work: Vec<(Arc<Node>, Vec<Wanted>)>, mode: Mode, scope: &Scope) -> Vec<NodeReport> {
    let _ = (mode, scope);
    let begun = |(node, wanted): (Arc<Node>, Vec<Wanted>)| {
        let items = wanted.iter().map(Item::skipped).collect();
        let failure = Some(Error::internal("resources are not brought about yet").on_node(node.name.as_str()));
        NodeReport { node, items, took: Duration::ZERO, pending: BTreeSet::new(), failure }
    };
    fleet.cx.events.debug("converging");
    work.into_iter().map(begun).collect()
}
