//! The engine on this machine's own shell.

use super::converge::{Site, bring};
use super::exchange::Exchange;
use super::program::Program;
use super::*;
use crate::base::cancel::Cancel;
use crate::base::command::Exit;
use crate::base::endpoint::Endpoint;
use crate::base::error::Kind;
use crate::base::event::{Cx, Events, Stream, Unit};
use crate::base::shell::quote;
use crate::domain::node::Node;
use crate::transport::ssh::Take;
use async_trait::async_trait;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A fake: not a node, and no SSH. Programs run in a shell of this machine, and not as root.
struct Here {
    shell: &'static str,
    /// What nodes keep in /var/lib is in here.
    home: tempfile::TempDir,
    /// One line for each exchange: which changes it made, and what it read.
    trips: Mutex<Vec<String>>,
    /// The connection breaks as soon as this has arrived.
    cut_at: Option<&'static str>,
}

impl Here {
    fn new() -> Self {
        Self { shell: "sh", home: tempfile::tempdir().unwrap(), trips: Mutex::default(), cut_at: None }
    }

    fn trips(&self) -> Vec<String> {
        self.trips.lock().unwrap().clone()
    }

    fn note(&self, program: &str) {
        let body = program.split("o_main() {").nth(1).unwrap();
        let told = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "o_change" => Some(format!("change {}", words[1])),
                "o_paths" => Some(format!(
                    "read {}",
                    words[1..].iter().map(|p| p.rsplit('/').next().unwrap()).collect::<Vec<_>>().join(" ")
                )),
                "o_test" => Some(format!("test {}", words[2..].join(" "))),
                _ => None,
            }
        };
        self.trips.lock().unwrap().push(body.lines().filter_map(told).collect::<Vec<_>>().join(", "));
    }
}

#[async_trait]
impl Exchange for Here {
    async fn run(&self, program: &Program, take: &mut Take<'_>, cx: &Cx) -> Result<Exit> {
        let (command, input) = program.command(true);
        self.note(std::str::from_utf8(&input[0]).unwrap());
        let mut child = tokio::process::Command::new(self.shell)
            .args(["-c", &command.line])
            .env("HOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let group = nix::unistd::Pid::from_raw(child.id().unwrap().cast_signed());
        let mut stdin = child.stdin.take().unwrap();
        let feeding = tokio::spawn(async move {
            for piece in input {
                if stdin.write_all(&piece).await.is_err() {
                    return;
                }
            }
        });
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (mut out, mut err) = ([0; 999], [0; 999]);
        let (mut open, mut so_far) = (2, String::new());
        while open > 0 {
            let (stream, bytes) = tokio::select! {
                n = stdout.read(&mut out) => (Stream::Stdout, &out[..n.unwrap()]),
                n = stderr.read(&mut err) => (Stream::Stderr, &err[..n.unwrap()]),
                () = cx.cancel.cancelled() => {
                    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGTERM).unwrap();
                    child.wait().await.unwrap();
                    return Err(Error::cancelled());
                }
            };
            if bytes.is_empty() {
                open -= 1;
                // The other one may go on; this one is at its end for good.
                if open == 1 {
                    let (rest_out, rest_err) = (drain(&mut stdout).await, drain(&mut stderr).await);
                    so_far.push_str(&String::from_utf8_lossy(&rest_out));
                    take(Stream::Stdout, &rest_out);
                    take(Stream::Stderr, &rest_err);
                    open = 0;
                }
            }
            take(stream, bytes);
            if stream == Stream::Stdout {
                so_far.push_str(&String::from_utf8_lossy(bytes));
            }
            if self.cut_at.is_some_and(|at| so_far.contains(&format!("@{} {at}", program.nonce))) {
                nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
                return Err(Error::new(Kind::Connection, "lost the connection to 10.0.0.1:22 while a command ran: it was reset"));
            }
        }
        feeding.abort();
        let code = child.wait().await.unwrap().code();
        Ok(code.map_or(Exit::Signal("TERM".to_owned()), Exit::Code))
    }
}

async fn drain(from: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).await.unwrap();
    all
}

type Decide = dyn Fn(&Known) -> Result<Verdict> + Send + Sync;

