//! Jobs over a real OpenSSH server whose connections are cut.

#[path = "common/sshd.rs"]
mod sshd;

use opsrun::base::command::{Command, Exit};
use opsrun::base::event::Cx;
use opsrun::domain::fleet::{Fleet, Jobs};
use opsrun::domain::job::State;
use opsrun::domain::node::{Node, NodeSet};
use opsrun::transport::ssh::{Client, Settings};
use sshd::Sshd;
use std::time::{Duration, Instant};

/// A server whose logins have a home of their own, so that jobs do not end up in ours.
fn server() -> (tempfile::TempDir, Sshd, NodeSet) {
    let home = tempfile::tempdir().unwrap();
    let sshd = Sshd::with(&format!("SetEnv HOME={} SHLVL=2", home.path().display()));
    let node = Node {
        deployment: "test".into(),
        name: "node".into(),
        group: "server".into(),
        index: 0,
        provider: "static".into(),
        endpoint: sshd.endpoint(),
    };
    (home, sshd, NodeSet::new([node]))
}

fn fleet() -> Fleet {
    Fleet::new(Client::new(Settings::default()), Cx::quiet())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_and_the_wait_for_it_outlive_the_connection() {
    let (home, sshd, nodes) = server();
    let fleet = fleet();
    let jobs = Jobs { nodes, name: "load".into() };
    let mut command = Command::new("echo x >>\"$HOME/runs\"; sleep 2; echo \"done: $WORD\"; exit 4");
    command.env.push(("WORD".into(), "an 'odd' one".into()));
    let pids = fleet.start_jobs(&jobs, &command).await.unwrap();
    sshd.cut_sessions();
    // Another controller, or this one again: the same job.
    let again = self::fleet().start_jobs(&jobs, &command).await.unwrap();
    assert_eq!(pids, again);
    let cut = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            sshd.cut_sessions();
        }
    };
    let (mut ended, ()) = tokio::join!(fleet.wait_jobs(&jobs, Some(Duration::from_secs(60)), 1 << 16), cut);
    let output = ended.remove(0).unwrap();
    assert_eq!((output.exit, output.stdout.as_slice()), (Exit::Code(4), b"done: an 'odd' one\n".as_slice()));
    assert_eq!(std::fs::read_to_string(home.path().join("runs")).unwrap(), "x\n");
    fleet.forget_jobs(&jobs).await.unwrap();
    assert_eq!(fleet.job_states(&jobs).await.unwrap(), [State::Missing]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_stopped_with_all_it_started() {
    let (home, _sshd, nodes) = server();
    let fleet = fleet();
    let jobs = Jobs { nodes, name: "stubborn".into() };
    let command = Command::new(
        "trap '' TERM; (trap '' TERM; setsid -w sleep 0.01; echo $$ >\"$HOME/up\"; while :; do sleep 0.1; done) & wait",
    );
    fleet.start_jobs(&jobs, &command).await.unwrap();
    let start = Instant::now();
    while !home.path().join("up").exists() {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fleet.stop_jobs(&jobs, Duration::from_millis(500)).await.unwrap();
    let states = fleet.job_states(&jobs).await.unwrap();
    assert!(matches!(states[0], State::Ended { code: 137, stopped: true, .. }), "{states:?}");
    // Nothing of it is left: its log stays as it is.
    assert!(fleet.wait_jobs(&jobs, None, 100).await[0].is_ok());
}
