//! Values that must never be shown. Once registered, they come out as `***` in every log, error and event.

use std::borrow::Cow;
use std::fmt;
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

/// From now on this value, and each of its lines, is masked wherever text passes `mask`.
pub fn register(value: &str) {
    let Ok(mut known) = KNOWN.write() else { return };
    for part in std::iter::once(value).chain(value.lines()) {
        if part.len() >= SHORTEST_MASKED && !known.iter().any(|k| k.as_str() == part) {
            known.push(Zeroizing::new(part.to_owned()));
        }
    }
    known.sort_by_key(|k| std::cmp::Reverse(k.len()));
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
}
