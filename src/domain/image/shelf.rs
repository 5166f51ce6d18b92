//! Where images are: in an account and region of AWS, or in this user's cache.

use super::{Base, Recipe, Wanted};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::domain::config::{Config, ProviderKind};
use crate::domain::deployment::{Inputs, aws_access};
use crate::transport::provider::aws::baked::{self, OwnImage};
use crate::transport::provider::machine::images::{ImageLine, Images};
use crate::transport::provider::{NewImage, ROLE_HASH};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

pub(super) const APP: &str = "App";
const ROLE: &str = "Role";
pub(super) const BASE: &str = "opsrun:base";
pub(super) const WANTED: &str = "opsrun:base-wanted";
const ARCHITECTURE: &str = "opsrun:architecture";
const COMMIT: &str = "opsrun:commit";

/// An image that was baked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Baked {
    /// `ami-…`, or its name where that is what it is found by.
    pub id: String,
    pub name: String,
    pub app: String,
    pub role: String,
    pub role_hash: String,
    /// What it was baked from, and what the user had called that.
    pub base: String,
    pub base_wanted: String,
    pub architecture: String,
    /// Of the project, when it was baked.
    pub commit: Option<String>,
    pub created: Option<Timestamp>,
    /// `available`, `pending`, `failed`
    pub state: String,
    pub bytes: u64,
    /// Who uses it; only where that was asked for.
    pub used_by: Vec<String>,
}

impl Baked {
    fn new(id: String, name: String, facts: &BTreeMap<String, String>) -> Self {
        let fact = |key: &str| facts.get(key).cloned().unwrap_or_default();
        Self {
            id,
            name,
            app: fact(APP),
            role: fact(ROLE),
            role_hash: fact(ROLE_HASH),
            base: fact(BASE),
            base_wanted: fact(WANTED),
            architecture: fact(ARCHITECTURE),
            commit: facts.get(COMMIT).cloned(),
            created: None,
            state: "available".to_owned(),
            bytes: 0,
            used_by: Vec::new(),
        }
    }

    fn of_account(image: &OwnImage) -> Self {
        let own = Self::new(image.id.clone(), image.name.clone(), &image.tags);
        let architecture = if own.architecture.is_empty() { image.architecture.clone() } else { own.architecture.clone() };
        Self { created: image.created, state: image.state.clone(), bytes: image.size << 30, architecture, ..own }
    }

    fn of_cache(line: &ImageLine) -> Self {
        let image = &line.image;
        let own = Self::new(image.name.clone(), image.name.clone(), &image.facts);
        Self { created: Some(image.created), bytes: image.bytes, used_by: line.used_by.clone(), ..own }
    }

    pub fn is_failed(&self) -> bool {
        ["failed", "error", "invalid"].contains(&self.state.as_str())
    }

    /// Fails unless it is what the recipe makes.
    pub fn check(&self, recipe: &Recipe) -> Result<()> {
        if self.role_hash == recipe.hash {
            return Ok(());
        }
        let why = if self.role_hash.is_empty() { "opsrun did not bake it" } else { "its content is another" };
        Err(Error::new(Kind::Provider, format!("there is an image \"{}\" ({}) already, and {why}", self.name, self.id))
            .hint("Its name is that of the image to be baked. Look at it, and remove or rename it."))
    }
}

