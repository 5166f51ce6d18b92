use super::*;
use crate::base::error::Error;
use proptest::prelude::*;

fn sources(texts: &[(&str, &str)]) -> Vec<Source> {
    texts
        .iter()
        .map(|(name, text)| Source { name: (*name).into(), dir: "/project/configs".into(), text: (*text).into() })
        .collect()
}

fn merged(texts: &[(&str, &str)]) -> Config {
    Config::from_sources(sources(texts), Some(Path::new("/home/me"))).unwrap()
}

/// An error as one text: the message, its place, the line with its caret's column, the hints.
fn refused(texts: &[(&str, &str)]) -> String {
    told(&Config::from_sources(sources(texts), Some(Path::new("/home/me"))).unwrap_err())
}

fn told(error: &Error) -> String {
    let details = error.details();
    let mut out = vec![details.message.clone()];
    out.extend(details.places.iter().map(|p| format!("at {p} {}", p.source.as_deref().unwrap_or("(not shown)"))));
    out.extend(details.hints.iter().map(|h| format!("hint: {h}")));
    out.join("\n")
}

#[test]
fn a_misspelt_flat_key_makes_no_group() {
    let told = refused(&[("a.yml", "provider: local\nserver_count: 3\nservr_count: 2\n")]);
    assert_eq!(
        told,
        "unknown key `servr_count`\nat a.yml:3:1 servr_count: 2\nhint: Did you mean `server_count`?\n\
         hint: For a group that really is called servr, write `groups: { servr: { count: … } }`."
    );
    assert_eq!(merged(&[("a.yml", "provider: local\ngroups: { servr: { count: 2 } }\nloader_count: 1\n")]).node_count(), 3);
}

#[test]
fn flat_and_nested_mean_the_same() {
    let flat = merged(&[(
        "a.yml",
        "provider: local\nserver_count: 3\nserver_user: root\nserver_ami: ami-1\nclient_count: 1\nmonitor_count: 0\nmonitor_state: stopped",
    )]);
    let nested = merged(&[(
        "b.yml",
        "provider: local\ngroups:\n  server: { count: 3, user: root, ami: ami-1 }\n  client: { count: 1 }\n  monitor: { count: 0, state: stopped }",
    )]);
    assert_eq!(flat, nested);
    assert_eq!(
        flat.groups.iter().map(|g| (g.name.as_str(), g.count)).collect::<Vec<_>>(),
        [("server", 3), ("client", 1), ("monitor", 0)]
    );
    assert_eq!(flat.written("groups.server.count"), "server_count");
    assert_eq!(flat.place("groups.server.count").unwrap().to_string(), "a.yml:2:15");
    assert_eq!(flat.unused(), ["server_ami", "server_user", "monitor_state"]);
    let back: Config = serde_json::from_value(flat.to_json()).unwrap();
    assert_eq!(back, flat);
    assert_eq!(back.groups, flat.groups);
}

#[test]
fn files_merge_deeply_and_repetition_is_fine() {
    let config = merged(&[
        ("credentials.yml", "owner: me\nvars: { a: { x: 1 } }\nserver_count: 2"),
        ("4504.yml", "provider: local\ngroups: { server: { count: 2 } }\nvars: { a: { y: [1, 2] }, b: }"),
    ]);
    assert_eq!(serde_json::Value::Object(config.vars), serde_json::json!({ "a": { "x": 1, "y": [1, 2] }, "b": null }));
    assert_eq!(config.groups[0].count, 2);
}

#[test]
fn clashes_name_both_places() {
    assert_eq!(
        refused(&[("b.yml", "provider: local\nserver_count: 5"), ("a.yml", "\nserver_count: 3")]),
        "`server_count` is set twice: to 3 in a.yml:2, and to 5 in b.yml:2\nat b.yml:2:15 server_count: 5\nhint: Keep one of the two: files given together must agree, whatever their order."
    );
    assert_eq!(
        refused(&[("a.yml", "provider: local\nserver_count: 3\ngroups: { server: { count: 5 } }")]),
        "`server_count` is 3 in a.yml:2, but `groups.server.count`, which means the same, is 5 in a.yml:3\nat a.yml:3:28 groups: { server: { count: 5 } }\nhint: Keep one of the two: files given together must agree, whatever their order."
    );
    assert_eq!(
        refused(&[("a.yml", "secret_key: aaaa-one"), ("b.yml", "secret_key: bbbb-two")]),
        "`secret_key` is set twice: to one value in a.yml:1, and to another in b.yml:1\nat b.yml:1:13 (not shown)\nhint: Keep one of the two: files given together must agree, whatever their order."
    );
}

