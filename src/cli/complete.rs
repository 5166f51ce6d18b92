//! What Tab offers on the command line: deployments, their nodes and groups, scripts and their options, names of the manual.

use super::{App, Cli};
use crate::base::cancel::Cancel;
use crate::base::event::{Cx, Events};
use crate::base::project::Project;
use crate::domain::deployment::Deployment;
use crate::domain::{environment, image, role};
use crate::script::{Host, HostSettings, reference, run, verbs};
use crate::transport::ssh::{Client, Settings};
use crate::transport::state;
use crate::ui::{Ui, UiSettings};
use clap::{Arg, Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, SubcommandCandidates, ValueCompleter};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The command line as Tab sees it: with the bare form `opsrun SCRIPT.rhai NAME …` as a command of its own.
pub fn command() -> Command {
    let command = Cli::command().allow_external_subcommands(true).add(SubcommandCandidates::new(bare_scripts));
    // What stands first is an environment; its verbs follow.
    let behind = words().into_iter().skip_while(|w| w != "manage").skip(1).filter(|w| !w.to_string_lossy().starts_with('-'));
    let command = if behind.count() > 1 { command.mut_subcommand("manage", with_verbs) } else { command };
    match bare_script(&words()) {
        Some(script) => command.subcommand(
            Command::new(script)
                .hide(true)
                .arg(Arg::new("words").num_args(0..).allow_hyphen_values(true).add(ArgValueCompleter::new(ScriptWords))),
        ),
        None => command,
    }
}

/// The procedures of `manage.rhai` as commands, each with its options.
fn with_verbs(manage: Command) -> Command {
    let Some((host, _app)) = quiet_host() else { return manage };
    let verbs = verbs::list(&host).unwrap_or_default();
    verbs.into_iter().fold(manage, |manage, verb| {
        let options: Vec<String> = verb.options().iter().map(|o| typed(o)).chain(["--json".to_owned()]).collect();
        let complete = move |current: &OsStr| {
            let current = current.to_string_lossy();
            options.iter().filter(|o| o.starts_with(&*current)).map(CompletionCandidate::new).collect()
        };
        let words = Arg::new("words").num_args(0..).allow_hyphen_values(true).add(ArgValueCompleter::new(complete));
        manage.subcommand(Command::new(verb.name.clone()).about(verb.summary().to_owned()).arg(words))
    })
}

/// `--rows=` of `--rows=1000`, `--fast` of `--fast=false`: what is worth completing.
fn typed(option: &str) -> String {
    match option.split_once('=') {
        Some((name, "true" | "false")) => name.to_owned(),
        Some((name, _)) => format!("{name}="),
        None => option.to_owned(),
    }
}

/// Returns the names of all deployments of the project that the working directory is in.
pub fn deployments() -> Vec<CompletionCandidate> {
    deployment_names().into_iter().map(CompletionCandidate::new).collect()
}

/// Returns the names of the images in this user's cache.
pub fn images() -> Vec<CompletionCandidate> {
    let images = Project::find().and_then(|project| image::images(&project)).unwrap_or_default();
    images.into_iter().map(|line| CompletionCandidate::new(line.image.name)).collect()
}

/// Environments of the project.
pub fn environments(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let names = Project::find().map(|project| environment::names(&project.root)).unwrap_or_default();
    names.into_iter().filter(|name| name.starts_with(&*current)).map(CompletionCandidate::new).collect()
}

/// Roles of the project and of the standard library; after a comma, those that may follow.
pub fn roles(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let (before, last) = match current.rfind(',') {
        Some(comma) => current.split_at(comma + 1),
        None => ("", &*current),
    };
    let names = Project::find().map(|project| role::names(&project.root)).unwrap_or_default();
    let names = names.into_iter().filter(|(name, _)| name.starts_with(last));
    names.map(|(name, folder)| CompletionCandidate::new(format!("{before}{name}")).help(Some(folder.into()))).collect()
}

/// Groups and nodes of the deployment on the command line; after a comma, those that may follow.
pub fn selectors(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let (before, last) = match current.rfind(',') {
        Some(comma) => current.split_at(comma + 1),
        None => ("", &*current),
    };
    let mut found = groups_and_nodes(true);
    found.retain(|name| name.starts_with(last));
    found.into_iter().map(|name| CompletionCandidate::new(format!("{before}{name}"))).collect()
}

/// Nodes of the deployment on the command line; `user@` may stand before them.
pub fn nodes(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let (user, name) = current.split_at(current.find('@').map_or(0, |at| at + 1));
    let mut found = groups_and_nodes(false);
    found.retain(|n| n.starts_with(name));
    found.into_iter().map(|n| CompletionCandidate::new(format!("{user}{n}"))).collect()
}

