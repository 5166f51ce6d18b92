//! Web requests, as scripts make them and as downloads need them.

use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::base::{secret, units};
use bytes::BytesMut;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};
use std::sync::OnceLock;
use std::time::Duration;

/// An answer larger than this is refused: it would all be held in memory. `download` is for large files.
const MAX_BODY: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What a request carries.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Body {
    #[default]
    Empty,
    Text(String),
    Json(serde_json::Value),
    Form(Vec<(String, String)>),
}

/// How a request proves who it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Login {
    #[default]
    None,
    Bearer(String),
    Basic(String, String),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub query: Vec<(String, String)>,
    pub body: Body,
    pub login: Login,
    /// For one attempt, its answer included.
    pub timeout: Duration,
    /// How often it is tried again when there is no connection, or the server answers 429 or 5xx.
    pub retries: usize,
    /// An answer with status 400 or more is an error.
    pub check: bool,
    /// What errors call it, where its address must not be seen; else its method and address.
    pub name: Option<String>,
}

impl Request {
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            query: Vec::new(),
            body: Body::Empty,
            login: Login::None,
            timeout: Duration::from_secs(30),
            retries: 0,
            check: true,
            name: None,
        }
    }
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The client for requests that are held in memory; compressed answers come out plain.
fn client() -> Result<&'static Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    made(&CLIENT, || builder().gzip(true))
}

/// The client for files, whose bytes must come out as they are.
pub(super) fn file_client() -> Result<&'static Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    made(&CLIENT, || builder().no_gzip().read_timeout(Duration::from_secs(60)))
}

fn builder() -> reqwest::ClientBuilder {
    Client::builder().user_agent(concat!("opsrun/", env!("CARGO_PKG_VERSION"))).connect_timeout(CONNECT_TIMEOUT)
}

fn made(slot: &'static OnceLock<Client>, make: impl Fn() -> reqwest::ClientBuilder) -> Result<&'static Client> {
    if let Some(client) = slot.get() {
        return Ok(client);
    }
    let client = make().build().map_err(|e| Error::new(Kind::Http, format!("cannot set up web requests: {}", innermost(&e))))?;
    Ok(slot.get_or_init(|| client))
}

/// Reads an address, which must be one of the web.
pub fn parse_url(text: &str) -> Result<Url> {
    let shown = secret::mask(text);
    let url = Url::parse(text).map_err(|e| {
        Error::usage(format!("\"{shown}\" is not a web address: {e}")).hint("Addresses start with http:// or https://.")
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(Error::usage(format!("\"{shown}\" is not a web address")).hint("Addresses start with http:// or https://."));
    }
    Ok(url)
}

/// An address as errors show it: without a password in it.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        let _ = url.set_password(Some("***"));
    }
    url.to_string()
}

/// Sends a request and reads the whole answer.
pub async fn send(request: &Request, cx: &Cx) -> Result<Response> {
    let url = parse_url(&request.url)?;
    let what = request.name.clone().unwrap_or_else(|| format!("{} {}", request.method, shown(&url)));
    let headers = header_map(&request.headers)?;
    let mut attempt = 0;
    loop {
        let answer = cx.cancel.guard(once(request, &url, &headers, &what)).await;
        let again = match &answer {
            Ok(response) => is_passing(response.status),
            Err(error) => error.kind() == Kind::Http,
        };
        if !again || attempt >= request.retries {
            let response = answer?;
            return if request.check && response.status >= 400 { Err(refused(&what, &response)) } else { Ok(response) };
        }
        let why = match &answer {
            Ok(response) => format!("{what} answered {}", status_words(response.status)),
            Err(error) => error.message().to_owned(),
        };
        pause(attempt, &why, cx).await?;
        attempt += 1;
    }
}

/// Whether another attempt may well be answered differently.
pub(super) fn is_passing(status: u16) -> bool {
    status == 429 || status >= 500
}

