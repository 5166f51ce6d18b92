//! What makes a machine this one: its name, ID, keys, address. Written into its own layer before it boots.

use super::layout::{Home, MachineRecord, digest};
use super::network::Network;
use crate::base::checksum::hex;
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::transport::provider::host_key::HostKey;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

pub const NETWORK_FILE: &str = "etc/systemd/network/10-opsrun.network";
pub const HOST_KEY: &str = "etc/ssh/ssh_host_ed25519_key";
pub const AUTHORIZED: &str = "root/.ssh/authorized_keys";
/// Lines of /etc/hosts between these are ours.
pub const HOSTS_BEGIN: &str = "# The machines of this deployment, kept by opsrun:";
pub const HOSTS_END: &str = "# End of opsrun's lines.";

/// Writes what stays as long as the machine: returns its public host key.
pub fn give(home: &Home, layers: &[PathBuf], authorized_key: &str) -> Result<String> {
    let name = host_name(&home.node);
    let id = hex(&digest(&format!("machine-id {}", home.mark))[..16]);
    let layer = Layer { upper: &home.upper(), layers };
    layer.write("etc/hostname", format!("{name}\n").as_bytes(), 0o644)?;
    layer.write("etc/machine-id", format!("{id}\n").as_bytes(), 0o444)?;
    let key = HostKey::make(&format!("root@{name}"))?;
    layer.write(HOST_KEY, key.private.as_bytes(), 0o600)?;
    layer.write(&format!("{HOST_KEY}.pub"), format!("{}\n", key.public).as_bytes(), 0o644)?;
    // An image may have keys of its own.
    let mut keys = layer.read(AUTHORIZED).unwrap_or_default();
    if !keys.lines().any(|line| line.trim() == authorized_key) {
        let _ = writeln!(keys, "{authorized_key}");
    }
    layer.write(AUTHORIZED, keys.as_bytes(), 0o600)?;
    Ok(key.public)
}

/// Writes what may differ from boot to boot: the address, name servers, the names of its neighbours.
pub fn connect(home: &Home, record: &MachineRecord, network: &Network, neighbours: &str) -> Result<()> {
    let layer = Layer { upper: &home.upper(), layers: &record.layers };
    let mtu = network.mtu.map(|mtu| format!("[Link]\nMTUBytes={mtu}\n")).unwrap_or_default();
    let text = format!(
        "# Written by opsrun at every start.\n[Match]\nName=host0\n{mtu}[Network]\nAddress={}/{}\nGateway={}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
        record.address, network.prefix, network.gateway
    );
    layer.write(NETWORK_FILE, text.as_bytes(), 0o644)?;
    // One that something in the machine looks after (a link, other text) is not ours any more.
    if layer.read("etc/resolv.conf").is_some_and(|text| text.is_empty() || text.starts_with(RESOLV_HEADER)) {
        layer.write("etc/resolv.conf", resolv_conf().as_bytes(), 0o644)?;
    }
    let hosts = layer.read("etc/hosts").unwrap_or_default();
    layer.write("etc/hosts", with_block(&hosts, neighbours).as_bytes(), 0o644)
}

/// Takes all of that out of a layer again, so that others can stand on it.
pub fn strip(layer: &Path, authorized_key: &str) -> Result<()> {
    let own = Layer { upper: layer, layers: &[] };
    let names = ["etc/hostname", "etc/machine-id", NETWORK_FILE, "var/lib/dbus/machine-id", "var/lib/systemd/random-seed"];
    for file in names {
        own.remove(file)?;
    }
    for key in own.list("etc/ssh")?.iter().filter(|key| key.starts_with("ssh_host_")) {
        own.remove(&format!("etc/ssh/{key}"))?;
    }
    // What the machine wrote into its journal is kept under its ID.
    let journals = "var/log/journal";
    for journal in own.list(journals)? {
        super::layout::remove_tree(&layer.join(journals).join(journal))?;
    }
    if let Some(keys) = own.read(AUTHORIZED) {
        let others: String = keys.lines().filter(|l| l.trim() != authorized_key).map(|l| format!("{l}\n")).collect();
        if others.is_empty() { own.remove(AUTHORIZED)? } else { own.write(AUTHORIZED, others.as_bytes(), 0o600)? }
    }
    if let Some(hosts) = own.read("etc/hosts") {
        own.write("etc/hosts", without_block(&hosts).as_bytes(), 0o644)?;
    }
    if own.read("etc/resolv.conf").is_some_and(|text| text.starts_with(RESOLV_HEADER)) {
        own.remove("etc/resolv.conf")?;
    }
    Ok(())
}

pub const RESOLV_HEADER: &str = "# Written by opsrun at every start, from its host's.\n";

