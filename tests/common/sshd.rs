//! A real OpenSSH server on loopback, for tests. It ends, with all its sessions, when it is dropped.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use opsrun::base::endpoint::Endpoint;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Sshd {
    pub dir: tempfile::TempDir,
    pub port: u16,
    child: Child,
}

/// A program from a package, or the command that installs it.
fn need(program: &str, package: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().map(|d| Path::new(d).join(program)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("this test needs {program}: apt-get install -y {package}"))
}

pub fn keygen(path: &Path, kind: &[&str], passphrase: &str) {
    let status = Command::new(need("ssh-keygen", "openssh-client"))
        .args(["-q", "-N", passphrase, "-C", "", "-t"])
        .args(kind)
        .arg("-f")
        .arg(path)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn user() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned()
}

impl Sshd {
    pub fn start() -> Self {
        Self::with("")
    }

    /// With further lines of configuration, which come first and so win.
    pub fn with(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, kind) in [("host_ed25519", "ed25519"), ("host_ecdsa", "ecdsa"), ("id", "ed25519")] {
            keygen(&dir.path().join(name), &[kind], "");
        }
        std::fs::copy(dir.path().join("id.pub"), dir.path().join("authorized_keys")).unwrap();
        let sshd = Self::serve(dir, free_port(), config);
        sshd.write_known_hosts("host_ed25519");
        sshd
    }

    fn serve(dir: tempfile::TempDir, port: u16, config: &str) -> Self {
        let _ = std::fs::create_dir_all("/run/sshd");
        let d = dir.path().display();
        let text = format!(
            "{config}\nPort {port}\nListenAddress 0.0.0.0\nHostKey {d}/host_ed25519\nHostKey {d}/host_ecdsa\nAuthorizedKeysFile {d}/authorized_keys\n\
             PidFile none\nUsePAM no\nStrictModes no\nMaxStartups 1000:30:1000\nMaxSessions 100\nSetEnv SHLVL=2\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nLogLevel ERROR\nPrintMotd no\n"
        );
        std::fs::write(dir.path().join("sshd_config"), text).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(need("sshd", "openssh-server"))
            .args(["-D", "-e", "-f"])
            .arg(dir.path().join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let sshd = Self { dir, port, child };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "sshd does not answer: {}", sshd.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        sshd
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        let _ = std::fs::File::open(self.path("log")).and_then(|mut f| f.read_to_string(&mut text));
        text
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write_known_hosts(&self, host_key: &str) {
        let public = std::fs::read_to_string(self.path(&format!("{host_key}.pub"))).unwrap();
        std::fs::write(self.path("known_hosts"), format!("[127.0.0.1]:{} {public}", self.port)).unwrap();
    }

    pub fn authorize(&self, public: &Path) {
        let mut keys = std::fs::read_to_string(self.path("authorized_keys")).unwrap();
        keys += &std::fs::read_to_string(public).unwrap();
        std::fs::write(self.path("authorized_keys"), keys).unwrap();
    }

    /// Named `node`, as the current user, with a key that is accepted and the host key known.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            keys: vec![self.path("id")],
            known_hosts: vec![self.path("known_hosts")],
            ..Endpoint::new("node", "127.0.0.1", self.port, user())
        }
    }

    /// The same server through a proxy (or anything else that listens on loopback).
    pub fn endpoint_at(&self, port: u16) -> Endpoint {
        let line =
            std::fs::read_to_string(self.path("known_hosts")).unwrap().replace(&format!(":{} ", self.port), &format!(":{port} "));
        let known = self.path(&format!("known_hosts_{port}"));
        std::fs::write(&known, line).unwrap();
        Endpoint { port, known_hosts: vec![known], ..self.endpoint() }
    }
}

impl Sshd {
    /// The processes that serve connections, children of the listener.
    fn sessions(&self) -> Vec<String> {
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &self.child.id().to_string()]).output();
        children.map(|c| String::from_utf8_lossy(&c.stdout).split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// Breaks all connections, as a network does.
    pub fn cut_sessions(&self) {
        for session in self.sessions() {
            let _ = Command::new("kill").args(["-KILL", &session]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Sessions go first, or they would outlive the listener.
        let sessions = self.sessions();
        let _ = self.child.kill();
        for session in sessions {
            let _ = Command::new("kill").arg(session).stderr(Stdio::null()).status();
        }
        let _ = self.child.wait();
    }
}

/// A TCP proxy that can be told to cut all its connections, at once or after so many bytes, or to go silent.
pub struct CuttingProxy {
    pub port: u16,
    control: std::sync::Arc<Control>,
}

#[derive(Default)]
struct Control {
    /// Bytes from client to server after which everything is cut. `i64::MAX`: never.
    left: std::sync::atomic::AtomicI64,
    streams: std::sync::Mutex<Vec<TcpStream>>,
    stopped: std::sync::atomic::AtomicBool,
    /// Nothing passes any more, and nothing is closed.
    frozen: std::sync::atomic::AtomicBool,
    accepted: std::sync::atomic::AtomicUsize,
}

impl Control {
    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl CuttingProxy {
    pub fn start(to: u16) -> Self {
        Self::start_at(0, to)
    }

    pub fn start_at(port: u16, to: u16) -> Self {
        use std::sync::atomic::Ordering::SeqCst;
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let control = std::sync::Arc::new(Control::default());
        control.left.store(i64::MAX, SeqCst);
        let ours = control.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if ours.stopped.load(SeqCst) {
                    return;
                }
                let Ok(client) = client else { return };
                ours.accepted.fetch_add(1, SeqCst);
                let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], to))) else { continue };
                ours.streams.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let (control, from, into) = (ours.clone(), client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pump(from, into, &control, true));
                let control = ours.clone();
                std::thread::spawn(move || pump(server, client, &control, false));
            }
        });
        Self { port, control }
    }

    pub fn cut(&self) {
        self.control.cut();
    }

    /// Lets this many more bytes pass towards the server.
    pub fn cut_after(&self, bytes: i64) {
        self.control.left.store(bytes, std::sync::atomic::Ordering::SeqCst);
    }

    /// From now on nothing passes, in either direction.
    pub fn freeze(&self) {
        self.control.frozen.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.control.accepted.load(std::sync::atomic::Ordering::SeqCst)
    }

    pub fn heal(&self) {
        self.cut_after(i64::MAX);
    }
}

fn pump(mut from: TcpStream, mut into: TcpStream, control: &Control, limited: bool) {
    use std::io::Write;
    use std::sync::atomic::Ordering::SeqCst;
    let mut buffer = [0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let size = i64::try_from(n).unwrap();
        if limited && control.left.load(SeqCst) != i64::MAX && control.left.fetch_sub(size, SeqCst) < size {
            control.cut();
            return;
        }
        while control.frozen.load(SeqCst) && !control.stopped.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if into.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(std::net::Shutdown::Write);
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.control.stopped.store(true, std::sync::atomic::Ordering::SeqCst);
        self.control.cut();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
