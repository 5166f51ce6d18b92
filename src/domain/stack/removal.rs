//! How a stack goes: what that would take with it and leave behind, and the deletion itself.

use super::follow::Watch;
use super::{Applied, Look, OURS, Stack, Status, advice, explain};
use crate::base::error::{Error, Kind, Location, Result};
use crate::base::event::Cx;
use crate::base::suggest::did_you_mean;
use crate::domain::formation::{File, Template, deletion_policy};
use crate::transport::provider::aws::Answer;
use crate::transport::provider::aws::stack::{self as cloud, Resource, ending, events, settings, templates};
use serde::Serialize;
use uuid::Uuid;

/// What a deletion would do.
#[derive(Clone, Debug, Serialize)]
pub struct Removal {
    pub stack: String,
    /// None: there is no stack.
    pub look: Option<Look>,
    /// What is deleted.
    pub goes: Vec<Item>,
    /// What its DeletionPolicy keeps.
    pub stays: Vec<Item>,
    /// What is deleted, and leaves a snapshot.
    pub snapshots: Vec<Item>,
    /// What an earlier deletion could not delete, each with the reason.
    pub stuck: Vec<Item>,
    /// What must be typed to have it deleted. None: a yes is enough.
    pub typed: Option<String>,
    pub notes: Vec<String>,
}

/// A resource of the stack.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Item {
    pub name: String,
    pub kind: String,
    pub physical_id: Option<String>,
    /// `Retain`, `Snapshot`, `Delete`…
    pub policy: String,
    pub reason: Option<String>,
    /// Where it stands in a formation.
    #[serde(skip)]
    pub place: Option<Location>,
}

/// The user agreed to a deletion.
#[derive(Debug)]
pub struct Confirmed(());

impl Removal {
    /// There is nothing to delete.
    pub fn is_empty(&self) -> bool {
        self.look.is_none()
    }

    /// Takes the answer: what was typed, or an empty text for a plain yes.
    pub fn confirm(&self, answer: &str) -> Result<Confirmed> {
        match &self.typed {
            Some(wanted) if answer.trim() != wanted => Err(Error::usage(format!("stack {} is protected", self.stack))
                .hint(format!("To have it deleted all the same, type \"{wanted}\", or take `protected: true` out of its file."))),
            _ => Ok(Confirmed(())),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let Some(look) = &self.look else { return format!("there is no stack {}\n", self.stack) };
        let mut out = format!("stack {} ({}) would be deleted\n", self.stack, look.status);
        let line = |sign: char, item: &Item, more: &str| {
            let id = item.physical_id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
            let place = item.place.as_ref().map(|p| format!("  {}:{}", p.file, p.line)).unwrap_or_default();
            format!("  {sign} {} ({}{id}){more}{place}\n", item.name, item.kind)
        };
        for item in &self.snapshots {
            out += &line('-', item, ": leaves a snapshot, which is kept and costs");
        }
        for item in &self.stays {
            out += &line('=', item, &format!(": stays, its DeletionPolicy is {}", item.policy));
        }
        for item in &self.goes {
            out += &line('-', item, "");
        }
        for item in &self.stuck {
            let reason = item.reason.as_deref().unwrap_or("AWS gives no reason");
            out += &line('!', item, &format!(": could not be deleted: {reason}"));
        }
        for note in &self.notes {
            out += &format!("  note: {note}\n");
        }
        let count = self.goes.len() + self.snapshots.len() + self.stuck.len();
        let left = match self.snapshots.len() {
            1 => "1 snapshot".to_owned(),
            n => format!("{n} snapshots"),
        };
        out += &format!("{count} to delete, {} to stay, {left} left\n", self.stays.len());
        out
    }
}

impl Stack {
    /// Finds out what a deletion would do. Nothing is changed.
    pub async fn removal(&self, cx: &Cx) -> Result<Removal> {
        let look = self.look(cx).await?;
        let mut removal = Removal {
            stack: self.name.clone(),
            typed: None,
            look,
            goes: Vec::new(),
            stays: Vec::new(),
            snapshots: Vec::new(),
            stuck: Vec::new(),
            notes: Vec::new(),
        };
        let Some(look) = &removal.look else { return Ok(removal) };
        if self.environment.protected || look.protected {
            removal.typed = Some(self.name.clone());
        }
        let resources = cloud::resources(&self.client, &look.id, cx).await?;
        // What it was made from counts, not what the files say today; those say where it stands.
        let made_from = self.deployed(cx).await?;
        let files = self.environment.template().ok();
        if made_from.is_none() && !resources.is_empty() {
            removal
                .notes
                .push("the stack's own template cannot be read: policies are shown as the formations have them".to_owned());
        }
        let policies = made_from.or_else(|| files.clone());
        sort(&mut removal, &resources, policies.as_ref(), files.as_ref());
        Ok(removal)
    }

