//! What a node is: read once, in one round trip.

use super::Fleet;
use crate::base::error::Result;
use crate::domain::node::NodeSet;
use serde::Serialize;
use std::collections::BTreeMap;

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
    /// What it may use: a machine with a limit sees the whole memory of its host in /proc.
    pub memory: u64,
    pub memory_available: u64,
    /// Of the file system that holds the home directory.
    pub disk: u64,
    pub disk_available: u64,
    pub disks: Vec<Disk>,
    pub filesystems: Vec<FileSystem>,
    pub addresses: Vec<String>,
    pub home: String,
    pub user: String,
    /// Whether commands run as root, or can without a password.
    pub root: bool,
    /// `apt`, `dnf`, `yum`, `zypper`, `apk`, `pacman`
    pub package_manager: String,
    /// Whether systemd runs it.
    pub systemd: bool,
    /// Name and version of what is installed, where that was asked for: there are many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<BTreeMap<String, String>>,
}

/// A disk of the machine, whether it is in use or not.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Disk {
    /// `/dev/nvme0n1`
    pub device: String,
    pub size: u64,
    pub rotational: bool,
    pub model: String,
}

/// A file system that is mounted and holds files: none of the kernel's own.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct FileSystem {
    pub path: String,
    pub device: String,
    /// `ext4`
    #[serde(rename = "type")]
    pub kind: String,
    pub size: u64,
    pub available: u64,
}

const SCRIPT: &str = r#"
printf 'hostname=%s\n' "$(hostname 2>/dev/null || cat /etc/hostname)"
printf 'kernel=%s\n' "$(uname -s | tr A-Z a-z)"
printf 'kernel_version=%s\n' "$(uname -r)"
printf 'arch=%s\n' "$(uname -m)"
[ -r /etc/os-release ] && ( . /etc/os-release; printf 'os=%s\nos_version=%s\n' "$ID" "$VERSION_ID" )
printf 'cpus=%s\n' "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
[ -r /proc/meminfo ] && while read -r k v _; do case $k in MemTotal:) echo "memory_kib=$v";; MemAvailable:) echo "memory_available_kib=$v";; esac; done < /proc/meminfo
for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do [ -r "$f" ] && printf 'memory_limit=%s\n' "$(cat "$f")"; done
df -Pk "$HOME" 2>/dev/null | { read -r _; read -r _ total _ free _; printf 'disk_kib=%s\ndisk_available_kib=%s\n' "$total" "$free"; }
for d in /sys/block/*; do
  case ${d##*/} in loop*|ram*|zram*|dm-*|md*|sr*|fd*) continue;; esac
  [ -r "$d/size" ] || continue
  read -r size < "$d/size"; rotational=0; model=
  [ -r "$d/queue/rotational" ] && read -r rotational < "$d/queue/rotational"
  [ -r "$d/device/model" ] && read -r model < "$d/device/model"
  [ "$size" = 0 ] || printf 'disk_device=%s/%s/%s/%s\n' "${d##*/}" "$size" "$rotational" "$model"
done
df -PkTl 2>/dev/null | while read -r device type total _ free _ path; do
  [ -d "$path" ] || continue
  case $type in tmpfs|devtmpfs|squashfs|efivarfs|ramfs) continue;; overlay) [ "$path" = / ] || continue;; esac
  printf 'filesystem=%s %s %s %s %s\n' "$type" "$total" "$free" "$device" "$path"
done
for a in $(hostname -I 2>/dev/null); do echo "address=$a"; done
printf 'home=%s\nuser=%s\n' "$HOME" "$(id -un)"
if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then echo root=1; fi
[ -d /run/systemd/system ] && echo systemd=1
for p in apt-get dnf yum zypper apk pacman; do
  if command -v "$p" >/dev/null; then echo "package_manager=${p%-get}"; break; fi
done
"#;

const PACKAGES: &str = r"
echo packages=1
if command -v dpkg-query >/dev/null; then
  dpkg-query -W -f 'package_${db:Status-Abbrev}=${Package} ${Version}\n' | grep '^package_.i '
elif command -v rpm >/dev/null; then
  rpm -qa --qf 'package_ii =%{NAME} %{EVR}\n'
fi
";

