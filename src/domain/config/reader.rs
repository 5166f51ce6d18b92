//! Typed values out of the merged tree, each failure with the key as written, its place, what stands there and what should.

use super::cloud;
use super::merge::SECRET_KEYS;
use super::tree::{Data, Entry, Node, Place};
use super::{Group, SecretSource};
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::base::{suggest, units};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const GROUP: [&str; 8] = ["count", "hosts", "user", "roles", "vars", "image", "cpus", "memory"];
/// More nodes than this is a slip of the finger.
const MAX_COUNT: i64 = 10_000;

/// Where each key stands, by its dotted name, with the name as the user wrote it.
pub type Places = BTreeMap<String, (String, Place)>;

pub struct Reader<'a> {
    home: Option<&'a Path>,
    places: Places,
}

/// Returns the entry of a key that has a value.
pub fn get<'a>(map: &'a [Entry], key: &str) -> Option<&'a Entry> {
    map.iter().find(|e| e.key == key && !matches!(e.value.data, Data::Null))
}

pub fn wrong(entry: &Entry, name: &str, expected: &str) -> Error {
    Error::config(format!("`{name}` {expected}, not {}", entry.value.describe())).at(entry.value.place.location())
}

/// What a parser of base says, as an error about this key.
pub fn as_config(bad: &Error, entry: &Entry, name: &str) -> Error {
    let error = Error::config(format!("`{name}`: {}", bad.message())).at(entry.value.place.location());
    bad.details().hints.iter().fold(error, Error::hint)
}

/// Refuses every key but these. `before` is what stands before them in errors: `groups.web.`.
pub fn known(entries: &[Entry], keys: &[&str], before: &str) -> Result<()> {
    let Some(odd) = entries.iter().find(|e| !keys.contains(&e.key.as_str())) else { return Ok(()) };
    let error = Error::config(format!("unknown key `{before}{}`", odd.key)).at(odd.place.location());
    Err(error.hint_if(suggest::did_you_mean(&odd.key, keys.iter().copied())))
}

pub fn choice<T: Copy>(entry: &Entry, name: &str, known: &[(&str, T)]) -> Result<T> {
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    let Data::Text(text) = &entry.value.data else {
        return Err(wrong(entry, name, &format!("must be {}", words.join(" or "))));
    };
    if let Some((_, value)) = known.iter().find(|(word, _)| word == text) {
        return Ok(*value);
    }
    let error = wrong(entry, name, &format!("must be {}", words.join(" or ")));
    Err(match suggest::nearest(text, words) {
        Some(near) => error.hint(format!("Did you mean `{near}`?")),
        None => error,
    })
}

pub fn free_map(entry: &Entry, name: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
    match entry.value.to_json() {
        serde_json::Value::Object(map) => Ok(map),
        _ => Err(wrong(entry, name, "must be a map")),
    }
}

impl<'a> Reader<'a> {
    pub fn new(home: Option<&'a Path>) -> Self {
        Self { home, places: BTreeMap::new() }
    }

    pub fn into_places(self) -> Places {
        self.places
    }

    /// Remembers where the key stands and returns the name to call it by.
    pub fn remember(&mut self, dotted: String, entry: &Entry) -> String {
        let written = entry.written.clone().unwrap_or_else(|| dotted.clone());
        self.places.insert(dotted, (written.clone(), entry.value.place.clone()));
        written
    }

    pub fn optional<T>(
        &mut self,
        map: &[Entry],
        key: &str,
        read: impl FnOnce(&Self, &Entry, &str) -> Result<T>,
    ) -> Result<Option<T>> {
        let Some(entry) = get(map, key) else { return Ok(None) };
        let name = self.remember(key.to_owned(), entry);
        read(self, entry, &name).map(Some)
    }

    #[allow(clippy::unused_self, reason = "passed to `optional` beside `path`, which needs it")]
    pub fn text(&self, entry: &Entry, name: &str) -> Result<String> {
        match &entry.value.data {
            Data::Text(text) if !text.trim().is_empty() => Ok(text.clone()),
            Data::Text(_) => Err(Error::config(format!("`{name}` is empty")).at(entry.value.place.location())),
            Data::Int(_) | Data::Float(_) | Data::Bool(_) => Err(wrong(entry, name, "must be text")
                .hint(format!("If you mean the text, put it into quotes: \"{}\".", entry.value.raw))),
            _ => Err(wrong(entry, name, "must be text")),
        }
    }

