//! The worked example of the repository, `examples/shop`, from `manage init` to `decommission`. Its cloud is moto and ministack
//! behind a bridge, its machines are real sshds with files of their own; a role `nginx` that only writes a file stands in for the
//! library's, because no systemd runs there (`tests/roles_library.rs` has the real one).

use crate::aws::{KEY, REGION, python};
use crate::lab::stdout;
use crate::shop::{Shop, said};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// One of moto's own images.
const BASE: &str = "ami-1e749f67";

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The example, in the cloud of the tests.
pub fn shop() -> Shop {
    let shop = Shop::new();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop"), &shop.path(""));
    let key = shop.path("key");
    assert!(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status().unwrap().success());
    let public = std::fs::read_to_string(shop.path("key.pub")).unwrap();
    let mut console = Command::new(python());
    shop.aws.environment(&mut console);
    let import = format!(
        "import boto3\nboto3.client('ec2', region_name='{REGION}').import_key_pair(KeyName='shop', PublicKeyMaterial={public:?}.encode())"
    );
    let out = console.env("AWS_ACCESS_KEY_ID", "console").args(["-c", &import]).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    // What is of these tests only: how the cloud and its machines are reached, and a base that is there.
    let way = shop.aws.whole_machine(&shop.path("machines"), REGION);
    let common = std::fs::read_to_string(shop.path("environments/common.yml")).unwrap();
    shop.write(
        "environments/common.yml",
        &format!(
            "{common}\nsettle_time: 1s\nowner: shop@example.com\nallow_from: 198.51.100.7/32\navailability_zone: eu-central-1a\n\
             proxy_command: \"{way}\"\nprivate_key_path: ../key\nhost_keys: pin\n"
        ),
    );
    let staging = std::fs::read_to_string(shop.path("environments/staging.yml")).unwrap();
    let staging = staging.replace("web: { min: 1, max: 2 }", &format!("web: {{ min: 1, max: 2, image: {BASE}, user: root }}"));
    shop.write("environments/staging.yml", &format!("{staging}  WebKeyName: shop\n"));
    shop.write(
        "roles/nginx/main.rhai",
        "fn apply(nodes, vars) { nodes.file(\"/etc/nginx-stands-in\", #{ content: \"here\\n\" }); }\n",
    );
    shop.write("roles/nginx/defaults.yml", "sites: {}\n");
    shop
}

fn page(shop: &Shop) -> String {
    let out = shop
        .command(&["exec", "shop-staging", "web", "--", "cat /srv/shop/index.html /srv/shop/__heartbeat__"])
        .output()
        .unwrap();
    said(&out)
}

#[test]
fn from_init_to_decommission() {
    let empty = Shop::new();
    empty.succeeds(&["init"]);
    assert!(empty.succeeds(&["template"]).contains("AWS::AutoScaling::AutoScalingGroup"));

    let shop = shop();
    assert!(shop.succeeds(&["parameters"]).contains("groups.web.min"));
    let plan = shop.succeeds(&["plan"]);
    assert!(
        plan.contains("image shop-head-") && plan.contains("would be baked") && plan.contains("add         Database"),
        "{plan}"
    );
    let before = shop.aws.resources(REGION).len();

    let built = shop.succeeds(&["commission", "--yes"]);
    assert!(built.contains("baking image shop-head-") && built.contains("CREATE_COMPLETE shop-staging"), "{built}");
    assert!(page(&shop).contains("This is staging") && page(&shop).contains("well"), "{}", page(&shop));
    let status = stdout(&shop.manage(&["status", "--json"]));
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["status"], &status["hosts"][0]["health"]), (&"CREATE_COMPLETE".into(), &"healthy".into()), "{status:#}");
    assert_eq!(status["hosts"][0]["current"], true, "{status:#}");

    // Again: nothing is to do, and nothing is done.
    shop.aws.forget();
    let again = shop.succeeds(&["commission"]);
    assert!(again.contains("nothing to change"), "{again}");
    assert!(shop.aws.calls_of("RunInstances").is_empty() && shop.aws.calls_of("ExecuteChangeSet").is_empty(), "{}", shop.story());

    // Another greeting is another image, which the stack rolls out.
    let staging = std::fs::read_to_string(shop.path("environments/staging.yml")).unwrap();
    shop.write("environments/staging.yml", &staging.replace("This is staging", "New in staging"));
    let status: Value = serde_json::from_str(&stdout(&shop.manage(&["status", "--json"]))).unwrap();
    assert_eq!((&status["hosts"][0]["current"], &status["groups"][0]["outdated"]), (&false.into(), &1.into()), "{status:#}");
    let rolled = shop.succeeds(&["deploy", "--yes"]);
    assert!(rolled.contains("WebImage"), "{rolled}");
    assert!(page(&shop).contains("New in staging"), "{}", page(&shop));

    let gone = shop.succeeds(&["decommission", "--yes"]);
    assert!(gone.contains("leaves a snapshot") && gone.contains("aws rds delete-db-snapshot"), "{gone}");
    assert!(!shop.path("deployments/shop-staging").exists(), "its machines are forgotten");
    shop.succeeds(&["clean", "--yes"]);
    let left: Vec<String> = shop.aws.resources(REGION).into_iter().map(|r| format!("{} {}", r.kind, r.id)).collect();
    // The key pair was there before, the snapshot is what the database's DeletionPolicy asks for.
    assert_eq!(left.len(), before + 1, "{left:#?}");
    assert!(left.iter().any(|l| l.contains("snapshot")), "{left:#?}");

    let policy = stdout(&shop.command(&["aws", "policy"]).output().unwrap());
    // Permissions call that service otherwise.
    let actions: Vec<String> = shop.aws.actions(KEY).iter().map(|a| a.replace("tagging:", "tag:")).collect();
    let missing: Vec<&String> = actions.iter().filter(|action| !policy.contains(&format!("\"{action}\""))).collect();
    assert!(missing.is_empty(), "called, and not in what `opsrun aws policy` prints: {missing:?}");
}