/// A path here, or `NODES:` for one there.
pub fn places(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    if typed.contains(':') {
        return Vec::new();
    }
    let there = groups_and_nodes(true).into_iter().filter(|n| n.starts_with(&*typed));
    let mut found: Vec<CompletionCandidate> = there.map(|n| CompletionCandidate::new(format!("{n}:"))).collect();
    found.extend(PathCompleter::any().complete(current));
    found
}

/// Scripts, and folders on the way to them.
pub fn scripts(current: &OsStr) -> Vec<CompletionCandidate> {
    PathCompleter::any().filter(|p| p.extension().is_some_and(|e| e == "rhai")).complete(current)
}

/// The scripts that may stand in place of a command.
fn bare_scripts() -> Vec<CompletionCandidate> {
    if let Some(typed) = words().last().filter(|w| !w.is_empty()) {
        return scripts(typed);
    }
    let near = ["", "scripts/"].iter().flat_map(|dir| scripts(OsStr::new(dir)));
    near.filter(|c| c.get_value().to_string_lossy().ends_with(".rhai")).collect()
}

/// What the manual has pages for.
pub fn topics() -> Vec<CompletionCandidate> {
    let Some(entries) = quiet_host().and_then(|(host, _app)| reference::entries(&host).ok()) else { return Vec::new() };
    let ours = entries.iter().filter(|e| e.module != "rhai");
    ours.map(|e| CompletionCandidate::new(e.name.clone()).help(Some(e.summary().to_owned().into()))).collect()
}

/// The words after a script: the deployment first, then paths; and the options that the script declares.
#[derive(Clone, Copy, Debug)]
pub struct ScriptWords;

impl ValueCompleter for ScriptWords {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let typed = current.to_string_lossy();
        if typed.starts_with('-') {
            let mut options = script_options();
            options.retain(|o| o.starts_with(&*typed));
            return options.into_iter().map(CompletionCandidate::new).collect();
        }
        let words = words();
        let after = words.iter().skip_while(|w| !is_script(w)).skip(1).filter(|w| !w.to_string_lossy().starts_with('-'));
        let begins = |name: &String| name.starts_with(&*typed);
        if after.count() <= 1 {
            let names: Vec<String> = deployment_names().into_iter().filter(begins).collect();
            if !names.is_empty() {
                return names.into_iter().map(CompletionCandidate::new).collect();
            }
        }
        PathCompleter::any().complete(current)
    }
}

/// `--rows=` of a script that says `params(#{ rows: 1000 })`.
fn script_options() -> Vec<String> {
    let Some(script) = words().into_iter().find(is_script).map(PathBuf::from) else { return Vec::new() };
    let Some(help) = quiet_host().and_then(|(host, _app)| run::help(&host, &script).ok()) else { return Vec::new() };
    help.split_whitespace().filter(|w| w.starts_with("--")).map(typed).collect()
}

/// A host that says nothing, because whatever it said would land in the line being typed.
fn quiet_host() -> Option<(Arc<Host>, App)> {
    let app = App::new(Ui::new(UiSettings { quiet: true, ..UiSettings::default() })).ok()?;
    let host = Host::new(HostSettings {
        project: app.project.clone(),
        cx: Cx::new(Cancel::new(), Events::none()),
        handle: app.handle(),
        words: Vec::new(),
        deployment: None,
        client: Client::new(Settings::default()),
        run_name: String::new(),
        ask_secret: None,
        ask: None,
        paint: None,
    });
    Some((host, app))
}

fn deployment_names() -> Vec<String> {
    Project::find().and_then(|project| state::names(&project.deployments())).unwrap_or_default()
}

/// The words of the line being typed, without the program's name: shells hand them over after `--`.
fn words() -> Vec<OsString> {
    std::env::args_os().skip_while(|w| w != "--").skip(2).collect()
}

fn is_script(word: &OsString) -> bool {
    Path::new(word).extension().is_some_and(|e| e == "rhai")
}

/// The script, when the first word is one and more words follow.
fn bare_script(words: &[OsString]) -> Option<String> {
    let at = words.iter().position(|w| !w.to_string_lossy().starts_with('-'))?;
    (is_script(&words[at]) && at + 1 < words.len()).then(|| words[at].to_string_lossy().into_owned())
}

/// Of the deployment that the line names: the first word that is the name of one.
fn groups_and_nodes(groups: bool) -> Vec<String> {
    let Ok(project) = Project::find() else { return Vec::new() };
    let words = words();
    let named = words.iter().filter_map(|w| w.to_str()).find(|w| Deployment::exists(&project, w));
    let Some(deployment) = named.and_then(|name| Deployment::open(&project, name).ok()) else { return Vec::new() };
    let mut found = Vec::new();
    if groups {
        found.extend(deployment.nodes().iter().map(|n| n.group.clone()));
        found.dedup();
    }
    found.extend(deployment.nodes().names());
    found
}
