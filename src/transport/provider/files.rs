//! Files that providers keep about their nodes.

use crate::base::error::{Error, IoResultExt, Kind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// A node's name is also the name of its folder.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 128 && name.chars().all(fits) {
        return Ok(());
    }
    Err(Error::config(format!("\"{name}\" cannot be the name of a node"))
        .hint("Names begin with a letter or digit and have only letters, digits, \"-\", \"_\" and \".\" in them."))
}

/// Returns none when there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path, &e)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| {
        Error::new(Kind::Provider, format!("{} is damaged: {e}", path.display()))
            .hint("Only opsrun writes this file. Remove it, then provision again.")
    })
}

/// Writes the whole file or nothing, for the owner only.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        // For the owner only, under a name of its own: two may write at once.
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(path.parent().unwrap_or(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(path).map_err(|e| e.error)
    };
    write().map(drop).at("write", path)
}

pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::internal(e.to_string()))?;
    text.push(b'\n');
    write_private(path, &text)
}
