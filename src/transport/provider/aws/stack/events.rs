//! What happens in a stack, as it tells it.

use super::{Client, time};
use crate::base::error::Result;
use crate::base::event::Cx;
use aws_sdk_cloudformation::types::{EventFilter, OperationEvent};
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

/// Where an operation ended because AWS found mistakes before it did anything, its events say only how many. Returns them as
/// failures of the resources they are about, as if they had happened at this time.
pub async fn mistakes(client: &Client, stack: &str, at: Timestamp, cx: &Cx) -> Result<Vec<StackEvent>> {
    let filter = EventFilter::builder().failed_events(true).build();
    let request = client.stacks.describe_events().stack_name(stack).filters(filter);
    let answer = client.read("cloudformation:DescribeEvents", cx, request.send()).await?;
    let ours = answer.operation_events.unwrap_or_default().into_iter();
    let mistake = |e: OperationEvent| {
        let reason = e.validation_status_reason.filter(|r| !r.is_empty())?;
        let update = e.operation_type.is_some_and(|t| t.as_str().starts_with("UPDATE"));
        Some(StackEvent {
            id: e.event_id.unwrap_or_default(),
            at,
            stack: stack.rsplit('/').nth(1).unwrap_or(stack).to_owned(),
            stack_id: stack.to_owned(),
            logical_id: e.logical_resource_id.unwrap_or_default(),
            physical_id: e.physical_resource_id.filter(|id| !id.is_empty()),
            kind: e.resource_type.unwrap_or_default(),
            status: if update { "UPDATE_FAILED" } else { "CREATE_FAILED" }.to_owned(),
            reason: Some(match e.validation_path.filter(|p| p.contains("/Properties/")) {
                Some(path) => format!("{}: {reason}", path.rsplit("/Properties/").next().unwrap_or(&path)),
                None => reason,
            }),
            token: None,
            operation: e.operation_id,
        })
    };
    let since = |e: &OperationEvent| time(e.timestamp.as_ref()).is_none_or(|t| t >= at);
    Ok(ours.filter(since).filter_map(mistake).collect())
}
