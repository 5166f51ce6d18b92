//! A folder for deployments of its own, the real program in it, and a look at what it leaves behind.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Lab {
    pub home: tempfile::TempDir,
}

/// What a command came to.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(self) -> Value {
        let ran = self.ok();
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", ran.stdout))
    }
}

impl Lab {
    pub fn new() -> Self {
        Self { home: tempfile::Builder::new().prefix("opsrun-deployments-").tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// A config `lab.yml` of local nodes, in the flat form.
    pub fn config(&self, text: &str) {
        self.write("lab.yml", &format!("provider: local\n{text}"));
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opsrun"));
        command.args(words).current_dir(self.home.path()).stdin(Stdio::null());
        command.env("OPSRUN_HOME", self.home.path()).env("NO_COLOR", "1").env_remove("SSH_AUTH_SOCK");
        command
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        let out = self.command(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(&*self.home.path().to_string_lossy(), "HOME");
        Ran { code: out.status.code().unwrap_or(-1), stdout: text(out.stdout), stderr: text(out.stderr) }
    }

    pub fn start(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// `name status` of each node.
    #[track_caller]
    pub fn nodes(&self) -> Vec<String> {
        let status = self.run(&["status", "lab", "--json"]).json();
        let word = |n: &Value, key: &str| n[key].as_str().unwrap().to_owned();
        status["nodes"].as_array().unwrap().iter().map(|n| format!("{} {}", word(n, "name"), word(n, "status"))).collect()
    }

    /// Addresses of the nodes, wherever state says they are.
    pub fn addresses(&self) -> Vec<std::net::SocketAddr> {
        let Ok(text) = std::fs::read_to_string(self.path("deployments/lab/state.json")) else { return Vec::new() };
        let state: Value = serde_json::from_str(&text).unwrap();
        let address =
            |n: &Value| format!("{}:{}", n["endpoint"]["host"].as_str().unwrap(), n["endpoint"]["port"]).parse().unwrap();
        state["nodes"].as_array().unwrap().iter().map(address).collect()
    }

    /// Runs a command on a node with plain OpenSSH and the deployment's own ssh_config.
    #[track_caller]
    pub fn ssh(&self, node: &str, command: &str) -> String {
        let config = self.path("deployments/lab/ssh_config");
        let out = Command::new("ssh").arg("-F").arg(config).args(["-o", "BatchMode=yes", node, command]).output();
        let out = out.expect("needs ssh: apt-get install openssh-client");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Every process that has to do with this folder: by its command line, environment or working directory.
    pub fn processes(&self) -> Vec<String> {
        let home = self.home.path().to_string_lossy().into_owned();
        let mine = |dir: &Path| -> Option<String> {
            let pid: u32 = dir.file_name()?.to_str()?.parse().ok()?;
            if pid == std::process::id() {
                return None;
            }
            let read =
                |name: &str| String::from_utf8_lossy(&std::fs::read(dir.join(name)).unwrap_or_default()).replace('\0', " ");
            let cwd = std::fs::read_link(dir.join("cwd")).map(|p| p.display().to_string()).unwrap_or_default();
            let (line, environ) = (read("cmdline"), read("environ"));
            [&line, &environ, &cwd].iter().any(|text| text.contains(&home)).then(|| format!("{pid} {line}"))
        };
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| mine(&e.path())).collect()
    }

    /// Nothing of the deployments is left: no process, no folder, no port.
    #[track_caller]
    pub fn assert_nothing_left(&self, addresses: &[std::net::SocketAddr]) {
        // A supervisor that was just being started when its starter was killed may need a moment to see that it has no home.
        let until = Instant::now() + Duration::from_secs(5);
        while !self.processes().is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(self.processes(), Vec::<String>::new(), "processes are left");
        let left: Vec<_> = std::fs::read_dir(self.path("deployments")).unwrap().flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "folders are left: {left:?}");
        for address in addresses {
            assert!(std::net::TcpListener::bind(address).is_ok(), "port {address} is taken");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.path("deployments")) else { return };
        for entry in entries.flatten() {
            let _ = self.command(&["deprovision", &entry.file_name().to_string_lossy(), "--yes"]).output();
        }
    }
}
