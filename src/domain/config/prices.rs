//! What machines cost by the hour: the user's own figures, from the file that `prices` names. There are no others.
//!
//! ```yaml
//! currency: USD
//! region: eu-central-1            # optional: refuse to count with them elsewhere
//! instances:                      # by the hour
//!   c7i.large: 1.00
//!   i4i.xlarge: { hourly: 4.00, spot: 2.00 }
//! volumes:                        # by the GiB and month of 30 days; left out: volumes are not counted
//!   gp3: 1.00
//! ```

use super::files;
use super::reader::{get, wrong};
use super::tree::{Data, Entry, Node, Source, parse};
use crate::base::error::{Error, Result};
use crate::base::money::Money;
use crate::base::suggest;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const KEYS: [&str; 4] = ["currency", "region", "instances", "volumes"];
/// AWS bills a volume's month as one of 30 days: https://aws.amazon.com/ebs/pricing/
const HOURS_OF_MONTH: u64 = 720;

/// The figures of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prices {
    /// `USD`
    pub currency: String,
    /// Where they hold; none: wherever they are used.
    pub region: Option<String>,
    instances: BTreeMap<String, Rates>,
    volumes: Option<BTreeMap<String, Money>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Rates {
    hourly: Option<Money>,
    spot: Option<Money>,
}

impl Prices {
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| files::unreadable(path, &e))?;
        let text = String::from_utf8(bytes).map_err(|e| files::not_utf8(path, &e))?;
        Self::read(&Source { name: path.display().to_string(), dir: path.parent().unwrap_or(path).to_owned(), text })
    }

    pub fn read(source: &Source) -> Result<Self> {
        let tree = parse(&Arc::new(source.clone()))?;
        let top = tree.map().unwrap_or_default();
        known(top, &KEYS, "")?;
        let missing = |key: &str, example: &str| {
            Error::config(format!("{} has no `{key}`", source.name)).at(tree.place.location()).hint(format!("Write `{example}`."))
        };
        let currency = get(top, "currency").ok_or_else(|| missing("currency", "currency: USD"))?;
        let instances = get(top, "instances").ok_or_else(|| missing("instances", "instances: { TYPE: PRICE }"))?;
        let given = |e: &&Entry| !matches!(e.value.data, Data::Null);
        let instances = map(instances)?.iter().filter(given).map(|e| Ok((e.key.clone(), rates(e)?))).collect::<Result<_>>()?;
        let volumes = get(top, "volumes").map(|entry| {
            let price = |e: &Entry| Ok((e.key.clone(), money(&e.value, e, &format!("volumes.{}", e.key))?));
            map(entry)?.iter().filter(given).map(price).collect::<Result<_>>()
        });
        Ok(Self {
            currency: text(currency)?,
            region: get(top, "region").map(text).transpose()?,
            instances,
            volumes: volumes.transpose()?,
        })
    }

    /// An hour of this type; none: the file does not say.
    pub fn instance(&self, kind: &str, spot: bool) -> Option<Money> {
        let rates = self.instances.get(kind)?;
        if spot { rates.spot } else { rates.hourly }
    }

    /// Whether the file speaks of volumes at all.
    pub fn has_volumes(&self) -> bool {
        self.volumes.is_some()
    }

    /// An hour of a volume of this type and size; none: the file does not say.
    pub fn volume(&self, kind: &str, gibibytes: u64) -> Option<Money> {
        Some(self.volumes.as_ref()?.get(kind)?.share(gibibytes, HOURS_OF_MONTH))
    }
}

fn known(entries: &[Entry], keys: &[&'static str], within: &str) -> Result<()> {
    let Some(unknown) = entries.iter().find(|e| !keys.contains(&e.key.as_str())) else { return Ok(()) };
    let error = Error::config(format!("unknown key `{within}{}`", unknown.key)).at(unknown.place.location());
    Err(match suggest::did_you_mean(&unknown.key, keys.iter().copied()) {
        Some(hint) => error.hint(hint),
        None => error.hint(format!("There are {}.", keys.join(", "))),
    })
}

fn text(entry: &Entry) -> Result<String> {
    match &entry.value.data {
        Data::Text(text) if !text.trim().is_empty() => Ok(text.clone()),
        _ => Err(wrong(entry, &entry.key, "must be text")),
    }
}

fn map(entry: &Entry) -> Result<&[Entry]> {
    entry.value.map().ok_or_else(|| wrong(entry, &entry.key, "must be a map from type to price"))
}

/// `0.10`, or `{ hourly: 0.10, spot: 0.04 }`
fn rates(entry: &Entry) -> Result<Rates> {
    let name = format!("instances.{}", entry.key);
    let Some(parts) = entry.value.map() else {
        return Ok(Rates { hourly: Some(money(&entry.value, entry, &name)?), spot: None });
    };
    known(parts, &["hourly", "spot"], &format!("{name}."))?;
    let part = |key: &str| get(parts, key).map(|e| money(&e.value, e, &format!("{name}.{key}"))).transpose();
    Ok(Rates { hourly: part("hourly")?, spot: part("spot")? })
}

fn money(node: &Node, entry: &Entry, name: &str) -> Result<Money> {
    let number = matches!(node.data, Data::Int(_) | Data::Float(_));
    let read = number.then(|| Money::parse(&node.raw).ok()).flatten();
    read.ok_or_else(|| wrong(entry, name, "must be a price: a number like 0.10, with at most 9 decimals"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Prices> {
        Prices::read(&Source { name: "prices.yml".to_owned(), dir: "/".into(), text: text.to_owned() })
    }

    #[test]
    fn figures_are_found_and_none_is_made_up() {
        let prices =
            read("currency: USD\ninstances:\n  a.large: 0.10\n  b.large: { hourly: 0.2, spot: 0.08 }\n  d.large:\nvolumes: { gp3: 0.72, gp2: }\n")
                .unwrap();
        let money = |text: &str| Some(Money::parse(text).unwrap());
        assert_eq!(prices.instance("a.large", false), money("0.1"));
        assert_eq!(prices.instance("a.large", true), None, "a spot price is not the usual one");
        assert_eq!(prices.instance("b.large", true), money("0.08"));
        assert_eq!(prices.instance("c.large", false), None);
        assert_eq!(prices.instance("d.large", false), None, "a key without a value is not given");
        assert_eq!(prices.volume("gp3", 100), money("0.1"));
        assert_eq!(prices.volume("io2", 100), None);
        assert!(!read("currency: EUR\ninstances: {}\n").unwrap().has_volumes());
    }

    #[test]
    fn the_template_can_be_filled_in() {
        let prices = read(include_str!("../../../configs/prices.yml.template")).unwrap();
        assert_eq!(prices.instance("c7i.large", false), None, "it has no figures of its own");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, said) in [
            ("instances: {}\n", "no `currency`"),
            ("currency: USD\n", "no `instances`"),
            ("currency: USD\ninstances:\n  a.large: cheap\n", "`instances.a.large` must be a price"),
            ("currency: USD\ninstances:\n  a.large: -1\n", "`instances.a.large` must be a price"),
            ("currency: USD\ninstances:\n  a.large: { hourly: 1, spots: 1 }\n", "unknown key `instances.a.large.spots`"),
            ("currency: USD\ninstance: {}\n", "unknown key `instance`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message().contains(said), "{}", error.message());
            assert!(error.details().places.first().is_some_and(|p| p.file == "prices.yml" && p.line > 0), "{error:?}");
        }
    }
}
