//! The shell side of transfers: how a script is run with its input streamed, and what its failures mean.

use super::super::Client;
use super::super::exec::{End, Running, Source};
use crate::base::capture::Capture;
use crate::base::command::{Command, Output};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::base::shell::quote;
use crate::base::stage::{PREFIX, STAGE};
use tokio::time::Instant;

/// Exit codes by which our scripts say what a user should hear in better words than a tool's.
pub(super) const MISSING: i32 = 81;
pub(super) const IS_DIRECTORY: i32 = 82;
pub(super) const DAMAGED: i32 = 83;
pub(super) const NOT_A_FILE: i32 = 84;
pub(super) const NOT_A_DIRECTORY: i32 = 85;

/// Shell functions that the scripts share.
///
/// `make DIR` makes a folder with those it lies in; `unmake` takes them away again, as far as they are empty, unless
/// `$topmost` was emptied first; `stage_made DIR` is `stage` with that at the end. `follow` turns `$p`, a symlink, into what
/// it points to.
pub(super) const COMMON: &str = r#"
LC_ALL=C; export LC_ALL
start=$PWD
topmost=
make() {
  made=$1
  d=$1
  while [ -n "$d" ] && [ ! -e "$d" ]; do
    topmost=$d
    d=${d%/*}
  done
  mkdir -p -- "$1" || { unmake; return 1; }
}
unmake() {
  cd -- "$start" || return
  while [ -n "$topmost" ]; do
    rmdir -- "$made" 2>/dev/null || [ ! -e "$made" ] || break
    [ "$made" != "$topmost" ] || break
    made=${made%/*}
  done
}
stage_made() {
  stage "$1"
  trap 'rm -rf -- "$stage"; unmake' EXIT
}
follow() {
  if [ -L "$p" ]; then
    to=$(readlink -f -- "$p" && printf x) || exit 81
    p=${to%?x}
  fi
}
"#;

/// Whose rights a script has.
#[derive(Clone, Copy)]
pub(super) struct Rights<'a> {
    pub sudo: bool,
    pub user: Option<&'a str>,
}

/// A script as the command to run, with its variables set. The login shell need not be a POSIX shell.
pub(super) fn command(rights: Rights, variables: &[(&str, &str)], script: &str) -> Command {
    let set: String = variables.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect();
    let text = format!("{set}{STAGE}{COMMON}{script}");
    let mut command = Command::new(text);
    command.sudo = rights.sudo;
    command.user = rights.user.map(str::to_owned);
    if !rights.sudo && rights.user.is_none() {
        command.line = format!("exec /bin/sh -c {}", quote(&command.line));
    }
    command
}

/// Runs a script on the host with its input streamed from a source.
pub(super) async fn run(
    client: &Client,
    endpoint: &Endpoint,
    command: &Command,
    source: &mut impl Source,
    cx: &Cx,
) -> Result<Output> {
    let session = client.session(endpoint, cx).await?;
    let start = Instant::now();
    let mut running = Running::start(client, endpoint, session, command).await?;
    let mut capture = Capture::new(command, &endpoint.name, false, &cx.events);
    match running.drive(source, &mut capture, None, cx).await {
        End::Exit(exit) => Ok(capture.finish(exit, start.elapsed())),
        other => Err(other.into_error(endpoint)),
    }
}

/// A remote path as scripts use it: relative to the login directory, and never to be taken for an option.
pub(super) fn remote_path(path: &str) -> Result<String> {
    let path = match path.strip_prefix('~') {
        Some("") => ".",
        Some(rest) if rest.starts_with('/') => rest.trim_start_matches('/'),
        Some(_) => {
            let message = format!("\"{path}\" is another user's home, which is not looked up");
            return Err(Error::usage(message).hint("Write its full path."));
        }
        None => path,
    };
    if path.contains('\0') {
        return Err(Error::usage("a path cannot contain a NUL byte"));
    }
    Ok(match path {
        "" => return Err(Error::usage("the remote path is empty")),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("./{relative}"),
    })
}

/// The error that a failed script is, in a user's words.
pub(super) fn failure(output: &Output, remote: &str) -> Option<Error> {
    use crate::base::command::Exit;
    let text = in_our_words(&String::from_utf8_lossy(&output.stderr));
    let said = text.trim();
    let error = match &output.exit {
        Exit::Code(0) => return None,
        Exit::Code(MISSING) => Error::new(Kind::NotFound, format!("{remote} does not exist")),
        Exit::Code(IS_DIRECTORY) => Error::new(Kind::Transfer, format!("{remote} is a directory")),
        Exit::Code(NOT_A_FILE) => Error::new(Kind::Transfer, format!("{remote} exists and is not a regular file")),
        Exit::Code(NOT_A_DIRECTORY) => Error::new(Kind::Transfer, format!("{remote} exists and is not a directory")),
        Exit::Code(DAMAGED) => {
            Error::new(Kind::Transfer, "what arrived is not what was sent (checksums differ); nothing was changed")
                .hint("Was the file being written to meanwhile? Otherwise suspect the host's disk or memory.")
        }
        _ if said.contains("No space left on device") || said.contains("Disk quota exceeded") => {
            Error::new(Kind::Transfer, format!("no space left for {remote}; nothing was changed"))
                .hint("Look at its disks: df -h")
        }
        exit => {
            let last = said.lines().last().unwrap_or_default();
            let why = match exit {
                _ if !last.is_empty() => last.to_owned(),
                Exit::Code(code) => format!("exit code {code}"),
                Exit::Signal(name) => format!("killed by SIG{name}"),
            };
            let error = Error::new(Kind::Transfer, format!("cannot transfer {remote}: {why}"));
            if last.contains("Permission denied") { error.hint("Does this need sudo?") } else { error }
        }
    };
    let mut error = error;
    error.details_mut().stderr = crate::base::capture::tail(said.as_bytes());
    Some(error)
}

/// What tools say without what only means something to us, and differs from host to host: the line of our script, and the
/// number in the name that a file has until it is whole.
fn in_our_words(said: &str) -> String {
    let line = |line: &str| {
        let mut rest = line;
        if let Some((shell, after)) = line.split_once(": ")
            && matches!(shell, "/bin/sh" | "sh" | "dash" | "bash")
        {
            let number = after.trim_start_matches("line ").split_once(": ");
            rest = number.filter(|(n, _)| n.bytes().all(|b| b.is_ascii_digit())).map_or(after, |(_, said)| said);
        }
        let mut words = String::new();
        while let Some((before, after)) = rest.split_once(PREFIX) {
            words.push_str(before);
            words.push_str(PREFIX.trim_end_matches('-'));
            rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        }
        words + rest
    };
    said.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_paths_start_at_the_login_directory() {
        for (given, used) in [("~", "./."), ("~/a b", "./a b"), ("a", "./a"), ("-rf", "./-rf"), ("/etc/x", "/etc/x")] {
            assert_eq!(remote_path(given).unwrap(), used);
        }
        for bad in ["", "~bob/x", "a\0b"] {
            assert!(remote_path(bad).is_err());
        }
    }

    #[test]
    fn what_tools_say_is_the_same_from_every_host() {
        for (said, told) in [
            (
                "/bin/sh: 42: cannot create /etc/.opsrun-stage-n.1-77: Permission denied",
                "cannot create /etc/.opsrun-stage: Permission denied",
            ),
            ("bash: line 7: x: y", "x: y"),
            ("sh: gone", "gone"),
            (
                "mv: cannot move 'a/.opsrun-stage-vm-1' to 'b: c'\nmkdir: d: 5",
                "mv: cannot move 'a/.opsrun-stage' to 'b: c'\nmkdir: d: 5",
            ),
        ] {
            assert_eq!(in_our_words(said), told);
        }
    }
}
