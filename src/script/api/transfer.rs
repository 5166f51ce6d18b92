//! Files on node sets: put, get, mirror, collect, read, write, edit_yaml.

use crate::base::error::{Error, Result};
use crate::domain::fleet::{GetOptions, MirrorOptions, Mirrored, PutOptions, text};
use crate::domain::node::NodeSet;
use crate::domain::yaml_edit;
use crate::script::convert::to_json;
use crate::script::options::text as text_of;
use crate::script::roles::Call;
use crate::script::{Host, Options, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};

/// Reads what `put` and `write` take.
fn put_options(function: &str, options: Map) -> Result<PutOptions> {
    let mut options = Options::new(function, options);
    let mode = options.string("mode")?.map(|m| mode_bits(&m)).transpose()?;
    let out = PutOptions {
        mode,
        owner: options.string("owner")?,
        sudo: options.bool("sudo")?.unwrap_or(false),
        user: options.string("user")?,
    };
    options.finish()?;
    Ok(out)
}

/// Reads what `get`, `collect` and `read` take.
fn get_options(function: &str, options: Map) -> Result<GetOptions> {
    let mut options = Options::new(function, options);
    let out = GetOptions { sudo: options.bool("sudo")?.unwrap_or(false), user: options.string("user")? };
    options.finish()?;
    Ok(out)
}

/// The bits of a mode such as "0644".
pub fn mode_bits(mode: &str) -> Result<u32> {
    u32::from_str_radix(mode.trim_start_matches("0o"), 8)
        .ok()
        .filter(|m| *m <= 0o7777)
        .ok_or_else(|| Error::usage(format!("mode \"{mode}\" is not a file mode")).hint("Modes are octal strings: \"0644\"."))
}

fn get_path(context: &NativeCallContext, nodes: &NodeSet, remote: &str, local: &str, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let options = get_options("get", options)?;
    let Some(fleet) = host.reach(context, nodes, &Call::reads("get"))? else { return Ok(()) };
    Ok(host.block_on_to_the_end(fleet.get(nodes, remote, &host.path(local), &options))?)
}

fn collect_path(context: &NativeCallContext, nodes: &NodeSet, remote: &str, local: &str, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let options = get_options("collect", options)?;
    let Some(fleet) = host.reach(context, nodes, &Call::reads("collect"))? else { return Ok(()) };
    Ok(host.block_on_to_the_end(fleet.collect(nodes, remote, &host.path(local), &options))?)
}

fn read_path(context: &NativeCallContext, nodes: &NodeSet, path: &str, options: Map) -> ScriptResult<Array> {
    let host = Host::of(context);
    let options = get_options("read", options)?;
    let Some(fleet) = host.reach(context, nodes, &Call::reads("read"))? else { return Ok(Array::new()) };
    let files = host.block_on(fleet.read(nodes, path, &options))?;
    Ok(files.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned().into()).collect())
}

fn write_text(context: &NativeCallContext, nodes: &NodeSet, path: &str, content: &Dynamic, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let bytes = match content.read_lock::<rhai::Blob>() {
        Some(blob) => blob.clone(),
        None => text_of(content)
            .ok_or_else(|| {
                Error::usage("write takes a string, a secret or a blob").hint("Use to_yaml(x) or to_json(x) for data.")
            })?
            .into_bytes(),
    };
    let mut options = put_options("write", options)?;
    if content.read_lock::<crate::base::secret::Secret>().is_some() {
        options.mode.get_or_insert(0o600);
    }
    let Some(fleet) = host.reach(context, nodes, &Call::changes("write", path))? else { return Ok(()) };
    Ok(host.block_on_to_the_end(fleet.write(nodes, path, bytes, &options))?)
}

fn put_path(context: &NativeCallContext, nodes: &NodeSet, local: &str, remote: &str, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let options = put_options("put", options)?;
    let Some(fleet) = host.reach(context, nodes, &Call::changes("put", remote))? else { return Ok(()) };
    Ok(host.block_on_to_the_end(fleet.put(nodes, &host.path(local), remote, &options))?)
}

/// What a mirror did on one node, as scripts see it.
fn mirrored_map(done: &Mirrored) -> Dynamic {
    let count = |n: u64| Dynamic::from(i64::try_from(n).unwrap_or(i64::MAX));
    let mut map = Map::new();
    map.insert("sent".into(), count(done.sent as u64));
    map.insert("bytes".into(), count(done.bytes));
    map.insert("deleted".into(), count(done.deleted as u64));
    map.insert("unchanged".into(), count(done.unchanged as u64));
    map.into()
}

