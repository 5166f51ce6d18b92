//! Many at once.

use crate::lab::{Lab, eventually, specs};
use opsrun::base::command::{Command, Exit};
use opsrun::base::event::Cx;
use opsrun::transport::ssh::Client;
use std::time::{Duration, Instant};

fn figure(supervisor: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{supervisor}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or_else(|| panic!("no {name}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn thousands_of_commands_at_once_need_no_thread_each() {
    const NODES: usize = 15;
    const EACH: usize = 100;
    let lab = Lab::new();
    let nodes = lab.create(&specs("server", NODES));
    let supervisor = lab.supervisor();
    let go = lab.local().join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let client = Client::new(opsrun::transport::ssh::Settings::default());
    let begin = Instant::now();
    let threads = lab.runtime.block_on(async {
        let commands: Vec<_> = (0..NODES * EACH)
            .map(|i| {
                let (client, endpoint) = (client.clone(), nodes[i % NODES].endpoint.clone());
                // They end together: a named pipe opens for reading when somebody writes.
                let line = format!("echo {i}; read nothing < ../go; true");
                tokio::spawn(async move { (i, client.run(&endpoint, &Command::new(line), false, &Cx::quiet()).await) })
            })
            .collect();
        let all = tokio::task::block_in_place(|| {
            eventually_within(Duration::from_secs(60), "all run", || lab.processes().len() >= NODES * EACH);
            figure(supervisor, "Threads")
        });
        drop(std::fs::File::options().write(true).open(&go).unwrap());
        for command in commands {
            let (i, output) = command.await.unwrap();
            let output = output.unwrap_or_else(|e| panic!("{i}: {e}"));
            assert_eq!((output.exit, output.stdout), (Exit::Code(0), format!("{i}\n").into_bytes()));
        }
        all
    });
    println!("{} commands: {:?}, {threads} threads, {} KiB", NODES * EACH, begin.elapsed(), figure(supervisor, "VmHWM"));
    assert!(threads < 32, "{threads} threads");
    eventually("the supervisor has let go of all", || lab.processes().is_empty());
}

fn eventually_within(limit: Duration, what: &str, mut check: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !check() {
        assert!(begin.elapsed() < limit, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_connection_can_be_used_thousands_of_times() {
    let lab = Lab::new();
    let nodes = lab.create(&specs("server", 1));
    let supervisor = lab.supervisor();
    let client = Client::new(opsrun::transport::ssh::Settings::default());
    let run = |count: usize| {
        lab.runtime.block_on(async {
            let runs = (0..count).map(|_| async {
                let output = client.run(&nodes[0].endpoint, &Command::new("echo hi"), false, &Cx::quiet()).await.unwrap();
                assert_eq!(output.stdout, b"hi\n");
            });
            futures::StreamExt::for_each_concurrent(futures::stream::iter(runs), 16, |run| run).await;
        });
    };
    let begin = Instant::now();
    run(200);
    let before = figure(supervisor, "VmRSS");
    run(2000);
    let after = figure(supervisor, "VmRSS");
    println!("2200 commands in {:?}; {before} KiB, then {after} KiB", begin.elapsed());
    assert!(after < before + (20 << 10), "{before} KiB became {after} KiB");
    let open = std::fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap().count();
    assert!(open < 60, "{open} descriptors are open");
}
