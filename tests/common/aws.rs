//! AWS for tests: moto and ministack, joined by a bridge, behind a proxy that adds what they lack and faults on demand
//! (`tests/support/aws_proxy.py`).
//! A fake, then: what passes has passed against that reading of the documentation.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// Clouds that are not in use. They end when the test binary does, however it does: their stdin ends then.
static IDLE: Mutex<Vec<Server>> = Mutex::new(Vec::new());

pub const REGION: &str = "eu-central-1";
/// The access key of programs that are tested.
pub const KEY: &str = "lab";

/// One empty cloud, for one test.
pub struct Aws {
    server: Option<Server>,
}

struct Server {
    child: Child,
    /// `127.0.0.1:4321`
    address: String,
}

/// Whether a call is held before it reaches the cloud, or before its answer leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// A call that the cloud saw.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Call {
    pub number: usize,
    pub service: String,
    pub action: String,
    pub params: BTreeMap<String, String>,
    pub region: String,
    pub mutating: bool,
    pub dry_run: bool,
    /// 0 while it is under way, or when its connection was closed.
    pub status: u16,
    pub error: Option<String>,
    /// What the proxy did: `forwarded`, `refused by rule: …`
    pub what: String,
}

/// Something that exists, and may cost money.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub struct Resource {
    /// `instance`, `volume`, `key pair`, `security group`, `subnet`, `internet gateway`, `route table`, `VPC`, `address`, `network interface`;
    /// of ministack also `stack`, `bucket`, `auto-scaling group`… (see `tests/support/bridge_exists.py`)
    pub kind: String,
    pub id: String,
    pub state: String,
    pub tags: BTreeMap<String, String>,
}

/// The Python of the venv that `tests/setup.sh` makes; it has moto and boto3.
pub fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let python = cache.join("opsrun-test/moto/bin/python");
    for needed in [&python, &cache.join("opsrun-test/ministack/bin/ministack")] {
        assert!(needed.exists(), "this test needs moto and ministack ({} is missing): sh tests/setup.sh", needed.display());
    }
    python
}

