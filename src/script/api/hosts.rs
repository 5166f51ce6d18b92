//! The machines of an environment: how they are, what is made of them.

use crate::domain::environment::{health, status};
use crate::script::api::environment::Handle as Environment;
use crate::script::convert::from_json;
use crate::script::roles::Call;
use crate::script::{Host, ScriptResult};
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use serde_json::json;
use std::collections::BTreeMap;

#[export_module]
pub mod module {
    /// How the environment stands: a map with its stack's `status`, `outputs`, its `groups` and `hosts`, and all of it as `text`.
    ///
    /// A host has `name, group, id, state, address, image, role_hash, current, scaling_group, health, reason` and more; `current`
    /// is false where it was made of other roles than it should be. It changes nothing.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let status = environment("staging").look();
    /// print(status.text);
    /// let ill = status.hosts.filter(|h| h.health == "unhealthy");
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn look(context: NativeCallContext, e: &mut Environment) -> ScriptResult<Map> {
        let host = Host::of(&context);
        let status = host.block_on(status::look(host.project(), e, &BTreeMap::new(), &host.cx))?;
        let mut map = from_json(&json!(status)).try_cast::<Map>().unwrap_or_default();
        map.insert("text".into(), status.text().trim_end().to_owned().into());
        Ok(map)
    }

    /// Waits until its load balancers find all its machines healthy, and returns what they said of each.
    ///
    /// An array of maps with `node, state, reason, description, target_group`. Throws after `health: { timeout: … }` of its file
    /// (10 minutes), with each target that is not well and AWS's reason. An environment without load balancers is well at once.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let targets = environment("staging").wait_until_well();
    /// print(`${targets.len()} targets are healthy`);
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn wait_until_well(context: NativeCallContext, e: &mut Environment) -> ScriptResult<Dynamic> {
        let host = Host::of(&context);
        host.must_act(&context, &Call::waits("wait_until_well", &e.name))?;
        let health = host.block_on(health::wait(host.project(), e, &host.cx))?;
        Ok(from_json(&json!(health.targets)))
    }
}
