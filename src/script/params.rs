//! A script's own options: `params(#{ rows: 1_000, name: "baseline" })`, given as `--rows=…`, listed by `--help`.

use super::options::shown;
use crate::base::error::{Error, Result};
use crate::base::suggest::nearest;
use crate::base::units::{parse_duration, parse_size};
use rhai::{AST, ASTNode, Dynamic, Expr, FnCallExpr, Map, Stmt};

/// What `params` left of the command line.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// The words that were no options, once `params` has read the others.
    pub rest: Option<Vec<String>>,
    values: Map,
    /// Words that are no options are refused: nobody will read them.
    pub only_options: bool,
}

impl Declared {
    /// Takes what the command line says by the declared defaults.
    pub fn take(&mut self, defaults: &Map, words: &[String]) -> Result<Map> {
        let (values, rest) = read(defaults, words)?;
        if let Some(odd) = rest.first().filter(|_| self.only_options) {
            return Err(Error::usage(format!("\"{odd}\" is no option")).hint(takes(defaults)));
        }
        self.rest = Some(rest);
        self.values.clone_from(&values);
        Ok(values)
    }

    /// Whether an option is declared and given that is a flag.
    pub fn flag(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|v| v.as_bool() == Ok(true))
    }

    /// An option that is a text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.values.get(name).and_then(|v| v.clone().into_string().ok())
    }
}

/// Reads the words of the command line by the declared defaults. Returns the values, and the words that are no options.
pub fn read(defaults: &Map, words: &[String]) -> Result<(Map, Vec<String>)> {
    let mut values = defaults.clone();
    let mut rest = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.extend(words.by_ref().cloned());
            break;
        }
        let Some(option) = word.strip_prefix("--") else {
            rest.push(word.clone());
            continue;
        };
        let (given, mut text) = match option.split_once('=') {
            Some((name, text)) => (name, Some(text.to_owned())),
            None => (option, None),
        };
        let (key, off) = find(defaults, given)?;
        let default = &defaults[key.as_str()];
        if default.is_bool() {
            let value = match text.as_deref() {
                None | Some("true" | "yes") => !off,
                Some("false" | "no") => off,
                Some(other) => return Err(Error::usage(format!("--{given} is true or false, not \"{other}\""))),
            };
            values.insert(key.into(), value.into());
            continue;
        }
        if text.is_none() {
            text = words.next().cloned();
        }
        let text =
            text.ok_or_else(|| Error::usage(format!("--{given} needs a value, such as --{given}={}", example(default))))?;
        values.insert(key.into(), value(given, default, &text)?);
    }
    Ok((values, rest))
}

/// The declared name that an option means (`--max-rows` is `max_rows`), and whether it is its `--no-…` form.
fn find(defaults: &Map, given: &str) -> Result<(String, bool)> {
    let name = given.replace('-', "_");
    if defaults.contains_key(name.as_str()) {
        return Ok((name, false));
    }
    if let Some(positive) = name.strip_prefix("no_")
        && defaults.get(positive).is_some_and(Dynamic::is_bool)
    {
        return Ok((positive.to_owned(), true));
    }
    let error = Error::usage(format!("this script has no option --{given}"));
    if let Some(near) = nearest(&name, defaults.keys().map(|k| &k[..])) {
        return Err(error.hint(format!("Did you mean --{}?", near.replace('_', "-"))));
    }
    Err(error.hint(takes(defaults)))
}

fn takes(defaults: &Map) -> String {
    let all: Vec<String> = defaults.keys().map(|k| format!("--{}", k.replace('_', "-"))).collect();
    if all.is_empty() { "It takes none.".to_owned() } else { format!("It takes {}.", all.join(", ")) }
}

