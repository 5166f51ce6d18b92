//! What an expression at the cursor is, as far as it can be known without running anything.

use super::place::{Chain, Root, Step};
use super::session::Session;
use crate::script::object::Object;
use rhai::Dynamic;

/// What is known of a value.
#[derive(Clone, Debug)]
pub struct Known {
    /// As `Signatures` name it: `Nodes`, `map`, `string`.
    pub kind: String,
    /// The value itself, where a variable leads to it.
    pub value: Option<Dynamic>,
}

impl Known {
    fn kind(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), value: None }
    }

    fn value(session: &Session, value: Dynamic) -> Self {
        Self { kind: session.kind_of(&value), value: Some(value) }
    }
}

/// Follows the expression from variable to property to method, by values where there are some, else by what functions return.
/// None when it leads anywhere.
pub fn infer(session: &Session, chain: &Chain) -> Option<Known> {
    let start = match &chain.root {
        Root::Variable(name) => Known::value(session, session.variable(name)?),
        Root::Call(function) => Known::kind(returned(session, function, None)?),
        Root::Text => Known::kind("string"),
        Root::Number => Known::kind("int"),
        Root::Array => Known::kind("array"),
        Root::Map => Known::kind("map"),
        Root::Unknown => return None,
    };
    chain.steps.iter().try_fold(start, |owner, step| match step {
        Step::Property(name) => property(session, &owner, name),
        Step::Method(name) => Some(Known::kind(returned(session, name, Some(&owner.kind))?)),
        Step::Index(at) => index(session, &owner, *at),
    })
}

fn property(session: &Session, owner: &Known, name: &str) -> Option<Known> {
    if let Some(value) = &owner.value {
        if let Ok(map) = value.as_map_ref() {
            return map.get(name).map(|v| Known::value(session, v.flatten_clone()));
        }
        if let Some(object) = value.read_lock::<Object>() {
            return object.fields().get(name).map(|v| Known::value(session, v.flatten_clone()));
        }
    }
    Some(Known::kind(returned(session, &format!("get${name}"), Some(&owner.kind))?))
}

fn index(session: &Session, owner: &Known, at: Option<usize>) -> Option<Known> {
    let items = owner.value.as_ref().and_then(|v| v.as_array_ref().ok().map(|a| a.clone()));
    if let Some(items) = items {
        // Items of an array are mostly alike: the first may speak for one that is not known.
        return items.get(at.unwrap_or(0)).map(|v| Known::value(session, v.flatten_clone()));
    }
    Some(Known::kind(returned(session, "index$get$", Some(&owner.kind))?))
}

/// What a function returns, when all its overloads for this receiver agree on something that is known.
fn returned(session: &Session, function: &str, receiver: Option<&str>) -> Option<String> {
    let signatures = session.signatures();
    let mut kinds: Vec<&str> = signatures
        .named(function)
        .filter(|f| receiver.is_none_or(|kind| f.params.first().is_some_and(|p| p.kind == kind)))
        .map(|f| f.returns.as_str())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    match kinds.as_slice() {
        [only] if !only.is_empty() && *only != "any" => Some((*only).to_owned()),
        _ => None,
    }
}
