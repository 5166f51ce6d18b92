//! What a program says while it runs: which change is under way, how each ended, the tail of what it printed.

use crate::base::event::{Events, Progress, Stream};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Of an answer, more than this is not kept: it is then an error.
const LONGEST_ANSWER: usize = 64 << 20;
/// Of a line that a change prints, more than this is not kept.
const LONGEST_LINE: usize = 2 << 10;
/// Lines kept of what a change printed.
const TAIL: usize = 20;

/// A change as people hear of it.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub label: String,
    pub timeout: Option<Duration>,
}

/// How a change ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ended {
    pub code: i32,
    pub took: Duration,
}

/// What a change, or the shell outside of any, said on stderr.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Said {
    /// In its own words, what went wrong.
    pub message: Option<String>,
    pub hints: Vec<String>,
    tail: VecDeque<String>,
}

impl Said {
    pub fn tail(&self) -> String {
        self.tail.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    pub fn last(&self) -> Option<&str> {
        self.tail.back().map(String::as_str)
    }

    fn keep(&mut self, line: &str) {
        if let Some(message) = line.strip_prefix("opsrun: ") {
            self.message = Some(message.to_owned());
        } else if let Some(hint) = line.strip_prefix("opsrun-hint: ") {
            self.hints.push(hint.to_owned());
        } else {
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(line.to_owned());
        }
    }
}

/// Understands a program's output as it comes.
pub(super) struct Hearing {
    node: Arc<str>,
    mark: Vec<u8>,
    events: Events,
    progress: Arc<Progress>,
    changes: BTreeMap<usize, Announced>,
    /// All of stdout, and how far it has been looked at for marks.
    pub answer: Vec<u8>,
    scanned: usize,
    pub too_long: bool,
    running: Option<(usize, Instant)>,
    pub ended: BTreeMap<usize, Ended>,
    stderr: Lines,
    /// Whose stderr it is now.
    speaker: Option<usize>,
    said: BTreeMap<Option<usize>, Said>,
    last_note: String,
    /// When the change under way has to be over.
    pub deadline: watch::Sender<Option<Instant>>,
}

impl Hearing {
    pub fn new(node: &str, nonce: &str, events: &Events, progress: Arc<Progress>, changes: BTreeMap<usize, Announced>) -> Self {
        Self {
            node: node.into(),
            mark: format!("@{nonce} ").into_bytes(),
            events: events.clone(),
            progress,
            changes,
            answer: Vec::new(),
            scanned: 0,
            too_long: false,
            running: None,
            ended: BTreeMap::new(),
            stderr: Lines::default(),
            speaker: None,
            said: BTreeMap::new(),
            last_note: String::new(),
            deadline: watch::Sender::new(None),
        }
    }

    pub fn hear(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => self.hear_answer(bytes),
            Stream::Stderr => {
                let mut lines = std::mem::take(&mut self.stderr);
                lines.push(bytes, |line| self.hear_line(line));
                self.stderr = lines;
            }
        }
    }

    /// The change that had begun and not ended.
    pub fn running(&self) -> Option<usize> {
        self.running.map(|(number, _)| number)
    }

    /// What a change printed; without a number, what was printed outside of any.
    pub fn said(&mut self, number: Option<usize>) -> Said {
        let mut lines = std::mem::take(&mut self.stderr);
        lines.finish(|line| self.hear_line(line));
        self.said.remove(&number).unwrap_or_default()
    }

    fn hear_answer(&mut self, bytes: &[u8]) {
        if self.answer.len() + bytes.len() > LONGEST_ANSWER {
            self.too_long = true;
            return;
        }
        self.answer.extend_from_slice(bytes);
        while let Some(length) = memchr::memchr(b'\n', &self.answer[self.scanned..]) {
            let line = &self.answer[self.scanned..self.scanned + length];
            self.scanned += length + 1;
            let Some(words) = mark(line, &self.mark) else { continue };
            match words.as_slice() {
                ["begin", number] => {
                    let number = number.parse().unwrap_or_default();
                    self.begin(number);
                }
                ["done", number, code] => {
                    let (number, code) = (number.parse().unwrap_or_default(), code.parse().unwrap_or(i32::MAX));
                    let took = self.running.take().map_or(Duration::ZERO, |(_, since)| since.elapsed());
                    self.deadline.send_replace(None);
                    self.ended.insert(number, Ended { code, took });
                }
                _ => {}
            }
        }
    }

    fn begin(&mut self, number: usize) {
        let now = Instant::now();
        self.running = Some((number, now));
        if let Some(change) = self.changes.get(&number) {
            self.progress.label(format!("{}: {}", self.node, change.label));
            self.deadline.send_replace(change.timeout.map(|limit| now + limit));
        }
    }

