//! The verbs of environments: what they do, and what they refuse.

use crate::aws::REGION;
use crate::shop::{COMMON, SMALL, Shop, said};
use serde_json::{Value, json};

#[test]
fn a_plan_shows_what_would_be_made_and_leaves_nothing() {
    let shop = Shop::small();
    let said = shop.succeeds(&["plan"]);
    for part in ["new stack shop-staging", "+ add         Files (AWS::S3::Bucket)", "Topic", "3 to add", "Size: 1"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    shop.assert_nothing("only planned");
    let out = shop.manage(&["plan", "--json"]);
    let plan: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&plan["plan"]["kind"], plan["plan"]["changes"].as_array().unwrap().len()),
        (&Value::from("create"), 3),
        "{plan:#}"
    );
    let out = shop.command(&["repl", "-e", "environment(\"staging\").plan()"]).output().unwrap();
    assert!(crate::lab::stdout(&out).contains("3 to add"), "{}", self::said(&out));
    shop.assert_nothing("typed in the REPL");
}

#[test]
fn bad_input_is_refused_before_anything_is_asked() {
    let refused = |common: &str, small: &str, parts: &[&str]| {
        let shop = Shop::small();
        shop.write("environments/common.yml", &format!("{COMMON}{common}"));
        shop.write("formations/small.yml", small);
        let said = shop.fails(2, &["plan"]);
        assert!(parts.iter().all(|p| said.contains(p)), "{said}");
        assert!(shop.aws.calls().is_empty(), "{said}\n{}", shop.story());
    };
    refused("grups: {}\n", SMALL, &["grups", "Did you mean", "environments/common.yml:6"]);
    refused(
        "groups: { web: { min: 1 } }\n",
        SMALL,
        &["group `web` has neither an `image` nor `roles`", "environments/common.yml:6"],
    );
    refused("parameters: { Size: many }\n", SMALL, &["Size", "must be a number", "many", "environments/common.yml:6"]);
    refused("parameters: { Size: 10 }\n", SMALL, &["9 or less"]);
    refused("parameters: { Sise: 1 }\n", SMALL, &["no parameter `Sise`", "Size"]);
    let large = format!("{SMALL}Outputs:\n  Long: {{ Value: {} }}\n", "x".repeat(51_200));
    refused("", &large, &["bytes", "51200", "bucket: NAME"]);
    refused("", &SMALL.replace("!Ref Size", "!Ref Sise"), &["Sise", "formations/small.yml:"]);
}

