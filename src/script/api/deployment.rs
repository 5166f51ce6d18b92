//! Deployments: the one a script works with, and making and removing them.

use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::deployment::{self, Deployment, Request, Wait};
use crate::domain::node::NodeSet;
use crate::script::convert::{from_json, to_json};
use crate::script::roles::Call;
use crate::script::{Host, Options, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};
use std::path::PathBuf;
use std::sync::Arc;

/// A deployment as scripts hold it: cheap to clone.
pub type Handle = Arc<Deployment>;

fn open(context: &NativeCallContext, name: &str) -> ScriptResult<Handle> {
    let host = Host::of(context);
    let opened = host.block_on(deployment::open_awake(host.project(), name, &host.client(), &host.cx))?;
    Ok(Arc::new(opened))
}

fn files_of(host: &Host, files: &Dynamic) -> Result<Vec<PathBuf>> {
    let path = |v: &Dynamic| v.as_immutable_string_ref().ok().map(|s| host.path(&s));
    let paths = match files.as_array_ref() {
        Ok(items) => items.iter().map(path).collect(),
        Err(_) => path(files).map(|p| vec![p]),
    };
    paths.ok_or_else(|| Error::usage("provision takes a config file's path, or an array of them"))
}

fn make(context: &NativeCallContext, name: &str, files: &Dynamic, options: Map) -> ScriptResult<Handle> {
    let host = Host::of(context);
    let mut options = Options::new("provision", options);
    let wait = options.bool("wait")?.unwrap_or(true);
    let destroy = options.bool("destroy")?.unwrap_or(false);
    options.finish()?;
    let request = Request::new(host.project(), name, &files_of(&host, files)?)?;
    host.must_act(context, &Call::changes("provision", name))?;
    let made = host.block_on_to_the_end(async {
        let plan = deployment::plan(&request, &host.cx).await?;
        if plan.destroys() && !destroy {
            let gone: Vec<_> = plan.changes.iter().filter(|c| c.action.destroys()).map(|c| c.node.as_str()).collect();
            return Err(Error::new(Kind::Usage, format!("provisioning {name} would remove {}", gone.join(", ")))
                .hint("Allow it with provision(name, files, #{ destroy: true }), or look at it first: opsrun plan."));
        }
        let client = host.client();
        let wait = if wait { Wait::UntilAllAnswer(&client) } else { Wait::No };
        deployment::apply(&request, &plan, wait, &host.cx).await
    })?;
    Ok(Arc::new(made))
}

/// The folder of this script run within the deployment: made at first use.
fn run_dir(context: &NativeCallContext, handle: &Handle) -> ScriptResult<PathBuf> {
    let host = Host::of(context);
    let dir = handle.dir().join("runs").join(host.run_name());
    std::fs::create_dir_all(&dir).at("make", &dir)?;
    Ok(dir)
}

