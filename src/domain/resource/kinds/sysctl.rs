//! A setting of the kernel, now and at boot.

use super::super::read::sysctl_file;
use super::super::{Change, Fact, Known, Resource, Touch, Verdict};
use super::absent::Absent;
use super::file::File;
use crate::base::error::{Error, Result};
use crate::base::shell::quote;

#[derive(Clone, Debug)]
pub struct Sysctl {
    pub name: String,
    /// None: nothing is set at boot any more. What is set now stays.
    pub value: Option<String>,
}

impl Sysctl {
    pub fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./*".contains(c);
        if self.name.is_empty()
            || self.name.starts_with(['-', '.', '/'])
            || self.name.contains("..")
            || !self.name.chars().all(plain)
        {
            return Err(Error::usage(format!("\"{}\" is no name of a kernel setting", self.name.escape_debug()))
                .hint("Such names look like vm.swappiness."));
        }
        match self.value.as_ref() {
            Some(v) if v.trim().is_empty() || v.chars().any(|c| c.is_control() && c != '\t') => {
                Err(Error::usage(format!("\"{}\" is no value for {}", v.escape_debug(), self.name)))
            }
            _ => Ok(()),
        }
    }

    fn path(&self) -> String {
        format!("/etc/sysctl.d/90-opsrun-{}.conf", self.name.replace('/', "."))
    }

    fn file(&self, value: &str) -> File {
        File::new(self.path(), format!("{} = {value}\n", self.name).into_bytes())
    }

    fn absent(&self) -> Absent {
        Absent::file(self.path())
    }
}

/// The kernel separates numbers by tabs, people by spaces.
fn words(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Resource for Sysctl {
    fn kind(&self) -> &'static str {
        "sysctl"
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        match &self.value {
            None => self.absent().needs(),
            Some(value) => {
                let mut facts = self.file(&words(value)).needs();
                facts.push(Fact::Sysctl(self.name.clone()));
                facts
            }
        }
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        let Some(value) = self.value.as_deref().map(words) else { return self.absent().decide(known) };
        let Some(is) = known.sysctls.get(&self.name).and_then(Option::as_deref) else {
            return Ok(Verdict::Blocked(format!("there is no kernel setting {}", self.name)));
        };
        let is = words(is);
        let mut change = match self.file(&value).decide(known)? {
            Verdict::Right => Change::default(),
            Verdict::Change(change) => Change { what: vec!["set at boot".to_owned()], ..change },
            Verdict::Blocked(why) => return Ok(Verdict::Blocked(why)),
        };
        if is != value {
            change.what.insert(0, format!("{is} → {value}"));
            let (name, value, path) = (quote(&self.name), quote(&value), quote(&sysctl_file(&self.name)));
            // First now: what the kernel refuses is not to be set at every boot.
            let set = format!(
                "if command -v sysctl >/dev/null; then sysctl -q -w {name}={value}; else printf '%s\\n' {value} >{path}; fi\n"
            );
            change.script = format!("{set}{}", change.script);
            change.touches.push(Touch::Sysctl(self.name.clone()));
            change.leaves.sysctls.insert(self.name.clone(), self.value.as_deref().map(words));
        }
        Ok(if change.what.is_empty() { Verdict::Right } else { Verdict::Change(change) })
    }
}
