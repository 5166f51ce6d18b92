//! Files of this machine, for scripts: written whole or not at all, found by pattern.

use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::project::Project;
use globset::GlobBuilder;
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// A file's text.
pub fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).at("read", path)?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::config(format!("{} is not text: byte {at} is not UTF-8", path.display()))
    })
}

/// Writes a file whole: readers see the old one or the new one. Missing folders are made.
///
/// Without a `mode` an existing file keeps its own, and a new one gets 0644.
pub fn write(path: &Path, content: &[u8], mode: Option<u32>) -> Result<()> {
    let dir = parent(path);
    std::fs::create_dir_all(dir).at("create", dir)?;
    // A link is written through, not replaced.
    let target = if path.is_symlink() { path.canonicalize().at("follow", path)? } else { path.to_owned() };
    let old = std::fs::metadata(&target).ok();
    if old.as_ref().is_some_and(std::fs::Metadata::is_dir) {
        return Err(Error::new(Kind::Io, format!("cannot write {}: it is a folder", path.display())));
    }
    let mode = mode.unwrap_or_else(|| old.map_or(0o644, |m| m.permissions().mode() & 0o7777));
    let mut file = tempfile::Builder::new().prefix(".opsrun-").tempfile_in(parent(&target)).at("write", path)?;
    file.write_all(content).at("write", path)?;
    file.as_file().set_permissions(Permissions::from_mode(mode)).at("write", path)?;
    file.as_file().sync_all().at("write", path)?;
    file.persist(&target).map_err(|e| Error::io("write", path, &e.error))?;
    Ok(())
}

/// Adds to the end of a file, which is made when it is missing.
pub fn append(path: &Path, content: &[u8]) -> Result<()> {
    let dir = parent(path);
    std::fs::create_dir_all(dir).at("create", dir)?;
    let mut file = File::options().create(true).append(true).open(path).at("open", path)?;
    file.write_all(content).at("write", path)
}

/// Copies a file, or a folder with all in it, with modes; links stay links.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let meta = std::fs::symlink_metadata(from).at("copy", from)?;
    if !meta.is_dir() {
        let target = if to.is_dir() { to.join(from.file_name().unwrap_or_default()) } else { to.to_owned() };
        return copy_one(from, &target, &meta);
    }
    if to.starts_with(from) {
        return Err(Error::usage(format!("cannot copy {} into itself", from.display())));
    }
    for entry in WalkDir::new(from) {
        let entry = entry.map_err(|e| walk_error(from, &e))?;
        let target = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
        let meta = std::fs::symlink_metadata(entry.path()).at("copy", entry.path())?;
        if meta.is_dir() {
            std::fs::create_dir_all(&target).at("create", &target)?;
        } else {
            copy_one(entry.path(), &target, &meta)?;
        }
    }
    Ok(())
}

fn copy_one(from: &Path, to: &Path, meta: &std::fs::Metadata) -> Result<()> {
    let dir = parent(to);
    std::fs::create_dir_all(dir).at("create", dir)?;
    if meta.is_symlink() {
        let target = std::fs::read_link(from).at("read", from)?;
        let _ = std::fs::remove_file(to);
        return std::os::unix::fs::symlink(target, to).at("create", to);
    }
    let same = from.canonicalize().ok().zip(to.canonicalize().ok()).is_some_and(|(a, b)| a == b);
    if same || !meta.is_file() {
        let why = if same { "it is the same file" } else { "it is no ordinary file" };
        return Err(Error::usage(format!("cannot copy {} to {}: {why}", from.display(), to.display())));
    }
    let temp = tempfile::Builder::new().prefix(".opsrun-").tempfile_in(dir).at("write", to)?;
    std::fs::copy(from, temp.path()).at("copy", from)?;
    temp.persist(to).map_err(|e| Error::io("write", to, &e.error))?;
    Ok(())
}

/// Removes a file, a link, or a folder with all in it; returns whether there was one.
/// The project's folder and what it lies in are not removed.
pub fn remove(path: &Path, project: &Project) -> Result<bool> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(false) };
    let real = if meta.is_symlink() { path.to_owned() } else { path.canonicalize().at("remove", path)? };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let kept = [Some(&project.root), Some(&project.home), home.as_ref()];
    if kept.into_iter().flatten().any(|k| k.canonicalize().unwrap_or_else(|_| k.clone()).starts_with(&real)) {
        return Err(Error::usage(format!("{} is not removed: the project or your home lies in it", path.display())));
    }
    let removed = if meta.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.at("remove", path)?;
    Ok(true)
}

