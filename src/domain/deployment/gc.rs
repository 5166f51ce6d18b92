//! What nobody needs any more in a region: deployments whose time has passed, and those that nobody knows of.
//!
//! Told by tags alone. What is shown is what is removed, and it is looked at once more right before.

use super::account::{Account, site_of};
use super::destroy::destroy_with;
use super::expiry::words;
use super::locals;
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::transport::provider::Provider;
use crate::transport::provider::aws::{Holding, folder_here};
use crate::transport::state::Store;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// What becomes of a deployment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Its time has passed: removed.
    Expired,
    /// Nobody knows of it, and nothing says that it is to live on: removed.
    Orphaned,
    /// It is not to be removed, says its tag.
    Kept,
    /// It would be removed, but belongs to somebody else: only by its name.
    Foreign,
    /// It may be in the making.
    Young,
    Alive,
}

impl Verdict {
    pub fn removes(self) -> bool {
        matches!(self, Self::Expired | Self::Orphaned)
    }
}

/// One deployment, and what becomes of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Candidate {
    pub name: String,
    pub uuid: String,
    pub owner: Option<String>,
    pub created: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub keep: Option<String>,
    /// Its folder here, if there is one.
    pub dir: Option<PathBuf>,
    /// How many it has of each kind.
    pub resources: BTreeMap<String, usize>,
    pub verdict: Verdict,
    /// `expired 2 h ago`
    pub why: String,
}

/// What to look at, and for whom.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub region: Option<String>,
    /// Config files, for credentials and the owner.
    pub files: Vec<PathBuf>,
    /// Only these, whoever owns them.
    pub names: Vec<String>,
    /// Whose deployments are removed without being named.
    pub owner: Option<String>,
    /// What was made less than this long ago may still be in the making.
    pub min_age: Duration,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Findings {
    pub region: String,
    pub candidates: Vec<Candidate>,
    /// Whose deployments count as one's own.
    pub owners: Vec<String>,
}

/// What came of one removal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Removal {
    pub name: String,
    pub uuid: String,
    pub removed: bool,
    /// Why it was not.
    pub why: Option<String>,
}

/// What there is in the region, each with its verdict. Reads only.
pub async fn survey(project: &Project, sweep: &Sweep, cx: &Cx) -> Result<Findings> {
    let account = Account::new(sweep.region.as_deref(), &sweep.files)?;
    let owners = owners(project, sweep, &account);
    let region = account.aws.region().await?;
    let holdings = account.aws.holdings(cx).await?;
    for name in &sweep.names {
        if holdings.iter().all(|h| h.name != *name) {
            return Err(Error::new(Kind::NotFound, format!("there is nothing of a deployment {name} in {region}"))
                .hint(format!("What there is: opsrun gc --region {region}")));
        }
    }
    let wanted = |h: &&Holding| sweep.names.is_empty() || sweep.names.contains(&h.name);
    let candidates = holdings.iter().filter(wanted).map(judge(project, sweep, &owners)).collect();
    Ok(Findings { region, candidates, owners })
}

/// Removes what the findings say, all at the same time, each as `deprovision` does: by its UUID, with the same proof.
pub async fn remove(project: &Project, sweep: &Sweep, findings: &Findings, cx: &Cx) -> Result<Vec<Removal>> {
    let account = Account::new(sweep.region.as_deref(), &sweep.files)?;
    let judge = judge(project, sweep, &findings.owners);
    // Tags may have changed while the user was reading.
    let now: Vec<Candidate> = account.aws.holdings(cx).await?.iter().map(&judge).collect();
    let work = findings.candidates.iter().filter(|c| c.verdict.removes()).map(|shown| {
        let now = now.iter().find(|c| c.uuid == shown.uuid).cloned();
        let account = &account;
        async move {
            let done = match now {
                None => Ok(()),
                Some(now) if !now.verdict.removes() => {
                    Err(Error::new(Kind::Provider, format!("it changed meanwhile: {}", now.why)))
                }
                Some(now) => remove_one(project, account, &now, cx).await,
            };
            let why = done.as_ref().err().map(ToString::to_string);
            Removal { name: shown.name.clone(), uuid: shown.uuid.clone(), removed: done.is_ok(), why }
        }
    });
    let done = futures::future::join_all(work).await;
    cx.cancel.check()?;
    Ok(done)
}

async fn remove_one(project: &Project, account: &Account, candidate: &Candidate, cx: &Cx) -> Result<()> {
    if let Some(dir) = &candidate.dir {
        let deployments = dir.parent().unwrap_or(dir);
        return destroy_with(&Store::new(deployments, &candidate.name)?, None, cx).await.map(drop);
    }
    let uuid = candidate.uuid.parse().map_err(|_| Error::internal(format!("\"{}\" is no UUID", candidate.uuid)))?;
    account.aws.destroy_all(&site_of(project, &candidate.name, uuid), cx).await
}

/// Those of the flag and the config, and of the deployments whose folders are here.
fn owners(project: &Project, sweep: &Sweep, account: &Account) -> Vec<String> {
    if let Some(given) = sweep.owner.as_ref().or(account.config.owner.as_ref()) {
        return vec![given.clone()];
    }
    let mut owners: Vec<String> = locals(project).into_iter().filter_map(|l| l.owner).collect();
    owners.sort();
    owners.dedup();
    owners
}

