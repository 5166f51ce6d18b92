//! User data: what the user gives a machine to begin with, joined with what opsrun needs there itself.
//!
//! Parts of ours are parts of a MIME message, as cloud-init takes them, after the user's own: cloud-init joins cloud-configs in
//! their order, and of keys that two of them have the later one holds. Without parts of ours the user's data goes as it is.

use crate::base::checksum::sha256;
use crate::base::error::{Error, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{Read, Write};

/// What AWS takes, before it is encoded.
pub const LIMIT: usize = 16 << 10;
/// More than this is no user data, however small it was packed.
const UNPACKED_LIMIT: u64 = 1 << 20;
/// cloud-init looks this far for the word that makes it a MIME message.
const MIME_WITHIN: usize = 4096;
const MIME: &str = "mime-version:";
/// What cloud-init knows a text by.
const BEGINNINGS: [&str; 8] = [
    "#!",
    "#cloud-config",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "#upstart-job",
    "#cloud-config-archive",
];

/// As the user wrote it: a script, a cloud-config, anything. It may hold secrets, so nothing shows it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UserData(Vec<u8>);

impl std::fmt::Debug for UserData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserData({})", self.digest())
    }
}

/// A part of opsrun's own.
#[derive(Clone)]
pub struct Part {
    /// `opsrun-host-key`
    pub name: &'static str,
    /// `text/cloud-config`, `text/x-shellscript`, …
    pub kind: &'static str,
    /// Plain ASCII.
    pub text: String,
}

/// What a machine is given, as AWS gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// All of its digest: what stands for it where it may not be shown.
    pub fn digest(&self) -> String {
        sha256(&self.0)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({})", self.digest())
    }
}

impl UserData {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A short name for it, to see whether it changed. Parts of ours are not in it.
    pub fn digest(&self) -> String {
        sha256(&self.0)[..16].to_owned()
    }

    /// What cloud-init makes of it: unpacked, when it is packed.
    fn unpacked(&self) -> Option<Vec<u8>> {
        if !is_packed(&self.0) {
            return Some(self.0.clone());
        }
        let mut out = Vec::new();
        GzDecoder::new(self.0.as_slice()).take(UNPACKED_LIMIT).read_to_end(&mut out).ok()?;
        Some(out)
    }

    /// Whether a cloud-config in it seems to set this key at its top.
    pub fn sets(&self, key: &str) -> bool {
        let text = self.unpacked().unwrap_or_default();
        String::from_utf8_lossy(&text).lines().any(|l| l.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':')))
    }

    /// Joined with these parts. `group` is for the error of one that is too large, or that nothing can be joined with.
    pub fn with(&self, parts: &[Part], group: &str) -> Result<Body> {
        let whole = match self.0.is_empty() && parts.is_empty() {
            true => Vec::new(),
            false if parts.is_empty() => self.0.clone(),
            false => self.message(parts, group)?,
        };
        if whole.len() <= LIMIT {
            return Ok(Body(whole));
        }
        // cloud-init unpacks it; to others a packed text would be nonsense.
        let packed = if is_packed(&whole) || !is_understood(&whole) { whole.clone() } else { pack(&whole) };
        if packed.len() <= LIMIT {
            return Ok(Body(packed));
        }
        Err(self.too_large(parts, packed.len(), group))
    }

    fn too_large(&self, parts: &[Part], size: usize, group: &str) -> Error {
        let ours = if parts.is_empty() { "" } else { ", with what opsrun adds" };
        let packed = if is_packed(&self.0) { "" } else { " even when packed" };
        Error::config(format!("the user data of group {group} is too large{packed}: {size} bytes{ours}; AWS takes {LIMIT}"))
            .hint("Let a short script fetch the rest, or copy it to the nodes once they are up: `put` in a script.")
    }

    fn message(&self, parts: &[Part], group: &str) -> Result<Vec<u8>> {
        let own = self.unpacked().filter(|own| own.is_empty() || is_understood(own));
        let Some(own) = own else {
            let what = parts.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
            return Err(Error::config(format!(
                "the user data of group {group} is nothing that cloud-init reads, so opsrun cannot add its own part to it ({what})"
            ))
            .hint("It must begin with #!, #cloud-config or another of cloud-init's words, or be a MIME message, or either packed by gzip.")
            .hint("If the image has no cloud-init, say so: `host_keys: console` or `host_keys: pin`, and no `expires_action`."));
        };
        let all = parts.iter().fold(own.clone(), |all, part| [all.as_slice(), part.text.as_bytes()].concat());
        let boundary = format!("opsrun-{}", &sha256(all)[..32]);
        let mut out = format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n\n").into_bytes();
        if !own.is_empty() {
            out.extend(format!("--{boundary}\n").bytes());
            out.extend(user_part(&own));
        }
        for Part { name, kind, text } in parts {
            let head =
                format!("Content-Type: {kind}; charset=\"us-ascii\"\nContent-Disposition: attachment; filename=\"{name}\"");
            out.extend(format!("--{boundary}\n{head}\n\n{text}\n").bytes());
        }
        out.extend(format!("--{boundary}--\n").bytes());
        Ok(out)
    }
}

