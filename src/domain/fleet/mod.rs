//! A set of nodes acted on in parallel: fan-out, and one error that names every node that failed.

mod facts;
mod files;
mod jobs;
pub mod machine_image;
mod run;
mod wait;

pub use facts::Facts;
pub use jobs::Jobs;
pub use run::{RunOptions, text};
pub use wait::Wait;

pub use crate::transport::ssh::{GetOptions, MirrorOptions, Mirrored, PutOptions};

use super::node::{Node, NodeSet};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::transport::ssh::Client;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// More nodes than this are not worked on at once, unless the caller says so: it bounds open files and memory.
pub const MAX_PARALLEL: usize = 512;

/// Acts on node sets over one SSH client. Cheap to clone; one task a node, no threads.
#[derive(Clone)]
pub struct Fleet {
    pub client: Client,
    pub cx: Cx,
    pub max_parallel: usize,
}

impl Fleet {
    pub fn new(client: Client, cx: Cx) -> Self {
        Self { client, cx, max_parallel: MAX_PARALLEL }
    }

    #[must_use]
    pub fn at_most(mut self, max_parallel: usize) -> Self {
        self.max_parallel = max_parallel.max(1);
        self
    }

    /// Does the work on every node, at most `max_parallel` at once, and returns what came of it in node order.
    /// Work is expected to look at the cancel token itself: it is never dropped half-way.
    pub async fn each<T, W>(&self, nodes: &NodeSet, work: impl Fn(Self, Arc<Node>) -> W) -> Vec<Result<T>>
    where
        T: Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let gate = Arc::new(Semaphore::new(self.max_parallel));
        let mut tasks = JoinSet::new();
        for (at, node) in nodes.iter().enumerate() {
            let (gate, cancel, work) = (gate.clone(), self.cx.cancel.clone(), work(self.clone(), node.clone()));
            tasks.spawn(async move {
                let _turn = gate.acquire_owned().await;
                let out = if cancel.is_cancelled() { Err(Error::cancelled()) } else { work.await };
                (at, out)
            });
        }
        let mut results: Vec<Option<Result<T>>> = nodes.iter().map(|_| None).collect();
        // On a worker of the runtime: the thread that waits for all would otherwise be woken for each.
        let gathering = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(joined) = tasks.join_next().await {
                if let Ok((at, out)) = joined {
                    results[at] = Some(out);
                }
            }
            results
        }));
        let results = gathering.await.unwrap_or_else(|_| nodes.iter().map(|_| None).collect());
        results
            .into_iter()
            .zip(nodes.iter())
            .map(|(result, node)| {
                let result = result.unwrap_or_else(|| Err(Error::internal("the work on this node ended in a panic")));
                result.map_err(|e| e.on_node(node.name.as_str()))
            })
            .collect()
    }

    /// As `each`, with all failures gathered into one error.
    pub async fn all<T, W>(&self, nodes: &NodeSet, work: impl Fn(Self, Arc<Node>) -> W) -> Result<Vec<T>>
    where
        T: Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        gather(self.each(nodes, work).await)
    }
}

/// All results, or one error that lists every node's failure after all have finished.
pub fn gather<T>(results: Vec<Result<T>>) -> Result<Vec<T>> {
    let total = results.len();
    let (mut good, mut failed) = (Vec::with_capacity(total), Vec::new());
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(error) => failed.push(error),
        }
    }
    match failed.len() {
        0 => Ok(good),
        1 if total == 1 => Err(failed.remove(0)),
        _ if failed.iter().all(Error::is_cancelled) => Err(Error::cancelled()),
        count => Err(sum_up(count, total, failed)),
    }
}

fn sum_up(count: usize, total: usize, failed: Vec<Error>) -> Error {
    let kind = failed.iter().map(Error::kind).find(|k| *k != Kind::Cancelled).unwrap_or(Kind::Cancelled);
    let mut error = Error::new(kind, format!("{count} of {total} nodes failed"));
    // What one of them says to try, the user should read once; the renderer does not repeat it per node.
    let mut hints: Vec<String> = Vec::new();
    for hint in failed.iter().flat_map(|e| &e.details().hints) {
        if !hints.contains(hint) && failed.iter().all(|e| e.details().hints.contains(hint)) {
            hints.push(hint.clone());
        }
    }
    let first = failed[0].details();
    if failed.iter().all(|e| e.details().command == first.command) {
        error.details_mut().command.clone_from(&first.command);
    }
    error.details_mut().hints = hints;
    error.with_failed(failed)
}

/// Names of nodes written short: `server-[0-2], client-0`.
pub fn fold_names(names: &[&str]) -> String {
    let mut runs: Vec<(&str, usize, usize)> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let flush = |runs: &mut Vec<(&str, usize, usize)>, words: &mut Vec<String>| {
        words.extend(runs.drain(..).map(
            |(stem, from, to)| {
                if from == to { format!("{stem}-{from}") } else { format!("{stem}-[{from}-{to}]") }
            },
        ));
    };
    for name in names {
        let numbered = name.rsplit_once('-').and_then(|(stem, n)| n.parse::<usize>().ok().map(|n| (stem, n)));
        match (numbered, runs.last_mut()) {
            (Some((stem, n)), Some((last, _, to))) if *last == stem && *to + 1 == n => *to = n,
            (Some((stem, n)), _) => runs.push((stem, n, n)),
            (None, _) => {
                flush(&mut runs, &mut words);
                words.push((*name).to_owned());
            }
        }
    }
    flush(&mut runs, &mut words);
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold() {
        assert_eq!(fold_names(&["server-0", "server-1", "server-2", "client-0", "odd"]), "server-[0-2], client-0, odd");
    }

    #[test]
    fn one_error_names_every_failed_node() {
        let fail = |node: &str| Err::<(), _>(Error::new(Kind::Connection, "refused").on_node(node).hint("Is it on?"));
        let error = gather(vec![Ok(()), fail("server-1"), fail("server-2")]).unwrap_err();
        assert_eq!(error.message(), "2 of 3 nodes failed");
        assert_eq!(error.kind(), Kind::Connection);
        assert_eq!(error.details().hints, ["Is it on?"]);
        assert_eq!(error.details().failed.len(), 2);
        assert!(gather(vec![Err::<(), _>(Error::cancelled()), Err(Error::cancelled())]).unwrap_err().is_cancelled());
    }
}
