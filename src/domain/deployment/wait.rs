//! Stays until every node answers.

use super::Deployment;
use super::aws::contact_timeout;
use crate::base::command::{Command, Output};
use crate::base::endpoint::Endpoint;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Unit};
use crate::domain::config::ProviderKind;
use crate::domain::node::NodeSet;
use crate::transport::ssh::Client;
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use std::time::{Duration, Instant};

/// How long a node may take to answer after it was made, where that is not set.
const DEADLINE: Duration = Duration::from_secs(60);
/// A machine that boots may turn users away at first: there are none yet, or none may log in yet.
const TURNED_AWAY: Duration = Duration::from_secs(30);
/// What to do about a new machine that shows another host key than it should.
const NOT_AS_GIVEN: &str = "If its image has no cloud-init, it never took the host key that its user data gives it: make it anew with \
    `host_keys: console`, or `host_keys: pin`.";
/// Connections tried at the same time.
pub(super) const AT_ONCE: usize = 128;

/// Something that can tell whether a node answers, and run a command there: the SSH client, or a fake of it.
#[async_trait]
pub trait Reach: Send + Sync {
    /// Succeeds as soon as a command runs there.
    async fn answers(&self, endpoint: &Endpoint, cx: &Cx) -> Result<()>;

    async fn run(&self, endpoint: &Endpoint, command: &Command, cx: &Cx) -> Result<Output>;
}

#[async_trait]
impl Reach for Client {
    async fn answers(&self, endpoint: &Endpoint, cx: &Cx) -> Result<()> {
        self.connect(endpoint, cx).await
    }

    async fn run(&self, endpoint: &Endpoint, command: &Command, cx: &Cx) -> Result<Output> {
        Self::run(self, endpoint, command, false, cx).await
    }
}

/// Waits for all these nodes in parallel. Returns what came of each, in their order.
pub(super) async fn for_all(deployment: &Deployment, nodes: &NodeSet, reach: &dyn Reach, cx: &Cx) -> Vec<Result<()>> {
    let total = nodes.len();
    if total == 0 {
        return Vec::new();
    }
    let rented = deployment.config.provider == ProviderKind::Aws;
    let deadline = if rented { contact_timeout(&deployment.config).unwrap_or(DEADLINE) } else { DEADLINE };
    let progress = cx.events.progress(format!("waiting for {total} nodes to answer"), total as u64, Unit::Items);
    let endpoint = |e: &Endpoint| Endpoint { retry_for: e.retry_for.max(deadline), ..e.clone() };
    let attempts: Vec<_> = nodes.iter().map(|n| (endpoint(&n.endpoint), rented && deployment.is_new(&n.name))).collect();
    stream::iter(attempts)
        .map(|(endpoint, new)| {
            let progress = &progress;
            async move {
                let result = answer(reach, &endpoint, new, cx).await;
                progress.advance(1);
                result.map_err(|e| e.on_node(endpoint.name))
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn answer(reach: &dyn Reach, endpoint: &Endpoint, new: bool, cx: &Cx) -> Result<()> {
    let mut turned_away: Option<Instant> = None;
    loop {
        match reach.answers(endpoint, cx).await {
            Err(e) if new && e.kind() == Kind::Auth && turned_away.is_none_or(|since| since.elapsed() < TURNED_AWAY) => {
                turned_away.get_or_insert_with(Instant::now);
                let pause = async {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    Ok(())
                };
                cx.cancel.guard(pause).await?;
            }
            Err(e) if new && e.kind() == Kind::HostKey => return Err(e.hint(NOT_AS_GIVEN)),
            other => return other,
        }
    }
}

/// One error that lists every node that did not answer.
pub(super) fn judge(answers: Vec<Result<()>>) -> Result<()> {
    let total = answers.len();
    let failed: Vec<Error> = answers.into_iter().filter_map(Result::err).collect();
    let refused = failed.iter().all(|e| matches!(e.kind(), Kind::Auth | Kind::HostKey));
    let many = failed.len() > 1;
    let done = sum_up(failed, total, if refused { "cannot be logged in to" } else { "do not answer" });
    done.map_err(|e| if refused || !many { e } else { e.hint("The nodes are there: run the same command to wait again.") })
}

/// One error of many, of which `what` is said.
pub(super) fn sum_up(mut failed: Vec<Error>, total: usize, what: &str) -> Result<()> {
    if failed.len() <= 1 {
        return failed.pop().map_or(Ok(()), Err);
    }
    let kind = failed.first().map_or(Kind::Connection, Error::kind);
    Err(Error::new(kind, format!("{} of {total} nodes {what}", failed.len())).with_failed(failed))
}
