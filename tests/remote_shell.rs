//! `opsrun ssh` and `opsrun cp`, through the real binary, with rsync and a real terminal.

#[path = "common/lab.rs"]
mod lab;

use lab::{Lab, assert_ok, stderr, stdout};
use std::process::{Command, Stdio};

fn opsrun() -> &'static str {
    env!("CARGO_BIN_EXE_opsrun")
}

fn rsync(lab: &Lab, words: &[&str]) {
    let out = Command::new("rsync")
        .args(["-a", "-e", &format!("{} ssh lab", opsrun())])
        .args(words)
        .current_dir(lab.path("."))
        .env("OPSRUN_HOME", lab.path("."))
        .output()
        .expect("this test needs rsync: apt-get install -y rsync");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn is_a_remote_shell_for_rsync() {
    let lab = Lab::provisioned();
    let from = lab.path("from");
    for i in 0..300_usize {
        let path = from.join(format!("d{}/file {i}", i % 7));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, (0..=255_u8).cycle().skip(i).take(i * 997).collect::<Vec<_>>()).unwrap();
    }
    rsync(&lab, &["from/", "server-0:there/"]);
    rsync(&lab, &["root@server-0:there/", "back/"]);
    let diff = Command::new("diff").arg("-r").args([&from, &lab.path("back")]).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

#[test]
fn passes_bytes_and_exit_codes() {
    let lab = Lab::provisioned();
    let bytes: Vec<u8> = (0..=255_u8).cycle().take(3_000_000).collect();
    std::fs::write(lab.path("bytes"), &bytes).unwrap();
    let run = |words: &[&str]| {
        let input = std::fs::File::open(lab.path("bytes")).unwrap();
        let mut command = Command::new(opsrun());
        command.arg("ssh").args(words).current_dir(lab.path(".")).env("OPSRUN_HOME", lab.path(".")).stdin(input);
        command.output().unwrap()
    };
    let out = run(&["lab", "server-0", "cat"]);
    assert_ok(&out);
    assert!(out.stdout == bytes);
    let out = run(&["lab", "server-0", "echo", "a  b;", "echo err >&2; exit 9"]);
    assert_eq!((out.status.code(), stdout(&out), stderr(&out)), (Some(9), "a b\n".to_owned(), "err\n".to_owned()));
    assert_eq!(run(&["lab", "server-0", "kill -TERM $$"]).status.code(), Some(128 + 15));
    let out = run(&["lab", "srever-0", "true"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("Did you mean \"server-0\"?"), "{}", stderr(&out));
    // Endless output that nobody reads any more.
    let mut child = Command::new(opsrun())
        .args(["ssh", "lab", "server-0", "yes"])
        .current_dir(lab.path("."))
        .env("OPSRUN_HOME", lab.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(128 + 13));
}

#[test]
fn a_shell_has_a_terminal() {
    let lab = Lab::provisioned();
    let mut command = Command::new(opsrun());
    command.args(["ssh", "lab", "server-0"]).current_dir(lab.path(".")).env("OPSRUN_HOME", lab.path(".")).env("TERM", "vt100");
    let mut session = rexpect::session::spawn_command(command, Some(10_000)).unwrap();
    session.send_line("tty >/dev/null && echo terminal-$TERM-$((40+2))").unwrap();
    session.exp_string("terminal-vt100-42").unwrap();
    // Ctrl-C goes to what runs there, not to us.
    session.send_line("sleep 100; echo interrupted-$((1+1))").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    session.send_control('c').unwrap();
    session.send_line("echo still-$((2+3))").unwrap();
    session.exp_string("still-5").unwrap();
    session.send_line("exit 4").unwrap();
    let status = session.process().wait().unwrap();
    assert!(format!("{status:?}").contains(", 4)"), "{status:?}");
}

#[test]
fn copies_to_nodes_and_from_them() {
    let lab = Lab::provisioned();
    std::fs::create_dir_all(lab.path("conf/sub")).unwrap();
    std::fs::write(lab.path("conf/a"), "a").unwrap();
    std::fs::write(lab.path("conf/sub/b.tmp"), "b").unwrap();
    let node = |n: usize, path: &str| lab.path(&format!("deployments/lab/local/server-{n}/{path}"));
    assert_ok(&lab.run(&["cp", "lab", "conf", "server:"]));
    assert_eq!(std::fs::read(node(2, "a")).unwrap(), b"a");
    assert_ok(&lab.run(&["cp", "lab", "conf/a", "conf/sub/b.tmp", "server-0:new/folder", "--mode", "0600"]));
    assert_eq!(std::fs::read(node(0, "new/folder/b.tmp")).unwrap(), b"b");
    let out = lab.run(&["cp", "lab", "conf/", "server-1:m", "--mirror", "--delete", "--exclude", "*.tmp"]);
    assert_ok(&out);
    assert!(node(1, "m/a").exists() && !node(1, "m/sub/b.tmp").exists());
    assert_ok(&lab.run(&["cp", "lab", "server-0:new/folder/a", "fetched"]));
    assert_eq!(std::fs::read(lab.path("fetched")).unwrap(), b"a");
    assert_ok(&lab.run(&["cp", "lab", "server:a", "all"]));
    assert_eq!(std::fs::read(lab.path("all/server-2/a")).unwrap(), b"a");
    for (words, said) in [
        (["cp", "lab", "conf", "elsewhere"], "is on this machine"),
        (["cp", "lab", "server-0:a", "server-1:a"], "both on nodes"),
        (["cp", "lab", "nothing", "server:"], "cannot copy nothing: no such file"),
    ] {
        let out = lab.run(&words);
        assert!(stderr(&out).contains(said), "{}", stderr(&out));
        assert_ne!(out.status.code(), Some(0));
    }
    // The story of one node is told once; nodes that failed alike are told together, without what differs in passing.
    let one = lab.run(&["cp", "lab", "conf/a", "server-0:/proc/none/a"]);
    assert_eq!(stderr(&one).matches("while copying").count(), 1, "{}", stderr(&one));
    let all = lab.run(&["cp", "lab", "conf/a", "server:/proc/none"]);
    assert_eq!(
        stderr(&all),
        "error: 3 of 3 nodes failed\n  \
         server-0, server-1, server-2: cannot transfer /proc/none: cannot create /proc/.opsrun-stage: Directory nonexistent\n  \
         while copying conf/a to /proc/none\n"
    );
}
