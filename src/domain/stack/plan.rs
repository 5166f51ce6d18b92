//! What it takes to make a stack what the environment says, as AWS sees it.

use super::change::{self, Change, Effect};
use super::draft::Made;
use super::status::{self, Step, Verb};
use super::values::{self, ValueChange};
use super::{Look, Stack, Status};
use crate::base::error::{Error, IoResultExt, Kind as ErrorKind, Result};
use crate::base::event::Cx;
use crate::base::secret;
use crate::base::suggest::did_you_mean;
use crate::domain::environment::ParameterValue;
use crate::domain::formation::{Template, shown, type_of};
use crate::domain::resource::Diff;
use crate::transport::provider::aws::stack::change_set::{self, ChangeSet};
use crate::transport::provider::aws::stack::{settings, templates};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use std::time::Duration;

/// What the stack is to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub template: Template,
    /// For every parameter of the template.
    pub values: Vec<ParameterValue>,
    /// Data-bearing resources that may be replaced or deleted, by logical ID (`Data/Table` in nested stacks).
    pub replace: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Create,
    Update,
    /// Nothing to change.
    None,
}

/// What would become of the stack.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub stack: String,
    pub kind: Kind,
    /// Its status now; none when there is no stack.
    pub status: Option<Status>,
    /// The change set that does it. None: there is nothing to do, or the stack must be deleted before.
    pub change_set: Option<String>,
    /// The worst first.
    pub changes: Vec<Change>,
    pub parameters: Vec<ValueChange>,
    /// The template before and after; none where they are the same.
    #[serde(serialize_with = "unified")]
    pub template: Option<Diff>,
    /// What is agreed to by name, and for which resource.
    pub capabilities: Vec<Capability>,
    /// What of its settings differs: termination protection, the stack's policy.
    pub settings: Vec<String>,
    /// What the user should know.
    pub notes: Vec<String>,
    #[serde(skip)]
    pub(super) protect: Option<bool>,
    #[serde(skip)]
    pub(super) policy: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Capability {
    pub name: String,
    pub because: String,
}

impl Plan {
    /// Whether all is as it should be.
    pub fn is_empty(&self) -> bool {
        self.kind == Kind::None && self.settings.is_empty()
    }

    /// How many resources this happens to.
    pub fn count(&self, effect: Effect) -> usize {
        self.changes.iter().filter(|c| c.effect == effect).count()
    }

    /// What is not done because data would be lost that nobody named.
    pub fn refused(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|c| c.refused)
    }

    /// Fails when something in it must be named first.
    pub fn check(&self) -> Result<()> {
        let refused: Vec<&Change> = self.refused().collect();
        let Some(first) = refused.first() else { return Ok(()) };
        let names: Vec<&str> = refused.iter().map(|c| c.name.as_str()).collect();
        let word = match first.effect {
            Effect::Remove => "deleted",
            Effect::MayReplace => "replaced, perhaps",
            _ => "replaced",
        };
        let more = if refused.len() > 1 { format!(", and {} more", refused.len() - 1) } else { String::new() };
        Err(Error::new(
            ErrorKind::Provider,
            format!("{} ({}) would be {word}: {}{more}; nothing was changed", first.name, first.kind, first.data_fate()),
        )
        .hint(format!("When that is what you want, say so: --replace {}", names.join(",")))
        .hint_if((first.data_fate() == change::LOST).then(|| {
            "A DeletionPolicy or UpdateReplacePolicy of Snapshot or Retain keeps what was there beside the new one.".to_owned()
        })))
    }
}

