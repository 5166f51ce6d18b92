//! One token that everything which waits or loops looks at, so that Ctrl-C stops all of it.

use super::error::{Error, Result};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A cloneable stop signal. A child stops with its parent, not the other way round.
#[derive(Clone, Debug, Default)]
pub struct Cancel(CancellationToken);

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    pub fn cancel(&self) {
        self.0.cancel();
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// An error once cancelled; for loops.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Completes when cancelled.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// The future's output, or the cancelled error as soon as the token fires (the future is dropped).
    pub async fn guard<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(Error::cancelled()),
            out = future => out,
        }
    }

    /// Sleeps, unless the token fires.
    pub async fn pause(&self, time: Duration) -> Result<()> {
        self.guard(async {
            tokio::time::sleep(time).await;
            Ok(())
        })
        .await
    }
}
