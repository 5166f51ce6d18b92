//! Several calls of a script's functions at the same time: `parallel`, `task`, and what `defer` left for the end.

use super::callback::{Callback, copy_value};
use super::convert::{ScriptResult, display};
use super::diagnostics::explain;
use super::engine::WORKER_STACK_SIZE;
use super::host::Host;
use super::run::guarded;
use crate::base::cancel::Cancel;
use crate::base::error::{Error, Kind, Result};
use crate::base::units::format_duration;
use rhai::{Array, Dynamic, Engine, EvalAltResult, FnPtr, NativeCallContext};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls at the same time, unless the script says otherwise: they mostly wait for nodes.
pub const MAX_PARALLEL: usize = 32;

/// A `defer` block may take this long, because after Ctrl-C nobody wants to wait for ever.
const DEFER_DEADLINE: Duration = Duration::from_secs(120);

/// How long the end of a script waits for its tasks to notice that they are to stop.
const TASK_DEADLINE: Duration = Duration::from_secs(10);

/// Calls `function` with each item, at most `max` at a time. All are finished before an error is raised: then one that lists
/// the failures, each named by the label of its item. Results are in the order of the items.
pub fn map(
    context: &NativeCallContext,
    items: Vec<(String, Dynamic)>,
    function: &FnPtr,
    max: usize,
    this: Option<&Dynamic>,
) -> ScriptResult<Array> {
    let host = Host::of(context);
    let callback = Callback::new(context, function, this)?;
    let engine = context.engine();
    let items = items.into_iter().map(|(l, v)| Ok((l, copy_value(&v, this)?))).collect::<ScriptResult<Vec<_>>>()?;
    let results: Vec<Mutex<Option<Outcome>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        host.enter(|| {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((_, item)) = items.get(at) else { break };
                let outcome = match host.check() {
                    Ok(()) => call(&callback, engine, &host, Some(item.clone())),
                    Err(stopped) => Outcome::Failed(stopped),
                };
                *lock(&results[at]) = Some(outcome);
            }
        });
    };
    let workers = max.max(1).min(items.len());
    std::thread::scope(|scope| -> Result<()> {
        for n in 0..workers {
            let thread = std::thread::Builder::new().name(format!("parallel-{n}")).stack_size(WORKER_STACK_SIZE);
            if let Err(error) = thread.spawn_scoped(scope, work) {
                if n == 0 {
                    return Err(Error::io("start", "a thread for parallel work", &error));
                }
                // Fewer threads do the same work.
                break;
            }
        }
        Ok(())
    })?;
    let outcomes = results.into_iter().map(|r| r.into_inner().unwrap_or_else(PoisonError::into_inner));
    gather(items.into_iter().map(|(label, _)| label).zip(outcomes.map(|o| o.unwrap_or(Outcome::Value(Dynamic::UNIT)))))
}

/// What came of one call.
enum Outcome {
    Value(Dynamic),
    Failed(Error),
    /// The script said `exit` in it.
    Exit(Dynamic),
}

fn call(callback: &Callback, engine: &Engine, host: &Arc<Host>, item: Option<Dynamic>) -> Outcome {
    let run = || match item {
        Some(item) => callback.call(engine, host, (item,)),
        None => callback.call(engine, host, ()),
    };
    match guarded(run) {
        Ok(Ok(value)) => Outcome::Value(value),
        Ok(Err(error)) => match *error {
            EvalAltResult::Exit(value, _) => Outcome::Exit(value),
            error => Outcome::Failed(explain(engine, host, &error, &callback.source())),
        },
        Err(defect) => Outcome::Failed(defect),
    }
}

fn gather(outcomes: impl Iterator<Item = (String, Outcome)>) -> ScriptResult<Array> {
    let (mut values, mut failed, mut total) = (Array::new(), Vec::new(), 0);
    for (label, outcome) in outcomes {
        total += 1;
        match outcome {
            Outcome::Value(value) => values.push(value),
            Outcome::Failed(error) => failed.push((label, error)),
            Outcome::Exit(value) => return Err(Box::new(EvalAltResult::Exit(value, rhai::Position::NONE))),
        }
    }
    if failed.is_empty() {
        return Ok(values);
    }
    if let Some((_, stopped)) = failed.iter().find(|(_, e)| e.is_cancelled()) {
        return Err(stopped.clone().into());
    }
    let kind = failed[0].1.kind();
    let kind = if failed.iter().all(|(_, e)| e.kind() == kind) { kind } else { Kind::Thrown };
    let message = format!("{} of {total} parallel calls failed", failed.len());
    Err(Error::new(kind, message).with_failed(failed.into_iter().map(|(label, e)| e.on_node(label)).collect()).into())
}