impl Stack {
    /// Finds out, by a change set, what would become of the stack. `discard` it, or `apply` it.
    pub async fn plan(&self, wanted: &Wanted, cx: &Cx) -> Result<Plan> {
        let template = wanted.template.to_yaml()?;
        self.check_size(&template)?;
        let policy = self.wanted_policy()?;
        let look = self.look(cx).await?;
        let status = look.as_ref().map(|l| l.status);
        let create = match status::step(Verb::Plan, status.unwrap_or(Status::DeleteComplete)) {
            Step::Change => false,
            Step::FromTemplate => return Ok(self.plan_from_template(wanted, look.as_ref())),
            Step::Refuse(refusal) => {
                let status = status.unwrap_or(Status::DeleteComplete);
                return Err(refusal.error(Verb::Plan, &self.name, status, &self.environment.name));
            }
            Step::Join => return Err(self.busy(status)),
            _ => true,
        };
        if look.is_some() {
            self.sweep(cx).await?;
        }
        let before = if create { None } else { templates::of(&self.client, &self.name, cx).await? };
        let capabilities = wanted.template.capabilities();
        let names: Vec<String> = capabilities.iter().map(|(name, _)| (*name).to_owned()).collect();
        let made = self.draft(create, &template, &values::sent(&wanted.values), &names, cx).await?;
        let mut plan = self.blank(wanted, look.as_ref());
        plan.policy = policy;
        let Made::Set(set) = made else {
            // What AWS has no use for (comments, order) is no change; hidden values are as they were.
            plan.parameters.clear();
            self.compare_settings(&mut plan, look.as_ref(), cx).await?;
            return Ok(plan);
        };
        let name = set.name.clone();
        plan.kind = if create { Kind::Create } else { Kind::Update };
        plan.change_set = Some(name.clone());
        if let Some(before) = before.filter(|before| *before != template) {
            self.compare_templates(&mut plan, &before, wanted)?;
        }
        match self.complete(&mut plan, set, wanted, look.as_ref(), cx).await {
            Ok(()) => Ok(plan),
            Err(error) => {
                self.take_back(&name, create, cx).await;
                Err(error)
            }
        }
    }

    /// The diff of the templates. Defaults that must not be shown are stars in both.
    fn compare_templates(&self, plan: &mut Plan, before: &str, wanted: &Wanted) -> Result<()> {
        let Ok(before) = shown(before) else {
            plan.notes.push("the template that AWS has is not one that can be read here: it is not compared".to_owned());
            return Ok(());
        };
        let after = wanted.template.to_shown_yaml()?;
        if before == after {
            plan.notes
                .push("the template differs in what is not shown: the default of a hidden parameter, or comments".to_owned());
            return Ok(());
        }
        plan.template = Some(Diff {
            path: format!("template of {}", self.name),
            before: Some(before.into_bytes()),
            after: Some(after.into_bytes()),
            secret: false,
        });
        Ok(())
    }

    /// What the change set says.
    async fn complete(&self, plan: &mut Plan, set: ChangeSet, wanted: &Wanted, look: Option<&Look>, cx: &Cx) -> Result<()> {
        let changes = self.changes(set, cx).await?;
        plan.changes = changes.iter().map(|(above, c)| Change::new(above, c, &wanted.replace)).collect();
        change::sort(&mut plan.changes);
        if plan.changes.is_empty() {
            plan.notes.push("no resource changes: only outputs, or what holds for the stack as a whole".to_owned());
        }
        check_named(&wanted.replace, plan, &wanted.template)?;
        self.compare_settings(plan, look, cx).await
    }

    /// What is known without a change set.
    fn blank(&self, wanted: &Wanted, look: Option<&Look>) -> Plan {
        let before = look.map(|l| l.parameters.clone()).unwrap_or_default();
        let capability = |(name, because): (&str, String)| Capability { name: name.to_owned(), because };
        Plan {
            stack: self.name.clone(),
            kind: Kind::None,
            status: look.map(|l| l.status),
            change_set: None,
            changes: Vec::new(),
            parameters: values::compare(&wanted.template, &before, &wanted.values),
            template: None,
            capabilities: wanted.template.capabilities().into_iter().map(capability).collect(),
            settings: Vec::new(),
            notes: Vec::new(),
            protect: None,
            policy: None,
        }
    }

