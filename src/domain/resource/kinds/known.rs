//! Facts as resources look at them.

use super::super::{Known, PathKind, PathState, UnitState, UserState};
use crate::base::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// A fact is asked for before it is used.
fn asked<'a, T>(facts: &'a BTreeMap<String, T>, sort: &str, name: &str) -> Result<&'a T> {
    facts.get(name).ok_or_else(|| Error::internal(format!("the {sort} {name} is used and was not asked for")))
}

impl Known {
    pub(super) fn path(&self, path: &str) -> Result<Option<&PathState>> {
        asked(&self.paths, "path", path).map(Option::as_ref)
    }

    pub(super) fn unit(&self, name: &str) -> Result<&UnitState> {
        asked(&self.units, "unit", name)
    }

    pub(super) fn user(&self, name: &str) -> Result<Option<&UserState>> {
        asked(&self.users, "user", name).map(Option::as_ref)
    }

    pub(super) fn group(&self, name: &str) -> Result<Option<&BTreeSet<String>>> {
        asked(&self.groups, "group", name).map(Option::as_ref)
    }

    pub(super) fn package(&self, name: &str) -> Result<Option<&str>> {
        asked(&self.packages, "package", name).map(Option::as_deref)
    }

    pub(super) fn test(&self, command: &str) -> Result<bool> {
        asked(&self.tests, "test", command).copied()
    }
}

impl PathState {
    /// `a directory`, for a sentence that says what stands in the way.
    pub(super) fn described(&self) -> String {
        match (self.kind, &self.target) {
            (PathKind::File, _) => "a file".to_owned(),
            (PathKind::Directory, _) => "a directory".to_owned(),
            (PathKind::Link, Some(target)) => format!("a link to {target}"),
            (PathKind::Link, None) => "a link".to_owned(),
            (PathKind::Other, _) => "neither a file nor a directory".to_owned(),
        }
    }
}
