//! Roles, run: what a role's script and the functions it calls share while it is applied to nodes.

mod bake;
mod beside;
mod deploy;
mod handlers;
mod run;
mod sources;
mod test;

pub use bake::{Fresh, bake_all, check as check_bakes};
pub use beside::Call;
pub use deploy::{Deploy, How, Wish};
pub use run::{Applied, Program, Terms};
pub use sources::Folder;
pub use test::RoleTest;

use super::host::Host;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Events;
use crate::domain::fleet::Fleet;
use crate::domain::node::{Node, NodeSet};
use crate::domain::resource::{Item, Ledger};
use crate::domain::role::Role;
use crate::domain::rollout::{NodeOutcome, Rollout, Watch, fold};
use beside::Beside;
use rhai::{Map, NativeCallContext};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The role on whose behalf functions are called.
pub struct Acting {
    pub role: Arc<Role>,
    /// Where what it wants of nodes is queued.
    pub ledger: Arc<Ledger>,
    /// The functions of its `main.rhai` that `notify` may name.
    pub handlers: BTreeSet<String>,
    /// The variables, as its functions get them. Templates know them too: see `Host::template_vars`.
    pub vars: Map,
    beside: Beside,
    /// How long bringing about took so far: the nodes know their own shares of it.
    flushing: Mutex<Duration>,
    watch: Arc<dyn Watch>,
}

impl Host {
    /// The way to nodes for everything that is no resource. In a role, what it put off is brought about first, and nodes on
    /// which something failed are refused. None in a check, when the call may change something: it is noted as unknown.
    pub fn reach(&self, context: &NativeCallContext, nodes: &NodeSet, call: &Call) -> Result<Option<Fleet>> {
        let Some(acting) = self.acting() else { return Ok(Some(self.fleet())) };
        acting.flush(self)?;
        acting.refuse_gone(nodes)?;
        if call.may_change && acting.ledger.mode().check {
            acting.note_unknown(self, context, nodes, call);
            return Ok(None);
        }
        Ok(Some(self.fleet()))
    }

    /// Whether to make a call that may change something beside the nodes: files of this machine, deployments, images. Not in a
    /// check of a role, where it is noted as unknown.
    pub fn acts(&self, context: &NativeCallContext, call: &Call) -> bool {
        let Some(acting) = self.acting().filter(|a| call.may_change && a.ledger.mode().check) else { return true };
        acting.note_not_run(self, context, &acting.ledger.alive(), call);
        false
    }

    /// The same for calls that the script cannot go on without.
    pub fn must_act(&self, context: &NativeCallContext, call: &Call) -> Result<()> {
        if self.acts(context, call) {
            return Ok(());
        }
        Err(Error::new(Kind::Usage, format!("a check does not run {} {}", call.function, call.about)))
    }

    /// Who follows what roles do: whoever follows the role that calls, or else the one who listens to this run.
    pub fn watch(&self, check: bool) -> Arc<dyn Watch> {
        match self.acting() {
            Some(acting) => acting.watch.clone(),
            None => Arc::new(Notes { events: self.cx.events.clone(), check }),
        }
    }
}

/// Tells what comes of resources as notes.
struct Notes {
    events: Events,
    check: bool,
}

impl Watch for Notes {
    fn items(&self, _: &str, items: &[(Arc<Node>, Item)]) {
        for line in fold(items, false) {
            self.events.info(line.text(self.check));
        }
    }
}

impl Acting {
    /// A role was applied within this one: what came of it counts here too.
    pub(super) fn take_in(&self, rollout: &Rollout) {
        let items = |n: &NodeOutcome| n.items().map(|item| (n.node.clone(), item.clone())).collect::<Vec<_>>();
        self.beside.add(&rollout.nodes.iter().flat_map(items).collect::<Vec<_>>());
    }

    /// Brings about what was put off, and tells what came of it.
    pub(super) fn flush(&self, host: &Host) -> Result<()> {
        let begun = Instant::now();
        let done = host.block_on_to_the_end(self.ledger.flush());
        *self.flushing.lock().unwrap_or_else(PoisonError::into_inner) += begun.elapsed();
        let news = self.ledger.news();
        if !news.is_empty() {
            self.watch.items(&self.role.name, &news);
        }
        done
    }

    /// Nodes that failed take no further part in the role.
    fn refuse_gone(&self, nodes: &NodeSet) -> Result<()> {
        let failed = self.ledger.gone().names();
        let gone: Vec<&Arc<Node>> = nodes.iter().filter(|n| failed.contains(&n.name)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let of = |node: &Arc<Node>| Error::new(Kind::Command, "something failed here before").on_node(node.name.as_str());
        Err(Error::new(Kind::Command, format!("{} of {} nodes are out of the role {}", gone.len(), nodes.len(), self.role.name))
            .with_failed(gone.into_iter().map(of).collect()))
    }
}

impl std::fmt::Debug for Acting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acting").field("role", &self.role.name).finish_non_exhaustive()
    }
}
