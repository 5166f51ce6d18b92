//! What OpenSSH's `ssh_config` files say of a host. Tests hold the answers against those of `ssh -G`.
//!
//! The first value found holds. `Host`, `Match` (as far as it can be decided without running anything) and `Include` are understood;
//! keywords that mean nothing to us are passed over.

use super::glob;
use crate::base::error::{Error, Location, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// As deep as OpenSSH itself goes.
const DEEPEST: usize = 16;

/// Whom the question is about, and who asks.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// The name as given.
    pub host: &'a str,
    /// The user, where one was given; it counts for `Match user`.
    pub user: Option<&'a str>,
    pub port: Option<u16>,
    pub local_user: &'a str,
    pub home: &'a Path,
}

/// What is said of one host. Files are absolute or as written, with `~` and tokens expanded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    pub host_name: Option<String>,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub identity_files: Vec<PathBuf>,
    pub identities_only: Option<bool>,
    /// False where `IdentityAgent` is `none`.
    pub agent: Option<bool>,
    pub known_hosts: Option<Vec<PathBuf>>,
    /// `yes`, `ask`, `accept-new`, `no`, in lower case.
    pub strict: Option<String>,
    /// Hops in the order they are taken. Empty: none, whatever others say.
    pub proxy_jump: Option<Vec<String>>,
    /// With its tokens as they are, but for `%n`. Empty: none.
    pub proxy_command: Option<String>,
    pub connect_timeout: Option<Duration>,
}

/// A file and all it includes.
#[derive(Clone, Debug)]
pub struct SshConfig(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    /// All must hold.
    when: Vec<Condition>,
    keyword: String,
    words: Vec<String>,
    /// The value as written.
    rest: String,
    place: Location,
}

#[derive(Clone, Debug)]
enum Condition {
    Host(Vec<String>),
    Match(Vec<(String, String)>),
}

impl SshConfig {
    pub fn read(path: &Path, home: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
        let mut rules = Vec::new();
        add(&mut rules, path, &String::from_utf8_lossy(&text), &[], home, 0)?;
        Ok(Self(rules))
    }

    pub fn answer(&self, query: &Query<'_>) -> Result<Answer> {
        let mut answer = Answer::default();
        for rule in &self.0 {
            if rule.when.iter().all(|c| c.holds(query, &answer)) {
                rule.apply(&mut answer)
                    .map_err(|why| Error::config(format!("{} in {} {why}", rule.keyword, rule.place)).at(rule.place.clone()))?;
            }
        }
        answer.expand(query);
        Ok(answer)
    }
}

/// Adds the rules of one file, which count only where `outer` holds.
fn add(rules: &mut Vec<Rule>, path: &Path, text: &str, outer: &[Condition], home: &Path, depth: usize) -> Result<()> {
    let mut when = outer.to_vec();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = Location { source: Some(line.to_owned()), ..Location::line(path.display().to_string(), index + 1) };
        let wrong = |why: &str| Error::config(format!("{place}: {why}")).at(place.clone());
        let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
        let (keyword, rest) = line.split_at(end);
        let rest = rest.trim_start();
        let rest = rest.strip_prefix('=').unwrap_or(rest).trim().to_owned();
        let keyword = keyword.to_ascii_lowercase();
        let words = words(&rest).ok_or_else(|| wrong("a quote is not closed"))?;
        if words.is_empty() {
            return Err(wrong(&format!("`{keyword}` has no value")));
        }
        match keyword.as_str() {
            "host" => when = [outer, &[Condition::Host(words)]].concat(),
            "match" => when = [outer, &[Condition::Match(criteria(&words).map_err(|why| wrong(&why))?)]].concat(),
            "include" => {
                if depth >= DEEPEST {
                    return Err(wrong("files include each other too deep: is there a circle?"));
                }
                for pattern in &words {
                    let pattern = home.join(".ssh").join(tilde(pattern, home));
                    for file in glob::files(&pattern) {
                        // One that cannot be read is passed over, as OpenSSH does.
                        if let Ok(text) = std::fs::read(&file) {
                            add(rules, &file, &String::from_utf8_lossy(&text), &when, home, depth + 1)?;
                        }
                    }
                }
            }
            _ => rules.push(Rule { when: when.clone(), keyword, words, rest, place }),
        }
    }
    Ok(())
}