#[test]
fn the_stack_of_somebody_else_is_left_alone() {
    let shop = Shop::small();
    let other = "app: other\nstack: shop-staging\nformations: [small]\n";
    shop.write("environments/other.yml", other);
    let said = shop.fails(2, &["plan"]);
    assert!(said.contains("environments/staging.yml and environments/other.yml are about the same stack"), "{said}");
    // Somebody else has it in a project of their own.
    let own = std::fs::read_to_string(shop.path("environments/staging.yml")).unwrap();
    std::fs::remove_file(shop.path("environments/staging.yml")).unwrap();
    shop.write("made.rhai", "environment(\"other\").stack().change_set(#{}).apply();");
    let made = shop.command(&["made.rhai"]).output().unwrap();
    assert!(made.status.success(), "{}", self::said(&made));
    std::fs::remove_file(shop.path("environments/other.yml")).unwrap();
    shop.write("environments/staging.yml", &own);
    shop.aws.forget();
    let said = shop.fails(1, &["plan"]);
    for part in ["stack shop-staging", "belongs to somebody else", "its tag App is \"other\"", "Nothing was touched"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    shop.assert_untouched("somebody else's");
}

#[test]
fn built_changed_and_removed() {
    let shop = Shop::small();
    let said = shop.succeeds(&["commission", "--yes"]);
    assert!(said.contains("3 to add"), "{said}");
    shop.aws.assert_exactly(REGION, &[("stack", 1), ("bucket", 1), ("topic", 1)], &shop.story());
    // Again: nothing is to do, and that is fine.
    shop.aws.forget();
    let said = shop.succeeds(&["commission"]);
    assert!(said.contains("nothing to change"), "{said}");
    assert!(shop.aws.calls_of("ExecuteChangeSet").is_empty(), "{}", shop.story());
    // A change is asked about; whoever cannot be asked leaves nothing behind.
    shop.write("environments/staging.yml", "formations: [small]\nparameters: { Size: 2 }\n");
    let refused = shop.fails(1, &["update"]);
    assert!(
        refused.contains("there is no terminal to ask on: Change stack shop-staging?") && refused.contains("--yes"),
        "{refused}"
    );
    assert!(refused.contains("~ Size: 1 → 2"), "{refused}");
    assert_eq!(shop.aws.calls_of("CreateChangeSet").len(), shop.aws.calls_of("DeleteChangeSet").len(), "{}", shop.story());
    assert!(shop.aws.calls_of("ExecuteChangeSet").is_empty(), "{}", shop.story());
    let out = shop.manage(&["update", "--yes", "--json"]);
    let done: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", self::said(&out)));
    assert_eq!(done["status"], "UPDATE_COMPLETE");
    let refused = shop.fails(1, &["decommission"]);
    assert!(refused.contains("Delete stack shop-staging?") && refused.contains("--yes"), "{refused}");
    let said = shop.succeeds(&["decommission", "--yes"]);
    assert!(said.contains("- Files (AWS::S3::Bucket") && said.contains("nothing of shop-staging is left"), "{said}");
    shop.assert_nothing("decommissioned");
    let said = shop.succeeds(&["decommission", "--yes"]);
    assert!(said.contains("there is no stack shop-staging"), "{said}");
}

#[test]
fn what_is_protected_wants_its_name() {
    let shop = Shop::small();
    shop.write("environments/staging.yml", "formations: [small]\nprotected: true\n");
    shop.succeeds(&["commission", "-y"]);
    shop.aws.forget();
    let said = shop.fails(1, &["decommission", "--yes"]);
    assert!(said.contains("--name=shop-staging"), "{said}");
    shop.fails(1, &["decommission", "--yes", "--name=staging"]);
    shop.assert_untouched("its name was not typed");
    // Nor is what is left of one deleted by a mere yes, to be made anew.
    shop.aws.stack_status("shop-staging", "ROLLBACK_FAILED", "it got stuck");
    let said = shop.fails(1, &["commission", "--yes"]);
    assert!(said.contains("Delete it, and make it anew?") && said.contains("--name=shop-staging"), "{said}");
    shop.assert_untouched("its name was not typed");
    shop.aws.stack_status("shop-staging", "CREATE_COMPLETE", "");
    shop.succeeds(&["decommission", "--name=shop-staging"]);
}

#[test]
fn a_failure_is_explained_and_run_again() {
    let shop = Shop::small();
    shop.aws.stack_resources(&json!([{ "logical": "Topic", "on": "create", "fail": "Rate exceeded for topics" }]));
    let said = shop.fails(1, &["commission", "--yes"]);
    assert!(said.contains("Rate exceeded for topics") && said.contains("formations/small.yml:"), "{said}");
    shop.aws.stack_resources(&json!([]));
    shop.succeeds(&["commission", "--yes"]);
    let said = shop.fails(2, &["update", "--replace"]);
    assert!(said.contains("--replace needs a value"), "{said}");
    shop.write("environments/staging.yml", "formations: [small]\nparameters: { Size: 2 }\n");
    let said = shop.fails(1, &["update", "--yes", "--replace=Toppic"]);
    assert!(said.contains("Toppic") && said.contains("Did you mean"), "{said}");
}

#[test]
fn credentials_that_expire_half_way_are_told_and_the_next_run_goes_on() {
    let shop = Shop::small();
    shop.aws.script(&json!([{ "do": "expired", "action": "DescribeStackEvents" }]));
    let said = shop.fails(1, &["commission", "--yes"]);
    assert!(said.to_lowercase().contains("expired"), "{said}");
    shop.aws.script(&json!([]));
    let said = shop.succeeds(&["commission", "--yes"]);
    assert!(said.contains("CREATE_COMPLETE") || said.contains("nothing to change"), "{said}");
    shop.aws.assert_exactly(REGION, &[("stack", 1), ("bucket", 1), ("topic", 1)], &shop.story());
}

/// Workers that are instances of the stack itself: they stay, and get their roles pushed.
const WORKERS: usize = 10;

#[test]
fn a_role_that_fails_on_two_of_ten_hosts_names_them() {
    let shop = crate::kill::heads();
    let worker = |n: usize| {
        format!(
            "  Worker{n}:\n    Type: AWS::EC2::Instance\n    Properties:\n      ImageId: !Ref WorkerImage\n      InstanceType: t3.small\n      \
         KeyName: shop\n      Tags: [{{ Key: App, Value: shop }}, {{ Key: Env, Value: staging }}, {{ Key: Group, Value: worker }}]\n"
        )
    };
    let workers: String = (0..WORKERS).map(worker).collect();
    shop.write(
        "formations/heads.yml",
        &format!("Parameters: {{ WorkerImage: {{ Type: 'AWS::EC2::Image::Id' }} }}\nResources:\n{workers}"),
    );
    let common = std::fs::read_to_string(shop.path("environments/common.yml")).unwrap();
    let common = common.replace("  web: { min: 2,", "  worker: {");
    shop.write("environments/common.yml", &common);
    shop.write(
        "roles/mark/main.rhai",
        "fn apply(nodes, vars) { nodes.sh(`test ! -e /etc/broken && echo ${vars.said} > /etc/mark`); }",
    );
    let status =
        |shop: &Shop| -> Value { serde_json::from_str(&crate::lab::stdout(&shop.manage(&["status", "--json"]))).unwrap() };
    shop.succeeds(&["commission", "--yes"]);
    assert!(shop.aws.calls_of("CreateImage").is_empty(), "an image would replace them\n{}", shop.story());
    assert_eq!(status(&shop)["groups"][0]["outdated"], 0, "{:#}", status(&shop));
    let broken = shop.command(&["exec", "shop-staging", "worker-3,worker-7", "--", "touch /etc/broken"]).output().unwrap();
    assert!(broken.status.success(), "{}", said(&broken));
    shop.write("environments/staging.yml", "variables: { said: two }\n");
    let said = shop.fails(1, &["deploy", "--yes"]);
    assert!(said.contains("worker-3") && said.contains("worker-7") && said.contains("2 of 10"), "{said}");
    assert_eq!(status(&shop)["groups"][0]["outdated"], WORKERS, "{:#}", status(&shop));
    let mended = shop.command(&["exec", "shop-staging", "worker-3,worker-7", "--", "rm /etc/broken"]).output().unwrap();
    assert!(mended.status.success(), "{}", self::said(&mended));
    shop.succeeds(&["deploy", "--roles=mark", "--yes"]);
    shop.succeeds(&["deploy", "--yes"]);
    assert_eq!(status(&shop)["groups"][0]["outdated"], 0, "{:#}", status(&shop));
    let said = shop.fails(1, &["deploy", "--roles=marc", "--yes"]);
    assert!(said.contains("marc"), "{said}");
}
