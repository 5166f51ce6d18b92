//! The events of one operation: read once each, in their order, from the stack and those within it.

use super::follow::Watch;
use super::{StackEvent, Status};
use crate::base::error::{Error, Result};
use crate::base::event::{Cx, Event, Level, Progress};
use crate::base::units::roughly;
use crate::transport::provider::aws::Client;
use crate::transport::provider::aws::stack::events::{self, NESTED};
use crate::transport::provider::aws::stack::problems;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Names of what is waited for that fit into a line.
const SHOWN: usize = 3;
/// Reasons that say no more than the status does.
const IDLE: [&str; 3] = ["Resource creation Initiated", "User Initiated", "Transformation succeeded"];

/// Where AWS keeps what did not pass its checks; the name is part of the reason it gives.
const CHECKS: &str = "DescribeEvents";

/// The status a stack rests in, when the event says that it does.
pub fn rest(event: &StackEvent) -> Option<Status> {
    let status = Status::from_name(&event.status).filter(|_| event.is_of_stack())?;
    (!status.is_working()).then_some(status)
}

/// All that was read of an operation.
pub struct Story {
    pub events: Vec<StackEvent>,
    feeds: Vec<Feed>,
    /// What was last heard of each resource.
    last: BTreeMap<Thing, Last>,
    done: BTreeSet<Thing>,
    /// Still to be told.
    lines: Vec<(Timestamp, Level, String)>,
    told_done: usize,
}

/// The ID of a stack, and a logical ID in it.
type Thing = (String, String);

struct Last {
    /// With the nested stacks it is in.
    name: String,
    kind: String,
    status: String,
    /// When this status, or the work on it, began.
    since: Timestamp,
    working: bool,
}

impl Story {
    pub fn new(watch: &Watch) -> Self {
        let root = Feed { since: watch.since.clone(), token: watch.token.clone(), ..Feed::new(&watch.id) };
        Self {
            events: Vec::new(),
            feeds: vec![root],
            last: BTreeMap::new(),
            done: BTreeSet::new(),
            lines: Vec::new(),
            told_done: 0,
        }
    }

    /// The status in which the stack rests, by its events.
    pub fn rest(&self) -> Option<Status> {
        self.feeds.first().and_then(|f| f.rest)
    }

    /// Reads what is new, of the stack and of those within it.
    pub async fn read(&mut self, client: &Client, cx: &Cx) -> Result<()> {
        let mut at = 0;
        while let Some(feed) = self.feeds.get_mut(at) {
            at += 1;
            let over = feed.parent.as_ref().is_some_and(|p| self.last.get(p).is_none_or(|l| !l.working));
            if over && feed.rest.is_some() {
                continue;
            }
            let new = feed.read(client, cx).await?;
            let (stack, path) = (feed.stack.clone(), feed.path.clone());
            for event in new {
                self.take(event, &stack, &path);
            }
        }
        Ok(())
    }

    fn take(&mut self, event: StackEvent, stack: &str, path: &str) {
        let thing = (stack.to_owned(), event.logical_id.clone());
        let name = format!("{path}{}", event.logical_id);
        let before = self.last.get(&thing);
        let again = before.is_some_and(|l| l.status == event.status);
        self.lines.push((event.at, level(&event, again), line(&event, &name)));
        if !event.is_of_stack() {
            let working = event.is_working();
            let since = before.filter(|l| l.working).map_or(event.at, |l| l.since);
            let inner = event.physical_id.as_ref().filter(|id| event.kind == NESTED && id.starts_with("arn:"));
            if let Some(inner) = inner.filter(|id| self.feeds.iter().all(|f| f.stack != **id)) {
                self.feeds.push(Feed {
                    path: format!("{name}/"),
                    parent: Some(thing.clone()),
                    not_before: Some(since),
                    ..Feed::new(inner)
                });
            }
            if event.status.ends_with("_COMPLETE") {
                self.done.insert(thing.clone());
            }
            let last = Last { name, kind: event.kind.clone(), status: event.status.clone(), since, working };
            self.last.insert(thing, last);
        }
        self.events.push(event);
    }

