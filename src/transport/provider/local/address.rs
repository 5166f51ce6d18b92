//! A loopback address of its own for each node, the same on every run.

use super::processes;
use crate::base::error::{Error, Kind, Result};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use tokio::net::TcpSocket;

/// Connections that may wait to be accepted: a thousand at once come from a script with that many tasks.
const CALLERS: u32 = 4096;
/// The port nodes listen on, where it is free.
const PORT: u16 = 2222;
const ADDRESSES_TRIED: u8 = 16;
/// Ports tried on the first address when something holds 2222 on every address of this machine.
const PORTS_TRIED: u16 = 32;

/// Binds a listener for a new node: on an address derived from its identity that nobody else uses.
pub fn claim(uuid: uuid::Uuid, node: &str, taken: &HashSet<Ipv4Addr>) -> Result<(TcpListener, SocketAddrV4)> {
    let addresses: Vec<Ipv4Addr> =
        (0..ADDRESSES_TRIED).map(|attempt| derive(uuid, node, attempt)).filter(|a| !taken.contains(a)).collect();
    let first = addresses.first().copied().unwrap_or(Ipv4Addr::LOCALHOST);
    let usual = addresses.iter().map(|address| SocketAddrV4::new(*address, PORT));
    let others = (PORT + 1..=PORT + PORTS_TRIED).chain([0]).map(|port| SocketAddrV4::new(first, port));
    let mut refusal = None;
    for socket in usual.chain(others) {
        match bind(socket) {
            Ok(listener) => {
                let port = listener.local_addr().map_or(socket.port(), |a| a.port());
                return Ok((listener, SocketAddrV4::new(*socket.ip(), port)));
            }
            Err(e) => refusal.get_or_insert((socket, e)),
        };
    }
    let (socket, why) = refusal.unwrap_or((SocketAddrV4::new(first, PORT), std::io::ErrorKind::AddrInUse.into()));
    Err(cannot_listen(node, socket, &why)
        .hint("Local nodes need addresses of 127.0.0.0/8: Linux has them all, other systems may not."))
}

/// Binds the listener of a node that has had its address before: no other will do, because others know it by that.
pub fn reclaim(node: &str, socket: SocketAddrV4) -> Result<TcpListener> {
    bind(socket).map_err(|why| {
        cannot_listen(node, socket, &why)
            .hint("End that process and provision again, or destroy the node to give it another address.")
    })
}

fn bind(socket: SocketAddrV4) -> std::io::Result<TcpListener> {
    if !socket.ip().is_loopback() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a loopback address"));
    }
    let tcp = TcpSocket::new_v4()?;
    tcp.set_reuseaddr(true)?;
    tcp.bind(socket.into())?;
    tcp.listen(CALLERS)?.into_std()
}

fn cannot_listen(node: &str, socket: SocketAddrV4, why: &std::io::Error) -> Error {
    let reason = match why.kind() {
        std::io::ErrorKind::AddrInUse => match processes::listener_of(socket) {
            Some(process) => format!("{process} listens there"),
            None => "another process listens there".to_owned(),
        },
        _ => why.to_string(),
    };
    Error::new(Kind::Provider, format!("cannot listen on {socket}: {reason}")).on_node(node)
}

/// 127.x.y.z from the node's identity; never 127.0.*, where everybody else's services are.
fn derive(uuid: uuid::Uuid, node: &str, attempt: u8) -> Ipv4Addr {
    let mut hash = Sha256::new();
    hash.update(uuid.as_bytes());
    hash.update(node.as_bytes());
    hash.update([attempt]);
    let bytes = hash.finalize();
    Ipv4Addr::new(127, bytes[0] % 190 + 64, bytes[1], bytes[2] % 254 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_same_every_time_and_differs_between_nodes() {
        let uuid = uuid::Uuid::from_u128(7);
        assert_eq!(derive(uuid, "server-0", 0), derive(uuid, "server-0", 0));
        let all: HashSet<_> = (0..200).map(|i| derive(uuid, &format!("server-{i}"), 0)).collect();
        assert!(all.len() >= 199, "{}", all.len());
        assert!(all.iter().all(|a| a.is_loopback() && a.octets()[1] != 0));
    }

    #[tokio::test]
    async fn goes_elsewhere_when_the_place_is_taken() {
        let uuid = uuid::Uuid::new_v4();
        let (_first, place) = claim(uuid, "n", &HashSet::new()).unwrap();
        let (_second, other) = claim(uuid, "n", &HashSet::new()).unwrap();
        assert_ne!(place, other);
        let refused = reclaim("n", place).unwrap_err();
        assert!(refused.message().contains(&format!("process {}", std::process::id())), "{refused}");
    }
}
