//! A fake provider, in memory, to inject faults that real ones show too rarely.

use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::transport::provider::{Fate, Fixture, NodeFound, NodeSpec, NodeStatus, Provider, Site, Survey};
use async_trait::async_trait;
use std::sync::{Arc, Mutex};

/// What exists, and what is to go wrong.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    nodes: Vec<NodeFound>,
    /// Everything asked of it that changes something, in order.
    log: Vec<String>,
    /// `create` fails once it has made this many.
    create_fails_after: Option<usize>,
    destroy_fails: bool,
    fixtures: Vec<Fixture>,
}

impl Fake {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    pub fn fail_create_after(&self, made: Option<usize>) {
        self.with(|i| i.create_fails_after = made);
    }

    pub fn fail_destroy(&self, fails: bool) {
        self.with(|i| i.destroy_fails = fails);
    }

    /// What a survey finds to do besides nodes.
    pub fn find(&self, fate: Fate, what: &str, reason: &str, overdue: bool) {
        self.with(|i| i.fixtures.push(Fixture { fate, what: what.to_owned(), reason: reason.to_owned(), overdue }));
    }

    pub fn stop(&self, name: &str) {
        self.with(|i| i.nodes.iter_mut().filter(|n| n.spec.name == name).for_each(|n| n.status = NodeStatus::Stopped));
    }

    pub fn lose(&self, name: &str) {
        self.with(|i| i.nodes.retain(|n| n.spec.name != name));
    }

    pub fn names(&self) -> Vec<String> {
        let mut names = self.with(|i| i.nodes.iter().map(|n| n.spec.name.clone()).collect::<Vec<_>>());
        names.sort();
        names
    }

    pub fn take_log(&self) -> Vec<String> {
        self.with(|i| std::mem::take(&mut i.log))
    }
}

#[async_trait]
impl Provider for Fake {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn survey(&self, _: &Site, _: &[NodeSpec], _: &Cx) -> Result<Survey> {
        Ok(Survey { fixtures: self.with(|i| i.fixtures.clone()), notes: Vec::new() })
    }

    async fn list(&self, _: &Site, _: &Cx) -> Result<Vec<NodeFound>> {
        Ok(self.with(|i| i.nodes.clone()))
    }

    async fn create(&self, site: &Site, specs: &[NodeSpec], _: &Cx) -> Result<Vec<NodeFound>> {
        assert!(site.dir.join("state.json").exists(), "nodes are made only after the UUID is written down");
        assert!(site.private_key.exists() && site.public_key.exists(), "nodes need keys");
        self.with(|i| {
            let mut made = Vec::new();
            for (n, spec) in specs.iter().enumerate() {
                if i.create_fails_after == Some(n) {
                    return Err(Error::new(Kind::Provider, "out of capacity").on_node(&spec.name));
                }
                i.log.push(format!("create {}", spec.name));
                i.nodes.retain(|f| f.spec.name != spec.name);
                let number = 10 + i.nodes.len();
                let node = NodeFound {
                    spec: spec.clone(),
                    status: NodeStatus::Running,
                    endpoint: Endpoint::new(&spec.name, format!("127.0.9.{number}"), 2222, "me"),
                    host_keys: vec![format!("ssh-ed25519 AAAA{}", spec.name)],
                    first_contact: None,
                };
                i.nodes.push(node.clone());
                made.push(node);
            }
            Ok(made)
        })
    }

    async fn destroy(&self, _: &Site, names: &[String], _: &Cx) -> Result<()> {
        self.with(|i| {
            if i.destroy_fails {
                return Err(Error::new(Kind::Provider, "the cloud is down"));
            }
            for name in names {
                i.log.push(format!("destroy {name}"));
            }
            i.nodes.retain(|n| !names.contains(&n.spec.name));
            Ok(())
        })
    }

    async fn destroy_all(&self, _: &Site, _: &Cx) -> Result<()> {
        assert!(self.names().is_empty());
        Ok(())
    }
}
