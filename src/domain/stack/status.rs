//! The 23 statuses a stack can be in, and what each verb does there.
//!
//! A stack that does not exist counts as `DELETE_COMPLETE`: that is what AWS calls one that is gone.

use crate::base::error::{Error, Kind};
use crate::transport::provider::aws::stack::Status as S;

/// What is asked of an environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Verb {
    Commission,
    Update,
    Plan,
    Deploy,
    Status,
    Decommission,
}

impl Verb {
    pub const ALL: [Self; 6] = [Self::Commission, Self::Update, Self::Plan, Self::Deploy, Self::Status, Self::Decommission];

    pub fn name(self) -> &'static str {
        match self {
            Self::Commission => "commission",
            Self::Update => "update",
            Self::Plan => "plan",
            Self::Deploy => "deploy",
            Self::Status => "status",
            Self::Decommission => "decommission",
        }
    }
}

/// How the operation that is under way is meant to end. None: nothing is under way.
/// Whoever joined it and sees another end has seen it fail.
pub fn goal(status: S) -> Option<S> {
    match status {
        S::CreateInProgress => Some(S::CreateComplete),
        S::RollbackInProgress => Some(S::RollbackComplete),
        S::UpdateInProgress | S::UpdateCompleteCleanupInProgress => Some(S::UpdateComplete),
        S::UpdateRollbackInProgress | S::UpdateRollbackCompleteCleanupInProgress => Some(S::UpdateRollbackComplete),
        S::DeleteInProgress => Some(S::DeleteComplete),
        S::ImportInProgress => Some(S::ImportComplete),
        S::ImportRollbackInProgress => Some(S::ImportRollbackComplete),
        _ => None,
    }
}

/// What a verb does with a stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// There is none: it is made, through a change set of its own.
    Make,
    /// Only its name is there, waiting for a change set: a new one takes the place of what an earlier run left.
    Review,
    /// It is changed through a change set.
    Change,
    /// What is under way is followed to its end, then the stack is looked at again. Another end than its `goal` is a failure.
    Join,
    /// It never was whole: what is left of it is deleted, then it is made anew. `ask`: something of it may still be there.
    MakeAnew { ask: bool },
    /// AWS makes no change set in this status: what would be made is shown from the template alone.
    FromTemplate,
    /// It stopped half way and kept what it had: go on with an update, or go back.
    UpdateOrRollBack,
    /// It could not be rolled back: go on rolling back, skipping resources by name.
    ContinueRollback,
    /// Its machines are worked on.
    Deploy,
    /// It is shown as it is.
    Show,
    /// It is deleted.
    Delete,
    /// Its deletion got stuck: why is said, then it is deleted again, retaining resources by name.
    DeleteRetaining,
    /// There is none: only what may be left of it is looked for.
    Gone,
    /// Not in this status.
    Refuse(Refusal),
}

/// Why a verb does nothing in a status, and which one would.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub why: &'static str,
    pub instead: Verb,
}

const fn refuse(why: &'static str, instead: Verb) -> Step {
    Step::Refuse(Refusal { why, instead })
}

const NONE: Step = refuse("there is no such stack", Verb::Commission);
const EMPTY: Step = refuse("nothing of it was made yet", Verb::Commission);
const NEVER_WHOLE: Step = refuse("it could not be made, and what it had was taken back", Verb::Commission);
const LEFT_BEHIND: Step = refuse("it could not be made, and a part of what it had is still there", Verb::Commission);
const HALF_MADE: Step = refuse("only a part of it was made", Verb::Commission);
const HALF_CHANGED: Step = refuse("its last update stopped half way", Verb::Update);
const STUCK: Step = refuse("its last update failed and could not be taken back", Verb::Update);
const HALF_DELETED: Step = refuse("a part of it is deleted", Verb::Decommission);
const IMPORT: Step = refuse("an import into it failed and could not be taken back, which opsrun did not begin", Verb::Status);

/// Returns what the verb does with a stack in this status.
pub fn step(verb: Verb, status: S) -> Step {
    match verb {
        Verb::Commission | Verb::Update => build(verb, status),
        Verb::Plan => plan(status),
        Verb::Deploy => deploy(status),
        Verb::Status => Step::Show,
        Verb::Decommission => remove(status),
    }
}

fn build(verb: Verb, status: S) -> Step {
    match status {
        S::DeleteComplete if verb == Verb::Update => NONE,
        S::DeleteComplete => Step::Make,
        S::ReviewInProgress => Step::Review,
        S::RollbackComplete => Step::MakeAnew { ask: false },
        S::RollbackFailed => Step::MakeAnew { ask: true },
        S::CreateFailed | S::UpdateFailed => Step::UpdateOrRollBack,
        S::UpdateRollbackFailed => Step::ContinueRollback,
        S::DeleteFailed => HALF_DELETED,
        S::ImportRollbackFailed => IMPORT,
        S::CreateComplete | S::UpdateComplete | S::UpdateRollbackComplete | S::ImportComplete | S::ImportRollbackComplete => {
            Step::Change
        }
        S::CreateInProgress
        | S::RollbackInProgress
        | S::UpdateInProgress
        | S::UpdateCompleteCleanupInProgress
        | S::UpdateRollbackInProgress
        | S::UpdateRollbackCompleteCleanupInProgress
        | S::DeleteInProgress
        | S::ImportInProgress
        | S::ImportRollbackInProgress => Step::Join,
    }
}

