use super::*;
use serde_json::json;

/// As much of cassandra.yaml's ways as there are.
const CASSANDRA: &str = r#"
# Storage config

# The name of the cluster.
cluster_name: 'Test Cluster'
num_tokens: 16   # vnodes

# initial_token:
# hinted_handoff_disabled_datacenters:
#    - DC1
#    - DC2

max_hint_window: 3h
role_manager:
  class_name: CassandraRoleManager
  parameters:
    # Controls how often invalid roles are disconnected
    # invalid_role_disconnect_task_period: 4h

data_file_directories:
- /var/lib/cassandra/data   # the fast disk
-   /mnt/more
seed_provider:
    # Addresses of hosts that are deemed contact points.
    - class_name: org.apache.cassandra.locator.SimpleSeedProvider
      parameters:
          # seeds is actually a comma-delimited list of addresses.
          - seeds: "127.0.0.1:7000"
    # the end of the seeds
memtable:
  configurations:
    skiplist:
      class_name: SkipListMemtable
    default: {inherits: skiplist, more: [1, 2]}
jvm_text: |
  line one
  line two

# concurrent_reads: 32
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
"#;

fn change(text: &str, path: &str, value: Value) -> String {
    let (out, changed) = edit(text, &[(Path::parse(path).unwrap(), Some(value))]).unwrap();
    assert!(changed, "{path}");
    out
}

fn remove(text: &str, path: &str) -> String {
    edit(text, &[(Path::parse(path).unwrap(), None)]).unwrap().0
}

/// The lines that differ, as `-old` and `+new`.
fn diff(old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new)
        .iter_all_changes()
        .filter(|c| c.tag() != similar::ChangeTag::Equal)
        .fold(String::new(), |out, c| format!("{out}{}{}\n", c.tag(), c.value().trim_end()))
}

#[track_caller]
fn check(path: &str, value: Value, expected: &str) {
    assert_eq!(diff(CASSANDRA, &change(CASSANDRA, path, value)), expected, "{path}");
}

#[test]
fn touches_only_the_lines_it_must() {
    check("num_tokens", json!(4), "-num_tokens: 16   # vnodes\n+num_tokens: 4   # vnodes\n");
    check("cluster_name", json!("it's"), "-cluster_name: 'Test Cluster'\n+cluster_name: 'it''s'\n");
    check(
        "seed_provider[0].parameters[0].seeds",
        json!("127.0.3.1:7000,127.0.3.2"),
        "-          - seeds: \"127.0.0.1:7000\"\n+          - seeds: \"127.0.3.1:7000,127.0.3.2\"\n",
    );
    check("data_file_directories[0]", json!("/a b"), "-- /var/lib/cassandra/data   # the fast disk\n+- /a b   # the fast disk\n");
    check(
        "data_file_directories",
        json!(["/x"]),
        "-- /var/lib/cassandra/data   # the fast disk\n--   /mnt/more\n+- /x   # the fast disk\n",
    );
    check("data_file_directories[2]", json!("/y"), "+- /y\n");
    check(
        "memtable.configurations.default.inherits",
        json!("trie"),
        "-    default: {inherits: skiplist, more: [1, 2]}\n+    default: {inherits: trie, more: [1, 2]}\n",
    );
    check(
        "memtable.configurations.default.more[2]",
        json!("x:y"),
        "-    default: {inherits: skiplist, more: [1, 2]}\n+    default: {inherits: skiplist, more: [1, 2, 'x:y']}\n",
    );
    check("memtable.configurations.trie.class_name", json!("TrieMemtable"), "+    trie:\n+      class_name: TrieMemtable\n");
    check("jvm_text", json!("short"), "-jvm_text: |\n-  line one\n-  line two\n+jvm_text: short\n");
    check("role_manager.parameters.period", json!("4h"), "+    period: 4h\n");
    check(
        "partitioner",
        json!({"a": [1, {"b": null}], "c": "true"}),
        "-partitioner: org.apache.cassandra.dht.Murmur3Partitioner\n+partitioner:\n+  a:\n+    - 1\n+    - b: null\n+  c: 'true'\n",
    );
}

