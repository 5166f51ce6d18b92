//! No value that a script can hand to a function makes it panic.

use super::host::{Host, HostSettings};
use super::run::guarded;
use super::signatures::{Signature, Signatures, is_word};
use super::{api, engine};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::transport::ssh::{Client, Settings};
use std::sync::Arc;

/// Functions that would reach out, wait, end the run, or fill the memory.
const LEFT_OUT: &[&str] = &[
    "deployment",
    "provision",
    "deprovision",
    "sleep",
    "exit",
    "sh",
    "try_sh",
    "library",
    "secret",
    "task",
    "defer",
    "download",
    "retry",
    "debug",
    "print",
    "log",
    "warn",
];
/// Modules of functions that change files or reach out.
const MODULES_LEFT_OUT: &[&str] = &["file", "http"];

fn host(handle: &tokio::runtime::Handle) -> Arc<Host> {
    let dir = std::env::temp_dir();
    Host::new(HostSettings {
        project: Project { root: dir.clone(), home: dir.clone(), cache: dir },
        cx: Cx::quiet(),
        handle: handle.clone(),
        words: Vec::new(),
        deployment: None,
        client: Client::new(Settings::default()),
        run_name: "test".to_owned(),
        ask_secret: None,
        ask: None,
        paint: None,
    })
}

/// Values of a kind that are worth trying, as a script writes them.
fn values(kind: &str) -> &'static [&'static str] {
    match kind {
        "int" => &["0", "1", "-1", "9223372036854775807", "(-9223372036854775807 - 1)", "64"],
        "float" => &["0.0", "-1.5", "1e300", "(0.0 / 0.0)", "(1.0 / 0.0)"],
        "string" => &["\"\"", "\"é✓ a\"", "\"%Y {} [\"", "\"64MiB\""],
        "char" => &["'x'", "'✓'"],
        "bool" => &["true"],
        "array" => &["[]", "[1, \"x\", ()]", "[[1], #{ a: 1 }]"],
        "map" => &["#{}", "#{ a: 1, timeout: -1 }"],
        "blob" => &["blob()", "blob(3, 255)"],
        "function" => &["|x| x", "|x, y| throw \"no\""],
        "range" | "Range<i64>" => &["0..2", "5..1", "-3..9223372036854775807"],
        "RangeInclusive<i64>" => &["0..=2", "5..=1", "-3..=9223372036854775807"],
        "timestamp" => &["timestamp()"],
        "any" => &["()", "-1", "\"é\"", "[[]]", "#{ a: [] }", "1.5", "|x| x"],
        _ => &[],
    }
}

fn calls(f: &Signature) -> Vec<String> {
    let mut all = vec![Vec::new()];
    for param in &f.params {
        let values = values(&param.kind);
        all = all.iter().flat_map(|head: &Vec<&str>| values.iter().map(move |v| [head.as_slice(), &[*v]].concat())).collect();
    }
    let name = if f.module.is_empty() { f.name.clone() } else { format!("{}::{}", f.module, f.name) };
    all.iter()
        .map(|args| {
            // Methods that change their object need a variable.
            let lets: String = args.iter().enumerate().map(|(i, a)| format!("let v{i} = {a}; ")).collect();
            let names: Vec<String> = (0..args.len()).map(|i| format!("v{i}")).collect();
            format!("{lets}{name}({})", names.join(", "))
        })
        .collect()
}

#[test]
fn no_call_panics() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let host = host(runtime.handle());
    let engine = engine::new(&host);
    let known = Signatures::read(&engine);
    let mut panics = Vec::new();
    let mut tried = 0;
    let wanted = |f: &&Signature| {
        is_word(&f.name) && !LEFT_OUT.contains(&f.name.as_str()) && !MODULES_LEFT_OUT.contains(&f.module.as_str())
    };
    for f in known.functions.iter().filter(wanted) {
        for call in calls(f) {
            tried += 1;
            if let Err(panic) = guarded(|| engine.eval::<rhai::Dynamic>(&call).is_ok()) {
                panics.push(format!("{call}: {panic}"));
            }
        }
    }
    assert!(tried > 5_000, "only {tried} calls were tried");
    assert!(panics.is_empty(), "{} calls panic:\n{}", panics.len(), panics.join("\n"));
}

#[test]
fn the_list_of_types_is_whole() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = engine::new(&host(runtime.handle()));
    let own: Vec<String> = Signatures::read_own(&engine).types.into_keys().collect();
    assert_eq!(own, api::TYPES, "name every `pub type` of script/api in TYPES: else `fn Type.method()` would declare a class");
}

#[test]
fn what_is_called_otherwise_elsewhere_is_there() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let host = host(runtime.handle());
    let known = Signatures::read(&engine::new(&host));
    for (theirs, ours) in super::elsewhere::NAMES {
        assert!(known.named(ours).next().is_some(), "{theirs} is said to be {ours} here, which is not there");
    }
}
