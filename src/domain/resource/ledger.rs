//! What a role, or one call of a script, wants of its nodes: queued by node, brought about together, reported.

use super::converge::{NodeReport, Scope, converge, forget};
use super::{Foresight, Item, Mode, Outcome, Wanted};
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
    scope: Scope,
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
    entries: Vec<Entry>,
    /// How many of the entries `news` has handed out.
    told: usize,
    /// What came of the resources before the run was begun again.
    earlier: Vec<Item>,
    took: Duration,
    pending: BTreeSet<String>,
    failure: Option<Error>,
}

/// What came of one resource, with the number of its ticket.
struct Entry {
    ticket: u64,
    item: Item,
    /// It had been asked for before the run was begun again, and was told then.
    again: bool,
}

/// Says which of a ledger's items came of one `add`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(u64);

impl Ledger {
    /// An empty ledger for these nodes. With a `role`, changes that notify handlers are noted on the nodes before they are
    /// made, under that name.
    pub fn new(fleet: Fleet, nodes: &NodeSet, mode: Mode, scope: Scope) -> Self {
        let mut book = Book::default();
        for node in nodes.iter() {
            book.page(node);
        }
        Self { fleet, mode, scope, book: Mutex::new(book), turn: tokio::sync::Mutex::default() }
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What this check, and others that it is part of, foresee.
    pub fn foresight(&self) -> &Arc<Foresight> {
        &self.scope.foresight
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
                page.take_in(numbers, wanted.iter().map(Item::skipped));
            } else if !wanted.is_empty() {
                tickets.insert(page.node.name.clone(), numbers);
                work.push((page.node.clone(), wanted));
            }
        }
        if work.is_empty() {
            return self.fleet.cx.cancel.check();
        }
        let reports = converge(&self.fleet, work, self.mode, &self.scope).await;
        let mut book = self.book();
        for report in reports {
            let numbers = tickets.remove(&report.node.name).unwrap_or_default();
            let page = book.page(&report.node);
            page.failure = page.failure.take().or(report.failure);
            page.take_in(numbers, report.items);
            page.took += report.took;
            page.pending.extend(report.pending);
        }
        self.fleet.cx.cancel.check()
    }

    /// What came of the resources of one `add`, in the ledger's order of nodes. Empty before they are flushed.
    pub fn items(&self, ticket: Ticket) -> Vec<(Arc<Node>, Item)> {
        let of = |p: &Page| -> Vec<(Arc<Node>, Item)> {
            p.entries.iter().filter(|e| e.ticket == ticket.0).map(|e| (p.node.clone(), e.item.clone())).collect()
        };
        self.book().pages.iter().flat_map(of).collect()
    }

    /// The script that queues is run anew, for the nodes that are left: what comes of a resource that it asked for before
    /// counts once, and as changed when it was changed then.
    pub fn begin_again(&self) {
        for page in &mut self.book().pages {
            page.queue.clear();
            page.earlier.extend(page.entries.drain(..).map(|e| e.item));
            page.told = 0;
        }
    }

    /// What came of resources since this was last asked, in the ledger's order of nodes.
    pub fn news(&self) -> Vec<(Arc<Node>, Item)> {
        let of = |p: &mut Page| -> Vec<(Arc<Node>, Item)> {
            let told = std::mem::replace(&mut p.told, p.entries.len());
            let fresh = p.entries.iter().skip(told).filter(|e| !e.again);
            fresh.map(|e| (p.node.clone(), e.item.clone())).collect()
        };
        self.book().pages.iter_mut().flat_map(of).collect()
    }

    /// The nodes on which nothing has failed.
    pub fn alive(&self) -> NodeSet {
        self.book().pages.iter().filter(|p| p.failure.is_none()).map(|p| p.node.clone()).collect()
    }

    /// The nodes on which something has failed.
    pub fn gone(&self) -> NodeSet {
        self.book().pages.iter().filter(|p| p.failure.is_some()).map(|p| p.node.clone()).collect()
    }

    /// Takes a node out because of something that is no resource. The first failure of a node is the one that counts.
    pub fn fail(&self, node: &Arc<Node>, error: Error) {
        self.book().page(node).failure.get_or_insert(error);
    }

    /// What came of everything so far, one report a node.
    pub fn reports(&self) -> Vec<NodeReport> {
        let report = |p: &Page| NodeReport {
            node: p.node.clone(),
            items: p.earlier.iter().chain(p.entries.iter().map(|e| &e.item)).cloned().collect(),
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
        if let Some(role) = self.scope.role.as_ref().filter(|_| !self.mode.check && !handlers.is_empty()) {
            forget(&self.fleet, nodes, role, handlers).await?;
        }
        let mut book = self.book();
        for node in nodes.iter() {
            book.page(node).pending.retain(|p| !handlers.contains(&p.as_str()));
        }
        Ok(())
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
        Self {
            node,
            queue: Vec::new(),
            entries: Vec::new(),
            told: 0,
            earlier: Vec::new(),
            took: Duration::ZERO,
            pending: BTreeSet::new(),
            failure: None,
        }
    }

    fn take_in(&mut self, tickets: Vec<u64>, items: impl IntoIterator<Item = Item>) {
        for (ticket, mut item) in tickets.into_iter().zip(items) {
            let same = |e: &Item| e.kind == item.kind && e.name == item.name && e.place == item.place;
            let before = self.earlier.iter().position(same).map(|at| self.earlier.remove(at));
            let again = match before {
                Some(before) if matches!((&before.outcome, &item.outcome), (Outcome::Changed, Outcome::Ok)) => {
                    item = before;
                    true
                }
                Some(_) => matches!(item.outcome, Outcome::Ok | Outcome::Skipped),
                None => false,
            };
            self.entries.push(Entry { ticket, item, again });
        }
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
        f.debug_struct("Ledger").field("role", &self.scope.role).field("mode", &self.mode).finish_non_exhaustive()
    }
}
