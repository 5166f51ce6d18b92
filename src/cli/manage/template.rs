//! `opsrun manage NAME template` and `parameters`.

use super::App;
use crate::base::error::Result;
use crate::cli::table::{columns, row};
use crate::domain::environment::{self, Environment};
use crate::domain::formation::INLINE_LIMIT;

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
    environment.values(&template, &environment.baked())?;
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
    let told = environment::parameters(environment)?;
    if args.json {
        return app.ui.json(&told);
    }
    let mut rows = vec![row(["PARAMETER", "VALUE", "FROM"])];
    rows.extend(told.iter().map(|p| match (&p.value, p.from.as_str()) {
        (Some(value), from) => row([&p.name, value, from]),
        (None, "baked") => row([&p.name, "", "baked from the roles of the group"]),
        (None, from) => row([&p.name, "***", from]),
    }));
    app.ui.data(&columns(&rows));
    Ok(())
}
