//! A local directory as a list of what is in it.

use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::base::stage::PREFIX;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    File { size: u64 },
    Directory,
    Link { target: PathBuf },
}

/// One thing in a tree.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Relative to the tree's root.
    pub path: PathBuf,
    pub what: What,
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
}

/// Which names are left out.
#[derive(Default)]
pub(super) struct Excludes(GlobSet);

impl Excludes {
    /// As rsync has it: a pattern with a `/` is about the path from the root, one without about a name at any depth.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let trimmed = pattern.trim_end_matches('/');
            let glob = match trimmed.strip_prefix('/') {
                Some(anchored) => anchored.to_owned(),
                None if trimmed.contains('/') => trimmed.to_owned(),
                None => format!("**/{trimmed}"),
            };
            let bad = |e: globset::Error| Error::usage(format!("\"{pattern}\" is not a pattern: {}", e.kind()));
            set.add(GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build().map_err(bad)?);
        }
        let built = set.build().map_err(|e| Error::usage(format!("the patterns cannot be used: {e}")))?;
        Ok(Self(built))
    }

    /// Whether a path is left out, by its own name. Directories that are left out hide what is in them: see `covers`.
    pub fn matches(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default();
        // Transfers under way are never sent, never deleted.
        name.as_bytes().starts_with(PREFIX.as_bytes()) || (!self.0.is_empty() && self.0.is_match(path))
    }

    /// Whether a path, or a directory it is in, is left out.
    pub fn covers(&self, path: &Path) -> bool {
        path.ancestors().any(|p| !p.as_os_str().is_empty() && self.matches(p))
    }
}

/// Everything below a directory, parents before children, without the directory itself. What is neither file, directory
/// nor symlink cannot be copied, and is mentioned.
pub(super) fn scan(root: &Path, excludes: &Excludes, cx: &Cx) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut special = 0_usize;
    let walk = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    let within = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
    for found in walk.filter_entry(|e| !excludes.matches(&within(e.path()))) {
        cx.cancel.check()?;
        let failed = |e: walkdir::Error| {
            let path = e.path().unwrap_or(root).to_owned();
            Error::io("read", path, &e.into())
        };
        let found = found.map_err(failed)?;
        let meta = found.metadata().map_err(failed)?;
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            What::Directory
        } else if kind.is_file() {
            What::File { size: meta.len() }
        } else if kind.is_symlink() {
            let target = std::fs::read_link(found.path()).map_err(|e| Error::io("read", found.path(), &e))?;
            What::Link { target }
        } else {
            special += 1;
            continue;
        };
        entries.push(Entry {
            path: within(found.path()),
            what,
            mode: meta.mode() & 0o7777,
            modified: (meta.mtime(), meta.mtime_nsec()),
        });
    }
    if special > 0 {
        cx.events.warn(format!("{}: left out {special} sockets, pipes or devices", root.display()));
    }
    Ok(entries)
}

pub(super) fn changed_meanwhile(path: &Path) -> Error {
    Error::new(Kind::Transfer, format!("{} changed while it was copied", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_are_as_in_rsync() {
        let given: Vec<String> = ["*.log", "/top", "a/b", "cache/"].iter().map(|s| (*s).to_owned()).collect();
        let excludes = Excludes::new(&given).unwrap();
        for left_out in ["x.log", "d/x.log", "top", "top/x", "a/b", "a/b/c", "cache", "d/cache/x", "d/.opsrun-stage-h-1"] {
            assert!(excludes.covers(Path::new(left_out)), "{left_out}");
        }
        for kept in ["x.logs", "d/top", "z/a/b", "caches"] {
            assert!(!excludes.covers(Path::new(kept)), "{kept}");
        }
        assert!(Excludes::new(&["[".to_owned()]).is_err());
    }
}
