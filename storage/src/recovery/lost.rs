//! Keeps offsets and dots that lost entries had from being given again.

use std::collections::BTreeMap;
use std::ops::Range;

use headland_event::{Incarnation, Offset, TopicPartition};

use super::Recovery;
use crate::chain::{Hole, HoleCause, Member};
use crate::medium::MediumFile;
use crate::scan::damaged::Loss;

impl<F: MediumFile> Recovery<F> {
    /// Keeps offsets from being given again that lost entries at the end of the newest file had.
    pub(super) fn skip_lost(&mut self, loss: Option<Loss>) {
        let mut ends: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
        for (partition, entry) in self.in_doubt.iter().flat_map(|held| &held.commit.entries) {
            let end = ends.get(partition).copied();
            let end = end.unwrap_or_else(|| self.index.end(partition));
            // Without damage offsets are dense, so a gap is what a closed file has lost.
            if end < entry.base {
                self.index.keep_hole(lost_hole(partition.clone(), end, entry.base));
            }
            ends.insert(partition.clone(), entry.end());
        }
        let Some(Loss { records_max, intact, .. }) = loss else { return };
        // Also when every known partition is intact: what is lost may be all of an unknown one,
        // whose offsets would be given again, and its dots must not be.
        self.is_journal_cut = records_max > 0;
        self.index.note_lost(records_max);
        for partition in self.index.partitions() {
            let is_known = self.index.id(&partition).is_some_and(|id| intact.contains(&id));
            if records_max > 0 && !is_known && !ends.contains_key(&partition) {
                let end = self.index.end(&partition);
                self.index.keep_hole(lost_hole(partition, end, end.after(records_max)));
            }
        }
    }

    /// Keeps offsets from being given again that lost entries of a closed file had whose directory
    /// is lost as well.
    ///
    /// Every opening finds such a loss again. It is settled once the chain names the offsets, and
    /// once a later life than that of the file goes on.
    pub(super) fn skip_lost_of_closed(&mut self, lost: LostOfClosed, holes: &[Hole]) {
        let LostOfClosed { member, loss, life } = lost;
        let in_doubt = self.in_doubt.iter().flat_map(|held| &held.commit.entries);
        let in_doubt: Vec<_> = in_doubt.map(|(partition, _)| partition.clone()).collect();
        // A hole at the end can be that of an earlier loss, behind which the file was written.
        let is_settled = life.is_some_and(|life| self.incarnation.is_some_and(|now| life < now));
        for partition in self.index.partitions() {
            let Some(id) = self.index.id(&partition) else { continue };
            if loss.intact.contains(&id)
                || self.index.is_held_behind(id, member.base)
                || in_doubt.contains(&partition)
            {
                continue;
            }
            self.keep_up_to_holes(&partition, holes);
            let end = self.index.end(&partition);
            // Smaller ones were gaps before entries that are lost by now.
            let gives_up = |lost: &Range<Offset>| {
                lost.end == end && lost.end.since(lost.start) >= loss.records_max
            };
            let is_named = || self.index.lost(&partition).iter().any(gives_up);
            // The chain was written behind the file, so the end that it names is no smaller than
            // that of any entry in it.
            let is_cleaned = || holes.iter().any(|hole| hole.is_cleaned_up_to(&partition, end));
            if !(is_cleaned() || (is_settled && is_named())) {
                self.index.keep_hole(lost_hole(partition, end, end.after(loss.records_max)));
                self.is_journal_cut = true;
            }
        }
        self.index.note_lost(loss.records_max);
        self.is_journal_cut |= life.is_none();
        self.lossy_life = self.lossy_life.max(life);
    }

    /// Names what was lost between the last entry that is left of a partition and the first hole
    /// behind it: that begins where the partition ended when the chain was written.
    fn keep_up_to_holes(&mut self, partition: &TopicPartition, holes: &[Hole]) {
        let held = self.index.held_end(partition);
        let behind = holes.iter().filter(|hole| hole.partition == *partition && held < hole.until);
        if let Some(until) = behind.map(|hole| hole.from).min().filter(|from| held < *from) {
            self.index.keep_hole(lost_hole(partition.clone(), held, until));
        }
    }
}

/// What a closed file has lost.
pub(super) struct LostOfClosed {
    pub(super) member: Member,
    pub(super) loss: Loss,
    /// The life that wrote it, or a later one; `None` when nothing says so any more.
    pub(super) life: Option<Incarnation>,
}

fn lost_hole(partition: TopicPartition, from: Offset, until: Offset) -> Hole {
    Hole { partition, from, until, cause: HoleCause::Lost }
}
