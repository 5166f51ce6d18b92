//! `http::…`, and `download`.

use crate::base::error::Error;
use crate::domain::download::{self as fetching, Expected};
use crate::domain::http::{self as web, Body, Login, Request, Response};
use crate::script::convert::{from_json, to_json};
use crate::script::options::{shown, text};
use crate::script::roles::Call;
use crate::script::{Host, Options, Placed, ScriptResult};
use reqwest::Method;
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};

/// Texts, secrets and numbers of a map, by name.
fn pairs(option: &str, map: Option<Map>) -> ScriptResult<Vec<(String, String)>> {
    let field = |(name, value): (rhai::Identifier, Dynamic)| {
        let plain = || (value.is_int() || value.is_float() || value.is_bool()).then(|| value.to_string());
        match text(&value).or_else(plain) {
            Some(text) => Ok((name.to_string(), text)),
            None => {
                Err(Error::usage(format!("\"{name}\" in option \"{option}\" must be a string, not {}", shown(&value))).into())
            }
        }
    };
    map.unwrap_or_default().into_iter().map(field).collect()
}

fn send(context: &NativeCallContext, method: &Method, url: &str, options: Map) -> ScriptResult<Map> {
    let function = format!("http::{}", method.as_str().to_lowercase());
    let mut options = Options::new(&function, options);
    let mut request = Request::new(method.clone(), url);
    request.headers = pairs("headers", options.map("headers")?)?;
    request.query = pairs("query", options.map("query")?)?;
    let bodies = [
        options.value("json").map(|v| to_json(&v).map(Body::Json)).transpose()?,
        options.text("body")?.map(Body::Text),
        options.map("form")?.map(|m| pairs("form", Some(m)).map(Body::Form)).transpose()?,
    ];
    let mut bodies = bodies.into_iter().flatten();
    request.body = bodies.next().unwrap_or_default();
    if bodies.next().is_some() {
        return Err(Error::usage(format!("{function} takes only one of the options \"json\", \"body\" and \"form\"")).into());
    }
    let (bearer, user, password) = (options.text("bearer")?, options.text("user")?, options.text("password")?);
    request.login = match (bearer, user, password) {
        (None, None, None) => Login::None,
        (Some(token), None, None) => Login::Bearer(token),
        (None, Some(user), password) => Login::Basic(user, password.unwrap_or_default()),
        _ => return Err(Error::usage(format!("{function} takes either \"bearer\", or \"user\" and \"password\"")).into()),
    };
    if let Some(timeout) = options.duration("timeout")? {
        request.timeout = timeout;
    }
    request.retries = options.count("retries")?.unwrap_or(0);
    request.check = options.bool("check")?.unwrap_or(true);
    options.finish()?;
    let host = Host::of(context);
    if method != Method::GET {
        host.must_act(context, &Call::changes("http", format!("{method} {url}")))?;
    }
    Ok(response_map(host.block_on(web::send(&request, &host.cx))?))
}

/// `#{ status, headers, body, json }`.
fn response_map(response: Response) -> Map {
    let headers: Map = response.headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let json = serde_json::from_slice(&response.body).map_or(Dynamic::UNIT, |v: serde_json::Value| from_json(&v));
    let body = String::from_utf8_lossy(&response.body).into_owned();
    [("status", i64::from(response.status).into()), ("headers", headers.into()), ("body", body.into()), ("json", json)]
        .into_iter()
        .map(|(key, value): (&str, Dynamic)| (key.into(), value))
        .collect()
}

fn fetch(context: &NativeCallContext, source: &str, options: Map) -> ScriptResult<String> {
    let mut options = Options::new("download", options);
    let expected = Expected {
        sha256: options.string("sha256")?,
        sha512: options.string("sha512")?,
        sha1: options.string("sha1")?,
        name: options.string("name")?,
    };
    options.finish()?;
    let host = Host::of(context);
    let (cache, root) = (&host.project().cache, &host.project().root);
    let path = host.block_on(fetching::download(cache, root, source, &expected, &host.cx))?;
    super::files::as_text(&path)
}

