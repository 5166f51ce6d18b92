//! Objects of classes written in Rhai.

use crate::script::ScriptResult;
use crate::script::object;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{ImmutableString, Map};
use std::cell::Cell;

/// Objects within objects are shown by their class only from this depth on: they may contain themselves.
const DEEPEST: usize = 3;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

fn show(context: &NativeCallContext, object: &object::Object) -> ScriptResult<String> {
    let depth = DEPTH.get();
    if depth >= DEEPEST {
        return Ok(object.class().name.clone());
    }
    DEPTH.set(depth + 1);
    let fields = object.fields();
    let shown: ScriptResult<Vec<String>> = fields
        .into_iter()
        .map(|(name, value)| {
            let text: ImmutableString = context.call_native_fn("to_debug", (value,))?;
            Ok(format!("{name}: {text}"))
        })
        .collect();
    DEPTH.set(depth);
    let class = &object.class().name;
    let shown = shown?;
    Ok(if shown.is_empty() { format!("{class} {{}}") } else { format!("{class} {{ {} }}", shown.join(", ")) })
}

#[export_module]
pub mod module {
    /// A value with fields and methods, of a class that a module written in Rhai declares.
    ///
    /// # Example
    /// ```rhai
    /// fn Counter.next() { this.n += 1; this.n }
    ///
    /// let counter = object("Counter", #{ n: 0 });
    /// assert_eq(counter.next(), 1);
    /// assert_eq(type_of(counter), "Counter");
    /// ```
    pub type Object = object::Object;

    /// Makes an object of a class of this file, with its fields; its methods are the functions `fn Class.method(…)`.
    ///
    /// In a method, `this` is the object, and `this.field` a field. Fields are declared here: other names are errors.
    /// Copies of an object are the same object, in tasks too: what several of them change at the same time may get lost.
    /// In closures, `this` is not bound: `let dir = this.dir;` first.
    ///
    /// # Example
    /// ```rhai
    /// fn Counter.add(n) { this.total += n; this.total }
    ///
    /// let counter = object("Counter", #{ total: 0 });
    /// counter.add(2);
    /// assert_eq(counter.add(3), 5);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn object(context: NativeCallContext, class: &str, fields: Map) -> ScriptResult<Object> {
        Object::new(&context, class, fields)
    }

    #[rhai_fn(index_get, return_raw, pure)]
    pub fn get_field(object: &mut Object, field: &str) -> ScriptResult<Dynamic> {
        object.get(field)
    }

    #[rhai_fn(index_set, return_raw, pure)]
    pub fn set_field(object: &mut Object, field: &str, value: Dynamic) -> ScriptResult<()> {
        object.set(field, value)
    }

    #[rhai_fn(name = "==", pure)]
    pub fn same(left: &mut Object, right: Object) -> bool {
        left.is_same(&right)
    }

    #[rhai_fn(name = "!=", pure)]
    pub fn different(left: &mut Object, right: Object) -> bool {
        !left.is_same(&right)
    }

    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", return_raw, pure)]
    pub fn to_string(context: NativeCallContext, object: &mut Object) -> ScriptResult<String> {
        show(&context, object)
    }

    /// What `type_of` is, with the classes of objects.
    #[rhai_fn(name = "class_of")]
    pub fn class_of(context: NativeCallContext, value: Dynamic) -> String {
        match value.read_lock::<Object>() {
            Some(object) => object.class().name.clone(),
            None => context.engine().map_type_name(value.type_name()).to_owned(),
        }
    }
}
