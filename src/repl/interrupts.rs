//! Ctrl-C while a line runs stops that line, and not the session.

use crate::base::cancel::Cancel;
use crate::transport::process;
use crate::ui::Ui;
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

/// What to do before the program ends because it was told to (SIGTERM, SIGHUP).
type AtEnd = Box<dyn Fn() + Send + Sync>;

/// How long the end waits for the running line to stop.
const PATIENCE: Duration = Duration::from_secs(10);

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
        // While a line is edited the terminal is in a mode that no shell could use.
        let terminal = prompt.then(|| tcgetattr(std::io::stdin()).ok()).flatten();
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
                    // In place, because what is left to do may wait for nodes.
                    tokio::task::block_in_place(|| me.end(&at_end));
                    if let Some(mode) = &terminal {
                        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, mode);
                    }
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

    /// Stops the running line, then does what is left to do.
    fn end(&self, at_end: &AtEnd) {
        let deadline = Instant::now() + PATIENCE;
        let stopped = || self.running().as_ref().map(|running| running.cancel.cancel()).is_none();
        while !stopped() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = catch_unwind(AssertUnwindSafe(at_end));
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
            _ => {
                process::kill_all();
                std::process::exit(130)
            }
        }
        false
    }
}
