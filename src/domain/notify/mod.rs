//! Who is told when long work has ended: by e-mail, in Slack, through a command of the user's.
//!
//! Telling changes nothing: a way that fails or hangs is a warning.

mod command;
mod email;
mod message;
mod read;
mod slack;

pub use email::{Email, Security, Settings};
pub use message::Message;
pub use read::read;

use crate::base::cancel::Cancel;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::base::secret::Secret;
use crate::base::units::format_duration;
use crate::domain::config::SecretSource;
use crate::domain::config::files::fetch_source;
use futures::future::join_all;
use std::path::PathBuf;
use std::time::Duration;

/// A way that has not told by then is given up.
const DEADLINE: Duration = Duration::from_secs(20);

/// Everybody who is told.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    pub channels: Vec<Channel>,
}

/// One way, and when it is taken.
#[derive(Clone, Debug)]
pub struct Channel {
    pub way: Way,
    pub when: When,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    Always,
    /// Only when the work failed.
    Failure,
}

#[derive(Clone, Debug)]
pub enum Way {
    Email(Box<Email>),
    /// The address of a webhook. Who knows it can write there: it is a secret.
    Slack(Hidden),
    /// The words of a command, and the folder it runs in.
    Command(Vec<String>, PathBuf),
}

/// A secret that is fetched when it is needed.
#[derive(Clone, Debug)]
pub struct Hidden {
    pub name: String,
    pub source: SecretSource,
}

impl Hidden {
    pub fn known(name: &str, secret: Secret) -> Self {
        Self { name: name.to_owned(), source: SecretSource::Value(secret) }
    }

    fn fetch(&self) -> Result<Secret> {
        fetch_source(&self.source).map_err(|e| e.context(format!("reading secret {}", self.name)))
    }
}

impl Way {
    /// For people, without anything secret.
    fn name(&self) -> String {
        match self {
            Self::Email(email) => format!("e-mail through {}", email.server()),
            Self::Slack(_) => "Slack".to_owned(),
            Self::Command(words, _) => format!("command {}", words.first().map(String::as_str).unwrap_or_default()),
        }
    }

    async fn take(&self, message: &Message, cx: &Cx) -> Result<()> {
        match self {
            Self::Email(email) => email::send(email, message).await,
            Self::Slack(url) => slack::send(&url.fetch()?, message, cx).await,
            Self::Command(words, dir) => command::run(words, dir, message, cx).await,
        }
    }
}

/// Tells everybody who wants to know, all at once. Returns whether each of them was told; for each who was not there is a warning.
pub async fn send(notify: &Notify, message: &Message, cx: &Cx) -> bool {
    // Work that was interrupted is told about, too.
    let cancel = if cx.cancel.is_cancelled() { Cancel::new() } else { cx.cancel.clone() };
    let cx = &Cx::new(cancel, cx.events.clone());
    let wanted = notify.channels.iter().filter(|c| c.when == When::Always || message.failed());
    let told = join_all(wanted.map(|channel| tell(&channel.way, message, cx))).await;
    told.into_iter().all(|told| told)
}

async fn tell(way: &Way, message: &Message, cx: &Cx) -> bool {
    let late = || Error::new(Kind::Timeout, format!("not done within {}", format_duration(DEADLINE)));
    let done = tokio::time::timeout(DEADLINE, cx.cancel.guard(way.take(message, cx))).await;
    let Err(error) = done.unwrap_or_else(|_| Err(late())) else { return true };
    cx.events.warn(format!("nobody was told by {}: {}", way.name(), message::in_short(&error)));
    false
}
