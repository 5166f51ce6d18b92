//! The checksum of a file that was just sent, as POSIX `cksum` prints it.
//!
//! SSH has already proved every byte of the stream; what is left to notice is a target that stores something else than it
//! was given. A CRC notices that as well as a cryptographic digest does, and costs the target a tenth of the time, which
//! with `sha256sum` was half of the whole transfer.

use super::digest::FileId;
use crate::base::error::{Error, Result};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The polynomial, its highest power first.
const POLYNOMIAL: u32 = 0x04c1_1db7;
/// Bytes taken at a time, each through a table of its own.
const STRIDE: usize = 16;

static TABLES: [[u32; 256]; STRIDE] = tables();

#[allow(clippy::cast_possible_truncation, reason = "the index of a table of 256")]
const fn tables() -> [[u32; 256]; STRIDE] {
    let mut tables = [[0; 256]; STRIDE];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc << 1) ^ if crc >> 31 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut further = 1;
    while further < STRIDE {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[further - 1][byte];
            tables[further][byte] = (before << 8) ^ tables[0][(before >> 24) as usize];
            byte += 1;
        }
        further += 1;
    }
    tables
}

/// A checksum under way.
#[derive(Clone, Default)]
pub(super) struct Cksum {
    crc: u32,
    length: u64,
}

impl Cksum {
    pub fn of(content: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.update(content);
        sum
    }

    pub fn update(&mut self, content: &[u8]) {
        self.length += content.len() as u64;
        let (strides, rest) = content.as_chunks::<STRIDE>();
        for stride in strides {
            let first = self.crc.to_be_bytes();
            let mut crc = 0;
            for (at, byte) in stride.iter().enumerate() {
                let byte = if at < first.len() { byte ^ first[at] } else { *byte };
                crc ^= TABLES[STRIDE - 1 - at][usize::from(byte)];
            }
            self.crc = crc;
        }
        for byte in rest {
            self.crc = step(self.crc, *byte);
        }
    }

    /// As `cksum` prints it for its stdin: the checksum and the length.
    pub fn finish(self) -> String {
        let mut crc = self.crc;
        let mut length = self.length;
        while length > 0 {
            let [.., lowest] = length.to_be_bytes();
            crc = step(crc, lowest);
            length >>= 8;
        }
        format!("{} {}", !crc, self.length)
    }
}

fn step(crc: u32, byte: u8) -> u32 {
    let [highest, ..] = crc.to_be_bytes();
    (crc << 8) ^ TABLES[0][usize::from(highest ^ byte)]
}

/// The checksums of local files, each computed once however many hosts get the file.
#[derive(Default)]
pub(in crate::transport::ssh) struct Cksums(Mutex<HashMap<FileId, Arc<tokio::sync::OnceCell<String>>>>);

impl Cksums {
    /// The checksum of a file. Those who ask for it while it is computed wait for it.
    pub async fn of(&self, path: &Path, meta: &std::fs::Metadata) -> Result<String> {
        let cell = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(FileId::of(meta)).or_default().clone();
        let sum = cell.get_or_try_init(|| async {
            let path = path.to_owned();
            tokio::task::spawn_blocking(move || sum_file(&path))
                .await
                .map_err(|e| Error::internal(format!("summing stopped: {e}")))?
        });
        sum.await.cloned()
    }
}

fn sum_file(path: &Path) -> Result<String> {
    let failed = |e: std::io::Error| Error::io("read", path, &e);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut sum = Cksum::default();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(sum.finish()),
            n => sum.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn agrees_with_the_tool() {
        let content: Vec<u8> = (0..100_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        for length in [0, 1, 15, 16, 17, 255, 256, 65_537, 100_000] {
            let mut tool = Command::new("cksum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut tool.stdin.take().unwrap(), &content[..length]).unwrap();
            let said = String::from_utf8(tool.wait_with_output().unwrap().stdout).unwrap();
            assert_eq!(Cksum::of(&content[..length]).finish(), said.trim());
            let mut pieces = Cksum::default();
            content[..length].chunks(7).for_each(|piece| pieces.update(piece));
            assert_eq!(pieces.finish(), said.trim());
        }
    }
}
