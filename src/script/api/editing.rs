//! Text files on nodes, changed in some of their lines.

use crate::base::error::{Error, Result};
use crate::domain::node::NodeSet;
use crate::domain::pattern;
use crate::domain::resource::kinds::{Block, Edit, Line, Place, checked_path};
use crate::script::api::resources::{access, is_absent, same};
use crate::script::options::text;
use crate::script::wanting::{Asked, Common, holds_secret};
use crate::script::{Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};

/// The file, as `line` and `block` take it. `hidden`: what goes into it is a secret.
fn edit(path: &str, options: &mut Options, hidden: bool) -> Result<Edit> {
    Ok(Edit {
        path: checked_path(path)?,
        create: options.bool("create")?.unwrap_or(false),
        access: access(options)?,
        secret: options.bool("secret")?.unwrap_or(hidden),
        validate: options.string("validate")?,
    })
}

fn place(function: &str, options: &mut Options) -> Result<Place> {
    let (after, before) = (options.string("after")?, options.string("before")?);
    Ok(match (after, before) {
        (Some(_), Some(_)) => return Err(Error::usage(format!("{function} takes either \"after\" or \"before\""))),
        (Some(after), None) => Place::After(pattern::compile(&after)?),
        (None, Some(before)) => Place::Before(pattern::compile(&before)?),
        (None, None) => Place::End,
    })
}

fn line_in(context: &NativeCallContext, nodes: &NodeSet, path: &str, line: Option<&Dynamic>, options: Map) -> Result<Asked> {
    let mut options = Options::new("line", options);
    let common = Common::read(context, &mut options)?;
    let line = line.map(|l| text(l).ok_or_else(|| Error::usage("a line must be a string or a secret"))).transpose()?;
    let hidden = line.as_ref().is_some_and(|l| holds_secret(l.as_bytes()));
    let regex = options.string("regex")?.map(|r| pattern::compile(&r)).transpose()?;
    let (absent, place) = (is_absent("line", &mut options)?, place("line", &mut options)?);
    let edit = edit(path, &mut options, hidden)?;
    options.finish()?;
    let line = Line { edit: Edit { create: edit.create || absent, ..edit }, line, regex, absent, place };
    line.check()?;
    same(context, nodes, &common, line)
}

fn block_in(context: &NativeCallContext, nodes: &NodeSet, path: &str, text_of: Option<&Dynamic>, options: Map) -> Result<Asked> {
    let mut options = Options::new("block", options);
    let common = Common::read(context, &mut options)?;
    let inner = text_of.map(|t| text(t).ok_or_else(|| Error::usage("a block must be a string or a secret"))).transpose()?;
    let hidden = inner.as_ref().is_some_and(|t| holds_secret(t.as_bytes()));
    let name = options.string("name")?.unwrap_or_else(|| "block".to_owned());
    let comment = options.string("comment")?.unwrap_or_else(|| "#".to_owned());
    let (absent, place) = (is_absent("block", &mut options)?, place("block", &mut options)?);
    let edit = edit(path, &mut options, hidden)?;
    options.finish()?;
    let comment = comment.split_once(' ').map_or((comment.clone(), String::new()), |(a, b)| (a.to_owned(), b.to_owned()));
    let text = match (inner, absent) {
        (Some(text), false) => Some(text),
        (None, true) => None,
        (Some(_), true) => return Err(Error::usage("block is to be absent: it is found by its name, not by its text")),
        (None, false) => return Err(Error::usage("block is not told its text")),
    };
    let block = Block { edit: Edit { create: edit.create || absent, ..edit }, text, name, comment, place };
    block.check()?;
    same(context, nodes, &common, block)
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// A line in a text file on every node. The rest of the file stays as it is.
    ///
    /// With `regex` it takes the place of the last line that matches; if none does, or without `regex`, it is added unless it
    /// is there. Patterns are regular expressions, matched anywhere in a line.
    /// Options: `regex`, `after` and `before` (a pattern for the line next to which a new one goes; else the end), `state`
    /// ("absent": no such line; or `nodes.line(path, #{ regex: …, state: "absent" })` for all that match), `create` (true: make
    /// the file when it is missing), `mode`, `owner`, `group`, `secret`, `validate`, and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// n.write("sshd_config", "Port 22\n#PermitRootLogin yes\n");
    /// n.line("sshd_config", "PermitRootLogin no", #{ regex: "^#?PermitRootLogin" });
    /// assert_eq(n.read("sshd_config"), ["Port 22\nPermitRootLogin no\n"]);
    /// ```
    #[rhai_fn(name = "line", pure, return_raw)]
    pub fn line(context: NativeCallContext, nodes: &mut Nodes, path: &str, text: Dynamic, options: Map) -> ScriptResult<Asked> {
        Ok(line_in(&context, nodes, path, Some(&text), options)?)
    }

    #[rhai_fn(name = "line", pure, return_raw)]
    pub fn line_plain(context: NativeCallContext, nodes: &mut Nodes, path: &str, text: Dynamic) -> ScriptResult<Asked> {
        match text.read_lock::<Map>() {
            Some(options) => Ok(line_in(&context, nodes, path, None, options.clone())?),
            None => Ok(line_in(&context, nodes, path, Some(&text), Map::new())?),
        }
    }

    /// Lines that belong together in a text file on every node, between two marks by which they are found again.
    ///
    /// The marks are comments: `# BEGIN name (opsrun)` and `# END name (opsrun)`.
    /// Options: `name` ("block": tells several blocks of a file from each other), `comment` ("#"; "//", "<!-- -->"),
    /// `after` and `before` (a pattern for the line next to which a new block goes; else the end), `state` ("absent":
    /// `nodes.block(path, #{ name: …, state: "absent" })`), `create` (true: make the file when it is missing), `mode`, `owner`,
    /// `group`, `secret`, `validate`, and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// n.write("hosts", "127.0.0.1 localhost\n");
    /// n.block("hosts", "10.0.0.1 a\n10.0.0.2 b\n", #{ name: "peers" });
    /// assert_eq(n.read("hosts")[0].split("\n")[1], "# BEGIN peers (opsrun)");
    /// n.block("hosts", #{ name: "peers", state: "absent" });
    /// assert_eq(n.read("hosts"), ["127.0.0.1 localhost\n"]);
    /// ```
    #[rhai_fn(name = "block", pure, return_raw)]
    pub fn block(context: NativeCallContext, nodes: &mut Nodes, path: &str, text: Dynamic, options: Map) -> ScriptResult<Asked> {
        Ok(block_in(&context, nodes, path, Some(&text), options)?)
    }

    #[rhai_fn(name = "block", pure, return_raw)]
    pub fn block_plain(context: NativeCallContext, nodes: &mut Nodes, path: &str, text: Dynamic) -> ScriptResult<Asked> {
        match text.read_lock::<Map>() {
            Some(options) => Ok(block_in(&context, nodes, path, None, options.clone())?),
            None => Ok(block_in(&context, nodes, path, Some(&text), Map::new())?),
        }
    }
}
