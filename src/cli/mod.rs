//! The command line: one file per command, each with its arguments and what it does.

pub mod adopt;
pub mod app;
pub mod aws;
pub mod check;
mod complete;
pub mod completions;
pub mod cp;
pub mod deploy;
mod deploying;
pub mod deprovision;
pub mod doc;
pub mod exec;
pub mod extend;
pub mod gc;
pub mod hdr;
pub mod image;
pub mod inventory;
pub mod ls;
pub mod manage;
pub mod node;
pub mod plan;
pub mod provision;
pub mod repl;
pub mod role;
pub mod run;
pub mod ssh;
pub mod status;
mod table;
pub mod taint;

pub use app::App;

use crate::base::error::{Error, Kind, Result};
use crate::transport::provider;
use crate::ui::{ColorChoice, Ui, UiSettings};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  opsrun provision 4504 configs/local.yml              make the nodes of a deployment (shows the plan and asks)
  opsrun scripts/tweak_settings.rhai 4504              run a script against it
  opsrun repl 4504                                     type at it
  opsrun deploy 4504 --roles web --check --diff        what would change on its nodes to make them what a role says
  opsrun exec 4504 'server-*' -- uptime                run a command on its nodes
  rsync -e 'opsrun ssh 4504' -a conf/ server-0:conf/   use it as rsync's remote shell
  opsrun deprovision 4504                              remove it, and prove that nothing is left

Exit codes: 0 done; 1 the work failed; 2 wrong use or bad input, nothing was touched; 130 interrupted.
Environment: OPSRUN_HOME is the folder that holds deployments/ (default: the project's folder); OPSRUN_CACHE keeps downloads; NO_COLOR is respected.";

/// Lab procedures as short scripts: provision machines, drive them over SSH, control databases and load.
#[derive(Parser, Debug)]
#[command(name = "opsrun", version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(clap::Args, Debug, Clone)]
pub struct Global {
    /// Say only what went wrong
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more about what is going on
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", require_equals = true)]
    pub color: ColorChoice,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Plan(plan::Args),
    Provision(provision::Args),
    Status(status::Args),
    Ls(ls::Args),
    Inventory(inventory::Args),
    Deploy(deploy::Args),
    Extend(extend::Args),
    Deprovision(deprovision::Args),
    Gc(gc::Args),
    Adopt(adopt::Args),
    Node(node::Args),
    Image(image::Args),
    Taint(taint::Args),
    /// Take the mark of `taint` away
    #[command(after_help = "\
Examples:
  opsrun untaint 4504 server-1")]
    Untaint(taint::Args),
    Replace(taint::ReplaceArgs),
    Aws(aws::Args),
    Manage(manage::Args),
    Exec(exec::Args),
    Ssh(ssh::Args),
    Cp(cp::Args),
    Role(role::Args),
    Run(run::Args),
    Hdr(hdr::Args),
    Check(check::Args),
    Doc(doc::Args),
    Repl(repl::Args),
    Completions(completions::Args),
}

impl Command {
    fn run(self, app: &App) -> Result<()> {
        match self {
            Self::Plan(args) => plan::run(&args, app),
            Self::Provision(args) => provision::run(&args, app),
            Self::Status(args) => status::run(&args, app),
            Self::Ls(args) => ls::run(&args, app),
            Self::Inventory(args) => inventory::run(&args, app),
            Self::Deploy(args) => deploy::run(&args, app),
            Self::Extend(args) => extend::run(&args, app),
            Self::Gc(args) => gc::run(&args, app),
            Self::Adopt(args) => adopt::run(&args, app),
            Self::Deprovision(args) => deprovision::run(&args, app),
            Self::Node(args) => node::run(&args, app),
            Self::Image(args) => image::run(&args, app),
            Self::Taint(args) => taint::run(&args, true, app),
            Self::Untaint(args) => taint::run(&args, false, app),
            Self::Replace(args) => taint::replace(&args, app),
            Self::Aws(args) => aws::run(&args, app),
            Self::Manage(args) => manage::run(&args, app),
            Self::Exec(args) => exec::run(args, app),
            Self::Ssh(args) => ssh::run(args, app),
            Self::Cp(args) => cp::run(&args, app),
            Self::Role(args) => role::run(&args, app),
            Self::Run(args) => run::run(args, app),
            Self::Hdr(args) => hdr::run(args, app),
            Self::Check(args) => check::run(&args, app),
            Self::Doc(args) => doc::run(&args, app),
            Self::Repl(args) => repl::run(args, app),
            Self::Completions(args) => completions::run(&args, app),
        }
    }
}

/// Runs the program: words in, exit code out. Errors are shown here and nowhere else.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = provider::local::hidden(&words).or_else(|| provider::machine::hidden(&words)) {
        return code.into();
    }
    clap_complete::CompleteEnv::with_factory(complete::command).complete();
    let words = with_run_inserted(std::env::args_os().collect());
    let cli = match Cli::command().try_get_matches_from(words).and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let ui = Ui::new(UiSettings { quiet: cli.global.quiet, verbose: cli.global.verbose, color: cli.global.color });
    let outcome = App::new(ui.clone()).and_then(|app| {
        let outcome = cli.command.run(&app);
        app.finish();
        outcome.and_then(|()| ui.all_written())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = exit_code(&error);
            if !is_silent(&error) {
                ui.error(&error);
            }
            ExitCode::from(code)
        }
    }
}

/// `opsrun x.rhai …` means `opsrun run x.rhai …`: the first word that is no flag decides.
/// All words after the script are the script's own, `--help` included.
fn with_run_inserted(mut words: Vec<OsString>) -> Vec<OsString> {
    let first = words.iter().skip(1).position(|w| !w.to_string_lossy().starts_with('-')).map(|i| i + 1);
    let Some(at) = first else { return words };
    if std::path::Path::new(&words[at]).extension().is_some_and(|e| e == "rhai") {
        words.insert(at, "run".into());
    }
    if words[at] == "run"
        && let Some(script) = words.iter().skip(at + 1).position(|w| !w.to_string_lossy().starts_with('-'))
    {
        words.insert(at + 1 + script + 1, "--".into());
    }
    words
}

/// The code of an error that ends the program; a command that has begun its work says so by `begun`.
fn exit_code(error: &Error) -> u8 {
    error.details().exit.unwrap_or_else(|| error.kind().exit_code())
}

/// A command that only passes on another's exit code has nothing to add.
fn is_silent(error: &Error) -> bool {
    error.kind() == Kind::Exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_script_needs_no_verb() {
        let words = |w: &[&str]| w.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            with_run_inserted(words(&["opsrun", "-q", "a.rhai", "x"])),
            words(&["opsrun", "-q", "run", "a.rhai", "--", "x"])
        );
        assert_eq!(with_run_inserted(words(&["opsrun", "check", "a.rhai"])), words(&["opsrun", "check", "a.rhai"]));
    }
}
