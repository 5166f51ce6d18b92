//! Host keys: known_hosts files in OpenSSH's format, strict or pinned at first contact.
//!
//! Hosts that are known only through a certificate authority (`@cert-authority`) are not known to us.

use crate::base::endpoint::{Endpoint, HostKeyPolicy};
use crate::base::error::{Error, Kind, Location, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{KeyInit, Mac};
use nix::fcntl::{Flock, FlockArg};
use russh::keys::{Algorithm, HashAlg, PublicKey};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Every known_hosts file that was read, as it was when it was read.
#[derive(Default)]
pub(super) struct KnownHosts {
    files: Mutex<HashMap<PathBuf, (Stamp, Arc<File>)>>,
}

/// Tells whether a file has changed since.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self { inode: meta.ino(), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

/// One file, indexed so that a thousand hosts do not each read a thousand lines.
#[derive(Clone, Default)]
struct File {
    /// How many lines of text the file has.
    length: usize,
    lines: Vec<Line>,
    /// Lines whose host is a plain name, by that name.
    named: HashMap<String, Vec<usize>>,
    /// Lines with hashes, wildcards or negations: these must be tried one by one.
    others: Vec<usize>,
}

#[derive(Clone)]
struct Line {
    number: usize,
    revoked: bool,
    hosts: String,
    key: PublicKey,
}

impl File {
    fn parse(text: &str) -> Self {
        let mut file = Self::default();
        text.lines().for_each(|line| file.add(line));
        file
    }

    /// Lines that make no sense are passed over, as OpenSSH does.
    fn add(&mut self, line: &str) {
        self.length += 1;
        let mut words = line.split_ascii_whitespace().peekable();
        let marker = words.next_if(|w| w.starts_with('@'));
        if marker.is_some_and(|m| m != "@revoked") {
            return;
        }
        let (Some(hosts), Some(_), Some(blob)) = (words.next(), words.next(), words.next()) else { return };
        if hosts.starts_with('#') {
            return;
        }
        let Some(key) = BASE64_STANDARD.decode(blob).ok().and_then(|b| PublicKey::from_bytes(&b).ok()) else { return };
        let at = self.lines.len();
        if hosts.contains(['|', '*', '?', '!']) {
            self.others.push(at);
        } else {
            for host in hosts.split(',') {
                self.named.entry(host.to_ascii_lowercase()).or_default().push(at);
            }
        }
        self.lines.push(Line { number: self.length, revoked: marker.is_some(), hosts: hosts.to_owned(), key });
    }

    /// The lines about a host, by the name it has in such files.
    fn about<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Line> {
        let named = self.named.get(name).map(Vec::as_slice).unwrap_or_default();
        let others = self.others.iter().filter(move |&&at| matches(&self.lines[at].hosts, name));
        named.iter().chain(others).map(|&at| &self.lines[at])
    }
}

/// Whether a host field (`a,*.b,!c.b` or `|1|salt|hash`) is about a host.
fn matches(field: &str, name: &str) -> bool {
    let mut found = false;
    for pattern in field.split(',') {
        if let Some(rest) = pattern.strip_prefix("|1|") {
            found |= matches_hash(rest, name);
        } else if let Some(not) = pattern.strip_prefix('!') {
            if matches_wildcard(not.as_bytes(), name.as_bytes()) {
                return false;
            }
        } else {
            found |= matches_wildcard(pattern.as_bytes(), name.as_bytes());
        }
    }
    found
}

fn matches_hash(salt_and_hash: &str, name: &str) -> bool {
    let decoded = salt_and_hash
        .split_once('|')
        .and_then(|(salt, hash)| Some((BASE64_STANDARD.decode(salt).ok()?, BASE64_STANDARD.decode(hash).ok()?)));
    let Some((salt, hash)) = decoded else { return false };
    hmac::Hmac::<sha1::Sha1>::new_from_slice(&salt).is_ok_and(|mac| mac.chain_update(name).verify_slice(&hash).is_ok())
}

fn matches_wildcard(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skip| matches_wildcard(rest, &name[skip..])),
        Some((b'?', rest)) => name.split_first().is_some_and(|(_, name)| matches_wildcard(rest, name)),
        Some((c, rest)) => name.split_first().is_some_and(|(n, name)| n.eq_ignore_ascii_case(c) && matches_wildcard(rest, name)),
    }
}