fn mirror_path(context: &NativeCallContext, nodes: &NodeSet, local: &str, remote: &str, options: Map) -> ScriptResult<Array> {
    let host = Host::of(context);
    let mut options = Options::new("mirror", options);
    let mirror = MirrorOptions {
        delete: options.bool("delete")?.unwrap_or(false),
        checksum: options.bool("checksum")?.unwrap_or(false),
        exclude: options.strings("exclude")?.unwrap_or_default(),
        sudo: options.bool("sudo")?.unwrap_or(false),
        user: options.string("user")?,
        owner: options.string("owner")?,
    };
    options.finish()?;
    let Some(fleet) = host.reach(context, nodes, &Call::changes("mirror", remote))? else {
        return Ok(nodes.iter().map(|_| mirrored_map(&Mirrored::default())).collect());
    };
    let done = host.block_on_to_the_end(fleet.mirror(nodes, &host.path(local), remote, &mirror))?;
    Ok(done.into_iter().map(|m| mirrored_map(&m)).collect())
}

fn edit(context: &NativeCallContext, nodes: &NodeSet, path: &str, edits: &Map, options: Map) -> ScriptResult<Array> {
    let host = Host::of(context);
    let mut options = Options::new("edit_yaml", options);
    let sudo = options.bool("sudo")?.unwrap_or(false);
    options.finish()?;
    let value = |v: &Dynamic| if v.is_unit() { Ok(None) } else { to_json(v).map(Some) };
    let edits = edits.iter().map(|(k, v)| Ok((yaml_edit::Path::parse(k)?, value(v)?))).collect::<Result<Vec<_>>>()?;
    let Some(fleet) = host.reach(context, nodes, &Call::changes("edit_yaml", path))? else {
        return Ok(nodes.iter().map(|_| Dynamic::FALSE).collect());
    };
    let changed = host.block_on_to_the_end(fleet.edit_yaml(nodes, path, &edits, sudo))?;
    Ok(changed.into_iter().map(Dynamic::from).collect())
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// Copies a file or folder of this machine to every node.
    ///
    /// Modes and times are kept, checksums verified; a file on the node is replaced whole or not at all.
    /// The local path is relative to the project's folder, the remote one to the login folder.
    /// Options: `mode` ("0644"), `owner` ("user:group"), `sudo`.
    ///
    /// # Example
    /// ```rhai
    /// file::write("hello.txt", "hi");
    /// let servers = deployment().nodes("server");
    /// servers.put("hello.txt", "inbox/hello.txt");
    /// assert_eq(servers.read("inbox/hello.txt"), ["hi", "hi", "hi"]);
    /// ```
    #[rhai_fn(name = "put", pure, return_raw)]
    pub fn put(context: NativeCallContext, nodes: &mut Nodes, local: &str, remote: &str, options: Map) -> ScriptResult<()> {
        put_path(&context, nodes, local, remote, options)
    }

    #[rhai_fn(name = "put", pure, return_raw)]
    pub fn put_plain(context: NativeCallContext, nodes: &mut Nodes, local: &str, remote: &str) -> ScriptResult<()> {
        put_path(&context, nodes, local, remote, Map::new())
    }

    /// Copies a file or folder of a set of exactly one node to this machine.
    ///
    /// The local file is replaced whole or not at all. To copy from many nodes use `collect`.
    /// Options: `sudo`, `user`.
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// n.write("note.txt", "from the node");
    /// n.get("note.txt", "note.txt");
    /// assert_eq(file::read("note.txt"), "from the node");
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get(context: NativeCallContext, nodes: &mut Nodes, remote: &str, local: &str, options: Map) -> ScriptResult<()> {
        get_path(&context, nodes, remote, local, options)
    }

    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_plain(context: NativeCallContext, nodes: &mut Nodes, remote: &str, local: &str) -> ScriptResult<()> {
        get_path(&context, nodes, remote, local, Map::new())
    }

    /// Makes a folder on every node the same as one of this machine, as rsync does: only differences are sent.
    ///
    /// Returns for each node what was done: `#{ sent, bytes, deleted, unchanged }`. Files are compared by size and time.
    /// Options: `delete` (remove what is not here), `exclude` (globs), `checksum` (compare content), `owner` ("user:group"),
    /// `sudo`, `user`.
    ///
    /// # Example
    /// ```rhai
    /// file::write("tools/a.sh", "echo a");
    /// let n = deployment().node("server-0");
    /// assert_eq(n.mirror("tools", "tools")[0].sent, 1);
    /// assert_eq(n.mirror("tools", "tools")[0].sent, 0);
    /// ```
    #[rhai_fn(name = "mirror", pure, return_raw)]
    pub fn mirror(context: NativeCallContext, nodes: &mut Nodes, local: &str, remote: &str, options: Map) -> ScriptResult<Array> {
        mirror_path(&context, nodes, local, remote, options)
    }

    #[rhai_fn(name = "mirror", pure, return_raw)]
    pub fn mirror_plain(context: NativeCallContext, nodes: &mut Nodes, local: &str, remote: &str) -> ScriptResult<Array> {
        mirror_path(&context, nodes, local, remote, Map::new())
    }

    /// Copies a file or folder of every node into one folder a node: `<local>/<node>/<name>`.
    ///
    /// Options: `sudo`, `user`.
    ///
    /// # Example
    /// ```rhai
    /// let servers = deployment().nodes("server");
    /// servers.write("app.log", "ready\n");
    /// servers.collect("app.log", "logs");
    /// assert_eq(file::read("logs/server-1/app.log"), "ready\n");
    /// ```
    #[rhai_fn(name = "collect", pure, return_raw)]
    pub fn collect(context: NativeCallContext, nodes: &mut Nodes, remote: &str, local: &str, options: Map) -> ScriptResult<()> {
        collect_path(&context, nodes, remote, local, options)
    }

    #[rhai_fn(name = "collect", pure, return_raw)]
    pub fn collect_plain(context: NativeCallContext, nodes: &mut Nodes, remote: &str, local: &str) -> ScriptResult<()> {
        collect_path(&context, nodes, remote, local, Map::new())
    }

    /// The text of a file on every node, an array of strings in node order, exactly as it is.
    ///
    /// Options: `sudo`, `user`.
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// n.write("a.txt", "one\n");
    /// assert_eq(n.read("a.txt")[0], "one\n");
    /// ```
    #[rhai_fn(name = "read", pure, return_raw)]
    pub fn read(context: NativeCallContext, nodes: &mut Nodes, path: &str, options: Map) -> ScriptResult<Array> {
        read_path(&context, nodes, path, options)
    }

    #[rhai_fn(name = "read", pure, return_raw)]
    pub fn read_plain(context: NativeCallContext, nodes: &mut Nodes, path: &str) -> ScriptResult<Array> {
        read_path(&context, nodes, path, Map::new())
    }

    /// Writes a file on every node. It is replaced whole or not at all; missing folders are made.
    ///
    /// The content is a string, a secret (then only its owner may read the file, unless a `mode` is given) or a blob.
    /// Options: `mode` ("0600"), `owner` ("user:group"), `sudo`.
    ///
    /// # Example
    /// ```rhai
    /// let servers = deployment().nodes("server");
    /// servers.write("conf/greeting", "hi\n", #{ mode: "0600" });
    /// assert_eq(servers.first.one("stat -c %a conf/greeting"), "600");
    /// ```
    #[rhai_fn(name = "write", pure, return_raw)]
    pub fn write(context: NativeCallContext, nodes: &mut Nodes, path: &str, content: Dynamic, options: Map) -> ScriptResult<()> {
        write_text(&context, nodes, path, &content, options)
    }

    #[rhai_fn(name = "write", pure, return_raw)]
    pub fn write_plain(context: NativeCallContext, nodes: &mut Nodes, path: &str, content: Dynamic) -> ScriptResult<()> {
        write_text(&context, nodes, path, &content, Map::new())
    }

    /// Changes values in a YAML file on every node, keeping its comments and order; returns per node whether it changed.
    ///
    /// Keys of the map are paths such as `"seed_provider[0].parameters[0].seeds"`; the value `()` removes a key.
    /// Options: `sudo`.
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// n.write("app.yml", "# ours\nport: 80\nhosts: [a]\n");
    /// assert_eq(n.edit_yaml("app.yml", #{ "port": 8080, "hosts[0]": "b" }), [true]);
    /// assert_eq(n.read("app.yml"), ["# ours\nport: 8080\nhosts: [b]\n"]);
    /// ```
    #[rhai_fn(name = "edit_yaml", pure, return_raw)]
    pub fn edit_yaml(context: NativeCallContext, nodes: &mut Nodes, path: &str, edits: Map, options: Map) -> ScriptResult<Array> {
        edit(&context, nodes, path, &edits, options)
    }

    #[rhai_fn(name = "edit_yaml", pure, return_raw)]
    pub fn edit_yaml_plain(context: NativeCallContext, nodes: &mut Nodes, path: &str, edits: Map) -> ScriptResult<Array> {
        edit(&context, nodes, path, &edits, Map::new())
    }

    /// Whether a path exists on each node, an array of booleans.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().node("server-0").exists("no/such/file"), [false]);
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn exists(context: NativeCallContext, nodes: &mut Nodes, path: &str) -> ScriptResult<Array> {
        let host = Host::of(&context);
        let line = format!("test -e {} && echo yes || echo no", crate::base::shell::quote(path));
        let fleet = host.reach(&context, nodes, &Call::reads("exists"))?;
        let answers = host.block_on(fleet.unwrap_or_else(|| host.fleet()).ask(nodes, &line))?;
        Ok(answers.iter().map(|a| (text(a) == "yes").into()).collect())
    }
}
