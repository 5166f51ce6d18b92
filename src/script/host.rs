//! What native functions reach through their call context: the project, cancellation, events, the async runtime.

use crate::base::error::{Error, Result};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::domain::fleet::Fleet;
use crate::transport::ssh::Client;
use rhai::{Dynamic, EvalContext, NativeCallContext};
use std::sync::Arc;
use tokio::runtime::Handle;

/// What a face gives to the script it wants run.
#[derive(Clone, Debug)]
pub struct HostSettings {
    pub project: Project,
    pub cx: Cx,
    pub handle: Handle,
    /// The words after the script on the command line.
    pub args: Vec<String>,
    /// The deployment that `deployment()` means: the first of the words, when it names one.
    pub deployment: Option<String>,
    /// Reaches nodes.
    pub client: Client,
    /// The folder name of this run within a deployment's `runs/`: `<time>-<script>`.
    pub run_name: String,
}

/// One script run, as its native functions see it. Tasks and `defer` blocks see the same run with a stop signal of their own.
#[derive(Clone, Debug)]
pub struct Host {
    /// When to stop, and whom to tell.
    pub cx: Cx,
    shared: Arc<Shared>,
}

/// What all parts of one run share.
#[derive(Debug)]
struct Shared {
    project: Project,
    handle: Handle,
    args: Vec<String>,
    deployment: Option<String>,
    client: Client,
    run_name: String,
}

impl Host {
    pub fn new(settings: HostSettings) -> Arc<Self> {
        let HostSettings { project, cx, handle, args, deployment, client, run_name } = settings;
        Arc::new(Self { cx, shared: Arc::new(Shared { project, handle, args, deployment, client, run_name }) })
    }

    /// The host of the script that calls this native function.
    pub fn of(context: &NativeCallContext) -> Arc<Self> {
        Self::from_tag(context.tag())
    }

    /// The host of the script that evaluates this.
    pub fn of_eval(context: &EvalContext) -> Arc<Self> {
        Self::from_tag(Some(context.tag()))
    }

    fn from_tag(tag: Option<&Dynamic>) -> Arc<Self> {
        // Every engine is made by `engine::new`, which sets the tag: there is no script without a host.
        match tag.and_then(|t| t.clone().try_cast::<Arc<Self>>()) {
            Some(host) => host,
            None => unreachable!("every engine of ours carries its host"),
        }
    }

    /// The same run with another stop signal: for tasks and `defer` blocks.
    #[must_use]
    pub fn with_cx(&self, cx: Cx) -> Arc<Self> {
        Arc::new(Self { cx, shared: self.shared.clone() })
    }

    pub fn project(&self) -> &Project {
        &self.shared.project
    }

    pub fn handle(&self) -> &Handle {
        &self.shared.handle
    }

    /// The words after the script on the command line.
    pub fn args(&self) -> &[String] {
        &self.shared.args
    }

    /// The deployment named on the command line.
    pub fn deployment(&self) -> Option<&str> {
        self.shared.deployment.as_deref()
    }

    /// The SSH client that all of this run shares.
    pub fn client(&self) -> Client {
        self.shared.client.clone()
    }

    /// Acts on node sets, with this part's stop signal.
    pub fn fleet(&self) -> Fleet {
        Fleet::new(self.client(), self.cx.clone())
    }

    /// The folder name of this run within a deployment's `runs/`.
    pub fn run_name(&self) -> &str {
        &self.shared.run_name
    }

    /// The one bridge from scripts to async code: waits for the future, or for the stop signal, whichever comes first.
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.cx.cancel.check()?;
        self.shared.handle.block_on(self.cx.cancel.guard(future))
    }

    /// As `block_on`, for work that looks at `cx.cancel` itself and has something to clean up when it fires.
    pub fn block_on_to_the_end<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.shared.handle.block_on(future)
    }

    /// A path as scripts give it: relative ones are in the project's folder.
    pub fn path(&self, path: &str) -> std::path::PathBuf {
        self.shared.project.root.join(path)
    }

    /// An error once the run is to stop; for loops in native code.
    pub fn check(&self) -> Result<(), Error> {
        self.cx.cancel.check()
    }
}
