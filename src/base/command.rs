//! A command to run and what came of it, whether over SSH or on this machine.

use super::error::{Error, Kind, Result};
use super::shell;
use std::time::Duration;

/// What is fed to a command's stdin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Stdin {
    #[default]
    Empty,
    Bytes(bytes::Bytes),
}

/// A command line for `/bin/sh -c`, with what surrounds it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Command {
    /// The shell command line, as the user wrote it.
    pub line: String,
    pub stdin: Stdin,
    /// Set in the command's environment; never shown on a command line of ours.
    pub env: Vec<(String, String)>,
    /// Working directory; the user's home when none. `~` is that home.
    pub cwd: Option<String>,
    /// Run as root (a no-op where we are root already).
    pub sudo: bool,
    /// Run as this user (through sudo, or runuser where we are root).
    pub user: Option<String>,
    /// Stop it, and say so, after this long.
    pub timeout: Option<Duration>,
    /// Keep at most this many bytes of each output stream for the result (the rest is still shown live).
    pub keep: usize,
}

/// Output beyond this is not kept in memory: 16 MiB for each stream of each node.
pub const KEEP_OUTPUT: usize = 16 << 20;

impl Command {
    pub fn new(line: impl Into<String>) -> Self {
        Self { line: line.into(), keep: KEEP_OUTPUT, ..Self::default() }
    }

    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<bytes::Bytes>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// The line for the target's shell, with directory, environment and user woven in.
    /// The environment's values are not in it, because process lists show command lines: they are the first bytes of `input`.
    pub fn wrapped(&self) -> String {
        let mut line = self.line.clone();
        if let Some(dir) = &self.cwd {
            line = format!("cd {} && {{ {line}\n}}", directory(dir));
        }
        let exports = self.exports();
        if !exports.is_empty() {
            line = format!("eval \"$(head -c {})\"; {line}", exports.len());
        }
        match (&self.user, self.sudo) {
            (Some(user), _) => {
                let user = shell::quote(user);
                let inner = shell::quote(&line);
                format!(
                    "if [ \"$(id -un)\" = {user} ]; then exec /bin/sh -c {inner}; elif [ \"$(id -u)\" = 0 ]; then exec runuser -u {user} -- /bin/sh -c {inner}; else exec sudo -n -H -u {user} -- /bin/sh -c {inner}; fi"
                )
            }
            (None, true) => {
                let inner = shell::quote(&line);
                format!("if [ \"$(id -u)\" = 0 ]; then exec /bin/sh -c {inner}; else exec sudo -n -H -- /bin/sh -c {inner}; fi")
            }
            (None, false) => line,
        }
    }

    /// What goes to the stdin of `wrapped`.
    pub fn input(&self) -> bytes::Bytes {
        let exports = self.exports();
        match &self.stdin {
            Stdin::Empty => exports.into(),
            Stdin::Bytes(bytes) if exports.is_empty() => bytes.clone(),
            Stdin::Bytes(bytes) => [exports.as_bytes(), bytes].concat().into(),
        }
    }

    /// The error of a command that did not end in time, with the tail of what it had said by then.
    pub fn timed_out(&self, so_far: Output) -> Error {
        let limit = super::units::format_duration(self.timeout.unwrap_or_default());
        let mut error = Error::new(Kind::Timeout, format!("command did not end within {limit} and was stopped"));
        error.details_mut().command = Some(self.line.clone());
        error.details_mut().stderr = so_far.failure(&self.line).and_then(|e| e.details().stderr.clone());
        error.details_mut().so_far = Some(Box::new(so_far));
        error
    }

    fn exports(&self) -> String {
        self.env.iter().map(|(name, value)| format!("export {name}={}\n", shell::quote(value))).collect()
    }
}

/// Refuses what cannot be a variable of a command's environment: a shell sets them, and would run what else a name has in it.
pub fn check_variable(name: &str, value: &str) -> Result<()> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if name.is_empty() || !letters || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Error::usage(format!("\"{}\" is no name for an environment variable", name.escape_debug()))
            .hint("Such names are made of letters, digits and \"_\", and do not begin with a digit."));
    }
    if value.contains('\0') {
        return Err(Error::usage(format!("the value of {name} has a zero byte in it, which no environment can hold")));
    }
    Ok(())
}

/// A directory as a word for `cd`, which would take `-x` for an option and a quoted `~` for a name.
fn directory(dir: &str) -> String {
    match dir.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("\"$HOME\"{}", shell::quote(&format!("{rest}/"))),
        _ if dir.starts_with('-') => shell::quote(&format!("./{dir}")),
        _ => shell::quote(dir),
    }
}

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Exit {
    Code(i32),
    /// The signal's name without `SIG`: `KILL`.
    Signal(String),
}

impl Exit {
    pub fn is_success(&self) -> bool {
        *self == Self::Code(0)
    }
}

/// What came of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    pub exit: Exit,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Bytes of either stream beyond `keep`, which were shown but not kept.
    pub dropped: u64,
    pub took: Duration,
}

impl Output {
    /// The error that a failed command is, with the tail of its stderr; none when it succeeded.
    pub fn failure(&self, command: &str) -> Option<Error> {
        let what = match &self.exit {
            Exit::Code(0) => return None,
            Exit::Code(127) => "command not found (exit code 127)".to_owned(),
            Exit::Code(code) => format!("command failed with exit code {code}"),
            Exit::Signal(name) => format!("command was killed by SIG{name}"),
        };
        let mut error = Error::new(Kind::Command, what);
        let details = error.details_mut();
        details.command = Some(command.to_owned());
        match &self.exit {
            Exit::Code(code) => details.code = Some(*code),
            Exit::Signal(name) => details.signal = Some(name.clone()),
        }
        let said = if self.stderr.iter().all(u8::is_ascii_whitespace) { &self.stdout } else { &self.stderr };
        details.stderr = super::capture::tail(said);
        Some(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_may_be_named_like_options_and_like_home() {
        let home = tempfile::tempdir().unwrap();
        let real = home.path().canonicalize().unwrap();
        for (dir, is) in [("-x", "-x"), ("-", "-"), ("~", "."), ("~/a 'b", "a 'b"), ("~x", "~x"), ("$(x)", "$(x)")] {
            std::fs::create_dir_all(real.join(is)).unwrap();
            let command = Command { cwd: Some(dir.to_owned()), ..Command::new("pwd -P") };
            let mut shell = std::process::Command::new("sh");
            let out = shell.args(["-c", &command.wrapped()]).current_dir(&real).env("HOME", &real).output().unwrap();
            let there = real.join(is).canonicalize().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout).trim_end(), there.to_string_lossy(), "{dir}: {out:?}");
        }
    }
}
