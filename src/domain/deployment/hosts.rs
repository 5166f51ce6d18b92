//! The machines of an environment, as a deployment that is called like its stack. The stack makes and ends them; here they are
//! found, named and known, so that `ssh`, `exec`, `deploy` and scripts work on them as on any others.

use super::apply::{deployment_yml, finish};
use super::inputs::Inputs;
use super::wait::Reach;
use super::{Deployment, aws, config_of, contact, site};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::domain::config::{Config, Group, StackOf};
use crate::domain::environment::Environment;
use crate::domain::fleet::fold_names;
use crate::domain::image;
use crate::domain::node::NodeSet;
use crate::transport::provider::aws::fleet::{Fleet, Of};
use crate::transport::provider::aws::settings::Settings;
use crate::transport::provider::calls::Unwritten;
use crate::transport::provider::{NodeFound, NodeStatus, Provider};
use crate::transport::state::lock::Lock;
use crate::transport::state::{NodeRecord, Record, SCHEMA, Store};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Finds the environment's machines and writes down what there is. What is known of those that live on is kept.
pub async fn refresh(project: &Project, environment: &Environment, cx: &Cx) -> Result<Deployment> {
    let store = Store::new(&project.deployments(), &environment.stack)?;
    let old = store.read()?;
    refuse_other(&store, old.as_ref(), environment)?;
    let lock = store.lock_new(&format!("opsrun, finding the machines of {}", environment.name))?;
    let config = environment.hosts()?;
    let mut record = match store.read()? {
        Some(record) => record,
        None => new_record(environment, &config),
    };
    record.inputs = environment.paths();
    record.environment = Some(environment.name.clone());
    let provider = fleet_of(&store, &record, &config, environment)?;
    let found = provider.list(&site(&store, &record, &config), cx).await?;
    write(&store, config, record, found, &lock)
}

/// The same, and learns who those are that nobody has met yet.
pub async fn find(project: &Project, environment: &Environment, reach: &dyn Reach, cx: &Cx) -> Result<Deployment> {
    contact::catch_up(refresh(project, environment, cx).await?, reach, cx).await
}

/// Writes on these machines that they are now what the roles of their groups say, as images are marked: who looks knows which
/// are outdated. That it could not be written is a warning.
pub async fn mark(project: &Project, deployment: &Deployment, done: &NodeSet, cx: &Cx) {
    if deployment.config.stack.is_none() || done.is_empty() {
        return;
    }
    if let Err(error) = try_mark(project, deployment, done, cx).await {
        cx.events.warn(format!("what was made of {} is not written on them: {error}", fold(done)));
    }
}

async fn try_mark(project: &Project, deployment: &Deployment, done: &NodeSet, cx: &Cx) -> Result<()> {
    let environment = Environment::load(&project.root, deployment.environment().unwrap_or_default())?;
    let hashes = role_hashes(project, &environment, cx).await?;
    let fleet = fleet_for(project, &environment)?;
    for group in done.groups() {
        let Some(hash) = hashes.get(group) else { continue };
        let of_group = |n: &&NodeRecord| n.group == group && done.iter().any(|d| d.name == n.name);
        let ids: Vec<String> = deployment.record.nodes.iter().filter(of_group).filter_map(|n| n.id.clone()).collect();
        fleet.tag_role_hash(&ids, hash, cx).await?;
    }
    Ok(())
}

/// What the machines of each group with roles should be made of, as their images are marked.
pub async fn role_hashes(project: &Project, environment: &Environment, cx: &Cx) -> Result<BTreeMap<String, String>> {
    if environment.groups.iter().all(|g| g.roles.is_empty()) {
        return Ok(BTreeMap::new());
    }
    let (_, images) = image::of(project, environment, false, cx).await?;
    Ok(images.iter().filter_map(|i| Some((i.group.clone(), i.recipe()?.hash.clone()))).collect())
}

