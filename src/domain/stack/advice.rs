//! AWS's reasons, in fewer words, and what to try about those that are well known.

use super::explain::Cause;
use crate::transport::provider::aws::denied_action;
use regex::Regex;
use std::sync::LazyLock;

/// Words of a reason, in small letters, and what to try. `ID` stands for the resource's physical ID, `TYPE` for its type.
/// The first that fits is taken: what is special stands before what is general.
const KNOWN: [(&[&str], &str); 24] = [
    (
        &["as it is in use by", "is imported by"],
        "Another stack imports this export: take the import out there first (aws cloudformation list-imports --export-name NAME).",
    ),
    (
        &["already exists in stack"],
        "It belongs to the stack that AWS names: give it another name here, or take it out of one of the two.",
    ),
    (
        &["custom-named resource requires replacing"],
        "It has a name of its own, and two of that name cannot be: give it a new name in the formation.",
    ),
    (
        &["alreadyexists", "already exists", "already taken", "is already in use"],
        "Something of that name is there, outside this stack, perhaps kept by a stack before it: delete it, import it, or give it another \
         name here; where the formation gives none, AWS makes one up.",
    ),
    (
        &["maximum number of", "limitexceeded", "limit exceeded", "quotaexceeded", "quota exceeded", "exceeded your", "too many"],
        "This is the account's quota in this region: free one, or ask for more in Service Quotas.",
    ),
    (
        &[
            "insufficientinstancecapacity",
            "insufficientdbinstancecapacity",
            "sufficient capacity",
            "is not supported in your requested availability zone",
        ],
        "AWS has no room for this type in this zone: try another type or zone, or the same later.",
    ),
    (
        &["the image id '", "invalidamiid", "not authorized for images"],
        "The image is not in this region, or not this account's: look at `image` of the group. What is there: opsrun image ls",
    ),
    (
        &[
            "waitcondition timed out",
            "resource signal(s)",
            "success signal(s)",
            "failure signal(s)",
            "waitcondition received failed",
        ],
        "The machine did not report that it is ready: look at its console (aws ec2 get-console-output --instance-id …) and its \
         /var/log/cloud-init-output.log for what its user data did.",
    ),
    (
        &["rds does not support creating", "cannot find version"],
        "Not every class goes with every engine and version. Those that do: aws rds describe-orderable-db-instance-options --engine …",
    ),
    (
        &["deletion protection", "cannot delete protected", "deletionprotection"],
        "It is protected by a setting of its own: turn that off in the formation, update, and do this again.",
    ),
    (
        &["is not empty", "bucketnotempty"],
        "A bucket goes only when it is empty: keep what matters, then: aws s3 rm s3://ID --recursive (and its old versions, if it keeps them).",
    ),
    (
        &["has dependencies and cannot be deleted", "dependencyviolation", "has a dependent object", "mapped public address"],
        "Something that is not in the stack uses it, most often a network interface: \
         aws ec2 describe-network-interfaces --query \"NetworkInterfaces[?SubnetId=='ID'||VpcId=='ID'||Groups[?GroupId=='ID']]\"",
    ),
    (
        &["did not receive a response from your custom resource", "from custom resource", "failed to receive a response"],
        "The function behind the custom resource failed or did not answer: its own log says why.",
    ),
    (
        &[
            "unsupported property",
            "validation failed for resource",
            "property validation failure",
            "extraneous key",
            "must not be specified",
        ],
        "A property is wrong: its documentation is the AWS page of TYPE.",
    ),
    (
        &["does not have permission", "unable to assume role", "cannot be assumed", "passrole"],
        "A role is missing, or may not be used by who needs it: look at `role_arn` of the environment and at the roles in the formations.",
    ),
    (
        &["encoded authorization failure", "not authorized", "accessdenied", "access denied", "unauthorizedoperation"],
        "AWS does not say which IAM action is missing. Those that this type takes: \
         aws cloudformation describe-type --type RESOURCE --type-name TYPE --query Schema",
    ),
    (&["throttling", "rate exceeded", "requestlimitexceeded"], "AWS was too busy: run the same command again in a minute."),
    (
        &["notstabilized", "did not stabilize", "exceeded attempts to wait", "timed out", "timeout"],
        "It took too long. Look at its own service's console for what it waited for, then run the same command again.",
    ),
    (
        &["expiredtoken", "security token included in the request is expired"],
        "The credentials ran out half way: get new ones and run the same command again, it goes on where it stopped.",
    ),
    (
        &["update_rollback_failed"],
        "Mend what kept it from being rolled back, or skip resources by name, and continue the rollback.",
    ),
    (
        &[
            "invalidparametervalue",
            "invalidparametercombination",
            "invalid parameter",
            "invalidrequest",
            "is invalid",
            "invalid value",
        ],
        "Look at the resource's properties, and at the parameters and variables that they come from.",
    ),
    (
        &["notfound", "not found", "does not exist", "could not be found", "no longer exists"],
        "What it needs is not there; was it deleted or changed by hand? `opsrun manage ENVIRONMENT plan --drift` shows what differs.",
    ),
    (
        &["internalfailure", "internal failure", "serviceinternalerror", "internal error"],
        "AWS failed by itself: run the same command again.",
    ),
    (
        &["validationerror", "validation error"],
        "Look at the resource's properties, and at the parameters and variables that they come from.",
    ),
];

