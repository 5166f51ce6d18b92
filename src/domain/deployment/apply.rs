//! Makes a deployment what the plan says.

use super::contact;
use super::plan::{Action, Plan, compare};
use super::wait::Reach;
use super::{Deployment, Request, key_files, site};
use crate::base::cancel::Cancel;
use crate::base::endpoint::HostKeyPolicy;
use crate::base::error::{Error, Kind, Result, ResultExt};
use crate::base::event::Cx;
use crate::domain::config::{Config, HostKeys, ProviderKind};
use crate::transport::provider::{Fate, Fixture, NodeFound, NodeSpec, NodeStatus, Site};
use crate::transport::state::journal::{Entry, What};
use crate::transport::state::lock::Lock;
use crate::transport::state::{NodeRecord, Record, Store, ssh_files};
use uuid::Uuid;

/// Whether to stay until every node answers.
#[derive(Clone, Copy)]
pub enum Wait<'a> {
    /// Return when the nodes are asked for; contact none of them.
    No,
    UntilAllAnswer(&'a dyn Reach),
}

/// Does what the plan shows. When that is no longer what it takes, does nothing and says what changed meanwhile.
pub async fn apply(request: &Request, shown: &Plan, wait: Wait<'_>, cx: &Cx) -> Result<Deployment> {
    let deployment = {
        let lock = request.store.lock_new(&format!("opsrun provision {}", request.name()))?;
        let (record, plan) = begin(request, shown, &lock, cx).await?;
        match change(request, record, &plan, &lock, cx).await {
            Err(error) if plan.new && nothing_made(request)? => {
                // Another was quicker, or the very first call was refused: there is no deployment.
                request.store.remove(lock)?;
                return Err(error.begun());
            }
            other => other.map_err(Error::begun)?,
        }
    };
    // The lock is given back: waiting may take long, and changes nothing that others do not.
    if let Wait::UntilAllAnswer(reach) = wait {
        return contact::reach_all(deployment, &*request.provider, reach, cx).await.map_err(Error::begun);
    }
    Ok(deployment)
}

/// Compares again, now that nobody else can change anything, and writes down who the deployment is.
async fn begin(request: &Request, shown: &Plan, lock: &Lock, cx: &Cx) -> Result<(Record, Plan)> {
    let store = &request.store;
    let old = store.read()?;
    request.check(old.as_ref())?;
    let found = if let Some(record) = &old {
        request.provider.list(&site(store, record, &request.config), cx).await?
    } else {
        refuse_foreign_files(request)?;
        Vec::new()
    };
    let mut plan = compare(request, old.as_ref(), &found)?;
    refuse_losses(request, &plan)?;
    request.check_cost(&plan)?;
    let mut record = old.unwrap_or_else(|| request.record(Uuid::new_v4()));
    plan.resources = request.provider.survey(&site(store, &record, &request.config), &plan.specs, cx).await?.fixtures;
    refuse_surprises(shown, &plan)?;
    record.inputs.clone_from(&request.inputs);
    record.environment.clone_from(&request.environment);
    record.bake.clone_from(&request.bake);
    record.config = request.config.to_json();
    record.images.clone_from(&shown.images);
    record.extended = request.extended;
    // Before anything is made: whatever happens from here on, the UUID finds it again.
    store.write(&record, lock)?;
    store.write_file("deployment.yml", &deployment_yml(&request.config, &record)?, lock)?;
    if request.config.provider != ProviderKind::Static || request.config.private_key_path.is_some() {
        key_files(store, &request.config).make(store.dir(), &format!("opsrun-{}", record.name))?;
    }
    Ok((record, plan))
}

/// Whether the journal shows that calls were made to a cloud, and that each of them came to nothing.
fn nothing_made(request: &Request) -> Result<bool> {
    let entries = request.store.journal().read()?;
    let calls = entries.iter().filter(|e| matches!(e.what, What::Call { .. }));
    let fruitless =
        |call: &Entry| entries.iter().any(|e| e.id == call.id && matches!(&e.what, What::Reply { ids, .. } if ids.is_empty()));
    let mut outcomes = calls.map(fruitless).peekable();
    Ok(outcomes.peek().is_some() && outcomes.all(|nothing| nothing))
}

/// A folder without state that holds more than a crash in its first moments could have left is not ours to fill.
fn refuse_foreign_files(request: &Request) -> Result<()> {
    let dir = request.store.dir();
    if let Some(file) = super::destroy::foreign_file(dir) {
        return Err(Error::new(Kind::Io, format!("{} exists and has no state.json, but it has {file}", dir.display()))
            .hint("If it was a deployment, bring back its state.json; otherwise move the folder away."));
    }
    Ok(())
}

