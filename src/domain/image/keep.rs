//! Which images there are for whom, and being rid of those that nobody needs.

use super::bake::Bake;
use super::order::{Order, Wanted};
use super::recipe::{Base, Recipe};
use super::shelf::{Baked, Shelf};
use crate::base::error::{Error, Kind, Result, ResultExt};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::domain::deployment;
use crate::domain::environment::Environment;
use crate::transport::provider::NewImage;
use crate::transport::state::{self, Store};
use serde::Serialize;
use std::collections::BTreeMap;

/// What the machines of a group start from.
#[derive(Clone, Debug)]
pub struct GroupImage {
    pub group: String,
    pub roles: Vec<String>,
    pub base: Base,
    /// How it is to be baked; none for a group without roles, which starts from the base itself.
    pub bake: Option<Bake>,
    /// The image, where it is there and there is nothing left to do for it.
    pub found: Option<Baked>,
}

impl GroupImage {
    pub fn recipe(&self) -> Option<&Recipe> {
        self.bake.as_ref().map(|b| &b.recipe)
    }

    /// The ID that the group's machines start from, where nothing is to be baked for it.
    pub fn id(&self) -> Option<&str> {
        match self.bake {
            Some(_) => self.found.as_ref().map(|f| f.id.as_str()),
            None => Some(&self.base.id),
        }
    }
}

/// What came of being rid of images.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Removed {
    pub removed: Vec<String>,
    /// Images that somebody uses.
    pub used: Vec<Baked>,
    /// Machines of bakes that had not ended.
    pub bakes: Vec<String>,
}

/// The images of all groups of an environment, found or missing.
pub async fn of(project: &Project, environment: &Environment, refresh: bool, cx: &Cx) -> Result<(Shelf, Vec<GroupImage>)> {
    let shelf = shelf_of(project, environment).await?;
    let known = shelf.list(cx).await?;
    let mut bases = Bases { project, shelf: &shelf, known: &known, refresh, chosen: BTreeMap::new() };
    let mut images = Vec::new();
    for group in &environment.groups {
        let at = || format!("finding the image of group {}", group.name);
        // An order is of roles; a group without has its own image.
        if group.roles.is_empty() {
            let Some(choice) = &group.image else { continue };
            let base = bases.find(&environment.app, &Wanted::Ami(choice.clone()), cx).await.context(at)?;
            images.push(GroupImage { group: group.name.clone(), roles: Vec::new(), base, bake: None, found: None });
            continue;
        }
        let order = Order::of_environment(environment, group, None)?;
        let base = bases.find(&order.app, &order.base, cx).await.context(at)?;
        let bake = Bake::new(project, order.clone(), order.recipe(project, base.clone()).context(at)?);
        // Where its machine is still there, a bake was cut off at its end: the next one only removes that.
        let ready = |i: &&Baked| i.name == bake.recipe.name() && !i.is_failed() && !bake.is_kept();
        let found = known.iter().find(ready).cloned();
        if let Some(found) = &found {
            found.check(&bake.recipe)?;
        }
        images.push(GroupImage { group: group.name.clone(), roles: group.roles.clone(), base, bake: Some(bake), found });
    }
    Ok((shelf, images))
}

/// The images of the account and region that an environment is in.
pub async fn shelf_of(project: &Project, environment: &Environment) -> Result<Shelf> {
    let config = environment.config("groups: {}")?;
    let inputs = environment.paths();
    let inputs = deployment::Inputs { files: &inputs, environment: Some(&environment.name) };
    Shelf::open(project, &config, inputs).await
}

/// How these orders are baked. Those of the same words have the same base.
pub async fn plan(project: &Project, shelf: &Shelf, orders: Vec<Order>, refresh: bool, cx: &Cx) -> Result<Vec<Bake>> {
    let known = if refresh { Vec::new() } else { shelf.list(cx).await? };
    let mut bases = Bases { project, shelf, known: &known, refresh, chosen: BTreeMap::new() };
    let mut bakes: Vec<Bake> = Vec::new();
    for order in orders {
        let base = bases.find(&order.app, &order.base, cx).await?;
        let bake = Bake::new(project, order.clone(), order.recipe(project, base)?);
        if bakes.iter().all(|b| b.recipe.name() != bake.recipe.name()) {
            bakes.push(bake);
        }
    }
    Ok(bakes)
}

/// Words for images that are no IDs are looked up once, and then mean the same until the user wants it anew: what they meant is
/// known from the newest image of this application that was baked for them, or from a bake that has not ended.
struct Bases<'a> {
    project: &'a Project,
    shelf: &'a Shelf,
    known: &'a [Baked],
    refresh: bool,
    chosen: BTreeMap<Wanted, Base>,
}

impl Bases<'_> {
    async fn find(&mut self, app: &str, wanted: &Wanted, cx: &Cx) -> Result<Base> {
        if let Some(base) = self.chosen.get(wanted) {
            return Ok(base.clone());
        }
        let words = wanted.words();
        let same = |i: &&Baked| i.app == app && i.base_wanted == words;
        let before = if self.refresh { None } else { self.known.iter().rev().find(same).map(|i| i.base.clone()) };
        let before = before.or_else(|| if self.refresh { None } else { kept_base(self.project, app, &words) });
        let base = self.shelf.base(wanted, before, cx).await?;
        self.chosen.insert(wanted.clone(), base.clone());
        Ok(base)
    }
}

