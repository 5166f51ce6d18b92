//! Nothing at a path.

use super::super::{Change, Diff, Fact, Known, PathKind, Resource, Touch, Verdict};
use super::paths::is_empty;
use crate::base::error::{Error, Result};
use crate::base::shell::quote;

/// A file, link or directory that must not be there.
#[derive(Clone, Debug)]
pub struct Absent {
    /// The script function: `file`, `link`, `directory`. It removes what it makes and nothing else.
    pub kind: &'static str,
    pub path: String,
    /// Of a directory: with all that is beneath it.
    pub recursive: bool,
    /// The content must not be shown.
    pub secret: bool,
}

impl Absent {
    /// No file, whose content may be shown.
    pub fn file(path: impl Into<String>) -> Self {
        Self { kind: "file", path: path.into(), recursive: false, secret: false }
    }

    /// Refuses what nobody means to remove with all that is beneath it.
    pub fn check(&self) -> Result<()> {
        let system = self.path.matches('/').count() == 1 && self.path.starts_with('/') || self.path == ".";
        if self.kind == "directory" && system && self.path != "/srv" && self.path != "/opt" {
            return Err(Error::usage(format!("{} is a directory of the system and is not removed", self.path)));
        }
        Ok(())
    }
}

impl Resource for Absent {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn name(&self) -> String {
        self.path.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::Path(self.path.clone())];
        match self.kind {
            "directory" if !self.recursive => facts.push(Fact::Test(is_empty(&self.path))),
            "file" if !self.secret => facts.push(Fact::Content { path: self.path.clone(), unless: Some(String::new()) }),
            _ => {}
        }
        facts
    }

    fn looks_at(&self) -> Vec<Touch> {
        vec![Touch::Tree(self.path.clone())]
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        let Some(is) = known.path(&self.path)? else { return Ok(Verdict::Right) };
        let path = quote(&self.path);
        let script = match (self.kind, is.kind) {
            ("directory", PathKind::Directory) if self.recursive => format!("rm -rf --one-file-system {path}\n"),
            ("directory", PathKind::Directory) if known.test(&is_empty(&self.path))? => format!("rmdir {path}\n"),
            ("directory", PathKind::Directory) => {
                return Ok(Verdict::Blocked(format!("{} is not empty, and recursive: true is not said", self.path)));
            }
            ("link", PathKind::Link) | ("file", PathKind::File | PathKind::Link) => format!("rm -f {path}\n"),
            _ => return Ok(Verdict::Blocked(format!("{} is {}, no {}", self.path, is.described(), self.kind))),
        };
        let mut change = Change { what: vec!["removed".to_owned()], script, ..Change::default() };
        change.touches.push(Touch::Tree(self.path.clone()));
        change.leaves.paths.insert(self.path.clone(), None);
        change.leaves.contents.insert(self.path.clone(), None);
        if let Some(before) = known.contents.get(&self.path).filter(|_| self.kind == "file") {
            let before = before.clone().filter(|_| !self.secret);
            change.diff = Some(Diff { path: self.path.clone(), before, after: None, secret: self.secret });
        }
        Ok(Verdict::Change(change))
    }
}
