//! A template as text.

use super::{File, Template, merge};
use crate::base::error::{Error, Result};
use crate::domain::config::tree::{Data, Node};
use saphyr::{Mapping, Scalar, Yaml, YamlEmitter};
use saphyr_parser::{ScalarStyle, Tag};
use std::borrow::Cow;

/// The largest template, in bytes, that is sent with a call; larger ones go through a bucket.
pub const INLINE_LIMIT: usize = 51_200;

impl Template {
    /// The whole template in YAML, with the short tags of its files.
    pub fn to_yaml(&self) -> Result<String> {
        let mut root = Mapping::new();
        for section in &self.sections {
            let empty = section.value.map().is_some_and(<[_]>::is_empty);
            if !empty {
                root.insert(key(&section.key), yaml(&section.value));
            }
        }
        let mut out = String::new();
        let mut emitter = YamlEmitter::new(&mut out);
        emitter.multiline(true);
        emitter.dump(&Yaml::Mapping(root)).map_err(|e| Error::internal(format!("the template cannot be written: {e}")))?;
        let body = out.strip_prefix("---\n").unwrap_or(&out).trim_end();
        Ok(format!("{body}\n"))
    }

    /// The same for people to read: defaults of parameters that must not be shown are stars.
    pub fn to_shown_yaml(&self) -> Result<String> {
        let hidden: Vec<String> = self.hidden_parameters().map(str::to_owned).collect();
        let mut shown = self.clone();
        let parameters = shown.sections.iter_mut().find(|s| s.key == "Parameters").map(|s| &mut s.value.data);
        if let Some(Data::Map(parameters)) = parameters {
            for parameter in parameters.iter_mut().filter(|p| hidden.contains(&p.key)) {
                let Data::Map(keys) = &mut parameter.value.data else { continue };
                for default in keys.iter_mut().filter(|k| k.key == "Default") {
                    default.value.data = Data::Text("***".to_owned());
                    default.value.plain = false;
                }
            }
        }
        shown.to_yaml()
    }
}

/// The text of a template that was made before, for people to read.
pub fn shown(text: &str) -> Result<String> {
    let file = File { name: "the template that AWS has".to_owned(), text: text.to_owned() };
    merge::merge(&[file])?.to_shown_yaml()
}

fn key(name: &str) -> Yaml<'_> {
    Yaml::Value(Scalar::String(Cow::Borrowed(name)))
}

fn yaml(node: &Node) -> Yaml<'_> {
    match &node.data {
        // Plain words stay as they were written: `007`, `2012-10-17` and `on` mean to AWS what they mean.
        _ if node.plain => Yaml::Representation(Cow::Borrowed(&node.raw), ScalarStyle::Plain, None),
        Data::Null | Data::Required(_) => Yaml::Value(Scalar::Null),
        Data::Bool(b) => Yaml::Value(Scalar::Boolean(*b)),
        Data::Int(_) | Data::Float(_) => Yaml::Representation(Cow::Borrowed(&node.raw), ScalarStyle::Plain, None),
        Data::Text(text) if text.contains('\n') => Yaml::Value(Scalar::String(Cow::Borrowed(text))),
        Data::Text(text) => {
            let quoted = serde_json::to_string(text).unwrap_or_default();
            let inner = quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')).unwrap_or_default().to_owned();
            Yaml::Representation(Cow::Owned(inner), ScalarStyle::DoubleQuoted, None)
        }
        Data::Tagged(name, value) => {
            let tag = Tag { handle: "!".to_owned(), suffix: name.clone() };
            Yaml::Tagged(Cow::Owned(tag), Box::new(yaml(value)))
        }
        Data::List(items) => Yaml::Sequence(items.iter().map(yaml).collect()),
        Data::Map(entries) => Yaml::Mapping(entries.iter().map(|e| (key(&e.key), yaml(&e.value))).collect()),
    }
}
