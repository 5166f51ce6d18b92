//! Verbs of environments: procedures in `manage.rhai`, the project's own before those that come with opsrun.
//!
//! A verb is a public function of one parameter, the environment. Its `///` is its help, its `params(#{…})` its options.

use super::convert::to_json;
use super::host::Host;
use super::params;
use super::resolver::{self, Found};
use super::run::{self, Ended};
use super::signatures::strip;
use super::{api::environment::Handle, diagnostics, engine};
use crate::base::error::{Error, Kind, Result};
use crate::base::suggest::did_you_mean;
use rhai::{AST, CallFnOptions, Dynamic, Scope};
use std::sync::{Arc, Mutex, PoisonError};

/// The project's own, then the library's.
const FILES: [&str; 2] = ["scripts/manage", "std/manage"];

/// The option that every verb has.
const JSON: &str = "print what came of it as JSON";

/// A procedure that the command line can name.
#[derive(Clone, Debug)]
pub struct Verb {
    pub name: String,
    /// Its manual.
    doc: Vec<String>,
    /// The file it stands in, with its text.
    pub file: String,
    pub text: String,
    ast: AST,
}

impl Verb {
    /// The first sentence of its manual.
    pub fn summary(&self) -> &str {
        self.doc.first().map_or("", |line| line.trim_end_matches('.'))
    }

    /// The options it declares, as they are written: `--yes=false`.
    pub fn options(&self) -> Vec<String> {
        params::options(&self.text, &self.procedure())
    }

    /// What `opsrun manage NAME VERB --help` prints.
    pub fn help(&self, environment: &str) -> String {
        let manual: Vec<&str> = self.doc.iter().map(String::as_str).take_while(|l| !l.starts_with("# Example")).collect();
        let usage = format!("opsrun manage {environment} {}", self.name);
        params::page(manual.join("\n").trim(), &usage, &self.text, &self.procedure(), None, &[("--json", JSON)])
    }

    /// The verb alone: its options are not those of its neighbours.
    fn procedure(&self) -> AST {
        let mut ast = self.ast.clone_functions_only();
        ast.retain_functions(|_, _, name, params| name == self.name && params == 1);
        ast
    }
}

/// All verbs of a project, each once, the project's own first.
pub fn list(host: &Arc<Host>) -> Result<Vec<Verb>> {
    let engine = engine::new(host);
    let mut verbs: Vec<Verb> = Vec::new();
    for file in FILES {
        let Some(Found { name, text }) = found(host, file)? else { continue };
        let ast = run::compile(&engine, host, &name, &text, &Scope::new())
            .map_err(|e| diagnostics::explain(&engine, host, &e, &name).exit_with(2))?;
        let mut of_file: Vec<Verb> = ast
            .iter_functions()
            .filter(|f| !f.access.is_private() && f.this_type.is_none() && f.params.len() == 1 && !f.name.contains('$'))
            .map(|f| Verb {
                name: f.name.to_owned(),
                doc: strip(&f.comments.iter().map(ToString::to_string).collect::<Vec<_>>()),
                file: name.clone(),
                text: text.clone(),
                ast: ast.clone(),
            })
            .collect();
        // Rhai's table has no order; they are listed as they stand in the file.
        of_file.sort_by_cached_key(|v| text.find(&format!("fn {}(", v.name)).unwrap_or(usize::MAX));
        of_file.retain(|v| verbs.iter().all(|known| known.name != v.name));
        verbs.extend(of_file);
    }
    Ok(verbs)
}

/// The verb of that name; `also` are names that the caller knows besides.
pub fn find(host: &Arc<Host>, name: &str, also: &[&str]) -> Result<Verb> {
    let verbs = list(host)?;
    if let Some(verb) = verbs.iter().find(|v| v.name.replace('_', "-") == name.replace('_', "-")) {
        return Ok(verb.clone());
    }
    let names: Vec<&str> = also.iter().copied().chain(verbs.iter().map(|v| v.name.as_str())).collect();
    Err(Error::usage(format!("there is no verb \"{name}\""))
        .hint_if(did_you_mean(name, names.iter().copied()))
        .hint(format!("The verbs are {}; a project's own are functions of scripts/manage.rhai.", names.join(", "))))
}

fn found(host: &Host, file: &str) -> Result<Option<Found>> {
    let project = &host.project().root;
    let there = host.path(&format!("{file}.rhai")).is_file() || resolver::std_names(project).iter().any(|std| std == file);
    there.then(|| resolver::find(project, "", file)).transpose()
}

/// Runs the verb. Returns how it ended, and what it returned as data.
pub fn run(host: &Arc<Host>, verb: &Verb, environment: &Handle) -> Result<(Ended, serde_json::Value)> {
    let words = host.args();
    let procedure = verb.procedure();
    let reads_words = !params::calls(&procedure, "args", 0).is_empty();
    let reads_options = !params::calls(&procedure, "params", 1).is_empty();
    if let Some(word) = words.first().filter(|_| !reads_words && !reads_options) {
        return Err(Error::usage(format!("{} takes no options: {word}", verb.name)));
    }
    host.state().params.only_options = !reads_words;
    let returned = Mutex::new(serde_json::Value::Null);
    let ended = run::on_script_thread(host, || {
        run::run_with(host, &verb.file, &verb.text, |engine, ast| {
            let options = CallFnOptions::new().eval_ast(true);
            let environment = Dynamic::from(environment.clone());
            let value: Dynamic = engine.call_fn_with_options(options, &mut Scope::new(), ast, &verb.name, (environment,))?;
            // What is no data is of no use to who asked for data.
            *returned.lock().unwrap_or_else(PoisonError::into_inner) = to_json(&value).unwrap_or_default();
            Ok(())
        })
    })??;
    Ok((ended, returned.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// The error of an environment that is named without a verb.
pub fn unnamed(host: &Arc<Host>, environment: &str, also: &[(&str, &str)]) -> Error {
    let verbs = match list(host) {
        Ok(verbs) => verbs,
        Err(error) => return error,
    };
    let own = verbs.iter().map(|v| (v.name.as_str(), v.summary()));
    let all: Vec<(&str, &str)> = also.iter().copied().chain(own).collect();
    let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = all.iter().map(|(name, what)| format!("  {name:width$}  {what}").trim_end().to_owned()).collect();
    Error::new(Kind::Usage, format!("what is to be done with environment {environment}?"))
        .hint(format!("The verbs are:\n{}", lines.join("\n")))
}
