//! HDR interval logs, trimmed, merged and summarised: the true percentiles of many loaders together.
//!
//! Percentiles cannot be averaged: the histograms are added up, per tag over all files, and read then.

mod decode;
mod log;

use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::{Cx, Unit};
use crate::base::{suggest, units};
use decode::{Decoder, Sums};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What lines without a tag are listed under.
pub const NO_TAG: &str = "default";

/// What to summarise.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Only this tag.
    pub tag: Option<String>,
    /// Leave out what each log has in this time after its begin, and before its end. Intervals count only when they lie wholly between.
    pub trim_start: Duration,
    pub trim_end: Duration,
}

/// The figures of one tag. Times are in milliseconds (logs hold nanoseconds).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figures {
    /// How many operations were measured.
    pub ops: u64,
    /// Operations a second over `seconds`.
    pub throughput: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub p9999: f64,
    pub p99999: f64,
    pub max: f64,
    /// The wall time in which at least one of the logs has kept intervals.
    pub seconds: f64,
}

impl Figures {
    /// Name, value and unit, in the order people read them.
    pub fn rows(&self) -> [(&'static str, f64, &'static str); 12] {
        #[allow(clippy::cast_precision_loss, reason = "for showing")]
        let ops = self.ops as f64;
        [
            ("ops", ops, ""),
            ("throughput", self.throughput, "ops/s"),
            ("mean", self.mean, "ms"),
            ("p50", self.p50, "ms"),
            ("p90", self.p90, "ms"),
            ("p95", self.p95, "ms"),
            ("p99", self.p99, "ms"),
            ("p99.9", self.p999, "ms"),
            ("p99.99", self.p9999, "ms"),
            ("p99.999", self.p99999, "ms"),
            ("max", self.max, "ms"),
            ("over", self.seconds, "s"),
        ]
    }
}

/// One tag's running sums.
#[derive(Debug, Default)]
struct Tag {
    name: String,
    sums: Sums,
    /// Begin and end of what each file has of it.
    windows: Vec<(f64, f64)>,
}

/// Reads the logs and returns each tag's figures, merged over all files, in the order in which tags first appear.
pub fn summary(files: &[PathBuf], selection: &Selection, cx: &Cx) -> Result<Vec<(String, Figures)>> {
    if files.is_empty() {
        return Err(Error::usage("there is no HDR log to summarise: the list of files is empty"));
    }
    let progress = cx.events.progress("reading HDR logs", files.len() as u64, Unit::Items);
    let mut tags: Vec<Tag> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for path in files {
        add_file(path, selection, &mut tags, &mut seen, cx)?;
        progress.advance(1);
    }
    if tags.is_empty() {
        let Some(tag) = &selection.tag else { return Err(Error::internal("HDR logs without a tag")) };
        if seen.contains(tag) {
            return Err(Error::usage(format!("trimming leaves nothing of tag \"{tag}\"")).hint("Trim less."));
        }
        let error = Error::new(Kind::NotFound, format!("no line of these HDR logs has the tag \"{tag}\""));
        return Err(error.hint_if(suggest::did_you_mean(tag, seen.iter().map(String::as_str))));
    }
    tags.into_iter().map(|tag| Ok((tag.name.clone(), figures(tag)?))).collect()
}

