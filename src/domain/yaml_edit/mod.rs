//! Edits of YAML text that keep its comments, order and style.
//!
//! Only the bytes of the values named are touched. Afterwards the result is parsed again and must mean
//! exactly the old document plus the edits; if it does not, nothing is returned but an error.

mod change;
mod model;
mod path;
mod render;
mod tree;

pub use path::{Path, Step};

use crate::base::error::{Error, Result};
use crate::base::suggest;
use serde_json::Value;
use tree::{Document, Entry, Kind, Node};

/// Longer lists than this are written anew instead of item by item.
const MAX_PIECEWISE: usize = 64;

/// Sets (`Some`) or removes (`None`) values, in the order given. Returns the new text and whether it differs.
///
/// Missing maps on the way are created; a list grows by naming the index after its last.
/// Setting a value that is already there, or removing one that is not, changes nothing.
pub fn edit(text: &str, edits: &[(Path, Option<Value>)]) -> Result<(String, bool)> {
    let mut expected = model::of(&tree::parse(text)?)?;
    let mut now = text.to_owned();
    for (path, value) in edits {
        now = apply(now, path, value.as_ref())?;
        expected.edit(path, value.as_ref());
    }
    if now == text {
        return Ok((now, false));
    }
    let complain = |why: &str| {
        let paths: Vec<_> = edits.iter().map(|(p, _)| p.to_string()).collect();
        Error::config(format!("cannot edit {} safely: {why}", paths.join(", ")))
            .hint("Nothing was written. Values with anchors, aliases or unusual layout may have to be edited by hand.")
    };
    let found = tree::parse(&now).and_then(|d| model::of(&d)).map_err(|e| complain(e.message()))?;
    if model::same(&expected, &found) || is_emptied(&expected, &found) {
        Ok((now, true))
    } else {
        Err(complain("the result would mean something else than was asked for"))
    }
}

/// A document whose last key was removed has no value at all any more.
fn is_emptied(expected: &model::Model, found: &model::Model) -> bool {
    let nothing = match found {
        model::Model::Json(value) => value.is_null(),
        model::Model::Scalar { text, plain, .. } => *plain && text.is_empty(),
        _ => false,
    };
    let empty = match expected {
        model::Model::Map(entries) => entries.is_empty(),
        model::Model::Seq(items) => items.is_empty(),
        _ => false,
    };
    nothing && empty
}

/// The value of a YAML document; nothing at all is null. `yes` and `no` are booleans, as people who write them mean.
pub fn from_yaml(text: &str) -> Result<Value> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(text).map_err(|e| {
        // The first line says it, the rest draws the text; advice in it is for programmers.
        let said = e.to_string();
        let said = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let said = [", set ", "; use "].iter().fold(said, |s, advice| s.split(advice).next().unwrap_or(s));
        match said.split_once("budget breached") {
            Some((place, _)) => Error::config(format!("not taken as YAML: {place}it means too many values")),
            None => Error::config(format!("not valid YAML: {said}")),
        }
    })
}

/// A value as a YAML document of its own, in block style, safe for readers of YAML 1.1 and 1.2.
pub fn to_yaml(value: &Value) -> String {
    let lines = match render::inline(value, None) {
        Some(text) => vec![text],
        None => match render::block(value) {
            block if block.header.is_empty() => block.lines,
            block => std::iter::once(block.header).chain(block.lines.iter().map(|l| render::indented(l, "  "))).collect(),
        },
    };
    lines.join("\n") + "\n"
}

