//! Functions that a script hands over to be called later, or on another thread.

use super::convert::ScriptResult;
use super::host::Host;
use crate::base::error::{Error, Kind};
use rhai::{Dynamic, Engine, FnPtr, FuncArgs, Map, NativeCallContext};
use std::sync::Arc;

/// A script's function with all it needs: a closure of a module cannot be found again once the module's function has returned.
#[derive(Clone)]
pub struct Callback {
    function: FnPtr,
    #[allow(deprecated, reason = "Rhai marks what may still change so; the version is pinned and tests cover it")]
    context: rhai::NativeCallContextStore,
}

impl Callback {
    /// Captured variables are copied now: a captured variable is one cell with one lock, which threads would fight over.
    ///
    /// `this` is the value whose method takes the function, if any: its variable is locked while the method runs,
    /// and the function may well capture it.
    #[allow(deprecated, reason = "see `Callback::context`")]
    pub fn new(context: &NativeCallContext, function: &FnPtr, this: Option<&Dynamic>) -> ScriptResult<Self> {
        Ok(Self { function: copy_function(function, this)?, context: context.store_data() })
    }

    /// The file that handed it over.
    pub fn source(&self) -> String {
        #[allow(deprecated, reason = "see `Callback::context`")]
        self.context.global.source.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Calls it under the given host: whose stop signal it obeys.
    #[allow(deprecated, reason = "see `Callback::context`")]
    pub fn call(&self, engine: &Engine, host: &Arc<Host>, args: impl FuncArgs) -> ScriptResult<Dynamic> {
        let mut store = self.context.clone();
        store.global.tag = Dynamic::from(host.clone());
        let context = store.create_context(engine);
        self.function.call_within_context::<Dynamic>(&context, args).map(Dynamic::flatten)
    }
}

fn copy_function(function: &FnPtr, this: Option<&Dynamic>) -> ScriptResult<FnPtr> {
    let mut copy = function.clone();
    let captured = function.iter_curry().map(|v| copy_value(v, this)).collect::<ScriptResult<Vec<_>>>()?;
    copy.set_curry(captured);
    Ok(copy)
}

/// A copy that shares no cells with the original.
pub fn copy_value(value: &Dynamic, this: Option<&Dynamic>) -> ScriptResult<Dynamic> {
    let value = if value.is_shared() {
        match value.read_lock::<Dynamic>() {
            Some(inner) => inner.clone(),
            None => match this {
                Some(this) => this.flatten_clone(),
                None => {
                    return Err(Error::new(Kind::Script, "a captured variable is being changed at this moment")
                        .hint("Copy it to another variable before the call, and use the copy in the function.")
                        .into());
                }
            },
        }
    } else {
        value.clone()
    };
    if let Ok(items) = value.as_array_ref() {
        return Ok(items.iter().map(|v| copy_value(v, None)).collect::<ScriptResult<rhai::Array>>()?.into());
    }
    if let Ok(fields) = value.as_map_ref() {
        return Ok(fields.iter().map(|(k, v)| Ok((k.clone(), copy_value(v, None)?))).collect::<ScriptResult<Map>>()?.into());
    }
    if let Some(function) = value.read_lock::<FnPtr>() {
        return Ok(copy_function(&function, None)?.into());
    }
    Ok(value)
}
