//! How a machine comes to run: `unshare` gives it a mount namespace, in which this program, run again as `__machine`, enters the
//! cgroups, mounts the layers and becomes systemd-nspawn. All of that is one process, so there is always just one to find and to end;
//! what it has mounted dies with it.

use super::super::files::{read_json, write_json};
use super::super::processes;
use super::cgroup::{self, Limits};
use super::layout::{Home, MARK, MachineRecord};
use super::network::Network;
use super::{running, tool};
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::Cx;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::process::Child;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// The hidden subcommand: `opsrun __machine <dir>`.
pub const COMMAND: &str = "__machine";
/// A machine that does not answer by then never will.
const READY_WITHIN: Duration = Duration::from_secs(90);
const EVERY: Duration = Duration::from_millis(30);
/// Every how many looks.
const NOW_AND_THEN: u32 = 32;
const NSPAWN: &str = "systemd-nspawn";
/// Where it keeps locks that a killed one would leave behind.
const NSPAWN_RUN: &str = "/run/systemd/nspawn";

/// What the hidden subcommand is told.
#[derive(Debug, Serialize, Deserialize)]
struct Boot {
    node: String,
    mark: String,
    bridge: String,
    layers: usize,
    nspawn: PathBuf,
    /// Whether nspawn can let a machine forgo writing to disk.
    suppress_sync: bool,
    /// Whether to enter the cgroups we made: systemd makes its own.
    cgroups: bool,
}

/// Starts the machine and waits until it takes connections.
pub async fn start(exe: &Path, home: &Home, record: &MachineRecord, network: &Network, limits: Limits, cx: &Cx) -> Result<()> {
    let scope = tool::host_runs_systemd();
    let boot = Boot {
        node: home.node.clone(),
        mark: home.mark.clone(),
        bridge: network.bridge.clone(),
        layers: record.layers.len(),
        nspawn: tool::find(NSPAWN)?,
        suppress_sync: knows_suppress_sync(cx).await?,
        cgroups: !scope,
    };
    write_json(&home.boot(), &boot)?;
    if !scope {
        cgroup::make(home, limits)?;
    }
    let mut child = spawn(exe, home, scope, limits)?;
    let deadline = Instant::now() + READY_WITHIN;
    let (mut init, mut looks) = (None, 0);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(failure(home, &format!("the machine ended while it started ({status})")));
        }
        init = init.or_else(|| running::init_of(i32::try_from(child.id()?).ok()?));
        looks += 1;
        if init.is_some_and(|init| is_ready(init, record, looks % NOW_AND_THEN == 0)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(failure(home, &format!("the machine does not answer {} s after its start", READY_WITHIN.as_secs())));
        }
        cx.cancel.check()?;
        tokio::time::sleep(EVERY).await;
    }
}

fn failure(home: &Home, what: &str) -> Error {
    let console = std::fs::read_to_string(home.console()).unwrap_or_default();
    Error::new(Kind::Provider, format!("{what}: {}", tool::tail(&console, 3)))
        .hint(format!("What its console said is in {}.", home.console().display()))
}

fn spawn(exe: &Path, home: &Home, scope: bool, limits: Limits) -> Result<Child> {
    let console = home.console();
    let log = File::options().write(true).create(true).truncate(true).mode(0o600).open(&console).at("open", &console)?;
    let errors = log.try_clone().at("open", &console)?;
    let unshare = tool::find("unshare")?;
    let mut command = if scope {
        let mut command = tokio::process::Command::new(tool::find("systemd-run")?);
        command.args(["--quiet", "--scope", "--collect", "--slice=machine.slice", "--property=Delegate=yes"]);
        command.arg(format!("--unit={}", unit(home)));
        command.args(properties(limits).map(|p| format!("--property={p}")));
        command.arg("--").arg(unshare);
        command
    } else {
        tokio::process::Command::new(unshare)
    };
    // Changes of the host's mounts are seen inside, so that nothing of the host stays mounted because of us.
    command.args(["--mount", "--propagation", "slave", "--"]).arg(exe).arg(COMMAND).arg(&home.dir);
    command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir("/").env(MARK, &home.mark);
    command.spawn().at("start", "unshare")
}

/// The unit that systemd keeps a machine in, where it runs this host.
pub fn unit(home: &Home) -> String {
    format!("opsrun-{}.scope", home.mark.replace('/', "-"))
}

