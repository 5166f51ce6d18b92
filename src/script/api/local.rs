//! Commands on this machine.

use crate::script::api::remote::{not_run, read_call, result_map};
use crate::script::{Host, ScriptResult};
use crate::transport::process;
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};

fn run_here(context: &NativeCallContext, line: &Dynamic, options: Map, check: bool) -> ScriptResult<Map> {
    let host = Host::of(context);
    let function = if check { "sh" } else { "try_sh" };
    let mut call = read_call(function, line, options, true)?;
    if !host.acts(context, &call.kind(function)) {
        return Ok(result_map("", Ok(not_run())));
    }
    // Relative to the project, as all paths of scripts are, and not to wherever opsrun was started.
    let cwd = call.command.cwd.take().unwrap_or_default();
    let cwd = if cwd.starts_with('~') { cwd } else { host.path(&cwd).to_string_lossy().into_owned() };
    call.command.cwd = Some(cwd);
    let output = match host.block_on_to_the_end(process::run(&call.command, call.show.live, &host.cx)) {
        Ok(output) => output,
        Err(error) if check => return Err(error.into()),
        Err(error) => {
            host.check()?;
            return Ok(result_map("", Err(error)));
        }
    };
    match output.failure(&call.command.line).filter(|_| check && call.show.check) {
        Some(error) => Err(error.into()),
        None => Ok(result_map("", Ok(output))),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// Runs a command on this machine, in the project's folder, and returns its result.
    ///
    /// Command, options and result are as for `sh` on nodes; the result is one map. Throws when the command fails.
    /// A check of a role does not run it, unless it says `reads: true`.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(sh(["printf", "%s", "a b"]).stdout, "a b");
    /// ```
    #[rhai_fn(name = "sh", return_raw)]
    pub fn sh_here(context: NativeCallContext, command: Dynamic, options: Map) -> ScriptResult<Map> {
        run_here(&context, &command, options, true)
    }

    #[rhai_fn(name = "sh", return_raw)]
    pub fn sh_here_plain(context: NativeCallContext, command: Dynamic) -> ScriptResult<Map> {
        run_here(&context, &command, Map::new(), true)
    }

    /// Runs a command on this machine and returns its result whatever happened.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(try_sh("exit 3").code, 3);
    /// ```
    #[rhai_fn(name = "try_sh", return_raw)]
    pub fn try_sh_here(context: NativeCallContext, command: Dynamic, options: Map) -> ScriptResult<Map> {
        run_here(&context, &command, options, false)
    }

    #[rhai_fn(name = "try_sh", return_raw)]
    pub fn try_sh_here_plain(context: NativeCallContext, command: Dynamic) -> ScriptResult<Map> {
        run_here(&context, &command, Map::new(), false)
    }
}
