//! The stack of an environment: planned by a change set, done, followed; whatever goes wrong on the way.

use crate::aws::REGION;
use crate::place::{Place, SHOP};
use opsrun::domain::stack::{Effect, Kind, Status, show};
use serde_json::json;

#[test]
fn planned_made_changed_and_then_nothing_is_left_to_do() {
    let place = Place::new("parameters: { Delay: 2 }");
    let plan = place.plan();
    assert_eq!(plan.kind, Kind::Create);
    let text = show::text(&plan);
    assert!(text.starts_with("new stack shop-staging\n  + add         Files (AWS::S3::Bucket)\n"), "{text}");
    assert!(text.contains("  + Delay: 2\n  + Word: ***\n") && text.ends_with("2 to add\n"), "{text}");

    let applied = place.apply(&plan);
    assert_eq!(applied.status, Status::CreateComplete);
    place.aws.forget();
    place.block_on(place.stack().discard(&plan, &place.cx)).unwrap();
    assert_eq!(place.changes(), [""; 0], "what was done cannot be discarded");
    assert_eq!(applied.outputs[0].name, "Queue");
    let told = place.notes();
    for logical in ["Queue (AWS::SQS::Queue)", "Files (AWS::S3::Bucket)", "shop-staging (the stack)"] {
        let lines = told.iter().filter(|n| n.contains("CREATE_COMPLETE") && n.contains(logical)).count();
        assert_eq!(lines, 1, "{logical} is told once\n{}", told.join("\n"));
    }
    let look = place.block_on(place.stack().look(&place.cx)).unwrap().unwrap();
    let tags: Vec<_> = look.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(tags, ["App=shop", "Env=staging", "opsrun:environment=shop-staging"]);

    place.aws.forget();
    let again = place.plan();
    assert!(again.is_empty() && again.change_set.is_none(), "{again:#?}");
    assert_eq!(show::text(&again), "stack shop-staging (CREATE_COMPLETE)\nnothing to change\n");
    assert_eq!(place.changes(), ["CreateChangeSet", "DeleteChangeSet"], "what says nothing is taken back");

    place.environment("parameters: { Delay: 5 }");
    place.write("formations/shop.yml", &SHOP.replace("Outputs:\n", "Outputs:\n  Files: { Value: !Ref Files }\n"));
    let plan = place.plan();
    let text = show::text(&plan);
    assert!(text.contains("~ change      Queue (AWS::SQS::Queue)"), "{text}");
    assert!(text.contains("  ~ Delay: 2 → 5\n  ~ Word: *** → *** (hidden: whether it changed is not known)\n"), "{text}");
    assert!(text.contains("  +  Files:\n"), "{text}");
    let applied = place.apply(&plan);
    assert_eq!(applied.status, Status::UpdateComplete);
    assert!(applied.events.iter().all(|e| !e.status.starts_with("CREATE")), "only those of this call: {:#?}", applied.events);
    assert!(place.plan().is_empty());
}

#[test]
fn a_plan_that_is_refused_leaves_nothing() {
    let place = Place::new("");
    let plan = place.plan();
    place.block_on(place.stack().discard(&plan, &place.cx)).unwrap();
    place.aws.assert_none(REGION, "the stack that only carried the change set is gone");

    place.commission();
    place.environment("parameters: { Delay: 5 }");
    let plan = place.plan();
    place.block_on(place.stack().discard(&plan, &place.cx)).unwrap();
    place.block_on(place.stack().discard(&plan, &place.cx)).unwrap();
    let left = place.in_the_console("print(len(cfn.list_change_sets(StackName='shop-staging')['Summaries']))");
    assert!(left.trim().parse::<usize>().unwrap() <= 1, "none but the executed one, where it is kept: {left}");
    let error = place.block_on(place.stack().apply(&plan, &place.cx)).unwrap_err();
    assert!(error.message().contains("changed since this plan was made; nothing was done"), "{error:?}");
}

