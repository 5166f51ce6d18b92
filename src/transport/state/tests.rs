use super::*;
use crate::base::endpoint::HostKeyPolicy;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

fn node(name: &str, port: u16) -> NodeRecord {
    let mut endpoint = Endpoint::new(name, "127.0.0.9", port, "me");
    endpoint.keys = vec!["/a dir/keys/100%".into()];
    endpoint.known_hosts = vec!["/a dir/known_hosts".into()];
    let (group, index) = name.rsplit_once('-').unwrap();
    NodeRecord {
        name: name.into(),
        group: group.into(),
        index: index.parse().unwrap(),
        endpoint,
        host_keys: Vec::new(),
        first_contact: None,
        id: None,
        scaling_group: None,
        stopped: false,
    }
}

fn record(name: &str) -> Record {
    Record {
        schema: SCHEMA,
        name: name.into(),
        uuid: Uuid::new_v4(),
        provider: "local".into(),
        created: Timestamp::now(),
        inputs: vec!["/configs/local.yml".into()],
        environment: None,
        bake: None,
        config: serde_json::json!({ "provider": "local", "groups": {} }),
        nodes: vec![node("server-0", 22)],
        extended: None,
        tainted: Vec::new(),
        images: BTreeMap::default(),
        dir: None,
    }
}

#[test]
fn names_are_checked() {
    for good in ["4504", "a", "A-b_c.d", &"x".repeat(64)] {
        assert!(check_name(good).is_ok(), "{good}");
    }
    for bad in ["", ".", "..", "-a", ".trash-x", "a/b", "a b", "ä", "a\n", &"x".repeat(65)] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn state_is_read_back_and_a_foreign_one_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::new(home.path(), "4504").unwrap();
    assert!(store.read().unwrap().is_none());
    let lock = store.lock_new("test").unwrap();
    assert!(store.read().unwrap().is_none());
    let record = record("4504");
    store.write(&record, &lock).unwrap();
    assert_eq!(store.read().unwrap().unwrap(), record);
    assert_eq!(std::fs::metadata(store.dir().join("state.json")).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(store.dir().join("state.json"), r#"{"schema": 99}"#).unwrap();
    assert!(store.read().unwrap_err().message().contains("newer opsrun"));
    std::fs::write(store.dir().join("state.json"), r#"{"schema": 1"#).unwrap();
    assert!(store.read().unwrap_err().details().hints[0].contains("something else changed it"));
    let error = not_found(home.path(), "4540");
    assert_eq!(error.details().hints, ["Did you mean \"4504\"?"]);
}

#[test]
fn copies_and_renamed_folders_are_refused_and_moved_ones_find_themselves() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::new(home.path(), "4504").unwrap();
    let lock = store.lock_new("test").unwrap();
    let mut record = record("4504");
    record.nodes[0].endpoint.known_hosts = vec![store.dir().join("known_hosts")];
    store.write(&record, &lock).unwrap();
    drop(lock);
    let copied = Store::new(home.path(), "copy").unwrap();
    std::fs::create_dir(copied.dir()).unwrap();
    std::fs::copy(store.dir().join("state.json"), copied.dir().join("state.json")).unwrap();
    let error = copied.read().unwrap_err();
    assert!(error.message().contains("is a copy of deployment \"4504\""), "{error}");
    assert!(store.read().unwrap().is_some());
    std::fs::remove_dir_all(store.dir()).unwrap();
    let error = copied.read().unwrap_err();
    assert!(error.message().contains("was renamed") && error.details().hints[0].contains("mv "), "{error}");
    // With its project it may go anywhere.
    let elsewhere = Store::new(&home.path().join("moved"), "4504").unwrap();
    std::fs::create_dir(home.path().join("moved")).unwrap();
    std::fs::rename(copied.dir(), elsewhere.dir()).unwrap();
    let found = elsewhere.read().unwrap().unwrap();
    assert_eq!(found.nodes[0].endpoint.known_hosts, [elsewhere.dir().join("known_hosts")]);
}

#[test]
fn removal_is_one_step_and_leftovers_are_swept() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::new(home.path(), "4504").unwrap();
    let lock = store.lock_new("test").unwrap();
    std::fs::create_dir(home.path().join(".trash-old-1")).unwrap();
    std::fs::write(home.path().join(".trash-old-1/x"), "").unwrap();
    assert_eq!(names(home.path()).unwrap(), ["4504"]);
    store.remove(lock).unwrap();
    sweep(home.path());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    assert!(store.lock("test").unwrap().is_none());
}

#[test]
fn a_lock_names_its_holder_until_it_is_dropped() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::new(home.path(), "4504").unwrap();
    let lock = store.lock_new("opsrun provision 4504").unwrap();
    let error = store.lock_new("another").unwrap_err();
    assert_eq!(error.kind(), Kind::Locked);
    assert!(error.message().starts_with("deployment \"4504\" is being changed by `opsrun provision 4504` (process "), "{error}");
    assert_eq!(lock::holder(store.dir()).unwrap().pid, std::process::id());
    drop(lock);
    assert!(lock::holder(store.dir()).is_none());
    drop(store.lock("again").unwrap().unwrap());
}

