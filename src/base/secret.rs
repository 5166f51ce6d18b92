//! Values that must never be shown. Once registered, they come out as `***` in every log, error and event.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::{Arc, RwLock};
use zeroize::Zeroizing;

/// Shorter values are not masked in free text: they would tear holes into ordinary words.
const SHORTEST_MASKED: usize = 4;

static KNOWN: RwLock<Vec<Zeroizing<String>>> = RwLock::new(Vec::new());

/// A value that prints as `***`. `expose` is the only way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Wraps the value and registers it for masking.
    pub fn new(value: impl Into<String>) -> Self {
        let value = value.into();
        register(&value);
        Self(Arc::new(Zeroizing::new(value)))
    }

    /// The value itself: for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// From now on this value, and each of its lines, is masked wherever text passes `mask`: also as it looks within JSON, a
/// shell's single quotes, base64 and an address of the web, because that is how it comes out of commands that were given it.
pub fn register(value: &str) {
    let Ok(mut known) = KNOWN.write() else { return };
    for part in std::iter::once(value).chain(value.lines()).filter(|part| part.len() >= SHORTEST_MASKED) {
        for form in std::iter::once(part.to_owned()).chain(disguises(part)) {
            if !known.iter().any(|k| **k == form) {
                known.push(Zeroizing::new(form));
            }
        }
    }
    known.sort_by_key(|k| std::cmp::Reverse(k.len()));
}

/// What others make of a value on its way.
fn disguises(value: &str) -> [String; 4] {
    let json = serde_json::to_string(value).unwrap_or_default();
    let web = value.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    });
    let json = json.get(1..json.len().saturating_sub(1)).unwrap_or(value).to_owned();
    [json, value.replace('\'', r"'\''"), BASE64_STANDARD.encode(value), web]
}

/// Returns the text with every registered secret replaced by `***`.
pub fn mask(text: &str) -> Cow<'_, str> {
    let Ok(known) = KNOWN.read() else { return Cow::Borrowed(text) };
    let mut out = Cow::Borrowed(text);
    for secret in known.iter() {
        if out.contains(secret.as_str()) {
            out = Cow::Owned(out.replace(secret.as_str(), "***"));
        }
    }
    out
}

/// Masks within the texts of a value: in its JSON, a secret that is a number would tear the numbers apart.
pub fn mask_texts(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => {
            if let Cow::Owned(masked) = mask(text) {
                *text = masked;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask_texts),
        Value::Object(map) => map.values_mut().for_each(mask_texts),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_never_shown() {
        let secret = Secret::new("hunter2-of-this-test");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(mask("login hunter2-of-this-test now"), "login *** now");
        assert_eq!(secret.expose(), "hunter2-of-this-test");
    }

    #[test]
    fn is_known_in_disguise() {
        let value = "it's \"this\\test\"/ä+";
        register(value);
        let web = "it%27s%20%22this%5Ctest%22%2F%C3%A4%2B";
        let base64 = BASE64_STANDARD.encode(value);
        let json = serde_json::to_string(value).unwrap();
        assert_eq!(mask(&format!("{json} '{}' {base64} ?a={web}&b", value.replace('\'', r"'\''"))), "\"***\" '***' *** ?a=***&b");
    }
}