/// One edit on text.
fn apply(text: String, path: &Path, value: Option<&Value>) -> Result<String> {
    let document = tree::parse(&text)?;
    let place = find(&document, path)?;
    match (place, value) {
        (Place::Missing(..), None) => Ok(text),
        (Place::Missing(parent, depth), Some(value)) => {
            let rest = &path.0[depth..];
            let whole = wrap(&rest[1..], value, path)?;
            change::insert(&text, &document, parent, &rest[0], &whole)
        }
        (Place::Found(at), None) => {
            refuse_shared(&document, at.value(), path)?;
            change::remove(&text, &document, &at)
        }
        (Place::Found(at), Some(value)) => {
            if model::is(&model::part(&document, at.value())?, value) {
                return Ok(text);
            }
            match (&at.value().kind, value) {
                (Kind::Map { entries, .. }, Value::Object(map)) if !map.is_empty() && at.value().tag.is_none() => {
                    let gone: Vec<String> = entries
                        .iter()
                        .filter_map(|e| e.key.scalar())
                        .filter(|k| !map.contains_key(*k))
                        .map(str::to_owned)
                        .collect();
                    if gone.len() + map.len() <= MAX_PIECEWISE && entries.iter().all(|e| e.key.scalar().is_some()) {
                        let mut text = text;
                        for (key, value) in map {
                            text = apply(text, &path.child(Step::Key(key.clone())), Some(value))?;
                        }
                        for key in gone {
                            text = apply(text, &path.child(Step::Key(key)), None)?;
                        }
                        return Ok(text);
                    }
                }
                (Kind::Seq { items, .. }, Value::Array(new)) if !new.is_empty() && at.value().tag.is_none() => {
                    let old = items.len();
                    if old.max(new.len()) <= MAX_PIECEWISE {
                        let mut text = text;
                        for (index, value) in new.iter().enumerate() {
                            text = apply(text, &path.child(Step::Index(index)), Some(value))?;
                        }
                        for index in (new.len()..old).rev() {
                            text = apply(text, &path.child(Step::Index(index)), None)?;
                        }
                        return Ok(text);
                    }
                }
                _ => {}
            }
            refuse_shared(&document, at.value(), path)?;
            Ok(change::replace(&text, &document, &at, value))
        }
    }
}

/// A value found in its container.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    Entry { map: &'a Node, index: usize, entry: &'a Entry },
    Item { seq: &'a Node, index: usize, item: &'a tree::Item },
}

impl<'a> At<'a> {
    fn value(&self) -> &'a Node {
        match self {
            Self::Entry { entry, .. } => &entry.value,
            Self::Item { item, .. } => &item.value,
        }
    }
}

enum Place<'a> {
    Found(At<'a>),
    /// The deepest container on the way that exists (none: the document is empty), and how many steps lead to it.
    Missing(Option<Parent<'a>>, usize),
}

/// What something is inserted into: the container, and the place it has in its own container (none at the top).
#[derive(Clone, Copy)]
pub(crate) struct Parent<'a> {
    pub node: &'a Node,
    pub at: Option<At<'a>>,
}

fn find<'a>(document: &'a Document, path: &Path) -> Result<Place<'a>> {
    if path.0.is_empty() {
        return Err(Error::usage("the path of a YAML edit is empty"));
    }
    let Some(root) = &document.root else {
        return match &path.0[0] {
            Step::Key(_) => Ok(Place::Missing(None, 0)),
            Step::Index(_) => Err(mismatch("the document is empty", None, path, 0)),
        };
    };
    let mut parent = Parent { node: root, at: None };
    for (depth, step) in path.0.iter().enumerate() {
        let node = parent.node;
        let at = match (&node.kind, step) {
            (Kind::Map { entries, .. }, Step::Key(name)) => {
                let mut found = entries.iter().enumerate().filter(|(_, e)| e.key.scalar() == Some(name));
                match (found.next(), found.next()) {
                    (Some((_, first)), Some((_, second))) => {
                        return Err(Error::config(format!(
                            "\"{}\" is there twice: lines {} and {}",
                            path.prefix(depth + 1),
                            first.key.line,
                            second.key.line
                        ))
                        .hint("Remove one of the two by hand first."));
                    }
                    (Some((index, entry)), None) => At::Entry { map: node, index, entry },
                    _ => return Ok(Place::Missing(Some(parent), depth)),
                }
            }
            (Kind::Seq { items, .. }, Step::Index(index)) => match items.get(*index) {
                Some(item) => At::Item { seq: node, index: *index, item },
                None if *index == items.len() => return Ok(Place::Missing(Some(parent), depth)),
                None => {
                    let why = format!("has {} items", items.len());
                    return Err(
                        mismatch(&why, Some(node.line), path, depth).hint(format!("The next free index is [{}].", items.len()))
                    );
                }
            },
            (Kind::Scalar { .. }, step) if is_null(node) => {
                if let Step::Index(1..) = step {
                    return Err(mismatch("is empty", Some(node.line), path, depth).hint("The next free index is [0]."));
                }
                return Ok(Place::Missing(Some(parent), depth));
            }
            (kind, step) => return Err(wrong_kind(kind, step, node, path, depth)),
        };
        if depth + 1 == path.0.len() {
            return Ok(Place::Found(at));
        }
        parent = Parent { node: at.value(), at: Some(at) };
    }
    Err(Error::internal("a YAML path led nowhere"))
}

