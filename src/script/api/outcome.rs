//! What came of asking for a resource: `.changed`, `.changed_nodes`, `.results`.

use crate::base::error::Result;
use crate::domain::node::NodeSet;
use crate::domain::resource::{Diff, Item, Outcome as Came};
use crate::script::wanting::Asked;
use crate::script::{Host, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};

fn is_changed(items: &[Item]) -> bool {
    items.iter().any(|i| matches!(i.outcome, Came::Changed))
}

/// A diff as text, in the unified form.
fn diff_text(diff: &Diff) -> String {
    if diff.secret {
        return format!("{}: not shown, it holds a secret", diff.path);
    }
    let text = |side: Option<&Vec<u8>>| side.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    let (before, after) = (text(diff.before.as_ref()), text(diff.after.as_ref()));
    let name = |side: bool| if side { diff.path.as_str() } else { "/dev/null" };
    let shown = similar::TextDiff::from_lines(&before, &after);
    let shown = shown.unified_diff().header(name(diff.before.is_some()), name(diff.after.is_some())).to_string();
    crate::base::secret::mask(&shown).into_owned()
}

/// What came of one node, as scripts see it.
fn result_map(node: &str, items: &[Item], diffs: bool) -> Map {
    let first = |of: fn(&Item) -> Option<String>| items.iter().find_map(of).map_or(Dynamic::UNIT, Dynamic::from);
    let what = items.iter().filter(|i| !matches!(i.outcome, Came::Ok)).flat_map(|i| i.what.iter().cloned());
    let fields: [(&str, Dynamic); 6] = [
        ("node", node.into()),
        ("changed", is_changed(items).into()),
        ("what", what.map(Dynamic::from).collect::<Array>().into()),
        ("diff", if diffs { first(|i| i.diff.as_ref().map(diff_text)) } else { Dynamic::UNIT }),
        ("unknown", first(|i| if let Came::Unknown(why) = &i.outcome { Some(why.clone()) } else { None })),
        ("error", first(|i| if let Came::Failed(error) = &i.outcome { Some(error.message().to_owned()) } else { None })),
    ];
    fields.into_iter().map(|(key, value)| (key.into(), value)).collect()
}

fn changed_nodes(context: &NativeCallContext, asked: &Asked) -> Result<NodeSet> {
    let items = asked.items(&Host::of(context))?;
    Ok(items.into_iter().filter(|(_, items)| is_changed(items)).map(|(node, _)| node).collect())
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// What came of asking for a resource, such as a file or a package, on a set of nodes.
    ///
    /// In a role, resources are brought about together: looking at an outcome brings about all that was asked for so far.
    ///
    /// # Example
    /// ```rhai
    /// let servers = deployment().nodes("server");
    /// let done = servers.file("motd", #{ content: "welcome\n" });
    /// print(`${done.changed_nodes.len} nodes changed`);
    /// ```
    pub type Outcome = Asked;

    /// Whether it was changed on any node; in a check, whether it would be.
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// if n.file("app.conf", #{ content: "port = 80\n" }).changed { print("restart the application"); }
    /// assert(!n.file("app.conf", #{ content: "port = 80\n" }).changed);
    /// ```
    #[rhai_fn(get = "changed", pure, return_raw)]
    pub fn changed(context: NativeCallContext, outcome: &mut Outcome) -> ScriptResult<bool> {
        Ok(!changed_nodes(&context, outcome)?.is_empty())
    }

    /// The nodes on which it was changed; in a check, on which it would be.
    ///
    /// # Example
    /// ```rhai
    /// let servers = deployment().nodes("server");
    /// servers.first.file("version", #{ content: "2" });
    /// assert_eq(servers.file("version", #{ content: "2" }).changed_nodes.names, ["server-1", "server-2"]);
    /// ```
    #[rhai_fn(get = "changed_nodes", pure, return_raw)]
    pub fn nodes_changed(context: NativeCallContext, outcome: &mut Outcome) -> ScriptResult<NodeSet> {
        Ok(changed_nodes(&context, outcome)?)
    }

    /// What came of each node, an array of `#{ node, changed, what, diff, unknown, error }`, in node order.
    ///
    /// `what` is an array of a few words each ("created", "mode 0644 → 0600"). `diff` is text where a diff was asked for,
    /// `unknown` why a check cannot know, `error` what went wrong; each is () otherwise.
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-1");
    /// let done = n.file("notes", #{ content: "one\n", check: true, diff: true });
    /// assert_eq(done.results[0].what, ["created"]);
    /// assert(done.results[0].diff.contains("+one"));
    /// assert_eq(n.exists("notes"), [false]);
    /// ```
    #[rhai_fn(get = "results", pure, return_raw)]
    pub fn results(context: NativeCallContext, outcome: &mut Outcome) -> ScriptResult<Array> {
        let items = outcome.items(&Host::of(&context))?;
        let diffs = outcome.shows_diffs();
        Ok(items.iter().map(|(node, items)| result_map(&node.name, items, diffs).into()).collect())
    }

    /// The outcome as text: on which nodes it was changed.
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-2");
    /// assert_eq(n.directory("cache").to_string(), "changed on server-2");
    /// assert_eq(n.directory("cache").to_string(), "unchanged");
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure, return_raw)]
    pub fn to_string(context: NativeCallContext, outcome: &mut Outcome) -> ScriptResult<String> {
        let nodes = changed_nodes(&context, outcome)?;
        let names = nodes.names();
        Ok(match names.as_slice() {
            [] => "unchanged".to_owned(),
            names => {
                format!("changed on {}", crate::domain::fleet::fold_names(&names.iter().map(String::as_str).collect::<Vec<_>>()))
            }
        })
    }
}
