//! A change set: made, waited for, and taken back.

use super::{OURS, Stack, Status, Waits};
use crate::base::error::{Error, Kind, Result, ResultExt};
use crate::base::event::{Cx, Unit};
use crate::base::units::format_duration;
use crate::base::{cancel::Cancel, checksum};
use crate::domain::formation::INLINE_LIMIT;
use crate::transport::provider::aws::stack::change_set::{self, ChangeSet, Draft, ResourceChange, Source};
use crate::transport::provider::aws::stack::{self as cloud, ending, problems, templates};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The largest template, in bytes, that AWS reads from a bucket.
const BUCKET_LIMIT: usize = 1_000_000;
/// AWS looks at every resource and value for a change set: seconds, minutes with nested stacks.
const DEADLINE: Duration = Duration::from_secs(15 * 60);
/// How long taking back may hold up who was refused or interrupted.
const TIDY: Duration = Duration::from_secs(60);
/// What was made a moment ago is seen by every reader by then, but for very bad days; the next plan looks again.
const UNSEEN: Duration = Duration::from_secs(20);
/// Both texts with which AWS says that there is nothing to do; it has no code for it.
const NO_CHANGES: [&str; 2] = [
    "The submitted information didn't contain changes. Submit different information to create a change set.",
    "No updates are to be performed.",
];
/// Stacks in stacks in stacks: deeper than anybody goes.
const DEEPEST: usize = 10;

/// What AWS made of a draft.
pub enum Made {
    /// Nothing would change; no change set is left of it.
    Nothing,
    Set(ChangeSet),
}

/// Whether a change set that failed only says that there is nothing to do.
fn says_nothing_to_do(reason: &str) -> bool {
    NO_CHANGES.contains(&reason.trim())
}

impl Stack {
    /// Fails when AWS would not take a template of this size. Nothing is asked of it for that.
    pub fn check_size(&self, template: &str) -> Result<()> {
        let size = template.len();
        if size > BUCKET_LIMIT {
            return Err(Error::config(format!("the template has {size} bytes, and AWS reads no more than {BUCKET_LIMIT}")).hint(
                "Move some of its resources into a nested stack (AWS::CloudFormation::Stack) or an environment of their own.",
            ));
        }
        if size > INLINE_LIMIT && self.environment.bucket.is_none() {
            return Err(Error::config(format!(
                "the template has {size} bytes, and AWS takes no more than {INLINE_LIMIT} with a call"
            ))
            .hint("Name a bucket in the same region that it may be put into: `bucket: NAME` in the environment's file."));
        }
        Ok(())
    }

    /// Has a change set made of it, and waits until AWS has found out what it would do.
    pub(super) async fn draft(
        &self,
        create: bool,
        template: &str,
        parameters: &[(&str, &str)],
        capabilities: &[String],
        cx: &Cx,
    ) -> Result<Made> {
        let id = Uuid::new_v4().simple().to_string();
        let name = format!("{OURS}{}-{}", Timestamp::now().strftime("%Y%m%d-%H%M%S"), id.get(..8).unwrap_or(&id));
        let address = match &self.environment.bucket {
            Some(bucket) if template.len() > INLINE_LIMIT => {
                Some(templates::upload(&self.client, bucket, &self.name, template, cx).await?)
            }
            _ => None,
        };
        let tags = self.tags();
        let draft = Draft {
            stack: &self.name,
            name: &name,
            create,
            template: address.as_deref().map_or(Source::Text(template), Source::Address),
            parameters,
            capabilities,
            tags: &tags,
            role_arn: self.environment.role_arn.as_deref(),
        };
        let story = || format!("planning stack {}", self.name);
        // What AWS refuses to make leaves nothing behind.
        change_set::create(&self.client, &draft, cx).await.context(story)?;
        let made = self.made(&name, cx).await;
        if !matches!(made, Ok(Made::Set(_))) {
            self.take_back(&name, create, cx).await;
        }
        made.context(story)
    }

