//! A script's own function on each node of a set.

use crate::domain::node::NodeSet as Nodes;
use crate::script::parallel::{self, MAX_PARALLEL};
use crate::script::{Options, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, FnPtr, Map};

#[export_module]
pub mod module {
    /// Calls a function with each node, many at the same time; returns the results in the order of the nodes.
    ///
    /// All calls are finished before a failure is raised; it then lists every node that failed (`e.failed`).
    /// Variables that the function uses are copied when it is handed over: return results instead of changing variables.
    ///
    /// # Example
    /// ```rhai
    /// let names = deployment().nodes("server").each(|n| n.name);
    /// assert_eq(names, ["server-0", "server-1", "server-2"]);
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn each(context: NativeCallContext, nodes: &mut Nodes, action: FnPtr) -> ScriptResult<Array> {
        each_with(context, nodes, action, Map::new())
    }

    /// Options: `max_parallel`, how many nodes at most at the same time (32).
    ///
    /// # Example
    /// ```rhai
    /// deployment().nodes().each(|n| log(n.name), #{ max_parallel: 1 });
    /// ```
    #[rhai_fn(name = "each", return_raw, pure)]
    pub fn each_with(context: NativeCallContext, nodes: &mut Nodes, action: FnPtr, options: Map) -> ScriptResult<Array> {
        let mut options = Options::new("each", options);
        let max = options.count("max_parallel")?.unwrap_or(MAX_PARALLEL);
        options.finish()?;
        let items = nodes.singles().into_iter().map(|n| (n.names().join(","), Dynamic::from(n))).collect();
        parallel::map(&context, items, &action, max, Some(&Dynamic::from(nodes.clone())))
    }
}
