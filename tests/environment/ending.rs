//! How stacks end: failures explained, rollbacks, drift, deletion, and proof that nothing is left.

use crate::aws::REGION;
use crate::place::{Place, SHOP};
use opsrun::base::error::{Error, Result};
use opsrun::domain::stack::status::{Step, Verb, step};
use opsrun::domain::stack::{Applied, LeftOver, Removal, Status, explain};
use serde_json::json;
use std::time::Duration;

const STACK: &str = "shop-staging";

impl Place {
    fn removal(&self) -> Removal {
        self.block_on(self.stack().removal(&self.cx)).unwrap_or_else(|e| panic!("{}", self.story(&e)))
    }

    fn try_delete(&self, retain: &[&str]) -> Result<Applied> {
        let removal = self.removal();
        let agreed = removal.confirm(removal.typed.as_deref().unwrap_or_default()).unwrap();
        let retain: Vec<String> = retain.iter().map(|n| (*n).to_owned()).collect();
        self.block_on(self.stack().delete(&removal, &retain, agreed, &self.cx))
    }

    #[track_caller]
    fn delete(&self, retain: &[&str]) -> Applied {
        self.try_delete(retain).unwrap_or_else(|e| panic!("{}", self.story(&e)))
    }

    #[track_caller]
    fn left_over(&self) -> Vec<LeftOver> {
        self.block_on(self.stack().left_over(&self.cx)).unwrap_or_else(|e| panic!("{}", self.story(&e)))
    }

    fn status(&self) -> Status {
        self.block_on(self.stack().look(&self.cx)).unwrap().map_or(Status::DeleteComplete, |l| l.status)
    }

    fn explained(&self, applied: &Applied) -> Error {
        explain::failure(&applied.events, Some(&self.load().template().unwrap()))
    }

    /// An update that fails, and whose rollback fails, too: A is changed well, and then does not go back.
    fn stuck(&self) -> Error {
        self.write("formations/shop.yml", TOPICS);
        self.commission();
        self.aws.stack_resources(&json!([
            { "logical": "B", "on": "update", "fail": "B is held by somebody" },
            { "logical": "A", "on": "update", "after": 1, "fail": "A does not go back" },
        ]));
        self.environment("parameters: { Word: new }");
        let applied = self.apply(&self.plan());
        assert_eq!(applied.status, Status::UpdateRollbackFailed, "{applied:#?}");
        self.explained(&applied)
    }

    /// ministack gives a bucket none of its tags.
    fn tag_bucket(&self, name: &str) {
        self.in_the_console(&format!(
            "boto3.client('s3', region_name='{REGION}').put_bucket_tagging(Bucket='{name}', Tagging={{'TagSet': [\
             {{'Key': 'App', 'Value': 'shop'}}, {{'Key': 'Env', 'Value': 'staging'}}]}})"
        ));
    }
}

const TOPICS: &str = "\
Parameters:
  Word: { Type: String, Default: old }
Resources:
  A: { Type: AWS::SNS::Topic, Properties: { DisplayName: !Ref Word } }
  B: { Type: AWS::SNS::Topic, DependsOn: A, Properties: { DisplayName: !Ref Word } }
";

#[test]
fn a_creation_that_fails_is_explained_with_the_line_of_the_formation() {
    let place = Place::new("");
    place.aws.stack_resources(&json!([{
        "logical": "Files", "on": "create",
        "fail": "shop-files already exists (Service: Amazon S3; Status Code: 409; Error Code: BucketAlreadyExists; Request ID: X; Proxy: null)",
    }]));
    let applied = place.apply(&place.plan());
    assert_eq!(applied.status, Status::RollbackComplete);
    let error = place.explained(&applied);
    assert_eq!(
        error.message(),
        "stack shop-staging: Files (AWS::S3::Bucket) could not be made: shop-files already exists (BucketAlreadyExists)"
    );
    let line = SHOP.lines().position(|l| l == "  Files:").unwrap() + 1;
    let at = &error.details().places[0];
    assert_eq!((at.file.as_str(), at.line), ("formations/shop.yml", line));
    assert!(error.details().hints[0].contains("outside this stack"), "{error:?}");

    let removal = place.removal();
    assert!(removal.goes.is_empty() && removal.look.is_some(), "only its name is left: {removal:#?}");
    place.delete(&[]);
    place.aws.assert_none(REGION, "what rolled back, deleted");
    assert_eq!(place.left_over(), []);
}

