//! Which image a group's machines are made from: named by its ID, by a pattern, or by a parameter that AWS or the user keeps.
//!
//! What a pattern or parameter means is found out once and then stays, so that a node that is added is like the others; a newer
//! image is told, and taken when the user says so.

use super::client::Client;
use super::{Aws, tags};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::transport::provider::Resolved;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter};

/// As AWS writes it where an image may be given by a parameter.
pub const PARAMETER: &str = "resolve:ssm:";

/// How the config names an image.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Choice {
    /// `ami-…`, or `resolve:ssm:/name/of/a/parameter`
    Word(String),
    /// The newest whose name is like this.
    Newest {
        name: String,
        /// An account, or `self`, `amazon`, `aws-marketplace`.
        owner: String,
    },
}

impl Default for Choice {
    fn default() -> Self {
        Self::Word(String::new())
    }
}

impl Display for Choice {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Newest { name, owner } => write!(f, "{name} of {owner}"),
        }
    }
}

impl Choice {
    /// The image's ID, when that is what the config says.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Word(word) if !word.starts_with(PARAMETER) => Some(word),
            _ => None,
        }
    }
}

/// An image that a choice leads to.
pub struct Candidate {
    pub id: String,
    /// Its name and date, as far as they are known.
    pub about: String,
}

/// What the choices that are no IDs mean: as `pinned` has it, unless `refresh`.
pub async fn resolve(aws: &Aws, client: &Client, pinned: &BTreeMap<String, String>, refresh: bool, cx: &Cx) -> Result<Resolved> {
    let groups = &aws.settings.groups;
    let choices: BTreeSet<&Choice> = groups.values().map(|g| &g.ami).filter(|c| c.id().is_none()).collect();
    let mut resolved = Resolved::default();
    for choice in choices {
        let text = choice.to_string();
        let of: Vec<&str> = groups.iter().filter(|(_, g)| g.ami == *choice).map(|(name, _)| name.as_str()).collect();
        let of = format!("group{} {}", if of.len() == 1 { "" } else { "s" }, of.join(", "));
        let before = pinned.get(&text);
        let newest = match (look_up(client, choice, cx).await, before) {
            (Ok(newest), _) => newest,
            (Err(error), Some(_)) if !refresh && error.kind() != Kind::Cancelled => {
                cx.events.debug(format!("whether there is a newer image for {of} is not known: {error}"));
                continue_with(&mut resolved, text, before);
                continue;
            }
            (Err(error), _) => return Err(error.context(format!("looking up the image of {of}"))),
        };
        match before {
            Some(before) if *before != newest.id && !refresh => {
                resolved.notes.push(format!(
                    "{of}: there is a newer image than {before}: {}{}; --refresh-images takes it",
                    newest.id, newest.about
                ));
                continue_with(&mut resolved, text, Some(before));
            }
            Some(before) if *before == newest.id => continue_with(&mut resolved, text, Some(before)),
            _ => {
                resolved.notes.push(format!("{of}: image {}{}", newest.id, newest.about));
                resolved.pins.insert(text, newest.id);
            }
        }
    }
    Ok(resolved)
}

fn continue_with(resolved: &mut Resolved, choice: String, image: Option<&String>) {
    if let Some(image) = image {
        resolved.pins.insert(choice, image.clone());
    }
}

pub async fn look_up(client: &Client, choice: &Choice, cx: &Cx) -> Result<Candidate> {
    match choice {
        Choice::Newest { name, owner } => newest(client, name, owner, cx).await,
        Choice::Word(word) => parameter(client, word.strip_prefix(PARAMETER).unwrap_or(word), cx).await,
    }
}

async fn newest(client: &Client, name: &str, owner: &str, cx: &Cx) -> Result<Candidate> {
    let request = client.ec2.describe_images().owners(owner);
    let request = request.filters(tags::filter("name", [name])).filters(tags::filter("state", ["available"]));
    let found = client.read("DescribeImages", cx, request.send()).await?;
    let newest = found.images().iter().max_by_key(|i| (i.creation_date(), i.image_id()));
    let none = || {
        Error::config(format!("{owner} has no image in {} whose name is like \"{name}\"", client.region))
            .hint("A pattern is about the whole name: * stands for any letters, ? for one. Images have names of their own in each region.")
    };
    let newest = newest.ok_or_else(none)?;
    let date = newest.creation_date().map(|d| format!(" of {}", d.split('T').next().unwrap_or(d))).unwrap_or_default();
    Ok(Candidate {
        id: newest.image_id().map(str::to_owned).ok_or_else(none)?,
        about: format!(" ({}{date})", newest.name().unwrap_or("without a name")),
    })
}

async fn parameter(client: &Client, name: &str, cx: &Cx) -> Result<Candidate> {
    let asked = client.read("GetParameter", cx, client.ssm.get_parameter().name(name).send()).await;
    let answer = match asked {
        Err(t) if t.is(|f| ["ParameterNotFound", "ParameterVersionNotFound"].contains(&f.code.as_str())) => {
            return Err(Error::config(format!("there is no parameter {name} in {}", client.region))
                .hint("Those of AWS for images begin with /aws/service/: aws ssm get-parameters-by-path --path /aws/service/…"));
        }
        other => other?,
    };
    let value = answer.parameter().and_then(|p| p.value()).unwrap_or_default();
    let plain = value.starts_with("ami-") && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !plain {
        // Its value is not shown: parameters hold all sorts of things.
        return Err(Error::config(format!("parameter {name} in {} does not hold the ID of an image", client.region))
            .hint("Its whole value must be an ID like ami-0abc…"));
    }
    Ok(Candidate { id: value.to_owned(), about: String::new() })
}
