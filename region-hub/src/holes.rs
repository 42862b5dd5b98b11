//! What is sent to another hub in the place of records that are gone from the log.

use headland_event::{Actor, Dot, DropPolicy, Entry, Gap, Hole, Offset, Sequence, Stamp};

/// Most holes that answer one read; a longer one goes on with the next.
const HOLES_AT_ONCE: usize = 64;

/// Entries from `from` on that a hub can take one after the other: where the log has none before
/// `entries`, holes say how many records are gone and why.
///
/// A partition holds the streams of many agents, so that the dots of these are not known from
/// what is left: the holes' sequence is 0. Their stamps are those of the first entry left, less
/// the distance, but not before the log's start, as may be where logs of several lives are mixed;
/// an entry without one has nothing before it that was stamped.
#[must_use]
pub(crate) fn filled(from: Offset, entries: Vec<Entry>, policy: DropPolicy) -> Vec<Entry> {
    let Some(first) = entries.first().filter(|first| first.base > from) else { return entries };
    let mut filled = Vec::new();
    let mut at = from;
    while at < first.base && filled.len() < HOLES_AT_ONCE {
        let Some(hole) = hole(at, first, policy) else { return entries };
        at = hole.end();
        filled.push(hole);
    }
    if at == first.base {
        filled.extend(entries);
    }
    filled
}

/// What part of a log lies between an offset of a partition and an entry there; none where its log
/// begins behind that.
#[must_use]
pub(crate) fn part_before(from: Offset, entry: &Entry) -> Option<(Actor, Gap)> {
    let Stamp { actor, offset: until, .. } = entry.stamp.as_ref()?;
    let first = until.get().checked_sub(entry.base.since(from))?;
    Some((actor.clone(), Gap { from: Offset::new(first), until: *until }))
}

fn hole(at: Offset, first: &Entry, policy: DropPolicy) -> Option<Entry> {
    let left = first.base.since(at);
    let stamp = first.stamp.as_ref()?;
    let offset = Offset::new(stamp.offset.get().saturating_sub(left));
    let stamp = Stamp { offset, verdicts: Vec::new(), ..stamp.clone() };
    let count = left.min(Hole::SPAN_MAX);
    let batch = Hole { count, policy }.to_batch(count, first.batch.base_time()).ok()?;
    let dot = Dot { sequence: Sequence::new(0), ..first.dot };
    Some(Entry { base: at, dot, stamp: Some(stamp), batch })
}
