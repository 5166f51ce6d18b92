//! What can be wanted of a node, one file a kind. All are pure: facts in, a verdict with a piece of shell out.

mod absent;
mod access;
mod accounts;
mod authorized_keys;
mod block;
mod command;
mod content;
mod directory;
mod download;
mod edit;
mod file;
mod git;
mod known;
mod line;
mod link;
mod mount;
mod packages;
mod paths;
mod replace;
mod service;
mod sysctl;
#[cfg(test)]
mod tests;
mod timer;
mod unit;
mod unpack;
mod wait;

pub use absent::Absent;
pub use access::Access;
pub use accounts::{Group, NoUser, User, account_name};
pub use authorized_keys::{AuthorizedKeys, public_keys};
pub use block::Block;
pub use command::Command;
pub use content::Content;
pub use directory::Directory;
pub use download::{Download, checked_sha256, checked_url};
pub use edit::Edit;
pub use file::File;
pub use git::Git;
pub use line::{Line, Place};
pub use link::Link;
pub use mount::{Mount, Source};
pub use packages::{PackageIndex, PackageState, Packages};
pub use paths::{checked as checked_path, parent};
pub use service::{Run, Service, unit_name};
pub use sysctl::Sysctl;
pub use timer::Timer;
pub use unit::{NoUnit, Unit, drop_in_path, unit_path};
pub use unpack::{Archive, Unpack};
pub use wait::{Wait, What};

use crate::base::shell::quote;

/// Shell that ends a change with a message of ours.
fn say(message: &str) -> String {
    format!("printf 'opsrun: %s\\n' {} >&2", quote(message))
}

/// Shell that runs these words of shell as a user, with the home of that user.
fn as_user(user: &str, words: &str) -> String {
    let user = quote(user);
    format!(
        "if [ \"$(id -un)\" = {user} ]; then {words}; else\n  \
         HOME=$(getent passwd -- {user} | cut -d: -f6) USER={user} LOGNAME={user} runuser -u {user} -- {words}\nfi"
    )
}
