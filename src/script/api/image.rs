//! Images: baked of roles, listed, removed.

use crate::base::error::{Error, Result};
use crate::domain::image::{self, Baked, Place};
use crate::script::convert::from_json;
use crate::script::options::{shown, strings, text};
use crate::script::roles::{Call, Fresh, bake_all, check_bakes};
use crate::script::{Host, Options, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};

/// Where the images are that a call is about.
fn place(host: &Host, options: &mut Options) -> Result<Place> {
    let (env, region) = (options.text("env")?, options.text("region")?);
    let files = match options.value("config") {
        None => Vec::new(),
        Some(value) => texts("config", &value)?.iter().map(|file| host.path(file)).collect(),
    };
    Place::of(env, files, region)
}

/// A text, or an array of them.
fn texts(key: &str, value: &Dynamic) -> Result<Vec<String>> {
    let found = text(value).map(|text| vec![text]).or_else(|| strings(value));
    found.ok_or_else(|| Error::usage(format!("`{key}` must be a text, or an array of texts, not {}", shown(value))))
}

fn map_of(image: &Baked) -> Dynamic {
    from_json(&serde_json::to_value(image).unwrap_or_default())
}

fn bake_with(context: &NativeCallContext, images: &[Dynamic], options: Map) -> Result<Array> {
    let host = Host::of(context);
    host.must_act(context, &Call::changes("bake", ""))?;
    let mut options = Options::new("bake", options);
    let place = place(&host, &mut options)?;
    let (group, app, expires) = (options.text("group")?, options.text("app")?, options.text("expires")?);
    let (fresh, refresh) = (options.bool("fresh")?.unwrap_or(false), options.bool("refresh_images")?.unwrap_or(false));
    options.finish()?;
    let images = images.iter().map(|roles| texts("roles", roles)).collect::<Result<Vec<_>>>()?;
    let mut orders = place.orders(host.project(), &images, group.as_deref())?;
    for order in &mut orders {
        expires.iter().try_for_each(|after| order.expires(after))?;
        if let Some(app) = &app {
            order.set_app(app);
        }
    }
    let (shelf, bakes) = host.block_on(async {
        let shelf = place.open(host.project()).await?;
        let bakes = image::plan(host.project(), &shelf, orders, refresh, &host.cx).await?;
        Ok((shelf, bakes))
    })?;
    let baked = check_bakes(&bakes, bake_all(&host, &shelf, &bakes, fresh, &host.watch(false)))?;
    let map = |Fresh { image, made }: Fresh| {
        let mut value = serde_json::to_value(&image).unwrap_or_default();
        value["made"] = made.into();
        from_json(&value)
    };
    Ok(baked.into_iter().map(map).collect())
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// Makes images of roles, all at the same time: each on a machine of its own, which is removed afterwards.
    ///
    /// `roles` is an array with a text for each image; an array within it is one image of several roles. Options: `env` (an
    /// environment's name) or `config` (a file, or an array of them), `group` (whose base, machine type and variables are
    /// meant), `app`, `fresh` (without the machine that an earlier bake has left), `refresh_images`, `expires` ("6h").
    /// An image that is there is not made again. Returns an array of maps: name, id, app, role, role_hash, base, base_wanted,
    /// architecture, commit, created, state, bytes, used_by, made (false: it was there). Throws when one fails, after all
    /// others are done; its machine is kept, and the next `bake` goes on with it.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let made = bake(["nginx", ["base", "redis"]], #{ config: "configs/lab.yml" });
    /// print(made[0].id);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn bake(context: NativeCallContext, roles: Array, options: Map) -> ScriptResult<Array> {
        Ok(if roles.is_empty() { Array::new() } else { bake_with(&context, &roles, options)? })
    }

    /// Without roles: of the roles that each group has, or the one that is named.
    ///
    /// # Example
    /// ```rhai,no_run
    /// for image in bake(#{ env: "staging" }) { print(`${image.name}: ${image.id}`); }
    /// ```
    #[rhai_fn(name = "bake", return_raw)]
    pub fn bake_groups(context: NativeCallContext, options: Map) -> ScriptResult<Array> {
        Ok(bake_with(&context, &[], options)?)
    }

    /// The images that were baked, oldest first: maps as of `bake`, with who uses them in `used_by`.
    ///
    /// Options: `env`, `config` or `region` say where; without, those in this user's cache.
    ///
    /// # Example
    /// ```rhai
    /// for image in images(#{}) { print(`${image.role}: ${image.id}`); }
    /// ```
    #[rhai_fn(name = "images", return_raw)]
    pub fn images_of(context: NativeCallContext, options: Map) -> ScriptResult<Array> {
        let host = Host::of(&context);
        let mut options = Options::new("images", options);
        let place = place(&host, &mut options)?;
        options.finish()?;
        let all = host.block_on(async { place.open(host.project()).await?.list_with_users(&host.cx).await })?;
        Ok(all.iter().map(map_of).collect())
    }

    /// Removes an image of an account of AWS with its snapshots; options `env`, `config` or `region` say where.
    ///
    /// Throws when instances, launch templates, auto-scaling groups or stacks use it, and names them.
    ///
    /// # Example
    /// ```rhai,no_run
    /// remove_image("shop-nginx-0a1b2c3d4e5f", #{ env: "staging" });
    /// ```
    #[rhai_fn(name = "remove_image", return_raw)]
    pub fn remove_image_of(context: NativeCallContext, name: &str, options: Map) -> ScriptResult<()> {
        let host = Host::of(&context);
        host.must_act(&context, &Call::changes("remove_image", name))?;
        let mut options = Options::new("remove_image", options);
        let place = place(&host, &mut options)?;
        options.finish()?;
        let names = [name.to_owned()];
        host.block_on(async { image::remove(&place.open(host.project()).await?, &names, &host.cx).await })?;
        Ok(())
    }

    /// Removes all but the newest `keep` images of each application's roles; those that somebody uses stay.
    ///
    /// Options: `role` (only of this one); `env`, `config` or `region` say where. Returns `#{ removed, used }`: the names
    /// that are gone, and maps as of `images` of those that were spared because they are in use.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let done = prune_images(3, #{ env: "staging" });
    /// print(`${done.removed.len()} are gone`);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn prune_images(context: NativeCallContext, keep: i64, options: Map) -> ScriptResult<Map> {
        let host = Host::of(&context);
        host.must_act(&context, &Call::changes("prune_images", ""))?;
        let mut options = Options::new("prune_images", options);
        let place = place(&host, &mut options)?;
        let role = options.text("role")?;
        options.finish()?;
        let keep = usize::try_from(keep).ok().filter(|keep| *keep > 0);
        let keep = keep.ok_or_else(|| Error::usage("prune_images keeps 1 image or more"))?;
        let done =
            host.block_on(async { image::prune(&place.open(host.project()).await?, keep, role.as_deref(), &host.cx).await })?;
        let removed: Array = done.removed.into_iter().map(Dynamic::from).collect();
        let used: Array = done.used.iter().map(map_of).collect();
        Ok([("removed".into(), removed.into()), ("used".into(), used.into())].into_iter().collect())
    }
}
