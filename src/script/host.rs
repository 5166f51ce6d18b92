//! What native functions reach through their call context: the project, cancellation, events, the async runtime.

use super::callback::Callback;
use super::object::Class;
use super::parallel::TaskState;
pub use super::roles::Acting;
use super::signatures::Signatures;
use super::sources::Sources;
use crate::base::cancel::Cancel;
use crate::base::error::{Error, Result};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::base::secret::Secret;
use crate::domain::fleet::Fleet;
use crate::domain::resource::Ledger;
use crate::domain::stack::{Plan, show};
use crate::transport::ssh::Client;
use rhai::{AST, Dynamic, Engine, EvalContext, NativeCallContext};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::runtime::Handle;

/// Looks up a secret that is not in the environment: in the project's credentials, or from the person at the keyboard.
pub type AskSecret = Arc<dyn Fn(&str) -> Result<Option<Secret>> + Send + Sync>;

/// Puts a question to the person at the keyboard; none when nobody is there.
pub type Ask = Arc<dyn Fn(&str) -> Result<Option<String>> + Send + Sync>;

/// Paints a plan.
pub type Paint = Arc<dyn Fn(&Plan) -> String + Send + Sync>;

/// What a face gives to the script it wants run.
#[derive(Clone)]
pub struct HostSettings {
    pub project: Project,
    pub cx: Cx,
    pub handle: Handle,
    /// The words after the script on the command line.
    pub words: Vec<String>,
    /// The deployment that `deployment()` means, when it is not the first of the words.
    pub deployment: Option<String>,
    /// Reaches nodes.
    pub client: Client,
    /// The folder name of this run within a deployment's `runs/`: `<time>-<script>`.
    pub run_name: String,
    pub ask_secret: Option<AskSecret>,
    pub ask: Option<Ask>,
    /// How plans look to whoever sits there; as plain text when none is given.
    pub paint: Option<Paint>,
}

/// One script run, as its native functions see it. Tasks and `defer` blocks see the same run with a stop signal of their own.
#[derive(Clone)]
pub struct Host {
    /// When to stop, and whom to tell.
    pub cx: Cx,
    shared: Arc<Shared>,
    acting: Option<Arc<Acting>>,
}

/// What all parts of one run share.
struct Shared {
    settings: HostSettings,
    sources: Sources,
    signatures: OnceLock<Arc<Signatures>>,
    started: OnceLock<Started>,
    classes: Mutex<Vec<Arc<Class>>>,
    /// Name and number of parameters (the object included) of each method that has a native function to call it.
    dispatched: Mutex<HashSet<(String, usize)>>,
    /// Modules compiled before they are asked for.
    compiled: Mutex<HashMap<String, AST>>,
    state: Mutex<State>,
}

/// What is known once the script itself is.
struct Started {
    source: String,
    /// The script says `deployment()`: the first word is its name, and none of the script's arguments.
    uses_deployment: bool,
    engine: Weak<Engine>,
}

/// What the script has asked for so far.
#[derive(Default)]
pub struct State {
    pub defers: Vec<Callback>,
    pub tasks: Vec<Arc<TaskState>>,
    pub exit: Option<u8>,
    pub params: super::params::Declared,
    /// Whoever an environment names is told how this run ends.
    pub tells_end: bool,
    /// What nodes said of themselves, by deployment and name, as templates know it.
    pub facts: HashMap<(String, String), serde_json::Value>,
    /// Secrets that were asked for, by name.
    pub typed: HashMap<String, Secret>,
    /// Removed at the end of the run.
    pub temp_dirs: Vec<tempfile::TempDir>,
}

thread_local! {
    /// The stop signal that scripts on this thread obey between two native calls.
    static CANCEL: RefCell<Option<Cancel>> = const { RefCell::new(None) };
}

impl Host {
    pub fn new(settings: HostSettings) -> Arc<Self> {
        let cx = settings.cx.clone();
        let shared = Shared {
            settings,
            sources: Sources::new(),
            signatures: OnceLock::new(),
            started: OnceLock::new(),
            classes: Mutex::default(),
            dispatched: Mutex::default(),
            compiled: Mutex::default(),
            state: Mutex::default(),
        };
        Arc::new(Self { cx, shared: Arc::new(shared), acting: None })
    }

