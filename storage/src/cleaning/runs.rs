//! Runs of records that compaction took out: one hole for as many entries as follow each other.
//!
//! Offsets and dots stay dense, so whoever reads, mirrors or replays the partition needs to know
//! nothing of compaction. A hole is held back until something else of its partition comes, and
//! stands in that commit, or in the last one of the copy.

use std::collections::BTreeMap;

use headland_event::{Entry, Hole, Stamp, TopicPartition};

use crate::commit::Commit;

/// Holes that may still grow.
#[derive(Debug, Default)]
pub(super) struct Runs {
    open: BTreeMap<TopicPartition, Entry>,
}

/// The hole in the place of an entry all of whose records are gone; `None` if there is none that
/// long.
pub(super) fn hole(gone: &Entry) -> Option<Entry> {
    spanning(gone, gone.batch.span(), gone)
}

/// Whether an entry is a hole that compaction left.
pub(super) fn is_hole(entry: &Entry) -> bool {
    let policy = Hole::of(&entry.batch).map(|hole| hole.policy);
    policy == Some(headland_event::DropPolicy::Compacted)
}

/// A hole over so many offsets from the base of `first` on, at the time of `last`.
fn spanning(first: &Entry, span: u64, last: &Entry) -> Option<Entry> {
    let hole = Hole { count: span, policy: headland_event::DropPolicy::Compacted };
    let batch = hole.to_batch(span, last.batch.max_time()).ok()?;
    // Verdicts are about records.
    let stamp = first.stamp.clone().map(|stamp| Stamp { verdicts: Vec::new(), ..stamp });
    Some(Entry { base: first.base, dot: first.dot, stamp, batch })
}

/// One hole in the place of two that follow each other by offset and by dot.
fn joined(first: &Entry, second: &Entry) -> Option<Entry> {
    let dot = first.dot;
    let follows = (dot.stream, dot.incarnation) == (second.dot.stream, second.dot.incarnation)
        && dot.sequence.after(first.batch.span()) == second.dot.sequence
        && first.end() == second.base;
    let span = first.batch.span() + second.batch.span();
    if follows { spanning(first, span, second) } else { None }
}

impl Runs {
    /// Takes the holes out of what is left of a commit, and puts those in that are over.
    pub(super) fn pass(&mut self, left: Commit) -> Commit {
        let mut entries = Vec::with_capacity(left.entries.len());
        for (partition, entry) in left.entries {
            let open = self.open.remove(&partition);
            if !is_hole(&entry) {
                entries.extend(open.map(|hole| (partition.clone(), hole)));
                entries.push((partition, entry));
                continue;
            }
            let hole = match open.as_ref().map(|open| joined(open, &entry)) {
                Some(Some(joined)) => joined,
                Some(None) | None => {
                    entries.extend(open.map(|hole| (partition.clone(), hole)));
                    entry
                }
            };
            self.open.insert(partition, hole);
        }
        Commit { entries, state: left.state }
    }

    /// The holes at the end.
    pub(super) fn finish(&mut self) -> Commit {
        let entries = std::mem::take(&mut self.open).into_iter().collect();
        Commit { entries, state: Vec::new() }
    }
}
