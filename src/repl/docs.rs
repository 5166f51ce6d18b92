//! `:doc NAME` and the hint that a call shows while it is typed.

use super::complete;
use super::place::{Call, Root};
use super::session::{Function, Session, functions_of};
use super::types::infer;
use crate::base::error::{Error, Kind, Result};
use crate::script::object::Object;
use crate::script::signatures::{Signature, strip};
use crate::ui::style::Style;

/// One thing that the manual knows: its signatures, and what is said of it.
struct Entry {
    signatures: Vec<String>,
    text: Vec<String>,
}

/// The manual of a name: a function, a method (`Nodes.sh` or `sh`), a type, a module, a variable's type.
pub fn doc(session: &Session, name: &str, style: Style) -> Result<String> {
    let name = name.trim().trim_end_matches("()").trim_start_matches('.');
    if name.starts_with(':') {
        return Ok(super::commands::help(style, session.host().deployment()));
    }
    let entries = entries(session, name);
    if entries.is_empty() {
        let topics = complete::topics(session);
        let error = Error::new(Kind::NotFound, format!("nothing is known of \"{name}\""));
        return Err(match crate::base::suggest::nearest(name, topics.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
            None => error.hint("Tab after :doc lists what there is."),
        });
    }
    let shown: Vec<String> = entries.iter().map(|e| render(e, style)).collect();
    Ok(shown.join("\n\n"))
}

fn entries(session: &Session, name: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    found.extend(grouped(session.functions().into_iter().filter(|f| f.name == name).collect(), ""));
    if let Some((module, function)) = name.rsplit_once("::")
        && let Some(module_found) = session.import(module)
    {
        let named = functions_of(&module_found).into_iter().filter(|f| f.name == function).collect();
        found.extend(grouped(named, &format!("{module}::")));
    }
    if let Some(module) = session.import(name) {
        found.extend(grouped(functions_of(&module), &format!("{name}::")));
    }
    let signatures = session.signatures();
    if let Some(text) = signatures.types.get(name) {
        let methods = signatures.functions.iter().filter(|f| f.params.first().is_some_and(|p| p.kind == name));
        let mut names: Vec<String> =
            methods.map(|f| f.name.replace("get$", "")).filter(|n| crate::script::signatures::is_word(n)).collect();
        names.sort();
        names.dedup();
        let mut text = text.clone();
        text.extend([String::new(), format!("It has: {}.", names.join(", "))]);
        found.push(Entry { signatures: vec![format!("type {name}")], text });
    }
    let (owner, function) = match name.rsplit_once('.') {
        Some((owner, function)) => {
            // `d.nodes` of a variable is a method of its type.
            let known = session.variable(owner).map_or_else(|| owner.to_owned(), |v| session.kind_of(&v));
            (Some(known), function)
        }
        None => (None, name),
    };
    let fits = |f: &&Signature| owner.as_ref().is_none_or(|o| f.params.first().is_some_and(|p| p.kind == *o));
    let natives: Vec<&Signature> =
        signatures.named(function).chain(signatures.named(&format!("get${function}"))).filter(fits).collect();
    found.extend(native(&natives));
    if found.is_empty()
        && let Some(value) = session.variable(name)
    {
        if let Some(object) = value.read_lock::<Object>() {
            let class = object.class();
            let methods: Vec<String> =
                class.methods.iter().filter(|m| !m.private).map(crate::script::object::Method::signature).collect();
            found.push(Entry { signatures: methods.iter().map(|m| format!("{}.{m}", class.name)).collect(), text: Vec::new() });
        } else {
            let kind = session.kind_of(&value);
            if kind != name {
                return entries(session, &kind);
            }
        }
    }
    if found.is_empty() && signatures.functions.iter().any(|f| f.module == name) {
        let all: Vec<&Signature> = signatures.functions.iter().filter(|f| f.module == name).collect();
        found.extend(native(&all).into_iter().map(|e| Entry { text: e.text.into_iter().take(1).collect(), ..e }));
    }
    found
}

