//! What authors of modules need beside the rest: options with defaults, hints, words, a place for downloads.

use crate::base::error::{Error, IoResultExt};
use crate::base::suggest;
use crate::script::convert::type_name;
use crate::script::{Host, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};

#[export_module]
pub mod module {
    /// Returns the defaults, changed by the options that were given: how a function of yours takes an option map.
    ///
    /// `name` is what errors call the function. An option without a default is refused, with the nearest name, and so is one
    /// of another type than its default. A default of `()` takes any type; a float takes whole numbers too.
    ///
    /// # Example
    /// ```rhai
    /// fn greet(options) {
    ///     let o = with_defaults("greet", options, #{ name: "you", times: 1 });
    ///     for i in 0..o.times { print("hello " + o.name); }
    /// }
    /// greet(#{ times: 2 });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn with_defaults(name: &str, options: Map, defaults: Map) -> ScriptResult<Map> {
        let mut result = defaults;
        for (key, value) in options {
            let value = value.flatten();
            let Some(default) = result.get(&key) else {
                let error = Error::usage(format!("{name} has no option \"{key}\""));
                let hint = suggest::did_you_mean(&key, result.keys().map(rhai::Identifier::as_str));
                return Err(hint.map_or(error.clone(), |h| error.hint(h)).into());
            };
            if value.is_unit() {
                continue;
            }
            let (wanted, given) = (type_name(default), type_name(&value));
            if !default.is_unit() && wanted != given && !(wanted == "float" && given == "integer") {
                let shown = crate::script::options::shown(&value);
                return Err(Error::usage(format!("option \"{key}\" of {name} must be of type {wanted}, not {shown}")).into());
            }
            result.insert(key, value);
        }
        Ok(result)
    }

    /// Returns a hint for a name that does not exist: the nearest of those that do, else the list of them; `()` when there are none.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(did_you_mean("basline", ["baseline", "empty"]), "Did you mean \"baseline\"?");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn did_you_mean(name: &str, names: Array) -> ScriptResult<Dynamic> {
        let names: Vec<String> = names.into_iter().map(|n| n.to_string()).collect();
        Ok(suggest::did_you_mean(name, names.iter().map(String::as_str)).map_or(Dynamic::UNIT, Into::into))
    }

    /// Splits a line into words as a shell does, quotes and backslashes included, without expanding anything.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(words("mixed 'ratio(read=3, write=1)' n=10"), ["mixed", "ratio(read=3, write=1)", "n=10"]);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn words(line: &str) -> ScriptResult<Array> {
        match shlex::split(line) {
            Some(words) => Ok(words.into_iter().map(Dynamic::from).collect()),
            None => Err(Error::usage(format!("a quote is not closed in: {line}")).into()),
        }
    }

    /// Returns the folder of this name in this user's cache, an absolute path; it is made when it is missing.
    ///
    /// What is there may be removed at any time: check it before use. `OPSRUN_CACHE` says where the cache is.
    ///
    /// # Example
    /// ```rhai
    /// assert(cache_dir("example").ends_with("/example"));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn cache_dir(context: NativeCallContext, name: &str) -> ScriptResult<String> {
        if name.is_empty() || name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return Err(Error::usage(format!("\"{name}\" cannot be the name of a folder in the cache")).into());
        }
        let dir = Host::of(&context).project().cache.join(name);
        std::fs::create_dir_all(&dir).at("make", &dir)?;
        match dir.to_str() {
            Some(path) => Ok(path.to_owned()),
            None => Err(Error::usage(format!("the path of the cache is not UTF-8: {}", dir.display())).into()),
        }
    }
}
