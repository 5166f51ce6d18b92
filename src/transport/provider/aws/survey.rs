//! What a plan shows besides nodes.

use super::client::Client;
use super::machine::Machine;
use super::network::{self, Found};
use super::{Aws, firewall, launch, preflight, update};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::transport::provider::{Fate, Fixture, NodeSpec, Site, Survey};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Amazon's own answer to "what is my address".
const ADDRESS_SERVICE: &str = "https://checkip.amazonaws.com";

pub async fn survey(aws: &Aws, client: &Client, site: &Site, specs: &[NodeSpec], cx: &Cx) -> Result<Survey> {
    client.account(cx).await?;
    let (found, machines) = tokio::try_join!(network::look(client, site, cx), client.machines(site, cx))?;
    if let Some(key) = &found.key {
        network::check_key(site, key)?;
    }
    let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
    for spec in specs.iter().filter(|s| machines.iter().all(|m| m.name() != s.name)) {
        *missing.entry(&spec.group).or_default() += 1;
    }
    preflight::check(aws, client, site, &missing, &found, cx).await?;
    let mut survey = Survey::default();
    network_fixtures(aws, site, &found, !missing.is_empty(), &mut survey);
    firewall_fixtures(aws, &found, &aws.allow_from(cx).await?, &mut survey);
    leftovers(client, &machines, &found, &mut survey)?;
    let staying: Vec<Machine> = machines.into_iter().filter(|m| specs.iter().any(|s| s.name == m.name())).collect();
    if missing.is_empty() && aws.settings.vpc.is_none() {
        for id in update::unused(&found.subnets, &staying).into_iter().filter_map(|s| s.subnet_id()) {
            overdue(&mut survey, Fate::Remove, format!("subnet {id}"), "no node is in it");
        }
    }
    *aws.looked.lock().await = Some(found);
    Ok(survey)
}

fn fixture(survey: &mut Survey, fate: Fate, what: impl Into<String>, reason: impl Into<String>) {
    survey.fixtures.push(Fixture { fate, what: what.into(), reason: reason.into(), overdue: false });
}

/// The same, for what an earlier command had begun.
fn overdue(survey: &mut Survey, fate: Fate, what: impl Into<String>, reason: impl Into<String>) {
    survey.fixtures.push(Fixture { fate, what: what.into(), reason: reason.into(), overdue: true });
}

fn network_fixtures(aws: &Aws, site: &Site, found: &Found, launches: bool, survey: &mut Survey) {
    if found.key.is_none() {
        fixture(survey, Fate::Create, format!("key pair {}", network::key_name(site)), "claims the name in this region");
    }
    if aws.settings.vpc.is_none() {
        if found.vpcs.is_empty() {
            fixture(survey, Fate::Create, "VPC", "10.0.0.0/16, with a route to the internet");
        }
        if found.gateways.is_empty() {
            fixture(survey, Fate::Create, "internet gateway", "");
        }
        if !found.vpcs.is_empty() && !found.gateways.is_empty() && !found.is_connected() {
            fixture(survey, Fate::Change, "VPC", "its route to the internet is missing");
        }
        if found.subnets.is_empty() && launches {
            let zone = aws.settings.zones.first().map_or("the first zone with room", String::as_str);
            fixture(survey, Fate::Create, "subnet", format!("in {zone}"));
        }
    }
    for (id, tags) in update::stale_fixtures(aws, site, found) {
        let keys: Vec<&str> = tags.keys().map(String::as_str).collect();
        fixture(survey, Fate::Change, id, format!("tags: {}", keys.join(", ")));
    }
}

