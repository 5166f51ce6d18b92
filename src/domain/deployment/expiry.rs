//! How long a deployment is meant to live, and moving that time.
//!
//! The time is advice: `gc` goes by it, and `ls` shows it. Only where the config says `expires_action: terminate` do machines end
//! themselves at it.

use super::{Background, config_of, hosts, provider_for, site};
use crate::base::command::{Command, Output};
use crate::base::error::{Error, Kind, Result, ResultExt};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::base::units;
use crate::domain::config::Config;
use crate::domain::fleet::{Fleet, RunOptions};
use crate::domain::node::NodeSet;
use crate::transport::provider::{NodeFound, NodeStatus, Provider, Site};
use crate::transport::state::{self, Record, Store};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// A timer must lie in the future.
const MOMENT: Duration = Duration::from_secs(5);

/// What happens to a group's machines when the time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Nothing by itself: `gc` lists the deployment.
    Advisory,
    /// Each machine ends itself.
    Terminate,
    /// Nothing, and `gc` spares it.
    Keep,
}

/// What the config says is to happen to this group's machines; none when it does not expire.
pub fn ending(config: &Config, group: &str) -> Option<Ending> {
    config.expires.as_ref()?;
    let stateful = config.group(group).is_some_and(|g| g.options.get("stateful") == Some(&serde_json::Value::Bool(true)));
    Some(match (kept(config).is_some(), config.cloud.expires_action.is_some()) {
        (true, _) => Ending::Keep,
        (false, true) if !stateful => Ending::Terminate,
        _ => Ending::Advisory,
    })
}

