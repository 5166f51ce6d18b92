//! What holds for a stack as a whole: whether it may be deleted, and what of it may be changed.

use super::{Client, change, is_gone};
use crate::base::error::Result;
use crate::base::event::Cx;

/// Turns termination protection on or off.
pub async fn protect(client: &Client, stack: &str, on: bool, cx: &Cx) -> Result<()> {
    let request = client.stacks.update_termination_protection().stack_name(stack).enable_termination_protection(on);
    change("cloudformation:UpdateTerminationProtection", cx, request.send()).await?;
    Ok(())
}

/// Returns the stack's policy, in JSON.
pub async fn policy(client: &Client, stack: &str, cx: &Cx) -> Result<Option<String>> {
    let request = client.stacks.get_stack_policy().stack_name(stack);
    match client.read("cloudformation:GetStackPolicy", cx, request.send()).await {
        Err(trouble) if trouble.is(is_gone) => Ok(None),
        other => Ok(other?.stack_policy_body.filter(|p| !p.is_empty())),
    }
}

pub async fn set_policy(client: &Client, stack: &str, policy: &str, cx: &Cx) -> Result<()> {
    let request = client.stacks.set_stack_policy().stack_name(stack).stack_policy_body(policy);
    change("cloudformation:SetStackPolicy", cx, request.send()).await?;
    Ok(())
}
