//! Rhai's own errors in our words, each with what to try.

use super::host::Host;
use super::signatures::{Signature, Signatures, kind_name};
use crate::base::error::{Error, Kind};
use crate::base::suggest::{did_you_mean, nearest};
use rhai::{Engine, EvalAltResult, ParseErrorType};
use std::collections::BTreeSet;

/// Overloads beyond this many are not listed in an error.
const OVERLOADS_SHOWN: usize = 6;

/// Our words for an error of Rhai's that is neither thrown nor wrapped.
pub fn of(engine: &Engine, host: &Host, error: &EvalAltResult, source: &str) -> Error {
    use EvalAltResult as E;
    let script = |message: String| Error::new(Kind::Script, message);
    match error {
        E::ErrorParsing(kind, _) => parsing(host, kind, source),
        E::ErrorFunctionNotFound(call, _) => function_not_found(engine, host, call),
        E::ErrorVariableNotFound(name, _) => variable_not_found(host, name, source),
        E::ErrorModuleNotFound(name, _) => script(format!("there is no module {name}")),
        E::ErrorPropertyNotFound(name, _) => missing_key(host, name),
        E::ErrorDotExpr(text, _) => property(engine, host, text),
        E::ErrorIndexingType(what, _) => indexing(what),
        E::ErrorIndexNotFound(index, _) => script(format!("there is nothing at [{index}]")),
        E::ErrorVariableExists(name, _) => script(format!("the variable {name} exists already")),
        E::ErrorForbiddenVariable(name, _) => script(format!("{name} cannot be the name of a variable")),
        E::ErrorUnboundThis(_) => script("`this` means nothing here".to_owned())
            .hint("It is bound in methods (fn Class.method() {…}), but not in closures: let it be a variable first."),
        E::ErrorMismatchDataType(wanted, actual, _) | E::ErrorMismatchOutputType(wanted, actual, _) => mismatch(wanted, actual),
        E::ErrorArrayBounds(len, index, _) => bounds("array", "element", *len, *index),
        E::ErrorStringBounds(len, index, _) => bounds("string", "character", *len, *index),
        E::ErrorBitFieldBounds(len, index, _) => bounds("number", "bit", *len, *index),
        E::ErrorFor(_) => script("this cannot be iterated over".to_owned())
            .hint("`for` takes arrays, ranges such as 0..3, strings' .chars(), maps' .keys() and .values(), and nodes."),
        E::ErrorDataRace(what, _) => data_race(host, what, source),
        E::ErrorNonPureMethodCallOnConstant(name, _) => script(format!("{} would change a constant", short_name(name))),
        E::ErrorAssignmentToConstant(name, _) => script(format!("{name} is a constant and cannot be changed")),
        E::ErrorArithmetic(text, _) => script(lower_first(text)),
        E::ErrorTooManyOperations(_) | E::ErrorTooManyVariables(_) | E::ErrorTooManyModules(_) => {
            script(lower_first(&bare(error)))
        }
        E::ErrorStackOverflow(_) => script("functions call each other too deeply (100 calls)".to_owned())
            .hint("Is there a function that calls itself without an end?"),
        E::ErrorDataTooLarge(what, _) => script(format!("this {what} grew too large")),
        E::ErrorTerminated(..) => Error::cancelled(),
        E::ErrorSystem(text, inner) => script(if text.is_empty() { inner.to_string() } else { format!("{text}: {inner}") }),
        other => script(lower_first(&bare(other))),
    }
}

/// Keys of maps that opsrun gives: what `catch` gets, and results of commands.
const GIVEN_KEYS: &[&str] = &[
    "code", "column", "command", "context", "dropped", "error", "failed", "file", "hints", "kind", "line", "message", "node",
    "ok", "signal", "stack", "stderr", "stdout", "took", "value",
];

/// Which keys the map has is not in Rhai's error (and its hook for missing keys is asked for `map.new_key = value` too),
/// so the suggestion comes from all keys that scripts of this run write.
fn missing_key(host: &Host, name: &str) -> Error {
    let error = Error::new(Kind::Script, format!("the map has no key {name}"));
    let written = host.sources().map_keys();
    match nearest(name, written.iter().map(String::as_str).chain(GIVEN_KEYS.iter().copied())) {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None => error.hint(format!("Ask with \"{name}\" in map; map.keys() lists its keys.")),
    }
}

