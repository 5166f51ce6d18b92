//! Packages of the node's own package manager: apt, or dnf where that is there.

use super::super::{Change, Fact, Known, Resource, Touch, Verdict};
use crate::base::error::{Error, Result};
use crate::base::shell::{join, quote};
use crate::base::units::format_duration;
use std::time::Duration;

/// What the scripts share.
const COMMON: &str = include_str!("packages.sh");

/// How long packages may take beside waiting for the lock.
const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PackageState {
    #[default]
    Present,
    /// The newest version on offer.
    Latest,
    Absent,
}

/// Packages, all in one transaction.
#[derive(Clone, Debug)]
pub struct Packages {
    /// `nginx`, or `nginx=1.22.1-9` for one version.
    pub names: Vec<String>,
    pub state: PackageState,
    /// Bring the lists of packages up to date before anything is installed, however young they are.
    pub update: bool,
    /// Of an absent package: its configuration as well.
    pub purge: bool,
    /// Install also what packages only recommend. None: as the node is configured.
    pub recommends: Option<bool>,
    /// How long to wait for another process that has apt locked.
    pub lock_timeout: Duration,
}

impl Packages {
    /// Refuses what apt would take for an option, a pattern or an order to remove.
    pub fn check(&self) -> Result<()> {
        if self.names.is_empty() {
            return Err(Error::usage("no package is named"));
        }
        for name in &self.names {
            let (plain, version) = split(name);
            let plain_ok = plain.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.:_~".contains(&b))
                && plain.starts_with(|c: char| c.is_ascii_alphanumeric())
                && !plain.ends_with('-');
            let version_ok = version.is_none_or(|v| {
                !v.is_empty() && !v.starts_with('-') && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.:_~".contains(&b))
            });
            if !plain_ok || !version_ok {
                return Err(Error::usage(format!("\"{}\" is no name of a package", name.escape_debug()))
                    .hint("One name, such as \"nginx\", or with its version, \"nginx=1.22.1-9\"; several go into an array."));
            }
            if version.is_some() && self.state != PackageState::Present {
                return Err(Error::usage(format!("\"{name}\" names a version, which only state \"present\" can have")));
            }
        }
        Ok(())
    }

    fn plain(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|n| split(n).0)
    }

    fn common(&self) -> String {
        common(self.lock_timeout)
    }

    fn install(&self, wanted: &[&str]) -> String {
        let recommends = match self.recommends {
            Some(yes) => format!("-o APT::Install-Recommends={yes} "),
            None => String::new(),
        };
        let when = if self.update { "true" } else { "! fresh" };
        let must = if self.update { "failed" } else { "stale=update-failed" };
        let names = join(wanted.iter().copied());
        let plain = join(wanted.iter().map(|n| split(n).0));
        let versions = join(wanted.iter().map(|n| n.replacen('=', "-", 1)));
        // `install` brings packages that are there up to date as well, and puts versions back when one is named.
        format!(
            "{}if command -v apt-get >/dev/null; then\n  \
               stale=\n  \
               if {when}; then update || {must}; fi\n  \
               apt install {recommends}--allow-downgrades {names} || failed \"$stale\"\n  \
               for name in {plain}; do\n    \
                 dpkg-query -W -f '${{db:Status-Status}}\\n' \"$name\" 2>/dev/null | grep -qx installed && continue\n    \
                 say \"$name is a virtual package\"; hint \"Name one that provides it: apt-cache showpkg $name\"; exit 1\n  \
               done\n\
             elif command -v dnf >/dev/null; then\n  \
               dnf -q -y install {versions} >\"$log\" 2>&1 </dev/null || failed ''\n\
             else\n  say 'there is neither apt-get nor dnf on this node'; exit 1\nfi\n",
            self.common()
        )
    }

    fn remove(&self, names: &[&str]) -> String {
        let names = join(names.iter().copied());
        let verb = if self.purge { "purge" } else { "remove" };
        format!(
            "{}if command -v apt-get >/dev/null; then\n  apt {verb} {names} || failed ''\n\
             elif command -v dnf >/dev/null; then\n  dnf -q -y remove {names} >\"$log\" 2>&1 </dev/null || failed ''\n\
             else\n  say 'there is neither apt-get nor dnf on this node'; exit 1\nfi\n",
            self.common()
        )
    }

    /// What is to be installed, and the words for it.
    fn missing<'a>(&'a self, known: &Known) -> Result<(Vec<&'a str>, Vec<String>)> {
        let (mut wanted, mut what) = (Vec::new(), Vec::new());
        for name in &self.names {
            let (plain, version) = split(name);
            let is = known.package(plain)?;
            let newest = known.offers.get(plain).and_then(Option::as_deref);
            let to = match (self.state, version) {
                (_, Some(version)) => Some(version),
                (PackageState::Latest, None) => newest,
                _ => None,
            };
            match (is, to) {
                (None, _) => what.push(to.or(newest).map_or(format!("{plain} installed"), |v| format!("{plain} {v} installed"))),
                (Some(is), Some(to)) if is != to => what.push(format!("{plain} {is} → {to}")),
                _ => continue,
            }
            wanted.push(name.as_str());
        }
        Ok((wanted, what))
    }
}