/// As after kill -9 of a holder that had just forked: the child still has the descriptor, until it runs its program.
#[test]
fn the_lock_of_a_dead_holder_is_waited_for() {
    use nix::fcntl::{Flock, FlockArg};
    let home = tempfile::tempdir().unwrap();
    let store = Store::new(home.path(), "4504").unwrap();
    drop(store.lock_new("test").unwrap());
    let mut dead = std::process::Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let holder = lock::Holder { pid: dead.id(), host, user: "me".into(), command: "x".into(), since: Timestamp::now() };
    let path = store.dir().join("lock");
    std::fs::write(&path, serde_json::to_string(&holder).unwrap()).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let inherited = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(300));
            drop(inherited);
        });
        drop(store.lock("test").unwrap().unwrap());
    });
}

#[test]
fn two_that_make_and_remove_the_same_name_never_hold_it_together() {
    let home = tempfile::tempdir().unwrap();
    let inside = std::sync::atomic::AtomicUsize::new(0);
    let most = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                use std::sync::atomic::Ordering::SeqCst;
                let store = Store::new(home.path(), "4504").unwrap();
                for _ in 0..200 {
                    let lock = match store.lock_new("test") {
                        Ok(lock) => lock,
                        Err(e) if e.kind() == Kind::Locked => continue,
                        Err(e) => panic!("{e}"),
                    };
                    most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                    inside.fetch_sub(1, SeqCst);
                    store.remove(lock).unwrap();
                }
            });
        }
    });
    assert_eq!(most.into_inner(), 1);
}

#[test]
fn the_journal_survives_a_torn_line() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("journal.jsonl");
    let journal = journal::Journal::new(path.clone());
    let intent = journal.intend("provision", vec!["server-0".into()], vec![]).unwrap();
    assert_eq!(journal.unfinished().unwrap().unwrap().action, "provision");
    journal.outcome(intent, &Ok(())).unwrap();
    assert!(journal.unfinished().unwrap().is_none());
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":\"2026-").unwrap();
    assert!(journal.unfinished().unwrap().is_none());
    let _left_open = journal.intend("deprovision", vec![], vec!["server-0".into()]).unwrap();
    assert_eq!(journal.read().unwrap().len(), 3);
    assert_eq!(journal.unfinished().unwrap().unwrap().action, "deprovision");
}

#[test]
fn keys_are_made_once_and_for_their_owner_only() {
    let home = tempfile::tempdir().unwrap();
    let own = keys::KeyFiles::own(home.path());
    own.make(home.path(), "opsrun-4504").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&own.private), mode(own.private.parent().unwrap())), (0o600, 0o700));
    let private = std::fs::read(&own.private).unwrap();
    std::fs::remove_file(&own.public).unwrap();
    own.make(home.path(), "opsrun-4504").unwrap();
    assert_eq!(std::fs::read(&own.private).unwrap(), private);
    let of_ssh =
        std::process::Command::new("ssh-keygen").arg("-yf").arg(&own.private).output().expect("apt-get install openssh-client");
    assert_eq!(std::fs::read_to_string(&own.public).unwrap(), String::from_utf8(of_ssh.stdout).unwrap());

    let other = tempfile::tempdir().unwrap();
    let lonely = other.path().join("id");
    std::fs::write(&lonely, &private).unwrap();
    let given = keys::KeyFiles::given(home.path(), &lonely, None);
    given.make(home.path(), "x").unwrap();
    assert_eq!(std::fs::read_to_string(&given.public).unwrap(), std::fs::read_to_string(&own.public).unwrap());
}

