//! Functions of the language that take any amount, with a bound: too much of it would end opsrun, not the script.

use crate::base::error::Error;
use crate::base::units::format_size;
use crate::script::ScriptResult;
use rhai::plugin::{Dynamic, export_module};
use rhai::{Array, Blob, ImmutableString};

const MOST_ITEMS: usize = 16 << 20;
const MOST_BYTES: usize = 1 << 30;

/// The length asked for, or the error that it is too large.
fn length(what: &str, len: i64, most: usize) -> ScriptResult<usize> {
    match usize::try_from(len) {
        Err(_) => Ok(0),
        Ok(len) if len <= most => Ok(len),
        Ok(_) if most == MOST_BYTES => {
            let most = format_size(MOST_BYTES as u64);
            Err(Error::usage(format!("{what} of {len} is too large: at most {most}")).into())
        }
        Ok(_) => Err(Error::usage(format!("{what} of {len} items is too large: at most {MOST_ITEMS}")).into()),
    }
}

fn pad_text(text: &mut ImmutableString, len: i64, with: &str) -> ScriptResult<()> {
    let len = length("a string", len, MOST_BYTES)?;
    let missing = len.saturating_sub(text.chars().count());
    if missing > 0 && !with.is_empty() {
        let times = missing.div_ceil(with.chars().count());
        length("a string", i64::try_from(times.saturating_mul(with.len())).unwrap_or(i64::MAX), MOST_BYTES)?;
        let mut longer = text.to_string();
        longer.extend(with.chars().cycle().take(missing));
        *text = longer.into();
    }
    Ok(())
}

/// As the language does it: of a larger number, its last eight bits.
fn low_byte(byte: i64) -> u8 {
    byte.to_le_bytes()[0]
}

#[export_module]
pub mod module {
    /// Makes an array at least this long by putting a value behind it.
    ///
    /// # Example
    /// ```rhai
    /// let a = [1];
    /// a.pad(3, 0);
    /// assert_eq(a, [1, 0, 0]);
    /// ```
    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad_array(array: &mut Array, len: i64, item: Dynamic) -> ScriptResult<()> {
        let len = length("an array", len, MOST_ITEMS)?;
        if len > array.len() {
            array.resize(len, item);
        }
        Ok(())
    }

    /// Makes a string at least this long by putting a character, or a text again and again, behind it.
    ///
    /// # Example
    /// ```rhai
    /// let s = "7";
    /// s.pad(3, '.');
    /// assert_eq(s, "7..");
    /// ```
    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad_char(text: &mut ImmutableString, len: i64, character: char) -> ScriptResult<()> {
        pad_text(text, len, character.encode_utf8(&mut [0; 4]))
    }

    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad_string(text: &mut ImmutableString, len: i64, with: &str) -> ScriptResult<()> {
        pad_text(text, len, with)
    }

    /// Makes a blob at least this long by putting a byte behind it.
    ///
    /// # Example
    /// ```rhai
    /// let b = blob();
    /// b.pad(2, 0x41);
    /// assert_eq(b.as_string(), "AA");
    /// ```
    #[rhai_fn(name = "pad", return_raw)]
    pub fn pad_blob(blob: &mut Blob, len: i64, byte: i64) -> ScriptResult<()> {
        let len = length("a blob", len, MOST_BYTES)?;
        if len > blob.len() {
            blob.resize(len, low_byte(byte));
        }
        Ok(())
    }

    /// A blob of this many bytes, all 0.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(blob(4).len, 4);
    /// ```
    #[rhai_fn(name = "blob", return_raw)]
    pub fn blob_of(len: i64) -> ScriptResult<Blob> {
        Ok(vec![0; length("a blob", len, MOST_BYTES)?])
    }

    /// A blob of this many bytes of one value.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(blob(2, 0x41).as_string(), "AA");
    /// ```
    #[rhai_fn(name = "blob", return_raw)]
    pub fn blob_filled(len: i64, byte: i64) -> ScriptResult<Blob> {
        Ok(vec![low_byte(byte); length("a blob", len, MOST_BYTES)?])
    }
}
