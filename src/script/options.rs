//! The one trailing option map of a native function, read key by key, with unknown keys refused.

use super::convert::type_name;
use crate::base::command::check_variable;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::base::suggest::did_you_mean;
use crate::base::units::{parse_duration, parse_size};
use rhai::{Dynamic, Map};
use std::time::Duration;

/// Reads an option map. Ask for every option there is, then call `finish`, which refuses the rest:
///
/// ```text
/// let mut opts = Options::new("wait_port", opts);
/// let timeout = opts.duration("timeout")?.unwrap_or(DEFAULT);
/// let sudo = opts.bool("sudo")?.unwrap_or(false);
/// opts.finish()?;
/// ```
#[derive(Debug)]
pub struct Options {
    function: String,
    map: Map,
    known: Vec<&'static str>,
}

impl Options {
    /// `function` is the name in errors.
    pub fn new(function: impl Into<String>, map: Map) -> Self {
        Self { function: function.into(), map, known: Vec::new() }
    }

    /// No options were given.
    pub fn none(function: impl Into<String>) -> Self {
        Self::new(function, Map::new())
    }

    /// Takes the value as it is; `()` counts as not given.
    pub fn value(&mut self, key: &'static str) -> Option<Dynamic> {
        self.known.push(key);
        self.map.remove(key).map(Dynamic::flatten).filter(|v| !v.is_unit())
    }

    pub fn bool(&mut self, key: &'static str) -> Result<Option<bool>> {
        self.typed(key, "true or false", |v| v.as_bool().ok())
    }

    pub fn int(&mut self, key: &'static str) -> Result<Option<i64>> {
        self.typed(key, "a whole number", |v| v.as_int().ok())
    }

    /// A whole number of at least 1.
    pub fn count(&mut self, key: &'static str) -> Result<Option<usize>> {
        self.typed(key, "a whole number of at least 1", |v| {
            v.as_int().ok().and_then(|i| usize::try_from(i).ok()).filter(|n| *n > 0)
        })
    }

    /// A number, whole or not.
    pub fn number(&mut self, key: &'static str) -> Result<Option<f64>> {
        #[allow(clippy::cast_precision_loss, reason = "a script's whole number where any number will do")]
        self.typed(key, "a number", |v| v.as_float().ok().or_else(|| v.as_int().ok().map(|i| i as f64)))
    }

    pub fn string(&mut self, key: &'static str) -> Result<Option<String>> {
        self.typed(key, "a string", |v| v.clone().into_string().ok())
    }

    /// A string that may be a `secret("…")`: for what goes to stdin, an environment or a file.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>> {
        self.typed(key, "a string", text)
    }

    /// A duration with its unit, such as `"30s"`.
    pub fn duration(&mut self, key: &'static str) -> Result<Option<Duration>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        duration(&value).map(Some).map_err(|e| e.context(self.about(key)))
    }

    /// A size with its unit, such as `"64MiB"`.
    pub fn size(&mut self, key: &'static str) -> Result<Option<u64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        size(&value).map(Some).map_err(|e| e.context(self.about(key)))
    }

    pub fn map(&mut self, key: &'static str) -> Result<Option<Map>> {
        self.typed(key, "a map #{…}", |v| v.as_map_ref().ok().map(|m| m.clone()))
    }

    /// An array of strings; one string alone is an array of one.
    pub fn strings(&mut self, key: &'static str) -> Result<Option<Vec<String>>> {
        self.typed(key, "an array of strings", strings)
    }

    /// Environment variables: a map of names to strings, numbers, booleans or secrets.
    pub fn env(&mut self, key: &'static str) -> Result<Option<Vec<(String, String)>>> {
        let found: Option<Vec<(String, String)>> = self.typed(key, "a map of names to strings", |v| {
            let map = v.as_map_ref().ok()?;
            map.iter().map(|(name, value)| Some((name.to_string(), text(value).or_else(|| plain(value))?))).collect()
        })?;
        for (name, value) in found.iter().flatten() {
            check_variable(name, value).map_err(|e| e.context(self.about(key)))?;
        }
        Ok(found)
    }

    /// Refuses every key that was not asked for.
    pub fn finish(self) -> Result<()> {
        let Some(key) = self.map.keys().next() else { return Ok(()) };
        let error = Error::usage(format!("{} has no option \"{key}\"", self.function));
        Err(match did_you_mean(key, self.known.iter().copied()) {
            Some(hint) => error.hint(hint),
            None => error.hint(format!("{} takes no options.", self.function)),
        })
    }

    fn typed<T>(&mut self, key: &'static str, what: &str, read: impl FnOnce(&Dynamic) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match read(&value) {
            Some(v) => Ok(Some(v)),
            None => Err(Error::usage(format!("option \"{key}\" of {} must be {what}, not {}", self.function, shown(&value)))),
        }
    }

    fn about(&self, key: &str) -> String {
        format!("reading option \"{key}\" of {}", self.function)
    }
}

