//! Quantities of a profile, written as people write them: `"40ms"`, `"0.5%"`, `"100Mbit"`,
//! `"256KiB"`. Each is parsed once, into whole numbers, so that no run depends on a float.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use thiserror::Error;

/// A quantity could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot read {text:?} as a {what}, such as {example:?}")]
#[non_exhaustive]
pub struct QuantityError {
    /// What was expected.
    pub what: &'static str,
    /// What stood there.
    pub text: String,
    /// A text that would have been read.
    pub example: &'static str,
}

/// How often something happens: 0 to 1,000,000 parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Chance(u32);

impl Chance {
    /// It always happens.
    pub const ALWAYS: Self = Self(1_000_000);

    /// So many parts per million, at most [`Self::ALWAYS`].
    #[must_use]
    pub fn parts_per_million(parts: u32) -> Self {
        Self(parts).min(Self::ALWAYS)
    }

    /// Whether it happens when 64 uniformly random bits are `drawn`.
    #[must_use]
    pub fn happens(self, drawn: u64) -> bool {
        below(drawn, u64::from(Self::ALWAYS.0)) < u64::from(self.0)
    }
}

/// Maps 64 random bits onto `0..bound`, 0 for bound 0.
///
/// # Source
/// Lemire, "Fast Random Integer Generation in an Interval", 2019; its bias below 2^-40 at the
/// bounds used here cannot be seen.
pub(crate) fn below(drawn: u64, bound: u64) -> u64 {
    let wide = u128::from(drawn) * u128::from(bound);
    u64::try_from(wide >> 64).unwrap_or(0)
}

impl FromStr for Chance {
    type Err = QuantityError;

    /// Reads a percentage with up to four decimals, which is one part per million.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        percent(text).map(Self).filter(|chance| *chance <= Self::ALWAYS).ok_or_else(|| {
            QuantityError { what: "chance of 0% to 100%", text: text.into(), example: "0.5%" }
        })
    }
}

