//! `opsrun hdr summary FILE…`: the figures of HDR logs, merged.

use super::App;
use crate::base::error::Result;
use crate::base::units::parse_duration;
use crate::domain::hdr::{self, Figures, Selection};
use std::path::PathBuf;
use std::time::Duration;

/// Read latency logs (HdrHistogram interval logs)
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Summary(SummaryArgs),
}

/// Merge logs and show throughput and latencies per tag
///
/// Histograms of all files are added up per tag: the percentiles are those of all operations together, never averages.
/// Times are in milliseconds; logs are taken to hold nanoseconds, as those of cassandra-stress do.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun hdr summary loader-*/read.hdr
  opsrun hdr summary read.hdr --tag READ-rt --trim-start 30s --trim-end 10s --json

--json prints an object: tag -> ops, throughput (ops/s), mean, p50, p90, p95, p99, p999, p9999, p99999, max (ms), seconds.")]
struct SummaryArgs {
    /// The logs
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only this tag, for instance READ-rt
    #[arg(long)]
    tag: Option<String>,
    /// Leave out this much at the begin of each log
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s", hide_default_value = true)]
    trim_start: Duration,
    /// Leave out this much at the end of each log
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s", hide_default_value = true)]
    trim_end: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> std::result::Result<Duration, String> {
    parse_duration(text).map_err(|e| e.message().to_owned())
}

pub fn run(args: Args, app: &App) -> Result<()> {
    let Command::Summary(SummaryArgs { files, tag, trim_start, trim_end, json }) = args.command;
    app.catch_signals();
    let found = hdr::summary(&files, &Selection { tag, trim_start, trim_end }, &app.cx)?;
    if json {
        let by_tag: serde_json::Map<String, serde_json::Value> =
            found.into_iter().map(|(tag, figures)| (tag, serde_json::json!(figures))).collect();
        return app.ui.json(&by_tag);
    }
    app.ui.data(&table(&found));
    Ok(())
}

/// One column a tag, one row a figure.
fn table(found: &[(String, Figures)]) -> String {
    let width = |tag: &str| tag.chars().count().max(12);
    let mut lines = vec![found.iter().fold(format!("{:<18}", ""), |line, (tag, _)| format!("{line}  {tag:>0$}", width(tag)))];
    let rows: Vec<_> = found.iter().map(|(tag, figures)| (width(tag), figures.rows())).collect();
    for at in 0..rows.first().map_or(0, |(_, r)| r.len()) {
        let mut line = String::new();
        for (width, row) in &rows {
            let (name, value, unit) = row[at];
            if line.is_empty() {
                let label = if unit.is_empty() { name.to_owned() } else { format!("{name} ({unit})") };
                line = format!("{label:<18}");
            }
            let digits = if name == "ops" { 0 } else { 3 };
            line = format!("{line}  {value:>width$.digits$}");
        }
        lines.push(line);
    }
    lines.push(String::new());
    lines.join("\n")
}
