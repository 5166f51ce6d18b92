//! What one can do on a node, with OpenSSH's client.

use crate::lab::{Lab, alive, eventually, text, write_key};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn exit_codes_signals_and_both_streams_arrive() {
    let lab = Lab::new();
    let node = lab.node();
    let out = lab.ssh(&node, "echo out; echo err >&2; exit 7");
    assert_eq!((out.status.code(), text(&out.stdout), text(&out.stderr)), (Some(7), "out\n".into(), "err\n".into()));
    assert_eq!(lab.ssh(&node, "kill -TERM $$; sleep 10").status.code(), Some(255), "a signal is 255 for OpenSSH");
    assert_eq!(lab.ssh(&node, "no-such-command").status.code(), Some(127));
    assert_eq!(lab.ssh(&node, &format!("printf %s {}", "x".repeat(100_000))).stdout.len(), 100_000);
}

#[test]
fn a_node_has_its_own_environment_and_none_of_ours() {
    let lab = Lab::below("deployments/a lab, ünicode and 'quotes'");
    let node = lab.node();
    let env = lab.sh(&node, "env");
    let names: Vec<&str> = env.lines().filter_map(|l| l.split('=').next()).collect();
    for name in ["HOME", "USER", "LOGNAME", "SHELL", "PATH", "OPSRUN_NODE", "OPSRUN_DEPLOYMENT", "OPSRUN_NODE_ID"] {
        assert!(names.contains(&name), "{name} is missing in {env}");
    }
    assert!(!env.contains("CARGO"), "{env}");
    assert!(env.contains(&format!("OPSRUN_NODE_ID={}/server-0\n", lab.site.uuid)));
    assert_eq!(lab.sh(&node, "pwd; echo \"$HOME\"; touch \"$HOME/f g\"; ls"), {
        let home = lab.home(&node).display().to_string();
        format!("{home}\n{home}\nf g\n")
    });
    let out =
        lab.tool("ssh", std::slice::from_ref(&node)).args(["-o", "SetEnv=GREETING=hello", "server-0", "echo $GREETING"]).output();
    assert_eq!(text(&out.unwrap().stdout), "hello\n");
}

