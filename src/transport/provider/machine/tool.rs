//! The system's own programs that machines are made with: found, run, and their failures told.

use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// What must be installed, as Debian calls it.
pub const INSTALL: &str = "Install what machines are made with: apt-get install systemd-container debootstrap iproute2 nftables";

/// Where a program is: on the PATH, or where the system keeps its own, which PATH may leave out.
pub fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let runs = |p: &PathBuf| std::fs::metadata(p).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(program)).find(runs).ok_or_else(|| {
        Error::new(Kind::Provider, format!("provider `machine` needs the program {program}, and it is not there")).hint(INSTALL)
    })
}

/// The program, ready for its arguments: no stdin, no waiting for anybody.
pub fn command(program: &str) -> Result<Command> {
    let mut command = Command::new(find(program)?);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .current_dir("/")
        .env("LC_ALL", "C");
    Ok(command)
}

/// Runs it to its end and returns its stdout. A failure says what it said.
pub async fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S], cx: &Cx) -> Result<String> {
    let mut command = command(program)?;
    command.args(arguments);
    let output = cx.cancel.guard(async { command.output().await.map_err(|e| Error::io("run", program, &e)) }).await?;
    checked(program, arguments, &output)
}

/// As `run`, with something to read.
pub async fn feed<S: AsRef<OsStr>>(program: &str, arguments: &[S], input: &[u8], cx: &Cx) -> Result<String> {
    let mut command = command(program)?;
    let mut child = command.args(arguments).stdin(Stdio::piped()).spawn().map_err(|e| Error::io("run", program, &e))?;
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // It may end without reading it; then its own words tell why.
            let _ = stdin.write_all(input).await;
        }
        child.wait_with_output().await.map_err(|e| Error::io("run", program, &e))
    };
    let output = cx.cancel.guard(work).await?;
    checked(program, arguments, &output)
}

/// Runs it to its end; each line of its stdout goes to `line` as it comes.
pub async fn follow<S: AsRef<OsStr>>(program: &str, arguments: &[S], cx: &Cx, mut line: impl FnMut(&str)) -> Result<()> {
    let mut command = command(program)?;
    let mut child = command.args(arguments).spawn().map_err(|e| Error::io("run", program, &e))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut last = Vec::new();
    let mut said = Vec::new();
    let work = async {
        let errors = async {
            if let Some(mut stderr) = stderr {
                let _ = stderr.read_to_end(&mut said).await;
            }
        };
        let lines = async {
            let Some(stdout) = stdout else { return };
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(text)) = lines.next_line().await {
                line(&text);
                last = text.into_bytes();
            }
        };
        tokio::join!(errors, lines);
        child.wait().await.map_err(|e| Error::io("run", program, &e))
    };
    let status = cx.cancel.guard(work).await?;
    checked(program, arguments, &Output { status, stdout: last, stderr: said }).map(drop)
}

fn checked<S: AsRef<OsStr>>(program: &str, arguments: &[S], output: &Output) -> Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = [text(&output.stderr), text(&output.stdout)].into_iter().find(|t| !t.is_empty()).unwrap_or_default();
    let words = arguments.iter().map(|a| a.as_ref().to_string_lossy());
    let line = crate::base::shell::join(std::iter::once(program.into()).chain(words));
    let mut error = Error::new(Kind::Provider, format!("{program} failed ({}): {}", output.status, tail(&said, 3)));
    error.details_mut().command = Some(line);
    Err(error)
}

/// The last lines of what a program said, as one.
pub fn tail(text: &str, lines: usize) -> String {
    let kept: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    kept[kept.len().saturating_sub(lines)..].join("; ")
}

/// Whether this can work here at all.
pub fn check_host() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(Error::new(Kind::Provider, "provider `machine` works on Linux only")
            .hint("`provider: local` runs nodes without isolation on any system; `provider: static` uses hosts you have."));
    }
    check_root()?;
    for program in ["systemd-nspawn", "debootstrap", "ip", "nft", "mount", "unshare", "setpriv"] {
        find(program)?;
    }
    Ok(())
}

/// Whether we may do, and see, what it takes.
pub fn check_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::Provider, "provider `machine` needs root: it mounts, makes a network and starts machines")
        .hint("Run the same command with sudo, or use `provider: local`, which needs no rights."))
}

/// Whether this host's own init is systemd, which then has a say in cgroups.
pub fn host_runs_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}
