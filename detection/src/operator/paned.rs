//! Keyed state in slices of time, which come and go as a whole.
//!
//! # Snapshot
//! ```text
//! slices   u32, each: end i64 │ part u32 │ 0 u8, or 1 and late from i64
//!          │ entries u32 × { key, state }
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use headland_event::codec::{CodecError, Reader, Writer};

use crate::operator::group_key::GroupKey;
use crate::operator::keyed::{Keyed, Progress, State};
use crate::part::Part;

/// Names a slice: slices are ordered by their end in time, then by where their rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) end: i64,
    part: Part,
    /// Rows that their log calls late: the end of the first window that they count in, and there in
    /// corrections only. None for rows on time.
    pub(crate) late_from: Option<i64>,
}

impl Place {
    /// The slice of rows that are all in one log and on time.
    pub(crate) const fn ending(end: i64) -> Self {
        Self::of(end, Part::new(0), None)
    }

    /// The slice of rows of a log, and of late ones by the first window that they count in.
    pub(crate) const fn of(end: i64, part: Part, late_from: Option<i64>) -> Self {
        Self { end, part, late_from }
    }

    /// Every slice that ends within a range.
    const fn all((first, last): (i64, i64)) -> RangeInclusive<Self> {
        let last = Self::of(last, Part::new(u32::MAX), Some(i64::MAX));
        Self::ending(first)..=last
    }
}

/// Slices of keyed state, with what they take together.
#[derive(Debug)]
pub(crate) struct Paned<V: State> {
    seed: u64,
    slices: BTreeMap<Place, Keyed<V>>,
    /// Keys over all slices.
    keys: usize,
    /// Memory of all slices, about: every row asks for it, and there may be very many slices.
    bytes: usize,
    cut: Option<Cut<V>>,
}

/// A snapshot under way: slices that are not written yet, with what stands before their entries;
/// and those among them that have been dropped meanwhile.
#[derive(Debug)]
struct Cut<V: State> {
    header: Option<Writer>,
    slices: VecDeque<(Place, Writer)>,
    dropped: BTreeMap<Place, Keyed<V>>,
}

impl<V: State> Paned<V> {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, slices: BTreeMap::new(), keys: 0, bytes: 0, cut: None }
    }

    /// Keys over all slices.
    pub(crate) const fn keys(&self) -> usize {
        self.keys
    }

    /// Memory, about; O(1).
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, place: Place, key: &[u8]) -> Option<&V> {
        self.slices.get(&place)?.get(key)
    }

    /// Changes an entry, if it is there.
    pub(crate) fn update<R>(
        &mut self,
        place: Place,
        key: &[u8],
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<R> {
        let slice = self.slices.get_mut(&place)?;
        let before = slice.bytes();
        let result = slice.update(key, change)?;
        self.bytes = (self.bytes + slice.bytes()).saturating_sub(before);
        Some(result)
    }

    /// Puts an entry in; whether it is the first of its slice.
    pub(crate) fn insert(&mut self, place: Place, key: GroupKey, state: V) -> bool {
        let slice = self.slices.entry(place).or_insert_with(|| Keyed::new(self.seed));
        let (is_first, before) = (slice.len() == 0, slice.bytes());
        self.keys += usize::from(slice.insert(key, state));
        self.bytes = (self.bytes + slice.bytes()).saturating_sub(before);
        is_first
    }

    /// The names of all slices, in order.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.slices.keys().copied()
    }

    /// The first slice.
    pub(crate) fn first(&self) -> Option<Place> {
        self.slices.first_key_value().map(|(place, _)| *place)
    }

    /// The slices that end within a range, both ends included, in order.
    pub(crate) fn ending_in(&self, ends: (i64, i64)) -> impl Iterator<Item = (Place, &Keyed<V>)> {
        debug_assert!(ends.0 <= ends.1, "a range goes forward");
        self.slices.range(Place::all(ends)).map(|(place, slice)| (*place, slice))
    }

    /// Drops a slice.
    pub(crate) fn remove(&mut self, place: Place) {
        let Some(slice) = self.slices.remove(&place) else { return };
        debug_assert!(self.keys >= slice.len(), "the count covers every slice");
        self.keys -= slice.len();
        self.bytes = self.bytes.saturating_sub(slice.bytes());
        if let Some(cut) = &mut self.cut
            && cut.slices.iter().any(|(waiting, _)| *waiting == place)
        {
            cut.dropped.insert(place, slice);
        }
    }

    /// Begins a snapshot of the state as it stands.
    pub(crate) fn begin_cut(&mut self) {
        debug_assert!(self.cut.is_none(), "one snapshot at a time");
        let mut header = Writer::new();
        header.length(self.slices.len());
        let mut slices = VecDeque::with_capacity(self.slices.len());
        for (place, slice) in &mut self.slices {
            let Place { end, part, late_from } = *place;
            let mut writer = Writer::new();
            writer.i64(end);
            writer.u32(part.get());
            writer.u8(u8::from(late_from.is_some()));
            if let Some(first) = late_from {
                writer.i64(first);
            }
            slice.begin_cut(&mut writer);
            slices.push_back((*place, writer));
        }
        self.cut = Some(Cut { header: Some(header), slices, dropped: BTreeMap::new() });
    }

    /// Writes about `budget` further entries of the snapshot under way; of small slices several.
    pub(crate) fn poll_cut(&mut self, budget: usize, writer: &mut Writer) -> Progress {
        let Some(cut) = &mut self.cut else { return Progress::Done };
        if let Some(header) = cut.header.take() {
            writer.raw(header.as_slice());
        }
        let mut left = budget;
        while let Some((place, header)) = cut.slices.front_mut() {
            let slice = cut.dropped.get_mut(place).or_else(|| self.slices.get_mut(place));
            let entries = slice.as_ref().map_or(0, |slice| slice.uncut());
            let is_large = entries >= left;
            if is_large && left < budget {
                return Progress::More;
            }
            writer.raw(header.as_slice());
            header.clear();
            let is_whole = slice.is_none_or(|slice| {
                // Small ones are sorted and written in one go: there may be thousands.
                while !is_large && slice.poll_cut(left, writer) == Progress::More {}
                !is_large || slice.poll_cut(budget, writer) == Progress::Done
            });
            if is_whole {
                cut.dropped.remove(place);
                cut.slices.pop_front();
            }
            if is_large {
                return Progress::More;
            }
            left -= entries + 1;
        }
        self.cut = None;
        Progress::Done
    }

    /// Reads what a snapshot wrote into a state that is new.
    pub(crate) fn read(&mut self, shape: &V::Shape, reader: &mut Reader) -> Result<(), CodecError> {
        // A slice takes at least its name and the number of its entries.
        for _ in 0..reader.length("slices", reader.remaining() / 17)? {
            let (end, part) = (reader.i64("slice")?, Part::new(reader.u32("part")?));
            let at = reader.position();
            let late_from = match reader.u8("late")? {
                0 => None,
                1 => Some(reader.i64("late from")?),
                found => {
                    let (field, found) = ("late", i64::from(found));
                    return Err(CodecError::Value { field, at, found, expected: "0 or 1" });
                }
            };
            let slice = Keyed::read(self.seed, shape, reader)?;
            self.keys += slice.len();
            self.bytes += slice.bytes();
            self.slices.insert(Place { end, part, late_from }, slice);
        }
        Ok(())
    }

    /// What the slices take, summed anew: for assertions.
    pub(crate) fn summed_bytes(&self) -> usize {
        self.slices.values().map(Keyed::bytes).sum()
    }
}
