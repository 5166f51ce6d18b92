//! Opening a deployment for use: nodes that died with this machine, or whose supervisor was killed, are brought back first.

use super::{Deployment, provider_of, site};
use crate::base::error::{Result, ResultExt};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::transport::provider::{NodeSpec, NodeStatus, Provider};

/// Opens the deployment and makes sure that nodes which are processes of this machine are up.
pub async fn open_awake(project: &Project, name: &str, cx: &Cx) -> Result<Deployment> {
    let deployment = Deployment::open(project, name)?;
    let provider = provider_of(&deployment.record)?;
    if provider.runs_here() {
        wake(&deployment, &*provider, cx).await.context(|| format!("bringing back the nodes of deployment {name}"))?;
    }
    Ok(deployment)
}

async fn wake(deployment: &Deployment, provider: &dyn Provider, cx: &Cx) -> Result<()> {
    let site = site(&deployment.store, &deployment.record, &deployment.config);
    let found = provider.list(&site, cx).await?;
    let asleep: Vec<NodeSpec> = found.into_iter().filter(|n| n.status == NodeStatus::Stopped).map(|n| n.spec).collect();
    if asleep.is_empty() {
        return Ok(());
    }
    cx.events.warn(format!(
        "the nodes of deployment {} were down (their supervisor had ended): starting them again; what ran on them is gone",
        deployment.name()
    ));
    provider.create(&site, &asleep, cx).await.map(drop)
}