/// Files and folders that match a pattern (`*`, `?`, `[…]`, `{a,b}`, `**`), sorted; relative patterns from `root`, and relative paths out.
pub fn list(root: &Path, pattern: &str) -> Result<Vec<String>> {
    let bad = |e: &globset::Error| Error::usage(format!("\"{pattern}\" is not a file pattern: {}", e.kind()));
    let glob = GlobBuilder::new(pattern).literal_separator(true).build().map_err(|e| bad(&e))?.compile_matcher();
    let special = |part: &str| part.contains(['*', '?', '[', '{', '\\']);
    let parts: Vec<&str> = pattern.split('/').collect();
    let plain = parts.iter().position(|p| special(p)).unwrap_or(parts.len());
    let base = parts[..plain].join("/");
    let base = if pattern.starts_with('/') && base.is_empty() { "/".to_owned() } else { base };
    let start = root.join(&base);
    if plain == parts.len() {
        return Ok(if start.symlink_metadata().is_ok() { vec![pattern.to_owned()] } else { Vec::new() });
    }
    if !start.is_dir() {
        return Ok(Vec::new());
    }
    let depth = if pattern.contains("**") { usize::MAX } else { parts.len() - plain };
    let mut found = Vec::new();
    for entry in WalkDir::new(&start).min_depth(1).max_depth(depth).follow_links(false) {
        // What cannot be looked into cannot match.
        let Ok(entry) = entry else { continue };
        let shown = if pattern.starts_with('/') { entry.path() } else { entry.path().strip_prefix(root).unwrap_or(entry.path()) };
        if glob.is_match(shown)
            && let Some(text) = shown.to_str()
        {
            found.push(text.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

fn walk_error(path: &Path, error: &walkdir::Error) -> Error {
    let path = error.path().unwrap_or(path);
    match error.io_error() {
        Some(io) => Error::io("read", path, io),
        None => Error::new(Kind::Io, format!("cannot read {}: its links go in a circle", path.display())),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_whole_with_their_modes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c.txt");
        write(&path, b"one", Some(0o600)).unwrap();
        write(&path, b"two", None).unwrap();
        append(&path, b" three").unwrap();
        assert_eq!(read(&path).unwrap(), "two three");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, b"through", None).unwrap();
        assert_eq!((read(&path).unwrap().as_str(), link.is_symlink()), ("through", true));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
        std::fs::write(&path, b"\xff").unwrap();
        assert!(read(&path).unwrap_err().message().ends_with("is not text: byte 0 is not UTF-8"));
        assert!(write(dir.path(), b"x", None).unwrap_err().message().ends_with("it is a folder"));
    }

    #[test]
    fn patterns_find_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["logs/a/1.log", "logs/b/2.log", "logs/b/deep/3.log", "logs/x.txt"] {
            write(&dir.path().join(name), b"", None).unwrap();
        }
        let found = |pattern: &str| list(dir.path(), pattern).unwrap();
        assert_eq!(found("logs/*/*.log"), ["logs/a/1.log", "logs/b/2.log"]);
        assert_eq!(found("logs/**/*.log"), ["logs/a/1.log", "logs/b/2.log", "logs/b/deep/3.log"]);
        assert_eq!(found("logs/{a,b}"), ["logs/a", "logs/b"]);
        assert_eq!(found("logs/x.txt"), ["logs/x.txt"]);
        assert_eq!(found("nothing/*"), Vec::<String>::new());
        let absolute = format!("{}/logs/?.txt", dir.path().display());
        assert_eq!(found(&absolute), [absolute.replace('?', "x")]);
        assert_eq!(list(dir.path(), "a[").unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn trees_are_copied_and_removed_but_never_the_project() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("project");
        let project = Project { root: root.clone(), home: root.clone(), cache: root.clone() };
        write(&root.join("from/x/y"), b"1", Some(0o755)).unwrap();
        std::os::unix::fs::symlink("y", root.join("from/x/l")).unwrap();
        copy(&root.join("from"), &root.join("to")).unwrap();
        assert_eq!(std::fs::metadata(root.join("to/x/y")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(std::fs::read_link(root.join("to/x/l")).unwrap(), Path::new("y"));
        copy(&root.join("to/x/y"), &root.join("from")).unwrap();
        assert!(root.join("from/y").is_file());
        assert!(copy(&root.join("from"), &root.join("from/in")).is_err());
        assert!(copy(&root.join("from/y"), &root.join("from/y")).is_err());
        assert!(remove(&root.join("to"), &project).unwrap() && !root.join("to").exists());
        assert!(!remove(&root.join("to"), &project).unwrap());
        for kept in [&root, dir.path(), Path::new("/")] {
            assert!(remove(kept, &project).unwrap_err().message().contains("is not removed"), "{}", kept.display());
        }
    }
}
