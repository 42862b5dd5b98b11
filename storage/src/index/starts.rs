//! Where partitions start: with what is held of them, or later, where cleaning says so.

use headland_event::{ByteCount, Offset, TopicPartition};

use crate::chain::{Hole, HoleCause};
use crate::index::Index;
use crate::points::Seek;

/// What one file holds of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldBytes {
    /// First offset.
    pub(crate) base: Offset,
    /// Bytes of its entries' parts.
    pub(crate) bytes: ByteCount,
}

impl<F: Clone> Index<F> {
    /// Offset of a partition's first record that is kept, or lost and not cleaned.
    pub(crate) fn start(&self, partition: &TopicPartition) -> Offset {
        let found = self.partition(partition);
        let first = found.and_then(|found| found.files.keys().next());
        let first = first.copied().unwrap_or_else(|| self.end(partition));
        let lost = self.lost.iter().filter(|hole| hole.partition == *partition);
        let held = lost.map(|hole| hole.from).fold(first, Offset::min);
        found.map_or(held, |found| found.start.max(held))
    }

    /// Moves the start of a partition, which never goes back. Offsets before it were given once,
    /// whatever is left of them, so the partition ends there at the least.
    pub(crate) fn raise_start(&mut self, partition: &TopicPartition, start: Offset) {
        let id = self.intern(partition);
        if self.end_of(id) == Offset::new(0) && self.lost_records > 0 {
            // Nothing but its start is known of it: what it held since is lost.
            let (from, until) = (start, start.after(self.lost_records));
            let (partition, cause) = (partition.clone(), HoleCause::Lost);
            self.keep_hole(Hole { partition, from, until, cause });
        }
        let mut end = start;
        if let Some(partition) = self.partitions.get_mut(id.as_index()) {
            partition.start = partition.start.max(start);
            partition.end = partition.end.max(start);
            end = partition.end;
        }
        // What lies before the start was cleaned, whether or not it was lost before. What was lost
        // at the end says that the partition ends there, as long as the damaged file is there.
        let is_kept = |hole: &Hole| start < hole.until || hole.until == end;
        self.lost.retain(|hole| hole.partition != *partition || is_kept(hole));
    }

    /// What the files hold of a partition, in order.
    pub(crate) fn held(&self, partition: &TopicPartition) -> Vec<HeldBytes> {
        let Some(id) = self.id(partition) else { return Vec::new() };
        let shares = self.files_from(id, Seek::Offset(Offset::new(0)));
        shares.map(|(_, share)| HeldBytes { base: share.base, bytes: share.bytes }).collect()
    }
}
