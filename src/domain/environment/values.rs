//! What the parameters of the formations get.

use super::{Environment, Group};
use crate::base::error::{Error, Kind, Result};
use crate::base::secret::Secret;
use crate::base::suggest::did_you_mean;
use crate::domain::config::files::fetch_source;
use crate::domain::config::tree::{Data, Entry};
use crate::domain::formation::{Template, child, refers_to, type_of};
use regex::Regex;
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// `parameters:` of the environment.
    Given,
    /// Something else the environment says: `app`, `groups.web.min`, `variables.database_size`.
    Derived(String),
    /// The formation's own default: nothing is sent.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Given => "parameters",
            Self::Derived(from) => from,
            Self::Default => "default",
        })
    }
}

/// The value of one parameter.
#[derive(Clone, Debug)]
pub struct Value {
    pub name: String,
    pub value: Content,
    pub origin: Origin,
}

#[derive(Clone, Debug)]
pub enum Content {
    Plain(String),
    Hidden(Secret),
}

impl Value {
    /// For people.
    pub fn shown(&self) -> &str {
        match &self.value {
            Content::Plain(text) => text,
            Content::Hidden(_) => "***",
        }
    }

    /// None: it must not be shown.
    pub fn plain(&self) -> Option<&str> {
        if let Content::Plain(text) = &self.value { Some(text) } else { None }
    }

    /// What is sent: also what must not be shown.
    pub fn text(&self) -> &str {
        match &self.value {
            Content::Plain(text) => text,
            Content::Hidden(secret) => secret.expose(),
        }
    }
}

/// A parameter, for people and programs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Told {
    pub name: String,
    /// None: it must not be shown, or is not known before an image is baked.
    pub value: Option<String>,
    pub from: String,
}

/// What the parameters of an environment's formations get, and from where.
pub fn parameters(environment: &Environment) -> Result<Vec<Told>> {
    let template = environment.template()?;
    let baked = environment.baked();
    let values = environment.values(&template, &baked)?;
    let known =
        values.iter().map(|v| Told { name: v.name.clone(), value: v.plain().map(str::to_owned), from: v.origin.to_string() });
    let made = baked.into_iter().filter(|name| template.parameters().iter().any(|p| p.key == *name));
    Ok(known.chain(made.map(|name| Told { name, value: None, from: "baked".to_owned() })).collect())
}

impl Environment {
    /// A value for every parameter of the template, in its order. `made` are those that opsrun gives itself, such as the ID of
    /// an image that is still to be baked.
    pub fn values(&self, template: &Template, made: &[String]) -> Result<Vec<Value>> {
        self.refuse_unknown(template)?;
        let hidden: Vec<&str> = template.hidden_parameters().collect();
        let mut values = Vec::new();
        for parameter in template.parameters() {
            let name = parameter.key.as_str();
            if made.iter().any(|m| m == name) {
                continue;
            }
            let Some((value, origin)) = self.value(parameter)? else {
                return Err(Error::config(format!("parameter {name} has no value"))
                    .at(parameter.place.location())
                    .hint(format!("Write it into {}: `parameters: {{ {name}: … }}`.", self.files.join(" or "))));
            };
            let value = match value {
                // A default stands in the template for all to read: hiding a word like `none` would only blot our own messages.
                Content::Plain(text) if hidden.contains(&name) && origin != Origin::Default => Content::Hidden(Secret::new(text)),
                other => other,
            };
            let value = Value { name: name.to_owned(), value, origin };
            check(parameter, &value, self)?;
            values.push(value);
        }
        Ok(values)
    }

    /// A value for every parameter of the template, with the ID of the image of each group that is baked.
    pub fn values_with(&self, template: &Template, images: &BTreeMap<String, String>) -> Result<Vec<Value>> {
        let mut values = self.values(template, &self.baked())?;
        for group in self.groups.iter().filter(|g| g.needs_image()) {
            let name = group.image_parameter();
            if template.parameters().iter().all(|p| p.key != name) {
                continue;
            }
            let id = images.get(&group.name).ok_or_else(|| {
                Error::new(Kind::NotFound, format!("group {} has no image yet", group.name))
                    .hint(format!("It is baked by: opsrun manage {} commission", self.name))
            })?;
            values.push(Value { name, value: Content::Plain(id.clone()), origin: Origin::Derived("baked".to_owned()) });
        }
        Ok(values)
    }

