//! Events as AWS has written them, from public issue reports (account numbers changed).

use super::advice::plain;
use super::explain::{failure, take_apart};
use crate::base::error::Error;
use crate::domain::formation::{File, Template};
use crate::transport::provider::aws::stack::StackEvent;
use crate::transport::provider::aws::stack::events::NESTED;

const ROOT: &str = "arn:aws:cloudformation:eu-central-1:111122223333:stack/shop-staging/55e738b0";
const INNER: &str = "arn:aws:cloudformation:eu-central-1:111122223333:stack/shop-staging-Network-1ATOO1NYI6K3X/77e738b0";

/// `stack ID|logical ID|type|status|reason`, the oldest first.
fn events(lines: &[(&str, &str, &str, &str, &str)]) -> Vec<StackEvent> {
    let one = |(i, (stack, logical, kind, status, reason)): (usize, &(&str, &str, &str, &str, &str))| {
        let whole = logical.is_empty();
        let name = stack.rsplit('/').nth(1).unwrap().to_owned();
        StackEvent {
            id: i.to_string(),
            at: jiff::Timestamp::from_second(1_800_000_000 + i64::try_from(i).unwrap()).unwrap(),
            stack: name.clone(),
            stack_id: (*stack).to_owned(),
            logical_id: if whole { name } else { (*logical).to_owned() },
            physical_id: Some(if whole {
                (*stack).to_owned()
            } else if *kind == NESTED {
                INNER.to_owned()
            } else {
                format!("{logical}-1")
            }),
            kind: (*kind).to_owned(),
            status: (*status).to_owned(),
            reason: Some((*reason).to_owned()).filter(|r| !r.is_empty()),
            token: None,
            operation: None,
        }
    };
    lines.iter().enumerate().map(one).collect()
}

fn template() -> Template {
    let text = "Resources:\n  Vpc:\n    Type: AWS::EC2::VPC\n  Address:\n    Type: AWS::EC2::EIP\n  Network:\n    Type: AWS::CloudFormation::Stack\n";
    Template::new(&[File { name: "formations/network.yml".to_owned(), text: text.to_owned() }]).unwrap()
}

fn told(lines: &[(&str, &str, &str, &str, &str)]) -> Error {
    let mut events = events(lines);
    events.reverse();
    failure(&events, Some(&template()))
}

#[test]
fn the_first_cause_comes_first_with_its_place_and_its_followers_are_one_line() {
    let error = told(&[
        (ROOT, "", NESTED, "CREATE_IN_PROGRESS", "User Initiated"),
        (ROOT, "Address", "AWS::EC2::EIP", "CREATE_FAILED", "Resource creation cancelled"),
        (
            ROOT,
            "Vpc",
            "AWS::EC2::VPC",
            "CREATE_FAILED",
            "Resource handler returned message: \"The maximum number of VPCs has been reached. (Service: Ec2, Status Code: 400, Request ID: 5ce9e2b3-ab97-48ae-9110-21df5e97e9b5)\" (RequestToken: 79d65bb7-1d80-c629-18dc-b61fe9935538, HandlerErrorCode: GeneralServiceException)",
        ),
        (ROOT, "Web", "AWS::AutoScaling::AutoScalingGroup", "CREATE_FAILED", "Resource creation cancelled"),
        (
            ROOT,
            "",
            NESTED,
            "ROLLBACK_IN_PROGRESS",
            "The following resource(s) failed to create: [Vpc, Address, Web]. . Rollback requested by user.",
        ),
        (ROOT, "", NESTED, "ROLLBACK_COMPLETE", ""),
    ]);
    assert_eq!(
        error.message(),
        "stack shop-staging: Vpc (AWS::EC2::VPC) could not be made: The maximum number of VPCs has been reached"
    );
    assert_eq!(error.details().places[0].to_string(), "formations/network.yml:2:3");
    assert_eq!(
        error.details().hints,
        [
            "This is the account's quota in this region: free one, or ask for more in Service Quotas.",
            "2 more resources were given up because of that: Address, Web",
        ]
    );
}

