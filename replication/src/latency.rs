//! How long records take to a region: from being durable here to being acknowledged there.
//!
//! Both ends of it are read from this node's clock, so that clocks of regions may be off by any
//! amount; the acknowledgement's way back is part of it. A cut counts as long as it lasts.

use std::time::Duration;

use headland_event::Monotonic;

/// Upper bounds of what is counted for good; what is longer has none.
pub const BOUNDS: [Duration; 15] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
];

/// How long a stretch is of which percentiles are kept; they are of the last one to two.
const STRETCH: Duration = Duration::from_mins(1);

/// Steps of each doubling: a percentile is at most an eighth too high.
const STEPS: usize = 8;

/// Doublings of a microsecond: up to 19 hours, and all that is longer.
const DOUBLINGS: usize = 36;

/// How many records took how long, from the start of the run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Records by [`BOUNDS`], each above the bound before; those above all come last.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// Records.
    pub records: u64,
    /// The sum of what they took.
    pub sum: Duration,
}

/// How long the records of the last minutes took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    /// How many there were.
    pub records: u64,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Nine of ten took no longer.
    pub p90: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// None took longer.
    pub max: Duration,
}

/// Records of one stretch by how long they took.
#[derive(Debug, Clone, Default)]
struct Stretch {
    /// By steps; empty until there is a record. 2.3 KiB.
    counts: Vec<u64>,
    max_us: u64,
}

/// How long records take over one link.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    counted: Histogram,
    began: Monotonic,
    current: Stretch,
    former: Stretch,
}

impl Latencies {
    /// Nothing was acknowledged yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// So many records were acknowledged now that took so long.
    pub fn on_acked(&mut self, now: Monotonic, took: Duration, records: u64) {
        self.turn(now);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bound = BOUNDS.iter().position(|bound| Duration::from_micros(us) <= *bound);
        let Histogram { buckets, records: all, sum } = &mut self.counted;
        if let Some(bucket) = buckets.get_mut(bound.unwrap_or(BOUNDS.len())) {
            *bucket = bucket.saturating_add(records);
        }
        *all = all.saturating_add(records);
        *sum = sum.saturating_add(Duration::from_micros(us.saturating_mul(records)));
        let Stretch { counts, max_us } = &mut self.current;
        counts.resize(STEPS * (DOUBLINGS + 1), 0);
        if let Some(count) = counts.get_mut(step(us)) {
            *count = count.saturating_add(records);
        }
        *max_us = us.max(*max_us);
    }

    fn turn(&mut self, now: Monotonic) {
        if now < self.began.after(STRETCH) {
            return;
        }
        let is_next = now < self.began.after(STRETCH * 2);
        let ended = std::mem::take(&mut self.current);
        self.former = if is_next { ended } else { Stretch::default() };
        self.began = if is_next { self.began.after(STRETCH) } else { now };
    }

    /// All since the start of the run.
    #[must_use]
    pub const fn counted(&self) -> &Histogram {
        &self.counted
    }

    /// The last one to two minutes; `None` when nothing was acknowledged in them.
    #[must_use]
    pub fn recent(&self, now: Monotonic) -> Option<Recent> {
        let mut known = self.clone();
        known.turn(now);
        let Self { current, former, .. } = known;
        let of = |stretch: &Stretch, at: usize| stretch.counts.get(at).copied().unwrap_or_default();
        let steps = STEPS * (DOUBLINGS + 1);
        let counts: Vec<u64> =
            (0..steps).map(|at| of(&current, at).saturating_add(of(&former, at))).collect();
        let records = counts.iter().copied().fold(0, u64::saturating_add);
        let max_us = current.max_us.max(former.max_us);
        let at = |percent: u64| {
            // The record of that rank, counted from 1.
            let rank = u128::from(records).saturating_mul(percent.into()).div_ceil(100);
            let mut seen: u128 = 0;
            let found = counts.iter().position(|count| {
                seen = seen.saturating_add((*count).into());
                seen >= rank
            });
            Duration::from_micros(found.map_or(max_us, upper).min(max_us))
        };
        (records > 0).then(|| Recent {
            records,
            p50: at(50),
            p90: at(90),
            p99: at(99),
            max: Duration::from_micros(max_us),
        })
    }
}

