//! How nodes come and go, also when somebody is killed on the way.

use crate::lab::{Lab, alive, kill9, specs};
use opsrun::transport::provider::NodeStatus;

#[test]
fn nodes_come_run_and_go_without_a_trace() {
    let lab = Lab::new();
    let nodes = lab.create(&specs("server", 3));
    let supervisor = lab.supervisor();
    assert_eq!(nodes.iter().map(|n| n.spec.name.as_str()).collect::<Vec<_>>(), ["server-0", "server-1", "server-2"]);
    for node in &nodes {
        assert_eq!(node.status, NodeStatus::Running);
        assert!(node.endpoint.host.starts_with("127."), "{}", node.endpoint.host);
        let said = lab.sh(node, "echo $OPSRUN_NODE $OPSRUN_DEPLOYMENT; pwd; echo $HOME");
        let home = lab.home(node).display().to_string();
        assert_eq!(said.lines().collect::<Vec<_>>(), [format!("{} lab", node.spec.name), home.clone(), home]);
    }
    assert_eq!(lab.list(), nodes);
    assert_eq!(lab.create(&specs("server", 3)), nodes, "a second create changes nothing");
    assert_eq!(lab.supervisor(), supervisor);
    lab.destroy(&["server-1", "never-was"]);
    assert_eq!(lab.list().len(), 2);
    assert!(!lab.home(&nodes[1]).exists());
    lab.destroy_all();
    lab.assert_nothing_left(supervisor);
    lab.destroy_all();
    assert_eq!(lab.list(), []);
}

#[test]
fn a_killed_supervisor_is_noticed_and_replaced() {
    let lab = Lab::new();
    let nodes = lab.create(&specs("server", 2));
    lab.sh(&nodes[0], "echo kept > file; setsid sleep 300 > /dev/null 2>&1 < /dev/null &");
    let first = lab.supervisor();
    kill9(first);
    assert!(lab.list().iter().all(|n| n.status == NodeStatus::Stopped));
    assert_eq!(lab.create(&specs("server", 2)), nodes, "same addresses, same keys");
    assert_ne!(lab.supervisor(), first);
    assert_eq!(lab.sh(&nodes[0], "cat file; pgrep -c -f 'sleep 30[0]' > /dev/null && echo lives"), "kept\nlives\n");
    let second = lab.supervisor();
    kill9(second);
    lab.destroy_all();
    lab.assert_nothing_left(second);
    assert!(!alive(first));
}
