//! Turning nodes off and on, and images of them.

use crate::base::error::Result;
use crate::domain::deployment::{self, Power};
use crate::domain::image;
use crate::domain::node::NodeSet;
use crate::script::convert::from_json;
use crate::script::roles::Call;
use crate::script::{Host, Options, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};

fn turn(context: &NativeCallContext, nodes: &NodeSet, what: Power, word: &'static str) -> ScriptResult<()> {
    let host = Host::of(context);
    if host.reach(context, nodes, &Call::changes(word, "power"))?.is_none() {
        return Ok(());
    }
    host.block_on(async {
        for name in nodes.deployments() {
            let names: Vec<String> = nodes.iter().filter(|n| n.deployment == name).map(|n| n.name.clone()).collect();
            deployment::power(host.project(), name, &names, what, &host.cx).await?;
        }
        // What was connected there is no more.
        nodes.iter().for_each(|node| host.client().forget(&node.endpoint));
        Ok(())
    })?;
    Ok(())
}

/// Whether to pull the plug.
fn at_once(function: &str, options: Map) -> Result<bool> {
    let mut options = Options::new(function, options);
    let at_once = options.bool("at_once")?.unwrap_or(false);
    options.finish()?;
    Ok(at_once)
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// Shuts the nodes down; they keep their disks, and stay off until `start`, or until the deployment is provisioned again.
    ///
    /// For providers that can (`machine`). Option: `at_once: true` does not shut down first, as if the plug were pulled.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let d = deployment();
    /// d.node("server-2").stop(#{ at_once: true });   // a node fails
    /// d.nodes("server-[01]").sh("nodetool status");
    /// d.node("server-2").start();
    /// ```
    #[rhai_fn(name = "stop", pure, return_raw)]
    pub fn stop(context: NativeCallContext, nodes: &mut Nodes, options: Map) -> ScriptResult<()> {
        let at_once = at_once("stop", options)?;
        turn(&context, nodes, Power::Stop { at_once }, "stop")
    }

    #[rhai_fn(name = "stop", pure, return_raw)]
    pub fn stop_plain(context: NativeCallContext, nodes: &mut Nodes) -> ScriptResult<()> {
        turn(&context, nodes, Power::Stop { at_once: false }, "stop")
    }

    /// Starts nodes that were stopped, and returns when they take connections. Those that run are left alone.
    ///
    /// # Example
    /// ```rhai,no_run
    /// deployment().nodes("server").start();
    /// ```
    #[rhai_fn(name = "start", pure, return_raw)]
    pub fn start(context: NativeCallContext, nodes: &mut Nodes) -> ScriptResult<()> {
        turn(&context, nodes, Power::Start, "start")
    }

    /// Shuts the nodes down and starts them again, and returns when they take connections.
    ///
    /// For providers that can (`machine`). Option: `at_once: true` does not shut down first, as if the plug were pulled.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let server = deployment().node("server-0");
    /// server.reboot();
    /// server.sh("systemctl is-active postgresql");   // is it enabled?
    /// ```
    #[rhai_fn(name = "reboot", pure, return_raw)]
    pub fn reboot(context: NativeCallContext, nodes: &mut Nodes, options: Map) -> ScriptResult<()> {
        let at_once = at_once("reboot", options)?;
        turn(&context, nodes, Power::Reboot { at_once }, "reboot")
    }

    #[rhai_fn(name = "reboot", pure, return_raw)]
    pub fn reboot_plain(context: NativeCallContext, nodes: &mut Nodes) -> ScriptResult<()> {
        turn(&context, nodes, Power::Reboot { at_once: false }, "reboot")
    }

    /// Saves what is on a stopped machine as an image, from which others are made: `image: web` in a config.
    ///
    /// For a set of one, of provider `machine`. What makes it this machine is left out: its name, ID, keys and address.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let builder = provision("builder", "configs/builder.yml").nodes().first;
    /// builder.sh("apt-get install -y nginx-light");
    /// builder.stop();
    /// builder.save_image("web");
    /// deprovision("builder");
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn save_image(context: NativeCallContext, nodes: &mut Nodes, name: &str) -> ScriptResult<()> {
        let host = Host::of(&context);
        let node = nodes.one()?;
        if host.reach(&context, nodes, &Call::changes("save_image", name))?.is_some() {
            host.block_on(deployment::save_image(
                host.project(),
                &node.deployment,
                &node.name,
                &image::NewImage::plain(name),
                &host.cx,
            ))?;
        }
        Ok(())
    }

    /// All images of machines, an array of maps: name, on (what it stands on), from, created, bytes, used_by (an array).
    ///
    /// # Example
    /// ```rhai
    /// for image in images() { print(`${image.name}: ${image.bytes} bytes`); }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn images(context: NativeCallContext) -> ScriptResult<Array> {
        let images = image::images(Host::of(&context).project())?;
        let json = |line: &image::ImageLine| from_json(&serde_json::to_value(line).unwrap_or_default());
        Ok(images.iter().map(json).collect::<Vec<Dynamic>>())
    }

    /// Removes an image. Throws when machines or other images stand on it, and names them.
    ///
    /// # Example
    /// ```rhai,no_run
    /// remove_image("web");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn remove_image(context: NativeCallContext, name: &str) -> ScriptResult<()> {
        let host = Host::of(&context);
        host.must_act(&context, &Call::changes("remove_image", name))?;
        Ok(host.block_on(image::remove_image(host.project(), name, &host.cx))?)
    }
}
