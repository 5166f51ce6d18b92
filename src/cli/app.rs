//! What every command is given: the project, a way to talk, a runtime, and Ctrl-C.

use crate::base::cancel::Cancel;
use crate::base::error::{Error, Result};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::transport::process;
use crate::transport::ssh::{AskPassphrase, Client, Settings};
use crate::ui::Ui;
use std::sync::{Arc, OnceLock};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// One run of the program.
pub struct App {
    pub project: Project,
    pub cx: Cx,
    pub ui: Ui,
    client: OnceLock<Client>,
    runtime: Runtime,
    signals: OnceLock<()>,
}

impl App {
    pub fn new(ui: Ui) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| Error::internal(format!("cannot start the async runtime: {e}")))?;
        let cx = Cx::new(Cancel::new(), ui.events());
        Ok(Self { project: Project::find()?, cx, ui, client: OnceLock::new(), runtime, signals: OnceLock::new() })
    }

    /// The one SSH client of this run.
    pub fn client(&self) -> Client {
        let make = || {
            let ui = self.ui.clone();
            let settings = Settings::default();
            let nobody_there = settings.ask_passphrase.clone();
            let ask_passphrase: AskPassphrase = Arc::new(move |key| {
                if ui.is_interactive() { ui.ask_secret(&format!("Passphrase of {}: ", key.display())) } else { nobody_there(key) }
            });
            Client::new(Settings { ask_passphrase, ..settings })
        };
        self.client.get_or_init(make).clone()
    }

    pub fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Runs the future to its end. It is expected to look at `cx.cancel` itself, so that it can clean up.
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.catch_signals();
        self.runtime.block_on(future)
    }

    /// From now on the first Ctrl-C (or SIGTERM, SIGHUP) stops what is going on, and the second ends the program at once.
    pub fn catch_signals(&self) {
        self.signals.get_or_init(|| {
            let (cancel, ui) = (self.cx.cancel.clone(), self.ui.clone());
            self.runtime.spawn(async move {
                let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
                else {
                    return;
                };
                let mut seen = 0;
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hangup.recv() => {}
                    }
                    seen += 1;
                    if seen > 1 {
                        process::kill_all();
                        std::process::exit(130);
                    }
                    ui.note("stopping; press Ctrl-C again to stop at once");
                    cancel.cancel();
                }
            });
        });
    }

    /// The end: progress bars are taken down, background tasks are not waited for.
    pub fn finish(self) {
        self.ui.clear();
        self.runtime.shutdown_background();
    }
}
