//! What the provider is told by the config.

use super::super::NodeSpec;
use super::images::Choice;
use super::user_data::UserData;
use crate::base::endpoint::Endpoint;
use crate::base::secret::Secret;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How the host keys of new machines become known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostKeys {
    /// They are given one by cloud-init, over which their own are asked for at first contact.
    Bootstrap,
    /// Read off their consoles.
    Console,
    /// Taken at first sight, or known from a file of the user's.
    Shown,
}

/// What it takes to talk to AWS.
#[derive(Clone, Debug)]
pub struct Access {
    pub region: Option<String>,
    /// Access key and secret key; else the chain that every AWS tool uses.
    pub keys: Option<(Secret, Secret)>,
    pub endpoint_url: Option<String>,
    /// How long the cloud may take until what was made is seen by every reader.
    pub settle: Duration,
}

/// The deployment's side of it.
#[derive(Clone, Debug)]
pub struct Settings {
    pub access: Access,
    pub owner: Option<String>,
    pub keep: Option<String>,
    /// None where it is not known, and not written.
    pub created: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// Networks that may connect to 22 and the web ports; none: the address this machine is seen by.
    pub allow_from: Vec<String>,
    /// Used, never deleted.
    pub vpc: Option<String>,
    pub subnet: Option<String>,
    /// Tried in order; none: whatever zone the type is offered in.
    pub zones: Vec<String>,
    pub private_addresses: bool,
    pub bastion: Option<Endpoint>,
    pub proxy_command: Option<String>,
    pub launch_timeout: Duration,
    /// How long new machines may take until they can be logged in to.
    pub contact_timeout: Duration,
    pub host_keys: HostKeys,
    pub spot_timeout: Duration,
    pub user_data_replaces: bool,
    pub groups: BTreeMap<String, GroupSettings>,
}

/// What all nodes of a group share.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupSettings {
    /// The first is wanted, the others are fallen back on.
    pub types: Vec<String>,
    pub ami: Choice,
    pub user: Option<String>,
    pub spot: bool,
    pub volume_type: Option<String>,
    pub volume_size: Option<i32>,
    pub volumes: Vec<Volume>,
    pub user_data: Option<UserData>,
    pub instance_profile: Option<String>,
    pub stateful: bool,
    /// Each machine ends itself at `expires_at`.
    pub ends_itself: bool,
    pub stopped: bool,
    /// Open to all groups of the deployment.
    pub ports: Vec<u16>,
    /// Open to `allow_from` as well.
    pub web_ports: Vec<u16>,
}

/// A volume beside the root volume. It goes with its machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Volume {
    pub device: String,
    pub size: i32,
    #[serde(rename = "type")]
    pub kind: String,
}

impl Settings {
    pub fn group(&self, name: &str) -> GroupSettings {
        self.groups.get(name).cloned().unwrap_or_default()
    }

    pub fn group_of(&self, spec: &NodeSpec) -> GroupSettings {
        self.group(&spec.group)
    }
}

/// The ports of the labs, for groups that name none: open to the deployment, and those of people's browsers.
pub fn lab_ports(group: &str) -> (Vec<u16>, Vec<u16>) {
    match group {
        "server" => (vec![9042, 9142, 7000, 7001, 7199, 10000, 9100, 9180, 9160], Vec::new()),
        "monitor" => (vec![9090, 3000, 9003], vec![9090, 3000, 9003]),
        "client" => (vec![2159], Vec::new()),
        _ => (Vec::new(), Vec::new()),
    }
}
