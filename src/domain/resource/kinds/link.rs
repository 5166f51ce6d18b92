//! A symbolic link.

use super::super::{Change, Fact, Known, PathKind, PathState, Resource, Touch, Verdict};
use super::paths::{no_parent, parent, stage_beside};
use crate::base::error::{Error, Result};
use crate::base::shell::quote;

#[derive(Clone, Debug)]
pub struct Link {
    pub path: String,
    /// Where it leads, word for word; nothing need be there.
    pub to: String,
    /// Replace a file in its place.
    pub force: bool,
}

impl Link {
    pub fn check(&self) -> Result<()> {
        if self.to.is_empty() || self.to.chars().any(char::is_control) {
            return Err(Error::usage(format!("a link cannot lead to \"{}\"", self.to.escape_debug())));
        }
        Ok(())
    }

    fn change(&self, what: String) -> Change {
        let (stage, path, to) = (stage_beside(&self.path), quote(&self.path), quote(&self.to));
        let script = format!("{stage}ln -s -- {to} \"$stage/new\"\nmv -fT \"$stage/new\" {path}\n");
        let mut change = Change { what: vec![what], script, touches: vec![Touch::Tree(self.path.clone())], ..Change::default() };
        let (owner, target) = (String::new(), Some(self.to.clone()));
        let state = PathState { kind: PathKind::Link, mode: 0o777, group: owner.clone(), owner, size: 0, sha256: None, target };
        change.leaves.paths.insert(self.path.clone(), Some(state));
        change
    }
}

impl Resource for Link {
    fn kind(&self) -> &'static str {
        "link"
    }

    fn name(&self) -> String {
        self.path.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        let parent = parent(&self.path).map(|p| Fact::Path(p.to_owned()));
        std::iter::once(Fact::Path(self.path.clone())).chain(parent).collect()
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        if let Some(why) = no_parent(&self.path, known)? {
            return Ok(Verdict::Blocked(why));
        }
        let to = &self.to;
        Ok(match known.path(&self.path)? {
            None => Verdict::Change(self.change("created".to_owned())),
            Some(is) if is.kind == PathKind::Link && is.target.as_ref() == Some(to) => Verdict::Right,
            Some(is) if is.kind == PathKind::Link || (is.kind == PathKind::File && self.force) => {
                Verdict::Change(self.change(format!("{} → a link to {to}", is.described())))
            }
            Some(is) if is.kind == PathKind::File => {
                Verdict::Blocked(format!("{} is a file, and force: true is not said", self.path))
            }
            Some(is) => Verdict::Blocked(format!("{} is {}", self.path, is.described())),
        })
    }
}
