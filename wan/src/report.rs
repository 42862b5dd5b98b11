//! Counters as JSON: what a run leaves behind.

use serde_json::{Value, json};

use crate::path::PathCounters;
use crate::shaper::{Counters, Validity};

/// The counters of a run and whether it was valid.
///
/// `validity` is `"valid"` or says why not; `is_valid` is the same for programs. Times are in
/// microseconds.
#[must_use]
pub fn report(counters: &Counters) -> Value {
    let validity = counters.validity();
    json!({
        "is_valid": validity == Validity::Valid,
        "validity": validity.to_string(),
        "to_target": path(&counters.to_target),
        "from_target": path(&counters.from_target),
    })
}

fn path(counters: &PathCounters) -> Value {
    let PathCounters {
        forwarded,
        forwarded_bytes,
        lost,
        cut,
        queue_drops,
        too_big,
        duplicated,
        reordered,
        forgotten,
        own_drops,
        late,
        timer_lag_max,
        timer_lag_sum,
    } = *counters;
    let mean = timer_lag_sum.as_nanos().checked_div(u128::from(forwarded)).unwrap_or(0) / 1_000;
    json!({
        "forwarded": forwarded,
        "forwarded_bytes": forwarded_bytes,
        "lost": lost,
        "cut": cut,
        "queue_drops": queue_drops,
        "too_big": too_big,
        "duplicated": duplicated,
        "reordered": reordered,
        "forgotten": forgotten,
        "own_drops": own_drops,
        "late": late,
        "timer_lag_max_us": u64::try_from(timer_lag_max.as_micros()).unwrap_or(u64::MAX),
        "timer_lag_mean_us": u64::try_from(mean).unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_report_says_counters_lag_and_validity() {
        let to_target = PathCounters {
            forwarded: 4,
            own_drops: 1,
            timer_lag_max: Duration::from_micros(90),
            timer_lag_sum: Duration::from_micros(200),
            ..PathCounters::default()
        };

        let report = report(&Counters { to_target, from_target: PathCounters::default() });

        assert_eq!(report["is_valid"], false);
        assert_eq!(report["validity"], "invalid: the emulator lost 1 packets itself");
        assert_eq!(report["to_target"]["timer_lag_mean_us"], 50);
        assert_eq!(report["to_target"]["timer_lag_max_us"], 90);
        assert_eq!(report["from_target"]["timer_lag_mean_us"], 0);
    }
}