/// A duration as scripts write it.
pub fn duration(value: &Dynamic) -> Result<Duration> {
    match value.as_immutable_string_ref() {
        Ok(text) => parse_duration(&text),
        Err(_) if value.is_int() || value.is_float() => parse_duration(&value.to_string()),
        Err(_) => Err(Error::usage(format!("a duration must be a string such as \"30s\", not {}", shown(value)))),
    }
}

/// A size as scripts write it.
pub fn size(value: &Dynamic) -> Result<u64> {
    match value.as_immutable_string_ref() {
        Ok(text) => parse_size(&text),
        Err(_) if value.is_int() || value.is_float() => parse_size(&value.to_string()),
        Err(_) => Err(Error::usage(format!("a size must be a string such as \"64MiB\", not {}", shown(value)))),
    }
}

/// The text of a string, or of a secret.
pub fn text(value: &Dynamic) -> Option<String> {
    if let Some(secret) = value.read_lock::<Secret>() {
        return Some(secret.expose().to_owned());
    }
    value.clone().into_string().ok()
}

/// The strings of an array, or of one string alone.
pub fn strings(value: &Dynamic) -> Option<Vec<String>> {
    match value.as_array_ref() {
        Ok(items) => items.iter().map(|i| i.clone().into_string().ok()).collect(),
        Err(_) => value.clone().into_string().ok().map(|one| vec![one]),
    }
}

fn plain(value: &Dynamic) -> Option<String> {
    (value.is_int() || value.is_float() || value.is_bool() || value.is_char()).then(|| value.to_string())
}

/// A value in an error: short ones as they are, others by their type.
pub fn shown(value: &Dynamic) -> String {
    match value.as_immutable_string_ref() {
        Ok(text) if text.len() <= 40 => return format!("\"{}\"", *text),
        _ => {}
    }
    if value.is_int() || value.is_float() || value.is_bool() { value.to_string() } else { format!("a {}", type_name(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(script: &str) -> Options {
        Options::new("sh", rhai::Engine::new().eval::<Map>(script).unwrap())
    }

    #[test]
    fn reads_and_refuses() {
        let mut opts = options(r#"#{ timeout: "2s", sudo: true, env: #{ A: "x", B: 1 }, args: "one" }"#);
        assert_eq!(opts.duration("timeout").unwrap(), Some(Duration::from_secs(2)));
        assert_eq!(opts.bool("sudo").unwrap(), Some(true));
        assert_eq!(opts.bool("quiet").unwrap(), None);
        assert_eq!(opts.env("env").unwrap().unwrap(), [("A".into(), "x".into()), ("B".into(), "1".into())]);
        assert_eq!(opts.strings("args").unwrap().unwrap(), ["one"]);
        opts.finish().unwrap();

        let mut opts = options("#{ timeuot: \"2s\" }");
        let _ = opts.duration("timeout");
        let error = opts.finish().unwrap_err();
        assert_eq!(error.message(), "sh has no option \"timeuot\"");
        assert_eq!(error.details().hints, ["Did you mean \"timeout\"?"]);

        for name in ["A;reboot;B", "", "1A", "A B", "Ä", "A\\nB"] {
            let error = options(&format!("#{{ env: #{{ \"{name}\": 1 }} }}")).env("env").unwrap_err();
            assert!(error.message().contains("is no name for an environment variable"), "{error}");
        }
        assert!(options(r#"#{ env: #{ A: "x\x00y" } }"#).env("env").unwrap_err().message().contains("zero byte"));

        let error = options("#{ sudo: 1 }").bool("sudo").unwrap_err();
        assert_eq!(error.message(), "option \"sudo\" of sh must be true or false, not 1");
        assert!(options("#{ timeout: 30 }").duration("timeout").unwrap_err().message().contains("no unit"));
    }
}