/// A value of the type of its default.
fn value(name: &str, default: &Dynamic, text: &str) -> Result<Dynamic> {
    let wrong = |what: &str| Error::usage(format!("--{name} must be {what}, not \"{text}\""));
    if default.is_int() {
        return text.replace('_', "").parse::<i64>().map(Into::into).map_err(|_| wrong("a whole number"));
    }
    if default.is_float() {
        return text.replace('_', "").parse::<f64>().map(Into::into).map_err(|_| wrong("a number"));
    }
    if default.is_array() {
        let items = text.split(',').map(str::trim).filter(|i| !i.is_empty());
        return Ok(items.map(|i| Dynamic::from(i.to_owned())).collect::<rhai::Array>().into());
    }
    if let Ok(default) = default.as_immutable_string_ref() {
        // A default with a unit says what is expected: `--time=90` would otherwise fail much later.
        if parse_duration(&default).is_ok() {
            parse_duration(text).map_err(|e| e.context(format!("reading --{name}")))?;
        } else if parse_size(&default).is_ok() {
            parse_size(text).map_err(|e| e.context(format!("reading --{name}")))?;
        }
    }
    Ok(text.to_owned().into())
}

fn example(default: &Dynamic) -> String {
    match default.as_immutable_string_ref() {
        Ok(text) if !text.is_empty() => text.to_string(),
        _ if default.is_int() || default.is_float() => default.to_string(),
        _ if default.is_array() => "a,b".to_owned(),
        _ => "VALUE".to_owned(),
    }
}

/// One declared option, as `--help` lists it.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    name: String,
    default: String,
    comment: String,
}

/// What `opsrun SCRIPT --help` prints, found in the script's text without running it.
pub fn help(script: &str, text: &str, ast: &AST) -> String {
    let usage = format!("opsrun {script}");
    if uses_deployment(ast) {
        let about = "NAME is the deployment it works on; `opsrun ls` lists them.";
        return page(&leading_comment(text), &format!("{usage} NAME"), text, ast, Some(about), &[]);
    }
    page(&leading_comment(text), &usage, text, ast, None, &[])
}

/// A page of help: what it does, how it is called, and the options that the script declares. `more` are options, with their
/// meaning, that others read.
pub fn page(does: &str, usage: &str, text: &str, ast: &AST, about: Option<&str>, more: &[(&str, &str)]) -> String {
    let mut out = String::new();
    if !does.is_empty() {
        out.push_str(&format!("{does}\n\n"));
    }
    let options = listed(text, ast);
    let mut rows: Vec<(String, &str)> = options.iter().map(|o| (o.written(), o.comment.as_str())).collect();
    rows.extend(more.iter().map(|(option, meaning)| ((*option).to_owned(), *meaning)));
    let words = if rows.is_empty() { "" } else { " [OPTIONS]" };
    out.push_str(&format!("Usage: {usage}{words}\n"));
    if let Some(about) = about {
        out.push_str(&format!("\n{about}\n"));
    }
    if !rows.is_empty() {
        out.push_str("\nOptions, with their defaults:\n");
        let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
        for (left, comment) in rows {
            out.push_str(format!("  {left:width$}  {comment}").trim_end());
            out.push('\n');
        }
    }
    out
}

/// The options that a script declares, with their defaults: `--rows=1000`.
pub fn options(text: &str, ast: &AST) -> Vec<String> {
    listed(text, ast).iter().map(Listed::written).collect()
}

impl Listed {
    fn written(&self) -> String {
        format!("--{}={}", self.name.replace('_', "-"), self.default)
    }
}

