//! A role's script, compiled once and called: `apply`, its handlers, `healthy`.

use super::Acting;
use super::beside::Beside;
use crate::base::error::{Error, Kind, Location, Result};
use crate::base::suggest::nearest;
use crate::domain::node::NodeSet;
use crate::domain::resource::{self, Foresight, Ledger, Mode, NodeReport};
use crate::domain::role::Role;
use crate::domain::rollout::Watch;
use crate::script::convert::from_json;
use crate::script::run::{compile, guarded};
use crate::script::{Host, diagnostics};
use rhai::{AST, CallFnOptions, Dynamic, Engine, Map, Scope};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Functions that we call ourselves: no handlers.
const OWN: [&str; 2] = ["apply", "healthy"];

/// A role whose script is compiled.
#[derive(Clone)]
pub struct Program {
    pub role: Arc<Role>,
    pub ast: AST,
    /// Its functions of nodes and variables.
    pub(super) functions: BTreeSet<String>,
}

/// How a role is worked on, and who follows it.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub mode: Mode,
    pub watch: &'a Arc<dyn Watch>,
    /// Of the check that this is part of.
    pub foresight: &'a Arc<Foresight>,
}

/// What came of applying a role.
#[derive(Clone, Debug)]
pub struct Applied {
    /// One for each node.
    pub reports: Vec<NodeReport>,
    /// The script failed, and not because of any node: there is no use in trying it on others.
    pub broken: Option<Error>,
    /// The work was stopped.
    pub interrupted: Option<Error>,
}

impl Applied {
    /// Whether it failed on this node.
    pub fn failed(&self, node: &str) -> bool {
        self.reports.iter().any(|r| r.node.name == node && r.failure.is_some())
    }
}

/// One role on some nodes, being worked on.
pub(super) struct Work<'a> {
    pub program: &'a Program,
    engine: &'a Engine,
    /// As the role's script sees it.
    pub host: Arc<Host>,
    pub acting: Arc<Acting>,
    begun: Instant,
}

impl Program {
    /// Compiles the role's script, and looks whether it can be applied.
    pub fn compile(engine: &Engine, host: &Host, role: Arc<Role>) -> Result<Self> {
        let name = role.main.name.clone();
        let text = role.main.clone().text()?;
        let ast = compile(engine, host, &name, &text, &Scope::new())
            .map_err(|e| diagnostics::explain(engine, host, &e, &name).exit_with(2))?;
        if let Some(defaults) = role.file("defaults.yml")? {
            // So that a variable that is not there has its nearest name.
            host.sources().add(&defaults.name.clone(), &defaults.text()?);
        }
        let takes_two = ast.iter_functions().filter(|f| f.params.len() == 2 && f.this_type.is_none());
        let functions: BTreeSet<String> = takes_two.map(|f| f.name.to_owned()).collect();
        if !functions.contains("apply") {
            let place = Location::line(host.sources().display(&name), 0);
            let error = Error::new(Kind::Script, format!("role {} has no fn apply(nodes, vars)", role.name)).at(place);
            let others: BTreeSet<&str> = ast.iter_functions().map(|f| f.name).collect();
            let error = match nearest("apply", others.iter().copied()) {
                Some(near) => error.hint(format!("Did you mean the function \"{near}\" to be it?")),
                None if others.contains("apply") => error.hint("Its apply takes other parameters: it must take these two."),
                None => error,
            };
            return Err(error.exit_with(2));
        }
        Ok(Self { role, ast, functions })
    }

    /// Applies the role to the nodes, and runs its handlers where something changed.
    pub fn apply(&self, engine: &Engine, host: &Host, nodes: &NodeSet, vars: Map, terms: Terms) -> Applied {
        let work = self.work(engine, host, nodes, vars, terms);
        let done = work.call("apply", nodes).and_then(|broken| match broken {
            None => work.handlers(),
            broken => Ok(broken),
        });
        work.report(done, &format!("applying role {}", self.role.name))
    }

    /// Calls the role's `healthy`, if it has one.
    pub fn healthy(&self, engine: &Engine, host: &Host, nodes: &NodeSet, vars: Map, terms: Terms) -> Option<Applied> {
        if !self.functions.contains("healthy") {
            return None;
        }
        let work = self.work(engine, host, nodes, vars, terms);
        let done = work.call("healthy", nodes);
        Some(work.report(done, &format!("asking role {} whether it is healthy", self.role.name)))
    }