/// AWS looks before it begins; its events only say how many mistakes there are.
#[test]
fn what_aws_finds_before_it_begins_is_named_by_resource() {
    let place = Place::new("");
    place.in_the_console(&format!(
        "boto3.client('s3', region_name='{REGION}').create_bucket(Bucket='shop-files', \
         CreateBucketConfiguration={{'LocationConstraint': '{REGION}'}})"
    ));
    let applied = place.apply(&place.plan());
    assert_eq!(applied.status, Status::RollbackComplete);
    let error = place.explained(&applied);
    assert!(error.message().starts_with("stack shop-staging: Files (AWS::S3::Bucket) could not be made: "), "{error:?}");
    assert!(error.message().contains("shop-files"), "{error:?}");
    assert_eq!(error.details().places[0].file, "formations/shop.yml");
    assert!(error.details().hints[0].contains("perhaps kept by a stack before it"), "{error:?}");
}

#[test]
fn a_stuck_rollback_is_explained_and_continued_without_what_is_in_its_way() {
    let place = Place::new("");
    let error = place.stuck();
    assert_eq!(error.message(), "stack shop-staging: B (AWS::SNS::Topic) could not be changed: B is held by somebody");
    let hints = &error.details().hints;
    assert!(
        hints.contains(
            &"Then A (AWS::SNS::Topic) could not be rolled back (formations/shop.yml:4): A does not go back".to_owned()
        ),
        "{error:?}"
    );
    assert!(hints.last().unwrap().starts_with("Mend what kept A from being rolled back, or skip it by name"), "{error:?}");

    let skip = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        place.block_on(place.stack().continue_rollback(&names, &place.cx))
    };
    place.aws.forget();
    let error = skip(&["AB"]).unwrap_err();
    assert!(error.details().hints[0].contains('A'), "{error:?}");
    assert_eq!(place.changes(), [""; 0], "nothing was tried with a name that is none");
    let error = skip(&[]).unwrap_err();
    assert!(error.message().contains("A does not go back"), "still in its way: {error:?}");
    assert_eq!(place.status(), Status::UpdateRollbackFailed);

    place.aws.script(&json!([{ "do": "lose", "action": "ContinueUpdateRollback", "first": 1 }]));
    let applied = skip(&["A"]).unwrap_or_else(|e| panic!("{}", place.story(&e)));
    assert_eq!(applied.status, Status::UpdateRollbackComplete);
    place.aws.stack_resources(&json!([]));
    place.apply(&place.plan());
    assert_eq!(place.status(), Status::UpdateComplete, "it can be changed again");
    let error = skip(&[]).unwrap_err();
    assert!(error.message().ends_with("it is UPDATE_COMPLETE"), "{error:?}");
}

#[test]
fn what_stopped_half_way_is_rolled_back() {
    let place = Place::new("");
    place.commission();
    for (from, to) in [("UPDATE_FAILED", Status::UpdateRollbackComplete), ("CREATE_FAILED", Status::RollbackComplete)] {
        place.aws.stack_status(STACK, from, "stopped by the test");
        place.aws.script(&json!([{ "do": "lose", "action": "RollbackStack", "first": 1 }]));
        let applied = place.block_on(place.stack().roll_back(&place.cx)).unwrap_or_else(|e| panic!("{}", place.story(&e)));
        assert!([to, Status::DeleteComplete].contains(&applied.status), "{from}: {applied:#?}");
        let error = place.block_on(place.stack().roll_back(&place.cx)).unwrap_err();
        assert!(error.message().contains("cannot roll back stack shop-staging: it is"), "{error:?}");
    }
}

