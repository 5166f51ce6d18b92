//! Jobs: commands on nodes that outlive the connection and this run.

use crate::base::command::KEEP_OUTPUT;
use crate::base::error::Result;
use crate::domain::fleet::{Jobs as JobSet, gather, text};
use crate::domain::job::{self, State};
use crate::domain::node::NodeSet;
use crate::script::api::remote::{command_line, result_map};
use crate::script::roles::Call;
use crate::script::{Host, Options, ScriptResult};
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use rhai::{Array, Map};

fn start(context: &NativeCallContext, nodes: &NodeSet, line: &Dynamic, options: Map) -> ScriptResult<JobSet> {
    let host = Host::of(context);
    let mut command = crate::base::command::Command::new(command_line(line)?);
    let mut options = Options::new("job", options);
    let name = options.string("name")?.unwrap_or_else(job::fresh_name);
    command.env = options.env("env")?.unwrap_or_default();
    command.cwd = options.string("cwd")?;
    command.sudo = options.bool("sudo")?.unwrap_or(false);
    command.user = options.string("user")?;
    options.finish()?;
    let jobs = JobSet { nodes: nodes.clone(), name };
    if let Some(fleet) = host.reach(context, nodes, &Call::changes("job", &*command.line))? {
        host.block_on(fleet.start_jobs(&jobs, &command))?;
    }
    Ok(jobs)
}

fn wait_for(context: &NativeCallContext, jobs: &JobSet, options: Map) -> ScriptResult<Array> {
    let host = Host::of(context);
    let mut options = Options::new("wait", options);
    let timeout = options.duration("timeout")?;
    let check = options.bool("check")?.unwrap_or(true);
    options.finish()?;
    let Some(fleet) = host.reach(context, &jobs.nodes, &Call::waits("wait", &*jobs.name))? else { return Ok(Array::new()) };
    let ended = host.block_on(async {
        let results = fleet.wait_jobs(jobs, timeout, KEEP_OUTPUT).await;
        let checked = results.into_iter().zip(jobs.nodes.iter()).map(|(result, node)| {
            let output = result?;
            match output.failure(&jobs.name).filter(|_| check) {
                Some(error) => Err(error.on_node(node.name.as_str()).context(format!("waiting for job {}", jobs.name))),
                None => Ok(output),
            }
        });
        gather(checked.collect::<Vec<Result<_>>>())
    })?;
    Ok(jobs.nodes.iter().zip(ended).map(|(n, o)| result_map(&n.name, Ok(o)).into()).collect())
}

fn stop_all(context: &NativeCallContext, jobs: &JobSet, options: Map) -> ScriptResult<()> {
    let host = Host::of(context);
    let mut options = Options::new("stop", options);
    let timeout = options.duration("timeout")?.unwrap_or(job::STOP_TIMEOUT);
    options.finish()?;
    if let Some(fleet) = host.reach(context, &jobs.nodes, &Call::changes("stop", &*jobs.name))? {
        host.block_on(fleet.stop_jobs(jobs, timeout))?;
    }
    Ok(())
}

