//! Baking: a machine of its own deployment, the roles on it, its identity cleaned away, stopped, imaged, and removed.
//!
//! Each step can be cut off; the next bake of the same content goes on where the journal and the provider say it stands. The roles are
//! brought to the machine by the caller: this storey knows no scripts.

use super::order::Order;
use super::recipe::Recipe;
use super::shelf::{Baked, Shelf, new_image};
use crate::base::command::Command;
use crate::base::error::{Error, Kind, Result, ResultExt};
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::domain::deployment::{self, Deployment, Power, Reach, Request, Wait};
use crate::domain::node::Node;
use crate::transport::provider::NewImage;
use crate::transport::state::Store;
use crate::transport::state::journal::What;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const CLEAN: &str = include_str!("clean.sh");
/// The action under which the journal keeps that a machine was cleaned.
const CLEANED: &str = "clean";
/// How long cleaning may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// One image on its way.
#[derive(Clone, Debug)]
pub struct Bake {
    project: Project,
    pub order: Order,
    pub recipe: Recipe,
}

/// What there is to do next.
#[derive(Debug)]
pub enum Step {
    /// Nothing: there is the image.
    Done(Box<Baked>),
    /// The roles are to be brought to this machine, and then it is to be cleaned.
    Roles(Box<Deployment>),
    /// The machine is cleaned: it is to be made an image.
    Image,
}

/// What the journal says of the cleaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cleaning {
    No,
    /// It was begun, and nobody saw its end.
    Unsure,
    Done,
}

impl Bake {
    pub fn new(project: &Project, order: Order, recipe: Recipe) -> Self {
        Self { project: project.clone(), order, recipe }
    }

    /// The deployment of its machine.
    pub fn deployment(&self) -> String {
        self.recipe.deployment()
    }

    /// Looks what there is, and makes the machine, or goes on with the one that an earlier bake has left. `fresh`: without it.
    pub async fn begin(&self, shelf: &Shelf, fresh: bool, reach: &dyn Reach, cx: &Cx) -> Result<Step> {
        let name = self.recipe.name();
        if let Some(image) = shelf.named(&name, cx).await? {
            if image.is_failed() {
                cx.events.info(format!("removing image {name} ({}), which failed", image.id));
                shelf.remove(&image, cx).await?;
            } else {
                image.check(&self.recipe)?;
                let image = shelf.wait(image, cx).await?;
                self.remove_machine(cx).await?;
                return Ok(Step::Done(Box::new(image)));
            }
        }
        // Those of an image of this name that was removed, and whose removal was cut off.
        shelf.sweep(Some(&name), cx).await?;
        if fresh {
            self.remove_machine(cx).await?;
        }
        match self.cleaning()? {
            Cleaning::No => {}
            Cleaning::Done if self.machine_is_there(cx).await? => return Ok(Step::Image),
            Cleaning::Done => self.remove_machine(cx).await?,
            Cleaning::Unsure => {
                if self.clean_again(reach, cx).await? {
                    return Ok(Step::Image);
                }
                cx.events.info(format!(
                    "whether the machine of {name} was cleaned is not known, and it lets nobody in: it is made anew"
                ));
                self.remove_machine(cx).await?;
            }
        }
        self.make(reach, cx).await.map(|made| Step::Roles(Box::new(made)))
    }

    async fn make(&self, reach: &dyn Reach, cx: &Cx) -> Result<Deployment> {
        let commit = commit(&self.project.root).await;
        let bake = serde_json::to_value(new_image(&self.recipe, commit)).unwrap_or_default();
        let config = self.order.config_on(&self.recipe.base);
        let mut request = Request::made(&self.project, &self.deployment(), config, self.order.origin(bake))?;
        // There is nothing on the machine that cannot be made again.
        request.allow_replace(true);
        let plan = deployment::plan(&request, cx).await?;
        deployment::apply(&request, &plan, Wait::UntilAllAnswer(reach), cx).await
    }

