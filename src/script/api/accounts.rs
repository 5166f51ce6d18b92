//! Users, groups, and the keys that log in.

use crate::base::error::{Error, Result};
use crate::domain::node::NodeSet;
use crate::domain::resource::kinds::{AuthorizedKeys, Group, NoUser, User, account_name, public_keys};
use crate::script::api::resources::{is_absent, nothing_else, same};
use crate::script::options::{shown, strings};
use crate::script::wanting::{Asked, Common, refuse_local};
use crate::script::{Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};

/// A number of a user or group.
fn number(option: &'static str, function: &str, options: &mut Options) -> Result<Option<u32>> {
    let given = options.int(option)?;
    let bad = |n: i64| Error::usage(format!("option \"{option}\" of {function} cannot be {n}"));
    given.map(|n| u32::try_from(n).ok().filter(|n| *n < u32::MAX).ok_or_else(|| bad(n))).transpose()
}

fn user_of(context: &NativeCallContext, nodes: &NodeSet, name: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("user", options);
    let common = Common::read(context, &mut options)?;
    let user = User {
        name: name.to_owned(),
        uid: number("uid", "user", &mut options)?,
        group: options.string("group")?,
        groups: options.strings("groups")?.unwrap_or_default(),
        only_groups: options.bool("only_groups")?.unwrap_or(false),
        shell: options.string("shell")?,
        home: options.string("home")?,
        comment: options.string("comment")?,
        system: options.bool("system")?.unwrap_or(false),
        create_home: options.bool("create_home")?,
    };
    let (absent, remove_home) = (is_absent("user", &mut options)?, options.bool("remove_home")?);
    options.finish()?;
    refuse_local(nodes, "its users")?;
    user.check()?;
    if absent {
        let given = [
            ("uid", user.uid.is_some()),
            ("group", user.group.is_some()),
            ("groups", !user.groups.is_empty()),
            ("shell", user.shell.is_some()),
            ("home", user.home.is_some()),
            ("comment", user.comment.is_some()),
            ("create_home", user.create_home.is_some()),
        ];
        nothing_else("user", &given)?;
        return same(context, nodes, &common, NoUser { name: user.name, remove_home: remove_home == Some(true) });
    }
    if remove_home.is_some() {
        return Err(Error::usage("option \"remove_home\" of user is for state \"absent\""));
    }
    same(context, nodes, &common, user)
}

fn group_of(context: &NativeCallContext, nodes: &NodeSet, name: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("user_group", options);
    let common = Common::read(context, &mut options)?;
    let (gid, system) = (number("gid", "user_group", &mut options)?, options.bool("system")?.unwrap_or(false));
    let absent = is_absent("user_group", &mut options)?;
    options.finish()?;
    refuse_local(nodes, "its groups")?;
    account_name("group", name)?;
    if absent {
        nothing_else("user_group", &[("gid", gid.is_some())])?;
    }
    same(context, nodes, &common, Group { name: name.to_owned(), gid, system, absent })
}

fn keys_of(context: &NativeCallContext, nodes: &NodeSet, user: &str, keys: &Dynamic, options: Map) -> Result<Asked> {
    let mut options = Options::new("authorized_keys", options);
    let common = Common::read(context, &mut options)?;
    let exclusive = options.bool("exclusive")?.unwrap_or(false);
    let absent = is_absent("authorized_keys", &mut options)?;
    options.finish()?;
    refuse_local(nodes, "its keys")?;
    account_name("user", user)?;
    let texts = strings(keys).ok_or_else(|| {
        Error::usage(format!("authorized_keys takes keys as a string or an array of strings, not {}", shown(keys)))
    })?;
    let keys = public_keys(&texts.join("\n"))?;
    if keys.is_empty() {
        return Err(Error::usage("there is no key in what authorized_keys was given").hint(
            "To leave a user without any, remove the file: nodes.file(\"/home/…/.ssh/authorized_keys\", #{ state: \"absent\" })",
        ));
    }
    same(context, nodes, &common, AuthorizedKeys { user: user.to_owned(), keys, exclusive, absent })
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// A user on every node. What is not said stays as it is, or as the node does it for a new one.
    ///
    /// Options: `uid`, `group` (the primary one, which must be there), `groups` (further ones; others are kept unless
    /// `only_groups` is true), `shell`, `home`, `comment`, `system` (true: a low number and no home), `create_home` (true),
    /// `state` ("absent", with `remove_home: true` also its files there), and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai,no_run
    /// let servers = deployment().nodes("server");
    /// servers.user("deploy", #{ groups: ["adm"], shell: "/bin/bash" });
    /// servers.user("guest", #{ state: "absent", remove_home: true });
    /// ```
    #[rhai_fn(name = "user", pure, return_raw)]
    pub fn user(context: NativeCallContext, nodes: &mut Nodes, name: &str, options: Map) -> ScriptResult<Asked> {
        Ok(user_of(&context, nodes, name, options)?)
    }

    #[rhai_fn(name = "user", pure, return_raw)]
    pub fn user_plain(context: NativeCallContext, nodes: &mut Nodes, name: &str) -> ScriptResult<Asked> {
        Ok(user_of(&context, nodes, name, Map::new())?)
    }

    /// A group of users on every node. (`.group` of a node is its group in the deployment.)
    ///
    /// Options: `gid`, `system` (true: a low number), `state` ("absent"), and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai,no_run
    /// deployment().nodes("server").user_group("metrics", #{ system: true });
    /// ```
    #[rhai_fn(name = "user_group", pure, return_raw)]
    pub fn user_group(context: NativeCallContext, nodes: &mut Nodes, name: &str, options: Map) -> ScriptResult<Asked> {
        Ok(group_of(&context, nodes, name, options)?)
    }

    #[rhai_fn(name = "user_group", pure, return_raw)]
    pub fn user_group_plain(context: NativeCallContext, nodes: &mut Nodes, name: &str) -> ScriptResult<Asked> {
        Ok(group_of(&context, nodes, name, Map::new())?)
    }

    /// Public SSH keys that may log in as a user on every node: a string, or an array of them, as `.pub` files hold them.
    ///
    /// A key that is there with other options or another comment is changed. Options: `exclusive` (true: no keys but these),
    /// `state` ("absent": not these), and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai,no_run
    /// let servers = deployment().nodes("server");
    /// servers.authorized_keys("deploy", file::read("keys/alice.pub"), #{ exclusive: true });
    /// ```
    #[rhai_fn(name = "authorized_keys", pure, return_raw)]
    pub fn authorized_keys(
        context: NativeCallContext,
        nodes: &mut Nodes,
        user: &str,
        keys: Dynamic,
        options: Map,
    ) -> ScriptResult<Asked> {
        Ok(keys_of(&context, nodes, user, &keys, options)?)
    }

    #[rhai_fn(name = "authorized_keys", pure, return_raw)]
    pub fn authorized_keys_plain(
        context: NativeCallContext,
        nodes: &mut Nodes,
        user: &str,
        keys: Dynamic,
    ) -> ScriptResult<Asked> {
        Ok(keys_of(&context, nodes, user, &keys, Map::new())?)
    }
}
