//! Images baked on real machines of this host: what is in them, what is not, failures, kills, and being rid of them.
//!
//! Needs root and systemd-nspawn, as `tests/machine.rs`.

use crate::lab::{Lab, assert_ok, shared_cache, stderr, stdout};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const CONFIG: &str =
    "provider: machine\nvars: { said: good day }\ngroups: { web: { count: 3, roles: [hello], memory: 512MiB } }\n";

/// A project with a role, whose images go when it does. They have a name of their own in the cache that all tests share.
struct Site {
    lab: Lab,
    app: String,
}

impl Site {
    fn new() -> Self {
        let site = Self { lab: Lab::new(), app: format!("t{}", &uuid::Uuid::new_v4().simple().to_string()[..10]) };
        site.lab.write("configs/m.yml", CONFIG);
        site.lab.write("roles/base/main.rhai", "fn apply(nodes, vars) { nodes.directory(\"/srv/base\"); }");
        site.lab.write("roles/hello/requires", "base\n");
        site.lab.write("roles/hello/defaults.yml", "said: hi\nwrong: false\n");
        site.lab.write(
            "roles/hello/main.rhai",
            "fn apply(nodes, vars) {\n  nodes.file(\"/etc/hello\", #{ content: vars.said + \"\\n\" });\n  if vars.wrong { nodes.sh(\"test -e /root/repaired\"); }\n}",
        );
        site
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.lab.command(words);
        command.env("OPSRUN_CACHE", shared_cache());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn bake_words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["image", "bake", "--config", "configs/m.yml", "--app", &self.app], more].concat()
    }

    #[track_caller]
    fn bake(&self, more: &[&str]) -> Value {
        let out = self.run(&self.bake_words(&[more, &["--json"]].concat()));
        assert_ok(&out);
        serde_json::from_str(&stdout(&out)).unwrap()
    }

    /// The images of this project.
    fn images(&self) -> Vec<Value> {
        let out = self.run(&["image", "ls", "--json"]);
        assert_ok(&out);
        let all: Vec<Value> = serde_json::from_str(&stdout(&out)).unwrap();
        all.into_iter().filter(|i| i["name"].as_str().unwrap().starts_with(&self.app)).collect()
    }

    fn names(&self) -> Vec<String> {
        self.images().iter().map(|i| i["name"].as_str().unwrap().to_owned()).collect()
    }

    fn deployments(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.lab.path("deployments")).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).filter(|n| !n.starts_with('.')).collect()
    }

    fn on(&self, deployment: &str, line: &str) -> String {
        let out = self.run(&["exec", deployment, "web-0", "--json", "--", line]);
        assert_ok(&out);
        let rows: Value = serde_json::from_str(&stdout(&out)).unwrap();
        rows[0]["stdout"].as_str().unwrap().trim().to_owned()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for name in self.deployments() {
            let _ = self.run(&["deprovision", &name, "--yes", "-q"]);
        }
        let out = self.run(&["image", "ls", "--json"]);
        let all: Vec<Value> = serde_json::from_str(&stdout(&out)).unwrap_or_default();
        for name in all.iter().filter_map(|i| i["name"].as_str()).filter(|n| n.starts_with(&self.app)) {
            let _ = self.run(&["image", "rm", name]);
        }
    }
}

#[test]
fn an_image_has_what_its_roles_bring_and_nothing_of_the_machine() {
    let site = Site::new();
    let baked = site.bake(&[]);
    let name = baked[0]["name"].as_str().unwrap().to_owned();
    assert_eq!((baked[0]["made"].as_bool(), baked[0]["role"].as_str()), (Some(true), Some("hello")));
    assert!(
        name.starts_with(&format!("{}-hello-", site.app))
            && baked[0]["role_hash"].as_str().unwrap().starts_with(&name[name.len() - 12..])
    );
    assert_eq!(site.deployments(), Vec::<String>::new(), "the machine of the bake is gone");
    let layer = shared_cache().join("machine/images").join(&name).join("layer");
    for gone in [
        "etc/machine-id",
        "root/.ssh/authorized_keys",
        "etc/ssh/ssh_host_ed25519_key",
        "root/.opsrun",
        "var/lib/opsrun",
        "etc/hostname",
    ] {
        assert!(std::fs::symlink_metadata(layer.join(gone)).is_err(), "/{gone} is in the image");
    }

    assert_eq!(site.bake(&[])[0]["made"], false, "the same content is not baked twice");

    site.lab.write("configs/use.yml", &format!("provider: machine\ngroups: {{ web: {{ count: 2, image: {name} }} }}\n"));
    assert_ok(&site.run(&["provision", "use", "configs/use.yml", "--yes", "-q"]));
    assert_eq!(site.on("use", "cat /etc/hello; ls -d /srv/base"), "good day\n/srv/base");
    let ids = site.run(&["exec", "use", "web", "--json", "--", "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub"]);
    let ids: Value = serde_json::from_str(&stdout(&ids)).unwrap();
    assert_ne!(ids[0]["stdout"], ids[1]["stdout"], "each machine of it has an identity of its own");

    let out = site.run(&["image", "rm", &name]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("in use by web-0, web-1"), "{}", stderr(&out));
    assert_ok(&site.run(&["deprovision", "use", "--yes", "-q"]));
    assert_ok(&site.run(&["image", "rm", &name]));
    assert_eq!(site.names(), Vec::<String>::new());
}

