//! Node sets: which nodes, and what they are. What they do is in `remote`, `transfer`, `waiting` and `jobs`.

use crate::base::error::{Error, Kind};
use crate::domain::node::{Node, NodeSet};
use crate::script::ScriptResult;
use rhai::Array;
use rhai::plugin::export_module;

/// `for n in nodes`: sets of one.
impl IntoIterator for NodeSet {
    type Item = Self;
    type IntoIter = std::vec::IntoIter<Self>;

    fn into_iter(self) -> Self::IntoIter {
        self.singles().into_iter()
    }
}

/// Counts from the end when negative, as Rhai's arrays do.
fn at(nodes: &NodeSet, index: i64) -> ScriptResult<NodeSet> {
    let len = nodes.len();
    let found = if index < 0 {
        usize::try_from(index.unsigned_abs()).ok().and_then(|back| len.checked_sub(back))
    } else {
        usize::try_from(index).ok()
    };
    match found.filter(|i| *i < len) {
        Some(i) => Ok(nodes.slice(i, 1)),
        None => Err(Error::new(Kind::NotFound, format!("no node at position {index}: the set has {len}")).into()),
    }
}

fn count(n: i64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn only(nodes: &NodeSet, what: &str) -> ScriptResult<Node> {
    match nodes.one() {
        Ok(node) => Ok((**node).clone()),
        Err(error) => Err(error.context(format!("reading .{what}")).into()),
    }
}

#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// A set of nodes of a deployment, in order. One node is a set of one.
    ///
    /// What you call on a set happens on all its nodes in parallel; the result is an array, one entry a node, in order.
    ///
    /// # Example
    /// ```rhai
    /// let servers = deployment().nodes("server");
    /// assert_eq(servers.len, 3);
    /// ```
    pub type Nodes = NodeSet;

    /// The nodes of this set that a selector means: a group, a name, a glob over names, or several separated by commas.
    ///
    /// A part that matches nothing throws, with the nearest name.
    ///
    /// # Example
    /// ```rhai
    /// let all = deployment().nodes();
    /// assert_eq(all.select("*-0").names, ["server-0", "client-0"]);
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn select(nodes: &mut Nodes, selector: &str) -> ScriptResult<NodeSet> {
        Ok(nodes.select(selector)?)
    }

    /// How many nodes are in the set.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes("server").len(), 3);
    /// ```
    #[rhai_fn(name = "len", get = "len", pure)]
    pub fn len(nodes: &mut Nodes) -> i64 {
        i64::try_from(nodes.len()).unwrap_or(i64::MAX)
    }

    /// Whether the set has no nodes.
    ///
    /// # Example
    /// ```rhai
    /// assert(deployment().nodes("client").skip(1).is_empty());
    /// ```
    #[rhai_fn(pure)]
    pub fn is_empty(nodes: &mut Nodes) -> bool {
        nodes.is_empty()
    }

    /// The first node, as a set of one. Throws when the set is empty.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes("server").first().name, "server-0");
    /// ```
    #[rhai_fn(name = "first", get = "first", pure, return_raw)]
    pub fn first(nodes: &mut Nodes) -> ScriptResult<NodeSet> {
        at(nodes, 0)
    }

    /// The last node, as a set of one. Throws when the set is empty.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes("server").last().name, "server-2");
    /// ```
    #[rhai_fn(name = "last", get = "last", pure, return_raw)]
    pub fn last(nodes: &mut Nodes) -> ScriptResult<NodeSet> {
        at(nodes, -1)
    }

    /// The first `n` nodes, or all when there are fewer.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes("server").take(2).names, ["server-0", "server-1"]);
    /// ```
    #[rhai_fn(pure)]
    pub fn take(nodes: &mut Nodes, n: i64) -> NodeSet {
        nodes.slice(0, count(n))
    }

    /// All nodes but the first `n`.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes("server").skip(2).names, ["server-2"]);
    /// ```
    #[rhai_fn(pure)]
    pub fn skip(nodes: &mut Nodes, n: i64) -> NodeSet {
        nodes.slice(count(n), usize::MAX)
    }

    /// The node at a position, counted from 0, or from the end when negative: `nodes[0]`, `nodes[-1]`.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes("server")[1].name, "server-1");
    /// ```
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn get_index(nodes: &mut Nodes, index: i64) -> ScriptResult<NodeSet> {
        at(nodes, index)
    }

    /// The nodes of both sets, each once. Two nodes of one name, of two deployments, are an error.
    ///
    /// # Example
    /// ```rhai
    /// let d = deployment();
    /// assert_eq((d.nodes("client") + d.nodes("server")).len, 4);
    /// ```
    #[rhai_fn(name = "+", pure, return_raw)]
    pub fn add(a: &mut Nodes, b: Nodes) -> ScriptResult<NodeSet> {
        Ok(a.joined(&b)?)
    }

    /// The nodes of the first set that are not in the second.
    ///
    /// # Example
    /// ```rhai
    /// let servers = deployment().nodes("server");
    /// assert_eq((servers - servers.first).names, ["server-1", "server-2"]);
    /// ```
    #[rhai_fn(name = "-", pure)]
    pub fn subtract(a: &mut Nodes, b: Nodes) -> NodeSet {
        a.without(&b)
    }

    /// Whether both sets have the same nodes in the same order.
    ///
    /// # Example
    /// ```rhai
    /// let d = deployment();
    /// assert(d.nodes("client") == d.node("client-0"));
    /// ```
    #[rhai_fn(name = "==", pure)]
    pub fn equals(a: &mut Nodes, b: Nodes) -> bool {
        *a == b
    }

    /// Whether the sets differ.
    ///
    /// # Example
    /// ```rhai
    /// let d = deployment();
    /// assert(d.nodes("client") != d.nodes("server"));
    /// ```
    #[rhai_fn(name = "!=", pure)]
    pub fn differs(a: &mut Nodes, b: Nodes) -> bool {
        *a != b
    }

    /// Whether a node of this name is in the set: `"server-0" in nodes`.
    ///
    /// # Example
    /// ```rhai
    /// assert("server-0" in deployment().nodes());
    /// ```
    #[rhai_fn(pure)]
    pub fn contains(nodes: &mut Nodes, name: &str) -> bool {
        nodes.iter().any(|n| n.name == name)
    }

    /// The names of all nodes, an array of strings.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes("client").names, ["client-0"]);
    /// ```
    #[rhai_fn(get = "names", pure)]
    pub fn names(nodes: &mut Nodes) -> Array {
        nodes.iter().map(|n| n.name.clone().into()).collect()
    }

    /// The addresses of all nodes, an array of strings.
    ///
    /// # Example
    /// ```rhai
    /// let seeds = deployment().nodes("server").addresses;
    /// assert_eq(seeds.len, 3);
    /// ```
    #[rhai_fn(get = "addresses", pure)]
    pub fn addresses(nodes: &mut Nodes) -> Array {
        nodes.iter().map(|n| n.endpoint.host.clone().into()).collect()
    }

    /// The name of a set of one: `"server-0"`.
    ///
    /// # Example
    /// ```rhai
    /// for n in deployment().nodes("server") { print(n.name); }
    /// ```
    #[rhai_fn(get = "name", pure, return_raw)]
    pub fn name(nodes: &mut Nodes) -> ScriptResult<String> {
        Ok(only(nodes, "name")?.name)
    }

    /// The address of a set of one, by which opsrun reaches it.
    ///
    /// # Example
    /// ```rhai
    /// assert(deployment().node("server-0").address.starts_with("127."));
    /// ```
    #[rhai_fn(get = "address", pure, return_raw)]
    pub fn address(nodes: &mut Nodes) -> ScriptResult<String> {
        Ok(only(nodes, "address")?.endpoint.host)
    }

    /// The address of a set of one among its peers: what a service on it listens on.
    ///
    /// In a cloud it is the private one; elsewhere the same as `address`.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().node("server-0").private_address, deployment().node("server-0").address);
    /// ```
    #[rhai_fn(get = "private_address", pure, return_raw)]
    pub fn private_address(nodes: &mut Nodes) -> ScriptResult<String> {
        Ok(only(nodes, "private_address")?.endpoint.own_host().to_owned())
    }

    /// The SSH port of a set of one.
    ///
    /// # Example
    /// ```rhai
    /// assert(deployment().node("server-0").ssh_port > 0);
    /// ```
    #[rhai_fn(get = "ssh_port", pure, return_raw)]
    pub fn ssh_port(nodes: &mut Nodes) -> ScriptResult<i64> {
        Ok(only(nodes, "ssh_port")?.endpoint.port.into())
    }

    /// The number of a set of one within its group, from 0.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().node("server-2").index, 2);
    /// ```
    #[rhai_fn(get = "index", pure, return_raw)]
    pub fn index(nodes: &mut Nodes) -> ScriptResult<i64> {
        Ok(i64::try_from(only(nodes, "index")?.index).unwrap_or(i64::MAX))
    }

    /// The group of a set of one: `"server"`.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().node("client-0").group, "client");
    /// ```
    #[rhai_fn(get = "group", pure, return_raw)]
    pub fn group(nodes: &mut Nodes) -> ScriptResult<String> {
        Ok(only(nodes, "group")?.group)
    }

    /// Whether the nodes are directories on this machine (provider `local`): they share its kernel, users, memory and ports of 127.0.0.1.
    ///
    /// # Example
    /// ```rhai
    /// let heap = if deployment().nodes().is_local { "256M" } else { "8G" };
    /// assert_eq(heap, "256M");
    /// ```
    #[rhai_fn(get = "is_local", pure)]
    pub fn is_local(nodes: &mut Nodes) -> bool {
        nodes.iter().any(|n| n.provider == "local")
    }

    /// The set as text: its nodes' names.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes("server").to_string(), "server-[0-2]");
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_string(nodes: &mut Nodes) -> String {
        let names = nodes.names();
        crate::domain::fleet::fold_names(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }
}