/// Splits a value as a shell would: quotes of both kinds, a backslash before a quote or a backslash, a comment at the start of a word.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        match chars.peek() {
            None | Some('#') => return Some(words),
            Some(_) => {}
        }
        let (mut word, mut quote) = (String::new(), None);
        loop {
            match (chars.next(), quote) {
                (None, None) => break,
                (None, Some(_)) => return None,
                (Some('\\'), _) if chars.peek().is_some_and(|c| "\"'\\".contains(*c) || (quote.is_none() && *c == ' ')) => {
                    word.extend(chars.next());
                }
                (Some(c @ ('"' | '\'')), None) => quote = Some(c),
                (Some(c), Some(q)) if c == q => quote = None,
                (Some(c), None) if c.is_whitespace() => break,
                (Some(c), _) => word.push(c),
            }
        }
        words.push(word);
    }
}

/// The criteria of a `Match` line, each with its patterns. Those that would need something run are refused: guessing would mislead.
fn criteria(words: &[String]) -> std::result::Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = word.to_ascii_lowercase();
        let plain = name.trim_start_matches('!');
        let (plain, given) = plain.split_once('=').map_or((plain, None), |(p, g)| (p, Some(g.to_owned())));
        let known = match plain {
            "all" | "canonical" | "final" => Some(String::new()),
            "host" | "originalhost" | "user" | "localuser" => given.or_else(|| words.next().cloned()),
            _ => {
                return Err(format!(
                    "`Match {plain}` cannot be decided here; opsrun knows all, host, originalhost, user and localuser"
                ));
            }
        };
        let patterns = known.ok_or_else(|| format!("`Match {plain}` has no pattern"))?;
        let negation = if name.starts_with('!') { "!" } else { "" };
        found.push((format!("{negation}{plain}"), patterns));
    }
    Ok(found)
}

impl Condition {
    fn holds(&self, query: &Query<'_>, so_far: &Answer) -> bool {
        match self {
            Self::Host(patterns) => matches(patterns.iter().map(String::as_str), query.host),
            Self::Match(criteria) => criteria.iter().all(|(name, patterns)| {
                let plain = name.trim_start_matches('!');
                let about = |text: &str| matches(patterns.split(','), text);
                let host = || so_far.host_name.as_ref().map_or_else(|| query.host.to_owned(), |n| expand_host(n, query.host));
                let holds = match plain {
                    "all" => true,
                    "host" => about(&host()),
                    "originalhost" => about(query.host),
                    "user" => about(query.user.or(so_far.user.as_deref()).unwrap_or(query.local_user)),
                    "localuser" => about(query.local_user),
                    // Only in a second pass, which canonical names would start.
                    _ => false,
                };
                holds != name.starts_with('!')
            }),
        }
    }
}

/// Whether a list of patterns is about a name: one matches, and none of those with `!` does.
fn matches<'a>(patterns: impl Iterator<Item = &'a str>, name: &str) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(not) if glob::matches(not, name) => return false,
            Some(_) => {}
            None => found |= glob::matches(pattern, name),
        }
    }
    found
}

impl Rule {
    /// Takes the value unless there is one. Returns what is wrong with it.
    fn apply(&self, answer: &mut Answer) -> std::result::Result<(), String> {
        let word = self.words[0].as_str();
        let none = word.eq_ignore_ascii_case("none");
        match self.keyword.as_str() {
            "hostname" => first(&mut answer.host_name, || Ok(word.to_owned())),
            "user" => first(&mut answer.user, || Ok(word.to_owned())),
            "port" => first(&mut answer.port, || {
                word.parse().ok().filter(|p| *p > 0).ok_or_else(|| format!("has \"{word}\" for a port"))
            }),
            "identityfile" => {
                let file = PathBuf::from(word);
                if !none && !answer.identity_files.contains(&file) {
                    answer.identity_files.push(file);
                }
                Ok(())
            }
            "identitiesonly" => first(&mut answer.identities_only, || yes(word)),
            "identityagent" => first(&mut answer.agent, || Ok(!none)),
            "userknownhostsfile" => first(&mut answer.known_hosts, || {
                Ok(self.words.iter().filter(|w| !w.eq_ignore_ascii_case("none")).map(PathBuf::from).collect())
            }),
            "stricthostkeychecking" => first(&mut answer.strict, || Ok(word.to_ascii_lowercase())),
            // Of the two, the one that comes first counts.
            "proxyjump" if answer.proxy_command.is_none() => {
                first(&mut answer.proxy_jump, || Ok(if none { Vec::new() } else { word.split(',').map(str::to_owned).collect() }))
            }
            "proxycommand" if answer.proxy_jump.as_ref().is_none_or(Vec::is_empty) => first(&mut answer.proxy_command, || {
                Ok(if self.rest.eq_ignore_ascii_case("none") { String::new() } else { self.rest.clone() })
            }),
            "connecttimeout" => {
                if answer.connect_timeout.is_none() && !none {
                    answer.connect_timeout = Some(seconds(word).ok_or_else(|| format!("has \"{word}\" for a time"))?);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn first<T>(slot: &mut Option<T>, value: impl FnOnce() -> std::result::Result<T, String>) -> std::result::Result<(), String> {
    if slot.is_none() {
        *slot = Some(value()?);
    }
    Ok(())
}

fn yes(word: &str) -> std::result::Result<bool, String> {
    match word.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err(format!("has \"{word}\" where yes or no is expected")),
    }
}

/// `90`, `1m30s`, `2h`.
fn seconds(text: &str) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let mut unit = rest[digits..].chars();
        let factor = match unit.next().map(|c| c.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = unit.as_str();
    }
    (!text.is_empty()).then(|| Duration::from_secs(total))
}

fn tilde(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None if path == "~" => home.to_owned(),
        None => PathBuf::from(path),
    }
}

/// `%h` in `HostName` is the name that was asked for.
fn expand_host(text: &str, asked: &str) -> String {
    tokens(text, |c| (c == 'h').then(|| asked.to_owned()))
}

fn tokens(text: &str, value: impl Fn(char) -> Option<String>) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some('%')) => out.push('%'),
            ('%', Some(token)) => out.push_str(&value(token).unwrap_or_else(|| format!("%{token}"))),
            (c, _) => out.push(c),
        }
    }
    out
}

