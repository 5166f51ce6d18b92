//! What can be said of kinds without a node. What they do on nodes is tried on machines: `tests/resources.rs`.

use super::super::{Fact, Known, PathKind, PathState, Resource, Verdict};
use super::*;
use std::time::Duration;

fn packages(names: &[&str]) -> Packages {
    Packages {
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        state: PackageState::Present,
        update: false,
        purge: false,
        recommends: None,
        lock_timeout: Duration::from_secs(1),
    }
}

#[test]
fn names_that_tools_would_misread_are_refused() {
    for good in ["nginx", "g++", "libstdc++6", "nginx=1.22.1-9+deb12u1", "libc6:amd64"] {
        packages(&[good]).check().unwrap();
    }
    for bad in ["", "-y", "nginx-", "a b", "a*", "nginx=", "nginx=-1", "../x", "Ä", "a\nb"] {
        assert!(packages(&[bad]).check().is_err(), "{bad:?}");
    }
    assert_eq!(unit_name("nginx").unwrap(), "nginx.service");
    assert_eq!(unit_name("app@1.2").unwrap(), "app@1.2.service");
    assert_eq!(unit_name("backup.timer").unwrap(), "backup.timer");
    for bad in ["", "-x", ".service", "a b", "a/b", "ä"] {
        assert!(unit_name(bad).is_err(), "{bad:?}");
    }
    for (name, good) in [("www-data", true), ("a.b", true), ("größe", true), ("-x", false), ("0", false), ("a:b", false)] {
        assert_eq!(account_name("user", name).is_ok(), good, "{name}");
    }
}

#[test]
fn keys_are_told_from_other_things() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbw== me@here";
    let text = format!("# mine\n\n{key}\ncommand=\"x y\",no-pty {key}\n");
    assert_eq!(public_keys(&text).unwrap().len(), 2);
    let private = public_keys("-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap_err();
    assert_eq!(private.message(), "that is a private key, which belongs on no node");
    assert!(public_keys("ssh-ed25519 hello").is_err());
}

#[test]
fn repositories_with_passwords_are_refused() {
    let git = |repository: &str| Git {
        repository: repository.to_owned(),
        path: "/srv/x".to_owned(),
        version: None,
        force: false,
        user: None,
    };
    for good in ["https://example.com/x.git", "git@example.com:x.git", "ssh://git@example.com/x", "/srv/git/x.git"] {
        git(good).check().unwrap();
    }
    for bad in ["", "-u", "https://me:secret@example.com/x.git", "relative", "https://x/\ny"] {
        let error = git(bad).check().unwrap_err();
        assert!(!error.message().contains("secret"), "{error}");
    }
}

#[test]
fn only_commits_of_what_a_repository_says_go_into_a_script() {
    let git = Git { repository: "ssh://x/y".to_owned(), path: "/srv/x".to_owned(), version: None, force: false, user: None };
    let look = git.needs().into_iter().find_map(|f| if let Fact::Output(look) = f { Some(look) } else { None }).unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let decide = |says: &str| {
        let mut known = Known::default();
        known.paths.extend([there("/srv", PathKind::Directory, None), ("/srv/x".to_owned(), None)]);
        known.outputs.insert(look.clone(), (0, format!("none\n0\nnone\n{says}").into_bytes()));
        git.decide(&known).unwrap()
    };
    // A server may greet whoever comes, on stderr.
    let Verdict::Change(change) = decide(&format!("$(reboot)\trefs/heads/main\n{commit}\tHEAD\n")) else { panic!("no change") };
    assert!(change.script.contains(commit) && !change.script.contains("reboot"), "{}", change.script);
    assert!(matches!(decide("$(reboot)\tHEAD\n"), Verdict::Blocked(_)));
}

/// The fact of a path, as a node would tell it.
fn there(path: &str, kind: PathKind, sha256: Option<&str>) -> (String, Option<PathState>) {
    let (owner, target) = ("root".to_owned(), None);
    let sha256 = sha256.map(str::to_owned);
    (path.to_owned(), Some(PathState { kind, mode: 0o644, group: owner.clone(), owner, size: 1, sha256, target }))
}

#[test]
fn a_setting_is_written_where_it_is_read() {
    // With slashes between its parts, dots are the name's own.
    let sysctl = Sysctl { name: "net/ipv4/conf/eth0.1/forwarding".to_owned(), value: Some("1".to_owned()) };
    sysctl.check().unwrap();
    let mut known = Known::default();
    let file = "/etc/sysctl.d/90-opsrun-net.ipv4.conf.eth0.1.forwarding.conf";
    known.paths.extend([there("/etc/sysctl.d", PathKind::Directory, None), (file.to_owned(), None)]);
    known.sysctls.insert(sysctl.name.clone(), Some("0".to_owned()));
    let Verdict::Change(change) = sysctl.decide(&known).unwrap() else { panic!("nothing to change") };
    assert!(change.script.contains(" >/proc/sys/net/ipv4/conf/eth0.1/forwarding;"), "{}", change.script);
}

#[test]
fn a_secret_is_in_no_diff() {
    let file = File { secret: true, ..File::new("/etc/token", b"hunter2".to_vec()) };
    assert!(!file.needs().iter().any(|f| matches!(f, Fact::Content { .. })), "nobody needs to read it");
    let mut known = Known::default();
    known.paths.extend([there("/etc", PathKind::Directory, None), there("/etc/token", PathKind::File, Some("another"))]);
    let Verdict::Change(change) = file.decide(&known).unwrap() else { panic!("nothing to change") };
    let diff = change.diff.unwrap();
    assert!(diff.secret && diff.before.is_none() && diff.after.is_none());
}

#[test]
fn what_is_not_text_or_large_is_carried_beside_the_script() {
    let mut known = Known::default();
    known.paths.extend([there("/etc", PathKind::Directory, None), ("/etc/x".to_owned(), None)]);
    for (content, beside) in [(b"text".to_vec(), false), (vec![0xff], true), (b"a\0b".to_vec(), true), (vec![b'x'; 40_000], true)]
    {
        let Verdict::Change(change) = File::new("/etc/x", content).decide(&known).unwrap() else { panic!("nothing to change") };
        assert_eq!(!change.uploads.is_empty(), beside);
    }
}

#[test]
fn commands_of_timers_reach_the_shell_as_they_are() {
    let timer = Timer {
        name: "t".to_owned(),
        on_calendar: "daily".to_owned(),
        command: "echo \"$HOME\" 100% \\n\n'x'".to_owned(),
        user: None,
        description: None,
        persistent: true,
        random_delay: None,
    };
    let text = timer.service_text();
    assert!(text.ends_with("ExecStart=/bin/sh -c \"echo \\\"$$HOME\\\" 100%% \\\\n\\n'x'\"\n"), "{text}");
}
