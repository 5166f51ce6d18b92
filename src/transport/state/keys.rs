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
}

/// Makes an ed25519 key pair in `dir/keys`, or finds the one made before.
pub fn generate(dir: &Path, comment: &str) -> Result<KeyFiles> {
    let keys = private_dir(dir)?;
    let files = KeyFiles { private: keys.join("id_ed25519"), public: keys.join("id_ed25519.pub") };
    let key = if files.private.exists() {
        read(&files.private)?
    } else {
        let mut key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
            .map_err(|e| Error::internal(format!("no key could be made: {e}")))?;
        key.set_comment(comment);
        let text = key.to_openssh(LineEnding::LF).map_err(|e| Error::internal(format!("no key could be made: {e}")))?;
        atomic::write(&files.private, text.as_bytes(), 0o600)?;
        key
    };
    if !files.public.exists() {
        write_public(&key, &files.public)?;
    }
    Ok(files)
}

/// Uses the user's private key in place. Its public half is taken from beside it, or worked out into `dir/keys`.
pub fn given(dir: &Path, private: &Path, public: Option<&Path>) -> Result<KeyFiles> {
    let mut beside = private.as_os_str().to_owned();
    beside.push(".pub");
    let beside = PathBuf::from(beside);
    let public = match public {
        Some(public) => public.to_owned(),
        None if beside.is_file() => beside,
        None => {
            let target = private_dir(dir)?.join("given.pub");
            write_public(&read(private)?, &target)?;
            target
        }
    };
    Ok(KeyFiles { private: private.to_owned(), public })
}

fn private_dir(dir: &Path) -> Result<PathBuf> {
    let keys = dir.join("keys");
    DirBuilder::new().recursive(true).mode(0o700).create(&keys).at("create", &keys)?;
    Ok(keys)
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