/// The host's name servers. A server that listens on the host's loopback only is none for machines; systemd-resolved tells the real ones.
fn resolv_conf() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let useful = |text: &str| -> Vec<String> {
        let local =
            |line: &str| line.strip_prefix("nameserver").is_some_and(|a| a.trim().starts_with("127.") || a.trim() == "::1");
        text.lines().filter(|l| !l.trim_start().starts_with(['#', ';']) && !local(l)).map(str::to_owned).collect()
    };
    let mut lines = useful(&read("/etc/resolv.conf"));
    if !lines.iter().any(|l| l.starts_with("nameserver")) {
        lines = useful(&read("/run/systemd/resolve/resolv.conf"));
    }
    lines.into_iter().fold(RESOLV_HEADER.to_owned(), |text, line| format!("{text}{line}\n"))
}

/// Host names have no underscores.
pub fn host_name(node: &str) -> String {
    node.replace('_', "-")
}

/// The lines of /etc/hosts that name all machines of a deployment.
pub fn neighbours<'a>(machines: impl Iterator<Item = (&'a str, Ipv4Addr)>) -> String {
    machines.fold(String::new(), |text, (node, address)| {
        let name = host_name(node);
        // The name as the config has it works, too.
        let alias = if name == node { String::new() } else { format!(" {node}") };
        format!("{text}{address} {name}{alias}\n")
    })
}

/// The text of /etc/hosts with our lines brought up to date.
pub fn with_block(hosts: &str, block: &str) -> String {
    let mut kept = without_block(hosts);
    if !kept.is_empty() && !kept.ends_with('\n') {
        kept.push('\n');
    }
    if block.is_empty() { kept } else { format!("{kept}{HOSTS_BEGIN}\n{block}{HOSTS_END}\n") }
}

/// The text of /etc/hosts without our lines.
pub fn without_block(hosts: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in hosts.lines() {
        if line == HOSTS_BEGIN {
            inside = true;
        } else if line == HOSTS_END && inside {
            inside = false;
        } else if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// A machine's own layer with those beneath it, while the machine does not run.
struct Layer<'a> {
    upper: &'a Path,
    layers: &'a [PathBuf],
}

impl Layer<'_> {
    /// The text of a file as the machine sees it; none for what is no plain file.
    fn read(&self, file: &str) -> Option<String> {
        let all = std::iter::once(self.upper).chain(self.layers.iter().map(PathBuf::as_path));
        for layer in all {
            if obstacle(layer, file).is_some() {
                return None;
            }
            let path = layer.join(file);
            match std::fs::symlink_metadata(&path) {
                Ok(found) if found.is_file() => return std::fs::read_to_string(&path).ok(),
                // A link, or the mark of a removed file.
                Ok(_) => return None,
                Err(_) => {}
            }
        }
        None
    }

    /// Replaces a file of the machine's own layer. A link at its place is replaced, never followed: it would lead out of the machine.
    fn write(&self, file: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.upper.join(file);
        let Some(dir) = Path::new(file).parent() else { return Err(Error::internal("a file without a folder")) };
        self.make_dir(dir)?;
        let temp = path.with_extension("opsrun-new");
        let write = || {
            match std::fs::remove_file(&temp) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            std::fs::write(&temp, bytes)?;
            std::fs::set_permissions(&temp, Permissions::from_mode(mode))?;
            std::fs::rename(&temp, &path)
        };
        write().at("write", &path)
    }

    /// Removes a file of the machine's own layer.
    fn remove(&self, file: &str) -> Result<()> {
        if !self.holds(file)? {
            return Ok(());
        }
        let path = self.upper.join(file);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", &path, &e)),
            _ => Ok(()),
        }
    }

    /// The names in a folder of the machine's own layer; none where there is no such folder.
    fn list(&self, dir: &str) -> Result<Vec<String>> {
        if !self.holds(&format!("{dir}/any"))? {
            return Ok(Vec::new());
        }
        let entries = std::fs::read_dir(self.upper.join(dir)).into_iter().flatten().flatten();
        Ok(entries.filter_map(|e| e.file_name().into_string().ok()).collect())
    }

    /// Whether a file can be in the machine's own layer. A link on the way would lead to what is at its end on this host.
    fn holds(&self, file: &str) -> Result<bool> {
        match obstacle(self.upper, file) {
            None => Ok(true),
            Some(dir) if self.upper.join(&dir).is_symlink() => Err(no_folder(&dir)),
            // The mark of a removed folder.
            Some(_) => Ok(false),
        }
    }

    /// Makes the folders on the way, each like the one beneath that it will be joined with.
    fn make_dir(&self, dir: &Path) -> Result<()> {
        let mut sofar = PathBuf::new();
        for part in dir.components() {
            let Component::Normal(part) = part else { continue };
            sofar.push(part);
            let path = self.upper.join(&sofar);
            match std::fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => continue,
                Ok(_) => return Err(no_folder(&sofar)),
                Err(_) => {}
            }
            std::fs::create_dir(&path).at("make", &path)?;
            let (mode, uid, gid) = self
                .layers
                .iter()
                .find_map(|layer| std::fs::symlink_metadata(layer.join(&sofar)).ok())
                .filter(std::fs::Metadata::is_dir)
                .map_or((if sofar.starts_with("root") { 0o700 } else { 0o755 }, 0, 0), |m| (m.mode() & 0o7777, m.uid(), m.gid()));
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).at("make", &path)?;
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).at("make", &path)?;
        }
        Ok(())
    }
}

