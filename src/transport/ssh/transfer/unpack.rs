//! A tree that comes from a host: unpacked into a staging folder, then moved to its place name by name.
//!
//! The host is not trusted: names that lead out of the folder are refused, and symlinks are made last, so that no file can
//! be written through one.

use super::get::parse_time;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Unit};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;
use tar::{Archive, EntryType};

/// What was unpacked: everything that is to be moved, and what directories are to look like.
#[derive(Default, Debug)]
pub(super) struct Tree {
    /// Parents before children.
    directories: BTreeMap<PathBuf, (u32, Option<SystemTime>)>,
    /// Files and symlinks.
    names: Vec<PathBuf>,
    /// Mode and time of the root itself.
    root: Option<(u32, Option<SystemTime>)>,
}

pub(super) fn unpack(stream: impl Read, stage: &Path, remote: &str, label: &str, cx: &Cx) -> Result<Tree> {
    let broken = |e: std::io::Error| {
        Error::new(Kind::Transfer, format!("{remote} did not arrive whole; nothing was changed")).context(e.to_string())
    };
    let mut archive = Archive::new(stream);
    let mut tree = Tree::default();
    let mut links = Vec::new();
    let mut special = 0_usize;
    let progress = cx.events.progress(label, 0, Unit::Bytes);
    for entry in archive.entries().map_err(broken)? {
        cx.cancel.check()?;
        let mut entry = entry.map_err(broken)?;
        let path = inside(&entry.path_bytes(), remote)?;
        let mode = entry.header().mode().map_err(broken)? & 0o7777;
        let time = modified(&mut entry).map_err(broken)?;
        let staged = stage.join(&path);
        let failed = |e: std::io::Error| Error::io("write", &staged, &e);
        match entry.header().entry_type() {
            EntryType::Directory if path.as_os_str().is_empty() => tree.root = Some((mode, time)),
            EntryType::Directory => {
                std::fs::create_dir_all(&staged).map_err(failed)?;
                tree.directories.insert(path, (mode, time));
            }
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                links.push((path, entry.header().entry_type(), target));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if let Some(parent) = staged.parent() {
                    std::fs::create_dir_all(parent).map_err(failed)?;
                }
                let mut file = std::fs::File::create_new(&staged).map_err(failed)?;
                copy(&mut entry, &mut file, |n| progress.advance(n)).map_err(broken)?.map_err(failed)?;
                file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
                if let Some(time) = time {
                    file.set_modified(time).map_err(failed)?;
                }
                tree.names.push(path);
            }
            _ => special += 1,
        }
    }
    for (path, kind, target) in links {
        let staged = stage.join(&path);
        let made = if kind == EntryType::Symlink {
            through_no_link(stage, &path, remote)?;
            std::os::unix::fs::symlink(OsStr::from_bytes(&target), &staged)
        } else {
            let target = inside(&target, remote)?;
            through_no_link(stage, &path, remote)?;
            through_no_link(stage, &target, remote)?;
            std::fs::hard_link(stage.join(target), &staged)
        };
        made.map_err(|e| Error::io("write", &staged, &e))?;
        tree.names.push(path);
    }
    if special > 0 {
        cx.events.warn(format!("{remote}: left out {special} sockets, pipes or devices"));
    }
    Ok(tree)
}

/// A name of the archive as a path within it.
fn inside(name: &[u8], remote: &str) -> Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(name));
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            _ => {
                let message = format!("{remote}: the host sent a name that leads out of its folder: {}", path.display());
                return Err(Error::new(Kind::Transfer, message).hint("Do not trust this host."));
            }
        }
    }
    Ok(clean)
}

/// Refuses a path that goes through a symlink of the archive: it could lead anywhere.
fn through_no_link(stage: &Path, path: &Path, remote: &str) -> Result<()> {
    let parents = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty());
    if parents.into_iter().any(|p| stage.join(p).is_symlink()) {
        let message = format!("{remote}: the host sent a name that leads out of its folder: {}", path.display());
        return Err(Error::new(Kind::Transfer, message).hint("Do not trust this host."));
    }
    Ok(())
}

