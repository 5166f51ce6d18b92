//! Several files as one tree: flat keys become nested ones, and what is said twice must be said alike.

use super::tree::{Data, Entry, Node, Place, Source, parse};
use crate::base::error::{Error, Result};
use crate::base::suggest;
use std::sync::Arc;

/// What a flat key may end in: `server_count` means `groups.server.count`.
pub const FLAT: [&str; 12] = [
    "count",
    "instance_type",
    "ami",
    "user",
    "state",
    "image",
    "cpus",
    "memory",
    "spot",
    "volume_type",
    "volume_size",
    "stateful",
];
/// The groups of the labs that flat keys come from.
const LAB_GROUPS: [&str; 3] = ["server", "client", "monitor"];
/// Keys whose values no message may show.
pub const SECRET_KEYS: [&str; 2] = ["access_key", "secret_key"];

/// Merges the files into one tree. The result, and any error, is the same in whatever order they come.
pub fn merge(sources: Vec<Source>) -> Result<Node> {
    let mut sources: Vec<Arc<Source>> = sources.into_iter().map(Arc::new).collect();
    sources.sort_by(|a, b| (&a.name, &a.text).cmp(&(&b.name, &b.text)));
    let mut whole: Option<Node> = None;
    for source in &sources {
        let tree = nest(parse(source)?)?;
        whole = Some(match whole {
            None => tree,
            Some(before) => join(before, tree, "")?,
        });
    }
    whole.ok_or_else(|| Error::usage("no configuration file is given").hint("Name at least one, such as configs/local.yml."))
}

/// Splits `server_count` into `server` and `count`.
pub fn split_flat(key: &str) -> Option<(&str, &'static str)> {
    FLAT.into_iter().find_map(|suffix| {
        let group = key.strip_suffix(suffix)?.strip_suffix('_')?;
        (!group.is_empty()).then_some((group, suffix))
    })
}

/// Rewrites flat keys as nested ones, so that both forms merge, clash and are read alike.
fn nest(file: Node) -> Result<Node> {
    let Data::Map(entries) = file.data else { return Ok(file) };
    let (flat, plain): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|e| split_flat(&e.key).is_some());
    if let Some(groups) = plain.iter().find(|e| e.key == "groups")
        && let Some(wrong) = std::iter::once(&groups.value)
            .chain(groups.value.map().into_iter().flatten().map(|e| &e.value))
            .find(|node| !matches!(node.data, Data::Map(_) | Data::Null))
    {
        let what = if std::ptr::eq(wrong, &raw const groups.value) {
            "`groups` must be a map of group names"
        } else {
            "a group must be a map"
        };
        return Err(Error::config(format!("{what}, not {}", wrong.describe()))
            .at(wrong.place.location())
            .hint("Groups look like `groups: { server: { count: 3 } }`, or `server_count: 3`."));
    }
    let mut tree = Node { data: Data::Map(plain), ..file };
    for entry in flat {
        let Some((group, suffix)) = split_flat(&entry.key) else { continue };
        refuse_misspelt(group, suffix, &entry)?;
        let place = entry.place.clone();
        let leaf = Entry { key: suffix.to_owned(), place: place.clone(), written: Some(entry.key.clone()), value: entry.value };
        let nested = wrap("groups", &place, wrap(group, &place, single(leaf)));
        tree = join(tree, nested, "")?;
    }
    Ok(tree)
}

/// A flat key makes a group of any name, so a slip in a lab's usual one would go unnoticed and cost machines.
fn refuse_misspelt(group: &str, suffix: &str, entry: &Entry) -> Result<()> {
    let Some(meant) = suggest::nearest(group, LAB_GROUPS) else { return Ok(()) };
    Err(Error::config(format!("unknown key `{}`", entry.key))
        .at(entry.place.location())
        .hint(format!("Did you mean `{meant}_{suffix}`?"))
        .hint(format!("For a group that really is called {group}, write `groups: {{ {group}: {{ {suffix}: … }} }}`.")))
}

fn single(entry: Entry) -> Node {
    Node { place: entry.place.clone(), raw: String::new(), plain: false, data: Data::Map(vec![entry]) }
}

fn wrap(key: &str, place: &Place, value: Node) -> Node {
    single(Entry { key: key.to_owned(), place: place.clone(), written: None, value })
}

/// Joins two trees: maps deeply, all else must be equal. Nothing (`key:`) yields to anything.
fn join(a: Node, b: Node, path: &str) -> Result<Node> {
    let (mut ours, theirs, place) = match (a.data, b.data) {
        (Data::Map(ours), Data::Map(theirs)) => (ours, theirs, a.place),
        (a_data, b_data) => {
            return Ok(if matches!(a_data, Data::Null) { Node { data: b_data, ..b } } else { Node { data: a_data, ..a } });
        }
    };
    for entry in theirs {
        let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        let Some(at) = ours.iter().position(|e| e.key == entry.key) else {
            ours.push(entry);
            continue;
        };
        let old = ours.swap_remove(at);
        let both_maps = matches!((&old.value.data, &entry.value.data), (Data::Map(_), Data::Map(_)));
        let one_empty = matches!(old.value.data, Data::Null) || matches!(entry.value.data, Data::Null);
        if !both_maps && !one_empty && old.value != entry.value {
            return Err(clash(&old, &entry, &path));
        }
        let keep_new = matches!(old.value.data, Data::Null);
        let (key_place, written) = if keep_new { (entry.place, entry.written) } else { (old.place, old.written) };
        let joined = Entry { key: entry.key, place: key_place, written, value: join(old.value, entry.value, &path)? };
        // Back where it was: the order of keys is the order of groups.
        ours.push(joined);
        let last = ours.len() - 1;
        ours.swap(at, last);
    }
    Ok(Node { data: Data::Map(ours), raw: String::new(), plain: false, place })
}

fn clash(a: &Entry, b: &Entry, path: &str) -> Error {
    let (mut a, mut b) = (a, b);
    if (&b.place.source.name, b.place.line) < (&a.place.source.name, a.place.line) {
        std::mem::swap(&mut a, &mut b);
    }
    let name = |e: &Entry| e.written.clone().unwrap_or_else(|| path.to_owned());
    let secret = path == "secrets" || path.starts_with("secrets.") || SECRET_KEYS.contains(&path);
    let value = |e: &Entry| if secret { "one value".to_owned() } else { e.value.describe() };
    let other = |e: &Entry| if secret { "another".to_owned() } else { e.value.describe() };
    let message = if name(a) == name(b) {
        format!("`{}` is set twice: to {} in {}, and to {} in {}", name(a), value(a), a.place, other(b), b.place)
    } else {
        format!(
            "`{}` is {} in {}, but `{}`, which means the same, is {} in {}",
            name(a),
            value(a),
            a.place,
            name(b),
            other(b),
            b.place
        )
    };
    Error::config(message)
        .at(b.value.place.location())
        .hint("Keep one of the two: files given together must agree, whatever their order.")
}
