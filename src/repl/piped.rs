//! Lines from a pipe or a file: no prompt, and the first error ends it.

use super::helper::wants_more;
use super::obey::Obey;
use super::session::Input;
use crate::base::error::{Error, Kind, Location, Result};
use std::io::BufRead;

/// What errors call it.
const NAME: &str = "stdin";

/// Runs everything that comes, each line as soon as it is whole. A code when it said to leave.
pub fn run(obey: &mut Obey) -> Result<Option<u8>> {
    let mut whole = String::new();
    let mut from = 0;
    let mut stdin = std::io::stdin().lock();
    loop {
        let mut bytes = Vec::new();
        let read = stdin.read_until(b'\n', &mut bytes).map_err(|e| Error::io("read", "standard input", &e))?;
        let line = String::from_utf8(bytes).map_err(|_| {
            Error::new(Kind::Usage, "standard input is not UTF-8 text")
                .at(Location::line(NAME, whole.lines().count() + 1))
                .exit_with(1)
        })?;
        whole.push_str(&line);
        if read > 0 && wants_more(&obey.session.borrow(), &whole[from..]) {
            continue;
        }
        let text = whole[from..].to_owned();
        if let Some(code) = one(obey, &text, &whole, from)? {
            return Ok(Some(code));
        }
        from = whole.len();
        if read == 0 {
            return Ok(None);
        }
    }
}

fn one(obey: &mut Obey, text: &str, whole: &str, from: usize) -> Result<Option<u8>> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let first = whole[..from].lines().count();
    if text.trim_start().starts_with(':') {
        return obey.line(text).map_err(|e| e.at(Location::line(NAME, first + 1)).exit_with(1));
    }
    // Errors count lines from the start of what is read.
    let padded = format!("{}{text}", "\n".repeat(first));
    let show = !text.trim_end().ends_with(';');
    obey.run(&Input { name: NAME, text: &padded, whole: Some(whole) }, show).map_err(Error::begun)
}