/// What known_hosts files call a host: `name`, or `[name]:port` when the port is not 22.
pub(super) fn host_field(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

impl KnownHosts {
    fn file(&self, path: &Path) -> Result<Arc<File>> {
        let read = |e: &std::io::Error| Error::io("read the known hosts in", path, e);
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(e) => return Err(read(&e)),
        };
        let stamp = Stamp::of(&meta);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = files.get(path).filter(|(known, _)| *known == stamp) {
            return Ok(file.clone());
        }
        let bytes = std::fs::read(path).map_err(|e| read(&e))?;
        let file = Arc::new(File::parse(&String::from_utf8_lossy(&bytes)));
        files.insert(path.to_owned(), (stamp, file.clone()));
        Ok(file)
    }

    /// The algorithms of the keys known for an endpoint: to be asked for first, so that a host is not refused over a key
    /// of another type that nobody has seen.
    pub fn algorithms(&self, endpoint: &Endpoint) -> Result<Vec<Algorithm>> {
        let name = host_field(&endpoint.host, endpoint.port);
        let mut found = Vec::new();
        for path in &endpoint.known_hosts {
            for line in self.file(path)?.about(&name).filter(|line| !line.revoked) {
                let algorithm = line.key.algorithm();
                if !found.contains(&algorithm) {
                    found.push(algorithm);
                }
            }
        }
        Ok(found)
    }

    /// Accepts the key a host has shown, pinning it where that is the policy, or says why not.
    pub fn check(&self, endpoint: &Endpoint, key: &PublicKey) -> Result<()> {
        let name = host_field(&endpoint.host, endpoint.port);
        match self.judge(endpoint, &name, key)? {
            Verdict::Known => Ok(()),
            Verdict::Unknown if endpoint.host_keys == HostKeyPolicy::Pin => self.pin(endpoint, &name, key),
            Verdict::Unknown => Err(unknown(endpoint, &name, key)),
            Verdict::Changed { file, line, known } => Err(changed(endpoint, &name, key, &file, line, &known)),
            Verdict::Revoked { file, line } => Err(revoked(endpoint, key, &file, line)),
        }
    }

    fn judge(&self, endpoint: &Endpoint, name: &str, key: &PublicKey) -> Result<Verdict> {
        let mut known = false;
        let mut other = None;
        for path in &endpoint.known_hosts {
            for line in self.file(path)?.about(name) {
                let same = line.key.key_data() == key.key_data();
                if line.revoked && same {
                    return Ok(Verdict::Revoked { file: path.clone(), line: line.number });
                }
                if line.revoked {
                    continue;
                }
                known |= same;
                if !same && (other.is_none() || line.key.algorithm() == key.algorithm()) {
                    other = Some(Verdict::Changed { file: path.clone(), line: line.number, known: line.key.clone() });
                }
            }
        }
        Ok(if known { Verdict::Known } else { other.unwrap_or(Verdict::Unknown) })
    }

    /// Writes the key down, unless somebody else just wrote down another one for the same host.
    fn pin(&self, endpoint: &Endpoint, name: &str, key: &PublicKey) -> Result<()> {
        let Some(path) = endpoint.known_hosts.first() else {
            return Err(Error::new(Kind::Config, "there is no known_hosts file to pin the host key in"));
        };
        let failed = |e: std::io::Error| Error::io("write the host key to", path, &e);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let file = std::fs::File::options().create(true).append(true).read(true).mode(0o600).open(path).map_err(failed)?;
        let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failed(e.into()))?;
        let known = self.file(path)?;
        match self.judge(endpoint, name, key)? {
            Verdict::Unknown => {}
            Verdict::Known => return Ok(()),
            Verdict::Changed { file, line, known } => return Err(changed(endpoint, name, key, &file, line, &known)),
            Verdict::Revoked { file, line } => return Err(revoked(endpoint, key, &file, line)),
        }
        let public = PublicKey::new(key.key_data().clone(), "");
        let public = public.to_openssh().map_err(|e| Error::internal(format!("a host key cannot be written: {e}")))?;
        let line = format!("{name} {public}");
        let before = file.metadata().map_err(failed)?;
        let torn = before.size() > 0 && !ends_with_newline(&file, before.size()).map_err(failed)?;
        // One write of one line to a file opened for appending: readers see all of it or nothing.
        file.write_all(format!("{}{line}\n", if torn { "\n" } else { "" }).as_bytes()).map_err(failed)?;
        let after = Stamp::of(&file.metadata().map_err(failed)?);
        self.remember(path, Stamp::of(&before), after, known, &line);
        Ok(())
    }

    /// Keeps what was read in step with what was written, so that pinning many hosts does not read the file again for each.
    fn remember(&self, path: &Path, before: Stamp, after: Stamp, known: Arc<File>, line: &str) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let current = files.remove(path).is_none_or(|(stamp, _)| stamp == before);
        if current {
            let mut known = Arc::unwrap_or_clone(known);
            known.add(line);
            files.insert(path.to_owned(), (after, Arc::new(known)));
        }
    }
}

fn ends_with_newline(file: &std::fs::File, size: u64) -> std::io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut last = [0];
    file.read_exact_at(&mut last, size - 1)?;
    Ok(last == *b"\n")
}

enum Verdict {
    Known,
    Unknown,
    Changed { file: PathBuf, line: usize, known: PublicKey },
    Revoked { file: PathBuf, line: usize },
}

