//! A stream that takes what is written at once, and passes it on whenever it can.
//!
//! A session reads and writes in one task, and does not read while it waits to write. When the other end does the same (a
//! server of the same make, or our own session with a jump host, which carries this one), two full pipes would wait for each
//! other for ever. SSH's windows bound what can pile up here.

use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Far more than the windows of all sessions of a connection.
const MOST: usize = 64 << 20;

pub(super) struct Eager<S> {
    stream: S,
    backlog: BytesMut,
}

impl<S: AsyncWrite + Unpin> Eager<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, backlog: BytesMut::new() }
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.backlog.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.backlog))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.backlog.advance(n),
            }
        }
        // Memory that one stall took is not kept for the life of the connection.
        self.backlog = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Eager<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.backlog.is_empty()
            && let Poll::Ready(Err(e)) = self.drain(cx)
        {
            return Poll::Ready(Err(e));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Eager<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.backlog.is_empty()
            && let Poll::Ready(Err(e)) = self.drain(cx)
        {
            return Poll::Ready(Err(e));
        }
        if self.backlog.is_empty()
            && let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, buf)
        {
            return Poll::Ready(written);
        }
        if self.backlog.len() > MOST {
            return Poll::Pending;
        }
        self.backlog.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.drain(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_flush(cx),
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
