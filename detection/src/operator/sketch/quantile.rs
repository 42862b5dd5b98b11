//! DDSketch: quantiles within a relative error of 1 %.
//!
//! A value lies in the bucket ⌈log_γ |x|⌉ of its sign, γ = 1.01 / 0.99, so that the bucket's middle
//! is within 1 % of every value in it. At most 2,048 buckets a sign: beyond that the least ones of
//! that sign are put together, which spoils only quantiles that near to zero. Values of 40 orders
//! of magnitude fit without.
//!
//! # Source
//! Masson, Rim, Lee: "DDSketch", VLDB 2019.

use std::collections::BTreeMap;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::value::widened;

/// (1 + 0.01) / (1 - 0.01).
const GAMMA: f64 = 1.01 / 0.99;
const BUCKETS_LIMIT: usize = 2_048;

/// Counts per bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct QuantileSketch {
    negative: BTreeMap<i32, i64>,
    zeros: i64,
    positive: BTreeMap<i32, i64>,
}

impl QuantileSketch {
    /// Adds a value; a NaN or an infinity has no rank and is left out.
    pub(crate) fn add(&mut self, value: f64) {
        self.change(value, 1);
    }

    /// Takes a value back that was added.
    pub(crate) fn retract(&mut self, value: f64) {
        self.change(value, -1);
    }

    /// Adds everything that was added to `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        let Self { negative, zeros, positive } = other;
        self.zeros += zeros;
        for (mine, theirs) in [(&mut self.negative, negative), (&mut self.positive, positive)] {
            theirs.iter().for_each(|(bucket, count)| *mine.entry(*bucket).or_default() += count);
            collapse(mine);
        }
    }

    /// The value of which a share of `quantile`, 0 to 1, is no greater; none over no value.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<f64> {
        let total: i64 = self.buckets().map(|(_, count)| count).sum();
        if total <= 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * widened(total - 1);
        let mut seen = 0;
        let mut last = None;
        for (value, count) in self.buckets() {
            seen += count;
            last = Some(value);
            if widened(seen) > rank {
                break;
            }
        }
        last
    }

    /// The middle of every bucket and its count, ascending.
    fn buckets(&self) -> impl Iterator<Item = (f64, i64)> {
        let negative = self.negative.iter().rev().map(|(bucket, n)| (-middle(*bucket), *n));
        let positive = self.positive.iter().map(|(bucket, n)| (middle(*bucket), *n));
        negative.chain((self.zeros > 0).then_some((0.0, self.zeros))).chain(positive)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        (self.negative.len() + self.positive.len()) * 24
    }

    fn change(&mut self, value: f64, by: i64) {
        if !value.is_finite() {
            return;
        }
        if value.abs() < f64::MIN_POSITIVE {
            self.zeros += by;
            return;
        }
        let side = if value < 0.0 { &mut self.negative } else { &mut self.positive };
        let bucket = bucket(value.abs());
        let count = side.entry(bucket).or_default();
        *count += by;
        if *count == 0 {
            side.remove(&bucket);
        }
        collapse(side);
    }

    /// Writes both signs as number of buckets, then bucket and count ascending; then the zeros.
    pub(crate) fn write(&self, writer: &mut Writer) {
        let Self { negative, zeros, positive } = self;
        for side in [negative, positive] {
            writer.length(side.len());
            for (bucket, count) in side {
                writer.i32(*bucket);
                writer.i64(*count);
            }
        }
        writer.i64(*zeros);
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let mut side = || {
            let buckets = reader.length("buckets", BUCKETS_LIMIT)?;
            let entries = (0..buckets).map(|_| Ok((reader.i32("bucket")?, reader.i64("count")?)));
            entries.collect::<Result<BTreeMap<_, _>, CodecError>>()
        };
        let (negative, positive) = (side()?, side()?);
        Ok(Self { negative, zeros: reader.i64("zeros")?, positive })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "log_γ of a normal f64 is within ±36,000")]
fn bucket(magnitude: f64) -> i32 {
    (magnitude.ln() / GAMMA.ln()).ceil() as i32
}

/// The value that is equally far, relatively, from both ends of a bucket.
fn middle(bucket: i32) -> f64 {
    2.0 * GAMMA.powi(bucket) / (GAMMA + 1.0)
}

fn collapse(side: &mut BTreeMap<i32, i64>) {
    while side.len() > BUCKETS_LIMIT {
        let Some((_, count)) = side.pop_first() else { return };
        if let Some(mut next) = side.first_entry() {
            *next.get_mut() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> QuantileSketch {
        let mut sketch = QuantileSketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch
    }

    #[test]
    fn over_nothing_there_is_no_quantile() {
        assert_eq!(of(&[f64::NAN, f64::INFINITY]).quantile(0.5), None);
    }

    #[test]
    fn values_beyond_the_buckets_are_counted_with_the_least() {
        let values: Vec<f64> = (0..3_000).map(|n| GAMMA.powi(n)).collect();

        let sketch = of(&values);

        assert_eq!(sketch.positive.len(), BUCKETS_LIMIT);
        assert!((sketch.quantile(1.0).unwrap() / values[2_999] - 1.0).abs() < 0.0101);
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_one_percent_of_the_exact_one(
            mut values in prop::collection::vec(-1e9..1e9_f64, 1..200),
            quantile in 0.0..=1.0_f64,
        ) {
            let found = of(&values).quantile(quantile).unwrap();

            values.sort_by(f64::total_cmp);
            let rank = quantile * f64::from(u32::try_from(values.len() - 1).unwrap());
            let up_to = values.iter().zip(0_u32..).take_while(|(_, n)| f64::from(*n) <= rank);
            let exact = *up_to.last().unwrap().0;
            prop_assert!((found - exact).abs() <= 0.0101 * exact.abs(), "{} {}", found, exact);
        }

        #[test]
        fn merging_retracting_and_reading_give_the_sketch_of_the_values_that_are_left(
            left in prop::collection::vec(-1e3..1e3_f64, 0..30),
            right in prop::collection::vec(-1e3..1e3_f64, 0..30),
        ) {
            let mut sketch = of(&left);
            sketch.merge(&of(&right));
            left.iter().for_each(|value| sketch.retract(*value));
            let mut writer = Writer::new();
            sketch.write(&mut writer);

            let read = QuantileSketch::read(&mut Reader::new(writer.finish())).unwrap();

            prop_assert_eq!(read, of(&right));
        }
    }
}
