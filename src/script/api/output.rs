//! Talking to the person at the keyboard.

use crate::script::convert::text_of;
use crate::script::{Host, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};

#[export_module]
pub mod module {
    /// Tells the person at the keyboard something, on stderr; `print` is for results, on stdout.
    ///
    /// # Example
    /// ```rhai
    /// log("starting the cluster");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log(context: NativeCallContext, text: Dynamic) -> ScriptResult<()> {
        let text = text_of(&context, text)?;
        Host::of(&context).cx.events.info(text);
        Ok(())
    }

    /// Tells the person at the keyboard of something that looks wrong, on stderr, even with `--quiet`.
    ///
    /// # Example
    /// ```rhai
    /// warn("only 3 of 4 nodes take part");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn warn(context: NativeCallContext, text: Dynamic) -> ScriptResult<()> {
        let text = text_of(&context, text)?;
        Host::of(&context).cx.events.warn(text);
        Ok(())
    }
}