fn is_null(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar { text, style } => {
            model::resolve(text, *style == tree::Style::Plain, node.tag.as_deref()) == Some(Value::Null)
        }
        _ => false,
    }
}

fn wrong_kind(kind: &Kind, step: &Step, node: &Node, path: &Path, depth: usize) -> Error {
    let found = match kind {
        Kind::Scalar { text, .. } if text.chars().count() > 40 => "is text".to_owned(),
        Kind::Scalar { text, .. } => format!("is {text:?}"),
        Kind::Alias(_) => "is an alias of another value".to_owned(),
        Kind::Seq { items, .. } => format!("is a list of {}", items.len()),
        Kind::Map { .. } => "is a map".to_owned(),
    };
    let wanted = match step {
        Step::Key(_) => "a map",
        Step::Index(_) => "a list",
    };
    let error = mismatch(&format!("{found}, not {wanted}"), Some(node.line), path, depth);
    match (kind, step) {
        (Kind::Seq { .. }, Step::Key(key)) => error.hint(format!("Name an item of the list: {}[0].{key}", path.prefix(depth))),
        (Kind::Map { entries, .. }, _) => error.hint_if(suggest::did_you_mean("", entries.iter().filter_map(|e| e.key.scalar()))),
        _ => error,
    }
}

/// The error of a path that does not fit the document: what stands at its first `depth` steps.
fn mismatch(found: &str, line: Option<usize>, path: &Path, depth: usize) -> Error {
    let place = if depth == 0 { "the top of the document".to_owned() } else { format!("\"{}\"", path.prefix(depth)) };
    let line = line.map_or_else(String::new, |l| format!(" (line {l})"));
    let subject = if found.starts_with("the document") { found.to_owned() } else { format!("{place} {found}") };
    Error::config(format!("cannot edit \"{path}\": {subject}{line}"))
}

/// The value to insert when steps below the insertion are missing as well.
fn wrap(steps: &[Step], value: &Value, path: &Path) -> Result<Value> {
    steps.iter().rev().try_fold(value.clone(), |inner, step| match step {
        Step::Key(key) => Ok(Value::Object([(key.clone(), inner)].into_iter().collect())),
        Step::Index(0) => Ok(Value::Array(vec![inner])),
        Step::Index(n) => Err(Error::config(format!("cannot edit \"{path}\": the list for [{n}] does not exist yet"))
            .hint("A new list starts with [0].")),
    })
}

/// Refuses to replace or remove a value that aliases elsewhere refer to.
fn refuse_shared(document: &Document, node: &Node, path: &Path) -> Result<()> {
    fn anchors(node: &Node, visit: &mut impl FnMut(&Node)) {
        visit(node);
        match &node.kind {
            Kind::Seq { items, .. } => items.iter().for_each(|i| anchors(&i.value, visit)),
            Kind::Map { entries, .. } => entries.iter().for_each(|e| {
                anchors(&e.key, visit);
                anchors(&e.value, visit);
            }),
            _ => {}
        }
    }
    let mut own = Vec::new();
    anchors(node, &mut |n| {
        if n.anchor > 0 {
            own.push(n.anchor);
        }
    });
    if own.is_empty() {
        return Ok(());
    }
    let mut user = None;
    if let Some(root) = &document.root {
        anchors(root, &mut |n| {
            if matches!(n.kind, Kind::Alias(id) if own.contains(&id)) {
                user.get_or_insert(n.line);
            }
        });
    }
    match user {
        Some(line) => Err(Error::config(format!(
            "cannot edit \"{path}\": its value (line {}) has an anchor that line {line} refers to, so that would change too",
            node.line
        ))
        .hint("Edit this file by hand, or set both values in one edit after replacing the alias.")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
