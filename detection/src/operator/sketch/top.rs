//! The most frequent values, by a Count-Min sketch and a list of candidates.
//!
//! A count is never too low, and too high by more than 2 e / 512 = 1.1 % of all values with a
//! probability below e^-4 = 1.8 %. 8 KiB of counters a group.
//!
//! # Source
//! Cormode, Muthukrishnan: "An improved data stream summary: the Count-Min sketch", 2005.

use std::collections::BTreeMap;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::group_key::GroupKey;
use crate::operator::sketch::hash::{mix, stable_hash};
use crate::value::Value;

const WIDTH: usize = 512;
const DEPTH: usize = 4;
/// Candidates kept for each value that is asked for: one that falls out and comes back is found
/// again by its counters, so that few are enough.
const CANDIDATES_PER_RANK: usize = 4;

/// A Count-Min sketch of 4 × 512 counters, and the values with the highest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopSketch {
    ranks: usize,
    counters: Box<[u32]>,
    candidates: BTreeMap<GroupKey, u32>,
    /// Heap bytes of the candidates' keys.
    key_bytes: usize,
}

impl TopSketch {
    /// A sketch that is asked for the `ranks` most frequent values.
    pub(crate) fn new(ranks: u32) -> Self {
        let counters = vec![0; WIDTH * DEPTH].into_boxed_slice();
        let ranks = usize::try_from(ranks).unwrap_or(usize::MAX);
        Self { ranks, counters, candidates: BTreeMap::new(), key_bytes: 0 }
    }

    /// Counts a value.
    pub(crate) fn add(&mut self, value: &Value) {
        let key = GroupKey::of([value]);
        let mut estimate = u32::MAX;
        for place in places(key.as_bytes()) {
            if let Some(counter) = self.counters.get_mut(place) {
                *counter = counter.saturating_add(1);
                estimate = estimate.min(*counter);
            }
        }
        self.propose(key, estimate);
    }

    /// Counts everything that was counted by `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counters.iter_mut().zip(&other.counters) {
            *mine = mine.saturating_add(*theirs);
        }
        let mine = std::mem::take(&mut self.candidates);
        self.key_bytes = 0;
        for key in mine.into_keys().chain(other.candidates.keys().cloned()) {
            let estimate = self.estimate(&key);
            self.propose(key, estimate);
        }
    }

    /// The most frequent values with their counts: by count descending, then by value.
    pub(crate) fn top(&self) -> Vec<(Value, i64)> {
        let mut ranked: Vec<_> = self.candidates.iter().collect();
        ranked.sort_by(|(left, low), (right, high)| high.cmp(low).then_with(|| left.cmp(right)));
        let ranked = ranked.into_iter().take(self.ranks);
        ranked.filter_map(|(key, count)| Some((key.values().next()?, i64::from(*count)))).collect()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.counters.len() * 4 + self.candidates.len() * 64 + self.key_bytes
    }

    fn estimate(&self, key: &GroupKey) -> u32 {
        let counters = places(key.as_bytes()).filter_map(|place| self.counters.get(place).copied());
        counters.min().unwrap_or(0)
    }

    fn propose(&mut self, key: GroupKey, estimate: u32) {
        self.keep(key, estimate);
        if self.candidates.len() > self.ranks.saturating_mul(CANDIDATES_PER_RANK).max(16) {
            // The least count goes; of equal ones the greatest value.
            let least = self
                .candidates
                .iter()
                .min_by(|(left, low), (right, high)| low.cmp(high).then_with(|| right.cmp(left)));
            if let Some(least) = least.map(|(key, _)| key.clone()) {
                self.candidates.remove(&least);
                self.key_bytes = self.key_bytes.saturating_sub(least.heap_bytes());
            }
        }
    }

    fn keep(&mut self, key: GroupKey, estimate: u32) {
        let bytes = key.heap_bytes();
        if self.candidates.insert(key, estimate).is_none() {
            self.key_bytes += bytes;
        }
    }

    /// Writes the counters, then the candidates with their counts.
    pub(crate) fn write(&self, writer: &mut Writer) {
        let Self { ranks: _, counters, candidates, key_bytes: _ } = self;
        counters.iter().for_each(|counter| writer.u32(*counter));
        writer.length(candidates.len());
        for (key, count) in candidates {
            key.write(writer);
            writer.u32(*count);
        }
    }

    /// Reads what [`write`](Self::write) wrote of a sketch with as many `ranks`.
    pub(crate) fn read(ranks: u32, reader: &mut Reader) -> Result<Self, CodecError> {
        let mut sketch = Self::new(ranks);
        for counter in &mut sketch.counters {
            *counter = reader.u32("counter")?;
        }
        for _ in 0..reader.length("candidates", reader.remaining() / 8)? {
            let key = GroupKey::read(reader)?;
            sketch.keep(key, reader.u32("count")?);
        }
        Ok(sketch)
    }
}

/// The counter of a value in each row.
fn places(value: &[u8]) -> impl Iterator<Item = usize> {
    let hash = stable_hash(value);
    (0..DEPTH).zip(0_u64..).map(move |(row, salt)| {
        let [low, high, ..] = mix(hash.wrapping_add(salt)).to_le_bytes();
        row * WIDTH + usize::from(u16::from_le_bytes([low, high])) % WIDTH
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value `n` of 1,000 appears 1,000 / n times.
    fn harmonic() -> TopSketch {
        let mut sketch = TopSketch::new(3);
        for round in 1..=1_000_i64 {
            for value in 1..=1_000 / round {
                sketch.add(&Value::Integer(value));
            }
        }
        sketch
    }

    #[test]
    fn the_most_frequent_values_come_first_within_the_stated_error() {
        let total = 7_069.0;

        let top = harmonic().top();

        assert_eq!(
            top.iter().map(|(value, _)| value.clone()).collect::<Vec<_>>(),
            [Value::Integer(1), Value::Integer(2), Value::Integer(3)]
        );
        for ((_, count), exact) in top.iter().zip([1_000.0, 500.0, 333.0]) {
            let above = f64::from(i32::try_from(*count).unwrap()) - exact;
            assert!((0.0..=0.011 * total).contains(&above), "{count} of {exact}");
        }
    }

    #[test]
    fn merging_adds_the_counts() {
        let mut merged = harmonic();
        let alone = merged.top();

        merged.merge(&harmonic());

        let doubled: Vec<_> = alone.into_iter().map(|(value, count)| (value, 2 * count)).collect();
        assert_eq!(merged.top(), doubled);
    }

    #[test]
    fn candidates_count_with_the_length_of_their_texts_and_those_that_fell_out_do_not() {
        let mut sketch = TopSketch::new(1);
        let empty = sketch.heap_bytes();
        for value in 0..100 {
            sketch.add(&Value::text(&format!("{value:0>1000}")));
        }

        let kept = sketch.heap_bytes() - empty;

        // 16 candidates of 1,000 letters.
        assert!((16_000..18_000).contains(&kept), "{kept}");
    }

    #[test]
    fn read_of_write_is_the_same_sketch() {
        let mut writer = Writer::new();
        harmonic().write(&mut writer);

        assert_eq!(TopSketch::read(3, &mut Reader::new(writer.finish())).unwrap(), harmonic());
    }
}
