//! What the machines of a deployment cost by the hour, as far as the user's own prices say.
//!
//! What they have cost so far is not told: nobody writes down for how long each machine ran, so it would be a guess.

use crate::base::error::{Error, Result};
use crate::base::money::Money;
use crate::domain::config::prices::Prices;
use crate::domain::config::{Config, Group, ProviderKind};
use crate::transport::provider::{NodeFound, NodeStatus};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A price by the hour.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cost {
    pub currency: String,
    /// None when something has no price.
    pub hourly: Option<Money>,
    /// Of what has a price.
    pub at_least: Money,
    /// What has none: `x9.large`, `spot c7i.large`, `volume io2`.
    pub unknown: Vec<String>,
}

/// What a plan does to the cost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CostChange {
    pub before: Cost,
    pub after: Cost,
    /// When machines have to be of the dearest type that the config lets them fall back on.
    pub at_most: Cost,
}

/// One machine, or several alike, as the bill sees them.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Item {
    count: u64,
    /// None: it does not run.
    kind: Option<String>,
    spot: bool,
    /// Type and GiB of each.
    volumes: Vec<(String, u64)>,
}

/// The prices to count with: none where nothing is rented, or no file is given.
pub fn prices(config: &Config) -> Result<Option<Prices>> {
    let Some(file) = config.cloud.prices.as_deref().filter(|_| config.provider == ProviderKind::Aws) else { return Ok(None) };
    let prices = Prices::load(file).map_err(|e| match config.place("prices") {
        Some(place) if e.details().places.is_empty() => e.at(place),
        _ => e,
    })?;
    if let (Some(theirs), Some(ours)) = (&prices.region, &config.region)
        && theirs != ours
    {
        let error = Error::config(format!("{} has the prices of {theirs}, but the region is {ours}", file.display()));
        return Err(match config.place("prices") {
            Some(place) => error.at(place),
            None => error,
        });
    }
    Ok(Some(prices))
}

