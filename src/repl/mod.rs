//! `opsrun repl`: type at a deployment, line by line.
//!
//! `session` is what lives on between lines, `prompt` and `piped` are the two ways lines come in, `obey` does what a line says.

mod commands;
mod complete;
mod docs;
mod helper;
mod history;
mod interrupts;
mod lex;
mod modules;
mod obey;
mod piped;
mod place;
mod prompt;
mod save;
mod session;
mod show;
#[cfg(test)]
mod tests;
mod types;

use crate::base::error::{Error, Result};
use crate::cli::App;
use crate::domain::deployment::Deployment;
use crate::script::host::Host;
use crate::script::run::on_script_thread;
use interrupts::Interrupts;
use obey::Obey;
use session::Session;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

/// What to begin with.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Scripts to run before the first line.
    pub load: Vec<PathBuf>,
    /// Lines to run instead of asking for some.
    pub eval: Vec<String>,
}

/// Runs a session to its end.
pub fn run(host: &Arc<Host>, start: &Start, app: &App) -> Result<()> {
    if let Some(name) = host.deployment() {
        Deployment::open(host.project(), name)?;
    }
    on_script_thread(host, || converse(host.clone(), start, app))?
}

fn converse(host: Arc<Host>, start: &Start, app: &App) -> Result<()> {
    let asks = start.eval.is_empty() && std::io::stdin().is_terminal();
    let session = Session::new(host);
    let interrupts = Interrupts::listen(&app.handle(), app.ui.clone(), asks, session.at_end());
    let mut obey = Obey::new(session, app, interrupts);
    let outcome = begin(&mut obey, start).and_then(|left| {
        if left.is_some() || !start.eval.is_empty() {
            Ok(left)
        } else if asks {
            prompt::converse(&mut obey)
        } else {
            piped::run(&mut obey)
        }
    });
    let finished = obey.finish();
    match (outcome?, finished) {
        (_, Err(error)) => Err(error.begun()),
        (None | Some(0), Ok(())) => Ok(()),
        (Some(code), Ok(())) => Err(Error::exit(code)),
    }
}

/// What comes before the first line that is typed; a code when a script said `exit`.
fn begin(obey: &mut Obey, start: &Start) -> Result<Option<u8>> {
    obey.name_deployment()?;
    for file in &start.load {
        if let Some(code) = obey.load(file)? {
            return Ok(Some(code));
        }
    }
    for line in &start.eval {
        if let Some(code) = obey.line(line)? {
            return Ok(Some(code));
        }
    }
    Ok(None)
}
