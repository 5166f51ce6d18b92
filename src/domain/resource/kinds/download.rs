//! A file that the node fetches from the web itself.

use super::super::{Change, Fact, Known, PathKind, PathState, Resource, Touch, Verdict};
use super::access::Access;
use super::paths::{parent, stage_beside};
use crate::base::error::{Error, Result};
use crate::base::shell::quote;
use std::time::Duration;

/// What scripts that ask the web share.
pub const WEB: &str = include_str!("web.sh");

#[derive(Clone, Debug)]
pub struct Download {
    pub url: String,
    pub path: String,
    /// In lower case. None: a file that is there is taken for the right one.
    pub sha256: Option<String>,
    pub access: Access,
    pub timeout: Duration,
}

/// A SHA-256 as people give it.
pub fn checked_sha256(given: &str) -> Result<String> {
    let hex = given.trim().to_ascii_lowercase();
    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(hex)
    } else {
        Err(Error::usage(format!("\"{hex}\" is not a sha256: it must be 64 hexadecimal digits")))
    }
}

/// An address of the web that a node can fetch.
pub fn checked_url(url: &str) -> Result<()> {
    let web = ["http://", "https://"]
        .iter()
        .any(|s| url.strip_prefix(s).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')));
    if !web || url.chars().any(|c| c.is_control() || c == ' ') {
        return Err(Error::usage(format!("\"{}\" is no address of the web", url.escape_debug()))
            .hint("It begins with http:// or https://; blanks in it are written as %20."));
    }
    Ok(())
}

impl Download {
    fn script(&self) -> String {
        let (path, url) = (quote(&self.path), quote(&self.url));
        let address = quote(&self.url);
        let mut script = format!(
            "{WEB}{}fetch_url {url} \"$stage/new\" {} || {{ code=$?; say {}{address}; exit $code; }}\n",
            stage_beside(&self.path),
            self.timeout.as_secs().max(1),
            quote("cannot fetch ")
        );
        if let Some(sum) = &self.sha256 {
            script.push_str(&format!(
                "is=$(sha256sum <\"$stage/new\"); is=${{is%% *}}\n\
                 [ \"$is\" = {sum} ] || {{ say {address}\" has sha256 $is, not {sum}; nothing was changed\"; exit 1; }}\n"
            ));
        }
        let access = Access { mode: self.access.mode.or(Some(0o644)), ..self.access.clone() };
        script.push_str(&access.set("\"$stage/new\""));
        script.push_str(&format!("mv -fT \"$stage/new\" {path}\n"));
        script
    }
}

impl Resource for Download {
    fn kind(&self) -> &'static str {
        "download_to"
    }

    fn name(&self) -> String {
        self.path.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::Path(self.path.clone())];
        facts.extend(parent(&self.path).map(|p| Fact::Path(p.to_owned())));
        facts.extend(self.access.needs());
        facts
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        if let Some(why) = self.access.blocked_at(&self.path, known)? {
            return Ok(Verdict::Blocked(why));
        }
        let is = known.path(&self.path)?;
        let (what, script) = match is {
            None => (vec!["fetched".to_owned()], self.script()),
            Some(is) if is.kind != PathKind::File => {
                return Ok(Verdict::Blocked(format!("{} is {}", self.path, is.described())));
            }
            Some(is) if self.sha256.is_some() && is.sha256 != self.sha256 => (vec!["content".to_owned()], self.script()),
            Some(is) => (self.access.differences(is), self.access.set(&quote(&self.path))),
        };
        if what.is_empty() {
            return Ok(Verdict::Right);
        }
        let touches = vec![Touch::Path(self.path.clone())];
        let timeout = Some(self.timeout * 4);
        let mut change = Change { what, script, touches, timeout, ..Change::default() };
        if self.sha256.is_some() {
            let (mode, owner, group) = self.access.leaves(is, 0o644);
            let size = is.map_or(0, |i| i.size);
            let state = PathState { kind: PathKind::File, mode, owner, group, size, sha256: self.sha256.clone(), target: None };
            change.leaves.paths.insert(self.path.clone(), Some(state));
        }
        Ok(Verdict::Change(change))
    }
}
