//! Change sets: what a stack would become, before it does.

use super::{Client, Tags, change, is_gone, tags_of};
use crate::base::error::Result;
use crate::base::event::Cx;
use aws_sdk_cloudformation::types::{Capability, ChangeSetType, Parameter, Tag};

/// What a change set is made from.
pub struct Draft<'a> {
    pub stack: &'a str,
    /// It is also its token.
    pub name: &'a str,
    /// The stack is to be made; else it is there.
    pub create: bool,
    pub template: Source<'a>,
    pub parameters: &'a [(&'a str, &'a str)],
    pub capabilities: &'a [String],
    pub tags: &'a Tags,
    pub role_arn: Option<&'a str>,
}

/// Where AWS gets a template from.
pub enum Source<'a> {
    Text(&'a str),
    /// In a bucket.
    Address(&'a str),
}

/// A change set as AWS has it.
#[derive(Clone, Debug)]
pub struct ChangeSet {
    pub id: String,
    pub name: String,
    pub stack_id: String,
    /// `CREATE_COMPLETE`, `FAILED`…
    pub status: String,
    /// `AVAILABLE`, `OBSOLETE`…
    pub execution: String,
    pub reason: Option<String>,
    pub tags: Tags,
    pub changes: Vec<ResourceChange>,
}

impl ChangeSet {
    /// It was done, or is being done.
    pub fn is_executed(&self) -> bool {
        self.execution.starts_with("EXECUTE_")
    }
}

/// What would become of a resource.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResourceChange {
    pub logical_id: String,
    pub physical_id: Option<String>,
    pub kind: String,
    /// `Add`, `Modify`, `Remove`, `Import`, `Dynamic`…
    pub action: String,
    /// `True`, `False`, `Conditional`
    pub replacement: Option<String>,
    /// What the policies of the resource do with what it was: `Snapshot`, `ReplaceAndDelete`…
    pub policy: Option<String>,
    pub causes: Vec<Cause>,
    /// The change set of a nested stack.
    pub nested: Option<String>,
}

/// Why a resource would change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cause {
    /// `Properties`, `Tags`, `Metadata`…
    pub attribute: String,
    /// The property.
    pub name: Option<String>,
    /// `Always`, `Conditionally`, `Never`
    pub recreation: Option<String>,
    /// What the new value comes from: a parameter, another resource or its attribute.
    pub from: Option<String>,
}

/// One that a list shows.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: String,
    pub name: String,
    /// Part of another, which takes it with it.
    pub nested: bool,
    /// It was done, or is being done: it belongs to the story of the stack.
    pub executed: bool,
}

/// Has it made, or finds that it was made by a request whose answer was lost. Returns its ID.
pub async fn create(client: &Client, draft: &Draft<'_>, cx: &Cx) -> Result<String> {
    let parameter = |(name, value): &(&str, &str)| Parameter::builder().parameter_key(*name).parameter_value(*value).build();
    let kind = if draft.create { ChangeSetType::Create } else { ChangeSetType::Update };
    let request = client
        .stacks
        .create_change_set()
        .stack_name(draft.stack)
        .change_set_name(draft.name)
        .client_token(draft.name)
        .change_set_type(kind)
        .include_nested_stacks(true)
        .set_parameters(Some(draft.parameters.iter().map(parameter).collect()))
        .set_capabilities(Some(draft.capabilities.iter().map(|c| Capability::from(c.as_str())).collect()))
        .set_tags(Some(draft.tags.iter().map(|(k, v)| Tag::builder().key(k).value(v).build()).collect()))
        .set_role_arn(draft.role_arn.map(str::to_owned));
    let request = match draft.template {
        Source::Text(text) => request.template_body(text),
        Source::Address(url) => request.template_url(url),
    };
    match change("cloudformation:CreateChangeSet", cx, request.send()).await {
        // Nobody else has this name.
        Err(trouble) if trouble.is(|f| f.is("AlreadyExistsException") && f.message.contains(draft.name)) => {
            Ok(describe(client, draft.stack, draft.name, cx).await?.map(|c| c.id).unwrap_or_default())
        }
        other => Ok(other?.id.unwrap_or_default()),
    }
}

