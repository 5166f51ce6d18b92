//! Mode, owner and group of a path.

use super::super::{Fact, Known, PathState};
use super::paths::no_parent;
use crate::base::error::{Error, Result};
use crate::base::shell::quote;

/// What is wanted of them; what is not said stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    pub mode: Option<u32>,
    pub owner: Option<String>,
    pub group: Option<String>,
}

impl Access {
    /// Refuses names that `chown` would take for something else.
    pub fn check(&self) -> Result<()> {
        for (what, one, name) in [("owner", "an owner", &self.owner), ("group", "a group", &self.group)] {
            let Some(name) = name else { continue };
            if name.is_empty() || name.starts_with('-') || name.contains([':', '/']) || name.chars().any(char::is_control) {
                return Err(Error::usage(format!("\"{}\" is no name for {one}", name.escape_debug())));
            }
            if name.bytes().all(|b| b.is_ascii_digit()) {
                return Err(Error::usage(format!("{what} \"{name}\" is a number"))
                    .hint("Give the name: numbers differ from machine to machine."));
            }
        }
        Ok(())
    }

    pub fn needs(&self) -> impl Iterator<Item = Fact> {
        let owner = self.owner.clone().map(Fact::User);
        owner.into_iter().chain(self.group.clone().map(Fact::Group))
    }

    /// Why it cannot be given: a user or group that does not exist.
    pub fn blocked(&self, known: &Known) -> Result<Option<String>> {
        if let Some(owner) = &self.owner
            && known.user(owner)?.is_none()
        {
            return Ok(Some(format!("there is no user {owner}")));
        }
        if let Some(group) = &self.group
            && known.group(group)?.is_none()
        {
            return Ok(Some(format!("there is no group {group}")));
        }
        Ok(None)
    }

    /// Why nothing that has it can be made at a path.
    pub fn blocked_at(&self, path: &str, known: &Known) -> Result<Option<String>> {
        match no_parent(path, known)? {
            None => self.blocked(known),
            why => Ok(why),
        }
    }

    /// What differs, in words.
    pub fn differences(&self, is: &PathState) -> Vec<String> {
        let mut what = Vec::new();
        if let Some(mode) = self.mode.filter(|m| *m != is.mode) {
            what.push(format!("mode {:04o} → {mode:04o}", is.mode));
        }
        if let Some(owner) = self.owner.as_ref().filter(|o| **o != is.owner) {
            what.push(format!("owner {} → {owner}", is.owner));
        }
        if let Some(group) = self.group.as_ref().filter(|g| **g != is.group) {
            what.push(format!("group {} → {group}", is.group));
        }
        what
    }

    /// Shell that gives them to a path that is there. `target` is a word of shell.
    pub fn set(&self, target: &str) -> String {
        let mut script = String::new();
        match (&self.owner, &self.group) {
            (Some(owner), Some(group)) => script.push_str(&format!("chown {} {target}\n", quote(&format!("{owner}:{group}")))),
            (Some(owner), None) => script.push_str(&format!("chown {} {target}\n", quote(owner))),
            (None, Some(group)) => script.push_str(&format!("chgrp {} {target}\n", quote(group))),
            (None, None) => {}
        }
        // After the owner, a change of whom takes setuid away.
        if let Some(mode) = self.mode {
            script.push_str(&format!("chmod {mode:04o} {target}\n"));
        }
        script
    }

    /// The state of a path that had these given to it. Names that cannot be known are empty.
    pub fn leaves(&self, before: Option<&PathState>, mode: u32) -> (u32, String, String) {
        let (owner, group) = before.map_or(("", ""), |b| (b.owner.as_str(), b.group.as_str()));
        (
            self.mode.or(before.map(|b| b.mode)).unwrap_or(mode),
            self.owner.clone().unwrap_or_else(|| owner.to_owned()),
            self.group.clone().unwrap_or_else(|| group.to_owned()),
        )
    }
}
