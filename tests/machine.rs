//! Real machines through the real binary: made, used, limited, stopped, multiplied, killed, and gone without a trace.
//!
//! Needs Linux, root, and: apt-get install systemd-container debootstrap iproute2 nftables. The base system is built once, in this
//! user's cache.

#[path = "common/lab.rs"]
mod lab;

use lab::{Lab, assert_ok, processes_with, stderr, stdout};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const ONE: &str = "provider: machine\nserver_count: 1\n";

/// A project whose machines stand on the base system that all tests share.
struct Site(Lab);

impl Site {
    fn new(config: &str) -> Self {
        let site = Self(Lab::new());
        site.0.write("configs/m.yml", config);
        site
    }

    fn provisioned(config: &str) -> Self {
        let site = Self::new(config);
        assert_ok(&site.run(&["provision", "lab", "configs/m.yml", "--yes", "-q"]));
        site
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.0.command(words);
        command.env("OPSRUN_CACHE", cache());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Starts it and returns while it runs.
    fn start(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// What a command prints on a node.
    #[track_caller]
    fn on(&self, node: &str, line: &str) -> String {
        let out = self.run(&["exec", "lab", node, "--json", "--", line]);
        assert_ok(&out);
        let rows: Value = serde_json::from_str(&stdout(&out)).unwrap();
        rows[0]["stdout"].as_str().unwrap().trim().to_owned()
    }

    /// `name status` of each node.
    fn status(&self) -> Vec<String> {
        let out = self.run(&["status", "lab", "--json"]);
        assert_ok(&out);
        let status: Value = serde_json::from_str(&stdout(&out)).unwrap();
        let word = |n: &Value, key: &str| n[key].as_str().unwrap().to_owned();
        status["nodes"].as_array().unwrap().iter().map(|n| format!("{} {}", word(n, "name"), word(n, "status"))).collect()
    }

    fn state(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.path("deployments/lab/state.json")).unwrap()).unwrap()
    }

    fn uuid(&self) -> String {
        self.state()["uuid"].as_str().unwrap().to_owned()
    }

    /// What nspawn runs as, of each node.
    fn nspawns(&self) -> Vec<i32> {
        let mark = format!("OPSRUN_NODE_ID={}/", self.uuid());
        processes_with(&mark)
            .into_iter()
            .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "systemd-nspawn"))
            .map(|pid| i32::try_from(pid).unwrap())
            .collect()
    }

    /// Removes the deployment; then nothing of it is anywhere.
    #[track_caller]
    fn deprovision(&self) {
        let uuid = self.uuid();
        assert_ok(&self.run(&["deprovision", "lab", "--yes", "-q"]));
        assert_nothing_left(&uuid);
        assert!(!self.0.path("deployments/lab").exists());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in walk(&self.0.path("deployments")).iter().filter(|p| p.ends_with("console.log")) {
                let text = std::fs::read_to_string(entry).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                println!("{}:\n{}", entry.display(), lines[lines.len().saturating_sub(8)..].join("\n"));
            }
        }
    }
}

