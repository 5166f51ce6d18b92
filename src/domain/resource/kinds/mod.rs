//! What can be wanted of a node, one file a kind. All are pure: facts in, a verdict with a piece of shell out.

mod absent;
mod access;
mod directory;
mod file;
mod known;
mod packages;
mod paths;
mod replace;
mod service;

pub use absent::Absent;
pub use access::Access;
pub use directory::Directory;
pub use file::File;
pub use packages::{PackageIndex, PackageState, Packages};
pub use paths::checked as checked_path;
pub use service::{Run, Service, unit_name};

use crate::base::shell::quote;

/// Shell that ends a change with a message of ours.
fn say(message: &str) -> String {
    format!("printf 'opsrun: %s\\n' {} >&2", quote(message))
}
