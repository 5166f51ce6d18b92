//! `opsrun check SCRIPT…`: what is wrong with scripts, without running them.

use super::App;
use super::complete::scripts;
use super::run::host;
use crate::base::error::{Error, Result};
use crate::script::check;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  opsrun check scripts/setup.rhai
  opsrun check scripts stdlib             all scripts of these folders
  opsrun check scripts --json | jq -r '.[] | \"\\(.file):\\(.line): \\(.message)\"'

--json prints an array with one object a finding: file, line, column, message, hints.";

/// Find mistakes in scripts without running them
///
/// Syntax errors, unknown functions, methods, modules and classes, and wrong numbers of arguments, in the scripts and in the
/// project's modules that they import. Ends with 2 when anything is found.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Scripts, or folders of scripts
    #[arg(required = true, add = ArgValueCompleter::new(scripts))]
    pub scripts: Vec<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let host = host(app, Path::new("check"), Vec::new(), None);
    let scripts: Vec<PathBuf> = args.scripts.iter().flat_map(|s| check::scripts_of(s)).collect();
    if scripts.is_empty() {
        let places: Vec<String> = args.scripts.iter().map(|s| s.display().to_string()).collect();
        return Err(Error::usage(format!("there is no script (*.rhai) in {}", places.join(", "))));
    }
    let found = check::check(&host, &scripts)?;
    if args.json {
        let findings: Vec<_> = found
            .iter()
            .map(|error| {
                let details = error.details();
                let place = details.places.first().cloned().unwrap_or_default();
                json!({
                    "file": place.file, "line": place.line, "column": place.column,
                    "message": details.message, "hints": details.hints,
                })
            })
            .collect();
        app.ui.json(&findings)?;
    } else {
        for error in &found {
            app.ui.error(error);
        }
        if found.is_empty() {
            app.ui.note(&format!(
                "nothing wrong found in {} {}",
                scripts.len(),
                if scripts.len() == 1 { "script" } else { "scripts" }
            ));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(Error::exit(2)) }
}
