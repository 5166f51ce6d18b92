//! A local file on its way to many hosts at once: each piece is read once and shared by all that are near it.

use super::super::Client;
use super::super::exec::Source;
use super::digest::FileId;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Progress;
use bytes::{Bytes, BytesMut};
use std::collections::{HashMap, VecDeque};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::OnceCell;

/// What is read of a file at a time.
const PIECE: usize = 256 << 10;
/// Pieces that are kept for hosts that come a little later: 12 MiB.
const KEPT: usize = 48;

/// The files that are being sent now.
#[derive(Default)]
pub(in crate::transport::ssh) struct Readers(Mutex<HashMap<FileId, Weak<Reader>>>);

impl Readers {
    fn of(&self, path: &Path, meta: &std::fs::Metadata) -> Result<Arc<Reader>> {
        let id = FileId::of(meta);
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers.get(&id).and_then(Weak::upgrade) {
            return Ok(reader);
        }
        let file = std::fs::File::open(path).map_err(|e| Error::io("read", path, &e))?;
        let reader =
            Arc::new(Reader { path: path.to_owned(), file, size: meta.len(), recent: Mutex::default(), spare: Mutex::default() });
        readers.retain(|_, reader| reader.strong_count() > 0);
        readers.insert(id, Arc::downgrade(&reader));
        Ok(reader)
    }
}

type Piece = Arc<OnceCell<Bytes>>;

/// One file, read piece by piece.
struct Reader {
    path: PathBuf,
    file: std::fs::File,
    size: u64,
    recent: Mutex<VecDeque<(u64, Piece)>>,
    /// The memory of pieces that nobody needs any more: fresh memory costs more than what is read into it.
    spare: Mutex<Vec<BytesMut>>,
}

impl Reader {
    async fn piece(self: &Arc<Self>, at: u64) -> Result<Bytes> {
        let cell = self.cell(at);
        cell.get_or_try_init(|| async {
            let reader = self.clone();
            let reading = tokio::task::spawn_blocking(move || reader.read(at));
            reading.await.map_err(|e| Error::internal(format!("reading a file stopped: {e}")))?
        })
        .await
        .cloned()
    }

    fn cell(&self, at: u64) -> Piece {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, piece)) = recent.iter().rev().find(|(place, _)| *place == at) {
            return piece.clone();
        }
        if recent.len() == KEPT
            && let Some((_, oldest)) = recent.pop_front()
            && let Some(bytes) = Arc::into_inner(oldest).and_then(OnceCell::into_inner)
            && let Ok(unused) = bytes.try_into_mut()
        {
            self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(unused);
        }
        let piece = Piece::default();
        recent.push_back((at, piece.clone()));
        piece
    }

    fn read(&self, at: u64) -> Result<Bytes> {
        let wanted = usize::try_from(self.size - at).unwrap_or(PIECE).min(PIECE);
        let mut buffer = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        buffer.resize(wanted, 0);
        self.file.read_exact_at(&mut buffer, at).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::new(Kind::Transfer, format!("{} became shorter while it was copied", self.path.display()))
            }
            _ => Error::io("read", &self.path, &e),
        })?;
        Ok(buffer.freeze())
    }
}

/// The file's content for one host, then the line with its checksum, which is computed meanwhile.
pub(super) struct FileSource {
    reader: Arc<Reader>,
    at: u64,
    sum: Option<tokio::task::JoinHandle<Result<String>>>,
    progress: Option<Progress>,
}

impl FileSource {
    pub fn open(client: &Client, path: &Path, meta: &std::fs::Metadata, progress: Option<Progress>) -> Result<Self> {
        let reader = client.0.readers.of(path, meta)?;
        let (client, path, meta) = (client.clone(), path.to_owned(), meta.clone());
        let sum = tokio::spawn(async move { client.0.cksums.of(&path, &meta).await });
        Ok(Self { reader, at: 0, sum: Some(sum), progress })
    }
}

impl Source for FileSource {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.at < self.reader.size {
            let piece = self.reader.piece(self.at).await?;
            self.at += piece.len() as u64;
            if let Some(progress) = &self.progress {
                progress.advance(piece.len() as u64);
            }
            return Ok(Some(piece));
        }
        let Some(sum) = self.sum.take() else { return Ok(None) };
        let sum = sum.await.map_err(|e| Error::internal(format!("summing stopped: {e}")))??;
        Ok(Some(format!("{sum}\n").into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Client, Settings};
    use super::*;

    async fn read(client: &Client, path: &Path, pause: usize) -> Vec<u8> {
        let mut source = FileSource::open(client, path, &std::fs::metadata(path).unwrap(), None).unwrap();
        let mut content = Vec::new();
        let mut pieces = 0;
        while let Some(piece) = source.next().await.unwrap() {
            content.extend_from_slice(&piece);
            pieces += 1;
            for _ in 0..(pause * pieces) % 23 {
                tokio::task::yield_now().await;
            }
        }
        content
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_gets_the_whole_file_however_far_apart_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let length = PIECE * (KEPT * 2) + 77;
        let content: Vec<u8> = (0..length).map(|i| (i * 31 + (i >> 9) * 7 + (i >> 18)).to_le_bytes()[0]).collect();
        std::fs::write(&path, &content).unwrap();
        let client = Client::new(Settings::default());
        let sum = super::super::cksum::Cksum::of(&content).finish();
        let readers = (0..8).map(|pause| {
            let (client, path) = (client.clone(), path.clone());
            tokio::spawn(async move { read(&client, &path, pause).await })
        });
        for reader in readers.collect::<Vec<_>>() {
            let got = reader.await.unwrap();
            assert!(got[..length] == content);
            assert_eq!(got[length..], *format!("{sum}\n").as_bytes());
        }
    }
}
