//! How nodes come and go, also when somebody is killed on the way.

use crate::lab::{Lab, alive, eventually, kill9, specs, text};
use opsrun::base::cancel::Cancel;
use opsrun::base::event::{Cx, Event, Events, Listener};
use opsrun::transport::provider::local::Local;
use opsrun::transport::provider::{NodeStatus, Provider};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn nodes_come_run_and_go_without_a_trace() {
    let lab = Lab::new();
    let nodes = lab.create(&specs("server", 3));
    let supervisor = lab.supervisor();
    assert_eq!(nodes.iter().map(|n| n.spec.name.as_str()).collect::<Vec<_>>(), ["server-0", "server-1", "server-2"]);
    for node in &nodes {
        assert_eq!(node.status, NodeStatus::Running);
        assert!(node.endpoint.host.starts_with("127."), "{}", node.endpoint.host);
        let said = lab.sh(node, "echo $OPSRUN_NODE $OPSRUN_DEPLOYMENT; pwd; echo $HOME");
        let home = lab.home(node).display().to_string();
        assert_eq!(said.lines().collect::<Vec<_>>(), [format!("{} lab", node.spec.name), home.clone(), home]);
    }
    assert_eq!(lab.list(), nodes);
    assert_eq!(lab.create(&specs("server", 3)), nodes, "a second create changes nothing");
    assert_eq!(lab.supervisor(), supervisor);
    lab.destroy(&["server-1", "never-was"]);
    assert_eq!(lab.list().len(), 2);
    assert!(!lab.home(&nodes[1]).exists());
    lab.destroy_all();
    lab.assert_nothing_left(supervisor);
    lab.destroy_all();
    assert_eq!(lab.list(), []);
}

#[test]
fn a_killed_supervisor_is_noticed_and_replaced() {
    let lab = Lab::new();
    let nodes = lab.create(&specs("server", 2));
    lab.sh(&nodes[0], "echo kept > file; setsid sleep 300 > /dev/null 2>&1 < /dev/null &");
    let first = lab.supervisor();
    kill9(first);
    assert!(lab.list().iter().all(|n| n.status == NodeStatus::Stopped));
    assert_eq!(lab.create(&specs("server", 2)), nodes, "same addresses, same keys");
    assert_ne!(lab.supervisor(), first);
    assert_eq!(lab.sh(&nodes[0], "cat file; pgrep -c -f 'sleep 30[0]' > /dev/null && echo lives"), "kept\nlives\n");
    let second = lab.supervisor();
    kill9(second);
    lab.destroy_all();
    lab.assert_nothing_left(second);
    assert!(!alive(first));
}

#[test]
fn three_nodes_are_made_in_no_time_and_a_hundred_in_little() {
    // The best of some: others use this machine, too.
    let three = (0..4).map(|_| {
        let lab = Lab::new();
        let begin = Instant::now();
        lab.create(&specs("server", 3));
        begin.elapsed()
    });
    let three = three.min().unwrap();
    let lab = Lab::new();
    let begin = Instant::now();
    let nodes = lab.create(&specs("server", 100));
    let hundred = begin.elapsed();
    println!("3 nodes: {three:?}, 100: {hundred:?}");
    assert!(three < Duration::from_millis(500), "3 nodes took {three:?}");
    assert!(hundred < Duration::from_secs(5), "100 nodes took {hundred:?}");
    let hosts: HashSet<&str> = nodes.iter().map(|n| n.endpoint.host.as_str()).collect();
    assert_eq!(hosts.len(), 100);
    assert_eq!(lab.sh(&nodes[99], "echo $OPSRUN_NODE"), "server-99\n");
    let supervisor = lab.supervisor();
    lab.destroy_all();
    lab.assert_nothing_left(supervisor);
}

#[test]
fn a_supervisor_ends_when_its_folder_is_gone() {
    let lab = Lab::new();
    let node = lab.node();
    lab.sh(&node, "setsid sleep 4301 > /dev/null 2>&1 < /dev/null & echo started");
    let supervisor = lab.supervisor();
    std::fs::remove_dir_all(&lab.site.dir).unwrap();
    eventually("it has ended", || !alive(supervisor));
    assert_eq!(lab.processes(), Vec::<i32>::new());
}

