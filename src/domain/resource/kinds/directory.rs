//! A directory with this mode and owner. Those above it are made when they are missing.

use super::super::{Change, Fact, Known, PathKind, PathState, Resource, Touch, Verdict};
use super::access::Access;
use super::paths::{ancestors, parent};
use crate::base::error::Result;
use crate::base::shell::quote;

/// Of a new directory, when nothing else is said.
const MODE: u32 = 0o755;

#[derive(Clone, Debug)]
pub struct Directory {
    pub path: String,
    pub access: Access,
}

impl Resource for Directory {
    fn kind(&self) -> &'static str {
        "directory"
    }

    fn name(&self) -> String {
        self.path.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        let paths = std::iter::once(self.path.as_str()).chain(ancestors(&self.path));
        paths.map(|p| Fact::Path(p.to_owned())).chain(self.access.needs()).collect()
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        if let Some(why) = self.access.blocked(known)? {
            return Ok(Verdict::Blocked(why));
        }
        let Some(is) = known.path(&self.path)? else { return self.created(known) };
        if is.kind != PathKind::Directory {
            return Ok(Verdict::Blocked(format!("{} is {}", self.path, is.described())));
        }
        let what = self.access.differences(is);
        if what.is_empty() {
            return Ok(Verdict::Right);
        }
        let mut change = Change { what, script: self.access.set(&quote(&self.path)), ..Change::default() };
        Self::leave(&mut change, &self.path, self.access.leaves(Some(is), MODE));
        Ok(Verdict::Change(change))
    }
}

impl Directory {
    fn created(&self, known: &Known) -> Result<Verdict> {
        let path = quote(&self.path);
        let access = Access { mode: self.access.mode.or(Some(MODE)), ..self.access.clone() };
        // Nobody else gets into it before owner and mode are set.
        let above = quote(parent(&self.path).unwrap_or("."));
        let script = format!("umask 022\nmkdir -p {above}\nmkdir -m 700 {path}\n{}", access.set(&path));
        let mut change = Change { what: vec!["created".to_owned()], script, ..Change::default() };
        for above in ancestors(&self.path) {
            match known.path(above)? {
                None => Self::leave(&mut change, above, (MODE, String::new(), String::new())),
                Some(state) if matches!(state.kind, PathKind::Directory | PathKind::Link) => break,
                Some(state) => return Ok(Verdict::Blocked(format!("{above} is {}", state.described()))),
            }
        }
        Self::leave(&mut change, &self.path, self.access.leaves(None, MODE));
        Ok(Verdict::Change(change))
    }

    fn leave(change: &mut Change, path: &str, (mode, owner, group): (u32, String, String)) {
        let state = PathState { kind: PathKind::Directory, mode, owner, group, size: 0, sha256: None, target: None };
        change.touches.push(Touch::Path(path.to_owned()));
        change.leaves.paths.insert(path.to_owned(), Some(state));
    }
}
