//! Ports carried over the connection, both ways.

use super::Node;
use super::channel::Link;
use super::exec::pump;
use futures::FutureExt;
use futures::future::FusedFuture;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long a service may take to read the last bytes of a client that has gone.
const LAST_BYTES: Duration = Duration::from_secs(30);

/// Connects from the node. Its `localhost` is its own address first, because there its services listen; then this machine's.
pub async fn connect(own: Ipv4Addr, host: &str, port: u32) -> io::Result<TcpStream> {
    let port = u16::try_from(port).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    if ["localhost", "127.0.0.1", "::1"].contains(&host)
        && let Ok(tcp) = TcpStream::connect((own, port)).await
    {
        return Ok(tcp);
    }
    TcpStream::connect((host, port)).await
}

/// Listens for the client. Like OpenSSH without `GatewayPorts`, only where this machine itself can reach it.
pub async fn listen(host: &str, port: u32) -> io::Result<TcpListener> {
    let port = u16::try_from(port).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let address = match host.parse() {
        Ok(IpAddr::V4(address)) if address.is_loopback() => address,
        _ => Ipv4Addr::LOCALHOST,
    };
    TcpListener::bind((address, port)).await
}

/// Carries bytes both ways until both directions have ended or the channel is closed.
pub async fn carry<S: AsyncRead + AsyncWrite + Unpin>(node: &Node, stream: S, link: Link) {
    let (read, mut write) = tokio::io::split(stream);
    let up = async {
        pump(read, &link, false).await;
        link.eof().await;
    };
    let down = async {
        while let Ok(Some(piece)) = link.inbound.next().await {
            if write.write_all(&piece).await.is_err() {
                break;
            }
        }
        link.inbound.discard();
        let _ = write.shutdown().await;
    };
    let down = down.fuse();
    tokio::pin!(up, down);
    let both = async { tokio::join!(up.as_mut(), down.as_mut()) };
    let finished = tokio::select! {
        () = link.closed.cancelled() => false,
        ((), ()) = both => true,
    };
    if finished {
        link.close().await;
    } else if !down.is_terminated() {
        // What the client sent before it closed the channel is still to be delivered.
        tokio::select! {
            () = down => {}
            () = tokio::time::sleep(LAST_BYTES) => {}
            () = node.ending() => {}
        }
    }
}

/// Hands every connection to the listener to `accepted`, until the client cancels.
pub async fn accept(node: Arc<Node>, listener: TcpListener, accepted: impl Fn(TcpStream, std::net::SocketAddr)) {
    loop {
        match listener.accept().await {
            Ok((tcp, from)) => {
                let _ = tcp.set_nodelay(true);
                accepted(tcp, from);
            }
            Err(_) if node.is_ending() => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
