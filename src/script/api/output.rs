//! Talking to the person at the keyboard.

use crate::base::asking::{is_yes, nobody};
use crate::base::error::{Error, Kind, Result};
use crate::script::convert::text_of;
use crate::script::{Host, Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};

/// The answer must be a yes, or `typed` to the letter. What was said beforehand is not asked again.
fn agree(host: &Host, question: &str, typed: Option<&str>, beforehand: bool) -> Result<()> {
    if beforehand {
        return Ok(());
    }
    let (shown, hint) = match typed {
        None => (format!("{question} [y/N] "), "Add --yes to say yes beforehand.".to_owned()),
        Some(name) => (format!("{question} Type {name} to go on: "), format!("Add --name={name} to say so beforehand.")),
    };
    let Some(answer) = host.ask(&shown)? else { return Err(nobody(question, &hint)) };
    if typed.map_or_else(|| is_yes(&answer), |name| answer == name) {
        return Ok(());
    }
    Err(Error::new(Kind::Cancelled, format!("not agreed to: {question}")))
}

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

    /// Asks the person at the keyboard, and goes on only after a yes; any other answer throws (kind `cancelled`).
    ///
    /// A script that declares the option `yes` (`params(#{ yes: false })`) is not asked when it is given. Without a terminal
    /// to ask on it throws, and names `--yes`.
    ///
    /// # Example
    /// ```rhai,no_run
    /// params(#{ yes: false });   // do not ask
    /// confirm("Empty all tables?");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn confirm(context: NativeCallContext, question: &str) -> ScriptResult<()> {
        let host = Host::of(&context);
        let yes = host.state().params.flag("yes");
        Ok(agree(&host, question, None, yes)?)
    }

    /// Options: `typed`, a name that has to be typed instead of a yes, for what must not happen by habit; `--yes` is not enough
    /// then, the option `name` of the script (`params(#{ name: "" })`) is.
    ///
    /// # Example
    /// ```rhai,no_run
    /// params(#{ name: "" });     // the name of what is to be destroyed
    /// confirm("Destroy it with all data?", #{ typed: "shop-production" });
    /// ```
    #[rhai_fn(name = "confirm", return_raw)]
    pub fn confirm_with(context: NativeCallContext, question: &str, options: Map) -> ScriptResult<()> {
        let host = Host::of(&context);
        let mut options = Options::new("confirm", options);
        let typed = options.string("typed")?;
        options.finish()?;
        let beforehand = match &typed {
            None => host.state().params.flag("yes"),
            Some(name) => host.state().params.text("name").as_deref() == Some(name),
        };
        Ok(agree(&host, question, typed.as_deref(), beforehand)?)
    }
}