fn firewall_fixtures(aws: &Aws, found: &Found, allow_from: &[String], survey: &mut Survey) {
    let there = firewall::by_group(found);
    // Groups that are still to be made have no IDs yet: their names stand for them.
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for group in aws.settings.groups.keys() {
        let id = there.get(group).and_then(|g| g.group_id()).map_or_else(|| format!("sg-{group}"), str::to_owned);
        ids.insert(group.clone(), id);
    }
    let named = |source: &str| match ids.iter().find(|(_, id)| *id == source) {
        Some((group, _)) => format!("group {group}"),
        None => source.to_owned(),
    };
    for group in ids.keys() {
        let want = firewall::wanted(&aws.settings.group(group), &ids, allow_from);
        let have = there.get(group).map(|g| firewall::rules_of(g));
        let new = have.is_none();
        let have = have.unwrap_or_default();
        let opened = by_source(want.difference(&have), &named);
        let closed = by_source(have.difference(&want), &named);
        let said = opened.iter().map(|s| format!("open {s}")).chain(closed.iter().map(|s| format!("close {s}")));
        let reason = said.collect::<Vec<_>>().join("; ");
        if new {
            fixture(survey, Fate::Create, format!("security group {group}"), reason);
        } else if !reason.is_empty() {
            fixture(survey, Fate::Change, format!("security group {group}"), reason);
        }
    }
    for group in there.keys().filter(|g| !aws.settings.groups.contains_key(*g)) {
        fixture(survey, Fate::Remove, format!("security group {group}"), "the group is no longer in the config");
    }
    if allow_from.iter().any(|n| n == "0.0.0.0/0") {
        survey.notes.push("port 22 and the web ports will be open to the whole internet (allow_from: 0.0.0.0/0)".to_owned());
    }
}

/// "22 9042 to group client" for each source.
fn by_source<'a>(rules: impl Iterator<Item = &'a firewall::Rule>, named: &impl Fn(&str) -> String) -> Vec<String> {
    let mut sources: BTreeMap<String, BTreeSet<(i32, String)>> = BTreeMap::new();
    for rule in rules {
        sources.entry(named(&rule.source)).or_default().insert((rule.from, rule.port()));
    }
    // Groups that get the same ports are one line.
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for (source, ports) in sources {
        let ports = ports.into_iter().map(|(_, port)| port).collect::<Vec<_>>().join(" ");
        match lines.iter_mut().find(|(p, _)| *p == ports) {
            Some((_, sources)) => sources.push(source),
            None => lines.push((ports, vec![source])),
        }
    }
    lines.into_iter().map(|(ports, sources)| format!("{ports} for {}", sources.join(", "))).collect()
}

/// What a command that was killed left behind.
fn leftovers(client: &Client, machines: &[Machine], found: &Found, survey: &mut Survey) -> Result<()> {
    for (i, machine) in machines.iter().enumerate() {
        if machines[..i].iter().any(|o| o.name() == machine.name()) {
            let why = format!("a second {}, left by a command that was cut off", machine.name());
            overdue(survey, Fate::Remove, machine.id.clone(), why);
        } else if !machine.is_known() {
            let why = "carries the UUID of this deployment, but no tag says which node it is: left alone until deprovision";
            survey.notes.push(format!("instance {} {why}", machine.id));
        } else if !machine.is_named() {
            let why = match machine.tags.get("Name") {
                Some(name) if *name != machine.name() => format!("its Name says {name}"),
                _ => "its name was not written down on it yet".to_owned(),
            };
            overdue(survey, Fate::Change, machine.name(), why);
        }
    }
    for (what, count) in [("VPC", found.vpcs.len()), ("internet gateway", found.gateways.len())] {
        if count > 1 {
            overdue(survey, Fate::Remove, format!("{} {what}", count - 1), "made twice: an answer of AWS was lost");
        }
    }
    for launch in launch::open(client)? {
        let what = format!("launch of {} of group {}", launch.indexes.len(), launch.group);
        overdue(survey, Fate::Change, what, "cut off before its answer: asked for again first, as it was written down");
    }
    Ok(())
}

/// The network that is this machine, as the internet sees it.
pub async fn own_address(cx: &Cx) -> Result<Vec<String>> {
    let fail = |why: String| {
        Error::new(Kind::Provider, format!("cannot learn the address this machine is seen by from {ADDRESS_SERVICE}: {why}"))
            .hint("Write who may connect: `allow_from: 203.0.113.7/32`.")
    };
    let ask = async {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        client.get(ADDRESS_SERVICE).send().await?.error_for_status()?.text().await
    };
    let text = cx.cancel.guard(async { ask.await.map_err(|e: reqwest::Error| fail(e.without_url().to_string())) }).await?;
    let address: std::net::Ipv4Addr = text.trim().parse().map_err(|_| fail(format!("it said \"{}\"", text.trim())))?;
    Ok(vec![format!("{address}/32")])
}
