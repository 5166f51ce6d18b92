use super::*;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use tokio::io::AsyncWriteExt;

/// This machine's `/bin/sh` with a home of its own, in a process group that is killed after each call, as sshd may do.
struct Local {
    home: tempfile::TempDir,
    /// So many calls from now on fail as if the connection had been cut.
    cuts: AtomicUsize,
}

impl Local {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), cuts: AtomicUsize::new(0) }
    }

    fn file(&self, job: &str, name: &str) -> std::path::PathBuf {
        self.home.path().join(".opsrun/jobs").join(job).join(name)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.home.path().join(".opsrun/jobs")).into_iter().flatten().flatten() {
            let pid = std::fs::read_to_string(entry.path().join("pid")).ok().and_then(|p| p.trim().parse().ok());
            if let Some(pid) = pid.filter(|_| !entry.path().join("code").exists()) {
                let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

#[async_trait]
impl Machine for Local {
    async fn run(&self, command: &Command, live: bool, cx: &Cx) -> Result<Output> {
        if self.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Error::new(Kind::Connection, "the connection was cut"));
        }
        let mut shell = std::process::Command::new("/bin/sh");
        shell.arg("-c").arg(command.wrapped()).current_dir(self.home.path()).env("HOME", self.home.path()).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(shell).spawn().unwrap();
        let group = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(&command.input()).await;
        drop(stdin);
        // Returns only when nobody holds the output any more: a job must not.
        let out = child.wait_with_output().await.unwrap();
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        if live {
            for line in String::from_utf8_lossy(&out.stdout).lines() {
                cx.events.send(Event::Line { node: "here".into(), stream: Stream::Stdout, text: line.to_owned() });
            }
        }
        let exit = Exit::Code(out.status.code().unwrap_or(-1));
        Ok(Output { exit, stdout: out.stdout, stderr: out.stderr, dropped: 0, took: Duration::ZERO })
    }

    fn name(&self) -> &'static str {
        "here"
    }
}

const KEEP: usize = 1 << 16;

async fn begin(machine: &Local, name: &str, line: &str) -> Started {
    start(machine, name, &fresh_name(), &Command::new(line), &Cx::quiet()).await.unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited 10 s for {what}");
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| s.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])))
}

#[tokio::test]
async fn runs_to_its_end_and_tells() {
    let here = Local::new();
    let cx = Cx::quiet();
    let mut command = Command::new("echo out; echo err >&2; pwd; cat; echo \"$SECRET\"; sleep 0.3; exit 3");
    command.env.push(("SECRET".into(), "job's env '1'".into()));
    command.cwd = Some("/tmp".into());
    let started = start(&here, "one", "t1", &command, &cx).await.unwrap();
    assert!(!started.attached && started.pid > 1);
    let shown = std::fs::read(format!("/proc/{}/cmdline", started.pid)).unwrap();
    assert!(!String::from_utf8_lossy(&shown).contains("job's env"), "the environment shows in the process list");
    assert_eq!(status(&here, "one", &cx).await.unwrap(), State::Running);
    let output = wait(&here, "one", None, KEEP, &cx).await.unwrap();
    assert_eq!(output.exit, Exit::Code(3));
    assert!((0.25..5.0).contains(&output.took.as_secs_f64()), "{:?}", output.took);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\nerr\n/tmp\njob's env '1'\n");
    let State::Ended { code: 3, stopped: false, .. } = status(&here, "one", &cx).await.unwrap() else { panic!() };
    assert_eq!(log(&here, "one", Some(1), &cx).await.unwrap(), b"job's env '1'\n");
    assert_eq!(list(&here, &cx).await.unwrap(), ["one"]);

    // The same call again, as after a lost reply, starts nothing.
    start(&here, "one", "t1", &command, &cx).await.unwrap();
    assert!(matches!(status(&here, "one", &cx).await.unwrap(), State::Ended { .. }));
    forget(&here, "one", &cx).await.unwrap();
    assert_eq!(status(&here, "one", &cx).await.unwrap(), State::Missing);
    assert_eq!(wait(&here, "one", None, KEEP, &cx).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(log(&here, "one", None, &cx).await.unwrap_err().message(), "there is no job one");
}

#[tokio::test]
async fn is_never_started_twice() {
    let here = Local::new();
    let line = "echo x >>started; sleep 30";
    let all = futures::future::join_all((0..8).map(|_| begin(&here, "load", line))).await;
    assert_eq!(all.iter().filter(|s| !s.attached).count(), 1);
    assert!(all.iter().all(|s| s.pid == all[0].pid));
    assert_eq!(std::fs::read_to_string(here.home.path().join("started")).unwrap(), "x\n");

    // Once it is over, the name is free again.
    stop(&here, "load", Duration::from_secs(5), &Cx::quiet()).await.unwrap();
    assert!(!begin(&here, "load", "exit 0").await.attached);
    assert_eq!(wait(&here, "load", None, KEEP, &Cx::quiet()).await.unwrap().exit, Exit::Code(0));
}

#[tokio::test]
async fn stops_all_of_its_processes() {
    let here = Local::new();
    let cx = Cx::quiet();
    // `timeout` makes a process group of its own.
    let started = begin(&here, "gentle", "timeout 60 sh -c 'echo $$ >child; exec sleep 60'; true").await;
    let child = here.home.path().join("child");
    until("the child", || std::fs::read_to_string(&child).is_ok_and(|t| t.ends_with('\n')));
    let inner: u32 = std::fs::read_to_string(&child).unwrap().trim().parse().unwrap();
    let state = stop(&here, "gentle", Duration::from_secs(10), &cx).await.unwrap();
    assert!(matches!(state, State::Ended { code: 143, stopped: true, .. }), "{state:?}");
    assert!(!is_alive(inner) && !is_alive(started.pid));

    let begin_at = Instant::now();
    begin(&here, "stubborn", "trap '' TERM; echo ready; while :; do sleep 1; done").await;
    until("the trap", || std::fs::read_to_string(here.file("stubborn", "log")).is_ok_and(|l| l == "ready\n"));
    let state = stop(&here, "stubborn", Duration::from_millis(300), &cx).await.unwrap();
    assert!(matches!(state, State::Ended { code: 137, stopped: true, .. }), "{state:?}");
    assert!(begin_at.elapsed() < Duration::from_secs(10));
    // Stopping what has ended changes nothing.
    assert_eq!(stop(&here, "stubborn", Duration::from_secs(1), &cx).await.unwrap(), state);
    assert_eq!(stop(&here, "nobody", Duration::from_secs(1), &cx).await.unwrap(), State::Missing);
}

#[tokio::test]
async fn a_killed_supervisor_and_a_reboot_are_noticed() {
    let here = Local::new();
    let cx = Cx::quiet();
    let started = begin(&here, "gone", "echo last words; exec sleep 60").await;
    until("its words", || std::fs::read_to_string(here.file("gone", "log")).is_ok_and(|l| !l.is_empty()));
    let group = nix::unistd::Pid::from_raw(i32::try_from(started.pid).unwrap());
    let waiting = wait(&here, "gone", None, KEEP, &cx);
    let kill = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
    };
    let (outcome, ()) = tokio::join!(waiting, kill);
    let error = outcome.unwrap_err();
    assert!(error.message().starts_with("job gone is lost: it and its supervisor were killed"), "{error}");
    assert_eq!(error.details().stderr.as_deref(), Some("last words"));
    std::fs::write(here.file("gone", "boot"), "another-boot\n").unwrap();
    assert_eq!(status(&here, "gone", &cx).await.unwrap(), State::Lost("the machine was rebooted while it ran"));
    assert!(!begin(&here, "gone", "true").await.attached);
}

