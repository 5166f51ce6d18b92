//! Private key files: read, checked and decrypted once for the whole process, however many hosts ask for them.

use crate::base::error::{Error, Kind, Result};
use crate::base::secret::Secret;
use russh::keys::{PrivateKey, PublicKey, decode_secret_key, load_public_key};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Asks the user for the passphrase of a key file. It may block (it runs on a thread of its own), and is called once per file.
pub type AskPassphrase = Arc<dyn Fn(&Path) -> Result<Secret> + Send + Sync>;

/// All hosts that fail over the same key share one failure for this long, so that nobody is asked a hundred times.
const FAILURE_HOLDS: Duration = Duration::from_secs(10);

pub(super) struct KeyRing {
    ask: AskPassphrase,
    files: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<State>>>>,
}

#[derive(Default)]
enum State {
    #[default]
    Unread,
    Ready(Arc<PrivateKey>),
    Failed(Error, Instant),
}

impl KeyRing {
    pub fn new(ask: AskPassphrase) -> Self {
        Self { ask, files: Mutex::default() }
    }

    /// The private key in a file. Waits while another task is reading it or asking for its passphrase.
    pub async fn load(&self, path: &Path) -> Result<Arc<PrivateKey>> {
        let cell = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            match files.get(path) {
                Some(cell) => cell.clone(),
                None => files.entry(path.to_owned()).or_default().clone(),
            }
        };
        let mut state = cell.lock().await;
        match &*state {
            State::Ready(key) => return Ok(key.clone()),
            State::Failed(error, since) if since.elapsed() < FAILURE_HOLDS => return Err(error.clone()),
            State::Unread | State::Failed(..) => {}
        }
        let loaded = self.read(path).await;
        *state = match &loaded {
            Ok(key) => State::Ready(key.clone()),
            Err(error) => State::Failed(error.clone(), Instant::now()),
        };
        loaded
    }

    async fn read(&self, path: &Path) -> Result<Arc<PrivateKey>> {
        check_file(path)?;
        let text = zeroize::Zeroizing::new(read_text(path)?);
        if !is_encrypted(&text) {
            return decode_secret_key(&text, None).map(Arc::new).map_err(|e| unreadable(path, &e));
        }
        if let Some(cipher) = old_cipher(&text) {
            let message =
                format!("the private key {} is encrypted in an old way ({cipher}) that is not supported", path.display());
            return Err(Error::new(Kind::Auth, message).hint(format!("Write it anew: ssh-keygen -p -f {}", path.display())));
        }
        let (ask, path) = (self.ask.clone(), path.to_owned());
        // Both asking and the deliberately slow decryption would hold up every other connection.
        let work = tokio::task::spawn_blocking(move || {
            let passphrase = ask(&path)?;
            decode_secret_key(&text, Some(passphrase.expose())).map(Arc::new).map_err(|_| {
                Error::new(Kind::Auth, format!("wrong passphrase for the private key {}", path.display()))
                    .hint(format!("Try it with: ssh-keygen -y -f {}", path.display()))
            })
        });
        work.await.map_err(|e| Error::internal(format!("reading a key stopped: {e}")))?
    }
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read the private key", path, &e))?;
    String::from_utf8(bytes).map_err(|_| not_a_key(path))
}

/// As OpenSSH does: a private key of ours that others can read is a private key no longer.
fn check_file(path: &Path) -> Result<()> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io("read the private key", path, &e))?;
    let mode = meta.mode() & 0o777;
    if mode & 0o077 != 0 && meta.uid() == nix::unistd::getuid().as_raw() {
        return Err(Error::new(
            Kind::Auth,
            format!("the private key {} can be read by others (mode {mode:04o}), so it is not used", path.display()),
        )
        .hint(format!("Close it: chmod 600 {}", crate::base::shell::quote(&path.to_string_lossy()))));
    }
    Ok(())
}

fn is_encrypted(text: &str) -> bool {
    if text.contains("BEGIN OPENSSH PRIVATE KEY") {
        return PrivateKey::from_openssh(text).is_ok_and(|key| key.is_encrypted());
    }
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") || text.contains("Encryption: aes")
}

/// The cipher of a key in the old PEM way, when it is one that we cannot undo.
fn old_cipher(text: &str) -> Option<&str> {
    let info = text.lines().find_map(|line| line.strip_prefix("DEK-Info: "))?;
    let cipher = info.split(',').next().unwrap_or(info);
    (cipher != "AES-128-CBC").then_some(cipher)
}

fn not_a_key(path: &Path) -> Error {
    Error::new(Kind::Auth, format!("{} is not a private key that SSH can use", path.display()))
}

fn unreadable(path: &Path, error: &russh::keys::Error) -> Error {
    let error = not_a_key(path).context(format!("reading it: {error}"));
    let public = path.extension().is_some_and(|e| e == "pub");
    if public { error.hint("This looks like the public half: name the file without \".pub\".") } else { error }
}

/// The public half of a key file, if it can be had without a passphrase: to find the key in an agent.
pub(super) fn public_half(path: &Path) -> Option<PublicKey> {
    let beside = path.with_file_name(format!("{}.pub", path.file_name()?.to_string_lossy()));
    load_public_key(beside).ok().or_else(|| {
        let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).ok()?);
        PrivateKey::from_openssh(text.as_bytes()).ok().map(|key| key.public_key().clone())
    })
}

/// What to call a key in an error: `~/.ssh/id_ed25519 (ED25519 SHA256:…)`.
pub(super) fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(russh::keys::HashAlg::Sha256))
}
