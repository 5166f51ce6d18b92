//! What happens in a stack, told as it happens, until the stack rests.

use super::story::{Story, rest};
use super::{Applied, Stack, Status, Waits};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Progress, Unit};
use crate::base::units::{format_duration, roughly};
use crate::transport::provider::aws::stack::{self as cloud, Described, events};
use std::time::{Duration, Instant};

/// Databases take half an hour, a distribution or a large cluster more. Who waits longer than this runs the command again.
const DEADLINE: Duration = Duration::from_secs(4 * 3600);

/// What is followed.
pub(super) struct Watch {
    /// The stack's ID: its name does not lead to it once it is deleted.
    pub id: String,
    /// Of the call; none where it is somebody else's.
    pub token: Option<String>,
    /// The newest event from before the call.
    pub since: Option<String>,
    /// How many resources are to change; 0 when not known.
    pub total: usize,
    /// It was under way already.
    pub joined: bool,
}

impl Stack {
    /// Follows what is under way to its end. None: nothing is.
    pub async fn follow(&self, cx: &Cx) -> Result<Option<Applied>> {
        let Some(look) = self.look(cx).await?.filter(|l| l.status.is_working()) else { return Ok(None) };
        cx.events.info(format!("stack {} is {}: waiting for its end", self.name, look.status));
        let since = self.end_before(&look.id, cx).await?;
        let watch = Watch { id: look.id, token: None, since, total: 0, joined: true };
        self.watch(watch, cx).await.map(Some)
    }

    /// Watches the stack as it is now.
    pub(super) async fn watch_of(&self, cx: &Cx) -> Result<Watch> {
        let found = cloud::describe(&self.client, &self.name, cx).await?;
        let id = found.map_or_else(|| self.name.clone(), |s| s.id);
        Ok(Watch { id, token: None, since: None, total: 0, joined: false })
    }

    /// The event with which the operation before the present one ended.
    async fn end_before(&self, id: &str, cx: &Cx) -> Result<Option<String>> {
        let mut next = None;
        loop {
            let page = events::page(&self.client, id, next, cx).await?;
            if let Some(end) = page.events.iter().find(|e| e.is_of_stack() && rest(e).is_some()) {
                return Ok(Some(end.id.clone()));
            }
            next = page.next;
            if next.is_none() {
                return Ok(None);
            }
        }
    }

    /// Follows until the stack rests, whatever the status it comes to rest in.
    pub(super) async fn watch(&self, watch: Watch, cx: &Cx) -> Result<Applied> {
        let start = Instant::now();
        let progress = cx.events.progress(format!("{}: asking AWS", self.name), watch.total as u64, Unit::Items);
        let mut story = Story::new(&watch);
        let (status, found) = match self.until_rest(&watch, &mut story, &progress, start, cx).await {
            Err(error) => return Err(self.left(error, &story)),
            Ok(end) => end,
        };
        drop(progress);
        story.events.sort_by_key(|e| e.at);
        Ok(Applied {
            status,
            reason: found.as_ref().and_then(|f| f.reason.clone()),
            stack_id: watch.id,
            outputs: found.map(|f| f.outputs).unwrap_or_default(),
            events: story.events,
            joined: watch.joined,
        })
    }

    async fn until_rest(
        &self,
        watch: &Watch,
        story: &mut Story,
        progress: &Progress,
        start: Instant,
        cx: &Cx,
    ) -> Result<(Status, Option<Described>)> {
        let mut waits = Waits::new(self.pace());
        loop {
            // The status first: when it is the last one, the events read after it are all there are.
            let found = cloud::describe(&self.client, &watch.id, cx).await?;
            let status = found.as_ref().map_or(Status::DeleteComplete, |f| f.status);
            let told = story.events.len();
            story.read(&self.client, cx).await?;
            story.tell(progress, cx);
            // Right after the call some readers still show the status from before it.
            let stale = story.rest() != Some(status) && start.elapsed() < self.settle;
            if !status.is_working() && !stale {
                story.add_problems(&self.client, cx).await;
                story.tell(progress, cx);
                return Ok((status, found));
            }
            if start.elapsed() > DEADLINE {
                let message = format!("stack {} is still {status} after {}", self.name, format_duration(DEADLINE));
                return Err(Error::new(Kind::Timeout, format!("{message}{}", story.waiting())));
            }
            progress.label(format!("{}: {status}{} ({})", self.name, story.waiting(), roughly(start.elapsed())));
            if story.events.len() > told {
                waits.restart();
            }
            waits.wait(cx).await?;
        }
    }

    /// Whatever ends our watching does not end the work: says so.
    fn left(&self, error: Error, story: &Story) -> Error {
        let name = &self.environment.name;
        let error = if error.is_cancelled() {
            Error::new(Kind::Cancelled, format!("interrupted; stack {} goes on by itself{}", self.name, story.waiting()))
        } else {
            error.context(format!("following stack {}, which goes on by itself", self.name))
        };
        error
            .hint(format!("See how it stands: opsrun manage {name} status"))
            .hint("Run the same command again to follow it to its end.")
            .begun()
    }
}
