//! `opsrun cp NAME SOURCE… TARGET`: files to nodes and from them.

use super::App;
use super::complete::{deployments, places};
use crate::base::error::{Error, Result};
use crate::domain::deployment::open_awake;
use crate::domain::fleet::{Fleet, GetOptions, MirrorOptions, PutOptions};
use crate::domain::node::NodeSet;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use std::path::Path;

/// Copy files and folders to nodes, or from them
///
/// One side is NODES:PATH, where NODES is a group, a name, a glob, or several separated by commas; the path is relative to
/// the login folder. Files are replaced whole or not at all, verified by checksum, and keep their modes and times.
///
/// From several nodes, each one's copy goes to TARGET/NODE/. The content of a folder goes into the target folder, which is
/// made when missing.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  opsrun cp 4504 app.conf 'server-*:/etc/app/' --sudo
  opsrun cp 4504 server-0:/var/log/app.log .
  opsrun cp 4504 server:/var/log/app logs           makes logs/server-0/app, logs/server-1/app …
  opsrun cp 4504 site/ client:site --mirror --delete --exclude '*.tmp'")]
pub struct Args {
    /// The deployment
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(deployments))]
    name: String,
    /// What to copy
    #[arg(value_name = "SOURCE", required = true, add = ArgValueCompleter::new(places))]
    sources: Vec<String>,
    /// Where to
    #[arg(value_name = "TARGET", add = ArgValueCompleter::new(places))]
    target: String,
    /// As root on the nodes
    #[arg(long)]
    sudo: bool,
    /// As this user on the nodes
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Give the copies on the nodes to USER, USER:GROUP or :GROUP
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Give files on the nodes this mode, for instance 0644
    #[arg(long, value_name = "MODE", value_parser = mode, conflicts_with = "mirror")]
    mode: Option<u32>,
    /// Send only files of a folder that differ, as rsync does
    #[arg(long)]
    mirror: bool,
    /// With --mirror: remove what is not here
    #[arg(long, requires = "mirror")]
    delete: bool,
    /// With --mirror: neither send nor remove what matches; may be given again
    #[arg(long, value_name = "PATTERN", requires = "mirror")]
    exclude: Vec<String>,
    /// With --mirror: compare contents, not times
    #[arg(long, requires = "mirror")]
    checksum: bool,
}

fn mode(text: &str) -> std::result::Result<u32, String> {
    let bits = u32::from_str_radix(text.trim_start_matches("0o"), 8).ok().filter(|bits| *bits <= 0o7777);
    bits.ok_or_else(|| "expected an octal mode such as 0644".to_owned())
}

/// `server-0:path`, as scp decides it: a colon before the first slash.
fn remote(word: &str) -> Option<(&str, &str)> {
    let (nodes, path) = word.split_once(':')?;
    (!nodes.contains('/') && !nodes.is_empty()).then_some((nodes, if path.is_empty() { "." } else { path }))
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let sources: Vec<Option<(&str, &str)>> = args.sources.iter().map(|s| remote(s)).collect();
    if let Some((nodes, path)) = remote(&args.target) {
        if let Some(at) = sources.iter().position(Option::is_some) {
            let message = format!("\"{}\" and \"{}\" are both on nodes", args.sources[at], args.target);
            return Err(Error::usage(message).hint("Copy it here first, then to the other node."));
        }
        for source in &args.sources {
            std::fs::metadata(source).map_err(|e| Error::io("copy", source, &e))?;
        }
        let (fleet, all) = open(args, app)?;
        return to_nodes(args, app, &fleet, &all.select(nodes)?, path);
    }
    let sources: Option<Vec<(&str, &str)>> = sources.into_iter().collect();
    let sources = sources.ok_or_else(|| {
        let message = format!("\"{}\" is on this machine, and so is the other side", args.target);
        Error::usage(message).hint("Write it like scp's: opsrun cp NAME file server-0:dir/, or opsrun cp NAME server-0:file .")
    })?;
    if args.mirror || args.mode.is_some() || args.owner.is_some() {
        return Err(Error::usage("--mirror, --mode and --owner are for copies to nodes"));
    }
    let (fleet, all) = open(args, app)?;
    from_nodes(args, app, &fleet, &all, &sources)
}

fn open(args: &Args, app: &App) -> Result<(Fleet, NodeSet)> {
    let deployment = app.block_on(open_awake(&app.project, &args.name, &app.client(), &app.cx))?;
    Ok((Fleet::new(app.client(), app.cx.clone()), deployment.nodes().clone()))
}

fn to_nodes(args: &Args, app: &App, fleet: &Fleet, nodes: &NodeSet, path: &str) -> Result<()> {
    for source in &args.sources {
        let source = Path::new(source);
        // Several sources have one target: a folder that holds each by its name.
        let folder = match source.file_name() {
            Some(name) if args.sources.len() > 1 && source.is_dir() => {
                format!("{}/{}", path.trim_end_matches('/'), name.to_string_lossy())
            }
            _ => format!("{}/", path.trim_end_matches('/')),
        };
        let path = if args.sources.len() > 1 { &folder } else { path };
        if args.mirror {
            let options = MirrorOptions {
                sudo: args.sudo,
                user: args.user.clone(),
                owner: args.owner.clone(),
                delete: args.delete,
                exclude: args.exclude.clone(),
                checksum: args.checksum,
            };
            let done = app.block_on(fleet.mirror(nodes, source, path, &options)).map_err(Error::begun)?;
            for (node, done) in nodes.iter().zip(done) {
                let size = crate::base::units::format_size(done.bytes);
                app.ui.note(&format!(
                    "{}: sent {} ({size}), removed {}, unchanged {}",
                    node.name, done.sent, done.deleted, done.unchanged
                ));
            }
        } else {
            let options = PutOptions { sudo: args.sudo, user: args.user.clone(), mode: args.mode, owner: args.owner.clone() };
            app.block_on(fleet.put(nodes, source, path, &options)).map_err(Error::begun)?;
        }
    }
    Ok(())
}

fn from_nodes(args: &Args, app: &App, fleet: &Fleet, all: &NodeSet, sources: &[(&str, &str)]) -> Result<()> {
    let options = GetOptions { sudo: args.sudo, user: args.user.clone() };
    let target = Path::new(&args.target);
    if sources.len() > 1 {
        std::fs::create_dir_all(target).map_err(|e| Error::io("make the folder", target, &e))?;
    }
    for (nodes, path) in sources {
        let nodes = all.select(nodes)?;
        let name = Path::new(path.trim_end_matches('/')).file_name();
        let place = name.filter(|_| sources.len() > 1).map_or_else(|| target.to_owned(), |name| target.join(name));
        let copied = async {
            if nodes.len() == 1 {
                fleet.get(&nodes, path, &place, &options).await
            } else {
                fleet.collect(&nodes, path, target, &options).await
            }
        };
        app.block_on(copied).map_err(Error::begun)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart_as_scp_does() {
        assert_eq!(remote("server-0:/etc/x"), Some(("server-0", "/etc/x")));
        assert_eq!(remote("server-*:"), Some(("server-*", ".")));
        for local in ["./a:b", "/a:b", "plain", ":x"] {
            assert_eq!(remote(local), None, "{local}");
        }
    }
}
