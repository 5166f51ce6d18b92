//! Opening a deployment for use: nodes that died with this machine, or whose supervisor was killed, are brought back first.

use super::apply::finish;
use super::wait::Reach;
use super::{Deployment, contact, hosts, provider_of, site};
use crate::base::error::{Kind, Result, ResultExt};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::domain::config::ProviderKind;
use crate::domain::fleet::fold_names;
use crate::transport::provider::{NodeFound, NodeStatus, Provider};
use std::time::{Duration, Instant};

/// How long to wait for another process that is changing the deployment: most likely it brings the nodes back, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens the deployment and makes sure that nodes which are processes of this machine are up, and that new machines have shown
/// who they are.
pub async fn open_awake(project: &Project, name: &str, reach: &dyn Reach, cx: &Cx) -> Result<Deployment> {
    let deployment = Deployment::open(project, name)?;
    if deployment.config.provider == ProviderKind::Aws {
        let deployment =
            if deployment.config.stack.is_some() { hosts::looked_at_again(deployment, cx).await? } else { deployment };
        return contact::catch_up(deployment, reach, cx).await;
    }
    let provider = provider_of(&deployment.store, &deployment.record)?;
    if !provider.runs_here() {
        return Ok(deployment);
    }
    let start = Instant::now();
    loop {
        let deployment = Deployment::open(project, name)?;
        let found = list(&deployment, &*provider, cx).await?;
        if !asleep(&found) {
            tell_of_stopped(name, &found, cx);
            return Ok(deployment);
        }
        match wake(&deployment, &*provider, cx).await {
            Err(e) if e.kind() == Kind::Locked && start.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                cx.cancel.check()?;
            }
            other => return other.context(|| format!("bringing back the nodes of deployment {name}")),
        }
    }
}

fn asleep(found: &[NodeFound]) -> bool {
    found.iter().any(|n| n.status == NodeStatus::Stopped)
}

/// Those that were stopped on purpose are left alone.
fn tell_of_stopped(name: &str, found: &[NodeFound], cx: &Cx) {
    let off: Vec<&str> = found.iter().filter(|n| n.status == NodeStatus::Off).map(|n| n.spec.name.as_str()).collect();
    if !off.is_empty() {
        cx.events.info(format!("stopped: {} (opsrun node start {name} {})", fold_names(&off), off.join(",")));
    }
}

async fn list(deployment: &Deployment, provider: &dyn Provider, cx: &Cx) -> Result<Vec<NodeFound>> {
    provider.list(&site(&deployment.store, &deployment.record, &deployment.config), cx).await
}

/// Starts what is down. Under the lock: a deployment that is being removed must not come back.
async fn wake(deployment: &Deployment, provider: &dyn Provider, cx: &Cx) -> Result<Deployment> {
    let store = &deployment.store;
    let lock = store.lock(&format!("opsrun, bringing back the nodes of {}", deployment.name()))?;
    let (Some(lock), Some(record)) = (lock, store.read()?) else {
        return Err(crate::transport::state::not_found(store.dir().parent().unwrap_or(store.dir()), deployment.name()));
    };
    let deployment = Deployment::from_record(store.clone(), record)?;
    let site = site(store, &deployment.record, &deployment.config);
    let down = provider.list(&site, cx).await?.into_iter().filter(|n| n.status == NodeStatus::Stopped);
    let specs: Vec<_> = down.map(|n| n.spec).collect();
    if !specs.is_empty() {
        cx.events.warn(format!(
            "{} of deployment {} had ended unasked: starting again; what ran there is gone",
            fold_names(&specs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>()),
            deployment.name()
        ));
        provider.create(&site, &specs, cx).await?;
    }
    // They may have come back at another port.
    let found = provider.list(&site, cx).await?;
    finish(store, &deployment.config, deployment.record, found, &lock)
}
