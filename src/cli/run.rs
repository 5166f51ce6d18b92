//! `opsrun run SCRIPT [NAME] [ARGS…]`, which is also `opsrun SCRIPT.rhai [NAME] [ARGS…]`.

use super::App;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::script::run::{self, Ended};
use crate::script::{Host, HostSettings};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Run a script
///
/// The words after the script are its own: the deployment's name first, when it works on one.
/// `opsrun run SCRIPT --help` shows what it takes.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The script
    pub script: PathBuf,
    /// The deployment's name, and the script's own options and arguments
    #[arg(value_name = "NAME, ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

pub fn run(args: Args, app: &App) -> Result<()> {
    let wants_help = args.words.iter().take_while(|w| *w != "--").any(|w| w == "--help" || w == "-h");
    let host = host(app, &args.script, args.words, None);
    if wants_help {
        app.ui.data(&run::help(&host, &args.script)?);
        return Ok(());
    }
    app.catch_signals();
    match run::run_file(&host, &args.script)? {
        Ended::Through | Ended::Exit(0) => Ok(()),
        Ended::Exit(code) => Err(Error::exit(code)),
    }
}

/// The host of a script that runs for this command line.
pub fn host(app: &App, script: &Path, words: Vec<String>, deployment: Option<String>) -> Arc<Host> {
    let name = script.file_stem().unwrap_or_default().to_string_lossy();
    let run_name = format!("{}-{name}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    let ui = app.ui.clone();
    let ask = move |name: &str| {
        if !ui.is_interactive() {
            return Ok(None);
        }
        let typed = rpassword::prompt_password(format!("{name}: ")).map_err(|e| Error::io("read", "the terminal", &e))?;
        Ok(Some(Secret::new(typed)))
    };
    Host::new(HostSettings {
        project: app.project.clone(),
        cx: app.cx.clone(),
        handle: app.handle(),
        words,
        deployment,
        client: app.client(),
        run_name,
        ask_secret: Some(Arc::new(ask)),
    })
}
