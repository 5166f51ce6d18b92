//! Why an operation on a stack failed: the first cause first, what followed from it folded into a line.

use super::advice;
use crate::base::error::{Error, Kind, Location};
use crate::domain::formation::Template;
use crate::transport::provider::aws::stack::StackEvent;
use crate::transport::provider::aws::stack::events::NESTED;
use std::collections::BTreeSet;

/// How many causes or names a line of advice shows.
const SHOWN: usize = 5;

/// Something that failed by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// The logical ID; in a nested stack with the way down to it: `Network/Subnet`.
    pub name: String,
    /// `AWS::EC2::Subnet`
    pub kind: String,
    pub physical_id: Option<String>,
    /// `CREATE_FAILED`
    pub status: String,
    /// AWS's words, without request IDs.
    pub reason: String,
    /// Where it stands in a formation; for something in a nested stack, where that stack does.
    pub place: Option<Location>,
}

/// A failure, taken apart.
#[derive(Clone, Default, Debug)]
pub struct Failure {
    pub stack: String,
    /// Each failed by itself, in the order of time.
    pub causes: Vec<Cause>,
    /// Resources that were given up because of those.
    pub followers: Vec<String>,
    /// What then could not be rolled back.
    pub rollback: Vec<Cause>,
}

/// Returns the failure as one error. `events` are those of one operation, of nested stacks too, in any order.
pub fn failure(events: &[StackEvent], template: Option<&Template>) -> Error {
    take_apart(events, template).error()
}

/// Takes the events of one operation apart.
pub fn take_apart(events: &[StackEvent], template: Option<&Template>) -> Failure {
    let events = in_order(events);
    let Some(root) = root(&events) else { return Failure::default() };
    let stack = events.iter().find(|e| e.stack_id == root).map(|e| e.stack.clone()).unwrap_or_default();
    let turned = events.iter().position(|e| e.is_of_stack() && e.stack_id == root && e.status.ends_with("ROLLBACK_IN_PROGRESS"));
    let mut failure = Failure { stack, ..Failure::default() };
    let mut seen = BTreeSet::new();
    for (i, event) in events.iter().enumerate() {
        if !event.is_failure() || event.is_of_stack() {
            continue;
        }
        let back = turned.is_some_and(|turn| i > turn);
        if !seen.insert((&event.stack_id, &event.logical_id, back)) {
            continue;
        }
        let name = way(&events, event, root);
        if follows(event, &events) {
            if event.kind != NESTED && !back {
                failure.followers.push(name);
            }
            continue;
        }
        let cause = cause(event, name, template);
        if back { failure.rollback.push(cause) } else { failure.causes.push(cause) }
    }
    if failure.causes.is_empty() && failure.rollback.is_empty() {
        failure.causes.extend(of_stack(&events, root));
    }
    failure
}

/// The oldest first. AWS gives the newest first, and several the same time.
fn in_order(events: &[StackEvent]) -> Vec<&StackEvent> {
    let mut sorted: Vec<&StackEvent> = events.iter().collect();
    if let (Some(first), Some(last)) = (sorted.first(), sorted.last())
        && first.at > last.at
    {
        sorted.reverse();
    }
    sorted.sort_by_key(|e| e.at);
    sorted
}

/// The stack that is in no other.
fn root<'a>(events: &[&'a StackEvent]) -> Option<&'a str> {
    let nested = |id: &str| events.iter().any(|e| !e.is_of_stack() && e.kind == NESTED && e.physical_id.as_deref() == Some(id));
    events.iter().map(|e| e.stack_id.as_str()).find(|id| !nested(id))
}

/// Whether it only failed because something else did.
fn follows(event: &StackEvent, events: &[&StackEvent]) -> bool {
    const WORDS: [&str; 4] = [
        "Resource creation cancelled",
        "Resource update cancelled",
        "Resource deletion cancelled",
        "The following resource(s) failed",
    ];
    let reason = event.reason.as_deref().unwrap_or_default();
    let inside = |e: &&StackEvent| e.is_failure() && !e.is_of_stack() && Some(&e.stack_id) == event.physical_id.as_ref();
    WORDS.iter().any(|w| reason.starts_with(w)) || (event.kind == NESTED && events.iter().any(inside))
}

