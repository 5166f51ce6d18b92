//! What may come at the cursor: names, members, option keys, nodes, paths, commands.

use super::commands;
use super::place::{Call, Chain, KEYWORDS, Place, What, at_end};
use super::session::{Session, functions_of};
use super::types::{Known, infer};
use crate::domain::deployment::{self, Deployment};
use crate::domain::node::NodeSet;
use crate::script::api::TYPES;
use crate::script::object::Object;
use crate::script::signatures::{Signature, is_word};
use rhai::{Dynamic, Module};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Rhai's own functions that are of use without a receiver.
const USEFUL: [&str; 9] = ["print", "debug", "type_of", "parse_int", "parse_float", "timestamp", "range", "min", "max"];

/// Calls whose argument of that number is a path on this machine.
const PATHS: [(&str, usize); 7] =
    [("put", 0), ("get", 1), ("mirror", 0), ("collect", 1), ("template", 0), ("provision", 1), ("summary", 0)];

/// One thing that may stand at the cursor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    pub text: String,
    /// What the list shows.
    pub shown: String,
}

impl Candidate {
    fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { shown: text.clone(), text }
    }

    /// A function: the parenthesis comes with it.
    fn call(name: &str, takes_nothing: bool) -> Self {
        Self { text: format!("{name}{}", if takes_nothing { "()" } else { "(" }), shown: format!("{name}()") }
    }
}

/// Functions by name and number of parameters; overloads are one.
fn calls<'a>(functions: impl Iterator<Item = (&'a str, usize)>) -> Vec<Candidate> {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, params) in functions {
        let most = names.entry(name).or_default();
        *most = params.max(*most);
    }
    names.into_iter().map(|(name, most)| Candidate::call(name, most == 0)).collect()
}

/// The start of what is being typed, and what it may become, sorted.
pub fn complete(session: &Session, before: &str) -> (usize, Vec<Candidate>) {
    let Place { mut start, mut typed, what } = at_end(before);
    let mut found = match &what {
        What::Command => commands::names().map(Candidate::plain).collect(),
        What::Argument { command } => argument(session, command, &typed),
        What::Name => names(session, &typed),
        What::Member { receiver } => members(session, infer(session, receiver).as_ref()),
        What::ModuleMember { module } => module_members(session, module),
        What::Option { call, given } => {
            let keys = options(session, call).into_iter().filter(|k| !given.contains(k));
            keys.map(|k| Candidate { text: format!("{k}: "), shown: k }).collect()
        }
        What::Import => imports(session, &typed),
        What::Text { call: Some(call), argument: 0 } if ["nodes", "node", "select"].contains(&call.function.as_str()) => {
            // Several selectors are separated by commas.
            let last = typed.rfind(',').map_or(0, |i| i + 1);
            let last = last + typed[last..].len() - typed[last..].trim_start().len();
            start += last;
            typed = typed[last..].to_owned();
            selectors_of(session, call).into_iter().map(Candidate::plain).collect()
        }
        What::Text { call: Some(call), argument: 0 } if ["deployment", "deprovision", "provision"].contains(&&*call.function) => {
            deployments(session).into_iter().map(Candidate::plain).collect()
        }
        What::Text { call: Some(call), argument } if is_path(&call.function, *argument) => {
            paths(&session.host().project().root, &typed, "")
        }
        What::Text { .. } | What::Nothing => Vec::new(),
    };
    found.retain(|c| c.text.starts_with(&typed));
    found.sort_by(|a, b| a.text.cmp(&b.text));
    found.dedup();
    (start, found)
}

fn is_path(function: &str, argument: usize) -> bool {
    let name = function.rsplit("::").next().unwrap_or(function);
    function.starts_with("file::") || PATHS.contains(&(name, argument))
}

fn argument(session: &Session, command: &str, typed: &str) -> Vec<Candidate> {
    match command {
        "doc" | "help" => topics(session).into_iter().map(Candidate::plain).collect(),
        "load" | "save" => paths(Path::new(""), typed, ".rhai"),
        "nodes" => selectors(session, true).into_iter().map(Candidate::plain).collect(),
        _ => Vec::new(),
    }
}