    /// The template that the stack was made from.
    async fn deployed(&self, cx: &Cx) -> Result<Option<Template>> {
        let text = templates::of(&self.client, &self.name, cx).await?;
        let name = format!("the template of {}", self.name);
        Ok(text.and_then(|text| Template::new(&[File { name, text }]).ok()))
    }

    /// Has the stack deleted, and follows that to its end. `retain`: resources that stay where they are, by logical ID; only
    /// those that a deletion before could not delete.
    pub async fn delete(&self, removal: &Removal, retain: &[String], _agreed: Confirmed, cx: &Cx) -> Result<Applied> {
        let Some(look) = self.look(cx).await? else {
            return Err(Error::new(Kind::NotFound, format!("there is no stack {} to delete", self.name)));
        };
        let stuck: Vec<&str> = removal.stuck.iter().map(|i| i.name.as_str()).collect();
        known("--retain", retain, &stuck, "an earlier deletion could not delete")?;
        if look.status == Status::ReviewInProgress {
            self.sweep(cx).await?;
        }
        if look.protected {
            settings::protect(&self.client, &look.id, false, cx).await?;
        }
        let total = removal.goes.len() + removal.snapshots.len() + removal.stuck.len();
        let watch = Watch { total, ..self.own_watch(&look, cx).await? };
        let role = self.environment.role_arn.as_deref();
        let asked = ending::delete(&self.client, &look.id, retain, role, token_of(&watch), cx).await;
        let applied = match self.begun(asked, &watch, cx).await {
            Ok(()) => self.watch(watch, cx).await?,
            Err(error) => {
                self.protect_again(&look, cx).await?;
                let advice = advice::about(error.message());
                return Err(error.hint_if(advice.map(str::to_owned)));
            }
        };
        if applied.status == Status::DeleteComplete {
            return Ok(applied);
        }
        if applied.status != Status::DeleteFailed {
            self.protect_again(&look, cx).await?;
        }
        Err(self.not_deleted(&applied))
    }

    /// It stays, after all: as protected as it was.
    async fn protect_again(&self, look: &Look, cx: &Cx) -> Result<()> {
        if look.protected { settings::protect(&self.client, &look.id, true, cx).await } else { Ok(()) }
    }

    fn not_deleted(&self, applied: &Applied) -> Error {
        let error = explain::failure(&applied.events, self.environment.template().ok().as_ref());
        let mut stuck: Vec<&str> = Vec::new();
        for event in applied.events.iter().filter(|e| e.stack_id == applied.stack_id && !e.is_of_stack() && e.is_failure()) {
            if !stuck.contains(&event.logical_id.as_str()) {
                stuck.push(&event.logical_id);
            }
        }
        let again = format!("opsrun manage {} decommission", self.environment.name);
        if applied.status != Status::DeleteFailed || stuck.is_empty() {
            return error.hint(format!("Then run again: {again}")).begun();
        }
        error
            .hint(format!("When what is in the way is gone, run again: {again}"))
            .hint(format!(
                "Or have the stack deleted without them, and look after them yourself: {again} --retain {}",
                stuck.join(",")
            ))
            .begun()
    }

    /// Takes back a creation or an update that stopped half way.
    pub async fn roll_back(&self, cx: &Cx) -> Result<Applied> {
        let look = self.needs(&[Status::CreateFailed, Status::UpdateFailed], "roll back", cx).await?;
        let watch = self.own_watch(&look, cx).await?;
        let role = self.environment.role_arn.as_deref();
        let asked = ending::roll_back(&self.client, &look.id, role, token_of(&watch), cx).await;
        self.begun(asked, &watch, cx).await?;
        self.rolled_back(watch, cx).await
    }

    /// Goes on with a rollback that failed. `skip`: resources that are left as they are, by logical ID.
    pub async fn continue_rollback(&self, skip: &[String], cx: &Cx) -> Result<Applied> {
        let look = self.needs(&[Status::UpdateRollbackFailed], "continue the rollback of", cx).await?;
        let resources = cloud::resources(&self.client, &look.id, cx).await?;
        let names: Vec<&str> = resources.iter().map(|r| r.logical_id.as_str()).collect();
        // What is in a nested stack (`Network.Subnet`) is not in the list.
        let own: Vec<String> = skip.iter().filter(|name| !name.contains('.')).cloned().collect();
        known("--skip", &own, &names, "the stack has")?;
        let watch = self.own_watch(&look, cx).await?;
        let role = self.environment.role_arn.as_deref();
        let asked = ending::continue_rollback(&self.client, &look.id, skip, role, token_of(&watch), cx).await;
        self.begun(asked, &watch, cx).await?;
        self.rolled_back(watch, cx).await
    }