#[test]
fn errors_name_file_line_key_and_what_was_expected() {
    let one = |text: &str| refused(&[("a.yml", text)]);
    assert_eq!(
        one("provider: local\nserver_count: three\n"),
        "`server_count` must be a whole number, 0 or more, not the text \"three\"\nat a.yml:2:15 server_count: three"
    );
    assert_eq!(
        one("provider: local\ngroups:\n  server:\n    count: -1\n"),
        "`groups.server.count` must be a whole number, 0 or more, not -1\nat a.yml:4:12     count: -1"
    );
    assert_eq!(
        one("provider: local\nserver_count: 1\nserver_count: 1\n"),
        "`server_count` is written twice in a.yml: in lines 2 and 3\nat a.yml:3:1 server_count: 1"
    );
    assert_eq!(one("provder: local\n"), "unknown key `provder`\nat a.yml:1:1 provder: local\nhint: Did you mean `provider`?");
    assert_eq!(
        one("provider: local\nserver_cuont: 3\n"),
        "unknown key `server_cuont`\nat a.yml:2:1 server_cuont: 3\nhint: Did you mean `server_count`?"
    );
    assert_eq!(
        one("provider: local\ngroups: { server: { count: 1, usr: x } }\n"),
        "unknown key `groups.server.usr`\nat a.yml:2:31 groups: { server: { count: 1, usr: x } }\nhint: Did you mean \"user\"?"
    );
    assert_eq!(
        one("provider: lokal\n"),
        "`provider` must be local or machine or static or aws, not the text \"lokal\"\nat a.yml:1:11 provider: lokal\nhint: Did you mean `local`?"
    );
    assert_eq!(
        one("owner: 5\nprovider: local"),
        "`owner` must be text, not 5\nat a.yml:1:8 owner: 5\nhint: If you mean the text, put it into quotes: \"5\"."
    );
    assert_eq!(
        one("provider: local\nLoader_count: 1"),
        "\"Loader\" (from `Loader_count`) cannot be the name of a group: it must begin with a small letter\nat a.yml:2:1 Loader_count: 1"
    );
    assert_eq!(
        one("provider: local\nexpires: 8"),
        "`expires` must be text, not 8\nat a.yml:2:10 expires: 8\nhint: If you mean the text, put it into quotes: \"8\"."
    );
    assert!(
        one("provider: local\nexpires: '8'")
            .starts_with("`expires`: duration \"8\" has no unit\nat a.yml:2:10 expires: '8'\nhint: Write")
    );
    assert_eq!(
        one("provider: local\nserver_user: me"),
        "group `server`, which `server_user` speaks of, has no `count`\nat a.yml:2:1 server_user: me\nhint: Write `server_count: 1`, or `groups: { server: { count: 1 } }`."
    );
    assert_eq!(one("- a\n"), "a.yml must hold `key: value` lines, not a list\nat a.yml:1:1 - a");
    assert_eq!(
        one("groups: [server]"),
        "`groups` must be a map of group names, not a list\nat a.yml:1:9 groups: [server]\nhint: Groups look like `groups: { server: { count: 3 } }`, or `server_count: 3`."
    );
    assert!(one("a: 1\n---\nb: 2\n").starts_with("a.yml holds more than one YAML document\nat a.yml:2:1"));
    assert!(one("server:\n  - a\n b: [").contains("is not valid YAML"), "{}", one("server:\n  - a\n b: ["));
    assert!(one("groups:\n\tserver: 1").contains("begins with a tab"), "{}", one("groups:\n\tserver: 1"));
}

#[test]
fn the_provider_is_told_by_what_only_it_needs() {
    let hosts = merged(&[("a.yml", "groups: { server: { hosts: ['root@10.0.0.5:2222', bench-3] } }")]);
    assert_eq!((hosts.provider, hosts.groups[0].count), (ProviderKind::Static, 2));
    let rented = "server_count: 1\nserver_instance_type: i4i.large\nserver_ami: ami-1";
    assert_eq!(merged(&[("a.yml", rented)]).provider, ProviderKind::Aws);
    assert_eq!(
        refused(&[("a.yml", "server_count: 1\nserver_instance_type: i4i.large")]),
        "group `server` has no `ami`, which provider aws needs\nat a.yml:1:15 server_count: 1\nhint: Write `server_ami: …`."
    );
    assert!(refused(&[("a.yml", "server_count: 1")]).starts_with("no `provider` is given\nhint: Add `provider: local`"));
    assert!(refused(&[("a.yml", "provider: static\nserver_count: 1")]).starts_with("group `server` has no `hosts`"));
    assert!(refused(&[("a.yml", "provider: local\ngroups: {s: {hosts: [a]}}")]).contains("but the provider is `local`"));
    assert!(refused(&[("a.yml", "groups: {s: {hosts: [a, b], count: 3}}")]).contains("lists 2"));
    assert!(refused(&[("a.yml", "groups: {s: {hosts: [a, a]}}")]).contains("lists the host \"a\" twice"));
    assert!(refused(&[("a.yml", "groups: {s: {hosts: ['a b']}}")]).contains("must be a list of hosts"));
}

