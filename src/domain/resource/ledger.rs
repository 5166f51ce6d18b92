//! What a role, or one call of a script, wants of its nodes: queued by node, brought about together, reported.

use super::converge::{NodeReport, Scope, converge};
use super::{Item, Mode, Outcome, Wanted};
use crate::base::error::{Error, Result};
use crate::domain::fleet::Fleet;
use crate::domain::node::{Node, NodeSet};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue of resources for each node, and what came of those that were flushed.
///
/// A node on which something failed is out: what is still queued for it, or added later, is skipped.
pub struct Ledger {
    fleet: Fleet,
    mode: Mode,
    role: Option<String>,
    book: Mutex<Book>,
    /// Held while a flush is under way: resources of a node are brought about in the order in which they were added.
    turn: tokio::sync::Mutex<()>,
}

/// A page for each node, in the order in which nodes came in.
#[derive(Default)]
struct Book {
    pages: Vec<Page>,
    at: HashMap<String, usize>,
    tickets: u64,
}

/// What the ledger has of one node.
struct Page {
    node: Arc<Node>,
    queue: Vec<(u64, Wanted)>,
    /// Each with the number of its ticket.
    items: Vec<(u64, Item)>,
    took: Duration,
    pending: BTreeSet<String>,
    failure: Option<Error>,
}

/// Says which of a ledger's items came of one `add`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(u64);

impl Ledger {
    /// An empty ledger for these nodes. With a `role`, changes that notify handlers are noted on the nodes before they are
    /// made, under that name.
    pub fn new(fleet: Fleet, nodes: &NodeSet, mode: Mode, role: Option<String>) -> Self {
        let mut book = Book::default();
        for node in nodes.iter() {
            book.page(node);
        }
        Self { fleet, mode, role, book: Mutex::new(book), turn: tokio::sync::Mutex::default() }
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Queues resources, each for its node, in this order. Nodes that the ledger does not know yet are taken in.
    pub fn add(&self, wanted: impl IntoIterator<Item = (Arc<Node>, Wanted)>) -> Ticket {
        let mut book = self.book();
        let ticket = book.tickets;
        book.tickets += 1;
        for (node, wanted) in wanted {
            book.page(&node).queue.push((ticket, wanted));
        }
        Ticket(ticket)
    }

    /// Whether nothing is queued.
    pub fn is_flushed(&self) -> bool {
        self.book().pages.iter().all(|p| p.queue.is_empty())
    }

    /// Brings about all that is queued, on all nodes in parallel. A failure is an item's, and takes its node out;
    /// an error here means that the work was interrupted.
    pub async fn flush(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let mut tickets: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut work = Vec::new();
        for page in &mut self.book().pages {
            let (numbers, wanted): (Vec<u64>, Vec<Wanted>) = page.queue.drain(..).unzip();
            if page.failure.is_some() {
                page.items.extend(numbers.into_iter().zip(wanted.iter().map(Item::skipped)));
            } else if !wanted.is_empty() {
                tickets.insert(page.node.name.clone(), numbers);
                work.push((page.node.clone(), wanted));
            }
        }
        if work.is_empty() {
            return self.fleet.cx.cancel.check();
        }
        let scope = Scope { role: self.role.clone() };
        let reports = converge(&self.fleet, work, self.mode, &scope).await;
        let mut book = self.book();
        for report in reports {
            let numbers = tickets.remove(&report.node.name).unwrap_or_default();
            let page = book.page(&report.node);
            page.failure = page.failure.take().or(report.failure);
            page.items.extend(numbers.into_iter().zip(report.items));
            page.took += report.took;
            page.pending.extend(report.pending);
        }
        self.fleet.cx.cancel.check()
    }

    /// What came of the resources of one `add`, in the ledger's order of nodes. Empty before they are flushed.
    pub fn items(&self, ticket: Ticket) -> Vec<(Arc<Node>, Item)> {
        let of = |p: &Page| -> Vec<(Arc<Node>, Item)> {
            p.items.iter().filter(|(t, _)| *t == ticket.0).map(|(_, item)| (p.node.clone(), item.clone())).collect()
        };
        self.book().pages.iter().flat_map(of).collect()
    }

    /// The nodes on which nothing has failed.
    pub fn alive(&self) -> NodeSet {
        self.book().pages.iter().filter(|p| p.failure.is_none()).map(|p| p.node.clone()).collect()
    }

    /// Takes a node out because of something that is no resource. The first failure of a node is the one that counts.
    pub fn fail(&self, node: &Arc<Node>, error: Error) {
        self.book().page(node).failure.get_or_insert(error);
    }

    /// What came of everything so far, one report a node.
    pub fn reports(&self) -> Vec<NodeReport> {
        let report = |p: &Page| NodeReport {
            node: p.node.clone(),
            items: p.items.iter().map(|(_, item)| item.clone()).collect(),
            took: p.took,
            pending: p.pending.clone(),
            failure: p.failure.clone(),
        };
        self.book().pages.iter().map(report).collect()
    }

    /// The handlers that are to be run, each with its nodes: of this run, and of earlier ones that broke before theirs.
    /// Nodes that are out are not among them: they remember, for a later run. In a check: the handlers that would be run.
    pub fn pending(&self) -> BTreeMap<String, NodeSet> {
        let mut handlers: BTreeMap<String, Vec<Arc<Node>>> = BTreeMap::new();
        for page in self.book().pages.iter().filter(|p| p.failure.is_none()) {
            for handler in &page.pending {
                handlers.entry(handler.clone()).or_default().push(page.node.clone());
            }
        }
        handlers.into_iter().map(|(handler, nodes)| (handler, nodes.into_iter().collect())).collect()
    }

    /// These handlers have run on these nodes: they are no longer pending there. One round trip.
    pub async fn clear(&self, handlers: &[&str], nodes: &NodeSet) -> Result<()> {
        let _ = handlers;
        for node in nodes.iter() {
            self.book().page(node).pending.retain(|p| !handlers.contains(&p.as_str()));
        }
        self.fleet.cx.cancel.check()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// The page of a node, begun where there is none.
    fn page(&mut self, node: &Arc<Node>) -> &mut Page {
        let at = *self.at.entry(node.name.clone()).or_insert_with(|| {
            self.pages.push(Page::new(node.clone()));
            self.pages.len() - 1
        });
        &mut self.pages[at]
    }
}

impl Page {
    fn new(node: Arc<Node>) -> Self {
        Self { node, queue: Vec::new(), items: Vec::new(), took: Duration::ZERO, pending: BTreeSet::new(), failure: None }
    }
}

impl Item {
    /// Of something that was not looked at.
    pub fn skipped(wanted: &Wanted) -> Self {
        Self {
            kind: wanted.resource.kind(),
            name: wanted.resource.name(),
            outcome: Outcome::Skipped,
            what: Vec::new(),
            diff: None,
            notify: wanted.notify.clone(),
            place: wanted.place.clone(),
            took: Duration::ZERO,
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("role", &self.role).field("mode", &self.mode).finish_non_exhaustive()
    }
}