/// Killed between plan and apply, again and again.
#[test]
fn change_sets_that_were_left_behind_are_swept_and_those_of_others_stay() {
    let place = Place::new("");
    place.plan();
    place.plan();
    place.commission();
    place.in_the_console(
        "cfn.create_change_set(StackName='shop-staging', ChangeSetName='theirs', UsePreviousTemplate=True, Parameters=[\
         {'ParameterKey': 'Delay', 'ParameterValue': '9'}], Tags=[{'Key': 'App', 'Value': 'shop'}])",
    );
    place.environment("parameters: { Delay: 5 }");
    place.plan();
    let last = place.plan().change_set.unwrap();
    let names = place.in_the_console(
        "for s in cfn.list_change_sets(StackName='shop-staging')['Summaries']:\n  if s['ExecutionStatus'] == 'AVAILABLE': print(s['ChangeSetName'])",
    );
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(names, [last.as_str(), "theirs"]);
}

#[test]
fn a_stack_of_somebody_else_is_not_touched() {
    let place = Place::new("");
    let body = "{\\\"Resources\\\": {\\\"Q\\\": {\\\"Type\\\": \\\"AWS::SQS::Queue\\\"}}}";
    for (tags, why) in [
        ("[]", "it has no tag App"),
        (
            "[{'Key': 'App', 'Value': 'shop'}, {'Key': 'Env', 'Value': 'test'}]",
            "its tag Env is \"test\", and would be \"staging\"",
        ),
    ] {
        place.in_the_console(&format!(
            "cfn.create_stack(StackName='shop-staging', TemplateBody=\"{body}\", Tags={tags})\n\
             cfn.get_waiter('stack_create_complete').wait(StackName='shop-staging', WaiterConfig={{'Delay': 0.1}})"
        ));
        place.aws.forget();
        let error = place.try_plan(&[]).unwrap_err();
        assert_eq!(error.message(), format!("stack shop-staging in {REGION} belongs to somebody else: {why}"));
        assert_eq!(place.changes(), [""; 0], "nothing was touched");
        place.in_the_console(
            "cfn.delete_stack(StackName='shop-staging')\n\
             cfn.get_waiter('stack_delete_complete').wait(StackName='shop-staging', WaiterConfig={'Delay': 0.1})",
        );
    }
    place.in_the_console(&format!(
        "cfn.create_change_set(StackName='shop-staging', ChangeSetName='theirs', ChangeSetType='CREATE', TemplateBody=\"{body}\")"
    ));
    let error = place.try_plan(&[]).unwrap_err();
    assert!(error.message().ends_with("it waits for change set theirs, which opsrun did not make"), "{error:?}");
}

#[test]
fn data_is_replaced_only_when_it_is_named() {
    let place = Place::new("");
    place.commission();
    for (order, effect) in [
        (
            json!({ "logical": "Files", "Action": "Modify", "Replacement": "True", "PolicyAction": "ReplaceAndDelete" }),
            Effect::Replace,
        ),
        (json!({ "logical": "Files", "Action": "Modify", "Replacement": "Conditional" }), Effect::MayReplace),
        (json!({ "logical": "Files", "Action": "Dynamic" }), Effect::MayReplace),
        (json!({ "logical": "Files", "Action": "Remove", "PolicyAction": "Snapshot" }), Effect::Remove),
    ] {
        place.aws.change_sets_show(&json!([order]));
        place.aws.forget();
        let plan = place.plan();
        assert_eq!((plan.changes[0].name.as_str(), plan.changes[0].effect), ("Files", effect), "the worst comes first");
        let error = place.block_on(place.stack().apply(&plan, &place.cx)).unwrap_err();
        assert!(error.details().hints[0].contains("--replace Files"), "{error:?}");
        assert!(place.aws.calls_of("ExecuteChangeSet").is_empty(), "nothing was done");
        assert_eq!(place.try_plan(&["Files"]).unwrap().refused().count(), 0);
    }
    let error = place.try_plan(&["Flies"]).unwrap_err();
    assert!(error.details().hints[0].contains("Files"), "{error:?}");
}