/// A closure uses the variable on which the method that calls it runs.
fn data_race(host: &Host, what: &str, source: &str) -> Error {
    let hint = "Copy the variable first, and use the copy in the function: let copy = x;";
    let Some(method) = what.split('\'').nth(1) else {
        return Error::new(Kind::Script, "a variable is used by a function while a method of it is running").hint(hint);
    };
    let error =
        Error::new(Kind::Script, format!("the function handed to .{method}() uses the variable that .{method}() is called on"));
    // Rhai gives no place here; where there is only one such call, it is that one.
    match host.sources().find_only(source, &format!(".{method}(")) {
        Some(place) => error.at(place).hint(hint),
        None => error.hint(hint),
    }
}

/// Rhai's message without its position.
fn bare(error: &EvalAltResult) -> String {
    let text = error.to_string();
    match text.rfind(" (line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "something went wrong".to_owned(),
    }
}

/// What a syntax error says, shared with `opsrun check`.
pub fn parsing(host: &Host, kind: &ParseErrorType, source: &str) -> Error {
    use ParseErrorType as P;
    let script = |message: String| Error::new(Kind::Script, message);
    match kind {
        P::VariableUndefined(name) => variable_not_found(host, name, source),
        P::ModuleUndefined(name) => {
            let text = host.sources().text(source).unwrap_or_default();
            let aliases = words_after(&text, &["as"]);
            let error = script(format!("there is no module {name} here"));
            match nearest(name, aliases.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
                None => error.hint(format!("Import it first, such as: import \"std/{name}\" as {name};")),
            }
        }
        P::Reserved(name) => script(format!("{name} is a reserved word of the language")).hint("Choose another name."),
        P::UnexpectedEOF => script("the script ends in the middle of something".to_owned()).hint("Is a } or ) missing?"),
        P::MissingToken(token, what) => {
            let error = script(format!("expected '{token}' {what}"));
            if token == ";" { error.hint("Is there a ; missing at the end of the line before?") } else { error }
        }
        other => script(lower_first(&other.to_string())),
    }
}

fn variable_not_found(host: &Host, name: &str, source: &str) -> Error {
    let error = Error::new(Kind::Script, format!("there is no variable {name} here"));
    let text = host.sources().text(source).unwrap_or_default();
    let known = words_after(&text, &["let", "const", "for", "catch", "fn", "|", "(", ","]);
    let known: Vec<&str> = known.iter().map(String::as_str).filter(|n| *n != name).collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None if words_after(&text, &["let"]).contains(name) => {
            error.hint("Functions do not see variables of the script: hand it over as an argument, or declare a constant and write global::NAME.")
        }
        None => error,
    }
}

/// Every word that follows one of these, roughly: good enough for a suggestion.
fn words_after(text: &str, before: &[&str]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut last = String::new();
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once(' ')) {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            if before.contains(&last.as_str()) && !word.starts_with(|c: char| c.is_ascii_digit()) {
                words.insert(word.clone());
            }
            last = std::mem::take(&mut word);
        }
        if !c.is_whitespace() {
            last = c.to_string();
        }
    }
    words
}

/// `name (type, type)`, as Rhai writes a call that no function takes.
pub fn parse_call(call: &str) -> (String, Vec<String>) {
    let (name, rest) = call.split_once(" (").unwrap_or((call, ""));
    let rest = rest.strip_suffix(')').unwrap_or(rest);
    let kinds = if rest.is_empty() { Vec::new() } else { rest.split(", ").map(kind_name).collect() };
    (name.to_owned(), kinds)
}

fn function_not_found(engine: &Engine, host: &Host, call: &str) -> Error {
    let (name, kinds) = parse_call(call);
    let known = Signatures::of(engine, host);
    if !super::signatures::is_word(&name.replace("::", "")) {
        return operator(&name, &kinds);
    }
    if name.starts_with(super::sources::rhai_closure_prefix()) {
        return Error::new(Kind::Script, "a function was called after the module it belongs to was done")
            .hint("Hand the function over as an argument, or declare it with fn and a name.");
    }
    if kinds.first().is_some_and(|k| k == "Object")
        && let Some(error) = super::object::missing_method(&name, kinds.len())
    {
        return error;
    }
    let overloads: Vec<&Signature> = known.named(&name).collect();
    let own: Vec<usize> = host.sources().functions().into_iter().filter(|(n, _)| *n == name).map(|(_, params)| params).collect();
    let of_ours = overloads.iter().any(|o| o.params.first().map(|p| &p.kind) == kinds.first());
    if !own.is_empty() && !of_ours {
        let takes: Vec<String> = own.iter().map(ToString::to_string).collect();
        let noun = if takes == ["1"] { "argument" } else { "arguments" };
        return Error::new(Kind::Script, format!("{name} takes {} {noun}, not {}", takes.join(" or "), kinds.len()));
    }
    if !overloads.is_empty() {
        let error = Error::new(Kind::Script, format!("{name} cannot be called with ({})", kinds.join(", ")));
        return error.hint(forms(&overloads));
    }
    no_function(&known, host, &name, &kinds)
}

