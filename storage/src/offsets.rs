//! Checks that the entries of a group start where their partitions end.

use headland_event::{Entry, Offset, TopicPartition};

use crate::commit::Commit;
use crate::index::{Index, PartitionId, Span};
use crate::log::AppendError;
use crate::lookup::Shared;
use crate::points::EntryPlace;

/// The ends of partitions behind a group that is not durable yet; kept from group to group, so
/// that checking one allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct DraftOffsets {
    /// The partition of each entry of the group, in order.
    ids: Vec<PartitionId>,
    /// For each partition the last group with an entry of it, and the end behind that entry.
    ends: Vec<(u64, Offset)>,
    group: u64,
}

impl DraftOffsets {
    /// Checks a group, and keeps the partitions of its entries for [`Self::spans`].
    ///
    /// # Errors
    /// [`AppendError::OffsetGap`] for the first entry that does not start at its partition's end.
    pub(crate) fn check<F: Clone>(
        &mut self,
        shared: &Shared<F>,
        commits: &[Commit],
    ) -> Result<(), AppendError> {
        self.group += 1;
        self.find_ids(shared, commits);
        let index = shared.read();
        for ((partition, entry), id) in entries_of(commits).zip(&self.ids) {
            if self.ends.len() <= id.as_index() {
                self.ends.resize(id.as_index() + 1, (0, Offset::new(0)));
            }
            let Some(draft) = self.ends.get_mut(id.as_index()) else { continue };
            let (group, end) = *draft;
            let expected = if group == self.group { end } else { index.end_of(*id) };
            if entry.base != expected {
                let (partition, found) = (partition.clone(), entry.base);
                return Err(AppendError::OffsetGap { partition, expected, found });
            }
            *draft = (self.group, entry.end());
        }
        Ok(())
    }

    fn find_ids<F: Clone>(&mut self, shared: &Shared<F>, commits: &[Commit]) {
        let partitions = || entries_of(commits).map(|(partition, _)| partition);
        self.ids.clear();
        let index = shared.read();
        self.ids.extend(partitions().map_while(|partition| index.id(partition)));
        drop(index);
        let known = self.ids.len();
        if partitions().nth(known).is_some() {
            let mut index = shared.write();
            self.ids.extend(partitions().skip(known).map(|partition| index.intern(partition)));
        }
    }

    /// Forgets the group checked last: the next one has no entries.
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
    }

    /// The ids of the entries of the group checked last, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.ids.iter().copied()
    }
}

fn entries_of(commits: &[Commit]) -> impl Iterator<Item = &(TopicPartition, Entry)> {
    commits.iter().flat_map(|commit| &commit.entries)
}

/// How many offsets the entries of a group take, of all partitions together.
pub(crate) fn offsets_of(commits: &[Commit]) -> u64 {
    entries_of(commits).map(|(_, entry)| entry.batch.span()).fold(0, u64::saturating_add)
}

/// What the index keeps of an entry.
pub(crate) fn span_of(partition: PartitionId, entry: &Entry, place: EntryPlace) -> Span {
    let (end, time) = (entry.end(), entry.batch.max_time());
    Span { partition, base: entry.base, end, time, place }
}

/// What the index keeps of a commit whose entries stand at `places`.
pub(crate) fn spans_of<F: Clone>(
    index: &mut Index<F>,
    commit: &Commit,
    places: &[EntryPlace],
) -> Vec<Span> {
    debug_assert!(commit.entries.len() == places.len(), "each entry has a place");
    let entries = commit.entries.iter().zip(places);
    entries
        .map(|((partition, entry), place)| span_of(index.intern(partition), entry, *place))
        .collect()
}
