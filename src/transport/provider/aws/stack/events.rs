//! What happens in a stack, as it tells it.

use super::{Client, time};
use crate::base::error::Result;
use crate::base::event::Cx;
use jiff::Timestamp;
use serde::Serialize;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StackEvent {
    pub id: String,
    pub at: Timestamp,
    /// The name of the stack it happened in, which may be a nested one.
    pub stack: String,
    #[serde(skip)]
    pub stack_id: String,
    pub logical_id: String,
    pub physical_id: Option<String>,
    /// `AWS::RDS::DBInstance`
    pub kind: String,
    /// `CREATE_FAILED`
    pub status: String,
    pub reason: Option<String>,
    /// Of the call that it came from.
    pub token: Option<String>,
    /// The operation that it is part of, where AWS tells it.
    #[serde(skip)]
    pub operation: Option<String>,
}

impl StackEvent {
    /// It is about the stack as a whole, not about something in it.
    pub fn is_of_stack(&self) -> bool {
        self.kind == NESTED && self.physical_id.as_deref() == Some(&self.stack_id)
    }

    pub fn is_failure(&self) -> bool {
        self.status.ends_with("_FAILED")
    }

    pub fn is_working(&self) -> bool {
        self.status.ends_with("_IN_PROGRESS")
    }
}

/// The type of a stack within a stack.
pub const NESTED: &str = "AWS::CloudFormation::Stack";

/// Some events, newest first.
pub struct Page {
    pub events: Vec<StackEvent>,
    pub next: Option<String>,
}

/// Returns one page, the newest first. `next` is of the page before. A stack that is gone, and is asked for by its name, has none.
pub async fn page(client: &Client, stack: &str, next: Option<String>, cx: &Cx) -> Result<Page> {
    let request = client.stacks.describe_stack_events().stack_name(stack).set_next_token(next);
    let answer = match client.read("cloudformation:DescribeStackEvents", cx, request.send()).await {
        Err(trouble) if trouble.is(super::is_gone) => return Ok(Page { events: Vec::new(), next: None }),
        other => other?,
    };
    let events = answer.stack_events.unwrap_or_default().into_iter().map(|e| StackEvent {
        id: e.event_id.unwrap_or_default(),
        at: time(e.timestamp.as_ref()).unwrap_or_default(),
        stack: e.stack_name.unwrap_or_default(),
        stack_id: e.stack_id.unwrap_or_default(),
        logical_id: e.logical_resource_id.unwrap_or_default(),
        physical_id: e.physical_resource_id.filter(|id| !id.is_empty()),
        kind: e.resource_type.unwrap_or_default(),
        status: e.resource_status.map(|s| s.as_str().to_owned()).unwrap_or_default(),
        reason: e.resource_status_reason.filter(|r| !r.is_empty()),
        token: e.client_request_token.filter(|t| !t.is_empty()),
        operation: e.operation_id.filter(|o| !o.is_empty()),
    });
    Ok(Page { events: events.collect(), next: answer.next_token })
}
