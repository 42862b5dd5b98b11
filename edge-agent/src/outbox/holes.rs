//! What is sent in the place of records that are gone from the log.

use headland_event::{Dot, DropPolicy, Entry, Hole, Incarnation, Offset, Sequence};
use headland_storage::{Dropped, ShedBy};

use super::Stretch;

/// Most holes that answer one read; a longer one goes on with the next.
const HOLES_AT_ONCE: usize = 64;

/// Entries from `from` on that a hub can take one after the other: where the log has none before
/// `entries`, holes say which records are gone and why.
///
/// An agent's partition is one stream without gaps in each life, so that the dot of the first
/// entry left says which dots stood before it. What was not `dropped` is gone for the reason
/// `otherwise`.
#[must_use]
pub fn filled(
    from: Offset,
    entries: Vec<Entry>,
    dropped: &[Dropped],
    otherwise: DropPolicy,
) -> Vec<Entry> {
    let Some(first) = entries.first().filter(|first| first.base > from) else { return entries };
    let mut next = Gone { at: from, until: first, dropped, otherwise };
    let mut filled = Vec::new();
    while filled.len() < HOLES_AT_ONCE {
        match next.take() {
            Some(hole) => filled.push(hole),
            None => {
                filled.extend(entries);
                break;
            }
        }
    }
    debug_assert!(
        filled.iter().zip(filled.iter().skip(1)).all(|(hole, next)| hole.end() == next.base),
        "holes leave no gap"
    );
    filled
}

/// The same entries, with holes where `stretch` says that another hub has the records.
///
/// What was shed or damaged keeps its name: nobody has it. An entry of which another hub has a part
/// only stays whole, and is then in both logs.
#[must_use]
pub fn elsewhere(entries: Vec<Entry>, stretch: impl Fn(Offset) -> Stretch) -> Vec<Entry> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return entries };
    let Stretch { is_elsewhere, end } = stretch(first.base);
    if !is_elsewhere && end.is_none_or(|end| end >= last.end()) {
        return entries;
    }
    let mut made = Vec::new();
    for entry in entries {
        let hole = Hole::of(&entry.batch).map(|hole| hole.policy);
        match hole {
            None => {
                let Stretch { is_elsewhere, end } = stretch(entry.base);
                if is_elsewhere && end.is_some_and(|end| end >= entry.end()) {
                    push(&mut made, &entry, (entry.base, entry.end()), DropPolicy::Elsewhere);
                } else {
                    made.push(entry);
                }
            }
            Some(policy @ (DropPolicy::Acknowledged | DropPolicy::EarlierLife)) => {
                let mut at = entry.base;
                while at < entry.end() {
                    let Stretch { is_elsewhere, end } = stretch(at);
                    let end = end.map_or_else(|| entry.end(), |end| end.min(entry.end()));
                    let policy = if is_elsewhere { DropPolicy::Elsewhere } else { policy };
                    push(&mut made, &entry, (at, end), policy);
                    at = end;
                }
            }
            Some(
                DropPolicy::Time
                | DropPolicy::Bytes
                | DropPolicy::Compacted
                | DropPolicy::Damaged
                | DropPolicy::Elsewhere,
            ) => made.push(entry),
        }
    }
    made
}

/// Adds a hole for offsets of an entry, as one with the hole before it where that fits.
fn push(made: &mut Vec<Entry>, of: &Entry, (from, end): (Offset, Offset), policy: DropPolicy) {
    let dot = match of.dot.sequence.get() {
        0 => of.dot,
        _ => Dot { sequence: of.dot.sequence.after(from.since(of.base)), ..of.dot },
    };
    let (mut base, mut dot, mut span) = (from, dot, end.since(from));
    if let Some(last) = made.last()
        && let Some(hole) = Hole::of(&last.batch)
        && hole.policy == policy
        && last.end() == base
        && follows(last, dot)
        && last.batch.span().saturating_add(span) <= Hole::SPAN_MAX
    {
        (base, dot, span) = (last.base, last.dot, last.batch.span() + span);
        made.pop();
    }
    debug_assert!(span <= Hole::SPAN_MAX, "no entry is longer than a hole may be");
    #[expect(clippy::expect_used, reason = "a span of 1 to the most that a hole takes")]
    let batch =
        Hole { count: span, policy }.to_batch(span, of.batch.base_time()).expect("it fits a hole");
    made.push(Entry { base, dot, stamp: None, batch });
}

/// Whether a dot is the one behind an entry; of records without dots each follows the other.
fn follows(last: &Entry, dot: Dot) -> bool {
    let of_one = (last.dot.stream, last.dot.incarnation) == (dot.stream, dot.incarnation);
    let sequence = last.dot.sequence;
    let next = if sequence.get() == 0 { sequence } else { sequence.after(last.batch.span()) };
    of_one && next == dot.sequence
}

