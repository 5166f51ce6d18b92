//! What a node answered to a reading, as what is known of it.

use super::read::{LARGEST_CONTENT, Reading, sysctl_file};
use super::{Known, PathKind, PathState, UnitState, UserState};
use crate::base::error::{Error, Kind, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::{BTreeMap, BTreeSet};

/// What was asked for by name; `None` where there is no such thing.
type Named<T> = BTreeMap<String, Option<T>>;

/// An answer in its sections: the words of each one's first line, and what came under it.
pub(super) struct Answer<'a> {
    sections: Vec<(Vec<&'a str>, &'a [u8])>,
}

impl<'a> Answer<'a> {
    pub fn new(bytes: &'a [u8], nonce: &str) -> Self {
        let mark = format!("\n@{nonce} ");
        let mut starts: Vec<usize> = memchr::memmem::find_iter(bytes, &mark).collect();
        starts.push(bytes.len());
        let section = |pair: &[usize]| {
            let [from, to] = pair else { return None };
            let text = bytes.get(from + mark.len()..*to)?;
            let (head, body) = match memchr::memchr(b'\n', text) {
                Some(end) => (&text[..end], &text[end + 1..]),
                None => (text, &[][..]),
            };
            Some((std::str::from_utf8(head).ok()?.split_whitespace().collect(), body))
        };
        Self { sections: starts.windows(2).filter_map(section).collect() }
    }

