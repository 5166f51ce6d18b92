//! Brings nodes to what is wanted of them, in few round trips.
//!
//! A node that is right costs one: all its facts are read together. Changes are gathered, in order, until a resource looks at
//! something that one of them touches; then they are made, and in the same exchange what is in doubt is read again.

use super::answer::Answer;
use super::exchange::{Ending, Exchange, OverSsh, exchange};
use super::foresight::{Foreseen, Foresight};
use super::hearing::{Announced, Hearing};
use super::program::{Program, handler_of};
use super::read::Reading;
use super::view::{Doubt, View};
use super::{Change, Item, Mode, Outcome, Verdict, Wanted, failure};
use crate::base::error::{Error, Result, ResultExt};
use crate::base::event::{Cx, Progress, Unit};
use crate::domain::fleet::Fleet;
use crate::domain::node::{Node, NodeSet};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Changes of one exchange are no more shell than this, uploads aside: the node's shell has all of it in memory.
const LARGEST_PROGRAM: usize = 4 << 20;

/// Whose resources they are.
#[derive(Clone, Default, Debug)]
pub struct Scope {
    /// The role, under whose name handlers are remembered on the nodes.
    pub role: Option<String>,
    /// What a check foresees, and has foreseen before.
    pub foresight: Arc<Foresight>,
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
/// On a node, the first failure ends it: what comes after is skipped. When the work is interrupted, what was under way fails
/// with that.
pub async fn converge(fleet: &Fleet, work: Vec<(Arc<Node>, Vec<Wanted>)>, mode: Mode, scope: &Scope) -> Vec<NodeReport> {
    let label = scope.role.as_ref().map_or_else(|| "resources".to_owned(), |role| format!("role {role}"));
    let progress = Arc::new(fleet.cx.events.progress(label, work.len() as u64, Unit::Items));
    let nodes: NodeSet = work.iter().map(|(node, _)| node.clone()).collect();
    let wanted: HashMap<String, Arc<[Wanted]>> = work.into_iter().map(|(node, list)| (node.name.clone(), list.into())).collect();
    let of = |node: &Node| wanted.get(&node.name).cloned().unwrap_or_default();
    let done = fleet.each(&nodes, |fleet, node| {
        let (wanted, scope, progress) = (of(&node), scope.clone(), progress.clone());
        async move {
            let over = OverSsh { client: fleet.client.clone(), node: node.clone() };
            let site = Site { over: &over, node: &node, mode, scope: &scope, cx: &fleet.cx, progress: &progress };
            let report = bring(&site, &wanted).await;
            progress.advance(1);
            Ok(report)
        }
    });
    let report =
        |(result, node): (Result<NodeReport>, &Arc<Node>)| result.unwrap_or_else(|error| unstarted(node, &of(node), error));
    done.await.into_iter().zip(nodes.iter()).map(report).collect()
}

fn unstarted(node: &Arc<Node>, wanted: &[Wanted], error: Error) -> NodeReport {
    let items = wanted.iter().map(Item::skipped).collect();
    NodeReport { node: node.clone(), items, took: Duration::ZERO, pending: BTreeSet::new(), failure: Some(error) }
}

/// Forgets handlers that have run on a node.
pub(super) async fn forget(fleet: &Fleet, nodes: &NodeSet, role: &str, handlers: &[&str]) -> Result<()> {
    let handlers: Arc<[String]> = handlers.iter().map(|handler| (*handler).to_owned()).collect();
    let done = fleet.all(nodes, |fleet, node| {
        let (role, handlers) = (role.to_owned(), handlers.clone());
        async move {
            let mut program = Program::new();
            program.forget(&role, &handlers);
            let progress = Arc::new(fleet.cx.events.progress("", 1, Unit::Items));
            let mut hearing = Hearing::new(&node.name, &program.nonce, &fleet.cx.events, progress, BTreeMap::new());
            let over = OverSsh { client: fleet.client.clone(), node };
            let ending = exchange(&over, &program, &mut hearing, &fleet.cx).await?;
            match ending {
                Ending::Exit(exit) if !Answer::new(&hearing.answer, &program.nonce).is_whole() => {
                    Err(failure::unfinished(&exit, hearing.said(None)))
                }
                _ => Ok(()),
            }
        }
    });
    done.await.map(drop).context(|| format!("noting that the handlers of role {role} have run"))
}

/// A node, and how it is worked on.
pub(super) struct Site<'a> {
    pub over: &'a dyn Exchange,
    pub node: &'a Arc<Node>,
    pub mode: Mode,
    pub scope: &'a Scope,
    pub cx: &'a Cx,
    pub progress: &'a Arc<Progress>,
}