#[test]
fn new_keys_stand_by_their_commented_form_or_at_the_end() {
    let out = change(CASSANDRA, "concurrent_reads", json!(64));
    assert!(out.contains("# concurrent_reads: 32\nconcurrent_reads: 64\npartitioner:"), "{out}");
    let out = change(CASSANDRA, "hinted_handoff_disabled_datacenters", json!(["DC1"]));
    assert!(out.contains("#    - DC2\nhinted_handoff_disabled_datacenters:\n  - DC1\n\nmax_hint"), "{out}");
    let out = change(CASSANDRA, "auto_bootstrap", json!(false));
    assert!(out.ends_with("Murmur3Partitioner\nauto_bootstrap: false\n"), "{out}");
    assert_eq!(change("a: 1", "b", json!(2)), "a: 1\nb: 2");
    assert_eq!(change("", "b.c", json!(2)), "b:\n  c: 2\n");
    assert_eq!(change("# only words\n", "b", json!(2)), "# only words\nb: 2\n");
    assert_eq!(change("---\na: 1\n...\n", "b", json!(2)), "---\na: 1\nb: 2\n...\n");
}

#[test]
fn removes_what_is_named_and_nothing_else() {
    let gone = |path: &str| diff(CASSANDRA, &remove(CASSANDRA, path));
    assert_eq!(gone("num_tokens"), "-num_tokens: 16   # vnodes\n");
    assert_eq!(
        gone("seed_provider"),
        "-seed_provider:\n-    # Addresses of hosts that are deemed contact points.\n-    - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n-      parameters:\n-          # seeds is actually a comma-delimited list of addresses.\n-          - seeds: \"127.0.0.1:7000\"\n"
    );
    assert_eq!(
        gone("seed_provider[0].class_name"),
        "-    - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n-      parameters:\n+    - parameters:\n"
    );
    assert_eq!(
        gone("seed_provider[0].parameters[0]"),
        "-      parameters:\n-          # seeds is actually a comma-delimited list of addresses.\n-          - seeds: \"127.0.0.1:7000\"\n+      parameters: []\n"
    );
    assert_eq!(
        gone("memtable.configurations.default.inherits"),
        "-    default: {inherits: skiplist, more: [1, 2]}\n+    default: {more: [1, 2]}\n"
    );
    assert_eq!(
        gone("memtable.configurations.default.more"),
        "-    default: {inherits: skiplist, more: [1, 2]}\n+    default: {inherits: skiplist}\n"
    );
    assert_eq!(gone("jvm_text"), "-jvm_text: |\n-  line one\n-  line two\n");
    assert_eq!(gone("not_there.at.all"), "");
    assert_eq!(remove("a: 1\n", "a"), "");
    assert_eq!(remove("a: 1\nb: 2", "b"), "a: 1");
    assert_eq!(remove("- a: 1 # x\n  # y\n  b: 2\n", "[0].a"), "-\n  # y\n  b: 2\n");
}

#[test]
fn an_equal_value_is_no_change() {
    for (path, value) in [
        ("num_tokens", json!(16)),
        ("cluster_name", json!("Test Cluster")),
        ("memtable.configurations.default", json!({"more": [1, 2], "inherits": "skiplist"})),
        ("jvm_text", json!("line one\nline two\n")),
        ("role_manager.parameters", json!(null)),
    ] {
        let (out, changed) = edit(CASSANDRA, &[(Path::parse(path).unwrap(), Some(value))]).unwrap();
        assert!(!changed && out == CASSANDRA, "{path}");
    }
    assert!(edit("a: '1'\n", &[(Path::parse("a").unwrap(), Some(json!(1)))]).unwrap().1);
    assert!(!edit("a: 0x10\n", &[(Path::parse("a").unwrap(), Some(json!(16)))]).unwrap().1);
}

