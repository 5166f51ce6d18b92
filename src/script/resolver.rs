//! `import`: from the importing file's folder, from the project, or from the standard library in the binary.

use super::convert::ScriptResult;
use super::host::Host;
use super::run::compile;
use super::sources::STD;
use super::stdlib;
use crate::base::error::{Error, Kind, Location};
use crate::base::suggest::did_you_mean;
use rhai::{Engine, EvalAltResult, GlobalRuntimeState, Module, ModuleResolver, Position, Scope, Shared};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

type Resolved = ScriptResult<Shared<Module>>;

thread_local! {
    /// The imports under way on this thread, outermost first.
    static LOADING: RefCell<Vec<Loading>> = const { RefCell::new(Vec::new()) };
}

/// One import under way: which file, and where it was asked for.
#[derive(Clone)]
struct Loading {
    name: String,
    asked: Location,
}

/// Finds modules, and evaluates each only once in a run.
#[derive(Default)]
pub struct Resolver {
    modules: Mutex<HashMap<String, Shared<Module>>>,
}

/// A module's text and the name it goes by.
#[derive(Debug)]
pub struct Found {
    /// The canonical path, or `std/name.rhai`.
    pub name: String,
    pub text: String,
}

impl ModuleResolver for Resolver {
    fn resolve(&self, engine: &Engine, source: Option<&str>, path: &str, position: Position) -> Resolved {
        let mut global = engine.new_global_runtime_state();
        global.source = source.map(Into::into);
        self.resolve_raw(engine, &mut global, &mut Scope::new(), path, position)
    }

    fn resolve_raw(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        _: &mut Scope,
        path: &str,
        position: Position,
    ) -> Resolved {
        let host = Host::from_tag(&global.tag);
        let importer = global.source().unwrap_or_default().to_owned();
        let found = find(&host.project().root, &importer, path).or_else(|e| at(e, position))?;
        if let Some(module) = self.modules.lock().ok().and_then(|m| m.get(&found.name).cloned()) {
            return Ok(module);
        }
        let asked = host.sources().locate(&importer, position);
        if let Some(cycle) = cycle(&host, &found.name, &asked) {
            return at(cycle, position);
        }
        LOADING.with_borrow_mut(|l| l.push(Loading { name: found.name.clone(), asked }));
        let module = load(engine, &host, global, &found);
        LOADING.with_borrow_mut(Vec::pop);
        let module = module.map_err(|e| Box::new(EvalAltResult::ErrorInModule(found.name.clone(), e, position)))?;
        if let Ok(mut modules) = self.modules.lock() {
            modules.insert(found.name, module.clone());
        }
        Ok(module)
    }
}

/// Evaluates the module in a scope and a state of its own: nothing of the importer shows through.
fn load(engine: &Engine, host: &Host, importer: &GlobalRuntimeState, found: &Found) -> Resolved {
    let ast = match host.take_compiled(&found.name) {
        Some(ast) => ast,
        None => compile(engine, host, &found.name, &found.text, &Scope::new())?,
    };
    let mut global = engine.new_global_runtime_state();
    global.tag = importer.tag.clone();
    global.level = importer.level;
    Ok(Module::eval_ast_as_new_raw(engine, &mut Scope::new(), &mut global, &ast)?.into())
}

fn at<T>(error: Error, position: Position) -> ScriptResult<T> {
    let mut error: Box<EvalAltResult> = error.into();
    error.set_position(position);
    Err(error)
}

fn cycle(host: &Host, name: &str, asked: &Location) -> Option<Error> {
    let show = |name: &str| host.sources().display(name);
    let loading = LOADING.with_borrow(Clone::clone);
    let from_main = host.main_source().is_some_and(|main| main == name);
    let start = if from_main { 0 } else { loading.iter().position(|l| l.name == name)? + 1 };
    let round = &loading[start..];
    let names: Vec<String> =
        std::iter::once(show(name)).chain(round.iter().map(|l| show(&l.name))).chain(std::iter::once(show(name))).collect();
    let mut error = Error::new(Kind::Script, format!("these files import each other: {}", names.join(" -> ")));
    for (step, to) in round.iter().map(|l| &l.asked).chain(std::iter::once(asked)).zip(&names[1..]) {
        error = error.hint(format!("{}:{} imports {to}.", step.file, step.line));
    }
    Some(error.hint("Move what both need into a file of its own, and import that from both."))
}