fn fold(nodes: &NodeSet) -> String {
    let names = nodes.names();
    fold_names(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Which of these nodes roles are pushed to: those that stay. The others get theirs by an image, which is told.
pub fn pushed_to(deployment: &Deployment, nodes: &NodeSet, cx: &Cx) -> Result<NodeSet> {
    let (passing, staying): (Vec<_>, Vec<_>) = nodes.iter().cloned().partition(|n| deployment.scaling_group(&n.name).is_some());
    let (passing, staying): (NodeSet, NodeSet) = (passing.into_iter().collect(), staying.into_iter().collect());
    if passing.is_empty() {
        return Ok(staying);
    }
    let environment = deployment.environment().unwrap_or("NAME");
    let what = format!("{} of auto-scaling groups get their roles by a new image", fold(&passing));
    let command = format!("opsrun manage {environment} deploy");
    if staying.is_empty() {
        return Err(Error::usage(what).hint(format!("It bakes one and rolls it out: {command}")));
    }
    cx.events.info(format!("{what}: {command}"));
    Ok(staying)
}

/// Everything about them, for a status: with what auto-scaling groups say. Writes nothing.
pub fn fleet_for(project: &Project, environment: &Environment) -> Result<Fleet> {
    let store = Store::new(&project.deployments(), &environment.stack)?;
    let config = environment.hosts()?;
    let record = store.read()?.unwrap_or_else(|| new_record(environment, &config));
    // Where there is no folder, there is nothing to write down, either.
    let settings = aws::settings(&config, Inputs::of(&record), &aws::Times::none(), false)?;
    Ok(Fleet::new(of(environment), settings, Arc::new(Unwritten::default()), known(&record.nodes)))
}

/// Forgets the machines of a stack that is gone. Fails where there still are some.
pub async fn forget(project: &Project, environment: &Environment, cx: &Cx) -> Result<()> {
    let store = Store::new(&project.deployments(), &environment.stack)?;
    let Some(record) = store.read()? else { return Ok(()) };
    refuse_other(&store, Some(&record), environment)?;
    let left = refresh(project, environment, cx).await?;
    if !left.nodes().is_empty() {
        let names = left.nodes().names().join(", ");
        return Err(Error::new(Kind::Provider, format!("there still are machines of {}: {names}", environment.stack)));
    }
    match store.lock(&format!("opsrun, forgetting the machines of {}", environment.name))? {
        Some(lock) => store.remove(lock),
        None => Ok(()),
    }
}

/// Looks again, when a deployment is of a stack: its machines come and go. Who cannot look goes on with what is known.
pub(super) async fn looked_at_again(deployment: Deployment, cx: &Cx) -> Result<Deployment> {
    match look_again(&deployment, cx).await {
        Ok(Some(fresh)) => Ok(fresh),
        Ok(None) => Ok(deployment),
        Err(error) if error.is_cancelled() => Err(error),
        Err(error) => {
            let name = deployment.name();
            cx.events.warn(format!("which machines {name} has now is not known, only which it had: {error}"));
            Ok(deployment)
        }
    }
}

async fn look_again(deployment: &Deployment, cx: &Cx) -> Result<Option<Deployment>> {
    let store = &deployment.store;
    let provider = super::provider_of(store, &deployment.record)?;
    let found = provider.list(&site(store, &deployment.record, &deployment.config), cx).await?;
    if is_same(&deployment.record.nodes, &found) {
        return Ok(None);
    }
    let locked = match store.lock(&format!("opsrun, finding the machines of {}", deployment.name())) {
        // Who changes it now writes it down.
        Err(error) if error.kind() == Kind::Locked => return Ok(None),
        other => other?,
    };
    let (Some(lock), Some(record)) = (locked, store.read()?) else { return Ok(None) };
    let provider = super::provider_of(store, &record)?;
    let config = config_of(&record)?;
    let found = provider.list(&site(store, &record, &config), cx).await?;
    write(store, config, record, found, &lock).map(Some)
}

fn is_same(known: &[NodeRecord], found: &[NodeFound]) -> bool {
    let same = |node: &NodeRecord, found: &NodeFound| {
        let id = found.spec.options.get("id").and_then(serde_json::Value::as_str);
        node.name == found.spec.name
            && node.id.as_deref() == id
            && node.endpoint.host == found.endpoint.host
            && node.stopped == (found.status != NodeStatus::Running)
    };
    known.len() == found.len() && known.iter().all(|node| found.iter().any(|f| same(node, f)))
}

fn write(store: &Store, mut config: Config, mut record: Record, found: Vec<NodeFound>, lock: &Lock) -> Result<Deployment> {
    for name in found.iter().map(|f| &f.spec.group) {
        if config.group(name).is_none() {
            config.groups.push(Group { name: name.clone(), ..Default::default() });
        }
    }
    for group in &mut config.groups {
        group.count = found.iter().filter(|f| f.spec.group == group.name).count();
    }
    record.config = config.to_json();
    store.write_file("deployment.yml", &deployment_yml(&config, &record)?, lock)?;
    finish(store, &config, record, found, lock)
}

/// The provider of such a deployment.
pub(super) fn fleet(stack: &StackOf, settings: Settings, calls: Arc<aws::Kept>, store: &Store) -> Result<Fleet> {
    let of = Of { app: stack.app.clone(), env: stack.env.clone(), environment: stack.environment.clone() };
    let nodes = store.read()?.map(|r| r.nodes).unwrap_or_default();
    Ok(Fleet::new(of, settings, calls, known(&nodes)))
}

fn fleet_of(store: &Store, record: &Record, config: &Config, environment: &Environment) -> Result<Fleet> {
    let settings = aws::settings(config, Inputs::of(record), &aws::Times::none(), false)?;
    Ok(Fleet::new(of(environment), settings, Arc::new(aws::Kept(store.journal())), known(&record.nodes)))
}

fn of(environment: &Environment) -> Of {
    Of { app: environment.app.clone(), env: environment.env.clone(), environment: environment.name.clone() }
}

/// What machines are called, by ID.
fn known(nodes: &[NodeRecord]) -> BTreeMap<String, (String, usize)> {
    nodes.iter().filter_map(|n| Some((n.id.clone()?, (n.group.clone(), n.index)))).collect()
}

fn new_record(environment: &Environment, config: &Config) -> Record {
    Record {
        schema: SCHEMA,
        name: environment.stack.clone(),
        uuid: Uuid::new_v4(),
        provider: config.provider.name().to_owned(),
        created: Timestamp::now(),
        inputs: environment.paths(),
        environment: Some(environment.name.clone()),
        bake: None,
        config: serde_json::Value::Null,
        nodes: Vec::new(),
        tainted: Vec::new(),
        images: BTreeMap::new(),
        extended: None,
        dir: None,
    }
}

/// A deployment of the same name that somebody provisioned is another matter.
fn refuse_other(store: &Store, record: Option<&Record>, environment: &Environment) -> Result<()> {
    let Some(record) = record else { return Ok(()) };
    let stack = config_of(record)?.stack;
    if stack.is_some_and(|s| s.app == environment.app && s.env == environment.env) {
        return Ok(());
    }
    let (name, stack) = (store.name(), &environment.stack);
    Err(Error::new(
        Kind::Config,
        format!("{} holds a deployment \"{name}\" that is not of this environment", store.dir().display()),
    )
    .hint(format!("The machines of stack {stack} would be a deployment of this name, too."))
    .hint(format!("Remove it (opsrun deprovision {name}), or give the environment another `stack:`.")))
}

/// Refuses what only makes sense for machines that were provisioned.
pub(super) fn refuse(record: &Record, what: &str) -> Result<()> {
    let Some(stack) = config_of(record)?.stack else { return Ok(()) };
    let environment = &stack.environment;
    Err(Error::usage(format!("the machines of {} are of a stack: {what} is nothing that can be done to them", record.name))
        .hint(format!("Change environments/{environment}.yml, then: opsrun manage {environment} update")))
}