/// Brings one node to what is wanted of it.
pub(super) async fn bring(site: &Site<'_>, wanted: &[Wanted]) -> NodeReport {
    let begun = Instant::now();
    let mut course = Course {
        site,
        wanted,
        view: View::new(wanted),
        batch: Vec::new(),
        items: wanted.iter().map(Item::skipped).collect(),
        pending: BTreeSet::new(),
    };
    let failure = course.run().await.err().map(|(at, error)| course.fail(at, error));
    NodeReport { node: site.node.clone(), items: course.items, took: begun.elapsed(), pending: course.pending, failure }
}

/// The resource at which a node's course ended, and why.
type Stop = (usize, Error);

/// One node on its way.
struct Course<'a> {
    site: &'a Site<'a>,
    wanted: &'a [Wanted],
    view: View,
    /// Changes that are decided and not yet made.
    batch: Vec<(usize, Change)>,
    /// What came of each resource: skipped, unless told otherwise.
    items: Vec<Item>,
    pending: BTreeSet<String>,
}

impl Course<'_> {
    async fn run(&mut self) -> Result<(), Stop> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let facts = self.view.facts();
        if self.site.mode.check {
            let foreseen = self.site.scope.foresight.of(&self.site.node.name);
            // What would be made is not there to be read.
            let facts = facts.into_iter().filter(|fact| !foreseen.iter().any(|f| f.leaves.has(fact))).collect();
            self.exchange(0, facts).await?;
            for change in &foreseen {
                self.view.plan(change);
            }
        } else {
            self.exchange(0, facts).await?;
        }
        for at in 0..self.wanted.len() {
            if self.site.mode.check {
                self.foresee(at)?;
            } else {
                self.advance(at).await?;
            }
        }
        self.make(self.wanted.len()).await
    }

    /// Decides a resource, once all that it looks at is known for certain.
    async fn advance(&mut self, at: usize) -> Result<(), Stop> {
        let size: usize = self.batch.iter().map(|(_, change)| change.script.len()).sum();
        if self.view.doubt(at).is_some() || size > LARGEST_PROGRAM {
            self.make(at).await?;
        }
        loop {
            match self.decide(at) {
                Ok(Verdict::Right) => self.settle(at, Outcome::Ok, None),
                Ok(Verdict::Change(change)) => {
                    self.view.plan(&self.foreseen(at, &change));
                    self.batch.push((at, change));
                }
                Ok(Verdict::Blocked(why)) if self.batch.is_empty() => {
                    return Err((at, failure::blocked(&self.wanted[at], &why, &self.view.known)));
                }
                // What is still to be done may bring what is missing, whether it said so or not.
                Ok(Verdict::Blocked(_)) => {
                    let why = self.would_change(at);
                    self.view.doubt_needs_of(at, &why);
                    self.make(at).await?;
                    continue;
                }
                Err(error) => {
                    self.make(self.wanted.len()).await?;
                    return Err((at, error));
                }
            }
            return Ok(());
        }
    }

    /// Decides a resource as things stand and as changes before it would leave them, and changes nothing.
    fn foresee(&mut self, at: usize) -> Result<(), Stop> {
        let doubt = self.view.doubt(at);
        let unknown = |doubt: Doubt| Outcome::Unknown(doubt.why.to_string());
        match (self.decide(at).map_err(|error| (at, error))?, doubt) {
            (Verdict::Blocked(why), None) => return Err((at, failure::blocked(&self.wanted[at], &why, &self.view.known))),
            (Verdict::Blocked(_), Some(doubt)) => self.settle(at, unknown(doubt), None),
            (Verdict::Right, Some(doubt)) if doubt.certain => self.settle(at, unknown(doubt), None),
            (Verdict::Right, _) => self.settle(at, Outcome::Ok, None),
            (Verdict::Change(change), doubt) => {
                let foreseen = self.foreseen(at, &change);
                self.view.plan(&foreseen);
                self.site.scope.foresight.add(&self.site.node.name, foreseen);
                let outcome = match doubt.filter(|doubt| doubt.certain) {
                    Some(doubt) => unknown(doubt),
                    None if change.passive => Outcome::Unknown("it would be waited for".to_owned()),
                    None => Outcome::Changed,
                };
                self.settle(at, outcome, Some((change, Duration::ZERO)));
            }
        }
        Ok(())
    }

    fn would_change(&self, at: usize) -> Arc<str> {
        format!("{} would be changed first", failure::label(&self.wanted[at])).into()
    }

    fn foreseen(&self, at: usize, change: &Change) -> Foreseen {
        Foreseen { why: self.would_change(at), touches: change.touches.clone(), leaves: *change.leaves.clone() }
    }

    fn decide(&self, at: usize) -> Result<Verdict> {
        let wanted = &self.wanted[at];
        wanted.resource.decide(&self.view.known).map_err(|error| error.context(failure::label(wanted)))
    }

    fn settle(&mut self, at: usize, outcome: Outcome, change: Option<(Change, Duration)>) {
        let item = &mut self.items[at];
        if matches!(outcome, Outcome::Changed) {
            self.pending.extend(item.notify.iter().cloned());
        }
        item.outcome = outcome;
        if let Some((change, took)) = change {
            (item.what, item.diff, item.took) = (change.what, change.diff, took);
        }
    }

    /// What comes after the first failure is skipped, whatever had been decided about it.
    fn fail(&mut self, at: usize, error: Error) -> Error {
        let mut error = error.on_node(self.site.node.name.as_str());
        let Some(item) = self.items.get_mut(at) else { return error };
        if let Some(place) = item.place.clone().filter(|_| !error.is_cancelled()) {
            error = error.at(place);
        }
        item.outcome = Outcome::Failed(error.clone());
        for (item, wanted) in self.items.iter_mut().zip(self.wanted).skip(at + 1) {
            *item = Item::skipped(wanted);
        }
        error
    }

    /// Makes the changes of the batch, and reads again what resources from `next` on need.
    async fn make(&mut self, next: usize) -> Result<(), Stop> {
        let doubtful = self.view.doubtful_from(next);
        if self.batch.is_empty() && doubtful.is_empty() {
            return Ok(());
        }
        self.exchange(next, doubtful).await
    }

    /// One round trip: the batch, then these facts, which resources from `next` on need.
    async fn exchange(&mut self, next: usize, facts: BTreeSet<super::Fact>) -> Result<(), Stop> {
        let Site { over, node, mode, scope, cx, progress } = *self.site;
        let role = scope.role.as_deref();
        let batch = std::mem::take(&mut self.batch);
        let reading = Reading::new(&facts, mode.diff);
        let mut program = Program::new();
        for (at, change) in &batch {
            program.change(*at, change, role, &self.items[*at].notify);
        }
        if next < self.wanted.len() {
            program.read(&reading, role);
        }
        let announce = |(at, change): &(usize, Change)| {
            (*at, Announced { label: failure::label(&self.wanted[*at]), timeout: change.timeout })
        };
        let changes = batch.iter().map(announce).collect();
        let mut hearing = Hearing::new(&node.name, &program.nonce, &cx.events, progress.clone(), changes);
        let ending = exchange(over, &program, &mut hearing, cx).await;
        for (at, change) in batch {
            let code = hearing.ended.get(&at).map(|ended| ended.code);
            if code == Some(0) {
                let outcome = if change.passive { Outcome::Ok } else { Outcome::Changed };
                let took = hearing.ended.get(&at).map_or(Duration::ZERO, |ended| ended.took);
                self.settle(at, outcome, Some((change, took)));
                continue;
            }
            let wanted = &self.wanted[at];
            let begun = code.is_some() || hearing.running() == Some(at);
            let said = hearing.said(if begun { Some(at) } else { None });
            let error = match (ending, code) {
                (Ok(Ending::TimedOut), _) => failure::timed_out(wanted, change.timeout.unwrap_or_default(), said),
                (Err(error), None) if begun => failure::cut(wanted, error, said),
                (Err(error), None) => error,
                // What was interrupted ends badly, too.
                (Err(error), Some(_)) if error.is_cancelled() => error,
                (_, Some(code)) => failure::failed(wanted, code, said),
                (Ok(Ending::Exit(exit)), None) => failure::unfinished(&exit, said),
            };
            // It may have been done in part.
            (self.items[at].what, self.items[at].diff) = (change.what, change.diff);
            return Err((at, error));
        }
        if next >= self.wanted.len() {
            return Ok(());
        }
        let said = hearing.said(None);
        let answer = Answer::new(&hearing.answer, &program.nonce);
        let known = match ending {
            Err(error) => Err(error),
            Ok(_) if hearing.too_long => Err(failure::too_long()),
            Ok(_) if answer.is_whole() => answer.known(&reading),
            Ok(Ending::Exit(exit)) => Err(failure::unfinished(&exit, said)),
            Ok(Ending::TimedOut) => Err(Error::internal("a reading ran out of time, and has none")),
        };
        let remembered = answer.lines(&["pending"]);
        self.pending.extend(remembered.iter().map(|file| handler_of(file)));
        self.view.learn(&facts, known.map_err(|error| (next, error))?);
        Ok(())
    }
}
