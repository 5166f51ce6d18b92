//! Between our values and Rhai's: errors, JSON.

use crate::base::error::{Error, Result};
use rhai::{Dynamic, EvalAltResult, ImmutableString, NativeCallContext, Position};

/// What every native script function returns. `?` turns our `Error` into it.
pub type ScriptResult<T> = std::result::Result<T, Box<EvalAltResult>>;

/// The one way a failure of ours enters a script: it can be caught, and reaches `catch` and the user whole.
impl From<Error> for Box<EvalAltResult> {
    fn from(error: Error) -> Self {
        Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(error), Position::NONE))
    }
}

/// Rhai says where a call stands when it fails, but not of a call into one of our modules (`file::read`): those say it themselves.
pub trait Placed<T> {
    /// Returns this result, its failure being that of the call under way.
    fn here(self, context: &NativeCallContext) -> ScriptResult<T>;
}

impl<T, E: Into<Box<EvalAltResult>>> Placed<T> for std::result::Result<T, E> {
    fn here(self, context: &NativeCallContext) -> ScriptResult<T> {
        self.map_err(|e| {
            let mut error = e.into();
            if error.position().is_none() {
                error.set_position(context.call_position());
            }
            error
        })
    }
}

/// A value for a script. Numbers too large for a script's integers become floats.
pub fn from_json(value: &serde_json::Value) -> Dynamic {
    use serde_json::Value;
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(b) => (*b).into(),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => i.into(),
            (None, Some(f)) => f.into(),
            (None, None) => n.to_string().into(),
        },
        Value::String(s) => s.into(),
        Value::Array(items) => items.iter().map(from_json).collect::<rhai::Array>().into(),
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.into(), from_json(v))).collect::<rhai::Map>().into(),
    }
}

/// A script's value as JSON. Functions, objects, nodes and the like are refused: they mean nothing outside the script.
pub fn to_json(value: &Dynamic) -> Result<serde_json::Value> {
    use serde_json::Value;
    let value = value.flatten_clone();
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(b) = value.as_bool() {
        return Ok(b.into());
    }
    if let Ok(i) = value.as_int() {
        return Ok(i.into());
    }
    if let Ok(f) = value.as_float() {
        return Ok(serde_json::Number::from_f64(f).map_or(Value::Null, Value::Number));
    }
    if let Ok(c) = value.as_char() {
        return Ok(c.to_string().into());
    }
    if let Ok(s) = value.as_immutable_string_ref() {
        return Ok(s.as_str().into());
    }
    if let Ok(items) = value.as_array_ref() {
        return items.iter().map(to_json).collect::<Result<Vec<_>>>().map(Value::Array);
    }
    if let Ok(fields) = value.as_map_ref() {
        return fields.iter().map(|(k, v)| Ok((k.to_string(), to_json(v)?))).collect::<Result<_>>().map(Value::Object);
    }
    Err(Error::usage(format!("a {} cannot be written as data", type_name(&value)))
        .hint("Data is made of maps, arrays, strings, numbers, booleans and ()."))
}

/// What a script's author calls the type of this value.
pub fn type_name(value: &Dynamic) -> String {
    let name = value.type_name();
    match name.rsplit("::").next() {
        Some("ImmutableString") => "string".to_owned(),
        Some(last) => match last {
            "i64" => "integer".to_owned(),
            "f64" => "float".to_owned(),
            "()" => "()".to_owned(),
            other => other.trim_end_matches('>').to_owned(),
        },
        None => name.to_owned(),
    }
}

/// A value as text: strings as they are, the rest as a script would write it.
pub fn display(value: &Dynamic) -> String {
    match value.as_immutable_string_ref() {
        Ok(text) => text.to_string(),
        Err(_) => value.to_string(),
    }
}

/// A value as `print` shows it, types of ours included.
pub fn text_of(context: &NativeCallContext, value: Dynamic) -> ScriptResult<String> {
    let text: ImmutableString = context.call_native_fn("to_string", (value,))?;
    Ok(text.into())
}
