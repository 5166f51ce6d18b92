//! A git working copy at one version.

use super::super::{Change, Fact, Known, PathKind, Resource, Touch, Verdict};
use super::paths::{is_empty, no_parent, parent, stage_beside};
use crate::base::error::{Error, Result};
use crate::base::shell::quote;
use std::time::Duration;

/// How long fetching may take.
const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub struct Git {
    pub repository: String,
    pub path: String,
    /// A branch, a tag or a whole commit; None: what the repository's HEAD is.
    pub version: Option<String>,
    /// Local changes are thrown away.
    pub force: bool,
    /// Whose files they are, and as whom git runs.
    pub user: Option<String>,
}

impl Git {
    pub fn check(&self) -> Result<()> {
        let odd = |text: &str| text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control);
        if odd(&self.repository) {
            return Err(Error::usage(format!("\"{}\" is no git repository", self.repository.escape_debug())));
        }
        if !self.repository.starts_with('/') && !self.repository.contains(':') {
            return Err(Error::usage(format!("\"{}\" is neither an address nor a full path", self.repository))
                .hint("A repository looks like https://host/path.git, git@host:path.git or /srv/git/path.git."));
        }
        let login =
            self.repository.split_once("://").and_then(|(_, rest)| rest.split('/').next()).and_then(|h| h.rsplit_once('@'));
        if login.is_some_and(|(login, _)| login.contains(':')) {
            return Err(Error::usage("the repository's address has a password in it, which every user of the node could see")
                .hint("Put it into git's credential store there: a file ~/.git-credentials of mode 0600."));
        }
        if let Some(version) = self.version.as_ref().filter(|v| odd(v) || v.contains([' ', ':', '~', '^', '?', '*', '[', '\\'])) {
            return Err(Error::usage(format!("\"{}\" is no branch, tag or commit", version.escape_debug())));
        }
        Ok(())
    }

    /// Shell: `git_` is git that asks nothing, as the right user.
    fn prelude(&self) -> String {
        let run = "\"$@\"";
        let run = self.user.as_ref().map_or_else(|| run.to_owned(), |user| super::as_user(user, run));
        format!(
            "export GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND='ssh -o BatchMode=yes'\n\
             git_() {{ set -- git -c safe.directory='*' -c advice.detachedHead=false \"$@\"; {{ {run}\n}} </dev/null; }}\n"
        )
    }

    /// A whole commit, which need not be asked for.
    fn commit(&self) -> Option<&str> {
        self.version.as_deref().filter(|v| is_commit(v))
    }

    /// Prints what there is: the commit, the number of local changes, the address; then what the repository has.
    fn look(&self) -> String {
        let (path, repository) = (quote(&self.path), quote(&self.repository));
        let ask = match (&self.version, self.commit()) {
            (_, Some(commit)) => format!("echo {commit}"),
            (None, _) => format!("git_ ls-remote -- {repository} HEAD 2>&1"),
            (Some(v), _) => {
                let names = [format!("refs/heads/{v}"), format!("refs/tags/{v}"), format!("refs/tags/{v}^{{}}")];
                format!("git_ ls-remote -- {repository} {} 2>&1", crate::base::shell::join(names))
            }
        };
        format!(
            "{}command -v git >/dev/null || exit 127\n\
             if [ -e {path}/.git ]; then\n  git_ -C {path} rev-parse HEAD || echo none\n  \
             git_ -C {path} status --porcelain --untracked-files=no | wc -l\n  \
             git_ -C {path} config --get remote.origin.url || echo none\nelse printf 'none\\n0\\nnone\\n'; fi\n{ask} || exit 3\n",
            self.prelude()
        )
    }

    /// The commit that the repository has under the version.
    fn offered<'a>(&self, said: impl Iterator<Item = &'a str>) -> Option<String> {
        if let Some(commit) = self.commit() {
            return Some(commit.to_lowercase());
        }
        let found: Vec<(&str, &str)> = said.filter_map(|l| l.split_once('\t')).filter(|(commit, _)| is_commit(commit)).collect();
        // Of a tag with a text of its own, what it stands for.
        let best = found.iter().find(|(_, name)| name.ends_with("^{}"));
        let best = best.or_else(|| found.iter().find(|(_, name)| name.starts_with("refs/heads/"))).or_else(|| found.first());
        best.map(|(commit, _)| (*commit).to_owned())
    }

    fn cloned(&self, commit: &str) -> String {
        let (path, repository) = (quote(&self.path), quote(&self.repository));
        let own = self.user.as_ref().map(|u| format!("chown {} \"$stage\"\n", quote(u))).unwrap_or_default();
        format!(
            "{}{}{own}git_ clone -q --no-checkout -- {repository} \"$stage/new\"\n\
             git_ -C \"$stage/new\" checkout -q --detach {commit}\nchmod 755 \"$stage/new\"\nmv -fT \"$stage/new\" {path}\n",
            self.prelude(),
            stage_beside(&self.path)
        )
    }

    fn moved(&self, commit: &str) -> String {
        let (path, repository) = (quote(&self.path), quote(&self.repository));
        let force = if self.force { "--force " } else { "" };
        format!(
            "{}git_ -C {path} config remote.origin.url {repository}\n\
             git_ -C {path} cat-file -e {commit}^{{commit}} 2>/dev/null || git_ -C {path} fetch -q --tags --force origin\n\
             git_ -C {path} cat-file -e {commit}^{{commit}} 2>/dev/null || git_ -C {path} fetch -q origin {commit}\n\
             git_ -C {path} checkout -q {force}--detach {commit}\n",
            self.prelude()
        )
    }
}