/// Overloads for the same first parameter belong together: the manual is written at one of them.
fn native(functions: &[&Signature]) -> Vec<Entry> {
    let mut groups: Vec<(String, Vec<&Signature>)> = Vec::new();
    for f in functions {
        let owner = f.params.first().map_or("", |p| p.kind.as_str());
        let key = format!("{}::{}", f.module, f.name.replace("get$", ""));
        let key = if owner.starts_with(char::is_uppercase) { format!("{key}({owner})") } else { key };
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, group)) => group.push(f),
            None => groups.push((key, vec![f])),
        }
    }
    let entry = |group: Vec<&Signature>| Entry {
        signatures: group.iter().map(|f| f.show().replace("get$", ".")).collect(),
        text: group.iter().map(|f| f.doc.clone()).filter(|d| !d.is_empty()).collect::<Vec<_>>().join(&String::new()),
    };
    groups.into_iter().map(|(_, group)| entry(group)).collect()
}

/// Functions of scripts, those of one name together.
fn grouped(functions: Vec<Function>, prefix: &str) -> Vec<Entry> {
    let mut entries: Vec<(String, Entry)> = Vec::new();
    for f in functions {
        let signature = format!("{prefix}{}({})", f.name, f.params.join(", "));
        let text = strip(&f.comments);
        match entries.last_mut().filter(|(name, _)| *name == f.name) {
            Some((_, entry)) => {
                entry.signatures.push(signature);
                if entry.text.is_empty() {
                    entry.text = text;
                }
            }
            None => entries.push((f.name, Entry { signatures: vec![signature], text })),
        }
    }
    entries.into_iter().map(|(_, e)| e).collect()
}

fn render(entry: &Entry, style: Style) -> String {
    let mut lines: Vec<String> = entry.signatures.iter().map(|s| style.bold(s)).collect();
    let mut code = false;
    for line in &entry.text {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if line.starts_with("# ") {
            lines.push(style.dim(line.trim_start_matches("# ")));
        } else if code {
            lines.push(format!("    {}", style.cyan(line)));
        } else {
            lines.push(format!("  {line}").trim_end().to_owned());
        }
    }
    while lines.last().is_some_and(|l| l.trim().is_empty()) {
        lines.pop();
    }
    lines.join("\n")
}

/// What the manual calls the function of an open call, so that F1 finds it.
pub fn name_of(session: &Session, call: &Call) -> String {
    match &call.receiver {
        Some(receiver) => match infer(session, receiver) {
            Some(known) if known.value.as_ref().is_none_or(|v| !v.is::<Object>()) => format!("{}.{}", known.kind, call.function),
            _ => match &receiver.root {
                Root::Variable(name) if receiver.steps.is_empty() && session.variable(name).is_some() => name.clone(),
                _ => call.function.clone(),
            },
        },
        None => call.function.clone(),
    }
}

/// The parameters of an open call, for the hint behind the cursor: the longest overload.
pub fn parameters(session: &Session, call: &Call) -> Option<String> {
    let own = session.functions().into_iter().filter(|f| call.receiver.is_none() && f.name == call.function);
    let imported = call
        .function
        .rsplit_once("::")
        .and_then(|(module, name)| functions_of(&*session.import(module)?).into_iter().rfind(|f| f.name == name));
    if let Some(f) = own.chain(imported).max_by_key(|f| f.params.len()) {
        return Some(f.params.join(", "));
    }
    let owner = call.receiver.as_ref().map(|r| infer(session, r));
    if let Some(Some(known)) = &owner
        && let Some(object) = known.value.as_ref().and_then(|v| v.read_lock::<Object>().map(|o| o.clone()))
    {
        let methods = object.class().methods.iter().filter(|m| m.name == call.function);
        return methods.max_by_key(|m| m.params.len()).map(|m| m.params.join(", "));
    }
    let signatures = session.signatures();
    let skip = usize::from(owner.is_some());
    let fits = |f: &&Signature| match &owner {
        Some(Some(known)) => f.params.first().is_some_and(|p| p.kind == known.kind),
        Some(None) => f.params.first().is_some_and(|p| signatures.types.contains_key(&p.kind)),
        None => f.params.first().is_none_or(|p| !signatures.types.contains_key(&p.kind)),
    };
    let longest = signatures.named(&call.function).filter(fits).max_by_key(|f| f.params.len())?;
    let names = longest.params.iter().skip(skip).map(|p| p.name.clone());
    Some(names.collect::<Vec<_>>().join(", "))
}
