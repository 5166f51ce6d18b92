//! Waiting for something on nodes: a port, a file, a command that succeeds.

use super::{Fleet, RunOptions};
use crate::base::command::Command;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Unit;
use crate::base::shell::quote;
use crate::base::units::format_duration;
use crate::domain::node::{Node, NodeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long to wait, and how often to look.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub timeout: Duration,
    pub interval: Duration,
}

impl Default for Wait {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), interval: Duration::from_millis(250) }
    }
}

/// Asking more often than this only keeps the node busy.
const SHORTEST: Duration = Duration::from_millis(50);

/// The remote shell is given this much longer than the wait itself before the connection is given up.
const GRACE: Duration = Duration::from_secs(10);

impl Fleet {
    /// Waits until something accepts connections on the port, as seen from each node itself.
    /// `host` is the address to try there; by default the node's own address, and on machines of their own also localhost.
    pub async fn wait_port(&self, nodes: &NodeSet, port: u16, host: Option<&str>, wait: Wait) -> Result<()> {
        let progress = self.cx.events.progress(format!("waiting for port {port}"), nodes.len() as u64, Unit::Items);
        let progress = Arc::new(progress);
        let done = self
            .all(nodes, |fleet, node| {
                let (host, progress) = (host.map(str::to_owned), progress.clone());
                async move {
                    fleet.wait_port_of(&node, port, host.as_deref(), wait).await?;
                    progress.advance(1);
                    Ok(())
                }
            })
            .await;
        done.map(|_| ())
    }

    async fn wait_port_of(&self, node: &Node, port: u16, host: Option<&str>, wait: Wait) -> Result<()> {
        let own = node.endpoint.own_host();
        // Local nodes share this machine's localhost: a port there may belong to any of them.
        let hosts: Vec<&str> = match host {
            Some(host) => vec![host],
            None if node.provider == "local" => vec![own],
            None => vec![own, "localhost"],
        };
        let deadline = Instant::now() + wait.timeout;
        loop {
            let mut why = String::new();
            for host in &hosts {
                match self.cx.cancel.guard(self.client.dial(&node.endpoint, host, port, &self.cx)).await {
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == Kind::Connection => error.message().clone_into(&mut why),
                    Err(error) => return Err(error),
                }
            }
            if Instant::now() + wait.interval > deadline {
                let waited = format_duration(wait.timeout);
                let message = format!("nothing listens on {}:{port} after {waited}", hosts.join(" or "));
                return Err(Error::new(Kind::Timeout, message)
                    .context(format!("waiting for port {port}; the last attempt said: {why}"))
                    .hint("Look at the log of what should listen there, or wait longer with #{ timeout: \"…\" }."));
            }
            let pause = async {
                sleep(wait.interval.max(SHORTEST)).await;
                Ok(())
            };
            self.cx.cancel.guard(pause).await?;
        }
    }

    /// Waits until the path exists on every node.
    pub async fn wait_file(&self, nodes: &NodeSet, path: &str, wait: Wait) -> Result<()> {
        self.poll(nodes, &format!("test -e {}", quote(path)), &format!("file {path}"), wait).await
    }

    /// Waits until the command succeeds on every node. The loop runs on the node: one connection, however long it takes.
    pub async fn wait_until(&self, nodes: &NodeSet, command: &str, wait: Wait) -> Result<()> {
        self.poll(nodes, command, &format!("\"{command}\" to succeed"), wait).await
    }

    async fn poll(&self, nodes: &NodeSet, test: &str, what: &str, wait: Wait) -> Result<()> {
        let _progress = self.cx.events.progress(format!("waiting for {what}"), 0, Unit::Items);
        // Sub-second deadlines are rounded up: date in a POSIX shell knows whole seconds.
        let seconds = wait.timeout.as_secs_f64().ceil();
        let line = format!(
            "end=$(( $(date +%s) + {seconds} )); while :; do out=$( {{ {test}\n}} 2>&1 </dev/null ) && exit 0; code=$?; \
             [ \"$(date +%s)\" -ge $end ] && {{ printf '%s\\n' \"$out\" >&2; exit 124; }}; sleep {}; done",
            wait.interval.max(SHORTEST).as_secs_f64()
        );
        let mut command = Command::new(line);
        command.timeout = Some(wait.timeout + GRACE);
        let quiet = RunOptions { live: false, collapse: false, check: false };
        let results = self.try_run(nodes, &command, quiet).await;
        let checked = results.into_iter().zip(nodes.iter()).map(|(result, node)| {
            let output = result?;
            if output.exit.is_success() {
                return Ok(());
            }
            let waited = format_duration(wait.timeout);
            let mut error = Error::new(Kind::Timeout, format!("waited {waited} in vain for {what}")).on_node(node.name.as_str());
            error.details_mut().stderr = crate::base::capture::tail(&output.stderr);
            Err(error.hint("Wait longer with #{ timeout: \"…\" }, if it only needs more time."))
        });
        super::gather(checked.collect()).map(|_| ())
    }
}
