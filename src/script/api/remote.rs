//! Commands on node sets and on this machine: `sh`, `try_sh`, `one`, `facts`.

use crate::base::command::{Command, Exit, Output};
use crate::base::error::{Error, Result};
use crate::base::shell;
use crate::domain::fleet::{Fleet, RunOptions, text};
use crate::domain::node::NodeSet;
use crate::script::convert::from_json;
use crate::script::options::shown;
use crate::script::roles;
use crate::script::{Host, Options, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};
use std::time::Duration;

/// A command as scripts give it: a line for the shell, or an array of words.
pub fn command_line(value: &Dynamic) -> Result<String> {
    if let Ok(line) = value.as_immutable_string_ref() {
        return Ok(line.to_string());
    }
    let bad = || Error::usage(format!("a command must be a string or an array of words, not {}", shown(value)));
    let words = value.as_array_ref().map_err(|_| bad())?;
    let word = |w: &Dynamic| match w.as_immutable_string_ref() {
        Ok(text) => Ok(text.to_string()),
        Err(_) if w.is_int() || w.is_float() || w.is_bool() => Ok(w.to_string()),
        Err(_) => Err(Error::usage(format!("a word of a command must be a string or a number, not {}", shown(w)))),
    };
    let words = words.iter().map(word).collect::<Result<Vec<_>>>()?;
    if words.is_empty() {
        return Err(Error::usage("a command needs at least one word"));
    }
    Ok(shell::join(words))
}

/// A command with all its options.
pub struct Call {
    pub command: Command,
    pub show: RunOptions,
    pub max_parallel: Option<usize>,
    /// It only looks: a check of a role may run it.
    pub reads: bool,
}

/// Reads what `sh` and its kin take. `live` is whether output is shown when the script does not say `quiet`.
pub fn read_call(function: &str, line: &Dynamic, options: Map, live: bool) -> Result<Call> {
    let mut command = Command::new(command_line(line)?);
    let mut options = Options::new(function, options);
    command.sudo = options.bool("sudo")?.unwrap_or(false);
    command.user = options.string("user")?;
    command.timeout = options.duration("timeout")?;
    command.cwd = options.string("cwd")?;
    command.env = options.env("env")?.unwrap_or_default();
    if let Some(stdin) = options.text("stdin")? {
        command = command.stdin(stdin);
    }
    let quiet = options.bool("quiet")?.unwrap_or(!live);
    let collapse = options.bool("collapse")?.unwrap_or(false);
    let check = options.bool("check")?.unwrap_or(true);
    let max_parallel = options.count("max_parallel")?;
    let reads = options.bool("reads")?.unwrap_or(false);
    options.finish()?;
    Ok(Call { command, show: RunOptions { live: !quiet, collapse, check }, max_parallel, reads })
}

impl Call {
    /// What a check of a role makes of it.
    pub fn kind(&self, function: &'static str) -> roles::Call {
        if self.reads { roles::Call::reads(function) } else { roles::Call::changes(function, &*self.command.line) }
    }

    /// The way to the nodes; none when a check of a role must not run it.
    pub fn reach(&self, context: &NativeCallContext, nodes: &NodeSet, function: &'static str) -> Result<Option<Fleet>> {
        let fleet = Host::of(context).reach(context, nodes, &self.kind(function))?;
        Ok(fleet.map(|fleet| match self.max_parallel {
            Some(n) => fleet.at_most(n),
            None => fleet,
        }))
    }
}

/// What stands for the output of a command that a check did not run.
pub fn not_run() -> Output {
    Output { exit: Exit::Code(0), stdout: Vec::new(), stderr: Vec::new(), dropped: 0, took: Duration::ZERO }
}

