//! A command that is run unless something shows that it need not be.

use super::super::{Change, Fact, Known, Resource, Touch, Verdict};
use crate::base::error::{Error, Result};
use crate::base::shell::quote;
use std::fmt;
use std::time::Duration;

#[derive(Clone, Default)]
pub struct Command {
    pub line: String,
    /// What reports call it; else its first line.
    pub name: Option<String>,
    /// Not when this is there.
    pub creates: Option<String>,
    /// Not when this is not there.
    pub removes: Option<String>,
    /// Not when this succeeds.
    pub unless: Option<String>,
    /// Not when this fails.
    pub only_if: Option<String>,
    pub cwd: Option<String>,
    pub user: Option<String>,
    pub env: Vec<(String, String)>,
    pub stdin: Option<String>,
    pub timeout: Option<Duration>,
}

/// Without what may be a secret.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("line", &self.line).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Command {
    pub fn check(&self) -> Result<()> {
        for line in [Some(&self.line), self.unless.as_ref(), self.only_if.as_ref()].into_iter().flatten() {
            if line.trim().is_empty() || line.contains('\0') {
                return Err(Error::usage("a command is empty or has a zero byte in it"));
            }
        }
        if self.stdin.as_ref().is_some_and(|s| s.contains('\0')) {
            return Err(Error::usage("the stdin of a command has a zero byte in it"));
        }
        self.user.as_ref().map_or(Ok(()), |user| super::accounts::account_name("user", user))
    }

    /// Shell that runs a line where and as whom it should be run, in a shell of its own. Values of the environment stand in
    /// what the shell reads, and on no command line.
    fn wrapped(&self, line: &str) -> String {
        let exports: String = self.env.iter().map(|(name, value)| format!("export {name}={}\n", quote(value))).collect();
        let cd = self.cwd.as_ref().map(|dir| format!("cd {}\n", quote(dir))).unwrap_or_default();
        let words = format!("/bin/sh -c {}", quote(line));
        let run = self.user.as_ref().map_or_else(|| words.clone(), |user| super::as_user(user, &words));
        format!("{exports}{cd}{run}")
    }

    /// A look that decides. Its failure to get into its directory counts as the line's.
    fn look(&self, line: &str) -> String {
        format!("set -e\n{{ {}\n}} </dev/null", self.wrapped(line))
    }
}

impl Resource for Command {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn name(&self) -> String {
        let name = match &self.name {
            Some(name) => name,
            None => self.line.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default(),
        };
        let more = if self.name.is_none() && self.line.trim().lines().count() > 1 { "…" } else { "" };
        format!("{}{more}", crate::base::secret::mask(name))
    }

    fn needs(&self) -> Vec<Fact> {
        let paths = self.creates.iter().chain(&self.removes).map(|p| Fact::Path(p.clone()));
        let tests = self.unless.iter().chain(&self.only_if).map(|t| Fact::Test(self.look(t)));
        paths.chain(tests).chain(self.user.clone().map(Fact::User)).collect()
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        if let Some(user) = &self.user
            && known.user(user)?.is_none()
        {
            return Ok(Verdict::Blocked(format!("there is no user {user}")));
        }
        let done = match (&self.creates, &self.removes) {
            (Some(path), _) if known.path(path)?.is_some() => true,
            (_, Some(path)) => known.path(path)?.is_none(),
            _ => false,
        };
        let done = done
            || self.unless.as_ref().map_or(Ok(false), |t| known.test(&self.look(t)))?
            || self.only_if.as_ref().map_or(Ok(false), |t| known.test(&self.look(t)).map(|yes| !yes))?;
        if done {
            return Ok(Verdict::Right);
        }
        let input = match &self.stdin {
            None => "</dev/null".to_owned(),
            Some(_) => String::new(),
        };
        let feed = self.stdin.as_ref().map(|s| format!("printf %s {} | ", quote(s))).unwrap_or_default();
        // What it says is its error's story when it fails, whichever stream it says it on.
        let script = format!("{feed}{{ {}\n}} >&2 {input}\n", self.wrapped(&self.line));
        let what = vec!["run".to_owned()];
        Ok(Verdict::Change(Change { what, script, touches: vec![Touch::Everything], timeout: self.timeout, ..Change::default() }))
    }
}
