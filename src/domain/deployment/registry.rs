//! Every provider there is, in one readable list.

use super::inputs::Inputs;
use super::{aws, expiry, hosts};
use crate::base::error::{IoResultExt, Result};
use crate::base::project::Project;
use crate::domain::config::{Config, ProviderKind};
use crate::transport::provider::Provider;
use crate::transport::provider::aws::Aws;
use crate::transport::provider::local::Local;
use crate::transport::provider::machine::Machine;
use crate::transport::provider::static_hosts::StaticHosts;
use crate::transport::state::{Record, Store};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a provider may need to know besides the config.
pub struct Background<'a> {
    pub store: &'a Store,
    pub inputs: Inputs<'a>,
    pub created: Timestamp,
    /// What the config's words for images meant before.
    pub images: &'a BTreeMap<String, String>,
    /// When it expires, where it was extended.
    pub extended: Option<Timestamp>,
    /// Nodes may be made: all that this takes must be at hand.
    pub complete: bool,
}

impl<'a> Background<'a> {
    /// Of a deployment as it is, to look at it, or to remove it.
    pub fn of(store: &'a Store, record: &'a Record) -> Self {
        Self {
            store,
            inputs: Inputs::of(record),
            created: record.created,
            extended: record.extended,
            images: &record.images,
            complete: false,
        }
    }
}

/// Returns the provider that the config names.
pub fn provider_for(config: &Config, background: &Background) -> Result<Box<dyn Provider>> {
    Ok(match config.provider {
        ProviderKind::Local => Box::new(Local::new(own_program()?)),
        ProviderKind::Machine => Box::new(Machine::new(own_program()?, Project::find()?.cache)),
        ProviderKind::Static => Box::new(StaticHosts::new()),
        ProviderKind::Aws => {
            let Background { store, inputs, created, extended, images, complete } = background;
            let expires_at = expiry::expires_at(config, *created, *extended);
            let times = aws::Times { created: Some(*created), expires_at };
            let settings = aws::settings(config, *inputs, &times, *complete)?;
            let calls = Arc::new(aws::Kept(store.journal()));
            match &config.stack {
                None => Box::new(Aws::new(settings, calls, (*images).clone())),
                Some(stack) => Box::new(hosts::fleet(stack, settings, calls, store)?),
            }
        }
    })
}

/// This program's file. Where it was replaced while we run, an upgrade for one, the kernel still has ours.
fn own_program() -> Result<PathBuf> {
    let exe = std::env::current_exe().at("find", "opsrun's own program")?;
    let kernels = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    Ok(if !exe.exists() && kernels.exists() { kernels } else { exe })
}
