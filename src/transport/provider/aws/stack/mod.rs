//! Stacks of CloudFormation: its calls, with plain data in and out.
//!
//! Nothing of a stack is kept here: it is found by its name. A call that changes something may be made twice (by the SDK, when
//! an answer is lost): it carries a token or a name by which CloudFormation knows it again, or it says what is to be and not
//! what is to be done.

pub mod change_set;
pub mod drift;
pub mod ending;
pub mod events;
pub mod problems;
pub mod settings;
mod status;
pub mod templates;

pub use events::StackEvent;
pub use status::Status;

use super::client::{Answer, Client, Trouble};
use super::fault::Fault;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use aws_sdk_cloudformation::config::http::HttpResponse;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudformation::primitives::DateTime;
use aws_sdk_cloudformation::types::Tag;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// By key.
pub type Tags = BTreeMap<String, String>;

/// A stack as AWS has it.
#[derive(Clone, Debug)]
pub struct Described {
    /// The ARN, which outlives the name: a deleted stack is found by it alone.
    pub id: String,
    pub name: String,
    pub status: Status,
    pub reason: Option<String>,
    /// Values of hidden ones are `****`.
    pub parameters: BTreeMap<String, String>,
    pub outputs: Vec<Output>,
    pub tags: Tags,
    pub protected: bool,
    pub created: Option<Timestamp>,
    pub updated: Option<Timestamp>,
    pub role_arn: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Output {
    pub name: String,
    pub value: String,
    pub description: Option<String>,
}

/// Something in a stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    pub logical_id: String,
    pub physical_id: Option<String>,
    pub kind: String,
    /// `UPDATE_FAILED`
    pub status: String,
    pub reason: Option<String>,
}

impl Resource {
    /// It was made, and the stack has not let go of it.
    pub fn is_there(&self) -> bool {
        self.physical_id.is_some() && !matches!(self.status.as_str(), "DELETE_COMPLETE" | "DELETE_SKIPPED")
    }
}

/// Returns the stack of this name or ID; none when there is none (a deleted one is found by its ID only).
pub async fn describe(client: &Client, stack: &str, cx: &Cx) -> Result<Option<Described>> {
    let request = client.stacks.describe_stacks().stack_name(stack);
    let answer = match client.read("cloudformation:DescribeStacks", cx, request.send()).await {
        Err(trouble) if trouble.is(is_gone) => return Ok(None),
        other => other?,
    };
    answer.stacks.unwrap_or_default().into_iter().next().map(described).transpose()
}

fn described(stack: aws_sdk_cloudformation::types::Stack) -> Result<Described> {
    let word = stack.stack_status.as_ref().map_or("", |s| s.as_str()).to_owned();
    let name = stack.stack_name.unwrap_or_default();
    let status = Status::from_name(&word).ok_or_else(|| {
        Error::new(Kind::Provider, format!("stack {name} has a status that opsrun does not know: {word}"))
            .hint("It is newer than this opsrun: look at the stack in the console.")
    })?;
    let parameter = |p: aws_sdk_cloudformation::types::Parameter| {
        // Where the value is the name of a parameter of SSM, what that stands for is another matter.
        Some((p.parameter_key?, p.parameter_value.unwrap_or_default()))
    };
    let output = |o: aws_sdk_cloudformation::types::Output| {
        Some(Output { name: o.output_key?, value: o.output_value.unwrap_or_default(), description: o.description })
    };
    Ok(Described {
        id: stack.stack_id.unwrap_or_default(),
        name,
        status,
        reason: stack.stack_status_reason.filter(|r| !r.is_empty()),
        parameters: stack.parameters.unwrap_or_default().into_iter().filter_map(parameter).collect(),
        outputs: stack.outputs.unwrap_or_default().into_iter().filter_map(output).collect(),
        tags: tags_of(stack.tags.as_deref().unwrap_or_default()),
        protected: stack.enable_termination_protection == Some(true),
        created: time(stack.creation_time.as_ref()),
        updated: time(stack.last_updated_time.as_ref()),
        role_arn: stack.role_arn,
    })
}

/// All that is in a stack, or was, where the stack is found by its ID.
pub async fn resources(client: &Client, stack: &str, cx: &Cx) -> Result<Vec<Resource>> {
    let mut found = Vec::new();
    let mut next = None;
    loop {
        let request = client.stacks.list_stack_resources().stack_name(stack).set_next_token(next);
        let answer = match client.read("cloudformation:ListStackResources", cx, request.send()).await {
            Err(trouble) if trouble.is(is_gone) => return Ok(found),
            other => other?,
        };
        found.extend(answer.stack_resource_summaries.unwrap_or_default().into_iter().map(|r| Resource {
            logical_id: r.logical_resource_id.unwrap_or_default(),
            physical_id: r.physical_resource_id.filter(|id| !id.is_empty()),
            kind: r.resource_type.unwrap_or_default(),
            status: r.resource_status.map(|s| s.as_str().to_owned()).unwrap_or_default(),
            reason: r.resource_status_reason.filter(|r| !r.is_empty()),
        }));
        next = answer.next_token;
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// Makes a call that changes something. Ctrl-C does not cut it off, because then nobody would know what came of it; it ends by
/// itself, after the retries of the SDK.
pub fn change<'a, T, E>(
    call: &'static str,
    cx: &'a Cx,
    send: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
) -> BoxFuture<'a, Answer<T>>
where
    T: Send + 'a,
    E: ProvideErrorMetadata + std::error::Error + Send + 'static,
{
    Box::pin(async move {
        cx.cancel.check()?;
        send.await.map_err(|e| Trouble::Refused(Fault::new(call, &e)))
    })
}

/// CloudFormation has no code of its own for a stack that is not there.
pub(super) fn is_gone(fault: &Fault) -> bool {
    fault.is_absent() || (fault.is("ValidationError") && fault.message.contains("does not exist"))
}

pub(super) fn time(time: Option<&DateTime>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).unwrap_or_default()).ok()
}

pub(super) fn tags_of(tags: &[Tag]) -> Tags {
    tags.iter().filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned()))).collect()
}
