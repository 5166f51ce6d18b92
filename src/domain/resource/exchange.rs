//! How a program reaches a node.

use super::hearing::Hearing;
use super::program::Program;
use crate::base::command::Exit;
use crate::base::error::Result;
use crate::base::event::{Cx, Stream};
use crate::domain::node::Node;
use crate::transport::ssh::{Client, Take};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::sleep_until;

/// Runs programs on one node. What the engine needs of SSH, and no more, so that tests can do without it.
#[async_trait]
pub(super) trait Exchange: Send + Sync {
    /// Runs it as root (on a local node as its user), and hands over what it prints as it comes. On a cancel everything it started is ended.
    async fn run(&self, program: &Program, take: &mut Take<'_>, cx: &Cx) -> Result<Exit>;
}

pub(super) struct OverSsh {
    pub client: Client,
    pub node: Arc<Node>,
}

#[async_trait]
impl Exchange for OverSsh {
    async fn run(&self, program: &Program, take: &mut Take<'_>, cx: &Cx) -> Result<Exit> {
        let (command, input) = program.command(self.node.provider == "local");
        let ended = self.client.run_into(&self.node.endpoint, &command, input, take, cx).await;
        ended.map_err(|mut error| {
            // One that nobody wrote.
            error.details_mut().command = None;
            error
        })
    }
}

/// How an exchange ended.
pub(super) enum Ending {
    Exit(Exit),
    /// A change did not end in time, and was stopped.
    TimedOut,
}

/// Runs a program, stopping it when the change under way has had its time.
pub(super) async fn exchange(over: &dyn Exchange, program: &Program, hearing: &mut Hearing, cx: &Cx) -> Result<Ending> {
    let mut deadlines = hearing.deadline.subscribe();
    let cx = Cx::new(cx.cancel.child(), cx.events.clone());
    let mut take = |stream: Stream, bytes: &[u8]| hearing.hear(stream, bytes);
    let running = over.run(program, &mut take, &cx);
    tokio::pin!(running);
    loop {
        let deadline: Option<Instant> = *deadlines.borrow_and_update();
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = &mut running => return ended.map(Ending::Exit),
            changed = deadlines.changed() => if changed.is_err() {
                return running.await.map(Ending::Exit);
            },
            () = late => {
                cx.cancel.cancel();
                return running.await.map_or(Ok(Ending::TimedOut), |exit| Ok(Ending::Exit(exit)));
            }
        }
    }
}