fn common(lock: Duration) -> String {
    format!("LOCK={} LOCK_TIME={}\n{COMMON}", lock.as_secs(), quote(&format_duration(lock)))
}

/// Name and version.
fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('=').map_or((name, None), |(plain, version)| (plain, Some(version)))
}

/// Whether the lists of packages can be trusted to know a name. dnf sees to that itself.
fn fresh() -> String {
    let body = COMMON.split("\nfresh() {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
    format!("fresh() {{{body}\n}}; ! command -v apt-get >/dev/null || fresh")
}

impl Resource for Packages {
    fn kind(&self) -> &'static str {
        "packages"
    }

    fn name(&self) -> String {
        self.names.join(" ")
    }

    fn needs(&self) -> Vec<Fact> {
        let mut facts: Vec<Fact> = self.plain().map(|n| Fact::Package(n.to_owned())).collect();
        match self.state {
            PackageState::Latest => facts.extend(self.plain().map(|n| Fact::Offer(n.to_owned()))),
            PackageState::Present => facts.push(Fact::Test(fresh())),
            PackageState::Absent => {}
        }
        facts
    }

    fn looks_at(&self) -> Vec<Touch> {
        vec![Touch::Tree("/etc/apt".to_owned())]
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        let (script, what) = if self.state == PackageState::Absent {
            let mut there = Vec::new();
            for name in self.plain() {
                if known.package(name)?.is_some() {
                    there.push(name);
                }
            }
            (self.remove(&there), there.iter().map(|n| format!("{n} removed")).collect())
        } else {
            let (wanted, what) = self.missing(known)?;
            if self.state == PackageState::Present && !self.update && !wanted.is_empty() && known.test(&fresh())? {
                let unknown = wanted.iter().map(|n| split(n).0).find(|n| known.offers.get(*n).is_some_and(Option::is_none));
                if let Some(name) = unknown {
                    return Ok(Verdict::Blocked(format!("there is no package {name} on offer")));
                }
            }
            (self.install(&wanted), what)
        };
        if what.is_empty() {
            return Ok(Verdict::Right);
        }
        let timeout = Some(PATIENCE + self.lock_timeout);
        Ok(Verdict::Change(Change { what, script, touches: vec![Touch::Everything], timeout, ..Change::default() }))
    }
}

/// The lists of what is on offer, brought up to date when they are older than a day. Only `latest` looks at them.
#[derive(Clone, Debug)]
pub struct PackageIndex {
    /// However young they are.
    pub always: bool,
    pub lock_timeout: Duration,
}

impl Resource for PackageIndex {
    fn kind(&self) -> &'static str {
        "packages"
    }

    fn name(&self) -> String {
        "the package lists".to_owned()
    }

    fn needs(&self) -> Vec<Fact> {
        vec![Fact::Test(fresh())]
    }

    fn looks_at(&self) -> Vec<Touch> {
        vec![Touch::Tree("/etc/apt".to_owned())]
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        if !self.always && known.test(&fresh())? {
            return Ok(Verdict::Right);
        }
        let refresh = if self.always { "dnf -q makecache --refresh" } else { "true" };
        let script = format!(
            "{}if command -v apt-get >/dev/null; then update || failed ''\n\
             elif command -v dnf >/dev/null; then {refresh} >\"$log\" 2>&1 </dev/null || failed ''\n\
             else say 'there is neither apt-get nor dnf on this node'; exit 1; fi\n",
            common(self.lock_timeout)
        );
        let what = vec!["brought up to date".to_owned()];
        let touches = vec![Touch::Everything];
        Ok(Verdict::Change(Change { what, script, touches, passive: true, timeout: Some(PATIENCE), ..Change::default() }))
    }
}