    /// The host of the script that calls this native function.
    pub fn of(context: &NativeCallContext) -> Arc<Self> {
        context.tag().map_or_else(|| unreachable!("native calls have a tag"), Self::from_tag)
    }

    /// The host of the script that evaluates this.
    pub fn of_eval(context: &EvalContext) -> Arc<Self> {
        Self::from_tag(context.tag())
    }

    /// The host that an engine, or a part of a run, carries as its tag.
    pub fn from_tag(tag: &Dynamic) -> Arc<Self> {
        // Every engine is made by `engine::new`, which sets the tag: there is no script without a host.
        match tag.read_lock::<Arc<Self>>() {
            Some(host) => host.clone(),
            None => unreachable!("every engine of ours carries its host"),
        }
    }

    /// A run of its own beside this one, on another deployment.
    #[must_use]
    pub(super) fn beside(&self, deployment: &str, cx: Cx) -> Arc<Self> {
        let settings = self.shared.settings.clone();
        Self::new(HostSettings { cx, words: Vec::new(), deployment: Some(deployment.to_owned()), ..settings })
    }

    /// The same run with another stop signal: for tasks and `defer` blocks.
    #[must_use]
    pub fn with_cancel(&self, cancel: Cancel) -> Arc<Self> {
        let cx = Cx::new(cancel, self.cx.events.clone());
        Arc::new(Self { cx, shared: self.shared.clone(), acting: self.acting.clone() })
    }

    /// The same run on behalf of a role.
    #[must_use]
    pub(super) fn in_role(&self, acting: Arc<Acting>) -> Arc<Self> {
        Arc::new(Self { acting: Some(acting), ..self.clone() })
    }

    /// The role on whose behalf functions are called; none in a plain script.
    pub fn acting(&self) -> Option<&Acting> {
        self.acting.as_deref()
    }

    /// Where what is wanted of nodes is queued; none in a plain script, which acts at once.
    pub fn ledger(&self) -> Option<&Arc<Ledger>> {
        self.acting().map(|a| &a.ledger)
    }

    pub fn project(&self) -> &Project {
        &self.shared.settings.project
    }

    pub fn handle(&self) -> &Handle {
        &self.shared.settings.handle
    }

    /// The words after the script on the command line, without the deployment's name.
    pub fn args(&self) -> Vec<String> {
        let skip = usize::from(self.shared.started.get().is_some_and(|s| s.uses_deployment) && self.first_word().is_some());
        self.shared.settings.words[skip..].to_vec()
    }

    /// The name of the deployment on the command line. Whether it exists is another matter.
    pub fn deployment(&self) -> Option<&str> {
        self.shared.settings.deployment.as_deref().or_else(|| self.first_word())
    }

    fn first_word(&self) -> Option<&str> {
        let settings = &self.shared.settings;
        settings.words.first().filter(|w| settings.deployment.is_none() && !w.starts_with('-')).map(String::as_str)
    }

    pub fn ask_secret(&self, name: &str) -> Result<Option<Secret>> {
        self.shared.settings.ask_secret.as_ref().map_or(Ok(None), |ask| ask(name))
    }

    /// What the person at the keyboard answers; none when nobody is there.
    pub fn ask(&self, question: &str) -> Result<Option<String>> {
        let Some(ask) = self.shared.settings.ask.clone() else { return Ok(None) };
        let question = question.to_owned();
        self.block_on(async move {
            let asked = tokio::task::spawn_blocking(move || ask(&question)).await;
            asked.map_err(|e| Error::internal(format!("asking ended early: {e}")))?
        })
    }

    /// Whether people want to be told how this run ends.
    pub fn tells_end(&self) -> bool {
        self.state().tells_end
    }

    /// The plan as it is shown.
    pub fn painted(&self, plan: &Plan) -> String {
        self.shared.settings.paint.as_ref().map_or_else(|| show::text(plan), |paint| paint(plan))
    }

    /// The SSH client that all of this run shares.
    pub fn client(&self) -> Client {
        self.shared.settings.client.clone()
    }

    /// Acts on node sets, with this part's stop signal.
    pub fn fleet(&self) -> Fleet {
        Fleet::new(self.client(), self.cx.clone())
    }

