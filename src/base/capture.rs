//! What a command prints, on its way to the screen and into its result, in bounded memory.

use super::command::{Command, Exit, Output};
use super::event::{Event, Events, Stream};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A line longer than this is shown in pieces.
const LONGEST_LINE: usize = 64 << 10;

/// Gathers both outputs of one command: whole lines go out as events at once, the bytes stay for the result.
///
/// Of each stream the first and the last half of `keep` bytes are kept when there are more; what fits is kept exactly.
pub struct Capture {
    out: Half,
    err: Half,
    live: Option<Live>,
}

struct Live {
    node: Arc<str>,
    events: Events,
}

struct Half {
    stream: Stream,
    kept: Kept,
    line: Vec<u8>,
}

impl Capture {
    /// `node` is the name that lines are shown under; with `live` unset none are shown.
    pub fn new(command: &Command, node: &str, live: bool, events: &Events) -> Self {
        let half = |stream| Half { stream, kept: Kept::new(command.keep), line: Vec::new() };
        Self {
            out: half(Stream::Stdout),
            err: half(Stream::Stderr),
            live: live.then(|| Live { node: node.into(), events: events.clone() }),
        }
    }

    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let half = match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        half.kept.push(bytes);
        if let Some(live) = &self.live {
            half.lines(bytes, live);
        }
    }

    /// The last lines without a newline go out too, and the result is made.
    pub fn finish(mut self, exit: Exit, took: Duration) -> Output {
        if let Some(live) = &self.live {
            self.out.flush(live);
            self.err.flush(live);
        }
        let dropped = self.out.kept.dropped + self.err.kept.dropped;
        Output { exit, stdout: self.out.kept.into_bytes(), stderr: self.err.kept.into_bytes(), dropped, took }
    }
}

impl Half {
    fn lines(&mut self, mut bytes: &[u8], live: &Live) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.emit(live, self.line.len());
        }
        self.line.extend_from_slice(bytes);
        while self.line.len() > LONGEST_LINE {
            let end = char_boundary(&self.line, LONGEST_LINE);
            self.emit(live, end);
        }
    }

    fn flush(&mut self, live: &Live) {
        if !self.line.is_empty() {
            self.emit(live, self.line.len());
        }
    }

    fn emit(&mut self, live: &Live, end: usize) {
        let whole = &self.line[..end];
        let text = String::from_utf8_lossy(whole.strip_suffix(b"\r").unwrap_or(whole)).into_owned();
        live.events.send(Event::Line { node: live.node.clone(), stream: self.stream, text });
        self.line.drain(..end);
    }
}

/// The largest place not after `at` that does not cut a UTF-8 character in two.
fn char_boundary(bytes: &[u8], at: usize) -> usize {
    (at.saturating_sub(3)..=at).rev().find(|&i| bytes.get(i).is_none_or(|b| b & 0xC0 != 0x80)).unwrap_or(at)
}

/// The first and the last bytes of a stream.
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    room: usize,
    dropped: u64,
}

impl Kept {
    fn new(room: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), room, dropped: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        let head_room = (self.room - self.room / 2).saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(head_room);
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(self.room / 2);
        self.tail.drain(..excess);
        self.dropped += excess as u64;
    }

    fn into_bytes(mut self) -> Vec<u8> {
        let (a, b) = self.tail.as_slices();
        self.head.extend_from_slice(a);
        self.head.extend_from_slice(b);
        self.head
    }
}

/// The last lines of what a command said, for an error; none when it said nothing. Lines without an end are cut.
pub fn tail(said: &[u8]) -> Option<String> {
    const LINES: usize = 10;
    const WIDTH: usize = 500;
    // Whatever its length: what is looked at is what could be shown.
    let end = &said[said.len().saturating_sub(LINES * WIDTH * 4)..];
    let text = String::from_utf8_lossy(end);
    let mut lines: Vec<String> = text.trim_end().lines().rev().take(LINES).map(|line| shortened(line, WIDTH)).collect();
    lines.reverse();
    Some(lines.join("\n")).filter(|tail| !tail.is_empty())
}

fn shortened(line: &str, width: usize) -> String {
    match line.char_indices().nth(width) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Lines;

    #[test]
    fn lines_are_whole_and_bytes_exact() {
        let lines = Lines::default();
        let mut capture = Capture::new(&Command::new("x"), "n", true, &Events::new(lines.clone()));
        for part in [&b"one\ntw"[..], b"o\r\nthr", b"\xffee"] {
            capture.push(Stream::Stdout, part);
        }
        let output = capture.finish(Exit::Code(0), Duration::ZERO);
        assert_eq!(output.stdout, b"one\ntwo\r\nthr\xffee");
        assert_eq!(lines.texts(), ["one", "two", "thr\u{fffd}ee"]);
    }

    #[test]
    fn endless_lines_come_in_pieces_and_endless_output_is_cut_in_the_middle() {
        let lines = Lines::default();
        let command = Command { keep: 11, ..Command::new("x") };
        let mut capture = Capture::new(&command, "n", true, &Events::new(lines.clone()));
        let endless = "ä".repeat(LONGEST_LINE);
        capture.push(Stream::Stdout, endless.as_bytes());
        assert!(capture.out.line.len() <= LONGEST_LINE);
        capture.push(Stream::Stderr, b"0123456789ABCDEFGHIJ");
        let output = capture.finish(Exit::Code(0), Duration::ZERO);
        assert_eq!(output.stderr, b"012345FGHIJ");
        assert_eq!(output.stdout.len(), 11);
        assert_eq!(output.dropped, 9 + endless.len() as u64 - 11);
        let lines = lines.texts();
        assert_eq!(lines[..lines.len() - 1].concat(), endless);
    }

    #[test]
    fn a_tail_is_short_whatever_was_said() {
        assert_eq!(tail(b"\n \n"), None);
        assert_eq!(tail(b"one\ntwo\n\n").as_deref(), Some("one\ntwo"));
        let many: String = (0..1000).map(|n| format!("{n}\n")).collect();
        assert_eq!(
            tail(many.as_bytes()).unwrap().lines().collect::<Vec<_>>(),
            (990..1000).map(|n| n.to_string()).collect::<Vec<_>>()
        );
        let endless = tail("ä".repeat(1 << 20).as_bytes()).unwrap();
        assert!(endless.len() < 2000 && endless.ends_with("ä…"), "{endless}");
    }

    proptest::proptest! {
        #[test]
        fn what_fits_is_kept_whole(parts in proptest::collection::vec(".{0,9}", 0..9), spare in 0_usize..3) {
            let all = parts.concat();
            let mut kept = Kept::new(all.len() + spare);
            for part in &parts {
                kept.push(part.as_bytes());
            }
            proptest::prop_assert_eq!(kept.dropped, 0);
            proptest::prop_assert_eq!(kept.into_bytes(), all.into_bytes());
        }
    }
}