/// Waits before attempt number `attempt` + 2, longer each time.
pub(super) async fn pause(attempt: usize, why: &str, cx: &Cx) -> Result<()> {
    let pause = Duration::from_millis(500 << attempt.min(5));
    cx.events.info(format!("{why}; trying again in {}", units::format_duration(pause)));
    cx.cancel
        .guard(async {
            tokio::time::sleep(pause).await;
            Ok(())
        })
        .await
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap> {
    headers
        .iter()
        .map(|(name, value)| {
            let key = HeaderName::try_from(name.as_str()).map_err(|_| Error::usage(format!("\"{name}\" is no header's name")))?;
            let value = HeaderValue::try_from(value.as_str())
                .map_err(|_| Error::usage(format!("the value of header {name} has characters that headers cannot have")))?;
            Ok((key, value))
        })
        .collect()
}

async fn once(request: &Request, url: &Url, headers: &HeaderMap, what: &str) -> Result<Response> {
    let mut builder = client()?.request(request.method.clone(), url.clone()).timeout(request.timeout);
    if !request.query.is_empty() {
        builder = builder.query(&request.query);
    }
    builder = match &request.body {
        Body::Empty => builder,
        Body::Text(text) => builder.body(text.clone()),
        Body::Json(value) => builder.json(value),
        Body::Form(fields) => builder.form(fields),
    };
    builder = match &request.login {
        Login::None => builder,
        Login::Bearer(token) => builder.bearer_auth(token),
        Login::Basic(user, password) => builder.basic_auth(user, Some(password)),
    };
    let failed = |e: reqwest::Error| failure(what, &e, request.timeout);
    let mut response = builder.headers(headers.clone()).send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BODY {
            let limit = units::format_size(MAX_BODY as u64);
            return Err(Error::usage(format!("{what} answers with more than {limit}")).hint("Use download() for large files."));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status, headers, body: body.into() })
}

/// Our error for a request without an answer.
pub(super) fn failure(what: &str, error: &reqwest::Error, timeout: Duration) -> Error {
    if error.is_builder() {
        return Error::usage(format!("{what} cannot be sent: {}", innermost(error)));
    }
    let host = error.url().and_then(|u| u.host_str()).unwrap_or("the server").to_owned();
    let why = innermost(error);
    if error.is_timeout() && !error.is_connect() {
        let limit = units::format_duration(timeout);
        return Error::new(Kind::Http, format!("{what} got no answer within {limit}")).hint("Give it longer: timeout: \"2m\".");
    }
    if error.is_connect() {
        return Error::new(Kind::Http, format!("{what}: cannot connect to {host}: {why}"))
            .hint("Is this machine online? Behind a proxy, set HTTPS_PROXY (and NO_PROXY) in the environment.");
    }
    Error::new(Kind::Http, format!("{what} broke off: {why}"))
}