/// Offsets that are gone, from the first that is asked for to the first entry left.
struct Gone<'a> {
    at: Offset,
    until: &'a Entry,
    dropped: &'a [Dropped],
    /// Why all else is gone.
    otherwise: DropPolicy,
}

impl Gone<'_> {
    fn take(&mut self) -> Option<Entry> {
        let left = self.until.base.get().checked_sub(self.at.get()).filter(|left| *left > 0)?;
        let Dot { stream, incarnation, sequence } = self.until.dot;
        // Records of this life before the first entry left.
        let of_this_life = sequence.get().saturating_sub(1);
        let (policy, span, sequence) = if left > of_this_life {
            let policy = match self.otherwise {
                DropPolicy::Damaged => DropPolicy::Damaged,
                DropPolicy::Time
                | DropPolicy::Bytes
                | DropPolicy::Acknowledged
                | DropPolicy::Compacted
                | DropPolicy::EarlierLife
                | DropPolicy::Elsewhere => DropPolicy::EarlierLife,
            };
            (policy, left - of_this_life, Sequence::new(0))
        } else {
            let sequence = Sequence::new(sequence.get() - left);
            let (policy, until) = self.why(incarnation, sequence);
            (policy, left.min(until.get().saturating_sub(sequence.get())), sequence)
        };
        let count = span.clamp(1, Hole::SPAN_MAX);
        let batch = Hole { count, policy }.to_batch(count, self.until.batch.base_time()).ok()?;
        let entry =
            Entry { base: self.at, dot: Dot { stream, incarnation, sequence }, stamp: None, batch };
        self.at = entry.end();
        Some(entry)
    }

    /// Why the record of a dot is gone, and up to which dot that holds.
    fn why(&self, life: Incarnation, sequence: Sequence) -> (DropPolicy, Sequence) {
        let of_life = self.dropped.iter().filter(|range| range.incarnation == life);
        let mut until = Sequence::new(u64::MAX);
        for Dropped { first, last, policy, .. } in of_life {
            if *first <= sequence && sequence <= *last {
                let policy = match policy {
                    ShedBy::Time => DropPolicy::Time,
                    ShedBy::Bytes => DropPolicy::Bytes,
                };
                return (policy, last.after(1));
            }
            if *first > sequence {
                until = until.min(*first);
            }
        }
        (self.otherwise, until)
    }
}

#[cfg(test)]
mod tests {
    use headland_event::{
        Batch, EventTime, PartitionIndex, Record, StreamId, TopicName, TopicPartition,
    };

    use super::*;

    const LIFE: Incarnation = Incarnation::new(2, 7);

    /// An entry of two records at an offset, the record with this sequence first.
    fn entry(base: u64, sequence: u64) -> Entry {
        let record = Record::new(EventTime::from_millis(9), "k", "v");
        let dot = Dot {
            stream: StreamId::new([1; 16]),
            incarnation: LIFE,
            sequence: Sequence::new(sequence),
        };
        let batch = Batch::encode(&[record.clone(), record]).unwrap();
        Entry { base: Offset::new(base), dot, stamp: None, batch }
    }

    fn filled(from: Offset, entries: Vec<Entry>, dropped: &[Dropped]) -> Vec<Entry> {
        super::filled(from, entries, dropped, DropPolicy::Acknowledged)
    }

    fn range(first: u64, last: u64, policy: ShedBy) -> Dropped {
        let topic = TopicName::new("air").unwrap();
        Dropped {
            partition: TopicPartition::new(topic, PartitionIndex::new(0)),
            stream: StreamId::new([1; 16]),
            incarnation: LIFE,
            first: Sequence::new(first),
            last: Sequence::new(last),
            count: last + 1 - first,
            policy,
        }
    }

    /// Base, end, first sequence and why, of each hole.
    fn holes(entries: &[Entry]) -> Vec<(u64, u64, u64, DropPolicy)> {
        let named = entries.iter().filter_map(|entry| Some((entry, Hole::of(&entry.batch)?)));
        named
            .map(|(entry, hole)| {
                assert_eq!(hole.count, entry.batch.span());
                let (base, end) = (entry.base.get(), entry.end().get());
                (base, end, entry.dot.sequence.get(), hole.policy)
            })
            .collect()
    }

    #[test]
    fn entries_that_follow_what_was_asked_for_stay_as_they_are() {
        let entries = vec![entry(5, 6), entry(7, 8)];

        assert_eq!(filled(Offset::new(5), entries.clone(), &[]), entries);
        assert_eq!(filled(Offset::new(5), Vec::new(), &[]), []);
    }