    /// The folder name of this run within a deployment's `runs/`.
    pub fn run_name(&self) -> &str {
        &self.shared.settings.run_name
    }

    /// The one bridge from scripts to async code: waits for the future, or for the stop signal, whichever comes first.
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.cx.cancel.check()?;
        self.handle().block_on(self.cx.cancel.guard(future))
    }

    /// As `block_on`, for work that looks at `cx.cancel` itself and has something to clean up when it fires.
    pub fn block_on_to_the_end<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.handle().block_on(future)
    }

    /// A path as scripts give it: relative ones are in the project's folder.
    pub fn path(&self, path: &str) -> std::path::PathBuf {
        self.project().root.join(path)
    }

    /// An error once the run is to stop; for loops in native code.
    pub fn check(&self) -> Result<(), Error> {
        self.cx.cancel.check()
    }

    /// The texts of this run's scripts and modules.
    pub fn sources(&self) -> &Sources {
        &self.shared.sources
    }

    pub(super) fn signatures(&self, read: impl FnOnce() -> Signatures) -> Arc<Signatures> {
        self.shared.signatures.get_or_init(|| Arc::new(read())).clone()
    }

    /// The script itself is known, and the engine that runs it.
    pub fn starts(&self, source: &str, engine: &Arc<Engine>, uses_deployment: bool) {
        let started = Started { source: source.to_owned(), uses_deployment, engine: Arc::downgrade(engine) };
        // A second script in the same host (the REPL's lines) keeps the first name: only import cycles ask for it.
        let _ = self.shared.started.set(started);
    }

    /// The canonical path of the script itself.
    pub fn main_source(&self) -> Option<&str> {
        self.shared.started.get().map(|s| s.source.as_str())
    }

    /// The engine of this run, for threads that outlive a call.
    pub fn engine(&self) -> Result<Arc<Engine>> {
        let engine = self.shared.started.get().and_then(|s| s.engine.upgrade());
        engine.ok_or_else(|| Error::internal("the script's engine is gone"))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.shared.state)
    }

    /// What `exit(code)` asked for.
    pub fn exit_code(&self) -> Option<u8> {
        self.state().exit
    }

    /// The class of that name which the caller means, made at its first object.
    pub(super) fn class(&self, context: &NativeCallContext, name: &str) -> Result<Arc<Class>> {
        let lib = Class::home(context, name)?;
        let mut classes = locked(&self.shared.classes);
        if let Some(class) = classes.iter().find(|c| c.is_of(&lib, name)) {
            return Ok(class.clone());
        }
        let class = Arc::new(Class::new(context, name, &lib));
        classes.push(class.clone());
        Ok(class)
    }

    pub(super) fn is_dispatched(&self, name: &str, params: usize) -> bool {
        locked(&self.shared.dispatched).contains(&(name.to_owned(), params))
    }

    /// Notes that a method has a native function; false when it had one already.
    pub(super) fn dispatches(&self, name: &str, params: usize) -> bool {
        locked(&self.shared.dispatched).insert((name.to_owned(), params))
    }

    pub(super) fn take_compiled(&self, name: &str) -> Option<AST> {
        locked(&self.shared.compiled).remove(name)
    }

    /// Keeps a compiled module for its import; false when it is there already.
    pub(super) fn keep_compiled(&self, name: &str, ast: AST) {
        locked(&self.shared.compiled).insert(name.to_owned(), ast);
    }

    pub(super) fn has_compiled(&self, name: &str) -> bool {
        locked(&self.shared.compiled).contains_key(name)
    }

    /// Runs `work` on this thread, with scripts in it obeying this host's stop signal.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Restore(Option<Cancel>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CANCEL.set(self.0.take());
            }
        }
        let _restore = Restore(CANCEL.replace(Some(self.cx.cancel.clone())));
        work()
    }
}

/// What is behind these locks can not be left half-changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the script on this thread is to stop.
pub fn is_cancelled() -> bool {
    CANCEL.with_borrow(|c| c.as_ref().is_some_and(Cancel::is_cancelled))
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("main", &self.main_source()).finish_non_exhaustive()
    }
}
