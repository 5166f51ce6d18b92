//! The options that say which images are meant.

use crate::base::error::Result;
use crate::cli::complete::environments;
use crate::domain::image;
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
    pub fn get(&self) -> Result<image::Place> {
        image::Place::of(self.env.clone(), self.config.clone(), self.region.clone())
    }
}