/// What to try.
pub fn on(cause: &Cause) -> Vec<String> {
    if let Some(action) = denied_action(&cause.reason) {
        return vec![format!(
            "Have the IAM action {action} allowed to these credentials, or to `role_arn` where the environment names one."
        )];
    }
    let filled = |text: &str| text.replace("TYPE", &cause.kind).replace("ID", cause.physical_id.as_deref().unwrap_or("ID"));
    about(&cause.reason).map(filled).into_iter().collect()
}

/// What to try, where nothing is known but AWS's words.
pub fn about(reason: &str) -> Option<&'static str> {
    let reason = reason.to_lowercase();
    KNOWN.iter().find(|(words, _)| words.iter().any(|w| reason.contains(w))).map(|(_, text)| *text)
}

/// AWS's words without what only AWS's support can use: request IDs, tokens, encoded messages. The code of the failure stays.
pub fn plain(reason: &str) -> String {
    static HANDLER: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"(?s)^Resource handler returned message: "(.*)" \(RequestToken: [^,)]*, HandlerErrorCode: (\w+)\)$"#).ok()
    });
    static SERVICE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?s)\s*\(Service: [\w ]+[;,] Status Code: \d+[^()]*?(?:Error Code: ([\w.]+)[^()]*)?\)(?:\s*\(SDK Attempt Count: \d+\))?").ok()
    });
    static BLOB: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(Encoded authorization failure message)(?:: [\w-]+)?").ok());
    // These say no more than the words before them.
    const EMPTY: [&str; 3] = ["GeneralServiceException", "InvalidRequest", "InternalFailure"];
    let reason = reason.trim();
    let (text, code) = match HANDLER.as_ref().and_then(|h| h.captures(reason)) {
        Some(parts) => (parts.get(1).map_or(reason, |m| m.as_str()), parts.get(2).map(|m| m.as_str())),
        None => (reason, None),
    };
    let inner = SERVICE.as_ref().and_then(|s| s.captures(text)).and_then(|c| c.get(1)).map(|m| m.as_str().to_owned());
    let mut text = text.to_owned();
    for (regex, with) in [(&SERVICE, ""), (&BLOB, "$1")] {
        if let Some(regex) = regex.as_ref() {
            text = regex.replace_all(&text, with).into_owned();
        }
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_end_matches(['.', ' ']).to_owned();
    match inner.or_else(|| code.filter(|c| !EMPTY.contains(c)).map(str::to_owned)) {
        Some(code) if !text.contains(&code) => format!("{text} ({code})"),
        _ => text,
    }
}
