//! What is told.

use crate::base::error::Error;
use crate::base::units::format_duration;
use crate::base::{host, secret};
use std::time::Duration;

/// More lines of an error than these are for who looks at the machine.
const ERROR_LINES: usize = 12;
/// A longer subject is cut.
const SUBJECT: usize = 200;

/// A subject, what there is to say, and the same for programs. Secrets in it are masked.
#[derive(Clone, Debug)]
pub struct Message {
    subject: String,
    text: String,
    failed: bool,
    /// Names and values that a command gets, too.
    facts: Vec<(&'static str, String)>,
}

impl Message {
    pub fn new(subject: &str, text: &str, failed: bool) -> Self {
        // A line break in a subject would begin another header.
        let line: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let outcome = if failed { "failed" } else { "done" };
        let mut subject = secret::mask(line.trim()).into_owned();
        if let Some((end, _)) = subject.char_indices().nth(SUBJECT) {
            subject.truncate(end);
            subject.push('…');
        }
        Self { subject, text: secret::mask(text).replace('\0', ""), failed, facts: vec![("OPSRUN_OUTCOME", outcome.to_owned())] }
    }

    /// What came of a long verb on an environment.
    pub fn ended(environment: &str, verb: &str, error: Option<&Error>, took: Duration) -> Self {
        let outcome = match error {
            None => "done",
            Some(error) if error.is_cancelled() => "interrupted",
            Some(_) => "failed",
        };
        // Fractions of a second are noise here.
        let duration = format_duration(Duration::from_secs(took.as_secs().max(1)));
        let subject = format!("{environment}: {verb} {outcome} after {duration}");
        let mut text = format!(
            "Environment: {environment}\nVerb:        {verb}\nOutcome:     {outcome}\nDuration:    {duration}\nRun on:      {}\n",
            host::name()
        );
        if let Some(error) = error.filter(|e| !e.is_cancelled()) {
            text = format!("{text}\n{}", first_lines(error));
        }
        let mut message = Self::new(&subject, &text, error.is_some());
        message.facts = vec![
            ("OPSRUN_ENVIRONMENT", environment.to_owned()),
            ("OPSRUN_VERB", verb.to_owned()),
            ("OPSRUN_OUTCOME", outcome.to_owned()),
            ("OPSRUN_SECONDS", took.as_secs().to_string()),
        ];
        message
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn failed(&self) -> bool {
        self.failed
    }

    /// As the environment of a command.
    pub fn variables(&self) -> Vec<(String, String)> {
        let facts = self.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        facts.chain([("OPSRUN_SUBJECT".to_owned(), self.subject.clone())]).collect()
    }
}

/// What failed, where, and what to try, cut to what fits a message.
fn first_lines(error: &Error) -> String {
    let mut lines = vec![format!("error: {error}")];
    let details = error.details();
    lines.extend(details.failed.iter().map(|e| format!("  {e}")));
    lines.extend(details.stderr.iter().flat_map(|s| s.lines()).map(|l| format!("  | {l}")));
    lines.extend(details.context.iter().map(|c| format!("  while {c}")));
    lines.extend(details.places.iter().map(|p| format!("  --> {p}")));
    lines.extend(details.hints.iter().map(|h| format!("hint: {h}")));
    let all: Vec<String> = lines.iter().flat_map(|l| l.lines()).map(str::to_owned).collect();
    let more = all.len().saturating_sub(ERROR_LINES);
    let mut text = all.into_iter().take(ERROR_LINES).map(|l| l + "\n").collect::<String>();
    if more > 0 {
        text.push_str(&format!("… and {more} more lines\n"));
    }
    text
}

/// An error in one line: for warnings.
pub(super) fn in_short(error: &Error) -> String {
    let said = error.details().stderr.as_deref().and_then(|s| s.trim().lines().last()).map(|s| format!(" ({s})"));
    let hint = error.details().hints.first().map(|h| format!(". {h}"));
    let text = format!("{error}{}{}", said.unwrap_or_default(), hint.unwrap_or_default());
    secret::mask(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    #[test]
    fn tells_what_came_of_it() {
        let took = Duration::from_millis(192_400);
        let done = Message::ended("shop-staging", "update", None, took);
        assert_eq!((done.subject(), done.failed()), ("shop-staging: update done after 3m 12s", false));
        let secret = Secret::new("swordfish-in-an-error");
        let error = Error::config(format!("role x says {}", secret.expose())).hint("Look.\nAnd look again.");
        let failed = Message::ended("shop-staging", "update", Some(&error), took);
        assert_eq!((failed.subject(), failed.failed()), ("shop-staging: update failed after 3m 12s", true));
        assert!(failed.text().ends_with("\n\nerror: role x says ***\nhint: Look.\nAnd look again.\n"), "{}", failed.text());
        let of = |name: &str| failed.variables().into_iter().find(|(n, _)| n == name).unwrap().1;
        assert_eq!(
            (of("OPSRUN_VERB"), of("OPSRUN_OUTCOME"), of("OPSRUN_SECONDS")),
            ("update".into(), "failed".into(), "192".into())
        );
        let stopped = Message::ended("shop-staging", "update", Some(&Error::cancelled()), took);
        assert!(stopped.subject().contains("interrupted") && !stopped.text().contains("error:"));
    }

    #[test]
    fn a_subject_is_one_line_and_long_errors_are_cut() {
        let message = Message::new("a\r\nBcc: everybody@example.com", "", false);
        assert_eq!(message.subject(), "a  Bcc: everybody@example.com");
        assert_eq!(Message::new(&"ä".repeat(500), "", false).subject().chars().count(), 201);
        let error = (0..40).fold(Error::config("x"), |e, i| e.hint(format!("{i}")));
        assert!(first_lines(&error).ends_with("hint: 10\n… and 29 more lines\n"));
    }
}
