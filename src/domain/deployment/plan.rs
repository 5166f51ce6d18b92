//! What it takes to make a deployment what the config says.

use super::cost::{self, CostChange};
use super::expiry::{self, Ending};
use super::{Request, site};
use crate::base::error::Result;
use crate::base::event::Cx;
use crate::domain::config::ProviderKind;
use crate::domain::config::prices::Prices;
use crate::transport::provider::aws::AT_EXPIRY;
use crate::transport::provider::{Fixture, NodeFound, NodeSpec, Remedy};
use crate::transport::state::Record;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// What will happen to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Create,
    Remove,
    /// Removed and made anew, because it differs from what is wanted.
    Change,
    /// Exists but does not run: brought back.
    Repair,
    /// Differs in what can be changed without making it anew.
    Adjust,
    /// Runs, and is to be kept without running.
    Stop,
    Unchanged,
}

impl Action {
    /// Whether a node that exists, and what is on it, will be lost.
    pub fn destroys(self) -> bool {
        matches!(self, Self::Remove | Self::Change)
    }
}

/// One node's part of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeChange {
    pub node: String,
    pub group: String,
    pub index: usize,
    pub action: Action,
    /// Why; empty for a node that stays as it is.
    pub reason: String,
    /// What is lost by it that needs `--replace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loses: Option<String>,
}

/// Everything that `apply` would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Plan {
    pub name: String,
    pub provider: String,
    /// There is no deployment of this name yet.
    pub new: bool,
    /// Nodes to remove first, highest index first, then the others in the config's order.
    pub changes: Vec<NodeChange>,
    /// What happens to what is no node: networks, keys, open ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Fixture>,
    /// When it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What happens then to the machines of each group.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endings: BTreeMap<String, Ending>,
    /// What it costs by the hour, before and after; none where the config names no prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostChange>,
    /// Settings that differ from the last time and touch no node, by their dotted names.
    pub settings: Vec<String>,
    /// What the user should know.
    pub notes: Vec<String>,
    #[serde(skip)]
    pub(super) specs: Vec<NodeSpec>,
    /// What the config's words for images mean.
    #[serde(skip)]
    pub(super) images: BTreeMap<String, String>,
}

impl Plan {
    /// Returns how many nodes this happens to.
    pub fn count(&self, action: Action) -> usize {
        self.of(action).count()
    }

    pub(super) fn of(&self, action: Action) -> impl Iterator<Item = &NodeChange> {
        self.changes.iter().filter(move |c| c.action == action)
    }

    /// Whether anything that exists will be lost.
    pub fn destroys(&self) -> bool {
        self.changes.iter().any(|c| c.action.destroys())
    }

    /// Whether all is as it should be.
    pub fn is_empty(&self) -> bool {
        !self.new
            && self.settings.is_empty()
            && self.resources.is_empty()
            && self.changes.iter().all(|c| c.action == Action::Unchanged)
    }

    /// Returns the specs of nodes to which one of these happens.
    pub(super) fn specs_of(&self, actions: &[Action]) -> Vec<NodeSpec> {
        let wanted = |spec: &&NodeSpec| self.changes.iter().any(|c| c.node == spec.name && actions.contains(&c.action));
        self.specs.iter().filter(wanted).cloned().collect()
    }
}

/// Finds out what there is, and what it takes to get to the request. Changes nothing.
pub async fn plan(request: &Request, cx: &Cx) -> Result<Plan> {
    let record = request.store.read()?;
    request.check(record.as_ref())?;
    request.provider.check(&request.specs())?;
    let pinned = record.as_ref().map(|r| r.images.clone()).unwrap_or_default();
    let resolved = request.provider.resolve(&pinned, request.refresh_images, cx).await?;
    let found = match &record {
        Some(record) => request.provider.list(&site(&request.store, record, &request.config), cx).await?,
        None => Vec::new(),
    };
    let mut plan = compare(request, record.as_ref(), &found)?;
    let place = record.unwrap_or_else(|| request.record(Uuid::nil()));
    let site = site(&request.store, &place, &request.config);
    let survey = request.provider.survey(&site, &plan.specs, cx).await?;
    plan.resources = survey.fixtures;
    plan.notes.extend(resolved.notes);
    plan.notes.extend(survey.notes);
    plan.images = resolved.pins;
    plan.notes.extend(time_notes(request, &plan, &found));
    Ok(plan)
}

