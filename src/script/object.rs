//! Objects from modules written in Rhai: `object("Cluster", #{ nodes: n })` has the methods `fn Cluster.start() { this.nodes … }`.
//!
//! Rhai's own typed methods need a Rust type for each class, and two modules with the same class would overwrite each other.
//! Here all objects are one Rust type, and each knows the class of the module that made it.

use super::convert::ScriptResult;
use super::host::Host;
use super::signatures::strip;
use super::sources::rhai_closure_prefix;
use crate::base::error::{Error, Kind};
use crate::base::suggest::did_you_mean;
use rhai::{
    Dynamic, Engine, EvalAltResult, FuncRegistration, GlobalRuntimeState, Map, Module, NativeCallContext, Position, RhaiFunc,
    ScriptFuncDef, Shared,
};
use std::any::TypeId;
use std::cell::RefCell;
use std::sync::{Arc, RwLock};

/// A handle: copies are the same object.
#[derive(Clone)]
pub struct Object(Arc<Inner>);

struct Inner {
    class: Arc<Class>,
    fields: RwLock<Map>,
}

/// What the objects of one class of one module share.
pub struct Class {
    pub name: String,
    /// The module's functions, by which the class is known again.
    lib: Shared<Module>,
    pub methods: Vec<Method>,
    /// What the module sees: its functions, imports and constants, and the methods as plain functions.
    environment: GlobalRuntimeState,
}

/// `fn Cluster.start(x)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    pub name: String,
    pub params: Vec<String>,
    /// Only methods of the same module may call it.
    pub private: bool,
    /// Its `///` lines, without the slashes.
    pub doc: Vec<String>,
}

impl Method {
    fn of(def: &ScriptFuncDef) -> Self {
        Self {
            name: def.name.to_string(),
            params: def.params.iter().map(ToString::to_string).collect(),
            private: def.access.is_private(),
            doc: strip(&def.comments.iter().map(ToString::to_string).collect::<Vec<_>>()),
        }
    }

    /// `start(x)`.
    pub fn signature(&self) -> String {
        format!("{}({})", self.name, self.params.join(", "))
    }
}

/// The name a method has as a plain function. It begins as a closure's name does, because only those and proper identifiers
/// can be called by name, and no identifier of a script must ever be taken for it.
fn function_name(class: &str, method: &str) -> String {
    format!("{}{class}.{method}", rhai_closure_prefix())
}

/// `Cluster.start` for the name that Rhai's errors carry; none for closures and functions.
pub fn method_of(function: &str) -> Option<&str> {
    function.strip_prefix(rhai_closure_prefix()).filter(|rest| rest.contains('.'))
}

impl Object {
    /// Makes an object of a class of the calling module.
    pub fn new(context: &NativeCallContext, class: &str, fields: Map) -> ScriptResult<Self> {
        let host = Host::of(context);
        let class = host.class(context, class)?;
        let fields = fields.into_iter().map(|(k, v)| (k, v.flatten())).collect();
        Ok(Self(Arc::new(Inner { class, fields: RwLock::new(fields) })))
    }

    pub fn class(&self) -> &Class {
        &self.0.class
    }

    /// The value of a field.
    pub fn get(&self, field: &str) -> ScriptResult<Dynamic> {
        let fields = self.0.fields.read().map_err(|_| poisoned())?;
        match fields.get(field) {
            Some(value) => Ok(value.clone()),
            None => Err(self.no_field(field, &fields).into()),
        }
    }

    /// Gives a field a new value.
    pub fn set(&self, field: &str, value: Dynamic) -> ScriptResult<()> {
        let mut fields = self.0.fields.write().map_err(|_| poisoned())?;
        match fields.get_mut(field) {
            Some(slot) => {
                *slot = value.flatten();
                Ok(())
            }
            None => Err(self
                .no_field(field, &fields)
                .hint(format!("Give every field a first value in object(\"{}\", #{{…}}).", self.class().name))
                .into()),
        }
    }

    /// A copy of all fields.
    pub fn fields(&self) -> Map {
        self.0.fields.read().map(|f| f.clone()).unwrap_or_default()
    }

    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn no_field(&self, field: &str, fields: &Map) -> Error {
        let class = self.class();
        let error = Error::new(Kind::Script, format!("{} has no field {field}", class.name));
        if let Some(method) = class.methods.iter().find(|m| m.name == field) {
            return error.hint(format!("{} is a method: call it as .{}.", field, method.signature()));
        }
        error.hint_if(did_you_mean(field, fields.keys().map(|k| &k[..])))
    }
}

