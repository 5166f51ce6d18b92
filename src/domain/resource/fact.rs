//! What can be known of a node, asked for by name and read many at a time.

use std::collections::{BTreeMap, BTreeSet};

/// One thing to know. The same fact asked for by many resources is read once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fact {
    /// What is at a path: kind, mode, owner, size, SHA-256 of a regular file, target of a link.
    Path(String),
    /// The content of a regular file of at most 1 MiB. With `unless` it is wanted for a diff alone: it is read only where
    /// diffs are shown, and not when its SHA-256 is this already.
    Content {
        path: String,
        unless: Option<String>,
    },
    /// The installed version of a package, and for one that is not installed the newest version on offer.
    Package(String),
    /// The newest version on offer, installed or not.
    Offer(String),
    /// A systemd unit: `nginx.service`.
    Unit(String),
    User(String),
    Group(String),
    /// The running value of a kernel setting.
    Sysctl(String),
    /// What is mounted at a path.
    Mount(String),
    /// Whether this shell command succeeds. It must only look.
    Test(String),
    /// What this shell command prints. It must only look.
    Output(String),
}

/// What is known of a node. A fact that was not asked for is an internal error where it is used.
#[derive(Clone, Default, Debug)]
pub struct Known {
    pub paths: BTreeMap<String, Option<PathState>>,
    /// `None`: no such file, not regular, too large, or already as wanted.
    pub contents: BTreeMap<String, Option<Vec<u8>>>,
    /// Installed version; `None`: not installed.
    pub packages: BTreeMap<String, Option<String>>,
    /// The newest version on offer, of packages that are not installed and of those asked for; `None`: no such package.
    pub offers: BTreeMap<String, Option<String>>,
    pub units: BTreeMap<String, UnitState>,
    pub users: BTreeMap<String, Option<UserState>>,
    /// Members; `None`: no such group.
    pub groups: BTreeMap<String, Option<BTreeSet<String>>>,
    pub sysctls: BTreeMap<String, Option<String>>,
    /// Source, type and options, as /proc/self/mounts has them.
    pub mounts: BTreeMap<String, Option<(String, String, String)>>,
    pub tests: BTreeMap<String, bool>,
    pub outputs: BTreeMap<String, (u8, Vec<u8>)>,
}

impl Known {
    /// Whether this has been asked for and answered.
    pub fn has(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Path(path) => self.paths.contains_key(path),
            Fact::Content { path, .. } => self.contents.contains_key(path),
            Fact::Package(name) => self.packages.contains_key(name),
            Fact::Offer(name) => self.offers.contains_key(name),
            Fact::Unit(name) => self.units.contains_key(name),
            Fact::User(name) => self.users.contains_key(name),
            Fact::Group(name) => self.groups.contains_key(name),
            Fact::Sysctl(name) => self.sysctls.contains_key(name),
            Fact::Mount(path) => self.mounts.contains_key(path),
            Fact::Test(command) => self.tests.contains_key(command),
            Fact::Output(command) => self.outputs.contains_key(command),
        }
    }

    /// Takes over what is known newer.
    pub fn update(&mut self, newer: Self) {
        let Self { paths, contents, packages, offers, units, users, groups, sysctls, mounts, tests, outputs } = newer;
        self.paths.extend(paths);
        self.contents.extend(contents);
        self.packages.extend(packages);
        self.offers.extend(offers);
        self.units.extend(units);
        self.users.extend(users);
        self.groups.extend(groups);
        self.sysctls.extend(sysctls);
        self.mounts.extend(mounts);
        self.tests.extend(tests);
        self.outputs.extend(outputs);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathKind {
    File,
    Directory,
    Link,
    Other,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathState {
    pub kind: PathKind,
    /// Permission bits: 0o644.
    pub mode: u32,
    pub owner: String,
    pub group: String,
    pub size: u64,
    /// Lower-case hex, of a regular file.
    pub sha256: Option<String>,
    /// Of a link.
    pub target: Option<String>,
}

/// A systemd unit as `systemctl show` describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// `enabled`, `disabled`, `static`, …
    pub enabled: String,
    pub needs_reload: bool,
    /// It does not run, and starting it would not change that: a condition of it (`ConditionVirtualization=`) does not hold here.
    pub unmet: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserState {
    pub uid: u32,
    pub gid: u32,
    pub comment: String,
    pub home: String,
    pub shell: String,
    /// Names of all its groups.
    pub groups: BTreeSet<String>,
}