    /// Takes the machine's identity away, and writes down that it is gone. Nobody can log in there after this.
    pub async fn clean(&self, deployment: &Deployment, reach: &dyn Reach, cx: &Cx) -> Result<()> {
        let node = machine(deployment)?;
        let command = command(deployment)?;
        let journal = Store::new(&self.project.deployments(), deployment.name())?.journal();
        let intent = journal.intend(CLEANED, Vec::new(), vec![node.name.clone()])?;
        let done = match reach.run(&node.endpoint, &command, cx).await {
            Ok(output) => output.failure(CLEANED).map_or(Ok(()), Err),
            // It may have been done all the same: the next bake looks.
            Err(lost) => return Err(lost.on_node(node.name.as_str())),
        };
        let noted = journal.outcome(intent, &done);
        done.map_err(|e| e.on_node(node.name.as_str())).and(noted).context(|| "taking the machine's identity away".to_owned())
    }

    /// Tries to clean a machine of which that is not known. False: it lets nobody in.
    async fn clean_again(&self, reach: &dyn Reach, cx: &Cx) -> Result<bool> {
        let deployment = Deployment::open(&self.project, &self.deployment())?;
        if !self.machine_is_there(cx).await? {
            return Ok(false);
        }
        match self.clean(&deployment, reach, cx).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Kind::Cancelled => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Stops the cleaned machine, makes the image, and removes the machine with all that was made for it.
    pub async fn finish(&self, shelf: &Shelf, cx: &Cx) -> Result<Baked> {
        let name = self.deployment();
        let store = Store::new(&self.project.deployments(), &name)?;
        let missing = || Error::internal(format!("deployment {name} is no bake"));
        let record = store.read()?.ok_or_else(missing)?;
        let image: NewImage = serde_json::from_value(record.bake.unwrap_or_default()).map_err(|_| missing())?;
        let node = format!("{}-0", self.order.group);
        deployment::power(&self.project, &name, std::slice::from_ref(&node), Power::Stop { at_once: false }, cx).await?;
        match deployment::save_image(&self.project, &name, &node, &image, cx).await {
            // In the cache, another may have been quicker.
            Err(error) if shelf.named(&image.name, cx).await?.is_none_or(|i| i.is_failed()) => return Err(error),
            _ => {}
        }
        let gone = || Error::new(Kind::Provider, format!("image {} was made, and is not there", image.name));
        let made = shelf.named(&image.name, cx).await?.ok_or_else(gone)?;
        made.check(&self.recipe)?;
        let made = shelf.wait(made, cx).await?;
        self.remove_machine(cx).await?;
        Ok(made)
    }

    /// Whether there is a machine, of this bake or of one that was cut off.
    pub fn is_kept(&self) -> bool {
        Deployment::exists(&self.project, &self.deployment())
    }

    async fn remove_machine(&self, cx: &Cx) -> Result<()> {
        deployment::destroy(&self.project, &self.deployment(), cx).await.map(drop)
    }

    async fn machine_is_there(&self, cx: &Cx) -> Result<bool> {
        let status = deployment::status(&self.project, &self.deployment(), cx).await?;
        Ok(status.nodes.iter().any(|n| n.status != deployment::NodeState::Missing))
    }

    fn cleaning(&self) -> Result<Cleaning> {
        let entries = Store::new(&self.project.deployments(), &self.deployment())?.journal().read()?;
        let last = entries.iter().rev().find(|e| e.action == CLEANED);
        Ok(match last.map(|e| &e.what) {
            Some(What::Done) => Cleaning::Done,
            Some(What::Intent { .. }) => Cleaning::Unsure,
            _ => Cleaning::No,
        })
    }
}

fn machine(deployment: &Deployment) -> Result<Arc<Node>> {
    let gone = || Error::new(Kind::NotFound, format!("the machine of {} is not there", deployment.name()));
    deployment.nodes().iter().next().cloned().ok_or_else(gone)
}

/// The cleaning of a machine that we reach with this deployment's key.
fn command(deployment: &Deployment) -> Result<Command> {
    let key = deployment.public_key()?;
    let body = key.split_whitespace().nth(1).ok_or_else(|| Error::internal("a public key without a body"))?;
    let env = vec![("key".to_owned(), body.to_owned())];
    Ok(Command { sudo: true, env, timeout: Some(PATIENCE), ..Command::new("sh -s") }.stdin(CLEAN))
}

/// What the project's repository is at, if it is one.
async fn commit(project: &Path) -> Option<String> {
    const QUICK: Duration = Duration::from_secs(5);
    let mut git = tokio::process::Command::new("git");
    git.arg("-C").arg(project).args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]).kill_on_drop(true);
    git.stdin(std::process::Stdio::null());
    let output = tokio::time::timeout(QUICK, git.output()).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
