//! The kill matrix: SIGKILL before and after every call that changes the cloud; then the same command again, then deprovision.
//! What exists must be exactly what was wanted, then nothing.
//!
//! A spread of the points is taken by default; all with KILL_POINTS=all (see `tests/bench/aws_kill.sh`), which also prints them.

use crate::aws::When;
use crate::project::{DEPROVISION, FULL, Groups, PROVISION, Project, said};
use std::time::{Duration, Instant};

/// How far apart the points are that a test takes when it does not take all: odd, so that befores and afters take turns.
const STRIDE: usize = 13;

struct Scenario {
    what: &'static str,
    /// Brings the cloud to where the command starts from.
    before: fn(&Project),
    command: &'static [&'static str],
    /// What must exist when the command has ended well.
    wanted: Groups<'static>,
}

const SCALED_UP: Groups = &[("server", 5), ("client", 2), ("monitor", 1)];
const SCALED_DOWN: Groups = &[("server", 1), ("client", 2), ("monitor", 1)];

fn full_lab(project: &Project) {
    project.config(FULL, "");
    project.provision();
}

/// Runs the command until it reaches the point, and kills it there. Returns the action, or none if it ended before.
fn killed_at(project: &Project, command: &[&str], call: usize, when: When, story: &str) -> Option<String> {
    project.aws.forget();
    project.aws.stop_at(call, when);
    let mut child = project.start(command);
    let start = Instant::now();
    loop {
        if let Some(action) = project.aws.stopped(Duration::from_millis(100)) {
            child.kill().unwrap();
            child.wait().unwrap();
            project.aws.release();
            return Some(action);
        }
        if child.try_wait().unwrap().is_some() {
            project.aws.release();
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "{story}, never killed: {}\n{}", said(&out), project.story());
            return None;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{story}: neither ends nor calls\n{}", project.story());
    }
}

/// Takes one point of the matrix. Returns false when the command makes no such call.
fn point(scenario: &Scenario, call: usize, when: When) -> bool {
    let project = Project::new();
    (scenario.before)(&project);
    let story = format!("{}: killed {} call {call}", scenario.what, if when == When::Before { "before" } else { "after" });
    let Some(action) = killed_at(&project, scenario.command, call, when, &story) else { return false };
    let story = format!("{story}, {action}");
    project.aws.forget();
    project.succeeds(scenario.command);
    if scenario.wanted.is_empty() {
        project.aws.assert_none(crate::aws::REGION, &format!("{story}, then again\n{}", project.story()));
    } else {
        project.assert_lab(scenario.wanted, &format!("{story}, then again"));
    }
    project.deprovision(&story);
    if all() {
        println!("{story}: converged, and nothing was left");
    }
    true
}

fn all() -> bool {
    std::env::var("KILL_POINTS").is_ok_and(|v| v == "all")
}

fn matrix(scenario: &Scenario) {
    let mut taken = 0;
    for n in (0..).step_by(if all() { 1 } else { STRIDE }) {
        let when = if n % 2 == 0 { When::Before } else { When::After };
        if !point(scenario, n / 2 + 1, when) {
            break;
        }
        taken += 1;
    }
    assert!(taken > 0, "{} makes no call", scenario.what);
    println!("{}: {taken} points", scenario.what);
}

#[test]
fn provision() {
    let before = |project: &Project| project.config(FULL, "");
    matrix(&Scenario { what: "provision", before, command: PROVISION, wanted: FULL });
}

#[test]
fn scale_up() {
    let before = |project: &Project| {
        full_lab(project);
        project.config(SCALED_UP, "");
    };
    matrix(&Scenario { what: "scale up", before, command: PROVISION, wanted: SCALED_UP });
}

#[test]
fn scale_down() {
    let before = |project: &Project| {
        full_lab(project);
        project.config(SCALED_DOWN, "");
    };
    matrix(&Scenario { what: "scale down", before, command: PROVISION, wanted: SCALED_DOWN });
}

#[test]
fn replace() {
    let command = &["replace", "lab", "server-1", "--yes", "--no-wait"];
    matrix(&Scenario { what: "replace", before: full_lab, command, wanted: FULL });
}

#[test]
fn deprovision() {
    matrix(&Scenario { what: "deprovision", before: full_lab, command: DEPROVISION, wanted: &[] });
}

#[test]
fn extend() {
    matrix(&Scenario { what: "extend", before: full_lab, command: &["extend", "lab", "48h"], wanted: FULL });
}

/// Without the folder: nothing but tags says what there is.
#[test]
fn gc() {
    let before = |project: &Project| {
        full_lab(project);
        project.look_quickly();
        project.lose_folder();
    };
    let command = &["gc", "--region", crate::aws::REGION, "--config", "configs/quick.yml", "--min-age", "0s", "--yes"];
    matrix(&Scenario { what: "gc", before, command, wanted: &[] });
}

/// What a killed command had made is not to be seen yet when the next one looks.
#[test]
fn killed_with_late_visibility() {
    let project = Project::new();
    project.config(FULL, "");
    for call in [2, 7, 12, 16] {
        project.aws.script(&serde_json::json!([{ "do": "hide", "describes": 2 }]));
        project.aws.stop_at(call, When::After);
        let mut child = project.start(PROVISION);
        while project.aws.stopped(Duration::from_millis(100)).is_none() {
            if child.try_wait().unwrap().is_some() {
                break;
            }
        }
        let _ = child.kill();
        child.wait().unwrap();
        project.aws.release();
    }
    project.aws.script(&serde_json::json!([{ "do": "hide", "describes": 2 }]));
    project.provision();
    project.assert_lab(FULL, "killed four times on the way, each time before what was made could be seen");
    project.deprovision("killed four times");
}
