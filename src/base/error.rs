//! The one error of the program: what went wrong, where, on which node, and what to try.
//!
//! Lower storeys build it and pass it up; only a face renders it (`ui::errors`).

use super::command::Output;
use std::fmt;
use std::path::{Path, PathBuf};

/// A result whose error a user can act on.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong. Scripts see it as `e.kind` and may branch on it, so names are stable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// Wrong words on the command line, or wrong arguments to a script function.
    Usage,
    /// A configuration or data file says something we cannot take.
    Config,
    /// A script does not parse, or asks for something that does not exist.
    Script,
    /// A script said `throw`.
    Thrown,
    /// A command ran and failed.
    Command,
    /// A node cannot be reached, or the connection to it broke.
    Connection,
    /// A node showed a host key that is not the one we know.
    HostKey,
    /// A node does not accept our keys.
    Auth,
    /// A file could not be carried over whole.
    Transfer,
    /// Something did not happen before its deadline.
    Timeout,
    /// The user, or the script, stopped it.
    Cancelled,
    /// A node, file, deployment or job that was named does not exist.
    NotFound,
    /// Another process holds the deployment.
    Locked,
    /// A provider could not do what was asked.
    Provider,
    /// The operating system refused something on this machine.
    Io,
    /// A web server could not be reached or answered with an error.
    Http,
    /// Nothing went wrong that is worth words: only the exit code is passed on.
    Exit,
    /// A defect of opsrun itself.
    Internal,
}

impl Kind {
    /// The name scripts see as `e.kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Config => "config",
            Self::Script => "script",
            Self::Thrown => "thrown",
            Self::Command => "command",
            Self::Connection => "connection",
            Self::HostKey => "host_key",
            Self::Auth => "auth",
            Self::Transfer => "transfer",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::NotFound => "not_found",
            Self::Locked => "locked",
            Self::Provider => "provider",
            Self::Io => "io",
            Self::Http => "http",
            Self::Exit => "exit",
            Self::Internal => "internal",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [Kind; 18] = [
            Kind::Usage,
            Kind::Config,
            Kind::Script,
            Kind::Thrown,
            Kind::Command,
            Kind::Connection,
            Kind::HostKey,
            Kind::Auth,
            Kind::Transfer,
            Kind::Timeout,
            Kind::Cancelled,
            Kind::NotFound,
            Kind::Locked,
            Kind::Provider,
            Kind::Io,
            Kind::Http,
            Kind::Exit,
            Kind::Internal,
        ];
        ALL.into_iter().find(|k| k.name() == name)
    }

    /// The process's exit code when an error of this kind ends a command before anything was touched.
    /// A script that was already running ends with 1 (or 130), whatever the kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Config | Self::Script | Self::NotFound => 2,
            Self::Cancelled => 130,
            _ => 1,
        }
    }
}

/// A place in a file a person can open. `line` and `column` count from 1; 0 is "not known".
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Location {
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// The text of that line, where it is at hand, to be shown with a caret.
    pub source: Option<String>,
}