/// What is called as `http::…`.
#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// Asks a web server for something and returns its answer, `#{ status, headers, body, json }`.
    ///
    /// `headers` has names in lower case, `body` is text, `json` the body as a value (() when it is not JSON).
    /// A status of 400 or more throws, with `e.code` the status, unless `check` is false.
    /// Options: `headers` #{}, `query` #{}, `timeout` ("30s", for each attempt), `retries` (0: how often to try again after no
    /// connection, 429 and 5xx), `check`, `bearer` (a token), `user` and `password`. Any text may be a secret.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let health = http::get("http://10.0.0.5:9090/-/healthy", #{ retries: 5 });
    /// let nodes = http::get("https://example.com/api/nodes", #{ bearer: secret("API_TOKEN") }).json;
    /// ```
    #[rhai_fn(name = "get", return_raw)]
    pub fn get(context: NativeCallContext, url: &str, options: Map) -> ScriptResult<Map> {
        send(&context, &Method::GET, url, options).here(&context)
    }

    #[rhai_fn(name = "get", return_raw)]
    pub fn get_plain(context: NativeCallContext, url: &str) -> ScriptResult<Map> {
        send(&context, &Method::GET, url, Map::new()).here(&context)
    }

    /// Sends something to a web server (POST). Options: those of `http::get`, and one of `json` (any value), `form` #{}, `body` (text).
    ///
    /// # Example
    /// ```rhai,no_run
    /// http::post("http://10.0.0.5:9093/api/v2/silences", #{ json: #{ comment: "load test" } });
    /// ```
    #[rhai_fn(name = "post", return_raw)]
    pub fn post(context: NativeCallContext, url: &str, options: Map) -> ScriptResult<Map> {
        send(&context, &Method::POST, url, options).here(&context)
    }

    #[rhai_fn(name = "post", return_raw)]
    pub fn post_plain(context: NativeCallContext, url: &str) -> ScriptResult<Map> {
        send(&context, &Method::POST, url, Map::new()).here(&context)
    }

    /// Puts something onto a web server (PUT). Options: those of `http::post`.
    ///
    /// # Example
    /// ```rhai,no_run
    /// http::put("http://10.0.0.5:8080/config", #{ body: file::read("config.json") });
    /// ```
    #[rhai_fn(name = "put", return_raw)]
    pub fn put(context: NativeCallContext, url: &str, options: Map) -> ScriptResult<Map> {
        send(&context, &Method::PUT, url, options).here(&context)
    }

    #[rhai_fn(name = "put", return_raw)]
    pub fn put_plain(context: NativeCallContext, url: &str) -> ScriptResult<Map> {
        send(&context, &Method::PUT, url, Map::new()).here(&context)
    }

    /// Deletes something on a web server (DELETE). Options: those of `http::post`.
    ///
    /// # Example
    /// ```rhai,no_run
    /// http::delete("http://10.0.0.5:8080/jobs/7", #{ check: false });
    /// ```
    #[rhai_fn(name = "delete", return_raw)]
    pub fn delete(context: NativeCallContext, url: &str, options: Map) -> ScriptResult<Map> {
        send(&context, &Method::DELETE, url, options).here(&context)
    }

    #[rhai_fn(name = "delete", return_raw)]
    pub fn delete_plain(context: NativeCallContext, url: &str) -> ScriptResult<Map> {
        send(&context, &Method::DELETE, url, Map::new()).here(&context)
    }
}

/// What is called without a prefix.
#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod downloads {
    /// The path of a file from the web, fetched once for all runs of this user and checked every time.
    ///
    /// The source is an address (http, https, file) or a path in the project. Give its checksum: `sha256`, `sha512` or `sha1`;
    /// a file that does not have it is an error and is not kept. Without one, the cache knows the file by its address alone.
    /// Options: the checksums, and `name` (the file's name in the cache).
    ///
    /// # Example
    /// ```rhai
    /// file::write("tool.txt", "hello");
    /// let path = download("tool.txt", #{ sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" });
    /// assert_eq(file::read(path), "hello");
    /// ```
    #[rhai_fn(name = "download", return_raw)]
    pub fn download(context: NativeCallContext, source: &str, options: Map) -> ScriptResult<String> {
        fetch(&context, source, options)
    }

    #[rhai_fn(name = "download", return_raw)]
    pub fn download_plain(context: NativeCallContext, source: &str) -> ScriptResult<String> {
        fetch(&context, source, Map::new())
    }
}
