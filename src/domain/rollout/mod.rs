//! Bringing roles to many nodes: in which order, how many at a time, and when to stop.

use super::node::Node;
use super::resource::Item;
use std::sync::Arc;

/// Who follows the work. A face draws it.
pub trait Watch: Send + Sync {
    /// This came of resources of a role, on these nodes.
    fn items(&self, role: &str, items: &[(Arc<Node>, Item)]);
}
