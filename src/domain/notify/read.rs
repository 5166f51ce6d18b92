//! `notify:` of an environment file.

use super::email::SECURITY;
use super::{Channel, Email, Hidden, Notify, Security, Settings, Way, When};
use crate::base::error::{Error, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::config::SecretSource;
use crate::domain::config::reader::{self, Reader, choice, get, wrong};
use crate::domain::config::tree::{Data, Entry, Node};
use std::collections::BTreeMap;
use std::path::Path;

const TOP: [&str; 4] = ["email", "slack", "command", "when"];
const EMAIL: [&str; 8] = ["server", "port", "security", "user", "password", "from", "to", "when"];
const SLACK: [&str; 2] = ["url", "when"];
const COMMAND: [&str; 2] = ["run", "when"];
const WHEN: [(&str, When); 2] = [("always", When::Always), ("failure", When::Failure)];

/// Reads the section. Commands run in `project`; `secrets` are those that the environment names.
pub fn read(entry: &Entry, reader: &Reader, secrets: &BTreeMap<String, SecretSource>, project: &Path) -> Result<Notify> {
    let section = Section { reader, secrets };
    let keys = map(entry, "notify", &TOP)?;
    let when = when_of(keys, "notify")?.unwrap_or(When::Always);
    let mut channels = Vec::new();
    let known = |key: &str, name: &str, known: &[&str]| get(keys, key).map(|e| map(e, name, known).map(|k| (e, k))).transpose();
    if let Some((entry, keys)) = known("email", "notify.email", &EMAIL)? {
        let when = when_of(keys, "notify.email")?.unwrap_or(when);
        channels.push(Channel { way: Way::Email(Box::new(section.email(entry, keys)?)), when });
    }
    if let Some((entry, keys)) = known("slack", "notify.slack", &SLACK)? {
        let when = when_of(keys, "notify.slack")?.unwrap_or(when);
        channels.push(Channel {
            way: Way::Slack(section.secret(needed(entry, keys, "notify.slack", "url")?, "notify.slack.url")?),
            when,
        });
    }
    if let Some((entry, keys)) = known("command", "notify.command", &COMMAND)? {
        let when = when_of(keys, "notify.command")?.unwrap_or(when);
        let words = section.words(needed(entry, keys, "notify.command", "run")?)?;
        channels.push(Channel { way: Way::Command(words, project.to_owned()), when });
    }
    Ok(Notify { channels })
}

/// The entries of a map that has only these keys.
fn map<'a>(entry: &'a Entry, name: &str, known: &[&str]) -> Result<&'a [Entry]> {
    let Some(keys) = entry.value.map() else {
        return Err(wrong(entry, name, "must be a map").hint(format!("Its keys are {}.", known.join(", "))));
    };
    reader::known(keys, known, &format!("{name}."))?;
    Ok(keys)
}

fn needed<'a>(entry: &Entry, keys: &'a [Entry], name: &str, key: &str) -> Result<&'a Entry> {
    get(keys, key).ok_or_else(|| Error::config(format!("`{name}` has no `{key}`")).at(entry.place.location()))
}

fn when_of(keys: &[Entry], name: &str) -> Result<Option<When>> {
    get(keys, "when").map(|e| choice(e, &format!("{name}.when"), &WHEN)).transpose()
}

struct Section<'a> {
    reader: &'a Reader<'a>,
    secrets: &'a BTreeMap<String, SecretSource>,
}

impl Section<'_> {
    fn text(&self, keys: &[Entry], key: &str) -> Result<Option<String>> {
        get(keys, key).map(|e| self.reader.text(e, &format!("notify.email.{key}"))).transpose()
    }

    fn email(&self, entry: &Entry, keys: &[Entry]) -> Result<Email> {
        let needed = |key: &str| needed(entry, keys, "notify.email", key);
        let port = |e: &Entry| match e.value.data {
            Data::Int(port @ 1..=65535) => Ok(u16::try_from(port).unwrap_or_default()),
            _ => Err(wrong(e, "notify.email.port", "must be a port, 1 to 65535")),
        };
        let security = get(keys, "security").map(|e| choice(e, "notify.email.security", &SECURITY)).transpose()?;
        let settings = Settings {
            server: self.reader.text(needed("server")?, "notify.email.server")?,
            port: get(keys, "port").map(port).transpose()?,
            security: security.unwrap_or(Security::StartTls),
            user: self.text(keys, "user")?,
            password: get(keys, "password").map(|e| self.secret(e, "notify.email.password")).transpose()?,
            from: self.reader.text(needed("from")?, "notify.email.from")?,
            to: self.addresses(needed("to")?)?,
        };
        Email::new(settings).map_err(|e| e.at(entry.place.location()))
    }

    /// A list of addresses; one alone is a list of one.
    fn addresses(&self, entry: &Entry) -> Result<Vec<String>> {
        match &entry.value.data {
            Data::List(_) => self.texts(entry, "notify.email.to", "must be a list of addresses"),
            _ => Ok(vec![self.reader.text(entry, "notify.email.to")?]),
        }
    }

    fn words(&self, entry: &Entry) -> Result<Vec<String>> {
        let expected = "must be a list of words, like [./tell.sh, ops]";
        let words = self.texts(entry, "notify.command.run", expected)?;
        if words.is_empty() { Err(wrong(entry, "notify.command.run", expected)) } else { Ok(words) }
    }

    #[allow(clippy::unused_self, reason = "beside its siblings")]
    fn texts(&self, entry: &Entry, name: &str, expected: &str) -> Result<Vec<String>> {
        let Data::List(items) = &entry.value.data else { return Err(wrong(entry, name, expected)) };
        let text = |item: &Node| match &item.data {
            Data::Text(text) if !text.is_empty() => Ok(text.clone()),
            _ => Err(Error::config(format!("`{name}` {expected}, but holds {}", item.describe())).at(item.place.location())),
        };
        items.iter().map(text).collect()
    }

    /// `{ secret: NAME }`, and nothing else: what is written here in words would stand in the repository.
    fn secret(&self, entry: &Entry, name: &str) -> Result<Hidden> {
        let named = match entry.value.map() {
            Some([one]) if one.key == "secret" => Some(one),
            _ => None,
        };
        let Some(Data::Text(secret)) = named.map(|n| &n.value.data) else {
            // Without what stands there: it may be the secret.
            return Err(Error::config(format!("`{name}` must be {{ secret: NAME }}"))
                .at(entry.place.location())
                .hint("Say under `secrets:` where it is: `secrets: { NAME: { env: VARIABLE } }`."));
        };
        match self.secrets.get(secret) {
            Some(source) => Ok(Hidden { name: secret.clone(), source: source.clone() }),
            None => Err(Error::config(format!("`{name}`: there is no secret `{secret}`"))
                .at(entry.place.location())
                .hint_if(did_you_mean(secret, self.secrets.keys().map(String::as_str)))
                .hint(format!("Say where it is: `secrets: {{ {secret}: {{ env: VARIABLE }} }}`."))),
        }
    }
}