/// Returns the change set with all its changes, by name or ID; none when there is none.
pub async fn describe(client: &Client, stack: &str, name: &str, cx: &Cx) -> Result<Option<ChangeSet>> {
    let mut found: Option<ChangeSet> = None;
    let mut next = None;
    loop {
        let request = client.stacks.describe_change_set().change_set_name(name).set_next_token(next);
        let request = if stack.is_empty() { request } else { request.stack_name(stack) };
        let answer = match client.read("cloudformation:DescribeChangeSet", cx, request.send()).await {
            Err(trouble) if trouble.is(is_gone) => return Ok(None),
            other => other?,
        };
        let changes = answer.changes.unwrap_or_default().into_iter().filter_map(|c| c.resource_change).map(resource_change);
        let set = found.get_or_insert_with(|| ChangeSet {
            id: answer.change_set_id.unwrap_or_default(),
            name: answer.change_set_name.unwrap_or_default(),
            stack_id: answer.stack_id.unwrap_or_default(),
            status: answer.status.map(|s| s.as_str().to_owned()).unwrap_or_default(),
            execution: answer.execution_status.map(|s| s.as_str().to_owned()).unwrap_or_default(),
            reason: answer.status_reason.filter(|r| !r.is_empty()),
            tags: tags_of(answer.tags.as_deref().unwrap_or_default()),
            changes: Vec::new(),
        });
        set.changes.extend(changes);
        next = answer.next_token;
        if next.is_none() {
            return Ok(found);
        }
    }
}

fn resource_change(change: aws_sdk_cloudformation::types::ResourceChange) -> ResourceChange {
    let cause = |detail: aws_sdk_cloudformation::types::ResourceChangeDetail| {
        let target = detail.target;
        Cause {
            attribute: target.as_ref().and_then(|t| t.attribute.as_ref()).map(|a| a.as_str().to_owned()).unwrap_or_default(),
            name: target.as_ref().and_then(|t| t.name.clone()).filter(|n| !n.is_empty()),
            recreation: target.and_then(|t| t.requires_recreation).map(|r| r.as_str().to_owned()),
            from: detail.causing_entity.filter(|c| !c.is_empty()),
        }
    };
    ResourceChange {
        logical_id: change.logical_resource_id.unwrap_or_default(),
        physical_id: change.physical_resource_id.filter(|id| !id.is_empty()),
        kind: change.resource_type.unwrap_or_default(),
        action: change.action.map(|a| a.as_str().to_owned()).unwrap_or_default(),
        replacement: change.replacement.map(|r| r.as_str().to_owned()),
        policy: change.policy_action.map(|p| p.as_str().to_owned()),
        causes: change.details.unwrap_or_default().into_iter().map(cause).collect(),
        nested: change.change_set_id.filter(|id| !id.is_empty()),
    }
}

/// The change sets of a stack.
pub async fn list(client: &Client, stack: &str, cx: &Cx) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    let mut next = None;
    loop {
        let request = client.stacks.list_change_sets().stack_name(stack).set_next_token(next);
        let answer = match client.read("cloudformation:ListChangeSets", cx, request.send()).await {
            Err(trouble) if trouble.is(is_gone) => return Ok(found),
            other => other?,
        };
        found.extend(answer.summaries.unwrap_or_default().into_iter().map(|s| Listed {
            id: s.change_set_id.unwrap_or_default(),
            name: s.change_set_name.unwrap_or_default(),
            nested: s.parent_change_set_id.is_some_and(|id| !id.is_empty()),
            executed: s.execution_status.is_some_and(|e| e.as_str().starts_with("EXECUTE_")),
        }));
        next = answer.next_token;
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// Has it done. Its name is the token that its events carry.
pub async fn execute(client: &Client, stack: &str, name: &str, cx: &Cx) -> super::Answer<()> {
    let request = client.stacks.execute_change_set().stack_name(stack).change_set_name(name).client_request_token(name);
    change("cloudformation:ExecuteChangeSet", cx, request.send()).await?;
    Ok(())
}

/// Deletes a change set. One that is gone is as good as deleted.
pub async fn delete(client: &Client, stack: &str, name: &str, cx: &Cx) -> Result<()> {
    let request = client.stacks.delete_change_set().stack_name(stack).change_set_name(name);
    match change("cloudformation:DeleteChangeSet", cx, request.send()).await {
        Err(trouble) if trouble.is(is_gone) => Ok(()),
        other => {
            other?;
            Ok(())
        }
    }
}
