//! `:doc NAME` and the hint that a call shows while it is typed.

use super::complete;
use super::place::{Call, Root};
use super::session::{Function, Session, functions_of};
use super::types::{Known, infer};
use crate::base::error::{Error, Kind, Result};
use crate::base::suggest::nearest;
use crate::cli::doc::pages;
use crate::script::api::TYPES;
use crate::script::object::Object;
use crate::script::reference::{self, Entry, Sort};
use crate::script::signatures::{Signature, strip};
use crate::ui::style::Style;

/// The manual of a name: a function, a method (`Nodes.sh` or `sh`), a type, a module, a variable's type, a `:command`.
pub fn doc(session: &Session, name: &str, style: Style) -> Result<String> {
    let name = name.trim().trim_end_matches("()").trim_start_matches('.');
    if name.starts_with(':') {
        return Ok(super::commands::help(style, session.host().deployment()));
    }
    let own = of_session(session, name);
    if !own.is_empty() {
        return Ok(pages(&own.iter().collect::<Vec<_>>(), style).trim_end().to_owned());
    }
    let name = &translated(session, name);
    let found = reference::search(session.manual(), name);
    if found.is_empty() {
        let error = Error::new(Kind::NotFound, format!("nothing in the manual is called {name}"));
        let topics = complete::topics(session);
        return Err(match nearest(name, topics.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
            None => error.hint("Tab after :doc lists what there is."),
        });
    }
    let exact: Vec<&Entry> = found.iter().copied().filter(|e| e.name == *name || e.short() == name).collect();
    if exact.is_empty() {
        // A module, or a part of names: one line each.
        let width = found.iter().map(|e| e.name.chars().count()).max().unwrap_or(0).min(36);
        let lines: Vec<String> = found.iter().map(|e| format!("{:width$}  {}", e.name, e.summary())).collect();
        return Ok(lines.join("\n"));
    }
    let mut text = pages(&exact, style).trim_end().to_owned();
    if exact.iter().any(|e| e.sort == Sort::Type) {
        let prefix = format!("{name}.");
        let members: Vec<&str> = session.manual().iter().filter_map(|e| e.name.strip_prefix(&prefix)).collect();
        text.push_str(&format!("\n\n  It has: {}.", members.join(", ")));
    }
    Ok(text)
}

/// What a variable stands for: `d.nodes` is `Deployment.nodes`, `db` is `Cluster`.
fn translated(session: &Session, name: &str) -> String {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let Some(value) = session.variable(first) else { return name.to_owned() };
    let kind = class_of(&value).unwrap_or_else(|| session.kind_of(&value));
    rest.map_or_else(|| kind.clone(), |rest| format!("{kind}.{rest}"))
}

/// The class of an object.
pub fn class_of(value: &rhai::Dynamic) -> Option<String> {
    value.read_lock::<Object>().map(|o| o.class().name.clone())
}

/// What only this session knows: functions of its lines, modules under the names it gave them, classes of objects.
fn of_session(session: &Session, name: &str) -> Vec<Entry> {
    let mut found = entries(session.functions().into_iter().filter(|f| f.name == name), "", "");
    if let Some((alias, function)) = name.rsplit_once("::")
        && let Some(module) = session.import(alias)
    {
        found.extend(entries(functions_of(&module).into_iter().filter(|f| f.name == function), alias, ""));
    }
    if let Some(module) = session.import(name) {
        found.extend(entries(functions_of(&module).into_iter(), name, ""));
    }
    let object =
        name.split('.').next().and_then(|v| session.variable(v)).and_then(|v| v.read_lock::<Object>().map(|o| o.clone()));
    if let Some(object) = object {
        let class = object.class();
        let wanted = name.split_once('.').map(|(_, method)| method);
        let public = class.methods.iter().filter(|m| !m.private && wanted.is_none_or(|w| w == m.name));
        let methods = public.map(|m| Function {
            name: m.name.clone(),
            params: m.params.clone(),
            comments: m.doc.iter().map(|l| format!("/// {l}")).collect(),
        });
        found.extend(entries(methods, "", &class.name));
    }
    found
}

/// Functions of scripts as entries of the manual, those of one name together.
fn entries(functions: impl Iterator<Item = Function>, alias: &str, class: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for f in functions {
        let name = match (alias, class) {
            ("", "") => f.name,
            ("", class) => format!("{class}.{}", f.name),
            (alias, _) => format!("{alias}::{}", f.name),
        };
        let form = format!("{name}({})", f.params.join(", "));
        let doc = strip(&f.comments);
        match entries.iter_mut().find(|e| e.name == name) {
            Some(entry) => {
                entry.forms.push(form.clone());
                let Entry { text, examples, .. } = Entry::declared(name, form, &doc);
                if !entry.text.contains(&text) {
                    let both = format!("{}\n\n{text}", entry.text);
                    both.trim().clone_into(&mut entry.text);
                }
                entry.examples.extend(examples);
            }
            None => entries.push(Entry::declared(name, form, &doc)),
        }
    }
    entries
}

/// What the manual calls the function of an open call, so that F1 finds it.
pub fn name_of(session: &Session, call: &Call) -> String {
    let Some(receiver) = &call.receiver else { return call.function.clone() };
    let Some(Known { kind, value }) = infer(session, receiver) else { return call.function.clone() };
    match (value.as_ref().and_then(class_of), &receiver.root) {
        // Two modules may have a class of the same name: the variable tells which.
        (Some(_), Root::Variable(name)) if receiver.steps.is_empty() => format!("{name}.{}", call.function),
        (class, _) => format!("{}.{}", class.unwrap_or(kind), call.function),
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
        Some(None) => f.params.first().is_some_and(|p| TYPES.contains(&p.kind.as_str())),
        None => f.params.first().is_none_or(|p| !TYPES.contains(&p.kind.as_str())),
    };
    let longest = signatures.named(&call.function).filter(fits).max_by_key(|f| f.params.len())?;
    let names = longest.params.iter().skip(skip).map(|p| p.name.clone());
    Some(names.collect::<Vec<_>>().join(", "))
}