async fn change(request: &Request, mut record: Record, plan: &Plan, lock: &Lock, cx: &Cx) -> Result<Deployment> {
    let (store, provider) = (&request.store, &*request.provider);
    let site = site(store, &record, &request.config);
    let names = |actions: &[Action]| -> Vec<String> {
        plan.changes.iter().filter(|c| actions.contains(&c.action)).map(|c| c.node.clone()).collect()
    };
    let work = Work {
        remove: names(&[Action::Remove, Action::Change]),
        make: plan.specs_of(&[Action::Create, Action::Change, Action::Repair, Action::Adjust, Action::Stop]),
        fixtures: !plan.resources.is_empty(),
    };
    if work.is_nothing() {
        let found = provider.list(&site, cx).await?;
        return finish(&request.store, &request.config, record, found, lock);
    }

    let journal = store.journal();
    let intent = journal.intend("provision", work.make.iter().map(|s| s.name.clone()).collect(), work.remove.clone())?;
    let done = carry_out(request, &site, &work, cx).await;
    // Even after a failure or Ctrl-C the folder must say what there is; so this part cannot be cancelled.
    let after = Cx::new(Cancel::new(), cx.events.clone());
    let listed = provider.list(&site, &after).await;
    if done.is_ok() {
        record.tainted.retain(|node| !work.remove.contains(node));
    }
    let result = match (done, listed) {
        (Ok(()), Ok(found)) => finish(store, &request.config, record, found, lock),
        (Err(e), Ok(found)) => {
            // The first failure is the one to tell.
            let _ = finish(store, &request.config, record, found, lock);
            Err(e.hint("What was made is kept. Run the same command again to go on, or `opsrun deprovision` to remove it."))
        }
        (Err(e), Err(_)) | (Ok(()), Err(e)) => Err(e),
    };
    // Where both go wrong (the disk is full), the work's own failure is the one to tell.
    let noted = journal.outcome(intent, &result);
    result.and_then(|deployment| noted.map(|()| deployment))
}

/// What there is to do.
struct Work {
    remove: Vec<String>,
    make: Vec<NodeSpec>,
    /// Something that is no node is to be made or changed.
    fixtures: bool,
}

impl Work {
    fn is_nothing(&self) -> bool {
        self.remove.is_empty() && self.make.is_empty() && !self.fixtures
    }
}

async fn carry_out(request: &Request, site: &Site, work: &Work, cx: &Cx) -> Result<()> {
    let Work { remove, make, fixtures } = work;
    let provider = &*request.provider;
    if !remove.is_empty() {
        provider.destroy(site, remove, cx).await.context(|| format!("removing {}", remove.join(", ")))?;
    }
    if !make.is_empty() || *fixtures {
        provider.create(site, make, cx).await.context(|| format!("creating the nodes of {}", request.name()))?;
    }
    // What appeared since the plan was made is of a command that was cut off: nobody has used it, nobody wants it.
    let wanted = request.specs();
    let late: Vec<String> = provider.list(site, cx).await?.into_iter().map(|f| f.spec.name).collect();
    let late: Vec<String> = late.into_iter().filter(|n| wanted.iter().all(|s| s.name != *n)).collect();
    if late.is_empty() {
        return Ok(());
    }
    provider.destroy(site, &late, cx).await.context(|| format!("removing {}", late.join(", ")))
}

/// Writes down what there is now.
pub(super) fn finish(
    store: &Store,
    config: &Config,
    mut record: Record,
    found: Vec<NodeFound>,
    lock: &Lock,
) -> Result<Deployment> {
    let nodes = node_records(config, &site(store, &record, config), &record.nodes, found);
    let old = std::mem::replace(&mut record.nodes, nodes);
    let dir = store.dir();
    let before = std::fs::read_to_string(dir.join("known_hosts")).unwrap_or_default();
    store.write_file("known_hosts", &ssh_files::known_hosts(&before, &old, &record.nodes), lock)?;
    store.write_file("ssh_config", &ssh_files::ssh_config(&record.name, dir, &record.nodes), lock)?;
    store.write_file("inventory", &ssh_files::inventory(&record.name, dir, &record.nodes), lock)?;
    store.write(&record, lock)?;
    Deployment::from_record(store.clone(), record)
}

