//! `file::…`: files of this machine.

use crate::base::checksum::sha256_of_file;
use crate::base::error::Error;
use crate::domain::files;
use crate::script::options::{shown, text};
use crate::script::roles::Call;
use crate::script::{Host, Options, Placed, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};
use std::path::Path;

/// The bytes to write, and whether they are secret.
fn content(function: &str, value: &Dynamic) -> ScriptResult<(Vec<u8>, bool)> {
    if let Some(blob) = value.read_lock::<rhai::Blob>() {
        return Ok((blob.clone(), false));
    }
    let secret = value.read_lock::<crate::base::secret::Secret>().is_some();
    match text(value) {
        Some(text) => Ok((text.into_bytes(), secret)),
        None => Err(Error::usage(format!("{function} takes a string, a secret or a blob, not {}", shown(value)))
            .hint("Use to_yaml(x) or to_json(x) for data.")
            .into()),
    }
}

/// Whether to change a file of this machine.
fn acts(context: &NativeCallContext, function: &'static str, path: &str) -> bool {
    Host::of(context).acts(context, &Call::changes(function, path))
}

fn write_file(context: &NativeCallContext, path: &str, value: &Dynamic, options: Map) -> ScriptResult<()> {
    let (bytes, secret) = content("file::write", value)?;
    let mut options = Options::new("file::write", options);
    let mode = options.string("mode")?.map(|m| super::transfer::mode_bits(&m)).transpose()?;
    options.finish()?;
    if !acts(context, "file::write", path) {
        return Ok(());
    }
    Ok(files::write(&Host::of(context).path(path), &bytes, mode.or(secret.then_some(0o600)))?)
}

