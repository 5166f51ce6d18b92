//! Tags: by the UUID all that belongs to a deployment is found, and by the others a node is known without any file of ours.

use super::super::Site;
use super::settings::Settings;
use crate::base::host;
use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Marks everything that belongs to a deployment.
pub const UUID: &str = "opsrun:uuid";
/// The launch an instance came from: the same for all instances of one request.
pub const LAUNCH: &str = "opsrun:launch";
/// The indexes of the launch's nodes, in launch order: `0-2,5`.
pub const NODES: &str = "opsrun:nodes";
/// Of the user data it was started with.
pub const USER_DATA: &str = "opsrun:user-data";
/// What disks it was started with.
pub const VOLUMES: &str = "opsrun:volumes";
/// Where the deployment's folder is: `host:/path`. Only for who looks after what is left behind.
pub const HOME: &str = "opsrun:home";
/// When the deployment was made.
pub const CREATED: &str = "opsrun:created";
/// What becomes of a machine that turns itself off, which it does at the deployment's expiry.
pub const AT_EXPIRY: &str = "opsrun:at-expiry";
pub const TERMINATE: &str = "terminate";
pub const STOP: &str = "stop";
/// The values that say nothing.
const NOT_KEPT: &str = "false";
const NEVER: &str = "never";
pub const PROFILE: &str = "opsrun:profile";
/// The public host key that it was given for the first contact.
pub const FIRST_KEY: &str = "opsrun:first-host-key";
/// Its own public host key, once it has shown it.
pub const HOST_KEY: &str = "opsrun:host-key";
/// The name of the login user, for who finds the deployment by its tags alone.
pub const USER: &str = "opsrun:user";

/// What an instance carries of its launch alone.
pub const OF_LAUNCH: [&str; 7] = [LAUNCH, NODES, USER_DATA, VOLUMES, PROFILE, USER, FIRST_KEY];

pub type Tags = BTreeMap<String, String>;

/// What everything of the deployment carries.
pub fn shared(site: &Site, settings: &Settings) -> Tags {
    let mut tags = Tags::new();
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            tags.insert(key.to_owned(), value);
        }
    };
    set("Deployment", Some(site.deployment.clone()));
    set(UUID, Some(site.uuid.to_string()));
    set("Owner", settings.owner.clone());
    set("keep", settings.keep.clone());
    set(HOME, Some(home(&site.dir)));
    set(CREATED, settings.created.map(time));
    set("expires-at", settings.expires_at.map(time));
    tags
}

/// The tags that differ from what is wanted. What the config no longer says is taken back: `gc` goes by it.
pub fn stale(have: &Tags, wanted: &Tags) -> Tags {
    let differs = |(k, v): &(&String, &String)| *k != HOME && have.get(*k) != Some(*v);
    let mut stale: Tags = wanted.iter().filter(differs).map(|(k, v)| (k.clone(), v.clone())).collect();
    for (key, none) in [("keep", NOT_KEPT), ("expires-at", NEVER)] {
        if have.get(key).is_some_and(|is| is != none) && !wanted.contains_key(key) {
            stale.insert(key.to_owned(), none.to_owned());
        }
    }
    stale
}

/// A folder of this host, as a tag says it.
pub fn home(dir: &Path) -> String {
    const LONGEST: usize = 256;
    format!("{}:{}", host::name(), dir.display()).chars().take(LONGEST).collect()
}

/// The folder that such a tag names, when it is one of this host.
pub fn folder_here(home: &str) -> Option<PathBuf> {
    home.strip_prefix(&host::name())?.strip_prefix(':').map(PathBuf::from)
}

/// Whether the tag `keep` with this value keeps anything.
pub fn keeps(value: &str) -> bool {
    !["", NOT_KEPT, "no"].contains(&value.to_ascii_lowercase().as_str())
}

/// The same with a name of its own.
pub fn named(site: &Site, settings: &Settings, name: &str) -> Tags {
    let mut tags = shared(site, settings);
    tags.insert("Name".to_owned(), name.to_owned());
    tags
}

pub fn list(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

pub fn specification(kind: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).set_tags(Some(list(tags))).build()
}

pub fn map(tags: &[Tag]) -> Tags {
    tags.iter().filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned()))).collect()
}

pub fn filter(name: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().map(Into::into).collect())).build()
}

/// A time as tags have it.
pub fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// All that carries the deployment's UUID.
pub fn of(site: &Site) -> Filter {
    filter(&format!("tag:{UUID}"), [site.uuid.to_string()])
}

/// `[0, 1, 2, 5]` as `0-2,5`: a tag holds 256 letters.
pub fn ranges(indexes: &[usize]) -> String {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for index in indexes {
        match out.last_mut() {
            Some((_, end)) if *end + 1 == *index => *end = *index,
            _ => out.push((*index, *index)),
        }
    }
    let show = |(a, b): &(usize, usize)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    out.iter().map(show).collect::<Vec<_>>().join(",")
}

/// The other way round; what makes no sense is left out.
pub fn indexes(text: &str) -> Vec<usize> {
    let part = |part: &str| -> Option<std::ops::RangeInclusive<usize>> {
        let (a, b) = part.split_once('-').unwrap_or((part, part));
        let (a, b): (usize, usize) = (a.parse().ok()?, b.parse().ok()?);
        (b.saturating_sub(a) <= 10_000).then_some(a..=b)
    };
    text.split(',').filter_map(part).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_config_no_longer_says_is_taken_back() {
        let tags = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Tags>();
        let have = tags(&[("Owner", "a"), ("keep", "true"), ("expires-at", "2026-01-01T00:00:00Z"), ("Mine", "x")]);
        let stale = stale(&have, &tags(&[("Owner", "b")]));
        assert_eq!(stale, tags(&[("Owner", "b"), ("keep", "false"), ("expires-at", "never")]));
        assert!(super::stale(&stale, &tags(&[("Owner", "b")])).is_empty());
        assert!(keeps("until friday") && keeps("true") && !keeps("False") && !keeps(""));
    }

    #[test]
    fn ranges_go_both_ways() {
        for (list, text) in [(vec![0, 1, 2, 5], "0-2,5"), (vec![7], "7"), (vec![3, 4, 9, 10], "3-4,9-10"), (vec![], "")] {
            assert_eq!(ranges(&list), text);
            assert_eq!(indexes(text), list);
        }
        assert_eq!(indexes("x,2,9-99999999999"), [2]);
    }
}
