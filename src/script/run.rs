//! Running a script from its first line to its last `defer`.

use super::convert::ScriptResult;
use super::diagnostics;
use super::engine;
use super::host::Host;
use super::resolver::{self, read_script};
use super::{object, params, syntax};
use crate::base::error::{Error, Location, Result};
use rhai::{AST, ASTNode, Dynamic, Engine, EvalAltResult, Expr, Position, Scope, Stmt};
use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Once};

/// How a script that did not fail came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It ran through.
    Through,
    /// It said `exit(code)`.
    Exit(u8),
}

/// Compiles a text under a name, and keeps what errors will need of it.
pub fn compile(engine: &Engine, host: &Host, name: &str, text: &str, scope: &Scope) -> ScriptResult<AST> {
    host.sources().add(name, text);
    syntax::reset();
    // Some editors begin a text with a mark that is none of it. A first line `#!…` makes a script a program. Rhai skips both
    // only when it reads the file itself.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let blanked;
    let text = if text.starts_with("#!") {
        let end = text.find('\n').unwrap_or(text.len());
        blanked = format!("{}{}", " ".repeat(end), &text[end..]);
        &blanked
    } else {
        text
    };
    let mut ast = engine.compile_with_scope(scope, text).map_err(Box::<EvalAltResult>::from)?;
    ast.set_source(name);
    host.sources().compiled(name, &ast);
    Ok(ast)
}

/// Makes known what the script and all modules it names declare, before it runs. A module that a script or module imports at
/// its top must be there and compile; others are left to their import, which may never come.
pub fn prepare(engine: &mut Engine, host: &Host, ast: &AST) -> Result<()> {
    let mut waiting = vec![(ast.clone(), Vec::new(), true)];
    while let Some((ast, importers, always)) = waiting.pop() {
        object::prepare(engine, host, ast.iter_functions());
        let source = ast.source().unwrap_or_default().to_owned();
        for import in imports(&ast) {
            let certain = always && import.at_top;
            let mut places: Vec<Location> = vec![host.sources().locate(&source, import.position)];
            places.extend(importers.iter().cloned());
            let fail = |mut error: Error| {
                error.details_mut().places.extend(places.iter().cloned());
                error.exit_with(2)
            };
            let found = match resolver::find(&host.project().root, &source, &import.path) {
                Ok(found) => found,
                Err(error) if certain => return Err(fail(error)),
                Err(_) => continue,
            };
            if host.has_compiled(&found.name) {
                continue;
            }
            match compile(engine, host, &found.name, &found.text, &Scope::new()) {
                Ok(module) => {
                    host.keep_compiled(&found.name, module.clone());
                    waiting.push((module, places, certain));
                }
                Err(error) if certain => return Err(fail(diagnostics::explain(engine, host, &error, &found.name))),
                Err(_) => {}
            }
        }
    }
    Ok(())
}

/// `import "path" as alias` with a path that is known before the script runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    pub path: String,
    pub alias: String,
    pub position: Position,
    /// Not within a block, loop or function: it is always done.
    pub at_top: bool,
}

/// All imports of a script with a literal path.
pub fn imports(ast: &AST) -> Vec<Import> {
    let at_top: Vec<Position> = ast
        .statements()
        .iter()
        .filter_map(|s| if let Stmt::Import(import, _) = s { Some(import.0.position()) } else { None })
        .collect();
    let mut found = Vec::new();
    ast.walk(&mut |path| {
        if let Some(ASTNode::Stmt(Stmt::Import(import, _))) = path.last()
            && let Expr::StringConstant(path, position) = &import.0
        {
            found.push(Import {
                path: path.to_string(),
                alias: import.1.name.to_string(),
                position: *position,
                at_top: at_top.contains(position),
            });
        }
        true
    });
    found
}

/// Runs the script at `path` on a thread of its own, with a stack that deep calls fit in.
pub fn run_file(host: &Arc<Host>, path: &Path) -> Result<Ended> {
    let text =
        read_script(path).map_err(|e| e.hint("Give the path of a script, such as scripts/quickstart.rhai.").exit_with(2))?;
    let name = path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string();
    on_script_thread(host, || run_text(host, &name, &text))?
}

/// What `opsrun SCRIPT --help` prints; the script is not run.
pub fn help(host: &Arc<Host>, path: &Path) -> Result<String> {
    let text = read_script(path).map_err(|e| e.exit_with(2))?;
    let name = path.display().to_string();
    let engine = engine::new(host);
    match compile(&engine, host, &name, &text, &Scope::new()) {
        Ok(ast) => Ok(params::help(&name, &text, &ast)),
        Err(error) => Err(diagnostics::explain(&engine, host, &error, &name).exit_with(2)),
    }
}

/// Runs `work` on a thread with a big stack. A panic in it is a defect of ours, and is reported as one.
pub fn on_script_thread<T: Send>(host: &Host, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("script".to_owned()).stack_size(engine::STACK_SIZE);
        let thread = thread.spawn_scoped(scope, || host.enter(|| guarded(work)));
        let thread = thread.map_err(|e| Error::io("start", "a thread for the script", &e))?;
        thread.join().unwrap_or_else(|panic| Err(panicked(&*panic)))
    })
}

thread_local! {
    /// Where the last panic on this thread was, when it is one that `guarded` turns into an error.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a script's work. A panic in it becomes an error with its place, and is not written over the terminal.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                PANIC.set(info.location().map(ToString::to_string));
            } else {
                usual(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    outcome.map_err(|panic| panicked(&*panic))
}

/// The error that a panic is.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    let place = PANIC.take().map(|p| format!(" at {p}")).unwrap_or_default();
    Error::internal(format!("a function of opsrun panicked{place}: {}", text.unwrap_or_else(|| "no message".to_owned())))
}

fn run_text(host: &Arc<Host>, name: &str, text: &str) -> Result<Ended> {
    run_with(host, name, text, |engine, ast| engine.eval_ast_with_scope::<Dynamic>(&mut Scope::new(), ast).map(|_| ()))
}

/// Compiles a text, does `work` with it, then everything that was put off.
pub fn run_with(host: &Arc<Host>, name: &str, text: &str, work: impl FnOnce(&Engine, &AST) -> ScriptResult<()>) -> Result<Ended> {
    let mut engine = engine::new(host);
    let ast = match compile(&engine, host, name, text, &Scope::new()) {
        Ok(ast) => ast,
        Err(error) => return Err(diagnostics::explain(&engine, host, &error, name).exit_with(2)),
    };
    prepare(&mut engine, host, &ast)?;
    let engine = Arc::new(engine);
    host.starts(name, &engine, params::uses_deployment(&ast));
    let outcome = work(&engine, &ast).map_err(|e| diagnostics::explain(&engine, host, &e, name).begun());
    let cleanup = host.finish(&engine);
    match (outcome, cleanup) {
        (Ok(()), Ok(())) => Ok(host.exit_code().map_or(Ended::Through, Ended::Exit)),
        (Ok(()), Err(error)) => Err(error.begun()),
        (Err(error), Ok(())) => Err(error),
        (Err(mut error), Err(after)) => {
            error.details_mut().failed.push(after.on_node("defer"));
            Err(error)
        }
    }
}
