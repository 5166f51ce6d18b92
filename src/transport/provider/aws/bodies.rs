//! The user data of launches whose answer is not known yet: asking again takes it word for word, and the journal may not hold
//! it. For the owner only, and gone as soon as the answer is there.

use super::user_data::Body;
use crate::base::error::{Error, IoResultExt, Result};
use crate::transport::provider::Site;
use crate::transport::provider::files::write_private;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// The folder they are in, by the tokens of their launches.
pub struct Bodies(PathBuf);

impl Bodies {
    pub fn of(site: &Site) -> Self {
        Self(site.dir.join("aws/launches"))
    }

    pub fn keep(&self, token: &str, body: &Body) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).at("make", &self.0)?;
        write_private(&self.0.join(token), &body.0)
    }

    /// Returns what was kept, or none when it is gone.
    pub fn read(&self, token: &str) -> Result<Option<Body>> {
        let path = self.0.join(token);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(Body(bytes))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &path, &e)),
        }
    }

    pub fn forget(&self, token: &str) -> Result<()> {
        let path = self.0.join(token);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", &path, &e)),
            _ => Ok(()),
        }
    }

    /// Removes all but those of these launches, and what a write that was cut off left.
    pub fn keep_only(&self, tokens: &[String]) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Ok(()) };
        let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| !tokens.contains(name)).try_for_each(|name| self.forget(&name))
    }
}
