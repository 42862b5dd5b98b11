//! Finds the place of entries that came back, and names what stays lost, a partition at a time.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use headland_event::{Entry, Offset, TopicPartition};

use super::{Refill, RefillRefused, Refilled, result};
use crate::body;
use crate::chain::{Hole, HoleCause};
use crate::group::byte_count;
use crate::index::{FileKind, Index, Mend, is_within};
use crate::journal::install::{ClosedFile, HeldShare};
use crate::salvage::Claim;

/// What a partition has in the file.
#[derive(Debug, Default)]
struct Slot {
    /// The offsets of the file, as the index knows them.
    share: Option<Range<Offset>>,
    /// Everything before was cleaned.
    start: Offset,
    /// What is known to be lost of the partition, wherever.
    lost: Vec<Range<Offset>>,
    /// End of the last entry that was put into the copy.
    met: Option<Offset>,
    /// Stretches of the file that were lost before the commit of that.
    gaps: u64,
    /// By offset, none overlapping another.
    refills: VecDeque<Refill>,
}

/// Puts entries between others.
#[derive(Debug)]
pub(super) struct Fitting {
    kind: FileKind,
    slots: BTreeMap<TopicPartition, Slot>,
    mend: Mend,
    results: Vec<Refilled>,
    /// Of each stretch of the file that was lost, what the part there said of itself.
    claims: Vec<Option<Claim>>,
}

impl Fitting {
    pub(super) fn new<F: Clone>(
        index: &Index<F>,
        file: &ClosedFile<F>,
        mut refills: Vec<Refill>,
    ) -> Self {
        let mut slots: BTreeMap<TopicPartition, Slot> = BTreeMap::new();
        for HeldShare { partition, base, end, .. } in &file.shares {
            let share = Some(*base..*end);
            slots.insert(partition.clone(), Slot { share, ..Slot::default() });
        }
        refills.sort_by_key(|refill| refill.entry.base);
        for refill in refills {
            slots.entry(refill.partition.clone()).or_default().refills.push_back(refill);
        }
        for (partition, slot) in &mut slots {
            (slot.start, slot.lost) = (index.start(partition), index.lost(partition));
        }
        let kind = file.source.kind;
        Self { kind, slots, mend: Mend::default(), results: Vec::new(), claims: Vec::new() }
    }

    /// The next stretch of the file is lost, of which the one part there said this of itself.
    pub(super) fn on_gap(&mut self, claim: Option<Claim>) {
        self.claims.push(claim);
    }

    /// Whether entries of one of these partitions wait for their place.
    pub(super) fn is_wanted(&self, entries: &[(TopicPartition, Entry)]) -> bool {
        let waits = |at| self.slots.get(at).is_some_and(|slot| !slot.refills.is_empty());
        entries.iter().any(|(partition, _)| waits(partition))
    }

    /// Takes in the next valid entry of the file; returns what goes before it, and whether it
    /// counts itself. `gaps` says how many stretches were lost before its commit and up to its end.
    ///
    /// One that does not follow those before it, or lies outside of what the file is known to hold,
    /// is none: bytes inside a damaged record's value passed for it.
    pub(super) fn on_entry(
        &mut self,
        partition: &TopicPartition,
        entry: &Entry,
        gaps: &Range<u64>,
        room: &mut u64,
    ) -> (Vec<Entry>, bool) {
        let range = entry.base..entry.end();
        let Some(slot) = self.slots.get(partition) else { return (Vec::new(), false) };
        let is_inside =
            |share: &Range<Offset>| share.start <= range.start && range.end <= share.end;
        let follows = slot.met.is_none_or(|met| met <= range.start);
        if !follows || !slot.share.as_ref().is_some_and(is_inside) {
            return (Vec::new(), false);
        }
        let before = self.fill(partition, range.start, gaps.end, room);
        if let Some(slot) = self.slots.get_mut(partition) {
            (slot.met, slot.gaps) = (Some(range.end), gaps.start);
        }
        (before, true)
    }

    /// The end of the file: what goes behind all that is there, and what is lost there.
    pub(super) fn finish(&mut self, gaps: u64, mut room: u64) -> Vec<(TopicPartition, Entry)> {
        let partitions: Vec<TopicPartition> = self.slots.keys().cloned().collect();
        let mut behind = Vec::new();
        for partition in partitions {
            let filled = self.fill(&partition, Offset::new(u64::MAX), gaps, &mut room);
            behind.extend(filled.into_iter().map(|entry| (partition.clone(), entry)));
        }
        behind
    }

    /// What the copy makes of lost offsets, and what became of each entry; `rest` of those whose
    /// turn never came.
    pub(super) fn into_parts(self, rest: RefillRefused) -> (Mend, Vec<Refilled>) {
        let Self { mend, mut results, slots, .. } = self;
        for refill in slots.into_values().flat_map(|slot| slot.refills) {
            results.push(result(&refill, Err(rest)));
        }
        (mend, results)
    }

    /// Fills what is lost between the last entry of a partition and `until`.
    fn fill(
        &mut self,
        partition: &TopicPartition,
        until: Offset,
        gaps: u64,
        room: &mut u64,
    ) -> Vec<Entry> {
        let mut filled = Vec::new();
        let Some(slot) = self.slots.get_mut(partition) else { return filled };
        // In a file of the journal offsets are dense; in a cold one they are but for what is lost.
        let is_hurt = match self.kind {
            FileKind::Journal => true,
            FileKind::Cold => gaps > slot.gaps,
        };
        // All that was lost between is known only when each part said what it was.
        let between = usize::try_from(slot.gaps).ok().zip(usize::try_from(gaps).ok());
        let between = between.and_then(|(from, until)| self.claims.get(from..until));
        let claims: Option<Vec<Claim>> = between.and_then(|of| of.iter().copied().collect());
        let claims = claims.filter(|claims| !claims.is_empty());
        let mut allowed = slot.lost.clone();
        allowed.extend(slot.share.clone().filter(|_| is_hurt));
        while slot.refills.front().is_some_and(|refill| refill.entry.base < until) {
            let Some(refill) = slot.refills.pop_front() else { break };
            let range = refill.offsets();
            let follows = slot.met.is_none_or(|met| met <= range.start);
            let part = body::part_of(partition, &refill.entry);
            let size = byte_count(part.len()).get();
            let is_any = claims.as_ref().is_none_or(|of| of.iter().any(|of| of.is_of(&part)));
            let fits = if !(follows && range.end <= until && is_within(&allowed, &range)) {
                Err(RefillRefused::NotLost)
            } else if !is_any {
                Err(RefillRefused::Differs)
            } else if size > *room {
                Err(RefillRefused::Full)
            } else {
                Ok(())
            };
            self.results.push(result(&refill, fits));
            if fits.is_ok() {
                *room -= size;
                slot.name_lost(&mut self.mend, partition, range.start, is_hurt);
                slot.met = Some(range.end);
                self.mend.held.push((partition.clone(), range));
                filled.push(refill.entry);
            }
        }
        slot.name_lost(&mut self.mend, partition, until, is_hurt);
        filled
    }
}

impl Slot {
    /// Names what is lost between the last entry and `until`, within the file.
    fn name_lost(&self, mend: &mut Mend, partition: &TopicPartition, until: Offset, is_hurt: bool) {
        let Some(share) = self.share.as_ref().filter(|_| is_hurt) else { return };
        let from = self.met.unwrap_or(share.start).max(share.start).max(self.start);
        let until = until.min(share.end);
        if from < until {
            let (partition, cause) = (partition.clone(), HoleCause::Lost);
            mend.lost.push(Hole { partition, from, until, cause });
        }
    }
}