/// The step that a time belongs to: eight between a power of two and the next one.
fn step(us: u64) -> usize {
    let us = us.max(1);
    let doubling = usize::try_from(us.ilog2()).unwrap_or(DOUBLINGS);
    if doubling >= DOUBLINGS {
        return STEPS * (DOUBLINGS + 1) - 1;
    }
    // The three bits behind the highest one.
    let behind = if doubling >= 3 { us >> (doubling - 3) } else { us << (3 - doubling) };
    doubling * STEPS + usize::try_from(behind % 8).unwrap_or_default()
}

/// The longest time of a step, in microseconds.
fn upper(step: usize) -> u64 {
    let (doubling, part) = (step / STEPS, step % STEPS);
    let part = u64::try_from(part).unwrap_or_default();
    let above = (9 + part).checked_shl(u32::try_from(doubling).unwrap_or(u32::MAX));
    above.map_or(u64::MAX, |above| above.div_ceil(8).saturating_sub(1).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_nanos(seconds * 1_000_000_000)
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn percentiles_are_those_of_the_records_and_at_most_an_eighth_too_high() {
        let mut latencies = Latencies::new();
        for millis in 1..=1_000 {
            latencies.on_acked(at(1), ms(millis), 1);
        }

        let Recent { records, p50, p90, p99, max } = latencies.recent(at(1)).unwrap();

        assert_eq!((records, max), (1_000, ms(1_000)));
        for (found, exact) in [(p50, 500), (p90, 900), (p99, 990)] {
            assert!(found >= ms(exact) && found <= ms(exact) * 9 / 8, "{found:?} for {exact} ms");
        }
    }

    #[test]
    fn what_was_acknowledged_together_counts_as_many() {
        let mut latencies = Latencies::new();

        latencies.on_acked(at(1), ms(3), 98);
        latencies.on_acked(at(1), ms(700), 2);

        let Recent { p50, p99, .. } = latencies.recent(at(1)).unwrap();
        assert!(p50 < ms(4) && p99 >= ms(700), "{p50:?} {p99:?}");
    }

    #[test]
    fn percentiles_forget_after_two_minutes_and_counts_never_do() {
        let mut latencies = Latencies::new();
        latencies.on_acked(at(1), ms(300), 5);

        let max = |latencies: &Latencies, seconds| latencies.recent(at(seconds)).map(|of| of.max);
        assert_eq!([59, 119, 120, 500].map(|seconds| max(&latencies, seconds)), {
            let known = Some(ms(300));
            [known, known, None, None]
        });
        latencies.on_acked(at(500), ms(2), 1);

        assert_eq!(max(&latencies, 500), Some(ms(2)));
        let Histogram { buckets, records, sum } = *latencies.counted();
        assert_eq!((records, sum), (6, ms(1_502)));
        assert_eq!((buckets[1], buckets[8]), (1, 5));
    }

    #[test]
    fn what_takes_longest_has_no_bound() {
        let mut latencies = Latencies::new();

        latencies.on_acked(at(1), Duration::from_millis(600_000), 1);
        latencies.on_acked(at(1), Duration::from_secs(1_000_000), 2);

        assert_eq!(latencies.counted().buckets[14..], [1, 2]);
        assert_eq!(latencies.recent(at(1)).unwrap().max, Duration::from_secs(1_000_000));
    }

    proptest! {
        #[test]
        fn a_step_holds_the_times_up_to_its_upper_end(us in 1_u64..1 << 36) {
            let step = step(us);

            prop_assert!(us <= upper(step));
            prop_assert!(step == 0 || upper(step - 1) < us || us < 16);
            prop_assert!(upper(step) <= us + us / 8 + 1);
        }
    }
}
