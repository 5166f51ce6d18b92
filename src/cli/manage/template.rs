//! `opsrun manage NAME template` and `parameters`.

use super::App;
use crate::base::error::Result;
use crate::cli::table::{columns, row};
use crate::domain::environment::{Environment, Origin, camel};
use crate::domain::formation::INLINE_LIMIT;
use serde_json::json;

/// Print the formations as one template, merged and checked
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun manage staging template > staging.yml
  opsrun manage staging template | cfn-lint

Found before anything is asked of AWS: logical IDs that clash, references to nothing, parameters that nothing uses, circles,
limits, data without a DeletionPolicy and an UpdateReplacePolicy, values that do not fit their parameters.")]
pub struct Args {}

/// Show what the parameters of the formations get, and from where
#[derive(clap::Args, Debug)]
#[command(after_help = "--json prints an array with one object a parameter: name, value (null when it is hidden), from.")]
pub struct ParametersArgs {
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(_: &Args, environment: &Environment, app: &App) -> Result<()> {
    let template = environment.template()?;
    environment.values(&template, &baked(environment))?;
    let yaml = template.to_yaml()?;
    if yaml.len() > INLINE_LIMIT && environment.bucket.is_none() {
        app.ui.warn(&format!(
            "the template has {} bytes, and AWS takes {INLINE_LIMIT} with a call: name a bucket for it (`bucket:`)",
            yaml.len()
        ));
    }
    for (capability, cause) in template.capabilities() {
        app.ui.note(&format!("needs {capability}, for {cause}"));
    }
    app.ui.data(&yaml);
    Ok(())
}

pub fn parameters(args: &ParametersArgs, environment: &Environment, app: &App) -> Result<()> {
    let template = environment.template()?;
    let baked = baked(environment);
    let values = environment.values(&template, &baked)?;
    let from = |origin: &Origin| match origin {
        Origin::Given => "parameters".to_owned(),
        Origin::Derived(from) => from.clone(),
        Origin::Default => "default".to_owned(),
    };
    let made = baked.iter().filter(|name| template.parameters().iter().any(|p| p.key == **name));
    if args.json {
        let values = values.iter().map(|v| json!({ "name": v.name, "value": v.plain(), "from": from(&v.origin) }));
        let made = made.map(|name| json!({ "name": name, "value": null, "from": "baked" }));
        return app.ui.json(&values.chain(made).collect::<Vec<_>>());
    }
    let mut rows = vec![row(["PARAMETER", "VALUE", "FROM"])];
    rows.extend(values.iter().map(|v| row([&v.name, v.shown(), &from(&v.origin)])));
    rows.extend(made.map(|name| row([name, "", "baked from the roles of the group"])));
    app.ui.data(&columns(&rows));
    Ok(())
}

/// Parameters that get the ID of an image that opsrun bakes.
fn baked(environment: &Environment) -> Vec<String> {
    let with_roles = environment.groups.iter().filter(|g| !g.roles.is_empty());
    with_roles.map(|g| camel(&format!("{}_image", g.name))).collect()
}
