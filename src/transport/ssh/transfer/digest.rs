//! SHA-256 of local files, computed once however many hosts get the file.

use crate::base::checksum::sha256_of_file;
use crate::base::error::{Error, Result};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// One state of one file.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(in crate::transport::ssh) struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileId {
    pub fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

type Cell = Arc<tokio::sync::OnceCell<String>>;

/// The digests known so far.
#[derive(Default)]
pub(in crate::transport::ssh) struct Digests(Mutex<HashMap<FileId, Cell>>);

impl Digests {
    /// The digest of a file in hexadecimal digits. Those who ask for it while it is computed wait for it.
    pub async fn of(&self, path: &Path, meta: &std::fs::Metadata) -> Result<String> {
        let cell = self.cell(&FileId::of(meta));
        let digest = cell.get_or_try_init(|| async {
            let path = path.to_owned();
            tokio::task::spawn_blocking(move || sha256_of_file(&path))
                .await
                .map_err(|e| Error::internal(format!("hashing stopped: {e}")))?
        });
        digest.await.cloned()
    }

    /// The digest, if it is known already.
    pub fn known(&self, id: &FileId) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id)?.get().cloned()
    }

    /// Keeps a digest that was computed on the way.
    pub fn learn(&self, id: &FileId, digest: String) -> String {
        let _ = self.cell(id).set(digest.clone());
        digest
    }

    fn cell(&self, id: &FileId) -> Cell {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default().clone()
    }
}
