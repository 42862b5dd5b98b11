//! DDSketch: quantiles within a relative error of 1 %.
//!
//! Each octave [2^e, 2^(e+1)) of the magnitude is cut into 50 buckets of equal width, so that the
//! middle of a bucket is within 0.02 / 2.02 = 0.99 % of every value in it. A bucket is found with
//! integers from the bits of a number, and its middle with one division, which IEEE 754 rounds
//! alike everywhere: logarithms, which differ between platforms, would let regions disagree. At
//! most 3,072 buckets a sign: beyond that the least ones of that sign are put together, which
//! spoils only quantiles that near to zero. Values of 18 orders of magnitude fit without.
//!
//! # Source
//! Masson, Rim, Lee: "DDSketch", VLDB 2019; the mapping is the linearly interpolated one of its
//! authors' implementation.

use std::collections::BTreeMap;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::value::widened;

/// Buckets in an octave: fewer would be wider than 1 % from their middle.
const OCTAVE_BUCKETS: u64 = 50;
const BUCKETS_LIMIT: usize = 3_072;
/// The bits of a double behind its exponent.
const MANTISSA_BITS: u32 = 52;
const EXPONENT_BIAS: i64 = 1_023;

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

/// The bucket of a normal positive number: 50 times its octave, plus its place there.
fn bucket(magnitude: f64) -> i32 {
    debug_assert!(magnitude.is_normal() && magnitude > 0.0, "zeros are counted apart");
    let bits = magnitude.to_bits();
    let place = ((bits & ((1 << MANTISSA_BITS) - 1)) * OCTAVE_BUCKETS) >> MANTISSA_BITS;
    let octave = (bits >> MANTISSA_BITS).cast_signed() - EXPONENT_BIAS;
    let bucket = octave * OCTAVE_BUCKETS.cast_signed() + place.cast_signed();
    i32::try_from(bucket).unwrap_or(i32::MAX)
}

/// The value that is equally far, relatively, from both ends of a bucket: with the ends `l` and `u`
/// of a bucket, 2 l u / (l + u).
fn middle(bucket: i32) -> f64 {
    let buckets = OCTAVE_BUCKETS.cast_signed();
    let bucket = i64::from(bucket);
    let (octave, place) = (bucket.div_euclid(buckets), bucket.rem_euclid(buckets));
    let (low, high) = (widened(buckets + place), widened(buckets + place + 1));
    let within = 2.0 * low * high / ((low + high) * widened(buckets));
    let exponent = octave.saturating_add(EXPONENT_BIAS).clamp(1, 2 * EXPONENT_BIAS);
    within * f64::from_bits(exponent.cast_unsigned() << MANTISSA_BITS)
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
        let values: Vec<f64> = (0..4_000).map(|n| 1.02_f64.powi(n)).collect();

        let sketch = of(&values);

        assert_eq!(sketch.positive.len(), BUCKETS_LIMIT);
        assert!((sketch.quantile(1.0).unwrap() / values[3_999] - 1.0).abs() < 0.0101);
    }

    #[test]
    fn buckets_and_their_middles_are_the_same_bits_everywhere() {
        let values = [f64::MIN_POSITIVE, 0.1, 1.0, 1.019, 1.02, 1.5, 3.0, 1e9, f64::MAX];

        let buckets = values.map(bucket);

        assert_eq!(buckets, [-51_100, -170, 0, 0, 1, 25, 75, 1_493, 51_199]);
        assert_eq!(middle(0).to_bits(), 0x3ff0_288d_f0ca_c5b4);
        assert_eq!(middle(-170).to_bits(), 0x3fb9_c24e_3b26_7ac1);
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