#[test]
fn in_nested_stacks_the_inner_cause_is_named_at_the_place_of_the_nested_stack() {
    let error = told(&[
        (ROOT, "", NESTED, "CREATE_IN_PROGRESS", "User Initiated"),
        (ROOT, "Network", NESTED, "CREATE_IN_PROGRESS", ""),
        (INNER, "", NESTED, "CREATE_IN_PROGRESS", "User Initiated"),
        (
            INNER,
            "NatEip",
            "AWS::EC2::EIP",
            "CREATE_FAILED",
            "The maximum number of addresses has been reached. (Service: AmazonEC2; Status Code: 400; Error Code: AddressLimitExceeded; Request ID: fb393274-9a29-47ae-ac75-c763bc30b438; Proxy: null)",
        ),
        (INNER, "Store", "AWS::S3::Bucket", "CREATE_FAILED", "Resource creation cancelled"),
        (INNER, "", NESTED, "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [NatEip, Store]. "),
        (
            ROOT,
            "Network",
            NESTED,
            "CREATE_FAILED",
            "Embedded stack arn:aws:cloudformation:eu-central-1:111122223333:stack/shop-staging-Network-1ATOO1NYI6K3X/77e738b0 was not successfully created: The following resource(s) failed to create: [NatEip, Store]. ",
        ),
        (
            ROOT,
            "",
            NESTED,
            "ROLLBACK_IN_PROGRESS",
            "The following resource(s) failed to create: [Network]. . Rollback requested by user.",
        ),
    ]);
    assert_eq!(
        error.message(),
        "stack shop-staging: Network/NatEip (AWS::EC2::EIP) could not be made: The maximum number of addresses has been reached (AddressLimitExceeded)"
    );
    assert_eq!(error.details().places[0].line, 6);
    assert_eq!(error.details().hints[1], "Network/Store was given up because of that.");
}

#[test]
fn a_nested_stack_whose_own_events_are_not_known_is_the_cause_itself() {
    let error = told(&[
        (
            ROOT,
            "Network",
            NESTED,
            "CREATE_FAILED",
            "TemplateURL must reference a valid S3 object to which you have access. (Service: AmazonCloudFormation; Status Code: 400; Error Code: ValidationError; Request ID: 1b3b6240; Proxy: null)",
        ),
        (
            ROOT,
            "",
            NESTED,
            "ROLLBACK_IN_PROGRESS",
            "The following resource(s) failed to create: [Network]. . Rollback requested by user.",
        ),
    ]);
    assert!(
        error.message().contains("Network (AWS::CloudFormation::Stack) could not be made: TemplateURL must reference"),
        "{error}"
    );
}

#[test]
fn what_could_not_be_rolled_back_is_told_apart_from_why_the_update_failed() {
    let lines = [
        (ROOT, "", NESTED, "UPDATE_IN_PROGRESS", "User Initiated"),
        (
            ROOT,
            "Web",
            "AWS::AutoScaling::AutoScalingGroup",
            "UPDATE_FAILED",
            "Received 0 SUCCESS signal(s) out of 1.  Unable to satisfy 100% MinSuccessfulInstancesPercent requirement",
        ),
        (ROOT, "", NESTED, "UPDATE_ROLLBACK_IN_PROGRESS", "The following resource(s) failed to update: [Web]. "),
        (
            ROOT,
            "Address",
            "AWS::EC2::EIP",
            "UPDATE_FAILED",
            "The address 'eipalloc-1' does not belong to you. (Service: AmazonEC2; Status Code: 400; Error Code: InvalidAllocationID.NotFound; Request ID: x; Proxy: null)",
        ),
        (ROOT, "Vpc", "AWS::EC2::VPC", "UPDATE_FAILED", "Resource update cancelled"),
        (ROOT, "", NESTED, "UPDATE_ROLLBACK_FAILED", "The following resource(s) failed to update: [Address]. "),
    ];
    let apart = take_apart(&events(&lines), Some(&template()));
    assert_eq!((apart.causes.len(), apart.rollback.len(), apart.followers.len()), (1, 1, 0));
    let error = told(&lines);
    assert!(
        error
            .message()
            .starts_with("stack shop-staging: Web (AWS::AutoScaling::AutoScalingGroup) could not be changed: Received 0")
    );
    let hints = &error.details().hints;
    assert!(hints[0].contains("get-console-output"), "{hints:?}");
    assert_eq!(
        hints[1],
        "Then Address (AWS::EC2::EIP) could not be rolled back (formations/network.yml:4): The address 'eipalloc-1' does not belong to you (InvalidAllocationID.NotFound)"
    );
    assert_eq!(hints[2], "Mend what kept Address from being rolled back, or skip it by name, and continue.");
}

