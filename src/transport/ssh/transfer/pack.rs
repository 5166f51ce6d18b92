//! A tree on its way: a tar stream with the new files, their digests, and the script that moves them to their places.

use super::super::Client;
use super::super::exec::Source;
use super::digest::FileId;
use super::script::{self, Rights};
use super::tree::{Entry, What, changed_meanwhile};
use crate::base::checksum::hex;
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Result};
use crate::base::event::{Cx, Progress, Unit};
use crate::base::shell::quote_bytes;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What is to be done to a remote directory, in this order.
#[derive(Default, Debug)]
pub(super) struct Plan {
    /// Removed with all that is in them.
    pub remove: Vec<PathBuf>,
    /// Removed if nothing is in them, deepest first.
    pub remove_empty: Vec<PathBuf>,
    /// Made when missing, parents first; mode and time are set at the end.
    pub directories: Vec<Entry>,
    /// Files and symlinks to send.
    pub send: Vec<Entry>,
    /// Files that only need another mode.
    pub modes: Vec<Entry>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.remove_empty.is_empty()
            && self.directories.is_empty()
            && self.send.is_empty()
            && self.modes.is_empty()
    }

    pub fn bytes(&self) -> u64 {
        self.send.iter().map(|e| if let What::File { size } = e.what { size } else { 0 }).sum()
    }
}

/// How a tree is put.
pub(super) struct Put<'a> {
    pub root: &'a Path,
    pub remote: &'a str,
    pub rights: Rights<'a>,
    pub owner: Option<&'a str>,
    /// Instead of the files' own.
    pub mode: Option<u32>,
}

/// Input: the tar stream. `$p` the directory, `$rootmode` what it gets when it is made, `$owner` may be empty.
/// In the stream `d/` holds the files by their paths, `c/` the digests, the directories' attributes and the moves. The
/// moves come last, so a stream that was cut has none.
const STORE_TREE: &str = r#"
follow
new=
if [ ! -d "$p" ]; then
  if [ -e "$p" ]; then exit 85; fi
  make "$p" || exit 1
  new=1
fi
cd -- "$p" || exit 1
D=$(pwd -P && printf x) || exit 1
D=${D%?x}
stage_made "$D"
mkdir -m 700 -- "$stage" "$stage/d" || exit 1
tar -xpf - --no-same-owner -C "$stage" || exit 1
cd -- "$stage/d" || exit 1
if [ -s ../c/sums ]; then sha256sum -c --quiet --strict ../c/sums >&2 || exit 83; fi
if [ -n "$owner" ]; then chown -hR -- "$owner" . || exit 1; fi
. ../c/moves
if [ -n "$new" ]; then
  if [ -n "$owner" ]; then chown -- "$owner" "$D" || exit 1; fi
  chmod -- "$rootmode" "$D" || exit 1
fi
topmost=
exit 0
"#;

/// Carries a plan out.
pub(super) async fn put(client: &Client, endpoint: &Endpoint, plan: Plan, put: Put<'_>, cx: &Cx) -> Result<()> {
    let path = script::remote_path(put.remote)?;
    let meta = std::fs::metadata(put.root).map_err(|e| Error::io("copy", put.root, &e))?;
    let root_mode = format!("{:04o}", meta.mode() & 0o7777);
    let variables = [("p", path.as_str()), ("rootmode", root_mode.as_str()), ("owner", put.owner.unwrap_or_default())];
    let command = script::command(put.rights, &variables, STORE_TREE);
    let mut source = PackSource::start(client, put.root, plan, put.mode, endpoint, cx);
    let output = script::run(client, endpoint, &command, &mut source, cx).await?;
    script::failure(&output, put.remote).map_or(Ok(()), Err)
}

/// The tar stream, made on a thread of its own as far ahead as the network allows.
struct PackSource {
    chunks: mpsc::Receiver<Bytes>,
    packing: Option<JoinHandle<Result<()>>>,
}

impl PackSource {
    fn start(client: &Client, root: &Path, plan: Plan, mode: Option<u32>, endpoint: &Endpoint, cx: &Cx) -> Self {
        let (sender, chunks) = mpsc::channel(4);
        let total = plan.bytes();
        let label = format!("{} to {}", root.display(), endpoint.name);
        let progress = (total >= super::SHOW_FROM).then(|| cx.events.progress(label, total, Unit::Bytes));
        let (client, root) = (client.clone(), root.to_owned());
        let packing = tokio::task::spawn_blocking(move || {
            let mut packer = Packer { client, root, mode, progress, sums: Vec::new(), tar: Builder::new(Chunks::new(sender)) };
            match packer.pack(&plan) {
                // The reader went away, and knows why.
                Err(_) if packer.tar.get_ref().abandoned => Ok(()),
                other => other,
            }
        });
        Self { chunks, packing: Some(packing) }
    }
}

