//! The storeys of the house: a file imports only from below, and siblings of the transport storey leave each other alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From the ground up. Faces share the top.
const STOREYS: [&[&str]; 5] = [&["base"], &["transport"], &["domain"], &["script"], &["ui", "cli", "repl", "server"]];

fn storey(room: &str) -> usize {
    STOREYS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("src/{room} belongs to no storey: name it in tests/house.rs"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Each `crate::a::b` a file mentions, as (line, [a, b]).
fn imports(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for part in line.split("crate::").skip(1) {
            let path: Vec<String> = part
                .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                .next()
                .unwrap_or_default()
                .split("::")
                .map(str::to_owned)
                .collect();
            found.push((number + 1, path));
        }
    }
    found
}

#[test]
fn every_file_imports_only_from_below() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = BTreeSet::new();
    for file in rust_files(&src) {
        let relative = file.strip_prefix(&src).unwrap();
        let rooms: Vec<String> =
            relative.with_extension("").components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        if rooms.len() == 1 && ["lib", "main"].contains(&rooms[0].as_str()) {
            continue;
        }
        let mine = storey(&rooms[0]);
        for (line, path) in imports(&std::fs::read_to_string(&file).unwrap()) {
            let theirs = storey(&path[0]);
            let upward = theirs > mine;
            let sibling = mine == 1 && theirs == 1 && path.get(1).is_some_and(|room| rooms.get(1) != Some(room));
            if upward || sibling {
                wrong.insert(format!("src/{}:{line}: {} imports {}", relative.display(), rooms.join("::"), path.join("::")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the storeys (style: base < transport < domain < script < faces):\n{}",
        wrong.into_iter().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn only_faces_print() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for room in ["base", "transport", "domain", "script"] {
        for file in rust_files(&src.join(room)) {
            for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if ["println!", "print!(", "eprint", "dbg!"].iter().any(|p| code.contains(p)) {
                    wrong.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these print, which only ui, cli and repl may:\n{}", wrong.join("\n"));
}

#[test]
fn ci_runs_the_command_of_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ci = std::fs::read_to_string(root.join(".ci/run")).unwrap();
    let command = ci.lines().last().unwrap().trim();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.lines().any(|l| l.trim() == command), "README.md does not show `{command}`, which .ci/run runs");
}

#[test]
fn scripts_of_the_readme_and_of_the_project_have_no_mistakes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut scripts = Vec::new();
    for (number, block) in readme.split("```rhai\n").skip(1).enumerate() {
        let script = dir.path().join(format!("readme-{number}.rhai"));
        std::fs::write(&script, block.split("```").next().unwrap()).unwrap();
        scripts.push(script);
    }
    assert!(!scripts.is_empty(), "the README shows no script");
    scripts.extend(std::fs::read_dir(root.join("scripts")).unwrap().map(|e| e.unwrap().path()));
    let out =
        std::process::Command::new(env!("CARGO_BIN_EXE_opsrun")).arg("check").args(&scripts).current_dir(root).output().unwrap();
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
}
