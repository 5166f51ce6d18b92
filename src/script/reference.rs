//! The manual of everything scripts can call, from the `///` of natives and of the standard library.

use super::engine;
use super::host::Host;
use super::resolver;
use super::run::compile;
use super::signatures::{Param, Signature, Signatures, is_word, strip};
use super::sources::{STD, rhai_closure_prefix};
use crate::base::error::Result;
use rhai::{Engine, Scope};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    Type,
    Function,
    Method,
    Property,
}

/// One name of the manual, all its forms together.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// `sleep`, `file::read`, `Nodes.sh`, `cassandra::cluster`, `Cluster.start`.
    pub name: String,
    pub sort: Sort,
    /// Where it comes from: empty for what is always there, `std/cassandra` for a module, `rhai` for the language itself.
    pub module: String,
    /// How it is written: `sleep(time)`.
    pub forms: Vec<String>,
    /// Its text, without examples.
    pub text: String,
    /// Scripts that show it; each runs as it is.
    pub examples: Vec<Example>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Example {
    pub code: String,
    /// Whether a test may run it: not when it needs more than the local deployment `doc`.
    pub runs: bool,
}

impl Entry {
    /// The first sentence.
    pub fn summary(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The name without what is before it.
    pub fn short(&self) -> &str {
        self.name.rsplit([':', '.']).next().unwrap_or(&self.name)
    }
}

/// The whole manual: ours first, then the standard library's, then the language's.
pub fn entries(host: &Arc<Host>) -> Result<Vec<Entry>> {
    let engine = engine::new(host);
    let ours: HashSet<String> = own_functions(&engine);
    let known = Signatures::of(&engine, host);
    let mut entries: Vec<Entry> = Vec::new();
    for (name, doc) in &known.types {
        if super::api::TYPES.contains(&name.as_str()) {
            let (text, examples) = split(doc);
            entries.push(Entry {
                name: name.clone(),
                sort: Sort::Type,
                module: String::new(),
                forms: vec![name.clone()],
                text,
                examples,
            });
        }
    }
    for f in known.functions.iter().filter(|f| is_word(&f.name) || f.name.starts_with("get$")) {
        if f.name == "class_of" {
            continue;
        }
        let module = if ours.contains(&key(f)) { "" } else { "rhai" };
        add(&mut entries, f, module);
    }
    for module in resolver::std_names(&host.project().root) {
        std_module(&engine, host, &module, &mut entries)?;
    }
    entries.sort_by(|a, b| (a.module == "rhai", &a.module, &a.name).cmp(&(b.module == "rhai", &b.module, &b.name)));
    Ok(entries)
}

/// Everything about one function that tells it from its overloads.
fn key(f: &Signature) -> String {
    format!("{} {}", f.show(), f.doc.join("\n"))
}

fn own_functions(engine: &Engine) -> HashSet<String> {
    Signatures::read_own(engine).functions.iter().map(key).collect()
}

fn add(entries: &mut Vec<Entry>, f: &Signature, module: &str) {
    let receiver = f.params.first().map(|p| p.kind.as_str()).filter(|k| super::api::TYPES.contains(k));
    let property = f.name.strip_prefix("get$");
    let (name, sort) = match (receiver, property) {
        (Some(kind), Some(property)) => (format!("{kind}.{property}"), Sort::Property),
        (Some(kind), None) => (format!("{kind}.{}", f.name), Sort::Method),
        (None, Some(property)) => (property.to_owned(), Sort::Property),
        (None, None) if f.module.is_empty() => (f.name.clone(), Sort::Function),
        (None, None) => (format!("{}::{}", f.module, f.name), Sort::Function),
    };
    let form = match sort {
        Sort::Property => name.clone(),
        Sort::Method => Signature { params: f.params[1..].to_vec(), name: name.clone(), ..f.clone() }.show(),
        _ => f.show(),
    };
    if matches!(f.name.as_str(), "to_string" | "to_debug" | "print" | "debug") && receiver.is_some() {
        return;
    }
    let (text, examples) = split(&f.doc);
    let found = entries.iter_mut().find(|e| e.name == name && e.module == module);
    match found {
        Some(entry) => {
            merge_form(&mut entry.forms, form, f);
            if !text.is_empty() && !entry.text.contains(&text) {
                entry.text = format!("{}\n\n{text}", entry.text).trim_start().to_owned();
            }
            entry.examples.extend(examples);
        }
        None => entries.push(Entry { name, sort, module: module.to_owned(), forms: vec![form], text, examples }),
    }
}

/// Two functions that differ by an option map at the end are one with an optional map.
fn merge_form(forms: &mut Vec<String>, form: String, f: &Signature) {
    if forms.contains(&form) {
        return;
    }
    let options = f.params.last().filter(|p| p.kind == "map").map(option_text);
    let without = options.and_then(|o| {
        let (short, longer) = (form.replacen(&format!(", {o})"), ")", 1), form.replacen(&format!("({o})"), "()", 1));
        forms.iter().position(|known| *known != form && (*known == short || *known == longer)).map(|at| (at, o))
    });
    match without {
        Some((at, o)) => {
            let before = if forms[at].contains("()") { "" } else { ", " };
            forms[at] = forms[at].replacen(')', &format!("[{before}{o}])"), 1);
        }
        None => forms.push(form),
    }
}

fn option_text(p: &Param) -> String {
    format!("{}: {}", p.name, p.kind)
}

/// The text of a manual, and the examples in it.
fn split(doc: &[String]) -> (String, Vec<Example>) {
    let (mut text, mut examples) = (Vec::new(), Vec::new());
    let mut code: Option<(bool, Vec<&str>)> = None;
    for line in doc {
        match (&mut code, line.trim().strip_prefix("```")) {
            (None, Some(info)) => code = Some((!info.contains("no_run"), Vec::new())),
            (Some((runs, lines)), Some(_)) => {
                examples.push(Example { code: lines.join("\n"), runs: *runs });
                code = None;
            }
            (Some((_, lines)), None) => lines.push(line),
            (None, None) if line.trim_start().starts_with("# Example") => {}
            (None, None) => text.push(line.as_str()),
        }
    }
    (text.join("\n").trim().to_owned(), examples)
}

fn std_module(engine: &Engine, host: &Arc<Host>, path: &str, entries: &mut Vec<Entry>) -> Result<()> {
    let found = resolver::find(&host.project().root, "", path)?;
    let ast = compile(engine, host, &found.name, &found.text, &Scope::new())
        .map_err(|e| super::diagnostics::explain(engine, host, &e, &found.name))?;
    let alias = path.strip_prefix(STD).unwrap_or(path);
    for f in ast.iter_functions() {
        if f.access.is_private() || f.name.starts_with(rhai_closure_prefix()) {
            continue;
        }
        let comments: Vec<String> = f.comments.iter().map(ToString::to_string).collect();
        let (text, examples) = split(&strip(&comments));
        let (name, sort) = match f.this_type {
            Some(class) => (format!("{class}.{}", f.name), Sort::Method),
            None => (format!("{alias}::{}", f.name), Sort::Function),
        };
        let form = format!("{name}({})", f.params.join(", "));
        match entries.iter_mut().find(|e| e.name == name && e.module == path) {
            Some(entry) => {
                entry.forms.push(form);
                entry.forms.sort_by_key(String::len);
                if entry.text.is_empty() || !text.is_empty() {
                    entry.text = format!("{}\n\n{text}", entry.text).trim().to_owned();
                }
                entry.examples.extend(examples);
            }
            None => entries.push(Entry { name, sort, module: path.to_owned(), forms: vec![form], text, examples }),
        }
    }
    Ok(())
}

/// The entries that a word means: the exact name if there is one (`sh`, `Nodes.sh`, `std/cassandra`), else all that contain it.
pub fn search<'a>(entries: &'a [Entry], word: &str) -> Vec<&'a Entry> {
    let exact: Vec<&Entry> = entries.iter().filter(|e| e.name == word || e.short() == word || e.module == word).collect();
    if !exact.is_empty() {
        // The language's own functions of the same name only when there is nothing of ours.
        let ours: Vec<&Entry> = exact.iter().copied().filter(|e| e.module != "rhai").collect();
        return if ours.is_empty() { exact } else { ours };
    }
    let word = word.to_lowercase();
    entries.iter().filter(|e| e.name.to_lowercase().contains(&word) || e.summary().to_lowercase().contains(&word)).collect()
}
