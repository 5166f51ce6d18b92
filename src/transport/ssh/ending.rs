//! How a command is made to end before its time, with everything it has started.
//!
//! Closing its channel ends nothing that does not happen to write, and without a terminal there is no hang-up. What there is:
//! - sshd makes each session's shell the leader of a process group. OpenSSH (7.9 and later) passes a `signal` request on to
//!   that group, unless the login is root's, and only with the user's own rights.
//! - So where root is involved (a login as root, sudo, another user), a second session looks for the process group by a mark
//!   in the environment of its leader, and signals it.
//!
//! Processes that left the group (`setsid`, as jobs and daemons do) are not touched.

use super::Client;
use super::exec::{Parts, signal};
use crate::base::command::Command;
use crate::base::endpoint::Endpoint;
use crate::base::event::Cx;
use russh::{ChannelMsg, Sig};
use std::time::Duration;
use tokio::time::timeout;

/// After SIGKILL, and for whatever else should be immediate: what takes longer is left to the host.
const SHORT: Duration = Duration::from_secs(2);

/// Marks the processes of one command.
pub(super) struct Mark {
    id: String,
    /// The host would not pass our signals on, because root has a part in this.
    root: bool,
}

const VARIABLE: &str = "OPSRUN_COMMAND";

/// `$k` and `$i` are the two halves of the mark: whole, it would also be found in this script's own arguments.
/// The oldest process with the mark is the leader, or what is left of its group.
const HELPER: &str = r#"
group='' since=''
for file in $(grep -lasF -e "$k=$i" /proc/[0-9]*/environ /proc/[0-9]*/cmdline); do
  pid=${file#/proc/}
  pid=${pid%%/*}
  read -r stat 2>/dev/null < "/proc/$pid/stat" || continue
  set -- ${stat##*) }
  case $1 in Z|X) continue ;; esac
  shift 2
  pgid=$1
  shift 17
  if [ -z "$since" ] || [ "$1" -lt "$since" ]; then group=$pgid since=$1; fi
done
[ -n "$group" ] && kill -s "$s" -- "-$group"
"#;

impl Mark {
    pub fn new(endpoint: &Endpoint, command: &Command) -> Self {
        let root = endpoint.user == "root" || command.sudo || command.user.is_some();
        Self { id: uuid::Uuid::new_v4().simple().to_string(), root }
    }

    pub fn put_on(&self, line: &str) -> String {
        format!("export {VARIABLE}={}; {line}", self.id)
    }

    /// Signals the group through a session of its own. Returns whether there was one.
    async fn signal(&self, client: &Client, endpoint: &Endpoint, name: &str) -> bool {
        let script = format!("k={VARIABLE}\ni={}\ns={name}\n{HELPER}", self.id);
        let command = Command { sudo: self.root, ..Command::new(script) };
        let Ok(session) = client.session(endpoint, &Cx::quiet()).await else { return false };
        let (mut read, write) = session.channel.split();
        if write.exec(true, command.wrapped()).await.is_err() || write.eof().await.is_err() {
            return false;
        }
        let mut done = false;
        while let Some(message) = read.wait().await {
            match message {
                ChannelMsg::ExitStatus { exit_status } => done = exit_status == 0,
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        done
    }
}

impl Parts {
    /// TERM, some grace, KILL, and the channel closed.
    pub async fn end(mut self, client: &Client, endpoint: &Endpoint) {
        for (sig, grace) in [(Sig::TERM, client.0.settings.kill_grace), (Sig::KILL, SHORT)] {
            if self.lease.connection().is_dead() {
                return;
            }
            let signalled = async {
                // Servers that know no signals come to the second round.
                let helped = (self.mark.root || matches!(sig, Sig::KILL))
                    && timeout(SHORT, self.mark.signal(client, endpoint, &signal(&sig))).await.unwrap_or(false);
                if !helped {
                    let _ = self.write.signal(sig.clone()).await;
                }
            };
            // The output is taken meanwhile: left alone it would hold up the whole connection.
            let over = async { while !matches!(self.read.wait().await, Some(ChannelMsg::Close) | None) {} };
            let both = async { tokio::join!(signalled, timeout(grace, over)).1 };
            if both.await.is_ok() {
                return;
            }
        }
        let _ = timeout(SHORT, self.write.close()).await;
    }
}
