//! What runs on this machine, as `/proc` tells it: to find the processes of a node, and to end them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

/// One process that is alive (a zombie is not).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
}

impl Process {
    /// Reads `/proc/<pid>/stat`. Returns none for zombies and for what is gone.
    pub fn read(pid: i32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, so everything is counted from the last one.
        let rest = &stat[memchr::memrchr(b')', &stat)? + 1..];
        let rest = std::str::from_utf8(rest).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let mut number = || fields.next()?.parse().ok();
        Some(Self { pid, parent: number()?, group: number()?, session: number()? })
    }

    /// `process 4711 (java -Xmx256m …)`
    pub fn describe(self) -> String {
        describe(self.pid)
    }

    pub fn signal(self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid), signal);
    }

    /// Whether an entry of its environment is this one, or begins with it when `prefix`.
    pub fn has_env(self, entry: &str, prefix: bool) -> bool {
        self.environ().split(|b| *b == 0).any(|e| if prefix { e.starts_with(entry.as_bytes()) } else { e == entry.as_bytes() })
    }

    /// Its environment as it was started with, entries ended by NUL. Empty when it is not ours to see.
    pub fn environ(self) -> Vec<u8> {
        std::fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default()
    }

    pub fn cwd(self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/cwd", self.pid)).ok()
    }
}

/// Every process we can see.
pub fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| Process::read(e.file_name().to_str()?.parse().ok()?)).collect()
}

/// This process and those it descends from, which nobody wants to end by accident.
pub fn self_and_ancestors() -> Vec<i32> {
    let mut line = vec![nix::unistd::getpid().as_raw()];
    while let Some(process) = line.last().and_then(|pid| Process::read(*pid)) {
        if process.parent <= 0 || line.contains(&process.parent) {
            break;
        }
        line.push(process.parent);
    }
    line
}

/// Those of `all` that descend from `root`, without itself.
pub fn descendants(all: &[Process], root: i32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut queue = vec![root];
    while let Some(pid) = queue.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            queue.push(child.pid);
            found.push(child);
        }
    }
    found
}

/// `process 4711 (java -Xmx256m …)`
pub fn describe(pid: i32) -> String {
    const LONGEST: usize = 60;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|b| *b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
    let mut text = words.join(" ");
    if text.is_empty() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim().clone_into(&mut text);
    }
    if text.chars().count() > LONGEST {
        text = text.chars().take(LONGEST).chain(['…']).collect();
    }
    format!("process {pid} ({text})")
}

/// Who listens on this address, or on its port of all addresses, described.
pub fn listener_of(socket: SocketAddrV4) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(|line| listening_inode(line, socket)).collect::<Vec<_>>())
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let links: Vec<PathBuf> = inodes.iter().map(|inode| PathBuf::from(format!("socket:[{inode}]"))).collect();
    let holds = |pid: i32| {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .is_ok_and(|fds| fds.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| links.contains(&to))))
    };
    all().into_iter().find(|p| holds(p.pid)).map(Process::describe).or_else(|| Some("a process of another user".to_owned()))
}

/// The inode of a listening socket in a line of `/proc/net/tcp` or `tcp6`, when it is bound to `socket` or to all addresses.
fn listening_inode(line: &str, socket: SocketAddrV4) -> Option<String> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != LISTEN || u16::from_str_radix(port, 16).ok()? != socket.port() {
        return None;
    }
    let ours = format!("{:08X}", u32::from_ne_bytes(socket.ip().octets()));
    (address.bytes().all(|b| b == b'0') || address == ours).then(|| fields.get(9).map(|i| (*i).to_owned())).flatten()
}

/// The path without links, for comparing with what `/proc` shows.
pub fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Whatever the shell that started us had open (the lock of a `flock 9`, a pipe that should end) must not live on in us.
/// Called before anything of ours is open.
pub fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(|fd| *fd > 2).collect();
    for fd in open {
        let _ = nix::unistd::close(fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_this_process_and_its_children() {
        let mut child = std::process::Command::new("sleep").arg("60").env("OPSRUN_TEST_MARK", "a/b").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let me = nix::unistd::getpid().as_raw();
        let found = descendants(&all(), me).into_iter().find(|p| p.pid == pid).unwrap();
        assert_eq!(found.parent, me);
        assert!(found.has_env("OPSRUN_TEST_MARK=a/b", false) && found.has_env("OPSRUN_TEST_MARK=a/", true));
        assert!(!found.has_env("OPSRUN_TEST_MARK=a/", false));
        assert_eq!(found.describe(), format!("process {pid} (sleep 60)"));
        assert!(self_and_ancestors().starts_with(&[me]));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Process::read(pid), None);
    }
}
