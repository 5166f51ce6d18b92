//! Files and trees, to hosts and from them, through plain commands: the target needs a shell, coreutils and tar.
//!
//! Everything is streamed through one session, so a slow round trip is paid once and not once a file. What arrives goes to
//! a temporary name beside its place (`.opsrun-stage-…`), is compared by its checksum, and is renamed only then: a target has the
//! old file or the new one, never half of either. What a broken connection leaves behind is removed by the script itself,
//! which sees its input end, or else by the next transfer to the same directory.
//!
//! Remote paths are relative to the login directory; `~/` says the same.

mod cksum;
mod digest;
mod file;
mod get;
mod mirror;
mod pack;
mod script;
mod source;
mod summed;
mod tree;
mod unpack;

use super::Client;
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result, ResultExt};
use crate::base::event::Cx;
use bytes::Bytes;
use std::path::{Path, PathBuf};

pub(super) use cksum::Cksums;
pub(super) use digest::Digests;
pub use mirror::{MirrorOptions, Mirrored};
pub(super) use source::Readers;

/// Less is copied before anybody would see its progress.
const SHOW_FROM: u64 = 1 << 20;

/// How files are put on a host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PutOptions {
    /// As root.
    pub sudo: bool,
    /// As this user.
    pub user: Option<String>,
    /// The files' mode; else the local file's (`put`), or that of the file that is there, or what the umask leaves (`write`).
    pub mode: Option<u32>,
    /// `user`, `user:group` or `:group`, as chown takes it.
    pub owner: Option<String>,
}

/// How files are fetched from a host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GetOptions {
    /// As root.
    pub sudo: bool,
    /// As this user.
    pub user: Option<String>,
}

impl Client {
    /// Writes a file on the host, atomically. Missing directories are made.
    pub async fn write(
        &self,
        endpoint: &Endpoint,
        remote: &str,
        content: impl Into<Bytes>,
        options: &PutOptions,
        cx: &Cx,
    ) -> Result<()> {
        let content = content.into();
        file::write(self, endpoint, remote, content, options, cx)
            .await
            .on_node(&endpoint.name)
            .context(|| format!("writing {remote} on {}", endpoint.name))
    }

    /// Reads a file on the host.
    pub async fn read(&self, endpoint: &Endpoint, remote: &str, options: &GetOptions, cx: &Cx) -> Result<Vec<u8>> {
        file::read(self, endpoint, remote, options, cx)
            .await
            .on_node(&endpoint.name)
            .context(|| format!("reading {remote} on {}", endpoint.name))
    }

    /// Copies a local file or directory to the host, with modes and times.
    ///
    /// A file goes to the remote path, or into it when that is a directory or ends with `/`. The content of a directory goes
    /// into the remote directory, which is made when missing; other files there stay (see `mirror`).
    pub async fn put(&self, endpoint: &Endpoint, local: &Path, remote: &str, options: &PutOptions, cx: &Cx) -> Result<()> {
        let meta = std::fs::metadata(local).map_err(|e| Error::io("copy", local, &e))?;
        let put = async {
            if meta.is_dir() {
                self.put_tree(endpoint, local, remote, options, cx).await
            } else if meta.is_file() {
                file::put(self, endpoint, local, &meta, remote, options, cx).await
            } else {
                Err(Error::new(Kind::Io, format!("cannot copy {}: it is neither a file nor a directory", local.display())))
            }
        };
        put.await.on_node(&endpoint.name).context(|| format!("copying {} to {}:{remote}", local.display(), endpoint.name))
    }

    async fn put_tree(&self, endpoint: &Endpoint, local: &Path, remote: &str, options: &PutOptions, cx: &Cx) -> Result<()> {
        let (root, scan_cx) = (local.to_owned(), cx.clone());
        let scanned = tokio::task::spawn_blocking(move || tree::scan(&root, &tree::Excludes::default(), &scan_cx));
        let entries = scanned.await.map_err(|e| Error::internal(format!("listing stopped: {e}")))??;
        let (directories, send) = entries.into_iter().partition(|e| e.what == tree::What::Directory);
        let plan = pack::Plan { directories, send, ..pack::Plan::default() };
        let rights = script::Rights { sudo: options.sudo, user: options.user.as_deref() };
        let put = pack::Put { root: local, remote, rights, owner: options.owner.as_deref(), mode: options.mode };
        pack::put(self, endpoint, plan, put, cx).await
    }

    /// Makes the remote directory hold what the local one does, sending only files whose size, time or mode differ.
    pub async fn mirror(
        &self,
        endpoint: &Endpoint,
        local: &Path,
        remote: &str,
        options: &MirrorOptions,
        cx: &Cx,
    ) -> Result<Mirrored> {
        let meta = std::fs::metadata(local).map_err(|e| Error::io("mirror", local, &e))?;
        if !meta.is_dir() {
            let error = Error::new(Kind::Io, format!("cannot mirror {}: it is not a directory", local.display()));
            return Err(error.hint("A single file is copied with put."));
        }
        mirror::mirror(self, endpoint, local, remote, options, cx)
            .await
            .on_node(&endpoint.name)
            .context(|| format!("mirroring {} to {}:{remote}", local.display(), endpoint.name))
    }

    /// Copies a remote file or directory to this machine, with modes and times. Returns the path it has here.
    ///
    /// A file goes to the local path, or into it when that is a directory or ends with `/`; the content of a directory goes
    /// into the local directory.
    pub async fn get(&self, endpoint: &Endpoint, remote: &str, local: &Path, options: &GetOptions, cx: &Cx) -> Result<PathBuf> {
        get::get(self, endpoint, remote, local, options, cx)
            .await
            .on_node(&endpoint.name)
            .context(|| format!("copying {}:{remote} to {}", endpoint.name, local.display()))
    }
}
