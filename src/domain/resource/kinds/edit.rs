//! A text file changed in a few of its lines: what `line`, `block` and `mount` share.

use super::super::{Change, Fact, Known, PathKind, Verdict};
use super::access::Access;
use super::content::Content;
use super::paths::parent;
use super::replace::Replace;
use crate::base::error::Result;

/// Which file, and how it is written anew.
#[derive(Clone, Debug)]
pub struct Edit {
    pub path: String,
    /// Make the file when it is missing.
    pub create: bool,
    pub access: Access,
    /// Content and diff must not be shown.
    pub secret: bool,
    /// A command that is given the new file before it takes its place, as its last word.
    pub validate: Option<String>,
}

/// The lines of a text, without their ends.
struct Text {
    lines: Vec<String>,
    ending: &'static str,
    /// The last line had no end, and keeps having none unless something comes after it.
    open: bool,
}

impl Text {
    fn of(text: &str) -> Self {
        let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let open = !text.is_empty() && !text.ends_with('\n');
        Self { lines: text.lines().map(str::to_owned).collect(), ending, open }
    }

    fn joined(&self, last: Option<&String>) -> String {
        let mut joined = self.lines.join(self.ending);
        // A file that ended without a line break still does, if its last line is still the same.
        let open = self.open && self.lines.last() == last;
        if !self.lines.is_empty() && !open {
            joined.push_str(self.ending);
        }
        joined
    }
}

impl Edit {
    pub fn needs(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::Path(self.path.clone()), Fact::Content { path: self.path.clone(), unless: None }];
        facts.extend(parent(&self.path).map(|p| Fact::Path(p.to_owned())));
        facts.extend(self.access.needs());
        facts
    }

    /// Compares the file with what `change` makes of its lines. `change` says what it did, or why it cannot.
    pub fn decide(
        &self,
        known: &Known,
        change: impl FnOnce(&mut Vec<String>) -> std::result::Result<Option<String>, String>,
    ) -> Result<Verdict> {
        let path = &self.path;
        if let Some(why) = self.access.blocked_at(path, known)? {
            return Ok(Verdict::Blocked(why));
        }
        let before = known.path(path)?;
        let old = match before.map(|b| b.kind) {
            None => None,
            Some(PathKind::File) => match known.contents.get(path).and_then(Option::as_ref) {
                Some(bytes) => Some(bytes),
                None => return Ok(Verdict::Blocked(format!("{path} is larger than 1 MiB"))),
            },
            Some(_) => {
                let is = before.map(super::super::PathState::described).unwrap_or_default();
                return Ok(Verdict::Blocked(format!("{path} is {is}; a file is wanted")));
            }
        };
        let Ok(text) = std::str::from_utf8(old.map_or(&[][..], Vec::as_slice)) else {
            return Ok(Verdict::Blocked(format!("{path} is not UTF-8 text")));
        };
        let mut text = Text::of(text);
        let last = text.lines.last().cloned();
        let did = match change(&mut text.lines) {
            Ok(did) => did,
            Err(why) => return Ok(Verdict::Blocked(why)),
        };
        let differs = before.map(|b| self.access.differences(b)).unwrap_or_default();
        let mut what: Vec<String> = did.iter().cloned().chain(differs).collect();
        if what.is_empty() {
            return Ok(Verdict::Right);
        }
        if before.is_none() {
            if !self.create {
                return Ok(Verdict::Blocked(format!("there is no file {path}, and create: true is not said")));
            }
            what = vec!["created".to_owned()];
        }
        let new: Content = text.joined(last.as_ref()).into_bytes().into();
        Ok(Verdict::Change(self.replaced(&new, what, known)?))
    }

    fn replaced(&self, content: &Content, what: Vec<String>, known: &Known) -> Result<Change> {
        let replace = Replace {
            path: &self.path,
            content,
            access: &self.access,
            before: known.path(&self.path)?,
            secret: self.secret,
            validate: self.validate.as_deref(),
            guarded: true,
        };
        Ok(replace.change(what, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_line_ends() {
        for text in ["", "a\n", "a\nb", "a\r\nb\r\n", "\n\na\n"] {
            let lines = Text::of(text);
            assert_eq!(lines.joined(lines.lines.last()), text);
        }
        let mut lines = Text::of("a\nb");
        let last = lines.lines.last().cloned();
        lines.lines.push("c".to_owned());
        assert_eq!(lines.joined(last.as_ref()), "a\nb\nc\n");
    }
}
