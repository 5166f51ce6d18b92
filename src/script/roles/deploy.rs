//! Several roles brought to the nodes of a deployment: which role for which group, with which variables.

use super::run::{Program, Terms, vars_map};
use crate::base::error::{Error, Result};
use crate::domain::config::Config;
use crate::domain::node::NodeSet;
use crate::domain::resource::{Foresight, Mode};
use crate::domain::role::{self, Asked, Role, Setting};
use crate::domain::rollout::{Batch, BatchDone, Pace, Rollout, Watch, roll_out};
use crate::script::run::prepare;
use crate::script::{Host, engine};
use rhai::{Engine, Map};
use std::path::Path;
use std::sync::Arc;

/// What is wanted of the nodes of one group: roles in order, each with its variables there.
#[derive(Clone, Debug)]
struct Assignment {
    group: String,
    roles: Vec<(Arc<Role>, serde_json::Map<String, serde_json::Value>)>,
}

impl PartialEq for Assignment {
    /// Nodes of groups that want the same are worked on together.
    fn eq(&self, other: &Self) -> bool {
        let names = |a: &Self| a.roles.iter().map(|(role, vars)| (role.name.clone(), vars.clone())).collect::<Vec<_>>();
        names(self) == names(other)
    }
}

/// Roles for nodes, read and checked: nothing has been touched yet.
#[derive(Clone, Debug)]
pub struct Deploy {
    pub nodes: NodeSet,
    /// All roles, each after those that it requires.
    pub roles: Vec<Arc<Role>>,
    assignments: Vec<Assignment>,
    /// Variables that a script gives: they go before all others.
    given: Map,
    /// Variables of the config that nothing seems to use, a sentence each.
    pub unused: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wish<'a> {
    /// These roles on all nodes, instead of those that the config gives to their groups.
    pub roles: Option<&'a [String]>,
    pub settings: &'a [Setting],
    /// Variables that a script gives. They may hold secrets.
    pub given: Map,
}

/// How it is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    pub pace: Pace,
    pub mode: Mode,
}

impl Deploy {
    /// Finds out what is wanted of which of the nodes: the roles asked for, or else those of each group in the config.
    pub fn new(project: &Path, config: &Config, nodes: &NodeSet, wish: Wish) -> Result<Self> {
        let mut roles: Vec<Arc<Role>> = Vec::new();
        let mut ordered = Vec::new();
        for name in nodes.groups() {
            let wanted: Vec<Asked> = match wish.roles {
                Some(names) => names.iter().map(Asked::by_name).collect(),
                None => of_group(config, name),
            };
            let of_this = role::in_order(project, &wanted)?;
            roles.extend(of_this.iter().filter(|r| !roles.iter().any(|known| known.name == r.name)).cloned().collect::<Vec<_>>());
            ordered.push((name, of_this));
        }
        if roles.is_empty() {
            return Err(Error::usage("no roles are named, and the config names none for these nodes").hint(
                "Name them with --roles web,base, or give groups their roles: groups: { server: { count: 3, roles: [web] } }",
            ));
        }
        role::check_settings(&roles, wish.settings)?;
        let given: Vec<&str> = wish.given.keys().map(|k| &k[..]).collect();
        role::check_names(&roles, given.iter().copied())?;
        let empty = serde_json::Map::new();
        let mut assignments = Vec::new();
        for (name, of_this) in ordered {
            let layers = [&config.vars, config.group(name).map_or(&empty, |g| &g.vars)];
            let with_vars = |role: &Arc<Role>| Ok((role.clone(), role.vars(&layers, wish.settings, &given)?));
            let with_vars = of_this.iter().map(with_vars).collect::<Result<Vec<_>>>();
            let roles = with_vars.map_err(|e| e.context(format!("finding the variables for group {name}")))?;
            assignments.push(Assignment { group: name.to_owned(), roles });
        }
        let has_roles = |group: &str| assignments.iter().any(|a| a.group == group && !a.roles.is_empty());
        let nodes = nodes.iter().filter(|n| has_roles(&n.group)).cloned().collect();
        let unused = unused(project, config, &roles, assignments.iter().map(|a| a.group.as_str()));
        Ok(Self { nodes, roles, assignments, given: wish.given, unused })
    }

