//! `opsrun role test NAME`: the role on a throw-away machine, twice, and what its author asserts of it.

use crate::base::cancel::Cancel;
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::Cx;
use crate::base::units::format_duration;
use crate::cli::App;
use crate::cli::complete::roles;
use crate::cli::deploy::setting;
use crate::cli::deploying::{Painter, document};
use crate::cli::run::{host_with, run_name};
use crate::domain::config::Config;
use crate::domain::deployment::{self, Deployment, Request, ThrowAway, Wait};
use crate::domain::resource::{Mode, Outcome};
use crate::domain::role::{Role, Setting};
use crate::domain::rollout::{Rollout, Watch, fold};
use crate::domain::yaml_edit;
use crate::script::Host;
use crate::script::convert::from_json;
use crate::script::roles::{Deploy, How, RoleTest, Wish};
use crate::script::run::on_script_thread;
use clap_complete::engine::ArgValueCompleter;
use jiff::Timestamp;
use rhai::Map;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Try a role on a throw-away machine: applied twice, then its test.rhai
///
/// The second time nothing may change. The machine is removed at the end, also after a failure and after Ctrl-C; after
/// a kill -9 the next test of any role removes it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun role test web
  opsrun role test web --set port=8080
  opsrun role test web --keep                  then look: opsrun ssh role-test-web-1f3a node-0
  opsrun role test web --config two-nodes.yml  on these nodes, made for the test, instead of one Debian machine

Variables: roles/NAME/test.yml, if there is one, goes before defaults.yml; --set goes before both.
Ends with 0 when the role passed and with 1 when it did not.
--json prints one object: role, deployment, passed, kept, steps (step, passed, took, error), first and second (each as
`opsrun deploy --json`).")]
pub struct Args {
    /// The role
    #[arg(value_name = "ROLE", add = ArgValueCompleter::new(roles))]
    name: String,
    /// Set a variable; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<Setting>,
    /// A config that says which nodes to test on
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leave the machine as it is at the end
    #[arg(long)]
    keep: bool,
    /// Print what came of it as JSON
    #[arg(long)]
    json: bool,
}

/// One Debian machine.
const MACHINE: &str = "provider: machine\ngroups: { node: { count: 1 } }\n";

/// A test under way.
struct Test<'a> {
    app: &'a App,
    args: &'a Args,
    deployment: String,
    given: Map,
    steps: Vec<Value>,
    documents: Vec<Value>,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let role = Role::load(&app.project.root, &args.name)?;
    let given = variables(&role)?;
    let mut config =
        tempfile::Builder::new().prefix("opsrun-role-test-").suffix(".yml").tempfile().at("make", std::env::temp_dir())?;
    config.write_all(MACHINE.as_bytes()).at("write", config.path())?;
    let file = args.config.clone().unwrap_or_else(|| config.path().to_owned());
    // What is wrong with the role is found before any machine is made.
    let wanted = Config::load(std::slice::from_ref(&file))?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let deployment = format!("role-test-{}-{}", args.name.chars().take(40).collect::<String>(), &id[..6]);
    let mut test = Test { app, args, deployment, given, steps: Vec::new(), documents: Vec::new() };
    test.refuse_early(&wanted, &role)?;
    test.sweep();
    let throw_away = if args.keep { None } else { Some(ThrowAway::begin(&app.project, &test.deployment)?) };
    let outcome = test.all(&file, &role);
    let removed = test.remove();
    if let (Ok(()), Some(throw_away)) = (&removed, throw_away) {
        throw_away.end();
    }
    let outcome = match (outcome, removed) {
        (Ok(()), removed) => removed,
        (Err(error), Ok(())) => Err(error),
        (Err(mut error), Err(left)) => {
            error.details_mut().failed.push(left.on_node(test.deployment.as_str()));
            Err(error)
        }
    };
    if args.json {
        let mut documents = test.documents.into_iter();
        app.ui.json(&json!({
            "role": args.name, "deployment": test.deployment, "passed": outcome.is_ok(), "kept": args.keep,
            "steps": test.steps, "first": documents.next(), "second": documents.next(),
        }))?;
    } else if outcome.is_ok() {
        app.ui.note(&format!("role {} passed", args.name));
    }
    outcome.map_err(Error::begun)
}

/// The variables of the role's test.yml.
fn variables(role: &Role) -> Result<Map> {
    let Some(file) = role.file("test.yml")? else { return Ok(Map::new()) };
    let name = file.name.clone();
    match yaml_edit::from_yaml(&file.text()?).map_err(|e| e.context(format!("reading {name}")))? {
        Value::Object(vars) => Ok(vars.iter().map(|(k, v)| (k.into(), from_json(v))).collect()),
        Value::Null => Ok(Map::new()),
        _ => Err(Error::config(format!("{name} must hold `variable: value` lines"))),
    }
}

