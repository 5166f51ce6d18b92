//! What there is to say of a role: for `opsrun role doc`.

use super::Role;
use crate::domain::config::tree::{Data, Entry};
use crate::domain::yaml_edit;
use serde::Serialize;

/// A variable of a role.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Variable {
    pub name: String,
    /// As YAML on one line; none for one that must be given.
    pub default: Option<String>,
    /// The comment beside it, or above it.
    pub about: String,
}

impl Role {
    /// What its author says of it: the comment at the top of main.rhai.
    pub fn about(&self) -> String {
        let text = String::from_utf8_lossy(&self.main.content).into_owned();
        let lines = text.lines().map_while(|l| l.trim_start().strip_prefix("//")).map(|l| l.trim_start_matches(['/', '!']));
        lines.map(|l| l.strip_prefix(' ').unwrap_or(l).trim_end()).collect::<Vec<_>>().join("\n").trim().to_owned()
    }

    /// Its variables, in the order of defaults.yml.
    pub fn variables(&self) -> Vec<Variable> {
        self.defaults.iter().map(variable).collect()
    }
}

fn variable(entry: &Entry) -> Variable {
    let comment = comment(entry);
    let (default, about) = match &entry.value.data {
        Data::Required(what) if comment.is_empty() => (None, what.clone()),
        Data::Required(what) => (None, format!("{what} {comment}").trim().to_owned()),
        _ => (Some(on_one_line(&entry.value.to_json())), comment),
    };
    Variable { name: entry.key.clone(), default, about }
}

fn on_one_line(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(_) | serde_json::Value::Array(_) => value.to_string(),
        scalar => yaml_edit::to_yaml(scalar).trim_end().to_owned(),
    }
}

/// The comment on the line of a key, or else the lines of comment right above it.
fn comment(entry: &Entry) -> String {
    let lines: Vec<&str> = entry.place.source.text.lines().collect();
    let at = entry.place.line.saturating_sub(1);
    if let Some((_, beside)) = lines.get(at).and_then(|l| l.split_once(" #")) {
        return beside.trim().to_owned();
    }
    let above = lines[..at.min(lines.len())].iter().rev().map_while(|l| l.trim().strip_prefix('#'));
    let mut above: Vec<&str> = above.map(str::trim).collect();
    above.reverse();
    above.join(" ")
}
