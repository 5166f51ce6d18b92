//! The key pair a deployment's nodes accept.

use super::atomic;
use crate::base::error::{Error, IoResultExt, Kind, Result};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A private key file and its public half.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFiles {
    pub private: PathBuf,
    pub public: PathBuf,
    /// Whether the pair is the deployment's own, to be made by us.
    own: bool,
}

impl KeyFiles {
    /// Names the deployment's own pair.
    pub fn own(dir: &Path) -> Self {
        let keys = dir.join("keys");
        Self { private: keys.join("id_ed25519"), public: keys.join("id_ed25519.pub"), own: true }
    }

    /// Names the user's pair, used in place. A public half that is nowhere will be worked out into `dir/keys`.
    pub fn given(dir: &Path, private: &Path, public: Option<&Path>) -> Self {
        let mut beside = private.as_os_str().to_owned();
        beside.push(".pub");
        let beside = PathBuf::from(beside);
        let public = match public {
            Some(public) => public.to_owned(),
            None if beside.is_file() => beside,
            None => dir.join("keys/given.pub"),
        };
        Self { private: private.to_owned(), public, own: false }
    }

    /// Takes over the user's key as the deployment's own.
    pub fn take(&self, dir: &Path, private: &Path) -> Result<()> {
        private_dir(dir)?;
        let text = std::fs::read(private).at("read", private)?;
        let public = public_half(private, None)?;
        atomic::write(&self.private, &text, 0o600)?;
        atomic::write(&self.public, format!("{}\n", public.trim()).as_bytes(), 0o644)
    }

    /// Makes what is not there yet.
    pub fn make(&self, dir: &Path, comment: &str) -> Result<()> {
        if self.own && !self.private.exists() {
            private_dir(dir)?;
            let defect = |e| Error::internal(format!("no key could be made: {e}"));
            let mut key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).map_err(defect)?;
            key.set_comment(comment);
            let text = key.to_openssh(LineEnding::LF).map_err(defect)?;
            // A public half without its private one is of an earlier attempt.
            let _ = std::fs::remove_file(&self.public);
            atomic::write(&self.private, text.as_bytes(), 0o600)?;
        }
        if !self.public.exists() {
            private_dir(dir)?;
            write_public(&read(&self.private)?, &self.public)?;
        }
        Ok(())
    }
}

/// Returns the public half of a private key: from the file beside it, or else worked out.
pub fn public_half(private: &Path, public: Option<&Path>) -> Result<String> {
    std::fs::metadata(private).at("read", private)?;
    let beside = KeyFiles::given(private, private, public).public;
    if beside.is_file() {
        return std::fs::read_to_string(&beside).at("read", &beside);
    }
    let key = read(private)?;
    key.public_key().to_openssh().map_err(|e| Error::internal(format!("no public key could be written: {e}")))
}

fn private_dir(dir: &Path) -> Result<()> {
    let keys = dir.join("keys");
    DirBuilder::new().recursive(true).mode(0o700).create(&keys).at("create", &keys)
}

fn write_public(key: &PrivateKey, path: &Path) -> Result<()> {
    let text = key.public_key().to_openssh().map_err(|e| Error::internal(format!("no public key could be written: {e}")))?;
    atomic::write(path, format!("{text}\n").as_bytes(), 0o644)
}

fn read(path: &Path) -> Result<PrivateKey> {
    let text = std::fs::read(path).at("read", path)?;
    PrivateKey::from_openssh(text).map_err(|e| {
        Error::new(Kind::Config, format!("cannot take the public key out of {}: {e}", path.display()))
            .hint(format!("Write it beside the key: ssh-keygen -y -f {0} > {0}.pub", path.display()))
    })
}
