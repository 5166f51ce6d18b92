//! The images of an environment: which there are, and those that are missing, baked.

use super::environment::Handle as Environment;
use super::stack;
use crate::base::error::{Error, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::formation::Template;
use crate::domain::image::{self, Bake, GroupImage, Shelf};
use crate::script::convert::from_json;
use crate::script::roles::{Call, bake_all, check_bakes};
use crate::script::{Host, Options, Placed, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};
use serde_json::json;
use std::collections::BTreeMap;

/// What is known of an environment's images.
struct Known {
    shelf: Shelf,
    images: Vec<GroupImage>,
    template: Template,
    environment: Environment,
}

impl Known {
    fn find(host: &Host, environment: &Environment) -> Result<Self> {
        let template = environment.template()?;
        let found = host.block_on(image::of(host.project(), environment, false, &host.cx))?;
        Ok(Self { shelf: found.0, images: found.1, template, environment: environment.clone() })
    }

    /// Machines that stay get their roles pushed: another image would replace them.
    fn stays(&self, image: &GroupImage) -> bool {
        self.environment.stays(&self.template, &image.group)
    }

    /// What each group has now: its image, or what the stack has, or what it would be baked from. `ahead`: as if what is missing
    /// were baked; its base stands for it.
    fn ids(&self, host: &Host, ahead: bool) -> Result<BTreeMap<String, String>> {
        let stack = stack::open(host, &self.environment)?;
        let present = host.block_on(stack.stack.look(&host.cx))?.map(|l| l.parameters).unwrap_or_default();
        let id = |image: &GroupImage| {
            let of_stack = self.environment.group(&image.group).ok().and_then(|g| present.get(&g.image_parameter()));
            let ready = ready(image).filter(|_| !self.stays(image));
            let of_stack = of_stack.filter(|_| !ahead || self.stays(image));
            ready.or(of_stack.map(String::as_str)).unwrap_or(&image.base.id).to_owned()
        };
        Ok(self.images.iter().map(|image| (image.group.clone(), id(image))).collect())
    }

    fn maps(&self) -> Array {
        let map = |image: &GroupImage| {
            let stays = self.stays(image);
            from_json(&json!({
                "group": image.group,
                "roles": image.roles,
                "base": image.base.id,
                "name": image.recipe().filter(|_| !stays).map(image::Recipe::name),
                "id": if stays { Some(image.base.id.as_str()) } else { ready(image) },
                "baked": image.bake.is_some() && !stays,
            }))
        };
        self.images.iter().map(map).collect()
    }
}

/// The image, where there is nothing to be done about it.
fn ready(image: &GroupImage) -> Option<&str> {
    if image.bake.is_none() {
        return image.id();
    }
    image.found.as_ref().filter(|f| f.state == "available").map(|f| f.id.as_str())
}

/// The ID of the image of each group; its base stands for one that is still to be baked.
pub(super) fn ids(host: &Host, environment: &Environment) -> Result<BTreeMap<String, String>> {
    Known::find(host, environment)?.ids(host, true)
}

fn bake(context: &NativeCallContext, environment: &Environment, options: Map) -> Result<Map> {
    let host = Host::of(context);
    let mut options = Options::new("bake_images", options);
    let groups = options.strings("groups")?;
    let fresh = options.bool("fresh")?.unwrap_or(false);
    options.finish()?;
    for name in groups.iter().flatten() {
        if environment.groups.iter().all(|g| g.name != *name) {
            let near = did_you_mean(name, environment.groups.iter().map(|g| g.name.as_str()));
            return Err(Error::usage(format!("environment {} has no group \"{name}\"", environment.name)).hint_if(near));
        }
    }
    host.must_act(context, &Call::changes("bake_images", &environment.name))?;
    let known = Known::find(&host, environment)?;
    let wanted = |image: &&GroupImage| {
        // A bake that was cut off after its image was there has its machine still.
        let to_do = ready(image).is_none() || image.bake.as_ref().is_some_and(Bake::is_kept);
        groups.as_ref().is_none_or(|groups| groups.contains(&image.group)) && !known.stays(image) && to_do
    };
    let mut bakes: Vec<Bake> = Vec::new();
    for bake in known.images.iter().filter(wanted).filter_map(|image| image.bake.as_ref()) {
        if bakes.iter().all(|b| b.recipe.name() != bake.recipe.name()) {
            host.cx.events.info(format!(
                "baking image {}: {} on {}",
                bake.recipe.name(),
                bake.recipe.roles.join(", "),
                bake.recipe.base.id
            ));
            bakes.push(bake.clone());
        }
    }
    let outcomes = bake_all(&host, &known.shelf, &bakes, fresh, &host.watch(false));
    let made = check_bakes(&bakes, outcomes)?;
    let mut ids = known.ids(&host, false)?;
    for image in known.images.iter().filter(wanted) {
        let name = image.recipe().map(image::Recipe::name);
        if let Some(made) = made.iter().find(|m| Some(&m.image.name) == name.as_ref()) {
            ids.insert(image.group.clone(), made.image.id.clone());
        }
    }
    Ok(as_map(ids))
}

fn as_map(ids: BTreeMap<String, String>) -> Map {
    ids.into_iter().map(|(group, id)| (group.into(), id.into())).collect()
}

#[export_module]
pub mod module {
    /// The images of its groups: maps with `group, roles, base, name, id, baked`; `id` is `()` for one that is still to be baked.
    ///
    /// Groups whose machines are instances of the stack itself start from their base, and get their roles pushed.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let missing = environment("staging").images().filter(|i| i.id == ());
    /// print(missing.map(|i| i.name));
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn images(context: NativeCallContext, e: &mut Environment) -> ScriptResult<Array> {
        Known::find(&Host::of(&context), e).map(|known| known.maps()).here(&context)
    }

    /// The ID of the image of each group, a map; where one is still to be baked, its base stands for it.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").image_ids().web);
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn image_ids(context: NativeCallContext, e: &mut Environment) -> ScriptResult<Map> {
        let host = Host::of(&context);
        ids(&host, e).map(as_map).here(&context)
    }

    /// Bakes the images that are missing, all at the same time, and returns the ID of the image of each group, a map.
    ///
    /// A bake that fails keeps its machine for a while, and the next one goes on with it; the error names them all.
    /// Options: `groups` (only those of these groups), `fresh` (true: without machines that earlier bakes have left).
    ///
    /// # Example
    /// ```rhai,no_run
    /// let e = environment("staging");
    /// let plan = e.stack().change_set(#{ images: e.bake_images(#{}) });
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn bake_images(context: NativeCallContext, e: &mut Environment, options: Map) -> ScriptResult<Map> {
        bake(&context, e, options).here(&context)
    }

    /// Removes the images of its application that nobody uses, and the machines of bakes that had not ended.
    ///
    /// Returns `#{ removed, used, bakes }`: names of images, images that stay because somebody uses them, names of bakes.
    ///
    /// # Example
    /// ```rhai,no_run
    /// print(environment("staging").clean_images().removed);
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn clean_images(context: NativeCallContext, e: &mut Environment) -> ScriptResult<Dynamic> {
        let host = Host::of(&context);
        host.must_act(&context, &Call::changes("clean_images", &e.name)).here(&context)?;
        let removed = host.block_on_to_the_end(image::clean(host.project(), e, &host.cx)).here(&context)?;
        Ok(from_json(&json!(removed)))
    }
}
