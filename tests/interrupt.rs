//! Ctrl-C: scripts stop wherever they are, and what was put off with `defer` still runs.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

struct Run {
    child: Child,
    _dir: tempfile::TempDir,
}

/// What came of a run after it said "ready" and was interrupted.
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
    took: Duration,
}

impl Run {
    /// Starts the script; returns when it has printed its first line, which must be "ready".
    fn start(script: &str) -> (Self, BufReader<std::process::ChildStdout>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("script.rhai"), script).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_opsrun"));
        command.current_dir(dir.path()).env("NO_COLOR", "1").env("OPSRUN_HOME", dir.path()).arg("script.rhai");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert_eq!(first, "ready\n");
        (Self { child, _dir: dir }, out)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

fn interrupted(script: &str) -> Ended {
    let (mut run, mut out) = Run::start(script);
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    run.signal(Signal::SIGINT);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    out.read_to_string(&mut stdout).unwrap();
    run.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = run.child.wait().unwrap();
    Ended { status, stdout, stderr, took: begun.elapsed() }
}

/// Interrupted at once (the machine may be busy), with code 130, after its clean-up.
fn stops(script: &str) -> Ended {
    let ended = interrupted(&format!("defer(|| print(\"cleaned up\"));\n{script}"));
    assert_eq!(ended.status.code(), Some(130), "{}", ended.stderr);
    assert!(ended.took < Duration::from_secs(10), "took {:?}", ended.took);
    assert!(ended.stdout.ends_with("cleaned up\n"), "{}", ended.stdout);
    assert!(ended.stderr.contains("stopped: interrupted"), "{}", ended.stderr);
    ended
}

#[test]
fn a_sleep_stops() {
    let ended = stops("print(\"ready\");\nsleep(\"1h\");\n");
    assert!(ended.stderr.contains("script.rhai:3:1"), "{}", ended.stderr);
}

#[test]
fn a_busy_loop_stops() {
    stops("print(\"ready\");\nlet n = 0;\nloop { n += 1; }\n");
}

#[test]
fn a_command_and_its_children_stop() {
    let marker = format!("sleep 98{}", std::process::id());
    stops(&format!("print(\"ready\");\nsh(\"{marker} & {marker}; true\");\n"));
    let still = Command::new("pgrep").args(["-fx", &marker]).output().unwrap();
    assert!(still.stdout.is_empty(), "left behind: {}", String::from_utf8_lossy(&still.stdout));
}

#[test]
fn parallel_calls_and_tasks_stop() {
    stops(
        "let t = task(|| sleep(\"1h\"));\nprint(\"ready\");\nparallel([1, 2, 3], |n| if n == 2 { loop { } } else { sleep(\"1h\") });\n",
    );
    stops("let t = task(|| loop { });\nprint(\"ready\");\nt.wait();\n");
}

#[test]
fn catching_does_not_keep_a_script_alive() {
    stops("print(\"ready\");\nloop { try { sleep(\"1h\"); } catch (e) { print(\"caught\"); } }\n");
    stops("print(\"ready\");\nretry(1000, \"1h\", || throw \"x\");\n");
}

#[test]
fn clean_up_can_still_act() {
    let ended = interrupted(
        "defer(|| { sleep(\"50ms\"); print(sh(\"echo acted\", #{ quiet: true }).stdout); });\nprint(\"ready\");\nsleep(\"1h\");\n",
    );
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(130), "acted\n"), "{}", ended.stderr);
}

#[test]
fn the_second_one_ends_it_at_once() {
    let (mut run, _out) = Run::start("defer(|| { print(\"cleaning\"); sleep(\"1h\"); });\nprint(\"ready\");\nsleep(\"1h\");\n");
    run.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(500));
    assert!(run.child.try_wait().unwrap().is_none(), "the clean-up is still going on");
    let begun = Instant::now();
    run.signal(Signal::SIGINT);
    assert_eq!(run.child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_second_ctrl_c_leaves_no_stubborn_command_behind() {
    let marker = format!("sleep 97{}", std::process::id());
    let (mut run, _out) = Run::start(&format!("print(\"ready\");\nsh(\"trap '' TERM; {marker}; {marker}\");\n"));
    let lives = || !Command::new("pgrep").args(["-fx", &marker]).output().unwrap().stdout.is_empty();
    let until = |wanted: bool| {
        let begun = Instant::now();
        while lives() != wanted && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
        lives() == wanted
    };
    assert!(until(true), "the command did not start");
    run.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    run.signal(Signal::SIGINT);
    assert_eq!(run.child.wait().unwrap().code(), Some(130));
    assert!(until(false), "left behind");
}