/// As `commission`, with nothing done about the stack before.
fn plan(status: S) -> Step {
    match build(Verb::Commission, status) {
        Step::MakeAnew { .. } => Step::FromTemplate,
        Step::UpdateOrRollBack => Step::Change,
        Step::ContinueRollback => STUCK,
        same => same,
    }
}

fn deploy(status: S) -> Step {
    match (build(Verb::Update, status), status) {
        (Step::Change, _) => Step::Deploy,
        (Step::Review, _) => EMPTY,
        (Step::MakeAnew { ask: false }, _) => NEVER_WHOLE,
        (Step::MakeAnew { ask: true }, _) => LEFT_BEHIND,
        (Step::UpdateOrRollBack, S::CreateFailed) => HALF_MADE,
        (Step::UpdateOrRollBack, _) => HALF_CHANGED,
        (Step::ContinueRollback, _) => STUCK,
        (same, _) => same,
    }
}

fn remove(status: S) -> Step {
    match status {
        S::DeleteComplete => Step::Gone,
        S::DeleteFailed => Step::DeleteRetaining,
        // AWS breaks a creation off for a deletion, and nothing else.
        S::CreateInProgress => Step::Delete,
        other if other.is_working() => Step::Join,
        _ => Step::Delete,
    }
}

impl Step {
    /// What scripts call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Review => "review",
            Self::Change => "change",
            Self::Join => "join",
            Self::MakeAnew { ask: false } => "make_anew",
            Self::MakeAnew { ask: true } => "ask_make_anew",
            Self::FromTemplate => "from_template",
            Self::UpdateOrRollBack => "update_or_roll_back",
            Self::ContinueRollback => "continue_rollback",
            Self::Deploy => "deploy",
            Self::Show => "show",
            Self::Delete => "delete",
            Self::DeleteRetaining => "delete_retaining",
            Self::Gone => "gone",
            Self::Refuse(_) => "refuse",
        }
    }

    /// For the table of the documentation.
    fn words(self) -> String {
        match self {
            Self::Make => "makes it".to_owned(),
            Self::Review => "makes it, with a new change set".to_owned(),
            Self::Change => "makes a change set".to_owned(),
            Self::Join => "waits for its end, looks again".to_owned(),
            Self::MakeAnew { ask: false } => "deletes it and makes it anew".to_owned(),
            Self::MakeAnew { ask: true } => "asks, then deletes it and makes it anew".to_owned(),
            Self::FromTemplate => "shows what would be made, from the template alone".to_owned(),
            Self::UpdateOrRollBack => "asks: go on with an update, or roll back".to_owned(),
            Self::ContinueRollback => "asks: continue the rollback, skipping resources by name; never deletes".to_owned(),
            Self::Deploy => "deploys".to_owned(),
            Self::Show => "shows it".to_owned(),
            Self::Delete => "deletes it".to_owned(),
            Self::DeleteRetaining => "explains, then deletes again, retaining resources by name".to_owned(),
            Self::Gone => "looks for what is left".to_owned(),
            Self::Refuse(refusal) => format!("refuses: {}; `{}`", refusal.why, refusal.instead.name()),
        }
    }
}

impl Refusal {
    /// Says it to the user.
    pub fn error(self, verb: Verb, stack: &str, status: S, environment: &str) -> Error {
        let Self { why, instead } = self;
        let error = match status {
            S::DeleteComplete => Error::new(Kind::NotFound, format!("there is no stack {stack} to {}", verb.name())),
            _ => Error::new(Kind::Provider, format!("cannot {} stack {stack}: {why} ({status})", verb.name())),
        };
        error.hint(format!("Run first: opsrun manage {environment} {}", instead.name()))
    }
}