    /// AWS makes no change set for a stack that never was whole: this is what is made once it is deleted.
    fn plan_from_template(&self, wanted: &Wanted, look: Option<&Look>) -> Plan {
        let mut plan = self.blank(wanted, None);
        plan.kind = Kind::Create;
        plan.status = look.map(|l| l.status);
        plan.changes = wanted.template.resources().iter().map(|r| Change::add(&r.key, type_of(r))).collect();
        change::sort(&mut plan.changes);
        let status = look.map_or("gone", |l| l.status.name());
        plan.notes
            .push(format!("the stack is {status}: it is deleted first, then made anew; this is shown from the template alone"));
        plan
    }

    fn busy(&self, status: Option<Status>) -> Error {
        let status = status.map_or("at work", Status::name);
        Error::new(ErrorKind::Locked, format!("stack {} is {status}", self.name))
            .hint("AWS plans a change when the one before is done.")
            .hint(format!("Follow it: opsrun manage {} update", self.environment.name))
    }

    /// The stack's policy, as the environment wants it.
    fn wanted_policy(&self) -> Result<Option<String>> {
        let Some(path) = &self.environment.stack_policy else { return Ok(None) };
        let text = std::fs::read_to_string(path).at("read", path)?;
        let wrong = |e: serde_json::Error| {
            Error::config(format!("{} is no JSON: {e}", path.display()))
                .hint("A stack_policy looks like {\"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"Update:*\", \"Principal\": \"*\", \"Resource\": \"*\"}]}.")
        };
        serde_json::from_str::<Json>(&text).map_err(wrong)?;
        Ok(Some(text))
    }

    async fn compare_settings(&self, plan: &mut Plan, look: Option<&Look>, cx: &Cx) -> Result<()> {
        let protected = look.is_some_and(|l| l.protected);
        if self.environment.protected != protected {
            plan.protect = Some(self.environment.protected);
            plan.settings.push(format!("termination protection: {}", if protected { "on → off" } else { "off → on" }));
        }
        if let Some(wanted) = &plan.policy {
            let before = match look {
                Some(_) => settings::policy(&self.client, &self.name, cx).await?,
                None => None,
            };
            let json = |text: &str| serde_json::from_str::<Json>(text).ok();
            if before.as_deref().and_then(json) == json(wanted) {
                plan.policy = None;
            } else {
                plan.settings
                    .push(format!("stack policy: {}", if before.is_some() { "another one" } else { "set for the first time" }));
            }
        }
        Ok(())
    }

    /// Takes the change set back, and the stack that was only there to carry it. One that was applied stays as it is.
    pub async fn discard(&self, plan: &Plan, cx: &Cx) -> Result<()> {
        let Some(name) = &plan.change_set else { return Ok(()) };
        let set = change_set::describe(&self.client, &self.name, name, cx).await?;
        if set.is_some_and(|s| s.is_executed()) {
            return Ok(());
        }
        self.remove(name, plan.kind == Kind::Create, Duration::ZERO, cx).await
    }
}

/// Names that `--replace` gives must be there: a typo would allow nothing, and be found out late.
fn check_named(replace: &[String], plan: &Plan, template: &Template) -> Result<()> {
    let known: Vec<&str> =
        plan.changes.iter().map(|c| c.name.as_str()).chain(template.resources().iter().map(|r| r.key.as_str())).collect();
    let Some(odd) = replace.iter().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let error = Error::usage(format!("--replace {odd}: the stack has no resource of this name"));
    Err(error.hint_if(did_you_mean(odd, known)))
}

/// As patches are written, without colours.
#[allow(clippy::ref_option, reason = "serde asks for it so")]
fn unified<S: Serializer>(diff: &Option<Diff>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let Some(diff) = diff else { return serializer.serialize_none() };
    let text = |side: &Option<Vec<u8>>| String::from_utf8_lossy(side.as_deref().unwrap_or_default()).into_owned();
    let (before, after) = (text(&diff.before), text(&diff.after));
    let compared = similar::TextDiff::from_lines(&before, &after);
    let shown = compared.unified_diff().header(&diff.path, &diff.path).to_string();
    serializer.serialize_str(&secret::mask(&shown))
}
