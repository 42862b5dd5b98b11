use std::collections::BTreeSet;

use headland_event::{Batch, PartitionIndex, Record, SeededRandom, TopicName, TopicPartition};

use super::*;
use crate::composer::Composer;
use crate::log::LogStore;
use crate::memory::{MemoryDisk, MemoryStore};
use crate::restart::{Missing, replay_past_damage};
use crate::store::OpenOptions;

const WEEK: u64 = 7 * 24 * 60 * 60 * 1_000;

fn partition(index: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(index))
}

fn open(disk: &MemoryDisk) -> (MemoryStore, Composer) {
    open_with(disk, OpenOptions::new(1).file_bytes)
}

fn open_with(disk: &MemoryDisk, file_bytes: ByteCount) -> (MemoryStore, Composer) {
    let reserve_bytes = ByteCount::new(0);
    let options = OpenOptions { reserve_bytes, file_bytes, ..OpenOptions::new(1) };
    let store = MemoryStore::open(disk, options).unwrap();
    let composer = Composer::new(store.incarnation(), &store.reader(), &store).unwrap();
    (store, composer)
}

/// Writes commits with a record of each of some partitions.
fn write(store: &mut MemoryStore, composer: &mut Composer, commits: impl Iterator<Item = u64>) {
    for commit in commits {
        for index in 0..=u32::try_from(commit % 2).unwrap() {
            let record = Record::new(EventTime::from_millis(5), "k", format!("value {commit}."));
            let batch = Batch::encode(&[record]).unwrap();
            composer.born(&partition(index), None, batch, &mut SeededRandom::new(1));
        }
        store.append(&[composer.take().unwrap().commit]).unwrap();
    }
}

/// A store with so many commits.
fn written(commits: u64) -> (MemoryDisk, MemoryStore, Composer) {
    let disk = MemoryDisk::new(1);
    let (mut store, mut composer) = open(&disk);
    write(&mut store, &mut composer, 0..commits);
    (disk, store, composer)
}

fn damage(disk: &MemoryDisk, text: &str) {
    for name in disk.names().into_iter().filter(|name| name.ends_with(".journal")) {
        let content = disk.content(&name).unwrap();
        let at = content.windows(text.len()).position(|found| found == text.as_bytes());
        if let Some(at) = at {
            return disk.flip_bit(&name, ByteCount::new(u64::try_from(at).unwrap()), 0);
        }
    }
    panic!("{text} is nowhere");
}

/// Writes 40 commits, each with a record of 20 KiB, to files of this size; opens them anew.
fn large(file_bytes: ByteCount) -> (MemoryDisk, MemoryStore) {
    let disk = MemoryDisk::new(1);
    let (mut store, mut composer) = open_with(&disk, file_bytes);
    for commit in 0..40 {
        let text = format!("value {commit}. {}", "x".repeat(20 << 10));
        let batch = Batch::encode(&[Record::new(EventTime::from_millis(5), "k", text)]).unwrap();
        composer.born(&partition(commit / 39), None, batch, &mut SeededRandom::new(1));
        store.append(&[composer.take().unwrap().commit]).unwrap();
    }
    store.close().unwrap();
    let (store, _) = open_with(&disk, file_bytes);
    (disk, store)
}

#[test]
fn damage_over_many_blocks_of_a_partition_is_one_range_in_an_open_file_and_in_closed_ones() {
    for file_bytes in [64 << 20, 256 << 10] {
        let (disk, store) = large(ByteCount::new(file_bytes));
        for commit in 5..35 {
            damage(&disk, &format!("value {commit}."));
        }
        let mut run = Run::new(1 << 20);

        run.pass(&store.reader());

        let lost = run.found.offsets().map(|lost| (lost.from.get(), lost.until.get()));
        let lost: BTreeSet<_> = lost.collect();
        assert_eq!(lost, [(5, 35)].into(), "files of {file_bytes}");
        let missing = replay_past_damage(&store.reader(), CommitNumber::new(1), drop).unwrap();
        let lost = missing.offsets().map(|lost| (lost.from.get(), lost.until.get()));
        assert_eq!(lost.collect::<Vec<_>>(), [(5, 35)], "files of {file_bytes}");
    }
}