    /// Parameters that get the ID of an image that opsrun bakes or finds.
    pub fn baked(&self) -> Vec<String> {
        self.groups.iter().filter(|g| g.needs_image()).map(Group::image_parameter).collect()
    }

    /// Whether the machines of a group are instances of the stack itself, not of an auto-scaling group: another image would
    /// replace them, so that they keep what they were started from.
    pub fn stays(&self, template: &Template, group: &str) -> bool {
        let parameter = camel(&format!("{group}_image"));
        let instances = template.resources().iter().filter(|r| type_of(r) == "AWS::EC2::Instance");
        instances.into_iter().any(|r| refers_to(&r.value, &parameter))
    }

    fn refuse_unknown(&self, template: &Template) -> Result<()> {
        let known = || template.parameters().iter().map(|p| p.key.as_str());
        let Some(odd) = self.parameters.iter().find(|p| !known().any(|k| k == p.key)) else { return Ok(()) };
        let error = Error::config(format!("the formations have no parameter `{}`", odd.key)).at(odd.place.location());
        Err(error.hint_if(did_you_mean(&odd.key, known())))
    }

    /// Whether the files say what this parameter gets, or it has a default.
    pub(super) fn has_value(&self, parameter: &Entry) -> Result<bool> {
        let given = self.parameters.iter().any(|p| p.key == parameter.key);
        Ok(given || self.value(parameter)?.is_some())
    }

    fn value(&self, parameter: &Entry) -> Result<Option<(Content, Origin)>> {
        let name = parameter.key.as_str();
        if let Some(given) = self.parameters.iter().find(|p| p.key == name) {
            return self.given(given).map(|content| Some((content, Origin::Given)));
        }
        if let Some((text, from)) = self.derived(name) {
            return Ok(Some((Content::Plain(text), Origin::Derived(from))));
        }
        Ok(child(&parameter.value, "Default").map(|d| (Content::Plain(as_text(&d.to_json())), Origin::Default)))
    }

    /// A value as it is written, or `{ secret: NAME }`.
    fn given(&self, entry: &Entry) -> Result<Content> {
        let Some(keys) = entry.value.map() else { return Ok(Content::Plain(as_text(&entry.value.to_json()))) };
        let bad = || {
            Error::config(format!("`parameters.{}` must be a text, a number, a list or {{ secret: NAME }}", entry.key))
                .at(entry.value.place.location())
        };
        let [secret] = keys else { return Err(bad()) };
        let (Data::Text(name), "secret") = (&secret.value.data, secret.key.as_str()) else { return Err(bad()) };
        let Some(source) = self.secrets.get(name) else {
            let error = Error::config(format!("there is no secret `{name}`")).at(secret.value.place.location());
            let hint = did_you_mean(name, self.secrets.keys().map(String::as_str));
            return Err(error.hint(hint.unwrap_or_else(|| format!("Say where it is: `secrets: {{ {name}: {{ env: NAME }} }}`."))));
        };
        fetch_source(source).map(Content::Hidden).map_err(|e| {
            let e = e.context(format!("reading secret {name}"));
            e.at(entry.value.place.location())
        })
    }

    /// What the environment says in other words: `WebMin` is `groups.web.min`, `DatabaseSize` is `variables.database_size`.
    fn derived(&self, name: &str) -> Option<(String, String)> {
        match name {
            "App" => return Some((self.app.clone(), "app".to_owned())),
            "Env" => return Some((self.env.clone(), "env".to_owned())),
            _ => {}
        }
        for group in &self.groups {
            let number = |n: Option<u32>| n.map(|n| n.to_string());
            let settings = [
                ("instance_type", group.instance_type.clone()),
                ("min", number(group.min)),
                ("max", number(group.max)),
                ("image", group.image.as_ref().filter(|_| group.roles.is_empty()).and_then(|i| i.id()).map(str::to_owned)),
            ];
            let setting = settings.into_iter().find(|(key, _)| camel(&format!("{}_{key}", group.name)) == name);
            if let Some((key, Some(value))) = setting {
                return Some((value, format!("groups.{}.{key}", group.name)));
            }
        }
        let variable = self.variables.iter().find(|(key, _)| *key == name || camel(key) == name)?;
        Some((as_text(variable.1), format!("variables.{}", variable.0)))
    }
}

