//! Waiting for something on nodes.

use crate::base::error::Result;
use crate::domain::fleet::Wait;
use crate::domain::node::NodeSet;
use crate::script::{Host, Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{NativeCallContext, export_module};

fn wait_options(options: &mut Options) -> Result<Wait> {
    let default = Wait::default();
    Ok(Wait {
        timeout: options.duration("timeout")?.unwrap_or(default.timeout),
        interval: options.duration("interval")?.unwrap_or(default.interval),
    })
}

fn path(context: &NativeCallContext, nodes: &NodeSet, path: &str, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let mut options = Options::new("wait_file", options);
    let wait = wait_options(&mut options)?;
    options.finish()?;
    Ok(host.block_on_to_the_end(host.fleet().wait_file(nodes, path, wait))?)
}

fn until(context: &NativeCallContext, nodes: &NodeSet, command: &str, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let mut options = Options::new("wait_until", options);
    let wait = wait_options(&mut options)?;
    options.finish()?;
    Ok(host.block_on_to_the_end(host.fleet().wait_until(nodes, command, wait))?)
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// Waits until a path exists on every node. Throws when the time is up.
    ///
    /// Options: `timeout` ("60s"), `interval` ("250ms").
    ///
    /// # Example
    /// ```rhai
    /// let servers = deployment().nodes("server");
    /// servers.sh("touch ready");
    /// servers.wait_file("ready", #{ timeout: "10s" });
    /// ```
    #[rhai_fn(name = "wait_file", pure, return_raw)]
    pub fn wait_file(context: NativeCallContext, nodes: &mut Nodes, file: &str, options: Map) -> ScriptResult<()> {
        path(&context, nodes, file, options)
    }

    #[rhai_fn(name = "wait_file", pure, return_raw)]
    pub fn wait_file_plain(context: NativeCallContext, nodes: &mut Nodes, file: &str) -> ScriptResult<()> {
        path(&context, nodes, file, Map::new())
    }

    /// Waits until a command succeeds on every node. Throws when the time is up, with what the command said last.
    ///
    /// The loop runs on the node, over one connection. Options: `timeout` ("60s"), `interval` ("250ms").
    ///
    /// # Example
    /// ```rhai
    /// deployment().nodes("server").wait_until("test $(date +%s) -gt 0", #{ timeout: "10s", interval: "100ms" });
    /// ```
    #[rhai_fn(name = "wait_until", pure, return_raw)]
    pub fn wait_until(context: NativeCallContext, nodes: &mut Nodes, command: &str, options: Map) -> ScriptResult<()> {
        until(&context, nodes, command, options)
    }

    #[rhai_fn(name = "wait_until", pure, return_raw)]
    pub fn wait_until_plain(context: NativeCallContext, nodes: &mut Nodes, command: &str) -> ScriptResult<()> {
        until(&context, nodes, command, Map::new())
    }
}
