//! A deployment whose folder is lost, or that was made elsewhere: the folder is built anew from the tags of what there is.

use super::account::Account;
use super::apply::{deployment_yml, finish};
use super::inputs::Inputs;
use super::{Deployment, aws, expiry, site};
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::base::suggest;
use crate::domain::config::Config;
use crate::domain::fleet::fold_names;
use crate::transport::provider::aws::images::Choice;
use crate::transport::provider::aws::{Aws, Holding};
use crate::transport::provider::{NodeFound, Provider};
use crate::transport::state::lock::Lock;
use crate::transport::state::{Record, SCHEMA, Store, keys};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// What is known besides the tags.
#[derive(Clone, Debug)]
pub struct Adoption {
    pub name: String,
    pub region: Option<String>,
    /// The config it was made from, where there still is one.
    pub files: Vec<PathBuf>,
    /// The private key that its nodes accept.
    pub key: Option<PathBuf>,
    pub without_key: bool,
    /// Which one, where several have the name.
    pub uuid: Option<Uuid>,
}

/// What was built, and what could not be.
#[derive(Clone, Debug)]
pub struct Adopted {
    pub deployment: Deployment,
    pub missing: Vec<String>,
}

/// Builds the folder. Changes nothing in the cloud but the tag that says where the folder is.
pub async fn adopt(project: &Project, adoption: &Adoption, cx: &Cx) -> Result<Adopted> {
    let store = Store::new(&project.deployments(), &adoption.name)?;
    refuse_folder(&store)?;
    let account = Account::new(adoption.region.as_deref(), &adoption.files)?;
    let region = account.aws.region().await?;
    let holding = choose(account.aws.holdings(cx).await?, adoption, &region)?;
    let key = check_key(&account.config, adoption, &holding, &region)?;
    let lock = store.lock_new(&format!("opsrun adopt {}", adoption.name))?;
    // Somebody may have been quicker.
    if store.read()?.is_some() {
        return Err(taken(&store));
    }
    match build(&store, adoption, &account.config, &region, &holding, key.as_deref(), &lock, cx).await {
        Ok(deployment) => Ok(Adopted { missing: missing(adoption, &holding, &deployment), deployment }),
        // Half a folder would keep the next try from its work.
        Err(e) => {
            let _ = store.remove(lock);
            Err(e.context(format!("adopting {}", adoption.name)))
        }
    }
}

fn refuse_folder(store: &Store) -> Result<()> {
    let empty = std::fs::read_dir(store.dir()).map_or(true, |mut entries| entries.next().is_none());
    if empty { Ok(()) } else { Err(taken(store)) }
}

fn taken(store: &Store) -> Error {
    Error::usage(format!("{} is there already", store.dir().display()))
        .hint(format!("See what it is: opsrun status {}. To build it anew, move it away first.", store.name()))
}

/// The one of this name.
fn choose(holdings: Vec<Holding>, adoption: &Adoption, region: &str) -> Result<Holding> {
    let name = &adoption.name;
    let known: Vec<String> = holdings.iter().map(|h| h.name.clone()).collect();
    let mut found: Vec<Holding> = holdings.into_iter().filter(|h| h.name == *name).collect();
    found.retain(|h| adoption.uuid.is_none_or(|uuid| h.uuid == uuid));
    if found.len() > 1 {
        let list: Vec<String> = found.iter().map(|h| format!("{} ({} machines)", h.uuid, h.machines())).collect();
        return Err(Error::usage(format!("{} deployments in {region} are called {name}: {}", found.len(), list.join(", ")))
            .hint("Say which one: --uuid UUID."));
    }
    found.pop().ok_or_else(|| {
        let error = Error::new(Kind::NotFound, format!("nothing in {region} carries the tags of a deployment {name}"));
        match suggest::did_you_mean(name, known.iter().map(String::as_str)) {
            Some(hint) => error.hint(hint),
            None => error.hint("Is it another region, or another account? Both are needed: --region, and its credentials."),
        }
    })
}

/// The private key to take over, once it is known to be the one. None: the config names it, or it is done without.
fn check_key(config: &Config, adoption: &Adoption, holding: &Holding, region: &str) -> Result<Option<PathBuf>> {
    let Some(private) = adoption.key.as_ref().or(config.private_key_path.as_ref()) else {
        if adoption.without_key {
            return Ok(None);
        }
        let name = &adoption.name;
        return Err(Error::usage(format!("the private key of {name} is nowhere in the cloud, and none is given"))
            .hint("Give the one that its nodes accept: --key FILE (of the lost folder it was keys/id_ed25519).")
            .hint("Only to look at it and to remove it: --without-key."));
    };
    let ours = keys::public_half(private, config.public_key_path.as_deref().filter(|_| adoption.key.is_none()))?;
    let body = |text: &str| text.split_whitespace().nth(1).map(str::to_owned);
    if let Some(theirs) = holding.public_key.as_deref().and_then(body)
        && body(&ours).as_ref() != Some(&theirs)
    {
        let name = &adoption.name;
        let message = format!("{} is not the key of {name}: key pair opsrun-{name} in {region} holds another", private.display());
        return Err(Error::usage(message).hint("Give the one that its nodes accept: --key FILE."));
    }
    Ok(adoption.key.clone())
}

