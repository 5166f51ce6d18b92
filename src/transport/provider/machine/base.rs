//! The base system that all machines stand on: built once with debootstrap, kept in the cache of this machine.

use super::lock::FileLock;
use super::tool;
use crate::base::error::{IoResultExt, Result, ResultExt};
use crate::base::event::{Cx, Progress, Unit};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const RELEASE: &str = "bookworm";
/// Of the recipe below: a change of it is another base, beside which the old one stays for the machines that stand on it.
const RECIPE: u32 = 2;
const MIRROR: &str = "http://deb.debian.org/debian";
/// Small, but with what any server of Debian has. All of python3: python3-minimal has not even json, without which Ansible fails.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,openssh-server,sudo,python3,ca-certificates,iproute2,procps";
const SOURCES: &str = "\
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
";
/// What a half-built base is called.
const BUILDING: &str = ".building-";

/// What its folder is called.
pub fn name() -> String {
    format!("base-{RELEASE}-{RECIPE}")
}

/// Returns the base system's folder, which is built if there is none.
pub async fn ensure(cache: &Path, cx: &Cx) -> Result<PathBuf> {
    let dir = cache.join("machine");
    let base = dir.join(name());
    if base.is_dir() {
        return Ok(base);
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).at("make", &dir)?;
    let waiting = || cx.events.info("another opsrun builds the Debian base system: waiting for it");
    let _lock = FileLock::take(&dir.join("lock"), cx, waiting).await?;
    if base.is_dir() {
        return Ok(base);
    }
    // We hold the lock, so nobody is at these any more.
    for entry in std::fs::read_dir(&dir).at("read", &dir)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(BUILDING) {
            super::layout::remove_tree(&entry.path())?;
        }
    }
    let half = dir.join(format!("{BUILDING}{}", uuid::Uuid::new_v4()));
    let built = build(&half, cx).await;
    if let Err(error) = built {
        let _ = super::layout::remove_tree(&half);
        return Err(error)
            .context(|| format!("building the Debian base system in {}", dir.display()))
            .hint(|| format!("It is downloaded from {MIRROR}: is that reachable from here? http_proxy is respected."));
    }
    std::fs::rename(&half, &base).at("move into place", &base)?;
    Ok(base)
}

async fn build(root: &Path, cx: &Cx) -> Result<()> {
    let progress = cx.events.progress("building the Debian base system (once, about a minute)", 0, Unit::Items);
    let path = root.display().to_string();
    let include = format!("--include={PACKAGES}");
    std::fs::create_dir(root).at("make", root)?;
    // debootstrap cannot work in a folder with a space in its name: it sees another one.
    let renamed = "mount --bind -- \"$1\" /mnt && shift && exec \"$@\"";
    let debootstrap = tool::find("debootstrap")?.display().to_string();
    let words = ["sh", "-c", renamed, "sh", &path, &debootstrap, "--variant=minbase", &include, RELEASE, "/mnt", MIRROR];
    confined(&words, &progress, cx).await?;
    let write = |file: &str, text: &str| {
        let path = root.join(file);
        std::fs::write(&path, text).at("write", &path)
    };
    write("etc/apt/sources.list", SOURCES)?;
    // So that installs start at once.
    confined(&["chroot", &path, "apt-get", "update", "-q"], &progress, cx).await?;
    confined(&["chroot", &path, "apt-get", "clean"], &progress, cx).await?;
    confined(&["chroot", &path, "systemctl", "enable", "systemd-networkd"], &progress, cx).await?;
    // They would hold apt's lock at a moment nobody chose.
    confined(&["chroot", &path, "systemctl", "disable", "apt-daily.timer", "apt-daily-upgrade.timer"], &progress, cx).await?;
    // What makes a machine this one, each gets of its own.
    for key in std::fs::read_dir(root.join("etc/ssh")).at("read", root)?.flatten() {
        if key.file_name().to_string_lossy().starts_with("ssh_host_") {
            std::fs::remove_file(key.path()).at("remove", key.path())?;
        }
    }
    write("etc/machine-id", "")?;
    write("etc/hostname", "")?;
    write("etc/resolv.conf", "")?;
    write("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")?;
    progress.label("the Debian base system: writing it to disk");
    tool::run("sync", &["-f", &path], cx).await.map(drop)
}

/// Runs a program that changes the tree in namespaces of its own: its mounts vanish with it, and it with us, even by kill -9.
async fn confined(words: &[&str], progress: &Progress, cx: &Cx) -> Result<()> {
    let around = ["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--"];
    let program = words.first().copied().unwrap_or_default();
    let program = tool::find(program)?.display().to_string();
    let words: Vec<&str> = around.into_iter().chain([program.as_str()]).chain(words.iter().skip(1).copied()).collect();
    tool::follow("setpriv", &words, cx, |line| {
        progress.label(format!("the Debian base system (once): {}", line.trim_start_matches("I: ")));
    })
    .await
}
