//! The machines of an environment: how they are, what is made of them.

use crate::base::error::{Error, Kind, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::deployment::hosts;
use crate::domain::environment::{health, status};
use crate::domain::node::NodeSet;
use crate::script::api::environment::Handle as Environment;
use crate::script::convert::from_json;
use crate::script::roles::{Call, Deploy, How, Wish};
use crate::script::{Host, Placed, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};
use serde_json::json;

/// One group's roles for one group's machines.
struct Push {
    nodes: NodeSet,
    roles: Vec<String>,
}

fn push(context: &NativeCallContext, host: &Host, environment: &Environment, only: &[String]) -> Result<Vec<String>> {
    let known: Vec<&String> = environment.groups.iter().flat_map(|g| &g.roles).collect();
    if let Some(odd) = only.iter().find(|role| !known.contains(role)) {
        let near = did_you_mean(odd, known.iter().map(|r| r.as_str()));
        return Err(Error::usage(format!("no group of environment {} has the role {odd}", environment.name)).hint_if(near));
    }
    let template = environment.template()?;
    let deployment = host.block_on_to_the_end(hosts::find(host.project(), environment, &host.client(), &host.cx))?;
    let pushes = environment.groups.iter().filter(|g| environment.stays(&template, &g.name)).filter_map(|group| {
        let nodes: NodeSet = deployment.nodes().iter().filter(|n| n.group == group.name).cloned().collect();
        let roles: Vec<String> = group.roles.iter().filter(|r| only.is_empty() || only.contains(r)).cloned().collect();
        (!nodes.is_empty() && !roles.is_empty()).then_some(Push { nodes, roles })
    });
    let pushes: Vec<Push> = pushes.collect();
    let Some(lock) = (!pushes.is_empty()).then(|| deployment.lock("opsrun, bringing roles to machines")).transpose()? else {
        return Ok(Vec::new());
    };
    let config = deployment.config_now()?;
    let mut failed = Vec::new();
    let mut done = Vec::new();
    for push in &pushes {
        let wish = Wish { roles: Some(&push.roles), ..Wish::default() };
        let deploy = Deploy::new(&host.project().root, &config, &push.nodes, wish)?;
        let rollout = deploy.run_within(context.engine(), host, How::default(), &host.watch(false))?;
        match rollout.check() {
            Ok(()) => done.push(push),
            Err(error) => failed.push(error),
        }
    }
    drop(lock);
    if only.is_empty() {
        let all = done.iter().fold(NodeSet::default(), |all, push| all.union(&push.nodes));
        host.block_on_to_the_end(async {
            hosts::mark(host.project(), &deployment, &all, &host.cx).await;
            Ok(())
        })?;
    }
    match failed.len() {
        0 => Ok(done.iter().flat_map(|p| p.nodes.names()).collect()),
        1 => Err(failed.remove(0)),
        n => Err(Error::new(Kind::Command, format!("roles failed in {n} groups")).with_failed(failed)),
    }
}

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
        let status = host.block_on(status::look(host.project(), e, &host.cx))?;
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

    /// Brings roles to its machines that stay: those that are instances of the stack itself, not of an auto-scaling group.
    ///
    /// `only` is an array of roles; when it is empty, each group gets all of its own. Machines that have all of their roles are
    /// marked with what these were made of. Throws when a machine fails, after the others are done; the error names each.
    /// Returns the names of the machines, an array.
    ///
    /// # Example
    /// ```rhai,no_run
    /// environment("staging").push_roles(["nginx"]);
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn push_roles(context: NativeCallContext, e: &mut Environment, only: Array) -> ScriptResult<Array> {
        let only: Vec<String> = only.iter().map(ToString::to_string).collect();
        let host = Host::of(&context);
        host.must_act(&context, &Call::changes("push_roles", &e.name)).here(&context)?;
        let pushed = push(&context, &host, e, &only).here(&context)?;
        Ok(pushed.into_iter().map(Into::into).collect())
    }

    /// Forgets its machines, once its stack is gone: the folder of their deployment is removed.
    ///
    /// # Example
    /// ```rhai,no_run
    /// environment("staging").forget_hosts();
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn forget_hosts(context: NativeCallContext, e: &mut Environment) -> ScriptResult<()> {
        let host = Host::of(&context);
        host.must_act(&context, &Call::changes("forget_hosts", &e.name)).here(&context)?;
        host.block_on_to_the_end(hosts::forget(host.project(), e, &host.cx)).here(&context)
    }
}
