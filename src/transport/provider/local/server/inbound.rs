//! What a client sends on one channel, until its reader takes it.
//!
//! russh grants a channel new window as soon as data arrives, not when it is consumed, and its session loop waits for a full channel: a
//! command that writes before it reads (`cat` with much input) would stop the loop that carries its output, for ever. So nothing here
//! ever waits. Input that nobody takes goes to an unlinked file, and when a connection has too much of that, we stop reading from it.

use bytes::Bytes;
use futures::task::AtomicWaker;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Input of one channel kept in memory.
const IN_MEMORY: usize = 1 << 20;
/// Input of one connection kept in files.
const IN_FILES: u64 = 4 << 30;
const PIECE: usize = 64 << 10;

/// How much of a connection's input lies in files, and whom to wake when it is less.
#[derive(Default)]
pub struct Backlog {
    bytes: AtomicU64,
    waker: AtomicWaker,
}

impl Backlog {
    /// Whether no more should be read from the connection. The waker is woken when that changes.
    pub fn is_full(&self, waker: &std::task::Waker) -> bool {
        if self.bytes.load(Ordering::Acquire) < IN_FILES {
            return false;
        }
        self.waker.register(waker);
        self.bytes.load(Ordering::Acquire) >= IN_FILES
    }

    fn grow(&self, by: usize) {
        self.bytes.fetch_add(by as u64, Ordering::AcqRel);
    }

    fn shrink(&self, by: u64) {
        self.bytes.fetch_sub(by, Ordering::AcqRel);
        self.waker.wake();
    }
}

pub struct Inbound {
    state: Mutex<State>,
    changed: Notify,
    backlog: Arc<Backlog>,
    /// Where files may be made.
    dir: PathBuf,
}

#[derive(Default)]
struct State {
    memory: VecDeque<Bytes>,
    in_memory: usize,
    /// Follows what is in memory.
    spool: Option<Spool>,
    eof: bool,
    /// The reader wants no more.
    deaf: bool,
    failed: Option<io::ErrorKind>,
}

struct Spool {
    file: File,
    read: u64,
    written: u64,
}

impl Inbound {
    pub fn new(dir: PathBuf, backlog: Arc<Backlog>) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), backlog, dir }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what arrived.
    pub fn push(&self, data: &[u8]) {
        let mut state = self.state();
        if state.deaf || state.eof || state.failed.is_some() || data.is_empty() {
            return;
        }
        let spooled = state.spool.as_ref().is_some_and(|s| s.read < s.written);
        if spooled || state.in_memory >= IN_MEMORY {
            match self.spool(&mut state, data) {
                Ok(()) => self.backlog.grow(data.len()),
                Err(e) => state.failed = Some(e.kind()),
            }
        } else {
            state.in_memory += data.len();
            state.memory.push_back(Bytes::copy_from_slice(data));
        }
        drop(state);
        self.changed.notify_one();
    }

    fn spool(&self, state: &mut State, data: &[u8]) -> io::Result<()> {
        if state.spool.is_none() {
            state.spool = Some(Spool { file: tempfile::tempfile_in(&self.dir)?, read: 0, written: 0 });
        }
        let Some(spool) = &mut state.spool else { return Ok(()) };
        spool.file.write_all_at(data, spool.written)?;
        spool.written += data.len() as u64;
        Ok(())
    }

    /// The client sends no more.
    pub fn finish(&self) {
        self.state().eof = true;
        self.changed.notify_one();
    }

    /// Whatever is there and comes is thrown away.
    pub fn discard(&self) {
        let mut state = self.state();
        state.deaf = true;
        state.memory.clear();
        if let Some(spool) = state.spool.take() {
            self.backlog.shrink(spool.written - spool.read);
        }
    }

    /// The next piece of input; none at its end.
    pub async fn next(&self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(piece) = self.take()? {
                return Ok(Some(piece));
            }
            if self.ended() {
                return Ok(None);
            }
            self.changed.notified().await;
        }
    }

    fn ended(&self) -> bool {
        let state = self.state();
        state.eof && state.memory.is_empty() && state.spool.as_ref().is_none_or(|s| s.read == s.written)
    }

    fn take(&self) -> io::Result<Option<Bytes>> {
        let mut state = self.state();
        if let Some(piece) = state.memory.pop_front() {
            state.in_memory -= piece.len();
            return Ok(Some(piece));
        }
        if let Some(spool) = &mut state.spool
            && spool.read < spool.written
        {
            let length = usize::try_from(spool.written - spool.read).map_or(PIECE, |left| left.min(PIECE));
            let mut piece = vec![0; length];
            spool.file.read_exact_at(&mut piece, spool.read)?;
            spool.read += length as u64;
            if spool.read == spool.written {
                spool.file.set_len(0)?;
                (spool.read, spool.written) = (0, 0);
            }
            self.backlog.shrink(length as u64);
            return Ok(Some(piece.into()));
        }
        state.failed.map_or(Ok(None), |kind| Err(kind.into()))
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.discard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_back_what_it_took_in_order_through_memory_and_file() {
        let dir = tempfile::tempdir().unwrap();
        let backlog = Arc::new(Backlog::default());
        let inbound = Inbound::new(dir.path().to_owned(), backlog.clone());
        let pieces: Vec<Vec<u8>> = (0..200u8).map(|i| vec![i; 30_000 + usize::from(i)]).collect();
        let (first, second) = pieces.split_at(150);
        let push = |pieces: &[Vec<u8>]| {
            for piece in pieces {
                inbound.push(piece);
            }
        };
        push(first);
        assert!(backlog.bytes.load(Ordering::Relaxed) > 3 << 20);
        let mut got = Vec::new();
        while got.len() < 2 << 20 {
            got.extend(inbound.next().await.unwrap().unwrap());
        }
        push(second);
        inbound.finish();
        while let Some(piece) = inbound.next().await.unwrap() {
            got.extend(piece);
        }
        assert!(got == pieces.concat());
        assert_eq!(backlog.bytes.load(Ordering::Relaxed), 0);
        inbound.push(b"too late");
        assert_eq!(inbound.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn input_that_cannot_be_kept_is_no_end_of_input() {
        let inbound = Inbound::new("/proc/no such folder".into(), Arc::default());
        let pieces = 2 * IN_MEMORY / PIECE;
        let piece = vec![7; PIECE];
        for _ in 0..pieces {
            inbound.push(&piece);
        }
        inbound.finish();
        for _ in 0..pieces / 2 {
            assert_eq!(inbound.next().await.unwrap().unwrap().len(), PIECE);
        }
        assert!(inbound.next().await.is_err());
    }
}