impl Source for PackSource {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(chunk) = self.chunks.recv().await {
            return Ok(Some(chunk));
        }
        match self.packing.take() {
            Some(packing) => {
                packing.await.map_err(|e| Error::internal(format!("packing stopped: {e}")))??;
                Ok(None)
            }
            None => Ok(None),
        }
    }
}

/// A writer that hands over what it is given in larger pieces.
struct Chunks {
    sender: mpsc::Sender<Bytes>,
    buffer: BytesMut,
    abandoned: bool,
}

impl Chunks {
    const SIZE: usize = 64 << 10;

    fn new(sender: mpsc::Sender<Bytes>) -> Self {
        Self { sender, buffer: BytesMut::with_capacity(Self::SIZE), abandoned: false }
    }
}

impl Write for Chunks {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= Self::SIZE {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let chunk = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(Self::SIZE)).freeze();
        self.sender.blocking_send(chunk).map_err(|_| {
            self.abandoned = true;
            std::io::ErrorKind::BrokenPipe.into()
        })
    }
}

struct Packer<W: Write> {
    client: Client,
    root: PathBuf,
    mode: Option<u32>,
    progress: Option<Progress>,
    sums: Vec<u8>,
    tar: Builder<W>,
}

impl<W: Write> Packer<W> {
    fn pack(&mut self, plan: &Plan) -> Result<()> {
        for entry in &plan.send {
            match &entry.what {
                What::File { .. } => self.file(entry)?,
                What::Link { target } => link(&mut self.tar, &inner("d", &entry.path), target, entry.modified)
                    .map_err(|e| Error::io("pack", self.root.join(&entry.path), &e))?,
                What::Directory => {}
            }
        }
        let failed = |e: std::io::Error| Error::io("pack", &self.root, &e);
        let directories = directories(&plan.directories).map_err(failed)?;
        let sums = std::mem::take(&mut self.sums);
        for (name, content) in [("sums", sums), ("directories.tar", directories), ("moves", moves(plan))] {
            let mut header = header(EntryType::Regular, 0o600, content.len() as u64);
            self.tar.append_data(&mut header, inner("c", Path::new(name)), &content[..]).map_err(failed)?;
        }
        self.tar.finish().and_then(|()| self.tar.get_mut().flush()).map_err(failed)
    }

    fn file(&mut self, entry: &Entry) -> Result<()> {
        let path = self.root.join(&entry.path);
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => changed_meanwhile(&path),
            _ => Error::io("read", &path, &e),
        };
        let file = std::fs::File::open(&path).map_err(failed)?;
        // What counts is what the file is now, not what it was when the tree was listed.
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(changed_meanwhile(&path));
        }
        let id = FileId::of(&meta);
        let known = self.client.0.digests.known(&id);
        let name = inner("d", &entry.path);
        times(&mut self.tar, (meta.mtime(), meta.mtime_nsec())).map_err(failed)?;
        let mut header = header(EntryType::Regular, self.mode.unwrap_or(meta.mode() & 0o7777), meta.len());
        header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
        let hash = known.is_none().then(Sha256::new);
        let mut content = Content { file, left: meta.len(), hash, progress: self.progress.as_ref() };
        self.tar.append_data(&mut header, name, &mut content).map_err(failed)?;
        let digest = match (known, content.hash) {
            (Some(digest), _) => digest,
            (None, hash) => self.client.0.digests.learn(&id, hex(hash.unwrap_or_default().finalize())),
        };
        self.sums.extend(sum_line(&digest, &entry.path));
        Ok(())
    }
}

/// A file of a size fixed beforehand: one that became shorter is an error, of one that grew the beginning is taken.
struct Content<'a> {
    file: std::fs::File,
    left: u64,
    hash: Option<Sha256>,
    progress: Option<&'a Progress>,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let n = self.file.read(&mut buffer[..room])?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..n]);
        }
        self.left -= n as u64;
        if let Some(progress) = self.progress {
            progress.advance(n as u64);
        }
        Ok(n)
    }
}

