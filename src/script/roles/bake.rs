//! Images baked: each on a machine of its own, several at the same time.

use super::{Deploy, How, Wish};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::domain::deployment::{self, Deployment};
use crate::domain::image::{Bake, Baked, Shelf, Step};
use crate::domain::rollout::Watch;
use crate::domain::runs::RunFolder;
use crate::script::Host;
use crate::script::run::on_script_thread;
use jiff::Timestamp;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bakes at the same time: they mostly wait.
const AT_ONCE: usize = 8;

/// An image, and whether it had to be made.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub image: Baked,
    pub made: bool,
}

/// Bakes all of these, at the same time. One that fails does not stop the others. What came of each is in their order.
pub fn bake_all(host: &Host, shelf: &Shelf, bakes: &[Bake], fresh: bool, watch: &Arc<dyn Watch>) -> Vec<Result<Fresh>> {
    let done: Vec<Mutex<Option<Result<Fresh>>>> = bakes.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(bake), Some(place)) = (bakes.get(at), done.get(at)) else { break };
            let outcome = host.check().and_then(|()| one(host, shelf, bake, fresh, watch));
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(bakes.len()) {
            scope.spawn(work);
        }
    });
    let lost = || Err(Error::internal("a bake that nobody did"));
    done.into_iter().map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(lost)).collect()
}

/// One error for all that failed, named by their images.
pub fn check(bakes: &[Bake], outcomes: Vec<Result<Fresh>>) -> Result<Vec<Fresh>> {
    let all = outcomes.len();
    let mut made = Vec::new();
    let mut failed: Vec<Error> = Vec::new();
    for (bake, outcome) in bakes.iter().zip(outcomes) {
        match outcome {
            Ok(image) => made.push(image),
            Err(error) if all == 1 => return Err(error),
            Err(error) => failed.push(error.on_node(bake.recipe.name())),
        }
    }
    if failed.is_empty() {
        return Ok(made);
    }
    if let Some(stopped) = failed.iter().find(|e| e.kind() == Kind::Cancelled) {
        return Err(stopped.clone());
    }
    Err(Error::new(Kind::Command, format!("{} of {all} images could not be baked", failed.len())).with_failed(failed))
}

fn one(host: &Host, shelf: &Shelf, bake: &Bake, fresh: bool, watch: &Arc<dyn Watch>) -> Result<Fresh> {
    let outcome = steps(host, shelf, bake, fresh, watch);
    let name = bake.recipe.name();
    outcome.map_err(|error| {
        let error = error.context(format!("baking image {name}"));
        // After an error the machine is kept, so that one can look, and go on with it.
        if bake.is_kept() { kept(host, bake, error) } else { error }
    })
}

fn kept(host: &Host, bake: &Bake, error: Error) -> Error {
    let (name, node) = (bake.deployment(), format!("{}-0", bake.order.group));
    let expires = Deployment::open(host.project(), &name).ok().and_then(|d| d.expires_at());
    let expires = expires.map(|at| format!(", and {}", deployment::expiry_words(at, Timestamp::now()))).unwrap_or_default();
    error
        .hint(format!("The machine is kept{expires}: opsrun ssh {name} {node}"))
        .hint("Bake again to go on with it; --fresh starts over; opsrun deprovision removes it.")
}

fn steps(host: &Host, shelf: &Shelf, bake: &Bake, fresh: bool, watch: &Arc<dyn Watch>) -> Result<Fresh> {
    let (client, cx, name) = (host.client(), &host.cx, bake.recipe.name());
    match host.block_on_to_the_end(bake.begin(shelf, fresh, &client, cx))? {
        Step::Done(image) => return Ok(Fresh { image: *image, made: false }),
        Step::Image => cx.events.info(format!("going on with {name}, whose machine is cleaned")),
        Step::Roles(machine) => {
            // Nobody else may work on it.
            let lock = machine.lock(&format!("opsrun image bake ({name})"))?;
            apply(host, bake, &machine, watch)?;
            host.check()?;
            host.block_on_to_the_end(bake.clean(&machine, &client, cx))?;
            for node in machine.nodes().iter() {
                client.forget(&node.endpoint);
            }
            drop(lock);
        }
    }
    let image = host.block_on_to_the_end(bake.finish(shelf, cx))?;
    Ok(Fresh { image, made: true })
}

/// Brings the roles to the machine.
fn apply(host: &Host, bake: &Bake, machine: &Deployment, watch: &Arc<dyn Watch>) -> Result<()> {
    let config = machine.config_now()?;
    let wish = Wish { roles: Some(&bake.order.roles), ..Wish::default() };
    let deploy = Deploy::new(&host.project().root, &config, machine.nodes(), wish)?;
    let folder = RunFolder::begin_deploy(machine, host.run_name(), &deploy.roles, &[])?;
    let cx = Cx::new(host.cx.cancel.clone(), folder.logged(host.cx.events.clone())?);
    let own = host.beside(machine.name(), cx);
    let rollout = on_script_thread(&own, || deploy.run(&own, How::default(), watch)).and_then(|done| done);
    let outcome = rollout.and_then(|rollout| rollout.check());
    if let Err(e) = folder.end(&outcome) {
        host.cx.events.warn(format!("this bake's end is not recorded: {}", e.message()));
    }
    outcome
}