/// `Network/Subnet`: the nested stacks on the way down.
fn way(events: &[&StackEvent], event: &StackEvent, root: &str) -> String {
    const DEEPEST: usize = 16;
    let mut names = vec![event.logical_id.as_str()];
    let mut stack = event.stack_id.as_str();
    while stack != root && names.len() < DEEPEST {
        let holds = |e: &&&StackEvent| !e.is_of_stack() && e.kind == NESTED && e.physical_id.as_deref() == Some(stack);
        let Some(holder) = events.iter().find(holds) else { break };
        names.push(&holder.logical_id);
        stack = &holder.stack_id;
    }
    names.reverse();
    names.join("/")
}

fn cause(event: &StackEvent, name: String, template: Option<&Template>) -> Cause {
    let top = name.split('/').next().unwrap_or_default();
    let reason = event.reason.as_deref().map_or_else(|| "AWS gives no reason".to_owned(), advice::plain);
    Cause {
        place: template.and_then(|t| t.resource(top)).map(|r| r.place.location()),
        kind: event.kind.clone(),
        physical_id: event.physical_id.clone(),
        status: event.status.clone(),
        reason,
        name,
    }
}

/// No resource failed: what the stack itself says. An export that another stack uses is such a case; the status then goes back
/// to what it was.
fn of_stack(events: &[&StackEvent], root: &str) -> Option<Cause> {
    const NEWS: [&str; 3] = ["User Initiated", "Transformation succeeded", "The following resource(s) failed"];
    let told = |e: &&&StackEvent| {
        e.is_of_stack() && e.stack_id == root && e.reason.as_deref().is_some_and(|r| !NEWS.iter().any(|n| r.starts_with(n)))
    };
    let event = events.iter().find(told).or_else(|| events.iter().rev().find(|e| e.is_of_stack() && e.stack_id == root))?;
    Some(cause(event, event.logical_id.clone(), None))
}

/// What was being done to it.
fn deed(status: &str) -> &'static str {
    let known =
        [("CREATE", "made"), ("UPDATE", "changed"), ("DELETE", "deleted"), ("IMPORT", "imported"), ("ROLLBACK", "rolled back")];
    known.iter().find(|(begin, _)| status.starts_with(begin)).map_or("worked on", |(_, deed)| deed)
}

impl Failure {
    /// Says it to the user.
    pub fn error(&self) -> Error {
        let Some(first) = self.causes.first().or_else(|| self.rollback.first()) else {
            return Error::new(Kind::Provider, format!("stack {} failed, and its events do not say why", self.stack))
                .hint("Look at its events in the CloudFormation console; AWS keeps them for 90 days.");
        };
        let message = if first.kind == NESTED && first.name == self.stack {
            format!("stack {} could not be {}: {}", self.stack, deed(&first.status), first.reason)
        } else {
            format!("stack {}: {} could not be {}: {}", self.stack, named(first), deed(&first.status), first.reason)
        };
        let mut error = Error::new(Kind::Provider, message);
        if let Some(place) = &first.place {
            error = error.at(place.clone());
        }
        for advice in advice::on(first) {
            error = error.hint(advice);
        }
        let rest = self.causes.iter().skip(1);
        for cause in rest.clone().take(SHOWN) {
            error = error.hint(format!("Failed by itself, too: {}{}: {}", named(cause), at(cause), cause.reason));
        }
        error = error
            .hint_if(rest.len().checked_sub(SHOWN).filter(|n| *n > 0).map(|n| format!("And {n} more failed by themselves.")));
        error = error.hint_if(folded(&self.followers));
        if !self.causes.is_empty() {
            for cause in self.rollback.iter().take(SHOWN) {
                error = error.hint(format!("Then {} could not be rolled back{}: {}", named(cause), at(cause), cause.reason));
            }
        }
        if !self.rollback.is_empty() {
            let names: Vec<&str> = self.rollback.iter().map(|c| c.name.as_str()).collect();
            error = error
                .hint(format!("Mend what kept {} from being rolled back, or skip it by name, and continue.", listed(&names)));
        }
        error
    }
}

/// `Database (AWS::RDS::DBInstance)`
fn named(cause: &Cause) -> String {
    format!("{} ({})", cause.name, cause.kind)
}

fn at(cause: &Cause) -> String {
    cause.place.as_ref().map(|p| format!(" ({}:{})", p.file, p.line)).unwrap_or_default()
}

fn folded(followers: &[String]) -> Option<String> {
    let names: Vec<&str> = followers.iter().map(String::as_str).collect();
    match followers.len() {
        0 => None,
        1 => Some(format!("{} was given up because of that.", listed(&names))),
        n => Some(format!("{n} more resources were given up because of that: {}", listed(&names))),
    }
}

/// `A, B, C and 4 more`
fn listed(names: &[&str]) -> String {
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ")),
    }
}
