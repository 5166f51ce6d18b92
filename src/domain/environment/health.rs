//! Whether an environment is well: whether its load balancers find all machines healthy that are behind them.

use super::{Environment, hosts_of};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Unit};
use crate::base::project::Project;
use crate::base::units::format_duration;
use crate::transport::provider::aws::fleet::Fleet;
use crate::transport::provider::aws::health::{Target, TargetGroup};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One target, with the name of its node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Checked {
    /// `web-0`, or its ID where it is no node.
    pub node: String,
    /// The target group's name in the template.
    pub target_group: String,
    #[serde(flatten)]
    pub target: Target,
}

/// What all target groups of a stack say.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Health {
    pub targets: Vec<Checked>,
    /// Target groups with fewer targets than the environment's groups have machines at least.
    pub short: Vec<Short>,
}

/// A target group that does not have its targets yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Short {
    pub target_group: String,
    pub targets: usize,
    pub wanted: usize,
}

impl Health {
    pub fn is_well(&self) -> bool {
        self.short.is_empty() && self.ill().next().is_none()
    }

    /// Those that are to get requests and are not healthy.
    fn ill(&self) -> impl Iterator<Item = &Checked> {
        self.targets.iter().filter(|t| !t.target.is_healthy() && !t.target.is_leaving())
    }

    /// `2 of 4 healthy; web-1: initial, Elb.RegistrationInProgress`
    fn progress(&self) -> String {
        let staying = self.targets.iter().filter(|t| !t.target.is_leaving()).count();
        let mut parts = vec![format!("{} of {staying} healthy", staying - self.ill().count())];
        parts.extend(self.short.iter().map(Short::words));
        let ill = |t: &Checked| match &t.target.reason {
            Some(reason) => format!("{}: {}, {reason}", t.node, t.target.state),
            None => format!("{}: {}", t.node, t.target.state),
        };
        parts.extend(self.ill().take(3).map(ill));
        let more = self.ill().count().saturating_sub(3);
        if more > 0 {
            parts.push(format!("{more} more"));
        }
        parts.join("; ")
    }

    /// Each target that is not well, with AWS's reason and what to try.
    fn error(&self, environment: &Environment, waited: Duration) -> Error {
        let waited = format_duration(waited);
        let (ill, all) = (self.ill().count(), self.targets.len());
        let what = match (ill, self.short.first()) {
            (0, Some(short)) => short.words(),
            _ => format!("{ill} of {all} targets of the load balancer are not healthy"),
        };
        let failed = self.ill().map(|t| {
            let said = t.target.description.as_deref().or(t.target.reason.as_deref()).unwrap_or("no reason is given");
            let code = t.target.reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
            let error = Error::new(Kind::Provider, format!("{}: {said}{code}", t.target.state)).on_node(&t.node);
            error.hint(advice(t, environment))
        });
        let error = Error::new(Kind::Timeout, format!("{what} after {waited}")).with_failed(failed.collect());
        let error = match self.short.first() {
            None => error,
            Some(short) => error.hint(format!(
                "{}: look at its auto-scaling group's activities, and whether the group's machines start.",
                short.words()
            )),
        };
        let name = &environment.name;
        error.hint(format!(
            "To wait longer: `health: {{ timeout: 20m }}` in environments/{name}.yml. Run the same command again to go on."
        ))
    }
}

impl Short {
    fn words(&self) -> String {
        format!("{} has {} of {} targets", self.target_group, self.targets, self.wanted)
    }
}

/// What to try for AWS's reason.
fn advice(checked: &Checked, environment: &Environment) -> String {
    let (stack, node) = (&environment.stack, &checked.node);
    let port = checked.target.port.map_or_else(|| "its port".to_owned(), |p| format!("port {p}"));
    match checked.target.reason.as_deref().unwrap_or_default() {
        "Elb.RegistrationInProgress" | "Elb.InitialHealthChecking" | "Target.RegistrationInProgress" => {
            "It has not been checked often enough yet: wait longer.".to_owned()
        }
        "Target.ResponseCodeMismatch" => {
            format!(
                "It answers, and not as the health check wants. See what it says to the path of its target group's health check: opsrun exec {stack} {node} -- curl -si http://127.0.0.1/…"
            )
        }
        "Target.Timeout" => {
            format!(
                "It does not answer in time on {port}: is it overloaded, or does its security group shut the load balancer out?"
            )
        }
        "Target.FailedHealthChecks" => {
            format!("Nothing answers on {port}: does the service run? opsrun exec {stack} {node} -- systemctl --failed")
        }
        "Target.NotInUse" => "No listener leads to its target group, or the load balancer is not in its zone.".to_owned(),
        "Target.InvalidState" | "Target.IpUnusable" => {
            "The machine does not run: start it, or have the stack replace it.".to_owned()
        }
        "Target.NotRegistered" => "It is no longer in its target group.".to_owned(),
        "Elb.InternalError" => "The load balancer itself fails: see AWS's health dashboard, and wait.".to_owned(),
        _ => format!("See how it is: opsrun ssh {stack} {node}"),
    }
}