fn percent(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?.trim();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if decimals.len() > 4 {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    // Padding to four digits turns the decimals into parts per million of the whole.
    let decimals: u32 = format!("{decimals:0<4}").parse().ok()?;
    whole.checked_mul(10_000)?.checked_add(decimals)
}

/// How fast a path sends, in bits per second; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// So many bits per second; `None` for 0, which would never send anything.
    #[must_use]
    pub fn bits_per_second(bits: u64) -> Option<Self> {
        (bits > 0).then_some(Self(bits))
    }

    /// How long `length` bytes take to send.
    #[must_use]
    pub fn time_for(self, length: usize) -> Duration {
        let bits = u128::try_from(length).unwrap_or(u128::MAX).saturating_mul(8);
        let nanos = bits.saturating_mul(1_000_000_000) / u128::from(self.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl FromStr for Rate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let units = [("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];
        scaled(text, &units).and_then(Self::bits_per_second).ok_or_else(|| QuantityError {
            what: "rate above 0 a second",
            text: text.into(),
            example: "100Mbit",
        })
    }
}

/// How much waits for a rate before more is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueSize {
    /// So many bytes, as a router's memory.
    Bytes(u64),
    /// What leaves within this time, as a queue that is sized in delay.
    Time(Duration),
}

impl QueueSize {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self::Bytes(bytes)
    }

    /// The longest that a packet waits, itself included, when it leaves at `rate`.
    #[must_use]
    pub fn wait_max(self, rate: Rate) -> Duration {
        match self {
            Self::Bytes(bytes) => rate.time_for(usize::try_from(bytes).unwrap_or(usize::MAX)),
            Self::Time(time) => time,
        }
    }
}

impl FromStr for QueueSize {
    type Err = QuantityError;

    /// Reads a size, `"256KiB"`, or a time, `"80ms"`.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        // Durations first: their units do not end in `B`, while the size's shortest unit is `B`.
        let units = [("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
        let size = || scaled(text, &units).map(Self::Bytes);
        duration(text).ok().map(Self::Time).or_else(size).ok_or_else(|| QuantityError {
            what: "size or time of a queue",
            text: text.into(),
            example: "256KiB",
        })
    }
}

/// The largest packet that a path carries, in bytes with its IP header: 576 to 65,535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "u16")]
pub struct Mtu(u16);

impl Mtu {
    /// What every IPv4 host accepts (RFC 1122 §3.3.3); less is no path that IP runs over.
    pub const LEAST: Self = Self(576);

    /// So many bytes; `None` below [`Self::LEAST`].
    #[must_use]
    pub fn new(bytes: u16) -> Option<Self> {
        (bytes >= Self::LEAST.0).then_some(Self(bytes))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Mtu {
    type Error = QuantityError;

    fn try_from(bytes: u16) -> Result<Self, QuantityError> {
        Self::new(bytes).ok_or_else(|| QuantityError {
            what: "largest packet of 576 to 65535 bytes",
            text: bytes.to_string(),
            example: "1400",
        })
    }
}

/// Reads a whole number followed by the first unit that fits, and scales it.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, scale) = units
        .iter()
        .find_map(|(unit, scale)| text.strip_suffix(unit).map(|number| (number, *scale)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(scale)
}

/// Reads a duration such as `"40ms"`; the units are `us`, `ms` and `s`.
///
/// # Errors
/// [`QuantityError`] when the text is not a whole number with one of these units.
pub fn duration(text: &str) -> Result<Duration, QuantityError> {
    let units = [("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    scaled(text, &units).map(Duration::from_nanos).ok_or_else(|| QuantityError {
        what: "duration",
        text: text.into(),
        example: "40ms",
    })
}

pub(crate) fn deserialize_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    duration(&String::deserialize(deserializer)?).map_err(Error::custom)
}

/// Reads a duration where a patch may leave it out.
pub(crate) fn deserialize_some_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    deserialize_duration(deserializer).map(Some)
}

/// Reads a rate, or `"unlimited"` to lift one, where a patch may leave it out.
pub(crate) fn deserialize_rate_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Rate>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "unlimited" {
        return Ok(Some(None));
    }
    text.parse().map(|rate| Some(Some(rate))).map_err(Error::custom)
}

macro_rules! deserialize_from_text {
    ($($quantity:ty),+) => {$(
        impl<'de> Deserialize<'de> for $quantity {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(Error::custom)
            }
        }
    )+};
}

deserialize_from_text!(Chance, Rate, QueueSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_is_read_to_one_part_per_million() {
        assert_eq!("0.5%".parse(), Ok(Chance::parts_per_million(5_000)));
        assert_eq!("0.0001%".parse(), Ok(Chance::parts_per_million(1)));
        assert_eq!("100%".parse(), Ok(Chance::ALWAYS));
    }

    #[test]
    fn a_chance_outside_its_range_is_refused() {
        for text in ["100.0001%", "0.00001%", "-1%", "5", "%"] {
            assert!(text.parse::<Chance>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_chance_happens_below_its_share_of_the_drawn_numbers() {
        let half = Chance::parts_per_million(500_000);

        assert!(half.happens((1 << 63) - 1));
        assert!(!half.happens(1 << 63));
        assert!(Chance::ALWAYS.happens(u64::MAX));
        assert!(!Chance::default().happens(0));
    }

    #[test]
    fn a_rate_says_how_long_bytes_take() {
        let rate: Rate = "8Mbit".parse().unwrap();

        assert_eq!(rate.time_for(1_000), Duration::from_millis(1));
    }

    #[test]
    fn a_rate_of_zero_or_without_a_unit_is_refused() {
        let zero = "0Mbit".parse::<Rate>().unwrap_err();

        assert_eq!(
            zero.to_string(),
            r#"cannot read "0Mbit" as a rate above 0 a second, such as "100Mbit""#
        );
        assert!("100".parse::<Rate>().is_err());
    }

    #[test]
    fn sizes_and_durations_are_read_with_their_units() {
        assert_eq!("256KiB".parse(), Ok(QueueSize::bytes(262_144)));
        assert_eq!("80ms".parse(), Ok(QueueSize::Time(Duration::from_millis(80))));
        assert_eq!(duration("40ms"), Ok(Duration::from_millis(40)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("150us"), Ok(Duration::from_micros(150)));
        assert!(duration("2h").is_err());
    }

    #[test]
    fn a_queue_in_bytes_waits_as_long_as_they_take_and_one_in_time_that_time() {
        let rate: Rate = "8Mbit".parse().unwrap();

        assert_eq!(QueueSize::bytes(5_000).wait_max(rate), Duration::from_millis(5));
        let time = Duration::from_millis(7);
        assert_eq!(QueueSize::Time(time).wait_max(rate), time);
    }

    #[test]
    fn a_path_that_no_ip_host_accepts_is_refused() {
        assert_eq!(Mtu::new(575), None);
        assert_eq!(Mtu::new(576), Some(Mtu::LEAST));
        assert!(Mtu::try_from(68).unwrap_err().to_string().contains("576 to 65535"));
    }
}