/// Whether it is a commit's whole name. Nothing else that a repository says goes into a script.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Resource for Git {
    fn kind(&self) -> &'static str {
        "git"
    }

    fn name(&self) -> String {
        self.path.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::Path(self.path.clone()), Fact::Output(self.look())];
        facts.extend(parent(&self.path).map(|p| Fact::Path(p.to_owned())));
        facts.extend(self.user.clone().map(Fact::User));
        // An empty directory in its place is taken.
        facts.push(Fact::Test(is_empty(&self.path)));
        facts
    }

    fn looks_at(&self) -> Vec<Touch> {
        let mut looks = vec![Touch::Tree(self.path.clone())];
        looks.extend(self.user.clone().map(Touch::User));
        looks
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        if let Some(why) = no_parent(&self.path, known)? {
            return Ok(Verdict::Blocked(why));
        }
        if let Some(user) = self.user.as_ref()
            && known.user(user)?.is_none()
        {
            return Ok(Verdict::Blocked(format!("there is no user {user}")));
        }
        let (code, said) = known.outputs.get(&self.look()).ok_or_else(|| Error::internal("the working copy was not read"))?;
        let said = String::from_utf8_lossy(said).into_owned();
        let mut lines = said.lines();
        let mut line = || lines.next().unwrap_or_default();
        let (is, changes, address) = (line(), line(), line());
        match code {
            0 => {}
            127 => return Ok(Verdict::Blocked("git is not installed".to_owned())),
            _ => {
                let lines: Vec<&str> = lines.collect();
                let fatal = lines.iter().find_map(|l| l.strip_prefix("fatal: "));
                let why = fatal.or(lines.last().copied()).unwrap_or("git says nothing").trim();
                return Ok(Verdict::Blocked(format!("{} cannot be read: {why}", self.repository)));
            }
        }
        let Some(wanted) = self.offered(lines) else {
            let version = self.version.as_deref().unwrap_or("HEAD");
            return Ok(Verdict::Blocked(format!("{} has neither a branch nor a tag {version}", self.repository)));
        };
        let short = |commit: &str| commit.chars().take(10).collect::<String>();
        let path = known.path(&self.path)?;
        let (what, script) = match path {
            Some(p) if is == "none" && !(p.kind == PathKind::Directory && known.test(&is_empty(&self.path))?) => {
                return Ok(Verdict::Blocked(format!("{} is {} and no working copy of git", self.path, p.described())));
            }
            _ if is == "none" => (format!("created at {}", short(&wanted)), self.cloned(&wanted)),
            _ if changes.trim() != "0" && !self.force && (is != wanted || address != self.repository) => {
                return Ok(Verdict::Blocked(format!("{} has changes of its own, and force: true is not said", self.path)));
            }
            _ if is != wanted || (changes.trim() != "0" && self.force) => {
                (format!("{} → {}", short(is), short(&wanted)), self.moved(&wanted))
            }
            _ if address != self.repository => (format!("from {address} → {}", self.repository), self.moved(&wanted)),
            _ => return Ok(Verdict::Right),
        };
        let touches = vec![Touch::Tree(self.path.clone())];
        Ok(Verdict::Change(Change { what: vec![what], script, touches, timeout: Some(PATIENCE), ..Change::default() }))
    }
}
