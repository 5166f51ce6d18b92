//! The files of an environment.

use super::{Environment, Group, machines};
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::suggest::did_you_mean;
use crate::base::units;
use crate::domain::config::reader::{Reader, as_config, check_group_name, free_map, get, known, roles_of, wrong};
use crate::domain::config::tree::{self, Data, Entry, Node, Place};
use crate::domain::config::{Source, cloud};
use crate::domain::{notify, role};
use crate::transport::provider::aws::images::Choice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const TOP: [&str; 15] = [
    "app",
    "env",
    "region",
    "stack",
    "protected",
    "formations",
    "parameters",
    "variables",
    "groups",
    "bucket",
    "role_arn",
    "stack_policy",
    "secrets",
    "notify",
    "health",
];
const GROUP: [&str; 7] = ["instance_type", "min", "max", "image", "user", "roles", "variables"];

/// How long machines may take until they are healthy.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(600);

const FOLDER: &str = "environments";
/// What all environments share.
const COMMON: &str = "common";

/// The environments of a project, sorted.
pub fn names(project: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(project.join(FOLDER)).into_iter().flatten().flatten();
    let files = entries.filter_map(|e| e.file_name().into_string().ok());
    let mut names: Vec<String> = files.filter_map(|f| f.strip_suffix(".yml").map(str::to_owned)).collect();
    names.retain(|n| n != COMMON);
    names.sort();
    names
}

/// Writes the files of a first environment, with comments. Those that are there stay as they are. Returns what was written.
pub fn init(project: &Path, name: &str) -> Result<Vec<PathBuf>> {
    check_name(name)?;
    let folder = project.join(FOLDER);
    std::fs::create_dir_all(&folder).at("make", &folder)?;
    let own = include_str!("example.yml").replace("NAME", name);
    let mut written = Vec::new();
    for (file, text) in [(COMMON, include_str!("common.yml")), (name, own.as_str())] {
        let path = folder.join(format!("{file}.yml"));
        let mut new = tempfile::NamedTempFile::new_in(&folder).at("write in", &folder)?;
        std::io::Write::write_all(&mut new, text.as_bytes()).at("write", &path)?;
        match new.persist_noclobber(&path) {
            Ok(_) => written.push(path),
            Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e.error).at("write", &path),
        }
    }
    Ok(written)
}

fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(good) && name.len() <= 32 && name != COMMON {
        return Ok(());
    }
    Err(Error::usage(format!("\"{}\" cannot be the name of an environment", name.escape_debug()))
        .hint("A name begins with a small letter and holds only small letters, digits and `-`; `common` is for what all share."))
}

/// `environments/staging.yml`
pub(super) fn own_file(name: &str) -> String {
    format!("{FOLDER}/{name}.yml")
}

/// Keys that an environment must have and its files do not say, each with what to ask for.
pub(super) fn missing(project: &Path, name: &str) -> Result<Vec<(&'static str, &'static str)>> {
    let (tree, _) = merged(project, name)?;
    let top = tree.map().unwrap_or_default();
    let mut missing = Vec::new();
    for (key, question) in [
        ("app", "What is the application called?"),
        ("region", "Which AWS region is it in?"),
        ("formations", "Which formations make it up, such as network, security, balancer, web?"),
    ] {
        if get(top, key).is_none() && (key != "region" || !region_elsewhere()) {
            missing.push((key, question));
        }
    }
    Ok(missing)
}

/// Whether the user's AWS settings may say a region.
fn region_elsewhere() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let config = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".aws/config"));
    set("AWS_REGION") || set("AWS_DEFAULT_REGION") || set("AWS_CONFIG_FILE") || config.is_some_and(|c| c.exists())
}

pub fn load(project: &Path, name: &str) -> Result<Environment> {
    let (tree, files) = merged(project, name)?;
    let environment = environment(project, name, &tree, files)?;
    alone(&environment)?;
    Ok(environment)
}

/// Two environments that say the same stack would destroy each other's.
fn alone(environment: &Environment) -> Result<()> {
    let mine = (environment.stack.as_str(), &environment.region);
    for other in names(&environment.project).iter().filter(|n| **n != environment.name) {
        // What cannot be read is told to whoever asks for it.
        let Ok((tree, files)) = merged(&environment.project, other) else { continue };
        let Ok(read) = self::environment(&environment.project, other, &tree, files) else { continue };
        if (read.stack.as_str(), &read.region) == mine {
            let (own, its) = (own_file(&environment.name), own_file(other));
            let message = format!("{own} and {its} are about the same stack, {}", read.stack);
            return Err(Error::config(message).hint("Give one of them an `env:` of its own (or a `stack:`, or another region)."));
        }
    }
    Ok(())
}