#[test]
fn a_failure_carries_all_its_events_and_is_planned_anew_from_the_template() {
    let place = Place::new("");
    place.aws.stack_resources(&json!([{ "logical": "Files", "on": "create", "fail": "no such region" }]));
    let applied = place.apply(&place.plan());
    assert_eq!(applied.status, Status::RollbackComplete);
    assert!(!applied.succeeded());
    let failed: Vec<_> = applied.events.iter().filter(|e| e.is_failure() && !e.is_of_stack()).collect();
    assert!(
        failed.iter().any(|e| e.logical_id == "Files" && e.reason.as_deref().unwrap().contains("no such region")),
        "{failed:#?}"
    );
    let ids: std::collections::BTreeSet<&str> = applied.events.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids.len(), applied.events.len(), "each event once");

    place.aws.stack_resources(&json!([]));
    place.aws.forget();
    let plan = place.plan();
    assert!(plan.kind == Kind::Create && plan.change_set.is_none() && plan.changes.len() == 2, "{plan:#?}");
    assert_eq!(place.changes(), [""; 0], "AWS makes no change set for it");
    let error = place.block_on(place.stack().apply(&plan, &place.cx)).unwrap_err();
    assert!(error.message().contains("must be deleted before"), "{error:?}");
}

/// Interrupted while the stack works: it goes on by itself, and whoever comes next joins it.
#[test]
fn an_interrupted_apply_is_joined_by_the_next() {
    let place = Place::new("");
    place.aws.stack_resources(&json!([{ "logical": "Files", "on": "create", "wait": 2 }]));
    let plan = place.plan();
    let cx = opsrun::base::event::Cx::new(opsrun::base::cancel::Cancel::new(), place.cx.events.clone());
    let (stack, cancel) = (place.stack(), cx.cancel.clone());
    let error = place.block_on(async {
        let interrupt = async {
            // Until it says what it waits for.
            while !place.labels().iter().any(|l| l.contains("waiting for Files")) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            cancel.cancel();
        };
        tokio::join!(stack.apply(&plan, &cx), interrupt).0.unwrap_err()
    });
    assert!(error.is_cancelled() && error.details().exit == Some(130), "{error:?}");
    assert!(error.message().starts_with("interrupted; stack shop-staging goes on by itself, waiting for Files ("), "{error:?}");
    assert!(error.details().hints[0].contains("opsrun manage staging status"), "{error:?}");

    let busy = place.try_plan(&[]).unwrap_err();
    assert_eq!(busy.message(), "stack shop-staging is CREATE_IN_PROGRESS");
    let joined = place.block_on(stack.follow(&place.cx)).unwrap().unwrap();
    assert!(joined.joined && joined.status == Status::CreateComplete, "{joined:#?}");
    assert!(joined.events.iter().any(|e| e.logical_id == "Files" && e.status == "CREATE_COMPLETE"), "{joined:#?}");
    assert!(joined.events.iter().any(|e| e.is_of_stack() && e.status == "CREATE_IN_PROGRESS"), "from its beginning: {joined:#?}");
    assert!(place.block_on(stack.follow(&place.cx)).unwrap().is_none(), "nothing is under way");
}

/// Each call that changes something, lost once: it was done, and is not done twice.
#[test]
fn lost_answers_and_throttling_change_nothing() {
    for action in ["CreateChangeSet", "ExecuteChangeSet", "UpdateTerminationProtection", "SetStackPolicy", "DeleteChangeSet"] {
        let place = Place::new("protected: true\nstack_policy: policy.json");
        place.write("environments/policy.json", POLICY);
        place.aws.script(&json!([
            { "do": "lose", "action": action, "first": 1 },
            { "do": "throttle", "action": ["Describe*", "CreateChangeSet"], "service": "cloudformation", "every": 3, "first": 4 },
        ]));
        place.commission();
        let look = place.block_on(place.stack().look(&place.cx)).unwrap().unwrap();
        assert!(look.protected, "{action}");
        assert!(place.plan().is_empty(), "{action}");
        let stacks = place.in_the_console("print(len(cfn.list_stacks()['StackSummaries']))");
        assert_eq!(stacks.trim(), "1", "{action}");
    }
}

const POLICY: &str = r#"{"Statement": [{"Effect": "Allow", "Action": "Update:*", "Principal": "*", "Resource": "*"}]}"#;

