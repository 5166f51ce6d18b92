//! One histogram as it stands in a log: base64 of a zlib stream of HdrHistogram's V2 encoding.
//!
//! The counts go straight into a running sum. Building a histogram for each interval, as a general reader does, costs
//! several times as much; and lengths in a damaged line must not decide how much memory is taken.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Decompress, FlushDecompress, Status};
use std::collections::HashMap;

const COOKIE_V2: u32 = 0x1c84_9303;
const COOKIE_V2_COMPRESSED: u32 = 0x1c84_9304;
const COOKIE_MASK: u32 = !0xf0;
const COOKIE_DOUBLE: u32 = 0x0c72_124e;
const COOKIE_DOUBLE_COMPRESSED: u32 = 0x0c72_124f;
const HEADER: usize = 40;
/// An encoded histogram is some kilobytes; one of five digits over all of 64 bits stays below this.
const MAX_ENCODED: usize = 64 << 20;

/// How values are laid out over counters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Layout {
    pub digits: u8,
    unit_magnitude: u32,
    half_magnitude: u32,
}

impl Layout {
    fn new(digits: u8, lowest: u64) -> Result<Self, String> {
        if digits > 5 || lowest == 0 || lowest > 1 << 40 {
            return Err(format!("its header is damaged ({digits} digits from {lowest} up)"));
        }
        let single_unit = 2 * 10_u64.pow(u32::from(digits));
        let magnitude = single_unit.next_power_of_two().ilog2();
        Ok(Self { digits, unit_magnitude: lowest.ilog2(), half_magnitude: magnitude.max(1) - 1 })
    }

    /// The lowest value that shares this resolution.
    pub fn lowest(self) -> u64 {
        1 << self.unit_magnitude
    }

    /// The lowest value that is counted at this index; none when no value of 63 bits is.
    pub fn value(self, index: usize) -> Option<u64> {
        let half = 1_usize << self.half_magnitude;
        let (bucket, sub) = match index >> self.half_magnitude {
            0 => (0, index),
            bucket => (bucket - 1, (index & (half - 1)) + half),
        };
        let shift = u32::try_from(bucket).ok()? + self.unit_magnitude;
        let value = (sub as u64).checked_shl(shift).filter(|v| v >> shift == sub as u64)?;
        (value < 1 << 63).then_some(value)
    }

    /// Behind the last index that counts values of 63 bits.
    fn end(self) -> usize {
        let buckets = 63_u32.saturating_sub(self.half_magnitude + self.unit_magnitude);
        (buckets as usize + 1) << self.half_magnitude
    }
}

/// Counts added up, by layout: logs of one tool have one.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// The layout that came first.
    pub first: Option<Layout>,
    pub counts: HashMap<Layout, Vec<u64>>,
}

/// Decodes histograms; keeps its buffers from one to the next.
#[derive(Debug)]
pub struct Decoder {
    inflater: Decompress,
    binary: Vec<u8>,
    plain: Vec<u8>,
}

impl Decoder {
    pub fn new() -> Self {
        Self { inflater: Decompress::new(true), binary: Vec::new(), plain: Vec::new() }
    }

    /// Adds a histogram's counts to the sums. When it is damaged, says how, and the sums are of no more use.
    pub fn add(&mut self, text: &[u8], sums: &mut Sums) -> Result<(), String> {
        let encoded = self.unpack(text)?;
        let (layout, counts) = parse_header(encoded)?;
        sums.first.get_or_insert(layout);
        add_counts(counts, layout, sums.counts.entry(layout).or_default())
    }

    /// The V2 encoding inside the text.
    fn unpack(&mut self, text: &[u8]) -> Result<&[u8], String> {
        self.binary.clear();
        STANDARD.decode_vec(text, &mut self.binary).map_err(|e| format!("it is not whole base64 text ({e})"))?;
        match cookie(&self.binary)? {
            COOKIE_V2 => return Ok(&self.binary),
            COOKIE_V2_COMPRESSED => {}
            COOKIE_DOUBLE | COOKIE_DOUBLE_COMPRESSED => {
                return Err("it is a histogram of fractions (DoubleHistogram), which is not supported".to_owned());
            }
            other => return Err(format!("it is no histogram of encoding V2 (its first bytes are {other:08x})")),
        }
        let body = self.binary.get(8..).unwrap_or_default();
        let length = self.binary.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes) as usize;
        let body = body.get(..length).ok_or_else(|| format!("it breaks off after {} of {length} bytes", body.len()))?;
        self.inflater.reset(true);
        self.plain.clear();
        loop {
            self.plain.reserve(16 << 10);
            let (taken, made) = (self.inflater.total_in(), self.inflater.total_out());
            let left = body.get(usize::try_from(taken).unwrap_or(usize::MAX)..).unwrap_or_default();
            let status = self.inflater.decompress_vec(left, &mut self.plain, FlushDecompress::None);
            match status.map_err(|e| format!("its compressed data is damaged ({e})"))? {
                Status::StreamEnd => break,
                _ if (taken, made) == (self.inflater.total_in(), self.inflater.total_out()) => {
                    return Err("its compressed data breaks off".to_owned());
                }
                _ if self.plain.len() > MAX_ENCODED => return Err("it is larger than any histogram is".to_owned()),
                _ => {}
            }
        }
        match cookie(&self.plain)? {
            COOKIE_V2 => Ok(&self.plain),
            other => Err(format!("it is no histogram of encoding V2 (its inner bytes are {other:08x})")),
        }
    }
}

