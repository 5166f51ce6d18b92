//! E-mail over SMTP.

use super::{Hidden, Message};
use crate::base::error::{Error, Kind, Result};
use crate::base::secret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::net::IpAddr;
use std::time::Duration;

/// For each answer of the server.
const ANSWER: Duration = Duration::from_secs(10);

/// How the connection is kept from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// It begins readable and then must become TLS.
    StartTls,
    Tls,
    None,
}

/// The words of a config.
pub const SECURITY: [(&str, Security); 3] = [("starttls", Security::StartTls), ("tls", Security::Tls), ("none", Security::None)];

impl Security {
    pub fn from_word(word: &str) -> Result<Self> {
        let known = SECURITY.iter().find(|(known, _)| *known == word);
        known.map(|(_, security)| *security).ok_or_else(|| {
            let words = SECURITY.map(|(word, _)| word);
            Error::usage(format!("an e-mail's security is {}, not \"{}\"", words.join(", "), word.escape_debug()))
        })
    }
}

/// An e-mail's way, as it is written down.
#[derive(Debug)]
pub struct Settings {
    pub server: String,
    pub port: Option<u16>,
    pub security: Security,
    pub user: Option<String>,
    pub password: Option<Hidden>,
    pub from: String,
    pub to: Vec<String>,
}

/// The same, looked through.
#[derive(Clone, Debug)]
pub struct Email {
    server: String,
    port: u16,
    security: Security,
    login: Option<(String, Hidden)>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Email {
    pub fn new(settings: Settings) -> Result<Self> {
        let Settings { server, port, security, user, password, from, to } = settings;
        let login = match (user, password) {
            (None, None) => None,
            (Some(user), Some(password)) => Some((user, password)),
            _ => return Err(Error::config("an e-mail's `user` and `password` go together: give both or none")),
        };
        if login.is_some() && security == Security::None && !is_here(&server) {
            return Err(Error::config(format!("with `security: none` the password would go to {server} for everybody to read"))
                .hint("Leave `security` out (STARTTLS), or say `security: tls`."));
        }
        let port = port.unwrap_or(match security {
            Security::StartTls => 587,
            Security::Tls => 465,
            Security::None => 25,
        });
        let from = mailbox(&from)?;
        let to = to.iter().map(|t| mailbox(t)).collect::<Result<Vec<_>>>()?;
        if to.is_empty() {
            return Err(Error::config("an e-mail is sent to nobody: `to` is empty"));
        }
        Ok(Self { server, port, security, login, from, to })
    }

    /// `mail.example.com:587`
    pub fn server(&self) -> String {
        format!("{}:{}", self.server, self.port)
    }
}

fn is_here(server: &str) -> bool {
    server == "localhost" || server.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
}

fn mailbox(text: &str) -> Result<Mailbox> {
    text.parse().map_err(|_| {
        Error::config(format!("\"{}\" is not an e-mail address", text.escape_debug()))
            .hint("It looks like ops@example.com, or \"Ops <ops@example.com>\".")
    })
}

pub async fn send(email: &Email, message: &Message) -> Result<()> {
    let server = email.server();
    let built = lettre::Message::builder().from(email.from.clone()).subject(message.subject()).message_id(None).date_now();
    let built = email.to.iter().fold(built, |mail, to| mail.to(to.clone())).header(ContentType::TEXT_PLAIN);
    let text = if message.text().is_empty() { message.subject() } else { message.text() };
    let mail = built.body(text.to_owned()).map_err(|e| Error::internal(format!("cannot write an e-mail: {e}")))?;
    let tls = || {
        let failed = |e| Error::new(Kind::Connection, format!("cannot set up TLS for {server}: {e}"));
        TlsParameters::new(email.server.clone()).map_err(failed)
    };
    let tls = match email.security {
        Security::StartTls => Tls::Required(tls()?),
        Security::Tls => Tls::Wrapper(tls()?),
        Security::None => Tls::None,
    };
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&email.server);
    let mut builder = builder.port(email.port).tls(tls).timeout(Some(ANSWER));
    if let Some((user, password)) = &email.login {
        let password = password.fetch()?;
        // A server may repeat what it was told.
        secret::register(&BASE64_STANDARD.encode(format!("\0{user}\0{}", password.expose())));
        builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
    }
    builder.build().send(mail).await.map(drop).map_err(|e| failure(&server, email.security, &e))
}

/// What went wrong, in the server's words where it has any.
fn failure(server: &str, security: Security, error: &lettre::transport::smtp::Error) -> Error {
    let mut innermost: &dyn std::error::Error = error;
    let mut no_tls = error.is_client() || error.is_tls();
    while let Some(source) = innermost.source() {
        innermost = source;
        no_tls |= source.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::InvalidData);
    }
    let why = innermost.to_string();
    let why = why.split(" (os error").next().unwrap_or_default();
    if let Some(code) = error.status() {
        let failed = Error::new(Kind::Connection, format!("{server} refuses: {code} {why}"));
        return if code.to_string() == "535" { failed.hint("Are user and password right?") } else { failed };
    }
    if error.is_timeout() {
        return Error::new(Kind::Timeout, format!("{server} does not answer"));
    }
    let failed = Error::new(Kind::Connection, format!("cannot send through {server}: {why}"));
    match security {
        Security::StartTls if no_tls => {
            failed.hint("Does the server speak STARTTLS on this port? For TLS from the first byte: `security: tls`.")
        }
        Security::Tls if no_tls => failed.hint("Does the server speak TLS on this port? For STARTTLS leave `security` out."),
        _ => failed,
    }
}
