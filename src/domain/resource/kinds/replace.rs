//! A file's content replaced, whole or not at all.

use super::super::{Change, Diff, Known, PathKind, PathState, Touch};
use super::access::Access;
use super::content::Content;
use super::paths::stage_beside;
use crate::base::shell::quote;
use std::sync::Arc;

/// Content beyond this is carried beside the script.
const IN_SCRIPT: usize = 32 << 10;

/// The most that facts hold of a file's content.
const READ: usize = 1 << 20;

/// A file that is to have this content.
pub struct Replace<'a> {
    pub path: &'a str,
    pub content: &'a Content,
    pub access: &'a Access,
    /// What is there now.
    pub before: Option<&'a PathState>,
    pub secret: bool,
    /// A command that is given the new file before it takes its place, as its last word.
    pub validate: Option<&'a str>,
    /// The change was made out of what the file held: it must still hold that.
    pub guarded: bool,
}

impl Replace<'_> {
    /// The change, with these words for it.
    pub fn change(&self, what: Vec<String>, known: &Known) -> Change {
        let (source, uploads) = self.source();
        let mut out = Change { what, script: self.script(&source), uploads, ..Change::default() };
        out.touches.push(Touch::Path(self.path.to_owned()));
        out.diff = self.diff(known);
        let (mode, owner, group) = self.access.leaves(self.old_file(), self.default_mode());
        let state = PathState {
            kind: PathKind::File,
            mode,
            owner,
            group,
            size: self.content.bytes.len() as u64,
            sha256: Some(self.content.sha256.to_string()),
            target: None,
        };
        out.leaves.paths.insert(self.path.to_owned(), Some(state));
        let content = (self.content.bytes.len() <= READ).then(|| self.content.bytes.to_vec());
        out.leaves.contents.insert(self.path.to_owned(), content);
        out
    }

    /// The regular file there is: a link in its place gives neither mode nor owner.
    fn old_file(&self) -> Option<&PathState> {
        self.before.filter(|b| b.kind == PathKind::File)
    }

    fn default_mode(&self) -> u32 {
        if self.secret { 0o600 } else { 0o644 }
    }

    /// A command that prints the content.
    fn source(&self) -> (String, Vec<Arc<[u8]>>) {
        match std::str::from_utf8(&self.content.bytes) {
            // printf is a part of the shell: nothing of it is in a process list.
            Ok(text) if text.len() <= IN_SCRIPT && !text.contains('\0') => (format!("printf %s {}", quote(text)), Vec::new()),
            _ => ("cat \"$UPLOAD_0\"".to_owned(), vec![self.content.bytes.clone()]),
        }
    }

    fn script(&self, source: &str) -> String {
        let path = quote(self.path);
        let mut script = stage_beside(self.path);
        let guard = if self.guarded { self.guard() } else { String::new() };
        script.push_str(&guard);
        // Until its owner and mode are set nobody else may read it.
        script.push_str(&format!("umask 077\n{source} >\"$stage/new\"\n"));
        let access = match self.old_file() {
            Some(old) => {
                script.push_str(&format!("chown \"$(stat -c %u:%g {path})\" \"$stage/new\"\n"));
                Access { mode: self.access.mode.or(Some(old.mode)), ..self.access.clone() }
            }
            None => Access { mode: self.access.mode.or(Some(self.default_mode())), ..self.access.clone() },
        };
        script.push_str(&access.set("\"$stage/new\""));
        if let Some(validate) = self.validate {
            let message = format!("{}: the new content does not pass \"{validate}\"; nothing was changed", self.path);
            script.push_str(&format!(
                "{{ {validate} \"$stage/new\"\n}} >&2 </dev/null || {{ {}; exit 1; }}\n",
                super::say(&message)
            ));
            // Meanwhile somebody may have come.
            script.push_str(&guard);
        }
        script.push_str(&format!("mv -fT \"$stage/new\" {path}\n"));
        script
    }

    fn guard(&self) -> String {
        let path = quote(self.path);
        let message = super::say(&format!("{} was changed by another while it was being edited", self.path));
        match self.old_file().and_then(|old| old.sha256.as_ref()) {
            Some(sum) => format!("[ \"$(sha256sum <{path})\" = '{sum}  -' ] || {{ {message}; exit 1; }}\n"),
            None => format!("[ ! -e {path} ] || {{ {message}; exit 1; }}\n"),
        }
    }

    /// Contents that are not to be seen are not carried about.
    fn diff(&self, known: &Known) -> Option<Diff> {
        let path = self.path.to_owned();
        if self.secret {
            return Some(Diff { path, before: None, after: None, secret: true });
        }
        let before = known.contents.get(self.path)?.clone();
        // Too large to be shown, or not read because nobody wants to see it.
        let unread = before.is_none() && self.old_file().is_some();
        (!unread).then(|| Diff { path, before, after: Some(self.content.bytes.to_vec()), secret: false })
    }
}