/// What the stack's load balancers say now. `names` are of nodes, by the IDs of their machines.
pub(super) async fn look(
    fleet: &Fleet,
    groups: &[TargetGroup],
    names: &BTreeMap<String, String>,
    environment: &Environment,
    cx: &Cx,
) -> Result<Health> {
    let mut health = Health::default();
    for (group, targets) in groups.iter().zip(fleet.targets(groups, cx).await?) {
        let of = group.group.as_deref().and_then(|name| environment.groups.iter().find(|g| g.name == name));
        let wanted = of.map_or(1, |g| g.min.map_or(1, |min| usize::try_from(min).unwrap_or(1)));
        let staying = targets.iter().filter(|t| !t.is_leaving()).count();
        if staying < wanted {
            health.short.push(Short { target_group: group.logical_id.clone(), targets: staying, wanted });
        }
        health.targets.extend(targets.into_iter().map(|target| Checked {
            node: names.get(&target.id).unwrap_or(&target.id).clone(),
            target_group: group.logical_id.clone(),
            target,
        }));
    }
    health.targets.sort_by(|a, b| (&a.target_group, &a.node).cmp(&(&b.target_group, &b.node)));
    Ok(health)
}

/// Waits until every target of the stack's load balancers is healthy, and there are as many as the environment's groups have
/// machines at least. A stack without load balancers is well at once.
pub async fn wait(project: &Project, environment: &Environment, cx: &Cx) -> Result<Health> {
    let fleet = hosts_of(project, environment)?;
    let groups = fleet.target_groups(&environment.stack, cx).await?;
    if groups.is_empty() {
        return Ok(Health::default());
    }
    let mut names = names(&fleet, cx).await?;
    let progress = cx.events.progress(format!("waiting for {} to be healthy", environment.stack), 0, Unit::Items);
    let (start, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        let mut health = look(&fleet, &groups, &names, environment, cx).await?;
        if health.targets.iter().any(|t| t.target.id.starts_with("i-") && !names.contains_key(&t.target.id)) {
            // A group has replaced some meanwhile.
            names = self::names(&fleet, cx).await?;
            for one in &mut health.targets {
                one.node = names.get(&one.target.id).unwrap_or(&one.target.id).clone();
            }
        }
        if health.is_well() {
            return Ok(health);
        }
        let waited = start.elapsed();
        if waited >= environment.health_timeout {
            return Err(health.error(environment, environment.health_timeout).begun());
        }
        progress.label(format!("waiting for {}: {}", environment.stack, health.progress()));
        let nap = pause.min(environment.health_timeout.saturating_sub(waited));
        cx.cancel.pause(nap).await?;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

async fn names(fleet: &Fleet, cx: &Cx) -> Result<BTreeMap<String, String>> {
    Ok(fleet.hosts(cx).await?.into_iter().map(|h| (h.id, h.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(node: &str, state: &str, reason: &str) -> Checked {
        let reason = Some(reason.to_owned()).filter(|r| !r.is_empty());
        let target = Target { id: node.to_owned(), port: Some(80), state: state.to_owned(), reason, description: None };
        Checked { node: node.to_owned(), target_group: "Web".to_owned(), target }
    }

    #[test]
    fn progress_is_told_in_a_line() {
        let mut health = Health {
            targets: vec![
                target("web-0", "healthy", ""),
                target("web-1", "initial", "Elb.RegistrationInProgress"),
                target("web-2", "draining", "Target.DeregistrationInProgress"),
            ],
            short: Vec::new(),
        };
        assert_eq!(health.progress(), "1 of 2 healthy; web-1: initial, Elb.RegistrationInProgress");
        assert!(!health.is_well());
        health.targets.remove(1);
        assert!(health.is_well(), "one that leaves need not be healthy");
        health.short.push(Short { target_group: "Web".to_owned(), targets: 1, wanted: 2 });
        assert!(!health.is_well());
        assert_eq!(health.progress(), "1 of 1 healthy; Web has 1 of 2 targets");
    }
}
