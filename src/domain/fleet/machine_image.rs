//! Waiting until a fresh machine's image has set itself up.

use super::{Fleet, Wait};
use crate::base::capture::tail;
use crate::base::command::{Command, Exit};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Unit;
use crate::base::units::format_duration;
use crate::domain::node::NodeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long images take at most: Scylla's measures its disks.
pub const TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Asking cloud-init costs the node a start of Python.
pub const INTERVAL: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(10);

/// Succeeds when all is done, ends with 1 while something is at work, with 2 when something failed. Where nothing sets the
/// machine up there is nothing to wait for.
///
/// cloud-init tells by `status`. Scylla's images have services of their own, and leave a file when they are set up:
/// <https://github.com/scylladb/scylla-machine-image/blob/next/common/scylla_image_setup>.
pub const TEST: &str = r#"if command -v cloud-init >/dev/null 2>&1; then
  said=$(cloud-init status --long 2>&1) || :
  case $said in
    *'status: error'*) echo "cloud-init failed: $said"; exit 2;;
    *'status: done'*|*'status: disabled'*) ;;
    *) echo "cloud-init is at work: $said"; exit 1;;
  esac
fi
if systemctl cat scylla-image-setup.service >/dev/null 2>&1; then
  if systemctl is-failed --quiet scylla-image-setup.service; then
    echo 'scylla-image-setup.service failed:'; systemctl status --no-pager --lines=20 scylla-image-setup.service; exit 2
  fi
  if [ ! -e /etc/scylla/machine_image_configured ]; then
    echo 'scylla-image-setup.service is at work'; exit 1
  fi
  if [ "$(systemctl is-active scylla-image-post-start.service)" = activating ]; then
    echo 'scylla-image-post-start.service is at work'; exit 1
  fi
fi"#;

/// Repeats the test on the node until it says something else than that there is work going on, or the time is up (124).
fn line(wait: Wait) -> String {
    format!(
        "end=$(( $(date +%s) + {} )); while :; do out=$( {{ {TEST}\n}} 2>&1 </dev/null ) && exit 0; code=$?; \
         [ $code = 1 ] && [ \"$(date +%s)\" -ge $end ] && code=124; \
         [ $code = 1 ] || {{ printf '%s\\n' \"$out\" >&2; exit $code; }}; sleep {}; done",
        wait.timeout.as_secs_f64().ceil(),
        wait.interval.as_secs_f64()
    )
}

impl Fleet {
    /// Waits until the image of every node has set itself up. What failed there ends the wait at once.
    pub async fn wait_for_machine_image(&self, nodes: &NodeSet, wait: Wait) -> Result<()> {
        let label = format!("waiting for the machine image of {} nodes", nodes.len());
        let progress = Arc::new(self.cx.events.progress(label, nodes.len() as u64, Unit::Items));
        let mut command = Command::new(line(wait));
        command.timeout = Some(wait.timeout + GRACE);
        let done = self.all(nodes, |fleet, node| {
            let (command, progress) = (command.clone(), progress.clone());
            async move {
                let output = fleet.client.run(&node.endpoint, &command, false, &fleet.cx).await?;
                progress.advance(1);
                let mut error = match &output.exit {
                    Exit::Code(0) => return Ok(()),
                    Exit::Code(124) => {
                        let message = format!("its image has not set itself up within {}", format_duration(wait.timeout));
                        Error::new(Kind::Timeout, message)
                            .hint("Wait longer with #{ timeout: \"…\" }, if it only needs more time.")
                    }
                    _ => Error::new(Kind::Command, "its image could not set itself up")
                        .hint("Look at /var/log/cloud-init-output.log on the node, or at journalctl -u scylla-image-setup."),
                };
                error.details_mut().stderr = tail(&output.stderr);
                Err(error)
            }
        });
        done.await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// What the loop ends with where `cloud-init` (a fake: a shell script) is this.
    fn ends_with(cloud_init: &str) -> (Option<i32>, String) {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{text}\n", dir.path().display())).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("cloud-init", cloud_init);
        write("systemctl", "exit 1");
        let wait = Wait { timeout: Duration::from_secs(2), interval: Duration::from_millis(50) };
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let out = std::process::Command::new("/bin/sh").args(["-c", &line(wait)]).env("PATH", path).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    }

    #[test]
    fn cloud_init_is_waited_for_and_its_failure_is_told() {
        assert_eq!(ends_with("echo status: done"), (Some(0), String::new()));
        assert_eq!(ends_with("echo status: disabled; exit 1").0, Some(0));
        // At work twice, then done.
        assert_eq!(ends_with("echo x >> n; [ $(wc -l < n) -gt 2 ] && echo status: done || echo status: running").0, Some(0));
        let (code, said) = ends_with("echo status: error; echo 'detail: no such package'; exit 1");
        assert!(code == Some(2) && said.contains("no such package"), "{code:?} {said}");
        let (code, said) = ends_with("echo status: running");
        assert!(code == Some(124) && said.contains("status: running"), "{code:?} {said}");
    }
}
