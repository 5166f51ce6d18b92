//! A file system at a path, now and at boot.

use super::super::{Fact, Known, Resource, Touch, Verdict};
use super::access::Access;
use super::edit::Edit;
use crate::base::error::{Error, Result};
use crate::base::shell::{join, quote};

#[derive(Clone, Debug)]
pub struct Mount {
    pub path: String,
    /// What is mounted there; None: nothing.
    pub source: Option<Source>,
}

#[derive(Clone, Debug)]
pub struct Source {
    /// `/dev/sdb1`, `UUID=…`, `tmpfs`, `host:/export`.
    pub device: String,
    pub fstype: String,
    /// `defaults`, `noatime,ro`.
    pub options: String,
}

/// A field of fstab, in which blanks are written as numbers.
fn field(text: &str) -> String {
    text.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('#', "\\043")
}

impl Mount {
    pub fn check(&self) -> Result<()> {
        if !self.path.starts_with('/') || self.path == "/" {
            return Err(
                Error::usage(format!("nothing is mounted at \"{}\"", self.path)).hint("Write the full path of a directory.")
            );
        }
        let Some(source) = &self.source else { return Ok(()) };
        for (what, text) in [("source", &source.device), ("type", &source.fstype), ("options", &source.options)] {
            let blank = what != "source" && text.contains(char::is_whitespace);
            if text.is_empty() || blank || text.starts_with('-') || text.chars().any(char::is_control) {
                return Err(Error::usage(format!("\"{}\" is no {what} of a mount", text.escape_debug())));
            }
        }
        Ok(())
    }

    fn fstab() -> Edit {
        Edit { path: "/etc/fstab".to_owned(), create: true, access: Access::default(), secret: false, validate: None }
    }

    /// What is to be done about what is mounted there now: a word for it, and shell. `otherwise`: fstab had it otherwise.
    fn now(&self, is: Option<&(String, String, String)>, otherwise: bool) -> Option<(&'static str, String)> {
        let path = quote(&self.path);
        let mount = |source: &Source| {
            let words = ["mount", "-t", &source.fstype, "-o", &source.options, "--", &source.device, &self.path];
            format!("{} </dev/null\n", join(words))
        };
        match (&self.source, is) {
            (None, Some(_)) => Some(("unmounted", format!("umount -- {path}\n"))),
            (Some(source), None) => Some(("mounted", format!("mkdir -p {path}\n{}", mount(source)))),
            (Some(source), Some((device, fstype, _))) if otherwise => {
                // A name such as UUID=… is not what the kernel calls it.
                let named = source.device.starts_with('/') || source.fstype == "tmpfs";
                let script = if *fstype != source.fstype || (named && *device != source.device) {
                    format!("umount -- {path}\n{}", mount(source))
                } else {
                    let words = ["mount", "-o", &format!("remount,{}", source.options), "--", &self.path];
                    format!("{} </dev/null\n", join(words))
                };
                Some(("mounted anew", script))
            }
            _ => None,
        }
    }

    /// The path's line, as it should be: what follows the four fields, such as the order of checks, is left as it is.
    fn edit(&self, lines: &mut Vec<String>) -> Option<String> {
        let at_path = |l: &String| {
            let mut fields = l.split_whitespace();
            fields.next().is_some_and(|f| !f.starts_with('#')) && fields.next() == Some(&field(&self.path))
        };
        let Some(source) = &self.source else {
            let before = lines.len();
            lines.retain(|l| !at_path(l));
            return (lines.len() < before).then(|| "no longer in fstab".to_owned());
        };
        let wanted = [&source.device, &self.path, &source.fstype, &source.options].map(|f| field(f));
        if let Some(line) = lines.iter_mut().find(|l| at_path(l)) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.iter().take(4).copied().eq(wanted.iter().map(String::as_str)) {
                return None;
            }
            let rest = fields.iter().skip(4).map(|f| (*f).to_owned());
            let new = wanted.iter().cloned().chain(rest).collect::<Vec<_>>().join(" ");
            *line = new;
            Some("fstab".to_owned())
        } else {
            lines.push(format!("{} 0 0", wanted.join(" ")));
            Some("fstab".to_owned())
        }
    }
}

impl Resource for Mount {
    fn kind(&self) -> &'static str {
        "mount"
    }

    fn name(&self) -> String {
        self.path.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        let mut facts = Self::fstab().needs();
        facts.push(Fact::Mount(self.path.clone()));
        facts
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        let is = known.mounts.get(&self.path).ok_or_else(|| Error::internal(format!("the mount {} was not read", self.path)))?;
        let mut change = match Self::fstab().decide(known, |lines| Ok(self.edit(lines)))? {
            Verdict::Change(mut change) => {
                if change.what == ["created"] {
                    change.what = vec!["fstab".to_owned()];
                }
                change
            }
            Verdict::Right => super::super::Change::default(),
            Verdict::Blocked(why) => return Ok(Verdict::Blocked(why)),
        };
        if let Some((word, script)) = self.now(is.as_ref(), !change.what.is_empty()) {
            change.what.insert(0, word.to_owned());
            // First now: what cannot be mounted is not to keep the machine from its next boot.
            change.script = format!("{script}{}", change.script);
        }
        if change.what.is_empty() {
            return Ok(Verdict::Right);
        }
        change.script.push_str("! command -v systemctl >/dev/null || systemctl daemon-reload 2>/dev/null || :\n");
        change.touches.push(Touch::Tree(self.path.clone()));
        Ok(Verdict::Change(change))
    }
}