impl Group {
    /// `WebImage`
    pub fn image_parameter(&self) -> String {
        camel(&format!("{}_image", self.name))
    }

    /// Its image has no ID in the files: it is baked, or looked up.
    fn needs_image(&self) -> bool {
        !self.roles.is_empty() || self.image.as_ref().is_some_and(|i| i.id().is_none())
    }
}

/// `database_size` as `DatabaseSize`.
pub fn camel(snake: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    snake.split(['_', '-']).map(word).collect()
}

/// As a parameter has it: lists are joined by commas.
fn as_text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Whether AWS would take the value.
fn check(parameter: &Entry, value: &Value, environment: &Environment) -> Result<()> {
    let Some(expected) = refusal(parameter, value.text()) else { return Ok(()) };
    let from = match &value.origin {
        Origin::Given => format!(" (parameters.{})", value.name),
        Origin::Derived(from) => format!(" ({from})"),
        Origin::Default => " (its default)".to_owned(),
    };
    let error = Error::config(format!("parameter {}{from} must be {expected}, not \"{}\"", value.name, value.shown()));
    let given = environment.parameters.iter().find(|p| p.key == value.name).filter(|_| value.origin == Origin::Given);
    Err(match given {
        Some(given) => error.at(given.value.place.location()).hint(format!("The parameter stands in {}.", parameter.place)),
        None => error.at(parameter.place.location()),
    })
}

/// What the parameter wants, when the value is something else.
pub(super) fn refusal(parameter: &Entry, value: &str) -> Option<String> {
    let text = |key: &str| child(&parameter.value, key).map(|n| as_text(&n.to_json()));
    let number = |key: &str| text(key).and_then(|t| t.parse::<f64>().ok());
    let kind = text("Type").unwrap_or_default();
    let list = kind.starts_with("List<") || kind == "CommaDelimitedList";
    let items: Vec<&str> = if list { value.split(',').map(str::trim).collect() } else { vec![value] };
    if kind.trim_start_matches("List<").trim_end_matches('>') == "Number" {
        let numbers: Option<Vec<f64>> = items.iter().map(|i| i.parse().ok()).collect();
        let Some(numbers) = numbers else { return Some("a number".to_owned()) };
        if let Some(least) = number("MinValue").filter(|least| numbers.iter().any(|n| n < least)) {
            return Some(format!("{least} or more"));
        }
        if let Some(most) = number("MaxValue").filter(|most| numbers.iter().any(|n| n > most)) {
            return Some(format!("{most} or less"));
        }
    }
    if let Some(Json::Array(allowed)) = child(&parameter.value, "AllowedValues").map(crate::domain::config::tree::Node::to_json) {
        let allowed: Vec<String> = allowed.iter().map(as_text).collect();
        if items.iter().any(|i| !allowed.iter().any(|a| a == i)) {
            return Some(format!("one of {}", allowed.join(", ")));
        }
    }
    let length = f64::from(u32::try_from(value.chars().count()).unwrap_or(u32::MAX));
    if number("MinLength").is_some_and(|least| length < least) {
        return Some(format!("at least {} letters long", text("MinLength")?));
    }
    if number("MaxLength").is_some_and(|most| length > most) {
        return Some(format!("at most {} letters long", text("MaxLength")?));
    }
    // AWS's patterns are Java's; those that this machine cannot read are left to AWS.
    let pattern = text("AllowedPattern").and_then(|p| Regex::new(&format!("^(?:{p})$")).ok());
    if pattern.is_some_and(|pattern| items.iter().any(|i| !pattern.is_match(i))) {
        return Some(
            text("ConstraintDescription").unwrap_or_else(|| format!("like {}", text("AllowedPattern").unwrap_or_default())),
        );
    }
    let begins = [
        ("AWS::EC2::Image::Id", "ami-"),
        ("AWS::EC2::VPC::Id", "vpc-"),
        ("AWS::EC2::Subnet::Id", "subnet-"),
        ("AWS::EC2::SecurityGroup::Id", "sg-"),
    ];
    let item = kind.trim_start_matches("List<").trim_end_matches('>');
    let (_, begin) = begins.iter().find(|(name, _)| *name == item)?;
    items.iter().any(|i| !i.starts_with(begin)).then(|| format!("an ID that begins with {begin}"))
}