/// A resource made for a test.
struct Thing {
    name: String,
    needs: Vec<Fact>,
    looks: Vec<Touch>,
    decide: Box<Decide>,
}

impl Debug for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Resource for Thing {
    fn kind(&self) -> &'static str {
        "thing"
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        self.needs.clone()
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        (self.decide)(known)
    }

    fn looks_at(&self) -> Vec<Touch> {
        self.looks.clone()
    }
}

impl Thing {
    fn wanted(name: &str, needs: Vec<Fact>, decide: impl Fn(&Known) -> Result<Verdict> + Send + Sync + 'static) -> Wanted {
        let thing = Self { name: name.to_owned(), needs, looks: vec![Touch::Everything], decide: Box::new(decide) };
        let place = Location::line("roles/web/main.rhai", 7);
        Wanted { resource: Arc::new(thing), notify: Vec::new(), place: Some(place) }
    }
}

/// A file that should be there; empty, because that is enough here.
fn file(path: &Path, touches: impl Fn(String) -> Touch) -> Wanted {
    let name = path.to_str().unwrap().to_owned();
    let touches = touches(name.clone());
    let fact = Fact::Path(name.clone());
    Thing::wanted(path.file_name().unwrap().to_str().unwrap(), vec![fact], move |known| {
        Ok(match &known.paths[&name] {
            Some(_) => Verdict::Right,
            None => Verdict::Change(Change {
                what: vec!["created".to_owned()],
                script: format!(": > {}", quote(&name)),
                touches: vec![touches.clone()],
                ..Change::default()
            }),
        })
    })
}

fn action(name: &str, script: &str) -> Wanted {
    let script = script.to_owned();
    Thing::wanted(name, Vec::new(), move |_| Ok(Verdict::Change(Change { script: script.clone(), ..Change::default() })))
}

async fn run(here: &Here, wanted: &[Wanted]) -> NodeReport {
    run_as(here, wanted, Mode::default(), &Cx::quiet()).await
}

async fn run_as(here: &Here, wanted: &[Wanted], mode: Mode, cx: &Cx) -> NodeReport {
    let node = Arc::new(Node {
        deployment: "lab".into(),
        name: "server-0".into(),
        group: "server".into(),
        index: 0,
        provider: "static".into(),
        endpoint: Endpoint::new("server-0", "10.0.0.1", 22, "root"),
    });
    let progress = Arc::new(Events::none().progress("", 1, Unit::Items));
    bring(&Site { over: here, node: &node, mode, scope: &Scope::default(), cx, progress: &progress }, wanted).await
}

/// `ok changed failed …`
fn outcomes(report: &NodeReport) -> String {
    let word = |item: &Item| match &item.outcome {
        Outcome::Ok => "ok",
        Outcome::Changed => "changed",
        Outcome::Unknown(_) => "unknown",
        Outcome::Failed(_) => "failed",
        Outcome::Skipped => "skipped",
    };
    report.items.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn what_is_right_costs_one_round_trip_and_independent_changes_another() {
    let dir = tempfile::tempdir().unwrap();
    let wanted: Vec<Wanted> = ["a", "b", "c"].iter().map(|n| file(&dir.path().join(n), Touch::Path)).collect();
    let here = Here::new();
    let report = run(&here, &wanted).await;
    assert_eq!(outcomes(&report), "changed changed changed", "{report:?}");
    assert_eq!(here.trips(), ["read a b c", "change 0, change 1, change 2"]);
    let again = Here::new();
    assert_eq!(outcomes(&run(&again, &wanted).await), "ok ok ok");
    assert_eq!(again.trips(), ["read a b c"]);
}

#[tokio::test]
async fn what_a_change_touches_is_read_again_with_it_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|n| dir.path().join(n));
    let here = Here::new();
    let everything = file(&a, |_| Touch::Everything);
    let report = run(&here, &[everything, file(&b, Touch::Path), file(&c, Touch::Path), file(&b, Touch::Path)]).await;
    assert_eq!(outcomes(&report), "changed changed changed ok");
    assert_eq!(here.trips(), ["read a b c", "change 0, read b c", "change 1, change 2, read b"]);
}

