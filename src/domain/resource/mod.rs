//! Things on a node that should be so: what has to be known of the node, what would have to change, and how.
//!
//! Reading and changing are apart. A resource names the facts it needs; the facts of all resources are read together, in
//! one round trip a node; `decide` compares, and touches nothing; what is to be changed is a piece of shell, run in order
//! with the others in as few round trips as their dependencies allow (`converge`).

mod answer;
mod converge;
mod exchange;
mod fact;
mod failure;
mod foresight;
mod hearing;
pub mod kinds;
mod ledger;
mod program;
mod read;
#[cfg(test)]
mod tests;
mod touch;
mod view;

pub use converge::{NodeReport, Scope, converge};
pub use fact::{Fact, Known, PathKind, PathState, UnitState, UserState};
pub use foresight::Foresight;
pub use ledger::{Ledger, Ticket};

use crate::base::error::{Error, Location, Result};
use serde::Serialize;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// One thing on a node that should be so: a file with this content, a package, a running service. Knows no node and no SSH.
pub trait Resource: Debug + Send + Sync {
    /// The script function that asked for it: `file`, `packages`, `service`.
    fn kind(&self) -> &'static str;

    /// What reports call it: a path, the name of a unit.
    fn name(&self) -> String;

    /// What has to be known before it can be decided.
    fn needs(&self) -> Vec<Fact>;

    /// Compares what is with what should be. Pure.
    fn decide(&self, known: &Known) -> Result<Verdict>;

    /// What its `Test` and `Output` facts look at: they are read again when one of these was touched.
    fn looks_at(&self) -> Vec<Touch> {
        vec![Touch::Everything]
    }
}

/// What comes of comparing.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is as it should be.
    Right,
    /// This would make it so.
    Change(Change),
    /// It cannot be made so as things stand, a sentence's end that says why: "there is no unit nginx.service".
    /// An error, unless something before it is still to be changed that may bring what is missing: then it is not known.
    Blocked(String),
}

/// What is to be done on a node, and what people are told of it.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What differs, each a few words: "created", "content", "mode 0644 → 0600".
    pub what: Vec<String>,
    pub diff: Option<Diff>,
    /// POSIX shell, run as root with `set -eu` in a subshell of its own, given on stdin: secrets may stand in it, and are
    /// never in a process list. It replaces a file whole or not at all.
    ///
    /// Where it knows better than the tools what went wrong, it says so on stderr before it fails: a line `opsrun: …` is the
    /// error's message, each line `opsrun-hint: …` a hint; the other lines are its stderr. A line `opsrun-note: …` is told
    /// to people at once: for whom it waits, for one.
    pub script: String,
    /// Content too large for a script, carried over before it: the file `$UPLOAD_<number>` of this resource.
    pub uploads: Vec<Arc<[u8]>>,
    /// What may be different afterwards: facts of these are read again before they are used.
    pub touches: Vec<Touch>,
    /// What is certain to be so afterwards: of touched facts, those in here need not be read again, and a check goes on with
    /// them: a file in a directory that is still to be made is no unknown.
    pub leaves: Box<Known>,
    /// It only waits or looks: nothing is counted as changed.
    pub passive: bool,
    pub timeout: Option<Duration>,
}

/// The content of a file before and after. `None`: no such file. Never shown where it is secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diff {
    pub path: String,
    pub before: Option<Vec<u8>>,
    pub after: Option<Vec<u8>>,
    /// The content must not be shown.
    pub secret: bool,
}

/// What a change may reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Touch {
    /// Anything: a package, a command.
    Everything,
    /// This path alone.
    Path(String),
    /// This path and all beneath it.
    Tree(String),
    Unit(String),
    User(String),
    Group(String),
    Sysctl(String),
}

/// A resource as a script asked for it.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub resource: Arc<dyn Resource>,
    /// Handlers to be run at the end of the role where this changed.
    pub notify: Vec<String>,
    /// Where the script asked for it.
    pub place: Option<Location>,
}

/// What came of one resource on one node.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: &'static str,
    pub name: String,
    pub outcome: Outcome,
    /// What differed: as `Change::what`.
    pub what: Vec<String>,
    pub diff: Option<Diff>,
    pub notify: Vec<String>,
    pub place: Option<Location>,
    pub took: Duration,
}

/// How it went. In a check, `Changed` means it would be changed.
#[derive(Clone, Debug)]
pub enum Outcome {
    Ok,
    Changed,
    /// A check cannot know, for this reason.
    Unknown(String),
    Failed(Error),
    /// Something before it failed on this node.
    Skipped,
}

/// Whether to change anything, and what to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Mode {
    /// Change nothing; say what would be changed.
    pub check: bool,
    /// Read the content of files that differ, to show how.
    pub diff: bool,
}
