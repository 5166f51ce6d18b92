//! `opsrun exec NAME NODES -- COMMAND…`: one command on many nodes.

use super::App;
use super::complete::{deployments, selectors};
use crate::base::command::{Command, Exit, Output, check_variable};
use crate::base::error::{Error, Result};
use crate::base::units::parse_duration;
use crate::base::{secret, shell};
use crate::domain::deployment::open_awake;
use crate::domain::fleet::{Fleet, RunOptions, gather, text};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use serde::Serialize;
use std::io::Read;
use std::time::Duration;

/// Run a command on nodes of a deployment, all in parallel
///
/// Output comes as it is printed, each line with its node's name. One word is a line for the shell; several words are
/// passed on as they are. Ends with 1 when the command fails on any node, after it has ended on all.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun exec 4504 'server-*' -- uptime
  opsrun exec 4504 server,client-0 -- 'df -h / | tail -1'
  opsrun exec 4504 server --collapse -- cat /etc/os-release
  opsrun exec 4504 server --json --timeout=30s -- nodetool info | jq '.[].stdout'

--json prints an array with one object a node: node, ok, stdout, stderr, code, signal, took (seconds), error.")]
pub struct Args {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// Which nodes: a group, a name, a glob, or several separated by commas
    #[arg(value_name = "NODES", add = ArgValueCompleter::new(selectors))]
    nodes: String,
    /// The command; after `--` when its first word begins with a dash
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    command: Vec<String>,
    /// Print what came of it as JSON, instead of live output
    #[arg(long)]
    json: bool,
    /// Show the same output of several nodes once, at the end
    #[arg(long)]
    collapse: bool,
    /// Run it as root
    #[arg(long)]
    sudo: bool,
    /// Run it as this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Stop it after this long, for instance 30s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Set a variable in its environment; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Give it our standard input (read to its end first; every node gets all of it)
    #[arg(long)]
    stdin: bool,
    /// At most so many nodes at once
    #[arg(long, value_name = "N")]
    max_parallel: Option<usize>,
}

fn duration(text: &str) -> std::result::Result<Duration, String> {
    // The parser of the command line has no place for hints of their own.
    parse_duration(text).map_err(|e| match e.details().hints.first() {
        Some(hint) => format!("{}. {hint}", e.message()),
        None => e.message().to_owned(),
    })
}

fn variable(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    check_variable(name, value).map_err(|e| e.message().to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Serialize)]
struct Row<'a> {
    node: &'a str,
    ok: bool,
    stdout: String,
    stderr: String,
    code: Option<i32>,
    signal: Option<&'a str>,
    took: f64,
    error: Option<&'a str>,
}

pub fn run(args: Args, app: &App) -> Result<()> {
    let deployment = app.block_on(open_awake(&app.project, &args.name, &app.client(), &app.cx))?;
    let nodes = deployment.nodes().select(&args.nodes)?;
    let mut command = Command::new(match args.command.as_slice() {
        [line] => line.clone(),
        words => shell::join(words),
    });
    command.sudo = args.sudo;
    command.user = args.user;
    command.timeout = args.timeout;
    command.env = args.env;
    if args.stdin {
        let mut input = Vec::new();
        std::io::stdin().read_to_end(&mut input).map_err(|e| Error::io("read", "standard input", &e))?;
        command = command.stdin(input);
    }
    let fleet = Fleet::new(app.client(), app.cx.clone())
        .at_most(args.max_parallel.unwrap_or(usize::MAX).min(crate::domain::fleet::MAX_PARALLEL));
    let show = RunOptions { live: !args.json, collapse: args.collapse, check: false };
    app.ui.lines_are_data();
    let results = app.block_on(async { Ok(fleet.try_run(&nodes, &command, show).await) })?;
    if args.json {
        let rows: Vec<Row> = nodes.iter().zip(&results).map(|(n, r)| row(&n.name, r)).collect();
        app.ui.json(&rows)?;
        let failed = rows.iter().any(|r| !r.ok);
        return if app.cx.cancel.is_cancelled() {
            Err(Error::cancelled())
        } else if failed {
            Err(Error::exit(1))
        } else {
            Ok(())
        };
    }
    let checked = results.into_iter().zip(nodes.iter()).map(|(result, node)| {
        let output = result?;
        match output.failure(&command.line) {
            Some(error) => Err(error.on_node(node.name.as_str())),
            None => Ok(()),
        }
    });
    gather(checked.collect()).map(|_| ()).map_err(Error::begun)
}

fn row<'a>(node: &'a str, result: &'a Result<Output>) -> Row<'a> {
    let mut row =
        Row { node, ok: false, stdout: String::new(), stderr: String::new(), code: None, signal: None, took: 0.0, error: None };
    let said = match result {
        Ok(output) => Some(output),
        Err(error) => error.details().so_far.as_deref(),
    };
    if let Some(output) = said {
        row.stdout = secret::mask(&text(&output.stdout)).into_owned();
        row.stderr = secret::mask(&text(&output.stderr)).into_owned();
        row.took = output.took.as_secs_f64();
    }
    match result {
        Ok(output) => {
            row.ok = output.exit.is_success();
            match &output.exit {
                Exit::Code(code) => row.code = Some(*code),
                Exit::Signal(name) => row.signal = Some(name),
            }
        }
        Err(error) => row.error = Some(error.message()),
    }
    row
}