#[tokio::test]
async fn waiting_has_a_limit_and_survives_cuts() {
    let here = Local::new();
    let cx = Cx::quiet();
    begin(&here, "slow", "sleep 1; echo done").await;
    let error = wait(&here, "slow", Some(Duration::from_millis(100)), KEEP, &cx).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Timeout, "job slow still runs after 100ms"));
    here.cuts.store(2, Ordering::SeqCst);
    let output = wait(&here, "slow", None, 3, &cx).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.dropped), (b"ne\n".as_slice(), 2));
}

#[tokio::test]
async fn cancelling_the_wait_leaves_the_job_alone() {
    let here = Local::new();
    let cx = Cx::quiet();
    let started = begin(&here, "on", "sleep 30").await;
    let cancel = cx.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    });
    assert!(wait(&here, "on", None, KEEP, &cx).await.unwrap_err().is_cancelled());
    assert!(is_alive(started.pid));
}

#[tokio::test]
async fn follows_the_log_through_a_cut() {
    struct Lines(Mutex<Vec<String>>);
    impl Listener for Arc<Lines> {
        fn event(&self, event: Event) {
            if let Event::Line { text, .. } = event {
                self.0.lock().unwrap().push(text);
            }
        }
    }
    let here = Local::new();
    let lines = Arc::new(Lines(Mutex::new(Vec::new())));
    let cx = Cx::new(crate::base::cancel::Cancel::new(), Events::new(lines.clone()));
    begin(&here, "talk", "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done").await;
    here.cuts.store(1, Ordering::SeqCst);
    follow(&here, "talk", &cx).await.unwrap();
    assert_eq!(*lines.0.lock().unwrap(), ["line 1", "line 2", "line 3", "line 4", "line 5"]);
    assert_eq!(follow(&here, "nobody", &cx).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn refuses_names_that_are_paths_and_tells_why_it_cannot_start() {
    let here = Local::new();
    let cx = Cx::quiet();
    for bad in ["", "a/b", "..", "a b", "$(x)"] {
        assert_eq!(start(&here, bad, "t", &Command::new("true"), &cx).await.unwrap_err().kind(), Kind::Usage, "{bad}");
    }
    std::fs::write(here.home.path().join(".opsrun"), "in the way").unwrap();
    let error = start(&here, "x", "t", &Command::new("true"), &cx).await.unwrap_err();
    assert!(error.details().stderr.as_ref().unwrap().contains(".opsrun"), "{error:?}");
    assert_eq!(error.details().node.as_deref(), Some("here"));
    assert!(Path::new("/bin/sh").exists());
}
