//! What OpenSSH's client does not do, or does not show: signals, and where the server listens.

use crate::lab::{Lab, specs};
use opsrun::transport::provider::NodeFound;
use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{Channel, ChannelMsg, Sig};
use std::sync::Arc;

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

async fn connect(node: &NodeFound) -> Handle<Trusting> {
    let config = Arc::new(client::Config::default());
    let mut session = client::connect(config, (node.endpoint.host.as_str(), node.endpoint.port), Trusting).await.unwrap();
    let key = Arc::new(load_secret_key(&node.endpoint.keys[0], None).unwrap());
    let key = PrivateKeyWithHashAlg::new(key, None);
    assert!(session.authenticate_publickey(&node.endpoint.user, key).await.unwrap().success());
    session
}

/// Waits for the text on stdout.
async fn expect(channel: &mut Channel<Msg>, text: &str) {
    let mut said = String::new();
    while !said.contains(text) {
        match channel.wait().await.expect("the channel is open") {
            ChannelMsg::Data { data } => said.push_str(std::str::from_utf8(&data).unwrap()),
            ChannelMsg::Close => panic!("closed after {said:?}"),
            _ => {}
        }
    }
}

/// How the command ended: its code or its signal.
async fn end(channel: &mut Channel<Msg>) -> String {
    let mut end = String::new();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::ExitStatus { exit_status } => end = exit_status.to_string(),
            ChannelMsg::ExitSignal { signal_name, .. } => end = format!("{signal_name:?}"),
            _ => {}
        }
    }
    end
}

#[test]
fn signals_reach_the_whole_group_and_are_told_when_they_kill() {
    let lab = Lab::new();
    let node = lab.node();
    lab.runtime.block_on(async {
        let session = connect(&node).await;
        let start = async |line: &str| {
            let mut channel = session.channel_open_session().await.unwrap();
            channel.exec(true, line).await.unwrap();
            expect(&mut channel, "ready\n").await;
            channel
        };
        let mut trapped = start("trap 'echo caught' USR1; echo ready; while :; do sleep 0.05; done").await;
        trapped.signal(Sig::USR1).await.unwrap();
        expect(&mut trapped, "caught\n").await;
        trapped.signal(Sig::KILL).await.unwrap();
        assert_eq!(end(&mut trapped).await, "KILL");
        // The child says itself that it is there: a signal that finds it between fork and exec, with the trap of its
        // parent still set, is lost, as in every shell.
        let mut child = start("trap 'exit 9' TERM; (trap - TERM; echo ready; exec sleep 4601) & wait; wait").await;
        child.signal(Sig::TERM).await.unwrap();
        assert_eq!(end(&mut child).await, "9");
        let mut other = start("echo ready; kill -WINCH $$; kill -SYS $$").await;
        assert_eq!(end(&mut other).await, "Custom(\"SYS\")");
        assert_eq!(end(&mut start("echo ready; exit 200").await).await, "200");
    });
    assert_eq!(lab.processes(), Vec::<i32>::new(), "the sleep got the signal, too");
}

#[test]
fn nothing_listens_but_on_loopback() {
    let lab = Lab::new();
    lab.create(&specs("server", 5));
    let supervisor = lab.supervisor();
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{supervisor}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|fd| {
            Some(std::fs::read_link(fd.path()).ok()?.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        })
        .collect();
    let mut listening = 0;
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/{supervisor}/net/{table}")).unwrap();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if sockets.iter().any(|s| s == fields[9]) {
                // Addresses are written from the last byte to the first: 127 is at their end.
                let address = fields[1].split(':').next().unwrap();
                assert!(address.len() == 8 && address.ends_with("7F"), "{line}");
                listening += 1;
            }
        }
    }
    assert_eq!(listening, 5);
}
