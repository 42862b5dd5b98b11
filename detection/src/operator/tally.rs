//! How often each value was added, and what that takes in memory.

use std::collections::BTreeMap;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::accumulator::value_bytes;
use crate::operator::group_key::GroupKey;
use crate::value::Value;
use crate::value_codec;

/// What an entry of a B-tree takes besides its key: its count, and its share of nodes that are
/// about two thirds full.
const ENTRY_BYTES: usize = 24;

/// A value that can be counted.
pub(crate) trait Countable: Ord + Clone + Sized {
    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize;

    fn write(&self, writer: &mut Writer);

    fn read(reader: &mut Reader) -> Result<Self, CodecError>;
}

impl Countable for Value {
    fn heap_bytes(&self) -> usize {
        value_bytes(self)
    }

    fn write(&self, writer: &mut Writer) {
        value_codec::write(self, writer);
    }

    fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        value_codec::read(reader)
    }
}

impl Countable for GroupKey {
    fn heap_bytes(&self) -> usize {
        Self::heap_bytes(self)
    }

    fn write(&self, writer: &mut Writer) {
        Self::write(self, writer);
    }

    fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        Self::read(reader)
    }
}

/// Values with how often each was added, less how often it was taken back; none is counted 0 times.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tally<K> {
    counts: BTreeMap<K, i64>,
    bytes: usize,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), bytes: 0 }
    }
}

impl<K: Countable> Tally<K> {
    /// Adds `by` to the count of a value, which may be negative; returns the new count.
    pub(crate) fn shift(&mut self, value: K, by: i64) -> i64 {
        if let Some(count) = self.counts.get_mut(&value) {
            *count += by;
            let count = *count;
            if count == 0 {
                self.bytes = self.bytes.saturating_sub(entry_bytes(&value));
                self.counts.remove(&value);
            }
            return count;
        }
        if by != 0 {
            self.bytes += entry_bytes(&value);
            self.counts.insert(value, by);
        }
        by
    }

    /// The count of a value.
    pub(crate) fn count(&self, value: &K) -> i64 {
        self.counts.get(value).copied().unwrap_or(0)
    }

    pub(crate) fn least(&self) -> Option<&K> {
        self.counts.first_key_value().map(|(value, _)| value)
    }

    pub(crate) fn greatest(&self) -> Option<&K> {
        self.counts.last_key_value().map(|(value, _)| value)
    }

    /// Every value with its count, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, i64)> {
        self.counts.iter().map(|(value, count)| (value, *count))
    }

    /// Memory on the heap, about; O(1).
    pub(crate) const fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// Writes the values with their counts, in order, behind their number.
    pub(crate) fn write(&self, writer: &mut Writer) {
        let Self { counts, bytes: _ } = self;
        writer.length(counts.len());
        for (value, count) in counts {
            value.write(writer);
            writer.i64(*count);
        }
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let mut tally = Self::default();
        for _ in 0..reader.length("values", reader.remaining())? {
            let value = K::read(reader)?;
            tally.shift(value, reader.i64("count")?);
        }
        Ok(tally)
    }
}

fn entry_bytes<K: Countable>(value: &K) -> usize {
    size_of::<K>() + ENTRY_BYTES + value.heap_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_text_counts_with_its_length_until_it_is_taken_back() {
        let mut tally = Tally::default();
        let text = Value::text(&"x".repeat(1_000));

        tally.shift(text.clone(), 1);
        let with = tally.heap_bytes();
        tally.shift(text, -1);

        assert!(with > 1_000, "{with}");
        assert_eq!(tally.heap_bytes(), 0);
    }

    proptest! {
        #[test]
        fn read_of_write_is_the_same_tally_with_the_same_bytes(
            shifts in prop::collection::vec(("[a-c]{0,30}", -2_i64..3), 0..30),
        ) {
            let mut tally: Tally<Value> = Tally::default();
            for (text, by) in &shifts {
                tally.shift(Value::text(text), *by);
            }
            let mut writer = Writer::new();
            tally.write(&mut writer);

            let read = Tally::read(&mut Reader::new(writer.finish())).unwrap();

            prop_assert_eq!(read, tally);
        }
    }
}
