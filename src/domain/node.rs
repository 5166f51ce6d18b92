//! Nodes and sets of them, chosen by group, name or glob.

use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::suggest;
use serde::Serialize;
use std::sync::Arc;

/// One machine of a deployment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Node {
    pub deployment: String,
    pub name: String,
    pub group: String,
    /// Its number within the group, from 0.
    pub index: usize,
    /// The provider it comes from: `local`, `static`, …
    pub provider: String,
    pub endpoint: Endpoint,
}

/// Nodes in an order, cheap to clone. Most sets keep the deployment's order: by group as configured, then by index.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeSet(Arc<[Arc<Node>]>);

impl FromIterator<Arc<Node>> for NodeSet {
    fn from_iter<I: IntoIterator<Item = Arc<Node>>>(nodes: I) -> Self {
        Self(nodes.into_iter().collect())
    }
}

impl NodeSet {
    pub fn new(nodes: impl IntoIterator<Item = Node>) -> Self {
        nodes.into_iter().map(Arc::new).collect()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> Vec<String> {
        self.iter().map(|n| n.name.clone()).collect()
    }

    /// Each node as a set of one, in order.
    pub fn singles(&self) -> Vec<Self> {
        self.iter().map(|n| std::iter::once(n.clone()).collect()).collect()
    }

    /// The nodes at these positions; positions beyond the end give nothing.
    #[must_use]
    pub fn slice(&self, skip: usize, take: usize) -> Self {
        self.iter().skip(skip).take(take).cloned().collect()
    }

    /// The names of their groups, each once, in order.
    pub fn groups(&self) -> Vec<&str> {
        self.each_once(|n| &n.group)
    }

    /// The names of their deployments, each once, in order.
    pub fn deployments(&self) -> Vec<&str> {
        self.each_once(|n| &n.deployment)
    }

    fn each_once(&self, word: impl Fn(&Node) -> &String) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for node in self.iter() {
            let word = word(node);
            if !found.contains(&word.as_str()) {
                found.push(word);
            }
        }
        found
    }

    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter().filter(|n| !self.has(n))).cloned().collect()
    }

    /// As `union`. Refuses two nodes of one name: what comes of them could not be told apart.
    pub fn joined(&self, other: &Self) -> Result<Self> {
        let twin = |node: &&Arc<Node>| self.iter().any(|n| n.name == node.name && n.deployment != node.deployment);
        let Some(node) = other.iter().find(twin) else { return Ok(self.union(other)) };
        Err(Error::usage(format!("deployment {} has a {} too: a set of nodes cannot hold both", node.deployment, node.name))
            .hint("Work on the nodes of one deployment, and then on those of the other."))
    }

    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.iter().filter(|n| !other.has(n)).cloned().collect()
    }

    fn has(&self, node: &Node) -> bool {
        self.iter().any(|n| n.name == node.name && n.deployment == node.deployment)
    }

    /// The only node of a set of one; an error that says how many there are, otherwise.
    pub fn one(&self) -> Result<&Arc<Node>> {
        match &*self.0 {
            [only] => Ok(only),
            [] => Err(Error::usage("this needs one node, and the set is empty")),
            many => {
                Err(Error::usage(format!("this needs one node, and the set has {}: {}", many.len(), self.names().join(", ")))
                    .hint("Name the one you mean; in a script also .first() or [i]."))
            }
        }
    }

    /// The nodes that a selector means: a group, a node's name, a glob over names, or several of these separated by commas.
    /// A part that matches nothing is an error with the nearest name.
    pub fn select(&self, selector: &str) -> Result<Self> {
        let mut chosen = vec![false; self.len()];
        for part in selector.split(',').map(str::trim) {
            let matcher = Matcher::new(part)?;
            let mut any = false;
            for (node, chosen) in self.iter().zip(&mut chosen) {
                if matcher.matches(node) {
                    (*chosen, any) = (true, true);
                }
            }
            if !any {
                return Err(self.no_such(part));
            }
        }
        Ok(self.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(node, _)| node.clone()).collect())
    }

    fn no_such(&self, part: &str) -> Error {
        let names = self.groups().into_iter().chain(self.iter().map(|n| n.name.as_str()));
        let error = Error::new(Kind::NotFound, format!("no node or group matches \"{part}\""));
        match suggest::did_you_mean(part, names) {
            Some(hint) => error.hint(hint),
            None => error.hint("The deployment has no nodes: provision some first."),
        }
    }
}

enum Matcher<'a> {
    Word(&'a str),
    Glob(Box<globset::GlobMatcher>),
}

impl<'a> Matcher<'a> {
    fn new(part: &'a str) -> Result<Self> {
        if !part.contains(['*', '?', '[', '{']) {
            return Ok(Self::Word(part));
        }
        let glob = globset::Glob::new(part).map_err(|e| Error::usage(format!("\"{part}\" is not a glob: {}", e.kind())))?;
        Ok(Self::Glob(Box::new(glob.compile_matcher())))
    }

    fn matches(&self, node: &Node) -> bool {
        match self {
            Self::Word(word) => node.name == *word || node.group == *word,
            Self::Glob(glob) => glob.is_match(&node.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn lab() -> NodeSet {
        let node = |group: &str, index: usize| Node {
            deployment: "lab".into(),
            name: format!("{group}-{index}"),
            group: group.into(),
            index,
            provider: "local".into(),
            endpoint: Endpoint::new(format!("{group}-{index}"), "127.0.0.1", 22, "root"),
        };
        NodeSet::new([node("server", 0), node("server", 1), node("server", 2), node("client", 0)])
    }

    #[test]
    fn selects_by_group_name_and_glob() {
        let names = |s: &str| lab().select(s).unwrap().names().join(" ");
        assert_eq!(names("server"), "server-0 server-1 server-2");
        assert_eq!(names("*-0"), "server-0 client-0");
        assert_eq!(names("client-0, server-[12]"), "server-1 server-2 client-0");
        let error = lab().select("sevrer").unwrap_err();
        assert_eq!(error.details().hints, ["Did you mean \"server\"?"]);
        assert!(lab().select("[").is_err());
    }

    #[test]
    fn words_of_sets_are_told_once_whatever_the_order() {
        let all = lab();
        let mixed = all.slice(0, 1).union(&all.slice(3, 1)).union(&all.slice(1, 2));
        assert_eq!(mixed.names(), ["server-0", "client-0", "server-1", "server-2"]);
        assert_eq!(mixed.groups(), ["server", "client"]);
        assert_eq!(mixed.deployments(), ["lab"]);
    }

    #[test]
    fn nodes_of_two_deployments_are_not_taken_for_each_other() {
        let other = NodeSet::new(lab().iter().map(|n| Node { deployment: "other".into(), ..(**n).clone() }));
        assert_eq!(lab().without(&other), lab());
        let refused = lab().joined(&other.slice(1, 1)).unwrap_err();
        assert_eq!(refused.message(), "deployment other has a server-1 too: a set of nodes cannot hold both");
        assert_eq!(lab().slice(0, 1).joined(&other.slice(1, 1)).unwrap().deployments(), ["lab", "other"]);
    }

    #[test]
    fn sets_add_and_subtract() {
        let (all, servers) = (lab(), lab().select("server").unwrap());
        assert_eq!(all.without(&servers).names(), ["client-0"]);
        assert_eq!(servers.union(&all).len(), 4);
        assert_eq!(all.slice(1, 2).names(), ["server-1", "server-2"]);
        assert!(servers.one().unwrap_err().message().contains("has 3"));
    }
}