/// What came of a command, as scripts see it.
pub fn result_map(node: &str, outcome: Result<Output>) -> Map {
    let mut map = Map::new();
    let mut put = |key: &str, value: Dynamic| map.insert(key.into(), value);
    put("node", node.into());
    match outcome {
        Ok(output) => {
            put("ok", output.exit.is_success().into());
            put("stdout", text(&output.stdout).into());
            put("stderr", text(&output.stderr).into());
            put("took", output.took.as_secs_f64().into());
            put("error", Dynamic::UNIT);
            let (code, signal) = match output.exit {
                Exit::Code(code) => (i64::from(code).into(), Dynamic::UNIT),
                Exit::Signal(name) => (Dynamic::UNIT, name.into()),
            };
            put("code", code);
            put("signal", signal);
        }
        Err(error) => {
            // One that was stopped had perhaps said why it was late.
            let so_far = error.details().so_far.as_deref();
            put("ok", false.into());
            put("stdout", so_far.map(|o| text(&o.stdout)).unwrap_or_default().into());
            put("stderr", so_far.map(|o| text(&o.stderr)).unwrap_or_default().into());
            put("took", so_far.map_or(0.0, |o| o.took.as_secs_f64()).into());
            put("error", error.message().into());
            put("code", Dynamic::UNIT);
            put("signal", Dynamic::UNIT);
        }
    }
    map
}

fn run(context: &NativeCallContext, nodes: &NodeSet, line: &Dynamic, options: Map) -> ScriptResult<Array> {
    let host = Host::of(context);
    let call = read_call("sh", line, options, true)?;
    let outputs = match call.reach(context, nodes, "sh")? {
        Some(fleet) => host.block_on_to_the_end(fleet.run(nodes, &call.command, call.show))?,
        None => nodes.iter().map(|_| not_run()).collect(),
    };
    Ok(nodes.iter().zip(outputs).map(|(n, o)| result_map(&n.name, Ok(o)).into()).collect())
}

fn try_run(context: &NativeCallContext, nodes: &NodeSet, line: &Dynamic, options: Map) -> ScriptResult<Array> {
    let host = Host::of(context);
    let mut call = read_call("try_sh", line, options, true)?;
    call.show.check = false;
    let results = match call.reach(context, nodes, "try_sh")? {
        Some(fleet) => host.block_on_to_the_end(async { Ok(fleet.try_run(nodes, &call.command, call.show).await) })?,
        None => nodes.iter().map(|_| Ok(not_run())).collect(),
    };
    host.check()?;
    Ok(nodes.iter().zip(results).map(|(n, r)| result_map(&n.name, r).into()).collect())
}