impl Location {
    pub fn line(file: impl Into<String>, line: usize) -> Self {
        Self { file: file.into(), line, ..Self::default() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        Ok(())
    }
}

/// Everything known about a failure. Fields are public: the renderer and the script bridge read them all.
#[derive(Clone, Debug)]
pub struct Details {
    pub kind: Kind,
    /// One sentence without a full stop, in the user's terms.
    pub message: String,
    /// What was being done, innermost first: "copying a.txt to server-0".
    pub context: Vec<String>,
    /// What to try, each a sentence.
    pub hints: Vec<String>,
    /// Where in a script or config, innermost first: further entries are the call stack.
    pub places: Vec<Location>,
    /// The node it happened on.
    pub node: Option<String>,
    /// The command that failed, as the user wrote it.
    pub command: Option<String>,
    /// The last lines of that command's stderr.
    pub stderr: Option<String>,
    /// Exit code of that command.
    pub code: Option<i32>,
    /// The signal that ended that command, without `SIG`.
    pub signal: Option<String>,
    /// What that command had printed when it was stopped.
    pub so_far: Option<Box<Output>>,
    /// The failures this one sums up, one a node, in node order.
    pub failed: Vec<Error>,
    /// The exit code of the program, when it is not the one of the kind.
    pub exit: Option<u8>,
    /// What a script threw, as JSON, when it was not one of ours.
    pub thrown: Option<serde_json::Value>,
}

/// A failure with its kind, story and advice. One pointer wide, so that `Result`s stay small.
#[derive(Clone)]
pub struct Error(Box<Details>);

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind,
            message: message.into(),
            context: Vec::new(),
            hints: Vec::new(),
            places: Vec::new(),
            node: None,
            command: None,
            stderr: None,
            code: None,
            signal: None,
            so_far: None,
            failed: Vec::new(),
            exit: None,
            thrown: None,
        }))
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "interrupted")
    }

    /// Ends the program with this code and without a word: another's exit code is passed on.
    pub fn exit(code: u8) -> Self {
        Self::new(Kind::Exit, format!("exit code {code}")).exit_with(code)
    }

    /// The work had begun when this happened: whatever its kind, the program ends with 1 (130 when interrupted).
    #[must_use]
    pub fn begun(self) -> Self {
        let code = match (self.0.exit, self.kind()) {
            (Some(code), _) => code,
            (None, Kind::Cancelled) => 130,
            (None, _) => 1,
        };
        self.exit_with(code)
    }

    #[must_use]
    pub fn exit_with(mut self, code: u8) -> Self {
        self.0.exit = Some(code);
        self
    }

    /// A defect of ours: says so, instead of blaming the user.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message).hint("This is a defect of opsrun: please report it with the command you ran.")
    }

    /// An operating system refusal, with what was tried and the path it was tried on.
    /// `action` completes the sentence "cannot …": `Error::io("read", path, e)`.
    pub fn io(action: &str, path: impl AsRef<Path>, error: &std::io::Error) -> Self {
        let path: PathBuf = path.as_ref().into();
        let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
        Self::new(kind, format!("cannot {action} {}: {}", path.display(), os_words(error)))
    }

    #[must_use]
    pub fn context(mut self, what: impl Into<String>) -> Self {
        self.0.context.push(what.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, advice: impl Into<String>) -> Self {
        self.0.hints.push(advice.into());
        self
    }

    /// Adds the advice if there is any.
    #[must_use]
    pub fn hint_if(self, advice: Option<String>) -> Self {
        match advice {
            Some(advice) => self.hint(advice),
            None => self,
        }
    }

    #[must_use]
    pub fn at(mut self, place: Location) -> Self {
        self.0.places.push(place);
        self
    }

    #[must_use]
    pub fn on_node(mut self, node: impl Into<String>) -> Self {
        self.0.node.get_or_insert(node.into());
        self
    }

    #[must_use]
    pub fn with_failed(mut self, failed: Vec<Self>) -> Self {
        self.0.failed = failed;
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn details(&self) -> &Details {
        &self.0
    }

    pub fn details_mut(&mut self) -> &mut Details {
        &mut self.0
    }

    pub fn is_cancelled(&self) -> bool {
        self.kind() == Kind::Cancelled
    }
}

/// The operating system's words without the ` (os error 2)` that tells a user nothing.
fn os_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// One line, for logs and tests; faces render the rest.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.0.node {
            write!(f, "{node}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

/// Adds the story to errors that pass by.
pub trait ResultExt<T> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
    fn hint<S: Into<String>>(self, advice: impl FnOnce() -> S) -> Result<T>;
    fn on_node(self, node: &str) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.context(what()))
    }

    fn hint<S: Into<String>>(self, advice: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.hint(advice()))
    }

    fn on_node(self, node: &str) -> Result<T> {
        self.map_err(|e| e.on_node(node))
    }
}

/// Names the path an I/O operation was about.
pub trait IoResultExt<T> {
    /// `fs::read(p).at("read", p)?`: "cannot read p: no such file or directory".
    fn at(self, action: &str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoResultExt<T> for std::io::Result<T> {
    fn at(self, action: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| Error::io(action, path, &e))
    }
}
