//! `opsrun hdr summary` as other programs call it.

use std::process::{Command, Output};

/// 98 operations of 1 ms, one of 2 ms, one of 8 ms.
const HISTOGRAM: &str = "HISTFAAAAC142pNpmSzMwMDAzQABzFCaEch0M9ixgMH+A0Tg4DrGI4x/+Zn+yjMBAJ4VCLc=";

fn opsrun(dir: &std::path::Path, words: &[&str]) -> (Output, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_opsrun")).args(["hdr", "summary"]).args(words).current_dir(dir).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

fn logs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for loader in 0..2 {
        let lines: String = (0..10)
            .flat_map(|second| ["READ-st", "READ-wt"].map(|tag| format!("Tag={tag},{second}.000,1.000,8.004,{HISTOGRAM}\n")))
            .collect();
        let header = "#[StartTime: 1700000000.000 (seconds since epoch)]\n#[BaseTime: 1700000000.000 (seconds since epoch)]\n";
        std::fs::write(dir.path().join(format!("{loader}.hdr")), format!("{header}{lines}")).unwrap();
    }
    dir
}

#[test]
fn json_has_each_tag_merged_and_trimmed() {
    let dir = logs();
    let (output, out, err) = opsrun(dir.path(), &["0.hdr", "1.hdr", "--json", "--trim-start", "2s", "--trim-end=3s"]);
    assert!(output.status.success(), "{err}");
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found.as_object().unwrap().keys().collect::<Vec<_>>(), ["READ-st", "READ-wt"]);
    let read = &found["READ-st"];
    assert_eq!((&read["ops"], &read["throughput"], &read["seconds"]), (&1000.into(), &200.0.into(), &5.0.into()));
    for (figure, value) in [("p50", 1.0), ("p99", 2.0), ("p999", 8.0), ("p99999", 8.0), ("max", 8.0), ("mean", 1.08)] {
        let found = read[figure].as_f64().unwrap();
        assert!((found / value - 1.0).abs() < 0.001, "{figure} is {found}");
    }
    let (_, out, _) = opsrun(dir.path(), &["0.hdr", "--json", "--tag", "READ-wt"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["READ-wt"]["ops"], 1000);
}

#[test]
fn people_get_a_table_and_clear_errors() {
    let dir = logs();
    let (_, out, _) = opsrun(dir.path(), &["0.hdr", "1.hdr"]);
    assert!(out.contains("READ-st       READ-wt\n") && out.contains("throughput (ops/s)       200.000       200.000\n"), "{out}");
    let (output, _, err) = opsrun(dir.path(), &["0.hdr", "--tag=READ-ts"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(err, "error: no line of these HDR logs has the tag \"READ-ts\"\nhint: Did you mean \"READ-st\"?\n");
    let (output, out, err) = opsrun(dir.path(), &["missing.hdr"]);
    assert_eq!((output.status.code(), out.as_str()), (Some(2), ""));
    assert_eq!(err, "error: cannot read missing.hdr: no such file or directory\n");
}
