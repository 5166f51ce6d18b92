//! The database story with a real Cassandra and a real cassandra-stress; Scylla by what its module would run.
//!
//! Downloads (110 MB) are made once per machine, into opsrun's own cache.

#[path = "common/lab.rs"]
mod lab;

use lab::{Lab, assert_ok, processes_with, stderr, stdout};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One cluster at a time: each takes two cores and two gigabytes.
static MACHINE: Mutex<()> = Mutex::new(());

fn machine() -> MutexGuard<'static, ()> {
    for (program, package) in [("java", "openjdk-17-jre-headless"), ("mvn", "maven")] {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
        assert!(found, "{program} is missing: apt-get install {package}");
    }
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs opsrun with this user's own cache, so that a run of the tests downloads nothing twice.
fn run(lab: &Lab, args: &[&str]) -> Output {
    lab.command(args).env_remove("OPSRUN_CACHE").output().unwrap()
}

/// Runs one of the scripts beside this file against the lab's deployment.
fn story(lab: &Lab, name: &str, args: &[&str]) -> Output {
    let script = format!("{}/tests/cassandra/{name}.rhai", env!("CARGO_MANIFEST_DIR"));
    let out = run(lab, &[&[script.as_str(), "lab"], args].concat());
    assert_ok(&out);
    out
}

fn provisioned(config: &str) -> Lab {
    let lab = Lab::new();
    lab.write("configs/lab.yml", config);
    assert_ok(&run(&lab, &["provision", "lab", "configs/lab.yml", "--yes", "-q"]));
    lab
}

#[test]
fn the_quickstart_tells_the_whole_story_and_leaves_nothing() {
    let _machine = machine();
    let lab = Lab::new();
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = lab.command(&["scripts/quickstart.rhai", "--rows=2000", "--time=6s", "--rate=100"]);
    let out = command.current_dir(root).env_remove("OPSRUN_CACHE").env("OPSRUN_HOME", lab.path("")).output().unwrap();
    assert_ok(&out);
    let text = stdout(&out);
    assert_eq!(text.matches(" UN 127.").count(), 3, "{text}");
    for row in ["READ ", "WRITE ", "throughput (ops/s)", "p99 (ms)", "max (ms)"] {
        assert!(text.contains(row), "no {row} in\n{text}");
    }
    let steps = stderr(&out);
    for step in
        ["starting Cassandra on server-[0-2]", "wrote 2000 rows", "snapshot \"baseline\"", "load \"before\"", "load \"after\""]
    {
        assert!(steps.contains(step), "no {step} in\n{steps}");
    }
    assert!(!lab.path("deployments/quickstart").exists());
    let mark = lab.path("deployments").display().to_string();
    assert_eq!(processes_with(&mark), Vec::<u32>::new());
}

#[test]
fn a_cluster_lives_through_changes_faults_and_growth() {
    let _machine = machine();
    let lab = provisioned("provider: local\nserver_count: 3\nclient_count: 2\n");
    let out = story(&lab, "life", &[]);
    assert!(stdout(&out).ends_with("told\n"), "{}", stdout(&out));
}

#[test]
fn mistakes_and_failures_are_explained() {
    let _machine = machine();
    let lab = provisioned("provider: local\nserver_count: 1\nclient_count: 1\n");
    let out = story(&lab, "faults", &[]);
    assert!(stdout(&out).ends_with("told\n"), "{}", stdout(&out));
}

#[test]
fn an_archive_is_checked_before_it_is_installed() {
    let _machine = machine();
    let lab = provisioned("provider: local\nserver_count: 1\n");
    let out = story(&lab, "archive", &[]);
    assert!(stdout(&out).ends_with("told\n"), "{}", stdout(&out));
}

/// Programs that note how they were called, and say that they are fakes.
const FAKES: [(&str, &str); 4] = [
    (
        "systemctl",
        "case $1 in is-active) [ -e \"$HOME/scylla-runs\" ] ;; start) : >\"$HOME/scylla-runs\"; mkdir -p \"$HOME/scylla/data/system\" ;; stop) rm -f \"$HOME/scylla-runs\" ;; esac",
    ),
    ("journalctl", "echo 'Unable to contact any seeds (said by a fake)'"),
    ("nodetool", "case $1 in status) cat \"$HOME/ring\" ;; compactionstats) echo 'pending tasks: 0' ;; esac"),
    (
        "scylla",
        "echo '  --compaction-static-shares arg  a fake'; echo '  --ring-delay-ms arg'; echo '  --developer-mode arg'; echo '  --tablets-mode-for-new-keyspaces arg'",
    ),
];

#[test]
fn scylla_is_driven_through_its_service() {
    let lab = Lab::new();
    for (name, body) in FAKES {
        let text =
            format!("#!/bin/sh\n# A fake {name} for tests: notes its words.\necho \"{name} $*\" >>\"$HOME/calls\"\n{body}\n");
        let path = lab.write(&format!("fakes/{name}"), &text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    lab.write("configs/lab.yml", "provider: local\nserver_count: 2\n");
    let path = format!("{}:{}", lab.path("fakes").display(), std::env::var("PATH").unwrap());
    let out = lab.command(&["provision", "lab", "configs/lab.yml", "--yes", "-q"]).env("PATH", path).output().unwrap();
    assert_ok(&out);
    let out = story(&lab, "scylla", &[]);
    assert!(stdout(&out).ends_with("told\n"), "{}", stdout(&out));
}