#[test]
fn drift_is_told_by_resource_and_what_was_not_checked_is_named() {
    let place = Place::new("");
    place.commission();
    place.aws.drift(&json!([
        { "describes": 3 },
        { "logical": "Queue", "status": "MODIFIED", "differences": [
            { "PropertyPath": "/DelaySeconds", "ExpectedValue": "1", "ActualValue": "7", "DifferenceType": "NOT_EQUAL" },
        ] },
    ]));
    place.in_the_console(&format!("boto3.client('s3', region_name='{REGION}').delete_bucket(Bucket='shop-files')"));
    place.aws.script(&json!([{ "do": "lose", "action": "DetectStackDrift", "first": 1 }]));
    let template = place.load().template().unwrap();
    let look = |deadline| place.block_on(place.stack().drift(Some(&template), deadline, &place.cx));
    let report = look(Duration::from_secs(30)).unwrap_or_else(|e| panic!("{}", place.story(&e)));
    let text = report.text();
    assert!(text.starts_with("stack shop-staging: 2 changed by hand, 0 as they should be, 0 not checked\n"), "{text}");
    assert!(text.contains("      DelaySeconds: 1 → 7\n") && text.contains("is not there any more"), "{text}");
    assert!(text.contains("(AWS::S3::Bucket shop-files)  formations/shop.yml:"), "{text}");

    place.aws.drift(&json!([{ "describes": 100_000 }]));
    let error = look(Duration::from_millis(300)).unwrap_err();
    assert_eq!(error.kind().name(), "timeout", "{error:?}");
    place.aws.stack_status(STACK, "ROLLBACK_COMPLETE", "");
    assert!(look(Duration::from_secs(30)).unwrap_err().message().contains("does not look for drift"));
}

const KEPT: &str = "\
Resources:
  Logs:
    Type: AWS::S3::Bucket
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties: { BucketName: shop-logs }
  Database:
    Type: AWS::RDS::DBInstance
    DeletionPolicy: Snapshot
    UpdateReplacePolicy: Snapshot
    Properties:
      DBInstanceIdentifier: shop-staging-database
      Engine: postgres
      DBInstanceClass: db.t4g.small
      AllocatedStorage: 20
      MasterUsername: app
      MasterUserPassword: a-password-of-tests
      CopyTagsToSnapshot: true
      Tags: [{ Key: App, Value: shop }, { Key: Env, Value: staging }]
";

#[test]
fn what_policies_keep_is_foretold_and_then_found_by_its_tags() {
    let place = Place::new("");
    place.write("formations/shop.yml", KEPT);
    place.commission();
    place.tag_bucket("shop-logs");
    let text = place.removal().text();
    assert!(text.contains("- Database (AWS::RDS::DBInstance shop-staging-database): leaves a snapshot"), "{text}");
    assert!(text.contains("= Logs (AWS::S3::Bucket shop-logs): stays, its DeletionPolicy is Retain"), "{text}");
    assert!(text.ends_with("1 to delete, 1 to stay, 1 snapshot left\n"), "{text}");
    place.delete(&[]);
    let left = place.left_over();
    let whats: Vec<&str> = left.iter().map(|l| l.what.as_str()).collect();
    assert_eq!(left.len(), 2, "{left:#?}\n{:#?}", place.aws.resources(REGION));
    assert!(whats.contains(&"bucket shop-logs"), "{left:#?}");
    let snapshot = left.iter().find(|l| l.what.starts_with("DB snapshot ")).unwrap_or_else(|| panic!("{left:#?}"));
    assert!(snapshot.why.contains("Snapshot"), "{left:#?}");
    assert!(
        snapshot.command.as_deref().unwrap().starts_with("aws rds delete-db-snapshot --db-snapshot-identifier "),
        "{left:#?}"
    );
}