#[test]
fn paths_are_relative_to_their_file_and_tilde_is_home() {
    let config = merged(&[("a.yml", "provider: local\nprivate_key_path: keys/id\npublic_key_path: ~/.ssh/id.pub")]);
    assert_eq!(config.private_key_path.unwrap(), Path::new("/project/configs/keys/id"));
    assert_eq!(config.public_key_path.unwrap(), Path::new("/home/me/.ssh/id.pub"));
    assert!(refused(&[("a.yml", "provider: local\npublic_key_path: x")]).contains("without `private_key_path`"));
}

#[test]
fn key_files_are_looked_at() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let config = file("a.yml", "provider: local\nprivate_key_path: id\n");
    let missing = told(&Config::load(std::slice::from_ref(&config)).unwrap_err());
    assert!(
        missing.starts_with("`private_key_path`: cannot read") && missing.contains("a.yml:2:19 private_key_path: id"),
        "{missing}"
    );
    let key = file("id", "");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = told(&Config::load(std::slice::from_ref(&config)).unwrap_err());
    assert!(open.contains("(mode 0644, expected 0600)") && open.contains("a.yml:2") && open.contains("chmod 600"), "{open}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Config::load(&[config.clone(), config]).is_ok(), "the same file twice is one file");
    let typo = Config::load(&[dir.path().join("b.yml")]).unwrap_err();
    assert_eq!(typo.kind().exit_code(), 2);
    assert!(told(&typo).ends_with("Did you mean \"a.yml\"?"), "{}", told(&typo));
    std::fs::write(dir.path().join("c.yml"), b"a: 1\nb: \xff").unwrap();
    assert!(told(&Config::load(&[dir.path().join("c.yml")]).unwrap_err()).contains("c.yml:2"));
}

#[test]
fn secrets_are_kept_out_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "from-a-file-17\n").unwrap();
    let text = format!(
        "provider: local\nsecret_key: s3cr3t-of-config\naccess_key: 0123456789\nsecrets:\n  A: literal-secret-17\n  B: {{ file: {0}/token }}\n  C: {{ env: OPSRUN_TEST_NO_SUCH }}\n",
        dir.path().display()
    );
    let config = merged(&[("a.yml", &text)]);
    let json = config.to_json().to_string();
    assert!(!json.contains("s3cr3t") && !json.contains("literal") && !json.contains("0123456789"), "{json}");
    let secret = |name: &str| config.secret(name).unwrap().unwrap().expose().to_owned();
    assert_eq!(secret("access_key"), "0123456789");
    assert_eq!((secret("A"), secret("B")), ("literal-secret-17".into(), "from-a-file-17".into()));
    assert!(config.secret("D").unwrap().is_none());
    let missing = config.secret("C").unwrap_err();
    assert!(missing.message().contains("no variable OPSRUN_TEST_NO_SUCH"), "{missing}");
    assert_eq!(crate::base::secret::mask("x literal-secret-17 y"), "x *** y");
    let broken = refused(&[("a.yml", "secrets:\n  A: \"leaks-here\n")]);
    assert!(!broken.contains("leaks-here"), "{broken}");
    let wrong = refused(&[("a.yml", "provider: local\nsecrets: { A: [leaks-here] }")]);
    assert!(!wrong.contains("leaks-here"), "{wrong}");
}

#[test]
fn hostile_yaml_is_refused() {
    let deep = "[".repeat(5_000);
    assert!(refused(&[("a.yml", &format!("a: {deep}"))]).contains("not valid YAML"));
    let deep = "- ".repeat(5_000);
    assert!(refused(&[("a.yml", &format!("a:\n {deep}"))]).contains("levels of nesting"));
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        laughs += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
    }
    assert!(refused(&[("a.yml", &laughs)]).contains("more than 100000 values"));
    assert!(refused(&[("a.yml", "a: &x [*x]")]).contains("alias"), "{}", refused(&[("a.yml", "a: &x [*x]")]));
    assert!(refused(&[("a.yml", "a: {<<: {b: 1}}")]).contains("merge keys"));
}