fn poisoned() -> Error {
    Error::internal("an object's fields were left locked by a thread that died")
}

impl Class {
    /// The functions among which the caller's class of that name is declared; those of its own file come first.
    pub fn home(context: &NativeCallContext, name: &str) -> Result<Shared<Module>, Error> {
        let source = context.call_source();
        let libs = context.namespaces();
        let own = libs.iter().rev().filter(|lib| source.is_some() && lib.id() == source);
        if let Some(lib) = own.chain(libs.iter().rev()).find(|lib| methods(lib, name).next().is_some()) {
            return Ok(lib.clone());
        }
        let mut names: Vec<&str> = libs.iter().flat_map(typed).filter_map(|d| d.this_type.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        let error = Error::new(Kind::Script, format!("there is no class {name} here: no function is declared as fn {name}.…(…)"));
        Err(match did_you_mean(name, names) {
            Some(hint) => error.hint(hint),
            None => error.hint(format!("Declare its methods in the same file, such as fn {name}.start() {{ this.nodes … }}.")),
        })
    }

    /// The class as `lib` declares it, with what the caller sees.
    pub fn new(context: &NativeCallContext, name: &str, lib: &Shared<Module>) -> Self {
        let mut plain = Module::new();
        for def in methods(lib, name) {
            let mut function = ScriptFuncDef::clone(def);
            function.name = function_name(name, &def.name).into();
            function.this_type = None;
            plain.set_script_fn(function);
        }
        if let Some(id) = lib.id() {
            plain.set_id(id);
        }
        let caller = context.global_runtime_state();
        let mut environment = context.engine().new_global_runtime_state();
        for (import, module) in caller.scan_imports_raw() {
            environment.push_import(import.clone(), module.clone());
        }
        environment.constants.clone_from(&caller.constants);
        environment.source = lib.id().map(Into::into);
        // Closures made inside a method are looked up in the first, functions from the last to the first.
        environment.lib.push(lib.clone());
        environment.lib.push(plain.into());
        let mut methods: Vec<Method> = methods(lib, name).map(|def| Method::of(def)).collect();
        methods.sort_by(|a, b| (&a.name, a.params.len()).cmp(&(&b.name, b.params.len())));
        Self { name: name.to_owned(), lib: lib.clone(), methods, environment }
    }

    /// Whether this is the class of that name which `lib` declares.
    pub fn is_of(&self, lib: &Shared<Module>, name: &str) -> bool {
        self.name == name && Shared::ptr_eq(lib, &self.lib)
    }

    /// Whether a function of this file may call private methods.
    fn is_inside(&self, source: Option<&str>) -> bool {
        source.is_some() && self.lib.id() == source
    }

    fn method(&self, name: &str, args: usize) -> Option<&Method> {
        self.methods.iter().find(|m| m.name == name && m.params.len() == args)
    }

    fn no_method(&self, name: &str, args: usize, inside: bool) -> Error {
        let class = &self.name;
        let overloads: Vec<String> = self.methods.iter().filter(|m| m.name == name).map(Method::signature).collect();
        if self.method(name, args).is_some() {
            return Error::new(Kind::Script, format!("{class}.{name} is private to its module"));
        }
        if !overloads.is_empty() {
            let count = if args == 1 { "1 argument".to_owned() } else { format!("{args} arguments") };
            return Error::new(Kind::Script, format!("{class}.{name} does not take {count}"))
                .hint(format!("There is: {class}.{}.", overloads.join(&format!(", {class}."))));
        }
        let names = self.methods.iter().filter(|m| inside || !m.private);
        let mut names: Vec<&str> = names.map(|m| m.name.as_str()).collect();
        names.dedup();
        let message = format!("{class} has no method {name}; it has {}", names.join(", "));
        let error = Error::new(Kind::Script, message);
        match crate::base::suggest::nearest(name, names) {
            Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
            None => error,
        }
    }
}

/// The functions of a file that are declared for this class.
fn methods<'a>(lib: &'a Shared<Module>, class: &'a str) -> impl Iterator<Item = &'a Shared<ScriptFuncDef>> {
    typed(lib).filter(move |def| def.this_type.as_deref() == Some(class))
}

/// The functions of a file that are declared for a type.
fn typed(lib: &Shared<Module>) -> impl Iterator<Item = &Shared<ScriptFuncDef>> {
    lib.iter_script_fn_info().map(|(.., def)| def).filter(|d| d.this_type.is_some())
}

thread_local! {
    /// The last method that was called on an object and is not there: Rhai's error does not say of which class.
    static MISSING: RefCell<Option<(String, usize, bool, Object)>> = const { RefCell::new(None) };
}

fn note_missing(object: &Object, name: &str, args: usize, inside: bool) {
    MISSING.set(Some((name.to_owned(), args, inside, object.clone())));
}

/// What to say when no function took a call on an object, if it was a method of that object that was meant.
pub fn missing_method(name: &str, args: usize) -> Option<Error> {
    let (missing, count, inside, object) = MISSING.take()?;
    (missing == name && count == args).then(|| object.class().no_method(name, args - 1, inside))
}

/// Sends method calls on objects to their classes: Rhai asks here when it knows no function for a call,
/// which is so for classes of modules that were not known before the run (`prepare`).
pub fn register(engine: &mut Engine) {
    #[allow(deprecated, reason = "Rhai marks what may still change so; the version is pinned and tests cover it")]
    engine.on_missing_function(|name, args, is_method, context| {
        let Some(object) = args.first().and_then(|a| a.read_lock::<Object>().map(|o| o.clone())) else { return Ok(None) };
        let host = Host::of_eval(&context);
        // Also asked when a function was found and failed: then its error stands.
        if !is_method || host.is_dispatched(name, args.len()) {
            return Ok(None);
        }
        if object.class().method(name, args.len() - 1).is_none() {
            let inside = object.class().is_inside(context.source());
            note_missing(&object, name, args.len(), inside);
            return Ok(None);
        }
        call(context.engine(), context.global_runtime_state(), &object, name, &mut args[1..]).map(Some)
    });
}

/// Registers a native function for every method that these functions declare, so that calls to it know their place.
pub fn prepare<'a>(engine: &mut Engine, host: &Host, functions: impl Iterator<Item = rhai::ScriptFnMetadata<'a>>) {
    let mut module = Module::new();
    for f in functions {
        let is_class = f.this_type.is_some_and(|t| is_class_name(engine, t));
        if !is_class || !host.dispatches(f.name, f.params.len() + 1) {
            continue;
        }
        let name = f.name.to_owned();
        let types = std::iter::once(TypeId::of::<Object>()).chain(f.params.iter().map(|_| TypeId::of::<Dynamic>()));
        let run = move |context: Option<NativeCallContext>, args: &mut [&mut Dynamic]| {
            let (Some(context), Some((first, rest))) = (context, args.split_first_mut()) else { return Ok(Dynamic::UNIT) };
            let object = first.read_lock::<Object>().map(|o| o.clone());
            let Some(object) = object else { return Err(Error::internal("a method was called on no object").into()) };
            call(context.engine(), context.global_runtime_state(), &object, &name, rest)
        };
        let function = RhaiFunc::Method { func: Shared::new(run), has_context: true, is_pure: true, is_volatile: true };
        FuncRegistration::new(f.name).set_into_module_raw(&mut module, types.collect::<Vec<_>>(), function);
    }
    if !module.is_empty() {
        engine.register_global_module(module.into());
    }
}