/// What exists.
pub fn of_found<'a>(prices: &Prices, found: impl Iterator<Item = &'a NodeFound>) -> Cost {
    let item = |f: &NodeFound| {
        let option = |key: &str| f.spec.options.get(key);
        let text = |key: &str| option(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Item {
            count: 1,
            kind: (f.status == NodeStatus::Running).then(|| text("instance_type")),
            spot: option("spot") == Some(&Value::Bool(true)),
            volumes: volumes_of_word(&text("volumes")),
        }
    };
    total(prices, &found.map(item).collect::<Vec<_>>())
}

/// What the config asks for. A machine that is there stays of the type it is, if its group allows that type.
pub fn of_config(prices: &Prices, config: &Config, found: &[NodeFound]) -> Cost {
    let group = |group: &Group| -> Vec<Item> {
        let types = types(group);
        let node = |index: usize| {
            let there = found.iter().find(|f| f.spec.group == group.name && f.spec.index == index);
            let kind = there.and_then(|f| f.spec.options.get("instance_type")).and_then(Value::as_str);
            let kind = kind.filter(|k| types.iter().any(|t| t == k)).map(str::to_owned);
            Item { count: 1, ..wanted(group, kind.or_else(|| types.first().cloned())) }
        };
        (0..group.count).map(node).collect()
    };
    total(prices, &config.groups.iter().flat_map(group).collect::<Vec<_>>())
}

/// What the config asks for, of the dearest type of each group; what has no price counts as dearest of all.
pub fn at_most(prices: &Prices, config: &Config) -> Cost {
    let dearest = |group: &Group| {
        let spot = is(&group.options, "spot");
        types(group).into_iter().max_by_key(|kind| {
            let price = prices.instance(kind, spot);
            (price.is_none(), price)
        })
    };
    total(prices, &config.groups.iter().map(|g| wanted(g, dearest(g))).collect::<Vec<_>>())
}

fn wanted(group: &Group, kind: Option<String>) -> Item {
    let option = |key: &str| group.options.get(key);
    let stopped = option("state").and_then(Value::as_str) == Some("stopped");
    let mut volumes = Vec::new();
    if let Some(size) = option("volume_size").and_then(Value::as_u64) {
        volumes.push((option("volume_type").and_then(Value::as_str).unwrap_or_default().to_owned(), size));
    }
    let more = option("volumes").and_then(Value::as_array).into_iter().flatten();
    volumes.extend(more.filter_map(|v| Some((v.get("type")?.as_str()?.to_owned(), v.get("size")?.as_u64()?))));
    Item { count: group.count as u64, kind: kind.filter(|_| !stopped), spot: is(&group.options, "spot"), volumes }
}

fn types(group: &Group) -> Vec<String> {
    match group.options.get("instance_type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    }
}

fn is(options: &Map<String, Value>, key: &str) -> bool {
    options.get(key) == Some(&Value::Bool(true))
}

/// `root:gp3:100 /dev/sdf:io2:50`, as machines carry it. A root volume without a size is the image's, and not counted.
fn volumes_of_word(word: &str) -> Vec<(String, u64)> {
    let one = |part: &str| {
        let (rest, size) = part.rsplit_once(':')?;
        let (_, kind) = rest.rsplit_once(':')?;
        Some((kind.to_owned(), size.parse().ok()?))
    };
    word.split_whitespace().filter_map(one).collect()
}

fn total(prices: &Prices, items: &[Item]) -> Cost {
    let mut unknown = BTreeSet::new();
    let mut sum = Money::default();
    for item in items.iter().filter(|i| i.count > 0) {
        if let Some(kind) = &item.kind {
            match prices.instance(kind, item.spot) {
                Some(price) => sum = sum + price.times(item.count),
                None => drop(unknown.insert(format!("{}{kind}", if item.spot { "spot " } else { "" }))),
            }
        }
        for (kind, size) in item.volumes.iter().filter(|_| prices.has_volumes()) {
            match prices.volume(kind, *size) {
                Some(price) => sum = sum + price.times(item.count),
                None if kind.is_empty() => drop(unknown.insert("a root volume without a `volume_type`".to_owned())),
                None => drop(unknown.insert(format!("volume {kind}"))),
            }
        }
    }
    let hourly = unknown.is_empty().then_some(sum);
    Cost { currency: prices.currency.clone(), hourly, at_least: sum, unknown: unknown.into_iter().collect() }
}

/// Fails when the deployment could cost more than this by the hour, or nobody knows.
pub fn within(limit: Money, cost: Option<&CostChange>, config: &Config) -> Result<()> {
    if config.provider != ProviderKind::Aws {
        return Ok(());
    }
    let Some(cost) = cost else {
        return Err(Error::usage("--max-hourly needs prices, and the config names no file of them")
            .hint("Write `prices: prices.yml` in a config; `opsrun provision --help` says what such a file looks like."));
    };
    let CostChange { after, at_most, .. } = cost;
    let unknown: BTreeSet<&str> = after.unknown.iter().chain(&at_most.unknown).map(String::as_str).collect();
    if !unknown.is_empty() {
        let unknown: Vec<&str> = unknown.into_iter().collect();
        let file = config.cloud.prices.as_deref().map(|f| f.display().to_string()).unwrap_or_default();
        return Err(Error::usage(format!("--max-hourly: {} has no price, so the cost is unknown", unknown.join(", ")))
            .hint(format!("Write its price into {file}.")));
    }
    let most = at_most.at_least.max(after.at_least);
    if most <= limit {
        return Ok(());
    }
    let (what, price) = if after.at_least > limit {
        ("it would cost", after.at_least)
    } else {
        ("falling back on other types it could cost", most)
    };
    Err(Error::usage(format!("{what} {price} {} an hour, more than the {limit} of --max-hourly", after.currency))
        .hint("Nothing was changed. Ask for less in the config, or allow more with --max-hourly."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::tree::Source;

    fn source(text: &str) -> Source {
        Source { name: "lab.yml".to_owned(), dir: "/".into(), text: text.to_owned() }
    }

    fn prices() -> Prices {
        Prices::read(&source(
            "currency: USD\ninstances:\n  a.large: 1\n  b.large: { hourly: 2.5, spot: 0.5 }\nvolumes: { gp3: 7.2 }\n",
        ))
        .unwrap()
    }

    fn config(text: &str) -> Config {
        Config::from_sources(vec![source(&format!("provider: aws\n{text}"))], None).unwrap()
    }

    fn change(config: &Config) -> CostChange {
        let prices = prices();
        let nothing = of_found(&prices, std::iter::empty());
        CostChange { before: nothing, after: of_config(&prices, config, &[]), at_most: at_most(&prices, config) }
    }

    #[test]
    fn groups_spot_and_volumes_add_up() {
        let lab = config(
            "server_count: 3\nserver_instance_type: a.large\nserver_ami: ami-1\nserver_volume_type: gp3\nserver_volume_size: 100\n\
             client_count: 2\nclient_instance_type: b.large\nclient_ami: ami-1\nclient_spot: true\n\
             monitor_count: 1\nmonitor_instance_type: x9.large\nmonitor_ami: ami-1\nmonitor_state: stopped\n",
        );
        let cost = of_config(&prices(), &lab, &[]);
        assert_eq!(cost.hourly.unwrap().to_string(), "7.00", "3 x (1 + 100 GiB) + 2 x 0.5, and what is stopped costs no machine");
    }

    #[test]
    fn what_has_no_price_is_unknown_and_refused() {
        let limit = Money::parse("100").unwrap();
        let lab = config("server_count: 1\nserver_instance_type: x9.large\nserver_ami: ami-1\nprices: p.yml\n");
        let cost = change(&lab);
        assert_eq!((cost.after.hourly, cost.after.unknown.as_slice()), (None, ["x9.large".to_owned()].as_slice()));
        assert!(within(limit, Some(&cost), &lab).unwrap_err().message().contains("x9.large"));
        assert!(within(limit, None, &lab).unwrap_err().message().contains("prices"));
        // Of a type that it may fall back on.
        let lab = config("groups: { server: { count: 1, instance_type: [a.large, x9.large], ami: ami-1 } }\n");
        assert!(within(limit, Some(&change(&lab)), &lab).unwrap_err().message().contains("x9.large"));
    }

    #[test]
    fn the_limit_holds_for_the_dearest_type() {
        let lab = config("groups: { server: { count: 2, instance_type: [a.large, b.large], ami: ami-1 } }\n");
        let cost = change(&lab);
        assert!(within(Money::parse("5").unwrap(), Some(&cost), &lab).is_ok());
        let said = within(Money::parse("4.99").unwrap(), Some(&cost), &lab).unwrap_err();
        assert!(said.message().contains("falling back") && said.message().contains("5.00 USD"), "{}", said.message());
        assert_eq!(said.kind().exit_code(), 2);
        let said = within(Money::parse("1.99").unwrap(), Some(&cost), &lab).unwrap_err();
        assert!(said.message().contains("it would cost 2.00 USD an hour"), "{}", said.message());
    }
}