/// The last error of the chain: the one that says what happened.
fn innermost(error: &reqwest::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(source) = at.source() {
        at = source;
    }
    let text = at.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// `404 Not Found`.
pub(super) fn status_words(status: u16) -> String {
    let words = reqwest::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    words.map_or_else(|| status.to_string(), |w| format!("{status} {w}"))
}

/// The error of an answer with status 400 or more, with the begin of what the server says.
fn refused(what: &str, response: &Response) -> Error {
    const SHOWN: usize = 600;
    let mut error = Error::new(Kind::Http, format!("{what} answered {}", status_words(response.status)));
    let text = String::from_utf8_lossy(&response.body);
    let text: String = text.trim().chars().take(SHOWN).collect();
    let details = error.details_mut();
    details.code = Some(response.status.into());
    if !text.is_empty() && !text.starts_with('<') {
        details.stderr = Some(text);
    }
    error
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A web server that gives the answers it was told, one a connection, and keeps what it was asked.
    pub struct Server {
        pub address: String,
        pub asked: Arc<Mutex<Vec<String>>>,
    }

    /// The bytes of an answer; a body shorter than its length is an answer that breaks off.
    pub fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nx-mark: 1\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    impl Server {
        /// The last answer is given again and again.
        pub async fn start(answers: Vec<String>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let asked = Arc::new(Mutex::new(Vec::new()));
            let log = asked.clone();
            tokio::spawn(async move {
                let mut answers = VecDeque::from(answers);
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut request = Vec::new();
                    let mut buffer = [0; 4096];
                    // Enough of HTTP to know when a request ends.
                    loop {
                        let n = stream.read(&mut buffer).await.unwrap_or(0);
                        request.extend_from_slice(&buffer[..n]);
                        let text = String::from_utf8_lossy(&request).into_owned();
                        let length = text
                            .lines()
                            .find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(str::to_owned))
                            .and_then(|l| l.trim().parse::<usize>().ok())
                            .unwrap_or(0);
                        let done = text.find("\r\n\r\n").is_some_and(|end| request.len() >= end + 4 + length);
                        if done || n == 0 {
                            break;
                        }
                    }
                    log.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                    let now = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
                    let _ = stream.write_all(now.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
            Self { address, asked }
        }

        pub fn count(&self) -> usize {
            self.asked.lock().unwrap().len()
        }
    }

    #[tokio::test]
    async fn carries_what_it_is_given_and_brings_the_answer() {
        let server = Server::start(vec![answer("200 OK", "{\"a\": 1}")]).await;
        let mut request = Request::new(Method::POST, format!("{}/x", server.address));
        request.headers = vec![("X-Test".into(), "yes".into())];
        request.query = vec![("q".into(), "a b".into())];
        request.body = Body::Json(serde_json::json!({ "k": "v" }));
        request.login = Login::Bearer("token-1".into());
        let response = send(&request, &Cx::quiet()).await.unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, b"{\"a\": 1}".as_slice()));
        assert!(response.headers.contains(&("x-mark".into(), "1".into())));
        let asked = server.asked.lock().unwrap()[0].clone();
        for part in
            ["POST /x?q=a+b ", "x-test: yes", "authorization: Bearer token-1", "{\"k\":\"v\"}", "content-type: application/json"]
        {
            assert!(asked.contains(part), "{part} is missing in {asked}");
        }
    }

    #[tokio::test]
    async fn refusals_are_errors_unless_asked_otherwise() {
        let server = Server::start(vec![answer("404 Not Found", "no such build")]).await;
        let mut request = Request::new(Method::GET, format!("{}/y", server.address));
        let error = send(&request, &Cx::quiet()).await.unwrap_err();
        assert_eq!(error.message(), format!("GET {}/y answered 404 Not Found", server.address));
        assert_eq!((error.details().code, error.details().stderr.as_deref()), (Some(404), Some("no such build")));
        request.check = false;
        assert_eq!(send(&request, &Cx::quiet()).await.unwrap().status, 404);
    }

    #[tokio::test]
    async fn passing_failures_are_tried_again() {
        let server = Server::start(vec![answer("503 Service Unavailable", ""), answer("200 OK", "fine")]).await;
        let mut request = Request::new(Method::GET, server.address.clone());
        request.retries = 1;
        assert_eq!(send(&request, &Cx::quiet()).await.unwrap().body, b"fine");
        assert_eq!(server.count(), 2);
    }

    #[tokio::test]
    async fn says_who_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = listener.local_addr().unwrap();
        let mut slow = Request::new(Method::GET, format!("http://user:hidden@{closed}/"));
        slow.timeout = Duration::from_millis(200);
        let error = send(&slow, &Cx::quiet()).await.unwrap_err();
        assert_eq!(error.message(), format!("GET http://user:***@{closed}/ got no answer within 200ms"));
        drop(listener);
        let error = send(&slow, &Cx::quiet()).await.unwrap_err();
        assert!(error.message().contains("cannot connect to 127.0.0.1: connection refused"), "{error}");
        for bad in ["ftp://x/", "x", "http://", "http://[", "file:///etc/passwd"] {
            assert_eq!(send(&Request::new(Method::GET, bad), &Cx::quiet()).await.unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }
}
