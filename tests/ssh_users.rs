//! Logged in as an ordinary user, and working as root and as others through sudo.

#[path = "common/sshd.rs"]
mod sshd;

use opsrun::base::command::Command;
use opsrun::base::endpoint::Endpoint;
use opsrun::base::error::Kind;
use opsrun::base::event::Cx;
use opsrun::transport::ssh::{Client, GetOptions, MirrorOptions, PutOptions, Settings};
use sshd::Sshd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An account of this machine that may become anybody, for as long as this lives.
struct Account {
    name: String,
}

fn system(program: &str, words: &[&str]) -> bool {
    std::process::Command::new(program).args(words).stderr(std::process::Stdio::null()).status().is_ok_and(|s| s.success())
}

impl Account {
    fn new(shell: &str) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        assert!(Path::new("/usr/bin/sudo").exists(), "this test needs sudo: apt-get install -y sudo");
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let account = Self { name: format!("opsrun{}x{count}", std::process::id()) };
        assert!(system("useradd", &["-m", "-p", "*", "-s", shell, &account.name]), "this test makes accounts: run it as root");
        std::fs::write(account.sudoers(), format!("{} ALL=(ALL) NOPASSWD: ALL\n", account.name)).unwrap();
        std::fs::set_permissions(account.sudoers(), PermissionsExt::from_mode(0o440)).unwrap();
        account
    }

    fn sudoers(&self) -> PathBuf {
        Path::new("/etc/sudoers.d").join(&self.name)
    }

    fn home(&self) -> PathBuf {
        Path::new("/home").join(&self.name)
    }

    fn endpoint(&self, sshd: &Sshd) -> Endpoint {
        std::fs::set_permissions(sshd.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Endpoint { user: self.name.clone(), ..sshd.endpoint() }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.sudoers());
        system("pkill", &["-KILL", "-u", &self.name]);
        for _ in 0..50 {
            if system("userdel", &["-r", &self.name]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn client() -> Client {
    Client::new(Settings { agent: None, ..Settings::default() })
}

fn alive(word: &str) -> bool {
    let listed = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
    String::from_utf8_lossy(&listed.stdout).lines().any(|l| l.starts_with(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_as_anybody_and_end_for_everybody() {
    let (sshd, account) = (Sshd::start(), Account::new("/bin/bash"));
    let (client, endpoint, cx) = (client(), account.endpoint(&sshd), Cx::quiet());
    let who = Command::new("echo $(id -un) $HOME $COLOUR; cat").stdin(&b"in"[..]);
    let who = Command { env: vec![("COLOUR".into(), "deep blue".into())], ..who };
    let root = Command { sudo: true, ..who.clone() };
    let other = Command { user: Some("daemon".to_owned()), ..who.clone() };
    let said = async |command: &Command| {
        let output = client.run(&endpoint, command, false, &cx).await.unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&who).await, format!("{} {} deep blue\nin", account.name, account.home().display()));
    assert_eq!(said(&root).await, "root /root deep blue\nin");
    assert!(said(&other).await.starts_with("daemon "));
    let missing = Command { user: Some("no-such-user".to_owned()), ..Command::new("true") };
    let output = client.run(&endpoint, &missing, false, &cx).await.unwrap();
    assert!(output.failure("true").unwrap().details().stderr.as_deref().unwrap().contains("no-such-user"));
    for (n, (sudo, user)) in [(false, None), (true, None), (false, Some("daemon".to_owned()))].into_iter().enumerate() {
        for trap in ["", "trap '' TERM; "] {
            let word = format!("sleep 66{n}.{}", std::process::id());
            let line = format!("{trap}{word} & {word}; wait");
            let command = Command { sudo, user: user.clone(), timeout: Some(Duration::from_secs(1)), ..Command::new(line) };
            let error = client.run(&endpoint, &command, false, &cx).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Timeout);
            assert!(!alive(&word), "sudo {sudo}, user {user:?}, {trap:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_carried_with_roots_rights_and_owners() {
    let (sshd, account) = (Sshd::start(), Account::new("/bin/sh"));
    let (client, endpoint, cx) = (client(), account.endpoint(&sshd), Cx::quiet());
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let path = |name: &str| closed.join(name).to_str().unwrap().to_owned();
    let owner = |name: &str| {
        let meta = std::fs::metadata(closed.join(name)).unwrap();
        (meta.uid(), meta.mode() & 0o7777)
    };
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let error = client.write(&endpoint, &path("a"), "a", &PutOptions::default(), &cx).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transfer);
    assert!(error.message().contains("Permission denied"), "{error}");
    assert!(error.details().hints.iter().any(|h| h.contains("sudo")));
    let sudo = PutOptions { sudo: true, ..PutOptions::default() };
    client.write(&endpoint, &path("a"), "a", &sudo, &cx).await.unwrap();
    assert_eq!(owner("a"), (0, 0o644));
    let daemon = PutOptions { owner: Some("daemon:daemon".to_owned()), mode: Some(0o600), ..sudo.clone() };
    client.write(&endpoint, &path("b"), "b", &daemon, &cx).await.unwrap();
    assert_eq!(owner("b"), (1, 0o600));
    // Written again, a file keeps whom it belongs to and what it allows.
    client.write(&endpoint, &path("b"), "bb", &sudo, &cx).await.unwrap();
    assert_eq!((owner("b"), std::fs::read(closed.join("b")).unwrap()), ((1, 0o600), b"bb".to_vec()));
    let error = client.read(&endpoint, &path("b"), &GetOptions::default(), &cx).await.unwrap_err();
    assert!(error.message().contains("Permission denied"), "{error}");
    let get = GetOptions { sudo: true, user: None };
    assert_eq!(client.read(&endpoint, &path("b"), &get, &cx).await.unwrap(), b"bb");
    let as_daemon = GetOptions { sudo: false, user: Some("daemon".to_owned()) };
    assert_eq!(client.read(&endpoint, &path("b"), &as_daemon, &cx).await.unwrap(), b"bb");
    // Trees.
    let here = dir.path().join("here");
    std::fs::create_dir_all(here.join("sub")).unwrap();
    std::fs::write(here.join("sub/file"), "x").unwrap();
    client
        .put(&endpoint, &here, &path("tree"), &PutOptions { owner: Some("daemon".to_owned()), ..sudo.clone() }, &cx)
        .await
        .unwrap();
    for name in ["tree", "tree/sub", "tree/sub/file"] {
        assert_eq!(owner(name).0, 1, "{name}");
    }
    std::fs::write(here.join("sub/more"), "y").unwrap();
    let mirror = MirrorOptions { sudo: true, ..MirrorOptions::default() };
    assert_eq!(client.mirror(&endpoint, &here, &path("tree"), &mirror, &cx).await.unwrap().sent, 1);
    assert_eq!((owner("tree/sub/more").0, owner("tree/sub").0), (0, 1));
    let back = dir.path().join("back");
    std::fs::set_permissions(closed.join("tree"), PermissionsExt::from_mode(0o700)).unwrap();
    assert!(client.get(&endpoint, &path("tree"), &back, &GetOptions::default(), &cx).await.is_err());
    client.get(&endpoint, &path("tree"), &back, &get, &cx).await.unwrap();
    assert_eq!(std::fs::read(back.join("sub/more")).unwrap(), b"y");
    // Relative paths and ~ are the login user's, whoever writes there.
    client.write(&endpoint, "~/mine", "m", &PutOptions::default(), &cx).await.unwrap();
    assert_eq!(std::fs::read(account.home().join("mine")).unwrap(), b"m");
    client.write(&endpoint, "sub/roots", "r", &sudo, &cx).await.unwrap();
    assert_eq!(std::fs::metadata(account.home().join("sub/roots")).unwrap().uid(), 0);
}
