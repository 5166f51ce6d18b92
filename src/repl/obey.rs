//! Does what a line says, and shows what came of it.

use super::commands::{self, Command};
use super::interrupts::Interrupts;
use super::session::{Input, Outcome, Session};
use super::show::{Show, summary};
use super::{docs, save};
use crate::base::error::{Error, IoResultExt, Result};
use crate::base::secret;
use crate::base::units::format_duration;
use crate::cli::App;
use crate::domain::deployment::Deployment;
use crate::script::resolver::read_script;
use rhai::{Array, Dynamic, Map};
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// The name that the session's deployment has in its lines.
const DEPLOYMENT: &str = "d";

/// A session with somebody to show things to.
pub struct Obey<'a> {
    pub session: Rc<RefCell<Session>>,
    pub app: &'a App,
    /// Columns of the terminal.
    pub width: usize,
    /// What was typed so far, oldest first: for `:history`.
    pub typed: Vec<String>,
    interrupts: Arc<Interrupts>,
}

impl<'a> Obey<'a> {
    pub fn new(session: Session, app: &'a App, interrupts: Arc<Interrupts>) -> Self {
        let width = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).filter(|c| *c >= 20).unwrap_or(100);
        Self { session: Rc::new(RefCell::new(session)), app, width, typed: Vec::new(), interrupts }
    }

    /// `d` is the deployment, when one is named.
    pub fn name_deployment(&self) -> Result<()> {
        let mut session = self.session.borrow_mut();
        if session.host().deployment().is_none() {
            return Ok(());
        }
        let line = format!("let {DEPLOYMENT} = deployment();");
        self.interrupts.during(|cancel| session.prelude(&line, cancel))
    }

    /// Does one whole line. A code when it said to leave.
    pub fn line(&mut self, text: &str) -> Result<Option<u8>> {
        if text.trim_start().starts_with(':') {
            return self.command(commands::parse(text)?);
        }
        if text.trim().is_empty() {
            return Ok(None);
        }
        let name = self.session.borrow_mut().next_name();
        self.run(&Input { name: &name, text, whole: None }, !ends_with_semicolon(text))
    }

    /// Runs a text, and shows its value unless that is not wanted.
    pub fn run(&mut self, input: &Input, show: bool) -> Result<Option<u8>> {
        let outcome = self.interrupts.during(|cancel| self.session.borrow_mut().eval(input, cancel));
        match outcome? {
            Outcome::Exit(code) => Ok(Some(code)),
            Outcome::Value(value) => {
                if show {
                    self.show(&value);
                }
                Ok(None)
            }
        }
    }

    /// Runs a script as if its text had been typed.
    pub fn load(&mut self, file: &Path) -> Result<Option<u8>> {
        let text = read_script(file)?;
        let name = file.canonicalize().unwrap_or_else(|_| file.to_owned()).display().to_string();
        self.run(&Input { name: &name, text: &text, whole: None }, false)
    }

    /// Runs what `defer` left for the end.
    pub fn finish(&self) -> Result<()> {
        self.interrupts.during(|_| self.session.borrow().finish())
    }

    fn command(&mut self, command: Command) -> Result<Option<u8>> {
        match command {
            Command::Help(name) if name.is_empty() => {
                let text = commands::help(self.app.ui.out_style(), self.session.borrow().host().deployment());
                self.app.ui.line(&text);
            }
            Command::Help(name) | Command::Doc(name) => self.doc(&name)?,
            Command::Nodes(selector) => self.nodes(&selector)?,
            Command::Load(file) => return self.load(Path::new(&file)),
            Command::Save(file) => self.save(Path::new(&file))?,
            Command::Vars => self.variables(),
            Command::Time(text) => {
                let started = Instant::now();
                let left = self.line(&text)?;
                self.app.ui.note(&format!("took {}", format_duration(started.elapsed())));
                return Ok(left);
            }
            Command::History(text) => self.history(&text),
            Command::Clear => self.app.ui.data("\x1b[H\x1b[2J\x1b[3J"),
            Command::Reset => {
                self.session.borrow_mut().reset();
                self.name_deployment()?;
            }
            Command::Quit => return Ok(Some(0)),
        }
        Ok(None)
    }

    /// Shows the manual of a name.
    pub fn doc(&self, name: &str) -> Result<()> {
        let text = docs::doc(&self.session.borrow(), name, self.app.ui.out_style())?;
        self.app.ui.line(&text);
        Ok(())
    }

    fn show(&self, value: &Dynamic) {
        let session = self.session.borrow();
        let custom = |value: &Dynamic| session.text_of(value);
        let show = Show { width: self.width, style: self.app.ui.out_style(), custom: &custom };
        if let Some(text) = show.value(value) {
            self.app.ui.line(&text);
        }
    }

    fn nodes(&self, selector: &str) -> Result<()> {
        let rows: Array = {
            let session = self.session.borrow();
            let name = session.host().deployment().ok_or_else(|| {
                Error::usage("this session has no deployment")
                    .hint("Start it with a name: opsrun repl 4504. `opsrun ls` lists them.")
            })?;
            let deployment = Deployment::open(session.host().project(), name)?;
            let nodes = if selector.is_empty() { deployment.nodes().clone() } else { deployment.nodes().select(selector)? };
            let row = |n: &Arc<crate::domain::node::Node>| -> Map {
                let address = n.endpoint.address();
                [("name", n.name.clone()), ("group", n.group.clone()), ("address", address), ("provider", n.provider.clone())]
                    .into_iter()
                    .map(|(k, v)| (k.into(), v.into()))
                    .collect()
            };
            nodes.iter().map(|n| row(n).into()).collect()
        };
        self.show(&rows.into());
        Ok(())
    }

    fn variables(&self) {
        let session = self.session.borrow();
        let style = self.app.ui.out_style();
        let custom = |value: &Dynamic| session.text_of(value);
        let show = Show { width: self.width, style, custom: &custom };
        let variables = session.variables();
        let widest = variables.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
        let mut lines: Vec<String> = Vec::new();
        for (name, constant, value) in &variables {
            let pad = " ".repeat(widest - name.chars().count());
            let kind = docs::class_of(value).unwrap_or_else(|| session.kind_of(value));
            let word = if *constant { "const" } else { "let  " };
            lines.push(format!("{} {}{pad}  {}", style.dim(word), style.cyan(name), summary(&show, &kind, value)));
        }
        for f in session.functions() {
            lines.push(format!("{} {}({})", style.dim("fn   "), style.cyan(&f.name), f.params.join(", ")));
        }
        for alias in session.imports() {
            lines.push(format!("{} {}", style.dim("import"), style.cyan(&alias)));
        }
        self.app.ui.line(&if lines.is_empty() { "nothing yet".to_owned() } else { lines.join("\n") });
    }

    fn history(&self, text: &str) {
        const LAST: usize = 50;
        let found: Vec<&String> = self.typed.iter().filter(|l| l.contains(text)).collect();
        for line in &found[found.len().saturating_sub(LAST)..] {
            self.app.ui.line(&secret::mask(line));
        }
    }

    fn save(&self, file: &Path) -> Result<()> {
        let session = self.session.borrow();
        let shown = file.display().to_string();
        let existing = std::fs::read_to_string(file).ok();
        if file.exists() && !existing.is_some_and(|t| t.contains(save::MARK)) {
            return Err(Error::usage(format!("{shown} exists, and was not saved by a session")).hint("Choose another name."));
        }
        let text = save::script(session.lines(), session.host().deployment(), &shown);
        let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(file).at("write", file)?;
        open.write_all(text.as_bytes()).at("write", file)?;
        let lines = session.lines().len();
        self.app.ui.note(&format!("saved {lines} {} to {shown}", if lines == 1 { "line" } else { "lines" }));
        Ok(())
    }
}

/// A `;` at the end keeps the value from being shown.
fn ends_with_semicolon(text: &str) -> bool {
    super::lex::tokens(text).iter().rev().find(|t| !t.is_comment()).is_some_and(|t| t.is(";"))
}
