//! The texts of all scripts and modules of a run, so that errors can show the line they are about.

use super::lines::{self, Lost};
use crate::base::error::Location;
use rhai::{AST, Position};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

/// Where modules of the embedded standard library say they are from.
pub const STD: &str = "std/";

/// One text, under the name that Rhai carries in its errors: the canonical path, or `std/name.rhai`.
#[derive(Debug, Default)]
struct Source {
    text: Arc<str>,
    lost: Vec<Lost>,
    functions: Vec<(String, usize)>,
}

/// All texts seen so far.
#[derive(Debug, Default)]
pub struct Sources {
    cwd: PathBuf,
    texts: RwLock<HashMap<String, Source>>,
    /// Rhai does not say which file a closure is from when a module calls it.
    closures: RwLock<HashMap<String, String>>,
}

impl Sources {
    pub fn new() -> Self {
        Self { cwd: std::env::current_dir().unwrap_or_default(), ..Self::default() }
    }

    /// Keeps a text, before it is compiled.
    pub fn add(&self, name: &str, text: &str) {
        if let Ok(mut sources) = self.texts.write() {
            sources.insert(name.to_owned(), Source { text: text.into(), lost: lines::lost(text), functions: Vec::new() });
        }
    }

    /// Keeps what a compiled text defines.
    pub fn compiled(&self, name: &str, ast: &AST) {
        let mut functions = Vec::new();
        for f in ast.iter_functions() {
            if f.name.starts_with(rhai_closure_prefix()) {
                if let Ok(mut closures) = self.closures.write() {
                    closures.insert(f.name.to_owned(), name.to_owned());
                }
            } else if f.this_type.is_none() {
                functions.push((f.name.to_owned(), f.params.len()));
            }
        }
        if let Ok(mut sources) = self.texts.write()
            && let Some(source) = sources.get_mut(name)
        {
            source.functions = functions;
        }
    }

    /// The file a closure was written in.
    pub fn of_closure(&self, function: &str) -> Option<String> {
        self.closures.read().ok()?.get(function).cloned()
    }

    /// The names of all functions that scripts and modules of this run define.
    pub fn functions(&self) -> Vec<(String, usize)> {
        let Ok(sources) = self.texts.read() else { return Vec::new() };
        sources.values().flat_map(|s| s.functions.iter().cloned()).collect()
    }

    pub fn text(&self, name: &str) -> Option<Arc<str>> {
        self.texts.read().ok()?.get(name).map(|s| s.text.clone())
    }

    /// The name a person knows the file by: relative to where they stand.
    pub fn display(&self, name: &str) -> String {
        match Path::new(name).strip_prefix(&self.cwd) {
            Ok(relative) if !relative.as_os_str().is_empty() => relative.display().to_string(),
            _ => name.to_owned(),
        }
    }

    /// A place with its line of text.
    pub fn locate(&self, name: &str, position: Position) -> Location {
        let (counted, column) = (position.line().unwrap_or(0), position.position().unwrap_or(0));
        let line = match self.texts.read() {
            Ok(texts) => texts.get(name).map_or(counted, |s| lines::real(&s.lost, counted)),
            Err(_) => counted,
        };
        let source = self.text(name).and_then(|t| t.lines().nth(line.checked_sub(1)?).map(str::to_owned));
        Location { file: self.display(name), line, column, source }
    }

    /// Every word that is written as a key or a field in some text, roughly: good enough for a suggestion.
    pub fn map_keys(&self) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        let Ok(texts) = self.texts.read() else { return keys };
        for source in texts.values() {
            for (at, _) in source.text.match_indices('.') {
                let after = source.text[at + 1..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                // What is called is a method.
                if !after.is_empty() && !source.text[at + 1 + after.len()..].starts_with('(') {
                    keys.insert(after.to_owned());
                }
            }
            for (at, _) in source.text.match_indices(':') {
                let before = source.text[..at].trim_end_matches('"');
                let word = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                if !word.is_empty() && !source.text[at + 1..].starts_with(':') && !before.ends_with(':') {
                    keys.insert(word.to_owned());
                }
            }
        }
        keys
    }

    /// The place of a word that is in a text only once.
    pub fn find_only(&self, name: &str, word: &str) -> Option<Location> {
        let text = self.text(name)?;
        let mut places = text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.contains("fn "))
            .flat_map(|(n, l)| l.match_indices(word).map(move |(at, _)| (n, at, l)));
        let (line, at, source) = places.next()?;
        if places.next().is_some() {
            return None;
        }
        let column = source[..at].chars().count() + 2;
        Some(Location { file: self.display(name), line: line + 1, column, source: Some(source.to_owned()) })
    }

    /// The place that `file:line:column` means, as `catch` maps carry it.
    pub fn parse_place(&self, text: &str) -> Option<Location> {
        let mut parts = text.rsplitn(3, ':');
        let (column, line) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let file = parts.next()?.to_owned();
        let sources = self.texts.read().ok()?;
        let text = sources.iter().find(|(name, _)| self.display(name) == file).map(|(_, s)| s.text.clone());
        let source = text.and_then(|t| t.lines().nth(usize::checked_sub(line, 1)?).map(str::to_owned));
        Some(Location { file, line, column, source })
    }
}

/// How the names begin that Rhai gives to closures. They must never be shown.
pub const fn rhai_closure_prefix() -> &'static str {
    "anon$"
}
