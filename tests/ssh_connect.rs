//! How connections are made, shared, refused and lost, against a real OpenSSH server.

#[path = "common/sshd.rs"]
mod sshd;

use opsrun::base::cancel::Cancel;
use opsrun::base::command::Command;
use opsrun::base::endpoint::{Endpoint, HostKeyPolicy};
use opsrun::base::error::{Error, Kind};
use opsrun::base::event::{Cx, Event, Events, Listener};
use opsrun::base::secret::Secret;
use opsrun::transport::ssh::{Client, Settings};
use sshd::{CuttingProxy, Sshd, free_port, keygen};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn client() -> Client {
    Client::new(Settings { agent: None, ..Settings::default() })
}

async fn echo(client: &Client, endpoint: &Endpoint) -> Result<(), Error> {
    let output = client.run(endpoint, &Command::new("echo hi"), false, &Cx::quiet()).await?;
    assert_eq!(output.stdout, b"hi\n");
    Ok(())
}

/// Everything a user would read of an error.
fn story(error: &Error) -> String {
    let details = error.details();
    format!(
        "{error}\n{}\n{}\n{}",
        details.context.join("\n"),
        details.hints.join("\n"),
        details.stderr.as_deref().unwrap_or_default()
    )
}

#[track_caller]
fn assert_tells(error: &Error, kind: Kind, words: &[&str]) {
    let story = story(error);
    assert_eq!(error.kind(), kind, "{story}");
    for word in words {
        assert!(story.contains(word), "{word:?} is missing in:\n{story}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_let_us_in() {
    let sshd = Sshd::start();
    let kinds: [&[&str]; 6] = [
        &["ed25519"],
        &["rsa", "-b", "2048"],
        &["ecdsa", "-b", "256"],
        &["ecdsa", "-b", "384"],
        &["rsa", "-b", "2048", "-m", "PEM"],
        &["ecdsa", "-m", "PKCS8"],
    ];
    for (i, kind) in kinds.into_iter().enumerate() {
        let key = sshd.path(&format!("key{i}"));
        keygen(&key, kind, "");
        sshd.authorize(&key.with_extension("pub"));
        echo(&client(), &Endpoint { keys: vec![key], ..sshd.endpoint() })
            .await
            .unwrap_or_else(|e| panic!("{kind:?}: {}", story(&e)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passphrases_are_asked_once() {
    let sshd = Sshd::start();
    let key = sshd.path("locked");
    keygen(&key, &["ed25519"], "open sesame");
    sshd.authorize(&key.with_extension("pub"));
    let asked = Arc::new(AtomicUsize::new(0));
    let with = |answer: &'static str| {
        let asked = asked.clone();
        let ask_passphrase = Arc::new(move |path: &Path| {
            assert!(path.ends_with("locked"));
            asked.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(100));
            Ok(Secret::new(answer))
        });
        Client::new(Settings { ask_passphrase, agent: None, ..Settings::default() })
    };
    // Ten hosts (one server answers for all of 127.0.0.0/8) and one question.
    let endpoint = Endpoint { keys: vec![key.clone()], host_keys: HostKeyPolicy::Pin, ..sshd.endpoint() };
    let hosts: Vec<Endpoint> = (1..=10).map(|i| Endpoint { host: format!("127.0.0.{i}"), ..endpoint.clone() }).collect();
    let right = with("open sesame");
    futures::future::try_join_all(hosts.iter().map(|host| echo(&right, host))).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let wrong = with("open barley");
    let errors = futures::future::join_all(hosts.iter().map(|host| echo(&wrong, host))).await;
    for error in errors {
        assert_tells(&error.unwrap_err(), Kind::Auth, &["wrong passphrase for the private key", "locked"]);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let nobody = client();
    assert_tells(&echo(&nobody, &endpoint).await.unwrap_err(), Kind::Auth, &["locked is encrypted", "ssh-add"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_keys_are_all_named() {
    let sshd = Sshd::start();
    let (stranger, open, missing) = (sshd.path("stranger"), sshd.path("open"), sshd.path("missing"));
    keygen(&stranger, &["ed25519"], "");
    keygen(&open, &["ed25519"], "");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).unwrap();
    let nonsense = sshd.path("known_hosts");
    let endpoint = Endpoint { keys: vec![missing.clone(), open, nonsense, stranger], agent: true, ..sshd.endpoint() };
    std::fs::set_permissions(sshd.path("known_hosts"), PermissionsExt::from_mode(0o600)).unwrap();
    let error = echo(&client(), &endpoint).await.unwrap_err();
    assert_tells(
        &error,
        Kind::Auth,
        &[
            "cannot log in to",
            "missing: no such file",
            "open can be read by others (mode 0644)",
            "chmod 600",
            "known_hosts is not a private key",
            "stranger (ssh-ed25519 SHA256:",
            "SSH_AUTH_SOCK is not set",
        ],
    );
    assert_eq!(error.details().node.as_deref(), Some("node"));
    let nobody = Endpoint { keys: vec![], ..sshd.endpoint() };
    assert_tells(&echo(&client(), &nobody).await.unwrap_err(), Kind::Auth, &["no key is given and no agent is asked"]);
    let other = Endpoint { user: "nobody-of-that-name".to_owned(), ..sshd.endpoint() };
    assert_tells(
        &echo(&client(), &other).await.unwrap_err(),
        Kind::Auth,
        &["nobody-of-that-name@127.0.0.1", "Is the user name right"],
    );
}

/// A real ssh-agent with one key in it.
struct Agent {
    socket: PathBuf,
    child: std::process::Child,
}

impl Agent {
    fn holding(dir: &Path, key: &Path) -> Self {
        let socket = dir.join("agent");
        let child = std::process::Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { socket, child };
        let start = Instant::now();
        while !agent.socket.exists() {
            assert!(start.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(10));
        }
        let added =
            std::process::Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket).status().unwrap();
        assert!(added.success());
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_lets_us_in_and_spares_passphrases() {
    let sshd = Sshd::start();
    for (name, kind) in [("a-ed25519", &["ed25519"][..]), ("a-rsa", &["rsa", "-b", "2048"])] {
        let key = sshd.path(name);
        keygen(&key, kind, "");
        sshd.authorize(&key.with_extension("pub"));
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::holding(dir.path(), &key);
        // Only the agent can open it now.
        let locked = std::process::Command::new("ssh-keygen")
            .args(["-q", "-p", "-P", "", "-N", "secret words", "-f"])
            .arg(&key)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(locked.unwrap().success());
        let client = Client::new(Settings { agent: Some(agent.socket.clone()), ..Settings::default() });
        echo(&client, &Endpoint { keys: vec![], agent: true, ..sshd.endpoint() }).await.unwrap();
        let client = Client::new(Settings { agent: Some(agent.socket.clone()), ..Settings::default() });
        echo(&client, &Endpoint { keys: vec![key.clone()], agent: true, ..sshd.endpoint() }).await.unwrap();
    }
    let client = Client::new(Settings { agent: Some("/no/such/socket".into()), ..Settings::default() });
    let error = echo(&client, &Endpoint { keys: vec![], agent: true, ..sshd.endpoint() }).await.unwrap_err();
    assert_tells(&error, Kind::Auth, &["ssh-agent at /no/such/socket"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn host_keys_are_strict_pinned_and_refused_when_they_change() {
    let sshd = Sshd::start();
    // The host has an ed25519 key as well, but only the other one is known: it must be asked for that one.
    sshd.write_known_hosts("host_ecdsa");
    echo(&client(), &sshd.endpoint()).await.unwrap();
    std::fs::write(sshd.path("known_hosts"), "").unwrap();
    assert_tells(
        &echo(&client(), &sshd.endpoint()).await.unwrap_err(),
        Kind::HostKey,
        &["is not known (ssh-ed25519 SHA256:", "ssh-keyscan -p"],
    );
    let pinned = Endpoint { host_keys: HostKeyPolicy::Pin, known_hosts: vec![sshd.path("pins/known_hosts")], ..sshd.endpoint() };
    let one = client();
    futures::future::try_join_all((0..5).map(|_| echo(&one, &pinned))).await.unwrap();
    let text = std::fs::read_to_string(sshd.path("pins/known_hosts")).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.starts_with(&format!("[127.0.0.1]:{} ssh-ed25519 ", sshd.port)), "{text}");
    echo(&client(), &Endpoint { host_keys: HostKeyPolicy::Strict, ..pinned.clone() }).await.unwrap();
    // ssh-keygen's hashed names.
    let hashed =
        std::process::Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(sshd.path("pins/known_hosts")).output().unwrap();
    assert!(hashed.status.success());
    assert!(std::fs::read_to_string(sshd.path("pins/known_hosts")).unwrap().starts_with("|1|"));
    echo(&client(), &pinned).await.unwrap();
    // Another machine at the same address.
    let other = Sshd::start();
    let proxy = CuttingProxy::start(other.port);
    let moved = Endpoint { port: proxy.port, ..other.endpoint() };
    let line = std::fs::read_to_string(sshd.path("host_ed25519.pub")).unwrap();
    std::fs::write(other.path("known_hosts"), format!("# first\n[127.0.0.1]:{} {line}", proxy.port)).unwrap();
    for host_keys in [HostKeyPolicy::Strict, HostKeyPolicy::Pin] {
        let start = Instant::now();
        let error =
            echo(&client(), &Endpoint { host_keys, retry_for: Duration::from_secs(20), ..moved.clone() }).await.unwrap_err();
        assert_tells(
            &error,
            Kind::HostKey,
            &["has changed", "known_hosts:2 says ssh-ed25519 SHA256:", "listens in", "ssh-keygen -R"],
        );
        assert!(start.elapsed() < Duration::from_secs(5), "it must not be tried again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_jump_host_and_through_a_command() {
    let (bastion, inside) = (Sshd::start(), Sshd::start());
    let jump = Box::new(Endpoint { name: "bastion".to_owned(), ..bastion.endpoint() });
    let through = Endpoint { jump: Some(jump), ..inside.endpoint() };
    let client = client();
    futures::future::try_join_all((0..20).map(|_| echo(&client, &through))).await.unwrap();
    let output = client
        .run(&through, &Command::new("head -c 3000000 /dev/zero; cat").stdin(vec![1; 3_000_000]), false, &Cx::quiet())
        .await
        .unwrap();
    assert_eq!(output.stdout.len(), 6_000_000);
    let nowhere = Endpoint { port: free_port(), ..through.clone() };
    assert_tells(&echo(&client, &nowhere).await.unwrap_err(), Kind::Connection, &["bastion cannot reach it"]);
    let closed = Endpoint { port: free_port(), ..bastion.endpoint() };
    let far = Endpoint { jump: Some(Box::new(Endpoint { name: "gone".to_owned(), ..closed })), ..inside.endpoint() };
    assert_tells(
        &echo(&client, &far).await.unwrap_err(),
        Kind::Connection,
        &["connection refused", "going through gone to node"],
    );
    // A command for a connection: it gets host, port and user, and goes when the client goes.
    let script = inside.path("proxy.sh");
    std::fs::write(&script, format!("echo \"$@\" > {}\nexec python3 -c 'import socket,sys,threading,os\ns=socket.create_connection((sys.argv[1],int(sys.argv[2])))\ndef up():\n  while True:\n    d=os.read(0,65536)\n    if not d: break\n    s.sendall(d)\n  os._exit(0)\nthreading.Thread(target=up).start()\nwhile True:\n  d=s.recv(65536)\n  if not d: break\n  os.write(1,d)\nos._exit(0)' \"$@\"", inside.path("words").display())).unwrap();
    let by_command = Endpoint { proxy_command: Some(format!("sh {} %h %p %r %%", script.display())), ..inside.endpoint() };
    let other = Client::new(Settings::default());
    echo(&other, &by_command).await.unwrap();
    assert_eq!(std::fs::read_to_string(inside.path("words")).unwrap(), format!("127.0.0.1 {} {} %\n", inside.port, sshd::user()));
    drop(other);
    let start = Instant::now();
    let alive = || std::process::Command::new("pgrep").arg("-f").arg(&script).output().unwrap().status.success();
    while alive() {
        assert!(start.elapsed() < Duration::from_secs(5), "the proxy command lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let broken = Endpoint { proxy_command: Some("echo no such tunnel >&2; exit 3".to_owned()), ..inside.endpoint() };
    assert_tells(
        &echo(&client, &broken).await.unwrap_err(),
        Kind::Connection,
        &["the proxy command ended with", "no such tunnel"],
    );
}

/// Hears what is being waited for.
#[derive(Clone, Default)]
struct Waits(Arc<Mutex<Vec<String>>>);

impl Listener for Waits {
    fn event(&self, event: Event) {
        if let Event::Begin { label, .. } | Event::Label { label, .. } = event {
            self.0.lock().unwrap().push(label);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_boot_are_waited_for() {
    let port = free_port();
    let sshd = Sshd::start();
    let late = Endpoint { retry_for: Duration::from_secs(30), ..sshd.endpoint_at(port) };
    let waits = Waits::default();
    let cx = Cx::new(Cancel::new(), Events::new(waits.clone()));
    let start = Instant::now();
    let client = client();
    let opened = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        CuttingProxy::start_at(port, sshd.port)
    };
    let command = Command::new("true");
    let (result, proxy) = tokio::join!(client.run(&late, &command, false, &cx), opened);
    result.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(4));
    assert!(waits.0.lock().unwrap().iter().any(|w| w.contains("waiting for node") && w.contains("connection refused")));
    drop(proxy);
    // Until the deadline, and no longer.
    let never = Endpoint { port: free_port(), retry_for: Duration::from_secs(2), ..sshd.endpoint() };
    let start = Instant::now();
    let error = echo(&client, &never).await.unwrap_err();
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_tells(&error, Kind::Connection, &["connection refused", "tried"]);
    // A host that takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute =
        Endpoint { port: silent.local_addr().unwrap().port(), connect_timeout: Duration::from_millis(600), ..sshd.endpoint() };
    assert_tells(&echo(&client, &mute).await.unwrap_err(), Kind::Connection, &["no answer within 600ms"]);
    // A cancel while waiting.
    let cx = Cx::quiet();
    let waiting = Endpoint { retry_for: Duration::from_secs(60), ..never };
    let (result, ()) = tokio::join!(client.run(&waiting, &command, false, &cx), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cx.cancel.cancel();
    });
    assert!(result.unwrap_err().is_cancelled());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_shared_replaced_and_multiplied() {
    let sshd = Sshd::with("MaxSessions 10");
    let proxy = CuttingProxy::start(sshd.port);
    let (client, endpoint) = (client(), sshd.endpoint_at(proxy.port));
    futures::future::try_join_all((0..8).map(|_| echo(&client, &endpoint))).await.unwrap();
    assert_eq!(proxy.connections(), 1, "eight that come at once share one connection");
    // It dies while nobody uses it: the next command does not notice.
    for _ in 0..3 {
        proxy.cut();
        echo(&client, &endpoint).await.unwrap();
    }
    assert_eq!(proxy.connections(), 4);
    // More at once than a server allows on one connection.
    let cx = Cx::quiet();
    let command = Command::new("sleep 0.5; echo done");
    let many = futures::future::try_join_all((0..30).map(|_| client.run(&endpoint, &command, false, &cx))).await.unwrap();
    assert!(many.iter().all(|o| o.stdout == b"done\n"));
    assert!((5..=7).contains(&proxy.connections()), "{}", proxy.connections());
    // One that allows fewer than we thought.
    let narrow = Sshd::with("MaxSessions 2");
    let narrow_endpoint = narrow.endpoint();
    let several = (0..6).map(|_| client.run(&narrow_endpoint, &command, false, &cx));
    futures::future::try_join_all(several).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_in_the_middle_of_a_command_is_told_apart() {
    let sshd = Sshd::start();
    let proxy = CuttingProxy::start(sshd.port);
    let (client, endpoint, cx) = (client(), sshd.endpoint_at(proxy.port), Cx::quiet());
    let command = Command::new("echo before; sleep 5");
    let (result, ()) = tokio::join!(client.run(&endpoint, &command, false, &cx), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.cut();
    });
    let error = result.unwrap_err();
    assert_tells(&error, Kind::Connection, &["lost the connection to", "may still be running on node"]);
    assert_eq!(error.details().command.as_deref(), Some("echo before; sleep 5"));
    echo(&client, &endpoint).await.unwrap();
    // A host that goes silent is noticed by keepalives, not by patience.
    let quick = Client::new(Settings { keepalive: Duration::from_millis(300), agent: None, ..Settings::default() });
    echo(&quick, &endpoint).await.unwrap();
    let start = Instant::now();
    let command = Command::new("sleep 60");
    let (result, ()) = tokio::join!(quick.run(&endpoint, &command, false, &cx), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.freeze();
    });
    assert_tells(&result.unwrap_err(), Kind::Connection, &["the host stopped answering", "may still be running"]);
    assert!(start.elapsed() < Duration::from_secs(10));
}
