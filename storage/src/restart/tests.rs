use headland_event::limits::BATCH_RECORDS_LIMIT;
use headland_event::{Batch, EventTime, PartitionIndex, Record, SeededRandom, TopicName};

use super::*;
use crate::composer::Composer;
use crate::log::LogStore;
use crate::memory::{MemoryDisk, MemoryStore};
use crate::store::OpenOptions;

/// Commits that are written; each holds a record of one partition, the odd ones of both.
const COMMITS: u64 = 6;

fn partition(index: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(index))
}

fn options(nonce: u64) -> OpenOptions {
    OpenOptions { reserve_bytes: ByteCount::new(0), ..OpenOptions::new(nonce) }
}

/// A closed store.
fn written() -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    let mut store = MemoryStore::open(&disk, options(1)).unwrap();
    let mut composer = Composer::new(store.incarnation(), &store.reader(), &store).unwrap();
    let mut random = SeededRandom::new(1);
    for commit in 0..COMMITS {
        for index in 0..=u32::try_from(commit % 2).unwrap() {
            let record = Record::new(EventTime::from_millis(5), "k", "v");
            let batch = Batch::encode(&[record.clone(), record]).unwrap();
            composer.born(&partition(index), None, batch, &mut random);
        }
        store.append(&[composer.take().unwrap().commit]).unwrap();
    }
    store.close().unwrap();
    disk
}

/// The first offset of each entry that was fed, by partition, and what is missing.
fn taken(disk: &MemoryDisk) -> (BTreeSet<(TopicPartition, Offset)>, Vec<u64>, Missing) {
    let reader = MemoryStore::open(disk, options(2)).unwrap().reader();
    let (mut fed, mut numbers) = (BTreeSet::new(), Vec::new());
    let missing = replay_past_damage(&reader, CommitNumber::new(1), |commit| {
        numbers.push(commit.number.get());
        fed.extend(commit.entries.into_iter().map(|(at, entry)| (at, entry.base)));
    });
    (fed, numbers, missing.unwrap())
}

#[test]
fn a_sound_log_is_fed_whole_and_nothing_is_missing() {
    let (fed, _, missing) = taken(&written());

    assert_eq!(fed.len(), 9);
    assert!(missing.is_empty());
}

#[test]
fn of_a_log_with_one_damaged_byte_all_else_is_fed_and_the_rest_is_named_by_its_offsets() {
    let disk = written();
    let (whole, _, _) = taken(&disk.fork());
    let name = disk.names().into_iter().find(|name| name.ends_with(".journal")).unwrap();
    let ends = [(partition(0), Offset::new(12)), (partition(1), Offset::new(6))];
    let mut named = 0;

    for at in (0..disk.content(&name).unwrap().len()).step_by(3) {
        let fork = disk.fork();
        fork.flip_bit(&name, ByteCount::new(u64::try_from(at).unwrap()), 3);
        let (fed, numbers, missing) = taken(&fork);

        let gone: BTreeSet<_> = whole.difference(&fed).cloned().collect();
        let lost = missing.offsets().map(|lost| (lost.partition.clone(), lost.from));
        let mut lost: BTreeSet<_> = lost.collect();
        assert!(lost.is_superset(&gone), "byte {at}: {lost:?}, not {gone:?}");
        // Where a damaged entry does not say its partition, each may have gone on behind its end.
        ends.iter().filter(|end| !gone.contains(*end)).for_each(|end| drop(lost.take(end)));
        assert_eq!(lost, gone, "byte {at}");
        for lost in missing.offsets() {
            // How many records the last entry held is not known when it is damaged itself.
            let span = lost.until.since(lost.from);
            assert!(span == 2 || span == BATCH_RECORDS_LIMIT as u64, "byte {at}: {lost:?}");
        }
        assert!(numbers.is_sorted(), "byte {at}: {numbers:?}");
        assert!(gone.is_empty() || missing.commits().len() == 1, "byte {at}");
        named += gone.len();
    }

    assert!(named > 9 * 15, "the bytes of every entry were hit: {named}");
}

#[test]
fn what_the_log_gave_up_before_the_replay_begins_is_named() {
    let disk = written();
    let name = disk.names().into_iter().find(|name| name.ends_with(".journal")).unwrap();
    let content = disk.content(&name).unwrap();
    let entry = content.windows(4).rposition(|bytes| bytes == b"\x03air").unwrap();
    disk.flip_bit(&name, ByteCount::new(u64::try_from(entry).unwrap() + 40), 3);
    let reader = MemoryStore::open(&disk, options(2)).unwrap().reader();

    let missing = replay_past_damage(&reader, reader.last_commit().after(1), drop).unwrap();

    let lost = missing.offsets().map(|lost| (lost.partition.clone(), lost.from, lost.until));
    let given_up = [12, 4].into_iter().map(Offset::new).zip((0..2).map(partition));
    let given_up = given_up.map(|(from, at)| (at.clone(), from, reader.end(&at)));
    assert_eq!(lost.collect::<Vec<_>>(), given_up.collect::<Vec<_>>());
    assert_eq!(missing.commits(), []);
}

#[test]
fn a_range_counts_once_and_beyond_the_limit_ranges_are_counted_alone() {
    let of = |from| {
        let (from, until) = (Offset::new(from), Offset::new(from + 1));
        MissingOffsets { partition: partition(0), from, until }
    };
    let mut missing = Missing::default();

    let news: Vec<bool> = [1, 2, 1].into_iter().map(|from| missing.add(of(from))).collect();
    let more = (3..1_030).filter(|from| missing.add(of(*from))).count();

    assert_eq!(news, [true, true, false]);
    assert_eq!((missing.offsets().count(), more, missing.unlisted()), (1_024, 1_022, 5));
}

#[test]
fn a_part_of_what_is_missing_is_no_news_and_more_than_it_takes_its_place() {
    let range = |from, until| MissingOffsets {
        partition: partition(0),
        from: Offset::new(from),
        until: Offset::new(until),
    };
    let mut missing = Missing::default();

    let news = [(5, 25), (7, 25), (5, 6), (3, 30), (40, u64::MAX), (40, 45)];
    let news = news.map(|(from, until)| missing.add(range(from, until)));

    assert_eq!(news, [true, false, false, true, true, true]);
    let known: Vec<&MissingOffsets> = missing.offsets().collect();
    assert_eq!(known, [&range(3, 30), &range(40, 45), &range(40, u64::MAX)]);
}
