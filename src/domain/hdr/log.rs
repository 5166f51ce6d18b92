//! The lines of an interval log (`HdrHistogramLogWriter`'s text, format 1.3).

use crate::base::error::{Error, Location, Result};
use std::path::Path;

/// A line that holds an interval's histogram.
#[derive(Clone, Copy, Debug)]
pub struct Interval<'a> {
    /// Its tag; empty when it has none.
    pub tag: &'a str,
    /// Seconds since the epoch (or since whatever the log counts from), and how long it lasted.
    pub start: f64,
    pub length: f64,
    pub histogram: &'a [u8],
    pub line: usize,
    /// The last line of the file, without a line break: it may have been cut off.
    pub unfinished: bool,
}

impl Interval<'_> {
    pub fn end(&self) -> f64 {
        self.start + self.length
    }
}

/// What a log holds. An unfinished last line that cannot be read is left out and named.
#[derive(Debug, Default)]
pub struct Log<'a> {
    pub intervals: Vec<Interval<'a>>,
    pub cut_off: Option<usize>,
}

/// Timestamps further than this before the log's StartTime count from it, others from the epoch.
const YEAR: f64 = 365.0 * 24.0 * 3600.0;

/// Reads all lines of a log.
pub fn parse<'a>(text: &'a [u8], path: &Path) -> Result<Log<'a>> {
    let mut log = Log::default();
    let (mut start_time, mut base_time) = (None, None);
    let mut rest = text;
    let mut line = 0;
    while !rest.is_empty() {
        let (raw, unfinished) = match memchr::memchr(b'\n', rest) {
            Some(end) => (&rest[..end], false),
            None => (rest, true),
        };
        rest = &rest[(raw.len() + 1).min(rest.len())..];
        line += 1;
        let content = raw.trim_ascii();
        if content.is_empty() || content.starts_with(b"\"StartTimestamp\"") || content.starts_with(b"\"") {
            continue;
        }
        if let Some(comment) = content.strip_prefix(b"#") {
            if let Some(seconds) = header(comment, b"[StartTime:") {
                start_time = Some(seconds);
            } else if let Some(seconds) = header(comment, b"[BaseTime:") {
                base_time = Some(seconds);
            }
            continue;
        }
        match interval(content) {
            Ok((tag, stamp, length, histogram)) => {
                let start_time = *start_time.get_or_insert(stamp);
                let base = *base_time.get_or_insert(if stamp < start_time - YEAR { start_time } else { 0.0 });
                log.intervals.push(Interval { tag, start: base + stamp, length, histogram, line, unfinished });
            }
            Err(_) if unfinished => log.cut_off = Some(line),
            Err(why) => return Err(damaged(path, line, why)),
        }
    }
    Ok(log)
}

/// The error of a line that cannot be read.
pub fn damaged(path: &Path, line: usize, why: &str) -> Error {
    Error::config(format!("{}:{line} is no line of an HDR log: {why}", path.display()))
        .at(Location::line(path.display().to_string(), line))
        .hint("HDR logs are what cassandra-stress writes with -log hdrfile=FILE. Was the file copied while it was written?")
}

/// The seconds in `#[StartTime: 1441812279.474 (seconds since epoch), …]`.
fn header(comment: &[u8], name: &[u8]) -> Option<f64> {
    let rest = comment.strip_prefix(name)?.trim_ascii_start();
    let end = rest.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(rest.len());
    number(&rest[..end])
}

type Fields<'a> = (&'a str, f64, f64, &'a [u8]);

fn interval(content: &[u8]) -> Result<Fields<'_>, &'static str> {
    let (tag, rest) = match content.strip_prefix(b"Tag=") {
        Some(tagged) => {
            let (tag, rest) = cut(tagged).ok_or("its tag does not end")?;
            (std::str::from_utf8(tag).map_err(|_| "its tag is not UTF-8")?, rest)
        }
        None => ("", content),
    };
    let (start, rest) = cut(rest).ok_or("it has too few fields")?;
    let (length, rest) = cut(rest).ok_or("it has too few fields")?;
    let (max, histogram) = cut(rest).ok_or("it has too few fields")?;
    let start = number(start).ok_or("its start is not a number")?;
    let length = number(length).filter(|n| *n >= 0.0).ok_or("its length is not a number")?;
    number(max).ok_or("its maximum is not a number")?;
    if histogram.is_empty() {
        return Err("its histogram is missing");
    }
    Ok((tag, start, length, histogram))
}

fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b',', text)?;
    Some((&text[..at], &text[at + 1..]))
}

fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.trim().parse::<f64>().ok().filter(|n| n.is_finite())
}