#[test]
fn a_deletion_that_gets_stuck_is_explained_and_done_without_what_cannot_go() {
    let place = Place::new("");
    place.commission();
    place
        .aws
        .stack_resources(&json!([{ "logical": "Files", "on": "delete", "fail": "The bucket you tried to delete is not empty" }]));
    let error = place.try_delete(&[]).unwrap_err();
    assert_eq!(place.status(), Status::DeleteFailed);
    assert_eq!(
        error.message(),
        "stack shop-staging: Files (AWS::S3::Bucket) could not be deleted: The bucket you tried to delete is not empty"
    );
    let hints = &error.details().hints;
    assert!(hints[0].contains("aws s3 rm s3://shop-files --recursive"), "{error:?}");
    assert!(hints.last().unwrap().ends_with("opsrun manage staging decommission --retain Files"), "{error:?}");

    let removal = place.removal();
    assert_eq!(removal.stuck[0].name, "Files");
    assert!(removal.text().contains("! Files (AWS::S3::Bucket shop-files): could not be deleted"), "{}", removal.text());
    let error = place.try_delete(&["Queue"]).unwrap_err();
    assert!(error.message().contains("--retain Queue: it is none of those"), "{error:?}");
    place.delete(&["Files"]);
    place.tag_bucket("shop-files");
    let left = place.left_over();
    assert_eq!(left.len(), 1, "{left:#?}\n{:#?}", place.aws.resources(REGION));
    assert_eq!((left[0].what.as_str(), left[0].arn.as_str()), ("bucket shop-files", "arn:aws:s3:::shop-files"));
    place.in_the_console(&format!("boto3.client('s3', region_name='{REGION}').delete_bucket(Bucket='shop-files')"));
    assert_eq!(place.left_over(), []);
    place.aws.assert_none(REGION, "all is gone");
}

#[test]
fn a_protected_stack_goes_when_its_name_is_typed_and_stays_protected_when_it_cannot_go() {
    let place = Place::new("protected: true");
    let exports = format!("{SHOP}  Shared: {{ Value: !Ref Queue, Export: {{ Name: shop-queue }} }}\n");
    place.write("formations/shop.yml", &exports);
    place.commission();
    place.in_the_console(
        "cfn.create_stack(StackName='other', TemplateBody='{\"Resources\": {\"Q\": {\"Type\": \"AWS::SQS::Queue\", \
         \"Properties\": {\"QueueName\": {\"Fn::Sub\": [\"other-${X}\", {\"X\": {\"Fn::Select\": [4, {\"Fn::Split\": [\"/\", {\"Fn::ImportValue\": \"shop-queue\"}]}]}}]}}}}}')\n\
         cfn.get_waiter('stack_create_complete').wait(StackName='other', WaiterConfig={'Delay': 0.1})",
    );
    let removal = place.removal();
    assert_eq!(removal.typed.as_deref(), Some(STACK));
    assert!(removal.confirm("yes").is_err());
    let error = place.try_delete(&[]).unwrap_err();
    assert!(error.message().contains("is imported by stack other"), "{error:?}");
    assert!(error.details().hints[0].contains("take the import out there first"), "{error:?}");
    let look = place.block_on(place.stack().look(&place.cx)).unwrap().unwrap();
    assert!(look.protected && look.status == Status::CreateComplete, "it is as it was: {look:#?}");

    place.in_the_console(
        "cfn.delete_stack(StackName='other')\n\
         cfn.get_waiter('stack_delete_complete').wait(StackName='other', WaiterConfig={'Delay': 0.1})",
    );
    place.aws.script(&json!([
        { "do": "lose", "action": "DeleteStack", "first": 1 },
        { "do": "throttle", "action": "Describe*", "service": "cloudformation", "every": 3, "first": 4 },
    ]));
    place.delete(&[]);
    place.aws.assert_none(REGION, "the protected stack, deleted");
    assert!(place.removal().is_empty());
}

