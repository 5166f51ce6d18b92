//! Lines that belong together in a text file, between two marks.

use super::super::{Fact, Known, Resource, Verdict};
use super::edit::Edit;
use super::line::Place;
use crate::base::error::{Error, Result};

#[derive(Clone, Debug)]
pub struct Block {
    pub edit: Edit,
    /// Without its last line break. None: absent.
    pub text: Option<String>,
    /// Tells several blocks of a file from each other.
    pub name: String,
    /// How a comment begins in this file, and how it ends: `("#", "")`.
    pub comment: (String, String),
    pub place: Place,
}

impl Block {
    pub fn check(&self) -> Result<()> {
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            return Err(Error::usage(format!("\"{}\" is no name for a block", self.name.escape_debug())));
        }
        let marks = [self.mark("BEGIN"), self.mark("END")];
        if self.text.as_ref().is_some_and(|t| t.lines().any(|l| marks.iter().any(|m| m == l))) {
            return Err(Error::usage(format!("the block \"{}\" has its own mark in it", self.name)));
        }
        Ok(())
    }

    fn mark(&self, which: &str) -> String {
        let (open, close) = &self.comment;
        format!("{open} {which} {} (opsrun) {close}", self.name).trim().to_owned()
    }

    fn change(&self, lines: &mut Vec<String>) -> std::result::Result<Option<String>, String> {
        let (begin, end) = (self.mark("BEGIN"), self.mark("END"));
        let wanted = self.text.as_ref().map(|text| {
            let inner = text.lines().map(str::to_owned);
            std::iter::once(begin.clone()).chain(inner).chain([end.clone()]).collect::<Vec<String>>()
        });
        let from = lines.iter().position(|l| *l == begin);
        let Some(from) = from else {
            let Some(wanted) = wanted else { return Ok(None) };
            let at = self.place.find(&self.edit.path, lines)?;
            lines.splice(at..at, wanted);
            return Ok(Some(format!("block {} added", self.name)));
        };
        let Some(length) = lines.iter().skip(from).position(|l| *l == end) else {
            return Err(format!(
                "the block \"{}\" of {} begins in line {} and does not end",
                self.name,
                self.edit.path,
                from + 1
            ));
        };
        let range = from..=from + length;
        match wanted {
            Some(wanted) if lines.get(range.clone()) == Some(wanted.as_slice()) => Ok(None),
            Some(wanted) => {
                lines.splice(range, wanted);
                Ok(Some(format!("block {} changed", self.name)))
            }
            None => {
                lines.drain(range);
                Ok(Some(format!("block {} removed", self.name)))
            }
        }
    }
}

impl Resource for Block {
    fn kind(&self) -> &'static str {
        "block"
    }

    fn name(&self) -> String {
        self.edit.path.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        self.edit.needs()
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        self.edit.decide(known, |lines| self.change(lines))
    }
}
