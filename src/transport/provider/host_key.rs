//! Host keys that providers make for their nodes.

use crate::base::error::{Error, Kind, Result};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};

/// A fresh one.
pub struct HostKey {
    /// In OpenSSH's form.
    pub private: String,
    /// `ssh-ed25519 AAAA…`, without a comment: as known_hosts lines have it.
    pub public: String,
}

impl HostKey {
    pub fn make(comment: &str) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| Error::new(Kind::Provider, format!("cannot make a host key: {e}"));
        let mut key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).map_err(|e| failed(&e))?;
        let public = key.public_key().to_openssh().map_err(|e| failed(&e))?;
        key.set_comment(comment);
        let private = key.to_openssh(LineEnding::LF).map_err(|e| failed(&e))?.to_string();
        Ok(Self { private, public: public.split(' ').take(2).collect::<Vec<_>>().join(" ") })
    }
}
