//! Cassandra as a service of systemd's, on real machines: one deployment, one story.

#[path = "common/lab.rs"]
mod lab;

use lab::{Lab, assert_ok, stdout};

#[test]
fn a_cluster_on_machines_is_a_service_that_outlives_kills_and_reboots() {
    let lab = Lab::new();
    lab.write("configs/lab.yml", "provider: machine\ngroups:\n  server: { count: 2, memory: 1280MiB }\n");
    // This user's own cache: downloads and the machines' base system are made once.
    let run = |args: &[&str]| {
        let out = lab.command(args).env_remove("OPSRUN_CACHE").output().unwrap();
        assert_ok(&out);
        out
    };
    run(&["provision", "lab", "configs/lab.yml", "--yes", "-q"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cassandra/machine.rhai");
    let out = run(&[script, "lab"]);
    assert!(stdout(&out).ends_with("told\n"), "{}", stdout(&out));
}
