//! What a document means, apart from how it is written: the yardstick that every edit is held to.

use super::path::{Path, Step};
use super::tree::{Document, Kind, Node, Style};
use crate::base::error::{Error, Result};
use serde_json::{Number, Value};
use std::collections::HashMap;
use std::rc::Rc;

/// A document that means more values than this (through aliases of aliases) is refused.
const MAX_VALUES: usize = 2_000_000;

/// A value. Parts an edit did not touch compare by their written form, edited ones by what they mean.
#[derive(Clone, Debug)]
pub enum Model {
    Scalar { text: String, plain: bool, tag: Option<String> },
    Json(Value),
    Seq(Vec<Rc<Model>>),
    Map(Vec<(Rc<Model>, Rc<Model>)>),
}

/// The meaning of a document; none when it is empty.
pub fn of(document: &Document) -> Result<Rc<Model>> {
    let mut anchors = HashMap::new();
    match &document.root {
        Some(node) => Ok(build(node, &mut anchors)?.0),
        None => Ok(Rc::new(Model::Json(Value::Null))),
    }
}

/// The meaning of one value of a document.
pub fn part(document: &Document, node: &Node) -> Result<Rc<Model>> {
    let mut anchors = HashMap::new();
    if let Some(root) = &document.root {
        build(root, &mut anchors)?;
    }
    Ok(build(node, &mut anchors)?.0)
}

type Built = (Rc<Model>, usize);

fn build(node: &Node, anchors: &mut HashMap<usize, Built>) -> Result<Built> {
    let (model, size) = match &node.kind {
        Kind::Alias(id) => {
            return anchors
                .get(id)
                .cloned()
                .ok_or_else(|| Error::config(format!("the alias at line {} stands inside the value it names", node.line)));
        }
        Kind::Scalar { text, style } => {
            (Model::Scalar { text: text.clone(), plain: *style == Style::Plain, tag: node.tag.clone() }, 1)
        }
        Kind::Seq { items, .. } => {
            let mut size = 1_usize;
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                let (model, n) = build(&item.value, anchors)?;
                size = size.saturating_add(n);
                out.push(model);
            }
            (Model::Seq(out), size)
        }
        Kind::Map { entries, .. } => {
            let mut size = 1_usize;
            let mut out = Vec::with_capacity(entries.len());
            for entry in entries {
                let (key, n) = build(&entry.key, anchors)?;
                let (value, m) = build(&entry.value, anchors)?;
                size = size.saturating_add(n).saturating_add(m);
                out.push((key, value));
            }
            (Model::Map(out), size)
        }
    };
    if size > MAX_VALUES {
        return Err(Error::config(format!("aliases make this document mean more than {MAX_VALUES} values (line {})", node.line)));
    }
    let built = (Rc::new(model), size);
    if node.anchor > 0 {
        anchors.insert(node.anchor, built.clone());
    }
    Ok(built)
}

impl Model {
    fn from_json(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::Seq(items.iter().map(|v| Rc::new(Self::from_json(v))).collect()),
            Value::Object(map) => Self::Map(map.iter().map(|(k, v)| (Rc::new(key(k)), Rc::new(Self::from_json(v)))).collect()),
            scalar => Self::Json(scalar.clone()),
        }
    }

    fn written(&self) -> Option<(&str, bool, Option<&str>)> {
        match self {
            Self::Scalar { text, plain, tag } => Some((text, *plain, tag.as_deref())),
            _ => None,
        }
    }

    fn is_key(&self, name: &str) -> bool {
        matches!(self, Self::Scalar { text, .. } if text == name)
    }

    fn is_null(&self) -> bool {
        match self {
            Self::Json(value) => value.is_null(),
            Self::Scalar { text, plain, tag } => resolve(text, *plain, tag.as_deref()) == Some(Value::Null),
            _ => false,
        }
    }

    /// Does to the meaning what an edit does to the text.
    pub fn edit(self: &mut Rc<Self>, path: &Path, value: Option<&Value>) {
        let Some((last, way)) = path.0.split_last() else { return };
        let mut at = self;
        for step in way {
            match at.enter(step, value.is_some()) {
                Some(next) => at = next,
                None => return,
            }
        }
        match value {
            Some(value) => {
                if let Some(place) = at.enter(last, true) {
                    *place = Rc::new(Self::from_json(value));
                }
            }
            None => match (Rc::make_mut(at), last) {
                (Self::Map(entries), Step::Key(name)) => entries.retain(|(k, _)| !k.is_key(name)),
                (Self::Seq(items), Step::Index(index)) if *index < items.len() => drop(items.remove(*index)),
                _ => {}
            },
        }
    }

    fn enter(self: &mut Rc<Self>, step: &Step, create: bool) -> Option<&mut Rc<Self>> {
        let this = Rc::make_mut(self);
        if this.is_null() && create {
            *this = match step {
                Step::Key(_) => Self::Map(Vec::new()),
                Step::Index(_) => Self::Seq(Vec::new()),
            };
        }
        match (this, step) {
            (Self::Map(entries), Step::Key(name)) => {
                let found = entries.iter().position(|(k, _)| k.is_key(name));
                let at = match found {
                    Some(at) => at,
                    None if create => {
                        entries.push((Rc::new(key(name)), Rc::new(Self::Json(Value::Null))));
                        entries.len() - 1
                    }
                    None => return None,
                };
                Some(&mut entries[at].1)
            }
            (Self::Seq(items), Step::Index(index)) => {
                if *index == items.len() && create {
                    items.push(Rc::new(Self::Json(Value::Null)));
                }
                items.get_mut(*index)
            }
            _ => None,
        }
    }
}

