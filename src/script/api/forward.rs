//! Ports of nodes, reached through SSH from this machine.

use crate::base::error::Error;
use crate::domain::node::NodeSet;
use crate::script::roles::Call;
use crate::script::{Host, Options, ScriptResult};
use crate::transport::ssh;
use rhai::Map;
use rhai::plugin::{NativeCallContext, export_module};
use std::sync::{Arc, Mutex, PoisonError};

/// A forwarded port as scripts hold it.
#[derive(Clone, Debug)]
pub struct Handle {
    port: u16,
    open: Arc<Mutex<Option<ssh::Forward>>>,
}

fn open(context: &NativeCallContext, nodes: &NodeSet, port: i64, options: Map) -> ScriptResult<Handle> {
    let host = Host::of(context);
    let mut options = Options::new("forward", options);
    let address = options.string("host")?;
    options.finish()?;
    let port = super::waiting::port_number(port)?;
    let node = nodes.one()?.clone();
    let address = address.unwrap_or_else(|| node.endpoint.own_host().to_owned());
    host.reach(context, nodes, &Call::reads("forward"))?;
    let client = host.client();
    let made = host.block_on(async { client.forward(&node.endpoint, &address, port, &host.cx).await });
    let made = made.map_err(|e: Error| e.on_node(node.name.as_str()))?;
    Ok(Handle { port: made.local_port, open: Arc::new(Mutex::new(Some(made))) })
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// A port of this machine's 127.0.0.1 that leads to a port of a node, until it is closed or the script ends.
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// let f = n.forward(n.ssh_port);
    /// f.close();
    /// ```
    pub type Forward = Handle;

    /// Opens a port on this machine that leads, through SSH, to a port of a set of exactly one node.
    ///
    /// Options: `host`, the address to reach from the node (by default the node's own).
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// let f = n.forward(n.ssh_port);
    /// assert(f.port > 0);
    /// ```
    #[rhai_fn(name = "forward", pure, return_raw)]
    pub fn forward(context: NativeCallContext, nodes: &mut Nodes, number: i64, options: Map) -> ScriptResult<Handle> {
        open(&context, nodes, number, options)
    }

    #[rhai_fn(name = "forward", pure, return_raw)]
    pub fn forward_plain(context: NativeCallContext, nodes: &mut Nodes, number: i64) -> ScriptResult<Handle> {
        open(&context, nodes, number, Map::new())
    }

    /// The port on this machine's 127.0.0.1.
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// print(`127.0.0.1:${n.forward(n.ssh_port).port}`);
    /// ```
    #[rhai_fn(get = "port", pure)]
    pub fn port(forward: &mut Forward) -> i64 {
        forward.port.into()
    }

    /// Closes the port and what goes through it. Without effect when it is closed.
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// let f = n.forward(n.ssh_port);
    /// f.close();
    /// f.close();
    /// ```
    #[rhai_fn(pure)]
    pub fn close(forward: &mut Forward) {
        forward.open.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
