//! The manual: everything scripts can call is told, with an example, and every example runs.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const WORKERS: usize = 4;

/// The deployment that examples work on.
const CONFIG: &str = "provider: local\ngroups:\n  server: { count: 3 }\n  client: { count: 1 }\n";

/// A project with the deployment `doc`, which is gone at the end whatever happens.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("configs")).unwrap();
        std::fs::write(dir.path().join("configs/local.yml"), CONFIG).unwrap();
        Self(dir)
    }

    fn opsrun(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opsrun"));
        command.current_dir(self.0.path()).env("NO_COLOR", "1").env("OPSRUN_HOME", self.0.path());
        command.env("OPSRUN_CACHE", self.0.path().join("cache")).args(words).output().unwrap()
    }

    fn provision(&self) {
        let made = self.opsrun(&["provision", "doc", "configs/local.yml", "--yes"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.opsrun(&["deprovision", "doc", "--yes"]);
    }
}

/// One thing of ours, or of the standard library.
struct Entry {
    name: String,
    text: String,
    examples: Vec<(String, bool)>,
}

fn entries(lab: &Lab) -> Vec<Entry> {
    let out = lab.opsrun(&["doc", "--json"]);
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    let all: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    all.iter()
        .filter(|e| e["module"] != "rhai")
        .map(|e| Entry {
            name: format!("{} ({})", text(&e["name"]), text(&e["module"])),
            text: text(&e["text"]),
            examples: e["examples"].as_array().unwrap().iter().map(|x| (text(&x["code"]), x["runs"] == true)).collect(),
        })
        .collect()
}

#[test]
fn everything_is_told_with_an_example() {
    let untold: Vec<String> = entries(&Lab::new())
        .into_iter()
        .filter(|e| e.text.is_empty() || e.examples.is_empty())
        .map(|e| format!("{}: {}", e.name, if e.text.is_empty() { "no text" } else { "no example" }))
        .collect();
    assert!(untold.is_empty(), "give each `///` and an `# Example`:\n{}", untold.join("\n"));
}

#[test]
fn every_example_runs() {
    let lab = Lab::new();
    let examples: Vec<(String, String, bool)> = entries(&lab)
        .into_iter()
        .flat_map(|e| e.examples.into_iter().map(move |(code, runs)| (e.name.clone(), code, runs)))
        .collect();
    lab.provision();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((name, code, runs)) = examples.get(at) else { break };
                    if let Err(why) = try_example(&lab, at, code, *runs) {
                        failed.lock().unwrap().push(format!("--- {name}\n{code}\n{why}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} examples fail:\n{}", failed.len(), examples.len(), failed.join("\n"));
}

/// Every example must pass `opsrun check`; those that say so are not run.
fn try_example(lab: &Lab, at: usize, code: &str, runs: bool) -> Result<(), String> {
    let script = format!("example-{at}.rhai");
    std::fs::write(lab.0.path().join(&script), format!("{code}\n")).unwrap();
    let ok = |out: &Output| {
        if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
    };
    ok(&lab.opsrun(&["check", &script]))?;
    if runs { ok(&lab.opsrun(&[&script, "doc"])) } else { Ok(()) }
}

#[test]
fn every_module_of_the_standard_library_has_a_page() {
    // The modules are found by the binary itself: the folder and the list of `script::stdlib` are held together elsewhere.
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
    let lab = Lab::new();
    for module in std::fs::read_dir(dir).unwrap() {
        let file = module.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".rhai") else { continue };
        let out = lab.opsrun(&["doc", &format!("std/{name}")]);
        let shown = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && shown.contains(name), "opsrun doc std/{name}: {shown}");
    }
}

#[test]
fn shipped_scripts_have_no_findings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_opsrun"));
    let out = command.current_dir(root).env("NO_COLOR", "1").args(["check", "scripts", "stdlib"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