    /// A path relative to the file that names it; `~` is the user's home.
    pub fn path(&self, entry: &Entry, name: &str) -> Result<PathBuf> {
        let text = self.text(entry, name)?;
        if text.contains('\0') {
            return Err(wrong(entry, name, "must be a path"));
        }
        if let Some(rest) = text.strip_prefix('~') {
            let rest = match rest.strip_prefix('/') {
                Some(rest) => rest,
                None if rest.is_empty() => rest,
                None => return Err(wrong(entry, name, "can only use `~/`, your own home")),
            };
            let home = self.home.ok_or_else(|| wrong(entry, name, "cannot use `~` while HOME is not set"))?;
            return Ok(home.join(rest));
        }
        Ok(entry.value.place.source.dir.join(text))
    }

    pub fn groups(&mut self, top: &[Entry]) -> Result<Vec<Group>> {
        let Some(entry) = get(top, "groups") else { return Ok(Vec::new()) };
        self.remember("groups".to_owned(), entry);
        entry.value.map().unwrap_or_default().iter().map(|e| self.group(e)).collect()
    }

    fn group(&mut self, entry: &Entry) -> Result<Group> {
        check_group_name(entry)?;
        let name = &entry.key;
        self.remember(format!("groups.{name}"), entry);
        let keys = entry.value.map().unwrap_or_default();
        let mut group = Group { name: name.clone(), ..Group::default() };
        let mut count = None;
        for key in keys.iter().filter(|e| !matches!(e.value.data, Data::Null)) {
            let label = self.remember(format!("groups.{name}.{}", key.key), key);
            match key.key.as_str() {
                "count" => count = Some((count_of(key, &label)?, label, key)),
                "hosts" => group.hosts = hosts_of(key, &label)?,
                "user" => group.user = Some(self.text(key, &label)?),
                "roles" => group.roles = roles_of(key, &label)?,
                "vars" => {
                    group.vars = free_map(key, &label)?;
                    for var in key.value.map().unwrap_or_default() {
                        self.remember(format!("groups.{name}.vars.{}", var.key), var);
                    }
                }
                "cpus" => {
                    group.options.insert(key.key.clone(), cpus_of(key, &label)?);
                }
                "memory" => {
                    let text = self.text(key, &label)?;
                    units::parse_size(&text).map_err(|bad| as_config(&bad, key, &label))?;
                    group.options.insert(key.key.clone(), text.into());
                }
                "image" => {
                    group.options.insert(key.key.clone(), self.text(key, &label)?.into());
                }
                name if cloud::GROUP.contains(&name) => {
                    group.options.insert(key.key.clone(), cloud::option(self, key, &label)?);
                }
                _ => {
                    let error = Error::config(format!("unknown key `{label}`")).at(key.place.location());
                    return Err(error.hint_if(suggest::did_you_mean(&key.key, GROUP.into_iter().chain(cloud::GROUP))));
                }
            }
        }
        let hosts = get(keys, "hosts");
        group.count = match (count, hosts) {
            (Some((count, label, key)), Some(hosts)) if count != group.hosts.len() => {
                return Err(Error::config(format!(
                    "`{label}` is {count} in {}, but `groups.{name}.hosts` in {} lists {}",
                    key.value.place,
                    hosts.value.place,
                    group.hosts.len()
                ))
                .at(key.value.place.location())
                .hint("Leave the count out: the hosts are counted."));
            }
            (Some((count, ..)), _) => count,
            (None, Some(_)) => group.hosts.len(),
            (None, None) => {
                let written = keys.first().and_then(|e| e.written.clone()).map(|w| format!(", which `{w}` speaks of,"));
                return Err(Error::config(format!("group `{name}`{} has no `count`", written.unwrap_or_default()))
                    .at(entry.place.location())
                    .hint(format!("Write `{name}_count: 1`, or `groups: {{ {name}: {{ count: 1 }} }}`.")));
            }
        };
        Ok(group)
    }

    /// Every secret the files name. Values are known to the masking from here on.
    pub fn secrets(&mut self, top: &[Entry]) -> Result<BTreeMap<String, SecretSource>> {
        let mut found = BTreeMap::new();
        for key in SECRET_KEYS {
            let Some(entry) = get(top, key) else { continue };
            self.remember(key.to_owned(), entry);
            found.insert(key.to_owned(), self.secret(entry, key)?);
        }
        let Some(entry) = get(top, "secrets") else { return Ok(found) };
        let Some(map) = entry.value.map() else {
            return Err(Error::config("`secrets` must be a map of names").at(entry.value.place.location()));
        };
        for entry in map.iter().filter(|e| !matches!(e.value.data, Data::Null)) {
            let name = format!("secrets.{}", entry.key);
            self.remember(name.clone(), entry);
            if found.insert(entry.key.clone(), self.secret(entry, &name)?).is_some() {
                return Err(Error::config(format!("`{name}` is also given as `{}`", entry.key)).at(entry.place.location()));
            }
        }
        Ok(found)
    }

