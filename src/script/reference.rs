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
    #[serde(skip)]
    signatures: Vec<Signature>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Example {
    pub code: String,
    /// Whether a test may run it: not when it needs more than the local deployment `doc`.
    pub runs: bool,
}

impl Entry {
    fn new(name: String, sort: Sort, module: &str, form: Signature, text: String, examples: Vec<Example>) -> Self {
        Self { name, sort, module: module.to_owned(), forms: Vec::new(), text, examples, signatures: vec![form] }
    }

    /// A function that is declared in no module of the manual, from its `///` lines: for what a session has declared itself.
    pub fn declared(name: String, form: String, doc: &[String]) -> Self {
        let (text, examples) = split(doc);
        let sort = Sort::Function;
        Self { name, sort, module: String::new(), forms: vec![form], text, examples, signatures: Vec::new() }
    }

    fn add_text(&mut self, text: &str) {
        if !self.text.is_empty() && !text.is_empty() {
            self.text.push_str("\n\n");
        }
        self.text.push_str(text);
    }

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
            let mut entry = Entry::new(name.clone(), Sort::Type, "", Signature::default(), text, examples);
            entry.signatures.clear();
            entry.forms = vec![name.clone()];
            entries.push(entry);
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
        // A module of the project's own that does not compile must not take the manual away.
        if let Err(error) = std_module(&engine, host, &module, &mut entries) {
            host.cx.events.warn(format!("{module} is left out: {error}"));
        }
    }
    for entry in &mut entries {
        entry.signatures.sort_by_key(|s| s.params.len());
        let forms = Signatures::forms(entry.signatures.iter());
        if !forms.is_empty() {
            entry.forms =
                if entry.sort == Sort::Property { forms.iter().map(|f| f.replacen("()", "", 1)).collect() } else { forms };
        }
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
    // A receiver is shown before the dot, a property without parentheses.
    let skip = usize::from(matches!(sort, Sort::Method | Sort::Property));
    let (plain, of) = (name.rsplit("::").next().unwrap_or(&name).to_owned(), f.params[skip.min(f.params.len())..].to_vec());
    let form = Signature { name: plain, params: of, ..f.clone() };
    if matches!(f.name.as_str(), "to_string" | "to_debug" | "print" | "debug") && receiver.is_some() {
        return;
    }
    let (text, examples) = split(&f.doc);
    let found = entries.iter_mut().find(|e| e.name == name && e.module == module);
    match found {
        Some(entry) => {
            entry.signatures.push(form);
            if !text.is_empty() && !entry.text.contains(&text) {
                entry.add_text(&text);
            }
            entry.examples.extend(examples);
        }
        None => entries.push(Entry::new(name, sort, module, form, text, examples)),
    }
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
    // Rhai's table has no order; a page reads as its functions stand in the file.
    let mut functions: Vec<_> = ast.iter_functions().collect();
    functions.sort_by_cached_key(|f| {
        let class = f.this_type.map(|class| format!("{class}.")).unwrap_or_default();
        let head = format!("fn {class}{}({})", f.name, f.params.join(", "));
        (found.text.find(&head).unwrap_or(usize::MAX), head)
    });
    for f in functions {
        if f.access.is_private() || f.name.starts_with(rhai_closure_prefix()) {
            continue;
        }
        let comments: Vec<String> = f.comments.iter().map(ToString::to_string).collect();
        let (text, examples) = split(&strip(&comments));
        let (name, sort) = match f.this_type {
            Some(class) => (format!("{class}.{}", f.name), Sort::Method),
            None => (format!("{alias}::{}", f.name), Sort::Function),
        };
        let kind = |p: &str| if matches!(p, "options" | "opts") { "map" } else { "any" };
        let params = f.params.iter().map(|p| Param { name: (*p).to_owned(), kind: kind(p).to_owned() }).collect();
        let form = Signature { name: name.clone(), params, ..Signature::default() };
        match entries.iter_mut().find(|e| e.name == name && e.module == path) {
            Some(entry) => {
                entry.signatures.push(form);
                entry.add_text(&text);
                entry.examples.extend(examples);
            }
            None => entries.push(Entry::new(name, sort, path, form, text, examples)),
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
