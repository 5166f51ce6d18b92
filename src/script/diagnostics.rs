//! What went wrong in a script, as one `Error` with its places; and the map that `catch (e)` gets.

use super::convert::{from_json, to_json};
use super::host::Host;
use super::object::method_of;
use super::wording;
use crate::base::error::{Error, Kind, Location};
use rhai::{Dynamic, Engine, EvalAltResult, Map, Position};

/// More callers than this are left out of the middle of a call stack.
const PLACES_SHOWN: usize = 12;

/// Turns whatever came out of Rhai into our error. `source` is the file that was being evaluated, as Rhai names it.
pub fn explain(engine: &Engine, host: &Host, error: &EvalAltResult, source: &str) -> Error {
    let sources = host.sources();
    let mut callers: Vec<Location> = Vec::new();
    let mut source = source.to_owned();
    let mut error = error;
    loop {
        match error {
            EvalAltResult::ErrorInFunctionCall(function, inside, inner, position) => {
                push_place(&mut callers, sources.locate(&source, *position));
                source = sources.of_closure(function).unwrap_or_else(|| if inside.is_empty() { source } else { inside.clone() });
                error = inner;
            }
            EvalAltResult::ErrorInModule(module, inner, position) => {
                push_place(&mut callers, sources.locate(&source, *position));
                source.clone_from(module);
                error = inner;
            }
            _ => break,
        }
    }
    let here = sources.locate(&source, error.position());
    let mut explained = match error {
        EvalAltResult::ErrorRuntime(value, _) => thrown(host, value),
        other => wording::of(engine, host, other, &source),
    };
    let places = &mut explained.details_mut().places;
    // An error that comes from elsewhere (another thread, or thrown again) brings the places it passed.
    let known = |places: &[Location]| places.iter().any(|p| p.file == here.file && p.line == here.line);
    if here.line > 0 && !known(places) {
        places.push(here);
    }
    for place in callers.into_iter().rev() {
        push_place(places, place);
    }
    shorten(places);
    explained
}

fn push_place(places: &mut Vec<Location>, place: Location) {
    if place.line > 0 && places.last() != Some(&place) {
        places.push(place);
    }
}

/// A deep recursion is told by its beginning and its end.
fn shorten(places: &mut Vec<Location>) {
    if places.len() > PLACES_SHOWN {
        let left_out = places.len() - PLACES_SHOWN;
        let middle = Location { file: format!("… {left_out} more calls …"), ..Location::default() };
        places.splice(PLACES_SHOWN / 2..PLACES_SHOWN / 2 + left_out, [middle]);
    }
}

/// The error that a thrown value is.
fn thrown(host: &Host, value: &Dynamic) -> Error {
    if let Some(error) = value.read_lock::<Error>() {
        return error.clone();
    }
    if let Ok(map) = value.as_map_ref()
        && let Some(error) = from_map(host, &map)
    {
        return error;
    }
    if value.is_unit() {
        return Error::new(Kind::Thrown, "the script threw an error without a message");
    }
    let mut error = Error::new(Kind::Thrown, super::convert::display(value));
    error.details_mut().thrown = to_json(value).ok().filter(|v| !v.is_string());
    error
}

/// What `catch (e)` gets: always these keys, `()` where nothing is known.
pub fn to_map(error: &Error) -> Map {
    let d = error.details();
    let text = |t: &Option<String>| t.clone().map_or(Dynamic::UNIT, Into::into);
    let place = d.places.first().cloned().unwrap_or_default();
    #[allow(clippy::cast_possible_wrap, reason = "line numbers")]
    let number = |n: usize| if n > 0 { Dynamic::from(n as i64) } else { Dynamic::UNIT };
    let list = |items: &[String]| items.iter().map(|h| Dynamic::from(h.clone())).collect::<rhai::Array>();
    let stack: Vec<String> = d.places.iter().map(ToString::to_string).collect();
    let entries: [(&str, Dynamic); 16] = [
        ("kind", d.kind.name().into()),
        ("message", d.message.clone().into()),
        ("node", text(&d.node)),
        ("failed", d.failed.iter().map(|e| to_map(e).into()).collect::<rhai::Array>().into()),
        ("command", text(&d.command)),
        ("stderr", text(&d.stderr)),
        ("code", d.code.map_or(Dynamic::UNIT, |c| i64::from(c).into())),
        ("signal", text(&d.signal)),
        ("line", number(place.line)),
        ("column", number(place.column)),
        ("file", if place.file.is_empty() { Dynamic::UNIT } else { place.file.into() }),
        ("stack", list(&stack).into()),
        ("context", list(&d.context).into()),
        ("hints", list(&d.hints).into()),
        ("value", d.thrown.as_ref().map_or(Dynamic::UNIT, from_json)),
        ("exit", d.exit.map_or(Dynamic::UNIT, |c| i64::from(c).into())),
    ];
    entries.into_iter().map(|(k, v)| (k.into(), v)).collect()
}

/// The error of a map that `catch` gave, or that a script made in the same shape; none for other maps.
fn from_map(host: &Host, map: &Map) -> Option<Error> {
    let text = |key: &str| map.get(key).and_then(|v| v.clone().into_string().ok());
    let list = |key: &str| -> Vec<String> {
        let items = map.get(key).and_then(|v| v.as_array_ref().ok().map(|a| a.clone())).unwrap_or_default();
        items.into_iter().filter_map(|v| v.into_string().ok()).collect()
    };
    let kind = text("kind")?;
    let mut error = Error::new(Kind::from_name(&kind).unwrap_or(Kind::Thrown), text("message")?);
    let d = error.details_mut();
    d.node = text("node");
    d.command = text("command");
    d.stderr = text("stderr");
    d.signal = text("signal");
    d.code = map.get("code").and_then(|v| v.as_int().ok()).and_then(|c| i32::try_from(c).ok());
    d.exit = map.get("exit").and_then(|v| v.as_int().ok()).and_then(|c| u8::try_from(c).ok());
    d.hints = list("hints");
    d.context = list("context");
    d.places = list("stack").iter().filter_map(|p| host.sources().parse_place(p)).collect();
    d.thrown = map.get("value").filter(|v| !v.is_unit()).and_then(|v| to_json(v).ok());
    let failed = map.get("failed").and_then(|v| v.as_array_ref().ok().map(|a| a.clone())).unwrap_or_default();
    d.failed = failed.iter().filter_map(|f| f.as_map_ref().ok().and_then(|m| from_map(host, &m))).collect();
    Some(error)
}

/// The name of a function as its author wrote it; closures have none.
pub fn function_name(raw: &str) -> Option<String> {
    if let Some(method) = method_of(raw) {
        return Some(method.to_owned());
    }
    (!raw.starts_with(super::sources::rhai_closure_prefix())).then(|| raw.to_owned())
}

/// A position that no place was given for.
pub fn nowhere(position: Position) -> bool {
    position.is_none()
}
