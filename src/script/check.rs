//! `opsrun check`: what can be known to be wrong with a script without running it.

use super::engine;
use super::host::Host;
use super::object::is_class_name;
use super::resolver::{self, read_script};
use super::run::{compile, imports};
use super::signatures::{Signatures, is_word};
use super::{diagnostics, sources};
use crate::base::error::{Error, Kind, Result};
use crate::base::suggest::did_you_mean;
use rhai::{AST, ASTFlags, ASTNode, Engine, Expr, FnCallExpr, Position, Scope, Stmt};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Words that Rhai handles itself, so that no table lists them.
const BUILT_IN: &[&str] =
    &["call", "curry", "eval", "Fn", "is_def_fn", "is_def_var", "is_shared", "type_of", "class_of", "print", "debug"];

/// Looks through the scripts and the project's modules that they import. Returns everything found, in the order of the text.
pub fn check(host: &Arc<Host>, scripts: &[std::path::PathBuf]) -> Result<Vec<Error>> {
    let engine = engine::new(host);
    let mut checker = Checker {
        engine: &engine,
        host,
        known: Signatures::of(&engine, host),
        files: HashMap::new(),
        waiting: Vec::new(),
        found: Vec::new(),
    };
    for script in scripts {
        let text = read_script(script).map_err(|e| e.exit_with(2))?;
        let name = script.canonicalize().unwrap_or_else(|_| script.clone()).display().to_string();
        checker.file(&name, &text);
    }
    // Whoever is handed an object calls its methods: those of the standard library's classes are known everywhere.
    for module in resolver::std_names(&host.project().root) {
        if let Ok(module) = resolver::find(&host.project().root, "", &module) {
            checker.declared(&module.name, &module.text);
        }
    }
    checker.look();
    Ok(checker.found)
}

/// What other files can use of a file.
#[derive(Default)]
struct File {
    /// Numbers of parameters by name.
    functions: BTreeMap<String, BTreeSet<usize>>,
    /// The functions that only the file itself can call.
    private: BTreeSet<String>,
    /// Methods of classes and of types, as (class, name) with numbers of parameters.
    methods: BTreeMap<(String, String), BTreeSet<usize>>,
    exports: BTreeSet<String>,
    /// The files its imports mean, by alias.
    imports: BTreeMap<String, String>,
    /// Keys of map literals whose values are functions: `m.key(…)` calls them.
    callable_keys: BTreeSet<String>,
}

struct Checker<'a> {
    engine: &'a Engine,
    host: &'a Arc<Host>,
    known: Arc<Signatures>,
    files: HashMap<String, Arc<File>>,
    /// Files to look at when all are known.
    waiting: Vec<(String, AST)>,
    found: Vec<Error>,
}