/// The nodes in the config's order, each with an endpoint that follows the config's word on keys and host keys.
/// What was learned of a machine stays with it.
fn node_records(config: &Config, site: &Site, old: &[NodeRecord], mut found: Vec<NodeFound>) -> Vec<NodeRecord> {
    let rank = |f: &NodeFound| {
        let group = config.groups.iter().position(|g| g.name == f.spec.group).unwrap_or(usize::MAX);
        (group, f.spec.group.clone(), f.spec.index)
    };
    found.sort_by_key(rank);
    found
        .into_iter()
        .map(|NodeFound { spec, status, mut endpoint, host_keys, first_contact }| {
            let id = spec.options.get("id").and_then(serde_json::Value::as_str).map(str::to_owned);
            let known = old.iter().find(|n| id.is_some() && n.id == id);
            let known = known.map(|n| (n.host_keys.clone(), n.first_contact.clone()));
            let (host_keys, first_contact) = known.unwrap_or((host_keys, first_contact));
            endpoint.name.clone_from(&spec.name);
            if let Some(key) = &config.private_key_path {
                endpoint.keys = vec![key.clone()];
                endpoint.agent = false;
            } else if endpoint.keys.is_empty() && site.private_key.exists() {
                endpoint.keys = vec![site.private_key.clone()];
            }
            if let Some(known) = &config.known_hosts {
                endpoint.known_hosts = vec![known.clone()];
                endpoint.host_keys = HostKeyPolicy::Strict;
            } else if endpoint.known_hosts.is_empty() {
                endpoint.known_hosts = vec![site.dir.join("known_hosts")];
                let shown = host_keys.is_empty() && first_contact.is_none();
                endpoint.host_keys = if shown { HostKeyPolicy::Pin } else { HostKeyPolicy::Strict };
            }
            if let Some(policy) = config.host_keys.and_then(HostKeys::policy) {
                endpoint.host_keys = policy;
            }
            let stopped = status != NodeStatus::Running;
            let scaling_group = spec.options.get("scaling_group").and_then(serde_json::Value::as_str).map(str::to_owned);
            let NodeSpec { name, group, index, .. } = spec;
            NodeRecord { name, group, index, id, endpoint, host_keys, first_contact, scaling_group, stopped }
        })
        .collect()
}

/// What would be lost for good needs a word of its own from the user.
pub fn refuse_losses(request: &Request, plan: &Plan) -> Result<()> {
    let lost: Vec<String> =
        plan.changes.iter().filter_map(|c| c.loses.as_ref().map(|why| format!("{} ({why})", c.node))).collect();
    if lost.is_empty() || request.replace {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, format!("data would be lost on {}", lost.join(", ")))
        .hint("If that is what you want, say so: --replace. Otherwise take the change out of the config."))
}

pub(super) fn deployment_yml(config: &Config, record: &Record) -> Result<String> {
    let body = serde_saphyr::to_string(&record.config)
        .map_err(|e| Error::internal(format!("the config cannot be written as YAML: {e}")))?;
    let inputs: String = record.inputs.iter().map(|p| format!("#   {}\n", p.display())).collect();
    let secrets: Vec<&str> = config.secret_names().collect();
    let secrets =
        if secrets.is_empty() { String::new() } else { format!("# Secrets stay in those files: {}\n", secrets.join(", ")) };
    Ok(format!(
        "# Deployment {}, as merged and written by opsrun from:\n{inputs}{secrets}# Change those and run: opsrun provision {}\n{body}",
        record.name, record.name
    ))
}

/// Fails if anything would happen that was not shown. Less than that is fine: a command that was cut off may have left
/// work to a supervisor, which finishes it in its own time.
fn refuse_surprises(shown: &Plan, now: &Plan) -> Result<()> {
    let word = |action: Action| match action {
        Action::Create => "create",
        Action::Remove => "remove",
        Action::Change => "replace",
        Action::Repair => "bring back",
        Action::Adjust => "adjust",
        Action::Stop => "stop",
        Action::Unchanged => "unchanged",
    };
    let mut differences: Vec<String> = now
        .changes
        .iter()
        .filter_map(|change| {
            let before = shown.changes.iter().find(|c| c.node == change.node).map(|c| c.action);
            let expected = match change.action {
                Action::Unchanged => true,
                // To make it, whole or from what is there.
                Action::Create | Action::Repair => matches!(before, Some(Action::Create | Action::Repair)),
                // It may have come up meanwhile.
                Action::Adjust => matches!(before, Some(Action::Adjust | Action::Repair | Action::Create)),
                other => before == Some(other),
            };
            let was = before.map_or("not there", word);
            (!expected).then(|| format!("{}: {was}, now {}", change.node, word(change.action)))
        })
        .collect();
    let new = now.changes.iter().filter(|c| c.loses.is_some());
    differences.extend(new.filter_map(|c| {
        let known = shown.changes.iter().any(|s| s.node == c.node && s.loses == c.loses);
        (!known).then(|| format!("{}: {}", c.node, c.loses.as_deref().unwrap_or_default()))
    }));
    differences.extend(now.resources.iter().filter(|f| !f.overdue).filter_map(|now| {
        // To make it covers to bring it up to date: it may have come to light meanwhile.
        let same = |s: &Fixture| s.what == now.what && (s == now || s.fate == Fate::Create);
        let word = match now.fate {
            Fate::Create => "create",
            Fate::Change => "change",
            Fate::Remove => "remove",
        };
        (!shown.resources.iter().any(same)).then(|| format!("{word} {}: {}", now.what, now.reason))
    }));
    if differences.is_empty() {
        return Ok(());
    }
    let what = differences.join("; ");
    Err(Error::new(Kind::Provider, format!("deployment \"{}\" changed since the plan was shown ({what})", now.name))
        .hint("Nothing was done. Run the command again to see the plan as it is now."))
}
