//! The network that all machines of this host share: a bridge, an address for each, and the way out.
//!
//! The bridge is ours by its alias, the table of nftables by the bridge's name. Who has which address is in `/run/opsrun/machines`,
//! which dies with the host's boot as the bridge does; an address follows from the machine's identity, so it is mostly the same again.
//! All of it is removed with the last machine.

use super::super::files::{read_json, write_json};
use super::claim::Claim;
use super::layout::{Home, digest};
use super::lock::FileLock;
use super::tool;
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::Cx;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

const RUN: &str = "/run/opsrun/machines";
const ALIAS: &str = "opsrun: network of its machines";
/// Names tried for the bridge.
const BRIDGES: u32 = 100;

/// What machines need to know of their network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    pub bridge: String,
    pub gateway: Ipv4Addr,
    pub prefix: u8,
    /// Of the way out, where that is smaller than usual.
    pub mtu: Option<u32>,
}

/// Brings the network up and claims an address for each: the one it had, if nobody else has it now.
pub async fn claim(machines: &[(Home, Option<Ipv4Addr>)], cx: &Cx) -> Result<(Network, Vec<Ipv4Addr>)> {
    let _lock = lock(cx).await?;
    let network = ensure(cx).await?;
    let mut taken = claims()?;
    let mut addresses = Vec::new();
    for (home, had) in machines {
        let ours = taken.iter().find(|(_, c)| c.mark == home.mark).map(|(a, _)| *a);
        let wanted = ours.into_iter().chain(*had).chain((0..u32::MAX).map(|attempt| network.derive(&home.mark, attempt)));
        let free = |a: &Ipv4Addr| network.has(*a) && taken.get(a).is_none_or(|c| c.mark == home.mark);
        let Some(address) = wanted.take(1 << 17).find(free) else {
            return Err(Error::new(Kind::Provider, "all addresses of the machines' network are taken"));
        };
        write_json(&claim_file(address), &Claim::of(home))?;
        taken.insert(address, Claim::of(home));
        addresses.push(address);
    }
    Ok((network, addresses))
}

/// Gives back the addresses of these, and with the last of all machines the network.
pub async fn release(marks: &[String], cx: &Cx) -> Result<()> {
    if !Path::new(RUN).exists() && bridge().is_none() {
        return Ok(());
    }
    let _lock = lock(cx).await?;
    let mut left = 0;
    for (address, claim) in all_claims()? {
        if marks.contains(&claim.mark) || !claim.holds() {
            let file = claim_file(address);
            std::fs::remove_file(&file).at("remove", &file)?;
        } else {
            left += 1;
        }
    }
    if left > 0 {
        return Ok(());
    }
    if let Some(bridge) = bridge() {
        remove_table(&bridge, cx).await?;
        tool::run("ip", &["link", "delete", &bridge], cx).await?;
    }
    restore_forwarding()?;
    super::layout::remove_tree(Path::new(RUN))?;
    // Stays when something else of ours is in it.
    let _ = std::fs::remove_dir("/run/opsrun");
    Ok(())
}

/// Lets the host forget where these addresses were, so that it soon notices that nobody is there, or somebody else.
pub async fn forget(addresses: &[Ipv4Addr], cx: &Cx) {
    let Some(bridge) = bridge() else { return };
    let lines: String = addresses.iter().map(|address| format!("neighbor flush to {address} dev {bridge}\n")).collect();
    // It would find out by itself, later.
    let _ = tool::feed("ip", &["-force", "-batch", "-"], lines.as_bytes(), cx).await;
}

/// What of the network still speaks of this deployment.
pub fn leftovers(uuid: uuid::Uuid) -> Result<Vec<String>> {
    let prefix = format!("{uuid}/");
    Ok(all_claims()?.into_iter().filter(|(_, c)| c.mark.starts_with(&prefix)).map(|(a, _)| format!("address {a}")).collect())
}

async fn lock(cx: &Cx) -> Result<FileLock> {
    FileLock::take(&Path::new(RUN).join("lock"), cx, || cx.events.info("another opsrun sets up the machines' network: waiting"))
        .await
}

fn addresses_dir() -> PathBuf {
    Path::new(RUN).join("addresses")
}

fn claim_file(address: Ipv4Addr) -> PathBuf {
    addresses_dir().join(address.to_string())
}

/// Those that hold.
fn claims() -> Result<BTreeMap<Ipv4Addr, Claim>> {
    Ok(all_claims()?.into_iter().filter(|(_, claim)| claim.holds()).collect())
}

fn all_claims() -> Result<Vec<(Ipv4Addr, Claim)>> {
    let Ok(entries) = std::fs::read_dir(addresses_dir()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(address) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        found.extend(read_json(&entry.path())?.map(|claim| (address, claim)));
    }
    Ok(found)
}

