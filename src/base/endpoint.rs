//! How a node is reached: plain data that providers fill in and the SSH client uses.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// What to do about a host key that is not known yet. One that differs from the known one is always refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKeyPolicy {
    /// Only keys that are in a known_hosts file already.
    #[default]
    Strict,
    /// The key shown at first contact is written to the first known_hosts file, and is the only one from then on.
    Pin,
}

/// How the host keys of a machine that nobody has met yet are learned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstContact {
    /// It shows this host key (`ssh-ed25519 AAAA…`), which it was given to be known by until it has made its own.
    Given(String),
    /// Its provider reads them off its console.
    Console,
}

/// One SSH destination.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// What the user calls it, and what errors and output prefixes say: `server-0`.
    pub name: String,
    /// Address or host name to connect to.
    pub host: String,
    /// Its address among its peers, where that is not the one to connect to from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_host: Option<String>,
    pub port: u16,
    pub user: String,
    /// Private key files, tried in order.
    #[serde(default)]
    pub keys: Vec<PathBuf>,
    /// Also try the keys of the ssh-agent at `SSH_AUTH_SOCK`.
    #[serde(default)]
    pub agent: bool,
    /// Files of known host keys, in OpenSSH's format.
    #[serde(default)]
    pub known_hosts: Vec<PathBuf>,
    #[serde(default)]
    pub host_keys: HostKeyPolicy,
    /// Go through this host first (ProxyJump).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<Box<Endpoint>>,
    /// Go through this command's stdin and stdout (ProxyCommand, with %h %p %r).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_command: Option<String>,
    /// How long one attempt to connect and authenticate may take.
    #[serde(default = "default_timeout")]
    pub connect_timeout: Duration,
    /// Keep trying to connect for this long (a machine that boots). Zero: one attempt.
    #[serde(default)]
    pub retry_for: Duration,
}

fn default_timeout() -> Duration {
    Duration::from_secs(15)
}

impl Endpoint {
    pub fn new(name: impl Into<String>, host: impl Into<String>, port: u16, user: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            private_host: None,
            port,
            user: user.into(),
            keys: Vec::new(),
            agent: false,
            known_hosts: Vec::new(),
            host_keys: HostKeyPolicy::Strict,
            jump: None,
            proxy_command: None,
            connect_timeout: default_timeout(),
            retry_for: Duration::ZERO,
        }
    }

    /// The address that the host itself has, and its peers know it by.
    pub fn own_host(&self) -> &str {
        self.private_host.as_deref().unwrap_or(&self.host)
    }

    /// `user@host:port`, for errors.
    pub fn address(&self) -> String {
        format!("{}@{}:{}", self.user, self.host, self.port)
    }
}
