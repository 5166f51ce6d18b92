//! Facts of a node as one piece of shell: what is to be read, sorted by how. `answer` makes knowledge of what comes back.
//!
//! However many facts there are, each of the node's tools is started once: one `find` and one `sha256sum` for all paths, one
//! `dpkg-query`, one `systemctl`. What the shell can tell by itself costs nothing.

use super::Fact;
use crate::base::shell::{join, quote};
use std::collections::{BTreeMap, BTreeSet};

/// A file that is larger is not read, and what a command prints beyond it is left out.
pub(super) const LARGEST_CONTENT: usize = 1 << 20;

/// More words than this are not given to one command: it bounds its line, and the shell's work to gather them.
const WORDS: usize = 500;

/// The functions that the shell here calls.
pub(super) const FUNCTIONS: &str = include_str!("read.sh");

#[derive(Default, Debug)]
pub(super) struct Reading {
    pub paths: Vec<String>,
    /// Files whose content is wanted, and the SHA-256 with which it is not.
    pub contents: Vec<(String, Option<String>)>,
    /// Files whose content nobody wants to see shown.
    pub unread: Vec<String>,
    pub packages: Vec<String>,
    pub offers: Vec<String>,
    pub units: Vec<String>,
    pub users: Vec<String>,
    pub groups: Vec<String>,
    pub sysctls: Vec<String>,
    pub mounts: Vec<String>,
    pub tests: Vec<String>,
    pub outputs: Vec<String>,
}

impl Reading {
    /// Content that is wanted for a diff alone is read with `diff`.
    pub fn new<'a>(facts: impl IntoIterator<Item = &'a Fact>, diff: bool) -> Self {
        let mut reading = Self::default();
        let mut contents: BTreeMap<&String, BTreeSet<Option<&String>>> = BTreeMap::new();
        for fact in facts.into_iter().collect::<BTreeSet<_>>() {
            let (list, what) = match fact {
                Fact::Content { path, unless } => {
                    contents.entry(path).or_default().insert(unless.as_ref());
                    continue;
                }
                Fact::Path(path) => (&mut reading.paths, path),
                Fact::Package(name) => (&mut reading.packages, name),
                Fact::Offer(name) => (&mut reading.offers, name),
                Fact::Unit(name) => (&mut reading.units, name),
                Fact::User(name) => (&mut reading.users, name),
                Fact::Group(name) => (&mut reading.groups, name),
                Fact::Sysctl(name) => (&mut reading.sysctls, name),
                Fact::Mount(path) => (&mut reading.mounts, path),
                Fact::Test(command) => (&mut reading.tests, command),
                Fact::Output(command) => (&mut reading.outputs, command),
            };
            list.push(what.clone());
        }
        for (path, unless) in contents {
            let mut unless = unless.into_iter();
            match (unless.next().flatten(), unless.next()) {
                (Some(_), _) if !diff => reading.unread.push(path.clone()),
                (Some(sha256), None) => reading.contents.push((path.clone(), Some(sha256.clone()))),
                // Wanted in any case, or by two who compare it with different ones.
                _ => reading.contents.push((path.clone(), None)),
            }
        }
        reading
    }

    /// Shell for a program that has `FUNCTIONS`, `$o_n`, and its stdout as 3 too.
    pub fn script(&self) -> String {
        let mut lines = Vec::new();
        for paths in self.paths.chunks(WORDS) {
            lines.push(format!("o_paths {}", join(paths)));
        }
        for files in self.hashed().chunks(WORDS) {
            lines.push(format!("o_hash {}", join(files)));
        }
        for (number, (path, sha256)) in self.contents.iter().enumerate() {
            let sha256 = quote(sha256.as_deref().unwrap_or_default());
            lines.push(format!("o_content {number} {} {} {sha256}", LARGEST_CONTENT + 1, quote(path)));
        }
        if !self.packages.is_empty() {
            lines.push(format!("o_packages {}", join(&self.packages)));
        }
        if !self.packages.is_empty() || !self.offers.is_empty() {
            let names = self.packages.iter().chain(&self.offers);
            lines.push(format!("o_offers {} {}", self.packages.len(), join(names)));
        }
        if !self.units.is_empty() {
            lines.push(format!("o_units {}", join(&self.units)));
        }
        if !self.users.is_empty() {
            lines.push(format!("o_s users\ngetent passwd -- {}\no_s memberships\ngetent group", join(&self.users)));
        }
        if !self.groups.is_empty() {
            lines.push(format!("o_s groups\ngetent group -- {}", join(&self.groups)));
        }
        if !self.sysctls.is_empty() {
            let files = self.sysctls.iter().map(|name| sysctl_file(name));
            lines.push(format!("o_s sysctls\ngrep -saH '' -- {}", join(files)));
        }
        if !self.mounts.is_empty() {
            lines.push("o_s mounts\ncat /proc/self/mounts".to_owned());
        }
        lines.extend(self.tests.iter().enumerate().map(|(number, test)| format!("o_test {number} {}", quote(test))));
        let output = |(number, command): (usize, &String)| format!("o_output {number} {LARGEST_CONTENT} {}", quote(command));
        lines.extend(self.outputs.iter().enumerate().map(output));
        lines.into_iter().map(|line| line + "\n").collect()
    }

    /// Files whose checksum is asked for, or decides whether their content is sent.
    fn hashed(&self) -> Vec<&String> {
        let compared = self.contents.iter().filter(|(_, sha256)| sha256.is_some()).map(|(path, _)| path);
        self.paths.iter().chain(compared).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Where the kernel keeps a setting. Its name has dots for slashes; one that has slashes first keeps its dots:
/// `net.ipv4.ip_forward`, `net/ipv4/conf/eth0.1/forwarding`.
pub(super) fn sysctl_file(name: &str) -> String {
    let dotted = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('.'));
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = if dotted { name.chars().map(swap).collect() } else { name.to_owned() };
    format!("/proc/sys/{path}")
}
