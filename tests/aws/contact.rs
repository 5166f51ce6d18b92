//! User data, and the first contact with new machines. Each is played by a real sshd with host keys of its own, behind
//! ProxyCommand (`tests/support/aws_machine.py`).

use crate::aws::{REGION, When};
use crate::lab::in_the_console;
use crate::project::{DEPROVISION, PROVISION, Project, said};
use crate::real::RealMachine;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const WAIT: &[&str] = &["provision", "lab", "configs/lab.yml", "--yes"];
const TWO: crate::project::Groups = &[("server", 2)];

/// A project whose machines can be reached.
fn reachable(groups: crate::project::Groups, more: &str) -> Project {
    let project = Project::new();
    configure(&project, groups, more);
    project
}

fn configure(project: &Project, groups: crate::project::Groups, more: &str) {
    let way = project.aws.machine(&project.path("machines"), REGION);
    let users: String = groups.iter().map(|(name, _)| format!("{name}_user: root\n")).collect();
    project.config(groups, &format!("proxy_command: \"{way}\"\n{users}{more}"));
}

fn state(project: &Project) -> Value {
    serde_json::from_slice(&std::fs::read(project.path("deployments/lab/state.json")).unwrap()).unwrap()
}

fn known_hosts(project: &Project) -> String {
    std::fs::read_to_string(project.path("deployments/lab/known_hosts")).unwrap()
}

/// What the played machine has in its /etc/ssh, by file name.
fn etc_ssh(project: &Project, id: &str) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(project.path("machines").join(id).join("etc-ssh")).unwrap().flatten();
    let text = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    files.map(|f| (f.file_name().to_string_lossy().into_owned(), text(f.path()))).collect()
}

/// The user data that the cloud was given, as a machine gets it.
fn user_data(project: &Project) -> Vec<u8> {
    let launch = project.aws.calls_of("RunInstances").pop().unwrap();
    let out = Command::new(crate::aws::python())
        .args(["-c", "import base64, sys; sys.stdout.buffer.write(base64.b64decode(sys.argv[1]))", &launch.params["UserData"]])
        .output()
        .unwrap();
    out.stdout
}

/// The machines have keys of their own, each another; those are known, and nothing is left of the one they were given.
#[track_caller]
fn assert_met(project: &Project, nodes: usize, story: &str) {
    let known = known_hosts(project);
    let mut keys: Vec<String> = Vec::new();
    for node in state(project)["nodes"].as_array().unwrap() {
        assert!(node.get("first_contact").is_none(), "{story}: {node:#}");
        let files = etc_ssh(project, node["id"].as_str().unwrap());
        let key = files["ssh_host_ed25519_key.pub"].split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        let host = node["endpoint"]["host"].as_str().unwrap();
        assert!(known.lines().any(|l| l == format!("{host} {key}")), "{story}: {key} of {host} is not in {known}");
        assert!(files.contains_key("ssh_host_ecdsa_key") && !files.contains_key("opsrun-new"), "{story}: {files:?}");
        let given = first_key(project, node["id"].as_str().unwrap());
        assert!(files.values().all(|text| !text.contains(&given)), "{story}: the given key is still there");
        assert!(!known.contains(&given), "{story}: the given key is still known: {known}");
        let tags = project.instances().into_iter().find(|i| i.id == node["id"]).unwrap().tags;
        assert_eq!(tags["opsrun:host-key"], key, "{story}: for who finds it without this folder");
        keys.push(key);
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), nodes, "{story}: each has its own");
    assert!(!project.path("deployments/lab/aws/launches").read_dir().is_ok_and(|mut d| d.next().is_some()), "{story}");
}

