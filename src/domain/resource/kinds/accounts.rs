//! Users and groups.

use super::super::{Change, Fact, Known, Resource, Touch, UserState, Verdict};
use crate::base::error::{Error, Result};
use crate::base::shell::{join, quote};
use std::collections::BTreeSet;

/// Refuses names that the tools would take for something else. What the node's own rules are, its tools say.
pub fn account_name(what: &str, name: &str) -> Result<()> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || ":,/\\\"'*?".contains(c);
    let numeric = name.bytes().all(|b| b.is_ascii_digit());
    if name.is_empty() || numeric || name.starts_with(['-', '.', '~', '+']) || name.contains(odd) || name.len() > 32 {
        return Err(Error::usage(format!("\"{}\" is no name for a {what}", name.escape_debug()))
            .hint("Such names are of at most 32 letters, digits and \"-_.\", and begin with a letter."));
    }
    Ok(())
}

#[derive(Clone, Debug, Default)]
pub struct User {
    pub name: String,
    pub uid: Option<u32>,
    /// The primary group, by name.
    pub group: Option<String>,
    /// Further groups.
    pub groups: Vec<String>,
    /// In no further groups but these.
    pub only_groups: bool,
    pub shell: Option<String>,
    pub home: Option<String>,
    pub comment: Option<String>,
    /// A new one is a system's: a low number, and no home unless that is said.
    pub system: bool,
    pub create_home: Option<bool>,
}

impl User {
    pub fn check(&self) -> Result<()> {
        account_name("user", &self.name)?;
        for group in self.group.iter().chain(&self.groups) {
            account_name("group", group)?;
        }
        for (what, text) in [("comment", &self.comment), ("shell", &self.shell), ("home", &self.home)] {
            let Some(text) = text else { continue };
            if text.contains([':', '\0']) || text.chars().any(char::is_control) {
                return Err(Error::usage(format!(
                    "the {what} \"{}\" has a colon or a control character in it",
                    text.escape_debug()
                )));
            }
            if what != "comment" && !text.starts_with('/') {
                return Err(Error::usage(format!("the {what} \"{text}\" is no full path")));
            }
        }
        Ok(())
    }

    /// Names the primary group.
    fn primary(&self) -> String {
        format!("id -gn -- {}", quote(&self.name))
    }