#[allow(clippy::too_many_arguments, reason = "all of it was found out before anything may be written")]
async fn build(
    store: &Store,
    adoption: &Adoption,
    given: &Config,
    region: &str,
    holding: &Holding,
    key: Option<&Path>,
    lock: &Lock,
    cx: &Cx,
) -> Result<Deployment> {
    let created = holding.created.or(holding.touched).unwrap_or_else(Timestamp::now);
    let mut config = given.clone();
    config.region = Some(region.to_owned());
    let inputs =
        adoption.files.iter().map(std::path::absolute).collect::<std::io::Result<Vec<_>>>().at("find", Path::new("."))?;
    let planned = expiry::expires_at(&config, created, None);
    let mut record = Record {
        schema: SCHEMA,
        name: adoption.name.clone(),
        uuid: holding.uuid,
        provider: "aws".to_owned(),
        created,
        inputs,
        environment: None,
        bake: None,
        config: config.to_json(),
        nodes: Vec::new(),
        tainted: Vec::new(),
        images: BTreeMap::new(),
        extended: holding.expires_at.filter(|at| planned.is_none_or(|planned| planned.as_second() != at.as_second())),
        dir: None,
    };
    store.write(&record, lock)?;
    if let Some(key) = key {
        keys::KeyFiles::own(store.dir()).take(store.dir(), key)?;
    }
    let times = aws::Times { created: Some(created), expires_at: expiry::of_record(&record, &config) };
    let settings = aws::settings(&config, Inputs::of(&record), &times, false)?;
    let provider = Aws::new(settings, Arc::new(aws::Kept(store.journal())), BTreeMap::new());
    provider.settle_in(cx).await?;
    provider.take_home(&site(store, &record, &config), cx).await?;
    let found = provider.list(&site(store, &record, &config), cx).await?;
    record.images = images(&config, &found)?;
    if adoption.files.is_empty() {
        config = from_tags(region, holding, &found)?;
        record.config = config.to_json();
    }
    store.write_file("deployment.yml", &deployment_yml(&config, &record)?, lock)?;
    finish(store, &config, record, found, lock)
}

/// What the config's words for images mean: the images that its machines have.
fn images(config: &Config, found: &[NodeFound]) -> Result<BTreeMap<String, String>> {
    let mut images = BTreeMap::new();
    for (group, ami) in config.groups.iter().filter_map(|g| Some((g, g.options.get("ami")?))) {
        let choice: Choice = serde_json::from_value(ami.clone()).map_err(|e| Error::internal(format!("ami: {e}")))?;
        let machine = found.iter().find(|f| f.spec.group == group.name);
        let image = machine.and_then(|f| f.spec.options.get("ami")?.as_str());
        if let (None, Some(image)) = (choice.id(), image) {
            images.insert(choice.to_string(), image.to_owned());
        }
    }
    Ok(images)
}

/// As much of a config as tags tell: enough to reach the nodes, and to remove all of it.
fn from_tags(region: &str, holding: &Holding, found: &[NodeFound]) -> Result<Config> {
    let mut groups = Map::new();
    for node in found {
        let option = |key: &str| node.spec.options.get(key).cloned().unwrap_or_default();
        let group = groups.entry(node.spec.group.clone()).or_insert_with(|| {
            let mut group = json!({
                "count": 0,
                "instance_type": option("instance_type"),
                "ami": option("ami"),
                "user": node.endpoint.user,
            });
            if option("spot") == Value::Bool(true) {
                group["spot"] = Value::Bool(true);
            }
            group
        });
        let count = group.get("count").and_then(Value::as_u64).unwrap_or(0).max(node.spec.index as u64 + 1);
        group["count"] = count.into();
    }
    let mut config = json!({ "provider": "aws", "region": region, "groups": groups });
    for (key, value) in [("owner", &holding.owner), ("keep", &holding.keep)] {
        if let Some(value) = value {
            config[key] = value.as_str().into();
        }
    }
    serde_json::from_value(config).map_err(|e| Error::internal(format!("a config made from tags: {e}")))
}

fn missing(adoption: &Adoption, holding: &Holding, deployment: &Deployment) -> Vec<String> {
    let mut missing = Vec::new();
    if adoption.without_key {
        missing.push("the private key: its nodes cannot be logged in to".to_owned());
    } else if holding.public_key.is_none() {
        missing.push("whether the key is the right one: AWS has no key pair of it any more".to_owned());
    }
    let nodes = deployment.record.nodes.iter().filter(|n| n.host_keys.is_empty());
    let strange: Vec<&str> = nodes.map(|n| n.name.as_str()).collect();
    if !strange.is_empty() {
        missing.push(format!("the host keys of {}: they are learned at the next contact", fold_names(&strange)));
    }
    if adoption.files.is_empty() {
        missing.push(format!("its config: give it with the next opsrun provision {} FILES…", adoption.name));
    }
    missing.push("the results and logs of earlier runs".to_owned());
    missing
}
