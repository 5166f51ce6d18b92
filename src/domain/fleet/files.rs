//! Files on node sets.

use super::Fleet;
use crate::base::error::{Error, Result, ResultExt};
use crate::domain::node::{Node, NodeSet};
use crate::domain::yaml_edit;
use crate::transport::ssh::{GetOptions, MirrorOptions, Mirrored, PutOptions};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A single node's failure comes with its story from below; only the sum of many has none.
trait UnlessTold<T> {
    fn unless_told(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> UnlessTold<T> for Result<T> {
    fn unless_told(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| if e.details().context.is_empty() { e.context(what()) } else { e })
    }
}

impl Fleet {
    /// Copies a file or folder to every node.
    pub async fn put(&self, nodes: &NodeSet, local: &Path, remote: &str, options: &PutOptions) -> Result<()> {
        let done = self.all(nodes, |fleet, node| {
            let (local, remote, options) = (local.to_owned(), remote.to_owned(), options.clone());
            async move { fleet.client.put(&node.endpoint, &local, &remote, &options, &fleet.cx).await }
        });
        done.await.map(|_| ()).unless_told(|| format!("copying {} to {remote}", local.display()))
    }

    /// Copies a file or folder of exactly one node to this machine.
    pub async fn get(&self, nodes: &NodeSet, remote: &str, local: &Path, options: &GetOptions) -> Result<()> {
        let node = nodes.one()?;
        let got = self.client.get(&node.endpoint, remote, local, options, &self.cx).await;
        got.map(|_| ())
    }

    /// Copies a file or folder of every node to `<local>/<node>/<its name>`.
    pub async fn collect(&self, nodes: &NodeSet, remote: &str, local: &Path, options: &GetOptions) -> Result<()> {
        let name = Path::new(remote.trim_end_matches('/')).file_name().map(PathBuf::from);
        let name = name.ok_or_else(|| Error::usage(format!("\"{remote}\" does not name a file or folder to collect")))?;
        let done = self.all(nodes, |fleet, node| {
            let (remote, target, options) = (remote.to_owned(), local.join(&node.name).join(&name), options.clone());
            async move { fleet.client.get(&node.endpoint, &remote, &target, &options, &fleet.cx).await }
        });
        done.await.map(|_| ()).unless_told(|| format!("collecting {remote} into {}", local.display()))
    }

    /// Makes a folder on every node the same as a local one; returns what was done on each.
    pub async fn mirror(&self, nodes: &NodeSet, local: &Path, remote: &str, options: &MirrorOptions) -> Result<Vec<Mirrored>> {
        let done = self.all(nodes, |fleet, node| {
            let (local, remote, options) = (local.to_owned(), remote.to_owned(), options.clone());
            async move { fleet.client.mirror(&node.endpoint, &local, &remote, &options, &fleet.cx).await }
        });
        done.await.unless_told(|| format!("mirroring {} to {remote}", local.display()))
    }

    /// The content of a file on every node.
    pub async fn read(&self, nodes: &NodeSet, path: &str, options: &GetOptions) -> Result<Vec<Vec<u8>>> {
        let done = self.all(nodes, |fleet, node| {
            let (path, options) = (path.to_owned(), options.clone());
            async move { fleet.client.read(&node.endpoint, &path, &options, &fleet.cx).await }
        });
        done.await.unless_told(|| format!("reading {path}"))
    }

    /// Writes a file on every node, whole or not at all.
    pub async fn write(&self, nodes: &NodeSet, path: &str, content: Vec<u8>, options: &PutOptions) -> Result<()> {
        let content = Bytes::from(content);
        let done = self.all(nodes, |fleet, node| {
            let (path, content, options) = (path.to_owned(), content.clone(), options.clone());
            async move { fleet.client.write(&node.endpoint, &path, content, &options, &fleet.cx).await }
        });
        done.await.map(|_| ()).unless_told(|| format!("writing {path}"))
    }

    /// Sets and removes values in a YAML file on every node, keeping the rest as it is; returns whether each changed.
    pub async fn edit_yaml(
        &self,
        nodes: &NodeSet,
        path: &str,
        edits: &[(yaml_edit::Path, Option<serde_json::Value>)],
        sudo: bool,
    ) -> Result<Vec<bool>> {
        let edits: Arc<[_]> = edits.into();
        let done = self.all(nodes, |fleet, node| {
            let (path, edits) = (path.to_owned(), edits.clone());
            async move { fleet.edit_yaml_of(&node, &path, &edits, sudo).await }
        });
        done.await.context(|| format!("editing {path}"))
    }

    async fn edit_yaml_of(
        &self,
        node: &Node,
        path: &str,
        edits: &[(yaml_edit::Path, Option<serde_json::Value>)],
        sudo: bool,
    ) -> Result<bool> {
        let old = self.client.read(&node.endpoint, path, &GetOptions { sudo, ..GetOptions::default() }, &self.cx).await?;
        let old = String::from_utf8(old).map_err(|_| Error::config(format!("{path} is not UTF-8 text")))?;
        let (new, changed) = yaml_edit::edit(&old, edits)?;
        if changed {
            let options = PutOptions { sudo, ..PutOptions::default() };
            self.client.write(&node.endpoint, path, Bytes::from(new), &options, &self.cx).await?;
        }
        Ok(changed)
    }
}
