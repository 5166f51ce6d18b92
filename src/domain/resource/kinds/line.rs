//! One line in a text file, there or not there.

use super::super::{Fact, Known, Resource, Verdict};
use super::edit::Edit;
use crate::base::error::{Error, Result};
use regex::Regex;

#[derive(Clone, Debug)]
pub struct Line {
    pub edit: Edit,
    /// None: only of an absent line, that `regex` finds.
    pub line: Option<String>,
    /// The line that it takes the place of: the last that matches. Of an absent line: all that match.
    pub regex: Option<Regex>,
    pub absent: bool,
    pub place: Place,
}

/// Where something new goes in a file.
#[derive(Clone, Debug, Default)]
pub enum Place {
    #[default]
    End,
    /// After the last line that matches.
    After(Regex),
    /// Before the first line that matches.
    Before(Regex),
}

impl Place {
    /// The position in the lines.
    pub fn find(&self, path: &str, lines: &[String]) -> std::result::Result<usize, String> {
        let none = |which: &str, regex: &Regex| format!("no line of {path} matches \"{which}: {regex}\"");
        match self {
            Self::End => Ok(lines.len()),
            Self::After(regex) => {
                lines.iter().rposition(|l| regex.is_match(l)).map(|at| at + 1).ok_or_else(|| none("after", regex))
            }
            Self::Before(regex) => lines.iter().position(|l| regex.is_match(l)).ok_or_else(|| none("before", regex)),
        }
    }
}

impl Line {
    pub fn check(&self) -> Result<()> {
        if let Some(line) = self.line.as_ref().filter(|l| l.contains(['\n', '\r', '\0'])) {
            return Err(Error::usage(format!("\"{}\" is more than one line", line.escape_debug()))
                .hint("Several lines that belong together are a block."));
        }
        match (self.absent, &self.line, &self.regex) {
            (true, None, None) => Err(Error::usage("line is not told which line is to be absent")),
            (true, Some(_), Some(_)) => Err(Error::usage("an absent line is found either as it is or by \"regex\", not both")),
            (false, None, _) => Err(Error::usage("line is not told which line is to be there")),
            _ => Ok(()),
        }
    }

    fn is_meant(&self, line: &str) -> bool {
        self.line.as_deref() == Some(line) || self.regex.as_ref().is_some_and(|r| r.is_match(line))
    }

    fn change(&self, lines: &mut Vec<String>) -> std::result::Result<Option<String>, String> {
        let Some(wanted) = self.line.as_ref().filter(|_| !self.absent) else {
            let before = lines.len();
            lines.retain(|l| !self.is_meant(l));
            return Ok(match before - lines.len() {
                0 => None,
                1 => Some("line removed".to_owned()),
                n => Some(format!("{n} lines removed")),
            });
        };
        let matched = self.regex.as_ref().and_then(|r| lines.iter().rposition(|l| r.is_match(l)));
        if let Some(line) = matched.and_then(|at| lines.get_mut(at)) {
            if line == wanted {
                return Ok(None);
            }
            wanted.clone_into(line);
            return Ok(Some("line changed".to_owned()));
        }
        if lines.contains(wanted) {
            return Ok(None);
        }
        let at = self.place.find(&self.edit.path, lines)?;
        lines.insert(at, wanted.clone());
        Ok(Some("line added".to_owned()))
    }
}

impl Resource for Line {
    fn kind(&self) -> &'static str {
        "line"
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
