//! The script as a program: its options and arguments, its environment, its end.

use crate::base::error::{Error, Kind};
use crate::script::convert::text_of;
use crate::script::{Host, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, EvalAltResult, ImmutableString, Map, Position};

#[export_module]
pub mod module {
    /// Declares the script's options with their defaults, and returns the values given on the command line.
    ///
    /// `params(#{ rows: 1_000 })` makes `--rows=…` (or `--rows …`) an option whose value must be a whole number.
    /// A boolean is a flag: `--fast`, `--no-fast`. An array takes values separated by commas. A default such as `"30s"` or
    /// `"64MiB"` demands a duration or a size. `_` in a name is `-` on the command line. `()` is "not given".
    /// `opsrun SCRIPT --help` lists them, each with the comment at the end of its line; unknown options are refused.
    ///
    /// # Example
    /// ```rhai
    /// let p = params(#{
    ///     rows: 1_000,        // rows to write
    ///     name: "baseline",   // the snapshot to make
    /// });
    /// log(`writing ${p.rows} rows`);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn params(context: NativeCallContext, defaults: Map) -> ScriptResult<Map> {
        let host = Host::of(&context);
        // Wrong options are wrong use, as long as the script has done nothing before it reads them.
        let words = host.args();
        let values = host.state().params.take(&defaults, &words).map_err(|e| e.exit_with(2))?;
        Ok(values)
    }

    /// The words of the command line after the script (and after the deployment's name, when the script uses `deployment()`).
    ///
    /// Once `params` has been called, options are left out.
    ///
    /// # Example
    /// ```rhai
    /// for name in args() { log(name); }
    /// ```
    #[rhai_fn(name = "args")]
    pub fn words(context: NativeCallContext) -> Array {
        let host = Host::of(&context);
        let rest = host.state().params.rest.clone();
        rest.unwrap_or_else(|| host.args()).into_iter().map(Into::into).collect()
    }

    /// An environment variable of opsrun's own process; it is an error when it is not set.
    ///
    /// # Example
    /// ```rhai
    /// log(env("PATH"));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn env(name: &str) -> ScriptResult<String> {
        std::env::var(name).map_err(|_| {
            let error = Error::new(Kind::NotFound, format!("the environment variable {name} is not set"));
            error.hint(format!("Set it, or give a default: env(\"{name}\", \"…\").")).into()
        })
    }

    /// An environment variable, or the default when it is not set.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(env("NO_SUCH_VARIABLE", "none"), "none");
    /// ```
    #[rhai_fn(name = "env")]
    pub fn env_or(name: &str, default: Dynamic) -> Dynamic {
        std::env::var(name).map_or(default, Into::into)
    }

    /// Ends the script here, with this exit code (0 to 255) for the program. What was put off with `defer` still runs.
    ///
    /// # Example
    /// ```rhai
    /// if args().len() > 5 { exit(2); }
    /// ```
    #[rhai_fn(name = "exit", return_raw)]
    pub fn exit_with(context: NativeCallContext, code: i64) -> ScriptResult<()> {
        let code = u8::try_from(code).map_err(|_| Error::usage(format!("an exit code is from 0 to 255, not {code}")))?;
        Host::of(&context).state().exit = Some(code);
        Err(Box::new(EvalAltResult::Exit(i64::from(code).into(), Position::NONE)))
    }

    /// The time of day, in UTC, as `2026-11-21T14:05:09Z`: sorts as text, good for file names.
    ///
    /// # Example
    /// ```rhai
    /// log(`started at ${now()}`);
    /// ```
    pub fn now() -> String {
        let now = jiff::Timestamp::now();
        now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Fails with the message unless the condition holds.
    ///
    /// # Example
    /// ```rhai
    /// assert(1 + 1 == 2, "arithmetic works");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn assert(context: NativeCallContext, condition: bool, message: Dynamic) -> ScriptResult<()> {
        if condition {
            return Ok(());
        }
        let message = text_of(&context, message)?;
        Err(Error::new(Kind::Thrown, format!("assertion failed: {message}")).into())
    }

    /// Fails unless the condition holds. Give a message, so that the failure says what was expected.
    ///
    /// # Example
    /// ```rhai
    /// assert([1, 2].contains(2));
    /// ```
    #[rhai_fn(name = "assert", return_raw)]
    pub fn assert_bare(condition: bool) -> ScriptResult<()> {
        if condition { Ok(()) } else { Err(Error::new(Kind::Thrown, "assertion failed").into()) }
    }

    /// Fails, and shows both values, unless they are equal.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq([1, 2].len(), 2);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn assert_eq(context: NativeCallContext, actual: Dynamic, expected: Dynamic) -> ScriptResult<()> {
        let equal: bool = context.call_native_fn("==", (actual.clone(), expected.clone())).unwrap_or(false);
        if equal {
            return Ok(());
        }
        let show = |v: Dynamic| context.call_native_fn::<ImmutableString>("to_debug", (v,));
        let message = format!("assertion failed: got {}, expected {}", show(actual)?, show(expected)?);
        Err(Error::new(Kind::Thrown, message).into())
    }
}
