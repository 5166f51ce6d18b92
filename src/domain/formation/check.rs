//! What AWS would refuse, or would only notice half way: found before any call.

use super::refs::{self, PSEUDO, Reference, Target};
use super::{Template, child, kinds, text, type_of, wrong};
use crate::base::error::{Error, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::config::tree::{Data, Entry, Node, Place};
use std::collections::{BTreeMap, BTreeSet};

/// How many of each AWS takes.
const MOST: [(&str, usize); 4] = [("Parameters", 200), ("Mappings", 200), ("Resources", 500), ("Outputs", 200)];

/// The longest logical ID.
const ID: usize = 255;

const RESOURCE: [&str; 9] = [
    "Type",
    "Properties",
    "DependsOn",
    "Condition",
    "Metadata",
    "CreationPolicy",
    "DeletionPolicy",
    "UpdatePolicy",
    "UpdateReplacePolicy",
];
const PARAMETER: [&str; 11] = [
    "Type",
    "Default",
    "NoEcho",
    "AllowedValues",
    "AllowedPattern",
    "MinLength",
    "MaxLength",
    "MinValue",
    "MaxValue",
    "Description",
    "ConstraintDescription",
];
const OUTPUT: [&str; 4] = ["Value", "Description", "Export", "Condition"];

/// Fails with the first thing that is wrong, and names the others.
pub fn check(template: &Template) -> Result<()> {
    let mut found: Vec<Error> = Vec::new();
    names(template, &mut found);
    forms(template, &mut found);
    let mut graph = Graph::default();
    match references(template, &mut graph) {
        // What a macro makes of the template is not known here.
        Ok(missing) if !template.is_generated() => {
            found.extend(missing);
            unused(template, &graph, &mut found);
        }
        Ok(_) => {}
        Err(error) => found.push(error),
    }
    found.extend(graph.cycle(template));
    match found.len() {
        0 => Ok(()),
        _ => Err(joined(found)),
    }
}

/// One error of many: the first one's words, the others as lines of advice.
fn joined(mut found: Vec<Error>) -> Error {
    let first = found.remove(0);
    found.into_iter().fold(first, |first, other| {
        let place = other.details().places.first().map(|p| format!("{}:{}: ", p.file, p.line)).unwrap_or_default();
        first.hint(format!("Also: {place}{}", other.message()))
    })
}

fn names(template: &Template, found: &mut Vec<Error>) {
    for (section, most) in MOST {
        let entries = template.section(section);
        if entries.len() > most {
            let message = format!("{} {section}, and AWS takes no more than {most} in a template", entries.len());
            found.push(wrong(message, &entries[most].place));
        }
        for entry in entries {
            let plain = entry.key.bytes().all(|b| b.is_ascii_alphanumeric()) && entry.key.len() <= ID;
            // Loops (`Fn::ForEach::Name`) are made into names by AWS.
            if !plain && !entry.key.starts_with("Fn::ForEach") {
                let message = format!("\"{}\" cannot be a name in {section}", entry.key);
                found.push(wrong(message, &entry.place).hint("A name there has letters and digits only."));
            }
        }
    }
    for resource in template.resources() {
        if let Some(parameter) = template.parameters().iter().find(|p| p.key == resource.key) {
            let message = format!("`{}` is a resource here, and a parameter in {}", resource.key, parameter.place);
            found.push(wrong(message, &resource.place).hint("!Ref could mean either: give one of them another name."));
        }
    }
}

/// Keys that are none, types that are missing, policies that must be said.
fn forms(template: &Template, found: &mut Vec<Error>) {
    for entry in template.parameters() {
        keys(entry, "parameter", &PARAMETER, "Type", found);
    }
    for entry in template.section("Outputs").iter().filter(|e| !e.key.starts_with("Fn::")) {
        keys(entry, "output", &OUTPUT, "Value", found);
    }
    for entry in template.resources().iter().filter(|e| !e.key.starts_with("Fn::")) {
        keys(entry, "resource", &RESOURCE, "Type", found);
        policies(entry, found);
    }
}

fn keys(entry: &Entry, what: &str, known: &[&str], needed: &str, found: &mut Vec<Error>) {
    let Some(entries) = entry.value.map() else {
        found.push(wrong(format!("{what} `{}` must be a map, not {}", entry.key, entry.value.describe()), &entry.place));
        return;
    };
    for odd in entries.iter().filter(|e| !known.contains(&e.key.as_str())) {
        let error = wrong(format!("{what} `{}` has an unknown key `{}`", entry.key, odd.key), &odd.place);
        found.push(error.hint_if(did_you_mean(&odd.key, known.iter().copied())));
    }
    if !entries.iter().any(|e| e.key == needed) {
        found.push(wrong(format!("{what} `{}` has no `{needed}`", entry.key), &entry.place));
    }
}

fn policies(resource: &Entry, found: &mut Vec<Error>) {
    let kind = type_of(resource);
    for name in ["DeletionPolicy", "UpdateReplacePolicy"] {
        let mut allowed = vec!["Delete", "Retain"];
        if kinds::can_snapshot(kind) {
            allowed.push("Snapshot");
        }
        if name == "DeletionPolicy" {
            allowed.push("RetainExceptOnCreate");
        }
        match child(&resource.value, name) {
            None if kinds::is_data_bearing(kind) => {
                let message = format!("`{}` ({kind}) holds data, and says no {name}", resource.key);
                let hint = format!("Write what becomes of the data: {name}: {}.", allowed.join(" or "));
                found.push(wrong(message, &resource.place).hint(hint));
            }
            Some(policy) if text(policy).is_some_and(|p| !allowed.contains(&p)) => {
                let message = format!("`{}`: {name} cannot be {}", resource.key, policy.describe());
                let hint = format!("For {kind} it is {}.", allowed.join(" or "));
                found.push(wrong(message, &policy.place).hint(hint));
            }
            _ => {}
        }
    }
}

/// Which resource needs which, and what is used at all.
#[derive(Default)]
struct Graph {
    needs: BTreeMap<String, Vec<(String, Place)>>,
    conditions: BTreeMap<String, Vec<(String, Place)>>,
    used: BTreeSet<String>,
}

/// Looks at every reference. Returns those that lead nowhere.
fn references(template: &Template, graph: &mut Graph) -> Result<Vec<Error>> {
    let mut missing = Vec::new();
    for section in ["Rules", "Conditions", "Resources", "Outputs"] {
        for entry in template.section(section) {
            let mut references = refs::of(&entry.value)?;
            references.extend(spoken(entry, section));
            for reference in references {
                if let Some(error) = lost(template, section, &reference) {
                    missing.push(error);
                    continue;
                }
                let place = reference.place.clone();
                match reference.target {
                    Target::Value(name) | Target::Attribute(name) => {
                        if section == "Resources" && template.resource(&name).is_some() {
                            graph.needs.entry(entry.key.clone()).or_default().push((name.clone(), place));
                        }
                        graph.used.insert(name);
                    }
                    Target::Condition(name) if section == "Conditions" => {
                        graph.conditions.entry(entry.key.clone()).or_default().push((name, place));
                    }
                    Target::Condition(_) | Target::Mapping(..) => {}
                }
            }
        }
    }
    Ok(missing)
}

/// References that are no functions: `DependsOn`, and the `Condition` of a resource or an output.
fn spoken(entry: &Entry, section: &str) -> Vec<Reference> {
    let mut out = Vec::new();
    let mut add = |node: &Node, target: fn(String) -> Target| {
        if let Some(name) = text(node) {
            out.push(Reference { target: target(name.to_owned()), place: node.place.clone() });
        }
    };
    if matches!(section, "Resources" | "Outputs")
        && let Some(condition) = child(&entry.value, "Condition")
    {
        add(condition, Target::Condition);
    }
    if section == "Resources"
        && let Some(before) = child(&entry.value, "DependsOn")
    {
        match &before.data {
            Data::List(items) => items.iter().for_each(|item| add(item, Target::Attribute)),
            _ => add(before, Target::Attribute),
        }
    }
    out
}

/// The error of a reference that leads nowhere.
fn lost(template: &Template, section: &str, reference: &Reference) -> Option<Error> {
    let names =
        |sections: &[&str]| -> Vec<String> { sections.iter().flat_map(|s| template.section(s)).map(|e| e.key.clone()).collect() };
    let (what, name, known) = match &reference.target {
        Target::Value(name) if name.starts_with("AWS::") => {
            ("name of AWS's", name, PSEUDO.iter().map(|p| (*p).to_owned()).collect())
        }
        // Nothing is made yet when conditions and rules are looked at.
        Target::Value(name) if section != "Resources" && section != "Outputs" => ("parameter", name, names(&["Parameters"])),
        Target::Value(name) => ("parameter or resource", name, names(&["Parameters", "Resources"])),
        Target::Attribute(name) => ("resource", name, names(&["Resources"])),
        Target::Condition(name) => ("condition", name, names(&["Conditions"])),
        Target::Mapping(name, first) => {
            let mapping = template.section("Mappings").iter().find(|m| m.key == *name);
            match (mapping, first) {
                (Some(mapping), Some(key)) => {
                    let keys: Vec<String> = mapping.value.map().unwrap_or_default().iter().map(|e| e.key.clone()).collect();
                    if keys.contains(key) {
                        return None;
                    }
                    let error = wrong(format!("mapping `{name}` has no `{key}`"), &reference.place);
                    return Some(advise(error, key, &keys));
                }
                (Some(_), None) => return None,
                (None, _) => ("mapping", name, names(&["Mappings"])),
            }
        }
    };
    if known.contains(name) {
        return None;
    }
    Some(advise(wrong(format!("there is no {what} `{name}`"), &reference.place), name, &known))
}

fn advise(error: Error, name: &str, known: &[String]) -> Error {
    error.hint_if(did_you_mean(name, known.iter().map(String::as_str)))
}

fn unused(template: &Template, graph: &Graph, found: &mut Vec<Error>) {
    for parameter in template.parameters().iter().filter(|p| !graph.used.contains(&p.key)) {
        let error = wrong(format!("nothing uses parameter `{}`", parameter.key), &parameter.place);
        found.push(error.hint("Use it, or take it out: a value given to it would change nothing."));
    }
}

impl Graph {
    /// A ring of resources, or of conditions, each of which needs the next.
    fn cycle(&self, template: &Template) -> Option<Error> {
        let ring = ring(&self.needs).map(|r| ("resources", r)).or_else(|| ring(&self.conditions).map(|r| ("conditions", r)));
        let (what, ring) = ring?;
        let first = ring.first()?;
        let section = if what == "resources" { "Resources" } else { "Conditions" };
        let place = &template.section(section).iter().find(|e| e.key == first.0)?.place;
        let path: Vec<&str> = ring.iter().map(|(name, _)| name.as_str()).chain([first.0.as_str()]).collect();
        let error = wrong(format!("{what} need each other in a circle: {}", path.join(" → ")), place);
        Some(
            ring.iter()
                .zip(&path[1..])
                .fold(error, |error, ((name, place), next)| error.hint(format!("{name} needs {next} in {place}"))),
        )
    }
}

/// The first ring found: each name with the place where it needs the next.
fn ring(needs: &BTreeMap<String, Vec<(String, Place)>>) -> Option<Vec<(String, Place)>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in needs.keys() {
        // Each step of the path with how many of its needs were looked at: no recursion, however deep the template.
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, next)) = path.last_mut() {
            let (name, index) = (*name, *next);
            *next += 1;
            let Some((needed, _)) = needs.get(name).and_then(|n| n.get(index)) else {
                done.insert(name);
                path.pop();
                continue;
            };
            if let Some(at) = path.iter().position(|(on, _)| on == needed) {
                let step = |(name, next): &(&str, usize)| {
                    let place = needs.get(*name)?.get(next.checked_sub(1)?)?.1.clone();
                    Some(((*name).to_owned(), place))
                };
                return path[at..].iter().map(step).collect();
            }
            if !done.contains(needed.as_str()) {
                path.push((needed, 0));
            }
        }
    }
    None
}