    /// The bodies of the sections that begin with these words.
    fn all(&self, words: &[&str]) -> impl Iterator<Item = &'a [u8]> {
        self.sections.iter().filter(|(head, _)| head.starts_with(words)).map(|(_, body)| *body)
    }

    /// The same as text.
    fn text(&self, words: &[&str]) -> String {
        self.all(words).map(String::from_utf8_lossy).collect()
    }

    /// Whether the answer is whole.
    pub fn is_whole(&self) -> bool {
        self.all(&["end"]).next().is_some()
    }

    /// The lines of a section.
    pub fn lines(&self, words: &[&str]) -> Vec<String> {
        self.text(words).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// All that was to be read; what the node has no answer to is not there.
    pub fn known(&self, asked: &Reading) -> Result<Known> {
        let (packages, offers) = self.packages(asked);
        let (users, groups) = self.accounts(asked);
        let known = Known {
            paths: self.paths(asked)?,
            contents: self.contents(asked),
            packages,
            offers,
            units: self.units(asked),
            users,
            groups,
            sysctls: self.sysctls(asked),
            mounts: self.mounts(asked),
            tests: self.tests(asked),
            outputs: self.outputs(asked),
        };
        Ok(known)
    }

    fn paths(&self, asked: &Reading) -> Result<Named<PathState>> {
        let hashes = self.hashes();
        let mut found = BTreeMap::new();
        for section in self.all(&["paths"]) {
            let mut fields = section.split(|b| *b == 0);
            let mut root = false;
            while let (Some(stat), Some(target)) = (fields.next(), fields.next()) {
                let (path, state) = path_state(&String::from_utf8_lossy(stat), &String::from_utf8_lossy(target))?;
                root |= path == "/";
                found.insert(path, state);
            }
            if !root {
                return Err(Error::new(Kind::Command, "its find does not understand -printf")
                    .hint("Roles need the GNU tools: Debian, Ubuntu, Fedora and their kin have them."));
            }
        }
        let state = |path: &String| {
            let state = found.get(path).cloned();
            state.map(|state| PathState { sha256: hashes.get(path).cloned(), ..state })
        };
        Ok(asked.paths.iter().map(|path| (path.clone(), state(path))).collect())
    }

    /// `sha256sum` marks lines whose name it had to escape with a backslash.
    fn hashes(&self) -> BTreeMap<String, String> {
        let text = self.text(&["hashes"]);
        let hash = |line: &str| match line.strip_prefix('\\') {
            Some(escaped) => escaped.split_once("  ").map(|(hash, name)| (unescape(name), hash.to_owned())),
            None => line.split_once("  ").map(|(hash, name)| (name.to_owned(), hash.to_owned())),
        };
        text.lines().filter_map(hash).collect()
    }

    fn contents(&self, asked: &Reading) -> Named<Vec<u8>> {
        let content = |number: usize| {
            let section = self.all(&["content", &number.to_string()]).next()?;
            decode(section).filter(|content| content.len() <= LARGEST_CONTENT)
        };
        let read = asked.contents.iter().enumerate().map(|(number, (path, _))| (path.clone(), content(number)));
        read.chain(asked.unread.iter().map(|path| (path.clone(), None))).collect()
    }

    fn packages(&self, asked: &Reading) -> (Named<String>, Named<String>) {
        let text = self.text(&["packages"]);
        let installed = |name: &String| {
            let mark = format!("@{name}:");
            let is = |line: &&str| {
                let state = line.split_once(mark.as_str()).map(|(_, state)| state.as_bytes());
                // Wanted in any way, installed, without error: `ii `, `hi `.
                matches!(state, Some([_, b'i', b' ', b'@', ..]))
            };
            text.lines().find(is).and_then(|line| line.split_once(" @")).map(|(version, _)| version.to_owned())
        };
        let packages: BTreeMap<_, _> = asked.packages.iter().map(|name| (name.clone(), installed(name))).collect();
        let mut offered = self.offered_by_apt();
        offered.extend(self.offered_by_dnf());
        let missing = packages.iter().filter(|(_, version)| version.is_none()).map(|(name, _)| name);
        let offers = missing.chain(&asked.offers).map(|name| (name.clone(), offered.get(name).cloned())).collect();
        (packages, offers)
    }

    /// `apt-cache policy`: a name and a colon, then indented lines, one of them `Candidate: VERSION`.
    fn offered_by_apt(&self) -> BTreeMap<String, String> {
        let mut offered = BTreeMap::new();
        let mut name = String::new();
        for line in self.text(&["offers", "apt"]).lines() {
            match line.trim_start().strip_prefix("Candidate: ") {
                Some("(none)") => {}
                Some(version) => drop(offered.insert(name.clone(), version.to_owned())),
                None if line.starts_with(' ') => {}
                None => line.trim_end_matches(':').clone_into(&mut name),
            }
        }
        offered
    }

    fn offered_by_dnf(&self) -> BTreeMap<String, String> {
        let offer = |line: &str| {
            let (version, name) = line.trim_end_matches('@').split_once(" @")?;
            Some((name.split(':').next()?.to_owned(), version.to_owned()))
        };
        self.text(&["offers", "dnf"]).lines().filter_map(offer).collect()
    }

    /// One block a unit, in the order in which they were asked for: a unit may answer under another name.
    fn units(&self, asked: &Reading) -> BTreeMap<String, UnitState> {
        let text = self.text(&["units"]);
        let mut blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()).map(unit_state);
        // Without systemd nothing is known of any.
        let unmet = self.lines(&["unmet"]);
        let mut state = |unit: &String| UnitState { unmet: unmet.contains(unit), ..blocks.next().unwrap_or_default() };
        asked.units.iter().map(|unit| (unit.clone(), state(unit))).collect()
    }

    fn accounts(&self, asked: &Reading) -> (Named<UserState>, Named<BTreeSet<String>>) {
        let lines = self.lines(&["memberships"]).into_iter().chain(self.lines(&["groups"]));
        let all: BTreeMap<String, (u32, BTreeSet<String>)> = lines
            .filter_map(|line| {
                let mut fields = line.split(':');
                let (name, gid) = (fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?);
                let members = fields.next()?.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
                Some((name, (gid, members)))
            })
            .collect();
        let mut users: Named<UserState> = asked.users.iter().map(|user| (user.clone(), None)).collect();
        for line in self.lines(&["users"]) {
            if let Some((name, state)) = user_state(&line, &all)
                && let Some(user) = users.get_mut(&name)
            {
                *user = Some(state);
            }
        }
        let members = |group: &String| all.get(group).map(|(_, members)| members.clone());
        (users, asked.groups.iter().map(|group| (group.clone(), members(group))).collect())
    }

    fn sysctls(&self, asked: &Reading) -> Named<String> {
        let lines = self.lines(&["sysctls"]);
        let value = |name: &String| {
            let file = format!("{}:", sysctl_file(name));
            let of: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&file)).collect();
            (!of.is_empty()).then(|| of.join("\n"))
        };
        asked.sysctls.iter().map(|name| (name.clone(), value(name))).collect()
    }

    /// The last one mounted on a path is what is seen there.
    fn mounts(&self, asked: &Reading) -> Named<(String, String, String)> {
        let mounted: BTreeMap<String, (String, String, String)> = self
            .lines(&["mounts"])
            .iter()
            .filter_map(|line| {
                let mut fields = line.split(' ').map(unescape);
                let (source, path) = (fields.next()?, fields.next()?);
                Some((path, (source, fields.next()?, fields.next()?)))
            })
            .collect();
        asked.mounts.iter().map(|path| (path.clone(), mounted.get(path).cloned())).collect()
    }

    fn tests(&self, asked: &Reading) -> BTreeMap<String, bool> {
        let succeeds = |number: usize| self.all(&["test", &number.to_string(), "0"]).next().is_some();
        asked.tests.iter().enumerate().map(|(number, test)| (test.clone(), succeeds(number))).collect()
    }

    fn outputs(&self, asked: &Reading) -> BTreeMap<String, (u8, Vec<u8>)> {
        let output = |number: usize| {
            let number = number.to_string();
            let code =
                self.sections.iter().find(|(head, _)| head.starts_with(&["code", &number])).and_then(|(head, _)| head.get(2));
            let code = code.and_then(|code| code.parse().ok()).unwrap_or(u8::MAX);
            (code, self.all(&["output", &number]).next().and_then(decode).unwrap_or_default())
        };
        asked.outputs.iter().enumerate().map(|(number, command)| (command.clone(), output(number))).collect()
    }
}