#[test]
fn a_bake_that_fails_keeps_its_machine_and_the_next_goes_on_with_it() {
    let site = Site::new();
    site.lab.write("configs/m.yml", &CONFIG.replace("said: good day", "said: good day, wrong: true"));
    let out = site.run(&site.bake_words(&[]));
    let said = stderr(&out);
    assert_eq!(out.status.code(), Some(1), "{said}");
    let [kept] = &site.deployments()[..] else { panic!("{said}") };
    for word in ["The machine is kept, and expires in 6 h", &format!("opsrun ssh {kept} web-0"), "--fresh starts over"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let id = site.on(kept, "touch /root/repaired; cat /etc/machine-id");
    let image = site.lab.path(&format!("deployments/{kept}/state.json"));
    assert!(std::fs::read_to_string(image).unwrap().contains("opsrun:role-hash"));

    let other = site.run(&site.bake_words(&["--fresh"]));
    assert_eq!(other.status.code(), Some(1), "a new machine is not repaired");
    assert_ne!(site.on(kept, "touch /root/repaired; cat /etc/machine-id"), id);
    let baked = site.bake(&[]);
    assert_eq!(baked[0]["made"], true);
    assert_eq!((site.deployments().len(), site.names().len()), (0, 1));
}

#[test]
fn several_are_baked_at_once_and_one_that_fails_stops_no_other() {
    let site = Site::new();
    site.lab.write("roles/broken/main.rhai", "fn apply(nodes, vars) { nodes.sh(\"exit 3\"); }");
    let out = site.run(&site.bake_words(&["base", "broken", "base,hello", "--json"]));
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("1 of 3 images could not be baked"), "{}", stderr(&out));
    let made: Vec<Value> = serde_json::from_str(&stdout(&out)).unwrap();
    let roles: Vec<&str> = made.iter().map(|i| i["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["base", "base_hello"]);
    assert_eq!((site.names().len(), site.deployments().len()), (2, 1), "the machine of the one that failed is kept");

    site.lab.write("roles/base/files/new", "x");
    let newer = site.bake(&["base"]);
    assert_ne!(newer[0]["name"], made[0]["name"]);
    let out = site.run(&["image", "prune", "--keep", "1", "--role", "base", "--json"]);
    assert_ok(&out);
    let done: Value = serde_json::from_str(&stdout(&out)).unwrap();
    assert_eq!(done["removed"], serde_json::json!([made[0]["name"]]));
    assert_eq!(site.names().len(), 2);
}

#[test]
fn mistakes_are_told_before_anything_is_made() {
    let site = Site::new();
    let refused = |words: &[&str], expected: &str| {
        let out = site.run(words);
        assert_eq!(out.status.code(), Some(2), "{words:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(expected), "{words:?}: {}", stderr(&out));
        assert_eq!(site.deployments(), Vec::<String>::new());
    };
    refused(&site.bake_words(&["helo"]), "Did you mean \"hello\"?");
    refused(&site.bake_words(&["--group", "wbe"]), "Did you mean \"web\"?");
    refused(&site.bake_words(&["--expires", "soon"]), "soon");
    refused(&["image", "bake", "hello"], "--env");
    site.lab.write("configs/local.yml", "provider: local\ngroups: { web: { count: 1, roles: [hello] } }\n");
    refused(&["image", "bake", "--config", "configs/local.yml"], "provider `local` has no images");
}

/// Killed at moments that are spread over the whole bake: a second bake always ends in one image, and nothing else.
#[test]
fn killed_at_any_moment_the_next_bake_ends_in_one_image() {
    let site = Site::new();
    let begin = Instant::now();
    site.bake(&[]);
    let whole = begin.elapsed();
    let points: u32 = if std::env::var("KILL_POINTS").is_ok_and(|v| v == "all") { 60 } else { 7 };
    for point in 1..=points {
        site.lab.write("roles/hello/files/point", &point.to_string());
        let known = site.names();
        let mut child = site.command(&site.bake_words(&[])).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * point / (points + 1));
        child.kill().unwrap();
        child.wait().unwrap();
        let left = site.deployments();
        let baked = site.bake(&[]);
        assert_eq!(site.deployments(), Vec::<String>::new(), "point {point}; a kill had left {left:?}");
        let new: Vec<String> = site.names().into_iter().filter(|n| !known.contains(n)).collect();
        assert_eq!(new, [baked[0]["name"].as_str().unwrap()], "point {point}");
        assert_ok(&site.run(&["image", "rm", &new[0]]));
    }
    assert!(begin.elapsed() < Duration::from_secs(600), "it hangs");
}
