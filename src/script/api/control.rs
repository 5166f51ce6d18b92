//! Waiting, repeating.

use crate::base::error::Error;
use crate::script::options::duration;
use crate::script::{Host, Options, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{FnPtr, Map};

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
                Err(error) if attempt >= times || !error.is_catchable() || host.check().is_err() => return Err(error),
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
}