    fn created(&self, known: &Known) -> Result<Change> {
        let mut words: Vec<String> = vec!["useradd".to_owned()];
        let mut option = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([flag.to_owned(), value]);
            }
        };
        option("--uid", self.uid.map(|u| u.to_string()));
        // A group of the user's own name that is there is meant to be its own.
        let own = known.group(&self.name)?.map(|_| self.name.clone());
        option("--gid", self.group.clone().or(own));
        option("--groups", Some(self.groups.join(",")).filter(|g| !g.is_empty()));
        option("--shell", self.shell.clone());
        option("--home-dir", self.home.clone());
        option("--comment", self.comment.clone());
        if self.system {
            words.push("--system".to_owned());
        }
        words.push(if self.create_home.unwrap_or(!self.system) { "--create-home" } else { "--no-create-home" }.to_owned());
        words.extend(["--".to_owned(), self.name.clone()]);
        let home = self.home.clone().unwrap_or_else(|| format!("/home/{}", self.name));
        let primary = self.group.clone().unwrap_or_else(|| self.name.clone());
        // That it is there is certain; its numbers are not asked for by what comes after.
        let is = UserState {
            uid: self.uid.unwrap_or_default(),
            gid: 0,
            comment: self.comment.clone().unwrap_or_default(),
            home,
            shell: self.shell.clone().unwrap_or_default(),
            groups: self.groups.iter().cloned().chain([primary.clone()]).collect(),
        };
        let mut change = self.change(vec!["created".to_owned()], &words, is, &primary);
        if self.group.is_none() {
            change.leaves.groups.insert(self.name.clone(), Some(BTreeSet::new()));
        }
        Ok(change)
    }

    /// All that anybody may ask about the user is known afterwards: nothing has to be read again.
    fn change(&self, what: Vec<String>, words: &[String], after: UserState, primary: &str) -> Change {
        let (script, touches) = (format!("{} </dev/null\n", join(words)), vec![Touch::Tree(after.home.clone())]);
        let mut change = Change { what, script, touches, ..Change::default() };
        change.leaves.users.insert(self.name.clone(), Some(after));
        change.leaves.outputs.insert(self.primary(), (0, format!("{primary}\n").into_bytes()));
        change
    }

    fn altered(&self, is: &UserState, known: &Known) -> Option<Change> {
        let (mut words, mut what) = (vec!["usermod".to_owned()], Vec::new());
        let mut option = |flag: &str, value: String, said: String| {
            words.extend([flag.to_owned(), value]);
            what.push(said);
        };
        if let Some(uid) = self.uid.filter(|u| *u != is.uid) {
            option("--uid", uid.to_string(), format!("uid {} → {uid}", is.uid));
        }
        if let Some(shell) = self.shell.as_ref().filter(|s| **s != is.shell) {
            option("--shell", shell.clone(), format!("shell {} → {shell}", is.shell));
        }
        if let Some(home) = self.home.as_ref().filter(|h| **h != is.home) {
            option("--home", home.clone(), format!("home {} → {home}", is.home));
        }
        if let Some(comment) = self.comment.as_ref().filter(|c| **c != is.comment) {
            option("--comment", comment.clone(), format!("comment \"{}\" → \"{comment}\"", is.comment));
        }
        let primary = match known.outputs.get(&self.primary()) {
            Some((0, out)) => String::from_utf8_lossy(out).trim().to_owned(),
            _ => String::new(),
        };
        if let Some(group) = self.group.as_ref().filter(|g| **g != primary) {
            option("--gid", group.clone(), format!("group {primary} → {group}"));
        }
        let further: BTreeSet<&String> = is.groups.iter().filter(|g| **g != primary && Some(*g) != self.group.as_ref()).collect();
        let missing: Vec<&String> = self.groups.iter().filter(|g| !is.groups.contains(*g)).collect();
        let extra: Vec<&&String> = further.iter().filter(|g| self.only_groups && !self.groups.contains(**g)).collect();
        if !missing.is_empty() || !extra.is_empty() {
            let kept = further.iter().filter(|g| !extra.contains(g)).map(|g| g.as_str());
            let all: BTreeSet<&str> = kept.chain(self.groups.iter().map(String::as_str)).collect();
            let signs = missing.iter().map(|g| format!("+{g}")).chain(extra.iter().map(|g| format!("-{g}")));
            let said = format!("groups {}", signs.collect::<Vec<_>>().join(" "));
            option("--groups", all.into_iter().collect::<Vec<_>>().join(","), said);
        }
        if what.is_empty() {
            return None;
        }
        words.extend(["--".to_owned(), self.name.clone()]);
        let new_primary = self.group.clone().unwrap_or(primary);
        let kept = is.groups.iter().filter(|g| !extra.iter().any(|e| **e == *g)).cloned();
        let after = UserState {
            uid: self.uid.unwrap_or(is.uid),
            gid: is.gid,
            comment: self.comment.clone().unwrap_or_else(|| is.comment.clone()),
            home: self.home.clone().unwrap_or_else(|| is.home.clone()),
            shell: self.shell.clone().unwrap_or_else(|| is.shell.clone()),
            groups: kept.chain(self.groups.iter().cloned()).chain([new_primary.clone()]).collect(),
        };
        Some(self.change(what, &words, after, &new_primary))
    }
}

