//! The only place that draws on a terminal: errors, progress, live output.

pub mod diff;
pub mod errors;
mod progress;
pub mod stack;
pub mod style;

use crate::base::asking;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Event, Events, Level, Listener, Stream};
use crate::base::secret::{self, Secret};
use progress::Bars;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
pub use style::ColorChoice;
use style::Style;

/// How the user wants to be talked to.
#[derive(Clone, Copy, Debug, Default)]
pub struct UiSettings {
    pub quiet: bool,
    pub verbose: bool,
    pub color: ColorChoice,
}

/// The terminal. Data goes to stdout; everything said about the work goes to stderr.
#[derive(Clone)]
pub struct Ui(Arc<Inner>);

struct Inner {
    settings: UiSettings,
    out: Style,
    err: Style,
    bars: Bars,
    /// Output of nodes is what the user asked for (`opsrun exec`), so it goes where the node sent it: stdout to stdout.
    lines_are_data: AtomicBool,
    /// While a person is typing a line, what comes must go above it.
    above: Mutex<Option<Above>>,
    /// Why some of the data did not reach stdout.
    lost: Mutex<Option<Error>>,
}

/// Shows a text above the line being typed; false when no line is being typed.
pub type Above = Box<dyn FnMut(&str) -> bool + Send>;

impl Ui {
    pub fn new(settings: UiSettings) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self(Arc::new(Inner {
            settings,
            out: Style::choose(settings.color, out),
            err: Style::choose(settings.color, err),
            bars: Bars::new(err && !settings.quiet),
            lines_are_data: AtomicBool::new(false),
            above: Mutex::new(None),
            lost: Mutex::new(None),
        }))
    }

    /// The way lower storeys talk to this terminal.
    pub fn events(&self) -> Events {
        Events::new(self.clone())
    }

    /// Styles for stdout.
    pub fn out_style(&self) -> Style {
        self.0.out
    }

    /// Styles for stderr.
    pub fn err_style(&self) -> Style {
        self.0.err
    }

    /// From now on what nodes print to stdout is data, and goes to stdout.
    pub fn lines_are_data(&self) {
        self.0.lines_are_data.store(true, Ordering::Relaxed);
    }

    /// Whether only what went wrong is to be said.
    pub fn is_quiet(&self) -> bool {
        self.0.settings.quiet
    }

    /// Whether questions can be asked and answered.
    pub fn is_interactive(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Writes data to stdout exactly as it is. A reader that went away (`| head`) ends the program quietly.
    pub fn data(&self, text: &str) {
        self.put(true, text);
    }

    /// From now on everything is offered to a line editor first.
    pub fn show_above(&self, above: Above) {
        *self.0.above.lock().unwrap_or_else(PoisonError::into_inner) = Some(above);
    }

    /// Writes whole lines where they belong.
    fn put(&self, to_stdout: bool, text: &str) {
        let mut above = self.0.above.lock().unwrap_or_else(PoisonError::into_inner);
        if above.as_mut().is_some_and(|show| show(text)) {
            return;
        }
        drop(above);
        self.0.bars.suspend(|| {
            if to_stdout {
                self.write_data(text.as_bytes());
            } else {
                let _ = std::io::stderr().lock().write_all(text.as_bytes());
            }
        });
    }

    /// A reader that went away is none of our business; a disk that is full is, though the work goes on.
    fn write_data(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) else { return };
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        let mut lost = self.0.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert_with(|| Error::io("write to", "standard output", &error).hint("Some of the output is lost."));
    }

    /// Fails when some of the data could not be written: an outcome that nobody can read is none.
    pub fn all_written(&self) -> Result<()> {
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Writes one line of data to stdout.
    pub fn line(&self, text: &str) {
        self.data(&format!("{text}\n"));
    }

    /// Writes a value as pretty JSON to stdout.
    pub fn json(&self, value: &impl serde::Serialize) -> Result<()> {
        let broken = |e: serde_json::Error| Error::internal(format!("cannot write JSON: {e}"));
        let mut value = serde_json::to_value(value).map_err(broken)?;
        secret::mask_texts(&mut value);
        self.line(&serde_json::to_string_pretty(&value).map_err(broken)?);
        Ok(())
    }

    /// Says something to the person at the keyboard, on stderr, unless they asked for quiet.
    pub fn note(&self, text: &str) {
        if !self.0.settings.quiet {
            self.say(text);
        }
    }

    pub fn warn(&self, text: &str) {
        self.say(&format!("{} {text}", self.0.err.yellow("warning:")));
    }

    /// Shows an error with its story, place and hints.
    pub fn error(&self, error: &Error) {
        self.say(errors::render(error, self.0.err).trim_end());
    }

    /// Asks yes or no on the terminal; without a terminal it is an error that names `flag`, the way to say yes beforehand.
    pub fn confirm(&self, question: &str, flag: &str) -> Result<bool> {
        let answer = self.ask(&format!("{question} [y/N] "))?;
        answer
            .map(|answer| asking::is_yes(&answer))
            .ok_or_else(|| asking::nobody(question, &format!("Add {flag} to say yes beforehand.")))
    }

    /// Asks for a line on the terminal; none without a terminal.
    pub fn ask(&self, question: &str) -> Result<Option<String>> {
        if !self.is_interactive() {
            return Ok(None);
        }
        self.0.bars.suspend(|| {
            let mut err = std::io::stderr().lock();
            let _ = write!(err, "{}", self.0.err.bold(question));
            let _ = err.flush();
        });
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(|e| Error::io("read", "the answer", &e))?;
        Ok(Some(answer.trim().to_owned()))
    }

    /// Asks for a secret on the terminal, without echo.
    pub fn ask_secret(&self, question: &str) -> Result<Secret> {
        if !self.is_interactive() {
            return Err(Error::new(
                Kind::Auth,
                format!("there is no terminal to ask on for: {}", question.trim_end_matches([':', ' '])),
            ));
        }
        let answer = self.0.bars.suspend(|| rpassword::prompt_password(question));
        answer.map(Secret::new).map_err(|e| Error::io("read", "the answer", &e))
    }

    /// Takes down all progress bars.
    pub fn clear(&self) {
        self.0.bars.clear();
    }

    fn say(&self, text: &str) {
        self.put(false, &format!("{}\n", secret::mask(text)));
    }
}

impl Listener for Ui {
    fn event(&self, event: Event) {
        let inner = &self.0;
        match event {
            Event::Line { node, stream, text } => {
                let data = inner.lines_are_data.load(Ordering::Relaxed);
                let to_stdout = data && stream == Stream::Stdout;
                if inner.settings.quiet && !data {
                    return;
                }
                let text = secret::mask(&text);
                let style = if to_stdout { inner.out } else { inner.err };
                let line = if node.is_empty() { format!("{text}\n") } else { format!("{} {text}\n", style.node(&node)) };
                self.put(to_stdout, &line);
            }
            Event::Print { text } => self.line(&secret::mask(&text)),
            Event::Note { level: Level::Debug, text } if inner.settings.verbose => self.note(&inner.err.dim(&text)),
            Event::Note { level: Level::Debug, .. } => {}
            Event::Note { level: Level::Info, text } => self.note(&text),
            Event::Note { level: Level::Warn, text } => self.warn(&text),
            Event::Begin { id, label, total, unit } => inner.bars.begin(id, &secret::mask(&label), total, unit),
            Event::Advance { id, done } => inner.bars.advance(id, done),
            Event::Label { id, label } => inner.bars.label(id, &secret::mask(&label)),
            Event::End { id } => inner.bars.end(id),
        }
    }
}
