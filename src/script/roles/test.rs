//! A role's test.rhai: what its author asserts of nodes that the role was applied to.

use super::Deploy;
use crate::base::error::{Error, Kind, Result};
use crate::domain::role::Role;
use crate::script::run::{compile, guarded, prepare};
use crate::script::{Host, diagnostics, engine};
use rhai::{AST, CallFnOptions, Dynamic, Engine, EvalAltResult, Scope};
use std::sync::Arc;

/// The test of a role, compiled.
pub struct RoleTest {
    host: Arc<Host>,
    engine: Arc<Engine>,
    ast: AST,
    /// Of the role, and of the file.
    role: String,
    name: String,
}

impl RoleTest {
    /// Compiles the role's test.rhai; none when it has none.
    pub fn compile(host: &Arc<Host>, role: &Role) -> Result<Option<Self>> {
        let Some(file) = role.file("test.rhai")? else { return Ok(None) };
        let name = file.name.clone();
        let mut engine = engine::new(host);
        let ast = compile(&engine, host, &name, &file.text()?, &Scope::new())
            .map_err(|e| diagnostics::explain(&engine, host, &e, &name))?;
        prepare(&mut engine, host, &ast)?;
        if !ast.iter_functions().any(|f| f.name == "test" && f.params.len() == 2) {
            return Err(Error::new(Kind::Script, format!("{} has no fn test(nodes, vars)", host.sources().display(&name))));
        }
        let engine = Arc::new(engine);
        host.starts(&name, &engine, false);
        Ok(Some(Self { host: host.clone(), engine, ast, role: role.name.clone(), name }))
    }

    /// Calls its `test` with the nodes of each group and the variables that the role had there.
    pub fn run(&self, deploy: &Deploy) -> Result<()> {
        let explain = |e: Box<EvalAltResult>| diagnostics::explain(&self.engine, &self.host, &e, &self.name);
        let mut outcome = Ok(());
        for args in deploy.vars_of(&self.host, &self.role)? {
            let options = CallFnOptions::new();
            let call = || self.engine.call_fn_with_options::<Dynamic>(options, &mut Scope::new(), &self.ast, "test", args);
            outcome = outcome.and(guarded(call)?.map(|_| ()).map_err(explain));
        }
        outcome.and(self.host.finish(&self.engine))
    }
}