    fn hear_line(&mut self, line: &[u8]) {
        if let Some(words) = mark(line, &self.mark) {
            self.speaker = match words.as_slice() {
                ["begin", number] => number.parse().ok(),
                _ => None,
            };
            return;
        }
        let text = String::from_utf8_lossy(line);
        if text.trim().is_empty() {
            return;
        }
        if let Some(note) = note(&text) {
            if note != self.last_note {
                self.events.info(format!("{}: {note}", self.node));
                note.clone_into(&mut self.last_note);
            }
            return;
        }
        self.said.entry(self.speaker).or_default().keep(&text);
    }
}

/// The words of a mark.
fn mark<'a>(line: &'a [u8], mark: &[u8]) -> Option<Vec<&'a str>> {
    let words = line.strip_prefix(mark)?;
    Some(std::str::from_utf8(words).ok()?.split_whitespace().collect())
}

/// What a line wants people to hear at once. apt says for whom it waits, and every second how long it has.
fn note(line: &str) -> Option<&str> {
    if line.starts_with("Waiting for cache lock:") {
        let text = line.split("... ").next().unwrap_or(line);
        return Some(text.trim_end_matches('.'));
    }
    line.strip_prefix("opsrun-note: ")
}

/// Lines out of pieces, of bounded length. A line that is written over, as progress bars are, is only heard.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    /// The line ended in a carriage return: it stands, if a newline follows.
    returned: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut hear: impl FnMut(&[u8])) {
        for &byte in bytes {
            match byte {
                b'\n' => self.finish(&mut hear),
                b'\r' => {
                    if note(&String::from_utf8_lossy(&self.line)).is_some() {
                        self.finish(&mut hear);
                    } else {
                        self.returned = true;
                    }
                }
                _ => {
                    if self.returned {
                        self.line.clear();
                        self.returned = false;
                    }
                    if self.line.len() < LONGEST_LINE {
                        self.line.push(byte);
                    }
                }
            }
        }
    }

    fn finish(&mut self, mut hear: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            hear(&self.line);
        }
        self.line.clear();
        self.returned = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::{Event, Listener, Unit};
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Listener for Notes {
        fn event(&self, event: Event) {
            if let Event::Note { text, .. } | Event::Label { label: text, .. } = event {
                self.0.lock().unwrap().push(text);
            }
        }
    }

    fn hearing(notes: &Notes) -> Hearing {
        let events = Events::new(notes.clone());
        let progress = Arc::new(events.progress("x", 1, Unit::Items));
        let change = |n: usize| (n, Announced { label: format!("file {n}"), timeout: None });
        Hearing::new("server-1", "N", &events, progress, [change(3), change(4)].into())
    }

    #[test]
    fn tells_what_each_change_said_however_the_pieces_fall() {
        let stderr = b"sudo: noise\n\n@N begin 3\nfine\n\n@N done 3 0\n\n@N begin 4\nE: \xff bad\r\n10%\r20%\ropsrun: no such package: x\nopsrun-hint: Try y.\n\n@N done 4 100\n";
        let stdout = b"\n@N begin 3\n\n@N done 3 0\n\n@N begin 4\n\n@N done 4 100\n\n@N end\n";
        for size in [1, 7, 1000] {
            let notes = Notes::default();
            let mut hearing = hearing(&notes);
            stdout.chunks(size).for_each(|piece| hearing.hear(Stream::Stdout, piece));
            stderr.chunks(size).for_each(|piece| hearing.hear(Stream::Stderr, piece));
            let codes: Vec<_> = hearing.ended.iter().map(|(number, ended)| (*number, ended.code)).collect();
            assert_eq!(codes, [(3, 0), (4, 100)]);
            let said = hearing.said(Some(4));
            assert_eq!(said.tail(), "E: \u{fffd} bad");
            assert_eq!(said.message.as_deref(), Some("no such package: x"));
            assert_eq!(said.hints, ["Try y."]);
            assert_eq!(hearing.said(None).tail(), "sudo: noise");
            assert_eq!(*notes.0.lock().unwrap(), ["server-1: file 3", "server-1: file 4"]);
        }
    }

    #[test]
    fn whom_apt_waits_for_is_said_once() {
        let notes = Notes::default();
        let mut hearing = hearing(&notes);
        for second in 0..3 {
            let line = format!("Waiting for cache lock: Could not get lock /x. It is held by process 7 (apt-get)... {second}s\r");
            hearing.hear(Stream::Stderr, line.as_bytes());
        }
        hearing.hear(Stream::Stderr, b"\nopsrun-note: half way\n");
        let notes = notes.0.lock().unwrap().clone();
        let lock = "server-1: Waiting for cache lock: Could not get lock /x. It is held by process 7 (apt-get)";
        assert_eq!(notes, [lock, "server-1: half way"]);
    }

    #[test]
    fn endless_output_takes_no_memory() {
        let mut hearing = hearing(&Notes::default());
        for _ in 0..1000 {
            hearing.hear(Stream::Stderr, &[b'x'; 5000]);
            hearing.hear(Stream::Stderr, b"y\nz\n");
        }
        let said = hearing.said(None);
        assert_eq!(said.tail.len(), TAIL);
        assert!(said.tail().len() < 12 * LONGEST_LINE);
    }
}