pub fn support(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(file)
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(python())
            .arg(support("aws_proxy.py"))
            .arg("--until-stdin-ends")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap_or_else(|| panic!("the cloud did not start; it said {line:?}"));
        let address = address.to_owned();
        Self { child, address }
    }

    /// What the proxy's control answers.
    fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} /_proxy/{path} HTTP/1.1\r\nHost: aws\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body.as_str()).as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {path}: {reply:?}"));
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {body}");
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Aws {
    pub fn start() -> Self {
        let idle = IDLE.lock().unwrap().pop();
        let aws = Self { server: Some(idle.unwrap_or_else(Server::start)) };
        aws.post("reset", &json!({}));
        aws
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.server().control("POST", path, body)
    }

    fn get(&self, path: &str) -> Value {
        self.server().control("GET", path, &Value::Null)
    }

    /// `http://127.0.0.1:4321`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server().address)
    }

    /// Points a program at this cloud, with credentials for it, and away from all others.
    pub fn environment(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", "none")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    }

    /// A ProxyCommand that leads to the instances: each is played by a real sshd, and keeps what is its own in the folder.
    pub fn machine(&self, folder: &Path, region: &str) -> String {
        self.machine_with(&[], folder, region)
    }

    /// As `machine`, but all files of an instance are its own, and one of a baked image begins with what was baked:
    /// roles can be applied to it without harm to this machine.
    pub fn whole_machine(&self, folder: &Path, region: &str) -> String {
        self.machine_with(&[PathBuf::from("--whole")], folder, region)
    }

    fn machine_with(&self, options: &[PathBuf], folder: &Path, region: &str) -> String {
        assert!(nix::unistd::Uid::effective().is_root(), "machines have mounts of their own: run this test as root");
        let mut words = vec![python(), support("aws_machine.py")];
        words.extend_from_slice(options);
        words.extend([folder.to_owned(), self.endpoint().into(), region.into()]);
        let words: Vec<String> = words.iter().map(|w| format!("'{}'", w.display())).collect();
        format!("env PYTHONDONTWRITEBYTECODE=1 {} %h", words.join(" "))
    }

    /// From now on these rules hold, and no others (see `tests/support/aws_rules.py`).
    pub fn script(&self, rules: &Value) {
        self.post("script", rules);
    }

    /// What happens to resources of stacks from now on: they fail, or take time (see `tests/support/bridge_control.py`).
    pub fn stack_resources(&self, orders: &Value) {
        self.post(&format!("resource?region={REGION}"), orders);
    }

    /// What change sets that are made from now on show of a resource: `Replacement`, `Action`, `PolicyAction`, `Scope`.
    pub fn change_sets_show(&self, orders: &Value) {
        self.post(&format!("change?region={REGION}"), orders);
    }

    /// Puts a stack into one of the 23 statuses; it acts on it as on its own.
    pub fn stack_status(&self, stack: &str, status: &str, reason: &str) {
        self.post(&format!("status?region={REGION}"), &json!({ "stack": stack, "status": status, "reason": reason }));
    }

    /// As `stack_status`, for so many questions; then it is in the second status.
    pub fn stack_status_until(&self, stack: &str, status: &str, describes: usize, then: &str) {
        let order = json!({ "stack": stack, "status": status, "describes": describes, "then": then });
        self.post(&format!("status?region={REGION}"), &order);
    }

    /// What drift detection finds (see `tests/support/bridge_drift.py`).
    pub fn drift(&self, orders: &Value) {
        self.post(&format!("drift?region={REGION}"), orders);
    }

    /// The health of load balancers' targets (see `tests/support/bridge_balancer.py`).
    pub fn targets(&self, orders: &Value) {
        self.post(&format!("targets?region={REGION}"), orders);
    }

    /// The n-th changing call from now on (the first is 1) is held, and with it all later changes.
    pub fn stop_at(&self, call: usize, when: When) {
        let when = if when == When::Before { "before" } else { "after" };
        self.post("stop", &json!({ "call": call, "when": when }));
    }

    /// The action that is held, waited for this long.
    pub fn stopped(&self, wait: Duration) -> Option<String> {
        let held = self.get(&format!("stopped?wait={}", wait.as_secs_f64()));
        held["call"]["action"].as_str().map(str::to_owned)
    }

    /// Closes the connections that are held, and holds no further ones.
    pub fn release(&self) {
        self.post("release", &json!({}));
    }

    /// The calls since the start, or since `forget`.
    pub fn calls(&self) -> Vec<Call> {
        serde_json::from_value(self.get("calls")).unwrap()
    }

    pub fn calls_of(&self, action: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|c| c.action == action && !c.dry_run).collect()
    }

    /// Every action that was called with this access key since the start, whatever was forgotten: `ec2:RunInstances`.
    pub fn actions(&self, key: &str) -> Vec<String> {
        serde_json::from_value(self.get(&format!("actions?key={key}"))).unwrap()
    }

    /// The calls that changed something or tried to.
    pub fn changes(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|c| c.mutating).collect()
    }

    /// Forgets the calls and the rules. The cloud stays as it is.
    pub fn forget(&self) {
        self.post("forget", &json!({}));
    }

    /// All that exists in the region, beyond what every account has there.
    pub fn resources(&self, region: &str) -> Vec<Resource> {
        let mut found: Vec<Resource> = serde_json::from_value(self.get(&format!("resources?region={region}"))).unwrap();
        found.sort();
        found
    }

    /// Exactly these exist in the region, by kind and number, and nothing of another kind.
    #[track_caller]
    pub fn assert_exactly(&self, region: &str, wanted: &[(&str, usize)], story: &str) {
        let found = self.resources(region);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for resource in &found {
            *counts.entry(&resource.kind).or_default() += 1;
        }
        let wanted: BTreeMap<&str, usize> = wanted.iter().copied().filter(|(_, n)| *n > 0).collect();
        assert!(counts == wanted, "{story}\nwanted {wanted:?}\nfound  {counts:?}\n{}", list(&found));
    }

    #[track_caller]
    pub fn assert_none(&self, region: &str, story: &str) {
        self.assert_exactly(region, &[], story);
    }
}

fn list(resources: &[Resource]) -> String {
    resources.iter().map(|r| format!("  {} {} {} {:?}\n", r.kind, r.id, r.state, r.tags)).collect()
}

impl Drop for Aws {
    fn drop(&mut self) {
        let server = self.server.take().unwrap();
        // After a failure the next test gets a new one: who knows what this one holds.
        if !std::thread::panicking() {
            IDLE.lock().unwrap().push(server);
        }
    }
}