    /// A stack that did not pass AWS's checks says no more than that: what was wrong is asked for, and told as its failures.
    pub async fn add_problems(&mut self, client: &Client, cx: &Cx) {
        let refused =
            |e: &&StackEvent| e.is_of_stack() && e.is_failure() && e.reason.as_ref().is_some_and(|r| r.contains(CHECKS));
        let Some(refused) = self.events.iter().find(refused).cloned() else { return };
        let begin = self.events.iter().map(|e| e.at).min().unwrap_or_default();
        match problems::of(client, &refused.stack_id, None, cx).await {
            Ok(found) => {
                for problem in found.into_iter().filter(|p| p.at >= begin) {
                    let event = StackEvent {
                        id: problem.id.clone(),
                        at: problem.at,
                        logical_id: problem.logical_id.clone(),
                        physical_id: None,
                        kind: problem.kind.clone(),
                        reason: Some(problem.reason()),
                        ..refused.clone()
                    };
                    self.take(event, &refused.stack_id, "");
                }
            }
            Err(trouble) => {
                cx.events.debug(format!("what did not pass AWS's checks is not known: {}", Error::from(trouble)));
            }
        }
    }

    /// Tells what was read and not told yet.
    pub fn tell(&mut self, progress: &Progress, cx: &Cx) {
        // What happened within came later into our hands than what it is part of.
        self.lines.sort_by_key(|(at, ..)| *at);
        for (_, level, text) in self.lines.drain(..) {
            cx.events.send(Event::Note { level, text });
        }
        let more = self.done.len() - self.told_done;
        self.told_done += more;
        if more > 0 {
            progress.advance(more as u64);
        }
    }

    /// `, waiting for Database (12 m), Cache (3 m)`; nothing when there is nothing to name.
    pub fn waiting(&self) -> String {
        let mut working: Vec<&Last> = self.last.values().filter(|l| l.working).collect();
        // A nested stack waits for what is in it.
        if working.iter().any(|l| l.kind != NESTED) {
            working.retain(|l| l.kind != NESTED);
        }
        working.sort_by_key(|l| l.since);
        let now = Timestamp::now();
        let shown = working.iter().take(SHOWN).map(|l| {
            let age = Duration::try_from(now.duration_since(l.since)).unwrap_or_default();
            format!("{} ({})", l.name, roughly(age))
        });
        let mut words: Vec<String> = shown.collect();
        if working.len() > SHOWN {
            words.push(format!("{} more", working.len() - SHOWN));
        }
        if words.is_empty() { String::new() } else { format!(", waiting for {}", words.join(", ")) }
    }
}

/// Said once is enough, and failures must not be overlooked.
fn level(event: &StackEvent, again: bool) -> Level {
    match event.reason.as_deref() {
        _ if event.is_failure() => Level::Warn,
        None => {
            if again {
                Level::Debug
            } else {
                Level::Info
            }
        }
        Some(reason) => {
            if again && IDLE.contains(&reason) {
                Level::Debug
            } else {
                Level::Info
            }
        }
    }
}

/// `12:00:03 CREATE_FAILED Database (AWS::RDS::DBInstance): no such subnet`
fn line(event: &StackEvent, name: &str) -> String {
    let time = event.at.strftime("%H:%M:%S");
    let kind = if event.is_of_stack() { "the stack" } else { &event.kind };
    let reason = event.reason.as_ref().filter(|r| !IDLE.contains(&r.as_str())).map(|r| format!(": {r}")).unwrap_or_default();
    format!("{time} {} {name} ({kind}){reason}", event.status)
}

/// The events of one stack.
struct Feed {
    stack: String,
    /// What stands before the names of its resources: `Data/`.
    path: String,
    /// The resource that it is of the stack it is in.
    parent: Option<Thing>,
    seen: BTreeSet<String>,
    /// This one and older ones are of something else.
    since: Option<String>,
    not_before: Option<Timestamp>,
    token: Option<String>,
    operation: Option<String>,
    rest: Option<Status>,
}

impl Feed {
    fn new(stack: &str) -> Self {
        Self {
            stack: stack.to_owned(),
            path: String::new(),
            parent: None,
            seen: BTreeSet::new(),
            since: None,
            not_before: None,
            token: None,
            operation: None,
            rest: None,
        }
    }

    /// Returns what is new, oldest first.
    async fn read(&mut self, client: &Client, cx: &Cx) -> Result<Vec<StackEvent>> {
        let mut new: Vec<StackEvent> = Vec::new();
        let mut next = None;
        loop {
            let page = events::page(client, &self.stack, next, cx).await?;
            next = page.next;
            if self.sift(page.events, &mut new) || next.is_none() {
                break;
            }
        }
        new.reverse();
        self.seen.extend(new.iter().map(|e| e.id.clone()));
        new.retain(|event| self.is_ours(event));
        for event in new.iter().filter(|e| e.is_of_stack()) {
            self.rest = rest(event);
        }
        Ok(new)
    }

