//! A command of the user's: the message is its stdin and its environment, never its command line.

use super::{DEADLINE, Message};
use crate::base::command::Command;
use crate::base::error::Result;
use crate::base::event::Cx;
use crate::base::shell;
use crate::transport::process;
use std::path::Path;

pub async fn run(words: &[String], dir: &Path, message: &Message, cx: &Cx) -> Result<()> {
    let command = Command {
        env: message.variables(),
        cwd: Some(dir.to_string_lossy().into_owned()),
        timeout: Some(DEADLINE),
        ..Command::new(shell::join(words))
    };
    let command = command.stdin(message.text().to_owned());
    let output = process::run(&command, false, cx).await?;
    output.failure(&command.line).map_or(Ok(()), Err)
}
