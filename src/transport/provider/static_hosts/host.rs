//! A host as a config names it: `root@10.0.0.5:2222`, `bench-3`, `[::1]:22`.

use crate::base::error::{Error, Result};
use serde_json::Value;

/// What the user wrote for a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    pub user: Option<String>,
    /// An address, or a name for DNS or the ssh_config.
    pub name: String,
    pub port: Option<u16>,
}

fn bad(text: &str, why: &str) -> Error {
    Error::config(format!("\"{text}\" is not a host: {why}"))
        .hint("Hosts look like \"root@10.0.0.5:2222\" or \"[::1]:22\", or are names in the ssh_config.")
}

impl Host {
    /// Reads `[USER@]HOST[:PORT]`; an IPv6 address with a port is in brackets.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| bad(text, why);
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (name, port) = if let Some(inner) = rest.strip_prefix('[') {
            let (name, after) = inner.split_once(']').ok_or_else(|| bad("its bracket is not closed"))?;
            match after.strip_prefix(':') {
                Some(port) => (name, Some(port)),
                None if after.is_empty() => (name, None),
                None => return Err(bad("only a port can follow the bracket, as in \"[::1]:22\"")),
            }
        } else {
            match rest.split_once(':') {
                // More than one colon: an IPv6 address without brackets, and so without a port.
                Some((name, port)) if !port.contains(':') => (name, Some(port)),
                _ => (rest, None),
            }
        };
        let port = port.map(|p| {
            p.parse().ok().filter(|p| *p > 0).ok_or_else(|| bad(&format!("its port \"{p}\" is not a number from 1 to 65535")))
        });
        Self { user: user.map(str::to_owned), name: name.to_owned(), port: port.transpose()? }.checked(text)
    }

    /// Reads a text, or a map of `host`, `port` and `user`.
    pub fn from_value(value: &Value) -> Result<Self> {
        let map = match value {
            Value::String(text) => return Self::parse(text),
            Value::Object(map) => map,
            other => return Err(bad(&other.to_string(), "it is neither text nor a map")),
        };
        if let Some(key) = map.keys().find(|k| !["host", "port", "user"].contains(&k.as_str())) {
            return Err(bad(&value.to_string(), &format!("`{key}` is none of host, port and user")));
        }
        let text = map.get("host").and_then(Value::as_str).ok_or_else(|| bad(&value.to_string(), "it has no `host`"))?;
        let mut host = Self::parse(text)?;
        if let Some(port) = map.get("port") {
            host.port = Some(read_port(port)?);
        }
        if let Some(user) = map.get("user") {
            host.user = Some(user.as_str().ok_or_else(|| bad(text, "its `user` is not text"))?.to_owned());
        }
        host.checked(text)
    }

    /// Names become words on command lines (of a ProxyCommand, say): what a shell would take for its own is no name.
    fn checked(self, text: &str) -> Result<Self> {
        let check = |what: &str, part: &str| {
            let strange = |c: char| c.is_whitespace() || c.is_control() || "'`\"$\\;&<>|(){}[]#,".contains(c);
            if part.is_empty() {
                return Err(bad(text, &format!("its {what} is empty")));
            }
            if part.starts_with('-') {
                return Err(bad(text, &format!("its {what} begins with \"-\"")));
            }
            match part.chars().find(|c| strange(*c)) {
                Some(c) => Err(bad(text, &format!("its {what} has {c:?} in it"))),
                None => Ok(()),
            }
        };
        check("host", &self.name)?;
        self.user.as_deref().map_or(Ok(()), |user| check("user", user))?;
        Ok(self)
    }
}

/// A port given as a number or as text.
pub fn read_port(value: &Value) -> Result<u16> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.and_then(|n| u16::try_from(n).ok()).filter(|p| *p > 0).ok_or_else(|| {
        Error::config(format!("{value} is not a port")).hint("Ports are numbers from 1 to 65535; SSH's own is 22.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<(String, String, u16)> {
        Host::parse(text).map(|h| (h.user.unwrap_or_default(), h.name, h.port.unwrap_or_default()))
    }

    #[test]
    fn hosts_are_read_in_every_form() {
        let is = |text: &str, user: &str, name: &str, port: u16| {
            assert_eq!(read(text).unwrap(), (user.into(), name.into(), port), "{text}");
        };
        is("bench-3", "", "bench-3", 0);
        is("root@10.0.0.5:2222", "root", "10.0.0.5", 2222);
        is("me@corp@host", "me@corp", "host", 0);
        is("fe80::1", "", "fe80::1", 0);
        is("fe80::1%eth0", "", "fe80::1%eth0", 0);
        is("root@[fe80::1]:22", "root", "fe80::1", 22);
        is("[::1]", "", "::1", 0);
        is("größe.example", "", "größe.example", 0);
        let value = json!({ "host": "a:1", "port": 22, "user": "me" });
        assert_eq!(Host::from_value(&value).unwrap(), Host { user: Some("me".into()), name: "a".into(), port: Some(22) });
    }

    #[test]
    fn what_is_no_host_is_said_with_the_reason() {
        let why = |text: &str| read(text).unwrap_err().message().to_owned();
        assert_eq!(why(""), "\"\" is not a host: its host is empty");
        assert_eq!(why("u@"), "\"u@\" is not a host: its host is empty");
        assert_eq!(why("@h"), "\"@h\" is not a host: its user is empty");
        assert_eq!(why("h:"), "\"h:\" is not a host: its port \"\" is not a number from 1 to 65535");
        assert_eq!(why("h:99999"), "\"h:99999\" is not a host: its port \"99999\" is not a number from 1 to 65535");
        assert_eq!(why("[::1"), "\"[::1\" is not a host: its bracket is not closed");
        assert_eq!(why("[::1]x"), "\"[::1]x\" is not a host: only a port can follow the bracket, as in \"[::1]:22\"");
        assert_eq!(why("-oProxyCommand=x"), "\"-oProxyCommand=x\" is not a host: its host begins with \"-\"");
        assert_eq!(why("a b"), "\"a b\" is not a host: its host has ' ' in it");
        assert_eq!(why("$(reboot)@h"), "\"$(reboot)@h\" is not a host: its user has '$' in it");
        let why = |value: &Value| Host::from_value(value).unwrap_err().message().to_owned();
        assert_eq!(why(&json!(7)), "\"7\" is not a host: it is neither text nor a map");
        assert!(why(&json!({ "host": "a", "prot": 1 })).ends_with("`prot` is none of host, port and user"));
        assert_eq!(why(&json!({ "host": "a", "port": 0 })), "0 is not a port");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_every_host_is_read_back(text in "[a-z0-9@:.\\[\\]%-]{0,16}|\\PC{0,24}", parts in ("[a-z]{1,8}", "[a-z0-9.:]{1,16}", 1u16..)) {
            let _ = Host::parse(&text);
            let (user, name, port) = parts;
            let host = Host::parse(&format!("{user}@[{name}]:{port}")).unwrap();
            proptest::prop_assert_eq!(host, Host { user: Some(user), name, port: Some(port) });
        }
    }
}