    fn work<'a>(&'a self, engine: &'a Engine, host: &Host, nodes: &NodeSet, vars: Map, terms: Terms) -> Work<'a> {
        let scope = resource::Scope { role: Some(self.role.name.clone()), foresight: terms.foresight.clone() };
        let acting = Arc::new(Acting {
            role: self.role.clone(),
            vars,
            ledger: Arc::new(Ledger::new(host.fleet(), nodes, terms.mode, scope)),
            handlers: self.functions.iter().filter(|f| !OWN.contains(&f.as_str())).cloned().collect(),
            beside: Beside::default(),
            flushing: Mutex::default(),
            watch: terms.watch.clone(),
        });
        Work { program: self, engine, host: host.in_role(acting.clone()), acting, begun: Instant::now() }
    }
}

impl Work<'_> {
    /// Calls a function of the role with the nodes, and brings about what it asked for. When it fails because of nodes, these
    /// are out, and it is called again with the others. Returns an error that is none of a node.
    pub fn call(&self, function: &str, nodes: &NodeSet) -> Result<Option<Error>> {
        loop {
            let gone = self.acting.ledger.gone();
            let left = nodes.without(&gone);
            if left.is_empty() {
                return Ok(None);
            }
            let error = match self.call_once(function, &left) {
                Ok(()) => return Ok(None),
                Err(error) => error,
            };
            self.host.check()?;
            let mut any = false;
            for (name, error) in causes(&error) {
                if let Some(node) = left.iter().find(|n| n.name == name) {
                    self.acting.ledger.fail(node, error);
                    any = true;
                }
            }
            if !any {
                return Ok(self.beyond_a_check(&left, &error).map_or(Some(error), |()| None));
            }
            self.acting.ledger.begin_again();
        }
    }

    fn call_once(&self, function: &str, nodes: &NodeSet) -> Result<()> {
        let options = CallFnOptions::new().with_tag(Dynamic::from(self.host.clone()));
        let args = (nodes.clone(), self.acting.vars.clone());
        let run = || {
            let call =
                || self.engine.call_fn_with_options::<Dynamic>(options, &mut Scope::new(), &self.program.ast, function, args);
            self.host.enter(call)
        };
        if let Err(error) = guarded(run)? {
            return Err(diagnostics::explain(self.engine, &self.host, &error, &self.program.role.main.name));
        }
        self.acting.flush(&self.host)
    }

    /// In a check a script may fail because of something that was not run: then nobody knows how it would go on.
    fn beyond_a_check(&self, nodes: &NodeSet, error: &Error) -> Option<()> {
        if !self.acting.ledger.mode().check || !self.acting.beside.is_unknown() {
            return None;
        }
        self.acting.flush(&self.host).ok()?;
        let why = format!("the script went no further, which may come of what was not run: {}", error.message());
        self.acting.note(nodes, "role", &self.program.role.name, &why, error.details().places.first());
        Some(())
    }

    fn report(&self, done: Result<Option<Error>>, doing: &str) -> Applied {
        let tell = |error: Error| error.context(doing);
        let (broken, interrupted) = match done {
            Ok(broken) => (broken.map(tell), None),
            Err(stopped) => (None, Some(stopped)),
        };
        // The script itself, and the commands that it ran, took as long for every node.
        let flushing = *self.acting.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let script = self.begun.elapsed().saturating_sub(flushing);
        let mut reports = self.acting.ledger.reports();
        for report in &mut reports {
            report.took += script;
            report.items.extend(self.acting.beside.of(&report.node));
            report.failure = report.failure.take().map(tell).or_else(|| broken.clone());
        }
        Applied { reports, broken, interrupted }
    }
}

/// The nodes that an error comes of, each with its own, which knows the place in the script too.
fn causes(error: &Error) -> Vec<(String, Error)> {
    let details = error.details();
    if details.failed.is_empty() {
        return details.node.iter().map(|node| (node.clone(), error.clone())).collect();
    }
    let mut found = Vec::new();
    for cause in &details.failed {
        for (node, mut cause) in causes(cause) {
            let inner = cause.details_mut();
            if inner.places.is_empty() {
                inner.places.clone_from(&details.places);
            }
            inner.context.extend(details.context.iter().cloned());
            inner.command = inner.command.take().or_else(|| details.command.clone());
            found.push((node, cause));
        }
    }
    found
}

/// Variables as a script sees them.
pub fn vars_map(vars: &serde_json::Map<String, Value>) -> Map {
    vars.iter().map(|(k, v)| (k.into(), from_json(v))).collect()
}
