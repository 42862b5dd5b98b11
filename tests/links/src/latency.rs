//! Latencies and their quantiles.

use std::time::Duration;

use serde_json::{Value, json};

use headland_gauge::float;

/// Every latency that was seen, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    micros: Vec<u64>,
}

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.micros.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Milliseconds below which `percent` of the latencies are; 0 when there is none.
    fn quantile_ms(sorted: &[u64], percent: usize) -> f64 {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        float(sorted.get(rank - 1).copied().unwrap_or(0)) / 1_000.0
    }

    /// Half, most and all of them.
    pub(crate) fn report(&self) -> Value {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        json!({
            "count": sorted.len(),
            "p50_ms": Self::quantile_ms(&sorted, 50),
            "p99_ms": Self::quantile_ms(&sorted, 99),
            "max_ms": Self::quantile_ms(&sorted, 100),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_smallest_value_that_so_many_do_not_exceed() {
        let mut latencies = Latencies::default();
        for ms in (1..=200).rev() {
            latencies.add(Duration::from_millis(ms));
        }

        let report = latencies.report();

        assert_eq!(report["p50_ms"], 100.0);
        assert_eq!(report["p99_ms"], 198.0);
        assert_eq!(report["max_ms"], 200.0);
    }

    #[test]
    fn nothing_has_no_latency() {
        assert_eq!(Latencies::default().report()["p99_ms"], 0.0);
    }
}
