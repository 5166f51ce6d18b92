//! A project folder of its own, the real binary run in it, and deployments that are removed at the end.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// This user's own cache: the Debian base system and downloads are kept there for all tests.
pub fn shared_cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("opsrun")
}

/// A temporary project. Its deployments are removed when it goes.
pub struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// An empty project.
    pub fn new() -> Self {
        let lab = Self { dir: tempfile::Builder::new().prefix("opsrun lab ").tempdir().unwrap() };
        std::fs::create_dir_all(lab.path("configs")).unwrap();
        lab
    }

    /// A project with a local deployment `lab`: groups server: 3, client: 1.
    pub fn provisioned() -> Self {
        let lab = Self::new();
        lab.write("configs/local.yml", "provider: local\nserver_count: 3\nclient_count: 1\n");
        let out = lab.run(&["provision", "lab", "configs/local.yml", "--yes", "-q"]);
        assert_ok(&out);
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The binary, to be run in the project's folder, with nothing of ours in its environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opsrun"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
            .env_remove("OPSRUN_HOME")
            .env("OPSRUN_CACHE", self.path("cache"))
            .env_remove("SSH_AUTH_SOCK")
            .env("NO_COLOR", "1");
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a script of this text; further words are its arguments.
    pub fn script(&self, text: &str, args: &[&str]) -> Output {
        self.write("test.rhai", text);
        self.run(&[&["test.rhai"], args].concat())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.path("deployments")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') {
                continue;
            }
            let _ = self.run(&["deprovision", &name.to_string_lossy(), "--yes", "-q"]);
        }
    }
}

pub fn stdout(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

pub fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[track_caller]
pub fn assert_ok(out: &Output) {
    assert!(out.status.success(), "exit {:?}\n--- stdout\n{}\n--- stderr\n{}", out.status.code(), stdout(out), stderr(out));
}

/// Processes of this machine that carry the text in their environment or command line.
pub fn processes_with(text: &str) -> Vec<u32> {
    let has = |pid: &Path, file: &str| std::fs::read(pid.join(file)).is_ok_and(|b| String::from_utf8_lossy(&b).contains(text));
    let me = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|e| Some((e.file_name().to_str()?.parse::<u32>().ok()?, e.path())))
        .filter(|(pid, path)| *pid != me && (has(path, "environ") || has(path, "cmdline")))
        .map(|(pid, _)| pid)
        .collect()
}