impl Resource for User {
    fn kind(&self) -> &'static str {
        "user"
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::User(self.name.clone()), Fact::Group(self.name.clone()), Fact::Output(self.primary())];
        facts.extend(self.group.iter().chain(&self.groups).map(|g| Fact::Group(g.clone())));
        facts
    }

    fn looks_at(&self) -> Vec<Touch> {
        vec![Touch::User(self.name.clone())]
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        for group in self.group.iter().chain(&self.groups) {
            if known.group(group)?.is_none() && *group != self.name {
                return Ok(Verdict::Blocked(format!("there is no group {group}")));
            }
        }
        let change = match known.user(&self.name)? {
            None => Some(self.created(known)?),
            Some(is) => self.altered(is, known),
        };
        Ok(change.map_or(Verdict::Right, Verdict::Change))
    }
}

/// No user of this name.
#[derive(Clone, Debug)]
pub struct NoUser {
    pub name: String,
    /// Remove the home directory as well.
    pub remove_home: bool,
}

impl Resource for NoUser {
    fn kind(&self) -> &'static str {
        "user"
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        vec![Fact::User(self.name.clone())]
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        let Some(is) = known.user(&self.name)? else { return Ok(Verdict::Right) };
        let flag = if self.remove_home { "--remove " } else { "" };
        let mut touches = vec![Touch::User(self.name.clone()), Touch::Group(self.name.clone())];
        if self.remove_home {
            touches.push(Touch::Tree(is.home.clone()));
        }
        // Its mail spool is mostly not there, which userdel tells and which is no matter.
        let script = format!("userdel {flag}-- {} </dev/null\n", quote(&self.name));
        let mut change = Change { what: vec!["removed".to_owned()], script, touches, ..Change::default() };
        change.leaves.users.insert(self.name.clone(), None);
        Ok(Verdict::Change(change))
    }
}

#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub gid: Option<u32>,
    /// A new one gets a low number.
    pub system: bool,
    pub absent: bool,
}

impl Group {
    fn number(&self) -> String {
        format!("getent group {} | cut -d: -f3", quote(&self.name))
    }

    fn change(&self, what: &str, script: String) -> Change {
        let mut change = Change { what: vec![what.to_owned()], script, ..Change::default() };
        if what == "created" {
            // A new group changes nothing about anybody.
            change.leaves.groups.insert(self.name.clone(), Some(BTreeSet::new()));
        } else {
            change.touches.push(Touch::Group(self.name.clone()));
        }
        if self.absent {
            change.leaves.groups.insert(self.name.clone(), None);
        }
        change
    }
}

impl Resource for Group {
    fn kind(&self) -> &'static str {
        "user_group"
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        let number = self.gid.filter(|_| !self.absent).map(|_| Fact::Output(self.number()));
        std::iter::once(Fact::Group(self.name.clone())).chain(number).collect()
    }

    fn looks_at(&self) -> Vec<Touch> {
        vec![Touch::Group(self.name.clone())]
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        let name = quote(&self.name);
        let is = known.group(&self.name)?;
        Ok(match (is, self.absent, self.gid) {
            (None, true, _) | (Some(_), false, None) => Verdict::Right,
            (Some(_), true, _) => Verdict::Change(self.change("removed", format!("groupdel -- {name} </dev/null\n"))),
            (None, false, gid) => {
                let gid = gid.map(|g| format!("--gid {g} ")).unwrap_or_default();
                let system = if self.system { "--system " } else { "" };
                Verdict::Change(self.change("created", format!("groupadd {gid}{system}-- {name} </dev/null\n")))
            }
            (Some(_), false, Some(gid)) => {
                let out = known.outputs.get(&self.number()).map(|(_, out)| String::from_utf8_lossy(out).trim().to_owned());
                let is = out.unwrap_or_default();
                if is == gid.to_string() {
                    Verdict::Right
                } else {
                    Verdict::Change(
                        self.change(&format!("gid {is} → {gid}"), format!("groupmod --gid {gid} -- {name} </dev/null\n")),
                    )
                }
            }
        })
    }
}
