//! `opsrun aws`: what is only about Amazon's cloud.

use super::App;
use crate::base::error::Result;
use crate::domain::deployment;
use clap::Subcommand;

/// What is only about Amazon's cloud
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun aws policy > opsrun-policy.json
  aws iam create-policy --policy-name opsrun --policy-document \"$(opsrun aws policy)\"")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Print the IAM policy that allows all that opsrun does, and nothing else
    #[command(after_help = "\
Examples:
  opsrun aws policy > opsrun-policy.json

What exists may be changed and deleted only where it carries the tag opsrun:uuid. An `instance_profile` in a config needs
iam:PassRole for its role besides.")]
    Policy,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    match args.what {
        What::Policy => app.ui.json(&deployment::aws_policy()),
    }
}
