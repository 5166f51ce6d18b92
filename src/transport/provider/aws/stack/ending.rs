//! How a stack ends, or gets back to what it was: deletion, rollback, and the rest of a rollback.
//!
//! Each call carries a token: made again by the SDK after a lost answer, it is the same call.

use super::{Answer, Client, change};
use crate::base::event::Cx;

/// Has the stack deleted. `retain`: of a stack whose deletion failed, the resources to leave where they are, by logical ID.
pub async fn delete(client: &Client, stack: &str, retain: &[String], role_arn: Option<&str>, token: &str, cx: &Cx) -> Answer<()> {
    let request = client.stacks.delete_stack().stack_name(stack).client_request_token(token);
    let request = request.set_role_arn(role_arn.map(str::to_owned));
    let request = request.set_retain_resources((!retain.is_empty()).then(|| retain.to_vec()));
    change("cloudformation:DeleteStack", cx, request.send()).await?;
    Ok(())
}

/// Takes back what stopped half way (`CREATE_FAILED`, `UPDATE_FAILED`).
pub async fn roll_back(client: &Client, stack: &str, role_arn: Option<&str>, token: &str, cx: &Cx) -> Answer<()> {
    let request = client.stacks.rollback_stack().stack_name(stack).client_request_token(token);
    let request = request.set_role_arn(role_arn.map(str::to_owned));
    change("cloudformation:RollbackStack", cx, request.send()).await?;
    Ok(())
}

/// Goes on with a rollback that failed. `skip`: resources to leave as they are, by logical ID; in a nested stack `Stack.Resource`.
pub async fn continue_rollback(
    client: &Client,
    stack: &str,
    skip: &[String],
    role_arn: Option<&str>,
    token: &str,
    cx: &Cx,
) -> Answer<()> {
    let request = client.stacks.continue_update_rollback().stack_name(stack).client_request_token(token);
    let request = request.set_role_arn(role_arn.map(str::to_owned));
    let request = request.set_resources_to_skip((!skip.is_empty()).then(|| skip.to_vec()));
    change("cloudformation:ContinueUpdateRollback", cx, request.send()).await?;
    Ok(())
}
