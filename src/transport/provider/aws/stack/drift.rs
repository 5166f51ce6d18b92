//! What differs from what a stack made.

use super::{Answer, Client, change};
use crate::base::error::Result;
use crate::base::event::Cx;
use aws_sdk_cloudformation::types::{PropertyDifference, StackResourceDrift};

/// What AWS found out about one resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drift {
    pub logical_id: String,
    pub physical_id: Option<String>,
    pub kind: String,
    /// `IN_SYNC`, `MODIFIED`, `DELETED`, `NOT_CHECKED`, `UNKNOWN`, `UNSUPPORTED`
    pub status: String,
    pub reason: Option<String>,
    pub differences: Vec<Difference>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// `/Tags/2/Value`
    pub path: String,
    /// As JSON, or as it is.
    pub expected: String,
    pub actual: String,
}

/// How far a detection is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Detection {
    /// `DETECTION_IN_PROGRESS`, `DETECTION_COMPLETE`, `DETECTION_FAILED`
    pub status: String,
    pub reason: Option<String>,
}

/// Has AWS look. Returns the ID of the detection; one at a time goes on for a stack.
pub async fn detect(client: &Client, stack: &str, cx: &Cx) -> Answer<String> {
    let request = client.stacks.detect_stack_drift().stack_name(stack);
    let answer = change("cloudformation:DetectStackDrift", cx, request.send()).await?;
    Ok(answer.stack_drift_detection_id.unwrap_or_default())
}

pub async fn detection(client: &Client, id: &str, cx: &Cx) -> Result<Detection> {
    let request = client.stacks.describe_stack_drift_detection_status().stack_drift_detection_id(id);
    let answer = client.read("cloudformation:DescribeStackDriftDetectionStatus", cx, request.send()).await?;
    Ok(Detection {
        status: answer.detection_status.map(|s| s.as_str().to_owned()).unwrap_or_default(),
        reason: answer.detection_status_reason.filter(|r| !r.is_empty()),
    })
}

/// What the last detection found, of each resource that it looked at.
pub async fn found(client: &Client, stack: &str, cx: &Cx) -> Result<Vec<Drift>> {
    let mut found = Vec::new();
    let mut next = None;
    loop {
        let request = client.stacks.describe_stack_resource_drifts().stack_name(stack).set_next_token(next);
        let answer = client.read("cloudformation:DescribeStackResourceDrifts", cx, request.send()).await?;
        found.extend(answer.stack_resource_drifts.unwrap_or_default().into_iter().map(drift));
        next = answer.next_token;
        if next.is_none() {
            return Ok(found);
        }
    }
}

fn drift(drift: StackResourceDrift) -> Drift {
    let difference = |d: PropertyDifference| Difference {
        path: d.property_path.unwrap_or_default(),
        expected: d.expected_value.unwrap_or_default(),
        actual: d.actual_value.unwrap_or_default(),
    };
    Drift {
        logical_id: drift.logical_resource_id.unwrap_or_default(),
        physical_id: drift.physical_resource_id.filter(|id| !id.is_empty()),
        kind: drift.resource_type.unwrap_or_default(),
        status: drift.stack_resource_drift_status.map(|s| s.as_str().to_owned()).unwrap_or_default(),
        reason: drift.drift_status_reason.filter(|r| !r.is_empty()),
        differences: drift.property_differences.unwrap_or_default().into_iter().map(difference).collect(),
    }
}
