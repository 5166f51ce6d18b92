//! Turning nodes off and on, and keeping one's disk as an image, where the provider can.

use super::apply::finish;
use super::{Deployment, config_of, provider_of, site};
use crate::base::error::{Error, Kind, Result, ResultExt};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::transport::provider::{NewImage, NodeSpec, Provider, Site};
use crate::transport::state::lock::Lock;
use crate::transport::state::{self, Record, Store};

/// What happens to the nodes' power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Power {
    /// Off until somebody turns them on. `at_once`: without shutting down, as when a plug is pulled.
    Stop {
        at_once: bool,
    },
    Start,
    /// Off and on again.
    Reboot {
        at_once: bool,
    },
}

impl Power {
    fn word(self) -> &'static str {
        match self {
            Self::Stop { .. } => "stop",
            Self::Start => "start",
            Self::Reboot { .. } => "reboot",
        }
    }
}

/// Turns these nodes off or on. Those that are already as wanted are left alone. Returns the deployment as it is then.
pub async fn power(project: &Project, name: &str, nodes: &[String], what: Power, cx: &Cx) -> Result<Deployment> {
    let word = what.word();
    let Held { store, record, provider, site, lock } = hold(project, name, word)?;
    let specs: Vec<NodeSpec> = provider.list(&site, cx).await?.into_iter().map(|found| found.spec).collect();
    let specs: Vec<NodeSpec> = nodes.iter().map(|node| find(&specs, node, name)).collect::<Result<_>>()?;
    let journal = store.journal();
    let intent = journal.intend(word, Vec::new(), Vec::new())?;
    let work = async {
        if let Power::Stop { at_once } | Power::Reboot { at_once } = what {
            provider.stop(&site, nodes, at_once, cx).await?;
        }
        if !matches!(what, Power::Stop { .. }) {
            provider.create(&site, &specs, cx).await?;
        }
        let found = provider.list(&site, cx).await?;
        finish(&store, &config_of(&record)?, record, found, &lock)
    };
    let done = work.await.context(|| format!("{word} of nodes of {name}"));
    journal.outcome(intent, &done)?;
    done.map_err(Error::begun)
}

/// Keeps the disk of a stopped node as an image.
pub async fn save_image(project: &Project, name: &str, node: &str, image: &NewImage, cx: &Cx) -> Result<()> {
    let held = hold(project, name, "image save")?;
    let specs: Vec<NodeSpec> = held.provider.list(&held.site, cx).await?.into_iter().map(|found| found.spec).collect();
    find(&specs, node, name)?;
    held.provider.save_image(&held.site, node, image, cx).await.context(|| format!("saving an image of {node}"))
}

fn find(specs: &[NodeSpec], node: &str, deployment: &str) -> Result<NodeSpec> {
    specs.iter().find(|spec| spec.name == node).cloned().ok_or_else(|| {
        Error::new(Kind::NotFound, format!("node {node} of deployment \"{deployment}\" does not exist"))
            .hint(format!("Make it: opsrun provision {deployment}"))
    })
}

/// A deployment that nobody else may change meanwhile.
struct Held {
    store: Store,
    record: Record,
    provider: Box<dyn Provider>,
    site: Site,
    lock: Lock,
}

fn hold(project: &Project, name: &str, word: &str) -> Result<Held> {
    let deployments = project.deployments();
    let store = Store::new(&deployments, name)?;
    let lock = store.lock(&format!("opsrun {word} {name}"))?;
    let (Some(lock), Some(record)) = (lock, store.read()?) else { return Err(state::not_found(&deployments, name)) };
    let (provider, site) = (provider_of(&store, &record)?, site(&store, &record, &config_of(&record)?));
    Ok(Held { store, record, provider, site, lock })
}