/// The bridge that carries our mark.
fn bridge() -> Option<String> {
    let entries = std::fs::read_dir("/sys/class/net").ok()?;
    let mut names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    names.find(|name| std::fs::read_to_string(format!("/sys/class/net/{name}/ifalias")).is_ok_and(|a| a.trim() == ALIAS))
}

/// Brings up whatever of the network is not there.
async fn ensure(cx: &Cx) -> Result<Network> {
    std::fs::create_dir_all(addresses_dir()).at("make", addresses_dir())?;
    let bridge = match bridge() {
        Some(bridge) => bridge,
        None => make_bridge(cx).await?,
    };
    let (gateway, prefix) = match address_of(&bridge, cx).await? {
        Some(known) => known,
        None => give_address(&bridge, cx).await?,
    };
    tool::run("ip", &["link", "set", "dev", &bridge, "up"], cx).await?;
    let mtu = let_out(&bridge, gateway, prefix, cx).await?;
    Ok(Network { bridge, gateway, prefix, mtu })
}

async fn make_bridge(cx: &Cx) -> Result<String> {
    for number in 0..BRIDGES {
        let name = format!("opsrun{number}");
        let known = Path::new("/sys/class/net").join(&name).exists();
        // One without mark, address and ports is of a command that was cut off between the next two lines.
        if known && (address_of(&name, cx).await?.is_some() || has_ports(&name)) {
            continue;
        }
        if !known {
            tool::run("ip", &["link", "add", "name", &name, "type", "bridge"], cx).await?;
        }
        tool::run("ip", &["link", "set", "dev", &name, "alias", ALIAS], cx).await?;
        return Ok(name);
    }
    Err(Error::new(Kind::Provider, "no name is free for the machines' bridge: opsrun0 to opsrun99 are other people's"))
}

fn has_ports(bridge: &str) -> bool {
    std::fs::read_dir(format!("/sys/class/net/{bridge}/brif")).map_or(true, |mut ports| ports.next().is_some())
}

/// What `ip -j` says.
async fn ask(arguments: &[&str], cx: &Cx) -> Result<Vec<Value>> {
    let said = tool::run("ip", &[&["-j", "-4"], arguments].concat(), cx).await?;
    if said.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&said).map_err(|e| Error::new(Kind::Provider, format!("cannot understand what `ip -j` says: {e}")))
}

async fn address_of(link: &str, cx: &Cx) -> Result<Option<(Ipv4Addr, u8)>> {
    let links = ask(&["address", "show", "dev", link], cx).await?;
    let info = links.iter().filter_map(|l| l.get("addr_info")?.as_array()).flatten();
    let mut addresses = info.filter_map(|i| {
        let prefix = u8::try_from(i.get("prefixlen")?.as_u64()?).ok()?;
        Some((i.get("local")?.as_str()?.parse().ok()?, prefix))
    });
    Ok(addresses.next())
}

/// Gives the bridge the first private network that no route of this host overlaps.
async fn give_address(bridge: &str, cx: &Cx) -> Result<(Ipv4Addr, u8)> {
    let routes = ask(&["route", "show", "table", "all"], cx).await?;
    let used: Vec<Subnet> = routes.iter().filter_map(|r| Subnet::parse(r.get("dst")?.as_str()?)).collect();
    let tens = (214..=254).map(|b| Subnet::new(Ipv4Addr::new(10, b, 0, 0), 16));
    let others = (16..=31).rev().map(|b| Subnet::new(Ipv4Addr::new(172, b, 0, 0), 16));
    let small = (100..=254).rev().map(|b| Subnet::new(Ipv4Addr::new(192, 168, b, 0), 24));
    let Some(free) = tens.chain(others).chain(small).find(|s| !used.iter().any(|u| u.overlaps(*s))) else {
        return Err(Error::new(Kind::Provider, "this host has routes to every private network that machines could use").hint(
            "`ip route show table all` lists them: machines need a /16 of 10.214-254 or 172.16-31, or a /24 of 192.168.100-254.",
        ));
    };
    let gateway = Ipv4Addr::from(free.network + 1);
    tool::run("ip", &["address", "add", &format!("{gateway}/{}", free.prefix), "dev", bridge], cx).await?;
    Ok((gateway, free.prefix))
}

