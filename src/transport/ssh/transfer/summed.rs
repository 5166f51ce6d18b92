//! A stream that ends with its own SHA-256: what was sent before the last 64 bytes is passed on and hashed.

use crate::base::checksum::hex;
use sha2::{Digest, Sha256};
use std::io::Read;

const DIGEST: usize = 64;

/// Passes on all but the digest at the end.
pub(super) struct Summed<R> {
    inner: R,
    hash: Sha256,
    /// What came last: it may be the digest, until more comes.
    held: Vec<u8>,
}

impl<R: Read> Summed<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), held: Vec::new() }
    }

    /// Reads to the end, and returns whether the stream was what its digest says.
    pub fn finish(mut self) -> std::io::Result<bool> {
        std::io::copy(&mut self, &mut std::io::sink())?;
        Ok(self.held == hex(self.hash.finalize()).as_bytes())
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let ready = self.held.len().saturating_sub(DIGEST).min(buffer.len());
            if ready > 0 {
                buffer[..ready].copy_from_slice(&self.held[..ready]);
                self.held.drain(..ready);
                self.hash.update(&buffer[..ready]);
                return Ok(ready);
            }
            let mut more = [0; 16 << 10];
            let n = self.inner.read(&mut more)?;
            if n == 0 || buffer.is_empty() {
                return Ok(0);
            }
            self.held.extend_from_slice(&more[..n]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::checksum::sha256;

    #[test]
    fn says_whether_the_digest_fits() {
        let text = "a".repeat(100_000);
        let whole = format!("{text}{}", sha256(&text));
        let mut summed = Summed::new(whole.as_bytes());
        let mut first = vec![0; 70_000];
        summed.read_exact(&mut first).unwrap();
        assert!(summed.finish().unwrap());
        let mut seen = String::new();
        Summed::new(whole.as_bytes()).read_to_string(&mut seen).unwrap();
        assert_eq!(seen, text);
        assert!(!Summed::new(whole.replacen('a', "b", 1).as_bytes()).finish().unwrap());
        assert!(!Summed::new(&whole.as_bytes()[..99_000]).finish().unwrap());
        assert!(!Summed::new(&b"short"[..]).finish().unwrap());
    }
}