#[test]
fn line_endings_quotes_and_oddities_stay() {
    assert_eq!(change("a: 1\r\nb:\r\n  c: 2 # x\r\n", "b.d", json!([1])), "a: 1\r\nb:\r\n  c: 2 # x\r\n  d:\r\n    - 1\r\n");
    assert_eq!(change("é: {ö: 1} # ü\n", "é.ö", json!("ß")), "é: {ö: ß} # ü\n");
    assert_eq!(change("\u{feff}a: 1\n", "b", json!(2)), "\u{feff}a: 1\nb: 2\n");
    assert_eq!(change("a: |+\n  x\n\nb: 1\n", "a", json!("z")), "a: z\n\nb: 1\n");
    assert_eq!(remove("a: |+\n  x\n\nb: 1\n", "a"), "b: 1\n");
    assert_eq!(change("m:\n  a: |+\n    x\n\n", "m.b", json!(1)), "m:\n  a: |+\n    x\n\n  b: 1\n");
    assert_eq!(change("a: !!str 5\n", "a", json!(6)), "a: 6\n");
    assert_eq!(change("a: &x 5\n", "a", json!(6)), "a: 6\n");
    assert_eq!(change("a: &x 5\nb: *x\n", "b", json!(6)), "a: &x 5\nb: 6\n");
    assert_eq!(change("a: {b, c: }\n", "a.b", json!(1)), "a: {b: 1, c: }\n");
    assert_eq!(change("a: {b, c: }\n", "a.c", json!(1)), "a: {b, c: 1 }\n");
    assert_eq!(change("a: one\n  two # x\n", "a", json!([1])), "a: # x\n  - 1\n");
    assert_eq!(change("a: # x\n  b: 1\n", "a", json!(5)), "a: 5 # x\n");
    assert_eq!(change("? a\n: 1\n", "a", json!(5)), "? a\n: 5\n");
    assert_eq!(change("- x # 1\n- y\n", "[0]", json!({"a": 1, "b": 2})), "- a: 1 # 1\n  b: 2\n- y\n");
    assert_eq!(change("a:\n", "a", json!("l1\n l2\n")), "a: |\n  l1\n   l2\n");
    assert_eq!(change("a: [\n  1, # one\n  2 # two\n]\n", "a[2]", json!(3)), "a: [\n  1, # one\n  2, 3 # two\n]\n");
    assert_eq!(remove("a: [\n  1, # one\n  2 # two\n]\n", "a[1]"), "a: [\n  1, # one\n   # two\n]\n");
}

#[test]
fn strings_that_look_like_something_else_are_quoted() {
    for text in [
        "true",
        "yes",
        "Off",
        "12",
        "1.5",
        "0x1f",
        "1:30",
        "2026-01-01",
        "1_000",
        "~",
        "",
        " a",
        "a ",
        "a: b",
        "a #b",
        "- a",
        "*x",
        "&x",
        "%",
        "@a",
        "`",
        "a:",
        "\t",
        "#",
        "null",
        "[",
        "{a",
        "é\u{7f}",
        "1e3",
        ".5",
        ".",
    ] {
        let out = change("k: old\n", "k", json!(text));
        let (same, changed) = edit(&out, &[(Path::parse("k").unwrap(), Some(json!(text)))]).unwrap();
        assert!(!changed, "{text:?} came back differently from {same}");
    }
    assert_eq!(change("k: old\n", "k", json!("127.0.3.1")), "k: 127.0.3.1\n");
    assert_eq!(change("k: old\n", "k", json!("10000ms")), "k: 10000ms\n");
    assert_eq!(change("k: old\n", "k", json!(1e300)), "k: 1.0e+300\n");
}

#[test]
fn says_what_does_not_fit_and_where() {
    let fails = |text: &str, path: &str| {
        let error = edit(text, &[(Path::parse(path).unwrap(), Some(json!(1)))]).unwrap_err();
        error.message().to_owned()
    };
    assert_eq!(fails(CASSANDRA, "num_tokens.x"), "cannot edit \"num_tokens.x\": \"num_tokens\" is \"16\", not a map (line 6)");
    assert_eq!(
        fails(CASSANDRA, "seed_provider.class_name"),
        "cannot edit \"seed_provider.class_name\": \"seed_provider\" is a list of 1, not a map (line 25)"
    );
    assert_eq!(fails(CASSANDRA, "seed_provider[4]"), "cannot edit \"seed_provider[4]\": \"seed_provider\" has 1 items (line 25)");
    assert_eq!(fails("a: 1\na: 2\n", "a"), "\"a\" is there twice: lines 1 and 2");
    assert_eq!(fails("a: 1\n---\nb: 1\n", "a"), "a second document starts at line 2");
    assert!(fails("a: [1\n", "a").starts_with("not valid YAML: "));
    assert!(fails("a: &x 5\nb: *x\n", "a").contains("line 2 refers to"));
    assert!(fails("a: &x {y: 5}\nb: *x\n", "a.y").contains("cannot edit a.y safely"));
    assert!(fails("a: &x {y: 5}\nb: *x\n", "b.y").contains("is an alias"));
}