/// All that `:doc` knows something about.
pub fn topics(session: &Session) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = BTreeSet::new();
    for entry in session.manual().iter().filter(|e| e.module != "rhai") {
        all.insert(entry.name.clone());
        // `sh` finds `Nodes.sh` too.
        all.insert(entry.short().to_owned());
        all.insert(entry.module.clone());
    }
    all.remove("");
    all.extend(commands::names().map(|c| format!(":{c}")));
    for alias in session.imports() {
        let Some(module) = session.import(&alias) else { continue };
        all.extend(functions_of(&module).into_iter().map(|f| format!("{alias}::{}", f.name)));
        all.insert(alias);
    }
    all.extend(session.functions().into_iter().map(|f| f.name));
    all.extend(session.variables().into_iter().map(|(name, ..)| name));
    all
}

fn names(session: &Session, typed: &str) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = session.variables().into_iter().map(|(name, ..)| Candidate::plain(name)).collect();
    found.extend(calls(session.functions().iter().map(|f| (f.name.as_str(), f.params.len()))));
    found.extend(session.imports().iter().map(|alias| Candidate::plain(format!("{alias}::"))));
    let signatures = session.signatures();
    for name in session.own_functions() {
        match name.split_once("::") {
            Some((module, _)) => found.push(Candidate::plain(format!("{module}::"))),
            None if is_word(&name) => {
                let free = |f: &&Signature| f.params.first().is_none_or(|p| !TYPES.contains(&p.kind.as_str()));
                let overloads: Vec<&Signature> = signatures.named(&name).filter(free).collect();
                if !overloads.is_empty() {
                    found.push(Candidate::call(&name, overloads.iter().all(|f| f.params.is_empty())));
                }
            }
            None => {}
        }
    }
    found.extend(USEFUL.iter().map(|name| Candidate::call(name, false)));
    if !typed.is_empty() {
        found.extend(KEYWORDS.iter().map(|word| Candidate::plain(*word)));
    }
    found
}

/// Methods and properties of a value; of all types of ours when nothing is known of it.
fn members(session: &Session, owner: Option<&Known>) -> Vec<Candidate> {
    let mut found = Vec::new();
    if let Some(value) = owner.and_then(|o| o.value.as_ref()) {
        if let Ok(map) = value.as_map_ref() {
            found.extend(map.keys().filter(|k| is_word(k)).map(|k| Candidate::plain(k.to_string())));
        }
        if let Some(object) = value.read_lock::<Object>() {
            let public = object.class().methods.iter().filter(|m| !m.private);
            found.extend(calls(public.map(|m| (m.name.as_str(), m.params.len()))));
            found.extend(object.fields().keys().map(|k| Candidate::plain(k.to_string())));
        }
    }
    let signatures = session.signatures();
    for f in signatures.functions.iter().filter(|f| f.module.is_empty()) {
        let Some(first) = f.params.first() else { continue };
        let fits = owner.map_or_else(|| TYPES.contains(&first.kind.as_str()), |o| first.kind == o.kind);
        if !fits {
            continue;
        }
        if let Some(property) = f.name.strip_prefix("get$") {
            found.push(Candidate::plain(property));
        } else if is_word(&f.name) && !["print", "debug", "to_debug", "to_string"].contains(&f.name.as_str()) {
            let alone = signatures.named(&f.name).filter(|o| o.params.first() == Some(first)).all(|o| o.params.len() == 1);
            found.push(Candidate::call(&f.name, alone));
        }
    }
    found
}

fn module_members(session: &Session, module: &str) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    if let Some(imported) = imported(session, module) {
        found.extend(calls(functions_of(&imported).iter().map(|f| (f.name.as_str(), f.params.len()))));
        found.extend(imported.iter_var().map(|(name, _)| Candidate::plain(name)));
        found.extend(imported.iter_sub_modules().map(|(name, _)| Candidate::plain(format!("{name}::"))));
    }
    let signatures = session.signatures();
    let natives = signatures.functions.iter().filter(|f| f.module == module && is_word(&f.name));
    found.extend(calls(natives.map(|f| (f.name.as_str(), f.params.len()))));
    found
}

/// `a::b` from the imports.
fn imported(session: &Session, path: &str) -> Option<rhai::Shared<Module>> {
    let mut parts = path.split("::");
    let first = session.import(parts.next()?)?;
    parts.try_fold(first, |module, name| module.iter_sub_modules().find(|(n, _)| *n == name).map(|(_, m)| m.clone()))
}

/// The option keys that the manual of a function names: the words in back-ticks from `Options:` to the next blank line.
pub fn options(session: &Session, call: &Call) -> Vec<String> {
    let docs = docs_of(session, call);
    let mut keys: Vec<String> = Vec::new();
    for doc in docs {
        let lines = doc.iter().skip_while(|l| !l.contains("Options:")).take_while(|l| !l.trim().is_empty());
        let paragraph = lines.map(String::as_str).collect::<Vec<_>>().join("\n");
        let Some((_, list)) = paragraph.split_once("Options:") else { continue };
        let quoted = list.split('`').skip(1).step_by(2);
        keys.extend(quoted.filter(|w| is_key(w)).map(str::to_owned));
    }
    keys.sort();
    keys.dedup();
    keys
}

