//! Waiting, repeating, doing several things at once, and putting off to the end.

use crate::base::error::Error;

use crate::script::callback::Callback;
use crate::script::diagnostics;
use crate::script::options::duration;
use crate::script::parallel::{self, MAX_PARALLEL};
use crate::script::{Host, Options, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, EvalAltResult, FnPtr, Map};

/// The last failure of a function that was called again and again: who reads it should know that it was no accident.
fn given_up(context: &NativeCallContext, times: i64, error: Box<EvalAltResult>) -> ScriptResult<Dynamic> {
    if times == 1 {
        return Err(error);
    }
    let source = context.call_source().unwrap_or_default();
    let explained = diagnostics::explain(context.engine(), &Host::of(context), &error, source);
    Err(explained.context(format!("retrying it: attempt {times} of {times}")).into())
}

#[export_module]
pub mod module {
    /// Waits for a duration such as `"2s"` or `"250ms"`. Ctrl-C ends the wait.
    ///
    /// # Example
    /// ```rhai
    /// sleep("10ms");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn sleep(context: NativeCallContext, time: Dynamic) -> ScriptResult<()> {
        let time = duration(&time)?;
        let host = Host::of(&context);
        host.block_on(async {
            tokio::time::sleep(time).await;
            Ok(())
        })?;
        Ok(())
    }

    // The language has its own for bare numbers, which Ctrl-C would not end.
    #[rhai_fn(name = "sleep", return_raw)]
    pub fn sleep_int(seconds: i64) -> ScriptResult<()> {
        Err(duration(&seconds.into()).map_or_else(Into::into, |_| Error::usage("sleep needs a unit").into()))
    }

    #[rhai_fn(name = "sleep", return_raw)]
    pub fn sleep_float(seconds: f64) -> ScriptResult<()> {
        Err(duration(&seconds.into()).map_or_else(Into::into, |_| Error::usage("sleep needs a unit").into()))
    }

    /// Calls a function until it does not fail, at most so many times, waiting in between; returns its result.
    ///
    /// The last failure is the one you get when all attempts have failed.
    ///
    /// # Example
    /// ```rhai
    /// let answer = retry(3, "10ms", || 6 * 7);
    /// print(answer);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn retry(context: NativeCallContext, times: i64, pause: Dynamic, action: FnPtr) -> ScriptResult<Dynamic> {
        retry_with(context, times, pause, action, Map::new())
    }

    /// Options: `backoff`, a number by which the pause grows each time (1 keeps it).
    ///
    /// # Example
    /// ```rhai
    /// retry(3, "10ms", || 6 * 7, #{ backoff: 2 });
    /// ```
    #[rhai_fn(name = "retry", return_raw)]
    pub fn retry_with(
        context: NativeCallContext,
        times: i64,
        pause: Dynamic,
        action: FnPtr,
        options: Map,
    ) -> ScriptResult<Dynamic> {
        let mut pause = duration(&pause)?;
        let mut options = Options::new("retry", options);
        let backoff = options.number("backoff")?.unwrap_or(1.0);
        options.finish()?;
        if times < 1 {
            return Err(Error::usage(format!("retry needs at least 1 attempt, not {times}")).into());
        }
        if !(1.0..=100.0).contains(&backoff) {
            return Err(Error::usage(format!("option \"backoff\" of retry must be from 1 to 100, not {backoff}")).into());
        }
        let host = Host::of(&context);
        let mut attempt = 1;
        loop {
            host.check()?;
            let error = match action.call_within_context::<Dynamic>(&context, ()) {
                Ok(value) => return Ok(value),
                Err(error) if attempt >= times && error.is_catchable() => return given_up(&context, times, error),
                Err(error) if !error.is_catchable() || host.check().is_err() => return Err(error),
                Err(error) => error,
            };
            host.cx.events.debug(format!("attempt {attempt} of {times} failed: {}", error.unwrap_inner()));
            host.block_on(async {
                tokio::time::sleep(pause).await;
                Ok(())
            })?;
            pause = pause.mul_f64(backoff);
            attempt += 1;
        }
    }

    /// A call under way beside the script, as `task` returns it.
    ///
    /// # Example
    /// ```rhai
    /// let copy = task(|| sleep("10ms"));
    /// copy.wait();
    /// assert(copy.done);
    /// ```
    pub type Task = parallel::Task;

    /// Calls a function with each item of an array, many at the same time; returns the results in the order of the items.
    ///
    /// All calls are finished before a failure is raised; it then lists every item that failed (`e.failed`).
    /// Variables that the function uses are copied when it is handed over: return results instead of changing variables.
    ///
    /// # Example
    /// ```rhai
    /// let squares = parallel([1, 2, 3], |n| n * n);
    /// assert_eq(squares, [1, 4, 9]);
    /// ```
    #[rhai_fn(name = "parallel", return_raw)]
    pub fn parallel_all(context: NativeCallContext, items: Array, action: FnPtr) -> ScriptResult<Array> {
        parallel_with(context, items, action, Map::new())
    }

    /// Options: `max_parallel`, how many calls at most run at the same time (32).
    ///
    /// # Example
    /// ```rhai
    /// parallel(["a", "b"], |name| log(name), #{ max_parallel: 1 });
    /// ```
    #[rhai_fn(name = "parallel", return_raw)]
    pub fn parallel_with(context: NativeCallContext, items: Array, action: FnPtr, options: Map) -> ScriptResult<Array> {
        let mut options = Options::new("parallel", options);
        let max = options.count("max_parallel")?.unwrap_or(MAX_PARALLEL);
        options.finish()?;
        let items = items.into_iter().map(|item| (parallel::label(&item), item)).collect();
        parallel::map(&context, items, &action, max, None)
    }

    /// Starts a function beside the script and returns at once; `wait` gives its result.
    ///
    /// Variables that the function uses are copied now. A task that is still running at the end of the script is stopped.
    ///
    /// # Example
    /// ```rhai
    /// let count = task(|| { sleep("10ms"); 42 });
    /// assert_eq(count.wait(), 42);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn task(context: NativeCallContext, action: FnPtr) -> ScriptResult<Task> {
        Task::start(&context, &action)
    }

    /// Waits for the end of a task and returns its result; its failure is thrown here.
    ///
    /// # Example
    /// ```rhai
    /// let answer = task(|| 6 * 7).wait();
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn wait(context: NativeCallContext, task: &mut Task) -> ScriptResult<Dynamic> {
        task.wait(&Host::of(&context), None)
    }

    /// Options: `timeout`, after which the wait fails with kind `timeout`; the task goes on.
    ///
    /// # Example
    /// ```rhai
    /// task(|| 6 * 7).wait(#{ timeout: "10s" });
    /// ```
    #[rhai_fn(name = "wait", return_raw, pure)]
    pub fn wait_with(context: NativeCallContext, task: &mut Task, options: Map) -> ScriptResult<Dynamic> {
        let mut options = Options::new("wait", options);
        let timeout = options.duration("timeout")?;
        options.finish()?;
        task.wait(&Host::of(&context), timeout)
    }

    /// Stops a task: what it waits for is given up. Returns when it has stopped.
    ///
    /// # Example
    /// ```rhai
    /// let slow = task(|| sleep("1h"));
    /// slow.cancel();
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn cancel(context: NativeCallContext, task: &mut Task) -> ScriptResult<()> {
        task.cancel(&Host::of(&context))
    }

    /// Whether a task has ended, well or not.
    ///
    /// # Example
    /// ```rhai
    /// let job = task(|| 1);
    /// job.wait();
    /// assert(job.done, "waited for");
    /// ```
    #[rhai_fn(get = "done", pure)]
    pub fn task_done(task: &mut Task) -> bool {
        task.is_done()
    }

    /// Puts a function off to the end of the script: it runs then whether the script succeeded, failed or was interrupted.
    ///
    /// The last one put off runs first. A failure in one does not keep the others from running.
    /// Each may take two minutes, also after Ctrl-C; a second Ctrl-C ends the program at once.
    ///
    /// # Example
    /// ```rhai
    /// defer(|| log("cleaned up"));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn defer(context: NativeCallContext, action: FnPtr) -> ScriptResult<()> {
        let callback = Callback::new(&context, &action, None)?;
        Host::of(&context).state().defers.push(callback);
        Ok(())
    }
}