#[test]
fn whole_documents_are_written_too() {
    assert_eq!(
        to_yaml(&json!({"a": [1, {"b": "x"}], "c": {}, "t": "l1\nl2\n"})),
        "a:\n  - 1\n  - b: x\nc: {}\nt: |\n  l1\n  l2\n"
    );
    assert_eq!(to_yaml(&json!("yes")), "'yes'\n");
    assert_eq!(to_yaml(&json!("l1\nl2")), "|-\n  l1\n  l2\n");
    assert_eq!(to_yaml(&json!([])), "[]\n");
}

#[test]
fn whole_documents_are_read_with_errors_in_our_words() {
    let says = |text: &str| from_yaml(text).unwrap_err().message().to_owned();
    assert_eq!(from_yaml("a: 0o17\nb: yes\nc: 2026-01-01\n").unwrap(), json!({"a": 15, "b": true, "c": "2026-01-01"}));
    assert_eq!(from_yaml(" \n").unwrap(), json!(null));
    assert_eq!(says("a: 1\na: 2\n"), "not valid YAML: line 2 column 1: duplicate mapping key: a");
    assert_eq!(says("a: 1\n---\nb: 2\n"), "not valid YAML: line 3 column 1: multiple YAML documents detected");
    let bomb = (b'b'..=b'h').fold("a: &a [1,1,1,1,1,1,1,1]\n".to_owned(), |text, c| {
        let (c, before) = (char::from(c), char::from(c - 1));
        format!("{text}{c}: &{c} [{}]\n", [format!("*{before}").as_str(); 9].join(","))
    });
    assert!(says(&bomb).ends_with("it means too many values"), "{}", says(&bomb));
}

mod random {
    use super::*;
    use proptest::prelude::*;

    fn word() -> impl Strategy<Value = String> {
        prop_oneof![4 => "[a-c]", 1 => "[ -~]{0,6}", 1 => ".{0,5}", 1 => "[a-z \n]{0,12}", 1 => "[0-9a-fxe.:+-]{1,5}"]
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            word().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
            any::<f64>().prop_filter_map("finite", |f| serde_json::Number::from_f64(f).map(Value::Number)),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((word(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    fn path() -> impl Strategy<Value = Path> {
        let step = prop_oneof![3 => "[a-c]".prop_map(Step::Key), 1 => (0_usize..3).prop_map(Step::Index), 1 => word().prop_map(Step::Key)];
        prop::collection::vec(step, 1..4).prop_map(Path)
    }

    /// YAML as people write it, mostly.
    fn document() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            "( ){0,4}[a-c]: ?([a-c1]|'x'|\\[a, b\\]|\\{a: 1\\}|\\||&x|\\*x|)?( # c)?",
            "( ){0,4}- ([a-c]: )?[a-c1]?( # c)?",
            "( ){0,3}# [a-c]:",
            Just(String::new()),
        ];
        prop::collection::vec(line, 0..10).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        // `edit` itself proves that what it returns means what was asked: here it must not refuse what it can do.
        #[test]
        fn what_was_written_can_be_edited(first in value(), edits in prop::collection::vec((path(), prop::option::of(value())), 1..4)) {
            let mut text = "# top\ntop:   # here\n".to_owned();
            for (path, value) in [(Path(vec![Step::Key("top".into())]), Some(first))].into_iter().chain(edits) {
                match edit(&text, &[(path.clone(), value.clone())]) {
                    Ok((out, changed)) => {
                        prop_assert_eq!(changed, out != text);
                        let again = edit(&out, &[(path, value)]).unwrap();
                        prop_assert!(!again.1 || again.0.len() < out.len(), "edited twice: {:?} then {:?}", out, again.0);
                        prop_assert!(out.contains("# top"));
                        text = out;
                    }
                    Err(e) => prop_assert!(!e.message().contains("safely"), "{} in {:?}", e, text),
                }
            }
        }

        #[test]
        fn written_documents_mean_the_value(value in value()) {
            let text = to_yaml(&value);
            let document = tree::parse(&text).unwrap();
            prop_assert!(model::is(&model::of(&document).unwrap(), &value), "{:?}", text);
            let read: Value = serde_saphyr::from_str(&text).unwrap();
            prop_assert_eq!(read, value, "{:?}", text);
        }

        #[test]
        fn no_text_panics(text in prop_oneof![document(), ".{0,40}", "[a-c:\\-\\[\\]{}|>&*!#\"' \n,?~%]{0,30}"], path in path(), value in prop::option::of(value())) {
            let _ = edit(&text, &[(path, value)]);
        }
    }
}
