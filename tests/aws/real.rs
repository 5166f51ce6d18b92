//! A real machine on this host (nspawn, with systemd and an sshd that listens), to be an instance of the cloud.

use crate::project::{Project, said};
use serde_json::Value;
use std::process::{Command, Output};

/// The one node of the deployment `real`. It goes when this does.
pub struct RealMachine<'a> {
    project: &'a Project,
    pub address: String,
}

impl<'a> RealMachine<'a> {
    /// With further lines for its config.
    pub fn boot(project: &'a Project, more: &str) -> Self {
        project.write("configs/real.yml", &format!("provider: machine\nserver_count: 1\n{more}"));
        let mut machine = Self { project, address: String::new() };
        machine.opsrun(&["provision", "real", "configs/real.yml", "--yes", "-q"]);
        machine.node()["address"].as_str().unwrap().clone_into(&mut machine.address);
        machine
    }

    /// The base system is that of this user's cache.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.project.command(words);
        command.env_remove("OPSRUN_CACHE");
        command
    }

    #[track_caller]
    pub fn opsrun(&self, words: &[&str]) -> Output {
        let out = self.command(words).output().unwrap();
        assert!(out.status.success(), "opsrun {}: {}", words.join(" "), said(&out));
        out
    }

    /// Its line of the status.
    pub fn node(&self) -> Value {
        let status: Value = serde_json::from_slice(&self.opsrun(&["status", "real", "--json"]).stdout).unwrap();
        status["nodes"][0].clone()
    }

    /// A ProxyCommand that leads to it.
    pub fn way(&self) -> String {
        format!("bash -c 'exec 3<>/dev/tcp/{}/22; cat <&3 & cat >&3; kill $!'", self.address)
    }
}

impl Drop for RealMachine<'_> {
    fn drop(&mut self) {
        let _ = self.command(&["deprovision", "real", "--yes", "-q"]).output();
    }
}