/// The whole table, as Markdown.
pub fn table() -> String {
    let mut out = String::from("| Status |");
    for verb in Verb::ALL {
        out += &format!(" {} |", verb.name());
    }
    out += &format!("\n|---|{}\n", "---|".repeat(Verb::ALL.len()));
    for status in S::ALL {
        let name = if status == S::DeleteComplete { "none, or DELETE_COMPLETE" } else { status.name() };
        let steps: Vec<String> = Verb::ALL.into_iter().map(|verb| step(verb, status).words()).collect();
        out += &format!("| {name} | {} |\n", steps.join(" | "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a row must be, one letter a verb in the order of `Verb::ALL`: written down a second time, by hand.
    const ROWS: [(&str, &str); 23] = [
        ("CREATE_IN_PROGRESS", "JJJJSD"),
        ("CREATE_COMPLETE", "CCCPSD"),
        ("CREATE_FAILED", "UUCxSD"),
        ("ROLLBACK_IN_PROGRESS", "JJJJSJ"),
        ("ROLLBACK_COMPLETE", "AATxSD"),
        ("ROLLBACK_FAILED", "aaTxSD"),
        ("UPDATE_IN_PROGRESS", "JJJJSJ"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "JJJJSJ"),
        ("UPDATE_COMPLETE", "CCCPSD"),
        ("UPDATE_FAILED", "UUCxSD"),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "JJJJSJ"),
        ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "JJJJSJ"),
        ("UPDATE_ROLLBACK_COMPLETE", "CCCPSD"),
        ("UPDATE_ROLLBACK_FAILED", "BBxxSD"),
        ("DELETE_IN_PROGRESS", "JJJJSJ"),
        ("DELETE_COMPLETE", "MxMxSG"),
        ("DELETE_FAILED", "xxxxSR"),
        ("REVIEW_IN_PROGRESS", "VVVxSD"),
        ("IMPORT_IN_PROGRESS", "JJJJSJ"),
        ("IMPORT_COMPLETE", "CCCPSD"),
        ("IMPORT_ROLLBACK_IN_PROGRESS", "JJJJSJ"),
        ("IMPORT_ROLLBACK_COMPLETE", "CCCPSD"),
        ("IMPORT_ROLLBACK_FAILED", "xxxxSD"),
    ];

    fn letter(step: Step) -> char {
        match step {
            Step::Make => 'M',
            Step::Review => 'V',
            Step::Change => 'C',
            Step::Join => 'J',
            Step::MakeAnew { ask: false } => 'A',
            Step::MakeAnew { ask: true } => 'a',
            Step::FromTemplate => 'T',
            Step::UpdateOrRollBack => 'U',
            Step::ContinueRollback => 'B',
            Step::Deploy => 'P',
            Step::Show => 'S',
            Step::Delete => 'D',
            Step::DeleteRetaining => 'R',
            Step::Gone => 'G',
            Step::Refuse(_) => 'x',
        }
    }

    #[test]
    fn each_verb_does_in_each_status_what_it_should() {
        assert_eq!(ROWS.len(), S::ALL.len());
        for (name, wanted) in ROWS {
            let status = S::from_name(name).unwrap();
            let row: String = Verb::ALL.into_iter().map(|verb| letter(step(verb, status))).collect();
            assert_eq!(row, wanted, "{name}");
        }
        for status in S::ALL {
            assert_eq!(goal(status).is_some(), status.is_working(), "{status}");
        }
    }

    #[test]
    fn what_a_refusal_names_instead_helps() {
        for verb in Verb::ALL {
            for status in S::ALL {
                if let Step::Refuse(refusal) = step(verb, status) {
                    let next = step(refusal.instead, status);
                    let shown = matches!(next, Step::Show) && status != S::ImportRollbackFailed;
                    assert!(!shown && !matches!(next, Step::Refuse(_)), "{} in {status}: {refusal:?}", verb.name());
                }
            }
        }
    }

    #[test]
    fn building_never_deletes_what_may_hold_data_without_asking() {
        for verb in [Verb::Commission, Verb::Update, Verb::Plan, Verb::Deploy] {
            for status in S::ALL {
                let deletes = matches!(step(verb, status), Step::Delete | Step::DeleteRetaining | Step::MakeAnew { ask: false });
                assert!(!deletes || status == S::RollbackComplete, "{} in {status}", verb.name());
            }
        }
    }

    #[test]
    fn refusals_say_why_and_what_to_do_first() {
        let Step::Refuse(refusal) = step(Verb::Deploy, S::UpdateRollbackFailed) else { panic!("deploys a stack that is stuck") };
        let error = refusal.error(Verb::Deploy, "shop-staging", S::UpdateRollbackFailed, "staging");
        assert_eq!(
            error.message(),
            "cannot deploy stack shop-staging: its last update failed and could not be taken back (UPDATE_ROLLBACK_FAILED)"
        );
        assert_eq!(error.details().hints, ["Run first: opsrun manage staging update"]);
        let Step::Refuse(refusal) = step(Verb::Update, S::DeleteComplete) else { panic!("updates what is not there") };
        let error = refusal.error(Verb::Update, "shop-staging", S::DeleteComplete, "staging");
        assert_eq!(error.message(), "there is no stack shop-staging to update");
    }

    #[test]
    fn the_page_of_the_documentation_is_true() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/stack-statuses.md");
        let intro = "# What each verb does in each status of a stack\n\n\
             Made from the program's own table (`src/domain/stack/status.rs`); a test keeps the two alike.\n\n\
             What is asked needs a terminal, or `--yes` with the flag that says the answer. An operation that is joined and does\n\
             not end as it was meant to is a failure of this run, and is explained as one of its own.\n\n";
        let text = format!("{intro}{}", table());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&page, &text).unwrap();
        }
        let written = std::fs::read_to_string(&page).unwrap();
        assert_eq!(written, text, "docs/stack-statuses.md is old: UPDATE=1 cargo test --lib stack::status");
    }
}
