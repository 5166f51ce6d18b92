//! The SSH client against a real OpenSSH server.

#[path = "common/sshd.rs"]
mod sshd;

use opsrun::base::cancel::Cancel;
use opsrun::base::command::{Command, Exit};
use opsrun::base::error::Kind;
use opsrun::base::event::{Cx, Event, Events, Listener, Stream};
use opsrun::transport::ssh::{Client, GetOptions, PutOptions, Settings};
use sshd::Sshd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn client() -> Client {
    Client::new(Settings::default())
}

/// Hears every event.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Event>>>);

impl Listener for Ear {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Ear {
    fn cx(&self) -> Cx {
        Cx::new(Cancel::new(), Events::new(self.clone()))
    }

    fn lines(&self) -> Vec<(Stream, String)> {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .filter_map(|e| match e {
                Event::Line { node, stream, text } => {
                    assert_eq!(&**node, "node");
                    Some((*stream, text.clone()))
                }
                _ => None,
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_have_output_exit_codes_and_signals() {
    let sshd = Sshd::start();
    let (client, endpoint, ear) = (client(), sshd.endpoint(), Ear::default());
    let cx = ear.cx();
    let output = client.run(&endpoint, &Command::new("echo out; echo err >&2; exit 3"), true, &cx).await.unwrap();
    assert_eq!((output.exit, &output.stdout[..], &output.stderr[..]), (Exit::Code(3), &b"out\n"[..], &b"err\n"[..]));
    let mut lines = ear.lines();
    lines.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
    assert_eq!(lines, [(Stream::Stdout, "out".to_owned()), (Stream::Stderr, "err".to_owned())]);
    let output = client.run(&endpoint, &Command::new("kill -KILL $$"), false, &cx).await.unwrap();
    assert_eq!(output.exit, Exit::Signal("KILL".to_owned()));
    let output = client.run(&endpoint, &Command::new("no-such-tool"), false, &cx).await.unwrap();
    assert!(output.failure("no-such-tool").unwrap().message().contains("not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn input_larger_than_every_window_comes_back_whole() {
    let sshd = Sshd::start();
    let (client, endpoint, cx) = (client(), sshd.endpoint(), Cx::quiet());
    let input: Vec<u8> = (0..=255_u8).cycle().step_by(7).take(12_000_000).collect();
    let output = client.run(&endpoint, &Command::new("cat").stdin(input.clone()), false, &cx).await.unwrap();
    assert!(output.stdout == input, "{} bytes", output.stdout.len());
    // A command that does not read its input must not hang on it.
    let start = Instant::now();
    let output = client.run(&endpoint, &Command::new("true").stdin(input), false, &cx).await.unwrap();
    assert!(output.exit.is_success() && start.elapsed() < Duration::from_secs(5));
    let command = Command::new("echo $GREETING in $PWD; cat").stdin(&b"rest"[..]);
    let command = Command { env: vec![("GREETING".into(), "it's".into())], cwd: Some("/tmp".into()), ..command };
    let output = client.run(&endpoint, &command, false, &cx).await.unwrap();
    assert_eq!(output.stdout, b"it's in /tmp\nrest");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_and_timeout_end_the_whole_process_group() {
    let sshd = Sshd::start();
    let (client, endpoint) = (client(), sshd.endpoint());
    let token = format!("{:08}", std::process::id());
    let alive = || {
        let listed = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).lines().any(|l| l.contains(&format!("sleep 77.{token}")))
    };
    let started = || async {
        while !alive() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The shell has set its trap before it started what is alive now.
    };
    for stubborn in [false, true] {
        let trap = if stubborn { "trap '' TERM; " } else { "" };
        let line = format!("{trap}echo started; sleep 77.{token} & sleep 77.{token}; wait");
        // The deadline.
        let command = Command { timeout: Some(Duration::from_millis(700)), ..Command::new(line.clone()) };
        let error = client.run(&endpoint, &command, false, &Cx::quiet()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
        assert_eq!(error.details().command.as_deref(), Some(line.as_str()));
        assert!(!alive(), "stubborn: {stubborn}");
        // The user.
        let cx = Cx::quiet();
        let (cancel, start) = (cx.cancel.clone(), Instant::now());
        let command = Command::new(line);
        let (result, ()) = tokio::join!(client.run(&endpoint, &command, false, &cx), async {
            started().await;
            cancel.cancel();
        });
        assert!(result.unwrap_err().is_cancelled());
        assert!(!alive(), "stubborn: {stubborn}");
        assert_eq!(start.elapsed() > Duration::from_secs(3), stubborn);
        // A future that was dropped.
        let cx = Cx::quiet();
        tokio::select! {
            _ = client.run(&endpoint, &command, false, &cx) => unreachable!("it sleeps for longer"),
            () = started() => {}
        }
        client.settle().await;
        assert!(!alive(), "stubborn: {stubborn}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_read_and_put() {
    let sshd = Sshd::start();
    let (client, endpoint, cx) = (client(), sshd.endpoint(), Cx::quiet());
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("new dir/it's -odd\nname");
    let path = target.to_str().unwrap();
    let content: Vec<u8> = (0..251_u8).cycle().take(300_000).collect();
    client.write(&endpoint, path, content.clone(), &PutOptions::default(), &cx).await.unwrap();
    assert!(std::fs::read(&target).unwrap() == content);
    assert!(client.read(&endpoint, path, &GetOptions::default(), &cx).await.unwrap() == content);
    client.write(&endpoint, path, "", &PutOptions { mode: Some(0o640), ..PutOptions::default() }, &cx).await.unwrap();
    assert_eq!(std::fs::metadata(&target).unwrap().len(), 0);
    let local = dir.path().join("local");
    std::fs::write(&local, &content).unwrap();
    client.put(&endpoint, &local, path, &PutOptions::default(), &cx).await.unwrap();
    assert!(std::fs::read(&target).unwrap() == content);
    let (there, here) = (std::fs::metadata(&target).unwrap(), std::fs::metadata(&local).unwrap());
    assert_eq!(there.modified().unwrap(), here.modified().unwrap());
    assert_eq!(std::fs::read_dir(target.parent().unwrap()).unwrap().count(), 1, "nothing is left over");
    let error = client.read(&endpoint, "/no/such/file", &GetOptions::default(), &cx).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::NotFound, "/no/such/file does not exist"));
    let error = client.put(&endpoint, &dir.path().join("nothing"), "x", &PutOptions::default(), &cx).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_dialed_and_forwarded() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sshd = Sshd::start();
    let (client, endpoint, cx) = (client(), sshd.endpoint(), Cx::quiet());
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut r, mut w) = stream.split();
                let _ = tokio::io::copy(&mut r, &mut w).await;
            });
        }
    });
    let content: Vec<u8> = (0..=255_u8).cycle().take(5_000_000).collect();
    let through = async |mut stream: tokio::net::TcpStream| {
        let (mut r, mut w) = stream.split();
        let mut back = Vec::new();
        let (sent, read) = tokio::join!(
            async {
                w.write_all(&content).await?;
                w.shutdown().await
            },
            r.read_to_end(&mut back)
        );
        sent.unwrap();
        read.unwrap();
        assert!(back == content, "{} bytes", back.len());
    };
    let forward = client.forward(&endpoint, "127.0.0.1", port, &cx).await.unwrap();
    let connect = || tokio::net::TcpStream::connect(("127.0.0.1", forward.local_port));
    let (a, b) = (connect().await.unwrap(), connect().await.unwrap());
    tokio::join!(through(a), through(b));
    // One that is not read from must not hold up commands.
    let mut stalled = connect().await.unwrap();
    let _ = tokio::time::timeout(Duration::from_millis(300), async { while stalled.write_all(&content).await.is_ok() {} }).await;
    let start = Instant::now();
    client.run(&endpoint, &Command::new("true"), false, &cx).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
    let local_port = forward.local_port;
    drop(forward);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", local_port)).await.is_err());
    let mut tunnel = client.dial(&endpoint, "127.0.0.1", port, &cx).await.unwrap();
    tunnel.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    tunnel.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    let error = client.dial(&endpoint, "127.0.0.1", sshd::free_port(), &cx).await.err().unwrap();
    assert!(error.kind() == Kind::Connection && error.message().contains("refused"), "{error}");
}