/// The user's own as one part. A MIME message is one by its own header; of anything else cloud-init finds out what it is.
fn user_part(own: &[u8]) -> Vec<u8> {
    if is_mime(own) {
        return [own, b"\n"].concat();
    }
    let head = "Content-Type: text/plain; charset=\"utf-8\"\nContent-Disposition: attachment; filename=\"user-data\"\n";
    if own.is_ascii() {
        return [head.as_bytes(), b"\n", own, b"\n"].concat();
    }
    // Its parser takes letters beyond ASCII only in this form.
    let encoded = BASE64_STANDARD.encode(own);
    let lines: Vec<&[u8]> = encoded.as_bytes().chunks(76).collect();
    [format!("{head}Content-Transfer-Encoding: base64\n\n").as_bytes(), &lines.join(&b'\n'), b"\n"].concat()
}

fn is_packed(data: &[u8]) -> bool {
    data.starts_with(&[0x1f, 0x8b])
}

fn is_mime(data: &[u8]) -> bool {
    let start = &data[..data.len().min(MIME_WITHIN)];
    String::from_utf8_lossy(start).to_ascii_lowercase().contains(MIME)
}

/// Whether cloud-init knows what to do with it.
fn is_understood(data: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&data[..data.len().min(MIME_WITHIN)]).to_ascii_lowercase();
    is_mime(data) || BEGINNINGS.iter().any(|word| start.trim_start().starts_with(word))
}

fn pack(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory cannot fail.
    let packed = encoder.write_all(data).and_then(|()| encoder.finish());
    packed.unwrap_or_else(|_| data.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> Part {
        Part { name: "opsrun-test", kind: "text/cloud-config", text: "#cloud-config\nx: 1\n".to_owned() }
    }

    fn with(own: &[u8], parts: &[Part]) -> Result<String> {
        UserData::new(own.to_vec()).with(parts, "server").map(|body| String::from_utf8_lossy(&body.0).into_owned())
    }

    #[test]
    fn without_parts_of_ours_it_goes_as_it_is() {
        for own in [&b""[..], b"#!/bin/sh\necho hi", b"\x00\xff binary", &pack(b"#!/bin/sh\n")] {
            assert_eq!(UserData::new(own.to_vec()).with(&[], "server").unwrap().0, own);
        }
    }

    #[test]
    fn parts_are_joined_after_the_users_own() {
        let text = with(b"#cloud-config\npackages: [jq]\n", &[part()]).unwrap();
        let (mine, ours) = (text.find("packages: [jq]").unwrap(), text.find("x: 1").unwrap());
        assert!(text.starts_with("MIME-Version: 1.0\n") && mine < ours, "{text}");
        assert_eq!(with(&pack(b"#cloud-config\npackages: [jq]\n"), &[part()]).unwrap(), text);
        assert!(with("#!/bin/sh\necho ä".as_bytes(), &[part()]).unwrap().contains("base64"));
        let mime = b"Content-Type: multipart/mixed; boundary=\"b\"\nMIME-Version: 1.0\n\n--b\n\n#!/bin/sh\n--b--\n";
        assert!(with(mime, &[part()]).unwrap().contains(std::str::from_utf8(mime).unwrap()));
        assert!(!with(b"", &[part()]).unwrap().contains("user-data"));
    }

    #[test]
    fn what_cloud_init_does_not_read_takes_no_part_of_ours() {
        for own in [&b"\x00\xff binary"[..], b"key=value\n", &pack(b"\x00\x01")] {
            let error = with(own, &[part()]).unwrap_err();
            assert!(error.message().contains("nothing that cloud-init reads") && error.message().contains("server"), "{error}");
        }
    }

    #[test]
    fn what_is_too_large_is_packed_where_that_helps() {
        let script = format!("#!/bin/sh\n{}", "echo the same again\n".repeat(1000));
        let body = UserData::new(script.clone().into_bytes()).with(&[part()], "server").unwrap();
        assert!(is_packed(&body.0) && body.0.len() < LIMIT);
        let noise: String = (0..20_000_u32).map(|n| sha256(n.to_be_bytes())[..4].to_owned()).collect();
        for parts in [&[][..], &[part()]] {
            let error = with(format!("#!/bin/sh\n# {noise}").as_bytes(), parts).unwrap_err();
            assert!(error.message().contains("too large") && error.message().contains("16384"), "{error}");
        }
        // Nobody would unpack this.
        assert!(with("a".repeat(LIMIT + 1).as_bytes(), &[]).is_err());
    }

    #[test]
    fn keys_of_a_cloud_config_are_seen() {
        let data = |text: &[u8]| UserData::new(text.to_vec());
        assert!(data(b"#cloud-config\nssh_keys:\n  x: y\n").sets("ssh_keys"));
        assert!(data(&pack(b"#cloud-config\nssh_keys :\n")).sets("ssh_keys"));
        assert!(!data(b"#cloud-config\nssh_keys_x: 1\n# ssh_keys:\n").sets("ssh_keys"));
    }

    #[test]
    fn it_is_never_shown() {
        let data = UserData::new(b"#!/bin/sh\nsecret\n".to_vec());
        assert!(!format!("{data:?} {:?}", data.with(&[], "x").unwrap()).contains("secret"));
    }
}