impl Answer {
    fn expand(&mut self, query: &Query<'_>) {
        self.host_name = self.host_name.take().map(|name| expand_host(&name, query.host));
        let host = self.host_name.clone().unwrap_or_else(|| query.host.to_owned());
        let user = query.user.or(self.user.as_deref()).unwrap_or(query.local_user).to_owned();
        let port = query.port.or(self.port).unwrap_or(22);
        let file = |path: &mut PathBuf| {
            let text = path.to_string_lossy();
            let expanded = tokens(&text, |token| match token {
                'd' => Some(query.home.display().to_string()),
                'h' => Some(host.clone()),
                'n' => Some(query.host.to_owned()),
                'p' => Some(port.to_string()),
                'r' => Some(user.clone()),
                'u' => Some(query.local_user.to_owned()),
                _ => None,
            });
            *path = tilde(&expanded, query.home);
        };
        self.identity_files.iter_mut().for_each(file);
        self.known_hosts.iter_mut().flatten().for_each(file);
        self.proxy_command = self.proxy_command.take().map(|line| line.replace("%n", query.host));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::process::Command;

    fn me() -> nix::unistd::User {
        nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap()
    }

    /// What OpenSSH makes of a file: values by keyword.
    fn oracle(config: &Path, host: &str, user: Option<&str>) -> HashMap<String, Vec<String>> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-G").arg("-F").arg(config).args(user.map(|u| format!("-l{u}"))).arg(host);
        let out = ssh.output().expect("apt-get install openssh-client");
        assert!(out.status.success(), "{host}: {}", String::from_utf8_lossy(&out.stderr));
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        for (key, value) in String::from_utf8(out.stdout).unwrap().lines().filter_map(|l| l.split_once(' ')) {
            values.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        values
    }

    fn check(config: &Path, host: &str, user: Option<&str>) {
        let user_of_this_process = me();
        let home = user_of_this_process.dir.as_path();
        let query = Query { host, user, port: None, local_user: &user_of_this_process.name, home };
        let ours = SshConfig::read(config, home).unwrap().answer(&query).unwrap();
        let theirs = oracle(config, host, user);
        let one = |key: &str| theirs.get(key).map(|v| v[0].as_str());
        assert_eq!(ours.host_name.as_deref().unwrap_or(host).to_ascii_lowercase(), one("hostname").unwrap(), "{host}");
        assert_eq!(user.or(ours.user.as_deref()).unwrap_or(query.local_user), one("user").unwrap(), "{host}");
        assert_eq!(ours.port.unwrap_or(22).to_string(), one("port").unwrap(), "{host}");
        assert_eq!(
            ours.connect_timeout.map_or("none".into(), |t| t.as_secs().to_string()),
            one("connecttimeout").unwrap(),
            "{host}"
        );
        assert_eq!(ours.proxy_jump.unwrap_or_default().join(","), one("proxyjump").unwrap_or_default(), "{host}");
        assert_eq!(ours.proxy_command.unwrap_or_default(), one("proxycommand").unwrap_or_default(), "{host}");
        let strict = |word: &str| {
            match word {
                "yes" | "true" => "true",
                "no" | "off" | "false" => "false",
                other => other,
            }
            .to_owned()
        };
        assert_eq!(strict(ours.strict.as_deref().unwrap_or("ask")), strict(one("stricthostkeychecking").unwrap()), "{host}");
        assert_eq!(ours.identities_only.unwrap_or(false), one("identitiesonly").unwrap() == "yes", "{host}");
        // `ssh -G` shows names of files as they are written.
        let plain = |paths: &[PathBuf]| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>();
        let expand = |text: &str| tilde(text, home).display().to_string();
        if !ours.identity_files.is_empty() {
            assert_eq!(
                plain(&ours.identity_files),
                theirs["identityfile"].iter().map(|f| expand(f)).collect::<Vec<_>>(),
                "{host}"
            );
        }
        if let Some(known) = &ours.known_hosts {
            assert_eq!(plain(known), one("userknownhostsfile").unwrap().split(' ').map(expand).collect::<Vec<_>>(), "{host}");
        }
    }

    const CONFIG: &str = r#"
# A comment
IdentityFile ~/.ssh/first
Host bench-? !bench-9
    HostName = 10.0.0.%h
    Port 2200
    Port 2201
    user "bench user"
Host=bench-*
    HostName %h.lab.example # not part of it
    User other
    IdentityFile "/keys/with space"
    IdentityFile /keys/bench
    ConnectTimeout 1m30s
HOST gate gate.* "quoted"
    ProxyJump none
    UserKnownHostsFile /known/gate ~/known/two
    StrictHostKeyChecking accept-new
    IdentitiesOnly yes
Host through
    ProxyJump jumper@gate:2022,second
    ProxyCommand nc %h %p
Host command
    ProxyCommand ssh -W "%h:%p" gate  # stays, as it is the shell's
    ProxyJump gate
Match host *.lab.example user other
    Port 7
Match originalhost bench-5,bench-9
    ConnectTimeout 5
Match all
    StrictHostKeyChecking yes
    LogLevel ERROR
    SomethingNew true
Host *
    User last
    ConnectTimeout 20
"#;

    #[test]
    fn says_what_openssh_says() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        std::fs::write(&config, CONFIG.replace("SomethingNew true", "IgnoreUnknown *")).unwrap();
        for host in [
            "bench-1",
            "bench-5",
            "bench-9",
            "bench-10",
            "gate",
            "gate.x",
            "quoted",
            "through",
            "command",
            "elsewhere",
            "BENCH-1",
        ] {
            check(&config, host, None);
            check(&config, host, Some("other"));
        }
    }