    async fn made(&self, name: &str, cx: &Cx) -> Result<Made> {
        let start = Instant::now();
        let mut waits = Waits::new(self.pace());
        let progress = cx.events.progress(format!("{}: AWS looks at what would change", self.name), 0, Unit::Items);
        loop {
            let found = change_set::describe(&self.client, &self.name, name, cx).await?;
            match found.as_ref().map(|set| set.status.as_str()) {
                Some("CREATE_COMPLETE") => return Ok(found.map_or(Made::Nothing, Made::Set)),
                Some("FAILED") => {
                    let reason = found.and_then(|set| set.reason).unwrap_or_default();
                    if says_nothing_to_do(&reason) {
                        return Ok(Made::Nothing);
                    }
                    return Err(self.failed(name, &reason, cx).await);
                }
                // It may not be seen yet.
                None if start.elapsed() < self.settle => {}
                Some(status) if status.starts_with("CREATE_") => {}
                Some(status) => return Err(gone(status)),
                None => return Err(gone("nowhere to be found")),
            }
            if start.elapsed() > DEADLINE {
                let message = format!("AWS did not say within {} what would change", format_duration(DEADLINE));
                return Err(Error::new(Kind::Timeout, message).hint("Run the same command again."));
            }
            progress.label(format!("{}: AWS looks at what would change ({} s)", self.name, start.elapsed().as_secs()));
            waits.wait(cx).await?;
        }
    }

    /// The error of a change set that AWS could not make, with what it found wrong.
    async fn failed(&self, name: &str, reason: &str, cx: &Cx) -> Error {
        let reason = if reason.is_empty() { "no reason is given" } else { reason.trim_end_matches('.') };
        let error = Error::new(Kind::Provider, format!("AWS could not plan the change: {reason}"));
        match problems::of(&self.client, &self.name, Some(name), cx).await {
            Ok(found) => found.iter().fold(error, |error, p| error.hint(format!("{}: {}", p.logical_id, p.reason()))),
            Err(trouble) => {
                // Not every account and emulator has it.
                cx.events.debug(format!("what was wrong with change set {name} is not known: {}", Error::from(trouble)));
                error
            }
        }
    }

    /// All changes of a change set and of those of nested stacks, each with the nested stack it is in.
    pub(super) async fn changes(&self, set: ChangeSet, cx: &Cx) -> Result<Vec<(String, ResourceChange)>> {
        gather(set, |id| async move { change_set::describe(&self.client, "", &id, cx).await }).await
    }

    /// Deletes change sets that earlier runs left behind. Those of others stay.
    pub(super) async fn sweep(&self, cx: &Cx) -> Result<()> {
        let sets = change_set::list(&self.client, &self.name, cx).await?;
        for set in sets.iter().filter(|s| s.name.starts_with(OURS) && !s.nested && !s.executed) {
            cx.events.debug(format!("change set {} is left over: deleted", set.name));
            change_set::delete(&self.client, &self.name, &set.name, cx).await?;
        }
        Ok(())
    }

    /// Deletes what a plan left, also when the plan was interrupted. That it could not be is said, and no error: the next plan
    /// does it.
    pub(super) async fn take_back(&self, name: &str, create: bool, cx: &Cx) {
        let cx = Cx::new(Cancel::new(), cx.events.clone());
        let done = match tokio::time::timeout(TIDY, self.remove(name, create, self.settle.min(UNSEEN), &cx)).await {
            Ok(done) => done,
            Err(_) => Err(Error::new(Kind::Timeout, "AWS does not answer")),
        };
        if let Err(error) = done {
            cx.events.warn(format!("change set {name} of stack {} is left: {error}; the next plan deletes it", self.name));
        }
    }

