//! Files, directories and links on nodes as they should be.

use crate::base::error::{Error, Result};
use crate::domain::node::NodeSet;
use crate::domain::resource::Resource;
use crate::domain::resource::kinds::{Absent, Access, Directory, File, Link, checked_path};
use crate::domain::template;
use crate::script::api::transfer::mode_bits;
use crate::script::roles::Folder;
use crate::script::wanting::{Asked, Common, content, holds_secret, want};
use crate::script::{Host, Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{NativeCallContext, export_module};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Mode, owner and group; the owner may be given as "user:group", as for `put`.
pub fn access(options: &mut Options) -> Result<Access> {
    let mode = options.string("mode")?.map(|m| mode_bits(&m)).transpose()?;
    let (mut owner, mut group) = (options.string("owner")?, options.string("group")?);
    let both = owner.as_deref().and_then(|o| o.split_once(':')).map(|(o, g)| (o.to_owned(), g.to_owned()));
    if let Some((user, its)) = both {
        owner = Some(user);
        if group.get_or_insert_with(|| its.clone()) != &its {
            return Err(Error::usage(format!("two groups are given: {its} with the owner, and {}", group.unwrap_or_default())));
        }
    }
    let access = Access { mode, owner, group };
    access.check()?;
    Ok(access)
}

/// Whether the option `state` says "absent"; the other word, for what is there, may be given too.
pub fn is_absent(function: &str, options: &mut Options) -> Result<bool> {
    match options.string("state")?.as_deref() {
        None | Some("present") => Ok(false),
        Some("absent") => Ok(true),
        Some(other) => {
            let error = Error::usage(format!("{function} has no state \"{other}\""));
            Err(error.hint("States are \"present\" and \"absent\"."))
        }
    }
}

/// What is not there has neither content nor mode.
pub fn nothing_else(function: &str, given: &[(&str, bool)]) -> Result<()> {
    match given.iter().find(|(_, is)| *is) {
        Some((name, _)) => Err(Error::usage(format!("{function} is to be absent: option \"{name}\" makes no sense with that"))),
        None => Ok(()),
    }
}

pub fn access_given(access: &Access) -> [(&'static str, bool); 3] {
    [("mode", access.mode.is_some()), ("owner", access.owner.is_some()), ("group", access.group.is_some())]
}

/// The same resource on every node.
pub fn same(context: &NativeCallContext, nodes: &NodeSet, common: &Common, one: impl Resource + 'static) -> Result<Asked> {
    let resource: Arc<dyn Resource> = Arc::new(one);
    want(context, nodes, common, |_| Ok(vec![resource.clone()]))
}

fn file_at(context: &NativeCallContext, nodes: &NodeSet, path: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("file", options);
    let common = Common::read(context, &mut options)?;
    let (text, from) = (options.value("content"), options.string("source")?);
    let (access, validate) = (access(&mut options)?, options.string("validate")?);
    let (absent, secret) = (is_absent("file", &mut options)?, options.bool("secret")?);
    options.finish()?;
    let path = checked_path(path)?;
    if absent {
        nothing_else("file", &[("content", text.is_some()), ("source", from.is_some()), ("validate", validate.is_some())])?;
        nothing_else("file", &access_given(&access))?;
        return same(context, nodes, &common, Absent { secret: secret == Some(true), ..Absent::file(path) });
    }
    let (content, hidden) = match (text, from) {
        (Some(_), Some(_)) => return Err(Error::usage("file takes either \"content\" or \"source\"")),
        (Some(text), None) => content("file", &text).map(|(c, s)| (Some(c), s))?,
        (None, Some(from)) => (Some(Host::of(context).source_file(Folder::Files, &from)?.content.into()), false),
        (None, None) => (None, false),
    };
    let secret = secret.unwrap_or_else(|| hidden || content.as_ref().is_some_and(|c| holds_secret(&c.bytes)));
    same(context, nodes, &common, File { kind: "file", path, content, access, secret, validate })
}

fn directory_at(context: &NativeCallContext, nodes: &NodeSet, path: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("directory", options);
    let common = Common::read(context, &mut options)?;
    let (access, recursive) = (access(&mut options)?, options.bool("recursive")?);
    let absent = is_absent("directory", &mut options)?;
    options.finish()?;
    let path = checked_path(path)?;
    if absent {
        nothing_else("directory", &access_given(&access))?;
        let absent = Absent { kind: "directory", path, recursive: recursive == Some(true), secret: false };
        absent.check()?;
        return same(context, nodes, &common, absent);
    }
    if recursive.is_some() {
        return Err(Error::usage("option \"recursive\" of directory is for state \"absent\"")
            .hint("Directories above one that is missing are always made."));
    }
    same(context, nodes, &common, Directory { path, access })
}

fn link_at(context: &NativeCallContext, nodes: &NodeSet, path: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("link", options);
    let common = Common::read(context, &mut options)?;
    let (to, force) = (options.string("to")?, options.bool("force")?);
    let absent = is_absent("link", &mut options)?;
    options.finish()?;
    let path = checked_path(path)?;
    if absent {
        nothing_else("link", &[("to", to.is_some()), ("force", force.is_some())])?;
        return same(context, nodes, &common, Absent { kind: "link", ..Absent::file(path) });
    }
    let to = to.ok_or_else(|| Error::usage("link does not say where it leads").hint("nodes.link(path, #{ to: \"…\" })"))?;
    let link = Link { path, to, force: force == Some(true) };
    link.check()?;
    same(context, nodes, &common, link)
}

fn filled_in(context: &NativeCallContext, nodes: &NodeSet, from: &str, path: &str, options: Map) -> Result<Asked> {
    let host = Host::of(context);
    let mut options = Options::new("template", options);
    let common = Common::read(context, &mut options)?;
    let vars = options.map("vars")?.unwrap_or_default();
    let (access, validate, secret) = (access(&mut options)?, options.string("validate")?, options.bool("secret")?);
    options.finish()?;
    let path = checked_path(path)?;
    let file = host.source_file(Folder::Templates, from)?;
    let name = file.name.clone();
    let text = file.text()?;
    let of = nodes.names().into_iter().zip(host.template_vars(nodes, &text, &vars)?).collect::<HashMap<_, _>>();
    want(context, nodes, &common, |node| {
        let filled = template::render(&name, &text, of.get(&node.name).unwrap_or(&Value::Null))?;
        let hidden = secret.unwrap_or_else(|| holds_secret(filled.as_bytes()));
        let (path, access, validate) = (path.clone(), access.clone(), validate.clone());
        let content = Some(filled.into_bytes().into());
        Ok(vec![Arc::new(File { kind: "template", path, content, access, secret: hidden, validate })])
    })
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// A file on every node with this content, mode and owner. It is replaced whole or not at all, and only where it differs.
    ///
    /// The content is given as `content` (a string, a secret or a blob) or as `source` (a file of this machine: in a role one of
    /// its `files/`, else relative to the project's folder); without either, the file keeps what it holds. Its directory must
    /// be there. A link in its place is replaced by the file. Relative paths begin at the login folder.
    ///
    /// Options: `mode` ("0644", for secrets "0600"; a file that is there keeps its own), `owner`, `group`,
    /// `state` ("absent": no such file), `secret` (true: never show content or diff; known secrets are noticed anyway),
    /// `validate` (a command that is given the new file as its last word before it takes its place: "visudo -cf").
    ///
    /// All functions for resources also take `notify` in a role (a handler, or an array of them, run at its end where
    /// something changed), and in a plain script `check` (true: change nothing, say what would be) and `diff` (true: show how).
    ///
    /// # Example
    /// ```rhai
    /// let servers = deployment().nodes("server");
    /// servers.file("greeting.txt", #{ content: "hello\n", mode: "0640" });
    /// assert_eq(servers.first.read("greeting.txt"), ["hello\n"]);
    /// assert(!servers.file("greeting.txt", #{ content: "hello\n" }).changed);
    /// servers.file("greeting.txt", #{ state: "absent" });
    /// ```
    #[rhai_fn(name = "file", pure, return_raw)]
    pub fn file(context: NativeCallContext, nodes: &mut Nodes, path: &str, options: Map) -> ScriptResult<Asked> {
        Ok(file_at(&context, nodes, path, options)?)
    }

    /// A directory on every node with this mode and owner. Those above it are made when they are missing.
    ///
    /// Options: `mode` ("0755" for a new one), `owner`, `group`, `state` ("absent"), `recursive` (true: an absent one is
    /// removed with all that is beneath it), and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai
    /// let servers = deployment().nodes("server");
    /// assert(servers.directory("data/cache", #{ mode: "0700" }).changed);
    /// assert(!servers.directory("data/cache").changed);
    /// servers.directory("data", #{ state: "absent", recursive: true });
    /// ```
    #[rhai_fn(name = "directory", pure, return_raw)]
    pub fn directory(context: NativeCallContext, nodes: &mut Nodes, path: &str, options: Map) -> ScriptResult<Asked> {
        Ok(directory_at(&context, nodes, path, options)?)
    }

    #[rhai_fn(name = "directory", pure, return_raw)]
    pub fn directory_plain(context: NativeCallContext, nodes: &mut Nodes, path: &str) -> ScriptResult<Asked> {
        Ok(directory_at(&context, nodes, path, Map::new())?)
    }

    /// A symbolic link on every node that leads to the path in the option `to`, which need not exist.
    ///
    /// Options: `to`, `force` (true: replace a file in its place), `state` ("absent"), and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// n.link("current", #{ to: "releases/7" });
    /// assert_eq(n.one("readlink current"), "releases/7");
    /// n.link("current", #{ state: "absent" });
    /// ```
    #[rhai_fn(name = "link", pure, return_raw)]
    pub fn link(context: NativeCallContext, nodes: &mut Nodes, path: &str, options: Map) -> ScriptResult<Asked> {
        Ok(link_at(&context, nodes, path, options)?)
    }

    /// A file on every node with what a template gives there (see `template(text, vars)` for what may stand in it).
    ///
    /// The template is a file of this machine: in a role one of its `templates/`, else relative to the project's folder.
    /// It sees `node` (`name`, `group`, `index`, `address`, `private_address`), what the option `vars` has, and in a role also its variables,
    /// `facts` (as `nodes.facts()` gives them) and `groups` (name to list of nodes). A variable that is missing is an error.
    /// Options: `vars` (#{}), and those of `file` for its mode, owner and secrets.
    ///
    /// # Example
    /// ```rhai
    /// file::write("app.conf.j2", "listen {{ node.address }}:{{ port }}\n");
    /// let servers = deployment().nodes("server");
    /// servers.template("app.conf.j2", "app.conf", #{ vars: #{ port: 80 } });
    /// assert_eq(servers.first.read("app.conf")[0], `listen ${servers.first.address}:80` + "\n");
    /// ```
    #[rhai_fn(name = "template", pure, return_raw)]
    pub fn template(
        context: NativeCallContext,
        nodes: &mut Nodes,
        source: &str,
        path: &str,
        options: Map,
    ) -> ScriptResult<Asked> {
        Ok(filled_in(&context, nodes, source, path, options)?)
    }

    #[rhai_fn(name = "template", pure, return_raw)]
    pub fn template_plain(context: NativeCallContext, nodes: &mut Nodes, source: &str, path: &str) -> ScriptResult<Asked> {
        Ok(filled_in(&context, nodes, source, path, Map::new())?)
    }
}