#[test]
fn a_stack_whose_export_is_in_use_says_so_though_no_resource_failed() {
    let error = told(&[
        (ROOT, "", NESTED, "DELETE_IN_PROGRESS", "User Initiated"),
        (ROOT, "", NESTED, "UPDATE_COMPLETE", "Export shop-staging-Vpc cannot be deleted as it is in use by shop-events"),
    ]);
    assert_eq!(
        error.message(),
        "stack shop-staging could not be changed: Export shop-staging-Vpc cannot be deleted as it is in use by shop-events"
    );
    assert!(error.details().hints[0].starts_with("Another stack imports this export"));
}

#[test]
fn several_that_failed_by_themselves_are_all_named() {
    let error = told(&[
        (ROOT, "", NESTED, "DELETE_IN_PROGRESS", "User Initiated"),
        (
            ROOT,
            "Subnet0",
            "AWS::EC2::Subnet",
            "DELETE_FAILED",
            "The subnet 'subnet-4de64215' has dependencies and cannot be deleted.",
        ),
        (
            ROOT,
            "GatewayAttachment",
            "AWS::EC2::VPCGatewayAttachment",
            "DELETE_FAILED",
            "Network vpc-b1a910d5 has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.",
        ),
        (
            ROOT,
            "Subnet0",
            "AWS::EC2::Subnet",
            "DELETE_FAILED",
            "The subnet 'subnet-4de64215' has dependencies and cannot be deleted.",
        ),
        (ROOT, "Vpc", "AWS::EC2::VPC", "DELETE_FAILED", "The vpc 'vpc-b1a910d5' has dependencies and cannot be deleted."),
        (ROOT, "", NESTED, "DELETE_FAILED", "The following resource(s) failed to delete: [Vpc, Subnet0, GatewayAttachment]. "),
    ]);
    assert_eq!(
        error.message(),
        "stack shop-staging: Subnet0 (AWS::EC2::Subnet) could not be deleted: The subnet 'subnet-4de64215' has dependencies and cannot be deleted"
    );
    let hints = &error.details().hints;
    assert!(hints[0].contains("SubnetId=='Subnet0-1'"), "{hints:?}");
    assert!(hints[1].starts_with("Failed by itself, too: GatewayAttachment (AWS::EC2::VPCGatewayAttachment): Network vpc-"));
    assert!(hints[2].starts_with("Failed by itself, too: Vpc (AWS::EC2::VPC) (formations/network.yml:2)"), "{hints:?}");
    assert_eq!(hints.len(), 3);
}

#[test]
fn without_any_reason_it_says_where_to_look() {
    let error = failure(&[], None);
    assert!(error.message().contains("do not say why") && !error.details().hints.is_empty());
    let error = told(&[(ROOT, "Vpc", "AWS::EC2::VPC", "CREATE_FAILED", "")]);
    assert!(error.message().ends_with("AWS gives no reason"));
}

