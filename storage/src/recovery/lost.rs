//! Keeps offsets and dots that lost entries had from being given again.

use std::collections::BTreeMap;

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
                self.give_up(partition, records_max);
            }
        }
    }

    /// Keeps offsets from being given again that lost entries of a closed file had whose directory
    /// is lost as well.
    ///
    /// Every opening finds such a loss again. It is settled for a partition once the chain names
    /// what that gave up in the life of the file, or in a later one.
    pub(super) fn skip_lost_of_closed(&mut self, lost: LostOfClosed, named: &Named) {
        let LostOfClosed { member, loss, life } = lost;
        let in_doubt = self.in_doubt.iter().flat_map(|held| &held.commit.entries);
        let in_doubt: Vec<_> = in_doubt.map(|(partition, _)| partition.clone()).collect();
        for partition in self.index.partitions() {
            let Some(id) = self.index.id(&partition) else { continue };
            if loss.intact.contains(&id)
                || self.index.is_held_behind(id, member.base)
                || in_doubt.contains(&partition)
            {
                continue;
            }
            self.keep_up_to_holes(&partition, &named.holes);
            let end = self.index.end(&partition);
            if !(named.is_cleaned_up_to(&partition, end) || named.is_given_up(&partition, life)) {
                self.give_up(partition, loss.records_max);
                self.is_journal_cut = true;
            }
        }
        self.index.note_lost(loss.records_max);
        self.is_journal_cut |= life.is_none();
        self.lossy_life = self.lossy_life.max(life);
    }

    /// Gives no offsets any more that the end of a partition can have held.
    fn give_up(&mut self, partition: TopicPartition, records_max: u64) {
        let from = self.index.end(&partition);
        let until = from.after(records_max);
        let cause = self.incarnation.map_or(HoleCause::Lost, HoleCause::GivenUp);
        self.index.keep_hole(Hole { partition, from, until, cause });
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

/// What the chain said before anything was found to be lost.
pub(super) struct Named {
    pub(super) holes: Vec<Hole>,
    /// Whether the newest file says it, so that it was written behind every closed one.
    pub(super) is_of_newest: bool,
}

impl Named {
    /// Whether the chain was written behind all that a partition held in closed files, whose last
    /// entries were cleaned: the end that it names is no smaller than that of any of them.
    fn is_cleaned_up_to(&self, partition: &TopicPartition, end: Offset) -> bool {
        self.is_of_newest && self.holes.iter().any(|hole| hole.is_cleaned_up_to(partition, end))
    }

    /// Whether all was given up that a partition can have held at the end of a life.
    fn is_given_up(&self, partition: &TopicPartition, life: Option<Incarnation>) -> bool {
        let is_its = |hole: &&Hole| hole.partition == *partition;
        let mut causes = self.holes.iter().filter(is_its).map(|hole| hole.cause);
        life.is_some_and(|life| causes.any(|cause| HoleCause::GivenUp(life) <= cause))
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