fn inner(folder: &str, path: &Path) -> PathBuf {
    Path::new(folder).join(path)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

/// The next entry's time to the nanosecond, which plain headers have no room for.
fn times<W: Write>(tar: &mut Builder<W>, (seconds, nanos): (i64, i64)) -> std::io::Result<()> {
    tar.append_pax_extensions([("mtime", format!("{seconds}.{nanos:09}").as_bytes())])
}

fn link<W: Write>(tar: &mut Builder<W>, name: &Path, target: &Path, modified: (i64, i64)) -> std::io::Result<()> {
    let bytes = target.as_os_str().as_bytes();
    let mut header = header(EntryType::Symlink, 0o777, 0);
    header.set_mtime(u64::try_from(modified.0).unwrap_or(0));
    times(tar, modified)?;
    if header.set_link_name_literal(bytes).is_err() {
        let mut long = self::header(EntryType::GNULongLink, 0o644, bytes.len() as u64 + 1);
        tar.append_data(&mut long, "././@LongLink", bytes.chain(&b"\0"[..]))?;
    }
    tar.append_data(&mut header, name, std::io::empty())
}

/// A small archive of directories, whose extraction sets their modes and times.
fn directories(entries: &[Entry]) -> std::io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for entry in entries {
        times(&mut tar, entry.modified)?;
        let mut header = header(EntryType::Directory, entry.mode, 0);
        header.set_mtime(u64::try_from(entry.modified.0).unwrap_or(0));
        tar.append_data(&mut header, &entry.path, std::io::empty())?;
    }
    tar.into_inner()
}

/// A line of a digest list, with such names escaped as sha256sum escapes. Nothing for the one sort that it cannot read back.
pub(super) fn sum_line(digest: &str, path: &Path) -> Vec<u8> {
    let name = path.as_os_str().as_bytes();
    if name.ends_with(b"\r") {
        return Vec::new();
    }
    let odd = name.iter().any(|b| matches!(b, b'\\' | b'\n'));
    let mut line = Vec::with_capacity(name.len() + 72);
    if odd {
        line.push(b'\\');
    }
    line.extend_from_slice(digest.as_bytes());
    line.extend_from_slice(b"  ./");
    for &byte in name {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            other => line.push(other),
        }
    }
    line.push(b'\n');
    line
}

/// Words on one command line, and their length, before another is begun.
const BATCH: (usize, usize) = (400, 60_000);

/// Shell commands that bring about the plan. They run in the folder of the new files; `$D` is the destination.
fn moves(plan: &Plan) -> Vec<u8> {
    let mut out = Vec::new();
    let there = |path: &Path| [b"\"$D\"/".to_vec(), quote_bytes(path.as_os_str().as_bytes())].concat();
    let here = |path: &Path| [b"./".to_vec(), quote_bytes(path.as_os_str().as_bytes())].concat();
    batches(&mut out, "rm -rf --", plan.remove.iter().map(|p| there(p)), true);
    batches(&mut out, "rmdir --ignore-fail-on-non-empty --", plan.remove_empty.iter().map(|p| there(p)), false);
    batches(&mut out, "mkdir -p --", plan.directories.iter().map(|e| there(&e.path)), true);
    batches(&mut out, "[ -z \"$owner\" ] || chown -- \"$owner\"", plan.directories.iter().map(|e| there(&e.path)), true);
    let mut folders: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for entry in &plan.send {
        folders.entry(entry.path.parent().unwrap_or(Path::new(""))).or_default().push(&entry.path);
    }
    for (folder, files) in folders {
        let target = if folder.as_os_str().is_empty() { b"\"$D\"".to_vec() } else { there(folder) };
        let command = [b"mv -f -t ".to_vec(), target, b" --".to_vec()].concat();
        batches_of(&mut out, &command, files.into_iter().map(here), true);
    }
    let mut modes: BTreeMap<u32, Vec<&Path>> = BTreeMap::new();
    for entry in &plan.modes {
        modes.entry(entry.mode).or_default().push(&entry.path);
    }
    for (mode, files) in modes {
        batches(&mut out, &format!("chmod {mode:04o} --"), files.into_iter().map(there), true);
    }
    if !plan.directories.is_empty() {
        out.extend_from_slice(b"tar -xpf ../c/directories.tar --no-same-owner --keep-directory-symlink -C \"$D\" || exit 1\n");
    }
    out
}

fn batches(out: &mut Vec<u8>, command: &str, words: impl Iterator<Item = Vec<u8>>, must: bool) {
    batches_of(out, command.as_bytes(), words, must);
}

fn batches_of(out: &mut Vec<u8>, command: &[u8], words: impl Iterator<Item = Vec<u8>>, must: bool) {
    let end: &[u8] = if must { b" || exit 1\n" } else { b"\n" };
    let (mut count, mut length) = (0, 0);
    for word in words {
        if count == BATCH.0 || length > BATCH.1 {
            out.extend_from_slice(end);
            (count, length) = (0, 0);
        }
        if count == 0 {
            out.extend_from_slice(command);
        }
        out.push(b' ');
        out.extend_from_slice(&word);
        count += 1;
        length += word.len();
    }
    if count > 0 {
        out.extend_from_slice(end);
    }
}
