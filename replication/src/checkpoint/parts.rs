//! What each life of the origin wrote of a partition here, part by part.
//!
//! Parts stand behind each other, each with offsets of the origin's log that follow each other. The
//! same record may stand in two of them, when a log came again: who has read it in one has read it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Incarnation, Offset};

use crate::read_to::{LIVES_LIMIT, ReadTo};

/// Most parts that are remembered, of [`LIVES_LIMIT`] lives at most; beyond it the oldest is
/// forgotten, and what stands in it is read by its offsets only. A log of sixteen lives that came
/// again as each of them has some more than a hundred.
const PARTS_LIMIT: usize = LIVES_LIMIT * LIVES_LIMIT;

/// Whose a part is that damage took: no hub has such a life, since lives are counted from 1.
const NOBODY: Incarnation = Incarnation::new(0, 0);

/// Where a part begins, here and in the log of its origin, and who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) begins: Offset,
    pub(super) origin: Offset,
    pub(super) life: Incarnation,
}

impl Part {
    /// What stood here from a local offset on, of which it is not known how far it reached: the
    /// offsets that stay taken behind it are more than there ever were.
    const fn lost(begins: Offset) -> Self {
        Self { begins, origin: Offset::new(0), life: NOBODY }
    }

    fn is_lost(&self) -> bool {
        self.life == NOBODY
    }

    /// The offset of the origin's log that a local one is, which does not lie before the part.
    pub(super) const fn origin_of(&self, local: Offset) -> Offset {
        Offset::new(self.origin.get().saturating_add(local.since(self.begins)))
    }

    /// Where an offset of the origin's log is in the part; its beginning for what lies before.
    const fn local_of(&self, origin: Offset) -> Offset {
        Offset::new(self.begins.get().saturating_add(origin.since(self.origin)))
    }
}

/// Local offsets that were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// The first one.
    pub from: Offset,
    /// The one after the last.
    pub until: Offset,
}

/// What damage took of a copy where it is not known from what is left how much that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostEnd {
    /// The life that wrote it, if no other one went on amid it.
    pub life: Incarnation,
    /// The first offset that is lost, in the log of the origin.
    pub from: Offset,
    /// The offset there at which what follows here goes on, no higher when nothing is lost; `None`
    /// where another life wrote that, so that nothing says how far the one before it was here.
    pub until: Option<Offset>,
}

/// Parts in their order; there is always one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    former: Vec<Part>,
    last: Part,
}

impl Parts {
    pub(super) const fn new(first: Part) -> Self {
        Self { former: Vec::new(), last: first }
    }

    pub(super) fn push(&mut self, part: Part) {
        let before = std::mem::replace(&mut self.last, part);
        // One that another follows at once holds nothing.
        if before.begins < part.begins {
            self.former.push(before);
        }
        while self.former.len() >= PARTS_LIMIT || self.lives() > LIVES_LIMIT {
            self.former.remove(0);
        }
        self.check_invariants();
    }

    /// What stands here from a local offset on is lost, whoever wrote it.
    pub(super) fn lose_end(&mut self, from: Offset) {
        self.former.retain(|part| part.begins < from);
        self.push(Part::lost(from.max(self.last.begins)));
    }

    /// What came back of the end that was lost stands before `until` here again.
    pub(super) fn regain(&mut self, Range { start: from, end: until }: Range<Offset>) {
        let next = self.iter().map(|part| part.begins).find(|begins| from < *begins);
        let until = next.map_or(until, |next| until.min(next));
        let mut parts = self.former.iter_mut();
        let lost = Some(&mut self.last).filter(|last| last.begins <= from);
        let lost = lost.or_else(|| parts.rfind(|part| part.begins <= from));
        let lost = lost.filter(|part| part.is_lost());
        let Some(lost) = lost else { return };
        lost.begins = lost.begins.max(until);
        self.former.retain(|part| !part.is_lost() || Some(part.begins) != next);
        self.check_invariants();
    }