fn fingerprint(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

fn refused(message: String) -> Error {
    Error::new(Kind::HostKey, message)
}

fn unknown(endpoint: &Endpoint, name: &str, key: &PublicKey) -> Error {
    let error = refused(format!("the host key of {} is not known ({})", endpoint.address(), fingerprint(key)));
    let Some(file) = endpoint.known_hosts.first() else {
        return error.hint("No known_hosts file is given for this host, and only known host keys are accepted.");
    };
    let file = file.display();
    let scan = if endpoint.port == 22 { endpoint.host.clone() } else { format!("-p {} {}", endpoint.port, endpoint.host) };
    error
        .hint(format!("There is no line for {name} in {file}."))
        .hint(format!("Compare the fingerprint with the machine's own, then add the key: ssh-keyscan {scan} >> {file}"))
}

fn changed(endpoint: &Endpoint, name: &str, key: &PublicKey, file: &Path, line: usize, known: &PublicKey) -> Error {
    let path = file.display();
    refused(format!(
        "the host key of {} has changed: it shows {}, but {path}:{line} says {}",
        endpoint.address(),
        fingerprint(key),
        fingerprint(known)
    ))
    .at(Location::line(path.to_string(), line))
    .hint("Either another machine answers at this address (perhaps one that listens in), or this one was installed anew.")
    .hint(format!(
        "If you know that it was installed anew, forget the old key: ssh-keygen -R {} -f {}",
        crate::base::shell::quote(name),
        crate::base::shell::quote(&path.to_string())
    ))
}

fn revoked(endpoint: &Endpoint, key: &PublicKey, file: &Path, line: usize) -> Error {
    let path = file.display();
    refused(format!("the host key of {} is revoked in {path}:{line} ({})", endpoint.address(), fingerprint(key)))
        .at(Location::line(path.to_string(), line))
        .hint("Somebody marked this key as stolen: do not trust the machine that shows it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn endpoint(file: &Path, host: &str, port: u16, policy: HostKeyPolicy) -> Endpoint {
        Endpoint { known_hosts: vec![file.to_owned()], host_keys: policy, ..Endpoint::new("n", host, port, "root") }
    }

    #[test]
    fn strict_knows_names_ports_wildcards_and_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        // The hash is what `ssh-keygen -H` makes of example.com.
        let hashed = "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=";
        let text = format!(
            "# {A}\n\nnonsense\nplain,[other]:2222 {A} note\n*.lab,!bad.lab {A}\n{hashed} {A}\n@revoked gone {A}\n@cert-authority * {B}\n"
        );
        std::fs::write(&file, text).unwrap();
        let known = KnownHosts::default();
        let check = |host, port, k| known.check(&endpoint(&file, host, port, HostKeyPolicy::Strict), &key(k));
        for (host, port) in [("plain", 22), ("PLAIN", 22), ("other", 2222), ("x.lab", 22), ("example.com", 22)] {
            check(host, port, A).unwrap();
            let error = check(host, port, B).unwrap_err();
            assert!(error.message().contains("has changed") && error.message().contains("known_hosts:"), "{error}");
        }
        for (host, port) in [("other", 22), ("bad.lab", 22), ("plain", 2222), ("nobody", 22)] {
            let error = check(host, port, A).unwrap_err();
            assert_eq!(error.kind(), Kind::HostKey);
            assert!(error.message().contains("is not known"), "{error}");
        }
        assert!(check("gone", 22, A).unwrap_err().message().contains("revoked"));
        assert_eq!(known.algorithms(&endpoint(&file, "plain", 22, HostKeyPolicy::Strict)).unwrap(), [Algorithm::Ed25519]);
    }

    #[test]
    fn pins_each_host_once_however_many_ask() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/known_hosts");
        std::thread::scope(|scope| {
            for client in 0..4 {
                let file = &file;
                scope.spawn(move || {
                    let known = KnownHosts::default();
                    for host in 0..20 {
                        let host = format!("10.0.0.{}", (host + client * 5) % 20);
                        known.check(&endpoint(file, &host, 2222, HostKeyPolicy::Pin), &key(A)).unwrap();
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 20, "{text}");
        let known = KnownHosts::default();
        let error = known.check(&endpoint(&file, "10.0.0.3", 2222, HostKeyPolicy::Pin), &key(B)).unwrap_err();
        assert!(error.message().contains("has changed"), "{error}");
        known.check(&endpoint(&file, "10.0.0.3", 2222, HostKeyPolicy::Strict), &key(A)).unwrap();
    }

    #[test]
    fn pinning_after_a_line_without_its_end_starts_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        std::fs::write(&file, format!("first {A}")).unwrap();
        let known = KnownHosts::default();
        known.check(&endpoint(&file, "second", 22, HostKeyPolicy::Pin), &key(B)).unwrap();
        known.check(&endpoint(&file, "first", 22, HostKeyPolicy::Strict), &key(A)).unwrap();
        known.check(&endpoint(&file, "second", 22, HostKeyPolicy::Strict), &key(B)).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text in "(.|\n){0,80}", name in ".{0,12}") {
            let file = File::parse(&text);
            let _ = file.about(&name).count();
            let _ = matches(&text, &name);
        }
    }
}