/// Its file over what all share, and the names of the two.
fn merged(project: &Path, name: &str) -> Result<(Node, Vec<String>)> {
    check_name(name)?;
    let file = own_file;
    let Some(own) = read(project, &file(name))? else {
        let error = Error::new(Kind::NotFound, format!("there is no environment \"{name}\""));
        let names = names(project);
        return Err(error
            .hint_if(did_you_mean(name, names.iter().map(String::as_str)))
            .hint(format!("It would be {}; `opsrun manage {name} init` writes an example.", project.join(file(name)).display()))
            .exit_with(2));
    };
    let mut files = vec![file(name)];
    let tree = match read(project, &file(COMMON))? {
        None => own,
        Some(common) => {
            files.insert(0, file(COMMON));
            over(common, own)
        }
    };
    Ok((tree, files))
}

fn read(project: &Path, name: &str) -> Result<Option<Node>> {
    let path = project.join(name);
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.at("read", &path)?,
    };
    let dir = path.parent().unwrap_or(project).to_owned();
    tree::parse(&Arc::new(Source { name: name.to_owned(), dir, text })).map(Some)
}

/// What stands in `own` goes before the same key of `common`; maps are joined at every depth.
fn over(common: Node, own: Node) -> Node {
    match (common.data, own.data) {
        (Data::Map(mut ours), Data::Map(theirs)) => {
            for entry in theirs {
                match ours.iter_mut().find(|o| o.key == entry.key) {
                    None => ours.push(entry),
                    Some(known) => {
                        let before = known.value.clone();
                        *known = Entry { value: over(before, entry.value), ..entry };
                    }
                }
            }
            Node { data: Data::Map(ours), place: own.place, ..common }
        }
        (_, data) => Node { data, ..own },
    }
}

fn environment(project: &Path, name: &str, tree: &Node, files: Vec<String>) -> Result<Environment> {
    let top = tree.map().unwrap_or_default();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let mut reader = Reader::new(home.as_deref());
    let secrets = reader.secrets(top)?;
    known(top, &[TOP.as_slice(), &machines::KEYS].concat(), "")?;
    let text = |reader: &mut Reader, key| reader.optional(top, key, Reader::text);
    let missing = |key: &str, hint: &str| {
        Error::config(format!("environment {name} has no `{key}`")).hint(format!("Write it into {}: {hint}", files.join(" or ")))
    };
    let app = text(&mut reader, "app")?.ok_or_else(|| missing("app", "`app: shop`."))?;
    let env = text(&mut reader, "env")?.unwrap_or_else(|| name.to_owned());
    let formations = formations(top)?.ok_or_else(|| missing("formations", "`formations: [network, web]`."))?;
    let groups = get(top, "groups").map(|entry| groups(&reader, entry)).transpose()?.unwrap_or_default();
    let protected = match get(top, "protected").map(|e| (e, &e.value.data)) {
        None => false,
        Some((_, Data::Bool(yes))) => *yes,
        Some((entry, _)) => return Err(wrong(entry, "protected", "must be true or false")),
    };
    let environment = Environment {
        name: name.to_owned(),
        stack: text(&mut reader, "stack")?.unwrap_or_else(|| format!("{app}-{env}")),
        region: text(&mut reader, "region")?,
        bucket: text(&mut reader, "bucket")?,
        role_arn: text(&mut reader, "role_arn")?,
        stack_policy: reader.optional(top, "stack_policy", Reader::path)?,
        variables: get(top, "variables").map(|e| free_map(e, "variables")).transpose()?.unwrap_or_default(),
        parameters: match get(top, "parameters") {
            None => Vec::new(),
            Some(entry) => entry.value.map().ok_or_else(|| wrong(entry, "parameters", "must be a map of names"))?.to_vec(),
        },
        notify: get(top, "notify").map(|e| notify::read(e, &reader, &secrets, project)).transpose()?.unwrap_or_default(),
        health_timeout: get(top, "health").map(|e| health(&reader, e)).transpose()?.unwrap_or(HEALTH_TIMEOUT),
        machines: top.iter().filter(|e| machines::KEYS.contains(&e.key.as_str()) || e.key == "secrets").cloned().collect(),
        project: project.to_owned(),
        app,
        env,
        protected,
        roles_problem: check_roles(project, &groups, get(top, "groups")),
        formations,
        groups,
        secrets,
        files,
    };
    check_stack(&environment, top)?;
    environment.config("groups: {}")?;
    Ok(environment)
}