    fn secret(&self, entry: &Entry, name: &str) -> Result<SecretSource> {
        let refuse = || {
            // Without what stands there: it may be the secret.
            Err(Error::config(format!("`{name}` must be text, {{env: NAME}} or {{file: PATH}}")).at(entry.value.place.location()))
        };
        match &entry.value.data {
            Data::Text(_) | Data::Int(_) | Data::Float(_) | Data::Bool(_) => {
                Ok(SecretSource::Value(Secret::new(entry.value.raw.clone())))
            }
            Data::Map(keys) => match keys.as_slice() {
                [one] if one.key == "env" => Ok(SecretSource::Env(self.text(one, &format!("{name}.env"))?)),
                [one] if one.key == "file" => Ok(SecretSource::File(self.path(one, &format!("{name}.file"))?)),
                _ => refuse(),
            },
            _ => refuse(),
        }
    }
}

fn count_of(entry: &Entry, name: &str) -> Result<usize> {
    match entry.value.data {
        Data::Int(count @ 0..=MAX_COUNT) => {
            usize::try_from(count).map_err(|_| wrong(entry, name, "must be a whole number, 0 or more"))
        }
        Data::Int(count) if count > MAX_COUNT => Err(wrong(entry, name, &format!("must be at most {MAX_COUNT}"))),
        _ => Err(wrong(entry, name, "must be a whole number, 0 or more")),
    }
}

fn cpus_of(entry: &Entry, name: &str) -> Result<serde_json::Value> {
    match entry.value.data {
        Data::Int(_) | Data::Float(_) if entry.value.to_json().as_f64().is_some_and(|cpus| (0.01..=10_000.0).contains(&cpus)) => {
            Ok(entry.value.to_json())
        }
        _ => Err(wrong(entry, name, "must be a number of processors above 0, such as 1.5")),
    }
}

fn hosts_of(entry: &Entry, name: &str) -> Result<Vec<String>> {
    let expected = "must be a list of hosts, each like \"user@address:port\" or a name from ssh_config";
    let Data::List(items) = &entry.value.data else { return Err(wrong(entry, name, expected)) };
    let host = |node: &Node| match &node.data {
        Data::Text(text)
            if !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control()) && !text.starts_with('-') =>
        {
            Ok(text.clone())
        }
        _ => Err(Error::config(format!("`{name}` {expected}, but holds {}", node.describe())).at(node.place.location())),
    };
    items.iter().map(host).collect()
}

/// Whether there are such roles is known when they are deployed.
pub fn roles_of(entry: &Entry, name: &str) -> Result<Vec<String>> {
    let expected = "must be a list of roles, like [base, nginx]";
    let Data::List(items) = &entry.value.data else { return Err(wrong(entry, name, expected)) };
    let mut roles: Vec<String> = Vec::new();
    for item in items {
        let complain = |why: String| Err(Error::config(format!("`{name}` {why}")).at(item.place.location()));
        match &item.data {
            Data::Text(role) if roles.contains(role) => return complain(format!("lists {role} twice")),
            Data::Text(role) => roles.push(role.clone()),
            _ => return complain(format!("{expected}, but holds {}", item.describe())),
        }
    }
    Ok(roles)
}

pub fn check_group_name(entry: &Entry) -> Result<()> {
    let name = &entry.key;
    let written = entry.value.map().and_then(|m| m.first()).and_then(|e| e.written.clone());
    let bad = |why: &str| {
        let from = written.as_ref().map(|w| format!(" (from `{w}`)")).unwrap_or_default();
        Err(Error::config(format!("\"{}\"{from} cannot be the name of a group: {why}", name.escape_debug()))
            .at(entry.place.location()))
    };
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return bad("it must begin with a small letter");
    }
    if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-') {
        return bad("it may hold only small letters, digits, `_` and `-`");
    }
    if name.len() > 40 {
        return bad("it is longer than 40 letters");
    }
    if name.rsplit_once('-').is_some_and(|(_, end)| !end.is_empty() && end.chars().all(|c| c.is_ascii_digit())) {
        return bad("nodes are named `group-number`, so it would look like a node");
    }
    Ok(())
}
