//! Rows kept per key, as operators that join, rank and deduplicate keep them.

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::keyed::State;
use crate::operator::over::{read_values, values_bytes, write_values};
use crate::value::Value;

/// A row that is kept.
pub(crate) type KeptRow = Box<[Value]>;

/// Rows with a number each: a time, a rank or a count of partners, as the operator has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowList {
    rows: Vec<(i64, KeptRow)>,
    bytes: usize,
}

impl RowList {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&(i64, KeptRow)> {
        self.rows.get(index)
    }

    pub(crate) fn last(&self) -> Option<&(i64, KeptRow)> {
        self.rows.last()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, (i64, KeptRow)> {
        self.rows.iter()
    }

    pub(crate) fn numbers_mut(&mut self) -> impl Iterator<Item = &mut i64> {
        self.rows.iter_mut().map(|(number, _)| number)
    }

    /// Puts a row at a place, at most behind the last.
    pub(crate) fn insert(&mut self, index: usize, number: i64, row: KeptRow) {
        debug_assert!(index <= self.rows.len(), "a place in the list or behind it");
        self.bytes += values_bytes(&row);
        self.rows.insert(index.min(self.rows.len()), (number, row));
    }

    /// Puts a row behind those whose number is no greater, in a list that is in order of numbers.
    pub(crate) fn insert_by_number(&mut self, number: i64, row: KeptRow) {
        // Rows come nearly in order, so that the last place is the likely one.
        let is_last = self.rows.last().is_none_or(|(last, _)| *last <= number);
        let place = if is_last {
            self.rows.len()
        } else {
            self.rows.partition_point(|(other, _)| *other <= number)
        };
        self.insert(place, number, row);
    }

    /// Puts all rows of another list behind those of this one.
    pub(crate) fn append(&mut self, later: Self) {
        let Self { mut rows, bytes } = later;
        self.rows.append(&mut rows);
        self.bytes += bytes;
    }

    /// The rows, in order.
    pub(crate) fn into_rows(self) -> Vec<(i64, KeptRow)> {
        self.rows
    }

    /// Lets go of the first `count` rows; O(rows).
    pub(crate) fn drop_first(&mut self, count: usize) {
        let gone = self.rows.drain(..count.min(self.rows.len()));
        let bytes: usize = gone.map(|(_, row)| values_bytes(&row)).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// How many rows from the first on have a number of at most `last`, in a list that is in order
    /// of numbers.
    pub(crate) fn len_up_to(&self, last: i64) -> usize {
        self.rows.partition_point(|(number, _)| *number <= last)
    }

    pub(crate) fn push(&mut self, number: i64, row: KeptRow) {
        self.insert(self.rows.len(), number, row);
    }

    pub(crate) fn remove(&mut self, index: usize) -> Option<(i64, KeptRow)> {
        if index >= self.rows.len() {
            return None;
        }
        let (number, row) = self.rows.remove(index);
        self.bytes = self.bytes.saturating_sub(values_bytes(&row));
        Some((number, row))
    }

    /// Takes out the rows whose number is `last` or less, in order.
    pub(crate) fn take_up_to(&mut self, last: i64) -> Vec<(i64, KeptRow)> {
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.rows).into_iter().partition(|(number, _)| *number <= last);
        self.rows = left;
        let bytes: usize = taken.iter().map(|(_, row)| values_bytes(row)).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        taken
    }
}

impl State for RowList {
    type Shape = ();

    fn write(&self, writer: &mut Writer) {
        let Self { rows, bytes: _ } = self;
        writer.length(rows.len());
        for (number, row) in rows {
            writer.i64(*number);
            write_values(row, writer);
        }
    }

    fn read(_shape: &(), reader: &mut Reader) -> Result<Self, CodecError> {
        let mut list = Self::default();
        for _ in 0..reader.length("rows", reader.remaining() / 12)? {
            let number = reader.i64("number")?;
            list.push(number, read_values(reader)?);
        }
        Ok(list)
    }

    fn heap_bytes(&self) -> usize {
        self.rows.len() * size_of::<(i64, KeptRow)>() + self.bytes
    }
}