    #[test]
    fn includes_count_where_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("conf.d")).unwrap();
        let d = dir.path().display();
        let main =
            format!("Host a b\n User outer\n Include {d}/conf.d/*.conf {d}/none\n Port 3\nHost *\n Include {d}/last\n Port 9\n");
        std::fs::write(at("config"), main).unwrap();
        std::fs::write(at("conf.d/1.conf"), "Port 1\nHost b\n Port 2\n HostName in.b\nHost c\n HostName never\n").unwrap();
        std::fs::write(at("conf.d/2.conf"), "Host a\n HostName in.a\n").unwrap();
        std::fs::write(at("conf.d/.hidden.conf"), "HostName hidden\n").unwrap();
        std::fs::write(at("last"), "User last\n").unwrap();
        for host in ["a", "b", "c", "d"] {
            check(&at("config"), host, None);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        let query = Query { host: "a", user: None, port: None, local_user: "me", home: dir.path() };
        let why = |text: &str| {
            std::fs::write(&config, text).unwrap();
            let error = SshConfig::read(&config, dir.path()).and_then(|c| c.answer(&query)).unwrap_err();
            assert_eq!(error.details().places.len(), 1);
            error.message().replace(&config.display().to_string(), "FILE")
        };
        assert_eq!(why("Host a\n Port x\n"), "port in FILE:2 has \"x\" for a port");
        assert_eq!(why("Host a\n\n Port\n"), "FILE:3: `port` has no value");
        assert_eq!(why("User \"x\n"), "FILE:1: a quote is not closed");
        assert_eq!(why("ConnectTimeout soon"), "connecttimeout in FILE:1 has \"soon\" for a time");
        assert_eq!(
            why("Match exec \"true\"\n User x\n"),
            "FILE:1: `Match exec` cannot be decided here; opsrun knows all, host, originalhost, user and localuser"
        );
        assert_eq!(
            why(&format!("Include {}\n", config.display())),
            "FILE:1: files include each other too deep: is there a circle?"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,200}", value in "\\PC{0,40}") {
            let dir = tempfile::tempdir().unwrap();
            let config = dir.path().join("config");
            for text in [text, format!("Host *\nHostName {value}\nIdentityFile {value}\nProxyJump {value}\nMatch host {value}\n")] {
                std::fs::write(&config, text).unwrap();
                let query = Query { host: &value, user: Some(&value), port: Some(1), local_user: "me", home: dir.path() };
                let _ = SshConfig::read(&config, dir.path()).and_then(|c| c.answer(&query));
            }
        }
    }
}
