//! `opsrun completions SHELL`: what to source for completion of commands, deployments and nodes.

use super::{App, Cli};
use crate::base::error::{Error, Result};
use clap::CommandFactory;
use clap_complete::env::Shells;

/// Print the completion script of a shell
///
/// The script asks opsrun itself at each Tab, so deployments and nodes complete too.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  source <(opsrun completions bash)                                          now, in this shell
  opsrun completions bash > ~/.local/share/bash-completion/completions/opsrun
  opsrun completions zsh > ~/.zfunc/_opsrun
  opsrun completions fish > ~/.config/fish/completions/opsrun.fish")]
pub struct Args {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let shells = Shells::builtins();
    let shell =
        shells.completer(&args.shell).ok_or_else(|| Error::usage(format!("no completions for the shell \"{}\"", args.shell)))?;
    let name = Cli::command().get_name().to_owned();
    let mut script = Vec::new();
    shell
        .write_registration("COMPLETE", &name, &name, &name, &mut script)
        .map_err(|e| Error::internal(format!("cannot write the completion script: {e}")))?;
    app.ui.data(&String::from_utf8_lossy(&script));
    Ok(())
}