/// The limits as properties of that unit.
pub fn properties(limits: Limits) -> [String; 2] {
    let memory = limits.memory.map_or_else(|| "infinity".to_owned(), |bytes| bytes.to_string());
    let cpus = limits.cpus.map(|thousandths| format!("{}%", (thousandths / 10).max(1))).unwrap_or_default();
    [format!("MemoryMax={memory}"), format!("CPUQuota={cpus}")]
}

/// Whether the machine's SSH server listens and its address is there, as its own network namespace tells it.
///
/// The kernel walks through a table of half a million entries to list sockets, so it is asked last: when the server has said that it
/// listens, or, for one that does not say so, now and then.
fn is_ready(init: i32, record: &MachineRecord, now_and_then: bool) -> bool {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{init}/net/{file}")).unwrap_or_default();
    let listens = |table: &str| {
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(":0016")) && fields.nth(1) == Some("0A")
        })
    };
    let address = record.address.to_string();
    let said_so = || std::fs::symlink_metadata(format!("/proc/{init}/root/run/sshd.pid")).is_ok();
    read("fib_trie").split_ascii_whitespace().any(|word| word == address)
        && (now_and_then || said_so())
        && (listens(&read("tcp")) || listens(&read("tcp6")))
}

/// The body of the hidden subcommand. Returns only when it fails; the console's log has the reason.
pub fn main(arguments: &[OsString]) -> u8 {
    let [dir] = arguments else { return 2 };
    let Err(error) = become_machine(Path::new(dir));
    let _ = writeln!(std::io::stderr(), "{error}");
    1
}

fn become_machine(dir: &Path) -> Result<std::convert::Infallible> {
    processes::close_inherited();
    // The terminal's Ctrl-C is not for machines. Under `systemd-run` this may be a leader already: fine.
    let _ = nix::unistd::setsid();
    let file = dir.join("boot.json");
    let boot: Boot = read_json(&file)?.ok_or_else(|| Error::internal(format!("{} is missing", file.display())))?;
    let home = Home { dir: dir.to_owned(), node: boot.node.clone(), mark: boot.mark.clone() };
    if boot.cgroups {
        cgroup::enter(&home)?;
    }
    std::fs::create_dir_all(NSPAWN_RUN).at("make", NSPAWN_RUN)?;
    let source = format!("opsrun:{}", boot.mark);
    mount(dir, &["-t", "tmpfs", "-o", "mode=0755", &source, NSPAWN_RUN])?;
    let lower: Vec<String> = (0..boot.layers).map(|n| format!("lower-{n}")).collect();
    let options = format!("lowerdir={},upperdir=upper,workdir=work", lower.join(":"));
    mount(dir, &["-t", "overlay", "-o", &options, &source, "root"]).map_err(|e| {
        e.hint("Overlay mounts need a folder on ext4, xfs or btrfs: not on another overlay (a container's own) and not on NFS.")
            .hint("OPSRUN_HOME moves deployments to another place.")
    })?;
    let mut nspawn = Command::new(&boot.nspawn);
    nspawn.arg("--directory").arg(dir.join("root"));
    nspawn.args(["--boot", "--register=no", "--keep-unit", "--settings=no", "--link-journal=no"]);
    nspawn.args(["--resolv-conf=off", "--timezone=off", "--console=read-only"]);
    // What a machine writes is safe with this host, and lost with it: packages and databases are installed in half the time.
    if boot.suppress_sync {
        nspawn.arg("--suppress-sync=yes");
    }
    nspawn.arg(format!("--machine={}", home.id())).arg(format!("--network-bridge={}", boot.bridge));
    // Its first process carries the mark, too: it may outlive nspawn.
    nspawn.arg(format!("--setenv={MARK}={}", boot.mark)).arg("--setenv=TERM=dumb");
    Err(Error::io("start", &boot.nspawn, &nspawn.exec()))
}

/// Since systemd 250. Asked once, however many machines are started.
async fn knows_suppress_sync(cx: &Cx) -> Result<bool> {
    static KNOWN: OnceCell<bool> = OnceCell::const_new();
    let ask = || async { Ok(tool::run(NSPAWN, &["--help"], cx).await?.contains("--suppress-sync")) };
    KNOWN.get_or_try_init(ask).await.copied()
}

/// Mounts with names relative to the machine's folder, which need no quoting in options.
fn mount(dir: &Path, arguments: &[&str]) -> Result<()> {
    let program = tool::find("mount")?;
    let output = Command::new(&program).args(arguments).current_dir(dir).output().at("run", &program)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(Kind::Provider, format!("cannot mount the machine's layers: {}", tool::tail(&said, 2))))
}
