//! Packages of nodes' own package managers.

use crate::base::error::{Error, Result};
use crate::base::suggest::did_you_mean;
use crate::domain::node::NodeSet;
use crate::domain::resource::Resource;
use crate::domain::resource::kinds::{PackageIndex, PackageState, Packages};
use crate::script::options::{shown, strings};
use crate::script::wanting::{Asked, Common, refuse_local, want};
use crate::script::{Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for another apt: unattended upgrades take minutes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(600);

/// One of a few words.
pub fn word<T: Copy>(function: &str, option: &str, given: &str, words: &[(&str, T)]) -> Result<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
        Ok(*value)
    } else {
        let error = Error::usage(format!("option \"{option}\" of {function} cannot be \"{given}\""));
        Err(error.hint_if(did_you_mean(given, words.iter().map(|(word, _)| *word))))
    }
}

fn installed(context: &NativeCallContext, nodes: &NodeSet, names: &Dynamic, options: Map) -> Result<Asked> {
    let mut options = Options::new("packages", options);
    let common = Common::read(context, &mut options)?;
    let state = options.string("state")?.unwrap_or_else(|| "present".to_owned());
    let words = [("present", PackageState::Present), ("latest", PackageState::Latest), ("absent", PackageState::Absent)];
    let state = word("packages", "state", &state, &words)?;
    let update = options.bool("update")?.unwrap_or(false);
    let purge = options.bool("purge")?.unwrap_or(false);
    let recommends = options.bool("recommends")?;
    let lock_timeout = options.duration("lock_timeout")?.unwrap_or(LOCK_TIMEOUT);
    options.finish()?;
    refuse_local(nodes, "its packages")?;
    let none = || Error::usage(format!("packages takes a name or an array of names, not {}", shown(names)));
    let names = strings(names).ok_or_else(none)?;
    let packages = Packages { names, state, update, purge, recommends, lock_timeout };
    packages.check()?;
    let mut resources: Vec<Arc<dyn Resource>> = Vec::new();
    if state == PackageState::Latest {
        resources.push(Arc::new(PackageIndex { always: update, lock_timeout }));
    }
    resources.push(Arc::new(packages));
    want(context, nodes, &common, |_| Ok(resources.clone()))
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// Packages on every node, all in one transaction of its own package manager (apt, or dnf where that is there).
    ///
    /// `names` is a name or an array of names; `"nginx=1.22.1-9"` asks for one version. The lists of packages are brought up to
    /// date first when they are older than a day, or than the node's list of sources. Configuration files that are there are
    /// kept. Another process that has apt locked is waited for.
    /// Options: `state` ("present", "latest", "absent"), `update` (true: bring the lists up to date however young they are),
    /// `purge` (true: remove the configuration too), `recommends` (false: without what is only recommended),
    /// `lock_timeout` ("10m"), and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai,no_run
    /// let servers = deployment().nodes("server");
    /// servers.packages(["nginx", "curl"]);
    /// servers.packages("telnetd", #{ state: "absent", purge: true });
    /// ```
    #[rhai_fn(name = "packages", pure, return_raw)]
    pub fn packages(context: NativeCallContext, nodes: &mut Nodes, names: Dynamic, options: Map) -> ScriptResult<Asked> {
        Ok(installed(&context, nodes, &names, options)?)
    }

    #[rhai_fn(name = "packages", pure, return_raw)]
    pub fn packages_plain(context: NativeCallContext, nodes: &mut Nodes, names: Dynamic) -> ScriptResult<Asked> {
        Ok(installed(&context, nodes, &names, Map::new())?)
    }
}