impl Fleet {
    /// Facts of every node, in node order; with all packages that are installed, where these are asked for.
    pub async fn facts(&self, nodes: &NodeSet, packages: bool) -> Result<Vec<Facts>> {
        let script = if packages { format!("{SCRIPT}{PACKAGES}") } else { SCRIPT.to_owned() };
        let answers = self.ask(nodes, &script).await?;
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
            // "max", and in version 1 of cgroups a number beyond all memory, are no limits.
            "memory_limit" if (1..facts.memory).contains(&number()) => {
                facts.memory = number();
                facts.memory_available = facts.memory_available.min(facts.memory);
            }
            "disk_kib" => facts.disk = number() * 1024,
            "disk_available_kib" => facts.disk_available = number() * 1024,
            "address" => facts.addresses.push(value.to_owned()),
            "home" => value.clone_into(&mut facts.home),
            "user" => value.clone_into(&mut facts.user),
            "root" => facts.root = true,
            "disk_device" => facts.disks.extend(disk(value)),
            "filesystem" => facts.filesystems.extend(file_system(value)),
            "package_manager" => value.clone_into(&mut facts.package_manager),
            "systemd" => facts.systemd = true,
            "packages" => facts.packages = Some(BTreeMap::new()),
            _ if key.starts_with("package_") => {
                let packages = facts.packages.get_or_insert_default();
                packages.extend(value.split_once(' ').map(|(name, version)| (name.to_owned(), version.to_owned())));
            }
            _ => {}
        }
    }
    facts
}

/// `nvme0n1/SECTORS/0/Some Model`. The kernel's sectors have 512 bytes, whatever the disk's.
fn disk(text: &str) -> Option<Disk> {
    let fields: Vec<&str> = text.splitn(4, '/').collect();
    let &[name, sectors, rotational, model] = fields.as_slice() else { return None };
    Some(Disk {
        // The kernel has `!` where a device lies in a folder of its own.
        device: format!("/dev/{}", name.replace('!', "/")),
        size: sectors.parse::<u64>().ok()?.saturating_mul(512),
        rotational: rotational == "1",
        model: model.trim().to_owned(),
    })
}

/// `ext4 TOTAL FREE /dev/sda1 /a path`, in KiB. The first line of df has words for numbers.
fn file_system(text: &str) -> Option<FileSystem> {
    let fields: Vec<&str> = text.splitn(5, ' ').collect();
    let &[kind, total, free, device, path] = fields.as_slice() else { return None };
    let bytes = |kib: &str| kib.parse::<u64>().ok().map(|n| n.saturating_mul(1024));
    Some(FileSystem {
        path: path.to_owned(),
        device: device.to_owned(),
        kind: kind.to_owned(),
        size: bytes(total).filter(|size| *size > 0)?,
        available: bytes(free)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_machine() {
        let ask = |script: &str| {
            let out = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            parse("here", &String::from_utf8_lossy(&out.stdout))
        };
        let facts = ask(SCRIPT);
        assert!(facts.cpus > 0 && facts.memory > 0 && facts.disk > 0 && !facts.hostname.is_empty(), "{facts:?}");
        assert_eq!(facts.home, std::env::var("HOME").unwrap());
        let root = facts.filesystems.iter().find(|f| f.path == "/").unwrap_or_else(|| panic!("{facts:?}"));
        assert!(root.size > 0 && root.available <= root.size && !root.kind.is_empty());
        assert!(facts.disks.iter().all(|d| d.size > 0 && d.device.starts_with("/dev/")), "{:?}", facts.disks);
        assert_eq!(facts.packages, None);
        let with_packages = ask(&format!("{SCRIPT}{PACKAGES}")).packages.unwrap();
        assert_eq!(with_packages.contains_key("bash"), ["apt", "dnf"].contains(&facts.package_manager.as_str()));
    }

    #[test]
    fn disks_and_file_systems_as_machines_tell_them() {
        let text = "disk_device=nvme0n1/3750748848/0/Amazon EC2 NVMe Instance Storage  \n\
            disk_device=cciss!c0d0/8/1/\n\
            filesystem=Type 1024-blocks Available Filesystem Mounted on\n\
            filesystem=xfs 1000 250 /dev/md0 /mnt/my data\n\
            packages=1\npackage_ii =libc6 2.36-9\n";
        let facts = parse("a", text);
        let model = "Amazon EC2 NVMe Instance Storage".to_owned();
        let nvme = Disk { device: "/dev/nvme0n1".to_owned(), size: 3_750_748_848 * 512, rotational: false, model };
        assert_eq!(facts.disks[0], nvme);
        assert_eq!((facts.disks[1].device.as_str(), facts.disks[1].rotational), ("/dev/cciss/c0d0", true));
        assert_eq!(facts.filesystems.len(), 1);
        assert_eq!((facts.filesystems[0].path.as_str(), facts.filesystems[0].size), ("/mnt/my data", 1_024_000));
        assert_eq!(facts.packages.unwrap()["libc6"], "2.36-9");
    }

    #[test]
    fn memory_is_what_may_be_used() {
        let told = |limit: &str| parse("n", &format!("memory_kib=1000\nmemory_available_kib=800\nmemory_limit={limit}\n"));
        let of = |limit| (told(limit).memory, told(limit).memory_available);
        assert_eq!(of("max"), (1_024_000, 819_200));
        assert_eq!(of("9223372036854771712"), (1_024_000, 819_200));
        assert_eq!(of("512000"), (512_000, 512_000));
    }
}
