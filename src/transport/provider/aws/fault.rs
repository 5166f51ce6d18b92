//! What the cloud refuses, in words for a user and in the classes that matter for what is done next.

use crate::base::error::{Error, Kind};
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

/// Refusals that only mean "later".
const THROTTLED: [&str; 7] = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
];
/// What AWS says when it does not know itself what became of a request.
const UNSURE: [&str; 5] = ["InternalError", "InternalFailure", "InternalServerError", "ServiceUnavailable", "Unavailable"];
const CAPACITY: [&str; 9] = [
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientCapacity",
    "InsufficientAddressCapacity",
    "Unsupported",
    "UnfulfillableCapacity",
    "SpotMaxPriceTooLow",
    "InsufficientFreeAddressesInSubnet",
];
const QUOTA: [&str; 5] = [
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "SpotInstanceCountExceeded",
    "InstanceQuotaExceeded",
];
const DENIED: [&str; 4] = ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation"];
const STRANGERS: [&str; 8] = [
    "AuthFailure",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
];

/// A call that did not succeed.
#[derive(Clone, Debug)]
pub struct Fault {
    /// `RunInstances`
    pub call: &'static str,
    pub code: String,
    pub message: String,
    /// It may have been done all the same: the answer is what got lost.
    pub unsure: bool,
    service: &'static str,
}

impl Fault {
    /// `call`: `RunInstances`, or with its service before it: `cloudformation:DescribeStacks`.
    pub fn new<E: ProvideErrorMetadata + std::error::Error + 'static>(
        call: &'static str,
        error: &SdkError<E, HttpResponse>,
    ) -> Self {
        let (service, call) = call.split_once(':').unwrap_or(match call {
            "GetCallerIdentity" => ("sts", call),
            "GetParameter" => ("ssm", call),
            _ => ("ec2", call),
        });
        match error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let code = match (answer.err().code(), status) {
                    (Some(code), _) => code.to_owned(),
                    (None, 401 | 403) => "AuthFailure".to_owned(),
                    (None, status) => format!("status {status}"),
                };
                let message = answer.err().message().unwrap_or("no reason is given").to_owned();
                // A lack of capacity comes as a 500, too, and is a sure answer all the same.
                let unsure = status >= 500 && (answer.err().code().is_none() || UNSURE.contains(&code.as_str()));
                Self { call, code, message, unsure, service }
            }
            other => {
                let message = story(other);
                let unsure = !matches!(other, SdkError::ConstructionFailure(_));
                Self { call, code: String::new(), message, unsure, service }
            }
        }
    }

    pub fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// What was to be changed does not exist (any more, or yet for this reader).
    pub fn is_absent(&self) -> bool {
        self.code.ends_with(".NotFound") || self.code == "InvalidInternetGatewayID" || self.code.ends_with("NotFound")
    }

    pub fn is_throttled(&self) -> bool {
        THROTTLED.contains(&self.code.as_str())
    }

    /// No room for this type in this zone.
    pub fn is_capacity(&self) -> bool {
        CAPACITY.contains(&self.code.as_str())
    }

    /// The account may not have more of this sort in the whole region.
    pub fn is_quota(&self) -> bool {
        QUOTA.contains(&self.code.as_str())
    }

    pub fn is_denied(&self) -> bool {
        DENIED.contains(&self.code.as_str())
    }

    /// Says it to the user.
    pub fn error(&self) -> Error {
        let Self { call, code, message, service, .. } = self;
        if self.is_denied() {
            let action = denied_action(message).map_or_else(|| format!("{service}:{call}"), str::to_owned);
            return Error::new(Kind::Provider, format!("AWS denies {action} to these credentials"))
                .hint(format!("Have the IAM action {action} allowed. All that opsrun needs: opsrun aws policy"))
                .hint(format!("AWS says: {}", without_blob(message)));
        }
        if STRANGERS.contains(&code.as_str()) {
            return Error::new(Kind::Provider, format!("AWS does not accept the credentials ({code})"))
                .hint("Look at access_key and secret_key in the config, or at AWS_PROFILE, AWS_ACCESS_KEY_ID and ~/.aws; or log in again: aws sso login")
                .hint(format!("AWS says: {message}"));
        }
        if code.is_empty() && (message.contains("redentials") || message.contains("identity")) {
            return Error::new(Kind::Provider, "no AWS credentials were found")
                .hint("Give access_key and secret_key in a config file, or set AWS_PROFILE, or log in: aws sso login")
                .hint(format!("The SDK says: {message}"));
        }
        if code.is_empty() {
            return Error::new(Kind::Provider, format!("{service}:{call} got no answer from AWS: {message}"))
                .hint("Look at the network and at endpoint_url, then run the same command again: it goes on where it stopped.");
        }
        let error = Error::new(Kind::Provider, format!("AWS refused {call}: {} ({code})", message.trim_end_matches('.')));
        if self.is_throttled() {
            error.hint("AWS answers too many requests of this account with this. Run the same command again in a minute.")
        } else if self.is_quota() {
            error.hint("This is the account's quota in this region: ask for more in Service Quotas, or use another type.")
        } else if self.is_capacity() {
            error.hint("Name other zones (`fallback_zones`) or further types (`instance_type: [a, b]`) to fall back on.")
        } else {
            error
        }
    }
}

/// What a failure without an answer came from: the causes, without what each repeats of the next.
fn story(error: &(dyn std::error::Error + 'static)) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if let Some(last) = causes.last_mut().filter(|last| last.ends_with(&text)) {
            last.truncate(last.len() - text.len());
        }
        causes.push(text);
        next = cause.source();
    }
    let causes: Vec<&str> = causes.iter().map(|c| c.trim_end_matches([':', ' '])).filter(|c| !c.is_empty()).collect();
    causes.join(": ")
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.error()
    }
}

/// The action that is missing, where AWS says it: one call may need several (its tags, the role of its profile).
pub fn denied_action(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("not authorized to perform: ")?;
    let action = rest.split_whitespace().next()?.trim_end_matches(['.', ',']);
    action.contains(':').then_some(action)
}

/// Denials carry a long encoded message that tells a reader nothing.
fn without_blob(message: &str) -> &str {
    message.split(" Encoded authorization failure message").next().unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_the_action_that_is_missing() {
        let message = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/lab is not authorized to perform: \
                       iam:PassRole on resource: arn:aws:iam::1:role/x because no identity-based policy allows it";
        assert_eq!(denied_action(message), Some("iam:PassRole"));
        assert_eq!(denied_action("You are not authorized to perform this operation."), None);
    }
}
