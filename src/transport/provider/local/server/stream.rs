//! The connection as russh sees it: it ends when it should, and is not read from when there is no room.

use super::inbound::Backlog;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A TCP connection that breaks as soon as `end` is cancelled, whatever russh waits for then.
pub struct Stream {
    tcp: TcpStream,
    backlog: Arc<Backlog>,
    reading: Pin<Box<WaitForCancellationFutureOwned>>,
    writing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Stream {
    pub fn new(tcp: TcpStream, backlog: Arc<Backlog>, end: &CancellationToken) -> Self {
        let [reading, writing] = [(); 2].map(|()| Box::pin(end.clone().cancelled_owned()));
        Self { tcp, backlog, reading, writing }
    }
}

fn ended() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.reading.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(ended()));
        }
        if self.backlog.is_full(cx.waker()) {
            return Poll::Pending;
        }
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.tcp).poll_write(cx, buf) {
            Poll::Pending if self.writing.as_mut().poll(cx).is_ready() => Poll::Ready(Err(ended())),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