#[test]
fn openssh_reads_the_ssh_config_as_meant() {
    let home = tempfile::tempdir().unwrap();
    let mut far = node("server-1", 2200);
    let mut gate = Endpoint::new("gate", "192.0.2.1", 22, "jumper");
    gate.host_keys = HostKeyPolicy::Pin;
    far.endpoint.jump = Some(Box::new(gate));
    let text = ssh_files::ssh_config("4504", home.path(), &[node("server-0", 22), far]);
    let path = home.path().join("ssh_config");
    std::fs::write(&path, &text).unwrap();
    let ask = |host: &str| {
        let out = std::process::Command::new("ssh")
            .arg("-G")
            .arg("-F")
            .arg(&path)
            .arg(host)
            .output()
            .expect("apt-get install openssh-client");
        assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let near = ask("server-0");
    for line in ["hostname 127.0.0.9", "port 22", "user me", "identitiesonly yes", "stricthostkeychecking true"] {
        assert!(near.lines().any(|l| l == line), "{line} in {near}");
    }
    assert!(
        near.contains("userknownhostsfile \"/a dir/known_hosts\"") || near.contains("userknownhostsfile /a dir/known_hosts"),
        "{near}"
    );
    assert!(near.contains("/a dir/keys/100%"), "{near}");
    let command = format!("proxycommand ssh -F {} -W '[%h]:%p' jump-jumper-192.0.2.1-22", path.display());
    assert!(ask("server-1").contains(&command), "{}", ask("server-1"));
    assert!(ask("jump-jumper-192.0.2.1-22").contains("stricthostkeychecking accept-new"));
}

#[test]
fn known_hosts_keep_what_was_pinned_for_nodes_that_remain() {
    let (mut told, pinned) = (node("server-0", 22), node("server-1", 2200));
    told.host_keys = vec!["ssh-ed25519 NEW".into()];
    let before = "127.0.0.9 ssh-ed25519 OLD\n[127.0.0.9]:2200 ssh-ed25519 PINNED\n[127.0.0.9]:2300 ssh-ed25519 GONE\n|1|x|y ssh-ed25519 HASHED\n";
    assert_eq!(
        ssh_files::known_hosts(before, &[], &[told, pinned]),
        "[127.0.0.9]:2200 ssh-ed25519 PINNED\n|1|x|y ssh-ed25519 HASHED\n127.0.0.9 ssh-ed25519 NEW\n"
    );
}

#[test]
fn a_machine_takes_its_pinned_key_along_and_leaves_its_address_to_others() {
    let machine = |name: &str, id: &str, host: &str| {
        let mut node = node(name, 22);
        (node.id, node.endpoint.host) = (Some(id.to_owned()), host.to_owned());
        node
    };
    let before = "10.0.0.1 ssh-ed25519 ONE\n10.0.0.2 ssh-ed25519 TWO\ngate ssh-ed25519 GATE\n";
    let old = [machine("server-0", "i-1", "10.0.0.1"), machine("server-1", "i-2", "10.0.0.2")];
    let mut moved = machine("server-0", "i-1", "10.0.0.9");
    moved.endpoint.jump = Some(Box::new(Endpoint::new("bastion", "Gate", 22, "jumper")));
    let mut met = machine("server-1", "i-3", "10.0.0.1");
    assert_eq!(
        ssh_files::known_hosts(before, &old, &[moved.clone(), met.clone()]),
        "10.0.0.9 ssh-ed25519 ONE\ngate ssh-ed25519 GATE\n"
    );
    met.first_contact = Some(FirstContact::Given("ssh-ed25519 GIVEN".into()));
    met.host_keys = vec!["ssh-ed25519 OWN".into()];
    assert_eq!(ssh_files::known_hosts("", &old, &[moved, met]), "10.0.0.1 ssh-ed25519 GIVEN\n10.0.0.1 ssh-ed25519 OWN\n");
}
