//! Fetching: what comes is staged beside its place on this machine, and renamed when all of it is there.

use super::super::Client;
use super::super::exec::{End, Once, Running, Sink};
use super::script::{self, Rights, remote_path};
use super::summed::Summed;
use super::unpack::{self, Tree};
use super::{GetOptions, SHOW_FROM};
use crate::base::checksum::hex;
use crate::base::command::Output;
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Stream, Unit};
use crate::base::stage::PREFIX;
use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};
use std::fs::Permissions;
use std::io::{BufRead, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::{NamedTempFile, TempDir};
use tokio::sync::mpsc;

/// Prints a line that says what comes, and then: of a file its content and its SHA-256; of a directory a tar stream and its
/// SHA-256; of a file that says it is empty (as those in /proc do) whatever can be read from it.
/// A file that is being appended to is taken as long as it was at the beginning.
const FETCH: &str = r#"
follow
if [ -d "$p" ]; then
  cd -- "$p" || exit 1
  # A full disk is when logs are wanted most.
  d=$(mktemp -d 2>/dev/null || mktemp -d -p /dev/shm) && mkfifo "$d/tar" || exit 1
  trap 'rm -rf -- "$d"' EXIT
  trap 'exit 1' HUP INT TERM PIPE
  echo D
  sha256sum < "$d/tar" > "$d/sum" &
  { tar --format=posix --pax-option=delete=atime,delete=ctime --exclude='.opsrun-stage-*' -cf - .; echo $? > "$d/status"; } | tee "$d/tar"
  wait
  read -r sum rest < "$d/sum"
  printf %s "$sum"
  # 1: files changed while they were read, as logs do.
  read -r status < "$d/status"
  [ "$status" -le 1 ]
elif [ -f "$p" ]; then
  [ -r "$p" ] || exec cat -- "$p"
  set -- $(stat -L -c '%s %a %.9Y' -- "$p") || exit 1
  if [ "$1" = 0 ]; then
    echo "S $*"
    exec cat -- "$p"
  fi
  echo "F $*"
  head -c "$1" -- "$p" || exit 1
  head -c "$1" -- "$p" | sha256sum
elif [ -e "$p" ]; then
  exit 84
else
  dir=${p%/*}
  [ -d "$dir" ] && [ ! -x "$dir" ] || exit 81
  exec cat -- "$p"
fi
"#;

pub(super) async fn get(
    client: &Client,
    endpoint: &Endpoint,
    remote: &str,
    local: &Path,
    options: &GetOptions,
    cx: &Cx,
) -> Result<PathBuf> {
    let path = remote_path(remote)?;
    let rights = Rights { sudo: options.sudo, user: options.user.as_deref() };
    let command = script::command(rights, &[("p", &path)], FETCH);
    let session = client.session(endpoint, cx).await?;
    let mut running = Running::start(client, endpoint, session, &command).await?;
    let (sender, receiver) = mpsc::channel(16);
    let receiving = {
        let (local, remote, cx) = (local.to_owned(), remote.to_owned(), cx.clone());
        let label = format!("{remote} from {}", endpoint.name);
        tokio::task::spawn_blocking(move || receive(Incoming::new(receiver), &local, &remote, &label, &cx))
    };
    let mut sink = Receiving { sender: Some(sender), stderr: Vec::new() };
    let end = running.drive(&mut Once(None), &mut sink, None, cx).await;
    sink.sender = None;
    let staged = receiving.await.map_err(|e| Error::internal(format!("receiving stopped: {e}")))?;
    match end {
        End::Exit(exit) => {
            let failed = !exit.is_success();
            let output = Output { exit, stdout: Vec::new(), stderr: sink.stderr, dropped: 0, took: Duration::ZERO };
            if failed && let Some(error) = script::failure(&output, remote) {
                return Err(error);
            }
        }
        // The receiver is gone, and says why itself.
        End::Broken(_) => {}
        other => return Err(other.into_error(endpoint)),
    }
    let staged = staged?;
    tokio::task::spawn_blocking(move || staged.commit()).await.map_err(|e| Error::internal(format!("receiving stopped: {e}")))?
}

/// Hands what comes to the thread that writes it.
struct Receiving {
    sender: Option<mpsc::Sender<Bytes>>,
    stderr: Vec<u8>,
}

impl Sink for Receiving {
    async fn take(&mut self, stream: Stream, data: Bytes) -> Result<()> {
        const STDERR_KEPT: usize = 64 << 10;
        match stream {
            Stream::Stderr => {
                let room = STDERR_KEPT.saturating_sub(self.stderr.len()).min(data.len());
                self.stderr.extend_from_slice(&data[..room]);
            }
            Stream::Stdout => {
                if let Some(sender) = &self.sender
                    && sender.send(data).await.is_err()
                {
                    return Err(Error::internal("the receiving thread has ended"));
                }
            }
        }
        Ok(())
    }
}

/// The stream as a reader, for the thread that writes.
struct Incoming {
    receiver: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl Incoming {
    fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self { receiver, chunk: Bytes::new() }
    }
}

impl BufRead for Incoming {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => break,
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount);
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// What came, complete, and where it belongs. Dropped, it leaves nothing behind.
enum Staged {
    File { file: NamedTempFile, target: PathBuf },
    Tree { stage: TempDir, tree: Tree, target: PathBuf },
}

impl Staged {
    fn commit(self) -> Result<PathBuf> {
        match self {
            Self::File { file, target } => {
                file.persist(&target).map_err(|e| Error::io("write", &target, &e.error))?;
                Ok(target)
            }
            Self::Tree { stage, tree, target } => {
                tree.move_to(stage.path(), &target)?;
                Ok(target)
            }
        }
    }
}

fn cut(remote: &str) -> Error {
    Error::new(Kind::Transfer, format!("{remote} did not arrive whole; nothing was changed"))
}

fn receive(mut incoming: Incoming, local: &Path, remote: &str, label: &str, cx: &Cx) -> Result<Staged> {
    let mut line = String::new();
    let read = (&mut incoming).take(200).read_line(&mut line).map_err(|_| cut(remote))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["D"] => {
            let target = local.to_owned();
            let beside = if target.is_dir() { target.clone() } else { parent(&target)? };
            let stage =
                tempfile::Builder::new().prefix(PREFIX).tempdir_in(&beside).map_err(|e| Error::io("write in", &beside, &e))?;
            let mut stream = Summed::new(incoming);
            let tree = unpack::unpack(&mut stream, stage.path(), remote, label, cx)?;
            if !stream.finish().map_err(|_| cut(remote))? {
                return Err(cut(remote));
            }
            Ok(Staged::Tree { stage, tree, target })
        }
        [kind @ ("F" | "S"), size, mode, time] => {
            let size: u64 = size.parse().map_err(|_| cut(remote))?;
            let target = match Path::new(remote).file_name() {
                Some(name) if local.is_dir() || local.as_os_str().as_encoded_bytes().ends_with(b"/") => local.join(name),
                _ => local.to_owned(),
            };
            let beside = parent(&target)?;
            let failed = |e: std::io::Error| Error::io("write", &target, &e);
            let mut file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(&beside).map_err(failed)?;
            if kind == "S" {
                std::io::copy(&mut incoming, &mut file).map_err(failed)?;
            } else {
                content(&mut incoming, &mut file, size, remote, label, cx)?.map_err(failed)?;
            }
            let mode = u32::from_str_radix(mode, 8).map_err(|_| cut(remote))?;
            file.as_file().set_permissions(Permissions::from_mode(mode & 0o7777)).map_err(failed)?;
            if kind == "F"
                && let Some(time) = parse_time(time)
            {
                file.as_file().set_modified(time).map_err(failed)?;
            }
            Ok(Staged::File { file, target })
        }
        // The script's exit code says what went wrong.
        _ if read == 0 => Err(cut(remote)),
        _ => Err(Error::new(Kind::Transfer, format!("the host answered with something else: {}", line.trim()))
            .hint("Does its shell start-up (.bashrc, .profile) print something? It must not, where there is no terminal.")),
    }
}

/// The folder something is to be put in, made when missing.
fn parent(target: &Path) -> Result<PathBuf> {
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&parent).map_err(|e| Error::io("make the folder", &parent, &e))?;
    Ok(parent)
}

/// The outer error is the stream's, the inner one the local file's.
fn content(
    incoming: &mut Incoming,
    file: &mut NamedTempFile,
    size: u64,
    remote: &str,
    label: &str,
    cx: &Cx,
) -> Result<std::io::Result<()>> {
    let progress = (size >= SHOW_FROM).then(|| cx.events.progress(label, size, Unit::Bytes));
    let mut hash = Sha256::new();
    let mut left = size;
    while left > 0 {
        let available = incoming.fill_buf().unwrap_or_default();
        if available.is_empty() {
            return Err(cut(remote));
        }
        let n = available.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        hash.update(&available[..n]);
        if let Err(e) = file.write_all(&available[..n]) {
            return Ok(Err(e));
        }
        incoming.consume(n);
        left -= n as u64;
        if let Some(progress) = &progress {
            progress.advance(n as u64);
        }
    }
    let mut digest = String::new();
    incoming.take(64).read_to_string(&mut digest).map_err(|_| cut(remote))?;
    if digest.len() < 64 {
        return Err(cut(remote));
    }
    if digest != hex(hash.finalize()) {
        let message = format!("{remote} was written to while it was read (SHA-256 differs); nothing was changed here");
        return Err(Error::new(Kind::Transfer, message).hint("Stop what writes to it, or copy a snapshot of it."));
    }
    Ok(Ok(()))
}

/// Seconds since 1970, with a fraction.
pub(super) fn parse_time(text: &str) -> Option<SystemTime> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds.parse().ok()?, nanos))
}
