//! Whether what compaction left of a partition is right.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use headland_event::{DropPolicy, Entry, Hole, Offset, Record};

/// Records of a partition by their offsets, each with the number of its commit.
type Records = BTreeMap<Offset, (u64, Record)>;

/// What each key stands for.
type Table = BTreeMap<Bytes, Bytes>;

/// Checks what is left of a partition against all that was written to it, each entry with the
/// number of its commit; returns how many records are gone.
///
/// Offsets and dots are dense and as they were, what is left is as it was written, and whoever
/// folds it by key ends at the same. A record is gone only if a later one has its key, or if it is
/// a tombstone that `may_forget` says has had its time.
///
/// # Errors
/// What is wrong.
pub(crate) fn check(
    found: &[Entry],
    written: &[(u64, Entry)],
    may_forget: impl Fn(u64) -> bool,
) -> Result<u64> {
    let end = written.last().map_or_else(Offset::default, |(_, entry)| entry.end());
    check_places(found, end)?;
    let left = records(found.iter().map(|entry| (0, entry)))?;
    let all = records(written.iter().map(|(number, entry)| (*number, entry)))?;
    for (offset, (_, record)) in &left {
        let as_written = all.get(offset).map(|(_, record)| record);
        ensure!(as_written == Some(record), "the record at {offset} is another one");
    }
    let mut newest = BTreeMap::new();
    for (offset, (_, record)) in &all {
        newest.insert(record.key.clone(), *offset);
    }
    let gone = all.iter().filter(|(offset, _)| !left.contains_key(offset));
    let mut count = 0;
    for (offset, (number, record)) in gone {
        let is_superseded = newest.get(&record.key).is_some_and(|newest| newest > offset);
        let is_forgotten = record.value.is_none() && may_forget(*number);
        ensure!(is_superseded || is_forgotten, "the record at {offset} still counts and is gone");
        count += 1;
    }
    ensure!(table(&left) == table(&all), "the keys stand for something else");
    Ok(count)
}

/// Checks that offsets and dots are dense up to the end.
fn check_places(found: &[Entry], end: Offset) -> Result<()> {
    let mut next = Offset::default();
    for entry in found {
        ensure!(entry.base == next, "no entry at {next}, the next one is at {}", entry.base);
        ensure!(entry.dot.sequence.get() == next.get() + 1, "the dot at {next} is another one");
        next = entry.end();
    }
    ensure!(next == end, "the entries end at {next}, not at {end}");
    Ok(())
}

/// Every record but those that stand for holes.
fn records<'a>(entries: impl Iterator<Item = (u64, &'a Entry)>) -> Result<Records> {
    let mut found = Records::new();
    for (number, entry) in entries {
        if let Some(hole) = Hole::of(&entry.batch) {
            ensure!(hole.policy == DropPolicy::Compacted, "a hole by {}", hole.policy);
            continue;
        }
        let records = entry.batch.numbered_records().context("a batch does not decode")?;
        let placed = records.into_iter().map(|(delta, record)| (entry.base.at(delta), record));
        found.extend(placed.map(|(offset, record)| (offset, (number, record))));
    }
    Ok(found)
}

fn table(records: &Records) -> Table {
    let mut table = Table::new();
    for (_, record) in records.values() {
        let Some(key) = record.key.clone() else { continue };
        match record.value.clone() {
            Some(value) => drop(table.insert(key, value)),
            None => drop(table.remove(&key)),
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use headland_event::{Batch, Dot, EventTime, Incarnation, OffsetDelta, Sequence, StreamId};

    use super::*;

    /// An entry with a record for each key and value.
    fn entry(base: u64, records: &[(&'static str, Option<&'static str>)]) -> Entry {
        let record = |(key, value): &(&'static str, Option<&'static str>)| Record {
            time: EventTime::from_millis(0),
            key: Some(Bytes::from(*key)),
            value: value.map(Bytes::from),
            headers: Vec::new(),
        };
        let records: Vec<Record> = records.iter().map(record).collect();
        let dot = Dot {
            stream: StreamId::new([7; 16]),
            incarnation: Incarnation::new(1, 1),
            sequence: Sequence::new(base + 1),
        };
        let batch = Batch::encode(&records).unwrap();
        Entry { base: Offset::new(base), dot, stamp: None, batch }
    }

    /// Three commits: a and b, a deleted, c.
    fn written() -> Vec<(u64, Entry)> {
        vec![
            (1, entry(0, &[("a", Some("1")), ("b", Some("1"))])),
            (2, entry(2, &[("a", None)])),
            (3, entry(3, &[("c", Some("1"))])),
        ]
    }

    fn judged(change: impl FnOnce(&mut Vec<Entry>)) -> Result<u64, String> {
        let written = written();
        let mut found = written.iter().map(|(_, entry)| entry.clone()).collect();
        change(&mut found);
        check(&found, &written, |number| number == 2).map_err(|error| error.to_string())
    }

    /// Takes one record out of an entry.
    fn without(entry: &mut Entry, delta: u32) {
        let kept = |at: OffsetDelta| at != OffsetDelta::new(delta);
        entry.batch = entry.batch.retain(|record| kept(record.delta())).unwrap().unwrap();
    }

    fn hole(entry: &mut Entry) {
        let hole = Hole { count: 1, policy: DropPolicy::Compacted };
        entry.batch = hole.to_batch(1, EventTime::from_millis(0)).unwrap();
    }

    #[test]
    fn what_a_later_record_of_the_key_superseded_may_go_and_nothing_need_go() {
        assert_eq!(judged(|_| ()), Ok(0));
        assert_eq!(judged(|found| without(&mut found[0], 0)), Ok(1));
    }

    #[test]
    fn a_tombstone_that_had_its_time_goes_with_what_it_deletes_and_not_alone() {
        let both = |found: &mut Vec<Entry>| {
            without(&mut found[0], 0);
            hole(&mut found[1]);
        };

        assert_eq!(judged(both), Ok(2));
        let alone = judged(|found| hole(&mut found[1]));
        assert_eq!(alone, Err("the keys stand for something else".to_owned()));
    }

    #[test]
    fn what_still_counts_may_not_go_and_no_offset_may() {
        let counts = judged(|found| without(&mut found[0], 1));
        let offset = judged(|found| drop(found.remove(1)));
        let end = judged(|found| drop(found.pop()));

        assert_eq!(counts, Err("the record at 1 still counts and is gone".to_owned()));
        assert_eq!(offset, Err("no entry at 2, the next one is at 3".to_owned()));
        assert_eq!(end, Err("the entries end at 3, not at 4".to_owned()));
    }

    #[test]
    fn a_record_that_is_another_one_is_found() {
        let other = judged(|found| found[2] = entry(3, &[("c", Some("2"))]));

        assert_eq!(other, Err("the record at 3 is another one".to_owned()));
    }
}