/// A path as scripts hold it: text. One that is not UTF-8 is an error.
pub fn as_text(path: &Path) -> ScriptResult<String> {
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Error::usage(format!("the path {} is not UTF-8", path.display())).into()),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// The text of a file. It is an error when the file is missing or not UTF-8.
    ///
    /// Relative paths are in the project's folder, here as in all of `file::`.
    ///
    /// # Example
    /// ```rhai
    /// file::write("notes/a.txt", "hello");
    /// assert_eq(file::read("notes/a.txt"), "hello");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn read(context: NativeCallContext, path: &str) -> ScriptResult<String> {
        files::read(&Host::of(&context).path(path)).here(&context)
    }

    /// Writes a file whole: whoever reads it meanwhile sees the old text or the new one. Missing folders are made.
    ///
    /// Takes a string, a secret (then only you can read the file) or a blob.
    /// Options: `mode` ("0644"; an existing file keeps its own).
    ///
    /// # Example
    /// ```rhai
    /// file::write("tools/hello.sh", "echo hello\n", #{ mode: "0755" });
    /// ```
    #[rhai_fn(name = "write", return_raw)]
    pub fn write(context: NativeCallContext, path: &str, content: Dynamic, options: Map) -> ScriptResult<()> {
        write_file(&context, path, &content, options).here(&context)
    }

    #[rhai_fn(name = "write", return_raw)]
    pub fn write_plain(context: NativeCallContext, path: &str, content: Dynamic) -> ScriptResult<()> {
        write_file(&context, path, &content, Map::new()).here(&context)
    }

    /// Adds text to the end of a file, which is made when it is missing.
    ///
    /// # Example
    /// ```rhai
    /// file::append("notes/log.txt", "one more\n");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn append(context: NativeCallContext, path: &str, content: Dynamic) -> ScriptResult<()> {
        let (bytes, _) = super::content("file::append", &content).here(&context)?;
        if !acts(&context, "file::append", path) {
            return Ok(());
        }
        files::append(&Host::of(&context).path(path), &bytes).here(&context)
    }

    /// Whether there is a file or folder (or anything else) at this path.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(file::exists("no/such/file"), false);
    /// ```
    pub fn exists(context: NativeCallContext, path: &str) -> bool {
        Host::of(&context).path(path).exists()
    }

    /// Whether there is a folder at this path.
    ///
    /// # Example
    /// ```rhai
    /// file::mkdir("out/here");
    /// assert_eq(file::is_dir("out"), true);
    /// ```
    pub fn is_dir(context: NativeCallContext, path: &str) -> bool {
        Host::of(&context).path(path).is_dir()
    }

    /// The files and folders that match a pattern, sorted, as an array of paths.
    ///
    /// `*` and `?` stop at `/`, `**` does not; `[a-c]` and `{one,two}` choose. Nothing found is an empty array.
    /// A relative pattern gives relative paths.
    ///
    /// # Example
    /// ```rhai
    /// file::write("logs/client-0/read.hdr", "");
    /// file::write("logs/client-1/read.hdr", "");
    /// assert_eq(file::list("logs/*/read.hdr"), ["logs/client-0/read.hdr", "logs/client-1/read.hdr"]);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn list(context: NativeCallContext, pattern: &str) -> ScriptResult<Array> {
        let found = files::list(&Host::of(&context).project().root, pattern).here(&context)?;
        Ok(found.into_iter().map(Into::into).collect())
    }

    /// Makes a folder, and those it lies in. One that is there already is left as it is.
    ///
    /// # Example
    /// ```rhai
    /// file::mkdir("out/today");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn mkdir(context: NativeCallContext, path: &str) -> ScriptResult<()> {
        if !acts(&context, "file::mkdir", path) {
            return Ok(());
        }
        let path = Host::of(&context).path(path);
        std::fs::create_dir_all(&path).map_err(|e| Error::io("create", &path, &e)).here(&context)
    }

    /// Removes a file, or a folder with all in it; returns whether there was one.
    ///
    /// The project's folder, your home and what they lie in are refused.
    ///
    /// # Example
    /// ```rhai
    /// file::write("scratch/x", "");
    /// assert_eq(file::remove("scratch"), true);
    /// assert_eq(file::remove("scratch"), false);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn remove(context: NativeCallContext, path: &str) -> ScriptResult<bool> {
        let host = Host::of(&context);
        if !acts(&context, "file::remove", path) {
            return Ok(host.path(path).exists());
        }
        files::remove(&host.path(path), host.project()).here(&context)
    }

    /// Copies a file (to a path, or into a folder that exists), or a folder with all in it; modes are kept.
    ///
    /// # Example
    /// ```rhai
    /// file::write("conf/a.yml", "a: 1\n");
    /// file::copy("conf", "conf.bak");
    /// assert_eq(file::read("conf.bak/a.yml"), "a: 1\n");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn copy(context: NativeCallContext, from: &str, to: &str) -> ScriptResult<()> {
        let host = Host::of(&context);
        if !acts(&context, "file::copy", to) {
            return Ok(());
        }
        files::copy(&host.path(from), &host.path(to)).here(&context)
    }

    /// Makes an empty folder that is removed at the end of the run, and returns its path.
    ///
    /// # Example
    /// ```rhai
    /// let dir = file::temp_dir();
    /// sh("date > now.txt", #{ cwd: dir });
    /// print(file::read(dir + "/now.txt"));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn temp_dir(context: NativeCallContext) -> ScriptResult<String> {
        let dir = tempfile::Builder::new()
            .prefix("opsrun-")
            .tempdir()
            .map_err(|e| Error::io("create a folder in", std::env::temp_dir(), &e))
            .here(&context)?;
        let path = as_text(dir.path()).here(&context)?;
        Host::of(&context).state().temp_dirs.push(dir);
        Ok(path)
    }

    /// The SHA-256 checksum of a file, in hexadecimal as `sha256sum` prints it.
    ///
    /// # Example
    /// ```rhai
    /// file::write("a.txt", "hello");
    /// assert_eq(file::sha256("a.txt").sub_string(0, 8), "2cf24dba");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn sha256(context: NativeCallContext, path: &str) -> ScriptResult<String> {
        sha256_of_file(&Host::of(&context).path(path)).here(&context)
    }

    /// The size of a file in bytes.
    ///
    /// # Example
    /// ```rhai
    /// file::write("a.txt", "hello");
    /// assert_eq(file::size("a.txt"), 5);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn size(context: NativeCallContext, path: &str) -> ScriptResult<i64> {
        let path = Host::of(&context).path(path);
        let meta = std::fs::metadata(&path).map_err(|e| Error::io("read", &path, &e)).here(&context)?;
        Ok(i64::try_from(meta.len()).unwrap_or(i64::MAX))
    }

    /// The absolute path of what a relative path means here.
    ///
    /// # Example
    /// ```rhai
    /// sh(["ls", "-d", file::absolute(".")]);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn absolute(context: NativeCallContext, path: &str) -> ScriptResult<String> {
        let path = Host::of(&context).path(path);
        let absolute = std::path::absolute(&path).map_err(|e| Error::io("find", &path, &e)).here(&context)?;
        as_text(&absolute).here(&context)
    }

    /// The last part of a path.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(file::name("logs/client-0/read.hdr"), "read.hdr");
    /// ```
    #[rhai_fn(name = "name")]
    pub fn file_name(path: &str) -> String {
        Path::new(path).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The folder that a path lies in: all but its last part.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(file::parent("logs/client-0/read.hdr"), "logs/client-0");
    /// ```
    pub fn parent(path: &str) -> String {
        Path::new(path).parent().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }
}
