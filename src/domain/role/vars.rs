//! The variables of a role: its defaults, and what overrides them.

use super::Role;
use crate::base::error::{Error, Result};
use crate::base::suggest::{did_you_mean, nearest};
use crate::domain::config::tree::{Data, Entry};
use crate::domain::yaml_edit;
use serde_json::{Map, Value};
use std::sync::Arc;

const NAMES: &str = "A role's variables are those of its defaults.yml.";

/// `--set key=value` or `--set role.key=value`, before it is known of what type it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// For this role alone.
    pub role: Option<String>,
    pub key: String,
    pub text: String,
}

impl Setting {
    pub fn parse(word: &str) -> Result<Self> {
        let (key, text) = word
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("\"{word}\" is no setting")).hint("Settings look like --set port=8080."))?;
        let (role, key) = key.split_once('.').map_or((None, key), |(role, key)| (Some(role.to_owned()), key));
        role.as_deref().map_or(Ok(()), super::check_name)?;
        if !is_name(key) {
            return Err(Error::usage(format!("\"{key}\" cannot be the name of a variable")));
        }
        Ok(Self { role, key: key.to_owned(), text: text.to_owned() })
    }

    fn is_for(&self, role: &Role) -> bool {
        self.role.as_ref().is_none_or(|name| *name == role.name)
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
    /// What stands in a layer under the role's name is for this role alone, and goes before the rest of the layer.
    /// `given` are those that the caller adds itself. A variable that must be given and is not is an error.
    pub fn vars(&self, layers: &[&Map<String, Value>], settings: &[Setting], given: &[&str]) -> Result<Map<String, Value>> {
        let mut vars = Map::new();
        for layer in layers {
            let own = self.own(layer);
            if let Some(unknown) = own.and_then(|own| own.keys().find(|key| self.default(key).is_none())) {
                return Err(self.no_variable(unknown));
            }
            let shared = layer.iter().filter(|(key, _)| own.is_none() || **key != self.name);
            vars.extend(shared.chain(own.into_iter().flatten()).map(|(k, v)| (k.clone(), v.clone())));
        }
        for setting in settings.iter().filter(|s| s.is_for(self)) {
            let default = self.default(&setting.key).map(|e| &e.value.data);
            vars.insert(setting.key.clone(), setting.value(default)?);
        }
        for entry in self.defaults.iter().filter(|e| !vars.contains_key(&e.key)).collect::<Vec<_>>() {
            match &entry.value.data {
                Data::Required(what) if !given.contains(&entry.key.as_str()) => return Err(missing(&self.name, entry, what)),
                _ => vars.insert(entry.key.clone(), entry.value.to_json()),
            };
        }
        Ok(vars)
    }

    /// What a layer has for this role alone: a map under its name, unless that is the name of one of its variables.
    fn own<'a>(&self, layer: &'a Map<String, Value>) -> Option<&'a Map<String, Value>> {
        if self.default(&self.name).is_some() { None } else { layer.get(&self.name)?.as_object() }
    }

    fn no_variable(&self, name: &str) -> Error {
        let error = Error::config(format!("role {} has no variable `{name}`", self.name));
        let hint = did_you_mean(name, self.defaults.iter().map(|e| e.key.as_str()));
        error.hint(hint.unwrap_or_else(|| NAMES.to_owned()))
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
    let of_set = |mut error: Error| {
        let details = error.details_mut();
        details.message = format!("--set: {}", details.message);
        error.exit_with(2)
    };
    for setting in settings {
        let Some(name) = &setting.role else {
            check_names(roles, [setting.key.as_str()]).map_err(of_set)?;
            continue;
        };
        let Some(role) = roles.iter().find(|r| r.name == *name) else {
            let error = Error::usage(format!("role {name} is none of those that are asked for"));
            let names = roles.iter().map(|r| r.name.as_str());
            let hint = did_you_mean(name, names.clone());
            return Err(of_set(
                error.hint(hint.unwrap_or_else(|| format!("They are: {}.", names.collect::<Vec<_>>().join(", ")))),
            ));
        };
        if role.default(&setting.key).is_none() {
            return Err(of_set(role.no_variable(&setting.key)));
        }
    }
    Ok(())
}

/// A variable of the config that nothing seems to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unused {
    pub name: String,
    /// The variable that may be meant.
    pub near: Option<String>,
}

/// Finds the variables of a layer that no role has, that stand under no role's name, and that no file of the roles speaks of.
/// Scripts may use them still, so that this is no error.
pub fn unused(roles: &[Arc<Role>], names: &[String], layer: &Map<String, Value>) -> Vec<Unused> {
    let knows = |key: &str| names.iter().any(|n| n == key) || roles.iter().any(|r| r.default(key).is_some() || r.speaks_of(key));
    let unused = layer.keys().filter(|key| !knows(key));
    let known = || roles.iter().flat_map(|r| &r.defaults).map(|e| e.key.as_str()).chain(names.iter().map(String::as_str));
    unused.map(|key| Unused { name: key.clone(), near: nearest(key, known()).map(str::to_owned) }).collect()
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
    Err(Error::usage(message).hint(did_you_mean(name, known).unwrap_or_else(|| NAMES.to_owned())))
}