    /// What was lost at a local offset and behind it with the end; `None` amid a part, or where
    /// nothing of a life stands before it.
    pub(super) fn lost_at(&self, local: Offset) -> Option<LostEnd> {
        let lost = self.iter().rfind(|part| part.begins <= local)?;
        let before = self.readable().rfind(|part| part.begins < lost.begins)?;
        if !lost.is_lost() {
            return None;
        }
        let end = before.origin_of(lost.begins);
        let until = match self.readable().find(|part| lost.begins < part.begins) {
            Some(next) => (next.life == before.life).then_some(next.origin),
            // Only what never was a record is lost without anything behind it.
            None => Some(end),
        };
        let from = end.after(local.since(lost.begins));
        Some(LostEnd { life: before.life, from, until })
    }

    /// Local offsets before `end` that stay taken and were no record's.
    pub(super) fn unused(&self, end: Offset) -> Vec<Range<Offset>> {
        let lost = self.ranges(end).filter(|(part, _)| part.is_lost());
        let unused = lost.filter_map(|(part, until)| {
            let LostEnd { from, until: goes_on, .. } = self.lost_at(part.begins)?;
            let first = part.begins.after(goes_on?.since(from));
            Some(first..until)
        });
        unused.filter(|range| range.start < range.end).collect()
    }

    /// Where what damage took with the end begins, if the part ends there that a local offset lies
    /// in.
    pub(super) fn lost_behind(&self, local: Offset) -> Option<Offset> {
        let next = self.iter().find(|part| local < part.begins)?;
        let is_part = self.iter().any(|part| part.begins <= local && !part.is_lost());
        (is_part && next.is_lost()).then_some(next.begins)
    }

    /// Where what never was a record begins, if nothing stands behind it.
    pub(super) fn unused_end(&self) -> Option<Offset> {
        self.last.is_lost().then_some(self.last.begins)
    }

    /// The life that wrote what is at a local offset and its offset in the log of the origin; of
    /// what damage took with the end where that begins.
    pub(super) fn place_at(&self, local: Offset) -> (Incarnation, Offset) {
        let part = self.at(local);
        let next = self.iter().map(|next| next.begins).find(|begins| part.begins < *begins);
        (part.life, part.origin_of(next.map_or(local, |next| local.min(next))))
    }

    fn check_invariants(&self) {
        debug_assert!(self.former.len() < PARTS_LIMIT, "parts are bounded");
        debug_assert!(self.lives() <= LIVES_LIMIT, "lives are bounded");
        debug_assert!(
            self.former.iter().zip(self.iter().skip(1)).all(|(one, next)| one.begins < next.begins),
            "each part stands behind the one before it"
        );
    }

    fn lives(&self) -> usize {
        self.readable().map(|part| part.life).collect::<BTreeSet<_>>().len()
    }

    pub(super) const fn last_life(&self) -> Incarnation {
        self.last.life
    }

    pub(super) const fn begins(&self) -> Offset {
        match self.former.as_slice() {
            [first, ..] => first.begins,
            [] => self.last.begins,
        }
    }

    pub(super) fn has(&self, life: Incarnation) -> bool {
        self.readable().any(|part| part.life == life)
    }