/// Texts that look enough like configs to get past the first check.
fn configish() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("provider"),
        Just("server_count"),
        Just("client_count"),
        Just("server_user"),
        Just("owner"),
        Just("groups"),
        Just("vars"),
        Just("secrets"),
        Just("secret_key"),
        Just("expires"),
        Just("keep"),
        Just("x_count"),
        Just("hosts"),
        Just("known_hosts"),
        Just("a-1_count"),
    ];
    let value = prop_oneof![
        Just("local".to_owned()),
        Just("3".to_owned()),
        Just("{server: {count: 2}}".to_owned()),
        Just("[a, b]".to_owned()),
        Just("{server: {hosts: [a, b]}}".to_owned()),
        Just(String::new()),
        Just("~".to_owned()),
        Just("{A: {env: X}}".to_owned()),
        ".{0,12}",
    ];
    prop::collection::vec((key, value), 0..6).prop_map(|lines| lines.iter().map(|(k, v)| format!("{k}: {v}\n")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text in prop_oneof![any::<String>(), "[-:{}\\[\\],&*!|>'\"%@`#?~ \\n\\ta-c0-9]{0,80}", configish()]) {
        if let Err(error) = Config::from_sources(sources(&[("a.yml", &text)]), None) {
            prop_assert!(error.kind() == crate::base::error::Kind::Config, "{:?}", error);
        }
    }

    #[test]
    fn merging_is_order_free(a in configish(), b in configish(), c in configish()) {
        let files = [("a.yml", a.as_str()), ("b.yml", b.as_str()), ("c.yml", c.as_str())];
        let outcome = |order: [usize; 3]| match Config::from_sources(sources(&order.map(|i| files[i])), Some(Path::new("/h"))) {
            Ok(config) => config.to_json().to_string(),
            Err(error) => told(&error),
        };
        let first = outcome([0, 1, 2]);
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            prop_assert_eq!(&first, &outcome(order));
        }
    }
}

#[test]
fn groups_have_roles_and_variables() {
    let text = "provider: local\nvars: { port: 80 }\ngroups:\n  server: { count: 1, roles: [base, web], vars: { port: 81 } }\n";
    let config = merged(&[("a.yml", text)]);
    assert_eq!(config.groups[0].roles, ["base", "web"]);
    assert_eq!(config.groups[0].vars["port"], 81);
    assert_eq!(config.place("groups.server.vars.port").unwrap().to_string(), "a.yml:4:57");
    assert_eq!(config.place("vars.port").unwrap().to_string(), "a.yml:2:15");
    let back: Config = serde_json::from_value(config.to_json()).unwrap();
    assert_eq!(back.groups, config.groups);
    let says = |group: &str| refused(&[("a.yml", &format!("provider: local\ngroups: {{ server: {{ count: 1, {group} }} }}"))]);
    assert!(says("roles: web").starts_with("`groups.server.roles` must be a list of roles, like [base, nginx], not the text"));
    assert!(says("roles: [a, a]").starts_with("`groups.server.roles` lists a twice\nat a.yml:2:"));
    assert!(says("vars: 3").starts_with("`groups.server.vars` must be a map, not 3"));
    assert!(says("role: [a]").contains("Did you mean \"roles\"?"));
}

#[test]
fn keys_of_rented_machines_are_checked() {
    let lab = |more: &str| format!("provider: aws\nserver_count: 1\nserver_instance_type: i4i.large\nserver_ami: ami-1\n{more}");
    let one = |more: &str| refused(&[("a.yml", &lab(more))]);
    assert!(one("allow_from: 10.1.2.3/8").contains("The network that holds 10.1.2.3/8 is 10.0.0.0/8."));
    assert!(one("allow_from: [everywhere]").starts_with("`allow_from` must be a network like 203.0.113.0/24"));
    assert!(one("subnet: subnet-1").starts_with("`subnet` is given without `vpc`"));
    assert!(one("access_key: AKIA1234").starts_with("`access_key` is given without `secret_key`"));
    assert!(one("server_spot: maybe").starts_with("`server_spot` must be true or false, not"));
    assert!(one("server_volume_size: 0").starts_with("`server_volume_size` must be a size in GiB"));
    assert!(one("groups: {server: {ports: [70000]}}").starts_with("`groups.server.ports` must be a list of ports"));
    assert!(
        one("groups: {server: {hosts: [a]}}").contains("`server_count` is 1")
            || one("groups: {server: {hosts: [a]}}").contains("provider is `aws`")
    );
    assert!(one("endpoint_url: localhost").starts_with("`endpoint_url` must be an address"));
    let good = merged(&[(
        "a.yml",
        &lab("allow_from: 203.0.113.7\nsettle_time: 3s\ngroups: {server: {volumes: [{device: /dev/sdf, size: 10}]}}"),
    )]);
    assert_eq!(good.cloud.allow_from, ["203.0.113.7/32"]);
    assert_eq!(good.groups[0].options["volumes"][0]["type"], "gp3");
    assert!(good.unused().is_empty());
}