    #[test]
    fn holes_name_each_range_that_was_shed_and_what_was_acknowledged_between() {
        let dropped = [range(3, 4, ShedBy::Time), range(7, 9, ShedBy::Bytes)];

        let entries = filled(Offset::new(0), vec![entry(10, 11)], &dropped);

        let expected = [
            (0, 2, 1, DropPolicy::Acknowledged),
            (2, 4, 3, DropPolicy::Time),
            (4, 6, 5, DropPolicy::Acknowledged),
            (6, 9, 7, DropPolicy::Bytes),
            (9, 10, 10, DropPolicy::Acknowledged),
        ];
        assert_eq!(holes(&entries), expected);
        assert_eq!(entries.last(), Some(&entry(10, 11)));
    }

    #[test]
    fn a_long_hole_is_several_and_goes_on_with_the_next_read() {
        let span = 64 * Hole::SPAN_MAX;
        let first = entry(span + 5, span + 6);

        let begun = filled(Offset::new(0), vec![first.clone()], &[]);
        let at = begun.last().unwrap().end();
        let rest = filled(at, vec![first.clone()], &[]);

        assert_eq!((begun.len(), at), (64, Offset::new(span)));
        assert_eq!(holes(&rest), [(span, span + 5, span + 1, DropPolicy::Acknowledged)]);
        assert_eq!(rest.last(), Some(&first));
    }

    #[test]
    fn what_stood_there_before_this_life_has_no_dots_any_more() {
        let entries = filled(Offset::new(1), vec![entry(9, 3)], &[range(1, 2, ShedBy::Bytes)]);

        let expected = [(1, 7, 0, DropPolicy::EarlierLife), (7, 9, 1, DropPolicy::Bytes)];
        assert_eq!(holes(&entries), expected);
    }

    #[test]
    fn what_is_damaged_and_was_not_shed_is_named_as_damaged_with_its_dots() {
        let dropped = [range(1, 2, ShedBy::Bytes)];

        let entries =
            super::filled(Offset::new(0), vec![entry(5, 6)], &dropped, DropPolicy::Damaged);

        let named: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                let Hole { count, policy } = Hole::of(&entry.batch)?;
                Some((entry.base.get(), count, entry.dot.sequence.get(), policy))
            })
            .collect();
        assert_eq!(named, [(0, 2, 1, DropPolicy::Bytes), (2, 3, 3, DropPolicy::Damaged)]);
    }

    /// Another hub has the records of these offsets.
    fn has(from: u64, to: u64) -> impl Fn(Offset) -> Stretch {
        move |at| match at.get() {
            at if at < from => Stretch { is_elsewhere: false, end: Some(Offset::new(from)) },
            at if at < to => Stretch { is_elsewhere: true, end: Some(Offset::new(to)) },
            _ => Stretch { is_elsewhere: false, end: None },
        }
    }

    #[test]
    fn what_another_hub_has_is_one_hole_with_its_dots_whether_or_not_it_is_in_the_log_still() {
        let log = vec![entry(4, 5), entry(6, 7), entry(8, 9)];

        let entries = elsewhere(filled(Offset::new(0), log, &[]), has(2, 8));

        let expected = [(0, 2, 1, DropPolicy::Acknowledged), (2, 8, 3, DropPolicy::Elsewhere)];
        assert_eq!(holes(&entries), expected);
        assert_eq!(entries[2..], [entry(8, 9)]);
    }

    #[test]
    fn what_was_shed_stays_shed_and_what_another_hub_has_in_part_is_sent_whole() {
        let dropped = [range(1, 2, ShedBy::Bytes)];
        let log = vec![entry(4, 5), entry(6, 7)];

        let entries = elsewhere(filled(Offset::new(0), log, &dropped), has(0, 7));

        let expected = [(0, 2, 1, DropPolicy::Bytes), (2, 6, 3, DropPolicy::Elsewhere)];
        assert_eq!(holes(&entries), expected);
        assert_eq!(entries[2..], [entry(6, 7)]);
    }

    #[test]
    fn of_an_earlier_life_another_hub_has_records_whose_dots_are_not_known_any_more() {
        let entries = elsewhere(filled(Offset::new(1), vec![entry(9, 3)], &[]), has(0, 4));

        let expected = [
            (1, 4, 0, DropPolicy::Elsewhere),
            (4, 7, 0, DropPolicy::EarlierLife),
            (7, 9, 1, DropPolicy::Acknowledged),
        ];
        assert_eq!(holes(&entries), expected);
    }

    #[test]
    fn what_no_other_hub_has_stays_as_it_is() {
        let log = vec![entry(4, 5), entry(6, 7)];

        assert_eq!(elsewhere(log.clone(), has(8, 12)), log);
    }
}
