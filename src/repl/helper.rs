//! What the line editor asks while a line is typed: completion, hints, colours, whether it is finished.

use super::complete::{Candidate, complete};
use super::docs;
use super::lex::{Kind, is_unfinished, tokens};
use super::place::{Call, KEYWORDS, Place, What, at_end, call_around, call_far_around};
use super::session::Session;
use crate::ui::style::Style;
use rustyline::completion::{Candidate as Completion, Completer};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

/// Looks into the session while nothing of it runs.
pub struct ReplHelper {
    session: Rc<RefCell<Session>>,
    style: Style,
    history: HistoryHinter,
}

impl ReplHelper {
    pub fn new(session: Rc<RefCell<Session>>, style: Style) -> Self {
        Self { session, style, history: HistoryHinter::new() }
    }
}

impl Helper for ReplHelper {}

impl Completion for Candidate {
    fn display(&self) -> &str {
        &self.shown
    }

    fn replacement(&self) -> &str {
        &self.text
    }
}

impl Completer for ReplHelper {
    type Candidate = Candidate;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Candidate>)> {
        Ok(complete(&self.session.borrow(), &line[..pos]))
    }
}

/// What stands dim behind the cursor: the rest of an earlier line, which → takes over, or the parameters of the open call.
#[derive(Debug)]
pub struct Ghost {
    text: String,
    taken: bool,
}

impl Hint for Ghost {
    fn display(&self) -> &str {
        &self.text
    }

    fn completion(&self) -> Option<&str> {
        self.taken.then_some(self.text.as_str())
    }
}

impl Hinter for ReplHelper {
    type Hint = Ghost;

    fn hint(&self, line: &str, pos: usize, context: &Context<'_>) -> Option<Ghost> {
        if pos < line.len() || line.is_empty() {
            return None;
        }
        if let Some(text) = self.history.hint(line, pos, context) {
            // Of an earlier entry over several lines only the first can stand behind the cursor.
            return (!text.contains('\n')).then_some(Ghost { text, taken: true });
        }
        // Only right after the parenthesis: farther on it would be in the way.
        let open = line.strip_suffix('(')?;
        let all = tokens(line);
        let (call, _) = call_around(&all)?;
        let parameters = docs::parameters(&self.session.borrow(), &call)?;
        (!open.is_empty() && !parameters.is_empty()).then(|| Ghost { text: format!("{parameters})"), taken: false })
    }
}

impl Validator for ReplHelper {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let unfinished = wants_more(&self.session.borrow(), context.input());
        Ok(if unfinished { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

/// Whether the text goes on in the next line.
pub fn wants_more(session: &Session, text: &str) -> bool {
    !text.trim_start().starts_with(':') && !text.trim().is_empty() && (is_unfinished(text) || session.wants_more(text))
}

/// What F1 means at the end of this text: the call it is in, or the name before the cursor.
pub fn topic(session: &Session, before: &str) -> Option<String> {
    let Place { typed, what, .. } = at_end(before);
    let named = |name: &str, call: Option<Call>| match call {
        Some(call) if name.is_empty() => docs::name_of(session, &call),
        _ => name.to_owned(),
    };
    let around = || call_far_around(&tokens(before));
    let topic = match what {
        What::Member { receiver } => docs::name_of(session, &Call { function: typed, receiver: Some(receiver) }),
        What::ModuleMember { module } => named(&format!("{module}::{typed}"), None),
        What::Option { call, .. } | What::Text { call: Some(call), .. } => docs::name_of(session, &call),
        What::Name if KEYWORDS.contains(&typed.as_str()) => String::new(),
        What::Name => named(&typed, around()),
        _ => around().map(|call| docs::name_of(session, &call)).unwrap_or_default(),
    };
    (!topic.is_empty()).then_some(topic)
}

impl Highlighter for ReplHelper {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if self.style == Style::plain() || line.starts_with(':') {
            return Cow::Borrowed(line);
        }
        let mut out = String::with_capacity(line.len() * 2);
        let mut done = 0;
        for token in tokens(line) {
            out.push_str(&line[done..token.start]);
            done = token.end();
            out.push_str(&match token.kind {
                Kind::Text { .. } => self.style.green(token.text),
                Kind::Comment { .. } => self.style.dim(token.text),
                Kind::Word if KEYWORDS.contains(&token.text) => self.style.bold(token.text),
                Kind::Number => self.style.yellow(token.text),
                _ => token.text.to_owned(),
            });
        }
        out.push_str(&line[done..]);
        Cow::Owned(out)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(self.style.dim(hint))
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        self.style != Style::plain()
    }
}
