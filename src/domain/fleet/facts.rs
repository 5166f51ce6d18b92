//! What a node is: read once, in one round trip.

use super::Fleet;
use crate::base::error::Result;
use crate::domain::node::NodeSet;
use serde::Serialize;

/// What a node says about itself. Sizes are bytes; what cannot be read is empty or 0.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Facts {
    pub node: String,
    pub hostname: String,
    /// `linux`, `darwin`
    pub kernel: String,
    pub kernel_version: String,
    /// `x86_64`
    pub arch: String,
    /// `debian`, from /etc/os-release
    pub os: String,
    pub os_version: String,
    pub cpus: u64,
    pub memory: u64,
    pub memory_available: u64,
    /// Of the file system that holds the home directory.
    pub disk: u64,
    pub disk_available: u64,
    pub addresses: Vec<String>,
    pub home: String,
    pub user: String,
    /// Whether commands run as root, or can without a password.
    pub root: bool,
}

const SCRIPT: &str = r#"
printf 'hostname=%s\n' "$(hostname 2>/dev/null || cat /etc/hostname)"
printf 'kernel=%s\n' "$(uname -s | tr A-Z a-z)"
printf 'kernel_version=%s\n' "$(uname -r)"
printf 'arch=%s\n' "$(uname -m)"
[ -r /etc/os-release ] && ( . /etc/os-release; printf 'os=%s\nos_version=%s\n' "$ID" "$VERSION_ID" )
printf 'cpus=%s\n' "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
[ -r /proc/meminfo ] && while read -r k v _; do case $k in MemTotal:) echo "memory_kib=$v";; MemAvailable:) echo "memory_available_kib=$v";; esac; done < /proc/meminfo
df -Pk "$HOME" 2>/dev/null | { read -r _; read -r _ total _ free _; printf 'disk_kib=%s\ndisk_available_kib=%s\n' "$total" "$free"; }
for a in $(hostname -I 2>/dev/null); do echo "address=$a"; done
printf 'home=%s\nuser=%s\n' "$HOME" "$(id -un)"
if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then echo root=1; fi
"#;

impl Fleet {
    /// Facts of every node, in node order.
    pub async fn facts(&self, nodes: &NodeSet) -> Result<Vec<Facts>> {
        let answers = self.ask(nodes, SCRIPT).await?;
        Ok(answers.iter().zip(nodes.iter()).map(|(text, node)| parse(&node.name, &String::from_utf8_lossy(text))).collect())
    }
}

fn parse(node: &str, text: &str) -> Facts {
    let mut facts = Facts { node: node.to_owned(), ..Facts::default() };
    for (key, value) in text.lines().filter_map(|l| l.split_once('=')) {
        let number = || value.parse::<u64>().unwrap_or(0);
        match key {
            "hostname" => value.clone_into(&mut facts.hostname),
            "kernel" => value.clone_into(&mut facts.kernel),
            "kernel_version" => value.clone_into(&mut facts.kernel_version),
            "arch" => value.clone_into(&mut facts.arch),
            "os" => value.clone_into(&mut facts.os),
            "os_version" => value.clone_into(&mut facts.os_version),
            "cpus" => facts.cpus = number(),
            "memory_kib" => facts.memory = number() * 1024,
            "memory_available_kib" => facts.memory_available = number() * 1024,
            "disk_kib" => facts.disk = number() * 1024,
            "disk_available_kib" => facts.disk_available = number() * 1024,
            "address" => facts.addresses.push(value.to_owned()),
            "home" => value.clone_into(&mut facts.home),
            "user" => value.clone_into(&mut facts.user),
            "root" => facts.root = true,
            _ => {}
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_machine() {
        let out = std::process::Command::new("sh").arg("-c").arg(SCRIPT).output().unwrap();
        let facts = parse("here", &String::from_utf8_lossy(&out.stdout));
        assert!(facts.cpus > 0 && facts.memory > 0 && facts.disk > 0 && !facts.hostname.is_empty(), "{facts:?}");
        assert_eq!(facts.home, std::env::var("HOME").unwrap());
    }
}
