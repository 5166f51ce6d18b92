//! An environment's machines, as the config of a deployment says such things: how AWS and they are reached.

use super::Environment;
use crate::base::error::Result;
use crate::domain::config::tree::{self, Data};
use crate::domain::config::{Config, Group, HostKeys, Source, StackOf};
use crate::domain::image::DEBIAN_USER;
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

    /// The config of the deployment that its machines are: roles, users and variables of their groups. How many there are is
    /// found out.
    pub fn hosts(&self) -> Result<Config> {
        let mut config = self.config("groups: {}")?;
        let group = |g: &super::Group| Group {
            name: g.name.clone(),
            // What is baked from no image of the user's is baked from Debian's.
            user: g.user.clone().or_else(|| g.image.is_none().then(|| DEBIAN_USER.to_owned())),
            roles: g.roles.clone(),
            vars: g.variables.clone(),
            ..Group::default()
        };
        config.groups = self.groups.iter().map(group).collect();
        config.vars.clone_from(&self.variables);
        // Their user data is the stack's, so that no host key can be given to them.
        if config.known_hosts.is_none() && matches!(config.host_keys, None | Some(HostKeys::Bootstrap)) {
            config.host_keys = Some(HostKeys::Console);
        }
        config.stack = Some(StackOf {
            name: self.stack.clone(),
            environment: self.name.clone(),
            app: self.app.clone(),
            env: self.env.clone(),
        });
        Ok(config)
    }
}
