//! What one can do on a node, with OpenSSH's client.

use crate::lab::{Lab, text};

#[test]
fn exit_codes_signals_and_both_streams_arrive() {
    let lab = Lab::new();
    let node = lab.node();
    let out = lab.ssh(&node, "echo out; echo err >&2; exit 7");
    assert_eq!((out.status.code(), text(&out.stdout), text(&out.stderr)), (Some(7), "out\n".into(), "err\n".into()));
    let out = lab.ssh(&node, "kill -TERM $$; sleep 10");
    assert_eq!(out.status.code(), Some(255), "a signal is 255 for OpenSSH");
    assert_eq!(lab.ssh(&node, "no-such-command").status.code(), Some(127));
}
