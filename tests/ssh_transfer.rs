//! Trees and faults of transfers, against a real OpenSSH server.

#[path = "common/sshd.rs"]
mod sshd;

use opsrun::base::error::Kind;
use opsrun::base::event::Cx;
use opsrun::transport::ssh::{Client, GetOptions, MirrorOptions, Mirrored, PutOptions, Settings};
use sshd::{CuttingProxy, Sshd};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

fn client() -> Client {
    Client::new(Settings::default())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Type, mode, time and content.
type Seen = (char, u32, (i64, i64), Vec<u8>);

/// Everything in a directory.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, Seen> {
    walkdir::WalkDir::new(root)
        .min_depth(1)
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            let time = (meta.mtime(), meta.mtime_nsec());
            let (kind, content) = match meta.file_type() {
                t if t.is_symlink() => ('l', std::fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().to_vec()),
                t if t.is_dir() => ('d', Vec::new()),
                _ => ('f', std::fs::read(entry.path()).unwrap()),
            };
            let time = if kind == 'l' { (0, 0) } else { time };
            (entry.path().strip_prefix(root).unwrap().to_owned(), (kind, meta.mode() & 0o7777, time, content))
        })
        .collect()
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Whatever a file system can hold that makes copying hard.
fn odd_tree(root: &Path) {
    let long = "long-name-".repeat(20);
    let names: [&[u8]; 12] = [
        b"plain",
        b"with space",
        b"-rf",
        b"it's \"quoted\" $HOME `x`",
        b"new\nline",
        b"back\\slash",
        b"not\xff\xfeutf8",
        b"*?[glob]",
        b".hidden",
        b"..dots",
        b"tab\there",
        b"carriage\r",
    ];
    for (i, name) in names.iter().enumerate() {
        for dir in ["", "dir", "-dir/deep er/ünï"] {
            write(&root.join(dir).join(OsStr::from_bytes(name)), format!("{i} {dir}").repeat(i * 50));
        }
    }
    write(&root.join(&long).join(&long).join(&long), "long");
    write(&root.join("large"), (0..=255_u8).cycle().take(3_000_000).collect::<Vec<_>>());
    write(&root.join("program"), "#!/bin/sh\n");
    std::fs::set_permissions(root.join("program"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(root.join("dir/plain"), PermissionsExt::from_mode(0o400)).unwrap();
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::set_permissions(root.join("empty"), PermissionsExt::from_mode(0o1777)).unwrap();
    for (link, target) in
        [("link", "plain"), ("dangling", "./no//such/.."), ("dir/up", "../dir"), ("empty-ish", &"x/".repeat(90))]
    {
        symlink(target, root.join(link)).unwrap();
    }
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    std::fs::File::open(root.join("plain")).unwrap().set_modified(old).unwrap();
    std::fs::File::open(root.join("dir")).unwrap().set_modified(old).unwrap();
}

/// What files there are, and their content. What vanishes meanwhile is not there.
fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = walkdir::WalkDir::new(root)
        .min_depth(1)
        .into_iter()
        .flatten()
        .map(|entry| (entry.path().to_owned(), std::fs::read(entry.path()).unwrap_or_default()))
        .collect();
    found.sort();
    found
}

#[track_caller]
fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (snapshot(a), snapshot(b));
    let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    for name in names {
        assert_eq!(a.get(name), b.get(name), "{}", name.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_go_and_come_back_as_they_are() {
    let sshd = Sshd::start();
    let (client, endpoint, cx) = (client(), sshd.endpoint(), Cx::quiet());
    let dir = tempfile::tempdir().unwrap();
    let [here, there, back] = ["here", "the re", "back"].map(|name| dir.path().join(name));
    odd_tree(&here);
    client.put(&endpoint, &here, text(&there), &PutOptions::default(), &cx).await.unwrap();
    assert_same(&here, &there);
    assert_eq!(client.get(&endpoint, text(&there), &back, &GetOptions::default(), &cx).await.unwrap(), back);
    assert_same(&here, &back);
    // Again, over what is there; other files stay.
    write(&back.join("other"), "stays");
    write(&there.join("other"), "stays");
    write(&there.join("plain"), "was changed");
    client.put(&endpoint, &here, text(&there), &PutOptions::default(), &cx).await.unwrap();
    client.get(&endpoint, text(&there), &back, &GetOptions::default(), &cx).await.unwrap();
    assert_same(&there, &back);
    assert_eq!(std::fs::read(there.join("plain")).unwrap(), std::fs::read(here.join("plain")).unwrap());
    // A single file, into a directory; a log that grows; a file of /proc.
    let log = there.join("log");
    write(&log, "one\n");
    let fetched = client.get(&endpoint, text(&log), &back, &GetOptions::default(), &cx).await.unwrap();
    assert_eq!(fetched, back.join("log"));
    assert_eq!(std::fs::read(&fetched).unwrap(), b"one\n");
    let stat = client.get(&endpoint, "/proc/meminfo", &dir.path().join("mem"), &GetOptions::default(), &cx).await.unwrap();
    assert!(std::fs::read_to_string(stat).unwrap().contains("MemTotal"));
    let error = client.get(&endpoint, "/no/such", &back, &GetOptions::default(), &cx).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::NotFound, "/no/such does not exist"));
    let left: Vec<_> = walkdir::WalkDir::new(dir.path())
        .into_iter()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("opsrun-stage"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

async fn mirror(client: &Client, sshd: &Sshd, from: &Path, to: &Path, options: &MirrorOptions) -> Mirrored {
    client.mirror(&sshd.endpoint(), from, text(to), options, &Cx::quiet()).await.unwrap()
}

/// The mirror test, on a server that has find or has it not.
async fn mirrors(sshd: Sshd) {
    let client = client();
    let dir = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| dir.path().join(name));
    odd_tree(&here);
    let plain = MirrorOptions::default();
    let files = snapshot(&here).values().filter(|e| e.0 != 'd').count();
    let first = mirror(&client, &sshd, &here, &there, &plain).await;
    assert_eq!((first.sent, first.unchanged, first.deleted), (files, 0, 0));
    assert_same(&here, &there);
    let again = mirror(&client, &sshd, &here, &there, &plain).await;
    assert_eq!(again, Mirrored { sent: 0, bytes: 0, deleted: 0, unchanged: files });
    // Only differences: content, mode, link, new, other types.
    write(&here.join("plain"), "different");
    std::fs::set_permissions(here.join(".hidden"), PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::remove_file(here.join("link")).unwrap();
    symlink("elsewhere", here.join("link")).unwrap();
    write(&here.join("new dir/new"), "new");
    std::fs::remove_dir(here.join("empty")).unwrap();
    write(&here.join("empty"), "a file now");
    std::fs::remove_file(here.join("with space")).unwrap();
    std::fs::create_dir(here.join("with space")).unwrap();
    write(&there.join("extra/file"), "x");
    write(&there.join("keep/me.log"), "x");
    write(&there.join("keep/not me"), "x");
    let options = MirrorOptions { delete: true, exclude: vec!["*.log".to_owned()], ..plain.clone() };
    let second = mirror(&client, &sshd, &here, &there, &options).await;
    assert_eq!((second.sent, second.bytes), (4, 22));
    assert!(there.join("keep/me.log").exists() && !there.join("keep/not me").exists() && !there.join("extra").exists());
    std::fs::remove_dir_all(there.join("keep")).unwrap();
    assert_same(&here, &there);
    // Same size and time, other content: only a checksum sees it.
    let time = std::fs::metadata(there.join("plain")).unwrap().modified().unwrap();
    write(&there.join("plain"), "tnereffid");
    std::fs::File::open(there.join("plain")).unwrap().set_modified(time).unwrap();
    assert_eq!(mirror(&client, &sshd, &here, &there, &plain).await.sent, 0);
    let checked = mirror(&client, &sshd, &here, &there, &MirrorOptions { checksum: true, ..plain.clone() }).await;
    assert_eq!(std::fs::read(there.join("plain")).unwrap(), b"different");
    // A name that ends in a carriage return cannot be asked about, so it is sent.
    assert_eq!(checked.sent, 1 + 3);
    // An empty directory.
    let empty = dir.path().join("nothing");
    std::fs::create_dir(&empty).unwrap();
    let emptied = mirror(&client, &sshd, &empty, &there, &MirrorOptions { delete: true, ..plain }).await;
    assert!(emptied.deleted > 0 && snapshot(&there).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_send_only_differences() {
    mirrors(Sshd::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_need_only_a_shell_coreutils_and_tar() {
    let bin = tempfile::tempdir().unwrap();
    let listed = std::process::Command::new("dpkg").args(["-L", "coreutils"]).output().unwrap();
    let tools = String::from_utf8(listed.stdout).unwrap();
    for tool in tools.lines().filter(|l| l.contains("/bin/") || l.contains("/sbin/")).chain(["/bin/sh", "/bin/tar"]) {
        let path = Path::new(tool);
        let _ = symlink(path, bin.path().join(path.file_name().unwrap()));
    }
    mirrors(Sshd::with(&format!("SetEnv PATH={} SHLVL=2", bin.path().display()))).await;
}

/// A small disk of its own, or none where we may not mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={size}"))
            .arg("tmpfs")
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "this test mounts a small tmpfs: run it as root");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_clear_error_and_nothing_is_left() {
    let sshd = Sshd::start();
    let disk = SmallDisk::mount("4m");
    let (client, endpoint, cx) = (client(), sshd.endpoint(), Cx::quiet());
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().join("here");
    write(&here.join("small"), "small");
    write(&here.join("sub/large"), vec![7; 8 << 20]);
    let there = disk.0.path().join("there");
    write(&there.join("small"), "old");
    let before = snapshot(disk.0.path());
    let put = client.put(&endpoint, &here, text(&there), &PutOptions::default(), &cx).await.unwrap_err();
    let mirrored = client.mirror(&endpoint, &here, text(&there), &MirrorOptions::default(), &cx).await.unwrap_err();
    let large = here.join("sub/large");
    let single = client.put(&endpoint, &large, text(&there), &PutOptions::default(), &cx).await.unwrap_err();
    // Folders made for it go as well: "nothing was changed" is to be true.
    let new = disk.0.path().join("new/and/deep");
    let into_new = client.put(&endpoint, &here, &format!("{}//", text(&new)), &PutOptions::default(), &cx).await.unwrap_err();
    let single_new = client.put(&endpoint, &large, text(&new), &PutOptions::default(), &cx).await.unwrap_err();
    for error in [put, mirrored, single, into_new, single_new] {
        assert_eq!(error.kind(), Kind::Transfer);
        assert!(error.message().contains("no space left"), "{error}");
        assert_eq!(error.details().node.as_deref(), Some("node"));
    }
    assert_eq!(snapshot(disk.0.path()).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(std::fs::read(there.join("small")).unwrap(), b"old");
    // An empty folder is not taken for one of these.
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    client.put(&endpoint, &dir.path().join("empty"), text(&new), &PutOptions::default(), &cx).await.unwrap();
    assert!(new.is_dir());
    std::fs::remove_dir_all(disk.0.path().join("new")).unwrap();
    // Here, too.
    write(&sshd.path("big"), vec![7; 8 << 20]);
    let error = client.get(&endpoint, text(&sshd.path("big")), &there, &GetOptions::default(), &cx).await.unwrap_err();
    assert!(error.message().contains("no space left"), "{error}");
    assert_eq!(snapshot(disk.0.path()).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_leaves_nothing_half_written() {
    let sshd = Sshd::start();
    let proxy = CuttingProxy::start(sshd.port);
    let (client, endpoint, cx) = (client(), sshd.endpoint_at(proxy.port), Cx::quiet());
    let dir = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| dir.path().join(name));
    for i in 0..40 {
        write(&here.join(format!("d{}/f{i}", i % 4)), vec![i; 200_000]);
    }
    write(&there.join("d1/f1"), "old");
    let before = contents(&there);
    for left in [3_000_000, 7_900_000] {
        for what in ["put", "mirror", "file"] {
            proxy.heal();
            client.connect(&endpoint, &cx).await.unwrap();
            proxy.cut_after(left);
            let error = match what {
                "put" => client.put(&endpoint, &here, text(&there), &PutOptions::default(), &cx).await.unwrap_err(),
                "mirror" => client.mirror(&endpoint, &here, text(&there), &MirrorOptions::default(), &cx).await.unwrap_err(),
                _ => {
                    let large = dir.path().join("large");
                    write(&large, vec![1; 9 << 20]);
                    client.put(&endpoint, &large, text(&there.join("d1/f1")), &PutOptions::default(), &cx).await.unwrap_err()
                }
            };
            assert_eq!(error.kind(), Kind::Connection, "{what}: {error}");
            // The script on the host sees its input end, and tidies up.
            let start = std::time::Instant::now();
            while contents(&there) != before {
                assert!(start.elapsed().as_secs() < 5, "{what} after {left}: {:?}", contents(&there).len());
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
    proxy.heal();
    // What a transfer that was killed has left is removed by the next one.
    let stale = there.join(format!(".opsrun-stage-{}-999999999", nix::unistd::gethostname().unwrap().to_string_lossy()));
    write(&stale.join("d/x"), "stale");
    client.mirror(&endpoint, &here, text(&there), &MirrorOptions::default(), &cx).await.unwrap();
    assert_same(&here, &there);
    assert!(!stale.exists());
    // The other way: the file here stays as it was.
    let local = dir.path().join("local");
    write(&local, "old");
    let cutter = async {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        proxy.cut();
    };
    write(&there.join("huge"), vec![5; 300 << 20]);
    let path = there.join("huge");
    let options = GetOptions::default();
    let (got, ()) = tokio::join!(client.get(&endpoint, text(&path), &local, &options, &cx), cutter);
    assert_eq!(got.unwrap_err().kind(), Kind::Connection);
    assert_eq!(std::fs::read(&local).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
}