/// Makes a folder of the archive at its place. A symlink there, which an earlier archive may have brought, gives way: what
/// comes now must not be written through it.
fn make_folder(target: &Path, path: &Path) -> std::io::Result<()> {
    let mut place = target.to_owned();
    for part in path {
        place.push(part);
        if place.is_symlink() {
            std::fs::remove_file(&place)?;
        }
        match std::fs::create_dir(&place) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && place.is_dir() => {}
            made => made?,
        }
    }
    Ok(())
}

fn modified<R: Read>(entry: &mut tar::Entry<'_, R>) -> std::io::Result<Option<SystemTime>> {
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions.flatten() {
            if extension.key() == Ok("mtime") {
                return Ok(extension.value().ok().and_then(parse_time));
            }
        }
    }
    Ok(entry.header().mtime().ok().and_then(|s| parse_time(&s.to_string())))
}

/// The outer error is the stream's, the inner one the file's.
fn copy(from: &mut impl Read, to: &mut impl std::io::Write, mut on: impl FnMut(u64)) -> std::io::Result<std::io::Result<()>> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(Ok(()));
        }
        if let Err(e) = to.write_all(&buffer[..n]) {
            return Ok(Err(e));
        }
        on(n as u64);
    }
}

impl Tree {
    /// Moves everything from the staging folder to its place. Files that are there and not here stay.
    pub fn move_to(self, stage: &Path, target: &Path) -> Result<()> {
        let failed = |path: &Path, e: &std::io::Error| Error::io("write", path, e);
        let new = !target.exists();
        std::fs::create_dir_all(target).map_err(|e| failed(target, &e))?;
        for path in self.directories.keys() {
            make_folder(target, path).map_err(|e| failed(&target.join(path), &e))?;
        }
        for path in &self.names {
            let place = target.join(path);
            if let Some(parent) = path.parent() {
                make_folder(target, parent).map_err(|e| failed(&target.join(parent), &e))?;
            }
            std::fs::rename(stage.join(path), &place).map_err(|e| failed(&place, &e))?;
        }
        for (path, (mode, time)) in self.directories.iter().rev() {
            let place = target.join(path);
            dress(&place, *mode, *time).map_err(|e| failed(&place, &e))?;
        }
        if let (true, Some((mode, time))) = (new, self.root) {
            dress(target, mode, time).map_err(|e| failed(target, &e))?;
        }
        Ok(())
    }
}

fn dress(directory: &Path, mode: u32, time: Option<SystemTime>) -> std::io::Result<()> {
    let handle = std::fs::File::open(directory)?;
    if let Some(time) = time {
        handle.set_modified(time)?;
    }
    handle.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_are_refused() {
        assert_eq!(inside(b"./a/./b", "x").unwrap(), Path::new("a/b"));
        for bad in [&b"../a"[..], b"a/../../b", b"/etc/passwd"] {
            assert!(inside(bad, "x").is_err());
        }
    }

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_size(0);
                tar.append_link(&mut header, name, content).unwrap();
            } else {
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, name, content.as_bytes()).unwrap();
            }
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn nothing_is_written_through_links_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, target) = (dir.path().join("victim"), dir.path().join("target"));
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join("f"), "mine").unwrap();
        let out = victim.to_str().unwrap();
        let get = |entries: &[(&str, EntryType, &str)]| {
            let stage = tempfile::tempdir_in(dir.path()).unwrap();
            unpack(&archive(entries)[..], stage.path(), "x", "", &Cx::quiet())?.move_to(stage.path(), &target)
        };
        // Within one archive.
        for evil in [("d/new", EntryType::Symlink, "/etc"), ("stolen", EntryType::Link, "d/f")] {
            let error = get(&[("d", EntryType::Symlink, out), evil]).unwrap_err();
            assert!(error.message().contains("leads out"), "{error}");
        }
        // From one to the next.
        get(&[("d", EntryType::Symlink, out)]).unwrap();
        assert!(target.join("d").is_symlink());
        get(&[("d/f", EntryType::Regular, "evil"), ("d/sub/g", EntryType::Regular, "evil")]).unwrap();
        assert_eq!(std::fs::read_to_string(target.join("d/f")).unwrap(), "evil");
        assert_eq!(std::fs::read_to_string(victim.join("f")).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 1);
    }
}
