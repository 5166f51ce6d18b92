//! `opsrun manage NAME VERB`: the procedures of `manage.rhai`.

use super::App;
use crate::base::error::{Error, Result};
use crate::base::event::{Cx, Event, Events, Level, Listener};
use crate::cli::run::{host_with, run_name};
use crate::domain::environment::Environment;
use crate::domain::notify::{self, Message};
use crate::domain::runs::RunFolder;
use crate::script::Host;
use crate::script::run::Ended;
use crate::script::verbs::{self, Verb};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Verbs that give the stack no values: nobody needs to be asked for them.
const NO_VALUES: [&str; 3] = ["status", "decommission", "clean"];

/// What the command line says of a verb, its name first.
pub fn run(name: &str, words: &[String], app: &App) -> Result<()> {
    let Some((verb, words)) = words.split_first() else { return Err(unnamed(name, app)) };
    let verb = verbs::find(&quiet(app), verb, &super::NATIVE.map(|(name, _)| name))?;
    let mut words = words.to_vec();
    if words.iter().any(|w| w == "--help" || w == "-h") {
        app.ui.data(&verb.help(name));
        return Ok(());
    }
    let before = words.len();
    words.retain(|w| w != "--json");
    let as_json = words.len() < before;
    words.iter_mut().filter(|w| *w == "-y").for_each(|w| "--yes".clone_into(w));
    let environment =
        if NO_VALUES.contains(&verb.name.as_str()) { super::load(name, app)? } else { super::load_with_values(name, app)? };
    go(&verb, environment, words, as_json, app)
}

/// The error of an environment without a verb, which lists them all.
pub fn unnamed(name: &str, app: &App) -> Error {
    verbs::unnamed(&quiet(app), name, &super::NATIVE)
}

/// A host that only reads.
fn quiet(app: &App) -> Arc<Host> {
    host_with(app, Vec::new(), None, Cx::new(app.cx.cancel.clone(), Events::none()), String::new())
}

fn go(verb: &Verb, environment: Environment, words: Vec<String>, as_json: bool, app: &App) -> Result<()> {
    app.catch_signals();
    let run_name = run_name(Path::new(&verb.name));
    let folder = RunFolder::begin_verb(&app.project, &environment, &run_name, &verb.file, &verb.text, &words)?;
    let face = if as_json { Events::new(Aside(app.cx.events.clone())) } else { app.cx.events.clone() };
    let cx = Cx::new(app.cx.cancel.clone(), folder.logged(face)?);
    let host = host_with(app, words, Some(environment.stack.clone()), cx, run_name);
    let environment = Arc::new(environment);
    let begun = Instant::now();
    let ended = verbs::run(&host, verb, &environment);
    if host.tells_end() {
        let message = Message::ended(&environment.name, &verb.name, ended.as_ref().err(), begun.elapsed());
        app.handle().block_on(notify::send(&environment.notify, &message, &host.cx));
    }
    let log = folder.dir().join("log.txt");
    // How the verb ended is what counts, even where it cannot be written down.
    if let Err(e) = folder.end(&ended) {
        app.ui.warn(&format!("this run's end is not recorded: {}", e.message()));
    }
    let (ended, value) = ended.inspect_err(|_| app.ui.note(&format!("log: {}", log.display())))?;
    if as_json {
        app.ui.json(&value)?;
    }
    match ended {
        Ended::Through | Ended::Exit(0) => Ok(()),
        Ended::Exit(code) => Err(Error::exit(code)),
    }
}

/// Standard output is for one JSON document: what a verb prints is told on the side.
struct Aside(Events);

impl Listener for Aside {
    fn event(&self, event: Event) {
        self.0.send(match event {
            Event::Print { text } => Event::Note { level: Level::Info, text },
            other => other,
        });
    }
}
