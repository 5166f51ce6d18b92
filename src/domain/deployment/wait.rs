//! Stays until every node answers.

use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Unit};
use crate::domain::node::NodeSet;
use crate::transport::ssh::Client;
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use std::time::Duration;

/// How long a node may take to answer after it was made.
const DEADLINE: Duration = Duration::from_secs(60);
/// Connections tried at the same time.
const AT_ONCE: usize = 128;

/// Something that can tell whether a node answers: the SSH client, or a fake of it.
#[async_trait]
pub trait Reach: Send + Sync {
    /// Succeeds as soon as a command runs there.
    async fn answers(&self, endpoint: &Endpoint, cx: &Cx) -> Result<()>;
}

#[async_trait]
impl Reach for Client {
    async fn answers(&self, endpoint: &Endpoint, cx: &Cx) -> Result<()> {
        self.connect(endpoint, cx).await
    }
}

/// Waits for all nodes in parallel; the error lists every one that did not answer.
pub(super) async fn wait_for(nodes: &NodeSet, reach: &dyn Reach, cx: &Cx) -> Result<()> {
    let total = nodes.len();
    if total == 0 {
        return Ok(());
    }
    let progress = cx.events.progress(format!("waiting for {total} nodes to answer"), total as u64, Unit::Items);
    let attempts: Vec<_> =
        nodes.iter().map(|node| Endpoint { retry_for: node.endpoint.retry_for.max(DEADLINE), ..node.endpoint.clone() }).collect();
    let results: Vec<Result<()>> = stream::iter(attempts)
        .map(|endpoint| {
            let progress = &progress;
            async move {
                let result = reach.answers(&endpoint, cx).await;
                progress.advance(1);
                result.map_err(|e| e.on_node(endpoint.name))
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    cx.cancel.check()?;
    let mut failed: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
    if failed.len() <= 1 {
        return failed.pop().map_or(Ok(()), Err);
    }
    let kind = failed.first().map_or(Kind::Connection, Error::kind);
    let refused = failed.iter().all(|e| matches!(e.kind(), Kind::Auth | Kind::HostKey));
    let what = if refused { "cannot be logged in to" } else { "do not answer" };
    let error = Error::new(kind, format!("{} of {total} nodes {what}", failed.len())).with_failed(failed);
    Err(if refused { error } else { error.hint("The nodes are there: run the same command to wait again.") })
}
