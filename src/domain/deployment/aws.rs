//! What the provider of EC2 machines is told: its part of the config, and a journal for its calls.

use super::expiry::{self, Ending};
use super::inputs::Inputs;
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, IoResultExt, Result};
use crate::base::units;
use crate::domain::config::cloud::{Addresses, UserDataChange};
use crate::domain::config::{self, Config, Group};
use crate::transport::provider::aws::images::Choice;
use crate::transport::provider::aws::settings::{Access, GroupSettings, HostKeys, Settings, Volume, lab_ports};
use crate::transport::provider::aws::user_data::UserData;
use crate::transport::provider::calls::{Call, Calls, Reply};
use crate::transport::state::journal::{Journal, What};
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

const SETTLE: Duration = Duration::from_secs(120);
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(600);
const SPOT_TIMEOUT: Duration = Duration::from_secs(600);
const CONTACT_TIMEOUT: Duration = Duration::from_secs(300);

/// Calls, kept in the deployment's journal.
pub struct Kept(pub Journal);

impl Calls for Kept {
    fn begin(&self, name: &str, request: Value) -> Result<Uuid> {
        self.0.call(name, request)
    }

    fn end(&self, id: Uuid, reply: Reply) -> Result<()> {
        match reply {
            Reply::Made(ids) => self.0.reply(id, ids, None),
            Reply::Refused(why) => self.0.reply(id, Vec::new(), Some(why)),
        }
    }

    fn all(&self) -> Result<Vec<Call>> {
        let mut calls: Vec<Call> = Vec::new();
        for entry in self.0.read()? {
            match entry.what {
                What::Call { call, request } => {
                    calls.push(Call { id: entry.id, at: entry.at, name: call, request, reply: None, replied: None });
                }
                What::Reply { ids, error } => {
                    if let Some(call) = calls.iter_mut().find(|c| c.id == entry.id) {
                        call.reply = Some(error.map_or(Reply::Made(ids), Reply::Refused));
                        call.replied = Some(entry.at);
                    }
                }
                _ => {}
            }
        }
        Ok(calls)
    }
}

/// When a deployment was made, and when it expires, as far as that is known and to be written.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub created: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

impl Times {
    /// Of no deployment.
    pub fn none() -> Self {
        Self { created: None, expires_at: None }
    }
}

/// The config's word for the provider. `complete`: also what is only needed to make machines (the text of user data).
pub fn settings(config: &Config, inputs: Inputs, times: &Times, complete: bool) -> Result<Settings> {
    let cloud = &config.cloud;
    let time = |text: &Option<String>, default: Duration| match text {
        Some(text) => units::parse_duration(text),
        None => Ok(default),
    };
    let groups = config.groups.iter().map(|g| Ok((g.name.clone(), group(config, g, complete)?)));
    Ok(Settings {
        access: access(config, inputs)?,
        owner: config.owner.clone(),
        keep: expiry::kept(config),
        created: times.created,
        expires_at: times.expires_at,
        allow_from: cloud.allow_from.clone(),
        vpc: cloud.vpc.clone(),
        subnet: cloud.subnet.clone(),
        zones: config.availability_zone.iter().chain(&cloud.fallback_zones).cloned().collect(),
        private_addresses: cloud.addresses == Some(Addresses::Private),
        bastion: cloud.bastion.as_deref().map(bastion).transpose()?,
        proxy_command: cloud.proxy_command.clone(),
        launch_timeout: time(&cloud.launch_timeout, LAUNCH_TIMEOUT)?,
        contact_timeout: contact_timeout(config)?,
        host_keys: match config.host_keys {
            None if config.known_hosts.is_some() => HostKeys::Shown,
            None | Some(config::HostKeys::Bootstrap) => HostKeys::Bootstrap,
            Some(config::HostKeys::Console) => HostKeys::Console,
            Some(config::HostKeys::Strict | config::HostKeys::Pin) => HostKeys::Shown,
        },
        spot_timeout: time(&cloud.spot_timeout, SPOT_TIMEOUT)?,
        user_data_replaces: cloud.user_data_change != Some(UserDataChange::Store),
        groups: groups.collect::<Result<_>>()?,
    })
}

