//! What there is, for people and programs.

use super::throw_away::is_left_over;
use super::{Deployment, provider_of, site};
use crate::base::error::Result;
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::transport::provider::{NodeFound, NodeStatus, Provider};
use crate::transport::state::lock::{self, Holder};
use crate::transport::state::{self, Store};
use jiff::Timestamp;
use serde::Serialize;
use std::path::PathBuf;

/// Whether a node can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    Running,
    /// Exists but does not run: `provision` brings it back.
    Stopped,
    /// Was made and is gone: `provision` makes it again.
    Missing,
}

/// One node in a status.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeStatusLine {
    pub name: String,
    pub group: String,
    pub index: usize,
    pub address: String,
    pub port: u16,
    pub user: String,
    pub status: NodeState,
    /// What its provider calls it, where that is another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A deployment as it stands. Programs read this as JSON: fields may be added, none change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Status {
    pub name: String,
    pub uuid: String,
    pub provider: String,
    pub created: Timestamp,
    pub dir: PathBuf,
    pub inputs: Vec<PathBuf>,
    pub nodes: Vec<NodeStatusLine>,
    /// Folders of earlier script runs, oldest first.
    pub runs: Vec<PathBuf>,
    /// The change that was cut off before its end, if the last one was: `provision` or `deprovision`.
    pub interrupted: Option<String>,
    /// Who is changing it right now.
    pub holder: Option<Holder>,
}

/// Asks the provider how each node is.
pub async fn status(project: &Project, name: &str, cx: &Cx) -> Result<Status> {
    let deployment = Deployment::open(project, name)?;
    let provider = provider_of(&deployment.store, &deployment.record)?;
    status_with(&deployment, &*provider, cx).await
}

pub(super) async fn status_with(deployment: &Deployment, provider: &dyn Provider, cx: &Cx) -> Result<Status> {
    let found = provider.list(&site(&deployment.store, &deployment.record, &deployment.config), cx).await?;
    let state = |name: &str| match found.iter().find(|f| f.spec.name == name).map(|f| f.status) {
        Some(NodeStatus::Running) => NodeState::Running,
        Some(NodeStatus::Stopped | NodeStatus::Off) => NodeState::Stopped,
        None => NodeState::Missing,
    };
    let id = |name: &str| {
        let found = found.iter().find(|f| f.spec.name == name)?;
        found.spec.options.get("id").and_then(|id| id.as_str()).map(str::to_owned)
    };
    let mut nodes: Vec<NodeStatusLine> = deployment
        .nodes()
        .iter()
        .map(|n| NodeStatusLine {
            name: n.name.clone(),
            group: n.group.clone(),
            index: n.index,
            address: n.endpoint.host.clone(),
            port: n.endpoint.port,
            user: n.endpoint.user.clone(),
            status: state(&n.name),
            id: id(&n.name),
        })
        .collect();
    // Made by a command that was cut off before it could write them down.
    let unknown = found.iter().filter(|f| deployment.nodes().iter().all(|n| n.name != f.spec.name));
    nodes.extend(unknown.map(|f: &NodeFound| NodeStatusLine {
        name: f.spec.name.clone(),
        group: f.spec.group.clone(),
        index: f.spec.index,
        address: f.endpoint.host.clone(),
        port: f.endpoint.port,
        user: f.endpoint.user.clone(),
        status: state(&f.spec.name),
        id: id(&f.spec.name),
    }));
    let holder = lock::holder(deployment.dir());
    let unfinished = deployment.store.journal().unfinished()?.map(|e| e.action);
    Ok(Status {
        name: deployment.name().to_owned(),
        uuid: deployment.uuid().to_string(),
        provider: deployment.provider().to_owned(),
        created: deployment.created(),
        dir: deployment.dir().to_owned(),
        inputs: deployment.inputs().to_owned(),
        nodes,
        runs: deployment.runs(),
        interrupted: unfinished.filter(|_| holder.is_none()),
        holder,
    })
}

/// How many nodes a group has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GroupCount {
    pub name: String,
    pub count: usize,
}

const LEFT_OVER: &str = "left by a role test that was killed: the next one removes it";

/// One line of a list of deployments, from its folder alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Summary {
    pub name: String,
    /// None: its making was cut off before it had any state.
    pub provider: Option<String>,
    pub created: Option<Timestamp>,
    /// Nodes of each group, in the config's order.
    pub groups: Vec<GroupCount>,
    pub nodes: usize,
    pub dir: PathBuf,
    /// What is wrong with its folder, if something is.
    pub problem: Option<String>,
}

/// Lists all deployments, sorted by name. One whose folder is broken is listed with its problem.
pub fn list(project: &Project) -> Result<Vec<Summary>> {
    let deployments = project.deployments();
    let summary = |name: String| {
        let store = Store::new(&deployments, &name)?;
        let dir = store.dir().to_owned();
        let left_over = is_left_over(project, &name);
        let blank =
            |problem| Summary { name, provider: None, created: None, groups: Vec::new(), nodes: 0, dir, problem: Some(problem) };
        Ok(match store.read() {
            Err(e) => blank(e.message().to_owned()),
            Ok(None) => blank("it was never finished".to_owned()),
            Ok(Some(record)) => {
                let mut groups: Vec<GroupCount> = Vec::new();
                for node in &record.nodes {
                    match groups.iter_mut().find(|g| g.name == node.group) {
                        Some(group) => group.count += 1,
                        None => groups.push(GroupCount { name: node.group.clone(), count: 1 }),
                    }
                }
                Summary {
                    provider: Some(record.provider),
                    created: Some(record.created),
                    groups,
                    nodes: record.nodes.len(),
                    problem: left_over.then(|| LEFT_OVER.to_owned()),
                    ..blank(String::new())
                }
            }
        })
    };
    state::names(&deployments)?.into_iter().map(summary).collect()
}
