//! What systemd runs on nodes: services, units, timers.

use crate::base::error::{Error, Result};
use crate::domain::node::NodeSet;
use crate::domain::resource::Resource;
use crate::domain::resource::kinds::{
    Access, Directory, File, NoUnit, Run, Service, Timer, Unit, drop_in_path, unit_name, unit_path,
};
use crate::script::api::packages::word;
use crate::script::api::remote::command_line;
use crate::script::api::resources::{access, access_given, is_absent, nothing_else};
use crate::script::roles::Folder;
use crate::script::wanting::{Asked, Common, content, holds_secret, refuse_local, want};
use crate::script::{Host, Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{NativeCallContext, export_module};
use std::sync::Arc;

/// The options `state` and `enabled` of a unit.
fn running(function: &str, options: &mut Options) -> Result<(Option<Run>, Option<bool>)> {
    let words =
        [("started", Run::Started), ("stopped", Run::Stopped), ("restarted", Run::Restarted), ("reloaded", Run::Reloaded)];
    let run = options.string("state")?.map(|s| word(function, "state", &s, &words)).transpose()?;
    Ok((run, options.bool("enabled")?))
}

fn service_of(context: &NativeCallContext, nodes: &NodeSet, name: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("service", options);
    let common = Common::read(context, &mut options)?;
    let (run, enabled) = running("service", &mut options)?;
    options.finish()?;
    refuse_local(nodes, "its services")?;
    if run.is_none() && enabled.is_none() {
        return Err(Error::usage("service is not told what to do").hint("Give it \"state\", \"enabled\", or both."));
    }
    let service: Arc<dyn Resource> = Arc::new(Service { unit: unit_name(name)?, run, enabled });
    want(context, nodes, &common, |_| Ok(vec![service.clone()]))
}

fn unit_of(context: &NativeCallContext, nodes: &NodeSet, name: &str, options: Map) -> Result<Asked> {
    let host = Host::of(context);
    let mut options = Options::new("unit", options);
    let common = Common::read(context, &mut options)?;
    let (text, from, drop_in) = (options.value("content"), options.string("source")?, options.string("drop_in")?);
    let (access, secret) = (access(&mut options)?, options.bool("secret")?);
    let (state, enabled) = (options.string("state")?, options.bool("enabled")?);
    options.finish()?;
    refuse_local(nodes, "its services")?;
    let unit = unit_name(name)?;
    let path = match &drop_in {
        None => unit_path(&unit),
        Some(drop_in) if unit_name(drop_in).is_ok() => drop_in_path(&unit, drop_in.trim_end_matches(".conf")),
        Some(drop_in) => return Err(Error::usage(format!("\"{}\" is no name for a drop-in", drop_in.escape_debug()))),
    };
    let mut resources: Vec<Arc<dyn Resource>> = Vec::new();
    if state.as_deref() == Some("absent") {
        nothing_else("unit", &[("content", text.is_some()), ("source", from.is_some()), ("enabled", enabled.is_some())])?;
        nothing_else("unit", &access_given(&access))?;
        resources.push(Arc::new(NoUnit { kind: "unit", unit, path }));
        return want(context, nodes, &common, |_| Ok(resources.clone()));
    }
    let run = state
        .map(|s| word("unit", "state", &s, &[("started", Run::Started), ("stopped", Run::Stopped), ("absent", Run::Stopped)]));
    let run = run.transpose()?;
    let (content, hidden) = match (text, from) {
        (Some(text), None) => content("unit", &text)?,
        (None, Some(from)) => (host.source_file(Folder::Files, &from)?.content.into(), false),
        _ => return Err(Error::usage("unit takes either \"content\" or \"source\"")),
    };
    if drop_in.is_some() {
        let folder = path.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default();
        resources.push(Arc::new(Directory { path: folder, access: Access::default() }));
    }
    let secret = secret.unwrap_or_else(|| hidden || holds_secret(&content.bytes));
    let file = File { access, secret, ..File::new(path, content) };
    resources.push(Arc::new(Unit { kind: "unit", unit: unit.clone(), file, before: None }));
    if run.is_some() || enabled.is_some() {
        resources.push(Arc::new(Service { unit, run, enabled }));
    }
    want(context, nodes, &common, |_| Ok(resources.clone()))
}

fn timer_of(context: &NativeCallContext, nodes: &NodeSet, name: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("timer", options);
    let common = Common::read(context, &mut options)?;
    let (on_calendar, command) = (options.string("on_calendar")?, options.value("command"));
    let (user, description) = (options.string("user")?, options.string("description")?);
    let persistent = options.bool("persistent")?.unwrap_or(true);
    let random_delay = options.string("random_delay")?;
    let absent = is_absent("timer", &mut options)?;
    options.finish()?;
    refuse_local(nodes, "its timers")?;
    let name = name.strip_suffix(".timer").unwrap_or(name);
    let (service, timer) = (unit_name(&format!("{name}.service"))?, unit_name(&format!("{name}.timer"))?);
    let mut resources: Vec<Arc<dyn Resource>> = Vec::new();
    if absent {
        let more = [("user", user.is_some()), ("description", description.is_some()), ("random_delay", random_delay.is_some())];
        nothing_else("timer", &[("on_calendar", on_calendar.is_some()), ("command", command.is_some())])?;
        nothing_else("timer", &more)?;
        for unit in [timer, service] {
            let path = unit_path(&unit);
            resources.push(Arc::new(NoUnit { kind: "timer", unit, path }));
        }
        return want(context, nodes, &common, |_| Ok(resources.clone()));
    }
    let missing = |what: &str| Error::usage(format!("timer is not told its \"{what}\""));
    let given = Timer {
        name: name.to_owned(),
        on_calendar: on_calendar.ok_or_else(|| missing("on_calendar"))?,
        command: command_line(&command.ok_or_else(|| missing("command"))?)?,
        user,
        description,
        persistent,
        random_delay,
    };
    given.check()?;
    let file = |unit: &str, text: String| File::new(unit_path(unit), text.into_bytes());
    let files = [(&service, given.service_text()), (&timer, given.timer_text())];
    for (unit, text) in files {
        let before = Some(given.precheck());
        resources.push(Arc::new(Unit { kind: "timer", unit: unit.clone(), file: file(unit, text), before }));
    }
    resources.push(Arc::new(Service { unit: timer, run: Some(Run::Started), enabled: Some(true) }));
    want(context, nodes, &common, |_| Ok(resources.clone()))
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// A service (or any other unit) of systemd on every node: running or not, now and at boot.
    ///
    /// Options: `state` ("started", "stopped"; "restarted" and "reloaded" do so every time: rather `notify` a handler),
    /// `enabled` (whether it is started at boot), and those of every resource (see `file`).
    /// A service that does not start, or dies at once, is an error with the last lines of its journal.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let servers = deployment().nodes("server");
    /// servers.service("nginx", #{ state: "started", enabled: true });
    /// ```
    #[rhai_fn(name = "service", pure, return_raw)]
    pub fn service(context: NativeCallContext, nodes: &mut Nodes, name: &str, options: Map) -> ScriptResult<Asked> {
        Ok(service_of(&context, nodes, name, options)?)
    }

    /// A unit file of systemd on every node, in /etc/systemd/system. systemd is told of every change.
    ///
    /// The content is given as `content` or `source`, as for `file`. A unit that runs goes on by its old text until it is
    /// restarted: `notify: "restart NAME"`.
    /// Options: `drop_in` (a name: the content is added to a unit that is there already), `state` ("started", "stopped";
    /// "absent": stopped, disabled and removed), `enabled`, `mode`, `owner`, `group`, `secret`, and those of every resource
    /// (see `file`).
    ///
    /// # Example
    /// ```rhai,no_run
    /// let servers = deployment().nodes("server");
    /// servers.unit("app", #{
    ///     content: "[Service]\nExecStart=/opt/app/run\nRestart=always\n[Install]\nWantedBy=multi-user.target\n",
    ///     state: "started", enabled: true,
    /// });
    /// servers.unit("nginx", #{ drop_in: "limits", content: "[Service]\nLimitNOFILE=65536\n" });
    /// ```
    #[rhai_fn(name = "unit", pure, return_raw)]
    pub fn unit(context: NativeCallContext, nodes: &mut Nodes, name: &str, options: Map) -> ScriptResult<Asked> {
        Ok(unit_of(&context, nodes, name, options)?)
    }

    /// A command that systemd runs at times of the calendar on every node: a timer and its service.
    ///
    /// Options: `on_calendar` ("daily", "Mon..Fri 04:30", "*:0/10": see systemd.time), `command` (a line for the shell, or an
    /// array of words), `user`, `description`, `persistent` (true: what was missed while the machine was off is run at its
    /// start), `random_delay` ("5min": wait up to so long), `state` ("absent"), and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai,no_run
    /// let servers = deployment().nodes("server");
    /// servers.timer("backup", #{ on_calendar: "*-*-* 03:00", command: "/usr/local/bin/backup --all" });
    /// servers.timer("old-backup", #{ state: "absent" });
    /// ```
    #[rhai_fn(name = "timer", pure, return_raw)]
    pub fn timer(context: NativeCallContext, nodes: &mut Nodes, name: &str, options: Map) -> ScriptResult<Asked> {
        Ok(timer_of(&context, nodes, name, options)?)
    }
}