/// Finds the module that `path` means in a file named `importer`.
pub fn find(project: &Path, importer: &str, path: &str) -> Result<Found, Error> {
    if let Some(name) = path.strip_prefix(STD) {
        return find_std(project, name, path);
    }
    if let Some(std) = importer.strip_prefix(STD) {
        // Within the standard library, paths are relative to it.
        let beside = Path::new(std).parent().unwrap_or(Path::new("")).join(path);
        return find_std(project, &normal(&beside), path);
    }
    let file = with_extension(Path::new(path));
    let beside = Path::new(importer).parent().map(|dir| dir.join(&file));
    let places: Vec<PathBuf> = beside.into_iter().chain(std::iter::once(project.join(&file))).collect();
    for place in &places {
        if let Ok(canonical) = place.canonicalize()
            && canonical.is_file()
        {
            return read(&canonical);
        }
    }
    let cwd = std::env::current_dir().unwrap_or_default();
    let mut looked: Vec<String> = places.iter().map(|p| normal(p.strip_prefix(&cwd).unwrap_or(p))).collect();
    looked.dedup();
    let mut error =
        Error::new(Kind::Script, format!("there is no module \"{path}\"")).hint(format!("Looked for {}.", looked.join(" and ")));
    let near: Vec<String> = places.iter().flat_map(|p| siblings(p, path)).chain(std_names(project)).collect();
    if let Some(close) = crate::base::suggest::nearest(path, near.iter().map(String::as_str)) {
        error = error.hint(format!("Did you mean \"{close}\"?"));
    }
    Err(error)
}

fn find_std(project: &Path, name: &str, path: &str) -> Result<Found, Error> {
    let name = name.strip_suffix(".rhai").unwrap_or(name);
    if let Ok(own) = project.join("stdlib").join(format!("{name}.rhai")).canonicalize() {
        return read(&own);
    }
    if let Some(text) = stdlib::text(name) {
        return Ok(Found { name: format!("{STD}{name}.rhai"), text: text.to_owned() });
    }
    let error = Error::new(Kind::Script, format!("there is no module \"{path}\""))
        .hint("Looked in the standard library and in the project's stdlib/.");
    let names = std_names(project);
    Err(error.hint_if(did_you_mean(path, names.iter().map(String::as_str))))
}

/// `std/…` for every module of the standard library, the project's own included.
pub fn std_names(project: &Path) -> Vec<String> {
    let own = std::fs::read_dir(project.join("stdlib")).into_iter().flatten().flatten();
    let own = own.filter_map(|e| e.file_name().to_str().and_then(|n| n.strip_suffix(".rhai")).map(str::to_owned));
    let mut names: Vec<String> = stdlib::names().map(str::to_owned).chain(own).map(|n| format!("{STD}{n}")).collect();
    names.sort();
    names.dedup();
    names
}

fn read(path: &Path) -> Result<Found, Error> {
    let text = read_script(path)?;
    Ok(Found { name: path.display().to_string(), text })
}

/// Reads a script; not a script is what is not text.
pub fn read_script(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = good.split(|b| *b == b'\n').count();
        Error::new(Kind::Script, format!("{} is not UTF-8 text", path.display()))
            .at(Location::line(path.display().to_string(), line))
    })
}

/// Modules beside the one that does not exist, written as the import wrote it.
fn siblings(place: &Path, path: &str) -> Vec<String> {
    let prefix = path.rsplit_once('/').map(|(dir, _)| format!("{dir}/")).unwrap_or_default();
    let Some(dir) = place.parent() else { return Vec::new() };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str().and_then(|n| n.strip_suffix(".rhai")).map(|n| format!("{prefix}{n}"))).collect()
}

fn with_extension(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|e| e == "rhai") {
        path.to_owned()
    } else {
        PathBuf::from(format!("{}.rhai", path.display()))
    }
}

/// The path without `.` and `x/..`.
fn normal(path: &Path) -> String {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out.display().to_string()
}