    /// Takes what is new of a page. Returns whether older pages hold nothing new.
    fn sift(&self, page: Vec<StackEvent>, new: &mut Vec<StackEvent>) -> bool {
        let mut known = false;
        for event in page {
            if self.since.as_ref() == Some(&event.id) || self.not_before.is_some_and(|t| event.at < t) {
                return true;
            }
            // Events come late, behind newer ones; and a page shows again what moved down from the one before.
            if self.seen.contains(&event.id) {
                known = true;
            } else if new.iter().all(|n| n.id != event.id) {
                new.push(event);
            }
        }
        known
    }

    /// Of the call, when the events say which call they are of; else of the same operation. The first one tells which that is,
    /// where it is not known.
    fn is_ours(&mut self, event: &StackEvent) -> bool {
        if let Some(token) = &event.token {
            return self.token.get_or_insert_with(|| token.clone()) == token;
        }
        match &event.operation {
            Some(operation) => self.operation.get_or_insert_with(|| operation.clone()) == operation,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, logical: &str, status: &str) -> StackEvent {
        let of_stack = logical == "shop";
        StackEvent {
            id: id.to_owned(),
            at: "2026-11-21T12:00:03Z".parse().unwrap(),
            stack: "shop".to_owned(),
            stack_id: "arn:shop".to_owned(),
            logical_id: logical.to_owned(),
            physical_id: of_stack.then(|| "arn:shop".to_owned()),
            kind: if of_stack { NESTED } else { "AWS::RDS::DBInstance" }.to_owned(),
            status: status.to_owned(),
            reason: None,
            token: None,
            operation: None,
        }
    }

    #[test]
    fn pages_are_read_back_to_what_is_known() {
        let mut feed = Feed { since: Some("1".to_owned()), ..Feed::new("arn:shop") };
        feed.seen.insert("3".to_owned());
        let page = |ids: &[&str]| ids.iter().map(|id| event(id, "A", "X")).collect();
        let mut new = Vec::new();
        assert!(!feed.sift(page(&["7", "6"]), &mut new));
        assert!(feed.sift(page(&["6", "5", "3", "4"]), &mut new), "6 moved down, 4 came late");
        let ids: Vec<&str> = new.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(ids, ["7", "6", "5", "4"]);
        assert!(feed.sift(page(&["2", "1", "0"]), &mut new));
        assert!(new.iter().all(|e| e.id != "1" && e.id != "0"));
    }

    #[test]
    fn events_of_other_calls_are_left_out() {
        let with = |token: Option<&str>, operation: Option<&str>| StackEvent {
            token: token.map(str::to_owned),
            operation: operation.map(str::to_owned),
            ..event("1", "A", "X")
        };
        let mut feed = Feed { token: Some("ours".to_owned()), ..Feed::new("") };
        assert!(feed.is_ours(&with(Some("ours"), None)) && !feed.is_ours(&with(Some("theirs"), None)));
        assert!(feed.is_ours(&with(None, None)));
        let mut joined = Feed::new("");
        assert!(joined.is_ours(&with(None, Some("op"))) && !joined.is_ours(&with(None, Some("another"))));
        assert!(joined.is_ours(&with(Some("a"), None)) && !joined.is_ours(&with(Some("b"), None)));
    }

    #[test]
    fn what_is_waited_for_is_named_and_said_once() {
        let watch = Watch { id: "arn:shop".to_owned(), token: None, since: None, total: 0, joined: false };
        let mut story = Story::new(&watch);
        story.take(event("1", "shop", "CREATE_IN_PROGRESS"), "arn:shop", "");
        assert_eq!(story.waiting(), "");
        story.take(event("2", "Database", "CREATE_IN_PROGRESS"), "arn:shop", "");
        let initiated = Some("Resource creation Initiated".to_owned());
        story.take(StackEvent { reason: initiated, ..event("3", "Database", "CREATE_IN_PROGRESS") }, "arn:shop", "");
        assert!(story.waiting().starts_with(", waiting for Database ("), "{}", story.waiting());
        let why = Some("no such subnet".to_owned());
        story.take(StackEvent { reason: why, ..event("4", "Database", "CREATE_FAILED") }, "arn:shop", "Data/");
        assert_eq!(story.waiting(), "");
        let levels: Vec<Level> = story.lines.iter().map(|(_, level, _)| *level).collect();
        assert_eq!(levels, [Level::Info, Level::Info, Level::Debug, Level::Warn]);
        assert_eq!(story.lines[3].2, "12:00:03 CREATE_FAILED Data/Database (AWS::RDS::DBInstance): no such subnet");
        assert_eq!(story.lines[0].2, "12:00:03 CREATE_IN_PROGRESS shop (the stack)");
        assert_eq!(story.events.len(), 4);
    }
}