/// "It is called so: …".
fn forms(overloads: &[&Signature]) -> String {
    let mut shown = Signatures::forms(overloads.iter().copied());
    let more = shown.len().saturating_sub(OVERLOADS_SHOWN);
    shown.truncate(OVERLOADS_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("There is: {}{more}.", shown.join(", "))
}

fn no_function(known: &Signatures, host: &Host, name: &str, kinds: &[String]) -> Error {
    let error = Error::new(Kind::Script, format!("there is no function {name}({})", kinds.join(", ")));
    // A method of the same value is nearer than a function of the same spelling.
    let of_first: Vec<String> = match kinds.first() {
        Some(kind) => known
            .functions
            .iter()
            .filter(|f| f.params.first().is_some_and(|p| p.kind == *kind) && super::signatures::is_word(&f.name))
            .map(|f| f.name.clone())
            .collect(),
        None => Vec::new(),
    };
    let own = host.sources().functions().into_iter().map(|(n, _)| n);
    let known_names = known.names_but_methods();
    let all: Vec<String> = match name.rsplit_once("::") {
        Some((module, _)) => known_names.into_iter().chain(own.map(|n| format!("{module}::{n}"))).collect(),
        None => known_names.into_iter().chain(own).collect(),
    };
    let called_here = super::elsewhere::called_here(name).filter(|ours| of_first.iter().any(|f| f == ours));
    let near = called_here
        .or_else(|| nearest(name, of_first.iter().map(String::as_str)))
        .or_else(|| nearest(name, all.iter().map(String::as_str)));
    match near {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None => error.hint("`opsrun doc` lists all functions."),
    }
}

fn operator(name: &str, kinds: &[String]) -> Error {
    let message = match kinds {
        [left, right] => format!("{left} {name} {right} means nothing"),
        [one] => format!("{name} does not work on a value of type {one}"),
        _ => format!("the operator {name} cannot be used so"),
    };
    let error = Error::new(Kind::Script, message);
    match kinds {
        [left, right] if name == "+" && (left == "Secret" || right == "Secret") => {
            error.hint("A secret cannot become part of a string: give it whole, in `env` or `stdin`.")
        }
        [left, right] if left == "()" || right == "()" => {
            error.hint("One side has no value: did the call before it return anything?")
        }
        _ => error,
    }
}

fn property(engine: &Engine, host: &Host, text: &str) -> Error {
    // "Unknown property 'x' - a getter is not registered for type 'T'" is all that Rhai gives.
    let quoted: Vec<&str> = text.split('\'').skip(1).step_by(2).collect();
    let [name, kind] = quoted[..] else { return Error::new(Kind::Script, lower_first(text)) };
    let kind = kind_name(kind);
    let known = Signatures::of(engine, host);
    let properties = known.properties(&kind);
    if text.contains("setter") && properties.contains(&name) {
        return Error::new(Kind::Script, format!("{name} of a {kind} cannot be changed"));
    }
    let error = Error::new(Kind::Script, format!("a value of type {kind} has no property {name}"));
    if known.named(name).any(|f| f.params.first().is_some_and(|p| p.kind == kind)) {
        return error.hint(format!("{name} is a method: call it as .{name}()."));
    }
    error.hint_if(did_you_mean(name, properties))
}

fn indexing(what: &str) -> Error {
    let (kind, index) = what.split_once(" [").unwrap_or((what, ""));
    let (kind, index) = (kind_name(kind), kind_name(index.trim_end_matches(']')));
    let message = if index.is_empty() || index == "any" {
        format!("a value of type {kind} cannot be indexed")
    } else {
        format!("a value of type {kind} cannot be indexed with a value of type {index}")
    };
    Error::new(Kind::Script, message)
}

fn mismatch(wanted: &str, actual: &str) -> Error {
    let (wanted, actual) = (kind_name(wanted), kind_name(actual));
    Error::new(
        Kind::Script,
        match (wanted.as_str(), actual.as_str()) {
            ("any", actual) => format!("a value of type {actual} does not fit here"),
            (wanted, "any") => format!("expected a value of type {wanted}"),
            (wanted, actual) => format!("expected a value of type {wanted}, not {actual}"),
        },
    )
}

fn bounds(what: &str, part: &str, len: usize, index: i64) -> Error {
    let s = if len == 1 { "" } else { "s" };
    Error::new(Kind::Script, format!("[{index}] is outside of the {what}, which has {len} {part}{s}"))
}

/// `start` for `get$start` and the like.
fn short_name(name: &str) -> &str {
    name.strip_prefix("get$").or_else(|| name.strip_prefix("set$")).unwrap_or(name)
}