fn judge<'a>(project: &Project, sweep: &'a Sweep, owners: &'a [String]) -> impl Fn(&Holding) -> Candidate + 'a {
    let (locals, now) = (locals(project), Timestamp::now());
    move |holding: &Holding| {
        let here = locals.iter().find(|l| l.uuid == holding.uuid).map(|l| l.dir.clone());
        // Also a folder of another project on this host keeps it.
        let dir = here.or_else(|| holding.home.as_deref().and_then(|home| folder_of(home, holding.uuid)));
        let named = sweep.names.contains(&holding.name);
        let own = dir.is_some() || named || holding.owner.as_ref().is_some_and(|o| owners.contains(o));
        let (verdict, why) = verdict(holding, dir.is_some(), own, sweep.min_age, now);
        Candidate {
            name: holding.name.clone(),
            uuid: holding.uuid.to_string(),
            owner: holding.owner.clone(),
            created: holding.created.or(holding.touched),
            expires_at: holding.expires_at,
            keep: holding.keep.clone(),
            dir,
            resources: holding.resources.iter().map(|(kind, ids)| (kind.clone(), ids.len())).collect(),
            verdict,
            why,
        }
    }
}

/// The folder that a tag speaks of, when it is on this host and still that deployment's.
fn folder_of(home: &str, uuid: Uuid) -> Option<PathBuf> {
    let dir = folder_here(home)?;
    let name = dir.file_name()?.to_str()?.to_owned();
    let record = Store::new(dir.parent()?, &name).ok()?.read().ok()??;
    (record.uuid == uuid).then_some(dir)
}

/// What becomes of it, and why.
fn verdict(holding: &Holding, here: bool, own: bool, min_age: Duration, now: Timestamp) -> (Verdict, String) {
    if let Some(keep) = &holding.keep {
        let why = if keep == "true" { "it carries the tag keep".to_owned() } else { format!("keep: {keep}") };
        return (Verdict::Kept, why);
    }
    let expired = holding.expires_at.filter(|at| *at <= now);
    let (reason, why) = match (expired, holding.expires_at) {
        (Some(at), _) => (Verdict::Expired, words(at, now)),
        (None, _) if here => (Verdict::Alive, "its folder is on this host".to_owned()),
        // Leftovers have nothing to wait for.
        (None, _) if holding.machines() == 0 => (Verdict::Orphaned, "it has no machines, and no folder here".to_owned()),
        (None, Some(at)) => (Verdict::Alive, words(at, now)),
        (None, None) => (Verdict::Orphaned, "it has no folder here, and no time to expire at".to_owned()),
    };
    if !reason.removes() {
        return (reason, why);
    }
    let age = |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let touched = holding.touched.max(holding.created);
    if reason == Verdict::Orphaned && touched.is_some_and(|t| age(t) < min_age) {
        return (Verdict::Young, "it may still be in the making".to_owned());
    }
    if own {
        return (reason, why);
    }
    let whose = holding.owner.as_ref().map_or_else(|| "it has no owner".to_owned(), |o| format!("it is {o}'s"));
    (Verdict::Foreign, format!("{why}, but {whose}: only by its name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding() -> Holding {
        Holding {
            uuid: Uuid::nil(),
            name: "lab".to_owned(),
            owner: Some("me".to_owned()),
            keep: None,
            expires_at: None,
            created: None,
            home: None,
            touched: None,
            resources: [("instance".to_owned(), vec!["i-1".to_owned()])].into(),
            public_key: None,
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn only_what_nobody_needs_is_removed() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |hours: i64| Timestamp::from_second(1_000_000 + hours * 3600).unwrap();
        let of = |h: &Holding, here: bool, own: bool| verdict(h, here, own, HOUR, now).0;
        let lost = holding();
        assert_eq!(of(&lost, true, true), Verdict::Alive, "its folder is here");
        assert_eq!(of(&lost, false, true), Verdict::Orphaned);
        assert_eq!(of(&lost, false, false), Verdict::Foreign, "another's, or nobody's");
        let timed = Holding { expires_at: Some(at(2)), ..holding() };
        assert_eq!(of(&timed, false, true), Verdict::Alive, "it will expire by itself");
        let over = Holding { expires_at: Some(at(-2)), touched: Some(at(0)), ..holding() };
        assert_eq!(of(&over, true, true), Verdict::Expired, "also where its folder is here, and however young");
        assert_eq!(of(&over, false, false), Verdict::Foreign);
        let kept = Holding { keep: Some("until friday".to_owned()), ..over };
        assert_eq!(of(&kept, true, true), Verdict::Kept);
        let leftovers = Holding { resources: [("VPC".to_owned(), vec!["vpc-1".to_owned()])].into(), ..timed.clone() };
        assert_eq!(of(&leftovers, false, true), Verdict::Orphaned, "nothing of it runs until then");
        let begun = Holding { touched: Some(at(0)), ..leftovers };
        assert_eq!(of(&begun, false, true), Verdict::Young, "somebody is just making it");
    }
}
