//! `ProxyCommand`: a connection through the stdin and stdout of a local command.

use super::connect::Failure;
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, ChildStdout};

/// What is kept of the command's stderr to explain its failure.
const STDERR_KEPT: usize = 4096;

/// The running command. Dropping it kills the command and what it started.
pub(super) struct ProxyProcess {
    child: Child,
    line: String,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl ProxyProcess {
    pub fn start(command: &str, endpoint: &Endpoint) -> Result<(Self, tokio::io::Join<ChildStdout, ChildStdin>)> {
        let line = expand(command, endpoint)?;
        let failed = |e: &std::io::Error| Error::io("start the proxy command", &line, e);
        let mut child = tokio::process::Command::new("/bin/sh")
            .args(["-c", &line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(&e))?;
        let (Some(stdin), Some(stdout), Some(mut pipe)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err(Error::internal("a proxy command has no pipes"));
        };
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let kept = stderr.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = STDERR_KEPT.saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(&buffer[..room]);
            }
        });
        Ok((Self { child, line, stderr }, tokio::io::join(stdout, stdin)))
    }

    /// A handshake over this command failed: says what the command itself had to say about it.
    pub async fn explain(mut self, failure: Failure) -> Failure {
        let ended = tokio::time::timeout(Duration::from_millis(300), self.child.wait()).await;
        tokio::task::yield_now().await;
        let stderr = String::from_utf8_lossy(&self.stderr.lock().unwrap_or_else(PoisonError::into_inner)).trim().to_owned();
        let Failure { mut error, retry, busy } = failure;
        if error.kind() == Kind::Connection {
            if let Ok(Ok(status)) = ended {
                error = error.context(format!("the proxy command ended with {status}: {}", self.line));
            }
            if !stderr.is_empty() {
                error.details_mut().stderr = Some(stderr);
            }
        }
        Failure { error, retry, busy }
    }
}

impl Drop for ProxyProcess {
    fn drop(&mut self) {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
    }
}

/// `%h` host, `%p` port, `%r` user, `%%` a percent sign, as in ssh_config. A host or user that a shell would read as more
/// than one plain word is refused, wherever it came from: the line is given to a shell.
fn expand(command: &str, endpoint: &Endpoint) -> Result<String> {
    let plain = |what: &str, word: &str| {
        let ok = |c: char| c.is_alphanumeric() || "-_.:@%+=~^/".contains(c);
        if !word.starts_with('-') && !word.is_empty() && word.chars().all(ok) {
            return Ok(());
        }
        let message = format!("the {what} {word:?} of {} cannot stand in the proxy command `{command}`", endpoint.name);
        Err(Error::config(message).hint("Write it in letters, digits, '.', '-' and '_': a shell reads this line."))
    };
    let mut out = String::new();
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some('h')) => {
                plain("host", &endpoint.host)?;
                out.push_str(&endpoint.host);
            }
            ('%', Some('p')) => out.push_str(&endpoint.port.to_string()),
            ('%', Some('r')) => {
                plain("user", &endpoint.user)?;
                out.push_str(&endpoint.user);
            }
            ('%', Some('%') | None) => out.push('%'),
            ('%', Some(other)) => out.extend(['%', other]),
            (c, _) => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_ssh_config_does() {
        let endpoint = Endpoint::new("n", "db.lab", 2222, "root");
        let line = expand("nc %h %p # %r 100%% %x %", &endpoint).unwrap();
        assert_eq!(line, "nc db.lab 2222 # root 100% %x %");
    }

    #[test]
    fn a_name_cannot_become_a_command() {
        for (host, user) in [("x;touch y", "root"), ("$(id)", "root"), ("-oX", "root"), ("db", "r`id`"), ("db", "a b")] {
            let error = expand("nc %h %p %r", &Endpoint::new("n", host, 22, user)).unwrap_err();
            assert!(error.message().contains("cannot stand in the proxy command"), "{error}");
        }
        assert!(expand("nc gate 22", &Endpoint::new("n", "odd;name", 22, "root")).is_ok());
    }
}
