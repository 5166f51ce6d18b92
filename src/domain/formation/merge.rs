//! Many files into one template.

use super::{File, SECTIONS, Template, text, wrong};
use crate::base::error::{Error, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::config::tree::{Data, Entry, Node};

/// Sections in which two files may say the same thing, as long as it is the same.
const SHARED: [&str; 4] = ["Parameters", "Rules", "Mappings", "Conditions"];

/// AWS takes no longer one.
const DESCRIPTION: usize = 1024;

pub fn merge(files: &[File]) -> Result<Template> {
    let mut sections: Vec<Entry> = Vec::new();
    for file in files {
        let tree = file.parse()?;
        for entry in tree.map().unwrap_or_default() {
            if !SECTIONS.contains(&entry.key.as_str()) {
                let error = wrong(format!("`{}` is no section of a template", entry.key), &entry.place);
                return Err(error.hint_if(did_you_mean(&entry.key, SECTIONS)));
            }
            match sections.iter_mut().find(|s| s.key == entry.key) {
                None => sections.push(checked(entry)?),
                Some(section) => join(section, checked(entry)?)?,
            }
        }
    }
    if !sections.iter().any(|s| s.key == "Resources") {
        let names: Vec<&str> = files.iter().map(|f| f.name.as_str()).collect();
        return Err(Error::config(format!("there are no Resources in {}", names.join(", ")))
            .hint("A template makes at least one resource."));
    }
    let place = |section: &Entry| SECTIONS.iter().position(|s| *s == section.key);
    sections.sort_by_key(place);
    Ok(Template { sections })
}

/// The section, if it has the form that AWS wants.
fn checked(entry: &Entry) -> Result<Entry> {
    let (value, place) = (&entry.value, &entry.place);
    match entry.key.as_str() {
        "AWSTemplateFormatVersion" if value.raw != "2010-09-09" => {
            let message = format!("AWSTemplateFormatVersion must be 2010-09-09, not {}", value.describe());
            Err(wrong(message, place))
        }
        "Description" if text(value).is_none() => {
            Err(wrong(format!("Description must be a text, not {}", value.describe()), place))
        }
        "Transform" => {
            let list = match &value.data {
                Data::List(items) => items.clone(),
                _ => vec![value.clone()],
            };
            Ok(Entry { value: Node { data: Data::List(list), ..value.clone() }, ..entry.clone() })
        }
        "AWSTemplateFormatVersion" | "Description" => Ok(entry.clone()),
        name => match &value.data {
            Data::Map(_) => Ok(entry.clone()),
            // A heading with nothing under it.
            Data::Null => Ok(Entry { value: Node { data: Data::Map(Vec::new()), ..value.clone() }, ..entry.clone() }),
            _ => Err(wrong(format!("{name} must be a map of names, not {}", value.describe()), place)),
        },
    }
}

/// Adds what another file has in the same section.
fn join(section: &mut Entry, more: Entry) -> Result<()> {
    match (section.key.as_str(), &mut section.value.data, more.value.data) {
        ("Description", Data::Text(ours), Data::Text(theirs)) => {
            if *ours != theirs {
                *ours = format!("{ours} {theirs}").chars().take(DESCRIPTION).collect();
                section.value.raw.clone_from(ours);
            }
            Ok(())
        }
        ("Transform", Data::List(ours), Data::List(theirs)) => {
            for one in theirs {
                if !ours.contains(&one) {
                    ours.push(one);
                }
            }
            Ok(())
        }
        ("Metadata", Data::Map(ours), Data::Map(theirs)) => theirs.into_iter().try_for_each(|entry| deep(ours, entry)),
        (name, Data::Map(ours), Data::Map(theirs)) => {
            let shared = SHARED.contains(&name);
            for entry in theirs {
                match ours.iter().find(|o| o.key == entry.key) {
                    None => ours.push(entry),
                    Some(same) if shared && same.value == entry.value => {}
                    Some(other) => return Err(clash(name, other, &entry, shared)),
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn clash(section: &str, one: &Entry, other: &Entry, shared: bool) -> Error {
    let message = format!("{section}: `{}` is in {} and in {}", one.key, one.place, other.place);
    let error = wrong(message, &other.place);
    if shared {
        error.hint("Two files may say the same there, word for word; these say different things.")
    } else {
        error.hint("Give one of them another name: a logical ID is unique in the whole template.")
    }
}

/// Metadata: maps are joined at every depth, lists appended.
fn deep(ours: &mut Vec<Entry>, entry: Entry) -> Result<()> {
    let Some(same) = ours.iter_mut().find(|o| o.key == entry.key) else {
        ours.push(entry);
        return Ok(());
    };
    match (&mut same.value.data, entry.value.data) {
        (Data::Map(ours), Data::Map(theirs)) => theirs.into_iter().try_for_each(|entry| deep(ours, entry)),
        (Data::List(ours), Data::List(theirs)) => {
            ours.extend(theirs);
            Ok(())
        }
        (_, theirs) => {
            let other = Entry { value: Node { data: theirs, ..entry.value }, ..entry };
            if same.value == other.value { Ok(()) } else { Err(clash("Metadata", same, &other, true)) }
        }
    }
}
