//! Imports of a session: a module that is imported again is read again, because somebody may just have edited it.

use crate::script::ScriptResult;
use crate::script::resolver::Resolver;
use rhai::{Engine, GlobalRuntimeState, Module, ModuleResolver, Position, Scope, Shared};
use std::sync::{Arc, PoisonError, RwLock};

/// Handles to the same resolver, which can be replaced while an engine owns one of them.
#[derive(Clone, Default)]
pub struct Modules(Arc<RwLock<Arc<Resolver>>>);

impl Modules {
    /// From now on every module is evaluated anew at its next import. What was imported stays as it is.
    pub fn forget(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    fn current(&self) -> Arc<Resolver> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ModuleResolver for Modules {
    fn resolve(&self, engine: &Engine, source: Option<&str>, path: &str, position: Position) -> ScriptResult<Shared<Module>> {
        self.current().resolve(engine, source, path, position)
    }

    fn resolve_raw(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        scope: &mut Scope,
        path: &str,
        position: Position,
    ) -> ScriptResult<Shared<Module>> {
        self.current().resolve_raw(engine, global, scope, path, position)
    }
}