fn cache() -> PathBuf {
    lab::shared_cache()
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_dir()) && !path.ends_with("upper") && !path.ends_with("work") {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn tool(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output();
    let out = out.unwrap_or_else(|e| panic!("{program}: {e}; apt-get install systemd-container debootstrap iproute2 nftables"));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Waits until it is true, or fails after half a minute.
#[track_caller]
fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !check() {
        assert!(begin.elapsed() < Duration::from_secs(30), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// No process, mount, cgroup or address of the deployment; and no network, once nobody has a machine.
#[track_caller]
fn assert_nothing_left(uuid: &str) {
    assert_eq!(processes_with(uuid), Vec::<u32>::new(), "processes");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(uuid), "{mounts}");
    let cgroups = tool("find", &["/sys/fs/cgroup", "-type", "d", "-name", &format!("*{uuid}*")]);
    assert_eq!(cgroups, "");
    let claims = || walk(Path::new("/run/opsrun/machines/addresses"));
    for claim in claims() {
        assert!(!std::fs::read_to_string(&claim).unwrap_or_default().contains(uuid), "{}", claim.display());
    }
    // Other tests have machines of their own, and the last to go takes the network with it.
    let network = || {
        tool("ip", &["-d", "link"]).contains("opsrun: network") || tool("nft", &["list", "ruleset"]).contains("opsrun: network")
    };
    eventually("the network goes with the last machine", || !claims().is_empty() || !network());
}

fn kill9(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn machines_are_real_and_each_has_its_own() {
    let site = Site::provisioned("provider: machine\nserver_count: 2\ngroups: { my_db: { count: 1 } }\n");
    assert_eq!(site.status(), ["my_db-0 running", "server-0 running", "server-1 running"]);
    assert_eq!(site.on("server-0", "hostname; cat /proc/1/comm"), "server-0\nsystemd");
    assert_eq!(site.on("my_db-0", "hostname"), "my-db-0", "host names have no underscores");
    eventually("it has started all it has", || site.on("server-0", "systemctl is-system-running || true") == "running");
    assert_eq!(site.on("server-0", "systemctl --failed --no-legend | wc -l"), "0");
    let id = |node| site.on(node, "cat /etc/machine-id");
    assert_eq!(id("server-0").len(), 32);
    assert_ne!(id("server-0"), id("server-1"));
    // The same port on both, and each reaches the other by name.
    let serve = "systemd-run -q --unit=web python3 -m http.server 80 --bind 0.0.0.0 2>&1; systemctl is-active web";
    for node in ["server-0", "server-1"] {
        site.on(
            node,
            &format!(
                "mkdir -p /srv && echo I am {node} > /srv/who; cd /srv; {}",
                serve.replace("--unit", "-p WorkingDirectory=/srv --unit")
            ),
        );
    }
    let fetch = |from, name: &str| {
        let code = format!("import urllib.request as u; print(u.urlopen('http://{name}/who').read().decode())");
        site.on(from, &format!("for i in $(seq 50); do python3 -c \"{code}\" 2>/dev/null && break; sleep 0.1; done"))
    };
    assert_eq!(fetch("server-0", "server-1"), "I am server-1");
    assert_eq!(fetch("server-1", "server-0"), "I am server-0");
    assert_eq!(fetch("my_db-0", "server-0"), "I am server-0");
    // The way out, and a package with its service.
    let install =
        "apt-get install -y -q --no-install-recommends nftables >/dev/null 2>&1; nft add table inet mine; nft list tables";
    assert_eq!(site.on("my_db-0", install), "table inet mine");
    assert_eq!(site.on("server-0", "command -v nft || echo none"), "none");
    assert!(!tool("nft", &["list", "tables"]).contains("table inet mine"), "its firewall is its own");
    // Plain OpenSSH gets there with what the deployment's folder says.
    let config = site.0.path("deployments/lab/ssh_config");
    let out = Command::new("ssh").arg("-F").arg(config).args(["-o", "BatchMode=yes", "server-1", "hostname"]).output();
    assert_eq!(stdout(&out.expect("apt-get install openssh-client")), "server-1\n");
    site.deprovision();
}

#[test]
fn a_deployment_grows_and_shrinks_and_all_know_each_other() {
    let site = Site::provisioned(ONE);
    let since = site.on("server-0", "touch /root/kept; stat -c %Y /proc/1");
    site.0.write("configs/m.yml", "provider: machine\nserver_count: 3\n");
    assert_ok(&site.run(&["provision", "lab", "--yes", "-q"]));
    assert_eq!(site.on("server-0", "stat -c %Y /proc/1"), since, "what was there stays as it is");
    let names = |node| site.on(node, "sed -n 's/.* server-/server-/p' /etc/hosts | sort | tr '\\n' ' '");
    assert_eq!(names("server-0"), "server-0 server-1 server-2");
    assert_eq!(names("server-2"), "server-0 server-1 server-2");
    assert_ok(&site.run(&["provision", "lab", "--yes"]));
    site.0.write("configs/m.yml", "provider: machine\nserver_count: 1\n");
    assert_ok(&site.run(&["provision", "lab", "--yes", "-q"]));
    assert_eq!(site.status(), ["server-0 running"]);
    assert_eq!(names("server-0"), "server-0");
    assert_eq!(site.on("server-0", "ls /root/kept"), "/root/kept");
    site.deprovision();
}

#[test]
fn stopped_on_purpose_stays_stopped_and_broken_is_brought_back() {
    let site = Site::provisioned("provider: machine\nserver_count: 2\n");
    site.on("server-0", "echo kept > /root/file");
    let address = site.state()["nodes"][0]["endpoint"]["host"].clone();
    assert_ok(&site.run(&["node", "stop", "lab", "server-0"]));
    assert_eq!(site.status(), ["server-0 stopped", "server-1 running"]);
    let out = site.run(&["exec", "lab", "server-1", "--", "hostname"]);
    assert_eq!(stdout(&out), "server-1 | server-1\n");
    assert!(stderr(&out).contains("opsrun node start lab server-0"), "{}", stderr(&out));
    assert_eq!(site.status(), ["server-0 stopped", "server-1 running"], "nobody starts it unasked");
    assert_ok(&site.run(&["node", "start", "lab", "server-0"]));
    assert_eq!(site.on("server-0", "cat /root/file"), "kept");
    // `provision` starts what was stopped, too.
    assert_ok(&site.run(&["node", "stop", "lab", "server", "--at-once"]));
    let plan = site.run(&["plan", "lab"]);
    assert!(stdout(&plan).contains("it was stopped"), "{}", stdout(&plan));
    assert_ok(&site.run(&["provision", "lab", "--yes", "-q"]));
    // What is in /run is gone after a boot.
    for node in ["server-0", "server-1"] {
        site.on(node, "touch /run/before");
    }
    let booted = |node| site.on(node, "test ! -e /run/before; echo $?") == "0";
    assert_ok(&site.run(&["node", "reboot", "lab", "server-0"]));
    assert!(booted("server-0") && !booted("server-1"));
    // A reboot from inside.
    let _ = site.run(&["exec", "lab", "server-1", "--", "systemctl reboot"]);
    eventually("it is there again", || {
        let out = site.run(&["exec", "lab", "server-1", "--", "test ! -e /run/before"]);
        out.status.success()
    });
    // nspawn killed, and then the machine's own first process.
    for pid in site.nspawns() {
        kill9(pid);
    }
    assert_eq!(site.on("server-0", "cat /root/file"), "kept");
    assert_eq!(site.status(), ["server-0 running", "server-1 running"]);
    assert_eq!(site.state()["nodes"][0]["endpoint"]["host"], address);
    for pid in processes_with(&format!("OPSRUN_NODE_ID={}/server-1", site.uuid())) {
        kill9(i32::try_from(pid).unwrap());
    }
    let out = site.run(&["exec", "lab", "server-1", "--", "hostname"]);
    assert_eq!(stdout(&out), "server-1 | server-1\n", "{}", stderr(&out));
    assert!(stderr(&out).contains("server-1 of deployment lab had ended unasked"), "{}", stderr(&out));
    assert!(site.run(&["node", "stop", "lab", "sever-0"]).status.code() == Some(2));
    site.deprovision();
}

#[test]
fn scripts_pull_plugs() {
    let site = Site::provisioned("provider: machine\nserver_count: 2\n");
    site.0.write(
        "test.rhai",
        r#"
let servers = deployment().nodes("server");
servers.sh("true", #{ quiet: true });
servers[0].stop(#{ at_once: true });
print(servers.try_sh("true", #{ quiet: true }).map(|r| r.ok));
servers[0].start();
servers.reboot();
print(servers.sh("hostname", #{ quiet: true }).map(|r| r.stdout));
try { servers[0].save_image("x"); } catch (e) { print(e.message); }
print(images().len() >= 0);
"#,
    );
    let out = site.run(&["test.rhai", "lab"]);
    assert_ok(&out);
    assert_eq!(
        stdout(&out),
        "[false, true]\n[\"server-0\", \"server-1\"]\na machine must be stopped to be saved: what its programs hold in memory would be lost\ntrue\n"
    );
    site.deprovision();
}

#[test]
fn limits_hold_and_change_in_place() {
    let site = Site::provisioned("provider: machine\nserver_count: 1\nserver_memory: 256MiB\nserver_cpus: 0.5\n");
    let hog = "python3 -c 'bytearray(400 << 20)' >/dev/null 2>&1; echo $?";
    assert_eq!(site.on("server-0", hog), "137");
    let id = site.on("server-0", "echo here > /root/file; cat /etc/machine-id");
    site.0.write("configs/m.yml", "provider: machine\nserver_count: 1\nserver_memory: 1GiB\nserver_cpus: 1\n");
    let out = site.run(&["provision", "lab", "--yes"]);
    assert_ok(&out);
    assert!(stderr(&out).contains("adjust  cpus: 0.5 -> 1, memory: 256MiB -> 1GiB"), "{}", stderr(&out));
    assert_eq!(site.on("server-0", hog), "0");
    assert_eq!(site.on("server-0", "cat /etc/machine-id; cat /root/file"), format!("{id}\nhere"));
    // Held back, while it wants more than one processor.
    site.on("server-0", "timeout 1 sh -c 'while :; do :; done & while :; do :; done & wait' || true");
    let stat = tool("find", &["/sys/fs/cgroup", "-path", &format!("*{}.server-0/cpu.stat", site.uuid())]);
    let throttled = stat
        .lines()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .any(|text| text.lines().any(|l| l.strip_prefix("nr_throttled ").is_some_and(|n| n.parse::<u64>().unwrap() > 0)));
    assert!(throttled, "{stat}");
    site.deprovision();
}

#[test]
fn configs_that_cannot_work_are_refused_before_anything_is_made() {
    let refused = |config: &str| {
        let site = Site::new(config);
        let out = site.run(&["provision", "lab", "configs/m.yml", "--yes"]);
        assert!(!out.status.success());
        assert!(!site.0.path("deployments/lab").exists(), "something was made");
        stderr(&out)
    };
    let said = refused("provider: machine\ngroups:\n  server:\n    count: 1\n    memori: 1GiB\n");
    assert!(
        said.contains("unknown key `groups.server.memori`") && said.contains("m.yml:5") && said.contains("\"memory\""),
        "{said}"
    );
    let said = refused("provider: machine\nserver_count: 1\nserver_memory: 512\n");
    assert!(said.contains("`server_memory`") && said.contains("m.yml:3"), "{said}");
    let said = refused("provider: machine\nserver_count: 1\nserver_memory: 1MiB\n");
    assert!(said.contains("must be at least 64MiB"), "{said}");
    let said = refused("provider: machine\nserver_count: 1\nserver_cpus: none\n");
    assert!(said.contains("`server_cpus` must be a number of processors above 0"), "{said}");
    let said = refused("provider: machine\nserver_count: 1\nserver_image: no-such\n");
    assert!(said.contains("there is no image \"no-such\""), "{said}");
    let said = refused("provider: machine\ngroups: { server: { hosts: [a] } }\n");
    assert!(said.contains("but the provider is `machine`"), "{said}");
    // Another provider has no use for them, and cannot stop nodes.
    let site = Site::provisioned("provider: local\nserver_count: 1\nserver_memory: 1GiB\n");
    let out = site.run(&["plan", "lab", "configs/m.yml"]);
    assert!(stdout(&out).contains("provider local has no use for: server_memory"), "{}", stdout(&out));
    let out = site.run(&["node", "stop", "lab", "server-0"]);
    assert!(stderr(&out).contains("provider `local` cannot stop and start nodes"), "{}", stderr(&out));
    assert_ok(&site.run(&["deprovision", "lab", "--yes"]));
}

#[test]
fn without_root_it_says_so() {
    let site = Site::new(ONE);
    // A copy where nobody may read it, too.
    let exe = site.0.path("opsrun");
    std::fs::copy(env!("CARGO_BIN_EXE_opsrun"), &exe).unwrap();
    let open = |path: &Path| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    open(&site.0.path(""));
    let out = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&exe)
        .args(["provision", "lab", "configs/m.yml", "--yes"])
        .current_dir(site.0.path(""))
        .env("HOME", site.0.path(""))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).starts_with("error: provider `machine` needs root"), "{}", stderr(&out));
    assert!(!site.0.path("deployments/lab").exists());
}

#[test]
fn a_prepared_machine_is_multiplied() {
    let name = format!("web-{}", std::process::id());
    let child = format!("{name}-child");
    let site = Site::provisioned(ONE);
    site.on("server-0", "echo prepared > /root/what; rm /usr/bin/sudo; ln -s a /root/link; echo 'ssh-ed25519 AAAAother friend' >> /root/.ssh/authorized_keys");
    let (id, key) = (site.on("server-0", "cat /etc/machine-id"), site.on("server-0", "cat /etc/ssh/ssh_host_ed25519_key.pub"));
    let out = site.run(&["image", "save", "lab", "server-0", &name]);
    assert!(
        stderr(&out).contains("must be stopped to be saved") && stderr(&out).contains("opsrun node stop lab server-0"),
        "{}",
        stderr(&out)
    );
    assert_ok(&site.run(&["node", "stop", "lab", "server-0"]));
    assert_ok(&site.run(&["image", "save", "lab", "server-0", &name]));
    let again = site.run(&["image", "save", "lab", "server-0", &name]);
    assert!(stderr(&again).contains("already"), "{}", stderr(&again));
    let layer = cache().join("machine/images").join(&name).join("layer");
    for own in [
        "etc/machine-id",
        "etc/hostname",
        "etc/resolv.conf",
        "etc/ssh/ssh_host_ed25519_key",
        "etc/systemd/network/10-opsrun.network",
    ] {
        assert!(!layer.join(own).exists(), "{own} is in the image");
    }
    assert_eq!(std::fs::read_to_string(layer.join("root/.ssh/authorized_keys")).unwrap(), "ssh-ed25519 AAAAother friend\n");
    assert!(!std::fs::read_to_string(layer.join("etc/hosts")).unwrap().contains("server-0"));
    site.deprovision();

    // On it stands another deployment, of which an image is made in turn.
    let many = Site::provisioned(&format!("provider: machine\nserver_count: 2\nserver_image: {name}\nclient_count: 1\n"));
    for node in ["server-0", "server-1"] {
        assert_eq!(
            many.on(node, "cat /root/what; ls /usr/bin/sudo 2>/dev/null; readlink /root/link; hostname"),
            format!("prepared\na\n{node}")
        );
        assert_ne!(many.on(node, "cat /etc/machine-id"), id);
        assert_ne!(many.on(node, "cat /etc/ssh/ssh_host_ed25519_key.pub"), key);
    }
    assert_eq!(many.on("client-0", "ls /root/what || ls /usr/bin/sudo"), "/usr/bin/sudo");
    let refused = many.run(&["image", "rm", &name]);
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains(&format!("image \"{name}\" is in use by server-0, server-1 of ")), "{}", stderr(&refused));
    many.on("server-1", "echo more > /root/more");
    assert_ok(&many.run(&["node", "stop", "lab", "server-1"]));
    assert_ok(&many.run(&["image", "save", "lab", "server-1", &child]));
    many.deprovision();
    let refused = many.run(&["image", "rm", &name]);
    assert!(stderr(&refused).contains(&format!("in use by image {child}")), "{}", stderr(&refused));

    // What an image stands on is looked at before anything is made.
    let hidden = layer.with_extension("hidden");
    std::fs::rename(&layer, &hidden).unwrap();
    let early = Site::new(&format!("provider: machine\nserver_count: 1\nserver_image: {child}\n"));
    let out = early.run(&["plan", "lab", "configs/m.yml"]);
    std::fs::rename(&hidden, &layer).unwrap();
    assert!(stderr(&out).contains(&format!("what image \"{child}\" stands on is gone: ")), "{}", stderr(&out));

    let grown = Site::provisioned(&format!("provider: machine\nserver_count: 1\nserver_image: {child}\n"));
    assert_eq!(grown.on("server-0", "cat /root/what /root/more"), "prepared\nmore");
    let listed = grown.run(&["image", "ls", "--json"]);
    let images: Value = serde_json::from_str(&stdout(&listed)).unwrap();
    let line = images.as_array().unwrap().iter().find(|i| i["name"] == child.as_str()).unwrap();
    assert_eq!((line["on"].as_str().unwrap(), line["from"].as_str().unwrap()), (name.as_str(), "lab/server-1"));
    assert_eq!(line["used_by"].as_array().unwrap().len(), 1);
    grown.deprovision();
    assert_ok(&grown.run(&["image", "rm", &child, &name]));
    assert!(!layer.exists());
}

#[test]
fn whatever_is_killed_the_same_command_goes_on() {
    let site = Site::new("provider: machine\nserver_count: 3\n");
    // The base system is there first: a run that builds it is killed elsewhere.
    assert_ok(&site.run(&["provision", "lab", "configs/m.yml", "--yes", "-q"]));
    site.deprovision();
    for delay in [5, 60, 150, 300, 450, 600, 900] {
        let mut child = site.start(&["provision", "lab", "configs/m.yml", "--yes"]);
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        if delay % 2 == 0 {
            assert_ok(&site.run(&["provision", "lab", "configs/m.yml", "--yes", "-q"]));
            assert_eq!(site.status(), ["server-0 running", "server-1 running", "server-2 running"], "after {delay} ms");
            assert_eq!(site.on("server-2", "hostname"), "server-2");
            assert_eq!(site.nspawns().len(), 3, "after {delay} ms");
        }
        let Ok(state) = std::fs::read(site.0.path("deployments/lab/state.json")) else { continue };
        let state: Value = serde_json::from_slice(&state).unwrap();
        // The removal is killed as well, half-way.
        let mut child = site.start(&["deprovision", "lab", "--yes"]);
        std::thread::sleep(Duration::from_millis(delay / 2));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_ok(&site.run(&["deprovision", "lab", "--yes", "-q"]));
        assert_nothing_left(state["uuid"].as_str().unwrap());
        assert!(!site.0.path("deployments/lab").exists());
    }
}

#[test]
fn a_killed_build_of_the_base_system_leaves_nothing_that_stays() {
    let site = Site::new(ONE);
    let dir = site.0.path("fresh cache");
    let building = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir.join("machine")).into_iter().flatten().flatten();
        entries.map(|e| e.path()).filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(".building-")).collect()
    };
    let mut before = Vec::new();
    for _ in 0..2 {
        let mut command = site.command(&["provision", "lab", "configs/m.yml", "--yes"]);
        let mut child = command.env("OPSRUN_CACHE", &dir).stderr(Stdio::null()).spawn().unwrap();
        eventually("debootstrap downloads", || building().iter().any(|p| !before.contains(p) && p.join("debootstrap").exists()));
        assert_eq!(building().len(), 1, "the leftovers of the first are gone");
        child.kill().unwrap();
        child.wait().unwrap();
        // It dies with us, and its mounts with it.
        eventually("nobody builds any more", || processes_with("fresh cache").is_empty());
        assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains("fresh\\040cache"));
        before = building();
    }
    site.deprovision();
}

#[test]
fn a_killed_test_of_a_role_is_cleared_up_by_the_next() {
    let site = Site::new(ONE);
    site.0.write("roles/slow/main.rhai", "fn apply(nodes, vars) { nodes.sh(\"sleep 60\"); }");
    site.0.write("roles/quick/main.rhai", "fn apply(nodes, vars) {}");
    let mut child = site.start(&["role", "test", "slow"]);
    eventually("its machine runs", || {
        !processes_with("OPSRUN_NODE_ID=").is_empty() && stdout(&site.run(&["ls"])).contains("1 node")
    });
    let name = stdout(&site.run(&["ls", "--json"]));
    let made: Value = serde_json::from_str(&name).unwrap();
    assert_eq!(made[0]["problem"], Value::Null, "its maker lives");
    child.kill().unwrap();
    child.wait().unwrap();
    let name = made[0]["name"].as_str().unwrap();
    let state = std::fs::read(site.0.path(&format!("deployments/{name}/state.json"))).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert!(stdout(&site.run(&["ls"])).contains("left by a role test that was killed: the next one removes it"));
    let out = site.run(&["role", "test", "quick"]);
    assert_ok(&out);
    assert!(stderr(&out).contains(&format!("removed {name}, whose test was killed")), "{}", stderr(&out));
    assert_nothing_left(state["uuid"].as_str().unwrap());
    assert_eq!(std::fs::read_dir(site.0.path("deployments")).unwrap().count(), 0);
}

#[test]
fn a_program_that_was_replaced_while_it_runs_starts_machines_still() {
    let site = Site::provisioned(ONE);
    let (program, other) = (site.0.path("opsrun"), site.0.path("opsrun.new"));
    for copy in [&program, &other] {
        std::fs::copy(env!("CARGO_BIN_EXE_opsrun"), copy).unwrap();
    }
    site.0.write(
        "test.rhai",
        "sh([\"mv\", \"opsrun.new\", \"opsrun\"]);\nlet n = deployment().node(\"server-0\");\nn.reboot();\nprint(n.one(\"hostname\", #{ quiet: true }));\n",
    );
    let ours = site.command(&["test.rhai", "lab"]);
    let mut command = Command::new(&program);
    command.args(ours.get_args());
    command.envs(ours.get_envs().filter_map(|(k, v)| Some((k, v?)))).current_dir(ours.get_current_dir().unwrap());
    let out = command.output().unwrap();
    assert_ok(&out);
    assert_eq!(stdout(&out), "server-0\n");
    site.deprovision();
}

#[test]
fn two_deployments_come_and_go_at_once() {
    let sites: Vec<Site> = (0..2).map(|_| Site::new("provider: machine\nserver_count: 2\n")).collect();
    let words = ["provision", "lab", "configs/m.yml", "--yes", "-q"];
    let children: Vec<Child> = sites.iter().map(|s| s.start(&words)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let addresses: Vec<String> = sites
        .iter()
        .flat_map(|s| {
            s.state()["nodes"].as_array().unwrap().iter().map(|n| n["endpoint"]["host"].to_string()).collect::<Vec<_>>()
        })
        .collect();
    let mut unique = addresses.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 4, "{addresses:?}");
    sites[0].deprovision();
    assert_eq!(
        sites[1].on("server-1", "getent hosts deb.debian.org >/dev/null; hostname"),
        "server-1",
        "the network stays for the others"
    );
    sites[1].deprovision();
}