#[test]
fn behind_the_file_with_damage_a_restart_goes_on_where_the_pass_was() {
    let (disk, store) = large(ByteCount::new(256 << 10));
    damage(&disk, "value 2.");
    let reader = store.reader();
    let mut run = Run::new(1 << 20);
    while run.found.is_empty() || run.found.offsets().count() == 0 {
        assert!(run.step(&reader), "it is found before the pass is over");
    }
    run.scrub.since_mark = MARK_BYTES;
    run.step(&reader);

    let (pass, _, _) = decode(run.mark.unwrap()).unwrap();
    assert!(pass.next > CommitNumber::new(5), "{pass:?}");
    assert!(pass.until.is_some_and(|until| pass.next < until), "{pass:?}");
    let lost: Vec<_> = run.found.offsets().map(|lost| lost.from.get()).collect();
    assert_eq!(lost, [2]);
}

/// A scrub with a clock, and what it found.
struct Run {
    scrub: Scrub,
    now: Now,
    reads: u64,
    found: Missing,
    mark: Option<Bytes>,
}

impl Run {
    fn new(bytes_per_second: u64) -> Self {
        let now = Now { monotonic: Monotonic::default(), wall: EventTime::from_millis(1_000) };
        let scrub = Scrub::new(ByteCount::new(bytes_per_second), now.monotonic);
        Self { scrub, now, reads: 0, found: Missing::default(), mark: None }
    }

    fn advance(&mut self, millis: u64) {
        self.now.monotonic = self.now.monotonic.after(Duration::from_millis(millis));
        self.now.wall = self.now.wall.plus(Duration::from_millis(millis));
    }

    /// Lets the time come that it waits for, and reads; says whether it read.
    fn step(&mut self, reader: &impl LogReader) -> bool {
        let due = self.scrub.poll_timeout().unwrap();
        let wait = Duration::from_nanos(due.nanos().saturating_sub(self.now.monotonic.nanos()));
        self.advance(u64::try_from(wait.as_millis()).unwrap() + 1);
        let Some(read) = self.scrub.poll_read(self.now) else { return false };
        assert_eq!(self.scrub.poll_timeout(), None, "one read at a time");
        let scrubbed = read.read(reader);
        self.reads += 1;
        let found = self.scrub.on_scrubbed(self.now, scrubbed);
        self.mark = found.mark.or_else(|| self.mark.take());
        assert!(found.failure.is_none());
        for commits in found.commits {
            self.found.add_commits(commits);
        }
        for found in found.offsets {
            self.found.add(found.lost);
        }
        true
    }

    fn pass(&mut self, reader: &impl LogReader) {
        while self.step(reader) {
            assert!(self.reads < 10_000, "a pass ends");
        }
    }
}

#[test]
fn a_pass_finds_exactly_what_a_replay_finds_whichever_byte_is_damaged() {
    let (disk, store, _) = written(6);
    drop(store);
    let name = disk.names().into_iter().find(|name| name.ends_with(".journal")).unwrap();
    let length = disk.content(&name).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    let mut damaged = 0;

    for at in (0..length).step_by(7) {
        let fork = disk.fork();
        let (store, _) = open(&fork);
        fork.flip_bit(&name, ByteCount::new(u64::try_from(at).unwrap()), 3);
        let reader = store.reader();
        let expected = replay_past_damage(&reader, CommitNumber::new(1), drop).unwrap();
        let mut run = Run::new(if at % 2 == 0 { 400 } else { 1 << 20 });
        run.pass(&reader);

        let offsets = |missing: &Missing| missing.offsets().cloned().collect::<BTreeSet<_>>();
        assert_eq!(offsets(&run.found), offsets(&expected), "byte {at}");
        assert_eq!(run.found.commits(), expected.commits(), "byte {at}");
        damaged += usize::from(!expected.is_empty());
    }

    assert!(damaged > 50, "{damaged} bytes mattered");
}

#[test]
fn no_more_than_the_bytes_of_a_second_are_read_in_one_and_none_at_rate_0() {
    let (_disk, store, _) = written(100);
    let reader = store.reader();
    let mut run = Run::new(1_000);
    run.advance(9_999);
    assert!(run.scrub.poll_read(run.now).is_none(), "a start has other things to do");
    run.advance(1);

    let began = run.now.monotonic;
    run.pass(&reader);

    let read = run.scrub.status().read.get();
    // The last look was for the next pass.
    let took = run.now.monotonic.since(began).as_millis();
    assert!(read > 10_000, "{read}");
    assert!(took >= u128::from(read), "{read} bytes in {took} ms");
    assert_eq!(Run::new(0).scrub.poll_timeout(), None);
}

