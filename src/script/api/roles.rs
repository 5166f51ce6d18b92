//! Roles within scripts: `nodes.apply_role("nginx", #{ port: 81 })`.

use crate::base::error::{Error, Result};
use crate::domain::deployment::Deployment;
use crate::domain::node::NodeSet;
use crate::domain::resource::Mode;
use crate::domain::rollout::{Amount, NodeOutcome, Pace, Rollout, State};
use crate::script::roles::{Call, Deploy, How, Wish};
use crate::script::{Host, Options, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};

fn apply(context: &NativeCallContext, nodes: &NodeSet, role: &str, vars: Map, options: Map) -> Result<Map> {
    let host = Host::of(context);
    let how = how(&host, options)?;
    host.reach(context, nodes, &Call::reads("apply_role"))?;
    let deployment = match nodes.deployments()[..] {
        [only] => only,
        [] => return Err(Error::usage("apply_role was called on no nodes")),
        [..] => return Err(Error::usage("apply_role was called on nodes of several deployments, which have a config each")),
    };
    let config = Deployment::open(host.project(), deployment)?.config_now()?;
    let roles = [role.to_owned()];
    let wish = Wish { roles: Some(&roles), settings: &[], given: vars };
    let deploy = Deploy::new(&host.project().root, &config, nodes, wish)?;
    let rollout = deploy.run_within(context.engine(), &host, how, &host.watch(how.mode.check))?;
    if let Some(acting) = host.acting() {
        acting.take_in(&rollout);
    }
    rollout.check()?;
    Ok(outcome_map(&rollout))
}

fn how(host: &Host, options: Map) -> Result<How> {
    let mut options = Options::new("apply_role", options);
    let amount = |text: Option<Dynamic>| text.map(|v| Amount::parse(&v.to_string())).transpose();
    let pace = Pace { batch: amount(options.value("batch"))?, max_failures: amount(options.value("max_failures"))? };
    let (check, diff) = (options.bool("check")?, options.bool("diff")?);
    options.finish()?;
    // A check of a role is one of the roles in it.
    let outer = host.acting().map(|acting| acting.ledger.mode()).unwrap_or_default();
    let mode = Mode { check: outer.check || check.unwrap_or(false), diff: outer.diff || diff.unwrap_or(false) };
    Ok(How { pace, mode })
}

/// As `apply_role` returns it.
pub fn outcome_map(rollout: &Rollout) -> Map {
    let changed: NodeSet = rollout.nodes.iter().filter(|n| n.state() == State::Changed).map(|n| n.node.clone()).collect();
    let mut map = Map::new();
    map.insert("changed".into(), (!changed.is_empty()).into());
    map.insert("changed_nodes".into(), Dynamic::from(changed));
    map.insert("results".into(), rollout.nodes.iter().map(|n| node_map(n).into()).collect::<Array>().into());
    map
}

fn node_map(outcome: &NodeOutcome) -> Map {
    let counts = outcome.counts();
    let number = |n: usize| Dynamic::from(i64::try_from(n).unwrap_or(i64::MAX));
    let fields: [(&str, Dynamic); 4] = [
        ("node", outcome.node.name.clone().into()),
        ("ok", number(counts.ok)),
        ("changed", number(counts.changed)),
        ("unknown", number(counts.unknown)),
    ];
    fields.into_iter().map(|(key, value)| (key.into(), value)).collect()
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// Makes the nodes what a role says, after the roles that it requires; its handlers run where something changed.
    ///
    /// The role is a folder `roles/NAME/` of the project, or one that comes with opsrun (`opsrun role ls`). Its variables are
    /// those of the deployment's config and the groups'; `vars` go before them, and may hold secrets.
    /// Returns `#{ changed, changed_nodes, results }`; a result is `#{ node, ok, changed, unknown }`, numbers of resources.
    /// Throws when a node fails, after the others are done; the error names every node that failed.
    ///
    /// # Example
    /// ```rhai
    /// file::write("roles/hello/main.rhai", "fn apply(nodes, vars) { nodes.sh(`echo ${vars.greeting}`); }");
    /// file::write("roles/hello/defaults.yml", "greeting: hi\n");
    /// let done = deployment().nodes("server").apply_role("hello", #{ greeting: "welcome" });
    /// assert_eq(done.changed, false);
    /// ```
    #[rhai_fn(name = "apply_role", pure, return_raw)]
    pub fn apply_role(context: NativeCallContext, nodes: &mut Nodes, role: &str, vars: Map) -> ScriptResult<Map> {
        Ok(apply(&context, nodes, role, vars, Map::new())?)
    }

    #[rhai_fn(name = "apply_role", pure, return_raw)]
    pub fn apply_role_plain(context: NativeCallContext, nodes: &mut Nodes, role: &str) -> ScriptResult<Map> {
        Ok(apply(&context, nodes, role, Map::new(), Map::new())?)
    }

    /// Options: `check` (change nothing), `diff`, `batch` and `max_failures` (a number of nodes, or a share such as "20%").
    ///
    /// # Example
    /// ```rhai
    /// file::write("roles/hello/main.rhai", "fn apply(nodes, vars) { nodes.sh(\"echo hi\"); }");
    /// let servers = deployment().nodes("server");
    /// let done = servers.apply_role("hello", #{}, #{ batch: 1 });
    /// assert_eq(servers.apply_role("hello", #{}, #{ check: true }).results[0].unknown, 1);
    /// ```
    #[rhai_fn(name = "apply_role", pure, return_raw)]
    pub fn apply_role_with(
        context: NativeCallContext,
        nodes: &mut Nodes,
        role: &str,
        vars: Map,
        options: Map,
    ) -> ScriptResult<Map> {
        Ok(apply(&context, nodes, role, vars, options)?)
    }
}
