//! The operations of SFTP on this machine's files.

use super::wire::{Attrs, LARGEST, MOST_DATA, Reader, Refusal, Status, Writer, kind};
use bytes::{BufMut, BytesMut};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions, ReadDir};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const MOST_HANDLES: usize = 1000;
/// Names in one answer to READDIR.
const NAMES: usize = 100;
const VERSION: u32 = 3;
/// What we can do beyond version 3, as OpenSSH names it.
const EXTENSIONS: [(&str, &str); 6] = [
    ("posix-rename@openssh.com", "1"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
];

mod flag {
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const APPEND: u32 = 4;
    pub const CREATE: u32 = 8;
    pub const TRUNCATE: u32 = 16;
    pub const EXCLUSIVE: u32 = 32;
}

enum Handle {
    File { file: File, append: bool },
    Dir { path: PathBuf, entries: ReadDir },
}

/// One session's open files.
pub struct Files {
    home: PathBuf,
    open: HashMap<u32, Handle>,
    next: u32,
}

type Done = Result<(), Refusal>;

impl Files {
    pub fn new(home: PathBuf) -> Self {
        Self { home, open: HashMap::new(), next: 0 }
    }

    /// Answers one packet. None when the client does not speak SFTP.
    pub fn answer(&mut self, packet: &[u8], out: &mut BytesMut) -> Option<()> {
        let (kind, body) = packet.split_first()?;
        let mut reader = Reader(body);
        let id = reader.u32().ok()?;
        if *kind == kind::INIT {
            let mut writer = Writer::new(out, kind::VERSION).u32(VERSION);
            for (name, version) in EXTENSIONS {
                writer = writer.string(name.as_bytes()).string(version.as_bytes());
            }
            writer.end();
            return Some(());
        }
        let before = out.len();
        if let Err(Refusal { status, why }) = self.perform(*kind, id, &mut reader, out) {
            out.truncate(before);
            Writer::reply(out, kind::STATUS, id).u32(status as u32).string(why.as_bytes()).string(b"en").end();
        } else if out.len() == before {
            Writer::reply(out, kind::STATUS, id).u32(Status::Ok as u32).string(b"").string(b"en").end();
        }
        Some(())
    }

    /// Writes the answer if there is more to say than that it went well.
    fn perform(&mut self, kind: u8, id: u32, r: &mut Reader<'_>, out: &mut BytesMut) -> Done {
        match kind {
            kind::OPEN => {
                let (path, flags, attrs) = (self.path(r.string()?), r.u32()?, r.attrs()?);
                let handle = open(&path, flags, &attrs)?;
                self.hold(handle, id, out)?;
            }
            kind::OPENDIR => {
                let path = self.path(r.string()?);
                let entries = fs::read_dir(&path)?;
                self.hold(Handle::Dir { path, entries }, id, out)?;
            }
            kind::CLOSE => {
                let number = number(r)?;
                self.open.remove(&number).ok_or_else(unknown_handle)?;
            }
            kind::READ => {
                let (file, _) = self.file(r)?;
                return read(file, r.u64()?, r.u32()?, id, out);
            }
            kind::WRITE => {
                let (file, append) = self.file(r)?;
                let (offset, data) = (r.u64()?, r.string()?);
                if append { io::Write::write_all(&mut &*file, data)? } else { file.write_all_at(data, offset)? }
            }
            kind::STAT => tell(&fs::metadata(self.path(r.string()?))?, id, out),
            kind::LSTAT => tell(&fs::symlink_metadata(self.path(r.string()?))?, id, out),
            kind::FSTAT => tell(&self.file(r)?.0.metadata()?, id, out),
            kind::SETSTAT => set(&self.path(r.string()?), &r.attrs()?, true)?,
            kind::FSETSTAT => {
                let (file, _) = self.file(r)?;
                set_file(file, &r.attrs()?)?;
            }
            kind::READDIR => return self.read_dir(r, id, out),
            kind::REMOVE => fs::remove_file(self.path(r.string()?))?,
            kind::MKDIR => {
                use std::os::unix::fs::DirBuilderExt;
                let (path, attrs) = (self.path(r.string()?), r.attrs()?);
                fs::DirBuilder::new().mode(attrs.mode.unwrap_or(0o777) & 0o7777).create(path)?;
            }
            kind::RMDIR => fs::remove_dir(self.path(r.string()?))?,
            kind::REALPATH => name(&real(&self.path(r.string()?))?, id, out),
            kind::RENAME => {
                let (from, to) = (self.path(r.string()?), self.path(r.string()?));
                if to.symlink_metadata().is_ok() {
                    return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
                }
                fs::rename(from, to)?;
            }
            kind::READLINK => name(&fs::read_link(self.path(r.string()?))?, id, out),
            kind::SYMLINK => {
                // OpenSSH has them in this order, against the draft, and every client follows OpenSSH.
                let (target, link) = (Path::new(OsStr::from_bytes(r.string()?)), self.path(r.string()?));
                std::os::unix::fs::symlink(target, link)?;
            }
            kind::EXTENDED => return self.extended(r, id, out),
            _ => return Err(Refusal::new(Status::Unsupported, "unknown operation")),
        }
        Ok(())
    }

    fn extended(&mut self, r: &mut Reader<'_>, id: u32, out: &mut BytesMut) -> Done {
        match r.string()? {
            b"posix-rename@openssh.com" => fs::rename(self.path(r.string()?), self.path(r.string()?))?,
            b"hardlink@openssh.com" => fs::hard_link(self.path(r.string()?), self.path(r.string()?))?,
            b"fsync@openssh.com" => self.file(r)?.0.sync_all()?,
            b"lsetstat@openssh.com" => set(&self.path(r.string()?), &r.attrs()?, false)?,
            b"expand-path@openssh.com" => {
                let path = r.string()?;
                let path = path.strip_prefix(b"~/").or_else(|| path.strip_prefix(b"~")).unwrap_or(path);
                name(&real(&self.path(path))?, id, out);
            }
            b"limits@openssh.com" => Writer::reply(out, kind::EXTENDED_REPLY, id)
                .u64(LARGEST as u64)
                .u64(MOST_DATA as u64)
                .u64(MOST_DATA as u64)
                .u64(MOST_HANDLES as u64)
                .end(),
            _ => return Err(Refusal::new(Status::Unsupported, "unknown extension")),
        }
        Ok(())
    }

    fn path(&self, path: &[u8]) -> PathBuf {
        self.home.join(OsStr::from_bytes(path))
    }

    fn hold(&mut self, handle: Handle, id: u32, out: &mut BytesMut) -> Done {
        if self.open.len() >= MOST_HANDLES {
            return Err(Refusal::new(Status::Failure, "too many open files in this session"));
        }
        self.next = self.next.wrapping_add(1);
        self.open.insert(self.next, handle);
        Writer::reply(out, kind::HANDLE, id).string(&self.next.to_be_bytes()).end();
        Ok(())
    }

    fn file(&self, r: &mut Reader<'_>) -> Result<(&File, bool), Refusal> {
        match self.open.get(&number(r)?) {
            Some(Handle::File { file, append }) => Ok((file, *append)),
            _ => Err(unknown_handle()),
        }
    }

    fn read_dir(&mut self, r: &mut Reader<'_>, id: u32, out: &mut BytesMut) -> Done {
        let Some(Handle::Dir { path, entries }) = self.open.get_mut(&number(r)?) else { return Err(unknown_handle()) };
        let mut names = Vec::new();
        for entry in entries.take(NAMES) {
            let entry = entry?;
            if let Ok(meta) = fs::symlink_metadata(path.join(entry.file_name())) {
                names.push((entry.file_name(), meta));
            }
        }
        if names.is_empty() {
            return Err(Refusal::new(Status::Eof, "end of directory"));
        }
        let mut writer = Writer::reply(out, kind::NAME, id).u32(u32::try_from(names.len()).unwrap_or(0));
        for (name, meta) in names {
            writer = writer.string(name.as_bytes()).string(&long_name(&name, &meta)).attrs(&attrs(&meta));
        }
        writer.end();
        Ok(())
    }
}

fn unknown_handle() -> Refusal {
    Refusal::new(Status::Failure, "no such handle")
}

fn number(r: &mut Reader<'_>) -> Result<u32, Refusal> {
    let handle = r.string()?;
    handle.try_into().map(u32::from_be_bytes).map_err(|_| unknown_handle())
}

fn open(path: &Path, flags: u32, attrs: &Attrs) -> Result<Handle, Refusal> {
    let has = |flag| flags & flag != 0;
    let mut options = File::options();
    options.read(has(flag::READ)).mode(attrs.mode.unwrap_or(0o666) & 0o7777);
    if has(flag::APPEND) {
        options.append(true);
    } else {
        options.write(has(flag::WRITE)).truncate(has(flag::TRUNCATE) && has(flag::WRITE));
    }
    options.create(has(flag::CREATE)).create_new(has(flag::CREATE) && has(flag::EXCLUSIVE));
    let file = options.open(path)?;
    Ok(Handle::File { file, append: has(flag::APPEND) })
}

fn read(file: &File, offset: u64, length: u32, id: u32, out: &mut BytesMut) -> Done {
    let length = (length as usize).min(MOST_DATA);
    // The length of the packet and of its data are known only after the read.
    let start = out.len();
    out.put_slice(&[0; 13]);
    let data = out.len();
    out.resize(data + length, 0);
    let mut read = 0;
    while read < length {
        match file.read_at(&mut out[data + read..], offset + read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    if read == 0 && length > 0 {
        return Err(Refusal::new(Status::Eof, "end of file"));
    }
    out.truncate(data + read);
    let size = u32::try_from(read).unwrap_or(u32::MAX);
    let mut head = &mut out[start..data];
    head.put_u32(size + 9);
    head.put_u8(kind::DATA);
    head.put_u32(id);
    head.put_u32(size);
    Ok(())
}

fn tell(meta: &Metadata, id: u32, out: &mut BytesMut) {
    Writer::reply(out, kind::ATTRS, id).attrs(&attrs(meta)).end();
}

fn name(path: &Path, id: u32, out: &mut BytesMut) {
    let path = path.as_os_str().as_bytes();
    Writer::reply(out, kind::NAME, id).u32(1).string(path).string(path).attrs(&Attrs::default()).end();
}

fn attrs(meta: &Metadata) -> Attrs {
    let seconds = |s: i64| u32::try_from(s).unwrap_or(0);
    Attrs {
        size: Some(meta.size()),
        owner: Some((meta.uid(), meta.gid())),
        mode: Some(meta.mode()),
        times: Some((seconds(meta.atime()), seconds(meta.mtime()))),
    }
}

/// The path without links and dots; its last part need not exist.
fn real(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(e), Some(parent), Some(last)) if e.kind() == io::ErrorKind::NotFound => Ok(parent.canonicalize()?.join(last)),
        (result, ..) => result,
    }
}

fn set(path: &Path, attrs: &Attrs, follow: bool) -> Done {
    if let Some(size) = attrs.size {
        File::options().write(true).open(path)?.set_len(size)?;
    }
    if let Some((user, group)) = attrs.owner {
        let change = if follow { std::os::unix::fs::chown::<&Path> } else { std::os::unix::fs::lchown };
        change(path, Some(user), Some(group))?;
    }
    if let Some(mode) = attrs.mode
        && (follow || !path.is_symlink())
    {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    if let Some((accessed, modified)) = attrs.times {
        let flags = if follow { UtimensatFlags::FollowSymlink } else { UtimensatFlags::NoFollowSymlink };
        let time = |seconds: u32| TimeSpec::from_duration(Duration::from_secs(seconds.into()));
        utimensat(AT_FDCWD, path, &time(accessed), &time(modified), flags)?;
    }
    Ok(())
}

fn set_file(file: &File, attrs: &Attrs) -> Done {
    if let Some(size) = attrs.size {
        file.set_len(size)?;
    }
    if let Some((user, group)) = attrs.owner {
        std::os::unix::fs::fchown(file, Some(user), Some(group))?;
    }
    if let Some(mode) = attrs.mode {
        file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
    }
    if let Some((accessed, modified)) = attrs.times {
        let time = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
        file.set_times(fs::FileTimes::new().set_accessed(time(accessed)).set_modified(time(modified)))?;
    }
    Ok(())
}

/// A line as `ls -l` prints it, which is what `sftp`'s own `ls -l` shows.
fn long_name(name: &OsStr, meta: &Metadata) -> Vec<u8> {
    let mode = meta.mode();
    let kind = match meta.file_type() {
        t if t.is_dir() => 'd',
        t if t.is_symlink() => 'l',
        t if t.is_file() => '-',
        _ => '?',
    };
    let bits: String = "rwxrwxrwx".chars().enumerate().map(|(i, c)| if mode >> (8 - i) & 1 == 1 { c } else { '-' }).collect();
    let time = jiff::Timestamp::from_second(meta.mtime()).unwrap_or_default().to_zoned(jiff::tz::TimeZone::system());
    let mut line = format!(
        "{kind}{bits} {:3} {:<8} {:<8} {:8} {} ",
        meta.nlink(),
        meta.uid(),
        meta.gid(),
        meta.size(),
        time.strftime("%b %e %Y")
    )
    .into_bytes();
    line.extend_from_slice(name.as_bytes());
    line
}
