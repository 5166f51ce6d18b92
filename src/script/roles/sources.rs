//! What files on nodes are made from: a role's own templates and files, and the variables that templates know.

use crate::base::error::{Error, Kind, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::deployment::Deployment;
use crate::domain::node::{Node, NodeSet};
use crate::domain::role::RoleFile;
use crate::script::Host;
use crate::script::api::data::with_secrets;
use rhai::Map;
use serde_json::{Map as JsonMap, Value, json};

/// The folders of a role that hold what files are made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Folder {
    Templates,
    Files,
}

impl Folder {
    fn name(self) -> &'static str {
        match self {
            Self::Templates => "templates",
            Self::Files => "files",
        }
    }
}

impl Host {
    /// Reads a file by the path a script gives: in the role's `templates/` or `files/` first, then in the project's folder.
    pub fn source_file(&self, folder: Folder, path: &str) -> Result<RoleFile> {
        let role = self.acting().map(|a| &a.role);
        if let Some(role) = role
            && let Some(file) = role.file(&format!("{}/{path}", folder.name()))?
        {
            return Ok(file);
        }
        let local = self.path(path);
        match std::fs::read(&local) {
            Ok(content) => Ok(RoleFile { name: self.sources().display(&local.display().to_string()), content }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let Some(role) = role else { return Err(Error::io("read", &local, &e)) };
                let (what, own) = (folder.name(), role.files_in(folder.name()));
                let error = Error::new(Kind::NotFound, format!("role {} has no file {path} in its {what}/", role.name));
                let error = error.hint_if(did_you_mean(path, own.iter().map(String::as_str)));
                Err(error.hint(format!("Looked in {}/{what}/ and in the project's folder.", role.folder())))
            }
            Err(e) => Err(Error::io("read", &local, &e)),
        }
    }

    /// What a template knows on each of the nodes, in their order: the role's variables and those given (which go first),
    /// `node`, and, when its text speaks of them, `facts` and `groups`. Secrets are there as their text.
    pub fn template_vars(&self, nodes: &NodeSet, text: &str, given: &Map) -> Result<Vec<Value>> {
        let as_json = |map: &Map| with_secrets(&map.clone().into());
        let mut common = JsonMap::new();
        if text.contains("groups")
            && let Some(first) = nodes.iter().next()
        {
            common.insert("groups".to_owned(), self.groups(&first.deployment)?);
        }
        for map in self.acting().map(|a| &a.vars).into_iter().chain([given]) {
            if let Value::Object(map) = as_json(map)? {
                common.extend(map);
            }
        }
        let facts = if text.contains("facts") { self.facts_of(nodes, text.contains("packages"))? } else { Vec::new() };
        let vars_of = |(at, node): (usize, &std::sync::Arc<Node>)| {
            let mut vars = common.clone();
            vars.entry("node").or_insert_with(|| node_var(node));
            if let Some(facts) = facts.get(at) {
                vars.entry("facts").or_insert_with(|| facts.clone());
            }
            Value::Object(vars)
        };
        Ok(nodes.iter().enumerate().map(vars_of).collect())
    }

    /// Facts of nodes as templates know them. Read once in a run, those that are missing in one round trip.
    /// With `packages` they have what is installed too.
    pub fn facts_of(&self, nodes: &NodeSet, packages: bool) -> Result<Vec<Value>> {
        let key = |node: &Node| (node.deployment.clone(), node.name.clone());
        let missing: NodeSet = {
            let state = self.state();
            let enough = |facts: &Value| !packages || facts.get("packages").is_some();
            nodes.iter().filter(|n| !state.facts.get(&key(n)).is_some_and(enough)).cloned().collect()
        };
        if !missing.is_empty() {
            let read = self.block_on(self.fleet().facts(&missing, packages))?;
            let mut state = self.state();
            for (node, facts) in missing.iter().zip(read) {
                let value = serde_json::to_value(facts).map_err(|e| Error::internal(format!("facts: {e}")))?;
                state.facts.insert(key(node), value);
            }
        }
        let state = self.state();
        Ok(nodes.iter().map(|n| state.facts.get(&key(n)).cloned().unwrap_or_default()).collect())
    }

    /// All nodes of a deployment by group.
    fn groups(&self, deployment: &str) -> Result<Value> {
        let deployment = Deployment::open(self.project(), deployment)?;
        let mut groups = JsonMap::new();
        for node in deployment.nodes().iter() {
            if let Value::Array(nodes) = groups.entry(node.group.as_str()).or_insert_with(|| Value::Array(Vec::new())) {
                nodes.push(node_var(node));
            }
        }
        Ok(Value::Object(groups))
    }
}

/// What templates know of a node.
fn node_var(node: &Node) -> Value {
    json!({ "name": node.name, "group": node.group, "index": node.index, "address": node.endpoint.host, "private_address": node.endpoint.own_host() })
}