impl Checker<'_> {
    /// Looks through one file and all it imports; once.
    fn file(&mut self, name: &str, text: &str) {
        if self.files.contains_key(name) {
            return;
        }
        self.files.insert(name.to_owned(), Arc::default());
        let ast = match compile(self.engine, self.host, name, text, &Scope::new()) {
            Ok(ast) => ast,
            Err(error) => return self.found.push(diagnostics::explain(self.engine, self.host, &error, name)),
        };
        let mut file = declarations(&ast);
        for import in imports(&ast) {
            match resolver::find(&self.host.project().root, name, &import.path) {
                Ok(module) => {
                    file.imports.insert(import.alias, module.name.clone());
                    self.file(&module.name, &module.text);
                }
                Err(error) => {
                    file.imports.insert(import.alias, String::new());
                    self.report(name, import.position, error);
                }
            }
        }
        self.files.insert(name.to_owned(), Arc::new(file));
        if !name.starts_with(sources::STD) {
            self.waiting.push((name.to_owned(), ast));
        }
    }

    /// Takes note of what a module declares, and leaves its mistakes alone.
    fn declared(&mut self, name: &str, text: &str) {
        if !self.files.contains_key(name)
            && let Ok(ast) = compile(self.engine, self.host, name, text, &Scope::new())
        {
            self.files.insert(name.to_owned(), Arc::new(declarations(&ast)));
        }
    }

    /// Looks for mistakes, once all declarations are known: a module may be handed objects of the class that imports it.
    fn look(&mut self) {
        for (name, ast) in std::mem::take(&mut self.waiting) {
            self.look_at(&name, &ast);
        }
    }

    fn look_at(&mut self, name: &str, ast: &AST) {
        let Some(file) = self.files.get(name).cloned() else { return };
        let mut nodes: Vec<(Node, Position)> = Vec::new();
        ast.walk(&mut |path| {
            nodes.extend(path.last().and_then(node));
            true
        });
        nodes.sort_by_key(|(_, position)| (position.line(), position.position()));
        for (node, position) in nodes {
            if let Some(error) = self.wrong(&file, &node) {
                self.report(name, position, error);
            }
        }
    }

    fn report(&mut self, file: &str, position: Position, error: Error) {
        self.found.push(error.at(self.host.sources().locate(file, position)));
    }

    fn wrong(&self, file: &File, node: &Node) -> Option<Error> {
        match node {
            Node::Call(call) if call.is_qualified() => self.qualified(file, call),
            Node::Call(call) => self.function(file, call),
            Node::Method(call) => self.method(file, call),
            Node::Constant(path, name) => self.constant(file, path, name),
        }
    }

    /// `f(x)`.
    fn function(&self, file: &File, call: &FnCallExpr) -> Option<Error> {
        let (name, args) = (call.name.as_str(), call.args.len());
        if call.is_operator_call() || !is_word(name) || BUILT_IN.contains(&name) {
            return None;
        }
        if name == "object" && args == 2 {
            return self.class(file, call);
        }
        let mut arities: BTreeSet<usize> = self.known.named(name).map(|f| f.params.len()).collect();
        arities.extend(file.functions.get(name).into_iter().flatten());
        if arities.contains(&args) {
            return None;
        }
        if arities.is_empty() {
            let names = self.known.names();
            let names = names.iter().map(String::as_str).chain(file.functions.keys().map(String::as_str));
            return Some(unknown(format!("there is no function {name}"), name, names, "`opsrun doc` lists all functions."));
        }
        let forms = Signatures::forms(self.known.named(name));
        Some(wrong_count(name, &arities, args, &forms))
    }

    /// `object("Class", #{…})`.
    fn class(&self, file: &File, call: &FnCallExpr) -> Option<Error> {
        let Expr::StringConstant(class, _) = &call.args[0] else { return None };
        if file.methods.keys().any(|(c, _)| c == class.as_str()) {
            return None;
        }
        let classes = file.methods.keys().map(|(c, _)| c.as_str()).filter(|c| is_class_name(self.engine, c));
        let what = format!("there is no class {class} in this file");
        Some(unknown(what, class, classes, "A class is declared by its methods: fn Class.method() {…}."))
    }

    /// `x::f(y)`.
    fn qualified(&self, file: &File, call: &FnCallExpr) -> Option<Error> {
        let path: Vec<&str> = call.namespace.path.iter().map(|i| i.name.as_str()).collect();
        let (name, args, shown) = (call.name.as_str(), call.args.len(), path.join("::"));
        if path == ["global"] {
            return self.function(file, &unqualified(call));
        }
        let Some(module) = self.module(file, &path) else {
            let full = format!("{shown}::{name}");
            let arities: BTreeSet<usize> = self.known.named(&full).map(|f| f.params.len()).collect();
            let siblings: Vec<&str> =
                self.known.functions.iter().filter(|f| f.module == shown).map(|f| f.name.as_str()).collect();
            if siblings.is_empty() || arities.contains(&args) {
                // A module that is not there has been reported at its import.
                return None;
            }
            if arities.is_empty() {
                return Some(unknown(format!("{shown} has no function {name}"), name, siblings, ""));
            }
            let forms = Signatures::forms(self.known.named(&full));
            return Some(wrong_count(&full, &arities, args, &forms));
        };
        match module.functions.get(name) {
            Some(arities) if arities.contains(&args) && !module.private.contains(name) => None,
            Some(_) if module.private.contains(name) => {
                Some(Error::new(Kind::Script, format!("{shown}::{name} is private to its module")))
            }
            Some(arities) => Some(wrong_count(&format!("{shown}::{name}"), arities, args, &[])),
            None => {
                let public = module.functions.keys().filter(|f| !module.private.contains(*f)).map(String::as_str);
                Some(unknown(format!("{shown} has no function {name}"), name, public, ""))
            }
        }
    }

    /// `x::NAME`.
    fn constant(&self, file: &File, path: &[String], name: &str) -> Option<Error> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let module = self.module(file, &path)?;
        if module.exports.contains(name) {
            return None;
        }
        let what = format!("{} exports no {name}", path.join("::"));
        Some(unknown(
            what,
            name,
            module.exports.iter().map(String::as_str),
            "A module's constants are seen when it says export const.",
        ))
    }

    fn module(&self, file: &File, path: &[&str]) -> Option<Arc<File>> {
        let (first, rest) = path.split_first()?;
        let module = self.files.get(file.imports.get(*first)?)?.clone();
        if rest.is_empty() { Some(module) } else { self.module(&module, rest) }
    }

    /// `x.f(y)`: of which type `x` is cannot be known, so any type or class that has it will do.
    fn method(&self, file: &File, call: &FnCallExpr) -> Option<Error> {
        let (name, args) = (call.name.as_str(), call.args.len());
        if BUILT_IN.contains(&name) || !is_word(name) || file.callable_keys.contains(name) {
            return None;
        }
        let mut arities: BTreeSet<usize> = self.known.named(name).filter_map(|f| f.params.len().checked_sub(1)).collect();
        arities.extend(file.functions.get(name).into_iter().flatten());
        let mut forms = Signatures::forms(self.known.named(name));
        let mut names: BTreeSet<String> = BTreeSet::new();
        for other in self.files.values().map(Arc::as_ref).chain(std::iter::once(file)) {
            for ((class, method), counts) in &other.methods {
                names.insert(method.clone());
                if method == name {
                    arities.extend(counts);
                    forms.extend(counts.iter().map(|n| format!("{class}.{method} with {n}")));
                }
            }
        }
        if arities.contains(&args) {
            return None;
        }
        if arities.is_empty() {
            names
                .extend(self.known.functions.iter().filter(|f| is_word(&f.name) && !f.params.is_empty()).map(|f| f.name.clone()));
            return Some(unknown(
                format!("nothing has a method {name}"),
                name,
                names.iter().map(String::as_str),
                "`opsrun doc` lists all methods.",
            ));
        }
        forms.sort();
        forms.dedup();
        Some(wrong_count(&format!("the method {name}"), &arities, args, &forms))
    }
}