impl Test<'_> {
    fn wish<'b>(&self, roles: &'b [String], settings: &'b [Setting]) -> Wish<'b> {
        Wish { roles: Some(roles), settings, given: self.given.clone() }
    }

    /// Unknown roles, variables that are missing, scripts that do not compile: with nodes that are not there yet.
    fn refuse_early(&self, config: &Config, role: &Role) -> Result<()> {
        let roles = [self.args.name.clone()];
        let (nodes, root) = (config.planned_nodes(&self.deployment), &self.app.project.root);
        let early = || {
            let deploy = Deploy::new(root, config, &nodes, self.wish(&roles, &self.args.set))?;
            let host = self.host();
            on_script_thread(&host, || deploy.check(&host).and_then(|()| RoleTest::compile(&host, role).map(|_| ())))?
        };
        early().map_err(|e| e.exit_with(2))
    }

    /// Removes the machines of tests that were killed.
    fn sweep(&self) {
        match self.app.block_on(deployment::sweep(&self.app.project, &self.app.cx)) {
            Ok(swept) => swept.iter().for_each(|name| self.tell(&format!("removed {name}, whose test was killed"))),
            Err(e) => self.app.ui.warn(&format!("what a killed test left could not be removed: {}", e.message())),
        }
    }

    fn all(&mut self, config: &Path, role: &Role) -> Result<()> {
        let made = self.step("machine", |test| test.make(config))?;
        let first = self.step("first run", |test| test.deploy(&made))?;
        self.tell(&format!("first run: {} changed", resources(changed(&first).len())));
        let second = self.step("second run", |test| {
            let second = test.deploy(&made)?;
            test.must_be_unchanged(&second)
        });
        second?;
        self.tell("second run: nothing changed");
        if role.file("test.rhai")?.is_some() {
            self.step("test.rhai", |test| test.assert(&made, role))?;
            self.tell("test.rhai: passed");
        }
        Ok(())
    }

    fn tell(&self, text: &str) {
        self.app.ui.note(text);
    }

    /// Does one step, and keeps how it went.
    fn step<T>(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let outcome = self.app.cx.cancel.check().and_then(|()| work(self));
        let error = outcome.as_ref().err().map(|e| e.message().to_owned());
        self.steps.push(json!({
            "step": name, "passed": error.is_none(), "took": begun.elapsed().as_secs_f64(), "error": error,
        }));
        outcome.map_err(|e| e.context(format!("testing role {}: {name}", self.args.name)))
    }

    fn make(&self, config: &Path) -> Result<Deployment> {
        let (app, begun) = (self.app, Instant::now());
        let client = app.client();
        let made = app.block_on(async {
            let request = Request::new(&app.project, &self.deployment, &[config.to_owned()])?;
            let plan = deployment::plan(&request, &app.cx).await?;
            deployment::apply(&request, &plan, Wait::UntilAllAnswer(&client), &app.cx).await
        })?;
        self.tell(&format!("machine {} is ready ({})", self.deployment, format_duration(begun.elapsed())));
        Ok(made)
    }

    fn host(&self) -> Arc<Host> {
        let run = run_name(Path::new("role-test"));
        host_with(self.app, Vec::new(), Some(self.deployment.clone()), self.app.cx.clone(), run)
    }

    fn deploy(&mut self, made: &Deployment) -> Result<Rollout> {
        let roles = [self.args.name.clone()];
        let deploy = Deploy::new(&self.app.project.root, made.config(), made.nodes(), self.wish(&roles, &self.args.set))?;
        let how = How { mode: Mode { check: false, diff: true }, ..How::default() };
        let watch: Arc<dyn Watch> = Arc::new(Painter::new(&self.app.ui, self.app.cx.clone(), Mode::default(), self.args.json));
        let (host, started, begun) = (self.host(), Timestamp::now(), Instant::now());
        let rollout = on_script_thread(&host, || deploy.run(&host, how, &watch))??;
        self.documents.push(document(&self.deployment, &deploy, &rollout, how.mode, started, begun.elapsed()));
        rollout.check()?;
        Ok(rollout)
    }

    fn must_be_unchanged(&self, second: &Rollout) -> Result<()> {
        let changed = changed(second);
        if changed.is_empty() {
            return Ok(());
        }
        let count = resources(changed.len());
        let error = Error::new(Kind::Command, format!("role {} changed {count} again in its second run", self.args.name));
        let error = changed.iter().fold(error, |error, line| error.hint(format!("{line}.")));
        Err(error.hint("What a role asks for must come to rest: look at what these resources compare."))
    }

    fn assert(&self, made: &Deployment, role: &Role) -> Result<()> {
        let roles = [self.args.name.clone()];
        let deploy = Deploy::new(&self.app.project.root, made.config(), made.nodes(), self.wish(&roles, &self.args.set))?;
        let host = self.host();
        on_script_thread(&host, || RoleTest::compile(&host, role)?.map_or(Ok(()), |test| test.run(&deploy)))?
    }

    /// Removes the machine, whatever happened; with a stop signal of its own, as Ctrl-C may have fired the other.
    fn remove(&self) -> Result<()> {
        let app = self.app;
        if !Deployment::exists(&app.project, &self.deployment) && !app.project.deployments().join(&self.deployment).exists() {
            return Ok(());
        }
        if self.args.keep {
            self.tell(&format!("kept: opsrun ssh {0} NODE; opsrun deprovision {0} removes it", self.deployment));
            return Ok(());
        }
        let cx = Cx::new(Cancel::new(), app.cx.events.clone());
        let removed = app.block_on(deployment::destroy(&app.project, &self.deployment, &cx));
        removed
            .map(|_| ())
            .map_err(|e| e.hint(format!("The machine of the test is still there: opsrun deprovision {} --yes", self.deployment)))
    }
}

fn resources(count: usize) -> String {
    if count == 1 { "1 resource".to_owned() } else { format!("{count} resources") }
}

/// What was changed, a line each.
fn changed(rollout: &Rollout) -> Vec<String> {
    let of = |n: &crate::domain::rollout::NodeOutcome| n.items().map(|i| (n.node.clone(), i.clone())).collect::<Vec<_>>();
    let items: Vec<_> = rollout.nodes.iter().flat_map(of).filter(|(_, i)| matches!(i.outcome, Outcome::Changed)).collect();
    fold(&items, false).iter().map(|line| line.text(false)).collect()
}