/// A record of `find -printf '%y/%m/%s/%u/%g/%p'`; the path has slashes of its own.
fn path_state(stat: &str, target: &str) -> Result<(String, PathState)> {
    let strange = || Error::internal(format!("a path's state came back as {stat:?}"));
    let fields: Vec<&str> = stat.splitn(6, '/').collect();
    let &[kind, mode, size, owner, group, path] = fields.as_slice() else { return Err(strange()) };
    let kind = match kind {
        "f" => PathKind::File,
        "d" => PathKind::Directory,
        "l" => PathKind::Link,
        _ => PathKind::Other,
    };
    let state = PathState {
        kind,
        mode: u32::from_str_radix(mode, 8).map_err(|_| strange())?,
        owner: owner.to_owned(),
        group: group.to_owned(),
        size: size.parse().map_err(|_| strange())?,
        sha256: None,
        target: (kind == PathKind::Link).then(|| target.to_owned()),
    };
    Ok((path.to_owned(), state))
}

fn unit_state(block: &str) -> UnitState {
    let mut state = UnitState::default();
    for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "LoadState" => value.clone_into(&mut state.load),
            "ActiveState" => value.clone_into(&mut state.active),
            "UnitFileState" => value.clone_into(&mut state.enabled),
            "NeedDaemonReload" => state.needs_reload = value == "yes",
            _ => {}
        }
    }
    state
}

/// A line of passwd, with the groups that the user is in.
fn user_state(line: &str, groups: &BTreeMap<String, (u32, BTreeSet<String>)>) -> Option<(String, UserState)> {
    let fields: Vec<&str> = line.split(':').collect();
    let &[name, _, uid, gid, comment, home, shell] = fields.as_slice() else { return None };
    let gid = gid.parse().ok()?;
    let of = groups.iter().filter(|(_, (id, members))| *id == gid || members.contains(name));
    let state = UserState {
        uid: uid.parse().ok()?,
        gid,
        comment: comment.to_owned(),
        home: home.to_owned(),
        shell: shell.to_owned(),
        groups: of.map(|(group, _)| group.clone()).collect(),
    };
    Some((name.to_owned(), state))
}

