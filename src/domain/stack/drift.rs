//! What was changed by hand: how what is there differs from what the stack made.

use super::{Stack, Status, Waits};
use crate::base::error::{Error, Kind, Location, Result};
use crate::base::event::{Cx, Unit};
use crate::base::units::format_duration;
use crate::domain::formation::Template;
use crate::transport::provider::aws::stack::drift::{self as cloud, Drift};
use crate::transport::provider::aws::stack::events::NESTED;
use crate::transport::provider::aws::stack::{self, Resource};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What a detection found.
#[derive(Clone, Default, Debug, Serialize)]
pub struct DriftReport {
    pub stack: String,
    pub drifted: Vec<Drifted>,
    /// Those that are as they should be, as far as AWS compares them.
    pub in_sync: usize,
    /// What cannot be said to be as it should.
    pub unchecked: Vec<Unchecked>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Drifted {
    pub name: String,
    pub kind: String,
    pub physical_id: Option<String>,
    /// Where it stands in a formation.
    #[serde(serialize_with = "place")]
    pub place: Option<Location>,
    /// It is not there any more.
    pub deleted: bool,
    pub differences: Vec<Difference>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// `Tags/2/Value`
    pub property: String,
    /// None: the stack did not set it.
    pub expected: Option<String>,
    /// None: it is not there any more.
    pub actual: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Unchecked {
    pub name: String,
    pub kind: String,
    pub why: String,
}

#[allow(clippy::ref_option, reason = "serde hands it over so")]
fn place<S: serde::Serializer>(place: &Option<Location>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    place.as_ref().map(|p| format!("{}:{}", p.file, p.line)).serialize(serializer)
}

impl Stack {
    /// Has AWS look at every resource, and waits for what it finds. `template` says where resources stand.
    pub async fn drift(&self, template: Option<&Template>, deadline: Duration, cx: &Cx) -> Result<DriftReport> {
        let start = Instant::now();
        let Some(look) = self.look(cx).await? else {
            return Err(Error::new(Kind::NotFound, format!("there is no stack {} to look for drift in", self.name)));
        };
        if !can_be_checked(look.status) {
            return Err(Error::new(Kind::Provider, format!("AWS does not look for drift in a stack that is {}", look.status))
                .hint(format!("Bring it to rest first: opsrun manage {} update", self.environment.name)));
        }
        let progress = cx.events.progress(format!("{}: AWS compares what is there", self.name), 0, Unit::Items);
        let late = || {
            let message = format!("AWS did not say within {} what drifted in stack {}", format_duration(deadline), self.name);
            Error::new(Kind::Timeout, message).hint("It takes minutes where there is much. Run the same command again later.")
        };
        let mut waits = Waits::new(self.pace());
        let id = loop {
            match cloud::detect(&self.client, &look.id, cx).await {
                Ok(id) => break id,
                // Somebody else's, or our own whose answer was lost.
                Err(trouble) if trouble.is(|f| f.message.to_lowercase().contains("already in progress")) => {}
                Err(trouble) => return Err(trouble.into()),
            }
            if start.elapsed() > deadline {
                return Err(late());
            }
            waits.wait(cx).await?;
        };
        loop {
            let detection = cloud::detection(&self.client, &id, cx).await?;
            match detection.status.as_str() {
                "DETECTION_IN_PROGRESS" => {}
                // What it could not look at is among what was found, each with its reason.
                "DETECTION_FAILED" => {
                    if let Some(reason) = detection.reason {
                        cx.events.warn(format!("stack {}: {reason}", self.name));
                    }
                    break;
                }
                _ => break,
            }
            if start.elapsed() > deadline {
                return Err(late());
            }
            progress.label(format!("{}: AWS compares what is there ({} s)", self.name, start.elapsed().as_secs()));
            waits.wait(cx).await?;
        }
        let found = cloud::found(&self.client, &look.id, cx).await?;
        let resources = stack::resources(&self.client, &look.id, cx).await?;
        Ok(report(&self.name, &resources, &found, template))
    }
}

/// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-drift.html
fn can_be_checked(status: Status) -> bool {
    use Status as S;
    matches!(
        status,
        S::CreateComplete
            | S::UpdateComplete
            | S::UpdateRollbackComplete
            | S::UpdateRollbackFailed
            | S::ImportComplete
            | S::ImportRollbackComplete
    )
}

/// Puts what was found beside what is in the stack.
fn report(name: &str, resources: &[Resource], found: &[Drift], template: Option<&Template>) -> DriftReport {
    let mut report = DriftReport { stack: name.to_owned(), ..DriftReport::default() };
    for resource in resources.iter().filter(|r| r.is_there()) {
        let drift = found.iter().find(|d| d.logical_id == resource.logical_id);
        match drift.map(|d| (d, d.status.as_str())) {
            Some((_, "IN_SYNC")) => report.in_sync += 1,
            Some((drift, status @ ("MODIFIED" | "DELETED"))) => report.drifted.push(Drifted {
                name: resource.logical_id.clone(),
                kind: resource.kind.clone(),
                physical_id: resource.physical_id.clone(),
                place: template.and_then(|t| t.resource(&resource.logical_id)).map(|r| r.place.location()),
                deleted: status == "DELETED",
                differences: drift.differences.iter().map(difference).collect(),
            }),
            other => report.unchecked.push(Unchecked {
                name: resource.logical_id.clone(),
                kind: resource.kind.clone(),
                why: why_not(resource, other.map(|(drift, _)| drift)),
            }),
        }
    }
    report
}

fn why_not(resource: &Resource, drift: Option<&Drift>) -> String {
    let told = drift.and_then(|d| d.reason.clone());
    match drift.map(|d| d.status.as_str()) {
        _ if resource.kind == NESTED => "a stack of its own, which is looked at by itself".to_owned(),
        Some("UNKNOWN") => told.unwrap_or_else(|| "AWS could not look at it".to_owned()),
        _ => told.unwrap_or_else(|| "AWS does not compare this type".to_owned()),
    }
}

fn difference(difference: &cloud::Difference) -> Difference {
    const SECRET: [&str; 4] = ["password", "secret", "token", "privatekey"];
    let property = difference.path.trim_start_matches('/').to_owned();
    let lower = property.to_lowercase();
    let hidden = SECRET.iter().any(|word| lower.contains(word));
    let value = |text: &str| match text {
        "" | "null" => None,
        _ if hidden => Some("***".to_owned()),
        text => Some(text.trim_matches('"').to_owned()),
    };
    Difference { expected: value(&difference.expected), actual: value(&difference.actual), property }
}

impl DriftReport {
    /// Nothing differs, as far as AWS compares.
    pub fn is_empty(&self) -> bool {
        self.drifted.is_empty()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!(
            "stack {}: {} changed by hand, {} as they should be, {} not checked\n",
            self.stack,
            self.drifted.len(),
            self.in_sync,
            self.unchecked.len()
        );
        for drifted in &self.drifted {
            let place = drifted.place.as_ref().map(|p| format!("  {}:{}", p.file, p.line)).unwrap_or_default();
            let id = drifted.physical_id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
            let sign = if drifted.deleted { '-' } else { '~' };
            out += &format!("  {sign} {} ({}{id}){place}\n", drifted.name, drifted.kind);
            if drifted.deleted {
                out += "      is not there any more\n";
            }
            for d in &drifted.differences {
                let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".to_owned());
                out += &format!("      {}: {} → {}\n", d.property, side(&d.expected), side(&d.actual));
            }
        }
        for unchecked in &self.unchecked {
            out += &format!("  ? {} ({}): {}\n", unchecked.name, unchecked.kind, unchecked.why);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::formation::File;

    fn resource(logical: &str, kind: &str) -> Resource {
        Resource {
            logical_id: logical.to_owned(),
            physical_id: Some(format!("{logical}-1")),
            kind: kind.to_owned(),
            status: "CREATE_COMPLETE".to_owned(),
            reason: None,
        }
    }

    fn drift(logical: &str, status: &str, differences: &[(&str, &str, &str)]) -> Drift {
        let one = |(path, expected, actual): &(&str, &str, &str)| cloud::Difference {
            path: (*path).to_owned(),
            expected: (*expected).to_owned(),
            actual: (*actual).to_owned(),
        };
        Drift {
            logical_id: logical.to_owned(),
            physical_id: None,
            kind: String::new(),
            status: status.to_owned(),
            reason: (status == "UNKNOWN").then(|| "Access denied".to_owned()),
            differences: differences.iter().map(one).collect(),
        }
    }

    #[test]
    fn a_report_shows_what_differs_and_names_what_was_not_checked() {
        let text = "Resources:\n  Web:\n    Type: AWS::AutoScaling::AutoScalingGroup\n";
        let template = Template::new(&[File { name: "formations/web.yml".to_owned(), text: text.to_owned() }]).unwrap();
        let mut gone = resource("Old", "AWS::S3::Bucket");
        gone.status = "DELETE_COMPLETE".to_owned();
        let resources = [
            resource("Web", "AWS::AutoScaling::AutoScalingGroup"),
            resource("Files", "AWS::S3::Bucket"),
            resource("Vpc", "AWS::EC2::VPC"),
            resource("Network", NESTED),
            resource("Odd", "Custom::Thing"),
            resource("Key", "AWS::KMS::Key"),
            gone,
        ];
        let found = [
            drift(
                "Web",
                "MODIFIED",
                &[("/MaxSize", "4", "\"9\""), ("/Tags/0", "null", "{\"Key\":\"x\"}"), ("/AdminPassword", "a", "b")],
            ),
            drift("Files", "DELETED", &[]),
            drift("Vpc", "IN_SYNC", &[]),
            drift("Key", "UNKNOWN", &[]),
        ];
        let report = report("shop-staging", &resources, &found, Some(&template));
        assert_eq!(
            report.text(),
            "stack shop-staging: 2 changed by hand, 1 as they should be, 3 not checked\n\
             \x20 ~ Web (AWS::AutoScaling::AutoScalingGroup Web-1)  formations/web.yml:2\n\
             \x20     MaxSize: 4 → 9\n\
             \x20     Tags/0: (not set) → {\"Key\":\"x\"}\n\
             \x20     AdminPassword: *** → ***\n\
             \x20 - Files (AWS::S3::Bucket Files-1)\n\
             \x20     is not there any more\n\
             \x20 ? Network (AWS::CloudFormation::Stack): a stack of its own, which is looked at by itself\n\
             \x20 ? Odd (Custom::Thing): AWS does not compare this type\n\
             \x20 ? Key (AWS::KMS::Key): Access denied\n"
        );
        assert!(!report.is_empty());
    }
}