fn is_key(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && is_word(word) && !["true", "false"].contains(&word)
}

/// The manuals of all overloads of a called function, line by line.
fn docs_of(session: &Session, call: &Call) -> Vec<Vec<String>> {
    let script = |functions: Vec<super::session::Function>, name: &str| -> Vec<Vec<String>> {
        let named = functions.into_iter().filter(|f| f.name == name);
        named.map(|f| crate::script::signatures::strip(&f.comments)).collect()
    };
    if let Some((module, name)) = call.function.rsplit_once("::")
        && let Some(module) = imported(session, module)
    {
        return script(functions_of(&module), name);
    }
    let owner: Option<Known> = call.receiver.as_ref().and_then(|r: &Chain| infer(session, r));
    if let Some(object) = owner.as_ref().and_then(|o| o.value.as_ref()).and_then(|v| v.read_lock::<Object>().map(|o| o.clone())) {
        let methods = object.class().methods.iter().filter(|m| m.name == call.function);
        return methods.map(|m| m.doc.clone()).collect();
    }
    let own = script(session.functions(), &call.function);
    let signatures = session.signatures();
    let fits = |f: &&Signature| match (&call.receiver, &owner) {
        (Some(_), Some(owner)) => f.params.first().is_some_and(|p| p.kind == owner.kind),
        (Some(_), None) => true,
        (None, _) => f.params.first().is_none_or(|p| !TYPES.contains(&p.kind.as_str())),
    };
    own.into_iter().chain(signatures.named(&call.function).filter(fits).map(|f| f.doc.clone())).collect()
}

fn imports(session: &Session, typed: &str) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = session.std_names().into_iter().map(Candidate::plain).collect();
    found.extend(paths(Path::new(""), typed, ".rhai"));
    found
}

/// Groups and node names of the session's deployment.
fn selectors(session: &Session, groups: bool) -> Vec<String> {
    session.host().deployment().map(|name| selectors_in(session, name, groups)).unwrap_or_default()
}

/// What `x.nodes("` may select: of the deployment or the nodes that `x` is, else of the session's deployment.
fn selectors_of(session: &Session, call: &Call) -> Vec<String> {
    let groups = call.function != "node";
    let known = call.receiver.as_ref().and_then(|r| infer(session, r));
    let value = known.as_ref().and_then(|k| k.value.as_ref());
    if let Some(nodes) = value.and_then(Dynamic::read_lock::<NodeSet>) {
        return names_of(&nodes, groups);
    }
    match value.filter(|_| known.as_ref().is_some_and(|k| k.kind == "Deployment")) {
        Some(deployment) => selectors_in(session, &session.text_of(deployment), groups),
        None => selectors(session, groups),
    }
}

fn selectors_in(session: &Session, deployment: &str, groups: bool) -> Vec<String> {
    Deployment::open(session.host().project(), deployment).map(|d| names_of(d.nodes(), groups)).unwrap_or_default()
}

fn names_of(nodes: &NodeSet, groups: bool) -> Vec<String> {
    let mut all = nodes.names();
    if groups {
        all.extend(nodes.iter().map(|n| n.group.clone()));
    }
    all
}

fn deployments(session: &Session) -> Vec<String> {
    let all = deployment::list(session.host().project()).unwrap_or_default();
    all.into_iter().map(|d| d.name).collect()
}

/// Files and folders whose path begins as typed, seen from `root`; only folders and names that end in `ending`.
pub fn paths(root: &Path, typed: &str, ending: &str) -> Vec<Candidate> {
    let (dir, name) = typed.rsplit_once('/').map_or(("", typed), |(dir, name)| (&typed[..=dir.len()], name));
    let folder = root.join(if dir.is_empty() { "." } else { dir });
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for entry in entries {
        let Ok(file) = entry.file_name().into_string() else { continue };
        let hidden = file.starts_with('.') && !name.starts_with('.');
        let is_dir = entry.path().is_dir();
        if hidden || !file.starts_with(name) || !is_dir && !file.ends_with(ending) {
            continue;
        }
        let slash = if is_dir { "/" } else { "" };
        found.push(Candidate { text: format!("{dir}{file}{slash}"), shown: format!("{file}{slash}") });
    }
    found
}
