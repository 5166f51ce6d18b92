//! Waiting for something on nodes.

use crate::base::error::{Error, Result};
use crate::domain::fleet::{Wait, machine_image};
use crate::domain::node::{Node, NodeSet};
use crate::domain::resource::Resource;
use crate::domain::resource::kinds::{self, What, checked_path, checked_url};
use crate::script::wanting::{Common, want};
use crate::script::{Host, Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{NativeCallContext, export_module};
use std::sync::Arc;

fn wait_options(options: &mut Options) -> Result<Wait> {
    let default = Wait::default();
    Ok(Wait {
        timeout: options.duration("timeout")?.unwrap_or(default.timeout),
        interval: options.duration("interval")?.unwrap_or(default.interval),
    })
}

/// A port as scripts give it.
pub fn port_number(port: i64) -> Result<u16> {
    u16::try_from(port)
        .ok()
        .filter(|p| *p > 0)
        .ok_or_else(|| Error::usage(format!("{port} is no port: ports go from 1 to 65535")))
}

/// In a role, waiting has its turn among what else is wanted of the nodes.
fn queued(context: &NativeCallContext, nodes: &NodeSet, wait: Wait, what: impl Fn(&Node) -> What) -> ScriptResult<()> {
    let of = |node: &Arc<Node>| -> Arc<dyn Resource> {
        Arc::new(kinds::Wait { what: what(node), timeout: wait.timeout, interval: wait.interval })
    };
    want(context, nodes, &Common::default(), |node| Ok(vec![of(node)]))?;
    Ok(())
}

fn port(context: &NativeCallContext, nodes: &NodeSet, port: i64, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let port = port_number(port)?;
    let mut options = Options::new("wait_port", options);
    let wait = wait_options(&mut options)?;
    let address = options.string("host")?;
    options.finish()?;
    if host.ledger().is_some() {
        // Local nodes share this machine's ports: only one at the node's own address is its own.
        return queued(context, nodes, wait, |node| match &address {
            Some(address) => What::PortOf(address.clone(), port),
            None if node.provider == "local" => What::PortOf(node.endpoint.host.clone(), port),
            None => What::Port(port),
        });
    }
    Ok(host.block_on(host.fleet().wait_port(nodes, port, address.as_deref(), wait))?)
}

fn path(context: &NativeCallContext, nodes: &NodeSet, path: &str, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let mut options = Options::new("wait_file", options);
    let wait = wait_options(&mut options)?;
    options.finish()?;
    if host.ledger().is_some() {
        let path = checked_path(path)?;
        return queued(context, nodes, wait, |_| What::Path(path.clone()));
    }
    Ok(host.block_on_to_the_end(host.fleet().wait_file(nodes, path, wait))?)
}

fn until(context: &NativeCallContext, nodes: &NodeSet, command: &str, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let mut options = Options::new("wait_until", options);
    let wait = wait_options(&mut options)?;
    options.finish()?;
    if host.ledger().is_some() {
        return queued(context, nodes, wait, |_| What::Command(command.to_owned()));
    }
    Ok(host.block_on_to_the_end(host.fleet().wait_until(nodes, command, wait))?)
}

fn image(context: &NativeCallContext, nodes: &NodeSet, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let mut options = Options::new("wait_for_machine_image", options);
    let wait = Wait {
        timeout: options.duration("timeout")?.unwrap_or(machine_image::TIMEOUT),
        interval: options.duration("interval")?.unwrap_or(machine_image::INTERVAL),
    };
    options.finish()?;
    if host.ledger().is_some() {
        return queued(context, nodes, wait, |_| What::Command(machine_image::TEST.to_owned()));
    }
    Ok(host.block_on_to_the_end(host.fleet().wait_for_machine_image(nodes, wait))?)
}

fn url(context: &NativeCallContext, nodes: &NodeSet, url: &str, options: Map) -> ScriptResult<()> {
    let mut options = Options::new("wait_url", options);
    let wait = wait_options(&mut options)?;
    let status = options.int("status")?;
    let contains = options.text("contains")?;
    options.finish()?;
    checked_url(url)?;
    let bad = |status: i64| Error::usage(format!("option \"status\" of wait_url cannot be {status}"));
    let status = status.map(|s| u16::try_from(s).ok().filter(|s| (100..1000).contains(s)).ok_or_else(|| bad(s))).transpose()?;
    queued(context, nodes, wait, |_| What::Url { url: url.to_owned(), status, contains: contains.clone() })
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// Waits until something accepts connections on a port of every node, as seen from the node itself.
    ///
    /// Looks at the node's own address and, unless nodes are local, at localhost. Throws when the time is up.
    /// Options: `timeout` ("60s"), `interval` ("250ms"), `host` (another address to look at).
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// n.wait_port(n.ssh_port, #{ timeout: "10s" });
    /// ```
    #[rhai_fn(name = "wait_port", pure, return_raw)]
    pub fn wait_port(context: NativeCallContext, nodes: &mut Nodes, number: i64, options: Map) -> ScriptResult<()> {
        port(&context, nodes, number, options)
    }

    #[rhai_fn(name = "wait_port", pure, return_raw)]
    pub fn wait_port_plain(context: NativeCallContext, nodes: &mut Nodes, number: i64) -> ScriptResult<()> {
        port(&context, nodes, number, Map::new())
    }

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

    /// Waits until the image of every node has set itself up: a fresh machine of a cloud answers before it is ready.
    ///
    /// Waits for cloud-init, and on Scylla's images for the services that prepare disks and measure them. A node that has
    /// neither is ready. Throws at once when one of these failed, with what it said, and when the time is up.
    /// Options: `timeout` ("15m"), `interval` ("2s").
    ///
    /// # Example
    /// ```rhai
    /// deployment().nodes("server").wait_for_machine_image(#{ timeout: "5m" });
    /// ```
    #[rhai_fn(name = "wait_for_machine_image", pure, return_raw)]
    pub fn wait_for_machine_image(context: NativeCallContext, nodes: &mut Nodes, options: Map) -> ScriptResult<()> {
        image(&context, nodes, options)
    }

    #[rhai_fn(name = "wait_for_machine_image", pure, return_raw)]
    pub fn wait_for_machine_image_plain(context: NativeCallContext, nodes: &mut Nodes) -> ScriptResult<()> {
        image(&context, nodes, Map::new())
    }

    /// Waits until an address of the web answers, as seen from every node itself. Throws when the time is up.
    ///
    /// Any status below 400 will do. The node asks with curl, wget, python3, or for http:// with bash alone; certificates are
    /// not looked at. Options: `status` (200: this and no other), `contains` (a text in the body), `timeout` ("60s"),
    /// `interval` ("250ms").
    ///
    /// # Example
    /// ```rhai,no_run
    /// deployment().nodes("server").wait_url("http://127.0.0.1:9100/metrics", #{ contains: "node_load1", timeout: "10s" });
    /// ```
    #[rhai_fn(name = "wait_url", pure, return_raw)]
    pub fn wait_url(context: NativeCallContext, nodes: &mut Nodes, address: &str, options: Map) -> ScriptResult<()> {
        url(&context, nodes, address, options)
    }

    #[rhai_fn(name = "wait_url", pure, return_raw)]
    pub fn wait_url_plain(context: NativeCallContext, nodes: &mut Nodes, address: &str) -> ScriptResult<()> {
        url(&context, nodes, address, Map::new())
    }
}
