//! The shell's half of jobs, and how its answers are read.

use super::{State, assignment};
use crate::base::command::{Command, Output};
use crate::base::error::{Error, Result};
use std::time::Duration;

const COMMON: &str = include_str!("common.sh");
pub const START: &str = include_str!("start.sh");
pub const SUPERVISOR: &str = include_str!("supervisor.sh");
pub const WAIT: &str = include_str!("wait.sh");
pub const STOP: &str = include_str!("stop.sh");
pub const FOLLOW: &str = include_str!("follow.sh");

/// A call of one of the scripts with its variables set.
pub fn call(name: &str, settings: &[(&str, &str)], body: &str) -> Command {
    let mut line = assignment("name", name);
    for (key, value) in settings {
        line.push_str(&assignment(key, value));
    }
    Command::new(format!("{line}{COMMON}{body}"))
}

/// The error of one of our own scripts that failed, in its own words.
pub fn succeeded(output: &Output, doing: &str) -> Result<()> {
    match output.failure("") {
        None => Ok(()),
        Some(mut error) => {
            error.details_mut().command = None;
            Err(error.context(doing.to_owned()))
        }
    }
}

/// What the shell function `report` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub pid: u32,
    pub state: State,
}

impl Report {
    pub fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let strange = || Error::internal(format!("a job's state came back as {line:?}"));
        let number = |at: usize| words.get(at).and_then(|w| w.parse::<u64>().ok());
        let state = match words.first() {
            Some(&"missing") => return Ok(Self { pid: 0, state: State::Missing }),
            Some(&"running") => State::Running,
            Some(&"lost") if words.last() == Some(&"rebooted") => State::Lost("the machine was rebooted while it ran"),
            Some(&"lost") => State::Lost("it and its supervisor were killed (did the machine run out of memory?)"),
            Some(&"ended") => {
                let seconds = |at: usize| words.get(at).and_then(|w| w.parse::<f64>().ok()).ok_or_else(strange);
                let took = (seconds(4)? - seconds(2)?).max(0.0);
                State::Ended {
                    code: words.get(3).and_then(|w| w.parse().ok()).ok_or_else(strange)?,
                    stopped: words.get(5) == Some(&"yes"),
                    took: Duration::try_from_secs_f64(took).unwrap_or_default(),
                }
            }
            _ => return Err(strange()),
        };
        let pid = number(1).and_then(|n| u32::try_from(n).ok()).ok_or_else(strange)?;
        Ok(Self { pid, state })
    }
}

/// The answer of `wait.sh`: a report; for a job that is over also the log's size and its end.
pub fn split_wait(stdout: &[u8]) -> Result<(Report, &[u8], u64)> {
    let (line, rest) = cut_line(stdout);
    let report = Report::parse(&String::from_utf8_lossy(line))?;
    if !matches!(report.state, State::Ended { .. } | State::Lost(_)) {
        return Ok((report, &[], 0));
    }
    let (size, log) = cut_line(rest);
    let size = String::from_utf8_lossy(size).trim().parse().unwrap_or(log.len() as u64);
    Ok((report, log, size))
}

fn cut_line(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}