fn run_one(context: &NativeCallContext, nodes: &NodeSet, line: &Dynamic, options: Map) -> ScriptResult<String> {
    let host = Host::of(context);
    let call = read_call("one", line, options, false)?;
    let Some(fleet) = call.reach(context, nodes, "one")? else { return Ok(String::new()) };
    Ok(host.block_on_to_the_end(fleet.one(nodes, &call.command, call.show.live))?)
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
/// What the nodes say of themselves.
fn read_facts(context: &NativeCallContext, nodes: &NodeSet, options: Map) -> ScriptResult<Array> {
    let host = Host::of(context);
    let mut options = Options::new("facts", options);
    let packages = options.bool("packages")?.unwrap_or(false);
    options.finish()?;
    let fleet = host.reach(context, nodes, &roles::Call::reads("facts"))?;
    let facts = host.block_on(fleet.unwrap_or_else(|| host.fleet()).facts(nodes, packages))?;
    let json = serde_json::to_value(facts).map_err(|e| Error::internal(format!("facts: {e}")))?;
    Ok(from_json(&json).into_array().unwrap_or_default())
}

#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// Runs a command on every node in parallel and returns an array of results, one a node, in order.
    ///
    /// The command is a line for `/bin/sh`, or an array of words that are quoted for you. Output appears as it comes,
    /// each line with its node's name. A result is `#{ node, ok, stdout, stderr, code, signal, took, error }`: texts without
    /// their last newline, `code` an integer or `()`, `signal` a name such as `"KILL"` or `()`, `took` in seconds.
    /// Throws when the command fails on any node, after it has ended on all; the error names every node that failed.
    ///
    /// Options: `sudo` (true), `user` ("cassandra"), `timeout` ("30s"), `env` (#{}), `stdin` (a string or secret),
    /// `cwd` ("dir"), `quiet` (show nothing), `collapse` (show the same output of many nodes once, at the end),
    /// `check` (false: do not throw), `max_parallel` (nodes at once), `reads` (true: it only looks, so that a check of a role,
    /// which runs no command of which nobody knows what it changes, may run it).
    /// Values of `env` and `stdin` appear on no command line, so secrets belong there.
    ///
    /// # Example
    /// ```rhai
    /// let results = deployment().nodes("server").sh("echo $GREETING", #{ env: #{ GREETING: "hi" }, timeout: "30s" });
    /// assert_eq(results.map(|r| r.stdout), ["hi", "hi", "hi"]);
    /// ```
    #[rhai_fn(name = "sh", pure, return_raw)]
    pub fn sh(context: NativeCallContext, nodes: &mut Nodes, command: Dynamic, options: Map) -> ScriptResult<Array> {
        run(&context, nodes, &command, options)
    }

    #[rhai_fn(name = "sh", pure, return_raw)]
    pub fn sh_plain(context: NativeCallContext, nodes: &mut Nodes, command: Dynamic) -> ScriptResult<Array> {
        run(&context, nodes, &command, Map::new())
    }

    /// As `sh`, but returns the results whatever happened: a node that failed has `ok == false`.
    ///
    /// A node that could not be reached has `error` set and `code == ()`.
    ///
    /// # Example
    /// ```rhai
    /// let results = deployment().nodes("server").try_sh("exit $OPSRUN_TEST", #{ env: #{ OPSRUN_TEST: 3 } });
    /// assert(results.all(|r| r.code == 3 && !r.ok));
    /// ```
    #[rhai_fn(name = "try_sh", pure, return_raw)]
    pub fn try_sh(context: NativeCallContext, nodes: &mut Nodes, command: Dynamic, options: Map) -> ScriptResult<Array> {
        try_run(&context, nodes, &command, options)
    }

    #[rhai_fn(name = "try_sh", pure, return_raw)]
    pub fn try_sh_plain(context: NativeCallContext, nodes: &mut Nodes, command: Dynamic) -> ScriptResult<Array> {
        try_run(&context, nodes, &command, Map::new())
    }

    /// Runs a command on a set of exactly one node and returns its stdout, without the last newline. Shows nothing.
    ///
    /// Throws when the command fails. Options as for `sh`; `quiet: false` shows the output too.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().node("server-1").one("echo $OPSRUN_NODE"), "server-1");
    /// ```
    #[rhai_fn(name = "one", pure, return_raw)]
    pub fn one(context: NativeCallContext, nodes: &mut Nodes, command: Dynamic, options: Map) -> ScriptResult<String> {
        run_one(&context, nodes, &command, options)
    }

    #[rhai_fn(name = "one", pure, return_raw)]
    pub fn one_plain(context: NativeCallContext, nodes: &mut Nodes, command: Dynamic) -> ScriptResult<String> {
        run_one(&context, nodes, &command, Map::new())
    }

    /// What each node is, an array of maps, read in one round trip.
    ///
    /// Keys: `node hostname kernel kernel_version arch os os_version cpus memory memory_available disk disk_available
    /// disks filesystems addresses home user root package_manager systemd`. Sizes are bytes; `memory` is what the node may use,
    /// limits included; `root` tells whether commands can run as root. Each of `disks` has `device size rotational model`, in
    /// use or not; each of `filesystems` `path device type size available`.
    ///
    /// Options: `packages: true` adds `packages`, a map from the name of each installed package to its version. A template that
    /// speaks of `facts.packages` has it, too.
    ///
    /// # Example
    /// ```rhai
    /// let facts = deployment().node("server-0").facts()[0];
    /// assert(facts.cpus >= 1 && facts.memory > size("64MiB"));
    /// ```
    #[rhai_fn(name = "facts", pure, return_raw)]
    pub fn facts(context: NativeCallContext, nodes: &mut Nodes, options: Map) -> ScriptResult<Array> {
        read_facts(&context, nodes, options)
    }

    #[rhai_fn(name = "facts", pure, return_raw)]
    pub fn facts_plain(context: NativeCallContext, nodes: &mut Nodes) -> ScriptResult<Array> {
        read_facts(&context, nodes, Map::new())
    }
}