    async fn rolled_back(&self, watch: Watch, cx: &Cx) -> Result<Applied> {
        let applied = self.watch(watch, cx).await?;
        match applied.status {
            Status::RollbackComplete | Status::UpdateRollbackComplete | Status::DeleteComplete => Ok(applied),
            _ => Err(explain::failure(&applied.events, self.environment.template().ok().as_ref()).begun()),
        }
    }

    async fn needs(&self, statuses: &[Status], what: &str, cx: &Cx) -> Result<Look> {
        let look = self.look(cx).await?;
        match look {
            Some(look) if statuses.contains(&look.status) => Ok(look),
            other => {
                let is = other.map_or("not there", |l| l.status.name());
                let names: Vec<&str> = statuses.iter().map(|s| s.name()).collect();
                Err(Error::new(Kind::Provider, format!("cannot {what} stack {}: it is {is}", self.name))
                    .hint(format!("Only a stack that is {} can be.", names.join(" or "))))
            }
        }
    }

    /// To follow a call of our own, which is still to be made.
    async fn own_watch(&self, look: &Look, cx: &Cx) -> Result<Watch> {
        let newest = events::page(&self.client, &look.id, None, cx).await?.events.into_iter().next();
        let token = format!("{OURS}{}", Uuid::new_v4().simple());
        Ok(Watch { id: look.id.clone(), token: Some(token), since: newest.map(|e| e.id), total: 0, joined: false })
    }

    /// Passes what was answered. A call whose answer was lost is made again, and refused for what the first one began: that is
    /// no refusal.
    async fn begun(&self, asked: Answer<()>, watch: &Watch, cx: &Cx) -> Result<()> {
        let Err(trouble) = asked else { return Ok(()) };
        if trouble.is(|f| f.unsure || f.is("ValidationError") || f.is("TokenAlreadyExistsException"))
            && self.has_events(&watch.id, token_of(watch), watch.since.as_deref(), cx).await?
        {
            return Ok(());
        }
        Err(trouble.into())
    }

