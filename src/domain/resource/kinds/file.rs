//! A regular file with this content, or only with this mode and owner.

use super::super::{Change, Fact, Known, PathKind, PathState, Resource, Touch, Verdict};
use super::access::Access;
use super::content::Content;
use super::paths::parent;
use super::replace::Replace;
use crate::base::error::Result;
use crate::base::shell::quote;

#[derive(Clone, Debug)]
pub struct File {
    /// The script function: `file`, `template`.
    pub kind: &'static str,
    pub path: String,
    /// None: whatever it holds, and nothing when it is new.
    pub content: Option<Content>,
    pub access: Access,
    /// Content and diff must not be shown.
    pub secret: bool,
    /// A command that is given the new file before it takes its place, as its last word.
    pub validate: Option<String>,
}

impl File {
    pub fn new(path: impl Into<String>, content: impl Into<Content>) -> Self {
        Self {
            kind: "file",
            path: path.into(),
            content: Some(content.into()),
            access: Access::default(),
            secret: false,
            validate: None,
        }
    }

    fn replaced(&self, what: Vec<String>, before: Option<&PathState>, known: &Known) -> Change {
        let content = self.content.clone().unwrap_or_else(|| Vec::new().into());
        let (path, access, secret) = (&self.path, &self.access, self.secret);
        Replace { path, content: &content, access, before, secret, validate: self.validate.as_deref(), guarded: false }
            .change(what, known)
    }

    fn access_only(&self, what: Vec<String>, before: &PathState) -> Change {
        let (mode, owner, group) = self.access.leaves(Some(before), 0);
        let mut change = Change { what, script: self.access.set(&quote(&self.path)), ..Change::default() };
        change.touches.push(Touch::Path(self.path.clone()));
        change.leaves.paths.insert(self.path.clone(), Some(PathState { mode, owner, group, ..before.clone() }));
        change
    }
}

impl Resource for File {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn name(&self) -> String {
        self.path.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::Path(self.path.clone())];
        facts.extend(parent(&self.path).map(|p| Fact::Path(p.to_owned())));
        if let (Some(content), false) = (&self.content, self.secret) {
            facts.push(Fact::Content { path: self.path.clone(), unless: Some(content.sha256.to_string()) });
        }
        facts.extend(self.access.needs());
        facts
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        if let Some(why) = self.access.blocked_at(&self.path, known)? {
            return Ok(Verdict::Blocked(why));
        }
        let Some(is) = known.path(&self.path)? else {
            return Ok(Verdict::Change(self.replaced(vec!["created".to_owned()], None, known)));
        };
        match is.kind {
            PathKind::File => {}
            PathKind::Link if self.content.is_some() => {
                let what = vec![format!("{} → a file", is.described())];
                return Ok(Verdict::Change(self.replaced(what, Some(is), known)));
            }
            _ => return Ok(Verdict::Blocked(format!("{} is {}", self.path, is.described()))),
        }
        let other = self.content.as_ref().is_some_and(|c| is.sha256.as_deref() != Some(&*c.sha256));
        let mut what = self.access.differences(is);
        Ok(if other {
            what.insert(0, "content".to_owned());
            Verdict::Change(self.replaced(what, Some(is), known))
        } else if what.is_empty() {
            Verdict::Right
        } else {
            Verdict::Change(self.access_only(what, is))
        })
    }
}