/// What is looked at.
enum Node {
    Call(FnCallExpr),
    Method(FnCallExpr),
    Constant(Vec<String>, String),
}

fn node(node: &ASTNode) -> Option<(Node, Position)> {
    match node {
        ASTNode::Expr(Expr::FnCall(call, position)) | ASTNode::Stmt(Stmt::FnCall(call, position)) => {
            Some((Node::Call((**call).clone()), *position))
        }
        ASTNode::Expr(Expr::MethodCall(call, position)) => Some((Node::Method((**call).clone()), *position)),
        ASTNode::Expr(Expr::Variable(variable, _, position)) if !variable.2.is_empty() => {
            let path: Vec<String> = variable.2.path.iter().map(|i| i.name.to_string()).collect();
            (path != ["global"]).then(|| (Node::Constant(path, variable.1.to_string()), *position))
        }
        _ => None,
    }
}

fn unqualified(call: &FnCallExpr) -> FnCallExpr {
    let mut call = call.clone();
    call.namespace.path.clear();
    call
}

fn declarations(ast: &AST) -> File {
    let mut file = File::default();
    for f in ast.iter_functions() {
        if f.name.starts_with(sources::rhai_closure_prefix()) {
            continue;
        }
        if let Some(class) = f.this_type {
            file.methods.entry((class.to_owned(), f.name.to_owned())).or_default().insert(f.params.len());
        } else {
            file.functions.entry(f.name.to_owned()).or_default().insert(f.params.len());
            if f.access.is_private() {
                file.private.insert(f.name.to_owned());
            }
        }
    }
    ast.walk(&mut |path| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Var(variable, flags, _))) if flags.contains(ASTFlags::EXPORTED) => {
                file.exports.insert(variable.0.name.to_string());
            }
            Some(ASTNode::Stmt(Stmt::Export(names, _))) => {
                let alias = if names.1.name.is_empty() { &names.0 } else { &names.1 };
                file.exports.insert(alias.name.to_string());
            }
            Some(ASTNode::Expr(Expr::Map(entries, _))) => {
                let callable = entries.0.iter().filter(|(_, value)| !is_plain(value));
                file.callable_keys.extend(callable.map(|(key, _)| key.name.to_string()));
            }
            Some(ASTNode::Expr(Expr::DynamicConstant(value, _))) => {
                if let Ok(map) = value.as_map_ref() {
                    file.callable_keys.extend(map.iter().filter(|(_, v)| v.is_fnptr()).map(|(k, _)| k.to_string()));
                }
            }
            _ => {}
        }
        true
    });
    file
}

/// Whether an expression is certainly no function.
fn is_plain(value: &Expr) -> bool {
    !matches!(value, Expr::DynamicConstant(..) | Expr::FnCall(..) | Expr::Variable(..) | Expr::Dot(..) | Expr::Stmt(..))
}

fn unknown<'a>(what: String, name: &str, candidates: impl IntoIterator<Item = &'a str>, otherwise: &str) -> Error {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let error = Error::new(Kind::Script, what);
    let called_here = super::elsewhere::called_here(name).filter(|ours| candidates.contains(ours));
    let near = called_here.or_else(|| crate::base::suggest::nearest(name, candidates.iter().copied()));
    match near {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None if otherwise.is_empty() => error.hint_if(did_you_mean(name, candidates)),
        None => error.hint(otherwise),
    }
}

fn wrong_count(name: &str, arities: &BTreeSet<usize>, args: usize, forms: &[String]) -> Error {
    let takes: Vec<String> = arities.iter().map(ToString::to_string).collect();
    let noun = if takes == ["1"] { "argument" } else { "arguments" };
    let error = Error::new(Kind::Script, format!("{name} takes {} {noun}, not {args}", takes.join(" or ")));
    if forms.is_empty() { error } else { error.hint(format!("There is: {}.", forms[..forms.len().min(6)].join(", "))) }
}

/// All scripts that a path means: itself, or the `.rhai` files of a folder and its folders.
pub fn scripts_of(path: &Path) -> Vec<std::path::PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let files = walkdir::WalkDir::new(path).sort_by_file_name().into_iter().filter_map(std::result::Result::ok);
    files.map(walkdir::DirEntry::into_path).filter(|p| p.extension().is_some_and(|e| e == "rhai")).collect()
}