/// Deployments of bakes that have not ended, with what they were to become.
fn kept(project: &Project) -> Vec<(String, NewImage)> {
    let deployments = project.deployments();
    let names = state::names(&deployments).unwrap_or_default();
    let bake = |name: String| {
        let record = Store::new(&deployments, &name).ok()?.read().ok()??;
        Some((name, serde_json::from_value(record.bake?).ok()?))
    };
    names.into_iter().filter_map(bake).collect()
}

fn kept_base(project: &Project, app: &str, words: &str) -> Option<String> {
    let fact = |image: &NewImage, key: &str| image.facts.get(key).cloned().unwrap_or_default();
    let of =
        |(_, image): &(String, NewImage)| fact(image, super::shelf::APP) == app && fact(image, super::shelf::WANTED) == words;
    kept(project).into_iter().rfind(of).map(|(_, image)| fact(&image, super::shelf::BASE))
}

/// Removes these images. When somebody uses one of them, removes none, and says who.
pub async fn remove(shelf: &Shelf, names: &[String], cx: &Cx) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in names {
        match shelf.find(name, cx).await? {
            Some(image) => found.push(image),
            // Its removal was cut off after the first half.
            None if shelf.sweep(Some(name), cx).await?.contains(name) => {}
            None => {
                let known = shelf.list(cx).await?;
                let error = Error::new(Kind::NotFound, format!("there is no image \"{name}\""));
                let near = crate::base::suggest::did_you_mean(name, known.iter().map(|i| i.name.as_str()));
                return Err(error.hint_if(near).hint("`opsrun image ls` lists them."));
            }
        }
    }
    shelf.tell_users(&mut found, cx).await?;
    // Those that stand on others of these go with them, and before them: they are younger.
    let going: Vec<String> = found.iter().map(|i| format!("image {}", i.name)).collect();
    for image in &mut found {
        image.used_by.retain(|user| !going.contains(user));
    }
    found.sort_by_key(|image| std::cmp::Reverse(image.created));
    let used: Vec<Error> = found.iter().filter(|i| !i.used_by.is_empty()).map(in_use).collect();
    match used.as_slice() {
        [] => {}
        [only] => return Err(only.clone()),
        many => {
            let message = format!("{} images are in use; none was removed", many.len());
            return Err(Error::new(Kind::Provider, message).with_failed(used));
        }
    }
    for image in &found {
        let again = || "Run the same command again to go on.".to_owned();
        shelf.remove(image, cx).await.context(|| format!("removing image {}", image.name)).hint(again)?;
    }
    Ok(names.to_vec())
}

fn in_use(image: &Baked) -> Error {
    // Here a name is all it has.
    let id = if image.id == image.name { String::new() } else { format!(" ({})", image.id) };
    Error::new(Kind::Provider, format!("image \"{}\"{id} is in use by {}", image.name, image.used_by.join(", ")))
        .hint("Take it out of use first: those would not find it again.")
}

/// Keeps the newest of each application's roles, and those that somebody uses.
pub async fn prune(shelf: &Shelf, keep: usize, role: Option<&str>, cx: &Cx) -> Result<Removed> {
    let mut by_role: BTreeMap<(String, String), Vec<Baked>> = BTreeMap::new();
    for image in shelf.list(cx).await?.into_iter().filter(|i| role.is_none_or(|role| i.role == role)) {
        by_role.entry((image.app.clone(), image.role.clone())).or_default().push(image);
    }
    let old = by_role.into_values().flat_map(|mut images| {
        let keep = images.len().saturating_sub(keep);
        images.truncate(keep);
        images
    });
    remove_unused(shelf, old.collect(), cx).await
}

async fn remove_unused(shelf: &Shelf, mut images: Vec<Baked>, cx: &Cx) -> Result<Removed> {
    shelf.tell_users(&mut images, cx).await?;
    let mut done = Removed { removed: shelf.sweep(None, cx).await?, ..Removed::default() };
    // Images of the cache stand on each other: the newest go first.
    for image in images.into_iter().rev() {
        if image.used_by.is_empty() {
            shelf.remove(&image, cx).await.context(|| format!("removing image {}", image.name))?;
            done.removed.push(image.name);
        } else {
            done.used.push(image);
        }
    }
    Ok(done)
}

/// Removes the images of an environment's application, and the machines of its bakes that have not ended.
pub async fn clean(project: &Project, environment: &Environment, cx: &Cx) -> Result<Removed> {
    let shelf = shelf_of(project, environment).await?;
    let mut bakes = Vec::new();
    for (name, image) in kept(project) {
        if image.facts.get(super::shelf::APP) == Some(&environment.app) {
            deployment::destroy(project, &name, cx).await?;
            bakes.push(name);
        }
    }
    let images = shelf.list(cx).await?.into_iter().filter(|i| i.app == environment.app).collect();
    Ok(Removed { bakes, ..remove_unused(&shelf, images, cx).await? })
}
