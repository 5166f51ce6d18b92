//! What lives on between the lines of a session: variables, functions, imports, and the lines themselves.

use super::lex::{Kind, tokens};
use super::modules::Modules;
use crate::base::cancel::Cancel;
use crate::base::error::Result;
use crate::script::convert::type_name;
use crate::script::diagnostics::explain;
use crate::script::host::Host;
use crate::script::reference::{self, Entry};
use crate::script::run::{compile, guarded, imports};
use crate::script::signatures::{Signatures, kind_name};
use crate::script::{engine, resolver};
use rhai::{AST, Caches, Dynamic, Engine, FnAccess, GlobalRuntimeState, ImmutableString, Module, ParseErrorType, Scope, Shared};
use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::Arc;

/// The variable behind `_`, which Rhai does not take as a name.
pub const LAST: &str = "_last";

/// What came of a line.
#[derive(Debug)]
pub enum Outcome {
    Value(Dynamic),
    /// It said `exit(code)`.
    Exit(u8),
}

/// A line that ran to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As it was typed.
    pub text: String,
    /// It had a value, so that a later `_` may mean it.
    pub has_value: bool,
}

/// A function, as completion and `:vars` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub params: Vec<String>,
    /// Its `///` lines, with their slashes.
    pub comments: Vec<String>,
}

/// A text to run.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What errors call it.
    pub name: &'a str,
    pub text: &'a str,
    /// What it is the end of, when it begins with empty lines in place of all that came before.
    pub whole: Option<&'a str>,
}

/// Everything that the lines of a session share.
pub struct Session {
    engine: Arc<Engine>,
    /// Compiles the lines: it alone knows, as static modules, what earlier lines have imported.
    /// It is not the engine that runs them, because tasks hold on to that one.
    parser: Engine,
    modules: Modules,
    /// The files that lines have imported.
    imported: HashSet<String>,
    host: Arc<Host>,
    global: GlobalRuntimeState,
    scope: Scope<'static>,
    lines: Vec<Line>,
    count: usize,
    manual: OnceCell<Vec<Entry>>,
}

impl Session {
    pub fn new(host: Arc<Host>) -> Self {
        let modules = Modules::default();
        let mut engine = engine::new(&host);
        engine.set_module_resolver(modules.clone());
        let engine = Arc::new(engine);
        host.starts("repl", &engine, true);
        let global = engine.new_global_runtime_state();
        let mut session = Self {
            parser: engine::new(&host),
            engine,
            modules,
            imported: HashSet::new(),
            host,
            global,
            scope: Scope::new(),
            lines: Vec::new(),
            count: 0,
            manual: OnceCell::new(),
        };
        session.scope.push_dynamic(LAST, Dynamic::UNIT);
        session
    }

    /// Forgets variables, functions, imports and lines.
    pub fn reset(&mut self) {
        self.global = self.engine.new_global_runtime_state();
        self.parser = engine::new(&self.host);
        self.modules.forget();
        self.scope = Scope::new();
        self.scope.push_dynamic(LAST, Dynamic::UNIT);
        self.lines.clear();
    }

    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// The lines that ran to their end, oldest first.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What errors shall call the next line.
    pub fn next_name(&mut self) -> String {
        self.count += 1;
        format!("input {}", self.count)
    }

    /// Runs a line that is none of those that were typed.
    pub fn prelude(&mut self, text: &str, cancel: Cancel) -> Result<()> {
        let outcome = self.eval(&Input { name: "opsrun", text, whole: None }, cancel);
        self.lines.clear();
        outcome.map(|_| ())
    }

