//! CloudFormation templates: many small files merged into one, and checked before anything is asked of AWS.
//!
//! `merge` puts the files together, `refs` finds who refers to what, `check` looks for what AWS would only refuse later,
//! `render` writes the whole as one template, short tags and all.

mod check;
mod kinds;
pub mod library;
mod merge;
mod refs;
mod render;
#[cfg(test)]
mod tests;

pub use kinds::{deletion_policy, is_data_bearing};
pub use render::{INLINE_LIMIT, shown};

use crate::base::error::{Error, IoResultExt, Result};
use crate::domain::config::Source;
use crate::domain::config::tree::{self, Data, Entry, Node};
use std::path::Path;
use std::sync::Arc;

/// The sections of a template, in the order in which they are written.
pub const SECTIONS: [&str; 10] = [
    "AWSTemplateFormatVersion",
    "Description",
    "Metadata",
    "Transform",
    "Parameters",
    "Rules",
    "Mappings",
    "Conditions",
    "Resources",
    "Outputs",
];

/// One file of a formation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// What errors call it: its path as the user wrote it, or `std/formations/…`.
    pub name: String,
    pub text: String,
}

impl File {
    /// Reads it. `name` is what errors call it.
    pub fn read(path: &Path, name: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path).at("read", path)?;
        Ok(Self { name: name.to_owned(), text })
    }

    fn parse(&self) -> Result<Node> {
        let source = Source { name: self.name.clone(), dir: Path::new(".").to_owned(), text: self.text.clone() };
        tree::parse_tagged(&Arc::new(source))
    }
}

/// A template made of one or more files.
#[derive(Clone, Debug)]
pub struct Template {
    /// Each of `SECTIONS` that any file has, in that order.
    sections: Vec<Entry>,
}

impl Template {
    /// Merges the files and checks the result.
    pub fn new(files: &[File]) -> Result<Self> {
        let template = merge::merge(files)?;
        check::check(&template)?;
        Ok(template)
    }

    /// What a section holds by name; nothing when it is not there.
    pub fn section(&self, name: &str) -> &[Entry] {
        self.sections.iter().find(|s| s.key == name).and_then(|s| s.value.map()).unwrap_or_default()
    }

    /// The resources, by logical ID.
    pub fn resources(&self) -> &[Entry] {
        self.section("Resources")
    }

    pub fn parameters(&self) -> &[Entry] {
        self.section("Parameters")
    }

    /// A resource of this logical ID.
    pub fn resource(&self, id: &str) -> Option<&Entry> {
        self.resources().iter().find(|r| r.key == id)
    }

    /// The parameters that no value needs to be given for are not among these.
    pub fn required_parameters(&self) -> impl Iterator<Item = &str> {
        self.parameters().iter().filter(|p| child(&p.value, "Default").is_none()).map(|p| p.key.as_str())
    }

    /// The parameters whose values must not be shown.
    pub fn hidden_parameters(&self) -> impl Iterator<Item = &str> {
        let hidden = |p: &&Entry| child(&p.value, "NoEcho").is_some_and(|n| matches!(n.raw.as_str(), "true" | "True" | "yes"));
        self.parameters().iter().filter(hidden).map(|p| p.key.as_str())
    }

    /// Whether something that is not in the files may appear in the template: a macro makes it.
    pub fn is_generated(&self) -> bool {
        self.sections.iter().any(|s| s.key == "Transform")
    }

    /// What has to be agreed to by name for AWS to take the template (`CAPABILITY_IAM`…), with the resource it is for.
    pub fn capabilities(&self) -> Vec<(&'static str, String)> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        let named = self.resources().iter().find(|r| kinds::is_named_iam(r));
        let any = self.resources().iter().find(|r| kinds::is_iam(type_of(r)));
        if let Some(resource) = named {
            found.push(("CAPABILITY_NAMED_IAM", resource.key.clone()));
        } else if let Some(resource) = any {
            found.push(("CAPABILITY_IAM", resource.key.clone()));
        }
        if let Some(section) = self.sections.iter().find(|s| s.key == "Transform") {
            found.push(("CAPABILITY_AUTO_EXPAND", format!("Transform in {}", section.place)));
        } else if let Some(nested) = self.resources().iter().find(|r| type_of(r) == "AWS::CloudFormation::Stack") {
            found.push(("CAPABILITY_AUTO_EXPAND", nested.key.clone()));
        }
        found
    }
}

/// The value under a key of a map.
pub fn child<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.map()?.iter().find(|e| e.key == key).map(|e| &e.value)
}

/// Whether something in the node means this parameter or resource.
pub fn refers_to(node: &Node, name: &str) -> bool {
    let is_it = |reference: &refs::Reference| matches!(&reference.target, refs::Target::Value(target) if target == name);
    refs::of(node).is_ok_and(|found| found.iter().any(is_it))
}

/// `AWS::EC2::VPC`
pub fn type_of(resource: &Entry) -> &str {
    child(&resource.value, "Type").map_or("", |t| t.raw.as_str())
}

/// A scalar as text.
fn text(node: &Node) -> Option<&str> {
    match &node.data {
        Data::Text(text) => Some(text),
        Data::Int(_) | Data::Float(_) | Data::Bool(_) => Some(&node.raw),
        _ => None,
    }
}

fn wrong(message: impl Into<String>, at: &tree::Place) -> Error {
    Error::config(message).at(at.location())
}
