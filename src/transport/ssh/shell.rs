//! A session whose bytes go straight through: `opsrun ssh`, and what uses it as a remote shell.

use super::Client;
use super::connect;
use crate::base::command::Exit;
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result, ResultExt};
use crate::base::event::Cx;
use bytes::BytesMut;
use russh::ChannelMsg;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// A terminal to ask the host for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terminal {
    /// `xterm-256color`
    pub term: String,
    pub columns: u32,
    pub rows: u32,
}

/// Where the bytes of a session come from and go to.
pub struct Pipes<I, O, E> {
    pub stdin: I,
    pub stdout: O,
    pub stderr: E,
    /// New sizes (columns, rows) of the local terminal.
    pub resized: mpsc::UnboundedReceiver<(u32, u32)>,
}

impl Client {
    /// Runs a command, or the login shell when there is none, with the bytes of its three streams passed through as they
    /// are, and returns how it ended.
    pub async fn shell<I, O, E>(
        &self,
        endpoint: &Endpoint,
        command: Option<&[u8]>,
        terminal: Option<&Terminal>,
        pipes: Pipes<I, O, E>,
        cx: &Cx,
    ) -> Result<Exit>
    where
        I: AsyncRead + Unpin + Send,
        O: AsyncWrite + Unpin + Send,
        E: AsyncWrite + Unpin + Send,
    {
        let session = self.session(endpoint, cx).await?;
        let lease = session.lease;
        let (mut read, write) = session.channel.split();
        let started = async {
            if let Some(t) = terminal {
                write.request_pty(false, &t.term, t.columns, t.rows, 0, 0, &[]).await?;
            }
            match command {
                Some(command) => write.exec(true, command).await,
                None => write.request_shell(true).await,
            }
        };
        let lost = |why: &str| Error::new(Kind::Connection, format!("lost the connection to {}: {why}", endpoint.address()));
        started.await.map_err(|e| lost(&connect::describe(&e))).on_node(&endpoint.name)?;
        let Pipes { mut stdin, mut stdout, mut stderr, mut resized } = pipes;
        // Input and output do not wait for each other: a program at the other end of our pipes may do one before the other.
        let feed = async {
            loop {
                let mut buffer = BytesMut::with_capacity(32 << 10);
                match stdin.read_buf(&mut buffer).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
                if write.data_bytes(buffer.freeze()).await.is_err() {
                    break;
                }
            }
            let _ = write.eof().await;
            std::future::pending().await
        };
        let resize = async {
            while let Some((columns, rows)) = resized.recv().await {
                let _ = write.window_change(columns, rows, 0, 0).await;
            }
            std::future::pending().await
        };
        let receive = async {
            let mut exit = None;
            loop {
                let written = match read.wait().await {
                    Some(ChannelMsg::Data { data }) => pass(&mut stdout, &data).await,
                    Some(ChannelMsg::ExtendedData { data, .. }) => pass(&mut stderr, &data).await,
                    Some(ChannelMsg::ExitStatus { exit_status }) => {
                        exit = Some(Exit::Code(i32::try_from(exit_status).unwrap_or(i32::MAX)));
                        Ok(())
                    }
                    Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                        exit = Some(Exit::Signal(super::exec::signal(&signal_name)));
                        Ok(())
                    }
                    Some(ChannelMsg::Failure) => {
                        return Err(Error::new(Kind::Connection, format!("{} refuses to start a session", endpoint.address())));
                    }
                    Some(ChannelMsg::Close) | None => return exit.ok_or_else(|| lost(lease.connection().why_closed())),
                    Some(_) => Ok(()),
                };
                if let Err(error) = written {
                    let _ = write.close().await;
                    return if error.kind() == std::io::ErrorKind::BrokenPipe {
                        // Nobody reads us any more (`… | head`): what runs there hears the same.
                        Ok(Exit::Signal("PIPE".to_owned()))
                    } else {
                        Err(Error::io("write to", "standard output", &error))
                    };
                }
            }
        };
        tokio::select! {
            outcome = receive => outcome.on_node(&endpoint.name),
            never = feed => never,
            never = resize => never,
            () = cx.cancel.cancelled() => {
                let _ = write.signal(russh::Sig::TERM).await;
                let _ = write.close().await;
                Err(Error::cancelled().on_node(&endpoint.name))
            }
        }
    }
}

async fn pass(to: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> std::io::Result<()> {
    to.write_all(data).await?;
    to.flush().await
}