#[test]
fn binary_streams_are_whole_and_quick_in_both_directions_at_once() {
    const SIZE: usize = 64 << 20;
    let lab = Lab::new();
    let node = lab.node();
    let data: Vec<u8> = (0..SIZE).map(|i| (i ^ (i >> 8) ^ (i >> 16)).to_le_bytes()[0]).collect();
    // The command writes as it reads: were input or output waited for, one would wait for the other.
    for line in ["cat", "sleep 1; cat", "cat > file; cat file"] {
        let begin = Instant::now();
        let mut child = lab
            .tool("ssh", std::slice::from_ref(&node))
            .args(["server-0", line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let out = std::thread::scope(|scope| {
            scope.spawn(|| {
                stdin.write_all(&data).unwrap();
                drop(stdin);
            });
            child.wait_with_output().unwrap()
        });
        assert!(out.stdout == data, "{line}: {} bytes came back", out.stdout.len());
        assert!(begin.elapsed() < Duration::from_secs(30), "{line} took {:?}", begin.elapsed());
    }
}

#[test]
fn a_command_that_reads_nothing_neither_hangs_nor_takes_memory() {
    let lab = Lab::new();
    let node = lab.node();
    let mut child = lab
        .tool("ssh", std::slice::from_ref(&node))
        .args(["server-0", "sleep 2; echo done"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        let block = vec![7; 1 << 20];
        // 256 MiB, or until the client has ended.
        (0..256).take_while(|_| stdin.write_all(&block).is_ok()).count()
    });
    let out = child.wait_with_output().unwrap();
    assert_eq!(text(&out.stdout), "done\n");
    feeder.join().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", lab.supervisor())).unwrap();
    let peak: u64 = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap();
    assert!(peak < 120 << 10, "the supervisor took {peak} KiB");
}

#[test]
fn a_command_ends_with_its_connection_but_what_detached_itself_lives() {
    let lab = Lab::new();
    let node = lab.node();
    // `timeout` makes a process group of its own; the trap shows that there is time to clean up.
    let line = "setsid sleep 4001 >/dev/null 2>&1 </dev/null & sleep 4002 & trap 'echo cleaned > trapped; exit' TERM HUP; timeout 1000 sleep 4003 & echo $$; wait";
    let mut child = lab.tool("ssh", std::slice::from_ref(&node)).args(["server-0", line]).stdout(Stdio::piped()).spawn().unwrap();
    let running = |what: &str| Command::new("pgrep").args(["-f", &format!("^sleep {what}$")]).output().unwrap().status.success();
    eventually("all have started", || ["4001", "4002", "4003"].into_iter().all(running));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the command has ended", || !running("4002") && !running("4003"));
    eventually("it could clean up", || lab.home(&node).join("trapped").exists());
    assert!(running("4001"));
    lab.destroy(&["server-0"]);
    assert!(!running("4001"), "destroy ends what detached itself, too");
    assert_eq!(lab.processes(), Vec::<i32>::new());
}

#[test]
fn a_command_that_ignores_signals_is_killed() {
    let lab = Lab::new();
    let node = lab.node();
    let line = "trap '' TERM HUP INT; echo $$; while :; do sleep 1; done";
    let mut child = lab.tool("ssh", std::slice::from_ref(&node)).args(["server-0", line]).stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut pid).unwrap();
    let pid: i32 = pid.trim().parse().unwrap();
    assert!(alive(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("it is killed", || !alive(pid));
}

#[test]
fn background_processes_of_a_command_that_ended_live_on() {
    let lab = Lab::new();
    let node = lab.node();
    lab.sh(&node, "nohup sleep 4101 > /dev/null 2>&1 < /dev/null & echo $! > pid");
    let pid = std::fs::read_to_string(lab.home(&node).join("pid")).unwrap().trim().parse().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(alive(pid));
}

#[test]
fn a_terminal_is_one() {
    let lab = Lab::new();
    let node = lab.node();
    let tty = |line: &str| {
        let out = lab
            .tool("ssh", std::slice::from_ref(&node))
            .args(["-tt", "server-0", line])
            .env("TERM", "xterm-test")
            .output()
            .unwrap();
        (out.status.code(), text(&out.stdout).replace('\r', ""))
    };
    assert_eq!(tty("tty > name; test -t 0 && test -t 1 && test -t 2 && echo $TERM; exit 3"), (Some(3), "xterm-test\n".into()));
    assert!(lab.sh(&node, "cat name").starts_with("/dev/pts/"));
    assert_eq!(tty("sh -c 'echo controlled > /dev/tty'").1, "controlled\n");
    let mut child = lab
        .tool("ssh", std::slice::from_ref(&node))
        .args(["-tt", "server-0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"PS1=; stty -echo; echo $((6 * 7)); pwd; exit 5\n").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(5));
    let said = text(&out.stdout).replace('\r', "");
    assert!(said.contains("42\n") && said.contains(&lab.home(&node).display().to_string()), "{said}");
}

#[test]
fn a_terminal_knows_its_size_and_passes_control_c_on() {
    let lab = Lab::new();
    let node = lab.node();
    let config = lab.ssh_config(std::slice::from_ref(&node));
    let mut command = Command::new("ssh");
    command.arg("-F").arg(config).args([
        "-tt",
        "server-0",
        "trap 'stty size; exit 9' INT; echo ready; while :; do sleep 0.1; done",
    ]);
    let mut session = rexpect::session::spawn_command(command, Some(10_000)).unwrap();
    session.exp_string("ready").unwrap();
    let size = rustix::termios::Winsize { ws_row: 41, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(session.process().get_file_handle().unwrap(), size).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    session.send_control('c').unwrap();
    session.exp_string("41 101").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn closing_a_terminal_ends_what_ran_in_it() {
    let lab = Lab::new();
    let node = lab.node();
    let mut child = lab
        .tool("ssh", std::slice::from_ref(&node))
        .args(["-tt", "server-0", "set -m; sleep 4201 & echo $! > background; sleep 4202"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let file = lab.home(&node).join("background");
    eventually("it runs", || std::fs::read_to_string(&file).is_ok_and(|t| t.ends_with('\n')));
    let background = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert!(alive(background));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the background job is gone", || !alive(background));
}

#[test]
fn only_the_key_of_the_deployment_lets_one_in() {
    let lab = Lab::new();
    let node = lab.node();
    let stranger = lab.site.dir.join("stranger");
    write_key(&stranger);
    let ssh = |options: &[&str]| {
        let out = Command::new("ssh")
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o"])
            .arg(format!("UserKnownHostsFile={}", lab.known_hosts().display()))
            .args(["-p", &node.endpoint.port.to_string(), "-o", "IdentitiesOnly=yes"])
            .args(options)
            .args([&node.endpoint.host, "echo in"])
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (user, key) = (format!("User={}", node.endpoint.user), lab.site.private_key.to_str().unwrap().to_owned());
    assert_eq!(ssh(&["-o", &user, "-i", &key]).1, "in\n");
    for options in [
        &["-o", &user, "-i", stranger.to_str().unwrap()][..],
        &["-o", &user, "-o", "PreferredAuthentications=password,keyboard-interactive,none"],
        &["-o", "User=nobody-else", "-i", &key],
    ] {
        let begin = Instant::now();
        let (code, out, err) = ssh(options);
        assert_eq!((code, out.as_str()), (Some(255), ""), "{options:?}");
        assert!(err.contains("Permission denied (publickey)"), "{options:?}: {err}");
        assert!(begin.elapsed() < Duration::from_secs(2), "refusing took {:?}", begin.elapsed());
    }
    std::fs::write(
        lab.known_hosts(),
        format!("[{}]:{} {}\n", node.endpoint.host, node.endpoint.port, {
            let other = std::fs::read_to_string(stranger.with_extension("pub")).unwrap();
            other.trim().to_owned()
        }),
    )
    .unwrap();
    assert!(ssh(&["-o", &user, "-i", &key]).2.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"));
}

#[test]
fn many_channels_share_a_connection() {
    let lab = Lab::new();
    let node = lab.node();
    let control = tempfile::Builder::new().prefix("opsrun-mux-").tempdir().unwrap();
    let path = format!("ControlPath={}/s", control.path().display());
    let mut master = lab.tool("ssh", std::slice::from_ref(&node)).args(["-M", "-N", "-o", &path, "server-0"]).spawn().unwrap();
    eventually("the master listens", || control.path().join("s").exists());
    let commands: Vec<_> = (0..40)
        .map(|i| {
            lab.tool("ssh", std::slice::from_ref(&node))
                .args(["-o", &path, "server-0", &format!("sleep 0.2; echo {i}")])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for (i, child) in commands.into_iter().enumerate() {
        assert_eq!(text(&child.wait_with_output().unwrap().stdout), format!("{i}\n"));
    }
    master.kill().unwrap();
    assert_eq!(master.wait().unwrap().signal(), Some(9));
}
