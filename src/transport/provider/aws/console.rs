//! Host keys from the console: cloud-init prints a machine's public host keys there when it has made them.

use super::Aws;
use super::client::{Client, pause};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::{Cx, Unit};
use crate::transport::provider::Site;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::time::{Duration, Instant};

const BEGIN: &str = "-----BEGIN SSH HOST KEY KEYS-----";
const END: &str = "-----END SSH HOST KEY KEYS-----";
const KINDS: [&str; 3] = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp"];

/// Reads the keys of these nodes off their consoles: AWS has the output late, and for some machines not at all.
pub async fn keys(aws: &Aws, client: &Client, site: &Site, names: &[String], cx: &Cx) -> Result<Vec<(String, Vec<String>)>> {
    let machines = client.machines(site, cx).await?;
    let wanted = machines.iter().map(|m| (m.name(), m.id.clone())).filter(|(name, _)| names.contains(name));
    of_all(client, wanted.collect(), aws.settings.contact_timeout, cx).await
}

/// The same for machines by their names and IDs.
pub async fn of_all(
    client: &Client,
    mut waiting: Vec<(String, String)>,
    timeout: Duration,
    cx: &Cx,
) -> Result<Vec<(String, Vec<String>)>> {
    let label = format!("waiting for the host keys of {} nodes on their consoles", waiting.len());
    let progress = cx.events.progress(label, waiting.len() as u64, Unit::Items);
    let (start, mut wait) = (Instant::now(), Duration::from_secs(1));
    let mut known = Vec::new();
    loop {
        let outputs = futures::future::try_join_all(waiting.iter().map(|(_, id)| output(client, id, cx))).await?;
        let mut left = Vec::new();
        for ((name, id), output) in waiting.into_iter().zip(outputs) {
            match parse(&output) {
                keys if keys.is_empty() => left.push((name, id)),
                keys => {
                    progress.advance(1);
                    known.push((name, keys));
                }
            }
        }
        if left.is_empty() {
            return Ok(known);
        }
        if start.elapsed() >= timeout {
            let names: Vec<String> = left.into_iter().map(|(name, _)| name).collect();
            return Err(late(&names, timeout));
        }
        waiting = left;
        pause(wait, cx).await?;
        wait = (wait * 2).min(Duration::from_secs(15));
    }
}

fn late(names: &[String], waited: Duration) -> Error {
    let message = format!("no host keys on the console of {} after {} s", names.join(", "), waited.as_secs());
    Error::new(Kind::Timeout, message)
        .hint("AWS has the console's output some minutes after the start: run the same command again, or set a longer `contact_timeout`.")
        .hint("An image whose cloud-init prints no host keys needs `host_keys: bootstrap`, or `host_keys: pin` to take them at first sight.")
}

/// All that AWS has of a console: as it is now where the machine can tell, else as it was when AWS last looked.
async fn output(client: &Client, id: &str, cx: &Cx) -> Result<String> {
    let ask = |latest| client.ec2.get_console_output().instance_id(id).set_latest(latest).send();
    let answer = match client.read("GetConsoleOutput", cx, ask(Some(true))).await {
        Err(t) if t.is(|f| f.code.starts_with("Unsupported") || f.code.starts_with("InvalidParameter")) => {
            client.read("GetConsoleOutput", cx, ask(None)).await?
        }
        other => other?,
    };
    let encoded: String = answer.output().unwrap_or_default().split_whitespace().collect();
    Ok(String::from_utf8_lossy(&BASE64_STANDARD.decode(encoded).unwrap_or_default()).into_owned())
}

/// The keys of the last whole block: an earlier one is of an earlier boot.
fn parse(output: &str) -> Vec<String> {
    let Some(block) = output.rsplit_once(END).and_then(|(before, _)| before.rsplit_once(BEGIN)) else { return Vec::new() };
    // Other things may stand before the key: the time, who says it.
    let key = |line: &str| -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|w| KINDS.iter().any(|kind| w.starts_with(kind)))?;
        let blob = words.get(at + 1).filter(|b| BASE64_STANDARD.decode(b).is_ok_and(|b| !b.is_empty()))?;
        Some(format!("{} {blob}", words.get(at)?))
    };
    block.1.lines().filter_map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_among_what_else_a_console_says() {
        let text = "[   12.0] boot\r\n-----BEGIN SSH HOST KEY KEYS-----\r\nssh-ed25519 AAAAOLD root@a\r\n-----END SSH HOST KEY KEYS-----\r\n\
                    <14>Nov 21 cloud-init: -----BEGIN SSH HOST KEY KEYS-----\r\necdsa-sha2-nistp256 AAAAE2Vj root@ip-10-0-0-1\r\n\
                    [ 13.1] cloud-init[700]: ssh-ed25519 AAAAC3Nz root@ip\r\nssh-rsa\r\nssh-rsa %%%\r\nci-info: no key\r\n-----END SSH HOST KEY KEYS-----\r\nlogin: ";
        assert_eq!(parse(text), ["ecdsa-sha2-nistp256 AAAAE2Vj", "ssh-ed25519 AAAAC3Nz"]);
        assert!(parse("").is_empty() && parse(&text.replace("END", "NED")).is_empty());
        assert!(parse("-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA").is_empty(), "half of it is not there yet");
    }
}