#[tokio::test]
async fn what_a_change_leaves_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a").to_str().unwrap().to_owned();
    let fact = Fact::Path(path.clone());
    let directory = PathState {
        kind: PathKind::Directory,
        mode: 0o755,
        owner: String::new(),
        group: String::new(),
        size: 0,
        sha256: None,
        target: None,
    };
    let name = path.clone();
    let make = Thing::wanted("a", vec![fact.clone()], move |_| {
        let mut change =
            Change { script: format!("mkdir {}", quote(&name)), touches: vec![Touch::Tree(name.clone())], ..Change::default() };
        change.leaves.paths.insert(name.clone(), Some(directory.clone()));
        Ok(Verdict::Change(change))
    });
    let inside = Thing::wanted("b", vec![fact], move |known| {
        Ok(match known.paths[&path] {
            Some(_) => Verdict::Change(Change { script: format!(": > {path}/b"), ..Change::default() }),
            None => Verdict::Blocked("there is no folder".to_owned()),
        })
    });
    for (check, trips) in [(true, &["read a"][..]), (false, &["read a", "change 0, change 1"][..])] {
        let here = Here::new();
        let report = run_as(&here, &[make.clone(), inside.clone()], Mode { check, diff: false }, &Cx::quiet()).await;
        assert_eq!(
            (outcomes(&report).as_str(), here.trips().as_slice()),
            ("changed changed", &trips.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>()[..])
        );
    }
}

/// Blocked until its test succeeds.
fn after(test: String) -> Wanted {
    Thing::wanted("after", vec![Fact::Test(test.clone())], move |known| {
        Ok(if known.tests[&test] { Verdict::Right } else { Verdict::Blocked("there is no unit x.service".to_owned()) })
    })
}

#[tokio::test]
async fn what_is_missing_may_still_come_and_is_an_error_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let a = dir.path().join("a");
    let test = format!("test -e {}", a.display());
    let both = [file(&a, |_| Touch::Unit("y.service".into())), after(test.clone())];
    let here = Here::new();
    let check = run_as(&here, &both, Mode { check: true, diff: false }, &Cx::quiet()).await;
    let Outcome::Unknown(why) = &check.items[1].outcome else { panic!("{check:?}") };
    assert_eq!((outcomes(&check).as_str(), why.as_str()), ("changed unknown", "thing a would be changed first"));
    assert!(!a.exists());
    let real = run(&here, &both).await;
    assert_eq!(outcomes(&real), "changed ok", "{real:?}");
    std::fs::remove_file(&a).unwrap();
    let alone = run(&here, &[after(test), action("next", ":")]).await;
    assert_eq!(outcomes(&alone), "failed skipped");
    let error = alone.failure.unwrap();
    assert_eq!(error.message(), "thing after: there is no unit x.service");
    assert_eq!((error.details().node.as_deref(), error.details().places[0].line), (Some("server-0"), 7));
}

#[tokio::test]
async fn a_failure_tells_what_was_said_and_skips_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("left");
    let bad = "echo on stdout\necho opsrun: no such package: x >&2\necho opsrun-hint: Try y. >&2\nfalse\ntouch ".to_owned();
    let wanted = [
        action("fine", "echo fine"),
        action("bad", &(bad + left.to_str().unwrap())),
        action("more", ":"),
        Thing::wanted("right", vec![], |_| Ok(Verdict::Right)),
    ];
    let here = Here::new();
    let report = run(&here, &wanted).await;
    assert_eq!(outcomes(&report), "changed failed skipped skipped");
    let error = report.failure.unwrap();
    assert_eq!(error.message(), "thing bad: no such package: x");
    assert_eq!((error.details().code, error.details().stderr.as_deref()), (Some(1), Some("on stdout")));
    assert_eq!(error.details().hints, ["Try y."]);
    assert!(!left.exists(), "set -e");
}