/// Whether `fn Name.method()` declares a method of a class, and not of a type that exists.
pub fn is_class_name(engine: &Engine, name: &str) -> bool {
    let rust = name.contains("::") || engine.map_type_name(name) != name;
    !rust && !super::api::TYPES.contains(&name) && name.starts_with(char::is_uppercase)
}

fn call(
    engine: &Engine,
    caller: &GlobalRuntimeState,
    object: &Object,
    name: &str,
    args: &mut [&mut Dynamic],
) -> ScriptResult<Dynamic> {
    let class = object.class();
    let inside = class.is_inside(caller.source());
    match class.method(name, args.len()) {
        Some(method) if inside || !method.private => {}
        Some(_) => return Err(class.no_method(name, args.len(), inside).into()),
        None => {
            // Rhai's own error, because some of its functions (map, filter, …) try on when there is no such function.
            note_missing(object, name, args.len() + 1, inside);
            let call = format!("{name} (Object{})", ", any".repeat(args.len()));
            return Err(Box::new(EvalAltResult::ErrorFunctionNotFound(call, Position::NONE)));
        }
    }
    let mut global = class.environment.clone();
    global.tag = caller.tag.clone();
    global.level = caller.level;
    let function = function_name(&class.name, name);
    let inner = NativeCallContext::new_with_all_fields(engine, &function, class.lib.id(), &global, Position::NONE);
    // The variable that holds the object may be captured by a closure: do not keep it locked while the method runs.
    let mut this = Dynamic::from(object.clone());
    let mut values: Vec<&mut Dynamic> = std::iter::once(&mut this).chain(args.iter_mut().map(|a| &mut **a)).collect();
    inner.call_fn_raw(&function, true, true, &mut values)
}
