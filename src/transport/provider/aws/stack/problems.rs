//! What AWS finds wrong before it does anything. It is told nowhere but in the events of the operation.

use super::{Answer, Client, time};
use crate::base::event::Cx;
use aws_sdk_cloudformation::types::EventFilter;
use jiff::Timestamp;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub id: String,
    pub at: Timestamp,
    pub logical_id: String,
    pub kind: String,
    /// `/Resources/Database/Properties/Engine`
    pub path: Option<String>,
    pub why: String,
}

impl Problem {
    /// `no such engine (/Resources/Database/Properties/Engine)`
    pub fn reason(&self) -> String {
        let path = self.path.as_ref().map(|p| format!(" ({p})")).unwrap_or_default();
        format!("{}{path}", self.why.trim_end_matches('.'))
    }
}

/// Returns what is wrong with a change set, or with what was last asked of the stack.
pub async fn of(client: &Client, stack: &str, change_set: Option<&str>, cx: &Cx) -> Answer<Vec<Problem>> {
    let mut found = Vec::new();
    let mut next = None;
    loop {
        let request = client.stacks.describe_events().stack_name(stack).set_change_set_name(change_set.map(str::to_owned));
        let request = request.filters(EventFilter::builder().failed_events(true).build()).set_next_token(next);
        let answer = client.read("cloudformation:DescribeEvents", cx, request.send()).await?;
        found.extend(answer.operation_events.unwrap_or_default().into_iter().filter_map(problem));
        next = answer.next_token;
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// What is no failure of a check, the stack tells itself.
fn problem(event: aws_sdk_cloudformation::types::OperationEvent) -> Option<Problem> {
    let why = [event.validation_status_reason, event.hook_status_reason].into_iter().flatten().find(|r| !r.is_empty())?;
    Some(Problem {
        id: event.event_id.unwrap_or_default(),
        at: time(event.timestamp.as_ref()).unwrap_or_default(),
        logical_id: event.logical_resource_id.unwrap_or_default(),
        kind: event.resource_type.unwrap_or_default(),
        path: event.validation_path.filter(|p| !p.is_empty()),
        why,
    })
}
