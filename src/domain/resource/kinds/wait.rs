//! Waiting on the node until something is there. Nothing is changed by it.

use super::super::{Change, Fact, Known, Resource, Touch, Verdict};
use super::download::WEB;
use crate::base::error::Result;
use crate::base::shell::quote;
use crate::base::units::format_duration;
use std::time::Duration;

#[derive(Clone, Debug)]
pub enum What {
    /// Something listens on this port of the node.
    Port(u16),
    /// Something takes connections there.
    PortOf(String, u16),
    Path(String),
    /// An address answers with this status (None: any below 400), and with this in its body.
    Url {
        url: String,
        status: Option<u16>,
        contains: Option<String>,
    },
    /// A command succeeds.
    Command(String),
}

#[derive(Clone, Debug)]
pub struct Wait {
    pub what: What,
    pub timeout: Duration,
    pub interval: Duration,
}

/// Asking more often than this only keeps the node busy.
const SHORTEST: Duration = Duration::from_millis(50);

/// The shell is given this much longer than the wait itself.
const GRACE: Duration = Duration::from_secs(20);

impl Wait {
    fn words(&self) -> String {
        match &self.what {
            What::Port(port) => format!("port {port}"),
            What::PortOf(host, port) => format!("port {port} of {host}"),
            What::Path(path) => path.clone(),
            What::Url { url, .. } => url.clone(),
            What::Command(line) => format!("\"{line}\" to succeed"),
        }
    }

    /// Shell that succeeds when it is there, and else says why not.
    fn look(&self) -> String {
        match &self.what {
            What::Port(port) => format!("cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ':{port:04X} [0-9A-F:]* 0A '"),
            What::PortOf(host, port) => format!("timeout 5 bash -c 'exec 3<>\"/dev/tcp/$0/{port}\"' {}", quote(host)),
            What::Path(path) => format!("[ -e {} ]", quote(path)),
            What::Command(line) => format!("/bin/sh -c {}", quote(line)),
            What::Url { url, status, contains } => {
                let good = status.map_or_else(|| "[123]??".to_owned(), |s| s.to_string());
                let holds = contains.as_ref().map(|c| {
                    let text = quote(c);
                    format!("grep -qF -e {text} \"$body\" || {{ echo \"status $got, but not the text that is wanted\" >&2; exit 1; }}\n")
                });
                format!(
                    "{WEB}body=$(mktemp)\ntrap 'rm -f \"$body\"' EXIT\ngot=$(ask_url {})\ncase $got in {good}) ;; \
                     ''|000) echo 'no answer' >&2; exit 1;; *) echo \"status $got\" >&2; exit 1;; esac\n{}",
                    quote(url),
                    holds.unwrap_or_default()
                )
            }
        }
    }

    fn script(&self) -> String {
        let seconds = self.timeout.as_secs_f64().ceil();
        let pause = self.interval.max(SHORTEST).as_secs_f64();
        let message = super::say(&format!("waited {} in vain for {}", format_duration(self.timeout), self.words()));
        format!(
            "look() {{ (\n{}\n) }}\nend=$(( $(date +%s) + {seconds} ))\n\
             until said=$(look 2>&1 </dev/null); do\n  \
             if [ \"$(date +%s)\" -ge $end ]; then printf '%s\\n' \"$said\" >&2; {message}; exit 1; fi\n  sleep {pause}\ndone\n",
            self.look()
        )
    }
}

impl Resource for Wait {
    fn kind(&self) -> &'static str {
        match self.what {
            What::Port(_) | What::PortOf(..) => "wait_port",
            What::Path(_) => "wait_file",
            What::Url { .. } => "wait_url",
            What::Command(_) => "wait_until",
        }
    }

    fn name(&self) -> String {
        crate::base::secret::mask(&self.words()).into_owned()
    }

    fn needs(&self) -> Vec<Fact> {
        vec![Fact::Test(self.look())]
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        if known.test(&self.look())? {
            return Ok(Verdict::Right);
        }
        let (what, script, timeout) = (vec!["waited for".to_owned()], self.script(), Some(self.timeout + GRACE));
        Ok(Verdict::Change(Change {
            what,
            script,
            timeout,
            touches: vec![Touch::Everything],
            passive: true,
            ..Change::default()
        }))
    }
}
