//! What other programs read: an ssh_config, an Ansible inventory, a known_hosts file.

use super::NodeRecord;
use crate::base::endpoint::{Endpoint, FirstContact, HostKeyPolicy};
use crate::base::shell::quote;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// What the first line of each file says.
fn header(name: &str, uses: &str) -> String {
    format!("# Deployment {name}, written by opsrun: changes made here are overwritten.\n# {uses}\n")
}

/// An ssh_config that plain OpenSSH understands.
pub fn ssh_config(name: &str, dir: &Path, nodes: &[NodeRecord]) -> String {
    let mut out = header(name, &format!("Use: ssh -F {} NODE", dir.join("ssh_config").display()));
    let mut jumps = BTreeMap::new();
    for node in nodes {
        host_block(&mut out, dir, &node.name, &node.endpoint);
        let mut next = node.endpoint.jump.as_deref();
        while let Some(jump) = next {
            jumps.insert(jump_alias(jump), jump);
            next = jump.jump.as_deref();
        }
    }
    for (alias, jump) in jumps {
        host_block(&mut out, dir, &alias, jump);
    }
    out
}

fn jump_alias(endpoint: &Endpoint) -> String {
    format!("jump-{}-{}-{}", endpoint.user, endpoint.host, endpoint.port)
}

/// A command that goes through the jump, whose settings are in our ssh_config. OpenSSH's own ProxyJump makes the same command,
/// but without quotes, so that it fails in a folder with a blank in its name.
fn through(dir: &Path, jump: &Endpoint) -> String {
    let config = quote(&dir.join("ssh_config").display().to_string().replace('%', "%%"));
    format!("ssh -F {config} -W '[%h]:%p' {}", quote(&jump_alias(jump)))
}

fn host_block(out: &mut String, dir: &Path, alias: &str, endpoint: &Endpoint) {
    let mut line = |key: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{key} {value}");
    };
    line("\nHost", alias);
    line("  HostName", &endpoint.host.replace('%', "%%"));
    line("  Port", &endpoint.port.to_string());
    line("  User", &quoted(&endpoint.user));
    for key in &endpoint.keys {
        line("  IdentityFile", &path(key));
    }
    if !endpoint.keys.is_empty() && !endpoint.agent {
        line("  IdentitiesOnly", "yes");
    }
    if !endpoint.known_hosts.is_empty() {
        let files: Vec<String> = endpoint.known_hosts.iter().map(|p| path(p)).collect();
        line("  UserKnownHostsFile", &files.join(" "));
        line("  GlobalKnownHostsFile", "/dev/null");
    }
    line(
        "  StrictHostKeyChecking",
        match endpoint.host_keys {
            HostKeyPolicy::Strict => "yes",
            HostKeyPolicy::Pin => "accept-new",
        },
    );
    if let Some(jump) = &endpoint.jump {
        line("  ProxyCommand", &through(dir, jump));
    } else if let Some(command) = &endpoint.proxy_command {
        line("  ProxyCommand", command);
    }
}

/// A path in ssh_config: `%` begins a token there, and blanks end a word.
fn path(path: &Path) -> String {
    quoted(&path.display().to_string().replace('%', "%%"))
}

fn quoted(word: &str) -> String {
    if word.contains([' ', '\t', '#', '\'', '"', '\\']) {
        format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        word.to_owned()
    }
}

/// The options that make ssh check host keys as we do, as words for its command line.
fn host_key_options(endpoint: &Endpoint) -> Vec<String> {
    let strict = match endpoint.host_keys {
        HostKeyPolicy::Strict => "yes",
        HostKeyPolicy::Pin => "accept-new",
    };
    let mut words = vec!["-o".to_owned(), format!("StrictHostKeyChecking={strict}")];
    if !endpoint.known_hosts.is_empty() {
        let files: Vec<String> = endpoint.known_hosts.iter().map(|p| path(p)).collect();
        words.extend(["-o".to_owned(), format!("UserKnownHostsFile={}", files.join(" "))]);
        words.extend(["-o".to_owned(), "GlobalKnownHostsFile=/dev/null".to_owned()]);
    }
    if !endpoint.keys.is_empty() && !endpoint.agent {
        words.extend(["-o".to_owned(), "IdentitiesOnly=yes".to_owned()]);
    }
    words
}

