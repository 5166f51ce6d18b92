//! Every provider there is, in one readable list.

use super::aws;
use crate::base::error::{IoResultExt, Result};
use crate::base::project::Project;
use crate::domain::config::{Config, ProviderKind};
use crate::transport::provider::Provider;
use crate::transport::provider::aws::Aws;
use crate::transport::provider::local::Local;
use crate::transport::provider::machine::Machine;
use crate::transport::provider::static_hosts::StaticHosts;
use crate::transport::state::Store;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a provider may need to know besides the config.
pub struct Background<'a> {
    pub store: &'a Store,
    /// The config files.
    pub inputs: &'a [PathBuf],
    pub created: Timestamp,
    /// What the config's words for images meant before.
    pub images: &'a BTreeMap<String, String>,
    /// Nodes may be made: all that this takes must be at hand.
    pub complete: bool,
}

/// Returns the provider that the config names.
pub fn provider_for(config: &Config, background: &Background) -> Result<Box<dyn Provider>> {
    Ok(match config.provider {
        ProviderKind::Local => Box::new(Local::new(own_program()?)),
        ProviderKind::Machine => Box::new(Machine::new(own_program()?, Project::find()?.cache)),
        ProviderKind::Static => Box::new(StaticHosts::new()),
        ProviderKind::Aws => {
            let Background { store, inputs, created, images, complete } = background;
            let settings = aws::settings(config, inputs, *created, *complete)?;
            Box::new(Aws::new(settings, Arc::new(aws::Kept(store.journal())), (*images).clone()))
        }
    })
}

/// This program's file. Where it was replaced while we run, an upgrade for one, the kernel still has ours.
fn own_program() -> Result<PathBuf> {
    let exe = std::env::current_exe().at("find", "opsrun's own program")?;
    let kernels = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    Ok(if !exe.exists() && kernels.exists() { kernels } else { exe })
}
