//! The stack of an environment: CloudFormation is the source of truth, nothing about it is kept here.
//!
//! `plan` makes a change set and says what it means (`change`, `values`), `apply` has it done, `follow` tells what happens in
//! the stack until it rests, `explain` why an operation failed. `status` says what each verb does in each of a stack's statuses.
//! `show` is a plan in lines, for whoever shows it.

mod advice;
mod apply;
mod change;
mod draft;
pub mod drift;
pub mod explain;
mod follow;
mod left_over;
mod plan;
mod removal;
pub mod show;
pub mod status;
mod story;
mod values;

#[cfg(test)]
mod explain_tests;

pub use crate::transport::provider::aws::stack::{Output, StackEvent, Status};
pub use apply::Applied;
pub use change::{Change, Effect};
pub use drift::DriftReport;
pub use left_over::LeftOver;
pub use plan::{Kind, Plan, Wanted};
pub use removal::{Confirmed, Removal};
pub use values::ValueChange;

use super::deployment::{self, Inputs};
use super::environment::Environment;
use crate::base::error::{Error, Kind as ErrorKind, Result};
use crate::base::event::Cx;
use crate::transport::provider::aws::Client;
use crate::transport::provider::aws::stack::{self as cloud, Described, Tags, change_set};
use crate::transport::provider::calls::Unwritten;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Says whose a stack is, with `App` and `Env`: `<app>-<env>`.
pub const ENVIRONMENT: &str = "opsrun:environment";
/// How the names of our change sets begin.
const OURS: &str = "opsrun-";
/// The first wait between two looks at AWS; the waits grow to ten of these.
const PACE: Duration = Duration::from_secs(1);
/// The settle time that goes with it: for another one, the pace is another one.
const SETTLE: u32 = 120;
const FASTEST: Duration = Duration::from_millis(20);

/// The stack of an environment, which may not be there yet.
pub struct Stack {
    pub name: String,
    environment: Environment,
    client: Client,
    settle: Duration,
}

/// A stack as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct Look {
    pub id: String,
    pub status: Status,
    pub reason: Option<String>,
    pub outputs: Vec<Output>,
    /// Values of hidden ones are `****`.
    pub parameters: BTreeMap<String, String>,
    pub tags: Tags,
    /// It is not deleted as long as this is on.
    pub protected: bool,
    pub created: Option<Timestamp>,
    pub updated: Option<Timestamp>,
}

impl Stack {
    /// Connects to where it is, or will be. No request is made.
    pub async fn open(environment: &Environment) -> Result<Self> {
        let access = deployment::aws_access(&environment.config("groups: {}")?, Inputs::files(&[]))?;
        let settle = access.settle;
        let client = Client::connect(&access, Arc::new(Unwritten::default())).await?;
        Ok(Self { name: environment.stack.clone(), environment: environment.clone(), client, settle })
    }

    /// Returns it as it is; none when there is none. One of this name that belongs to somebody else is an error.
    pub async fn look(&self, cx: &Cx) -> Result<Option<Look>> {
        let Some(found) = cloud::describe(&self.client, &self.name, cx).await? else { return Ok(None) };
        self.check_owner(&found, cx).await?;
        Ok(Some(Look {
            id: found.id,
            status: found.status,
            reason: found.reason,
            outputs: found.outputs,
            parameters: found.parameters,
            tags: found.tags,
            protected: found.protected,
            created: found.created,
            updated: found.updated,
        }))
    }

    /// The tags of the stack, which AWS hands on to what is in it.
    fn tags(&self) -> Tags {
        let environment = &self.environment;
        let mut tags: Tags = environment.tags().map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        tags.insert(ENVIRONMENT.to_owned(), format!("{}-{}", environment.app, environment.env));
        tags
    }

    async fn check_owner(&self, found: &Described, cx: &Cx) -> Result<()> {
        // A stack that was only reviewed shows no tags yet: its change sets tell who began it.
        if found.status == Status::ReviewInProgress && found.tags.is_empty() {
            let sets = change_set::list(&self.client, &self.name, cx).await?;
            let Some(strange) = sets.iter().find(|s| !s.name.starts_with(OURS)) else { return Ok(()) };
            return Err(self.somebody_elses(&format!("it waits for change set {}, which opsrun did not make", strange.name)));
        }
        for (key, wanted) in self.tags() {
            match found.tags.get(&key) {
                Some(value) if *value == wanted => {}
                Some(value) => {
                    return Err(self.somebody_elses(&format!("its tag {key} is \"{value}\", and would be \"{wanted}\"")));
                }
                None => return Err(self.somebody_elses(&format!("it has no tag {key}"))),
            }
        }
        Ok(())
    }

    fn somebody_elses(&self, why: &str) -> Error {
        let tags: Vec<String> = self.tags().iter().map(|(k, v)| format!("{k}={v}")).collect();
        Error::new(ErrorKind::Provider, format!("stack {} in {} belongs to somebody else: {why}", self.name, self.client.region))
            .hint("Nothing was touched. Give this environment's stack another name (`stack: NAME`), or use another region or account.")
            .hint(format!("If it is this environment's all the same, tag it: {}.", tags.join(", ")))
    }

    /// The first wait between two looks.
    fn pace(&self) -> Duration {
        (self.settle / SETTLE).clamp(FASTEST, PACE)
    }
}

/// A wait that grows, until something happens.
struct Waits {
    first: Duration,
    next: Duration,
}

impl Waits {
    fn new(first: Duration) -> Self {
        Self { first, next: first }
    }

    /// Something happened: more may follow soon.
    fn restart(&mut self) {
        self.next = self.first;
    }

    async fn wait(&mut self, cx: &Cx) -> Result<()> {
        let now = self.next;
        self.next = (now * 3 / 2).min(self.first * 10);
        cx.cancel.pause(now).await
    }
}
