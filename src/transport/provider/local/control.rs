//! How the provider talks with its supervisor: one line of JSON each way over a Unix socket.
//!
//! A socket's path may have 108 bytes, a deployment's folder any number: both sides reach it through `/proc/self/fd`.

use super::super::NodeSpec;
use super::layout::{Layout, NodeRecord, SiteRecord};
use crate::base::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Longer than any answer should take, binding a thousand addresses included.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    /// Make these nodes and serve them.
    Serve { site: SiteRecord, specs: Vec<NodeSpec> },
    /// Serve these no longer: close their connections, end the commands of those. Files and other processes stay.
    Stop { names: Vec<String> },
    /// Which nodes are served?
    List,
    /// Stop all, then end.
    Shutdown,
}

/// One node as the supervisor sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub name: String,
    pub record: Option<NodeRecord>,
    pub running: bool,
    /// Why it is not served.
    pub problem: Option<Problem>,
    /// Process groups started for it that may still live.
    #[serde(default)]
    pub groups: Vec<i32>,
}

/// An error on its way through the socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    message: String,
    hints: Vec<String>,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self { message: error.message().to_owned(), hints: error.details().hints.clone() }
    }
}

impl Problem {
    pub fn error(&self) -> Error {
        self.hints.iter().fold(Error::new(Kind::Provider, &self.message), Error::hint)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The supervisor's process.
    pub pid: i32,
    pub nodes: Vec<Report>,
}

/// A path to the socket that is short, whatever the folder's. Good for as long as the file lives.
pub struct SocketPath {
    _dir: std::fs::File,
    pub path: PathBuf,
}

impl SocketPath {
    pub fn of(layout: &Layout) -> std::io::Result<Self> {
        const NAME: &str = "control";
        let dir = std::fs::File::open(layout.state())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()));
        let path = if cfg!(target_os = "linux") { path } else { layout.state().join(NAME) };
        Ok(Self { _dir: dir, path })
    }
}

/// A connection to a supervisor that lives.
pub struct Client(BufReader<UnixStream>);

impl Client {
    /// Returns none when no supervisor is there.
    pub async fn connect(layout: &Layout) -> Option<Self> {
        let socket = SocketPath::of(layout).ok()?;
        UnixStream::connect(&socket.path).await.ok().map(|s| Self(BufReader::new(s)))
    }

    /// One request, one answer. None when the supervisor ended before it answered.
    pub async fn ask(&mut self, request: &Request) -> Result<Option<Answer>> {
        let mut line = serde_json::to_vec(request).map_err(|e| Error::internal(e.to_string()))?;
        line.push(b'\n');
        let exchange = async {
            self.0.get_mut().write_all(&line).await?;
            let mut answer = String::new();
            self.0.read_line(&mut answer).await.map(|_| answer)
        };
        let answer = match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(Ok(answer)) if !answer.is_empty() => answer,
            Ok(_) => return Ok(None),
            Err(_) => {
                return Err(Error::new(Kind::Timeout, "the supervisor of the local nodes does not answer")
                    .hint("It may be stopped or hang. End its process (opsrun __supervise …), then try again."));
            }
        };
        let answer = serde_json::from_str(&answer);
        answer.map(Some).map_err(|e| Error::internal(format!("the supervisor's answer cannot be read: {e}")))
    }
}
