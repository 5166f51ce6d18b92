//! The words of what went wrong with a resource on a node.

use super::hearing::Said;
use super::kinds::parent;
use super::{Fact, Known, Wanted};
use crate::base::command::Exit;
use crate::base::error::{Error, Kind};
use crate::base::units::format_duration;
use std::time::Duration;

/// A name that is longer is cut: a command may be a whole script.
const LONGEST_NAME: usize = 60;

/// `file /etc/motd`
pub(super) fn label(wanted: &Wanted) -> String {
    let name = wanted.resource.name();
    let first = name.lines().next().unwrap_or_default();
    let short: String = first.chars().take(LONGEST_NAME).collect();
    let dots = if short.len() < name.len() { "…" } else { "" };
    format!("{} {short}{dots}", wanted.resource.kind())
}

/// A change that ended with this exit code.
pub(super) fn failed(wanted: &Wanted, code: i32, said: Said) -> Error {
    let label = label(wanted);
    let message = match (&said.message, code) {
        (Some(message), _) => format!("{label}: {message}"),
        (None, 137) => format!("{label} was killed (exit code 137)"),
        (None, code) => format!("{label} failed with exit code {code}"),
    };
    let mut error = with_said(Error::new(Kind::Command, message), said);
    error.details_mut().code = Some(code);
    if code == 137 { error.hint("Did the machine run out of memory? Look at dmesg there.") } else { error }
}

pub(super) fn timed_out(wanted: &Wanted, limit: Duration, said: Said) -> Error {
    let message = format!("{} did not end within {} and was stopped", label(wanted), format_duration(limit));
    with_said(Error::new(Kind::Timeout, message), said)
}

pub(super) fn blocked(wanted: &Wanted, why: &str, known: &Known) -> Error {
    let error = Error::new(Kind::Command, format!("{}: {why}", label(wanted)));
    missing(wanted, known).into_iter().fold(error, |error, ask| error.hint(format!("Ask for it first: {ask};")))
}

/// What a resource stands on and is not there, as a script would ask for it.
fn missing(wanted: &Wanted, known: &Known) -> Vec<String> {
    let name = wanted.resource.name();
    let ask = |fact: Fact| match fact {
        Fact::Path(path) if parent(&name) == Some(&*path) && known.paths.get(&path) == Some(&None) => {
            Some(format!("nodes.directory({path:?})"))
        }
        Fact::User(user) if user != name && known.users.get(&user) == Some(&None) => Some(format!("nodes.user({user:?})")),
        Fact::Group(group) if group != name && known.groups.get(&group) == Some(&None) => {
            Some(format!("nodes.user_group({group:?})"))
        }
        _ => None,
    };
    wanted.resource.needs().into_iter().filter_map(ask).collect()
}

/// The connection was lost in the middle of this.
pub(super) fn cut(wanted: &Wanted, error: Error, said: Said) -> Error {
    if error.kind() != Kind::Connection {
        return error;
    }
    let mut error = with_said(error, said);
    let message = format!("the connection broke during {}: {}", label(wanted), error.message());
    let details = error.details_mut();
    details.message = message;
    details.hints = vec![
        "What was done before it stands, and it may still be at work there. Run it again: only what is left is done.".to_owned(),
    ];
    error
}

/// The program did not run to its end, and no change was to blame.
pub(super) fn unfinished(exit: &Exit, said: Said) -> Error {
    let last = said.last();
    let error = match (exit, last) {
        (_, Some(line)) if line.starts_with("sudo:") => {
            let said = line.trim_start_matches("sudo:").trim().to_owned();
            Error::new(Kind::Command, format!("cannot become root: {said}"))
                .hint("Log in as root, or let this user run sudo without a password (NOPASSWD in sudoers).")
        }
        (_, Some(line)) => Error::new(Kind::Command, format!("its state cannot be read: {line}")),
        (Exit::Code(code), None) => {
            Error::new(Kind::Command, format!("its state cannot be read: the shell ended with exit code {code}"))
        }
        (Exit::Signal(name), None) => {
            Error::new(Kind::Command, format!("its state cannot be read: the shell was killed by SIG{name}"))
        }
    };
    with_said(error, said)
}

pub(super) fn too_long() -> Error {
    Error::new(Kind::Command, "its state cannot be read: the answer is longer than 64 MiB")
        .hint("Something it is asked for prints without end, or files that are compared are very large.")
}

fn with_said(mut error: Error, said: Said) -> Error {
    let tail = said.tail();
    if tail.contains("No space left on device") && said.hints.is_empty() {
        error = error.hint("Its disk is full: look with df -h, and df -i.");
    }
    if !tail.is_empty() {
        error.details_mut().stderr = Some(tail);
    }
    said.hints.into_iter().fold(error, Error::hint)
}