fn add_file(path: &Path, selection: &Selection, tags: &mut Vec<Tag>, seen: &mut Vec<String>, cx: &Cx) -> Result<()> {
    let text = std::fs::read(path).at("read", path)?;
    let mut log = log::parse(&text, path)?;
    let mut decoder = Decoder::new();
    if let Some(last) = log.intervals.last().filter(|i| i.unfinished)
        && decoder.add(last.histogram, &mut Sums::default()).is_err()
    {
        log.cut_off = Some(last.line);
        log.intervals.pop();
    }
    if let Some(line) = log.cut_off {
        cx.events.warn(format!("{}:{line}: the last line is cut off and was left out", path.display()));
    }
    if log.intervals.is_empty() {
        let message = format!("{} holds no histogram", path.display());
        return Err(Error::config(message).hint("Did the load end before its first interval was written?"));
    }
    let begin = log.intervals.iter().map(|i| i.start).fold(f64::INFINITY, f64::min);
    let end = log.intervals.iter().map(log::Interval::end).fold(f64::NEG_INFINITY, f64::max);
    // Timestamps have three digits after the point: half of the last is no reason to drop an interval.
    let from = begin + selection.trim_start.as_secs_f64() - 0.0005;
    let to = end - selection.trim_end.as_secs_f64() + 0.0005;
    let mut kept = false;
    let mut windows: Vec<(usize, f64, f64)> = Vec::new();
    for (n, interval) in log.intervals.iter().enumerate() {
        if n % 64 == 0 {
            cx.cancel.check()?;
        }
        let name = if interval.tag.is_empty() { NO_TAG } else { interval.tag };
        if !seen.iter().any(|s| s == name) {
            seen.push(name.to_owned());
        }
        let inside = interval.start >= from && interval.end() <= to;
        kept |= inside;
        if !inside || selection.tag.as_ref().is_some_and(|t| t != name) {
            continue;
        }
        let at = tags.iter().position(|t| t.name == name).unwrap_or_else(|| {
            tags.push(Tag { name: name.to_owned(), ..Tag::default() });
            tags.len() - 1
        });
        decoder.add(interval.histogram, &mut tags[at].sums).map_err(|why| log::damaged(path, interval.line, &why))?;
        match windows.iter_mut().find(|w| w.0 == at) {
            Some((_, start, end)) => (*start, *end) = (start.min(interval.start), end.max(interval.end())),
            None => windows.push((at, interval.start, interval.end())),
        }
    }
    for (at, start, end) in windows {
        tags[at].windows.push((start, end));
    }
    if kept {
        return Ok(());
    }
    let length = units::format_duration(Duration::try_from_secs_f64(end - begin).unwrap_or_default());
    Err(Error::usage(format!("trimming leaves nothing of {}: it is {length} long", path.display()))
        .hint("Intervals are kept only whole: trim less, or log shorter intervals."))
}

/// All counts of a tag in one histogram.
fn merge(sums: &Sums) -> Result<Histogram<u64>> {
    let bad = |e: &dyn std::fmt::Display| Error::internal(format!("cannot merge histograms: {e}"));
    let first = sums.first.ok_or_else(|| bad(&"there are none"))?;
    let mut merged = Histogram::<u64>::new_with_bounds(first.lowest(), first.lowest() * 2, first.digits).map_err(|e| bad(&e))?;
    merged.auto(true);
    for (layout, counts) in &sums.counts {
        for (index, count) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let value = layout.value(index).ok_or_else(|| bad(&"a value is too large"))?;
            merged.record_n(value, *count).map_err(|e| bad(&e))?;
        }
    }
    Ok(merged)
}

fn figures(mut tag: Tag) -> Result<Figures> {
    let merged = merge(&tag.sums)?;
    let [p50, p90, p95, p99, p999, p9999, p99999] = percentiles(&merged, [50.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999]).map(ms);
    let seconds = covered(&mut tag.windows);
    #[allow(clippy::cast_precision_loss, reason = "more operations than 53 bits count are not measured")]
    let throughput = if seconds > 0.0 { merged.len() as f64 / seconds } else { 0.0 };
    let mean = if merged.is_empty() { 0.0 } else { merged.mean() / 1e6 };
    Ok(Figures { ops: merged.len(), throughput, mean, p50, p90, p95, p99, p999, p9999, p99999, max: ms(merged.max()), seconds })
}

fn ms(nanoseconds: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "three digits matter")]
    let value = nanoseconds as f64;
    value / 1e6
}

/// The values at these rising percentiles, found as HdrHistogram's own reader finds them: one rounding error below the
/// percentile, so that 99.9 % of 1,000 values are 999 of them.
fn percentiles<const N: usize>(histogram: &Histogram<u64>, wanted: [f64; N]) -> [u64; N] {
    let mut out = [0; N];
    let mut at = 0;
    let mut below = 0_u64;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as the reference does it"
    )]
    let rank = |percentile: f64| ((percentile.next_down() * histogram.len() as f64 / 100.0).ceil() as u64).max(1);
    for bucket in histogram.iter_recorded() {
        below = below.saturating_add(bucket.count_at_value());
        while at < N && below >= rank(wanted[at]) {
            out[at] = bucket.value_iterated_to();
            at += 1;
        }
    }
    out
}

/// How many seconds lie in at least one of the windows.
fn covered(windows: &mut [(f64, f64)]) -> f64 {
    windows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0;
    let mut reached = f64::NEG_INFINITY;
    for &(start, end) in windows.iter() {
        sum += (end - start.max(reached)).max(0.0);
        reached = reached.max(end);
    }
    sum
}

#[cfg(test)]
mod tests;