/// The emulator refuses what AWS refuses in each status: what the table has a verb do must be taken.
#[test]
fn in_each_of_the_23_statuses_aws_takes_what_the_table_says() {
    for status in Status::ALL.into_iter().filter(|s| *s != Status::DeleteComplete && *s != Status::ReviewInProgress) {
        let place = Place::new("");
        place.commission();
        place.environment("parameters: { Delay: 5 }");
        place.aws.stack_status(STACK, status.name(), "put there by the test");
        assert_eq!(place.status(), status);
        let plan = place.try_plan(&[]);
        match step(Verb::Plan, status) {
            Step::Change => assert!(plan.is_ok_and(|p| p.change_set.is_some()), "{status}"),
            Step::FromTemplate => assert!(plan.is_ok_and(|p| p.change_set.is_none() && p.changes.len() == 2), "{status}"),
            Step::Join => assert_eq!(plan.unwrap_err().message(), format!("stack shop-staging is {status}")),
            Step::Refuse(refusal) => assert!(plan.unwrap_err().message().contains(refusal.why), "{status}"),
            other => panic!("plan does {other:?} in {status}"),
        }
        if let Step::Change | Step::UpdateOrRollBack = step(Verb::Update, status) {
            let applied = place.apply(&place.plan());
            assert_eq!(applied.status, Status::UpdateComplete, "{status}");
        }
        if Step::Join == step(Verb::Decommission, status) {
            let end = status_after(status);
            place.aws.stack_status_until(STACK, status.name(), 3, end.name());
            let joined = place.block_on(place.stack().follow(&place.cx)).unwrap().unwrap();
            assert!(joined.joined && joined.status == end, "{status}: {joined:#?}");
        }
        // Where the test said that it is deleted, its resources were not.
        if place.status() != Status::DeleteComplete {
            place.delete(&[]);
            place.aws.assert_none(REGION, &format!("{status}, then deleted"));
        }
    }
}

fn status_after(status: Status) -> Status {
    opsrun::domain::stack::status::goal(status).unwrap()
}

/// What stacks do not make carries the tags, too.
#[test]
fn what_is_left_is_seen_by_its_own_service_and_what_is_gone_is_not_left() {
    let place = Place::new("");
    place.in_the_console(&format!(
        "ec2 = boto3.client('ec2', region_name='{REGION}')\n\
         tags = [{{'Key': 'App', 'Value': 'shop'}}, {{'Key': 'Env', 'Value': 'staging'}}]\n\
         spec = lambda kind, *more: [{{'ResourceType': kind, 'Tags': tags + list(more)}}]\n\
         run = lambda **k: ec2.run_instances(ImageId='ami-1e749f67', MinCount=1, MaxCount=1, **k)['Instances'][0]['InstanceId']\n\
         one = run(TagSpecifications=spec('instance'))\n\
         two = run(TagSpecifications=spec('instance'))\n\
         run()\n\
         ec2.create_volume(AvailabilityZone='{REGION}a', Size=8, TagSpecifications=spec('volume'))\n\
         image = ec2.create_image(InstanceId=one, Name='shop-web-abc')['ImageId']\n\
         ec2.create_tags(Resources=[image], Tags=tags + [{{'Key': 'opsrun:role-hash', 'Value': 'abc'}}])\n\
         ec2.create_security_group(GroupName='g', Description='g', TagSpecifications=spec('security-group'))\n\
         ec2.terminate_instances(InstanceIds=[two])\n"
    ));
    let left = place.left_over();
    let mut kinds: Vec<&str> = left.iter().map(|l| l.what.split(' ').next().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["image", "instance", "security", "volume"], "{left:#?}");
    let image = left.iter().find(|l| l.what.starts_with("image")).unwrap();
    assert_eq!(image.command.as_deref(), Some("opsrun manage staging clean"));
    assert!(image.what.ends_with("(shop-web-abc)"), "{image:?}");
    for command in left.iter().filter_map(|l| l.command.as_deref()).filter(|c| c.starts_with("aws ")) {
        assert!(command.ends_with(&format!(" --region {REGION}")), "{command}");
    }
}
