//! What a check has foreseen of each node: a role goes on where the one before it would have left off.

use super::{Known, Touch};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What would happen on a node.
#[derive(Clone, Debug)]
pub struct Foreseen {
    /// Why what it touches is in doubt: "file /etc/motd would be changed first".
    pub why: Arc<str>,
    pub touches: Vec<Touch>,
    /// What is certain to be so afterwards.
    pub leaves: Known,
}

/// What would happen on all nodes in the course of one check, in order.
#[derive(Default, Debug)]
pub struct Foresight(Mutex<HashMap<String, Vec<Foreseen>>>);

impl Foresight {
    pub(super) fn add(&self, node: &str, foreseen: Foreseen) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(node.to_owned()).or_default().push(foreseen);
    }

    /// Something would be run on a node that may change anything there.
    pub fn anything(&self, node: &str, why: &str) {
        self.add(node, Foreseen { why: why.into(), touches: vec![Touch::Everything], leaves: Known::default() });
    }

    pub(super) fn of(&self, node: &str) -> Vec<Foreseen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned().unwrap_or_default()
    }
}
