//! Commands on node sets.

use super::{Fleet, fold_names, gather};
use crate::base::command::{Command, Output};
use crate::base::error::{Error, Result};
use crate::base::event::{Event, Stream};
use crate::domain::node::NodeSet;

/// How the output of commands is shown, and whether a failing command is an error.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Show output as it comes, each line with its node's name.
    pub live: bool,
    /// Show it at the end, nodes with the same output together.
    pub collapse: bool,
    /// A command that fails is an error.
    pub check: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { live: true, collapse: false, check: true }
    }
}

impl Fleet {
    /// Runs the command on every node; per node what came of it, in node order.
    pub async fn try_run(&self, nodes: &NodeSet, command: &Command, options: RunOptions) -> Vec<Result<Output>> {
        let live = options.live && !options.collapse;
        let results = self
            .each(nodes, |fleet, node| {
                let command = command.clone();
                async move {
                    let output = fleet.client.run(&node.endpoint, &command, live, &fleet.cx).await?;
                    match output.failure(&command.line).filter(|_| options.check) {
                        Some(error) => Err(error),
                        None => Ok(output),
                    }
                }
            })
            .await;
        if options.live && options.collapse {
            self.show_collapsed(nodes, &results);
        }
        results
    }

    /// Runs the command on every node; one error that lists every node on which it failed.
    pub async fn run(&self, nodes: &NodeSet, command: &Command, options: RunOptions) -> Result<Vec<Output>> {
        gather(self.try_run(nodes, command, options).await)
    }

    /// The stdout of a short command of our own, quietly, one a node.
    pub async fn ask(&self, nodes: &NodeSet, line: &str) -> Result<Vec<Vec<u8>>> {
        let quiet = RunOptions { live: false, ..RunOptions::default() };
        let outputs = self.run(nodes, &Command::new(line), quiet).await?;
        Ok(outputs.into_iter().map(|o| o.stdout).collect())
    }

    fn show_collapsed(&self, nodes: &NodeSet, results: &[Result<Output>]) {
        let mut ways: Vec<(&Output, Vec<&str>)> = Vec::new();
        for (node, output) in nodes.iter().zip(results).filter_map(|(n, r)| r.as_ref().ok().map(|o| (n, o))) {
            match ways.iter_mut().find(|(o, _)| o.stdout == output.stdout && o.stderr == output.stderr) {
                Some((_, names)) => names.push(&node.name),
                None => ways.push((output, vec![&node.name])),
            }
        }
        for (output, names) in ways {
            let label: std::sync::Arc<str> = fold_names(&names).into();
            for (stream, bytes) in [(Stream::Stdout, &output.stdout), (Stream::Stderr, &output.stderr)] {
                for line in String::from_utf8_lossy(bytes).lines() {
                    self.cx.events.send(Event::Line { node: label.clone(), stream, text: line.to_owned() });
                }
            }
        }
    }
}

/// The text a command printed, without its last newline, for people and scripts. Bytes that are no UTF-8 become `�`.
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    if text.ends_with('\n') {
        text.pop();
    }
    text
}

impl Fleet {
    /// The stdout of a command on a set of exactly one node.
    pub async fn one(&self, nodes: &NodeSet, command: &Command, live: bool) -> Result<String> {
        nodes.one()?;
        let options = RunOptions { live, ..RunOptions::default() };
        let outputs = self.run(nodes, command, options).await?;
        outputs.first().map(|o| text(&o.stdout)).ok_or_else(|| Error::internal("a set of one gave no output"))
    }
}