#[test]
fn a_supervisor_inherits_nothing_and_outlives_who_started_it() {
    let lab = Lab::new();
    let lock = lab.site.dir.join("lock");
    // As a script under `flock 9` would do, whose lock must end with it.
    let child = lab.in_a_process("server:2", |command| {
        command.env("AWS_SECRET_ACCESS_KEY", "secret-of-this-test").env("LAB_INHERIT", &lock);
    });
    assert!(child.success());
    let supervisor = lab.supervisor();
    let proc = format!("/proc/{supervisor}");
    assert_eq!(lab.list().len(), 2);
    let open: Vec<_> =
        std::fs::read_dir(format!("{proc}/fd")).unwrap().flatten().filter_map(|f| std::fs::read_link(f.path()).ok()).collect();
    assert!(!open.contains(&lock), "{open:?}");
    assert!(!text(&std::fs::read(format!("{proc}/environ")).unwrap()).contains("secret-of-this-test"));
    assert_eq!(std::fs::read_link(format!("{proc}/cwd")).unwrap(), Path::new("/"));
    let stat = std::fs::read_to_string(format!("{proc}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!((fields[3].parse(), fields[4]), (Ok(supervisor), "0"), "a session of its own, without a terminal");
}

#[test]
fn two_who_create_at_once_get_one_supervisor() {
    let lab = Lab::new();
    std::thread::scope(|scope| {
        for group in ["a", "b", "c", "d"] {
            let lab = &lab;
            scope.spawn(move || lab.runtime.block_on(lab.provider.create(&lab.site, &specs(group, 2), &Cx::quiet())).unwrap());
        }
    });
    assert_eq!(lab.list().len(), 8);
    assert!(lab.list().iter().all(|n| n.status == NodeStatus::Running));
}

#[test]
fn whoever_is_killed_whenever_the_same_call_converges() {
    let lab = Lab::new();
    let mut random = fastish_random();
    let mut first: Option<Vec<_>> = None;
    for round in 0..12 {
        // Some are killed before they began, some in the midst of it, some are too late.
        let delay = Duration::from_micros(random() % 150_000);
        let killed = lab.killed_after("server:8", delay);
        if round % 3 == 2 && lab.local().join(".supervisor/pid").exists() {
            kill_if_alive(lab.supervisor());
        }
        let nodes = lab.create(&specs("server", 8));
        assert!(nodes.iter().all(|n| n.status == NodeStatus::Running), "round {round}, killed: {killed}");
        assert_eq!(lab.sh(&nodes[round % 8], "echo ok"), "ok\n");
        let places: Vec<_> = nodes.iter().map(|n| (n.endpoint.host.clone(), n.host_keys.clone())).collect();
        assert_eq!(first.get_or_insert_with(|| places.clone()), &places, "round {round}");
        if round % 4 == 3 {
            lab.sh(&nodes[0], "setsid sleep 4400 > /dev/null 2>&1 < /dev/null &");
            let supervisor = lab.supervisor();
            lab.killed_after("destroy", Duration::from_micros(random() % 60_000));
            if random().is_multiple_of(2) {
                kill_if_alive(supervisor);
            }
            lab.destroy_all();
            lab.assert_nothing_left(supervisor);
            first = None;
        }
    }
}

#[test]
fn an_address_that_was_taken_meanwhile_is_named_with_who_took_it() {
    let lab = Lab::new();
    let nodes = lab.create(&specs("server", 2));
    kill9(lab.supervisor());
    let place = (nodes[0].endpoint.host.as_str(), nodes[0].endpoint.port);
    // The kernel takes a moment to close what the killed process listened on.
    let deadline = Instant::now() + Duration::from_secs(10);
    let taken = loop {
        match std::net::TcpListener::bind(place) {
            Ok(taken) => break taken,
            Err(e) => assert!(Instant::now() < deadline, "{place:?}: {e}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let error = lab.try_create(&specs("server", 2)).unwrap_err();
    assert_eq!(error.details().node.as_deref(), Some("server-0"));
    assert!(error.message().contains(&format!("process {} (", std::process::id())), "{error}");
    let status: Vec<_> = lab.list().iter().map(|n| n.status).collect();
    assert_eq!(status, [NodeStatus::Stopped, NodeStatus::Running], "the other is not kept down");
    drop(taken);
    assert_eq!(lab.create(&specs("server", 2)), nodes);
}

#[test]
fn a_supervisor_that_hangs_is_ended_by_destroy_all() {
    let lab = Lab::new();
    let node = lab.node();
    lab.sh(&node, "setsid sleep 4501 > /dev/null 2>&1 < /dev/null &");
    let supervisor = lab.supervisor();
    // It listens no more, but holds the lock.
    std::fs::remove_file(lab.local().join(".supervisor/control")).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), nix::sys::signal::Signal::SIGSTOP).unwrap();
    lab.destroy_all();
    lab.assert_nothing_left(supervisor);
}

#[test]
fn what_cannot_be_done_is_said_plainly() {
    let lab = Lab::new();
    let bad = |name: &str| {
        let mut spec = specs("x", 1).remove(0);
        name.clone_into(&mut spec.name);
        lab.try_create(&[spec]).unwrap_err().message().to_owned()
    };
    assert_eq!(bad("../evil"), "\"../evil\" cannot be the name of a node");
    assert_eq!(bad(".supervisor"), "\".supervisor\" cannot be the name of a node");
    let broken = Local::new("/no/such/opsrun".into());
    let error = lab.runtime.block_on(broken.create(&lab.site, &specs("x", 1), &Cx::quiet())).unwrap_err();
    assert_eq!(error.message(), "cannot start /no/such/opsrun: no such file or directory");
    let broken = Local::new("/bin/false".into());
    let error = lab.runtime.block_on(broken.create(&lab.site, &specs("x", 1), &Cx::quiet())).unwrap_err();
    assert!(error.message().starts_with("the supervisor of the local nodes died"), "{error}");
    let stopped = Cx::quiet();
    stopped.cancel.cancel();
    assert!(lab.runtime.block_on(lab.provider.create(&lab.site, &specs("x", 1), &stopped)).unwrap_err().is_cancelled());
}

#[test]
fn users_are_told_that_this_is_no_isolation_once() {
    struct Notes(Arc<Mutex<Vec<String>>>);
    impl Listener for Notes {
        fn event(&self, event: Event) {
            if let Event::Note { text, .. } = event {
                self.0.lock().unwrap().push(text);
            }
        }
    }
    let lab = Lab::new();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let cx = Cx::new(Cancel::new(), Events::new(Notes(notes.clone())));
    for count in [1, 2] {
        lab.runtime.block_on(lab.provider.create(&lab.site, &specs("x", count), &cx)).unwrap();
    }
    assert_eq!(
        *notes.lock().unwrap(),
        ["local nodes are no isolation: they share this machine's kernel, users, files and network"]
    );
}

fn kill_if_alive(pid: i32) {
    if alive(pid) {
        kill9(pid);
    }
}

/// Different on every run: many runs find more than one.
fn fastish_random() -> impl FnMut() -> u64 {
    let mut state = u64::from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos()) | 1;
    println!("seed {state}");
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