#[tokio::test]
async fn no_script_disturbs_the_next() {
    for shell in ["sh", "bash"] {
        let scripts = [
            "exit 0",
            "set -- a b; o_n=x o_r=5 LC_ALL=x; cd /tmp; exec 1>&2",
            "cat; printf 'no newline'; printf '\\n@N done 2 9\\n'",
            "head -c 300000 /dev/urandom; head -c 300000 /dev/urandom >&2",
            "test \"$#$LC_ALL\" = 0C; test \"$(pwd)\" != /tmp",
            "i=0; while [ $i -lt 3 ]; do i=$((i+1)); done\n# a comment at the end",
        ];
        let here = Here { shell, ..Here::new() };
        let good: Vec<Wanted> = scripts.iter().map(|script| action(script, script)).collect();
        let report = run(&here, &good).await;
        assert_eq!(outcomes(&report), ["changed"; 6].join(" "), "{shell} {:?}", report.failure);
        for bad in
            ["echo 'unbalanced", "if true; then", "echo $nothing", "false | true; false; true", "kill -9 $$; sleep 0.1", "exit 3"]
        {
            let report = run(&here, &[action("one", ":"), action(bad, bad), action("two", ":")]).await;
            assert_eq!(outcomes(&report), "changed failed skipped", "{shell} {bad}: {:?}", report.failure);
        }
    }
}

#[test]
fn names_that_are_scripts_are_cut() {
    let long = action(&format!("set -e\n{}", "x".repeat(99)), "");
    assert_eq!(failure::label(&long), "thing set -e…");
    assert_eq!(failure::label(&action(&"ü".repeat(99), "")), format!("thing {}…", "ü".repeat(60)));
}

#[tokio::test]
async fn a_broken_connection_tells_what_was_done() {
    let here = Here { cut_at: Some("begin 1"), ..Here::new() };
    let report = run(&here, &[action("one", ":"), action("two", "sleep 9"), action("three", ":")]).await;
    assert_eq!(outcomes(&report), "changed failed skipped");
    let error = report.failure.unwrap();
    assert_eq!(error.kind(), Kind::Connection);
    assert!(error.message().starts_with("the connection broke during thing two: lost the connection"), "{error}");
    assert!(error.details().hints[0].starts_with("What was done before it stands"));
}

#[tokio::test]
async fn a_change_has_its_time_and_no_more_and_ctrl_c_ends_it() {
    let here = Here::new();
    let slow = Thing::wanted("slow", Vec::new(), |_| {
        let timeout = Some(Duration::from_millis(300));
        Ok(Verdict::Change(Change { script: "echo so far; sleep 60".to_owned(), timeout, ..Change::default() }))
    });
    let report = run(&here, &[action("one", "sleep 1"), slow, action("three", ":")]).await;
    assert_eq!(outcomes(&report), "changed failed skipped");
    let error = report.failure.unwrap();
    assert_eq!((error.kind(), error.message()), (Kind::Timeout, "thing slow did not end within 300ms and was stopped"));
    assert_eq!(error.details().stderr.as_deref(), Some("so far"));

    let cx = Cx::new(Cancel::new(), Events::none());
    let cancel = cx.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel();
    });
    let report =
        run_as(&here, &[action("one", ":"), action("two", "sleep 60"), action("three", ":")], Mode::default(), &cx).await;
    assert_eq!(outcomes(&report), "changed failed skipped");
    assert!(report.failure.unwrap().is_cancelled());
}

#[tokio::test]
async fn large_content_is_carried_over_and_gone_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    let contents: Vec<Arc<[u8]>> = vec![vec![7_u8; 3_000_000].into(), (0..=255).collect::<Vec<u8>>().into(), Vec::new().into()];
    let script = format!("cat \"$UPLOAD_0\" \"$UPLOAD_1\" \"$UPLOAD_2\" > {}", to.display());
    let uploads = contents.clone();
    let put = Thing::wanted("put", Vec::new(), move |_| {
        Ok(Verdict::Change(Change { script: script.clone(), uploads: uploads.clone(), ..Change::default() }))
    });
    let unused = contents.clone();
    let not = Thing::wanted("not", Vec::new(), move |_| {
        Ok(Verdict::Change(Change { script: "exit 1".to_owned(), uploads: unused.clone(), ..Change::default() }))
    });
    let here = Here::new();
    let report = run(&here, &[put.clone(), not, put]).await;
    assert_eq!(outcomes(&report), "changed failed skipped", "{report:?}");
    assert_eq!(std::fs::read(&to).unwrap(), contents.concat());
    assert_eq!(std::fs::read_dir(here.home.path().join(".opsrun")).unwrap().count(), 0);
}
