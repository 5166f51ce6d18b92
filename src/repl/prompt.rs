//! Lines typed at a terminal.

use super::helper::{ReplHelper, topic};
use super::history;
use super::obey::Obey;
use crate::base::error::{Error, Result};
use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History, SearchDirection};
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Editor, Event, EventContext, EventHandler, ExternalPrinter, KeyCode,
    KeyEvent, Modifiers, RepeatCount,
};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};

type Line = Editor<ReplHelper, FileHistory>;

/// Asks for lines until there are no more. A code when one said to leave.
pub fn converse(obey: &mut Obey) -> Result<Option<u8>> {
    let file = history::file();
    let helped = Helped::default();
    let mut editor = editor(obey, config(), file.as_ref(), &helped)?;
    let raw = obey.session.borrow().host().deployment().map_or_else(|| "opsrun> ".to_owned(), |name| format!("{name}> "));
    let styled = obey.app.ui.out_style().bold(&raw);
    greet(obey);
    let reading = print_above(obey, &mut editor);
    let mut initial: Option<(String, String)> = None;
    let mut told = false;
    let code = loop {
        if let Some((columns, _)) = editor.dimensions() {
            obey.width = usize::from(columns).max(20);
        }
        let (left, right) = initial.take().unwrap_or_default();
        reading.store(true, Ordering::Release);
        let read = editor.readline_with_initial(&(raw.as_str(), styled.as_str()), (&left, &right));
        reading.store(false, Ordering::Release);
        match read {
            Ok(text) => {
                remember(obey, &mut editor, file.as_ref(), &text);
                match obey.line(&text) {
                    Ok(None) => {}
                    Ok(Some(code)) => break Some(code),
                    Err(error) => obey.app.ui.error(&error),
                }
            }
            Err(ReadlineError::Interrupted) => match helped.take() {
                Some((text, position)) => {
                    help(obey, &text[..position]);
                    initial = Some((text[..position].to_owned(), text[position..].to_owned()));
                }
                None if !told => {
                    told = true;
                    obey.app.ui.note("Ctrl-D leaves");
                }
                None => {}
            },
            Err(ReadlineError::Eof) => break None,
            Err(ReadlineError::Signal(_)) => {}
            Err(error) => return Err(Error::internal(format!("cannot read from the terminal: {error}"))),
        }
    };
    if let Some(file) = &file {
        history::clean(file, &config())?;
    }
    Ok(code)
}

fn config() -> Config {
    Config::builder()
        .completion_type(CompletionType::List)
        .completion_prompt_limit(200)
        .history_ignore_space(true)
        .max_history_size(history::LENGTH)
        .map_or_else(|_| Config::default(), rustyline::config::Builder::build)
}

fn editor(obey: &mut Obey, config: Config, file: Option<&PathBuf>, helped: &Helped) -> Result<Line> {
    let broken = |e: ReadlineError| Error::internal(format!("cannot use the terminal: {e}"));
    let mut editor: Line = Editor::with_config(config).map_err(broken)?;
    editor.set_helper(Some(ReplHelper::new(obey.session.clone(), obey.app.ui.out_style())));
    editor.bind_sequence(KeyEvent(KeyCode::F(1), Modifiers::NONE), EventHandler::Conditional(Box::new(AskHelp(helped.clone()))));
    if let Some(file) = file
        && let Err(error) = history::make_folder(file).map_err(|e| e.message().to_owned()).and_then(|()| {
            if file.exists() {
                editor.load_history(file).map_err(|e| format!("cannot read the history {}: {e}", file.display()))
            } else {
                Ok(())
            }
        })
    {
        obey.app.ui.warn(&format!("lines will not be remembered: {error}"));
    }
    let history = editor.history();
    for i in 0..history.len() {
        if let Ok(Some(line)) = history.get(i, SearchDirection::Forward) {
            obey.typed.push(line.entry.to_string());
        }
    }
    Ok(editor)
}

/// Lets what tasks have to say appear above the line being typed: while the flag that is returned is set.
fn print_above(obey: &Obey, editor: &mut Line) -> Arc<AtomicBool> {
    let reading = Arc::new(AtomicBool::new(false));
    if let Ok(mut printer) = editor.create_external_printer() {
        // The editor takes one text at a time, and only while it waits for keys: nobody else may have to wait for that.
        let (sender, texts) = channel::<String>();
        let print = move || texts.into_iter().try_for_each(|text| printer.print(text));
        if std::thread::Builder::new().name("above the prompt".to_owned()).spawn(print).is_ok() {
            let reading = reading.clone();
            let show = move |text: &str| reading.load(Ordering::Acquire) && sender.send(text.to_owned()).is_ok();
            obey.app.ui.show_above(Box::new(show));
        }
    }
    reading
}

fn greet(obey: &Obey) {
    let session = obey.session.borrow();
    let about = match session.host().deployment() {
        Some(name) => format!("deployment {name} is d, the last value is _"),
        None => "no deployment; the last value is _".to_owned(),
    };
    obey.app.ui.note(&format!("opsrun {}: {about}; :help helps, Ctrl-D leaves", env!("CARGO_PKG_VERSION")));
}

/// Into the history, and at once into its file, so that a crash loses nothing.
fn remember(obey: &mut Obey, editor: &mut Line, file: Option<&PathBuf>, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    obey.typed.push(text.to_owned());
    if !history::may_keep(text) {
        return;
    }
    let added = editor.add_history_entry(text);
    if let Some(file) = file
        && added.is_ok_and(|a| a)
    {
        // Where the file cannot be written a warning was given at the start.
        let _ = editor.append_history(file);
    }
}

fn help(obey: &Obey, before: &str) {
    let topic = topic(&obey.session.borrow(), before);
    let shown = topic.map_or_else(|| Err(Error::usage("there is no name at the cursor").hint(":help helps.")), |t| obey.doc(&t));
    if let Err(error) = shown {
        obey.app.ui.error(&error);
    }
}

/// What F1 was pressed on.
#[derive(Clone, Default)]
struct Helped(Arc<Mutex<Option<(String, usize)>>>);

impl Helped {
    fn take(&self) -> Option<(String, usize)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// F1 leaves the line for a moment, as Ctrl-C does; then it is given back as it was.
struct AskHelp(Helped);

impl ConditionalEventHandler for AskHelp {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext) -> Option<Cmd> {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((context.line().to_owned(), context.pos()));
        Some(Cmd::Interrupt)
    }
}
