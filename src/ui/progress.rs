//! Progress bars on stderr, when it is a terminal.

use crate::base::event::Unit;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// Work that ends sooner than this shows no bar at all.
const TICK: Duration = Duration::from_millis(120);

pub struct Bars {
    multi: Option<MultiProgress>,
    bars: Mutex<HashMap<u64, ProgressBar>>,
}

impl Bars {
    pub fn new(on: bool) -> Self {
        let multi = on.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self { multi, bars: Mutex::new(HashMap::new()) }
    }

    /// Runs `write` with the bars out of the way.
    pub fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        match &self.multi {
            Some(multi) if self.bars.lock().is_ok_and(|b| !b.is_empty()) => multi.suspend(write),
            _ => write(),
        }
    }

    pub fn begin(&self, id: u64, label: &str, total: u64, unit: Unit) {
        let Some(multi) = &self.multi else { return };
        let bar = multi.add(if total > 0 { ProgressBar::new(total) } else { ProgressBar::new_spinner() });
        let template = match (unit, total) {
            (Unit::Bytes, 1..) => "{spinner} {msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            (Unit::Items, 1..) => "{spinner} {msg} {bar:24} {pos}/{len} {elapsed}",
            (_, 0) => "{spinner} {msg} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(TICK);
        if let Ok(mut bars) = self.bars.lock() {
            bars.insert(id, bar);
        }
    }

    pub fn advance(&self, id: u64, done: u64) {
        self.with(id, |bar| bar.set_position(done));
    }

    pub fn label(&self, id: u64, label: &str) {
        self.with(id, |bar| bar.set_message(label.to_owned()));
    }

    pub fn end(&self, id: u64) {
        let bar = self.bars.lock().ok().and_then(|mut bars| bars.remove(&id));
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }

    pub fn clear(&self) {
        if let Ok(mut bars) = self.bars.lock() {
            for (_, bar) in bars.drain() {
                bar.finish_and_clear();
            }
        }
    }

    fn with(&self, id: u64, act: impl FnOnce(&ProgressBar)) {
        if self.multi.is_some()
            && let Ok(bars) = self.bars.lock()
            && let Some(bar) = bars.get(&id)
        {
            act(bar);
        }
    }
}
