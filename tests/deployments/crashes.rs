//! kill -9 at any moment, then the same command again: it converges, and nothing is left over.

use crate::lab::Lab;
use std::time::Duration;

/// Moments spread over what a command takes here, and beyond.
fn moments() -> impl Iterator<Item = Duration> {
    (0..14).map(|i| Duration::from_millis(2 + i * 9))
}

/// Runs the command and kills it after a while, the program alone and not what it started.
fn cut_off(lab: &Lab, words: &[&str], after: Duration) {
    let mut child = lab.start(words);
    std::thread::sleep(after);
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn provision_cut_off_at_any_moment_goes_on() {
    let lab = Lab::new();
    lab.config("server_count: 3\n");
    for moment in moments() {
        cut_off(&lab, &["provision", "lab", "lab.yml", "--yes"], moment);
        let before = lab.addresses();
        lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
        assert_eq!(lab.nodes(), ["server-0 running", "server-1 running", "server-2 running"], "after {moment:?}");
        assert_eq!(lab.ssh("server-1", "echo hi"), "hi\n");
        assert_eq!(lab.processes().iter().filter(|p| p.contains("__supervise")).count(), 1, "{:?}", lab.processes());
        let addresses = [before, lab.addresses()].concat();
        lab.run(&["deprovision", "lab", "--yes"]).ok();
        lab.assert_nothing_left(&addresses);
    }
}

#[test]
fn deprovision_cut_off_at_any_moment_goes_on() {
    let lab = Lab::new();
    lab.config("server_count: 3\n");
    for moment in moments() {
        lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
        // Something that would outlive a careless removal.
        lab.ssh("server-0", "setsid sleep 1000 >/dev/null 2>&1 </dev/null &");
        let addresses = lab.addresses();
        cut_off(&lab, &["deprovision", "lab", "--yes"], moment);
        lab.run(&["ls"]).ok();
        lab.run(&["deprovision", "lab", "--yes"]).ok();
        lab.assert_nothing_left(&addresses);
    }
}

#[test]
fn a_removal_cut_off_can_become_a_provision_again() {
    let lab = Lab::new();
    lab.config("server_count: 2\n");
    for moment in moments().step_by(3) {
        lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
        cut_off(&lab, &["deprovision", "lab", "--yes"], moment);
        lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
        assert_eq!(lab.nodes(), ["server-0 running", "server-1 running"], "after {moment:?}");
        assert_eq!(lab.ssh("server-1", "echo hi"), "hi\n");
    }
    lab.run(&["deprovision", "lab", "--yes"]).ok();
    lab.assert_nothing_left(&[]);
}

#[test]
fn scaling_cut_off_at_any_moment_goes_on() {
    let lab = Lab::new();
    for (i, moment) in moments().enumerate() {
        let count = [4, 1, 3][i % 3];
        lab.config(&format!("server_count: {count}\n"));
        cut_off(&lab, &["provision", "lab", "lab.yml", "--yes"], moment);
        lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
        let expected: Vec<String> = (0..count).map(|i| format!("server-{i} running")).collect();
        assert_eq!(lab.nodes(), expected, "after {moment:?}");
    }
    let addresses = lab.addresses();
    lab.run(&["deprovision", "lab", "--yes"]).ok();
    lab.assert_nothing_left(&addresses);
}

#[test]
fn a_dead_supervisor_is_seen_and_brought_back() {
    let lab = Lab::new();
    lab.config("server_count: 2\n");
    lab.run(&["provision", "lab", "lab.yml", "--yes"]).ok();
    let kill_supervisor = || {
        let supervisor = lab.processes().into_iter().find(|p| p.contains("__supervise")).unwrap();
        let pid: i32 = supervisor.split(' ').next().unwrap().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    };
    kill_supervisor();
    assert_eq!(lab.nodes(), ["server-0 stopped", "server-1 stopped"]);
    let status = lab.run(&["status", "lab"]).ok().stdout;
    assert!(status.ends_with("  bring them back: opsrun provision lab\n"), "{status}");
    let plan = lab.run(&["plan", "lab"]).ok().stdout;
    assert!(plan.contains("~ server-0  bring back  it does not run"), "{plan}");
    lab.run(&["provision", "lab", "--yes"]).ok();
    assert_eq!(lab.ssh("server-1", "echo hi"), "hi\n");
    kill_supervisor();
    // Whatever needs the nodes brings them back by itself, also when two do at the same time.
    let mut other = lab.start(&["exec", "lab", "server", "--", "true"]);
    let ran = lab.run(&["exec", "lab", "server", "--", "echo hi"]).ok();
    assert!(other.wait().unwrap().success());
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    assert_eq!(lab.nodes(), ["server-0 running", "server-1 running"]);
}