#[test]
fn protection_and_policy_are_part_of_the_plan() {
    let place = Place::new("protected: true\nstack_policy: policy.json");
    place.write("environments/policy.json", "no JSON");
    let error = place.try_plan(&[]).unwrap_err();
    assert!(error.message().contains("policy.json is no JSON"), "{error:?}");
    assert!(place.aws.calls().is_empty(), "found before any call");

    place.write("environments/policy.json", POLICY);
    let text = show::text(&place.plan());
    assert!(
        text.contains("settings:\n  ~ termination protection: off → on\n  ~ stack policy: set for the first time\n"),
        "{text}"
    );
    place.commission();
    assert!(place.plan().is_empty());
    let policy = place.in_the_console("print(cfn.get_stack_policy(StackName='shop-staging')['StackPolicyBody'])");
    assert_eq!(policy.trim(), POLICY);

    place.environment("");
    let plan = place.plan();
    assert!(plan.kind == Kind::None && !plan.is_empty(), "{plan:#?}");
    assert_eq!(plan.settings, ["termination protection: on → off"]);
    place.aws.forget();
    place.apply(&plan);
    assert_eq!(place.changes(), ["UpdateTerminationProtection"]);
}

#[test]
fn a_large_template_goes_through_a_bucket() {
    let large = |n: usize| {
        let mut text = SHOP.replace("Outputs:\n  Queue: { Value: !Ref Queue }\n", "");
        for i in 0..n {
            text += &format!("  Q{i}:\n    Type: AWS::SQS::Queue\n    Metadata: {{ Why: \"{}\" }}\n", "x".repeat(5000));
        }
        text
    };
    let place = Place::new("");
    place.write("formations/shop.yml", &large(12));
    let error = place.try_plan(&[]).unwrap_err();
    assert!(error.message().contains("AWS takes no more than 51200 with a call"), "{error:?}");
    place.write("formations/shop.yml", &large(210));
    let error = place.try_plan(&[]).unwrap_err();
    assert!(error.message().contains("AWS reads no more than"), "{error:?}");
    assert!(place.aws.calls().is_empty(), "found before any call");

    place.environment("bucket: shop-templates");
    place.write("formations/shop.yml", &large(12));
    let error = place.try_plan(&[]).unwrap_err();
    assert_eq!(error.message(), "there is no bucket shop-templates");
    place.in_the_console(&format!(
        "boto3.client('s3', region_name='{REGION}').create_bucket(Bucket='shop-templates', \
         CreateBucketConfiguration={{'LocationConstraint': '{REGION}'}})"
    ));
    let plan = place.plan();
    place.block_on(place.stack().discard(&plan, &place.cx)).unwrap();
    place.aws.forget();
    place.commission();
    assert!(place.aws.calls_of("PutObject").is_empty(), "the same content is there already");
    assert!(place.plan().is_empty());
}

const NESTED: &str = "\
Resources:
  Data:
    Type: AWS::CloudFormation::Stack
    Properties: { TemplateURL: 'ENDPOINT/nested/inner.yml' }
";
const INNER: &str = "\
Resources:
  Table:
    Type: AWS::SQS::Queue
";

#[test]
fn nested_stacks_are_followed() {
    let place = Place::new("");
    place.in_the_console(&format!(
        "s3 = boto3.client('s3', region_name='{REGION}')\n\
         s3.create_bucket(Bucket='nested', CreateBucketConfiguration={{'LocationConstraint': '{REGION}'}})\n\
         s3.put_object(Bucket='nested', Key='inner.yml', Body='''{INNER}''')"
    ));
    place.write("formations/shop.yml", &NESTED.replace("ENDPOINT", &place.aws.endpoint()));
    let plan = place.plan();
    assert_eq!(plan.capabilities[0].name, "CAPABILITY_AUTO_EXPAND");
    let applied = place.apply(&plan);
    assert!(applied.succeeded(), "{applied:#?}");
    let inner = applied.events.iter().any(|e| e.logical_id == "Table" && e.status == "CREATE_COMPLETE");
    assert!(inner, "{:#?}", applied.events);
    assert!(
        place.notes().iter().any(|n| n.contains("CREATE_COMPLETE Data/Table (AWS::SQS::Queue)")),
        "{}",
        place.notes().join("\n")
    );
}