    /// Runs a text. Whatever it did before an error stays.
    pub fn eval(&mut self, input: &Input, cancel: Cancel) -> Result<Outcome> {
        let Input { name, text, whole } = *input;
        let code = with_last(text);
        let compiled = compile(&self.parser, &self.host, name, &code, &self.scope);
        if let Some(whole) = whole {
            self.host.sources().add(name, whole);
        }
        let ast = compiled.map_err(|e| explain(&self.parser, &self.host, &e, name).exit_with(1))?;
        self.import_anew(name, &ast);
        let host = self.host.with_cancel(cancel);
        let global = &mut self.global;
        global.tag = Dynamic::from(host.clone());
        global.source = Some(name.into());
        // An error leaves these where it happened.
        (global.level, global.scope_level, global.num_modules_loaded, global.always_search_scope) = (0, 0, 0, false);
        if ast.has_functions() {
            // One library a line: functions are looked up from the last to the first, and each knows its line.
            global.lib.push(ast.shared_lib().clone());
        }
        let (engine, scope) = (&self.engine, &mut self.scope);
        #[allow(deprecated, reason = "the only way to keep imports and constants from line to line; the version is pinned")]
        let run = || engine.eval_statements_raw(global, &mut Caches::new(), scope, ast.statements());
        let outcome = host.enter(|| guarded(run));
        self.keep();
        let value = match outcome {
            Ok(Ok(value)) => value.flatten(),
            Ok(Err(error)) => return Err(explain(&self.engine, &self.host, &error, name).begun()),
            Err(defect) => return Err(defect.begun()),
        };
        if let Some(code) = self.host.exit_code() {
            return Ok(Outcome::Exit(code));
        }
        self.lines.push(Line { text: text.trim().to_owned(), has_value: !value.is_unit() });
        if !value.is_unit() {
            self.scope.set_or_push(LAST, value.clone());
        }
        Ok(Outcome::Value(value))
    }

    /// Sees to it that a module is read again when a line imports what an earlier line imported.
    fn import_anew(&mut self, importer: &str, ast: &AST) {
        let mut again = false;
        for import in imports(ast) {
            // What cannot be found is left to the import itself.
            if let Ok(found) = resolver::find(&self.host.project().root, importer, &import.path) {
                again |= !self.imported.insert(found.name);
            }
        }
        if again {
            self.modules.forget();
        }
    }

    /// Makes what a line has left behind known to the lines that follow.
    fn keep(&mut self) {
        for (alias, module) in self.global.scan_imports_raw() {
            self.parser.register_static_module(alias, module.clone());
        }
        let mut names: Vec<&str> = self.scope.iter_raw().map(|(name, ..)| name).collect();
        names.sort_unstable();
        if names.windows(2).any(|w| w[0] == w[1]) {
            self.scope = self.scope.clone_visible();
        }
        // Rhai does this by itself only for constants declared beside the functions that use them.
        let constants = self.global.constants.get_or_insert_default();
        if let Ok(mut constants) = constants.write() {
            constants.clear();
            for (name, _, value) in self.scope.iter().filter(|(_, constant, _)| *constant) {
                constants.insert(name.into(), value);
            }
        }
    }

    /// Runs what `defer` left for the end, and stops the tasks.
    pub fn finish(&self) -> Result<()> {
        self.host.finish(&self.engine)
    }

    /// As `finish`, from another thread, when there is no time to come back to this one.
    pub fn at_end(&self) -> Box<dyn Fn() + Send + Sync> {
        let (host, engine) = (self.host.clone(), self.engine.clone());
        Box::new(move || {
            let _ = host.finish(&engine);
        })
    }

    /// The value of a variable; `_` is the last value.
    pub fn variable(&self, name: &str) -> Option<Dynamic> {
        self.scope.get(if name == "_" { LAST } else { name }).map(Dynamic::flatten_clone)
    }

    /// Names, whether constant, and values of all variables, sorted.
    pub fn variables(&self) -> Vec<(String, bool, Dynamic)> {
        let mut all: Vec<_> =
            self.scope.iter().filter(|(n, ..)| *n != LAST).map(|(n, constant, v)| (n.to_owned(), constant, v)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|a, b| a.0 == b.0);
        all
    }