    /// All but what damage took.
    fn readable(&self) -> impl DoubleEndedIterator<Item = &Part> {
        self.iter().filter(|part| !part.is_lost())
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &Part> {
        self.former.iter().chain([&self.last])
    }

    /// Each part with the local offset after it, in their order.
    fn ranges(&self, end: Offset) -> impl Iterator<Item = (&Part, Offset)> {
        let ends = self.iter().skip(1).map(|next| next.begins);
        self.iter().zip(ends.chain([end.max(self.last.begins)]))
    }

    /// The part that a local offset lies in; of what lies before all of them the first, and of what
    /// damage took the one before it.
    fn at(&self, local: Offset) -> &Part {
        let before = self.readable().rfind(|part| part.begins <= local);
        before.or_else(|| self.readable().next()).unwrap_or(&self.last)
    }

    /// The part that ends at a local offset, or that this lies amid.
    pub(super) fn at_or_before(&self, local: Offset) -> &Part {
        let before = self.readable().rfind(|part| part.begins < local);
        before.or_else(|| self.readable().next()).unwrap_or(&self.last)
    }

    /// Whether a part of a life has what stands from one offset of the origin's log to before
    /// another, before the local offset `end`.
    pub(super) fn hold(
        &self,
        life: Incarnation,
        (from, until): (Offset, Offset),
        end: Offset,
    ) -> bool {
        let mut of_life = self.ranges(end).filter(|(part, _)| part.life == life);
        of_life.any(|(part, next)| part.origin <= from && until <= part.origin_of(next.min(end)))
    }

    /// Where the log of a life ends by what stands before the local offset `end`.
    pub(super) fn end_of(&self, life: Incarnation, end: Offset) -> Offset {
        let of_life = self.ranges(end).filter(|(part, _)| part.life == life && part.begins < end);
        let ends = of_life.map(|(part, next)| part.origin_of(next.min(end)));
        ends.max().unwrap_or_default()
    }

    /// What stands before a local offset, life by life.
    pub(super) fn before(&self, local: Offset) -> ReadTo {
        let mut lives: BTreeMap<Incarnation, Offset> = BTreeMap::new();
        let is_before = |(part, _): &(&Part, Offset)| part.begins < local && !part.is_lost();
        for (part, end) in self.ranges(local).filter(is_before) {
            let read = lives.entry(part.life).or_default();
            *read = (*read).max(part.origin_of(end.min(local)));
        }
        if lives.is_empty() {
            let first = self.at(local);
            lives.insert(first.life, first.origin);
        }
        ReadTo::Lives(lives)
    }

    /// What stands before `end` and was not read, as few ranges as it can be.
    pub(super) fn unread(&self, read: &ReadTo, end: Offset) -> Vec<Unread> {
        let mut found: Vec<Unread> = Vec::new();
        // What stands in several parts is to be read in the first of them.
        let mut met: BTreeMap<Incarnation, Offset> = read.lives().collect();
        let unused = self.unused(end);
        for (part, until) in self.ranges(end) {
            if part.is_lost() {
                if unused.iter().any(|range| range.start == part.begins) {
                    continue;
                }
                // Who reads on from before it is told; who stands at it goes on behind it.
                if let Some(last) = found.last_mut().filter(|last| last.until == part.begins) {
                    last.until = until.min(end);
                }
                continue;
            }
            let met = met.entry(part.life).or_default();
            let (from, until) = (part.local_of(*met), until.min(end));
            if from >= until {
                continue;
            }
            *met = part.origin_of(until);
            match found.last_mut().filter(|last| last.until == from) {
                Some(last) => last.until = until,
                None => found.push(Unread { from, until }),
            }
        }
        found
    }

    pub(super) fn ahead(&self, read: &ReadTo, end: Offset) -> Offset {
        self.last.local_of(read.offset_of(self.last.life)).max(end)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.length(self.former.len() + 1);
        for Part { begins, origin, life } in self.iter() {
            writer.u64(begins.get());
            writer.u64(origin.get());
            writer.incarnation(*life);
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, CodecError> {
        let count = reader.length("checkpoint parts", PARTS_LIMIT)?;
        let mut part = || {
            Ok(Part {
                begins: Offset::new(reader.u64("part begin")?),
                origin: Offset::new(reader.u64("part origin")?),
                life: reader.incarnation("part life")?,
            })
        };
        let former = (1..count).map(|_| part()).collect::<Result<_, CodecError>>()?;
        // Without any there is no last one to be read.
        Ok(Self { former, last: part()? })
    }
}
