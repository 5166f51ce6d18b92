//! Which images are meant: those of an environment's account, of a config's provider, of a region, or of this user's cache.

use super::{Order, Shelf, shelf_of};
use crate::base::error::{Error, Result};
use crate::base::project::Project;
use crate::domain::config::{Config, Source};
use crate::domain::deployment::Inputs;
use crate::domain::environment::{Environment, Group};
use std::path::PathBuf;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Environment(String),
    /// Config files.
    Files(Vec<PathBuf>),
    Region(String),
    Cache,
}

impl Place {
    /// From what a caller was given of these: at most one.
    pub fn of(environment: Option<String>, files: Vec<PathBuf>, region: Option<String>) -> Result<Self> {
        match (environment, files.is_empty(), region) {
            (Some(name), true, None) => Ok(Self::Environment(name)),
            (None, false, None) => Ok(Self::Files(files)),
            (None, true, Some(region)) => Ok(Self::Region(region)),
            (None, true, None) => Ok(Self::Cache),
            _ => Err(Error::usage("an environment, a config and a region are given: one of them says where the images are")),
        }
    }

    pub async fn open(&self, project: &Project) -> Result<Shelf> {
        match self {
            Self::Environment(name) => shelf_of(project, &Environment::load(&project.root, name)?).await,
            Self::Files(files) => Shelf::open(project, &Config::load(files)?, Inputs::files(files)).await,
            Self::Region(region) => {
                let text = format!("provider: aws\nregion: {}\n", serde_json::Value::from(region.as_str()));
                let source = Source { name: "region".to_owned(), dir: project.root.clone(), text };
                Shelf::open(project, &Config::from_sources(vec![source], None)?, Inputs::files(&[])).await
            }
            Self::Cache => Ok(Shelf::cache(project)),
        }
    }

    /// What is to be baked here: an image of each of these lists of roles; without any, those that the groups have, or this one.
    pub fn orders(&self, project: &Project, images: &[Vec<String>], group: Option<&str>) -> Result<Vec<Order>> {
        match self {
            Self::Environment(name) => of_environment(&Environment::load(&project.root, name)?, images, group),
            Self::Files(files) if images.is_empty() => Ok(vec![Order::of_files(project, files, group, None)?]),
            Self::Files(files) => images.iter().map(|roles| Order::of_files(project, files, group, Some(roles))).collect(),
            Self::Region(_) | Self::Cache => Err(Error::usage("it is not known where, and from what, to bake")
                .hint("Name an environment, or config files of provider `aws` or `machine`.")),
        }
    }
}

fn of_environment(environment: &Environment, images: &[Vec<String>], group: Option<&str>) -> Result<Vec<Order>> {
    let named = group.map(|name| environment.group(name)).transpose()?;
    if images.is_empty() {
        let groups: Vec<&Group> = match named {
            Some(group) => vec![group],
            None => environment.groups.iter().filter(|g| !g.roles.is_empty()).collect(),
        };
        return groups.into_iter().map(|group| Order::of_environment(environment, group, None)).collect();
    }
    let order = |roles: &Vec<String>| {
        let group = named.map_or_else(|| group_of(environment, roles), Ok)?;
        Order::of_environment(environment, group, Some(roles))
    };
    images.iter().map(order).collect()
}

/// The one group that has these roles.
fn group_of<'a>(environment: &'a Environment, roles: &[String]) -> Result<&'a Group> {
    let has = |g: &&Group| roles.iter().all(|role| g.roles.contains(role));
    let with: Vec<&Group> = environment.groups.iter().filter(has).collect();
    let all: Vec<&Group> = environment.groups.iter().collect();
    let (word, choice) = match (with.as_slice(), all.as_slice()) {
        ([only], _) | ([], [only]) => return Ok(*only),
        ([], _) => ("no group", all),
        (_, _) => ("more than one group", with),
    };
    let names: Vec<&str> = choice.iter().map(|g| g.name.as_str()).collect();
    Err(Error::usage(format!("{word} of environment {} has the roles {}", environment.name, roles.join(", ")))
        .hint(format!("Say whose base and variables are meant, by its group: {}.", names.join(", "))))
}
