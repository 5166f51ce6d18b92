//! Commands that are run unless they need not be.

use crate::base::error::Result;
use crate::domain::node::NodeSet;
use crate::domain::resource::kinds::{Command, checked_path};
use crate::script::api::remote::command_line;
use crate::script::api::resources::same;
use crate::script::wanting::{Asked, Common};
use crate::script::{Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};

fn run(context: &NativeCallContext, nodes: &NodeSet, line: &Dynamic, options: Map) -> Result<Asked> {
    let mut options = Options::new("command", options);
    let common = Common::read(context, &mut options)?;
    let condition = |options: &mut Options, key| options.value(key).map(|v| command_line(&v)).transpose();
    let command = Command {
        line: command_line(line)?,
        name: options.string("name")?,
        creates: options.string("creates")?.map(|p| checked_path(&p)).transpose()?,
        removes: options.string("removes")?.map(|p| checked_path(&p)).transpose()?,
        unless: condition(&mut options, "unless")?,
        only_if: condition(&mut options, "only_if")?,
        cwd: options.string("cwd")?.map(|p| checked_path(&p)).transpose()?,
        user: options.string("user")?,
        env: options.env("env")?.unwrap_or_default(),
        stdin: options.text("stdin")?,
        timeout: options.duration("timeout")?,
    };
    options.finish()?;
    command.check()?;
    same(context, nodes, &common, command)
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// A command that is run on every node unless something shows that it need not be; without that, every time.
    ///
    /// The command, and those of `unless` and `only_if`, are a line for `/bin/sh` or an array of words, and run as root. What
    /// only looks belongs into `sh`, which shows its output and returns it.
    /// Options: `creates` (a path: not when it is there), `removes` (a path: not when it is not there), `unless` (a command that
    /// only looks: not when it succeeds), `only_if` (not when it fails), `cwd`, `user`, `env` (#{}), `stdin` (text or a secret),
    /// `timeout` ("30s"), `name` (what reports call it; else the command's first line), and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// assert(n.command("echo 7 > version", #{ unless: "grep -qx 7 version" }).changed);
    /// assert(!n.command("echo 7 > version", #{ unless: "grep -qx 7 version" }).changed);
    /// ```
    #[rhai_fn(name = "command", pure, return_raw)]
    pub fn command(context: NativeCallContext, nodes: &mut Nodes, command: Dynamic, options: Map) -> ScriptResult<Asked> {
        Ok(run(&context, nodes, &command, options)?)
    }

    #[rhai_fn(name = "command", pure, return_raw)]
    pub fn command_plain(context: NativeCallContext, nodes: &mut Nodes, command: Dynamic) -> ScriptResult<Asked> {
        Ok(run(&context, nodes, &command, Map::new())?)
    }
}
