//! What other programs read: an ssh_config, an Ansible inventory, a known_hosts file.

use super::NodeRecord;
use crate::base::endpoint::{Endpoint, HostKeyPolicy};
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
        host_block(&mut out, &node.name, &node.endpoint);
        let mut next = node.endpoint.jump.as_deref();
        while let Some(jump) = next {
            jumps.insert(jump_alias(jump), jump);
            next = jump.jump.as_deref();
        }
    }
    for (alias, jump) in jumps {
        host_block(&mut out, &alias, jump);
    }
    out
}

fn jump_alias(endpoint: &Endpoint) -> String {
    format!("jump-{}-{}-{}", endpoint.user, endpoint.host, endpoint.port)
}

fn host_block(out: &mut String, alias: &str, endpoint: &Endpoint) {
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
        line("  ProxyJump", &jump_alias(jump));
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
        // The jump's own settings are in our ssh_config.
        let own = dir.join("ssh_config");
        words.extend(["-F".to_owned(), own.display().to_string(), "-J".to_owned(), jump_alias(jump)]);
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

/// The known_hosts file: the keys providers told, and those pinned at first contact with nodes that still exist.
pub fn known_hosts(before: &str, nodes: &[NodeRecord]) -> String {
    let address = |e: &Endpoint| if e.port == 22 { e.host.clone() } else { format!("[{}]:{}", e.host, e.port) };
    let told: BTreeSet<String> = nodes.iter().filter(|n| !n.host_keys.is_empty()).map(|n| address(&n.endpoint)).collect();
    let all: BTreeSet<String> = nodes.iter().map(|n| address(&n.endpoint)).collect();
    let mut lines: Vec<String> = before
        .lines()
        .filter(|line| {
            let hosts = line.split_whitespace().next().unwrap_or_default();
            // A hashed or many-named line was put there by someone else: theirs to keep.
            hosts.starts_with('|') || hosts.contains(',') || (all.contains(hosts) && !told.contains(hosts))
        })
        .map(str::to_owned)
        .collect();
    for node in nodes {
        lines.extend(node.host_keys.iter().map(|key| format!("{} {}", address(&node.endpoint), key.trim())));
    }
    lines.dedup();
    lines.into_iter().map(|line| line + "\n").collect()
}
