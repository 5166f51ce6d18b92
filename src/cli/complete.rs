//! What Tab offers where a deployment is to be named.

use crate::base::project::Project;
use crate::transport::state;
use clap_complete::engine::CompletionCandidate;

/// Returns the names of all deployments of the project that the working directory is in.
pub fn deployments() -> Vec<CompletionCandidate> {
    let names = Project::find().and_then(|project| state::names(&project.deployments())).unwrap_or_default();
    names.into_iter().map(CompletionCandidate::new).collect()
}
