//! The variables of a role: its defaults, and what overrides them.

use super::Role;
use crate::base::error::{Error, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::config::tree::{Data, Entry};
use crate::domain::yaml_edit;
use serde_json::{Map, Value};
use std::sync::Arc;

/// `--set key=value`, before it is known of what type it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    pub key: String,
    pub text: String,
}

impl Setting {
    pub fn parse(word: &str) -> Result<Self> {
        let (key, text) = word
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("\"{word}\" is no setting")).hint("Settings look like --set port=8080."))?;
        if !is_name(key) {
            return Err(Error::usage(format!("\"{key}\" cannot be the name of a variable")));
        }
        Ok(Self { key: key.to_owned(), text: text.to_owned() })
    }

    /// The value, as YAML reads it; text stays text where the role's default is text: `--set version=1.10`.
    fn value(&self, default: Option<&Data>) -> Result<Value> {
        if self.text.is_empty() || matches!(default, Some(Data::Text(_))) {
            return Ok(Value::String(self.text.clone()));
        }
        yaml_edit::from_yaml(&self.text).map_err(|e| e.context(format!("reading --set {}", self.key)))
    }
}

/// Whether scripts and templates can use it as a word.
pub(super) fn is_name(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Role {
    /// The variables: the role's defaults, replaced by each layer in turn, and last by the settings of the command line.
    /// `given` are those that the caller adds itself. A variable that must be given and is not is an error.
    pub fn vars(&self, layers: &[&Map<String, Value>], settings: &[Setting], given: &[&str]) -> Result<Map<String, Value>> {
        let mut vars: Map<String, Value> = self.defaults.iter().map(|e| (e.key.clone(), e.value.to_json())).collect();
        for layer in layers {
            vars.extend(layer.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        for setting in settings {
            let default = self.default(&setting.key).map(|e| &e.value.data);
            vars.insert(setting.key.clone(), setting.value(default)?);
        }
        for entry in &self.defaults {
            let is_given = || {
                given.contains(&entry.key.as_str())
                    || layers.iter().any(|l| l.contains_key(&entry.key))
                    || settings.iter().any(|s| s.key == entry.key)
            };
            if let Data::Required(what) = &entry.value.data
                && !is_given()
            {
                return Err(missing(&self.name, entry, what));
            }
        }
        Ok(vars)
    }

    fn default(&self, key: &str) -> Option<&Entry> {
        self.defaults.iter().find(|e| e.key == key)
    }
}

fn missing(role: &str, entry: &Entry, what: &str) -> Error {
    let key = &entry.key;
    let what = if what.is_empty() { String::new() } else { format!(": {what}") };
    Error::config(format!("role {role} needs the variable `{key}`{what}"))
        .at(entry.place.location())
        .hint(format!("Give it under `vars:` of the config, or of a group, or with --set {key}=…"))
}

/// Refuses settings that none of the roles knows.
pub fn check_settings(roles: &[Arc<Role>], settings: &[Setting]) -> Result<()> {
    check_names(roles, settings.iter().map(|s| s.key.as_str())).map_err(|mut error| {
        let details = error.details_mut();
        details.message = format!("--set: {}", details.message);
        error
    })
}

/// Refuses variables that none of the roles knows.
pub fn check_names<'a>(roles: &[Arc<Role>], names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let known: Vec<&str> = roles.iter().flat_map(|r| &r.defaults).map(|e| e.key.as_str()).collect();
    let Some(name) = names.into_iter().find(|name| !known.contains(name)) else { return Ok(()) };
    let roles: Vec<&str> = roles.iter().map(|r| r.name.as_str()).collect();
    let message = match roles.as_slice() {
        [only] => format!("role {only} has no variable `{name}`"),
        many => format!("none of the roles {} has a variable `{name}`", many.join(", ")),
    };
    let error = Error::usage(message);
    Err(match did_you_mean(name, known) {
        Some(hint) => error.hint(hint),
        None => error.hint("A role's variables are those of its defaults.yml."),
    })
}
