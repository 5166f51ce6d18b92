//! The local provider against OpenSSH's own client: `ssh`, `scp`, `sftp` and `rsync`, with the real binary as supervisor.

mod files;
mod forwarding;
mod lab;
mod lifecycle;
mod scale;
mod sessions;
mod wire;
