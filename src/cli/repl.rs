//! `opsrun repl [NAME]`: type at a deployment.

use super::App;
use super::complete::{deployments, scripts};
use crate::base::error::Result;
use crate::repl::{self, Start};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use std::path::{Path, PathBuf};

/// Type at a deployment, line by line
///
/// Each line is a piece of script; its value is shown. Variables, functions and imports stay from line to line, also after
/// an error or Ctrl-C. Tab completes, F1 shows the manual, :help lists the commands. Lines may also come from a pipe.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun repl 4504
  opsrun repl 4504 -e 'd.nodes(\"server\").sh(\"uptime\")'
  opsrun repl 4504 --load scripts/helpers.rhai
  echo 'd.nodes().len' | opsrun repl 4504

The history is kept in $XDG_STATE_HOME/opsrun/history (~/.local/state/opsrun/history), for its owner only. Lines with a
secret in them are not kept.")]
pub struct Args {
    /// The deployment, which is `d` in the lines
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: Option<String>,
    /// Run this line, show its value, and leave; may be given again
    #[arg(short = 'e', long = "eval", value_name = "EXPR", allow_hyphen_values = true)]
    eval: Vec<String>,
    /// Run this script first; what it declares stays; may be given again
    #[arg(long, value_name = "FILE", add = ArgValueCompleter::new(scripts))]
    load: Vec<PathBuf>,
}

pub fn run(args: Args, app: &App) -> Result<()> {
    let host = super::run::host(app, Path::new("repl"), Vec::new(), args.name);
    repl::run(&host, &Start { load: args.load, eval: args.eval }, app)
}