/// A reason as AWS wrote it, the words that are left of it, and a word of the advice.
const REASONS: [(&str, &str, &str); 14] = [
    (
        "Resource handler returned message: \"Resource of type 'AWS::SES::EmailIdentity' with identifier 'example.social' already exists.\" (RequestToken: b4171337-8e59-b080-5f57-9b5605e10fce, HandlerErrorCode: AlreadyExists)",
        "Resource of type 'AWS::SES::EmailIdentity' with identifier 'example.social' already exists (AlreadyExists)",
        "outside this stack",
    ),
    (
        "fsmt-0123 already exists in stack arn:aws:cloudformation:us-east-1:111122223333:stack/awseb-e-1-stack/1",
        "fsmt-0123 already exists in stack arn:aws:cloudformation:us-east-1:111122223333:stack/awseb-e-1-stack/1",
        "the stack that AWS names",
    ),
    (
        "API: iam:DeleteRolePolicy User: arn:aws:iam::111122223333:user/ci is not authorized to perform: iam:DeleteRolePolicy on resource: role web",
        "API: iam:DeleteRolePolicy User: arn:aws:iam::111122223333:user/ci is not authorized to perform: iam:DeleteRolePolicy on resource: role web",
        "Have the IAM action iam:DeleteRolePolicy allowed",
    ),
    (
        "Resource handler returned message: \"You are not authorized to perform this operation. (Service: Ec2, Status Code: 403, Request ID: 739745f0-4cfe-47d6-a622-c6e95615e17b, Extended Request ID: null)\" (RequestToken: e26ed59d-420f-e535-133c-36d46bf4b123, HandlerErrorCode: AccessDenied)",
        "You are not authorized to perform this operation (AccessDenied)",
        "--type-name AWS::X::Y --query Schema",
    ),
    (
        "1 validation error detected: Value 'You are not authorized to perform this operation. Encoded authorization failure message: KzCTdjlfnw3kFnfFPzPDmpF530fFDONK9EnK5cZIRTaavl_-x",
        "1 validation error detected: Value 'You are not authorized to perform this operation. Encoded authorization failure message",
        "does not say which IAM action",
    ),
    (
        "Resource handler returned message: \"The image id '[ami-00543d76373f96fe7]' does not exist (Service: Ec2, Status Code: 400, Request ID: c309575f-cc6e-4dbe-a305-952f2581a51d) (SDK Attempt Count: 1)\" (RequestToken: 89d72cc5-a106-d970-fe50-27fdd193fec1, HandlerErrorCode: InvalidRequest)",
        "The image id '[ami-00543d76373f96fe7]' does not exist",
        "opsrun image ls",
    ),
    (
        "AMI ami-327f5352 is invalid: The image id '[ami-327f5352]' does not exist (Service: AmazonAutoScaling; Status Code: 400; Error Code: ValidationError; Request ID: e5560c9b-9e73-11e9-9e38-fdb642050471)",
        "AMI ami-327f5352 is invalid: The image id '[ami-327f5352]' does not exist (ValidationError)",
        "opsrun image ls",
    ),
    (
        "WaitCondition timed out. Received 0 conditions when expecting 1",
        "WaitCondition timed out. Received 0 conditions when expecting 1",
        "console",
    ),
    (
        "WaitCondition received failed message: 'Failed to start the service' for uniqueId: i-e4d4911b",
        "WaitCondition received failed message: 'Failed to start the service' for uniqueId: i-e4d4911b",
        "cloud-init-output.log",
    ),
    (
        "Resource handler returned message: \"RDS does not support creating a DB instance with the following combination: DBInstanceClass=db.t2.micro, Engine=mysql, EngineVersion=8.0.35, LicenseModel=general-public-license. For supported combinations of instance class and database engine version, see the documentation. (Service: Rds, Status Code: 400, Request ID: xxxx)\" (RequestToken: xxxx, HandlerErrorCode: InvalidRequest)",
        "RDS does not support creating a DB instance with the following combination: DBInstanceClass=db.t2.micro, Engine=mysql, EngineVersion=8.0.35, LicenseModel=general-public-license. For supported combinations of instance class and database engine version, see the documentation",
        "describe-orderable-db-instance-options",
    ),
    (
        "The bucket you tried to delete is not empty (Service: Amazon S3; Status Code: 409; Error Code: BucketNotEmpty; Request ID: 13B5WKE8TCT9VS8K; S3 Extended Request ID: /7/TL8ibQg7kBnNvHowx/D81U0VISP2NwXFUmne62ZBh4ahsFgTHqnUYHyZRNGnuShor+HdGMQ8=; Proxy: null)",
        "The bucket you tried to delete is not empty (BucketNotEmpty)",
        "aws s3 rm s3://the-bucket --recursive",
    ),
    (
        "resource sg-0b8b2fcf05a0509b6 has a dependent object (Service: AmazonEC2; Status Code: 400; Error Code: DependencyViolation; Request ID: b4bd0dec-0300-42c1-bccc-c7ea5093ba1a)",
        "resource sg-0b8b2fcf05a0509b6 has a dependent object (DependencyViolation)",
        "describe-network-interfaces",
    ),
    (
        "Properties validation failed for resource Web with message: #/MinSize: #: only 1 subschema matches out of 2",
        "Properties validation failed for resource Web with message: #/MinSize: #: only 1 subschema matches out of 2",
        "A property is wrong",
    ),
    (
        "Cannot create a db.t2.micro database instance because there are no availability zones with sufficient capacity for non-VPC and storage type : gp2 for db.t2.micro.",
        "Cannot create a db.t2.micro database instance because there are no availability zones with sufficient capacity for non-VPC and storage type : gp2 for db.t2.micro",
        "another type or zone",
    ),
];

#[test]
fn reasons_of_aws_lose_their_noise_and_get_advice() {
    for (reason, words, advice) in REASONS {
        assert_eq!(plain(reason), words);
        let mut events = events(&[(ROOT, "It", "AWS::X::Y", "CREATE_FAILED", reason)]);
        events[0].physical_id = Some("the-bucket".to_owned());
        let error = failure(&events, None);
        let hints = &error.details().hints;
        assert!(hints.first().is_some_and(|h| h.contains(advice)), "{reason}: {hints:?}");
    }
}
