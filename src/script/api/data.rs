//! Data as text and back: YAML, JSON, templates, patterns.

use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::domain::{pattern, template, yaml_edit};
use crate::script::convert::{from_json, to_json as json_of};
use crate::script::{Options, ScriptResult};
use rhai::plugin::{Dynamic, export_module};
use rhai::{Array, Map};

/// A value for a template: data, in which secrets count as their text.
pub fn with_secrets(value: &Dynamic) -> Result<serde_json::Value> {
    if let Some(secret) = value.read_lock::<Secret>() {
        return Ok(secret.expose().into());
    }
    if let Ok(items) = value.as_array_ref() {
        return Ok(items.iter().map(with_secrets).collect::<Result<Vec<_>>>()?.into());
    }
    if let Ok(fields) = value.as_map_ref() {
        let fields = fields.iter().map(|(k, v)| Ok((k.to_string(), with_secrets(v)?)));
        return Ok(serde_json::Value::Object(fields.collect::<Result<_>>()?));
    }
    json_of(value)
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// Reads YAML text: maps, arrays, strings, numbers, booleans and ().
    ///
    /// # Example
    /// ```rhai
    /// let c = yaml("groups:\n  server: { count: 3 }\n");
    /// assert_eq(c.groups.server.count, 3);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn yaml(text: &str) -> ScriptResult<Dynamic> {
        Ok(from_json(&yaml_edit::from_yaml(text)?))
    }

    /// Writes a value as YAML text, in block style.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(to_yaml(#{ a: [1, "x"] }), "a:\n  - 1\n  - x\n");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn to_yaml(value: Dynamic) -> ScriptResult<String> {
        Ok(yaml_edit::to_yaml(&json_of(&value)?))
    }

    /// Reads JSON text.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(json(`{"a": [1, null]}`).a[0], 1);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn json(text: &str) -> ScriptResult<Dynamic> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| Error::config(format!("not valid JSON: {e}")))?;
        Ok(from_json(&value))
    }

    /// Writes a value as JSON text, on one line. Options: `pretty` (true: over many lines).
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(to_json(#{ a: [1, ()] }), `{"a":[1,null]}`);
    /// print(to_json(#{ a: 1 }, #{ pretty: true }));
    /// ```
    #[rhai_fn(name = "to_json", return_raw)]
    pub fn to_json(value: Dynamic, options: Map) -> ScriptResult<String> {
        let mut options = Options::new("to_json", options);
        let pretty = options.bool("pretty")?.unwrap_or(false);
        options.finish()?;
        let value = json_of(&value)?;
        Ok(if pretty { format!("{value:#}") } else { value.to_string() })
    }

    #[rhai_fn(name = "to_json", return_raw)]
    pub fn to_json_plain(value: Dynamic) -> ScriptResult<String> {
        Ok(json_of(&value)?.to_string())
    }

    // Rhai has a function of this name for maps alone, which knows less.
    #[rhai_fn(name = "to_json", return_raw)]
    pub fn to_json_of_map(value: Map) -> ScriptResult<String> {
        Ok(json_of(&value.into())?.to_string())
    }

    /// Fills in a template: `{{ name }}`, `{% for x in list %}…{% endfor %}`, `{% if on %}…{% endif %}` (minijinja, as in Jinja2).
    ///
    /// A line that holds only `{% … %}` leaves no line behind, as in Ansible.
    /// A variable that is not set is an error with its line and the nearest name; `{{ x | default("y") }}` says otherwise.
    /// Values may be secrets. Filters beside the usual ones: `quote` (one shell word; a list becomes several),
    /// `to_json`, `to_yaml`, `indent(n)`.
    ///
    /// # Example
    /// ```rhai
    /// let text = template("seeds: {{ seeds | join(',') }}\n", #{ seeds: ["10.0.0.1", "10.0.0.2"] });
    /// assert_eq(text, "seeds: 10.0.0.1,10.0.0.2\n");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn template(text: &str, vars: Map) -> ScriptResult<String> {
        Ok(template::render("template", text, &with_secrets(&vars.into())?)?)
    }

    /// Whether a regular expression matches anywhere in the text.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq("Total errors : 12".matches(`errors\s*:\s*\d+`), true);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn matches(text: &str, pattern: &str) -> ScriptResult<bool> {
        Ok(pattern::compile(pattern)?.is_match(text))
    }

    /// The first part of the text that a regular expression matches; () when there is none.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq("took 12 ms".find(`\d+`), "12");
    /// assert_eq("took long".find(`\d+`), ());
    /// ```
    #[rhai_fn(return_raw)]
    pub fn find(text: &str, pattern: &str) -> ScriptResult<Dynamic> {
        Ok(pattern::compile(pattern)?.find(text).map_or(Dynamic::UNIT, |m| m.as_str().into()))
    }

    /// All parts of the text that a regular expression matches, an array of strings.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq("1, 22 and 333".find_all(`\d+`), ["1", "22", "333"]);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn find_all(text: &str, pattern: &str) -> ScriptResult<Array> {
        Ok(pattern::compile(pattern)?.find_iter(text).map(|m| m.as_str().into()).collect())
    }

    /// What the groups of a regular expression hold at its first match; () when it does not match.
    ///
    /// An array: the whole match, then each `(…)`; () for a group that took no part.
    ///
    /// # Example
    /// ```rhai
    /// let found = "Op rate : 5,212 op/s".captures(`(\w+) rate\s*:\s*([\d,]+)`);
    /// assert_eq(found[1], "Op");
    /// assert_eq(found[2], "5,212");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn captures(text: &str, pattern: &str) -> ScriptResult<Dynamic> {
        let regex = pattern::compile(pattern)?;
        let Some(found) = regex.captures(text) else { return Ok(Dynamic::UNIT) };
        let groups: Array = found.iter().map(|g| g.map_or(Dynamic::UNIT, |m| m.as_str().into())).collect();
        Ok(groups.into())
    }

    /// What `captures` gives, for every match: an array of arrays.
    ///
    /// # Example
    /// ```rhai
    /// for pair in "a=1 b=2".captures_all(`(\w)=(\d)`) { print(`${pair[1]} is ${pair[2]}`); }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn captures_all(text: &str, pattern: &str) -> ScriptResult<Array> {
        let regex = pattern::compile(pattern)?;
        let groups =
            |found: regex::Captures| -> Array { found.iter().map(|g| g.map_or(Dynamic::UNIT, |m| m.as_str().into())).collect() };
        Ok(regex.captures_iter(text).map(|c| groups(c).into()).collect())
    }

    /// The text with every match of a regular expression replaced; `$1` in the replacement stands for a group.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq("a-1 b-2".replaced_matches(`(\w)-(\d)`, "$2$1"), "1a 2b");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn replaced_matches(text: &str, pattern: &str, replacement: &str) -> ScriptResult<String> {
        Ok(pattern::compile(pattern)?.replace_all(text, replacement).into_owned())
    }
}
