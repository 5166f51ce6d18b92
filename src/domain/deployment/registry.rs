//! Every provider there is, in one readable list.

use crate::base::error::{IoResultExt, Result};
use crate::base::project::Project;
use crate::domain::config::ProviderKind;
use crate::transport::provider::Provider;
use crate::transport::provider::local::Local;
use crate::transport::provider::machine::Machine;
use crate::transport::provider::static_hosts::StaticHosts;

/// Returns the provider of this kind.
pub fn provider_for(kind: ProviderKind) -> Result<Box<dyn Provider>> {
    let exe = || std::env::current_exe().at("find", "opsrun's own program");
    Ok(match kind {
        ProviderKind::Local => Box::new(Local::new(exe()?)),
        ProviderKind::Machine => Box::new(Machine::new(exe()?, Project::find()?.cache)),
        ProviderKind::Static => Box::new(StaticHosts::new()),
    })
}
