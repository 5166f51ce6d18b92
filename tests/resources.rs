//! Every resource on real machines: created, changed, unchanged, in a check, undone; under names that tools stumble over.
//!
//! Each file of `tests/resources/` is a case, which leaves its machine to the next as it found it. `CASE=files cargo test --test resources` runs one.
//! Needs Linux, root, and: apt-get install systemd-container debootstrap iproute2 nftables git.

#[path = "common/lab.rs"]
mod lab;

use lab::{Lab, assert_ok, stderr, stdout};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const MACHINES: usize = 3;

/// The machines, on the base system that all tests share.
struct Site(Lab);

impl Site {
    fn new(machines: usize) -> Self {
        let site = Self(Lab::new());
        site.0.write("configs/m.yml", &format!("provider: machine\nserver_count: {machines}\n"));
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/resources");
        for entry in walkdir::WalkDir::new(&from).min_depth(1).into_iter().flatten().filter(|e| e.file_type().is_file()) {
            let name = entry.path().strip_prefix(&from).unwrap().to_str().unwrap();
            site.0.write(name, &std::fs::read_to_string(entry.path()).unwrap());
        }
        assert_ok(&site.run(&["provision", "lab", "configs/m.yml", "--yes", "-q"]));
        site
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.0.command(words);
        command.env("OPSRUN_CACHE", lab::shared_cache());
        command.env("TEST_TOKEN", "token-of-this-test");
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a case; what it has to complain about.
    fn case(&self, case: &str, node: &str) -> Result<(), String> {
        let out = self.run(&[&format!("{case}.rhai"), "lab", node]);
        if out.status.success() { Ok(()) } else { Err(format!("case {case} on {node}:\n{}{}", stdout(&out), stderr(&out))) }
    }

    /// Deploys the role `chain` to server-0; what came of each resource.
    #[track_caller]
    fn deploy(&self, more: &[&str]) -> Vec<String> {
        let out = self.run(&[&["deploy", "lab", "--roles", "chain", "--limit", "server-0", "--json"], more].concat());
        assert_ok(&out);
        let report: Value = serde_json::from_slice(&out.stdout).unwrap();
        let word = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
        let items = report["nodes"][0]["items"].as_array().unwrap();
        items.iter().map(|i| format!("{} {}", word(i, "kind"), word(i, "outcome"))).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.run(&["deprovision", "lab", "--yes", "-q"]);
    }
}

fn cases() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/resources");
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut cases: Vec<String> = names.filter_map(|n| n.strip_suffix(".rhai").map(str::to_owned)).collect();
    // It is what the cases share.
    cases.retain(|c| c != "cycle");
    if let Ok(only) = std::env::var("CASE") {
        cases.retain(|c| c.contains(&only));
    }
    cases.sort();
    cases
}

#[test]
fn every_resource_does_what_it_says() {
    let cases = cases();
    let site = Site::new(MACHINES);
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for machine in 0..MACHINES {
            let (site, cases, next, wrong) = (&site, &cases, &next, &wrong);
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = site.case(case, &format!("server-{machine}")) {
                        wrong.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} cases fail:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// A check of resources that stand on each other knows what those before would leave; what only a command tells, it does not.
#[test]
fn a_check_of_a_chain_foresees_what_it_would_do() {
    let site = Site::new(1);
    let asked =
        ["user_group", "user", "directory", "file", "line", "link", "template", "unit", "service", "command", "wait_file"];
    let (foreseen, done) = (site.deploy(&["--check"]), site.deploy(&[]));
    for (at, kind) in asked.iter().enumerate() {
        let (would, did) = if *kind == "wait_file" { ("unknown", "ok") } else { ("changed", "changed") };
        assert_eq!((foreseen[at].as_str(), done[at].as_str()), (&*format!("{kind} {would}"), &*format!("{kind} {did}")));
    }
    for mode in [&["--check"][..], &[]] {
        let again = site.deploy(mode);
        assert!(again.iter().all(|i| i.ends_with(" ok")), "{mode:?}: {again:?}");
        assert_eq!(again.len(), asked.len());
    }
}