fn key(name: &str) -> Model {
    Model::Scalar { text: name.to_owned(), plain: true, tag: None }
}

/// Whether a document found means what was expected. The order of keys is no part of the meaning.
pub fn same(expected: &Rc<Model>, found: &Rc<Model>) -> bool {
    if Rc::ptr_eq(expected, found) {
        return true;
    }
    match (&**expected, &**found) {
        (Model::Json(a), Model::Json(b)) => a == b,
        (Model::Json(value), Model::Scalar { text, plain, tag }) | (Model::Scalar { text, plain, tag }, Model::Json(value)) => {
            resolve(text, *plain, tag.as_deref()).as_ref() == Some(value)
        }
        (Model::Scalar { .. }, Model::Scalar { .. }) => expected.written() == found.written(),
        (Model::Seq(a), Model::Seq(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Model::Map(a), Model::Map(b)) => a.len() == b.len() && pairs_match(a, b),
        _ => false,
    }
}

type Pair = (Rc<Model>, Rc<Model>);

fn pairs_match(a: &[Pair], b: &[Pair]) -> bool {
    fn sorted(pairs: &[Pair]) -> Vec<(&str, &Pair)> {
        let mut out: Vec<_> = pairs
            .iter()
            .map(|pair| match &*pair.0 {
                Model::Scalar { text, .. } => (text.as_str(), pair),
                _ => ("", pair),
            })
            .collect();
        out.sort_by_key(|(name, _)| *name);
        out
    }
    // A key's quotes are not compared: an inserted key may need them.
    let keys = |a: &Rc<Model>, b: &Rc<Model>| match (&**a, &**b) {
        (Model::Scalar { text: a, .. }, Model::Scalar { text: b, .. }) => a == b,
        _ => same(a, b),
    };
    sorted(a).into_iter().zip(sorted(b)).all(|((_, a), (_, b))| keys(&a.0, &b.0) && same(&a.1, &b.1))
}

/// Whether a value in the document already is this one.
pub fn is(found: &Rc<Model>, value: &Value) -> bool {
    same(&Rc::new(Model::from_json(value)), found)
}

/// What a scalar means by the core rules of YAML 1.2; none when its tag is one we do not know.
pub fn resolve(text: &str, plain: bool, tag: Option<&str>) -> Option<Value> {
    match tag {
        Some("tag:yaml.org,2002:str" | "!") => Some(Value::String(text.to_owned())),
        Some(tag) if !tag.starts_with("tag:yaml.org,2002:") => None,
        None if !plain => Some(Value::String(text.to_owned())),
        _ => Some(resolve_plain(text)),
    }
}

fn resolve_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = if let Some(hex) = text.strip_prefix("0x") {
        u64::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')).map(Number::from)
    } else if let Some(octal) = text.strip_prefix("0o") {
        u64::from_str_radix(octal, 8).ok().filter(|_| !octal.starts_with('+')).map(Number::from)
    } else if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let whole = text.strip_prefix('+').unwrap_or(text);
        whole.parse::<i64>().map(Number::from).or_else(|_| whole.parse::<u64>().map(Number::from)).ok()
    } else if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().any(|b| b.is_ascii_digit())
        && unsigned.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
    {
        text.parse::<f64>().ok().and_then(Number::from_f64)
    } else {
        None
    };
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}
