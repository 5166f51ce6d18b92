//! The `sftp` subsystem: what `sftp`, `scp` and graphical clients use. Paths are relative to the node's home.

mod files;
mod wire;

use super::channel::Link;
use bytes::{Buf, BytesMut};
use files::Files;
use std::path::PathBuf;

/// Answers are sent off when there is this much of them.
const ENOUGH: usize = 1 << 20;

/// Serves one channel until the client ends it.
pub async fn serve(home: PathBuf, link: Link) {
    let mut files = Files::new(home);
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    'session: while let Ok(Some(piece)) = next(&link).await {
        input.extend_from_slice(&piece);
        loop {
            // Disks may be slow: other sessions go on meanwhile, on other threads.
            let more = tokio::task::block_in_place(|| answer(&mut files, &mut input, &mut output));
            if !output.is_empty() && link.send(output.split().freeze(), false).await.is_err() {
                break 'session;
            }
            match more {
                Some(true) => {}
                Some(false) => break,
                None => break 'session,
            }
        }
    }
    link.exit(super::super::reaper::Ended::Code(0)).await;
    link.eof().await;
    link.close().await;
}

async fn next(link: &Link) -> std::io::Result<Option<bytes::Bytes>> {
    tokio::select! {
        () = link.closed.cancelled() => Ok(None),
        piece = link.inbound.next() => piece,
    }
}

/// Answers the whole packets in `input`, until there are no more (false) or enough of answers (true). None: this is not SFTP.
fn answer(files: &mut Files, input: &mut BytesMut, output: &mut BytesMut) -> Option<bool> {
    while output.len() < ENOUGH {
        let Some(length) = input.first_chunk::<4>() else { return Some(false) };
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 || length > wire::LARGEST {
            return None;
        }
        if input.len() < 4 + length {
            return Some(false);
        }
        input.advance(4);
        let packet = input.split_to(length);
        files.answer(&packet, output)?;
    }
    Some(true)
}
