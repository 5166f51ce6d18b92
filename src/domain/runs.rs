//! What a script run leaves in its deployment's folder: `runs/<time>-<script>/log.txt` and `manifest.json`.

use super::deployment::Deployment;
use super::environment::Environment;
use super::node::Node;
use super::role::Role;
use crate::base::checksum::sha256;
use crate::base::error::{Error, IoResultExt, Result};
use crate::base::event::{Event, Events, Level, Listener, Stream};
use crate::base::project::Project;
use crate::base::secret;
use crate::transport::state::atomic;
use jiff::Timestamp;
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Who ran what, on which nodes, and how it ended.
#[derive(Clone, Debug, Serialize)]
struct Manifest {
    schema: u32,
    opsrun: &'static str,
    script: PathBuf,
    script_sha256: String,
    /// The roles that a deploy applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    args: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    deployment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    nodes: Vec<ManifestNode>,
    started: Timestamp,
    ended: Option<Timestamp>,
    /// `running`, `done`, `failed`, `interrupted`; `running` in a folder nobody writes to means that opsrun was killed.
    outcome: &'static str,
    error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ManifestNode {
    name: String,
    address: String,
}

impl Manifest {
    /// A run that has begun.
    fn new(deployment: &str, script: PathBuf, text: &[u8], args: &[String]) -> Self {
        Self {
            schema: 1,
            opsrun: env!("CARGO_PKG_VERSION"),
            script,
            script_sha256: sha256(text),
            roles: Vec::new(),
            args: args.iter().map(|a| secret::mask(a).into_owned()).collect(),
            environment: None,
            deployment: deployment.to_owned(),
            uuid: None,
            nodes: Vec::new(),
            started: Timestamp::now(),
            ended: None,
            outcome: "running",
            error: None,
        }
    }
}

/// Where the runs of environments' verbs are, among the deployments: no deployment can be called this.
const VERBS: &str = ".environments";

/// The folder of one script run.
#[derive(Debug)]
pub struct RunFolder {
    dir: PathBuf,
    manifest: Manifest,
}

impl RunFolder {
    /// Makes the folder, with a manifest that says the run has begun.
    pub fn begin(deployment: &Deployment, run_name: &str, script: &Path, args: &[String]) -> Result<Self> {
        let text = std::fs::read(script).at("read", script)?;
        let script = std::path::absolute(script).unwrap_or_else(|_| script.to_owned());
        Self::make(deployment, run_name, script, &text, Vec::new(), args)
    }

    /// As `begin`, for roles: their scripts are what is run.
    pub fn begin_deploy(deployment: &Deployment, run_name: &str, roles: &[Arc<Role>], args: &[String]) -> Result<Self> {
        let text: Vec<u8> = roles.iter().flat_map(|r| r.main.content.iter().copied()).collect();
        let names = roles.iter().map(|r| r.name.clone()).collect();
        Self::make(deployment, run_name, PathBuf::from("opsrun deploy"), &text, names, args)
    }

    fn make(
        deployment: &Deployment,
        run_name: &str,
        script: PathBuf,
        text: &[u8],
        roles: Vec<String>,
        args: &[String],
    ) -> Result<Self> {
        let node = |n: &Arc<Node>| ManifestNode { name: n.name.clone(), address: n.endpoint.address() };
        let manifest = Manifest {
            roles,
            uuid: Some(deployment.uuid().to_string()),
            nodes: deployment.nodes().iter().map(node).collect(),
            ..Manifest::new(deployment.name(), script, text, args)
        };
        Self::made(deployment.dir().join("runs").join(run_name), manifest)
    }

    /// As `begin`, for a verb of an environment, whose machines may not exist yet: in a folder beside the deployments.
    pub fn begin_verb(
        project: &Project,
        environment: &Environment,
        run_name: &str,
        script: &str,
        text: &str,
        args: &[String],
    ) -> Result<Self> {
        let manifest = Manifest::new(&environment.stack, PathBuf::from(script), text.as_bytes(), args);
        let dir = project.deployments().join(VERBS).join(&environment.name).join(run_name);
        Self::made(dir, Manifest { environment: Some(environment.name.clone()), ..manifest })
    }

    fn made(dir: PathBuf, manifest: Manifest) -> Result<Self> {
        std::fs::create_dir_all(&dir).at("make", &dir)?;
        let folder = Self { dir, manifest };
        folder.save()?;
        Ok(folder)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Events that go to `onward` and, as text, to the folder's log.
    pub fn logged(&self, onward: Events) -> Result<Events> {
        let path = self.dir.join("log.txt");
        let file = File::create(&path).at("make", &path)?;
        Ok(Events::new(Log { file: Mutex::new(file), onward }))
    }

    /// Keeps a result beside the log.
    pub fn keep(&self, name: &str, content: &[u8]) -> Result<()> {
        atomic::write_lightly(&self.dir.join(name), content, 0o644)
    }

    /// Writes down how the run ended. A run that removed its own deployment leaves nothing, and that is fine.
    pub fn end<T>(mut self, outcome: &Result<T>) -> Result<()> {
        if !self.dir.is_dir() {
            return Ok(());
        }
        self.manifest.ended = Some(Timestamp::now());
        self.manifest.outcome = match outcome {
            Ok(_) => "done",
            Err(e) if e.is_cancelled() => "interrupted",
            Err(_) => "failed",
        };
        self.manifest.error = outcome.as_ref().err().map(|e| secret::mask(&e.to_string()).into_owned());
        self.save()
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.manifest).map_err(|e| Error::internal(format!("manifest: {e}")))?;
        atomic::write_lightly(&self.dir.join("manifest.json"), &text, 0o644)
    }
}

/// Passes events on and keeps those with text.
struct Log {
    file: Mutex<File>,
    onward: Events,
}

impl Listener for Log {
    fn event(&self, event: Event) {
        let line = match &event {
            Event::Line { node, stream, text } => {
                let mark = if *stream == Stream::Stderr { "!" } else { "|" };
                Some(format!("{node} {mark} {text}"))
            }
            Event::Note { level: Level::Warn, text } => Some(format!("warning: {text}")),
            Event::Print { text } | Event::Note { text, .. } => Some(text.clone()),
            Event::Begin { label, .. } => Some(format!("… {label}")),
            _ => None,
        };
        if let (Some(line), Ok(mut file)) = (line, self.file.lock()) {
            // A log that cannot be written (disk full) must not end an experiment.
            let line = unpainted(&line);
            let _ = writeln!(file, "{} {}", Timestamp::now().strftime("%H:%M:%S%.3f"), secret::mask(&line));
        }
        self.onward.send(event);
    }
}

/// The text without the colours that it has on a terminal.
fn unpainted(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    out
}
