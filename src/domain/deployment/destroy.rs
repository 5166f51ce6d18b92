//! Removes a deployment: its nodes, all that carries its UUID, and last its folder.

use super::{Fixture, config_of, provider_of, site};
use crate::base::error::{Error, Kind, Result, ResultExt};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::transport::provider::Provider;
use crate::transport::state::{self, Store};
use std::path::Path;

/// What the removal of a deployment would take from where its nodes are, in the words of its provider. Reads only; empty where
/// there is nothing but nodes, or no such deployment.
pub async fn belongings(project: &Project, name: &str, cx: &Cx) -> Result<Vec<Fixture>> {
    let store = Store::new(&project.deployments(), name)?;
    let Some(record) = store.read()? else { return Ok(Vec::new()) };
    let provider = provider_of(&store, &record)?;
    provider.belongings(&site(&store, &record, &config_of(&record)?), cx).await
}

/// Removes the deployment. Returns the names of its nodes, or none when there was no such deployment.
pub async fn destroy(project: &Project, name: &str, cx: &Cx) -> Result<Option<Vec<String>>> {
    let deployments = project.deployments();
    let store = Store::new(&deployments, name)?;
    state::sweep(&deployments);
    destroy_with(&store, None, cx).await
}

pub(super) async fn destroy_with(store: &Store, provider: Option<&dyn Provider>, cx: &Cx) -> Result<Option<Vec<String>>> {
    let Some(lock) = store.lock(&format!("opsrun deprovision {}", store.name()))? else { return Ok(None) };
    let Some(record) = store.read()? else {
        let dir = store.dir();
        if let Some(file) = foreign_file(dir) {
            return Err(Error::new(Kind::Io, format!("{} has no state.json, so nobody knows what belongs to it", dir.display()))
                .hint(format!("It holds {file}. Bring back its state.json, or remove the folder yourself.")));
        }
        store.remove(lock)?;
        return Ok(Some(Vec::new()));
    };
    let registered;
    let provider = if let Some(given) = provider {
        given
    } else {
        registered = provider_of(store, &record)?;
        &*registered
    };
    let site = site(store, &record, &config_of(&record)?);
    let found = provider.list(&site, cx).await?;
    let mut names: Vec<String> = record.nodes.iter().map(|n| n.name.clone()).collect();
    names.extend(found.into_iter().map(|f| f.spec.name).filter(|n| record.nodes.iter().all(|r| r.name != *n)));
    let journal = store.journal();
    // The UUID is all that a removal needs to be gone on with, so a full disk must not keep it from making room.
    let intent = journal.intend("deprovision", Vec::new(), names.clone());
    let work = async {
        provider.destroy(&site, &names, cx).await?;
        provider.destroy_all(&site, cx).await
    };
    let done = work.await.context(|| format!("removing deployment {}", record.name));
    if done.is_err() {
        if let Ok(intent) = intent {
            let _ = journal.outcome(intent, &done);
        }
        let again = || format!("Run it again to go on: opsrun deprovision {}", record.name);
        return done.hint(again).map(|()| None).map_err(Error::begun);
    }
    // The folder goes last, and its journal with it.
    store.remove(lock)?;
    Ok(Some(names))
}

/// Returns a file that a crash in the first moments of a deployment cannot have left in its folder.
pub(super) fn foreign_file(dir: &Path) -> Option<String> {
    let ours = |name: &str| name == "lock" || name == ".state.json.new";
    let entries = std::fs::read_dir(dir).ok()?;
    entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).find(|name| !ours(name))
}