/// What the config keeps it for; none when clean-ups need not spare it.
pub fn kept(config: &Config) -> Option<String> {
    use serde_json::Value;
    match config.keep.as_ref()? {
        Value::Bool(false) | Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// When it expires: the time it was extended to, else what the config says, counted from its making.
pub fn expires_at(config: &Config, created: Timestamp, extended: Option<Timestamp>) -> Option<Timestamp> {
    let length = || units::parse_duration(config.expires.as_deref()?).ok();
    extended.or_else(|| created.checked_add(length()?).ok())
}

/// The same for a deployment that is there.
pub(super) fn of_record(record: &Record, config: &Config) -> Option<Timestamp> {
    expires_at(config, record.created, record.extended)
}

/// The time it was extended to, as long as the config says what it said then: a new word in the config counts from the making again.
pub(super) fn extension(record: &Record, config: &Config) -> Option<Timestamp> {
    let before = config_of(record).ok().map(|c| c.expires);
    // Of one that was adopted nobody knows what its config said.
    record.extended.filter(|_| record.inputs.is_empty() || before.is_none_or(|before| before == config.expires))
}

/// `expires in 3 h`, `expired 2 h ago`
pub fn words(at: Timestamp, now: Timestamp) -> String {
    let between = at.duration_since(now).as_secs();
    let long = units::roughly(Duration::from_secs(between.unsigned_abs()));
    if between > 0 { format!("expires in {long}") } else { format!("expired {long} ago") }
}

/// What came of moving the time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Extended {
    pub name: String,
    pub before: Option<Timestamp>,
    pub expires_at: Timestamp,
    /// Nodes that end themselves then.
    pub timed: Vec<String>,
    /// Nodes whose own timer could not be moved, with the reason. At their old time they stop, and are not ended; only spot machines, which cannot stop, end.
    pub not_reached: Vec<NotReached>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NotReached {
    pub node: String,
    pub why: String,
}

/// Lets the deployment live until then: written down here, on everything in the cloud, and in the machines that end themselves.
pub async fn extend(project: &Project, name: &str, until: Timestamp, shorten: bool, fleet: &Fleet, cx: &Cx) -> Result<Extended> {
    let deployments = project.deployments();
    let store = Store::new(&deployments, name)?;
    let Some(lock) = store.lock(&format!("opsrun extend {name}"))? else { return Err(state::not_found(&deployments, name)) };
    let Some(mut record) = store.read()? else { return Err(state::not_found(&deployments, name)) };
    hosts::refuse(&record, "extending")?;
    let config = config_of(&record)?;
    // Tags hold seconds.
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    let before = of_record(&record, &config);
    refuse_earlier(name, before, until, shorten)?;
    record.extended = Some(until);
    // Here first: should the rest fail, the next plan shows what the cloud does not say yet.
    store.write(&record, &lock)?;
    let provider = provider_for(&config, &Background::of(&store, &record))?;
    let site = site(&store, &record, &config);
    let work = async {
        provider.retag(&site, cx).await?;
        move_timers(&*provider, &site, &record, &config, until, fleet, cx).await
    };
    let again =
        || format!("The new time is written down here. Run the same command again: it goes on where it stopped ({name}).");
    let (timed, not_reached) = work.await.context(|| format!("extending {name}")).hint(again).map_err(Error::begun)?;
    Ok(Extended { name: name.to_owned(), before, expires_at: until, timed, not_reached })
}

fn refuse_earlier(name: &str, before: Option<Timestamp>, until: Timestamp, shorten: bool) -> Result<()> {
    let now = Timestamp::now();
    if until <= now && !shorten {
        return Err(Error::usage(format!("{until} has passed already")).hint("Give a time from now on, such as 6h."));
    }
    match before {
        // A second more or less is the same word said twice.
        Some(before) if until.duration_since(before).as_secs() < -1 && !shorten => {
            Err(Error::usage(format!("{name} {} already, which is later", words(before, now)))
                .hint("The time counts from now. To let it expire earlier, say so: --shorten."))
        }
        _ => Ok(()),
    }
}

/// Sets the timers of machines that end themselves. Those that cannot be reached are kept from ending at their old time.
async fn move_timers(
    provider: &dyn Provider,
    site: &Site,
    record: &Record,
    config: &Config,
    until: Timestamp,
    fleet: &Fleet,
    cx: &Cx,
) -> Result<(Vec<String>, Vec<NotReached>)> {
    let ends = |group: &str| ending(config, group) == Some(Ending::Terminate);
    if !config.groups.iter().any(|g| ends(&g.name)) {
        return Ok((Vec::new(), Vec::new()));
    }
    let found: Vec<NodeFound> = provider.list(site, cx).await?.into_iter().filter(|f| ends(&f.spec.group)).collect();
    let (up, down): (Vec<NodeFound>, Vec<NodeFound>) = found.into_iter().partition(|f| f.status == NodeStatus::Running);
    // One that is to end now needs a moment to hear of it.
    let until = until.max(Timestamp::now().checked_add(MOMENT).unwrap_or(until));
    let nodes = NodeSet::new(super::nodes_of(record).filter(|n| up.iter().any(|f| f.spec.name == n.name)));
    let results = set_timers(&nodes, until, fleet).await;
    cx.cancel.check()?;
    let mut timed: Vec<String> = Vec::new();
    let mut missed: Vec<NotReached> = Vec::new();
    for (node, result) in nodes.iter().zip(results) {
        match result {
            Ok(()) => timed.push(node.name.clone()),
            Err(why) => missed.push(NotReached { node: node.name.clone(), why: why.message().to_owned() }),
        }
    }
    let not_here = up.iter().filter(|f| nodes.iter().all(|n| n.name != f.spec.name));
    missed.extend(
        not_here
            .map(|f| (f, "it is not written down here yet"))
            .chain(down.iter().map(|f| (f, "it is stopped")))
            .map(|(f, why)| NotReached { node: f.spec.name.clone(), why: why.to_owned() }),
    );
    let late: Vec<String> = missed.iter().map(|m| m.node.clone()).collect();
    provider.end_themselves(site, &late, false, cx).await?;
    provider.end_themselves(site, &timed, true, cx).await?;
    Ok((timed, missed))
}

/// Sets the timer on each of these nodes.
async fn set_timers(nodes: &NodeSet, until: Timestamp, fleet: &Fleet) -> Vec<Result<()>> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let command = Command { sudo: true, timeout: Some(PATIENCE), ..Command::new("sh -s") };
    let command = command.stdin(crate::transport::provider::aws::timer(until));
    let quiet = RunOptions { live: false, collapse: false, check: false };
    let outputs = fleet.try_run(nodes, &command, quiet).await;
    let checked = |output: Result<Output>| match output?.failure("setting the timer at which it ends itself") {
        None => Ok(()),
        Some(error) => {
            let said = error.details().stderr.clone().unwrap_or_default();
            Err(Error::new(
                Kind::Command,
                format!("{}: {}", error.message(), said.lines().last().unwrap_or("no reason is given")),
            ))
        }
    };
    outputs.into_iter().map(checked).collect()
}

/// Sets the timers anew of machines that a provision has started: their own may be of an earlier time.
pub async fn renew_timers(deployment: &super::Deployment, nodes: &[String], fleet: &Fleet, cx: &Cx) -> Result<()> {
    let config = deployment.config();
    let Some(until) = of_record(&deployment.record, config).filter(|at| *at > Timestamp::now()) else { return Ok(()) };
    let ends = |n: &&std::sync::Arc<crate::domain::node::Node>| {
        nodes.contains(&n.name) && ending(config, &n.group) == Some(Ending::Terminate)
    };
    let nodes = NodeSet::new(deployment.nodes().iter().filter(ends).map(|n| (**n).clone()));
    for (node, result) in nodes.iter().zip(set_timers(&nodes, until, fleet).await) {
        if let Err(why) = result {
            cx.events.warn(format!(
                "{}: its timer could not be set ({}): opsrun extend {}",
                node.name,
                why.message(),
                deployment.name()
            ));
        }
    }
    cx.cancel.check()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::tree::Source;

    fn config(text: &str) -> Config {
        let text = format!(
            "provider: aws\ngroups:\n  server: {{ count: 1, instance_type: a, ami: ami-b, stateful: true }}\n  \
             client: {{ count: 1, instance_type: a, ami: ami-b }}\n{text}"
        );
        Config::from_sources(vec![Source { name: "lab.yml".to_owned(), dir: "/".into(), text }], None).unwrap()
    }

    #[test]
    fn only_what_may_end_ends_itself() {
        let of = |text: &str| (ending(&config(text), "server"), ending(&config(text), "client"));
        let (advice, end, keep) = (Some(Ending::Advisory), Some(Ending::Terminate), Some(Ending::Keep));
        assert_eq!(of(""), (None, None));
        assert_eq!(of("expires: 2h\n"), (advice, advice));
        assert_eq!(of("expires: 2h\nexpires_action: terminate\n"), (advice, end), "never what is stateful");
        assert_eq!(of("expires: 2h\nexpires_action: terminate\nkeep: until friday\n"), (keep, keep));
        assert_eq!(of("expires: 2h\nexpires_action: terminate\nkeep: false\n"), (advice, end));
    }

    #[test]
    fn time_is_told_both_ways() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |seconds: i64| words(Timestamp::from_second(1_000_000 + seconds).unwrap(), now);
        assert_eq!([at(3 * 3600), at(-2 * 3600), at(90)], ["expires in 3 h", "expired 2 h ago", "expires in 90 s"]);
    }
}