    /// Deletes a change set and, when nothing else is in it, the stack that was only there to carry it. `unseen`: for how long
    /// that stack may not have come to light yet.
    pub(super) async fn remove(&self, name: &str, created: bool, unseen: Duration, cx: &Cx) -> Result<()> {
        change_set::delete(&self.client, &self.name, name, cx).await?;
        if !created {
            return Ok(());
        }
        let start = Instant::now();
        let mut waits = Waits::new(self.pace());
        let mut asked = false;
        while start.elapsed() < TIDY {
            let Some(stack) = cloud::describe(&self.client, &self.name, cx).await? else {
                if asked || start.elapsed() >= unseen {
                    return Ok(());
                }
                waits.wait(cx).await?;
                continue;
            };
            if stack.status == Status::ReviewInProgress && !asked {
                let others = change_set::list(&self.client, &stack.id, cx).await?;
                if others.iter().any(|s| s.name != name) {
                    return Ok(());
                }
                let token = format!("{OURS}{}", checksum::sha256(&stack.id));
                ending::delete(&self.client, &stack.id, &[], None, &token, cx).await?;
                asked = true;
            } else if stack.status != Status::DeleteInProgress && !asked {
                return Ok(());
            }
            waits.wait(cx).await?;
        }
        Ok(())
    }
}

async fn gather<F>(root: ChangeSet, describe: impl Fn(String) -> F) -> Result<Vec<(String, ResourceChange)>>
where
    F: Future<Output = Result<Option<ChangeSet>>>,
{
    let mut all = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut waiting = vec![(String::new(), 0, root)];
    while let Some((above, depth, set)) = waiting.pop() {
        for change in set.changes {
            let name = if above.is_empty() { change.logical_id.clone() } else { format!("{above}/{}", change.logical_id) };
            let nested = change.nested.clone().filter(|id| depth < DEEPEST && seen.insert(id.clone()));
            if let Some(id) = nested
                && let Some(nested) = describe(id).await?
            {
                waiting.push((name, depth + 1, nested));
            }
            all.push((above.clone(), change));
        }
    }
    Ok(all)
}

fn gone(state: &str) -> Error {
    Error::new(Kind::Provider, format!("the change set is {state}: another run took it away"))
        .hint("Is somebody else working on this environment? Run the same command again.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn set(changes: &[(&str, Option<&str>)]) -> ChangeSet {
        let change = |(id, nested): &(&str, Option<&str>)| ResourceChange {
            logical_id: (*id).to_owned(),
            nested: nested.map(str::to_owned),
            ..ResourceChange::default()
        };
        ChangeSet {
            id: String::new(),
            name: String::new(),
            stack_id: String::new(),
            status: String::new(),
            execution: String::new(),
            reason: None,
            tags: BTreeMap::new(),
            changes: changes.iter().map(change).collect(),
        }
    }

    /// A fake: the emulator makes no change sets for nested stacks.
    #[tokio::test]
    async fn change_sets_of_nested_stacks_are_followed_each_once() {
        let describe = |id: String| async move {
            Ok(match id.as_str() {
                "data" => Some(set(&[("Table", None), ("Deep", Some("deep"))])),
                "deep" => Some(set(&[("Files", None), ("Again", Some("data"))])),
                _ => None,
            })
        };
        let all = gather(set(&[("Web", None), ("Data", Some("data")), ("Gone", Some("gone"))]), describe).await.unwrap();
        let names: Vec<String> = all.into_iter().map(|(above, c)| format!("{above}/{}", c.logical_id)).collect();
        assert_eq!(names, ["/Web", "/Data", "/Gone", "Data/Table", "Data/Deep", "Data/Deep/Files", "Data/Deep/Again"]);
    }

    #[test]
    fn only_two_texts_say_that_there_is_nothing_to_do() {
        for text in NO_CHANGES {
            assert!(says_nothing_to_do(text));
        }
        for text in
            ["", "No updates are to be performed. Or are they?", "Template error: No updates are to be performed", "No export"]
        {
            assert!(!says_nothing_to_do(text), "{text}");
        }
    }
}
