//! One channel, as the tasks that serve it use it.

use super::super::reaper::Ended;
use super::inbound::Inbound;
use bytes::Bytes;
use nix::sys::signal::Signal;
use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelWriteHalf, Sig};
use std::io;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Both directions of a channel. Clones are the same channel.
#[derive(Clone)]
pub struct Link {
    pub id: ChannelId,
    pub inbound: Arc<Inbound>,
    /// The client closed the channel, or the connection is gone.
    pub closed: CancellationToken,
    write: Arc<ChannelWriteHalf<Msg>>,
    handle: Handle,
}

fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl Link {
    pub fn new(inbound: Arc<Inbound>, closed: CancellationToken, write: ChannelWriteHalf<Msg>, handle: Handle) -> Self {
        Self { id: write.id(), inbound, closed, write: Arc::new(write), handle }
    }

    /// Sends when the client has room for it; fails when the channel closes.
    pub async fn send(&self, data: Bytes, stderr: bool) -> io::Result<()> {
        let sending =
            async { if stderr { self.write.extended_data_bytes(1, data).await } else { self.write.data_bytes(data).await } };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(gone()),
            sent = sending => sent.map_err(|_| gone()),
        }
    }

    /// No more will be sent.
    pub async fn eof(&self) {
        if !self.closed.is_cancelled() {
            let _ = self.write.eof().await;
        }
    }

    pub async fn close(&self) {
        if !self.closed.is_cancelled() {
            let _ = self.write.close().await;
        }
    }

    /// Tells how the command ended.
    pub async fn exit(&self, ended: Ended) {
        if self.closed.is_cancelled() {
            return;
        }
        match ended {
            Ended::Code(code) => {
                let _ = self.handle.exit_status_request(self.id, u32::try_from(code).unwrap_or(255)).await;
            }
            Ended::Signal { signal, core } => {
                let _ = self.handle.exit_signal_request(self.id, wire_name(signal), core, String::new(), String::new()).await;
            }
        }
    }
}

fn wire_name(signal: Signal) -> Sig {
    match signal {
        Signal::SIGABRT => Sig::ABRT,
        Signal::SIGALRM => Sig::ALRM,
        Signal::SIGFPE => Sig::FPE,
        Signal::SIGHUP => Sig::HUP,
        Signal::SIGILL => Sig::ILL,
        Signal::SIGINT => Sig::INT,
        Signal::SIGKILL => Sig::KILL,
        Signal::SIGPIPE => Sig::PIPE,
        Signal::SIGQUIT => Sig::QUIT,
        Signal::SIGSEGV => Sig::SEGV,
        Signal::SIGTERM => Sig::TERM,
        Signal::SIGUSR1 => Sig::USR1,
        other => Sig::Custom(other.as_str().trim_start_matches("SIG").to_owned()),
    }
}

/// The signal a client asks for; none when there is no such thing here.
pub fn from_wire(signal: &Sig) -> Option<Signal> {
    Some(match signal {
        Sig::ABRT => Signal::SIGABRT,
        Sig::ALRM => Signal::SIGALRM,
        Sig::FPE => Signal::SIGFPE,
        Sig::HUP => Signal::SIGHUP,
        Sig::ILL => Signal::SIGILL,
        Sig::INT => Signal::SIGINT,
        Sig::KILL => Signal::SIGKILL,
        Sig::PIPE => Signal::SIGPIPE,
        Sig::QUIT => Signal::SIGQUIT,
        Sig::SEGV => Signal::SIGSEGV,
        Sig::TERM => Signal::SIGTERM,
        Sig::USR1 => Signal::SIGUSR1,
        Sig::Custom(name) => format!("SIG{name}").parse().ok()?,
    })
}