fn cookie(bytes: &[u8]) -> Result<u32, String> {
    let first = bytes.first_chunk::<4>().ok_or("it is cut off")?;
    let raw = u32::from_be_bytes(*first);
    // The second lowest half byte tells the word size, which is the same for all of V2.
    Ok(if raw & 0xff00_0000 == 0x1c00_0000 { raw & COOKIE_MASK } else { raw })
}

/// The layout, and the bytes of the counts.
fn parse_header(bytes: &[u8]) -> Result<(Layout, &[u8]), String> {
    let header = bytes.get(..HEADER).ok_or("its header is cut off")?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
    if word(8) != 0 {
        return Err("it is a shifted histogram, which is not supported".to_owned());
    }
    let digits = u8::try_from(word(12)).map_err(|_| "its header is damaged")?;
    let length = word(4) as usize;
    let counts = bytes[HEADER..].get(..length).ok_or("its counts break off")?;
    Ok((Layout::new(digits, long(16))?, counts))
}

fn add_counts(mut bytes: &[u8], layout: Layout, sums: &mut Vec<u64>) -> Result<(), String> {
    let end = layout.end();
    let mut index = 0_usize;
    while let [_, ..] = bytes {
        let (number, length) = varint(bytes).ok_or("its counts break off")?;
        bytes = &bytes[length..];
        // Zigzag: even numbers are counts, odd ones say how many zeros follow.
        if number & 1 == 1 {
            index = index.saturating_add(usize::try_from(number >> 1).unwrap_or(usize::MAX)).saturating_add(1);
        } else {
            if index >= sums.len() && index < end {
                sums.resize((index + 1024).min(end), 0);
            }
            let sum = sums.get_mut(index).ok_or("it counts values that cannot be")?;
            *sum = sum.saturating_add(number >> 1);
            index += 1;
        }
    }
    Ok(())
}

/// A number in seven-bit groups, the ninth byte whole; and how many bytes it took.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (n, &byte) in bytes.iter().take(9).enumerate() {
        if n == 8 {
            return Some((value | u64::from(byte) << 56, 9));
        }
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, n + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};
    use proptest::prelude::*;

    fn encode(histogram: &Histogram<u64>, compressed: bool) -> String {
        let mut bytes = Vec::new();
        if compressed {
            V2DeflateSerializer::new().serialize(histogram, &mut bytes).unwrap();
        } else {
            V2Serializer::new().serialize(histogram, &mut bytes).unwrap();
        }
        STANDARD.encode(bytes)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn reads_what_the_library_writes(
            values in prop::collection::vec((1_u64..1 << 44, 1_u64..1 << 40), 0..40),
            digits in 1_u8..=4,
            low in 1_u64..2000,
            compressed: bool,
        ) {
            let mut histogram = Histogram::<u64>::new_with_bounds(low, low * 2, digits).unwrap();
            histogram.auto(true);
            for (value, count) in values {
                histogram.record_n(value, count).unwrap();
            }
            let mut sums = Sums::default();
            Decoder::new().add(encode(&histogram, compressed).as_bytes(), &mut sums).unwrap();
            let layout = sums.first.unwrap();
            let found: Vec<(u64, u64)> = sums.counts[&layout].iter().enumerate()
                .filter(|(_, n)| **n > 0)
                .map(|(index, n)| (histogram.highest_equivalent(layout.value(index).unwrap()), *n))
                .collect();
            let expected: Vec<(u64, u64)> = histogram.iter_recorded()
                .map(|v| (v.value_iterated_to(), v.count_at_value())).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn damage_is_refused_without_a_panic(at in 0_usize..400, with in any::<u8>(), cut in 0_usize..400, compressed: bool) {
            let mut histogram = Histogram::<u64>::new(3).unwrap();
            for n in 0..100 {
                histogram.record(n * n * 1000).unwrap();
            }
            let mut text = encode(&histogram, compressed).into_bytes();
            let at = at % text.len();
            text[at] = with;
            let _ = Decoder::new().add(&text, &mut Sums::default());
            let whole = encode(&histogram, compressed);
            let cut = cut % whole.len();
            prop_assert!(Decoder::new().add(&whole.as_bytes()[..cut], &mut Sums::default()).is_err());
        }
    }
}