/// How AWS is talked to.
pub fn access(config: &Config, inputs: Inputs) -> Result<Access> {
    Ok(Access {
        region: config.region.clone(),
        keys: keys(config, inputs)?,
        endpoint_url: config.cloud.endpoint_url.clone(),
        settle: config.cloud.settle_time.as_deref().map_or(Ok(SETTLE), units::parse_duration)?,
    })
}

/// How long new machines may take until they can be logged in to.
pub fn contact_timeout(config: &Config) -> Result<Duration> {
    config.cloud.contact_timeout.as_deref().map_or(Ok(CONTACT_TIMEOUT), units::parse_duration)
}

/// The keys of the config. A config read back from a deployment has none: they are where they were, in its input files.
fn keys(config: &Config, inputs: Inputs) -> Result<Option<(crate::base::secret::Secret, crate::base::secret::Secret)>> {
    let of = |config: &Config| Ok(config.secret("access_key")?.zip(config.secret("secret_key")?));
    if let Some(keys) = of(config)? {
        return Ok(Some(keys));
    }
    match inputs.read() {
        Ok(config) => of(&config),
        // The account is compared with the one the deployment was made in, so other credentials cannot do harm.
        Err(_) if inputs.files.is_empty() => Ok(None),
        Err(_) if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() || std::env::var_os("AWS_PROFILE").is_some() => Ok(None),
        Err(e) => Err(e.context("looking for access_key and secret_key in the files the deployment was made from").hint(
            "Without those files, give the credentials by AWS_PROFILE, or by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )),
    }
}

fn group(config: &Config, group: &Group, complete: bool) -> Result<GroupSettings> {
    let option = |key: &str| group.options.get(key);
    let text = |key: &str| option(key).and_then(Value::as_str).map(str::to_owned);
    let truth = |key: &str| option(key) == Some(&Value::Bool(true));
    let types = match option("instance_type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    let ports = |key: &str| -> Option<Vec<u16>> {
        let list = option(key)?.as_array()?;
        Some(list.iter().filter_map(|p| p.as_u64().and_then(|p| u16::try_from(p).ok())).collect())
    };
    let (lab, lab_web) = lab_ports(&group.name);
    let volumes: Vec<Volume> = match option("volumes") {
        Some(list) => serde_json::from_value(list.clone()).map_err(|e| Error::internal(format!("volumes: {e}")))?,
        None => Vec::new(),
    };
    let user_data = match text("user_data") {
        Some(path) if complete => Some(UserData::new(std::fs::read(&path).at("read", &path)?)),
        _ => None,
    };
    Ok(GroupSettings {
        types,
        ami: match option("ami") {
            Some(image) => serde_json::from_value(image.clone()).map_err(|e| Error::internal(format!("ami: {e}")))?,
            None => Choice::default(),
        },
        user: group.user.clone(),
        spot: truth("spot"),
        volume_type: text("volume_type"),
        volume_size: option("volume_size").and_then(Value::as_i64).and_then(|s| i32::try_from(s).ok()),
        volumes,
        user_data,
        instance_profile: text("instance_profile"),
        stateful: truth("stateful"),
        ends_itself: expiry::ending(config, &group.name) == Some(Ending::Terminate),
        stopped: text("state").as_deref() == Some("stopped"),
        ports: ports("ports").unwrap_or(lab),
        web_ports: ports("web_ports").unwrap_or(lab_web),
    })
}

/// `user@host:port`
fn bastion(text: &str) -> Result<Endpoint> {
    let bad = || Error::config(format!("`bastion` must be like \"user@host:port\", not \"{text}\""));
    let (user, rest) = text.split_once('@').ok_or_else(bad)?;
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
        None => (rest, 22),
    };
    if user.is_empty() || host.is_empty() {
        return Err(bad());
    }
    let mut endpoint = Endpoint::new("bastion", host, port, user);
    endpoint.host_keys = crate::base::endpoint::HostKeyPolicy::Pin;
    Ok(endpoint)
}