#[test]
fn passes_begin_a_week_after_each_other_also_over_a_restart_and_when_the_clock_was_set_back() {
    let (_disk, store, _) = written(3);
    let reader = store.reader();
    let mut run = Run::new(1 << 20);
    run.pass(&reader);
    let (reads, ended) = (run.reads, run.scrub.status().last_pass);
    let mark = run.mark.clone().unwrap();

    let mut again = Run::new(1 << 20);
    (again.now, again.reads) = (run.now, 0);
    again.scrub.take_up(mark).unwrap();
    assert_eq!(again.scrub.status().last_pass, ended);
    for _ in 0..24 * 7 - 2 {
        assert!(!again.step(&reader), "once an hour it looks whether a pass is due");
    }
    again.advance(3 * 60 * 60 * 1_000);
    assert!(again.step(&reader));
    again.pass(&reader);
    assert_eq!(again.reads, reads);
    again.now.wall = again.now.wall.minus(Duration::from_millis(2 * WEEK));

    assert!(again.step(&reader), "nobody knows how long ago that was");
    assert!(ended.is_some());
}

#[test]
fn a_pass_goes_on_after_a_restart_and_behind_damage_it_still_looks_after_begins_there() {
    let (disk, store, _) = written(40);
    damage(&disk, "value 4.");
    let reader = store.reader();
    let mut run = Run::new(150);
    while run.found.commits().is_empty() {
        run.scrub.since_mark = MARK_BYTES;
        run.step(&reader);
    }
    run.scrub.since_mark = MARK_BYTES;
    run.step(&reader);
    let (pass, _, _) = decode(run.mark.clone().unwrap()).unwrap();
    assert_eq!(pass.next, CommitNumber::new(5), "the damaged one");

    let mut again = Run::new(150);
    again.scrub.take_up(run.mark.unwrap()).unwrap();
    again.pass(&reader);

    let lost: Vec<_> = again.found.offsets().map(|lost| lost.from.get()).collect();
    assert_eq!(lost, [4]);
    assert!(again.scrub.take_up(Bytes::from_static(&[2])).is_err(), "of a later version");
}

#[test]
fn what_follows_damage_behind_the_end_of_the_pass_still_tells_what_is_lost() {
    let (disk, mut store, mut composer) = written(4);
    damage(&disk, "value 3.");
    let reader = store.reader();
    let mut run = Run::new(150);
    assert!(run.step(&reader), "the pass has an end now");
    write(&mut store, &mut composer, 4..8);

    run.pass(&reader);

    let lost = run.found.offsets().map(|lost| (lost.partition.partition.get(), lost.from.get()));
    assert_eq!(lost.collect::<Vec<_>>(), [(0, 3)]);
    let until = run.found.offsets().next().unwrap().until.get();
    assert_eq!(until, 4, "and no more than that");
}

#[test]
fn a_log_that_ends_before_the_pass_was_to_end_ends_it() {
    let (_disk, store, _) = written(4);
    let mut run = Run::new(150);
    let pass = Pass::from(CommitNumber::new(3), Some(CommitNumber::new(1_000)));
    run.scrub.take_up(encode(&pass, run.now.wall, None)).unwrap();

    run.pass(&store.reader());

    assert!(run.scrub.status().last_pass.is_some());
    assert_eq!(run.scrub.status().pass, None);
}

#[test]
fn a_node_that_reads_for_others_is_given_way_three_times_and_no_more() {
    let (_disk, store, _) = written(40);
    let reader = store.reader();
    let mut run = Run::new(150);

    let mut read = Vec::new();
    for _ in 0..8 {
        run.scrub.on_other_read();
        read.push(run.step(&reader));
    }

    assert_eq!(read, [false, false, false, true, false, false, false, true]);
    assert!(run.step(&reader), "nobody else reads");
}

#[test]
fn what_cannot_be_read_is_passed_over_in_steps_that_grow() {
    let mut run = Run::new(1 << 20);
    let pass = Pass::from(CommitNumber::new(1), Some(CommitNumber::new(100)));
    run.scrub.take_up(encode(&pass, run.now.wall, None)).unwrap();
    run.advance(10_000);
    let mut next = Vec::new();

    while let Some(ScrubRead { pass, .. }) = run.scrub.poll_read(run.now) {
        next.push(pass.next.get());
        let failure = Some(ReadError::Corrupt(crate::fault::Corruption {
            file: "1".to_owned(),
            position: ByteCount::new(0),
            source: crate::fault::Fault::Short { needed: 1, left: 0 },
        }));
        let (commits, offsets, unread) = (Vec::new(), Vec::new(), Unread::Commits);
        let failed = Scrubbed { commits, offsets, failure, pass, bytes: 0, unread };
        drop(run.scrub.on_scrubbed(run.now, failed));
        run.advance(1_000);
    }

    assert_eq!(next, [1, 2, 4, 8, 16, 32, 64]);
    assert_eq!(run.scrub.status().failed, 7);
}