/// What Ansible wants to know of each host, in the order to write it.
fn ansible_vars(dir: &Path, endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let mut vars = vec![
        ("ansible_host", endpoint.host.clone()),
        ("ansible_port", endpoint.port.to_string()),
        ("ansible_user", endpoint.user.clone()),
    ];
    if let Some(key) = endpoint.keys.first() {
        vars.push(("ansible_ssh_private_key_file", key.display().to_string()));
    }
    let mut words = host_key_options(endpoint);
    if let Some(jump) = &endpoint.jump {
        words.extend(["-o".to_owned(), format!("ProxyCommand={}", through(dir, jump))]);
    } else if let Some(command) = &endpoint.proxy_command {
        words.extend(["-o".to_owned(), format!("ProxyCommand={command}")]);
    }
    vars.push(("ansible_ssh_common_args", shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()));
    vars
}

/// Groups in the order of their first node.
fn by_group(nodes: &[NodeRecord]) -> Vec<(&str, Vec<&NodeRecord>)> {
    let mut groups: Vec<(&str, Vec<&NodeRecord>)> = Vec::new();
    for node in nodes {
        match groups.iter_mut().find(|(name, _)| *name == node.group) {
            Some((_, members)) => members.push(node),
            None => groups.push((&node.group, vec![node])),
        }
    }
    groups
}

/// An Ansible inventory in INI form.
pub fn inventory(name: &str, dir: &Path, nodes: &[NodeRecord]) -> String {
    let mut out = header(name, &format!("Use: ansible -i {} all -m ping", dir.join("inventory").display()));
    for (group, members) in by_group(nodes) {
        let _ = write!(out, "\n[{group}]\n");
        for node in members {
            out.push_str(&node.name);
            for (key, value) in ansible_vars(dir, &node.endpoint) {
                let _ = write!(out, " {key}={}", shlex::try_quote(&value).unwrap_or_default());
            }
            out.push('\n');
        }
    }
    out
}

/// The same as the JSON that Ansible expects of a dynamic inventory's `--list`.
pub fn inventory_json(dir: &Path, nodes: &[NodeRecord]) -> serde_json::Value {
    use serde_json::{Map, Value, json};
    let hosts: Map<String, Value> = nodes
        .iter()
        .map(|node| {
            let vars = ansible_vars(dir, &node.endpoint);
            (node.name.clone(), vars.into_iter().map(|(k, v)| (k.to_owned(), Value::String(v))).collect::<Map<_, _>>().into())
        })
        .collect();
    let mut out = Map::new();
    out.insert("_meta".to_owned(), json!({ "hostvars": hosts }));
    for (group, members) in by_group(nodes) {
        out.insert(group.to_owned(), json!({ "hosts": members.iter().map(|n| &n.name).collect::<Vec<_>>() }));
    }
    Value::Object(out)
}

/// What known_hosts files call it.
pub fn host_field(endpoint: &Endpoint) -> String {
    let host = endpoint.host.to_ascii_lowercase();
    if endpoint.port == 22 { host } else { format!("[{host}]:{}", endpoint.port) }
}

/// The known_hosts file: the keys providers told, and those pinned at first contact with nodes that still exist. `old` are the
/// nodes as they were when the file was written last: a machine takes its keys along when its address changes, and another one
/// at its old address begins without.
pub fn known_hosts(before: &str, old: &[NodeRecord], nodes: &[NodeRecord]) -> String {
    let told: BTreeSet<String> =
        nodes.iter().filter(|n| told_keys(n).next().is_some()).map(|n| host_field(&n.endpoint)).collect();
    let mut all: BTreeSet<String> = BTreeSet::new();
    for node in nodes {
        let mut next = Some(&node.endpoint);
        while let Some(endpoint) = next {
            all.insert(host_field(endpoint));
            next = endpoint.jump.as_deref();
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for line in before.lines() {
        let hosts = line.split_whitespace().next().unwrap_or_default();
        // A hashed or many-named line was put there by someone else: theirs to keep.
        if hosts.starts_with('|') || hosts.contains(',') {
            lines.push(line.to_owned());
            continue;
        }
        let was = old.iter().find(|n| n.id.is_some() && host_field(&n.endpoint) == hosts);
        let now = match was {
            Some(was) => nodes.iter().find(|n| n.id == was.id).map(|n| host_field(&n.endpoint)),
            None => Some(hosts.to_owned()),
        };
        if let Some(now) = now.filter(|now| all.contains(now) && !told.contains(now)) {
            lines.push(line.replacen(hosts, &now, 1));
        }
    }
    for node in nodes {
        lines.extend(told_keys(node).map(|key| format!("{} {}", host_field(&node.endpoint), key.trim())));
    }
    lines.dedup();
    lines.into_iter().map(|line| line + "\n").collect()
}

/// The keys by which a node may be known.
fn told_keys(node: &NodeRecord) -> impl Iterator<Item = &String> {
    let given = match &node.first_contact {
        Some(FirstContact::Given(key)) => Some(key),
        _ => None,
    };
    given.into_iter().chain(&node.host_keys)
}
