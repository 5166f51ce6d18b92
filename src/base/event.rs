//! What lower storeys have to say while they work. They report events; a face draws them.

use super::cancel::Cancel;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which of a command's two outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How much it matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Debug,
    Info,
    Warn,
}

/// What a progress counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Bytes,
    Items,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// One whole line (without its newline) that a command printed. `node` is empty for this machine.
    Line { node: Arc<str>, stream: Stream, text: String },
    /// A script printed this: data, for stdout.
    Print { text: String },
    /// Something worth saying.
    Note { level: Level, text: String },
    /// Long work began. `total` is 0 when not known.
    Begin { id: u64, label: String, total: u64, unit: Unit },
    /// Long work `id` stands at `done`.
    Advance { id: u64, done: u64 },
    /// Long work says what it waits for now.
    Label { id: u64, label: String },
    /// Long work `id` is over.
    End { id: u64 },
}

/// Who listens. Must be quick and must not block for long: it is called from everywhere.
pub trait Listener: Send + Sync {
    fn event(&self, event: Event);
}

/// A cloneable way to report events.
#[derive(Clone)]
pub struct Events(Arc<dyn Listener>);

impl Events {
    pub fn new(listener: impl Listener + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Nobody listens.
    pub fn none() -> Self {
        struct Deaf;
        impl Listener for Deaf {
            fn event(&self, _: Event) {}
        }
        Self::new(Deaf)
    }

    pub fn send(&self, event: Event) {
        self.0.event(event);
    }

    pub fn info(&self, text: impl Into<String>) {
        self.send(Event::Note { level: Level::Info, text: text.into() });
    }

    pub fn warn(&self, text: impl Into<String>) {
        self.send(Event::Note { level: Level::Warn, text: text.into() });
    }

    pub fn debug(&self, text: impl Into<String>) {
        self.send(Event::Note { level: Level::Debug, text: text.into() });
    }

    /// Long work begins; it ends when the returned guard is dropped.
    pub fn progress(&self, label: impl Into<String>, total: u64, unit: Unit) -> Progress {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.send(Event::Begin { id, label: label.into(), total, unit });
        Progress { id, done: AtomicU64::new(0), events: self.clone() }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

/// Long work under way. Shared by reference among tasks.
#[derive(Debug)]
pub struct Progress {
    id: u64,
    done: AtomicU64,
    events: Events,
}

impl Progress {
    pub fn advance(&self, by: u64) {
        let done = self.done.fetch_add(by, Ordering::Relaxed) + by;
        self.events.send(Event::Advance { id: self.id, done });
    }

    pub fn label(&self, label: impl Into<String>) {
        self.events.send(Event::Label { id: self.id, label: label.into() });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.events.send(Event::End { id: self.id });
    }
}

/// What every long operation is given: when to stop, and whom to tell.
#[derive(Clone, Debug)]
pub struct Cx {
    pub cancel: Cancel,
    pub events: Events,
}

impl Cx {
    pub fn new(cancel: Cancel, events: Events) -> Self {
        Self { cancel, events }
    }

    /// Nobody listens, nobody stops it: for tests.
    pub fn quiet() -> Self {
        Self::new(Cancel::new(), Events::none())
    }
}

/// For tests: keeps the lines that commands print, as (node, text).
#[cfg(test)]
#[derive(Clone, Default)]
pub struct Lines(Arc<std::sync::Mutex<Vec<(String, String)>>>);

#[cfg(test)]
impl Lines {
    pub fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(_, text)| text.clone()).collect()
    }

    pub fn nodes(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(node, _)| node.clone()).collect()
    }
}

#[cfg(test)]
impl Listener for Lines {
    fn event(&self, event: Event) {
        if let Event::Line { node, text, .. } = event {
            self.0.lock().unwrap().push((node.to_string(), text));
        }
    }
}
