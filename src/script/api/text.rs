//! What Rhai's strings and arrays lack: results instead of changes in place.

use crate::script::ScriptResult;
use crate::script::convert::text_of;
use rhai::Array;
use rhai::plugin::{NativeCallContext, export_module};

#[export_module]
pub mod module {
    /// The text without white space at both ends (`trim` changes the variable instead).
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(" a b\n".trimmed(), "a b");
    /// ```
    #[rhai_fn(pure)]
    pub fn trimmed(text: &mut rhai::ImmutableString) -> String {
        text.trim().to_owned()
    }

    /// The text with every occurrence of one piece replaced by another (`replace` changes the variable instead).
    ///
    /// # Example
    /// ```rhai
    /// assert_eq("1,000,000".replaced(",", ""), "1000000");
    /// ```
    #[rhai_fn(pure)]
    pub fn replaced(text: &mut rhai::ImmutableString, from: &str, to: &str) -> String {
        text.replace(from, to)
    }

    /// The lines of a text, an array of strings, without their ends; a newline at the end makes no further line.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq("one\ntwo\n".lines(), ["one", "two"]);
    /// ```
    #[rhai_fn(pure)]
    pub fn lines(text: &mut rhai::ImmutableString) -> Array {
        text.lines().map(|l| l.to_owned().into()).collect()
    }

    /// The words of a text: what stands between white space, an array of strings.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq("  UN  127.0.0.1 ".fields(), ["UN", "127.0.0.1"]);
    /// ```
    #[rhai_fn(pure)]
    pub fn fields(text: &mut rhai::ImmutableString) -> Array {
        text.split_whitespace().map(|w| w.to_owned().into()).collect()
    }

    /// The items of an array as one text, with a separator between them.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(["a", "b", 3].join(", "), "a, b, 3");
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn join(context: NativeCallContext, items: &mut Array, separator: &str) -> ScriptResult<String> {
        let texts: Vec<String> = items.iter().map(|i| text_of(&context, i.clone())).collect::<ScriptResult<_>>()?;
        Ok(texts.join(separator))
    }
}
