//! Regular expressions for scripts: compiled once, with errors that show where a pattern goes wrong.

use crate::base::error::{Error, Result};
use regex::Regex;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// More patterns than this are not remembered.
const REMEMBERED: usize = 64;

static KNOWN: Mutex<Option<HashMap<String, Regex>>> = Mutex::new(None);

/// The compiled pattern.
pub fn compile(pattern: &str) -> Result<Regex> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(regex) = known.get(pattern) {
        return Ok(regex.clone());
    }
    let regex = Regex::new(pattern).map_err(|e| {
        let text = e.to_string();
        let why = text.lines().rev().find_map(|l| l.trim().strip_prefix("error: ").map(str::to_owned)).unwrap_or(text);
        Error::usage(format!("\"{pattern}\" is not a regular expression: {why}"))
            .hint("In backticks (`\\d+`) a script's string takes backslashes as they are.")
    })?;
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong_with_a_pattern() {
        assert!(compile(r"(\d+)").unwrap().is_match("a 12"));
        assert_eq!(compile("a(").unwrap_err().message(), "\"a(\" is not a regular expression: unclosed group");
    }
}