/// What is on the way to a file in a layer and is no folder.
fn obstacle(layer: &Path, file: &str) -> Option<PathBuf> {
    let mut above: Vec<&Path> = Path::new(file).ancestors().skip(1).collect();
    above.reverse();
    let stands = |dir: &&Path| std::fs::symlink_metadata(layer.join(dir)).is_ok_and(|found| !found.is_dir());
    above.into_iter().find(stands).map(Path::to_owned)
}

fn no_folder(dir: &Path) -> Error {
    Error::new(Kind::Provider, format!("/{} in the machine is no folder any more", dir.display()))
        .hint("Something in the machine replaced it. Destroy the machine, or bring the folder back.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_lines_of_hosts_are_replaced_and_others_stay() {
        let first = with_block("127.0.0.1 localhost\n", "10.0.0.2 a\n");
        assert_eq!(first, format!("127.0.0.1 localhost\n{HOSTS_BEGIN}\n10.0.0.2 a\n{HOSTS_END}\n"));
        let edited = format!("{first}192.0.2.1 mine\n");
        let second = with_block(&edited, "10.0.0.3 b\n");
        assert!(second.contains("192.0.2.1 mine\n") && second.contains("10.0.0.3 b\n") && !second.contains("10.0.0.2"));
        assert_eq!(without_block(&first), "127.0.0.1 localhost\n");
    }

    #[test]
    fn links_in_a_machine_lead_nowhere_outside() {
        let dir = tempfile::tempdir().unwrap();
        let upper = dir.path().join("upper");
        std::fs::create_dir_all(upper.join("etc")).unwrap();
        let outside = dir.path().join("outside");
        std::fs::write(&outside, "untouched").unwrap();
        std::os::unix::fs::symlink(&outside, upper.join("etc/resolv.conf")).unwrap();
        let layer = Layer { upper: &upper, layers: &[] };
        assert_eq!(layer.read("etc/resolv.conf"), None);
        layer.write("etc/resolv.conf", b"new", 0o644).unwrap();
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "untouched");
        std::os::unix::fs::symlink(dir.path(), upper.join("root")).unwrap();
        assert!(layer.write("root/.ssh/x", b"", 0o600).unwrap_err().message().contains("no folder any more"));
        assert_eq!(layer.read("root/outside"), None);
    }

    #[test]
    fn what_makes_a_machine_is_taken_out_of_its_layer_and_nothing_out_of_this_host() {
        let dir = tempfile::tempdir().unwrap();
        let (upper, host) = (dir.path().join("upper"), dir.path().join("host"));
        for made in [&upper.join("etc/ssh"), &upper.join("var/log/journal/4711"), &host.join("4711")] {
            std::fs::create_dir_all(made).unwrap();
        }
        for file in ["etc/hostname", "etc/ssh/ssh_host_rsa_key", "etc/ssh/sshd_config"] {
            std::fs::write(upper.join(file), "x").unwrap();
        }
        std::fs::write(host.join("ssh_host_rsa_key"), "x").unwrap();
        // As overlayfs marks a folder that was removed, but for the device's numbers.
        std::fs::create_dir_all(upper.join("var/lib")).unwrap();
        std::fs::write(upper.join("var/lib/dbus"), "").unwrap();
        strip(&upper, "key").unwrap();
        assert!(!upper.join("etc/hostname").exists() && !upper.join("etc/ssh/ssh_host_rsa_key").exists());
        assert!(upper.join("etc/ssh/sshd_config").exists() && !upper.join("var/log/journal/4711").exists());
        for moved in ["etc/ssh", "var/log/journal"] {
            let _ = std::fs::remove_dir_all(upper.join(moved));
            std::os::unix::fs::symlink(&host, upper.join(moved)).unwrap();
            assert!(strip(&upper, "key").unwrap_err().message().starts_with(&format!("/{moved} in the machine is no folder")));
            std::fs::remove_file(upper.join(moved)).unwrap();
        }
        assert!(host.join("4711").exists() && host.join("ssh_host_rsa_key").exists());
    }
}
