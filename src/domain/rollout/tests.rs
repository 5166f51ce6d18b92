use super::*;
use crate::base::endpoint::Endpoint;
use crate::base::error::Kind;
use crate::domain::resource::Outcome;
use std::collections::BTreeSet;
use std::time::Duration;

fn lab(servers: usize, clients: usize) -> NodeSet {
    let node = |group: &str, index: usize| Node {
        deployment: "lab".into(),
        name: format!("{group}-{index}"),
        group: group.into(),
        index,
        provider: "local".into(),
        endpoint: Endpoint::new(format!("{group}-{index}"), "127.0.0.1", 22, "root"),
    };
    NodeSet::new((0..servers).map(|i| node("server", i)).chain((0..clients).map(|i| node("client", i))))
}

fn pace(batch: &str, max_failures: Option<&str>) -> Pace {
    Pace { batch: Some(Amount::parse(batch).unwrap()), max_failures: max_failures.map(|m| Amount::parse(m).unwrap()) }
}

/// Rolls out; these nodes fail. Returns the batches that were begun, and what came of it.
fn roll(nodes: &NodeSet, pace: Pace, failing: &[&str]) -> (Vec<String>, Rollout) {
    let mut begun = Vec::new();
    let rollout = roll_out(nodes, &pace, |batch| {
        begun.push(batch.nodes.names().join(" "));
        let reports = batch.nodes.iter().map(|node| {
            let failure = failing.contains(&node.name.as_str()).then(|| Error::new(Kind::Command, "it broke"));
            let report =
                NodeReport { node: node.clone(), items: Vec::new(), took: Duration::ZERO, pending: BTreeSet::new(), failure };
            ("web".to_owned(), report)
        });
        BatchDone { reports: reports.collect(), ..BatchDone::default() }
    });
    (begun, rollout)
}

#[test]
fn batches_keep_groups_apart() {
    let (begun, rollout) = roll(&lab(5, 2), pace("40%", None), &[]);
    assert_eq!(begun, ["server-0 server-1", "server-2 server-3", "server-4", "client-0", "client-1"]);
    assert_eq!(rollout.count(State::Ok), 7);
    assert_eq!(Pace::default().batches(&lab(2, 1)).len(), 1);
    // In any order, each node is worked on once.
    let all = lab(2, 1);
    let mixed = all.slice(0, 1).union(&all.slice(2, 1)).union(&all);
    let (begun, _) = roll(&mixed, pace("1", None), &[]);
    assert_eq!(begun, ["server-0", "server-1", "client-0"]);
}

#[test]
fn too_many_failures_stop_the_rest() {
    let (begun, rollout) = roll(&lab(6, 0), pace("2", None), &["server-1"]);
    assert_eq!(begun, ["server-0 server-1"]);
    assert_eq!((rollout.count(State::Failed), rollout.count(State::Skipped)), (1, 4));
    let error = rollout.check().unwrap_err();
    assert_eq!(error.message(), "1 of 6 nodes failed");
    assert_eq!(error.details().hints, ["Not begun on server-[2-5]: 1 of 6 nodes failed, and none may."]);

    let (begun, rollout) = roll(&lab(6, 0), pace("2", Some("1")), &["server-1", "server-2", "server-4"]);
    assert_eq!(begun.len(), 2);
    assert!(rollout.stopped.unwrap().ends_with("at most 1 may"));

    let (begun, rollout) = roll(&lab(6, 0), pace("2", Some("50%")), &["server-1", "server-2", "server-4"]);
    assert_eq!((begun.len(), rollout.stopped), (3, None));
}

#[test]
fn amounts_are_numbers_or_shares() {
    assert_eq!(Amount::parse("20%").unwrap().of(8), 1);
    assert_eq!(Amount::parse("3").unwrap().of(8), 3);
    for bad in ["", "x", "-1", "200%", "1.5", "%"] {
        assert!(Amount::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn lines_fold_over_nodes() {
    let item = |outcome: Outcome, what: &str| Item {
        kind: "file",
        name: "/etc/motd".into(),
        outcome,
        what: vec![what.into()],
        diff: None,
        notify: Vec::new(),
        place: None,
        took: Duration::ZERO,
    };
    let nodes = lab(4, 0);
    let items: Vec<(Arc<Node>, Item)> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| {
            let outcome = match at {
                0 | 1 => item(Outcome::Changed, "content"),
                2 => item(Outcome::Ok, ""),
                _ => item(Outcome::Failed(Error::new(Kind::Command, "disk full")), "content"),
            };
            (node.clone(), outcome)
        })
        .collect();
    let lines: Vec<String> = fold(&items, false).iter().map(|l| l.text(false)).collect();
    assert_eq!(lines, ["server-[0-1]  file /etc/motd  changed: content", "server-3  file /etc/motd  failed: disk full"]);
    assert_eq!(fold(&items, false)[0].text(true), "server-[0-1]  file /etc/motd  would change: content");
}