/// The public half of what an instance was given, without its first word.
fn first_key(project: &Project, id: &str) -> String {
    let tags = project.instances().into_iter().find(|i| i.id == id).unwrap().tags;
    tags["opsrun:first-host-key"].split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn machines_are_met_by_a_given_key_and_known_by_their_own() {
    let project = reachable(&[("server", 3), ("client", 1)], "");
    project.succeeds(WAIT);
    assert_met(&project, 4, "provisioned");
    let out = said(&project.succeeds(&["exec", "lab", "*", "--", "cat /etc/ssh/ssh_host_ed25519_key.pub"]));
    assert_eq!(out.matches("ssh-ed25519 ").count(), 4, "{out}");
    // One key for all of a launch, another one for each launch.
    let given: BTreeMap<String, String> = project.ids().into_iter().map(|(name, id)| (name, first_key(&project, &id))).collect();
    assert_eq!(given["server-0"], given["server-2"]);
    assert_ne!(given["server-0"], given["client-0"]);
    project.aws.forget();
    project.succeeds(WAIT);
    project.assert_untouched("done again");

    // Another address, the same machine, the same key.
    let before = known_hosts(&project);
    let id = project.ids()["server-0"].clone();
    in_the_console(&project, &format!("ec2.stop_instances(InstanceIds=['{id}'])"));
    project.succeeds(WAIT);
    assert_met(&project, 4, "one was stopped and started");
    let words = |text: &str| -> Vec<String> {
        let mut keys: Vec<String> = text.lines().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect();
        keys.sort();
        keys
    };
    assert_eq!(words(&before), words(&known_hosts(&project)));

    // Somebody else answers.
    std::fs::remove_file(project.path("machines").join(&id).join("etc-ssh/ssh_host_ed25519_key")).unwrap();
    std::fs::remove_file(project.path("machines").join(&id).join("etc-ssh/ssh_host_ecdsa_key")).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-N", "", "-t", "ed25519", "-f"])
        .arg(project.path("machines").join(&id).join("etc-ssh/ssh_host_ed25519_key"));
    std::fs::remove_file(project.path("machines").join(&id).join("etc-ssh/ssh_host_ed25519_key.pub")).unwrap();
    assert!(keygen.status().unwrap().success());
    let out = project.fails(1, &["exec", "lab", "server-0", "--", "true"]);
    assert!(out.contains("has changed") && out.contains("known_hosts:"), "{out}");
    project.deprovision("met");
}

/// Killed wherever: the same command again ends well. The places are where it waits for the machines, one after the other.
#[test]
fn a_first_contact_that_is_cut_off_is_gone_on_with() {
    for step in ["making", "placing", "between"] {
        let project = reachable(TWO, "");
        project.succeeds(PROVISION);
        boot(&project);
        let ids = project.ids();
        // The machine's own tools stop at the place, until they are let go.
        let (tool, times) = match step {
            "making" => ("ssh-keygen", 3),
            "placing" => ("mv", 2),
            _ => ("rm", 1),
        };
        let child = project.start(WAIT);
        let killed = stop_inside(&project, child, tool, times);
        assert!(killed, "{step}: never came there");
        project.succeeds(WAIT);
        assert_met(&project, 2, &format!("killed while {step}"));
        assert_eq!(ids, project.ids());
        project.deprovision(step);
    }
}

/// Kills the command as soon as its machines hold the n-th step in their folders. Returns whether it was still running.
fn stop_inside(project: &Project, mut child: std::process::Child, tool: &str, times: usize) -> bool {
    let start = Instant::now();
    let reached = || {
        let folders = std::fs::read_dir(project.path("machines")).into_iter().flatten().flatten();
        folders.filter(|f| f.path().is_dir()).any(|f| {
            let new = f.path().join("etc-ssh/opsrun-new");
            let own = std::fs::read_dir(&new).map_or(0, Iterator::count);
            match tool {
                "ssh-keygen" => new.exists() && own < times,
                "mv" => own >= 2 * times,
                _ => own >= 2 && state(project).to_string().contains("\"host_keys\":[\"ecdsa"),
            }
        })
    };
    while start.elapsed() < Duration::from_secs(60) {
        if reached() {
            let running = child.try_wait().unwrap().is_none();
            child.kill().unwrap();
            child.wait().unwrap();
            return running;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}

/// Starts the played machines, so that a command finds them up.
fn boot(project: &Project) {
    for node in state(project)["nodes"].as_array().unwrap() {
        let way = project.aws.machine(&project.path("machines"), REGION);
        let line = way.replace("%h", node["endpoint"]["host"].as_str().unwrap());
        let out = Command::new("sh").args(["-c", &format!("{line} --boot")]).output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
    }
}

#[test]
fn no_wait_contacts_nothing_and_the_next_command_makes_the_first_contact() {
    let project = reachable(TWO, "");
    project.provision();
    assert!(!project.path("machines").exists(), "nobody was to be contacted");
    assert!(state(&project)["nodes"][0]["first_contact"]["given"].as_str().unwrap().starts_with("ssh-ed25519 "));
    let out = said(&project.succeeds(&["exec", "lab", "server-0", "--", "echo hello"]));
    assert!(out.contains("hello"), "{out}");
    assert_met(&project, 2, "by the next command");
    project.deprovision("met late");
}

/// The deployment's folder holds user data only while a launch may have to be repeated, and then for its owner only.
#[test]
fn user_data_is_in_no_file_once_it_has_arrived() {
    const SECRET: &str = "hunter2-of-the-user-data";
    let project = Project::new();
    project.write("configs/init.sh", &format!("#!/bin/sh\necho {SECRET}\n"));
    project.config(TWO, "groups: { server: { user_data: init.sh } }");
    // The cloud has done it, and the answer is on its way.
    let launch = number_of_the_launch();
    project.aws.stop_at(launch, When::After);
    let mut child = project.start(PROVISION);
    assert_eq!(project.aws.stopped(Duration::from_secs(60)).as_deref(), Some("RunInstances"));
    let kept: Vec<PathBuf> = files(&project).into_iter().filter(|f| holds(f, SECRET)).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].parent().unwrap().ends_with("aws/launches"), "{kept:?}");
    assert_eq!(kept[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(kept[0].parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    child.kill().unwrap();
    child.wait().unwrap();
    project.aws.release();

    // What was asked is asked again, word for word.
    let out = said(&project.succeeds(PROVISION));
    let launches = project.aws.calls_of("RunInstances");
    assert_eq!(launches.len(), 2, "{}", project.story());
    assert_eq!(launches[0].params["UserData"], launches[1].params["UserData"]);
    project.assert_lab(TWO, "launched once");
    let shown =
        [out, said(&project.succeeds(&["-v", "plan", "lab", "--json"])), said(&project.succeeds(&["status", "lab", "--json"]))];
    assert!(shown.iter().all(|text| !text.contains(SECRET) && !text.contains("PRIVATE KEY")), "{shown:?}");
    for file in files(&project) {
        assert!(!holds(&file, SECRET), "{}", file.display());
        assert!(!holds(&file, "PRIVATE KEY") || file.ends_with("keys/id_ed25519"), "{}", file.display());
    }
    let arrived = String::from_utf8(user_data(&project)).unwrap();
    assert!(arrived.contains(SECRET) && arrived.contains("ssh_keys:"), "{arrived}");

    // What opsrun adds makes no node another one.
    project.aws.forget();
    project.provision();
    project.assert_untouched("with the same user data");
    project.deprovision("with a secret");
}

/// Which of the changes that such a lab asks for is the launch.
fn number_of_the_launch() -> usize {
    let project = Project::new();
    project.config(TWO, "");
    project.provision();
    let changes = project.aws.changes();
    project.deprovision("to count");
    changes.iter().position(|c| c.action == "RunInstances").unwrap() + 1
}

fn files(project: &Project) -> Vec<PathBuf> {
    let all = walkdir::WalkDir::new(project.path("deployments")).into_iter().flatten();
    all.filter(|e| e.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

/// Whether the file has the text in it: as it is, or encoded at any place.
fn holds(file: &std::path::Path, text: &str) -> bool {
    let bytes = std::fs::read(file).unwrap();
    let encoded = Command::new(crate::aws::python())
        .args([
            "-c",
            "import base64, sys; [print(base64.b64encode(b'x' * n + sys.argv[1].encode())[4:-4].decode()) for n in range(3)]",
            text,
        ])
        .output()
        .unwrap();
    let encoded = String::from_utf8(encoded.stdout).unwrap();
    std::iter::once(text).chain(encoded.lines()).any(|t| bytes.windows(t.len()).any(|w| w == t.as_bytes()))
}

#[test]
fn user_data_of_the_users_runs_beside_what_opsrun_adds() {
    for (name, text) in [
        ("init.sh", "#!/bin/sh\necho ran > \"$HOME/ran\"\n".to_owned()),
        ("init.yml", "#cloud-config\nruncmd:\n- echo ran > \"$HOME/ran\"\n".to_owned()),
        (
            "init.mime",
            "Content-Type: multipart/mixed; boundary=\"=b=\"\nMIME-Version: 1.0\n\n--=b=\nContent-Type: text/x-shellscript\n\n\
             #!/bin/sh\necho ran > \"$HOME/ran\"\n\n--=b=--\n"
                .to_owned(),
        ),
        // Too large, unless it is packed.
        ("large.sh", format!("#!/bin/sh\n{}echo ran > \"$HOME/ran\"\n", "# the same line again\n".repeat(1000))),
    ] {
        let project = reachable(&[("server", 1)], &format!("groups: {{ server: {{ user_data: {name} }} }}"));
        project.write(&format!("configs/{name}"), &text);
        project.succeeds(WAIT);
        assert_met(&project, 1, name);
        let out = said(&project.succeeds(&["exec", "lab", "server-0", "--", "cat ran"]));
        assert!(out.contains("ran"), "{name}: {out}");
        project.deprovision(name);
    }
}

#[test]
fn user_data_that_cannot_be_is_refused_before_anything_is_made() {
    let noise: String = (0..4000).map(|n: u32| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    for (text, more, told) in [
        (format!("#!/bin/sh\n# {noise}\n"), "", "16384"),
        (format!("#!/bin/sh\n# {noise}\n"), "host_keys: pin\n", "16384"),
        ("key=value\n".to_owned(), "", "host_keys: console"),
        ("#cloud-config\nssh_keys: {}\n".to_owned(), "", "ssh_keys"),
    ] {
        let project = reachable(TWO, &format!("{more}groups: {{ server: {{ user_data: init }} }}"));
        project.write("configs/init", &text);
        let out = project.fails(2, PROVISION);
        assert!(out.contains(told), "{out}");
        assert!(project.aws.calls().iter().all(|c| !c.mutating), "{}", project.story());
    }
    // What cloud-init does not read goes as it is where nothing is to be added.
    let project = reachable(TWO, "host_keys: pin\ngroups: { server: { user_data: init } }");
    project.write("configs/init", "key=value\n");
    project.provision();
    assert_eq!(user_data(&project), b"key=value\n");
    project.deprovision("as it is");
}

#[test]
fn host_keys_are_read_off_the_console() {
    let project = reachable(TWO, "host_keys: console\ncontact_timeout: 2s");
    project.provision();
    assert!(project.aws.calls_of("RunInstances")[0].params.keys().all(|k| k != "UserData"), "nothing is added");
    // Nothing is printed yet.
    let out = project.fails(1, WAIT);
    assert!(out.contains("console of server-0, server-1") && out.contains("host_keys: bootstrap"), "{out}");
    boot(&project);
    configure(&project, TWO, "host_keys: console\ncontact_timeout: 60s");
    project.succeeds(WAIT);
    for node in state(&project)["nodes"].as_array().unwrap() {
        let files = etc_ssh(&project, node["id"].as_str().unwrap());
        for kind in ["ed25519", "ecdsa"] {
            let key = files[&format!("ssh_host_{kind}_key.pub")].split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            assert!(known_hosts(&project).contains(&key), "{key}");
        }
    }
    project.succeeds(&["exec", "lab", "*", "--", "true"]);
    project.deprovision("console");
}

#[test]
fn keys_taken_at_first_sight_stay_with_their_machines() {
    let project = reachable(TWO, "host_keys: pin");
    project.succeeds(WAIT);
    let before = known_hosts(&project);
    assert_eq!(before.lines().count(), 2, "{before}");
    let keys =
        |text: &str| text.lines().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect::<std::collections::BTreeSet<_>>();
    let id = project.ids()["server-0"].clone();
    in_the_console(&project, &format!("ec2.stop_instances(InstanceIds=['{id}'])"));
    project.succeeds(WAIT);
    assert_eq!(keys(&before), keys(&known_hosts(&project)), "one was stopped and started");
    project.succeeds(&["replace", "lab", "server-1", "--yes"]);
    assert_eq!(keys(&before).intersection(&keys(&known_hosts(&project))).count(), 1, "server-1 is another one");
    project.deprovision("pinned");
}

/// A machine of which nothing answers ends the wait at its deadline, by name, and the others are met.
#[test]
fn a_machine_that_does_not_come_up_is_named_at_the_deadline() {
    let project = reachable(TWO, "contact_timeout: 3s");
    project.provision();
    let id = project.ids()["server-1"].clone();
    // Its sshd is broken from the beginning.
    let dir = project.path("machines").join(&id);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("booted"), "").unwrap();
    let out = project.fails(1, WAIT);
    assert!(out.contains("server-1") && !out.contains("server-0:"), "{out}");
    let new: Vec<bool> = state(&project)["nodes"].as_array().unwrap().iter().map(|n| n.get("first_contact").is_some()).collect();
    assert_eq!(new, [false, true]);
    // A command for the other one is not kept from its work.
    let out = said(&project.succeeds(&["exec", "lab", "server-0", "--", "echo works"]));
    assert!(out.contains("works") && out.contains("first contact"), "{out}");
    project.succeeds(DEPROVISION);
}

/// The script of a lab on machines of the cloud, as on any others.
#[test]
fn scripts_run_unchanged_on_machines_of_the_cloud() {
    let project = reachable(&[("server", 3), ("client", 1)], "");
    project.succeeds(WAIT);
    project.write(
        "work.rhai",
        r#"
        let d = deployment();
        let servers = d.nodes("server");
        servers.wait_for_machine_image(#{ timeout: "20s" });
        servers.write("settings.yml", "a:\n  b: 1 # kept\n");
        servers.edit_yaml("settings.yml", #{ "a.b": 2 });
        for n in servers { print(`${n.name} ${n.one("cat settings.yml | tr '\n' ' '")}`); }
        let job = d.node("client-0").job("sleep 0.2; echo load > out");
        job.wait();
        print(d.node("client-0").one("cat out"));
        "#,
    );
    let out = said(&project.succeeds(&["work.rhai", "lab"]));
    for line in ["server-0 a:   b: 2 # kept", "server-2 a:   b: 2 # kept", "load"] {
        assert!(out.contains(line), "{out}");
    }
    project.deprovision("worked on");
}

/// The lab's own script on a real machine, which as in the cloud has only its private address on it. It plays server and client.
#[test]
fn the_labs_setup_runs_unchanged() {
    let project = Project::new();
    let key = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(project.path("key")).status().unwrap();
    assert!(key.success());
    let machine = RealMachine::boot(&project, "private_key_path: ../key\n");
    let users = "server_user: root\nclient_user: root";
    let more = format!("{users}\nprivate_key_path: ../key\nhost_keys: pin\nproxy_command: \"{}\"", machine.way());
    project.config(&[("server", 1), ("client", 1)], &more);
    project.provision();
    let nodes = state(&project)["nodes"].as_array().unwrap().clone();
    let server = nodes.iter().find(|n| n["name"] == "server-0").unwrap();
    let private = server["endpoint"]["private_host"].as_str().unwrap();
    machine.opsrun(&["exec", "real", "server-0", "--", &format!("ip address add {private}/32 dev lo")]);
    let script = format!("{}/scripts/setup.rhai", env!("CARGO_MANIFEST_DIR"));
    let out = project.command(&[&script, "lab", "--heap=256M"]).env_remove("OPSRUN_CACHE").output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains(&format!("server-0 UN {private}")), "{}", said(&out));
    project.deprovision("set up");
}

/// A machine that only another can reach: it has no public address, and is gone to by way of a bastion.
#[test]
fn private_machines_are_reached_through_a_bastion() {
    let project = Project::new();
    let key = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(project.path("key")).status().unwrap();
    assert!(key.success());
    let machine = RealMachine::boot(&project, "private_key_path: ../key\n");
    let way = format!("addresses: private\nbastion: root@{}:22", machine.address);
    let server = "groups: { server: { instance_profile: lab, volumes: [{ device: /dev/sdf, size: 10, type: gp3 }] } }";
    let more = format!("server_user: root\n{server}\nprivate_key_path: ../key\nhost_keys: pin\n{way}");
    project.config(&[("server", 1)], &more);
    let profile = |call: &str| {
        let iam = format!("boto3.client('iam', region_name='{REGION}')");
        in_the_console(&project, &format!("{iam}.{call}_instance_profile(InstanceProfileName='lab')"))
    };
    profile("create");
    project.provision();
    let launch = project.aws.calls_of("RunInstances").pop().unwrap();
    for (name, value) in [
        ("NetworkInterface.1.AssociatePublicIpAddress", "false"),
        ("IamInstanceProfile.Name", "lab"),
        // The image would have its root volume outlive the machine.
        ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("BlockDeviceMapping.2.DeviceName", "/dev/sdf"),
        ("BlockDeviceMapping.2.Ebs.VolumeSize", "10"),
        ("BlockDeviceMapping.2.Ebs.DeleteOnTermination", "true"),
    ] {
        assert_eq!(launch.params[name], value, "{name}");
    }
    let endpoint = state(&project)["nodes"][0]["endpoint"].clone();
    let private = endpoint["host"].as_str().unwrap();
    assert!(private.starts_with("10.0."), "{endpoint}");
    // The bastion plays the machine behind it, too: nothing else knows the way to this address.
    machine.opsrun(&["exec", "real", "server-0", "--", &format!("ip address add {private}/32 dev lo")]);
    let out = said(&project.succeeds(&["exec", "lab", "server-0", "--", "echo $SSH_CONNECTION"]));
    assert!(out.contains(&format!(" {private} 22")), "{out}");
    // Plain ssh goes the same way.
    let config = project.path("deployments/lab/ssh_config");
    let out = Command::new("ssh").arg("-F").arg(config).args(["server-0", "echo $SSH_CONNECTION"]).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains(&format!(" {private} 22")), "{}", said(&out));
    profile("delete");
    project.deprovision("behind a bastion");
}

#[test]
fn ctrl_c_ends_the_wait_for_machines_at_once() {
    let project = reachable(TWO, "contact_timeout: 10m");
    project.provision();
    for id in project.ids().values() {
        std::fs::create_dir_all(project.path("machines").join(id)).unwrap();
        std::fs::write(project.path("machines").join(id).join("booted"), "").unwrap();
    }
    let child = project.start(WAIT);
    let start = Instant::now();
    // It has tried one of them.
    while !project.path("machines").read_dir().unwrap().flatten().any(|d| d.path().join("lock").exists()) {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing was tried");
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", said(&out));
    project.deprovision("interrupted");
}

/// As cloud-init does it with `ssh_keys` and with the key pair of the launch: no image here has one.
fn first_boot(machine: &RealMachine, project: &Project, user_data: &str) {
    let lines = user_data.lines().skip_while(|l| !l.contains("ed25519_private")).skip(1);
    let private: String = lines.take_while(|l| l.starts_with("    ")).map(|l| format!("{}\n", l.trim())).collect();
    assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"), "{user_data}");
    project.write("given", &private);
    let public = std::fs::read_to_string(project.path("deployments/lab/keys/id_ed25519.pub")).unwrap();
    machine.opsrun(&["cp", "real", "given", "server-0:/root/given"]);
    let line = format!(
        "set -e; cd /etc/ssh; rm -f ssh_host_*; install -m 600 /root/given ssh_host_ed25519_key; rm /root/given; \
         ssh-keygen -y -f ssh_host_ed25519_key > ssh_host_ed25519_key.pub; echo '{}' >> /root/.ssh/authorized_keys; systemctl reload ssh",
        public.trim()
    );
    machine.opsrun(&["exec", "real", "server-0", "--", &line]);
}

/// The host keys that it shows, without what stands before them. An sshd that reads its files anew does not listen for a moment.
fn shown_by(machine: &RealMachine) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let out = Command::new("ssh-keyscan").args(["-t", "ed25519,ecdsa,rsa", &machine.address]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let mut keys: Vec<String> = text.lines().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect();
        keys.sort();
        if !keys.is_empty() || Instant::now() > deadline {
            return keys;
        }
    }
}

/// With systemd, and an sshd that listens and has to take up the new keys.
#[test]
fn a_real_machine_takes_up_its_own_keys() {
    let project = Project::new();
    let machine = RealMachine::boot(&project, "");
    project.config(&[("server", 1)], &format!("proxy_command: \"{}\"\nserver_user: root", machine.way()));
    project.provision();
    first_boot(&machine, &project, &String::from_utf8(user_data(&project)).unwrap());
    let given = state(&project)["nodes"][0]["first_contact"]["given"].as_str().unwrap().to_owned();
    assert_eq!(shown_by(&machine), [given.as_str()]);
    project.succeeds(WAIT);
    let mut known: Vec<String> = known_hosts(&project).lines().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect();
    known.sort();
    assert_eq!(shown_by(&machine), known, "what is known is what it shows");
    assert!(known.len() == 2 && !known.contains(&given), "{known:?}");
    let out = said(&project.succeeds(&["exec", "lab", "server-0", "--", "ls /etc/ssh; systemctl is-active ssh"]));
    assert!(out.contains("active") && !out.contains("opsrun-new"), "{out}");
    project.deprovision("a real machine");
}

/// Whoever has lost the folder, or never had it, knows the machines all the same.
#[test]
fn who_adopts_a_lab_knows_its_host_keys() {
    let project = reachable(TWO, "");
    project.succeeds(WAIT);
    let keys = |text: &str| {
        text.lines().filter(|l| l.contains("ssh-ed25519")).map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let before = keys(&known_hosts(&project));
    std::fs::rename(project.path("deployments/lab"), project.path("lost")).unwrap();
    let out = said(&project.succeeds(&["adopt", "lab", "configs/lab.yml", "--key", "lost/keys/id_ed25519"]));
    assert!(!out.contains("host keys"), "{out}");
    assert_eq!(before, keys(&known_hosts(&project)));
    let ssh = std::fs::read_to_string(project.path("deployments/lab/ssh_config")).unwrap();
    assert!(ssh.contains("StrictHostKeyChecking yes") && !ssh.contains("accept-new"), "{ssh}");
    project.succeeds(&["exec", "lab", "*", "--", "true"]);
    project.deprovision("adopted");
}
