//! What nodes get from elsewhere: git working copies, downloads, archives.

use crate::base::error::{Error, Result};
use crate::domain::node::NodeSet;
use crate::domain::resource::kinds::{Archive, Download, Git, Unpack, account_name, checked_path, checked_sha256, checked_url};
use crate::script::api::resources::{access, same};
use crate::script::roles::Folder;
use crate::script::wanting::{Asked, Common};
use crate::script::{Host, Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{NativeCallContext, export_module};
use std::time::Duration;

/// How long one download may take.
const PATIENCE: Duration = Duration::from_secs(900);

fn checkout(context: &NativeCallContext, nodes: &NodeSet, repository: &str, path: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("git", options);
    let common = Common::read(context, &mut options)?;
    let git = Git {
        repository: repository.to_owned(),
        path: checked_path(path)?,
        version: options.string("version")?,
        force: options.bool("force")?.unwrap_or(false),
        user: options.string("user")?,
    };
    options.finish()?;
    git.check()?;
    git.user.as_ref().map_or(Ok(()), |user| account_name("user", user))?;
    same(context, nodes, &common, git)
}

fn fetched(context: &NativeCallContext, nodes: &NodeSet, url: &str, path: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("download_to", options);
    let common = Common::read(context, &mut options)?;
    let download = Download {
        url: url.to_owned(),
        path: checked_path(path)?,
        sha256: options.string("sha256")?.map(|s| checked_sha256(&s)).transpose()?,
        access: access(&mut options)?,
        timeout: options.duration("timeout")?.unwrap_or(PATIENCE),
    };
    options.finish()?;
    checked_url(url)?;
    same(context, nodes, &common, download)
}

fn unpacked(context: &NativeCallContext, nodes: &NodeSet, archive: &str, path: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("unpack", options);
    let common = Common::read(context, &mut options)?;
    let there = options.bool("remote")?.unwrap_or(false);
    let creates = options.string("creates")?.map(|c| checked_path(&c)).transpose()?;
    let strip = options.int("strip")?.unwrap_or(0);
    let access = access(&mut options)?;
    options.finish()?;
    let strip = u32::try_from(strip).map_err(|_| Error::usage(format!("option \"strip\" of unpack cannot be {strip}")))?;
    if strip > 0 && archive.to_ascii_lowercase().ends_with(".zip") {
        return Err(Error::usage("option \"strip\" of unpack is for tar archives, not for zip"));
    }
    if access.mode.is_some() {
        return Err(Error::usage("unpack has no option \"mode\": what is in the archive keeps its own"));
    }
    let archive = if there {
        Archive::There(checked_path(archive)?)
    } else {
        let file = Host::of(context).source_file(Folder::Files, archive)?;
        Archive::Carried { name: archive.to_owned(), content: file.content.into() }
    };
    same(context, nodes, &common, Unpack { archive, path: checked_path(path)?, creates, strip, access })
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// A working copy of a git repository on every node, at one version. git must be installed there.
    ///
    /// A new one appears whole or not at all. Local changes are an error, unless `force` is true: then they are thrown away.
    /// Options: `version` (a branch, a tag or a whole commit; else what the repository's HEAD is), `user` (whose files they
    /// are, and as whom git runs), `force`, and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// n.sh("git init -q -b main upstream && cd upstream && git -c user.name=x -c user.email=x commit -q --allow-empty -m one");
    /// let upstream = n.one("pwd") + "/upstream";
    /// n.git(upstream, "app", #{ version: "main" });
    /// assert(!n.git(upstream, "app", #{ version: "main" }).changed);
    /// ```
    #[rhai_fn(name = "git", pure, return_raw)]
    pub fn git(context: NativeCallContext, nodes: &mut Nodes, repository: &str, path: &str, options: Map) -> ScriptResult<Asked> {
        Ok(checkout(&context, nodes, repository, path, options)?)
    }

    #[rhai_fn(name = "git", pure, return_raw)]
    pub fn git_plain(context: NativeCallContext, nodes: &mut Nodes, repository: &str, path: &str) -> ScriptResult<Asked> {
        Ok(checkout(&context, nodes, repository, path, Map::new())?)
    }

    /// A file that every node fetches from the web itself (with curl, wget, python3 or apt's own). It appears whole or not at all.
    ///
    /// Give its `sha256`: a file that differs from it is fetched anew, and one that does not have it is an error and is not
    /// kept. Without it, a file that is there is taken for the right one. (`download` fetches to this machine.)
    /// Options: `sha256`, `mode` ("0644"), `owner`, `group`, `timeout` ("15m"), and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai,no_run
    /// deployment().nodes("server").download_to("https://example.com/tool-1.2", "/usr/local/bin/tool", #{
    ///     sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", mode: "0755",
    /// });
    /// ```
    #[rhai_fn(name = "download_to", pure, return_raw)]
    pub fn download_to(
        context: NativeCallContext,
        nodes: &mut Nodes,
        url: &str,
        path: &str,
        options: Map,
    ) -> ScriptResult<Asked> {
        Ok(fetched(&context, nodes, url, path, options)?)
    }

    #[rhai_fn(name = "download_to", pure, return_raw)]
    pub fn download_to_plain(context: NativeCallContext, nodes: &mut Nodes, url: &str, path: &str) -> ScriptResult<Asked> {
        Ok(fetched(&context, nodes, url, path, Map::new())?)
    }

    /// The content of an archive (tar, however compressed, or zip) in a directory of every node, which is made when missing.
    ///
    /// The archive is a file of this machine (in a role one of its `files/`), or with `remote: true` one of the node. It is
    /// unpacked again when it is another one than the last, which the directory remembers in `.opsrun-unpacked-…`.
    /// Options: `remote`, `strip` (so many folders at the beginning of names are left out), `creates` (a path on the node:
    /// nothing is done when it is there), `owner`, `group`, and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("server-0");
    /// n.sh("mkdir -p pack-1.0 && echo hi > pack-1.0/a.txt && tar -czf pack.tgz pack-1.0");
    /// n.unpack("pack.tgz", "unpacked", #{ remote: true, strip: 1 });
    /// assert_eq(n.read("unpacked/a.txt"), ["hi\n"]);
    /// ```
    #[rhai_fn(name = "unpack", pure, return_raw)]
    pub fn unpack(context: NativeCallContext, nodes: &mut Nodes, archive: &str, path: &str, options: Map) -> ScriptResult<Asked> {
        Ok(unpacked(&context, nodes, archive, path, options)?)
    }

    #[rhai_fn(name = "unpack", pure, return_raw)]
    pub fn unpack_plain(context: NativeCallContext, nodes: &mut Nodes, archive: &str, path: &str) -> ScriptResult<Asked> {
        Ok(unpacked(&context, nodes, archive, path, Map::new())?)
    }
}