fn decode(section: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = section.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}

/// `\n`, `\\`, and the octal `\040` of mounts.
fn unescape(text: &str) -> String {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        let (byte, length) = match (first, tail.first(), octal) {
            (b'\\', _, Some(byte)) => (byte, 3),
            (b'\\', Some(b'n'), _) => (b'\n', 1),
            (b'\\', Some(b'r'), _) => (b'\r', 1),
            (b'\\', Some(b'\\'), _) => (b'\\', 1),
            _ => (first, 0),
        };
        out.push(byte);
        rest = tail.get(length..).unwrap_or_default();
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Fact;
    use super::super::program::Program;
    use super::*;
    use crate::base::checksum::sha256;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::{Command, Stdio};

    /// Asks this machine, through the program that nodes are given.
    fn ask(shell: &str, facts: &[Fact], diff: bool) -> Known {
        let reading = Reading::new(facts, diff);
        let mut program = Program::new();
        program.read(&reading, None);
        let (command, input) = program.command(false);
        let mut child = Command::new(shell);
        let mut child = child.args(["-c", &command.line]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&input.concat()).unwrap();
        let out = child.wait_with_output().unwrap();
        let answer = Answer::new(&out.stdout, &program.nonce);
        assert!(answer.is_whole(), "{out:?}");
        answer.known(&reading).unwrap()
    }

    #[test]
    fn paths_of_any_name_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let names = ["plain", "two words", "-rf", "it's \"q\" $(x)", "line\nbreak", "back\\slash\\n", "wörld ☃", "*", "a/b"];
        for name in &names[..names.len() - 1] {
            std::fs::write(at(name), name).unwrap();
        }
        std::fs::create_dir(at("a")).unwrap();
        std::fs::set_permissions(at("a"), std::fs::Permissions::from_mode(0o1750)).unwrap();
        for (link, target) in [("to file", "two words"), ("to nothing", "../no\nwhere -> x"), ("zz", "/etc")] {
            symlink(target, at(link)).unwrap();
        }
        std::fs::set_permissions(at("plain"), std::fs::Permissions::from_mode(0o4640)).unwrap();
        let mut paths: Vec<String> = names.iter().map(|n| at(n)).collect();
        paths.extend(["a", "to file", "to nothing", "zz", "missing", "plain/no"].map(at));
        paths.extend(["/", "/dev/null"].map(str::to_owned));
        let facts: Vec<Fact> = paths.iter().cloned().map(Fact::Path).collect();
        for shell in ["sh", "bash"] {
            let known = ask(shell, &facts, false).paths;
            assert_eq!(known.len(), paths.len());
            for name in &names[..names.len() - 1] {
                let state = known[&at(name)].as_ref().unwrap_or_else(|| panic!("{name}"));
                assert_eq!((state.kind, state.size), (PathKind::File, name.len() as u64), "{name}");
                assert_eq!(state.sha256, Some(sha256(name)), "{name}");
            }
            let state = |name: &str| known[&at(name)].clone();
            assert_eq!(state("plain").unwrap().mode, 0o4640);
            assert_eq!(state("plain").unwrap().owner, std::env::var("USER").unwrap_or_else(|_| "root".to_owned()));
            assert_eq!((state("a").unwrap().kind, state("a").unwrap().mode), (PathKind::Directory, 0o1750));
            assert_eq!(state("to file").unwrap().target.as_deref(), Some("two words"));
            assert_eq!(state("to file").unwrap().sha256, None);
            assert_eq!(state("to nothing").unwrap().target.as_deref(), Some("../no\nwhere -> x"));
            assert_eq!((state("missing"), state("plain/no"), state("a/b")), (None, None, None));
            assert_eq!(known["/"].as_ref().unwrap().kind, PathKind::Directory);
            assert_eq!(known["/dev/null"].as_ref().unwrap().kind, PathKind::Other);
        }
    }

    #[test]
    fn content_is_read_where_it_differs_and_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let large = vec![0; LARGEST_CONTENT + 1];
        let binary: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for (name, content) in
            [("binary", &binary[..]), ("empty", b""), ("same one", b"x"), ("no newline", b"a\nb"), ("large", &large)]
        {
            std::fs::write(at(name), content).unwrap();
        }
        symlink("binary", at("link")).unwrap();
        let content = |name: &str, unless: Option<&[u8]>| Fact::Content { path: at(name), unless: unless.map(sha256) };
        let facts = [
            content("binary", None),
            content("empty", Some(b"other")),
            content("same one", Some(b"x")),
            content("no newline", Some(b"x")),
            content("large", None),
            content("link", None),
            content("missing", None),
            content("missing", Some(b"x")),
        ];
        for shell in ["sh", "bash"] {
            let known = ask(shell, &facts, true).contents;
            let is = |name: &str| known[&at(name)].clone();
            assert_eq!(
                (is("binary"), is("empty"), is("no newline")),
                (Some(binary.clone()), Some(vec![]), Some(b"a\nb".to_vec()))
            );
            assert_eq!((is("same one"), is("large"), is("link"), is("missing")), (None, None, None, None));
            let undiffed = ask(shell, &facts, false).contents;
            assert_eq!((undiffed[&at("binary")].as_ref(), undiffed[&at("empty")].as_ref()), (Some(&binary), None));
        }
    }

    #[test]
    fn commands_are_asked_whatever_they_do() {
        let tests = [
            "true",
            "false",
            "exit 0",
            "exit 3",
            "echo 'x",
            "cat; [ -z \"$1\" ]",
            "o_n=x; printf '\n@x end\n'",
            "nonsense-command",
            "head -c 9999999 /dev/zero",
        ];
        let outputs = [
            "printf 'a\\nb'",
            "printf 'x\\000\\377'; exit 7",
            "(",
            "head -c 3000000 /dev/zero",
            "cat",
            "echo err >&2",
            "seq 2; exit 1 #",
        ];
        let mut facts: Vec<Fact> = tests.iter().map(|t| Fact::Test((*t).to_owned())).collect();
        facts.extend(outputs.iter().map(|o| Fact::Output((*o).to_owned())));
        for shell in ["sh", "bash"] {
            let known = ask(shell, &facts, false);
            assert_eq!(tests.map(|t| known.tests[t]), [true, false, true, false, false, true, true, false, true], "{shell}");
            let is = |command: &str| known.outputs[command].clone();
            assert_eq!(is(outputs[0]), (0, b"a\nb".to_vec()));
            assert_eq!(is(outputs[1]), (7, b"x\0\xff".to_vec()));
            assert!(is(outputs[2]).0 > 0 && is(outputs[2]).1.is_empty());
            assert_eq!(is(outputs[3]).1.len(), LARGEST_CONTENT);
            assert_eq!((is(outputs[4]), is(outputs[5])), ((0, vec![]), (0, vec![])));
            assert_eq!(is(outputs[6]), (1, b"1\n2\n".to_vec()));
        }
    }

    #[test]
    fn accounts_settings_and_mounts_of_this_machine() {
        let of = |facts: &[Fact]| ask("sh", facts, false);
        let known = of(&[
            Fact::User("root".into()),
            Fact::User("no such user".into()),
            Fact::Group("root".into()),
            Fact::Group("-x".into()),
            Fact::Sysctl("kernel.ostype".into()),
            Fact::Sysctl("net.ipv4.tcp_rmem".into()),
            Fact::Sysctl("no.such.thing".into()),
            Fact::Mount("/proc".into()),
            Fact::Mount("/no such".into()),
            Fact::Package("no-such-package".into()),
            Fact::Unit("a b.service".into()),
            Fact::Unit("nothing.service".into()),
        ]);
        let root = known.users["root"].as_ref().unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
        assert!(root.groups.contains("root") && known.groups["root"].is_some());
        assert_eq!((&known.users["no such user"], &known.groups["-x"]), (&None, &None));
        assert_eq!(known.sysctls["kernel.ostype"].as_deref(), Some("Linux"));
        assert_eq!(known.sysctls["net.ipv4.tcp_rmem"].as_ref().unwrap().split_whitespace().count(), 3);
        assert_eq!(known.sysctls["no.such.thing"], None);
        assert_eq!(known.mounts["/proc"].as_ref().unwrap().1, "proc");
        assert_eq!(known.mounts["/no such"], None);
        assert_eq!((&known.packages["no-such-package"], &known.offers["no-such-package"]), (&None, &None));
        assert_eq!(known.units.len(), 2);
    }

    /// What tools print, kept here to the letter.
    #[test]
    fn packages_and_units_as_the_tools_print_them() {
        let text = "\n@N packages\n\
            1.2-3 @nginx:ii @nginx:amd64:ii @\n\
            2:4.0 @held:hi @held:amd64:hi @\n\
            @gone:rc @gone:amd64:rc @\n\
            5.1 @half:iF @half:amd64:iF @\n\
            package nope is not installed\n\
            1:2.3-4.fc40 @bash:ii @bash.x86_64:ii @\n\
            \n@N offers apt\ngone:\n  Installed: (none)\n  Candidate: 9-1\n  Version table:\n     9-1 500\n        500 http://x bookworm/main amd64 Packages\nvirtual:\n  Installed: (none)\n  Candidate: (none)\n\
            \n@N offers dnf\n1.0-2.fc40 @newer:x86_64@\n\
            \n@N units\nId=ssh.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=yes\n\n\
            Unit=\n\nUnit=\nId=x.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\nNeedDaemonReload=no\n\n\
            \n@N unmet\nc\n\
            \n@N memberships\nstaff:x:50:bob,alice\nbob:x:1000:\nsudo:x:27:alice\n\
            \n@N users\nbob:x:1000:1000:Bob B,,,:/home/bob:/bin/bash\n\
            \n@N mounts\n/dev/sda1 /mnt/my\\040disk ext4 ro 0 0\n/dev/sdb1 /mnt/my\\040disk xfs rw,noatime 0 0\n\n@N end\n";
        let answer = Answer::new(text.as_bytes(), "N");
        let names = ["nginx", "nginx:amd64", "held", "gone", "half", "nope", "bash", "bash.x86_64", "virtual", "ngin"];
        let mut facts: Vec<Fact> = names.iter().map(|n| Fact::Package((*n).to_owned())).collect();
        facts.extend(["newer", "gone"].map(|n| Fact::Offer(n.to_owned())));
        facts.extend(["a", "b", "c", "d"].map(|u| Fact::Unit(u.to_owned())));
        facts.push(Fact::User("bob".into()));
        facts.push(Fact::Group("staff".into()));
        facts.push(Fact::Mount("/mnt/my disk".into()));
        let known = answer.known(&Reading::new(&facts, false)).unwrap();
        let installed = names.map(|n| known.packages[n].as_deref());
        let nginx = Some("1.2-3");
        let bash = Some("1:2.3-4.fc40");
        assert_eq!(installed, [nginx, nginx, Some("2:4.0"), None, None, None, bash, bash, None, None]);
        let offers = ["gone", "newer", "virtual", "nope"].map(|n| known.offers[n].as_deref());
        assert_eq!(offers, [Some("9-1"), Some("1.0-2.fc40"), None, None]);
        assert!(!known.offers.contains_key("nginx"));
        let units = ["a", "b", "c", "d"].map(|u| known.units[u].clone());
        assert_eq!((units[0].active.as_str(), units[0].needs_reload), ("active", true));
        assert_eq!((&units[1], &units[3]), (&UnitState::default(), &UnitState::default()));
        assert_eq!(units[2].load, "not-found");
        assert_eq!(units.map(|u| u.unmet), [false, false, true, false]);
        let bob = known.users["bob"].as_ref().unwrap();
        assert_eq!(bob.groups, ["bob", "staff"].map(str::to_owned).into());
        assert_eq!(known.groups["staff"], Some(["alice", "bob"].map(str::to_owned).into()));
        assert_eq!(known.mounts["/mnt/my disk"].as_ref().unwrap().1, "xfs");
    }
}
