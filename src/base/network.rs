//! Addresses and the networks that they lie in.

use super::error::{Error, Result};
use std::net::IpAddr;

/// Whether an address lies in a network: `10.0.0.0/8`, `2001:db8::/32`, one address, or a range `10.0.0.1-10.0.0.9`.
pub fn lies_in(address: &str, network: &str) -> Result<bool> {
    // What a server says that listens for both kinds.
    let at = parse(address)?.to_canonical();
    if let Some((first, last)) = network.split_once('-') {
        let (first, last) = (parse(first)?, parse(last)?);
        return Ok(first.is_ipv4() == at.is_ipv4() && (first..=last).contains(&at));
    }
    let (start, length) = match network.split_once('/') {
        Some((start, length)) => (parse(start)?, Some(length)),
        None => (parse(network)?, None),
    };
    let width = if start.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => width,
        Some(text) => text.parse().ok().filter(|n| *n <= width).ok_or_else(|| no_network(network))?,
    };
    let head = |ip: IpAddr| {
        let bits = match ip {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        bits.checked_shr(width - length).unwrap_or(0)
    };
    Ok(start.is_ipv4() == at.is_ipv4() && head(start) == head(at))
}

fn parse(text: &str) -> Result<IpAddr> {
    text.trim().parse().map_err(|_| no_network(text))
}

fn no_network(text: &str) -> Error {
    Error::usage(format!("\"{text}\" is no network"))
        .hint("Networks look like 10.0.0.0/8, 192.0.2.7, 10.0.0.1-10.0.0.9 or 2001:db8::/32.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_in_networks() {
        let cases = [
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "::/0", false),
            ("::ffff:10.1.2.3", "10.0.0.0/8", true),
            ("2001:db8::7", "2001:db8::/32", true),
            ("2001:db9::7", "2001:db8::/32", false),
            ("2001:db8::7", "::/0", true),
            ("2001:db8::7", "10.0.0.0/8", false),
            ("10.0.0.5", "10.0.0.1-10.0.0.9", true),
            ("10.0.0.10", "10.0.0.1-10.0.0.9", false),
        ];
        for (address, network, expected) in cases {
            assert_eq!(lies_in(address, network).unwrap(), expected, "{address} in {network}");
        }
        for wrong in ["10.0.0.0/33", "10.0.0.0/x", "lab", "", "10.0.0.1-lab"] {
            assert!(lies_in("10.0.0.1", wrong).unwrap_err().message().contains("is no network"), "{wrong}");
        }
    }
}