/// Lets machines reach what this host reaches, with its address as theirs. Returns the packet size of the way out if it is small.
async fn let_out(bridge: &str, gateway: Ipv4Addr, prefix: u8, cx: &Cx) -> Result<Option<u32>> {
    let ways = ask(&["route", "show", "default"], cx).await?;
    let ways: Vec<&str> = ways.iter().filter_map(|r| r.get("dev")?.as_str()).collect();
    let_through(bridge, &ways)?;
    if tool::run("nft", &["list", "table", "ip", bridge], cx).await.is_err() {
        let subnet = format!("{}/{prefix}", Ipv4Addr::from(Subnet::new(gateway, prefix).network));
        let rule = format!("ip saddr {subnet} oifname != \"{bridge}\" masquerade");
        let chain = format!("chain post {{\ntype nat hook postrouting priority srcnat\n{rule}\n}}");
        let table = format!("table ip {bridge} {{\ncomment \"{ALIAS}\"\n{chain}\n}}\n");
        tool::feed("nft", &["-f", "-"], table.as_bytes(), cx).await?;
    }
    let mtu = |link: &&str| std::fs::read_to_string(format!("/sys/class/net/{link}/mtu")).ok()?.trim().parse::<u32>().ok();
    Ok(ways.iter().filter_map(mtu).min().filter(|mtu| *mtu < 1500))
}

async fn remove_table(bridge: &str, cx: &Cx) -> Result<()> {
    if tool::run("nft", &["list", "table", "ip", bridge], cx).await.is_ok() {
        tool::run("nft", &["delete", "table", "ip", bridge], cx).await?;
    }
    Ok(())
}

fn forwarding(link: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv4/conf/{link}/forwarding"))
}

fn forwarding_file() -> PathBuf {
    Path::new(RUN).join("forwarding.json")
}

/// Lets packets through between the bridge and the ways out. What had to be switched on is written down first.
fn let_through(bridge: &str, ways: &[&str]) -> Result<()> {
    let mut switched: Vec<String> = read_json(&forwarding_file())?.unwrap_or_default();
    for link in ways.iter().copied().chain([bridge]) {
        let file = forwarding(link);
        if std::fs::read_to_string(&file).is_ok_and(|now| now.trim() == "0") {
            if link != bridge && !switched.iter().any(|s| s == link) {
                switched.push(link.to_owned());
                write_json(&forwarding_file(), &switched)?;
            }
            std::fs::write(&file, "1").at("write", &file)?;
        }
    }
    Ok(())
}

/// Switches off what we had to switch on, unless somebody has switched forwarding on for the whole host since.
fn restore_forwarding() -> Result<()> {
    let everywhere = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|t| t.trim() == "1");
    let switched: Vec<String> = read_json(&forwarding_file())?.unwrap_or_default();
    for link in switched.iter().filter(|_| !everywhere) {
        // A link that is gone needs nothing.
        let _ = std::fs::write(forwarding(link), "0");
    }
    Ok(())
}

impl Network {
    fn subnet(&self) -> Subnet {
        Subnet::new(self.gateway, self.prefix)
    }

    /// Whether a machine could have this address.
    fn has(&self, address: Ipv4Addr) -> bool {
        self.subnet().overlaps(Subnet::new(address, 32)) && address != self.gateway
    }

    /// An address that follows from the machine's identity; another for each attempt.
    fn derive(&self, mark: &str, attempt: u32) -> Ipv4Addr {
        let hash = digest(&format!("{mark}#{attempt}"));
        let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        // Without the network's own address, the gateway's and the broadcast address.
        let hosts = (1_u32 << (32 - self.prefix)) - 3;
        Ipv4Addr::from(self.subnet().network + 2 + number % hosts)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Subnet {
    network: u32,
    prefix: u8,
}

impl Subnet {
    fn new(address: Ipv4Addr, prefix: u8) -> Self {
        Self { network: u32::from(address) & mask(prefix), prefix }
    }

    /// `10.0.0.0/8` or `10.0.0.1`. None for `default`.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let prefix: u8 = prefix.parse().ok().filter(|p| (1..=32).contains(p))?;
        Some(Self::new(address.parse().ok()?, prefix))
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        self.network & mask == other.network & mask
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_overlap_where_one_is_in_the_other() {
        let subnet = |text| Subnet::parse(text).unwrap();
        assert!(subnet("10.0.0.0/8").overlaps(subnet("10.214.0.0/16")));
        assert!(subnet("10.214.3.4").overlaps(subnet("10.214.0.0/16")));
        assert!(!subnet("10.213.0.0/16").overlaps(subnet("10.214.0.0/16")));
        assert_eq!(Subnet::parse("default"), None);
        assert_eq!(Subnet::parse("0.0.0.0/0"), None);
    }

    #[test]
    fn addresses_follow_from_the_machine_and_are_usable() {
        for prefix in [16, 24] {
            let network = Network { bridge: "b".into(), gateway: Ipv4Addr::new(10, 214, 0, 1), prefix, mtu: None };
            assert_eq!(network.derive("u/n", 0), network.derive("u/n", 0));
            for attempt in 0..2000 {
                let address = network.derive("u/n", attempt);
                assert!(network.has(address), "{address}");
                assert_ne!(u32::from(address) | mask(prefix), u32::MAX, "{address} is for all");
                assert_ne!(u32::from(address) & !mask(prefix), 0);
            }
        }
    }
}