/// The `//` lines at the top of a script.
fn leading_comment(text: &str) -> String {
    let lines = text.lines().skip_while(|l| l.starts_with("#!") || l.trim().is_empty());
    let lines = lines.map_while(|l| l.trim_start().strip_prefix("//")).map(|l| l.trim_start_matches(['/', '!']));
    lines.map(|l| l.strip_prefix(' ').unwrap_or(l).trim_end()).collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Whether the script says `deployment()`, so that the first word of the command line is the deployment's name.
pub fn uses_deployment(ast: &AST) -> bool {
    !calls(ast, "deployment", 0).is_empty()
}

fn listed(text: &str, ast: &AST) -> Vec<Listed> {
    let mut options = Vec::new();
    for call in calls(ast, "params", 1) {
        match &call.args[0] {
            Expr::Map(entries, _) => {
                for (name, value) in &entries.0 {
                    let default = value.get_literal_value(None).map_or_else(|| "…".to_owned(), |v| shown_default(&v));
                    let line = name.pos.line().and_then(|l| text.lines().nth(l - 1));
                    options.push(Listed { name: name.name.to_string(), default, comment: comment_of(line) });
                }
            }
            Expr::DynamicConstant(value, position) => {
                // Constant maps have become values: their entries are found again by name, from the place of the map on.
                let Ok(map) = value.as_map_ref() else { continue };
                let from = position.line().unwrap_or(1) - 1;
                let mut found: Vec<(usize, Listed)> = Vec::new();
                for (name, value) in map.iter() {
                    let at = text.lines().enumerate().skip(from).find(|(_, l)| declares(l, name));
                    let line = at.map(|(_, l)| l);
                    let column = line.and_then(|l| l.find(name.as_str())).unwrap_or(0);
                    let order = at.map_or(usize::MAX, |(n, _)| n * 10_000 + column);
                    found.push((
                        order,
                        Listed { name: name.to_string(), default: shown_default(value), comment: comment_of(line) },
                    ));
                }
                found.sort_by_key(|(order, _)| *order);
                options.extend(found.into_iter().map(|(_, o)| o));
            }
            _ => {}
        }
    }
    options
}

/// Whether a line of a map literal gives this key its value.
fn declares(line: &str, key: &str) -> bool {
    line.match_indices(key).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let after = line[at + key.len()..].trim_start_matches('"').trim_start();
        before && after.starts_with(':')
    })
}

fn comment_of(line: Option<&str>) -> String {
    line.and_then(|l| l.rsplit_once("//")).map(|(_, c)| c.trim().to_owned()).unwrap_or_default()
}

fn shown_default(value: &Dynamic) -> String {
    if let Ok(items) = value.as_array_ref() {
        return items.iter().map(super::convert::display).collect::<Vec<_>>().join(",");
    }
    if value.is_unit() {
        return "VALUE".to_owned();
    }
    match value.as_immutable_string_ref() {
        Ok(text) if text.contains(char::is_whitespace) || text.is_empty() => format!("\"{}\"", *text),
        Ok(text) => text.to_string(),
        Err(_) => shown(value),
    }
}

/// All calls of a function in a script.
pub fn calls(ast: &AST, name: &str, args: usize) -> Vec<FnCallExpr> {
    let mut found = Vec::new();
    ast.walk(&mut |path| {
        if let Some(ASTNode::Expr(Expr::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _))) = path.last()
            && call.name == name
            && call.args.len() == args
            && !call.is_qualified()
        {
            found.push((**call).clone());
        }
        true
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn defaults() -> Map {
        rhai::Engine::new()
            .eval(r#"#{ rows: 1000, name: "baseline", time: "30s", fast: false, ratio: 0.5, tags: ["a"] }"#)
            .unwrap()
    }

    #[test]
    fn words_are_typed_by_defaults() {
        let (values, rest) =
            read(&defaults(), &words("x --rows=1_500 --name other --fast --time 2m --tags=b,c y -- --z")).unwrap();
        assert_eq!(values["rows"].as_int(), Ok(1500));
        assert_eq!(values["name"].to_string(), "other");
        assert_eq!(values["fast"].as_bool(), Ok(true));
        assert_eq!(values["tags"].to_string(), "[\"b\", \"c\"]");
        assert_eq!(values["ratio"].as_float(), Ok(0.5));
        assert_eq!(rest, ["x", "y", "--z"]);
        let (values, _) = read(&defaults(), &words("--no-fast")).unwrap();
        assert_eq!(values["fast"].as_bool(), Ok(false));
    }

    #[test]
    fn wrong_words_are_refused() {
        let say = |text: &str| read(&defaults(), &words(text)).unwrap_err();
        assert_eq!(say("--row=1").message(), "this script has no option --row");
        assert_eq!(say("--row=1").details().hints, ["Did you mean --rows?"]);
        assert_eq!(say("--rows=many").message(), "--rows must be a whole number, not \"many\"");
        assert_eq!(say("--rows").message(), "--rows needs a value, such as --rows=1000");
        assert!(say("--time=30").message().contains("has no unit"));
        assert_eq!(say("--fast=maybe").message(), "--fast is true or false, not \"maybe\"");
    }
}
