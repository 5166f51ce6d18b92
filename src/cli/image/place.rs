//! Which images are meant: those of an environment's account, of a config's provider, of a region, or of the cache.

use crate::base::error::Result;
use crate::base::project::Project;
use crate::cli::complete::environments;
use crate::domain::config::{Config, Source};
use crate::domain::deployment::Inputs;
use crate::domain::environment::Environment;
use crate::domain::image::{Shelf, shelf_of};
use clap_complete::engine::ArgValueCompleter;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub struct Place {
    /// In the account and region of this environment
    #[arg(long, value_name = "NAME", conflicts_with_all = ["config", "region"], add = ArgValueCompleter::new(environments))]
    env: Option<String>,
    /// Where these configs make machines; may be given again
    #[arg(long, value_name = "FILE", conflicts_with = "region")]
    config: Vec<PathBuf>,
    /// In this region of AWS
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

impl Place {
    pub fn is_given(&self) -> bool {
        self.env.is_some() || !self.config.is_empty() || self.region.is_some()
    }

    pub async fn open(&self, project: &Project) -> Result<Shelf> {
        if let Some(name) = &self.env {
            return shelf_of(project, &Environment::load(&project.root, name)?).await;
        }
        if let Some(region) = &self.region {
            let text = format!("provider: aws\nregion: {}\n", serde_json::Value::from(region.as_str()));
            let source = Source { name: "--region".to_owned(), dir: project.root.clone(), text };
            return Shelf::open(project, &Config::from_sources(vec![source], None)?, Inputs::files(&[])).await;
        }
        if self.config.is_empty() {
            return Ok(Shelf::cache(project));
        }
        Shelf::open(project, &Config::load(&self.config)?, Inputs::files(&self.config)).await
    }
}