/// A stack's name is part of many others: AWS is strict about it.
fn check_stack(environment: &Environment, top: &[Entry]) -> Result<()> {
    let stack = &environment.stack;
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if stack.starts_with(|c: char| c.is_ascii_alphabetic()) && stack.chars().all(good) && stack.len() <= 128 {
        return Ok(());
    }
    let error = Error::config(format!("\"{stack}\" cannot be the name of a stack"))
        .hint("AWS wants a letter first, then letters, digits and `-`; it is `<app>-<env>`, or what `stack:` says.");
    let place = ["stack", "app"].iter().find_map(|key| get(top, key)).map(|e| e.value.place.location());
    Err(match place {
        Some(place) => error.at(place),
        None => error,
    })
}

fn formations(top: &[Entry]) -> Result<Option<Vec<(String, Place)>>> {
    let Some(entry) = get(top, "formations") else { return Ok(None) };
    let expected = "must be a list of names or files, like [network, formations/own.yml]";
    let Data::List(items) = &entry.value.data else { return Err(wrong(entry, "formations", expected)) };
    let one = |node: &Node| match &node.data {
        Data::Text(text) => Ok((text.clone(), node.place.clone())),
        _ => Err(wrong(entry, "formations", expected)),
    };
    items.iter().map(one).collect::<Result<_>>().map(Some)
}

fn groups(reader: &Reader, entry: &Entry) -> Result<Vec<Group>> {
    let Some(entries) = entry.value.map() else { return Err(wrong(entry, "groups", "must be a map of group names")) };
    entries.iter().map(|entry| group(reader, entry)).collect()
}

fn health(reader: &Reader, entry: &Entry) -> Result<Duration> {
    let Some(keys) = entry.value.map() else { return Err(wrong(entry, "health", "must be a map, like { timeout: 10m }")) };
    known(keys, &["timeout"], "health.")?;
    let Some(entry) = get(keys, "timeout") else { return Ok(HEALTH_TIMEOUT) };
    let text = reader.text(entry, "health.timeout")?;
    units::parse_duration(&text).map_err(|bad| as_config(&bad, entry, "health.timeout"))
}

fn group(reader: &Reader, entry: &Entry) -> Result<Group> {
    check_group_name(entry)?;
    let Some(keys) = entry.value.map() else { return Err(wrong(entry, &entry.key, "must be a map")) };
    known(keys, &GROUP, &format!("groups.{}.", entry.key))?;
    let label = |key: &str| format!("groups.{}.{key}", entry.key);
    let text = |key: &str| get(keys, key).map(|e| reader.text(e, &label(key))).transpose();
    let number = |key: &str| {
        let number = |e: &Entry| match e.value.data {
            Data::Int(n) => u32::try_from(n).map_err(|_| wrong(e, &label(key), "must be a whole number, 0 or more")),
            _ => Err(wrong(e, &label(key), "must be a whole number, 0 or more")),
        };
        get(keys, key).map(number).transpose()
    };
    let group = Group {
        name: entry.key.clone(),
        instance_type: text("instance_type")?,
        min: number("min")?,
        max: number("max")?,
        image: get(keys, "image").map(|e| choice(reader, e, &label("image"))).transpose()?,
        user: text("user")?,
        roles: get(keys, "roles").map(|e| roles_of(e, &label("roles"))).transpose()?.unwrap_or_default(),
        variables: get(keys, "variables").map(|e| free_map(e, &label("variables"))).transpose()?.unwrap_or_default(),
    };
    if let (Some(min), Some(max), Some(at)) = (group.min, group.max, get(keys, "max"))
        && min > max
    {
        return Err(wrong(at, &label("max"), &format!("must be at least {}, which is {min}", label("min"))));
    }
    if group.image.is_none() && group.roles.is_empty() {
        return Err(Error::config(format!("group `{}` has neither an `image` nor `roles`", entry.key))
            .at(entry.place.location())
            .hint("Name the image its machines start from, or the roles that make them what they are: `roles: [nginx]`."));
    }
    Ok(group)
}

/// What is wrong with the roles that groups name. Whoever wants to see an environment, or to be rid of it, needs none of them.
fn check_roles(project: &Path, groups: &[Group], entry: Option<&Entry>) -> Option<Error> {
    let place = |group: &Group| {
        let of_group = get(entry?.value.map()?, &group.name)?;
        Some(get(of_group.value.map()?, "roles")?.value.place.location())
    };
    let check = |group: &Group, role: &String| {
        let error = role::Role::load(project, role).err()?;
        Some(match place(group) {
            Some(place) if error.details().places.is_empty() => error.at(place),
            _ => error,
        })
    };
    groups.iter().find_map(|group| group.roles.iter().find_map(|role| check(group, role)))
}

fn choice(reader: &Reader, entry: &Entry, label: &str) -> Result<Choice> {
    let image = cloud::image(reader, entry, label)?;
    serde_json::from_value(image).map_err(|e| Error::internal(format!("{label}: {e}")))
}
