//! What is known of a deployment: `deployments/NAME/`, written whole or not at all, by one writer at a time.
//!
//! Readers need no lock. The state file is replaced atomically, so what they see is always one moment's truth.

pub mod atomic;
pub mod journal;
pub mod keys;
pub mod lock;
mod origin;
pub mod ssh_files;

use crate::base::endpoint::{Endpoint, FirstContact};
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::suggest;
use jiff::Timestamp;
use lock::Lock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The shape of `state.json`. A newer one is refused, an older one is brought up to date on reading.
pub const SCHEMA: u32 = 1;

/// Names that begin like this are folders on their way out.
const TRASH: &str = ".trash-";

/// All that is kept of a deployment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    pub schema: u32,
    pub name: String,
    #[serde(with = "uuid_as_text")]
    pub uuid: Uuid,
    /// `local`, `static`, …
    pub provider: String,
    pub created: Timestamp,
    /// The config files it was last provisioned from, absolute.
    pub inputs: Vec<PathBuf>,
    /// The environment it belongs to, where those are the files of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What its machine is to be the image of, where that is what it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<serde_json::Value>,
    /// The merged config, without secrets.
    pub config: serde_json::Value,
    pub nodes: Vec<NodeRecord>,
    /// Nodes that the next provision makes anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tainted: Vec<String>,
    /// What the config's words for images mean, until the user wants it anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// When it expires, where it was extended; else its config's `expires` counts from `created`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended: Option<Timestamp>,
    /// The folder it was written to; see `origin`. Only in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}

/// A node as it was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    pub name: String,
    pub group: String,
    pub index: usize,
    /// The provider's own name for it, where it has one: another one is another machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub endpoint: Endpoint,
    /// In known_hosts form, where the provider told them.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// How those are still to be learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_contact: Option<FirstContact>,
    /// The auto-scaling group it is of, which may end it and make another at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_group: Option<String>,
    /// It exists and does not run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

/// The folder of one deployment, whether it exists or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Store {
    name: String,
    dir: PathBuf,
}

impl Store {
    /// Names the folder. Only checks that the name can be one.
    pub fn new(deployments: &Path, name: &str) -> Result<Self> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), dir: deployments.join(name) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the state, or none when there is no such deployment (or one whose making was cut off before it had any).
    pub fn read(&self) -> Result<Option<Record>> {
        let path = self.dir.join("state.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(Error::io("read", &path, &e)),
        };
        let broken = |why: String| {
            Error::new(Kind::Io, format!("cannot understand {}: {why}", path.display())).hint(format!(
                "opsrun writes this file whole or not at all, so something else changed it. Bring back a good copy, \
                 or look for what is left with the provider before you remove {}.",
                self.dir.display()
            ))
        };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
        let schema = value.get("schema").and_then(serde_json::Value::as_u64);
        if schema.is_some_and(|s| s > u64::from(SCHEMA)) {
            return Err(Error::new(Kind::Io, format!("{} was written by a newer opsrun", path.display()))
                .hint("Use that version, or a newer one."));
        }
        let record = serde_json::from_value(value).map_err(|e| broken(e.to_string()))?;
        origin::settle(self, record).map(Some)
    }

    /// Replaces the state. The lock is asked for to prove that the caller is the one writer.
    pub fn write(&self, record: &Record, _lock: &Lock) -> Result<()> {
        let record = Record { dir: Some(self.dir.clone()), ..record.clone() };
        let mut text = serde_json::to_string_pretty(&record)
            .map_err(|e| Error::internal(format!("the state cannot be written as JSON: {e}")))?;
        text.push('\n');
        atomic::write(&self.dir.join("state.json"), text.as_bytes(), 0o600)
    }

    /// Writes another file of the deployment's folder whole or not at all.
    pub fn write_file(&self, name: &str, text: &str, _lock: &Lock) -> Result<()> {
        atomic::write(&self.dir.join(name), text.as_bytes(), 0o644)
    }

    /// Makes the folder if there is none, and becomes the one writer.
    pub fn lock_new(&self, command: &str) -> Result<Lock> {
        loop {
            match std::fs::create_dir_all(&self.dir) {
                Ok(()) => {}
                // It was there when it was to be made, and gone when it was looked at: someone removes it right now.
                Err(e)
                    if e.kind() == ErrorKind::AlreadyExists
                        && std::fs::symlink_metadata(&self.dir).map_or(true, |m| m.is_dir()) =>
                {
                    continue;
                }
                Err(e) => return Err(Error::io("create", &self.dir, &e)),
            }
            // None: someone removed the folder between these two lines.
            if let Some(lock) = Lock::take(&self.name, &self.dir, command)? {
                return Ok(lock);
            }
        }
    }

    /// Becomes the one writer of a folder that exists; none when it does not.
    pub fn lock(&self, command: &str) -> Result<Option<Lock>> {
        Lock::take(&self.name, &self.dir, command)
    }

    pub fn journal(&self) -> journal::Journal {
        journal::Journal::new(self.dir.join("journal.jsonl"))
    }

    /// Removes the folder: out of sight in one step, then for good.
    pub fn remove(&self, lock: Lock) -> Result<()> {
        let parent = self.dir.parent().unwrap_or(Path::new("/"));
        let trash = parent.join(format!("{TRASH}{}-{}", self.name, Uuid::new_v4()));
        std::fs::rename(&self.dir, &trash).at("remove", &self.dir)?;
        atomic::sync_dir(parent)?;
        delete(&trash)?;
        drop(lock);
        Ok(())
    }
}

/// Deletes what an interrupted removal left behind.
pub fn sweep(deployments: &Path) {
    let Ok(entries) = std::fs::read_dir(deployments) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TRASH) {
            // Another process may be deleting it as well: fine, and the next command tries again.
            let _ = delete(&entry.path());
        }
    }
}

/// Returns the names of all deployments, sorted; with them those whose making was cut off at its very start.
pub fn names(deployments: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(deployments) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", deployments, &e)),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|name| check_name(name).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

/// The error for a deployment that does not exist.
pub fn not_found(deployments: &Path, name: &str) -> Error {
    let names = names(deployments).unwrap_or_default();
    let error = Error::new(Kind::NotFound, format!("there is no deployment \"{name}\" in {}", deployments.display()));
    match suggest::did_you_mean(name, names.iter().map(String::as_str)) {
        Some(hint) => error.hint(hint),
        None => error.hint(format!("Make it first: opsrun provision {name} configs/local.yml")),
    }
}

/// Checks that the name can be a folder's, a host's and a tag's.
pub fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(good) && name.len() <= 64 {
        return Ok(());
    }
    Err(Error::usage(format!("\"{}\" cannot be the name of a deployment", name.escape_debug()))
        .hint("A name begins with a letter or digit and holds at most 64 letters, digits, `.`, `_` and `-`."))
}

fn delete(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", dir, &e)),
        _ => Ok(()),
    }
}

/// A UUID as its usual text.
mod uuid_as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use uuid::Uuid;

    pub fn serialize<S: Serializer>(uuid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(uuid)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