    /// Looks whether the scripts of all roles compile, with all that they import.
    pub fn check(&self, host: &Arc<Host>) -> Result<()> {
        compile(host, &self.roles).map(|_| ())
    }

    /// The nodes of each group with the variables that a role has there.
    pub(super) fn vars_of(&self, host: &Host, role: &str) -> Result<Vec<(NodeSet, Map)>> {
        let of = |assignment: &Assignment| {
            let nodes: NodeSet = self.nodes.iter().filter(|n| n.group == assignment.group).cloned().collect();
            let (role, vars) = assignment.roles.iter().find(|(r, _)| r.name == role)?;
            Some(self.vars(host, role, vars).map(|vars| (nodes, vars)))
        };
        self.assignments.iter().filter_map(of).collect()
    }

    /// Variables as a role's script sees them, with their secrets.
    fn vars(&self, host: &Host, role: &Role, vars: &serde_json::Map<String, serde_json::Value>) -> Result<Map> {
        let mut vars = vars_map(vars);
        vars.extend(self.given.clone());
        for (name, value) in vars.iter_mut().filter(|(name, _)| role.has_variable(name)) {
            host.fill_in_secrets(value).map_err(|e| e.context(format!("finding the variable {name} of role {}", role.name)))?;
        }
        Ok(vars)
    }

    /// Finds all secrets, while nothing has been touched.
    fn ask_early(&self, host: &Host) -> Result<()> {
        let mut all = self.assignments.iter().flat_map(|a| &a.roles);
        all.try_for_each(|(role, vars)| self.vars(host, role, vars).map(|_| ()))
    }

    /// Does it with an engine of its own, to the end of everything that the roles put off. What went wrong is in the outcome;
    /// an error here means that nothing was begun.
    pub fn run(&self, host: &Arc<Host>, how: How, watch: &Arc<dyn Watch>) -> Result<Rollout> {
        let (engine, programs) = compile(host, &self.roles)?;
        self.ask_early(host)?;
        let rollout = self.run_with(&engine, &programs, host, how, watch);
        match host.finish(&engine) {
            Ok(()) => Ok(rollout),
            Err(error) => Ok(Rollout { broken: rollout.broken.or(Some(error)), ..rollout }),
        }
    }

    /// Does it within a script, whose engine this is.
    pub fn run_within(&self, engine: &Engine, host: &Host, how: How, watch: &Arc<dyn Watch>) -> Result<Rollout> {
        let compiled = self.roles.iter().map(|role| Program::compile(engine, host, role.clone()));
        let programs = compiled.collect::<Result<Vec<_>>>()?;
        self.ask_early(host)?;
        Ok(self.run_with(engine, &programs, host, how, watch))
    }

    fn run_with(&self, engine: &Engine, programs: &[Program], host: &Host, how: How, watch: &Arc<dyn Watch>) -> Rollout {
        // A check in a check goes on with what the outer one foresees.
        let outer = host.ledger().filter(|ledger| ledger.mode().check).map(|ledger| ledger.foresight().clone());
        let worker = Worker { deploy: self, engine, host, programs, how, watch, foresight: outer.unwrap_or_default() };
        roll_out(&self.nodes, &how.pace, |batch| worker.batch(batch))
    }
}

/// The roles that a group of the config has, with the place that says so.
fn of_group(config: &Config, name: &str) -> Vec<Asked> {
    let place = config.place(&format!("groups.{name}.roles"));
    let roles = config.group(name).map(|g| g.roles.clone()).unwrap_or_default();
    roles.into_iter().map(|name| Asked { name, place: place.clone() }).collect()
}