/// What an item is called in the list of failures.
pub fn label(item: &Dynamic) -> String {
    const LONGEST: usize = 40;
    let text = display(item);
    if text.chars().count() > LONGEST { format!("{}…", text.chars().take(LONGEST).collect::<String>()) } else { text }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `task(|| …)`: a call under way on a thread of its own.
#[derive(Clone)]
pub struct Task(Arc<TaskState>);

/// What the thread and the script's handles share.
pub struct TaskState {
    cancel: Cancel,
    outcome: Mutex<Option<Outcome>>,
    done: Condvar,
    /// Somebody has seen the outcome, so that a failure need not be told at the end.
    seen: Mutex<bool>,
}

impl TaskState {
    fn is_done(&self) -> bool {
        lock(&self.outcome).is_some()
    }

    fn finish(&self, outcome: Outcome) {
        *lock(&self.outcome) = Some(outcome);
        self.done.notify_all();
    }

    /// Waits until it is done, until `deadline`, or until `stop` fires.
    fn wait(&self, deadline: Option<Instant>, stop: Option<&Cancel>) -> Result<bool> {
        const LOOK: Duration = Duration::from_millis(50);
        let mut outcome = lock(&self.outcome);
        while outcome.is_none() {
            if deadline.is_some_and(|d| Instant::now() >= d) {
                return Ok(false);
            }
            if let Some(stop) = stop {
                stop.check()?;
            }
            outcome = self.done.wait_timeout(outcome, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(true)
    }
}

impl Task {
    /// Starts the function on a thread. It stops with its parent, or by `cancel`.
    pub fn start(context: &NativeCallContext, function: &FnPtr) -> ScriptResult<Self> {
        let parent = Host::of(context);
        let callback = Callback::new(context, function, None)?;
        let engine = parent.engine()?;
        let cancel = parent.cx.cancel.child();
        let host = parent.with_cancel(cancel.clone());
        let state = Arc::new(TaskState { cancel, outcome: Mutex::new(None), done: Condvar::new(), seen: Mutex::new(false) });
        let shared = state.clone();
        let thread = std::thread::Builder::new().name("task".to_owned()).stack_size(WORKER_STACK_SIZE);
        let spawned = thread.spawn(move || {
            let outcome = host.enter(|| call(&callback, &engine, &host, None));
            // Before anyone is told: the last engine must not be dropped on this thread while the program ends.
            drop((callback, engine, host));
            shared.finish(outcome);
        });
        spawned.map_err(|e| Error::io("start", "a thread for a task", &e))?;
        parent.state().tasks.push(state.clone());
        Ok(Self(state))
    }

    /// Waits for its end: its value, or its failure.
    pub fn wait(&self, host: &Host, timeout: Option<Duration>) -> ScriptResult<Dynamic> {
        let deadline = timeout.map(|t| Instant::now() + t);
        if !self.0.wait(deadline, Some(&host.cx.cancel))? {
            let took = format_duration(timeout.unwrap_or_default());
            return Err(Error::new(Kind::Timeout, format!("the task did not end within {took}")).into());
        }
        *lock(&self.0.seen) = true;
        match &*lock(&self.0.outcome) {
            Some(Outcome::Value(value)) => Ok(value.clone()),
            Some(Outcome::Failed(error)) => Err(error.clone().into()),
            Some(Outcome::Exit(value)) => Err(Box::new(EvalAltResult::Exit(value.clone(), rhai::Position::NONE))),
            None => Err(Error::internal("a task ended without an outcome").into()),
        }
    }

    /// Asks it to stop, and waits until it has.
    pub fn cancel(&self, host: &Host) -> ScriptResult<()> {
        self.0.cancel.cancel();
        *lock(&self.0.seen) = true;
        self.0.wait(None, Some(&host.cx.cancel))?;
        Ok(())
    }

    pub fn is_done(&self) -> bool {
        self.0.is_done()
    }
}

impl Host {
    /// The end of a script, however it came: tasks are stopped, then the `defer` blocks run, last one first.
    /// An error in one does not keep the others from running; all are told in the error returned.
    pub fn finish(&self, engine: &Engine) -> Result<()> {
        self.stop_tasks();
        let mut failed = Vec::new();
        loop {
            let Some(callback) = self.state().defers.pop() else { break };
            let cancel = Cancel::new();
            let host = self.with_cancel(cancel.clone());
            let deadline = self.handle().spawn(async move {
                tokio::time::sleep(DEFER_DEADLINE).await;
                cancel.cancel();
            });
            let outcome = host.enter(|| call(&callback, engine, &host, None));
            deadline.abort();
            if let Outcome::Failed(error) = outcome {
                let late = error.is_cancelled().then(|| {
                    Error::new(Kind::Timeout, format!("a defer block took longer than {}", format_duration(DEFER_DEADLINE)))
                });
                failed.push(late.unwrap_or(error));
            }
        }
        self.stop_tasks();
        self.state().temp_dirs.clear();
        match failed.len() {
            0 => Ok(()),
            1 => Err(failed.remove(0).context("running what the script had put off with defer")),
            n => {
                let failed = failed.into_iter().map(|e| e.on_node("defer")).collect();
                Err(Error::new(Kind::Thrown, format!("{n} defer blocks failed")).with_failed(failed))
            }
        }
    }

    fn stop_tasks(&self) {
        let tasks = std::mem::take(&mut self.state().tasks);
        for task in &tasks {
            if !task.is_done() {
                task.cancel.cancel();
            }
        }
        let deadline = Instant::now() + TASK_DEADLINE;
        for task in tasks {
            if !matches!(task.wait(Some(deadline), None), Ok(true)) {
                self.cx.events.warn("a task did not stop when it was asked to");
                continue;
            }
            if let Some(Outcome::Failed(error)) = &*lock(&task.outcome)
                && !error.is_cancelled()
                && !*lock(&task.seen)
            {
                self.cx.events.warn(format!("a task that nothing waited for failed: {error}"));
            }
        }
    }
}