fn result_file(name: &str) -> Result<String> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    if plain {
        Ok(format!("{name}.json"))
    } else {
        Err(Error::usage(format!("\"{name}\" cannot be the name of a result: it becomes a file's")))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// A deployment: its nodes, config, folder and results.
    ///
    /// # Example
    /// ```rhai
    /// let d = deployment();
    /// print(`${d.name} has ${d.nodes().len} nodes`);
    /// ```
    #[allow(clippy::redundant_pub_crate, reason = "the type's name in scripts")]
    pub type Deployment = Handle;

    /// The deployment named on the command line: the first word after the script.
    ///
    /// # Example
    /// ```rhai
    /// let d = deployment();
    /// assert_eq(d.name, "doc");
    /// ```
    #[rhai_fn(name = "deployment", return_raw)]
    pub fn current(context: NativeCallContext) -> ScriptResult<Handle> {
        let host = Host::of(&context);
        let name = host.deployment().ok_or_else(|| {
            Error::usage("this script works with a deployment, and none is named")
                .hint("Name it after the script: opsrun SCRIPT.rhai 4504. `opsrun ls` lists what there is.")
        })?;
        open(&context, name)
    }

    /// The deployment of this name. Throws when there is none, with the nearest name.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment("doc").groups, ["server", "client"]);
    /// ```
    #[rhai_fn(name = "deployment", return_raw)]
    pub fn named(context: NativeCallContext, name: &str) -> ScriptResult<Handle> {
        open(&context, name)
    }

    /// Makes a deployment what its config files say, and returns it when all its nodes answer.
    ///
    /// `files` is a path or an array of paths, relative to the project's folder. Done again, it changes only what differs.
    /// Throws, before anything is touched, when nodes would be removed; the option `destroy: true` allows that.
    /// Options: `wait` (false: return when the nodes are asked for), `destroy`.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let d = provision("quickstart", "configs/local.yml");
    /// defer(|| deprovision("quickstart"));
    /// ```
    #[rhai_fn(name = "provision", return_raw)]
    pub fn provision(context: NativeCallContext, name: &str, files: Dynamic, options: Map) -> ScriptResult<Handle> {
        make(&context, name, &files, options)
    }

    #[rhai_fn(name = "provision", return_raw)]
    pub fn provision_plain(context: NativeCallContext, name: &str, files: Dynamic) -> ScriptResult<Handle> {
        make(&context, name, &files, Map::new())
    }

    /// Removes a deployment with all its nodes and its folder, and proves that nothing is left. Without effect when there is none.
    ///
    /// # Example
    /// ```rhai
    /// deprovision("never-made");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn deprovision(context: NativeCallContext, name: &str) -> ScriptResult<()> {
        let host = Host::of(&context);
        host.must_act(&context, &Call::changes("deprovision", name))?;
        host.block_on_to_the_end(deployment::destroy(host.project(), name, &host.cx))?;
        Ok(())
    }

    /// The deployment's name.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().name, "doc");
    /// ```
    #[rhai_fn(get = "name", pure)]
    pub fn name(d: &mut Deployment) -> String {
        d.name().to_owned()
    }

    /// The deployment's folder, an absolute path.
    ///
    /// # Example
    /// ```rhai
    /// assert(deployment().dir.ends_with("deployments/doc"));
    /// ```
    #[rhai_fn(get = "dir", pure)]
    pub fn dir(d: &mut Deployment) -> String {
        d.dir().to_string_lossy().into_owned()
    }

    /// The deployment's UUID, which marks all that belongs to it.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().uuid.len, 36);
    /// ```
    #[rhai_fn(get = "uuid", pure)]
    pub fn uuid(d: &mut Deployment) -> String {
        d.uuid().to_string()
    }

    /// The merged config as a map, without secrets.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().config.provider, "local");
    /// ```
    #[rhai_fn(get = "config", pure)]
    pub fn config(d: &mut Deployment) -> Dynamic {
        from_json(&d.config().to_json())
    }

    /// The config's own variables (`vars:`), a map.
    ///
    /// # Example
    /// ```rhai
    /// let vars = deployment().vars;
    /// assert(vars.is_empty());
    /// ```
    #[rhai_fn(get = "vars", pure)]
    pub fn vars(d: &mut Deployment) -> Dynamic {
        from_json(&serde_json::Value::Object(d.config().vars.clone()))
    }

    /// The names of the groups, an array in the config's order.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().groups, ["server", "client"]);
    /// ```
    #[rhai_fn(get = "groups", pure)]
    pub fn groups(d: &mut Deployment) -> Array {
        d.config().groups.iter().map(|g| g.name.clone().into()).collect()
    }

    /// All nodes, by group as configured, then by number.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes().len, 4);
    /// ```
    #[rhai_fn(name = "nodes", pure)]
    pub fn nodes(d: &mut Deployment) -> NodeSet {
        d.nodes().clone()
    }

    /// The nodes that a selector means: a group, a name, a glob over names, or several separated by commas.
    ///
    /// A part that matches nothing throws, with the nearest name.
    ///
    /// # Example
    /// ```rhai
    /// let d = deployment();
    /// assert_eq(d.nodes("server-[12], client").names, ["server-1", "server-2", "client-0"]);
    /// ```
    #[rhai_fn(name = "nodes", pure, return_raw)]
    pub fn nodes_by(d: &mut Deployment, selector: &str) -> ScriptResult<NodeSet> {
        Ok(d.nodes().select(selector)?)
    }

    /// The node of this name, as a set of one.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().node("client-0").group, "client");
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn node(d: &mut Deployment, name: &str) -> ScriptResult<NodeSet> {
        let found: NodeSet = d.nodes().iter().filter(|n| n.name == name).cloned().collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let error = Error::new(Kind::NotFound, format!("deployment \"{}\" has no node \"{name}\"", d.name()));
        let hint = did_you_mean(name, d.nodes().iter().map(|n| n.name.as_str()));
        Err(hint.into_iter().fold(error, Error::hint).into())
    }

    /// The folder for what this run leaves behind: `deployments/<name>/runs/<time>-<script>/`. Made at first use.
    ///
    /// # Example
    /// ```rhai
    /// file::write(deployment().run_dir + "/note.txt", "kept with the run");
    /// ```
    #[rhai_fn(get = "run_dir", pure, return_raw)]
    pub fn folder_of_run(context: NativeCallContext, d: &mut Deployment) -> ScriptResult<String> {
        Ok(run_dir(&context, d)?.to_string_lossy().into_owned())
    }

    /// Keeps a result with this run, as `<run_dir>/<name>.json`; returns the file's path.
    ///
    /// The value is data: maps, arrays, strings, numbers, booleans.
    ///
    /// # Example
    /// ```rhai
    /// deployment().save_result("warm-up", #{ ops: 1000 });
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn save_result(context: NativeCallContext, d: &mut Deployment, name: &str, value: Dynamic) -> ScriptResult<String> {
        let path = run_dir(&context, d)?.join(result_file(name)?);
        let text = serde_json::to_string_pretty(&to_json(&value)?).map_err(|e| Error::internal(e.to_string()))?;
        crate::transport::state::atomic::write(&path, text.as_bytes(), 0o644)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// The newest result of this name, whichever run kept it.
    ///
    /// # Example
    /// ```rhai
    /// let d = deployment();
    /// d.save_result("baseline", #{ ops: 1000 });
    /// assert_eq(d.load_result("baseline").ops, 1000);
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn load_result(d: &mut Deployment, name: &str) -> ScriptResult<Dynamic> {
        let file = result_file(name)?;
        let runs = d.runs();
        let Some(path) = runs.iter().rev().map(|r| r.join(&file)).find(|p| p.is_file()) else {
            let mut known: Vec<String> = runs
                .iter()
                .flat_map(|r| std::fs::read_dir(r).into_iter().flatten().flatten())
                .filter_map(|e| {
                    let name = e.file_name().to_string_lossy().into_owned();
                    name.strip_suffix(".json").filter(|n| *n != "manifest").map(str::to_owned)
                })
                .collect();
            known.sort();
            known.dedup();
            let error = Error::new(Kind::NotFound, format!("no run of deployment \"{}\" kept a result \"{name}\"", d.name()));
            return Err(did_you_mean(name, known.iter().map(String::as_str)).into_iter().fold(error, Error::hint).into());
        };
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        let value = serde_json::from_str(&text).map_err(|e| Error::config(format!("{} is not JSON: {e}", path.display())))?;
        Ok(from_json(&value))
    }

    /// The deployment as text: its name.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(`${deployment()}`, "doc");
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_string(d: &mut Deployment) -> String {
        d.name().to_owned()
    }
}
