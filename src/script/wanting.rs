//! Between script calls and resources: brought about at once in a plain script, queued in a role.

use super::convert::type_name;
use super::host::Host;
use super::options::Options;
use super::sources::Sources;
use crate::base::error::{Error, Location, Result};
use crate::domain::fleet::gather;
use crate::domain::node::{Node, NodeSet};
use crate::domain::resource::kinds::Content;
use crate::domain::resource::{Item, Ledger, Mode, Resource, Scope, Ticket, Wanted};
use crate::domain::role::handler;
use rhai::NativeCallContext;
use std::sync::Arc;

/// What comes of asking for resources on a set of nodes. In a role it is known once the ledger is flushed.
#[derive(Clone, Debug)]
pub struct Asked {
    pub nodes: NodeSet,
    ledger: Arc<Ledger>,
    ticket: Ticket,
}

impl Asked {
    /// Whether diffs were asked for.
    pub fn shows_diffs(&self) -> bool {
        self.ledger.mode().diff
    }

    /// Each node's items, in the order of the set.
    pub fn items(&self, host: &Host) -> Result<Vec<(Arc<Node>, Vec<Item>)>> {
        if !self.ledger.is_flushed() {
            match host.acting() {
                Some(acting) => acting.flush(host)?,
                None => host.block_on_to_the_end(self.ledger.flush())?,
            }
        }
        let items = self.ledger.items(self.ticket);
        let of = |node: &Arc<Node>| {
            let mine = items.iter().filter(|(n, _)| n.name == node.name).map(|(_, item)| item.clone());
            (node.clone(), mine.collect())
        };
        Ok(self.nodes.iter().map(of).collect())
    }
}

/// What every resource function takes beside its own options.
#[derive(Clone, Default, Debug)]
pub struct Common {
    notify: Vec<String>,
    mode: Mode,
}

impl Common {
    pub fn read(context: &NativeCallContext, options: &mut Options) -> Result<Self> {
        let host = Host::of(context);
        let mut common = Self { notify: options.strings("notify")?.unwrap_or_default(), ..Self::default() };
        let (check, diff) = (options.bool("check")?, options.bool("diff")?);
        common.mode = Mode { check: check.unwrap_or(false), diff: diff.unwrap_or(false) };
        match host.acting() {
            Some(acting) => {
                common.notify.iter().try_for_each(|h| handler::check(&acting.role.name, &acting.handlers, h))?;
                if check.or(diff).is_some() {
                    return Err(Error::usage("the options \"check\" and \"diff\" are for plain scripts")
                        .hint("For a role it is said once: opsrun deploy NAME --roles … --check --diff"));
                }
            }
            None if !common.notify.is_empty() => {
                return Err(Error::usage("\"notify\" names a handler of a role, and this is a plain script")
                    .hint("Look at what is returned: if nodes.file(…).changed { … }"));
            }
            None => {}
        }
        Ok(common)
    }
}

/// Asks for resources on every node, each made for its node.
pub fn want(
    context: &NativeCallContext,
    nodes: &NodeSet,
    common: &Common,
    make: impl Fn(&Arc<Node>) -> Result<Vec<Arc<dyn Resource>>>,
) -> Result<Asked> {
    let host = Host::of(context);
    let place = host.ledger().and_then(|_| here(context, host.sources()));
    let mut wanted = Vec::new();
    for node in nodes.iter() {
        let resources = make(node).map_err(|e| if nodes.len() > 1 { e.on_node(node.name.as_str()) } else { e })?;
        let of = |resource| Wanted { resource, notify: common.notify.clone(), place: place.clone() };
        wanted.extend(resources.into_iter().map(|r| (node.clone(), of(r))));
    }
    if let Some(ledger) = host.ledger() {
        let ticket = ledger.add(wanted);
        return Ok(Asked { nodes: nodes.clone(), ledger: ledger.clone(), ticket });
    }
    let ledger = Arc::new(Ledger::new(host.fleet(), nodes, common.mode, Scope::default()));
    let ticket = ledger.add(wanted);
    host.block_on_to_the_end(ledger.flush())?;
    gather(ledger.reports().into_iter().map(|r| r.failure.map_or(Ok(()), Err)).collect())?;
    Ok(Asked { nodes: nodes.clone(), ledger, ticket })
}

/// The line of the script that calls.
fn here(context: &NativeCallContext, sources: &Sources) -> Option<Location> {
    let position = context.call_position();
    context.call_source().filter(|_| !position.is_none()).map(|source| sources.locate(source, position))
}

/// Refuses what would reach beyond a local node, which is a directory on the machine of the person at the keyboard.
pub fn refuse_local(nodes: &NodeSet, what: &str) -> Result<()> {
    let Some(node) = nodes.iter().find(|n| n.provider == "local") else { return Ok(()) };
    Err(Error::usage(format!(
        "{} is a directory on this machine (provider local): {what} would be those of this machine",
        node.name
    ))
    .hint("Try it on machines of their own: provider: machine in the config."))
}

/// A content as scripts give it: a string, a secret (then `true`), or a blob.
pub fn content(function: &str, value: &rhai::Dynamic) -> Result<(Content, bool)> {
    if let Some(blob) = value.read_lock::<rhai::Blob>() {
        return Ok((blob.as_slice().into(), false));
    }
    let secret = value.read_lock::<crate::base::secret::Secret>().is_some();
    match super::options::text(value) {
        Some(text) => Ok((text.into_bytes().into(), secret)),
        None => Err(Error::usage(format!(
            "the content of {function} must be a string, a secret or a blob, not a {}",
            type_name(value)
        ))
        .hint("Use to_yaml(x) or to_json(x) for data.")),
    }
}

/// Whether there is a secret in it that this run knows: then neither it nor what it replaces may be shown.
pub fn holds_secret(content: &[u8]) -> bool {
    std::str::from_utf8(content).is_ok_and(|text| matches!(crate::base::secret::mask(text), std::borrow::Cow::Owned(_)))
}
