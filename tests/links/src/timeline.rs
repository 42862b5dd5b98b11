//! How many bytes arrived in each second.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use headland_gauge::float;

/// Seconds after the last of several has started that count for none of them.
const SETTLING: u64 = 3;

/// Bytes by second of the machine's monotonic clock.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Timeline {
    bytes: BTreeMap<u64, u64>,
}

impl Timeline {
    pub(crate) fn add(&mut self, now: Duration, bytes: u64) {
        *self.bytes.entry(now.as_secs()).or_default() += bytes;
    }

    pub(crate) fn to_json(&self) -> Value {
        json!(self.bytes)
    }

    /// Reads what another process has said; nothing when it said nothing.
    pub(crate) fn from_json(value: Option<&Value>) -> Self {
        let seconds = value.and_then(Value::as_object).into_iter().flatten();
        let bytes =
            seconds.filter_map(|(second, bytes)| Some((second.parse().ok()?, bytes.as_u64()?)));
        Self { bytes: bytes.collect() }
    }

    /// Megabytes per second over the seconds in which all of `others` were busy, without the first
    /// three and the last.
    pub(crate) fn rate_beside(&self, others: &[Self]) -> f64 {
        let first = |line: &Self| line.bytes.keys().next().copied();
        let last = |line: &Self| line.bytes.keys().next_back().copied();
        let Some(from) = others.iter().map(first).max().flatten() else { return 0.0 };
        let to = others.iter().filter_map(last).min().unwrap_or(from);
        let from = from + SETTLING;
        if from >= to {
            return 0.0;
        }
        let bytes: u64 = self.bytes.range(from..to).map(|(_, bytes)| *bytes).sum();
        float(bytes) / float(to - from) / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(seconds: std::ops::Range<u64>, bytes: u64) -> Timeline {
        let mut line = Timeline::default();
        for second in seconds {
            line.add(Duration::from_secs(second), bytes);
        }
        line
    }

    #[test]
    fn only_seconds_in_which_all_were_busy_count() {
        let lines = [steady(0..100, 4_000_000), steady(20..50, 1_000_000)];

        let [first, second] = lines.each_ref().map(|line| line.rate_beside(&lines));

        assert_eq!((first.to_bits(), second.to_bits()), (4.0_f64.to_bits(), 1.0_f64.to_bits()));
    }

    #[test]
    fn a_timeline_survives_its_way_between_processes() {
        let line = steady(7..12, 5);

        assert_eq!(Timeline::from_json(Some(&line.to_json())), line);
        assert_eq!(Timeline::from_json(None), Timeline::default());
    }
}
