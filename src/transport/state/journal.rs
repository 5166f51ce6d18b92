//! What was meant and what came of it, one JSON line each: written before a change and after it.

use crate::base::error::{IoResultExt, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use uuid::Uuid;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub at: Timestamp,
    /// Joins an intent and its outcome.
    #[serde(with = "super::uuid_as_text")]
    pub id: Uuid,
    /// `provision`, `deprovision`, …
    pub action: String,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum What {
    Intent {
        #[serde(default)]
        create: Vec<String>,
        #[serde(default)]
        remove: Vec<String>,
    },
    Done,
    Failed {
        error: String,
    },
    /// A call to a cloud, about to be made.
    Call {
        call: String,
        request: serde_json::Value,
    },
    /// What it answered.
    Reply {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ids: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

/// The journal of one deployment.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
}

/// A change under way, to be ended with its outcome.
#[derive(Debug)]
#[must_use]
pub struct Intent {
    id: Uuid,
    action: String,
}

impl Journal {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes down what is about to be done. Durable when this returns.
    pub fn intend(&self, action: &str, create: Vec<String>, remove: Vec<String>) -> Result<Intent> {
        let id = Uuid::new_v4();
        self.append(&Entry { at: Timestamp::now(), id, action: action.to_owned(), what: What::Intent { create, remove } })?;
        Ok(Intent { id, action: action.to_owned() })
    }

    /// Writes down what came of it.
    pub fn outcome<T>(&self, intent: Intent, result: &Result<T>) -> Result<()> {
        let what = match result {
            Ok(_) => What::Done,
            Err(e) => What::Failed { error: crate::base::secret::mask(&e.to_string()).into_owned() },
        };
        self.append(&Entry { at: Timestamp::now(), id: intent.id, action: intent.action, what })
    }

    /// Writes down a call that is about to be made to a cloud. Durable when this returns; the ID joins the reply to it.
    pub fn call(&self, call: &str, request: serde_json::Value) -> Result<Uuid> {
        let id = Uuid::new_v4();
        let what = What::Call { call: call.to_owned(), request };
        self.append(&Entry { at: Timestamp::now(), id, action: "call".to_owned(), what })?;
        Ok(id)
    }

    /// Writes down what the call made, or that it was refused.
    pub fn reply(&self, id: Uuid, ids: Vec<String>, error: Option<String>) -> Result<()> {
        self.append(&Entry { at: Timestamp::now(), id, action: "call".to_owned(), what: What::Reply { ids, error } })
    }

    fn append(&self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry).unwrap_or_default();
        line.push(b'\n');
        let mut file =
            OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&self.path).at("write", &self.path)?;
        // A line torn by a crash is closed off first, so that it spoils no other.
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last).at("read", &self.path)?;
        }
        if last != [b'\n'] {
            line.insert(0, b'\n');
        }
        file.write_all(&line).at("write", &self.path)?;
        file.sync_data().at("write", &self.path)
    }

    /// Returns all entries, oldest first. Torn lines are passed over.
    pub fn read(&self) -> Result<Vec<Entry>> {
        let bytes = match std::fs::read(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.at("read", &self.path)?,
        };
        Ok(bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// Returns the last intent if nothing is known of its outcome: the process was cut off, or is still at it.
    pub fn unfinished(&self) -> Result<Option<Entry>> {
        let own = |e: &Entry| !matches!(e.what, What::Call { .. } | What::Reply { .. });
        Ok(self.read()?.into_iter().rfind(own).filter(|e| matches!(e.what, What::Intent { .. })))
    }
}
