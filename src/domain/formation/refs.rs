//! Who refers to what in a template.

use super::{text, wrong};
use crate::base::error::{Error, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::config::tree::{Data, Entry, Node, Place};

/// Names that AWS gives a value itself.
pub const PSEUDO: [&str; 8] = [
    "AWS::AccountId",
    "AWS::NoValue",
    "AWS::NotificationARNs",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
];

/// Functions, as short tags have them; `Fn::` before the name is the long form of all but the first two.
const FUNCTIONS: [&str; 28] = [
    "Ref",
    "Condition",
    "And",
    "Base64",
    "Cidr",
    "Contains",
    "EachMemberEquals",
    "EachMemberIn",
    "Equals",
    "FindInMap",
    "ForEach",
    "GetAtt",
    "GetAZs",
    "GetStackOutput",
    "If",
    "ImportValue",
    "Join",
    "Length",
    "Not",
    "Or",
    "RefAll",
    "Select",
    "Split",
    "Sub",
    "ToJsonString",
    "Transform",
    "ValueOf",
    "ValueOfAll",
];

/// What is referred to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A parameter, a resource or a name of AWS's.
    Value(String),
    /// An attribute of a resource.
    Attribute(String),
    Condition(String),
    /// A mapping, with the first key when it is written out.
    Mapping(String, Option<String>),
}

/// One reference.
#[derive(Clone, Debug)]
pub struct Reference {
    pub target: Target,
    pub place: Place,
}

/// All references in a value, in order.
pub fn of(node: &Node) -> Result<Vec<Reference>> {
    let mut found = Vec::new();
    walk(node, &mut found)?;
    Ok(found)
}

/// A function with what it is given.
fn call(node: &Node) -> Option<(&str, &Node)> {
    match &node.data {
        Data::Tagged(tag, value) => Some((tag, value)),
        Data::Map(entries) => match entries.as_slice() {
            [Entry { key, value, .. }] if key == "Ref" => Some(("Ref", value)),
            // Policies have a `Condition` too, and it is a map.
            [Entry { key, value, .. }] if key == "Condition" && text(value).is_some() => Some(("Condition", value)),
            [Entry { key, value, .. }] => key.strip_prefix("Fn::").map(|name| (name, value)),
            _ => None,
        },
        _ => None,
    }
}

fn walk(node: &Node, found: &mut Vec<Reference>) -> Result<()> {
    let Some((name, given)) = call(node) else {
        return match &node.data {
            Data::List(items) => items.iter().try_for_each(|item| walk(item, found)),
            Data::Map(entries) => entries.iter().try_for_each(|entry| walk(&entry.value, found)),
            _ => Ok(()),
        };
    };
    let mut add = |target: Target, place: &Place| found.push(Reference { target, place: place.clone() });
    let items = if let Data::List(items) = &given.data { items.as_slice() } else { &[] };
    match name {
        "Ref" => add(Target::Value(word(name, given)?), &given.place),
        "Condition" => add(Target::Condition(word(name, given)?), &given.place),
        "GetAtt" => add(Target::Attribute(attribute(given)?), &given.place),
        "Sub" => return substitution(given, items, found),
        "If" => {
            let condition = items.first().filter(|_| items.len() == 3);
            let condition =
                condition.ok_or_else(|| wrong("!If takes a list of three: a condition and two values", &given.place))?;
            add(Target::Condition(word(name, condition)?), &condition.place);
            return items[1..].iter().try_for_each(|item| walk(item, found));
        }
        "FindInMap" => {
            if items.len() < 3 {
                return Err(wrong("!FindInMap takes a list: the mapping and its two keys", &given.place));
            }
            if let Some(mapping) = text(&items[0]) {
                add(Target::Mapping(mapping.to_owned(), text(&items[1]).map(str::to_owned)), &items[0].place);
            }
            return items.iter().try_for_each(|item| walk(item, found));
        }
        name if FUNCTIONS.contains(&name) || name.starts_with("ForEach::") => return walk(given, found),
        unknown => {
            let error = wrong(format!("there is no function !{unknown}"), &node.place);
            return Err(error.hint_if(did_you_mean(unknown, FUNCTIONS)));
        }
    }
    Ok(())
}

fn word(function: &str, node: &Node) -> Result<String> {
    let expected = || wrong(format!("!{function} takes a name here, not {}", node.describe()), &node.place);
    text(node).filter(|t| !t.is_empty()).map(str::to_owned).ok_or_else(expected)
}

/// The resource of `Resource.Attribute` or `[Resource, Attribute]`.
fn attribute(node: &Node) -> Result<String> {
    let expected = || wrong(format!("!GetAtt takes Resource.Attribute, not {}", node.describe()), &node.place);
    let resource = match &node.data {
        Data::List(items) if items.len() == 2 => text(&items[0]),
        _ => text(node).and_then(|t| t.split_once('.')).map(|(resource, _)| resource),
    };
    resource.filter(|r| !r.is_empty()).map(str::to_owned).ok_or_else(expected)
}

/// `${Name}` and `${Name.Attribute}` of a text; `${!Name}` is itself.
fn substitution(given: &Node, items: &[Node], found: &mut Vec<Reference>) -> Result<()> {
    let (template, own) = match items {
        [] => (given, &[][..]),
        [template, values] => (template, values.map().unwrap_or_default()),
        _ => return Err(wrong("!Sub takes a text, or a list of a text and a map of its values", &given.place)),
    };
    let Some(words) = text(template) else {
        return Err(wrong(format!("!Sub takes a text, not {}", template.describe()), &template.place));
    };
    let mut used: Vec<&str> = Vec::new();
    for part in words.split("${").skip(1) {
        let Some((name, _)) = part.split_once('}') else {
            return Err(unclosed(template));
        };
        if name.starts_with('!') {
            continue;
        }
        used.push(name);
        if own.iter().any(|e| e.key == name) {
            continue;
        }
        let target = match name.split_once('.') {
            Some((resource, _)) => Target::Attribute(resource.to_owned()),
            None => Target::Value(name.to_owned()),
        };
        found.push(Reference { target, place: template.place.clone() });
    }
    if let Some(unused) = own.iter().find(|e| !used.contains(&e.key.as_str())) {
        return Err(wrong(format!("!Sub is given `{}`, and its text has no ${{{}}}", unused.key, unused.key), &unused.place));
    }
    own.iter().try_for_each(|entry| walk(&entry.value, found))
}

fn unclosed(template: &Node) -> Error {
    wrong("a ${ in this !Sub is never closed", &template.place).hint("A shell's own ${NAME} is written ${!NAME} there.")
}
