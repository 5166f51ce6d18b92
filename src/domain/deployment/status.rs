//! What there is, for people and programs.

use super::cost::{self, Cost};
use super::throw_away::is_left_over;
use super::{Deployment, config_of, expiry, provider_of, site};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::domain::config::Config;
use crate::transport::provider::{NodeFound, NodeStatus, Provider};
use crate::transport::state::lock::{self, Holder};
use crate::transport::state::{self, Store};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a list waits for a provider.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// What sort of machine it is, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
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
    /// Null: it does not expire.
    pub expires_at: Option<Timestamp>,
    /// Why clean-ups spare it.
    pub keep: Option<String>,
    /// Where it is, if it is in a cloud.
    pub region: Option<String>,
    /// What it costs by the hour; null where nothing is rented or the config names no prices.
    pub cost: Option<Cost>,
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
    let option = |name: &str, key: &str| {
        let found = found.iter().find(|f| f.spec.name == name)?;
        found.spec.options.get(key).and_then(|id| id.as_str()).map(str::to_owned)
    };
    let id = |name: &str| option(name, "id");
    let instance_type = |name: &str| option(name, "instance_type");
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
            instance_type: instance_type(&n.name),
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
        instance_type: instance_type(&f.spec.name),
        id: id(&f.spec.name),
    }));
    let holder = lock::holder(deployment.dir());
    let unfinished = deployment.store.journal().unfinished()?.map(|e| e.action);
    Ok(Status {
        name: deployment.name().to_owned(),
        uuid: deployment.uuid().to_string(),
        provider: deployment.provider().to_owned(),
        created: deployment.created(),
        expires_at: expiry::of_record(&deployment.record, &deployment.config),
        keep: expiry::kept(&deployment.config),
        region: deployment.config.region.clone(),
        cost: cost_of(&deployment.config, &found, cx),
        dir: deployment.dir().to_owned(),
        inputs: deployment.inputs().to_owned(),
        nodes,
        runs: deployment.runs(),
        interrupted: unfinished.filter(|_| holder.is_none()),
        holder,
    })
}

/// Prices that cannot be read are no reason to say nothing at all.
fn cost_of(config: &Config, found: &[NodeFound], cx: &Cx) -> Option<Cost> {
    match cost::prices(config) {
        Ok(prices) => prices.map(|prices| cost::of_found(&prices, found.iter())),
        Err(e) => {
            cx.events.warn(format!("the cost is not known: {}", e.message()));
            None
        }
    }
}

/// How many nodes a group has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GroupCount {
    pub name: String,
    pub count: usize,
}

const LEFT_OVER: &str = "left by a role test that was killed: the next one removes it";

/// One line of a list of deployments, from its folder alone, or with what its provider says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Summary {
    pub name: String,
    /// None: its making was cut off before it had any state.
    pub provider: Option<String>,
    pub created: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub keep: Option<String>,
    pub region: Option<String>,
    /// Nodes of each group, in the config's order.
    pub groups: Vec<GroupCount>,
    pub nodes: usize,
    /// Address of each node.
    pub addresses: BTreeMap<String, String>,
    /// How many of them run; null when that is not known.
    pub running: Option<usize>,
    pub cost: Option<Cost>,
    /// Why its provider could not be asked.
    pub unreached: Option<String>,
    pub dir: PathBuf,
    /// What is wrong with its folder, if something is.
    pub problem: Option<String>,
}

/// Lists all deployments, and asks all their providers at once. One that does not answer in time is listed without.
pub async fn overview(project: &Project, cx: &Cx) -> Result<Vec<Summary>> {
    let asked = list(project)?.into_iter().map(|mut summary| async move {
        if summary.problem.is_some() {
            return summary;
        }
        let answer = tokio::time::timeout(PATIENCE, status(project, &summary.name, cx)).await;
        let late = || Error::new(Kind::Timeout, format!("no answer within {} s", PATIENCE.as_secs()));
        match answer.unwrap_or_else(|_| Err(late())) {
            Ok(status) => {
                summary.running = Some(status.nodes.iter().filter(|n| n.status == NodeState::Running).count());
                summary.nodes = status.nodes.len();
                summary.cost = status.cost;
                summary.addresses = status.nodes.into_iter().map(|n| (n.name, n.address)).collect();
            }
            Err(e) => summary.unreached = Some(e.message().to_owned()),
        }
        summary
    });
    let all = futures::future::join_all(asked).await;
    cx.cancel.check()?;
    Ok(all)
}

/// Lists all deployments, sorted by name. One whose folder is broken is listed with its problem.
pub fn list(project: &Project) -> Result<Vec<Summary>> {
    let deployments = project.deployments();
    let summary = |name: String| {
        let store = Store::new(&deployments, &name)?;
        let dir = store.dir().to_owned();
        let left_over = is_left_over(project, &name);
        let blank = |problem| Summary { name, dir, problem: Some(problem), ..Summary::default() };
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
                let config = config_of(&record).ok();
                Summary {
                    expires_at: config.as_ref().and_then(|c| expiry::of_record(&record, c)),
                    keep: config.as_ref().and_then(expiry::kept),
                    region: config.and_then(|c| c.region),
                    addresses: record.nodes.iter().map(|n| (n.name.clone(), n.endpoint.host.clone())).collect(),
                    nodes: record.nodes.len(),
                    provider: Some(record.provider),
                    created: Some(record.created),
                    groups,
                    problem: left_over.then(|| LEFT_OVER.to_owned()),
                    ..blank(String::new())
                }
            }
        })
    };
    state::names(&deployments)?.into_iter().map(summary).collect()
}
