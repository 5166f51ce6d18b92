//! Files that are there whole or not at all, even after a crash or a power cut.

use crate::base::error::{Error, IoResultExt, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes the file beside its place, makes it durable, and moves it there.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    place(path, bytes, mode, true)
}

/// As `write`, for what a power cut may take with it: others see all of it or nothing, and nobody waits for the disk.
pub fn write_lightly(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    place(path, bytes, mode, false)
}

fn place(path: &Path, bytes: &[u8], mode: u32, durable: bool) -> Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::internal(format!("{} is no place for a file", path.display())));
    };
    // One writer at a time holds the lock, so the name needs to differ from nobody's; a leftover of a crash is overwritten.
    let temp = dir.join(format!(".{}.new", name.to_string_lossy()));
    let done = replace(&temp, path, bytes, mode, durable);
    if done.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    done?;
    if durable { sync_dir(dir) } else { Ok(()) }
}

fn replace(temp: &Path, path: &Path, bytes: &[u8], mode: u32, durable: bool) -> Result<()> {
    let _ = std::fs::remove_file(temp);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temp).at("write", path)?;
    file.write_all(bytes).at("write", path)?;
    if durable {
        file.sync_all().at("write", path)?;
    }
    std::fs::rename(temp, path).at("write", path)
}

/// Makes renames and removals in the folder durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).at("write", dir)
}
