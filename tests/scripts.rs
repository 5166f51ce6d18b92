//! Scripts through the real binary: each folder of `tests/scripts/` is a case.
//!
//! A case has `script.rhai` and whatever files it needs, `args` (words, one a line), `env` (`NAME=value` lines) and `stdin`;
//! and what is expected: `stdout`, `stderr` and `code` (none means empty, and 0). `command` names another command than `run`.
//! `UPDATE=1 cargo test --test scripts` writes the expectations anew: read the diff before you commit it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const EXPECTED: [&str; 3] = ["stdout", "stderr", "code"];
const WORKERS: usize = 4;

#[test]
fn every_case_says_what_it_should() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    if let Ok(only) = std::env::var("CASE") {
        cases.retain(|c| c.file_name().unwrap().to_string_lossy().contains(&only));
    }
    assert!(!cases.is_empty(), "there are no cases in {}", root.display());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(difference) = check(case) {
                        wrong.lock().unwrap().push(difference);
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    assert!(wrong.is_empty(), "{}\nUPDATE=1 cargo test --test scripts writes what is said now.", wrong.join("\n"));
}

fn check(case: &Path) -> Result<(), String> {
    let got = run(case);
    let update = std::env::var_os("UPDATE").is_some();
    let mut difference = String::new();
    for (name, text) in EXPECTED.into_iter().zip(&got) {
        let file = case.join(name);
        let wanted = std::fs::read_to_string(&file).unwrap_or_default();
        if *text == wanted {
            continue;
        }
        if update {
            if text.is_empty() {
                std::fs::remove_file(&file).unwrap();
            } else {
                std::fs::write(&file, text).unwrap();
            }
            continue;
        }
        let diff = similar::TextDiff::from_lines(wanted.as_str(), text.as_str());
        let shown = diff.unified_diff().context_radius(2).header("expected", "got").to_string();
        let _ = write!(difference, "case {}, {name}:\n{shown}", case.file_name().unwrap().to_string_lossy());
    }
    if difference.is_empty() { Ok(()) } else { Err(difference) }
}

/// stdout, stderr and exit code of a case, each as its file holds it.
fn run(case: &Path) -> [String; 3] {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    copy(case, &dir);
    let lines = |name: &str| -> Vec<String> {
        std::fs::read_to_string(case.join(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_opsrun"));
    command.current_dir(&dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", &dir).env("OPSRUN_HOME", &dir).env("OPSRUN_CACHE", dir.join("cache")).env("NO_COLOR", "1");
    for (name, value) in lines("env").iter().filter_map(|l| l.split_once('=')) {
        command.env(name, value);
    }
    let words = lines("command");
    if words.is_empty() {
        command.arg("script.rhai")
    } else {
        command.args(words)
    };
    command.args(lines("args")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = std::fs::read(case.join("stdin")).unwrap_or_default();
    let _ = child.stdin.take().unwrap().write_all(&input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| filter(&String::from_utf8_lossy(bytes), &dir);
    let code = output.status.code().map_or_else(|| format!("{:?}\n", output.status), |c| format!("{c}\n"));
    [text(&output.stdout), text(&output.stderr), if code == "0\n" { String::new() } else { code }]
}

/// What differs from run to run is replaced by a word.
fn filter(text: &str, dir: &Path) -> String {
    text.replace(&dir.display().to_string(), "$DIR").replace(env!("CARGO_PKG_VERSION"), "$VERSION")
}

fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).min_depth(1) {
        let entry = entry.unwrap();
        let relative = entry.path().strip_prefix(from).unwrap();
        if entry.file_type().is_dir() {
            std::fs::create_dir(to.join(relative)).unwrap();
        } else if !EXPECTED.iter().any(|e| relative == Path::new(e)) {
            std::fs::copy(entry.path(), to.join(relative)).unwrap();
        }
    }
}