    /// Whether anything happened since that event that carries the token.
    pub(super) async fn has_events(&self, stack: &str, token: &str, since: Option<&str>, cx: &Cx) -> Result<bool> {
        let page = events::page(&self.client, stack, None, cx).await?;
        let mut new = page.events.iter().take_while(|e| Some(e.id.as_str()) != since);
        Ok(new.any(|e| e.token.as_deref() == Some(token)))
    }
}

fn token_of(watch: &Watch) -> &str {
    watch.token.as_deref().unwrap_or_default()
}

/// Names given to a flag must be among those it can name.
fn known(flag: &str, given: &[String], names: &[&str], which: &str) -> Result<()> {
    let Some(odd) = given.iter().find(|name| !names.contains(&name.as_str())) else { return Ok(()) };
    let error = Error::usage(format!("{flag} {odd}: it is none of those that {which}"));
    Err(error.hint_if(did_you_mean(odd, names.iter().copied())))
}

/// Says of each resource what becomes of it.
fn sort(removal: &mut Removal, resources: &[Resource], policies: Option<&Template>, files: Option<&Template>) {
    for resource in resources.iter().filter(|r| r.is_there()) {
        let entry = policies.and_then(|t| t.resource(&resource.logical_id));
        let item = Item {
            name: resource.logical_id.clone(),
            kind: resource.kind.clone(),
            physical_id: resource.physical_id.clone(),
            policy: entry.map_or("Delete", deletion_policy).to_owned(),
            reason: None,
            place: files.and_then(|t| t.resource(&resource.logical_id)).map(|r| r.place.location()),
        };
        match item.policy.as_str() {
            _ if resource.status == "DELETE_FAILED" => {
                let reason = resource.reason.as_deref().map(advice::plain);
                removal.stuck.push(Item { reason, ..item });
            }
            "Retain" | "RetainExceptOnCreate" => removal.stays.push(item),
            "Snapshot" => removal.snapshots.push(item),
            _ => removal.goes.push(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(logical: &str, kind: &str, status: &str) -> Resource {
        Resource {
            logical_id: logical.to_owned(),
            physical_id: Some(format!("{logical}-1")),
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: (status == "DELETE_FAILED").then(|| "The bucket you tried to delete is not empty".to_owned()),
        }
    }

    fn look(protected: bool) -> Look {
        Look {
            id: "arn".to_owned(),
            status: Status::CreateComplete,
            reason: None,
            outputs: Vec::new(),
            parameters: std::collections::BTreeMap::default(),
            tags: std::collections::BTreeMap::default(),
            protected,
            created: None,
            updated: None,
        }
    }

    fn removal(resources: &[Resource]) -> Removal {
        let text = "Resources:
  Vpc: { Type: AWS::EC2::VPC }
  Files: { Type: AWS::S3::Bucket, DeletionPolicy: Delete, UpdateReplacePolicy: Delete }
  Logs: { Type: AWS::S3::Bucket, DeletionPolicy: Retain, UpdateReplacePolicy: Retain }
  Table: { Type: AWS::DynamoDB::Table, DeletionPolicy: RetainExceptOnCreate, UpdateReplacePolicy: Retain }
  Database: { Type: AWS::RDS::DBInstance, DeletionPolicy: Snapshot, UpdateReplacePolicy: Snapshot }
";
        let template = Template::new(&[File { name: "formations/all.yml".to_owned(), text: text.to_owned() }]).unwrap();
        let mut removal = Removal {
            stack: "shop-staging".to_owned(),
            look: Some(look(false)),
            goes: Vec::new(),
            stays: Vec::new(),
            snapshots: Vec::new(),
            stuck: Vec::new(),
            typed: None,
            notes: Vec::new(),
        };
        sort(&mut removal, resources, Some(&template), Some(&template));
        removal
    }

    #[test]
    fn a_removal_shows_what_goes_what_stays_and_what_is_left_of_it() {
        let removal = removal(&[
            resource("Vpc", "AWS::EC2::VPC", "CREATE_COMPLETE"),
            resource("Files", "AWS::S3::Bucket", "DELETE_FAILED"),
            resource("Logs", "AWS::S3::Bucket", "CREATE_COMPLETE"),
            resource("Table", "AWS::DynamoDB::Table", "UPDATE_COMPLETE"),
            resource("Database", "AWS::RDS::DBInstance", "CREATE_COMPLETE"),
            resource("Gone", "AWS::EC2::EIP", "DELETE_COMPLETE"),
            Resource { physical_id: None, ..resource("Never", "AWS::EC2::EIP", "CREATE_FAILED") },
        ]);
        assert_eq!(
            removal.text(),
            "stack shop-staging (CREATE_COMPLETE) would be deleted\n\
             \x20 - Database (AWS::RDS::DBInstance Database-1): leaves a snapshot, which is kept and costs  formations/all.yml:6\n\
             \x20 = Logs (AWS::S3::Bucket Logs-1): stays, its DeletionPolicy is Retain  formations/all.yml:4\n\
             \x20 = Table (AWS::DynamoDB::Table Table-1): stays, its DeletionPolicy is RetainExceptOnCreate  formations/all.yml:5\n\
             \x20 - Vpc (AWS::EC2::VPC Vpc-1)  formations/all.yml:2\n\
             \x20 ! Files (AWS::S3::Bucket Files-1): could not be deleted: The bucket you tried to delete is not empty  formations/all.yml:3\n\
             3 to delete, 2 to stay, 1 snapshot left\n"
        );
    }

    #[test]
    fn a_database_without_a_policy_leaves_a_snapshot_unless_it_is_in_a_cluster() {
        let policy = |properties: &str, kind: &str| {
            let text = format!("Resources:\n  It:\n    Type: {kind}\n    Properties: {properties}\n");
            let source = crate::domain::config::Source { name: "x".to_owned(), dir: ".".into(), text };
            let tree = crate::domain::config::tree::parse_tagged(&std::sync::Arc::new(source)).unwrap();
            deletion_policy(&tree.map().unwrap()[0].value.map().unwrap()[0]).to_owned()
        };
        assert_eq!(policy("{ Engine: postgres }", "AWS::RDS::DBInstance"), "Snapshot");
        assert_eq!(policy("{ DBClusterIdentifier: x }", "AWS::RDS::DBInstance"), "Delete");
        assert_eq!(policy("{}", "AWS::RDS::DBCluster"), "Snapshot");
        assert_eq!(policy("{}", "AWS::EC2::Volume"), "Delete");
    }

    #[test]
    fn what_is_protected_goes_only_when_its_name_is_typed() {
        let mut removal = removal(&[]);
        assert!(removal.confirm("").is_ok());
        removal.typed = Some("shop-staging".to_owned());
        assert!(removal.confirm("shop-staging\n").is_ok());
        for answer in ["", "yes", "shop"] {
            let error = removal.confirm(answer).unwrap_err();
            assert!(error.details().hints[0].contains("type \"shop-staging\""), "{answer}");
        }
    }

    #[test]
    fn only_what_could_not_be_deleted_can_be_retained() {
        let error = known("--retain", &["File".to_owned()], &["Files"], "an earlier deletion could not delete").unwrap_err();
        assert_eq!(error.message(), "--retain File: it is none of those that an earlier deletion could not delete");
        assert_eq!(error.details().hints, ["Did you mean \"Files\"?"]);
        assert!(known("--retain", &["Files".to_owned()], &["Files"], "").is_ok());
    }
}
