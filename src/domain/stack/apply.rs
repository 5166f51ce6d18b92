//! A plan, done.

use super::follow::Watch;
use super::{Kind, Output, Plan, Stack, StackEvent, Status};
use crate::base::error::{Error, Kind as ErrorKind, Result};
use crate::base::event::Cx;
use crate::transport::provider::aws::stack::{change_set, events, settings};
use serde::Serialize;

/// What came of it. A stack that rolled back is no error here: `events` tell why it did.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    /// The one it came to rest in.
    pub status: Status,
    pub reason: Option<String>,
    pub stack_id: String,
    pub outputs: Vec<Output>,
    /// Of this operation alone, nested stacks included, as they happened.
    pub events: Vec<StackEvent>,
    /// It was under way already.
    pub joined: bool,
}

impl Applied {
    pub fn succeeded(&self) -> bool {
        self.status.is_success()
    }
}

impl Stack {
    /// Has the plan done, and follows it until the stack rests.
    pub async fn apply(&self, plan: &Plan, cx: &Cx) -> Result<Applied> {
        plan.check()?;
        let Some(name) = &plan.change_set else { return self.only_settings(plan, cx).await };
        if plan.kind == Kind::Update {
            self.set_policy(plan, cx).await?;
        }
        let before = events::page(&self.client, &self.name, None, cx).await?.events.into_iter().next();
        let since = before.map(|e| e.id);
        let watch = Watch { token: Some(name.clone()), since, total: plan.changes.len(), ..self.watch_of(cx).await? };
        self.execute(name, watch.since.as_deref(), cx).await?;
        let applied = self.watch(watch, cx).await?;
        if applied.succeeded() {
            if plan.kind == Kind::Create {
                self.set_policy(plan, cx).await?;
            }
            self.set_protection(plan, cx).await?;
        }
        Ok(applied)
    }

    async fn only_settings(&self, plan: &Plan, cx: &Cx) -> Result<Applied> {
        if plan.kind != Kind::None {
            return Err(Error::usage(format!("stack {} must be deleted before it can be made anew", self.name))
                .hint(format!("opsrun manage {} commission does both.", self.environment.name)));
        }
        self.set_policy(plan, cx).await?;
        self.set_protection(plan, cx).await?;
        let look = self.look(cx).await?.ok_or_else(|| {
            Error::new(ErrorKind::Provider, format!("stack {} went away meanwhile", self.name))
                .hint("Run the same command again.")
        })?;
        Ok(Applied {
            status: look.status,
            reason: look.reason,
            stack_id: look.id,
            outputs: look.outputs,
            events: Vec::new(),
            joined: false,
        })
    }

    /// Has the change set done. An answer that was lost, and a second request after it, are looked into.
    async fn execute(&self, name: &str, since: Option<&str>, cx: &Cx) -> Result<()> {
        let Err(trouble) = change_set::execute(&self.client, &self.name, name, cx).await else { return Ok(()) };
        let doubtful = trouble.is(|f| f.unsure || f.is("InvalidChangeSetStatus") || f.is_absent());
        if doubtful && self.is_executed(name, since, cx).await? {
            return Ok(());
        }
        if trouble.is(|f| f.is("InvalidChangeSetStatus") || f.is_absent()) {
            return Err(Error::new(
                ErrorKind::Provider,
                format!("stack {} changed since this plan was made; nothing was done", self.name),
            )
            .hint("Is somebody else working on this environment? Plan again: run the same command once more."));
        }
        Err(trouble.into())
    }

    async fn is_executed(&self, name: &str, since: Option<&str>, cx: &Cx) -> Result<bool> {
        if let Some(set) = change_set::describe(&self.client, &self.name, name, cx).await? {
            return Ok(set.is_executed());
        }
        self.has_events(&self.name, name, since, cx).await
    }

    async fn set_policy(&self, plan: &Plan, cx: &Cx) -> Result<()> {
        match &plan.policy {
            Some(policy) => settings::set_policy(&self.client, &self.name, policy, cx).await,
            None => Ok(()),
        }
    }

    async fn set_protection(&self, plan: &Plan, cx: &Cx) -> Result<()> {
        match plan.protect {
            Some(on) => settings::protect(&self.client, &self.name, on, cx).await,
            None => Ok(()),
        }
    }
}
