//! The packets of SFTP version 3, which is what OpenSSH speaks. File names are bytes: not every one is UTF-8.

use bytes::{Buf, BufMut, BytesMut};

/// The largest packet taken, and the most data put into one.
pub const LARGEST: usize = (256 << 10) + 1024;
pub const MOST_DATA: usize = 255 << 10;

pub mod kind {
    pub const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub const WRITE: u8 = 6;
    pub const LSTAT: u8 = 7;
    pub const FSTAT: u8 = 8;
    pub const SETSTAT: u8 = 9;
    pub const FSETSTAT: u8 = 10;
    pub const OPENDIR: u8 = 11;
    pub const READDIR: u8 = 12;
    pub const REMOVE: u8 = 13;
    pub const MKDIR: u8 = 14;
    pub const RMDIR: u8 = 15;
    pub const REALPATH: u8 = 16;
    pub const STAT: u8 = 17;
    pub const RENAME: u8 = 18;
    pub const READLINK: u8 = 19;
    pub const SYMLINK: u8 = 20;
    pub const STATUS: u8 = 101;
    pub const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub const ATTRS: u8 = 105;
    pub const EXTENDED: u8 = 200;
    pub const EXTENDED_REPLY: u8 = 201;
}

/// How an operation failed, as a client understands it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Ok = 0,
    Eof = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

/// What is sent instead of a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub status: Status,
    pub why: String,
}

impl Refusal {
    pub fn new(status: Status, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        let status = match error.kind() {
            std::io::ErrorKind::NotFound => Status::NoSuchFile,
            std::io::ErrorKind::PermissionDenied => Status::PermissionDenied,
            _ => Status::Failure,
        };
        Self::new(status, error.to_string())
    }
}

impl From<nix::Error> for Refusal {
    fn from(error: nix::Error) -> Self {
        std::io::Error::from(error).into()
    }
}

/// Attributes of a file, as far as they were sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attrs {
    pub size: Option<u64>,
    pub owner: Option<(u32, u32)>,
    pub mode: Option<u32>,
    /// Last access, last change; seconds.
    pub times: Option<(u32, u32)>,
}

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const MODE: u32 = 4;
const TIMES: u32 = 8;

/// Takes fields off the front of a packet; what is missing is a bad message.
pub struct Reader<'a>(pub &'a [u8]);

type Read<T> = Result<T, Refusal>;

impl<'a> Reader<'a> {
    fn need(&self, bytes: usize) -> Read<()> {
        if self.0.len() < bytes { Err(Refusal::new(Status::BadMessage, "the packet is too short")) } else { Ok(()) }
    }

    pub fn u32(&mut self) -> Read<u32> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    pub fn u64(&mut self) -> Read<u64> {
        self.need(8)?;
        Ok(self.0.get_u64())
    }

    pub fn string(&mut self) -> Read<&'a [u8]> {
        let length = self.u32()? as usize;
        self.need(length)?;
        let (string, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(string)
    }

    pub fn attrs(&mut self) -> Read<Attrs> {
        let flags = self.u32()?;
        let mut attrs = Attrs::default();
        if flags & SIZE != 0 {
            attrs.size = Some(self.u64()?);
        }
        if flags & OWNER != 0 {
            attrs.owner = Some((self.u32()?, self.u32()?));
        }
        if flags & MODE != 0 {
            attrs.mode = Some(self.u32()?);
        }
        if flags & TIMES != 0 {
            attrs.times = Some((self.u32()?, self.u32()?));
        }
        Ok(attrs)
    }
}

/// Begins a packet; `end` puts its length in front. Packets are written one after the other into one buffer.
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    start: usize,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut BytesMut, kind: u8) -> Self {
        let start = out.len();
        out.put_u32(0);
        out.put_u8(kind);
        Self { out, start }
    }

    pub fn reply(out: &'a mut BytesMut, kind: u8, id: u32) -> Self {
        Self::new(out, kind).u32(id)
    }

    pub fn u32(self, value: u32) -> Self {
        self.out.put_u32(value);
        self
    }

    pub fn u64(self, value: u64) -> Self {
        self.out.put_u64(value);
        self
    }

    pub fn string(self, value: &[u8]) -> Self {
        self.out.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.out.put_slice(value);
        self
    }

    pub fn attrs(self, attrs: &Attrs) -> Self {
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        let flags = flag(attrs.size.is_some(), SIZE)
            | flag(attrs.owner.is_some(), OWNER)
            | flag(attrs.mode.is_some(), MODE)
            | flag(attrs.times.is_some(), TIMES);
        let mut writer = self.u32(flags);
        if let Some(size) = attrs.size {
            writer = writer.u64(size);
        }
        if let Some((user, group)) = attrs.owner {
            writer = writer.u32(user).u32(group);
        }
        if let Some(mode) = attrs.mode {
            writer = writer.u32(mode);
        }
        if let Some((accessed, modified)) = attrs.times {
            writer = writer.u32(accessed).u32(modified);
        }
        writer
    }

    pub fn end(self) {
        let length = u32::try_from(self.out.len() - self.start - 4).unwrap_or(u32::MAX);
        self.out[self.start..self.start + 4].copy_from_slice(&length.to_be_bytes());
    }
}
