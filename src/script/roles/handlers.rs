//! The handlers of a role: run once, at its end, on the nodes where something changed or an earlier run broke before them.

use super::run::Work;
use crate::base::error::{Error, Result};
use crate::domain::node::NodeSet;
use crate::domain::resource::Wanted;
use crate::domain::role::handler::{self, Handler, UnitAction};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Handlers that have run, with the nodes they ran on.
type Ran = Vec<(String, NodeSet)>;

impl Work<'_> {
    /// Runs what was notified, each handler once, in the order of first notice. Returns an error that is none of a node.
    pub fn handlers(&self) -> Result<Option<Error>> {
        let mut ran = Ran::new();
        let broken = self.run_handlers(&mut ran)?;
        self.forget(ran)?;
        Ok(broken)
    }

    fn run_handlers(&self, ran: &mut Ran) -> Result<Option<Error>> {
        let ledger = &self.acting.ledger;
        let mut seen: BTreeSet<String> = BTreeSet::new();
        loop {
            let pending = ledger.pending();
            let left = pending.keys().filter(|h| !seen.contains(*h)).cloned().collect();
            let Some(name) = handler::in_order(left, &ledger.reports()).into_iter().next() else { break };
            let what = Handler::parse(&name);
            let mut nodes = pending.get(&name).cloned().unwrap_or_default();
            if let Some(restarted) = what.superseded_by().and_then(|h| pending.get(&h).cloned()) {
                // Their restart does for both.
                ran.push((name.clone(), nodes.clone()));
                nodes = nodes.without(&restarted);
            }
            seen.insert(name.clone());
            if nodes.is_empty() {
                continue;
            }
            if ledger.mode().check {
                self.acting.note_handler(&nodes, &name);
            } else if let Some(broken) = self.handle(&what, &nodes)? {
                return Ok(Some(broken));
            }
            ran.push((name, nodes));
        }
        self.acting.flush(&self.host)?;
        Ok(None)
    }

    fn handle(&self, what: &Handler, nodes: &NodeSet) -> Result<Option<Error>> {
        let (unit, restart) = match what {
            Handler::Restart(unit) => (unit, true),
            Handler::Reload(unit) => (unit, false),
            Handler::Function(name) => return self.function(name, nodes),
        };
        let action = Arc::new(UnitAction::new(unit, restart)?);
        let wanted = |resource| Wanted { resource, notify: Vec::new(), place: None };
        self.acting.ledger.add(nodes.iter().map(|node| (node.clone(), wanted(action.clone()))));
        Ok(None)
    }

    fn function(&self, name: &str, nodes: &NodeSet) -> Result<Option<Error>> {
        let role = &self.program.role.name;
        if !self.acting.handlers.contains(name) {
            // Of an earlier run: the role was another one then.
            let what = "was left to be run by an earlier deploy, and the role has no such function any more";
            self.host.cx.events.warn(format!("handler {name} of role {role} {what}: it is forgotten"));
            return Ok(None);
        }
        self.acting.flush(&self.host)?;
        let broken = self.call(name, nodes)?;
        self.acting.note_handler(&nodes.without(&self.acting.ledger.gone()), name);
        Ok(broken)
    }

    /// The nodes need not remember any longer what has run: those with the same handlers in one round trip.
    fn forget(&self, ran: Ran) -> Result<()> {
        let ledger = &self.acting.ledger;
        let gone = ledger.gone();
        let mut done: Vec<(NodeSet, Vec<String>)> = Vec::new();
        for (handler, nodes) in ran {
            let nodes = nodes.without(&gone);
            match done.iter_mut().find(|(others, _)| *others == nodes) {
                Some((_, handlers)) => handlers.push(handler),
                None => done.push((nodes, vec![handler])),
            }
        }
        for (nodes, handlers) in done.iter().filter(|(nodes, _)| !nodes.is_empty() && !ledger.mode().check) {
            let handlers: Vec<&str> = handlers.iter().map(String::as_str).collect();
            self.host.block_on_to_the_end(ledger.clear(&handlers, nodes))?;
        }
        Ok(())
    }
}
