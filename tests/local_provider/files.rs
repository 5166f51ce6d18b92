//! Files to and from nodes with the tools everybody has.

use crate::lab::{Lab, text};
use opsrun::transport::provider::NodeFound;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn ok(out: Output) -> Output {
    assert!(out.status.success(), "{:?} {}{}", out.status, text(&out.stdout), text(&out.stderr));
    out
}

/// A tree with what is hard: an empty file, a large one, modes, a link, a name with spaces and one that is no UTF-8.
fn make_tree(dir: &Path) {
    std::fs::create_dir_all(dir.join("sub/deep")).unwrap();
    std::fs::write(dir.join("empty"), "").unwrap();
    std::fs::write(dir.join("large"), (0..9_000_000u32).map(|i| (i >> 3).to_le_bytes()[0]).collect::<Vec<_>>()).unwrap();
    std::fs::write(dir.join("sub/with space"), "spaced").unwrap();
    std::fs::write(dir.join(OsStr::from_bytes(b"sub/deep/b\xffd")), "bytes").unwrap();
    std::fs::write(dir.join("script"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(dir.join("script"), std::fs::Permissions::from_mode(0o751)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::options().write(true).open(dir.join("script")).unwrap().set_modified(old).unwrap();
}

fn assert_same(a: &Path, b: &Path) {
    ok(Command::new("diff").arg("-r").arg(a).arg(b).output().unwrap());
    let (a, b) = (a.join("script").metadata().unwrap(), b.join("script").metadata().unwrap());
    assert_eq!((a.mode() & 0o7777, a.mtime()), (b.mode() & 0o7777, b.mtime()));
}

fn lab() -> (Lab, NodeFound, std::path::PathBuf) {
    let lab = Lab::new();
    let node = lab.node();
    let tree = lab.site.dir.join("tree");
    make_tree(&tree);
    (lab, node, tree)
}

#[test]
fn scp_carries_trees_both_ways_new_protocol_and_old() {
    let (lab, node, tree) = lab();
    for (protocol, name) in [("-s", "new"), ("-O", "old")] {
        let scp = || lab.tool("scp", std::slice::from_ref(&node));
        ok(scp().args(["-rp", protocol]).arg(&tree).arg(format!("server-0:{name}")).output().unwrap());
        assert_same(&tree, &lab.home(&node).join(name));
        let back = lab.site.dir.join(format!("back-{name}"));
        ok(scp().args(["-rp", protocol, &format!("server-0:{name}")]).arg(&back).output().unwrap());
        assert_same(&tree, &back);
        let out = scp().args([protocol, "server-0:no-such-file"]).arg(&back).output().unwrap();
        assert!(text(&out.stderr).contains("No such file"), "{}", text(&out.stderr));
    }
}

#[test]
fn sftp_does_what_a_session_does() {
    let (lab, node, tree) = lab();
    std::os::unix::fs::symlink("large", tree.join("link")).unwrap();
    let batch = "pwd\nmkdir d\nput tree/large d/one\nrename d/one d/two\nln d/two d/hard\nln -s two d/soft\nchmod 600 d/two\nls -l d\nget d/soft got\nrm d/hard\nrm d/soft\nrm d/two\nrmdir d\n-rm nothing\nput -rp tree t\nls\n";
    std::fs::write(lab.site.dir.join("batch"), batch).unwrap();
    let out = lab
        .tool("sftp", std::slice::from_ref(&node))
        .args(["-b", "batch", "server-0"])
        .current_dir(&lab.site.dir)
        .output()
        .unwrap();
    let said = text(&ok(out).stdout);
    assert!(said.contains(&format!("Remote working directory: {}", lab.home(&node).display())), "{said}");
    assert!(said.lines().any(|l| l.starts_with("-rw-------") && l.ends_with(" two")), "{said}");
    assert!(said.lines().any(|l| l.starts_with("lrwxrwxrwx") && l.ends_with(" soft")), "{said}");
    assert_eq!(std::fs::read(lab.site.dir.join("got")).unwrap(), std::fs::read(tree.join("large")).unwrap());
    std::fs::remove_file(tree.join("link")).unwrap();
    let there = lab.home(&node).join("t");
    let _ = std::fs::remove_file(there.join("link"));
    assert_same(&tree, &there);
    assert!(!lab.home(&node).join("d").exists());
}

#[test]
fn rsync_mirrors_and_sends_only_differences() {
    let (lab, node, tree) = lab();
    let shell = format!("ssh -F '{}'", lab.ssh_config(std::slice::from_ref(&node)).display());
    let rsync = |from: &str, to: &str| {
        let mut command = Command::new("rsync");
        command.args(["-a", "--stats", "--delete", "-e", &shell, from, to]).stdin(Stdio::null());
        text(&ok(command.output().expect("apt-get install rsync")).stdout)
    };
    let from = format!("{}/", tree.display());
    rsync(&from, "server-0:mirror/");
    assert_same(&tree, &lab.home(&node).join("mirror"));
    std::fs::write(tree.join("empty"), "now full").unwrap();
    std::fs::remove_dir_all(tree.join("sub")).unwrap();
    let stats = rsync(&from, "server-0:mirror/");
    assert!(stats.contains("regular files transferred: 1\n"), "{stats}");
    assert_same(&tree, &lab.home(&node).join("mirror"));
    let back = lab.site.dir.join("back");
    rsync("server-0:mirror/", back.to_str().unwrap());
    assert_same(&tree, &back);
}
