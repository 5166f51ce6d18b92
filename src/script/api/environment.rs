//! Environments of an application, as their files say them.

use crate::domain::deployment::hosts;
use crate::domain::environment;
use crate::script::api::deployment::Handle as Deployment;
use crate::script::convert::from_json;
use crate::script::roles::Call;
use crate::script::{Host, ScriptResult};
use rhai::Array;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use serde_json::json;
use std::sync::Arc;

/// An environment as scripts hold it: cheap to clone.
pub type Handle = Arc<environment::Environment>;

#[export_module]
pub mod module {
    /// An environment of an application: what `environments/<name>.yml` over `environments/common.yml` says.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/shown.yml", "app: shop\nformations: [network]\n");
    /// let e = environment("shown");
    /// assert_eq(e.stack_name, "shop-shown");
    /// ```
    pub type Environment = Handle;

    /// Reads an environment from its files. A mistake in them throws, with file and line.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/read.yml", "app: shop\nregion: eu-central-1\nformations: [network]\n");
    /// print(environment("read").region);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn environment(context: NativeCallContext, name: &str) -> ScriptResult<Environment> {
        let project = &Host::of(&context).project().root.clone();
        Ok(Arc::new(environment::Environment::load(project, name)?))
    }

    /// What its file is called.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/named.yml", "app: shop\nformations: [network]\n");
    /// assert_eq(environment("named").name, "named");
    /// ```
    #[rhai_fn(get = "name", pure)]
    pub fn name(e: &mut Environment) -> String {
        e.name.clone()
    }

    /// The application: the first part of all names.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/of-app.yml", "app: shop\nformations: [network]\n");
    /// assert_eq(environment("of-app").app, "shop");
    /// ```
    #[rhai_fn(get = "app", pure)]
    pub fn app(e: &mut Environment) -> String {
        e.app.clone()
    }

    /// The second part of all names: `env` of the file, or else its name.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/second.yml", "app: shop\nenv: two\nformations: [network]\n");
    /// assert_eq(environment("second").env, "two");
    /// ```
    #[rhai_fn(get = "env", pure)]
    pub fn env(e: &mut Environment) -> String {
        e.env.clone()
    }

    /// The region, or `()` where only the machine's AWS settings say it.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/somewhere.yml", "app: shop\nformations: [network]\n");
    /// assert_eq(environment("somewhere").region, ());
    /// ```
    #[rhai_fn(get = "region", pure)]
    pub fn region(e: &mut Environment) -> Dynamic {
        e.region.clone().map_or(Dynamic::UNIT, Into::into)
    }

    /// The name of its stack, and of the deployment of its machines: `<app>-<env>`, unless the file says another.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/stacked.yml", "app: shop\nformations: [network]\n");
    /// assert_eq(environment("stacked").stack_name, "shop-stacked");
    /// ```
    #[rhai_fn(get = "stack_name", pure)]
    pub fn stack_name(e: &mut Environment) -> String {
        e.stack.clone()
    }

    /// Whether destroying it takes its name, typed.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/kept.yml", "app: shop\nprotected: true\nformations: [network]\n");
    /// assert(environment("kept").is_protected);
    /// ```
    #[rhai_fn(get = "is_protected", pure)]
    pub fn is_protected(e: &mut Environment) -> bool {
        e.protected
    }

    /// Its groups of machines, in the file's order: maps with `name, instance_type, min, max, image, roles`.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/grouped.yml", "app: shop\nformations: [network]\ngroups: { web: { roles: [nginx], min: 2 } }\n");
    /// let web = environment("grouped").groups[0];
    /// assert_eq(web.roles, ["nginx"]);
    /// ```
    #[rhai_fn(get = "groups", pure)]
    pub fn groups(e: &mut Environment) -> Array {
        e.groups.iter().map(|g| serde_json::to_value(g).map_or(Dynamic::UNIT, |g| from_json(&g))).collect()
    }

    /// What formations and roles share, a map.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/varied.yml", "app: shop\nformations: [network]\nvariables: { size: 20 }\n");
    /// assert_eq(environment("varied").variables.size, 20);
    /// ```
    #[rhai_fn(get = "variables", pure)]
    pub fn variables(e: &mut Environment) -> Dynamic {
        from_json(&serde_json::Value::Object(e.variables.clone()))
    }

    /// Its formations as one template, merged and checked, as YAML.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/merged.yml", "app: shop\nformations: [network]\n");
    /// assert(environment("merged").template().contains("AWS::EC2::VPC"));
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn template(e: &mut Environment) -> ScriptResult<String> {
        Ok(e.template()?.to_yaml()?)
    }

    /// What the parameters of its formations get, as maps with `name`, `value` and `from`.
    ///
    /// The value is `()` where it must not be shown, and where it is the ID of an image that is still to be baked.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/filled.yml", "app: shop\nformations: [network]\n");
    /// let app = environment("filled").parameters().find(|p| p.name == "App");
    /// assert_eq(app.value, "shop");
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn parameters(e: &mut Environment) -> ScriptResult<Array> {
        let rows = environment::parameters(e)?;
        Ok(rows.iter().map(|row| from_json(&json!(row))).collect())
    }

    /// Whoever the environment names under `notify:` is told how this run ends, be it well, badly or by Ctrl-C.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/told.yml", "app: shop\nformations: [network]\n");
    /// environment("told").notify_at_end();
    /// ```
    #[rhai_fn(pure)]
    pub fn notify_at_end(context: NativeCallContext, _e: &mut Environment) {
        Host::of(&context).state().tells_end = true;
    }

    /// Finds its machines by their tags, and returns them as the deployment that they are: named like its stack.
    ///
    /// Its stack makes and ends them. A machine keeps its name while it lives; a new one gets the lowest number that is free.
    /// Afterwards all commands work on them: `opsrun ssh shop-staging web-0`.
    ///
    /// # Example
    /// ```rhai,no_run
    /// let hosts = environment("staging").hosts();
    /// hosts.nodes("web").sh("uptime");
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn hosts(context: NativeCallContext, e: &mut Environment) -> ScriptResult<Deployment> {
        let host = Host::of(&context);
        host.must_act(&context, &Call::changes("hosts", &e.name))?;
        let found = host.block_on_to_the_end(hosts::find(host.project(), e, &host.client(), &host.cx))?;
        Ok(Arc::new(found))
    }

    /// The environment as text: its name.
    ///
    /// # Example
    /// ```rhai
    /// file::write("environments/shown.yml", "app: shop\nformations: [network]\n");
    /// assert_eq(`${environment("shown")}`, "shown");
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_string(e: &mut Environment) -> String {
        e.name.clone()
    }
}