fn logs(context: &NativeCallContext, jobs: &JobSet, lines: Option<usize>) -> ScriptResult<Array> {
    let host = Host::of(context);
    let Some(fleet) = host.reach(context, &jobs.nodes, &Call::waits("log", &*jobs.name))? else { return Ok(Array::new()) };
    let logs = host.block_on(fleet.job_logs(jobs, lines))?;
    Ok(logs.iter().map(|log| text(log).into()).collect())
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// The same job on every node of a set: it outlives the connection, this script and this machine's sleep.
    ///
    /// # Example
    /// ```rhai
    /// let jobs = deployment().nodes("client").job("echo done");
    /// assert_eq(jobs.wait()[0].stdout, "done");
    /// ```
    pub type Jobs = JobSet;

    /// Starts a command on every node as a job, detached from the connection, and returns at once.
    ///
    /// With a `name`, a job that still runs under it is taken up again instead of started twice. The job's stdout and
    /// stderr go to one log on the node. The command is a shell line or an array of words.
    /// Options: `name`, `env` (#{}), `cwd`, `sudo`, `user`.
    ///
    /// # Example
    /// ```rhai
    /// let load = deployment().nodes("client").job("sleep 60", #{ name: "load" });
    /// let again = deployment().nodes("client").job("sleep 60", #{ name: "load" });
    /// assert_eq(load.running(), [true]);
    /// again.stop();
    /// assert_eq(load.running(), [false]);
    /// ```
    #[rhai_fn(name = "job", pure, return_raw)]
    pub fn job(context: NativeCallContext, nodes: &mut Nodes, command: Dynamic, options: Map) -> ScriptResult<JobSet> {
        start(&context, nodes, &command, options)
    }

    #[rhai_fn(name = "job", pure, return_raw)]
    pub fn job_plain(context: NativeCallContext, nodes: &mut Nodes, command: Dynamic) -> ScriptResult<JobSet> {
        start(&context, nodes, &command, Map::new())
    }

    /// The job of this name on every node, started by this or an earlier script.
    ///
    /// # Example
    /// ```rhai
    /// let n = deployment().node("client-0");
    /// n.job("sleep 60", #{ name: "found-again" });
    /// n.jobs("found-again").stop();
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn jobs(nodes: &mut Nodes, name: &str) -> ScriptResult<JobSet> {
        job::check_name(name)?;
        Ok(JobSet { nodes: nodes.clone(), name: name.to_owned() })
    }

    /// Waits until the job has ended on every node, and returns results as `sh` does; `stdout` is the job's log.
    ///
    /// Throws when it failed on any node. Options: `timeout` (throws when it passes; the job goes on), `check` (false: do not throw).
    ///
    /// # Example
    /// ```rhai
    /// let done = deployment().nodes("server").job("hostname >/dev/null; echo $OPSRUN_NODE").wait(#{ timeout: "30s" });
    /// assert_eq(done.map(|r| r.stdout), ["server-0", "server-1", "server-2"]);
    /// ```
    #[rhai_fn(name = "wait", pure, return_raw)]
    pub fn wait(context: NativeCallContext, jobs: &mut Jobs, options: Map) -> ScriptResult<Array> {
        wait_for(&context, jobs, options)
    }

    #[rhai_fn(name = "wait", pure, return_raw)]
    pub fn wait_plain(context: NativeCallContext, jobs: &mut Jobs) -> ScriptResult<Array> {
        wait_for(&context, jobs, Map::new())
    }

    /// Whether the job still runs on each node, an array of booleans.
    ///
    /// # Example
    /// ```rhai
    /// let quick = deployment().node("client-0").job("true");
    /// quick.wait();
    /// assert_eq(quick.running(), [false]);
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn running(context: NativeCallContext, jobs: &mut Jobs) -> ScriptResult<Array> {
        let host = Host::of(&context);
        let fleet = host.reach(&context, &jobs.nodes, &Call::reads("running"))?;
        let states = host.block_on(fleet.unwrap_or_else(|| host.fleet()).job_states(jobs))?;
        Ok(states.into_iter().map(|s| (s == State::Running).into()).collect())
    }

    /// Stops the job with all its processes on every node: SIGTERM, and SIGKILL for what is left after `timeout` ("30s").
    ///
    /// Without effect where it has ended already. Options: `timeout`.
    ///
    /// # Example
    /// ```rhai
    /// let load = deployment().nodes("client").job("sleep 60");
    /// load.stop(#{ timeout: "5s" });
    /// ```
    #[rhai_fn(name = "stop", pure, return_raw)]
    pub fn stop(context: NativeCallContext, jobs: &mut Jobs, options: Map) -> ScriptResult<()> {
        stop_all(&context, jobs, options)
    }

    #[rhai_fn(name = "stop", pure, return_raw)]
    pub fn stop_plain(context: NativeCallContext, jobs: &mut Jobs) -> ScriptResult<()> {
        stop_all(&context, jobs, Map::new())
    }

    /// What the job has printed so far on each node, an array of strings; with a number, only its last lines.
    ///
    /// # Example
    /// ```rhai
    /// let quick = deployment().node("client-0").job("echo one; echo two");
    /// quick.wait();
    /// assert_eq(quick.log(1), ["two"]);
    /// ```
    #[rhai_fn(name = "log", pure, return_raw)]
    pub fn log(context: NativeCallContext, jobs: &mut Jobs, lines: i64) -> ScriptResult<Array> {
        logs(&context, jobs, Some(usize::try_from(lines).unwrap_or(0)))
    }

    #[rhai_fn(name = "log", pure, return_raw)]
    pub fn log_all(context: NativeCallContext, jobs: &mut Jobs) -> ScriptResult<Array> {
        logs(&context, jobs, None)
    }

    /// Removes the job's log from the nodes. Throws while it still runs.
    ///
    /// # Example
    /// ```rhai
    /// let quick = deployment().node("client-0").job("true");
    /// quick.wait();
    /// quick.forget();
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn forget(context: NativeCallContext, jobs: &mut Jobs) -> ScriptResult<()> {
        let host = Host::of(&context);
        match host.reach(&context, &jobs.nodes, &Call::changes("forget", &*jobs.name))? {
            Some(fleet) => Ok(host.block_on(fleet.forget_jobs(jobs))?),
            None => Ok(()),
        }
    }

    /// The job's name on its nodes.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes("client").jobs("load").name, "load");
    /// ```
    #[rhai_fn(get = "name", pure)]
    pub fn name(jobs: &mut Jobs) -> String {
        jobs.name.clone()
    }

    /// The nodes it runs on.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(deployment().nodes("client").jobs("load").nodes.len, 1);
    /// ```
    #[rhai_fn(get = "nodes", pure)]
    pub fn nodes(jobs: &mut Jobs) -> NodeSet {
        jobs.nodes.clone()
    }
}
