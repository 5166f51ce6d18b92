//! What the parameters of a stack get, before and after.

use crate::domain::environment::{Origin, ParameterValue};
use crate::domain::formation::Template;
use serde::Serialize;
use std::collections::BTreeMap;

/// What stands for a value that is not shown.
const HIDDEN: &str = "***";

/// A parameter whose value differs, or may.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ValueChange {
    pub name: String,
    /// None: there is no such parameter yet.
    pub before: Option<String>,
    /// None: it goes.
    pub after: Option<String>,
    /// Neither value is shown, and whether they differ is not known: AWS does not tell what it has.
    pub hidden: bool,
}

/// The parameters that differ. Hidden ones are always among them, for nobody can tell.
pub fn compare(template: &Template, before: &BTreeMap<String, String>, values: &[ParameterValue]) -> Vec<ValueChange> {
    let hidden: Vec<&str> = template.hidden_parameters().collect();
    let mut changes: Vec<ValueChange> = Vec::new();
    for value in values {
        let old = before.get(&value.name);
        let hidden = hidden.contains(&value.name.as_str()) || value.plain().is_none();
        // For a default that is not sent, AWS takes the template's: the two are the same text.
        if !hidden && old.map(String::as_str) == value.plain() {
            continue;
        }
        let shown = |text: &str| if hidden { HIDDEN.to_owned() } else { text.to_owned() };
        changes.push(ValueChange {
            name: value.name.clone(),
            before: old.map(|text| shown(text)),
            after: Some(shown(value.plain().unwrap_or_default())),
            hidden,
        });
    }
    let gone = before.iter().filter(|(name, _)| !values.iter().any(|v| v.name == **name));
    changes.extend(gone.map(|(name, old)| {
        // Their templates are not read: AWS shows stars for what is hidden.
        let hidden = old.starts_with("****");
        let before = if hidden { HIDDEN.to_owned() } else { old.clone() };
        ValueChange { name: name.clone(), before: Some(before), after: None, hidden }
    }));
    changes
}

/// What is sent: all but the defaults.
pub fn sent(values: &[ParameterValue]) -> Vec<(&str, &str)> {
    values.iter().filter(|v| v.origin != Origin::Default).map(|v| (v.name.as_str(), v.text())).collect()
}
