//! The SSH keys that may log in as a user.

use super::super::{Change, Diff, Fact, Known, Resource, Touch, Verdict};
use super::paths::stage_beside;
use crate::base::error::{Error, Result};
use crate::base::shell::quote;
use regex::Regex;

#[derive(Clone, Debug)]
pub struct AuthorizedKeys {
    pub user: String,
    /// As `public_keys` gives them.
    pub keys: Vec<String>,
    /// No keys but these.
    pub exclusive: bool,
    pub absent: bool,
}

/// The keys in a text of an authorized_keys or `.pub` file: one a line, without blank lines and comments.
pub fn public_keys(text: &str) -> Result<Vec<String>> {
    if text.contains("PRIVATE KEY") {
        return Err(Error::usage("that is a private key, which belongs on no node")
            .hint("Its public half is in the .pub file beside it."));
    }
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let key = |line: &str| match blob(line) {
        Some(_) if !line.chars().any(char::is_control) => Ok(line.to_owned()),
        _ => {
            let start: String = line.chars().take(40).collect();
            Err(Error::usage(format!("\"{}\" is no public SSH key", start.escape_debug()))
                .hint("A key looks like: ssh-ed25519 AAAA… name"))
        }
    };
    lines.map(key).collect()
}

/// The part of a key's line that is the key: kind, then base64. Before it may stand options, after it a comment.
fn blob(line: &str) -> Option<&str> {
    let found = Regex::new(r"(?:^|\s)((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[\w@.-]+\s+AAAA[0-9A-Za-z+/]+=*)(?:\s|$)").ok()?;
    found.captures(line).and_then(|c| c.get(1)).map(|m| m.as_str())
}

impl AuthorizedKeys {
    /// Prints the home, what `.ssh` and the file are, and the file.
    fn look(&self) -> String {
        let user = quote(&self.user);
        format!(
            "h=$(getent passwd -- {user} | cut -d: -f6); [ -n \"$h\" ] || exit 3; printf '%s\\n' \"$h\"; \
             stat -c %A \"$h/.ssh\" 2>/dev/null || echo none; \
             stat -c %A \"$h/.ssh/authorized_keys\" 2>/dev/null || echo none; cat \"$h/.ssh/authorized_keys\" 2>/dev/null || :"
        )
    }

    /// What the file should hold, given what it holds.
    fn wanted(&self, is: &str) -> (String, Vec<String>) {
        let mut lines: Vec<String> = is.lines().map(str::to_owned).collect();
        let mut what = Vec::new();
        let mine = |line: &str| blob(line).is_some_and(|b| self.keys.iter().any(|k| blob(k) == Some(b)));
        let count = |n: usize, did: &str| format!("{n} key{} {did}", if n == 1 { "" } else { "s" });
        let before = lines.len();
        if self.absent {
            lines.retain(|l| !mine(l));
        } else if self.exclusive {
            lines.retain(|l| mine(l) || blob(l).is_none() && (l.trim().is_empty() || l.starts_with('#')));
        }
        if lines.len() < before {
            what.push(count(before - lines.len(), "removed"));
        }
        if !self.absent {
            let (mut added, mut changed) = (0, 0);
            for key in &self.keys {
                match lines.iter_mut().find(|l| blob(l) == blob(key)) {
                    Some(line) if line.trim() == key => {}
                    Some(line) => {
                        key.clone_into(line);
                        changed += 1;
                    }
                    None => {
                        lines.push(key.clone());
                        added += 1;
                    }
                }
            }
            what.extend([(added, "added"), (changed, "changed")].iter().filter(|(n, _)| *n > 0).map(|(n, did)| count(*n, did)));
        }
        let text = if lines.is_empty() { String::new() } else { lines.join("\n") + "\n" };
        (text, what)
    }
}

impl Resource for AuthorizedKeys {
    fn kind(&self) -> &'static str {
        "authorized_keys"
    }

    fn name(&self) -> String {
        self.user.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        vec![Fact::User(self.user.clone()), Fact::Output(self.look())]
    }

    fn looks_at(&self) -> Vec<Touch> {
        let homes = ["/home", "/root", "/var", "/srv", "/opt"].map(|h| Touch::Tree(h.to_owned()));
        std::iter::once(Touch::User(self.user.clone())).chain(homes).collect()
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        if known.user(&self.user)?.is_none() {
            return Ok(if self.absent { Verdict::Right } else { Verdict::Blocked(format!("there is no user {}", self.user)) });
        }
        let said = known.outputs.get(&self.look()).ok_or_else(|| Error::internal("authorized_keys were not read"))?;
        let said = String::from_utf8_lossy(&said.1).into_owned();
        let mut parts = said.splitn(4, '\n');
        let mut part = || parts.next().unwrap_or_default();
        let (home, dir, file, is) = (part(), part(), part(), part());
        for (path, state, sort) in [(format!("{home}/.ssh"), dir, 'd'), (format!("{home}/.ssh/authorized_keys"), file, '-')] {
            if state != "none" && !state.starts_with(sort) {
                return Ok(Verdict::Blocked(format!("{path} is neither missing nor what it should be ({state})")));
            }
        }
        let (text, mut what) = self.wanted(is);
        // sshd does not look at files that others can write to.
        let open = |mode: &str| mode != "none" && (mode.get(5..6) == Some("w") || mode.get(8..9) == Some("w"));
        if !self.absent && (open(dir) || open(file)) {
            what.push("mode 0600".to_owned());
        }
        if what.is_empty() {
            return Ok(Verdict::Right);
        }
        let (text_word, home_word) = (quote(&text), quote(home));
        // As the user: root must not follow what a user has put into a home directory.
        let inner = format!(
            "set -eu\ncd {home_word}\numask 077\n[ -d .ssh ] || mkdir .ssh\nchmod go-w .ssh\n{}\
             printf %s {text_word} >\"$stage/new\"\nmv -fT \"$stage/new\" .ssh/authorized_keys\n",
            stage_beside(".ssh/authorized_keys")
        );
        let script = super::as_user(&self.user, &format!("/bin/sh -c {} </dev/null", quote(&inner)));
        let path = format!("{home}/.ssh/authorized_keys");
        let before = (file != "none").then(|| is.as_bytes().to_vec());
        let diff = Some(Diff { path, before, after: Some(text.into_bytes()), secret: false });
        let touches = vec![Touch::Tree(format!("{home}/.ssh"))];
        Ok(Verdict::Change(Change { what, diff, script, touches, ..Change::default() }))
    }
}
