//! Which roles, and in what order: what a role requires comes before it, each once.

use super::{Role, RoleFile};
use crate::base::error::{Error, Location, Result};
use std::path::Path;
use std::sync::Arc;

/// A role asked for by name: on the command line, in a config, or by another role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub name: String,
    /// Where, when it was in a file.
    pub place: Option<Location>,
}

impl Asked {
    pub fn by_name(name: impl Into<String>) -> Self {
        Self { name: name.into(), place: None }
    }
}

/// Reads the file `requires`: one role a line, `#` begins a comment.
pub(super) fn read_requires(file: RoleFile) -> Result<Vec<Asked>> {
    let name = file.name.clone();
    let text = file.text()?;
    let mut found: Vec<Asked> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        let place = Location { source: Some(line.to_owned()), ..Location::line(name.clone(), number + 1) };
        if word.contains(char::is_whitespace) {
            return Err(Error::config(format!("\"{word}\" is not one role")).at(place).hint("`requires` names one role a line."));
        }
        found.push(Asked { name: word.to_owned(), place: Some(place) });
    }
    Ok(found)
}

/// Reads the roles and all they require, each once, every one after those that it requires.
pub fn in_order(project: &Path, asked: &[Asked]) -> Result<Vec<Arc<Role>>> {
    let mut ordered = Vec::new();
    for role in asked {
        visit(project, role, &mut Vec::new(), &mut ordered)?;
    }
    Ok(ordered)
}

fn visit(project: &Path, asked: &Asked, way: &mut Vec<Asked>, ordered: &mut Vec<Arc<Role>>) -> Result<()> {
    if let Some(from) = way.iter().position(|w| w.name == asked.name) {
        way.push(asked.clone());
        return Err(cycle(&way[from..]));
    }
    if ordered.iter().any(|role| role.name == asked.name) {
        return Ok(());
    }
    let role = Role::load(project, &asked.name).map_err(|error| match &asked.place {
        Some(place) => error.at(place.clone()),
        None => error,
    })?;
    way.push(asked.clone());
    for needed in &role.requires {
        visit(project, needed, way, ordered)?;
    }
    way.pop();
    ordered.push(Arc::new(role));
    Ok(())
}

fn cycle(round: &[Asked]) -> Error {
    let names: Vec<&str> = round.iter().map(|r| r.name.as_str()).collect();
    let error = Error::config(format!("these roles require each other: {}", names.join(" -> ")));
    let error = round[1..].iter().filter_map(|r| r.place.clone()).fold(error, Error::at);
    error.hint("Move what both need into a role of its own, and require that from both.")
}
