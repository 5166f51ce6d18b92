//! Text templates (minijinja): a variable that does not exist is an error, with its place and the nearest name.

use crate::base::error::{Error, Location, Result};
use crate::base::{shell, suggest};
use crate::domain::yaml_edit;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Jinja, ValueKind};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value;

/// Fills in a template. `name` is what errors call it: its file, or `template`.
///
/// Filters beside minijinja's own: `quote` (one shell word; a list becomes several), `to_json`, `to_yaml`.
/// Nothing is escaped for HTML, the last line break stays, and a line that holds only `{% … %}` leaves no line behind.
pub fn render(name: &str, text: &str, vars: &Value) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    // As Ansible does: a line that holds only `{% … %}` leaves no line behind.
    syntax.keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build().map_err(|e| Error::internal(e.to_string()))?);
    environment.set_debug(true);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.add_filter("quote", quote);
    environment.add_filter("to_json", to_json);
    environment.add_filter("to_yaml", to_yaml);
    let template = environment.template_from_named_str(name, text).map_err(|e| explain(name, text, vars, &e))?;
    template.render(Jinja::from(Serde(vars))).map_err(|e| explain(name, text, vars, &e))
}

fn quote(value: &Jinja) -> std::result::Result<String, minijinja::Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => Ok(shell::join(value.try_iter()?.map(|v| v.to_string()))),
        ValueKind::Undefined => Err(ErrorKind::UndefinedError.into()),
        ValueKind::Map | ValueKind::None => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("quote makes shell words of text, numbers and lists, not of {}", value.kind()),
        )),
        _ => Ok(shell::quote(&value.to_string())),
    }
}

fn as_json(value: &Jinja) -> std::result::Result<Value, minijinja::Error> {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    serde_json::to_value(value).map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string()))
}

fn to_json(value: &Jinja) -> std::result::Result<String, minijinja::Error> {
    as_json(value).map(|v| v.to_string())
}

fn to_yaml(value: &Jinja) -> std::result::Result<String, minijinja::Error> {
    as_json(value).map(|v| yaml_edit::to_yaml(&v).trim_end().to_owned())
}

/// Our error for one of minijinja's.
fn explain(name: &str, text: &str, vars: &Value, error: &minijinja::Error) -> Error {
    let line = error.line().unwrap_or(0);
    let range = error.range().and_then(|r| text.get(r.clone()).map(|expression| (r, expression)));
    let source = text.lines().nth(line.saturating_sub(1)).map(str::to_owned);
    let column = range.as_ref().map_or(0, |(r, _)| {
        let start = text[..r.start].rfind('\n').map_or(0, |n| n + 1);
        text[start..r.start].chars().count() + 1
    });
    let mut said = error.detail().unwrap_or_default().to_owned();
    let mut hint = None;
    match error.kind() {
        ErrorKind::UndefinedError => {
            let expression = range.map_or("", |(r, e)| match text[..r.start].trim_end().strip_suffix('|') {
                // A filter was given nothing: what stands before it is meant.
                Some(before) => last_path(before),
                None => e.trim(),
            });
            (said, hint) = undefined(expression, vars);
        }
        ErrorKind::UnknownFilter => {
            hint = Some("There are minijinja's filters, and quote, to_json and to_yaml.".to_owned());
        }
        _ if said.is_empty() => said = error.kind().to_string(),
        _ => {}
    }
    Error::config(format!("{name}:{line}: {said}")).at(Location { file: name.to_owned(), line, column, source }).hint_if(hint)
}

/// The `a.b.c` that this text ends with.
fn last_path(text: &str) -> &str {
    let text = text.trim_end();
    let start = text.rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
    start.map_or(text, |at| &text[at + text[at..].chars().next().map_or(0, char::len_utf8)..])
}

