//! Durations and sizes written with their units, as scripts, configs and flags give them.

use super::error::{Error, Result};
use std::time::Duration;

/// Whatever is added to a clock's time must not overflow it.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Reads `90s`, `1m 30s`, `250ms`, `2h`, `3d`. A bare number is refused: its unit would be a guess.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let trimmed = text.trim();
    if trimmed.parse::<f64>().is_ok() {
        return Err(Error::usage(format!("duration \"{text}\" has no unit"))
            .hint(format!("Write \"{trimmed}s\" for seconds, \"{trimmed}ms\", \"{trimmed}m\" or \"{trimmed}h\".")));
    }
    let bad = |why: &str| {
        Error::usage(format!("\"{text}\" is not a duration: {why}"))
            .hint("Durations look like \"90s\", \"1m 30s\", \"250ms\" or \"2h\".")
    };
    let duration = humantime::parse_duration(trimmed).map_err(|e| bad(&e.to_string()))?;
    if duration > LONGEST { Err(bad("it is longer than 100 years")) } else { Ok(duration) }
}

/// Writes a duration short: `1m 30s`, `250ms`.
pub fn format_duration(duration: Duration) -> String {
    let rounded = if duration >= Duration::from_secs(10) {
        Duration::from_secs(duration.as_secs())
    } else if duration >= Duration::from_millis(1) {
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    };
    humantime::format_duration(rounded).to_string()
}

/// Writes a duration with one unit, for who only wants to know about how long: `90 s`, `5 m`, `3 h`, `2 d`.
pub fn roughly(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} m", (seconds + 30) / 60),
        seconds @ 7_200..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        seconds => format!("{} d", (seconds + 43_200) / 86_400),
    }
}

const SIZE_UNITS: [(&str, u64); 15] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("byte", 1),
    ("bytes", 1),
];

/// Reads `64MiB`, `1.5 GB`, `512 B` as bytes. `K M G T` alone are binary, as in Java and dd. A bare number is refused.
pub fn parse_size(text: &str) -> Result<u64> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(trimmed.len());
    let (number, unit) = (trimmed[..split].replace('_', ""), trimmed[split..].trim().to_ascii_lowercase());
    let bad = |why: &str| {
        Error::usage(format!("\"{text}\" is not a size: {why}")).hint("Sizes look like \"64MiB\", \"1.5GB\" or \"512B\".")
    };
    if unit.is_empty() && !number.is_empty() {
        return Err(bad("it has no unit"));
    }
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
        bad(&if number.is_empty() { "it has no number".to_owned() } else { format!("unknown unit \"{unit}\"") })
    })?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*factor).ok_or_else(|| bad("it is too large"));
    }
    let value: f64 = number.parse().map_err(|_| bad("it has no number"))?;
    #[allow(clippy::cast_precision_loss)]
    let bytes = value * *factor as f64;
    if !(0.0..9.0e18).contains(&bytes) {
        return Err(bad("it is too large"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(bytes.round() as u64)
}

/// Writes bytes with a binary unit and at most one decimal: `64 MiB`, `1.5 GiB`.
pub fn format_size(bytes: u64) -> String {
    const NAMES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    #[allow(clippy::cast_precision_loss)]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < NAMES.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value.fract() < 0.05 { format!("{value:.0} {}", NAMES[unit]) } else { format!("{value:.1} {}", NAMES[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units() {
        assert_eq!(parse_duration("1m 30s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration(" 250ms ").unwrap(), Duration::from_millis(250));
        assert!(parse_duration("30").unwrap_err().message().contains("no unit"));
        assert!(parse_duration("soon").is_err());
        // No clock overflows.
        assert!(parse_duration("500000000000y").unwrap_err().message().contains("longer than 100 years"));
        assert!(std::time::Instant::now().checked_add(parse_duration("99y").unwrap()).is_some());
        assert_eq!(format_duration(Duration::from_millis(90_400)), "1m 30s");
    }

    #[test]
    fn sizes_need_units() {
        assert_eq!(parse_size("64MiB").unwrap(), 64 << 20);
        assert_eq!(parse_size("1.5 GB").unwrap(), 1_500_000_000);
        assert_eq!(parse_size("256M").unwrap(), 256 << 20);
        for bad in ["64", "MiB", "", "1.2.3MiB", "64 parsecs", "99999999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(format_size(64 << 20), "64 MiB");
        assert_eq!(format_size(1536), "1.5 KiB");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
