//! Jobs on node sets: the same job on every node, in parallel.

use super::Fleet;
use crate::base::command::{Command, Output};
use crate::base::error::Result;
use crate::base::event::Cx;
use crate::domain::job::{self, Machine, State};
use crate::domain::node::{Node, NodeSet};
use crate::transport::ssh::Client;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// A node as jobs see it.
struct OnNode {
    client: Client,
    node: Arc<Node>,
}

#[async_trait]
impl Machine for OnNode {
    async fn run(&self, command: &Command, live: bool, cx: &Cx) -> Result<Output> {
        self.client.run(&self.node.endpoint, command, live, cx).await
    }

    fn name(&self) -> &str {
        &self.node.name
    }
}

/// The same job on every node of a set.
#[derive(Clone, Debug)]
pub struct Jobs {
    pub nodes: NodeSet,
    pub name: String,
}

impl Fleet {
    fn machine(&self, node: Arc<Node>) -> OnNode {
        OnNode { client: self.client.clone(), node }
    }

    /// Starts the command as a job on every node; one that still runs under this name goes on. Returns the process numbers.
    pub async fn start_jobs(&self, jobs: &Jobs, command: &Command) -> Result<Vec<u32>> {
        let token = job::fresh_name();
        self.all(&jobs.nodes, |fleet, node| {
            let (name, token, command) = (jobs.name.clone(), token.clone(), command.clone());
            async move { Ok(job::start(&fleet.machine(node), &name, &token, &command, &fleet.cx).await?.pid) }
        })
        .await
    }

    /// How the job stands on every node.
    pub async fn job_states(&self, jobs: &Jobs) -> Result<Vec<State>> {
        self.all(&jobs.nodes, |fleet, node| {
            let name = jobs.name.clone();
            async move { job::status(&fleet.machine(node), &name, &fleet.cx).await }
        })
        .await
    }

    /// Waits until the job has ended on every node; per node what came of it. Its log is the output's stdout.
    pub async fn wait_jobs(&self, jobs: &Jobs, timeout: Option<Duration>, keep: usize) -> Vec<Result<Output>> {
        self.each(&jobs.nodes, |fleet, node| {
            let name = jobs.name.clone();
            async move { job::wait(&fleet.machine(node), &name, timeout, keep, &fleet.cx).await }
        })
        .await
    }

    /// Stops the job on every node. Without effect where it has ended.
    pub async fn stop_jobs(&self, jobs: &Jobs, timeout: Duration) -> Result<Vec<State>> {
        self.all(&jobs.nodes, |fleet, node| {
            let name = jobs.name.clone();
            async move { job::stop(&fleet.machine(node), &name, timeout, &fleet.cx).await }
        })
        .await
    }

    /// The last lines of the job's log on every node, or all of it.
    pub async fn job_logs(&self, jobs: &Jobs, lines: Option<usize>) -> Result<Vec<Vec<u8>>> {
        self.all(&jobs.nodes, |fleet, node| {
            let name = jobs.name.clone();
            async move { job::log(&fleet.machine(node), &name, lines, &fleet.cx).await }
        })
        .await
    }

    /// Removes the job's log and folder from every node, once it has ended.
    pub async fn forget_jobs(&self, jobs: &Jobs) -> Result<()> {
        self.all(&jobs.nodes, |fleet, node| {
            let name = jobs.name.clone();
            async move { job::forget(&fleet.machine(node), &name, &fleet.cx).await }
        })
        .await
        .map(drop)
    }
}
