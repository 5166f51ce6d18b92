//! Ctrl-C while a line runs stops that line, and not the session.

use crate::base::cancel::Cancel;
use crate::ui::Ui;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

/// What to do before the program ends because it was told to (SIGTERM, SIGHUP).
type AtEnd = Box<dyn Fn() + Send + Sync>;

/// Knows which line is running.
pub struct Interrupts {
    ui: Ui,
    /// There is a prompt, at which Ctrl-C is a key like any other: one that comes just before it must not end the session.
    prompt: bool,
    running: Mutex<Option<Running>>,
}

struct Running {
    cancel: Cancel,
    presses: u32,
}

impl Interrupts {
    /// Listens from now on. A closed terminal or a `kill` ends the session: the running line is stopped, and `at_end` called.
    pub fn listen(handle: &Handle, ui: Ui, prompt: bool, at_end: AtEnd) -> Arc<Self> {
        let interrupts = Arc::new(Self { ui, prompt, running: Mutex::new(None) });
        let me = interrupts.clone();
        handle.spawn(async move {
            let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
            else {
                return;
            };
            loop {
                let ends = tokio::select! {
                    _ = interrupt.recv() => me.pressed(),
                    _ = terminate.recv() => true,
                    _ = hangup.recv() => true,
                };
                if ends {
                    me.stop_line();
                    // In a thread, because what is left to do may wait for nodes.
                    let _ = tokio::task::block_in_place(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(&at_end)));
                    std::process::exit(130);
                }
            }
        });
        interrupts
    }

    /// Runs `work` with a fresh stop signal, which Ctrl-C fires.
    pub fn during<T>(&self, work: impl FnOnce(Cancel) -> T) -> T {
        let cancel = Cancel::new();
        *self.running() = Some(Running { cancel: cancel.clone(), presses: 0 });
        let out = work(cancel);
        *self.running() = None;
        out
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_line(&self) {
        if let Some(running) = &*self.running() {
            running.cancel.cancel();
        }
    }

    /// Whether this ends the program.
    fn pressed(&self) -> bool {
        let mut running = self.running();
        let Some(running) = &mut *running else { return !self.prompt };
        running.cancel.cancel();
        running.presses += 1;
        match running.presses {
            1 => {}
            2 => self.ui.note("still stopping; press Ctrl-C once more to leave opsrun at once"),
            _ => std::process::exit(130),
        }
        false
    }
}