    /// The functions of earlier lines; the last of each name and arity.
    pub fn functions(&self) -> Vec<Function> {
        let mut all: Vec<Function> = Vec::new();
        for function in self.global.lib.iter().rev().flat_map(|lib| functions_of(lib)) {
            if !all.iter().any(|f| f.name == function.name && f.params.len() == function.params.len()) {
                all.push(function);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The aliases of all imports, sorted.
    pub fn imports(&self) -> Vec<String> {
        let mut all: Vec<String> = self.global.scan_imports_raw().map(|(alias, _)| alias.to_string()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// An imported module.
    pub fn import(&self, alias: &str) -> Option<Shared<Module>> {
        self.global.find_import(alias).and_then(|i| self.global.get_shared_import(i))
    }

    /// All native functions and types.
    pub fn signatures(&self) -> Arc<Signatures> {
        Signatures::of(&self.engine, &self.host)
    }

    /// The manual of everything there is without this session; made when it is first asked for.
    pub fn manual(&self) -> &[Entry] {
        // A broken module of the project's own is told when it is imported.
        self.manual.get_or_init(|| reference::entries(&self.host).unwrap_or_default())
    }

    /// Names of native functions that are ours, and not Rhai's own: with their modules (`file::read`).
    pub fn own_functions(&self) -> Vec<String> {
        self.engine.collect_fn_metadata(
            None,
            |f| {
                let name = &f.metadata.name;
                Some(if f.namespace.is_empty() { name.to_string() } else { format!("{}::{name}", f.namespace) })
            },
            false,
        )
    }

    /// The names of `std/…`.
    pub fn std_names(&self) -> Vec<String> {
        resolver::std_names(&self.host.project().root)
    }

    /// What a script's author calls the type of a value: as `Signatures` name it.
    pub fn kind_of(&self, value: &Dynamic) -> String {
        let name = self.engine.map_type_name(value.type_name());
        if name == value.type_name() { kind_name(&type_name(value)) } else { name.to_owned() }
    }

    /// A value of a type that is none of Rhai's own, as `print` writes it.
    pub fn text_of(&self, value: &Dynamic) -> String {
        let text = self.engine.eval_fn_call::<ImmutableString>("to_string", Some(&mut value.clone()), ());
        text.map_or_else(|_| self.kind_of(value), |t| t.to_string())
    }

    /// Whether Rhai misses the rest of the text: `let x =`, `1 +`, `if x`.
    pub fn wants_more(&self, text: &str) -> bool {
        crate::script::syntax::reset();
        let text = with_last(text);
        let Err(error) = self.parser.compile_with_scope(&self.scope, &text) else { return false };
        let (line, column) = (error.position().line().unwrap_or(0), error.position().position().unwrap_or(0));
        let end = (text.lines().count(), text.lines().last().map_or(0, |l| l.trim_end().chars().count()));
        *error.err_type() == ParseErrorType::UnexpectedEOF || line > end.0 || (line == end.0 && column > end.1)
    }
}

/// The public functions that a module or a line declares, without its methods.
pub fn functions_of(module: &Module) -> Vec<Function> {
    let mut all: Vec<Function> = module
        .iter_script_fn_info()
        .map(|(.., def)| def)
        .filter(|d| d.access == FnAccess::Public && d.this_type.is_none() && !d.name.contains('$'))
        .map(|d| Function {
            name: d.name.to_string(),
            params: d.params.iter().map(ToString::to_string).collect(),
            comments: d.comments.iter().map(ToString::to_string).collect(),
        })
        .collect();
    all.sort_by(|a, b| (&a.name, a.params.len()).cmp(&(&b.name, b.params.len())));
    all
}

/// Whether the text speaks of the last value.
pub fn uses_last(text: &str) -> bool {
    tokens(text).windows(2).any(|w| is_last(&w[0], Some(&w[1]))) || tokens(text).last().is_some_and(|t| is_last(t, None))
}

fn is_last(token: &super::lex::Token, next: Option<&super::lex::Token>) -> bool {
    // In `switch`, `_ => …` is the arm for the rest.
    token.kind == Kind::Word && token.text == "_" && !next.is_some_and(|n| n.is("=>") || n.is("if"))
}

/// The text with every `_` that is meant as the last value replaced by its variable.
pub fn with_last(text: &str) -> String {
    let tokens = tokens(text);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (i, token) in tokens.iter().enumerate() {
        if is_last(token, tokens.get(i + 1)) {
            out.push_str(&text[done..token.start]);
            out.push_str(LAST);
            done = token.end();
        }
    }
    out.push_str(&text[done..]);
    out
}
