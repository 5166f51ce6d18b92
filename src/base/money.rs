//! Amounts of money, exact to a billionth: what an hour of a small volume costs is less than a cent, and is added up by thousands.

use super::error::{Error, Result};
use serde::{Serialize, Serializer};
use std::fmt;

const ONE: u64 = 1_000_000_000;
const DIGITS: usize = 9;

/// An amount, of whatever currency.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Money(u64);

impl Money {
    /// Reads `12`, `12.50`, `0.0416`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::usage(format!("\"{}\" is no amount of money", text.escape_debug()))
                .hint("Amounts look like 12.50 or 0.0416: a number, not below 0, with at most 9 decimals.")
        };
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > DIGITS {
            return Err(bad());
        }
        let (whole, part): (u64, u64) =
            (whole.parse().map_err(|_| bad())?, format!("{part:0<DIGITS$}").parse().map_err(|_| bad())?);
        whole.checked_mul(ONE).and_then(|w| w.checked_add(part)).map(Self).ok_or_else(bad)
    }

    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// A share of it: `times` parts out of `of`.
    #[must_use]
    pub fn share(self, times: u64, of: u64) -> Self {
        let share = u128::from(self.0) * u128::from(times) / u128::from(of.max(1));
        Self(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

impl std::ops::Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), std::ops::Add::add)
    }
}

/// Two decimals, or as many as four where they say something.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: u64 = ONE / 10_000;
        let rounded = self.0.saturating_add(SHOWN / 2) / SHOWN;
        let (whole, part) = (rounded / 10_000, rounded % 10_000);
        if part % 100 == 0 { write!(f, "{whole}.{:02}", part / 100) } else { write!(f, "{whole}.{part:04}") }
    }
}

/// A number, as JSON has no better.
impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[allow(clippy::cast_precision_loss, reason = "15 digits are enough for a reader")]
        serializer.serialize_f64(self.0 as f64 / ONE as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        let money = |text: &str| Money::parse(text).unwrap();
        assert_eq!(money("0.1").times(3), money("0.3"));
        assert_eq!(money("0.08").share(100, 720).to_string(), "0.0111");
        assert_eq!([money("12.5"), money("0.0416")].into_iter().sum::<Money>().to_string(), "12.5416");
        for (text, shown) in [("12", "12.00"), ("12.5", "12.50"), ("0.0416", "0.0416"), ("0", "0.00"), ("0.00004", "0.00")] {
            assert_eq!(money(text).to_string(), shown);
        }
        assert_eq!(serde_json::to_string(&money("12.5416")).unwrap(), "12.5416");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for bad in ["", ".", "-1", "1.", ".5", "1e3", "12 USD", "1,5", "0.0000000001", "99999999999999999999"] {
            assert!(Money::parse(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = Money::parse(&text);
        }
    }
}
