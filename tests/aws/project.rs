//! A project folder, a cloud of its own, and the lab that most tests make in it.

use crate::aws::{Aws, REGION, Resource};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// One of moto's own images.
pub const IMAGE: &str = "ami-1e749f67";
pub const NAME: &str = "lab";

pub type Groups<'a> = &'a [(&'a str, usize)];
/// The lab of the mission: three servers, two clients, a monitor.
pub const FULL: Groups = &[("server", 3), ("client", 2), ("monitor", 1)];

pub struct Project {
    dir: tempfile::TempDir,
    pub aws: Aws,
}

/// What `opsrun aws policy` prints.
static POLICY: OnceLock<String> = OnceLock::new();

/// Whatever a test had opsrun call must be in the policy that `opsrun aws policy` prints.
impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let policy = POLICY.get_or_init(|| String::from_utf8(self.succeeds(&["aws", "policy"]).stdout).unwrap());
        let actions = self.aws.actions(crate::aws::KEY);
        let missing: Vec<&String> = actions.iter().filter(|action| !policy.contains(&format!("\"{action}\""))).collect();
        assert!(missing.is_empty(), "called, and not in the policy: {missing:?}");
    }
}

impl Project {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("opsrun aws ").tempdir().unwrap();
        Self { dir, aws: Aws::start() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the config: these groups, and these further lines.
    pub fn config(&self, groups: Groups, more: &str) {
        let groups: String = groups
            .iter()
            .map(|(name, count)| format!("{name}_count: {count}\n{name}_instance_type: c7i.large\n{name}_ami: {IMAGE}\n"))
            .collect();
        let top = [
            ("region", REGION),
            ("availability_zone", "eu-central-1a"),
            ("allow_from", "198.51.100.7/32"),
            ("settle_time", "1s"),
            ("owner", "lab@example.com"),
        ];
        let top: String =
            top.iter().filter(|(key, _)| !sets(more, key)).map(|(key, value)| format!("{key}: {value}\n")).collect();
        let groups: String =
            groups.lines().filter(|l| !sets(more, l.split(':').next().unwrap())).map(|l| format!("{l}\n")).collect();
        self.write("configs/lab.yml", &format!("provider: aws\n{top}{groups}{more}\n"));
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The binary, with credentials for this project's cloud and for no other.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opsrun"));
        self.aws.environment(&mut command);
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
            .env_remove("OPSRUN_HOME")
            .env_remove("SSH_AUTH_SOCK")
            .env("NO_COLOR", "1")
            .env("OPSRUN_CACHE", self.path("cache"));
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    #[track_caller]
    pub fn succeeds(&self, args: &[&str]) -> Output {
        let out = self.run(args);
        assert!(out.status.success(), "opsrun {}: {}\n{}", args.join(" "), said(&out), self.story());
        out
    }

    /// What the command says, which must end with this code.
    #[track_caller]
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let out = self.run(args);
        assert_eq!(out.status.code(), Some(code), "opsrun {}: {}\n{}", args.join(" "), said(&out), self.story());
        said(&out)
    }

    #[track_caller]
    pub fn provision(&self) -> Output {
        self.succeeds(PROVISION)
    }

    /// Removes the deployment; then nothing may be left in the cloud or here.
    #[track_caller]
    pub fn deprovision(&self, story: &str) {
        self.succeeds(DEPROVISION);
        self.aws.assert_none(REGION, &format!("{story}, then deprovisioned"));
        assert!(!self.path("deployments/lab").exists(), "{story}: the deployment's folder is still there");
    }

    /// Exactly the lab exists: nothing missing, nothing double, nothing besides; all named and marked as its own.
    #[track_caller]
    pub fn assert_lab(&self, groups: Groups, story: &str) {
        let nodes: usize = groups.iter().map(|(_, n)| n).sum();
        let wanted = [
            ("instance", nodes),
            ("volume", nodes),
            ("network interface", nodes),
            ("security group", groups.len()),
            ("subnet", 1),
            ("key pair", 1),
            ("internet gateway", 1),
            ("VPC", 1),
        ];
        self.aws.assert_exactly(REGION, &wanted, &format!("{story}\n{}", self.story()));
        let names: BTreeSet<String> = groups.iter().flat_map(|(g, n)| (0..*n).map(move |i| format!("{g}-{i}"))).collect();
        assert_eq!(self.node_names(), names.into_iter().collect::<Vec<_>>(), "{story}\n{}", self.story());
        let all = self.aws.resources(REGION);
        let uuids: BTreeSet<_> = all.iter().filter_map(|r| r.tags.get("opsrun:uuid")).collect();
        assert_eq!(uuids.len(), 1, "{story}: {all:?}");
        for resource in &all {
            // moto drops the tags of network interfaces, and Index is for instances.
            if resource.kind != "network interface" {
                assert_eq!(resource.tags.get("Deployment").map(String::as_str), Some(NAME), "{story}: {resource:?}");
                assert!(resource.tags.contains_key("opsrun:uuid"), "{story}: {resource:?}");
            }
            if resource.kind == "instance" {
                let tag = |key: &str| resource.tags.get(key).cloned().unwrap_or_default();
                assert_eq!(tag("Name"), format!("{}-{}", tag("Group"), tag("Index")), "{story}: {resource:?}");
                assert_eq!(tag("Owner"), "lab@example.com", "{story}: {resource:?}");
                assert_eq!(resource.state, "running", "{story}: {resource:?}");
            }
        }
    }

    /// `configs/quick.yml`: to look at the cloud without the two minutes that AWS may need to show what is there.
    pub fn look_quickly(&self) {
        let text = format!("provider: aws\nregion: {REGION}\nsettle_time: 1s\nowner: lab@example.com\n");
        self.write("configs/quick.yml", &text);
    }

    /// The deployment's folder is gone: another disk, another machine.
    pub fn lose_folder(&self) {
        std::fs::rename(self.path("deployments/lab"), self.path("lost")).unwrap();
    }

    /// The names on instances that exist, sorted; one that has none is `?`.
    pub fn node_names(&self) -> Vec<String> {
        let names = self.instances().into_iter().map(|i| i.tags.get("Name").cloned().unwrap_or_else(|| "?".to_owned()));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    pub fn instances(&self) -> Vec<Resource> {
        self.aws.resources(REGION).into_iter().filter(|r| r.kind == "instance").collect()
    }

    /// Node name to instance ID.
    pub fn ids(&self) -> BTreeMap<String, String> {
        self.instances().into_iter().map(|i| (i.tags.get("Name").cloned().unwrap_or_default(), i.id)).collect()
    }

    /// The changes that the cloud was asked for, for the reader of a failure.
    pub fn story(&self) -> String {
        let line = |c: &crate::aws::Call| {
            format!("  {} {} {} {} {}\n", c.number, c.action, c.status, c.error.clone().unwrap_or_default(), c.what)
        };
        format!("--- changes\n{}", self.aws.changes().iter().map(line).collect::<String>())
    }

    /// Nothing was changed in the cloud, nor tried.
    #[track_caller]
    pub fn assert_untouched(&self, story: &str) {
        assert!(self.aws.changes().is_empty(), "{story}\n{}", self.story());
    }
}

pub const PROVISION: &[&str] = &["provision", NAME, "configs/lab.yml", "--yes", "--no-wait"];
pub const DEPROVISION: &[&str] = &["deprovision", NAME, "--yes"];

/// Whether a config text sets this key at its top.
fn sets(text: &str, key: &str) -> bool {
    text.lines().any(|l| l.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))
}

pub fn said(out: &Output) -> String {
    format!("exit {:?}\n{}{}", out.status.code(), String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}