/// The plan, from what is wanted, recorded and found.
pub(super) fn compare(request: &Request, record: Option<&Record>, found: &[NodeFound]) -> Result<Plan> {
    let specs = request.specs();
    let reasons = Reasons { old: Request::old_counts(record)?, request, record };
    let mut gone: Vec<&NodeFound> = found.iter().filter(|f| specs.iter().all(|s| s.name != f.spec.name)).collect();
    gone.sort_by(|a, b| (&a.spec.group, b.spec.index).cmp(&(&b.spec.group, a.spec.index)));
    let mut changes: Vec<NodeChange> =
        gone.iter().map(|f| change(&f.spec, Action::Remove, reasons.for_removal(&f.spec.group))).collect();
    for spec in &specs {
        let (action, reason) = match found.iter().find(|f| f.spec.name == spec.name) {
            None => (Action::Create, reasons.for_creation(spec)),
            Some(_) if record.is_some_and(|r| r.tainted.contains(&spec.name)) => {
                let group = request.config.group(&spec.group);
                let stateful = group.is_some_and(|g| g.options.get("stateful") == Some(&Value::Bool(true)));
                let loses = stateful.then(|| format!("group {} is stateful", spec.group));
                changes.push(NodeChange { loses, ..change(spec, Action::Change, "tainted".to_owned()) });
                continue;
            }
            Some(f) => {
                changes.push(match request.provider.difference(f, spec) {
                    None => change(spec, Action::Unchanged, String::new()),
                    Some(d) => NodeChange { loses: d.loses, ..change(spec, action_of(d.remedy), d.reason) },
                });
                continue;
            }
        };
        changes.push(change(spec, action, reason));
    }
    Ok(Plan {
        name: request.name().to_owned(),
        provider: request.config.provider.name().to_owned(),
        new: record.is_none(),
        changes,
        resources: Vec::new(),
        expires_at: expiry::expires_at(&request.config, request.created, request.extended),
        endings: endings(request),
        cost: cost_of(request, found)?,
        // Of one that was adopted without its config nobody knows what it said.
        settings: record
            .filter(|r| !r.inputs.is_empty())
            .map(|r| setting_differences(&r.config, &request.config.to_json()))
            .unwrap_or_default(),
        notes: notes(request)?,
        specs,
        images: BTreeMap::new(),
    })
}

fn change(spec: &NodeSpec, action: Action, reason: String) -> NodeChange {
    NodeChange { node: spec.name.clone(), group: spec.group.clone(), index: spec.index, action, reason, loses: None }
}

fn action_of(remedy: Remedy) -> Action {
    match remedy {
        Remedy::Replace => Action::Change,
        Remedy::Adjust => Action::Adjust,
        Remedy::Start => Action::Repair,
        Remedy::Stop => Action::Stop,
    }
}

struct Reasons<'a> {
    old: Vec<(String, usize)>,
    request: &'a Request,
    record: Option<&'a Record>,
}

impl Reasons<'_> {
    fn counts(&self, group: &str) -> (Option<usize>, Option<usize>) {
        let old = self.old.iter().find(|(name, _)| name == group).map(|(_, count)| *count);
        (old, self.request.config.group(group).map(|g| g.count))
    }

    fn for_creation(&self, spec: &NodeSpec) -> String {
        let Some(record) = self.record else { return "new".to_owned() };
        if record.nodes.iter().any(|n| n.name == spec.name) {
            return "it is gone".to_owned();
        }
        match self.counts(&spec.group) {
            (None, _) => "new group".to_owned(),
            (Some(old), Some(new)) if spec.index >= old => format!("{}: {old} to {new} nodes", spec.group),
            _ => "it was never made".to_owned(),
        }
    }

    fn for_removal(&self, group: &str) -> String {
        match self.counts(group) {
            (_, None) => format!("group {group} is no longer in the config"),
            (Some(old), Some(new)) if new < old => format!("{group}: {old} to {new} nodes"),
            (_, Some(new)) => format!("{group} has {new} nodes in the config"),
        }
    }
}

