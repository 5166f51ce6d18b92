//! The verbs of environments: what they do, and what they refuse.

use crate::shop::{COMMON, SMALL, Shop, said};
use serde_json::Value;

#[test]
fn a_plan_shows_what_would_be_made_and_leaves_nothing() {
    let shop = Shop::small();
    let said = shop.succeeds(&["plan"]);
    for part in ["new stack shop-staging", "+ add         Files (AWS::S3::Bucket)", "Topic", "2 to add", "Size: 1"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    shop.assert_nothing("only planned");
    let out = shop.manage(&["plan", "--json"]);
    let plan: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&plan["kind"], plan["changes"].as_array().unwrap().len()), (&Value::from("create"), 2), "{plan:#}");
    let out = shop.command(&["repl", "-e", "environment(\"staging\").plan()"]).output().unwrap();
    assert!(crate::lab::stdout(&out).contains("2 to add"), "{}", self::said(&out));
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
    shop.write("environments/other.yml", "app: other\nstack: shop-staging\nformations: [small]\n");
    shop.write("made.rhai", "environment(\"other\").stack().change_set(#{}).apply();");
    let made = shop.command(&["made.rhai"]).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    shop.aws.forget();
    let said = shop.fails(1, &["plan"]);
    for part in ["stack shop-staging", "belongs to somebody else", "its tag App is \"other\"", "Nothing was touched"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    shop.assert_untouched("somebody else's");
}