/// What is missing of `a.b.c`, and the nearest name there is in its place.
fn undefined(expression: &str, vars: &Value) -> (String, Option<String>) {
    let mut at = vars;
    let mut way = String::new();
    // The range may cover a filter or an operator as well: the path is what comes first.
    let path = expression.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).next().unwrap_or_default();
    for step in path.split('.').filter(|s| !s.is_empty()) {
        let Some(next) = at.get(step) else {
            let message =
                if way.is_empty() { format!("variable \"{step}\" is not set") } else { format!("\"{way}\" has no \"{step}\"") };
            let names = at.as_object().into_iter().flat_map(|m| m.keys().map(String::as_str));
            return (message, suggest::did_you_mean(step, names));
        };
        way = if way.is_empty() { step.to_owned() } else { format!("{way}.{step}") };
        at = next;
    }
    (if expression.is_empty() { "a value is not set".to_owned() } else { format!("\"{expression}\" is not set") }, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn says(text: &str, vars: &Value) -> (String, Vec<String>) {
        let error = render("t.conf", text, vars).unwrap_err();
        (error.message().to_owned(), error.details().hints.clone())
    }

    #[test]
    fn fills_in_and_keeps_the_last_line_break() {
        let vars = json!({ "name": "a b", "list": ["x", "it's"], "map": { "k": [1, null] }, "on": true });
        assert_eq!(render("t", "n={{ name }} {% if on %}<&>{% endif %} .\n", &vars).unwrap(), "n=a b <&> .\n");
        assert_eq!(render("t", "{{ name|quote }} {{ list|quote }}", &vars).unwrap(), "'a b' x 'it'\\''s'");
        assert_eq!(render("t", "{{ map|to_json }}", &vars).unwrap(), r#"{"k":[1,null]}"#);
        assert_eq!(render("t", "m:\n  {{ map|to_yaml|indent(2) }}\n", &vars).unwrap(), "m:\n  k:\n    - 1\n    - null\n");
        assert_eq!(render("t", "{{ nothing|default('x') }}", &vars).unwrap(), "x");
    }

    #[test]
    fn a_line_that_holds_only_a_block_leaves_no_line_behind() {
        let text = "servers:\n  {% for s in list %}\n  - {{ s }}\n  {% endfor %}\n{% if on %}\n{# why #}\n\nend\n{% endif %}\n";
        assert_eq!(render("t", text, &json!({ "list": ["a", "b"], "on": true })).unwrap(), "servers:\n  - a\n  - b\n\nend\n");
    }

    #[test]
    fn what_is_not_set_is_named_with_its_place_and_the_nearest_name() {
        let vars = json!({ "cluster_name": "x", "node": { "address": "127.0.0.1" } });
        assert_eq!(
            says("a\nb {{ cluster_nmae }}\n", &vars),
            ("t.conf:2: variable \"cluster_nmae\" is not set".into(), vec!["Did you mean \"cluster_name\"?".into()])
        );
        assert_eq!(says("{{ node.adress }}", &vars).0, "t.conf:1: \"node\" has no \"adress\"");
        assert_eq!(says("{{ node.adress|quote }}", &vars).0, "t.conf:1: \"node\" has no \"adress\"");
        assert_eq!(says("{{ node.adress|to_json }}", &vars).0, "t.conf:1: \"node\" has no \"adress\"");
        assert_eq!(says("\n{% for x in sevrers %}{% endfor %}", &vars).0, "t.conf:2: variable \"sevrers\" is not set");
        assert_eq!(says("{% if nood %}x{% endif %}", &vars).0, "t.conf:1: variable \"nood\" is not set");
        let error = render("t.conf", "a {{ nood }}", &vars).unwrap_err();
        assert_eq!((error.details().places[0].line, error.details().places[0].column), (1, 6));
        assert!(says("{% if x %}", &vars).0.starts_with("t.conf:1: "));
        assert!(says("{{ node|qoute }}", &vars).0.contains("qoute"));
        assert!(says("{{ node|quote }}", &vars).0.contains("not of map"));
    }

    proptest::proptest! {
        #[test]
        fn no_template_panics(text in "[a-c{}%|. \"'()\\n]{0,30}|.{0,20}") {
            let _ = render("t", &text, &json!({ "a": { "b": 1 } }));
        }
    }
}