/// Looks for variables of the config, and of these groups, that nothing seems to use.
fn unused<'a>(project: &Path, config: &Config, roles: &[Arc<Role>], groups: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: Vec<String> = role::names(project).into_iter().map(|(name, _)| name).collect();
    let mut known = roles.to_vec();
    for name in names.iter().filter(|name| roles.iter().all(|r| r.name != **name)) {
        // Of the library, only what the config gives to a group: its names are many.
        let named = || config.groups.iter().any(|g| g.roles.contains(name));
        known.extend(Role::load(project, name).ok().filter(|r| !r.is_embedded() || named()).map(Arc::new));
    }
    let of_groups = groups.filter_map(|name| Some((format!("groups.{name}.vars"), &config.group(name)?.vars)));
    let layers = std::iter::once(("vars".to_owned(), &config.vars)).chain(of_groups);
    let told = layers.flat_map(|(key, layer)| {
        let sentence = |unused: role::Unused| {
            let place = config.place(&format!("{key}.{}", unused.name)).or_else(|| config.place(&key));
            let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
            let meant = unused.near.map(|near| format!(": is `{near}` meant?")).unwrap_or_default();
            format!("no role has the variable `{}` of the config{place}{meant}", unused.name)
        };
        role::unused(&known, &names, layer).into_iter().map(sentence).collect::<Vec<_>>()
    });
    told.collect()
}

/// Compiles all roles with one engine, and all they import.
fn compile(host: &Arc<Host>, roles: &[Arc<Role>]) -> Result<(Arc<Engine>, Vec<Program>)> {
    let mut engine = engine::new(host);
    let mut programs = Vec::new();
    for role in roles {
        let program = Program::compile(&engine, host, role.clone())?;
        prepare(&mut engine, host, &program.ast)?;
        programs.push(program);
    }
    let engine = Arc::new(engine);
    let main = roles.first().map(|r| r.main.name.as_str()).unwrap_or_default();
    host.starts(main, &engine, false);
    Ok((engine, programs))
}

struct Worker<'a> {
    deploy: &'a Deploy,
    engine: &'a Engine,
    host: &'a Host,
    programs: &'a [Program],
    how: How,
    watch: &'a Arc<dyn Watch>,
    foresight: Arc<Foresight>,
}

impl Worker<'_> {
    fn batch(&self, batch: &Batch) -> BatchDone {
        self.watch.batch(batch);
        let mut done = BatchDone::default();
        for (nodes, assignment) in self.alike(&batch.nodes) {
            if done.broken.is_none() && done.interrupted.is_none() {
                self.assignment(&nodes, assignment, &mut done);
            }
        }
        done
    }

    /// The nodes of a batch by what is wanted of them.
    fn alike(&self, nodes: &NodeSet) -> Vec<(NodeSet, &Assignment)> {
        let mut found: Vec<(NodeSet, &Assignment)> = Vec::new();
        for assignment in &self.deploy.assignments {
            let of_group: NodeSet = nodes.iter().filter(|n| n.group == assignment.group).cloned().collect();
            match found.iter_mut().find(|(_, known)| *known == assignment) {
                Some((nodes, _)) => *nodes = nodes.union(&of_group),
                None => found.push((of_group, assignment)),
            }
        }
        found.retain(|(nodes, _)| !nodes.is_empty());
        found
    }

    fn assignment(&self, nodes: &NodeSet, assignment: &Assignment, done: &mut BatchDone) {
        let mut left = nodes.clone();
        let steps = if self.how.mode.check { &[false][..] } else { &[false, true][..] };
        for health in steps {
            for (role, vars) in &assignment.roles {
                let Some(program) = self.programs.iter().find(|p| p.role.name == role.name) else { continue };
                if left.is_empty() {
                    return;
                }
                let vars = match self.deploy.vars(self.host, role, vars) {
                    Ok(vars) => vars,
                    Err(error) => {
                        done.broken = Some(error);
                        return;
                    }
                };
                let terms = Terms { mode: self.how.mode, watch: self.watch, foresight: &self.foresight };
                let applied = if *health {
                    program.healthy(self.engine, self.host, &left, vars, terms)
                } else {
                    Some(program.apply(self.engine, self.host, &left, vars, terms))
                };
                let Some(applied) = applied else { continue };
                left = left.iter().filter(|n| !applied.failed(&n.name)).cloned().collect();
                done.reports.extend(applied.reports.into_iter().map(|report| (role.name.clone(), report)));
                (done.broken, done.interrupted) = (applied.broken, applied.interrupted);
                if done.broken.is_some() || done.interrupted.is_some() {
                    return;
                }
            }
        }
    }
}
