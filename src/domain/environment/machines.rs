//! An environment's machines, as the config of a deployment says such things: how AWS and they are reached.

use super::Environment;
use crate::base::error::Result;
use crate::domain::config::tree::{self, Data};
use crate::domain::config::{Config, Source};
use std::path::PathBuf;
use std::sync::Arc;

/// Keys of a deployment's config that an environment has, too. They mean the same there.
pub const KEYS: [&str; 18] = [
    "owner",
    "access_key",
    "secret_key",
    "endpoint_url",
    "availability_zone",
    "private_key_path",
    "public_key_path",
    "known_hosts",
    "host_keys",
    "addresses",
    "bastion",
    "proxy_command",
    "vpc",
    "subnet",
    "allow_from",
    "settle_time",
    "launch_timeout",
    "contact_timeout",
];

impl Environment {
    /// The config of a deployment on AWS that is reached as this environment is. `more` is YAML for what else it says: its
    /// `groups`, when it expires.
    pub fn config(&self, more: &str) -> Result<Config> {
        let region = self.region.as_ref().map(|r| format!("region: {r}\n")).unwrap_or_default();
        let name = format!("(environment {})", self.name);
        let source = Source { name, dir: self.project.clone(), text: format!("provider: aws\n{region}{more}") };
        let mut tree = tree::parse(&Arc::new(source))?;
        if let Data::Map(entries) = &mut tree.data {
            entries.extend(self.machines.iter().cloned());
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        Config::from_tree(&tree, home.as_deref())
    }
}
