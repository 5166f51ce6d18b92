//! Tunnels through a host: one stream at a time, or a local port.

use super::connect;
use super::pool::{Lease, Use};
use super::{Client, Inner};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use russh::ChannelStream;
use russh::client::Msg;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A TCP connection that a host has made for us.
pub struct Tunnel {
    stream: ChannelStream<Msg>,
    _lease: Lease,
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A port of this machine's loopback that leads to an address as a host sees it, until dropped.
#[derive(Debug)]
pub struct Forward {
    /// On 127.0.0.1.
    pub local_port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Connects to an address as the host sees it. An error of kind `Connection` whose message says "refused" means that
    /// the host is there, but nothing listens.
    pub async fn dial(&self, endpoint: &Endpoint, host: &str, port: u16, cx: &Cx) -> Result<Tunnel> {
        dial(&self.0, endpoint, Use::Tunnel, host, port, cx).await
    }

    /// Opens a port on this machine's loopback that leads to an address as the host sees it.
    pub async fn forward(&self, endpoint: &Endpoint, remote_host: &str, remote_port: u16, cx: &Cx) -> Result<Forward> {
        drop(self.0.lease(endpoint, Use::Forward, cx).await?);
        let failed = |e: std::io::Error| Error::io("listen on", "127.0.0.1", &e);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let local_port = listener.local_addr().map_err(failed)?.port();
        // The client must not live on because a forward does, so the task asks for it each time.
        let (inner, endpoint, cx) = (Arc::downgrade(&self.0), endpoint.clone(), cx.clone());
        let remote_host = remote_host.to_owned();
        let task = tokio::spawn(async move {
            let mut streams = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Some(inner) = inner.upgrade() else { return };
                        let Ok((local, _)) = accepted else {
                            // Out of file descriptors, most likely: some will be free again.
                            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                            continue;
                        };
                        streams.spawn(carry(local, inner, endpoint.clone(), remote_host.clone(), remote_port, cx.clone()));
                    }
                    Some(_) = streams.join_next() => {}
                }
            }
        });
        Ok(Forward { local_port, task })
    }
}

async fn carry(mut local: TcpStream, inner: Arc<Inner>, endpoint: Endpoint, host: String, port: u16, cx: Cx) {
    let _ = local.set_nodelay(true);
    let dialed = dial(&inner, &endpoint, Use::Forward, &host, port, &cx).await;
    drop(inner);
    match dialed {
        Ok(mut far) => drop(tokio::io::copy_bidirectional(&mut local, &mut far).await),
        Err(error) => cx.events.warn(format!("forwarding to {host}:{port}: {error}")),
    }
}

async fn dial(inner: &Arc<Inner>, endpoint: &Endpoint, purpose: Use, host: &str, port: u16, cx: &Cx) -> Result<Tunnel> {
    let mut replaced = false;
    loop {
        let lease = inner.lease(endpoint, purpose, cx).await?;
        let handle = &lease.connection().handle;
        let open = async { Ok(handle.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0).await) };
        let why = match cx.cancel.guard(open).await? {
            Ok(channel) => return Ok(Tunnel { stream: channel.into_stream(), _lease: lease }),
            Err(russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::ConnectFailed)) => "refused".to_owned(),
            Err(russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::AdministrativelyProhibited)) => {
                "the host's SSH server does not allow forwarding".to_owned()
            }
            Err(russh::Error::ChannelOpenFailure(reason)) => format!("{reason:?}"),
            Err(_) if lease.connection().is_dead() && !replaced => {
                inner.pool.retire(endpoint, purpose, &lease);
                replaced = true;
                continue;
            }
            Err(error) => connect::describe(&error),
        };
        let message = format!("cannot connect from {} to {host}:{port}: {why}", endpoint.name);
        return Err(Error::new(Kind::Connection, message).on_node(&endpoint.name));
    }
}