/// What is to be known of the image that a recipe makes.
pub fn new_image(recipe: &Recipe, commit: Option<String>) -> NewImage {
    let mut facts: BTreeMap<String, String> = [
        (APP, recipe.app.clone()),
        (ROLE, recipe.role()),
        (ROLE_HASH, recipe.hash.clone()),
        (BASE, recipe.base.id.clone()),
        (WANTED, recipe.base.wanted.clone()),
        (ARCHITECTURE, recipe.base.architecture.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    facts.extend(commit.map(|commit| (COMMIT.to_owned(), commit)));
    NewImage { name: recipe.name(), facts }
}

/// The images there are.
pub enum Shelf {
    Cache(Images),
    Account(Box<baked::Shelf>),
}

impl Shelf {
    /// Of the provider that a config names.
    pub async fn open(project: &Project, config: &Config, inputs: Inputs<'_>) -> Result<Self> {
        match config.provider {
            ProviderKind::Aws => Ok(Self::Account(Box::new(baked::Shelf::connect(&aws_access(config, inputs)?).await?))),
            _ => Ok(Self::cache(project)),
        }
    }

    pub fn cache(project: &Project) -> Self {
        Self::Cache(Images::new(&project.cache))
    }

    /// What is to be baked from. An image that was taken for the same words before is taken again, as long as it is there.
    pub async fn base(&self, wanted: &Wanted, before: Option<String>, cx: &Cx) -> Result<Base> {
        let words = wanted.words();
        match (self, wanted) {
            (Self::Account(account), Wanted::Ami(choice)) => {
                if let Some(id) = before.filter(|_| choice.id().is_none())
                    && let Some(architecture) = account.architecture(&id, cx).await?
                {
                    return Ok(Base { id, architecture, wanted: words });
                }
                let (id, architecture) = account.base(choice, cx).await?;
                Ok(Base { id, architecture, wanted: words })
            }
            (Self::Cache(images), Wanted::Layer(image)) => {
                let id = images.base(image.as_deref())?;
                Ok(Base { id, architecture: std::env::consts::ARCH.to_owned(), wanted: words })
            }
            _ => Err(Error::internal("a base that is not of this shelf")),
        }
    }

    /// All images that were baked, oldest first; without who uses them.
    pub async fn list(&self, cx: &Cx) -> Result<Vec<Baked>> {
        match self {
            Self::Account(account) => Ok(account.list(cx).await?.iter().map(Baked::of_account).collect()),
            Self::Cache(images) => {
                let lines = images.list()?;
                let mut baked: Vec<Baked> =
                    lines.iter().filter(|l| l.image.facts.contains_key(ROLE_HASH)).map(Baked::of_cache).collect();
                baked.sort_by_key(|image| image.created);
                Ok(baked)
            }
        }
    }

    /// The same with who uses them.
    pub async fn list_with_users(&self, cx: &Cx) -> Result<Vec<Baked>> {
        let mut all = self.list(cx).await?;
        self.tell_users(&mut all, cx).await?;
        Ok(all)
    }

    pub(super) async fn tell_users(&self, images: &mut [Baked], cx: &Cx) -> Result<()> {
        let mut users = match self {
            Self::Account(account) => account.users(&images.iter().map(|i| i.id.clone()).collect(), cx).await?,
            Self::Cache(cache) => cache.list()?.into_iter().map(|line| (line.image.name, line.used_by)).collect(),
        };
        for image in images {
            image.used_by = users.remove(&image.id).unwrap_or_default();
        }
        Ok(())
    }

    /// The image of this name, whoever made it.
    pub async fn named(&self, name: &str, cx: &Cx) -> Result<Option<Baked>> {
        match self {
            Self::Account(account) => Ok(account.named(name, cx).await?.as_ref().map(Baked::of_account)),
            Self::Cache(images) => Ok(images.find(name)?.map(|image| Baked::of_cache(&ImageLine { image, used_by: Vec::new() }))),
        }
    }

    /// The image of this name, or of this ID.
    pub(super) async fn find(&self, name: &str, cx: &Cx) -> Result<Option<Baked>> {
        match self {
            Self::Account(_) if name.starts_with("ami-") => Ok(self.list(cx).await?.into_iter().find(|i| i.id == name)),
            _ => self.named(name, cx).await,
        }
    }

    /// Stays until an image that is being made can be used.
    pub async fn wait(&self, image: Baked, cx: &Cx) -> Result<Baked> {
        match self {
            Self::Account(account) if image.state != "available" => {
                account.wait(&image.id, &image.name, cx).await.map(|made| Baked::of_account(&made))
            }
            _ => Ok(image),
        }
    }

    /// Removes an image with all that belongs to it. Whether somebody uses it is asked by the caller.
    pub(super) async fn remove(&self, image: &Baked, cx: &Cx) -> Result<()> {
        match self {
            Self::Account(account) => match account.named(&image.name, cx).await? {
                Some(own) if own.id == image.id => account.remove(&own, cx).await,
                _ => Ok(()),
            },
            Self::Cache(images) => images.remove(&image.name, cx).await,
        }
    }

    /// Removes what a removal that was cut off has left: of this image, or of all. Returns the names of the images.
    pub(super) async fn sweep(&self, name: Option<&str>, cx: &Cx) -> Result<Vec<String>> {
        let Self::Account(account) = self else { return Ok(Vec::new()) };
        let mut swept = Vec::new();
        for (of, snapshots) in account.left_over(cx).await? {
            if name.is_none_or(|name| name == of) {
                account.remove_snapshots(&snapshots, cx).await?;
                swept.push(of);
            }
        }
        Ok(swept)
    }
}