#[test]
fn expired_credentials_half_way_are_told_and_a_rerun_goes_on() {
    let place = Place::new("");
    place.aws.stack_resources(&json!([{ "logical": "Files", "on": "create", "wait": 1 }]));
    let plan = place.plan();
    place.aws.script(&json!([{ "do": "expired", "action": "DescribeStackEvents", "after": 3 }]));
    let error = place.block_on(place.stack().apply(&plan, &place.cx)).unwrap_err();
    assert!(error.message().contains("AWS does not accept the credentials (ExpiredToken)"), "{error:?}");
    assert!(error.details().context.iter().any(|c| c.contains("goes on by itself")), "{error:?}");
    place.aws.script(&json!([]));
    let joined = place.block_on(place.stack().follow(&place.cx)).unwrap();
    assert!(joined.is_none_or(|j| j.succeeded()));
    assert!(place.plan().is_empty());
}

/// AWS checks a template before it makes anything, and says what is wrong in another place than the stack's events.
#[test]
fn what_does_not_pass_the_checks_of_aws_is_told_as_a_failure() {
    let place = Place::new("");
    place.in_the_console("boto3.client('s3', region_name='us-east-1').create_bucket(Bucket='shop-files')");
    let applied = place.apply(&place.plan());
    assert_eq!(applied.status, Status::RollbackComplete);
    let failed: Vec<_> = applied.events.iter().filter(|e| e.is_failure() && !e.is_of_stack()).collect();
    assert!(failed.len() == 1 && failed[0].logical_id == "Files" && failed[0].status == "CREATE_FAILED", "{failed:#?}");
    assert!(failed[0].reason.as_ref().unwrap().ends_with("(/Resources/Files)"), "{failed:#?}");
    assert!(place.notes().iter().any(|n| n.contains("CREATE_FAILED Files (AWS::S3::Bucket): ")), "{:#?}", place.notes());
}

const ROLE: &str = "\
Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: { Statement: [{ Effect: Allow, Principal: { Service: ec2.amazonaws.com }, Action: sts:AssumeRole }] }
Outputs:
";

#[test]
fn capabilities_follow_from_the_template_and_the_role_goes_along() {
    let place = Place::new("role_arn: arn:aws:iam::123456789012:role/deployer");
    place.write("formations/shop.yml", &SHOP.replace("Outputs:\n", &format!("  {ROLE}")));
    let plan = place.plan();
    assert!(show::text(&plan).contains("  needs CAPABILITY_IAM, for Role\n"), "{}", show::text(&plan));
    let call = &place.aws.calls_of("CreateChangeSet")[0];
    assert_eq!(call.params["Capabilities.member.1"], "CAPABILITY_IAM");
    assert_eq!(call.params["RoleARN"], "arn:aws:iam::123456789012:role/deployer");
    assert_eq!(call.params["IncludeNestedStacks"], "true");
    assert_eq!(call.params["ClientToken"], call.params["ChangeSetName"]);
    assert!(place.apply(&plan).succeeded());
    assert_eq!(place.aws.calls_of("ExecuteChangeSet")[0].params["ClientRequestToken"], plan.change_set.unwrap());
}

/// What was just made is not seen by every reader yet.
#[test]
fn a_change_set_that_is_not_seen_yet_is_waited_for() {
    let place = Place::new("");
    place.aws.script(&json!([{ "do": "hide", "action": "CreateChangeSet", "describes": 3 }]));
    let plan = place.plan();
    assert_eq!(plan.changes.len(), 2);
    assert!(place.aws.calls_of("DescribeChangeSet").len() > 3);
    place.aws.script(&json!([]));
    assert!(place.apply(&plan).succeeded());
}

#[test]
fn an_interrupted_plan_leaves_nothing() {
    let place = Place::new("");
    place.aws.script(&json!([{ "do": "hide", "action": "CreateChangeSet", "describes": 8 }]));
    let cx = opsrun::base::event::Cx::new(opsrun::base::cancel::Cancel::new(), place.cx.events.clone());
    let (stack, cancel, wanted) = (place.stack(), cx.cancel.clone(), place.wanted(&[]));
    let error = place.block_on(async {
        let interrupt = async {
            while place.aws.calls_of("DescribeChangeSet").is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            cancel.cancel();
        };
        tokio::join!(stack.plan(&wanted, &cx), interrupt).0.unwrap_err()
    });
    assert!(error.is_cancelled(), "{error:?}");
    place.aws.script(&json!([]));
    place.aws.assert_none(REGION, "the change set and its stack are taken back");
}