/// Dotted names of what differs, nodes apart.
fn setting_differences(old: &Value, new: &Value) -> Vec<String> {
    fn walk(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
        if old == new {
            return;
        }
        let empty = serde_json::Map::new();
        let (a, b) = match (old, new) {
            (Value::Object(a), Value::Object(b)) => (a, b),
            (Value::Object(a), Value::Null) => (a, &empty),
            (Value::Null, Value::Object(b)) => (&empty, b),
            _ => return out.push(path.to_owned()),
        };
        for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if path == "groups" {
                continue;
            }
            walk(&path, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), out);
        }
    }
    let mut out = Vec::new();
    walk("", old, new, &mut out);
    out
}

fn endings(request: &Request) -> BTreeMap<String, Ending> {
    let groups = request.config.groups.iter().filter(|_| request.config.provider == ProviderKind::Aws);
    groups.filter_map(|g| Some((g.name.clone(), expiry::ending(&request.config, &g.name)?))).collect()
}

fn cost_of(request: &Request, found: &[NodeFound]) -> Result<Option<CostChange>> {
    let config = &request.config;
    let change = |prices: Prices| CostChange {
        before: cost::of_found(&prices, found.iter()),
        after: cost::of_config(&prices, config, found),
        at_most: cost::at_most(&prices, config),
    };
    Ok(cost::prices(config)?.map(change))
}

/// What there is to know about the time it has left.
fn time_notes(request: &Request, plan: &Plan, found: &[NodeFound]) -> Vec<String> {
    let (name, now) = (request.name(), Timestamp::now());
    let mut notes = Vec::new();
    if let Some(at) = plan.expires_at.filter(|at| *at <= now) {
        notes.push(format!("it {}: let it live on with opsrun extend {name} 6h", expiry::words(at, now)));
    }
    let word =
        |f: &NodeFound| f.spec.options.get("tags").and_then(|t| t.get(AT_EXPIRY)).and_then(Value::as_str).map(str::to_owned);
    let armed = |f: &&NodeFound| {
        let spot = f.spec.options.get("spot") == Some(&Value::Bool(true));
        spot && word(f).as_deref() == Some("terminate") && plan.endings.get(&f.spec.group) != Some(&Ending::Terminate)
    };
    let armed: Vec<&str> = found.iter().filter(armed).map(|f| f.spec.name.as_str()).collect();
    if !armed.is_empty() {
        notes.push(format!(
            "{0} still end themselves, as spot machines cannot stop: opsrun exec {name} {1} --sudo -- systemctl disable --now opsrun-expire.timer",
            crate::domain::fleet::fold_names(&armed),
            armed.join(",")
        ));
    }
    let untimed = |f: &&NodeFound| {
        let stays = plan.changes.iter().any(|c| c.node == f.spec.name && !c.action.destroys());
        stays && plan.endings.get(&f.spec.group) == Some(&Ending::Terminate) && word(f).as_deref() != Some("terminate")
    };
    let untimed: Vec<&str> = found.iter().filter(untimed).map(|f| f.spec.name.as_str()).collect();
    if !untimed.is_empty() {
        notes.push(format!(
            "{} would not end by themselves yet: opsrun extend {name} sets their timers",
            crate::domain::fleet::fold_names(&untimed)
        ));
    }
    notes
}

fn notes(request: &Request) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let unused = request.config.unused();
    if !unused.is_empty() {
        notes.push(format!("provider {} has no use for: {}", request.config.provider.name(), unused.join(", ")));
    }
    if request.config.node_count() == 0 {
        notes.push("the config asks for no nodes".to_owned());
    }
    if let Some(entry) = request.store.journal().unfinished()? {
        notes.push(format!("the last {} was cut off before its end", entry.action));
    }
    Ok(notes)
}
