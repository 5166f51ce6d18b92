//! Words for the shell, durations and sizes.

use crate::base::error::Error;
use crate::base::{shell, units};
use crate::script::ScriptResult;
use crate::script::convert::text_of;
use crate::script::options;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use std::time::Duration;

#[export_module]
pub mod module {
    /// Quotes a value as one word for the shell; an array becomes several words.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(quote("it's here"), `'it'\''s here'`);
    /// assert_eq(quote(["rm", "a b"]), "rm 'a b'");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn quote(context: NativeCallContext, value: Dynamic) -> ScriptResult<String> {
        if let Ok(items) = value.as_array_ref() {
            let words = items.iter().map(|i| text_of(&context, i.clone())).collect::<ScriptResult<Vec<_>>>()?;
            return Ok(shell::join(words));
        }
        Ok(shell::quote(&text_of(&context, value)?))
    }

    /// The seconds in a duration with its unit, such as `"1m 30s"`.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(duration("1m 30s"), 90.0);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn duration(text: Dynamic) -> ScriptResult<f64> {
        Ok(options::duration(&text)?.as_secs_f64())
    }

    /// The bytes in a size with its unit, such as `"64MiB"` or `"1.5 GB"`.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(size("64KiB"), 65536);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn size(text: Dynamic) -> ScriptResult<i64> {
        let bytes = options::size(&text)?;
        Ok(i64::try_from(bytes).map_err(|_| Error::usage(format!("the size {text} is too large")))?)
    }

    /// Seconds as a person reads them.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(format_duration(90), "1m 30s");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn format_duration(seconds: Dynamic) -> ScriptResult<String> {
        #[allow(clippy::cast_precision_loss, reason = "seconds beyond 2^52 are no duration")]
        let number = seconds.as_float().ok().or_else(|| seconds.as_int().ok().map(|i| i as f64));
        let duration = number.and_then(|n| Duration::try_from_secs_f64(n).ok());
        match duration {
            Some(duration) => Ok(units::format_duration(duration)),
            None => Err(Error::usage(format!("format_duration takes seconds, not {}", options::shown(&seconds))).into()),
        }
    }

    /// Bytes as a person reads them.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(format_size(65536), "64 KiB");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn format_size(bytes: i64) -> ScriptResult<String> {
        let bytes = u64::try_from(bytes).map_err(|_| Error::usage(format!("format_size takes bytes, not {bytes}")))?;
        Ok(units::format_size(bytes))
    }
}
