use std::collections::BTreeMap;

use bytes::Bytes;
use headland_event::{
    Batch, Dot, Entry, Incarnation, PartitionIndex, Record, Sequence, StreamId, TopicName,
};

use super::*;
use crate::commit::{Commit, StateChange, StateOwner, StoredCommit};
use crate::fault::OpenError;
use crate::frame::FIRST_FRAME_AT;
use crate::journal::JournalOptions;
use crate::journal::opening::Opening;
use crate::log::{LogReader, ReadError};
use crate::memory::{MemoryDisk, MemoryFile, MemoryMedium, Survival};
use crate::recovery::OpenReport;

const LIMIT: ByteCount = ByteCount::mebibytes(64);

fn partition(index: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(index))
}

fn open(disk: &MemoryDisk, nonce: u64) -> Result<(Journal<MemoryMedium>, OpenReport), OpenError> {
    let (file_bytes, reserve_bytes) = (ByteCount::new(1_200), ByteCount::new(0));
    let options = JournalOptions { nonce, file_bytes, reserve_bytes };
    Opening::find(disk.attach(), options)?.settle()
}

/// Commit `n`: a record of partition 0, one of partition 1 in every fourth, and a value.
fn commit(n: u64) -> Commit {
    let entry = |base: u64| Entry {
        base: Offset::new(base),
        dot: Dot {
            stream: StreamId::new([9; 16]),
            incarnation: Incarnation::new(1, 2),
            sequence: Sequence::new(base + 1),
        },
        stamp: None,
        batch: Batch::encode(&[Record::new(EventTime::from_millis(0), "k", format!("{n}"))])
            .unwrap(),
    };
    let mut entries = vec![(partition(0), entry(n - 1))];
    if n % 4 == 1 {
        entries.push((partition(1), entry(n / 4)));
    }
    let (owner, key) = (StateOwner::new("positions").unwrap(), Bytes::from_static(b"at"));
    let value = Some(Bytes::from(n.to_string()));
    Commit { entries, state: vec![StateChange { owner, key, value }] }
}

fn append(journal: &mut Journal<MemoryMedium>, numbers: RangeInclusive<u64>) {
    for n in numbers {
        journal.append(Priority::Normal, &[commit(n)]).unwrap();
    }
}

/// Keeps of a commit what this cleaner keeps: entries of partition 1, and no state.
fn cleaned(commit: StoredCommit) -> Option<(CommitNumber, Commit)> {
    let StoredCommit { number, entries, .. } = commit;
    let entries: Vec<_> = entries.into_iter().filter(|(at, _)| *at == partition(1)).collect();
    (!entries.is_empty()).then_some((number, Commit { entries, state: Vec::new() }))
}

fn stored(journal: &Journal<MemoryMedium>) -> BTreeMap<CommitNumber, Commit> {
    let replayed = journal.reader().replay(CommitNumber::new(1), LIMIT).unwrap();
    let commits = replayed.commits.into_iter();
    commits.map(|c| (c.number, Commit { entries: c.entries, state: c.state })).collect()
}

/// The commits that are there once `files` of the first closed files were cleaned.
fn expected(commits: u64, cleaned_to: u64) -> BTreeMap<CommitNumber, Commit> {
    let whole = (1..=commits).map(|n| (CommitNumber::new(n), commit(n)));
    whole
        .filter_map(|(number, Commit { entries, state })| {
            if number.get() > cleaned_to {
                return Some((number, Commit { entries, state }));
            }
            cleaned(StoredCommit { number, entries, state })
        })
        .collect()
}

/// Cleans the first `count` closed files into one; returns the number of their last commit.
fn clean(journal: &mut Journal<MemoryMedium>, count: usize) -> Result<u64, AppendError> {
    let files = journal.closed_files();
    let (first, last) = (&files[0], &files[count - 1]);
    let mut writer =
        journal.begin_cold(first.base, ByteCount::new(4_000)).map_err(AppendError::Medium)?;
    let commits = match journal.reader().replay(first.base, LIMIT) {
        Ok(replayed) => replayed.commits,
        Err(ReadError::Medium(error)) => return Err(AppendError::Medium(error)),
        Err(error) => panic!("{error}"),
    };
    let commits = commits.into_iter().take_while(|commit| commit.number <= last.last);
    for (number, left) in commits.filter_map(cleaned) {
        writer.push(number, &left)?;
    }
    assert!(writer.size() < ByteCount::new(4_000), "cleaning leaves less");
    let cold = writer.finish().map_err(AppendError::Medium)?;
    journal.install(vec![Replacement { files: first.base..=last.base, cold, mend: None }])?;
    Ok(last.last.get())
}

fn names(disk: &MemoryDisk) -> Vec<String> {
    let names = disk.names().into_iter();
    names.filter(|name| name.ends_with(".cold") || name.ends_with(".journal")).collect()
}

fn offsets(journal: &Journal<MemoryMedium>, index: u32, from: u64) -> Vec<u64> {
    let entries = journal.reader().read(&partition(index), Offset::new(from), LIMIT).unwrap();
    entries.iter().map(|entry| entry.base.get()).collect()
}

#[test]
fn a_cold_file_takes_the_place_of_closed_ones_and_keeps_offsets_and_numbers() {
    let disk = MemoryDisk::new(1);
    let (mut journal, _) = open(&disk, 1).unwrap();
    append(&mut journal, 1..=20);
    let before = names(&disk);

    let to = clean(&mut journal, 3).unwrap();

    assert_eq!(stored(&journal), expected(20, to));
    assert_eq!(offsets(&journal, 1, 0), [0, 1, 2, 3, 4]);
    assert!(offsets(&journal, 0, 0).into_iter().eq(to..20));
    assert!(before.iter().take(3).all(|name| !disk.names().contains(name)));
    append(&mut journal, 21..=25);
    drop(journal);
    let (journal, report) = open(&disk, 2).unwrap();
    assert_eq!(stored(&journal), expected(25, to));
    assert_eq!((report.scanned_files, report.void_files), (Vec::new(), Vec::new()));
}

#[test]
fn a_cold_file_can_be_cleaned_again_with_those_behind_it() {
    let disk = MemoryDisk::new(1);
    let (mut journal, _) = open(&disk, 1).unwrap();
    append(&mut journal, 1..=20);
    clean(&mut journal, 2).unwrap();

    let to = clean(&mut journal, 3).unwrap();

    assert_eq!(stored(&journal), expected(20, to));
    assert_eq!(names(&disk).iter().filter(|name| name.ends_with(".cold")).count(), 1);
    drop(journal);
    assert_eq!(stored(&open(&disk, 2).unwrap().0), expected(20, to));
}

#[test]
fn the_end_of_a_partition_stays_when_all_its_files_are_dropped() {
    let disk = MemoryDisk::new(1);
    let (mut journal, _) = open(&disk, 1).unwrap();
    append(&mut journal, 1..=20);
    let only_state = Commit { entries: Vec::new(), state: commit(1).state };
    while journal.closed_files().last().unwrap().last.get() < 20 {
        journal.append(Priority::Normal, std::slice::from_ref(&only_state)).unwrap();
    }
    let files = journal.closed_files();
    let all = files[0].base..=files[files.len() - 1].base;

    journal.install(vec![Replacement { files: all, cold: None, mend: None }]).unwrap();
    drop(journal);
    let (journal, _) = open(&disk, 2).unwrap();

    let reader = journal.reader();
    let (start, end) = (reader.start(&partition(0)), reader.end(&partition(0)));
    assert_eq!((start, end), (Offset::new(20), Offset::new(20)));
    assert_eq!(offsets(&journal, 0, 5), [0_u64; 0]);
    assert_eq!(reader.partitions(), [partition(0), partition(1)]);
}

#[test]
fn a_closed_file_says_what_it_holds_of_each_partition() {
    let disk = MemoryDisk::new(1);
    let (mut journal, _) = open(&disk, 1).unwrap();
    append(&mut journal, 1..=20);

    let files = journal.closed_files();

    let mut next = 0;
    for file in &files {
        let share = file.shares.iter().find(|share| share.partition == partition(0)).unwrap();
        assert_eq!((share.base.get(), file.base.get()), (next, next + 1));
        assert_eq!(share.end.get(), file.last.get());
        let records = share.end.since(share.base);
        assert!((100..200).contains(&(share.bytes.get() / records)), "{share:?}");
        next = share.end.get();
    }
    assert!(files.len() > 3 && next >= 15);
}

#[test]
fn a_reader_in_a_replaced_file_reads_it_to_its_end() {
    let disk = MemoryDisk::new(1);
    let (mut journal, _) = open(&disk, 1).unwrap();
    append(&mut journal, 1..=20);
    let source = journal.closed_files()[0].source.clone();
    let read = |source: &Source<MemoryFile>| {
        let mut bytes = vec![0; ByteCount::new(source.end).as_len()];
        source.file.read_at(ByteCount::new(0), &mut bytes).map(|()| bytes).unwrap()
    };
    let before = read(&source);

    clean(&mut journal, 2).unwrap();

    assert_eq!(read(&source), before);
}

#[test]
fn an_install_whose_barrier_failed_changes_nothing_and_can_be_tried_again() {
    let survivals = [Survival::Nothing, Survival::Everything, Survival::Seeded];
    for (survival, nth) in survivals.into_iter().flat_map(|s| [(s, 2), (s, 3)]) {
        let disk = MemoryDisk::new(5);
        let (mut journal, _) = open(&disk, 1).unwrap();
        append(&mut journal, 1..=20);
        // The first barrier is the cold file's, the second the chain's, the third its seal's.
        disk.fail_sync(nth);

        let refused = clean(&mut journal, 3).unwrap_err();
        let whole = stored(&journal);
        append(&mut journal, 21..=21);
        let to = clean(&mut journal, 3).unwrap();
        disk.crash(survival);

        assert!(refused.is_retryable());
        assert_eq!(whole, expected(20, 0));
        let (journal, _) = open(&disk, 2).unwrap();
        assert_eq!(stored(&journal), expected(21, to));
        assert_eq!(names(&disk).iter().filter(|name| name.ends_with(".cold")).count(), 1);
    }
}

#[test]
fn a_flipped_bit_in_either_copy_of_a_chain_that_opens_a_file_leaves_the_other_to_count() {
    let disk = MemoryDisk::new(1);
    let (mut journal, _) = open(&disk, 1).unwrap();
    append(&mut journal, 1..=20);
    let before = journal.current.as_ref().unwrap().nonce;
    let to = clean(&mut journal, 2).unwrap();
    let current = journal.current.as_ref().unwrap();
    assert_ne!(current.nonce, before, "the chain opens a file");
    let (name, end) = (current.name.to_string(), current.end - SEAL_LEN);
    drop(journal);
    disk.crash(Survival::Nothing);

    for at in FIRST_FRAME_AT..end {
        let damaged = disk.fork();
        damaged.flip_bit(&name, ByteCount::new(at), u8::try_from(at % 8).unwrap());

        let (journal, _) = open(&damaged, 2).unwrap_or_else(|error| panic!("{at}: {error}"));

        assert_eq!(stored(&journal), expected(20, to), "{at}");
    }
}

#[test]
fn a_crash_at_any_byte_of_cleaning_leaves_each_step_done_or_not_done() {
    let steps = [(Survival::Nothing, 3), (Survival::Everything, 1), (Survival::Seeded, 3)];
    for (survival, step) in steps {
        for budget in (0..).step_by(step) {
            let disk = MemoryDisk::new(budget);
            let (mut journal, _) = open(&disk, 1).unwrap();
            append(&mut journal, 1..=16);
            let files = journal.closed_files();
            let (first, second) = (files[2].last.get(), files[3].last.get());
            disk.cut_power_after(ByteCount::new(budget));

            let is_first_done = clean(&mut journal, 3).is_ok();
            let is_second_done = is_first_done && clean(&mut journal, 2).is_ok();
            disk.crash(survival);

            let at = format!("{survival:?} {budget}");
            let (journal, report) = open(&disk, 2).unwrap_or_else(|error| panic!("{at}: {error}"));
            let possible = match (is_first_done, is_second_done) {
                (false, _) => [0, first],
                (true, false) => [first, second],
                (true, true) => [second, second],
            };
            let found = stored(&journal);
            assert!(possible.iter().any(|to| found == expected(16, *to)), "{at}: {report:?}");
            assert_eq!(names(&disk).len(), files_of(&journal), "{at}: {report:?}");
            if is_second_done {
                assert!(budget > 1_000, "cleaning writes more than that");
                break;
            }
        }
    }
}

#[test]
fn a_closed_file_cut_short_loses_what_was_cut_and_nothing_else() {
    let disk = MemoryDisk::new(1);
    let (mut journal, _) = open(&disk, 1).unwrap();
    append(&mut journal, 1..=20);
    let file = journal.closed_files().remove(1);
    drop(journal);
    let content = disk.content(&file.source.name).unwrap();
    disk.set_content(&file.source.name, &content[..content.len() / 2]);

    let (journal, report) = open(&disk, 2).unwrap();

    let lost = journal.reader().read(&partition(0), Offset::new(file.last.get() - 1), LIMIT);
    assert_eq!(report.damaged_files, [file.source.name.to_string()]);
    let Err(ReadError::Quarantined { until, .. }) = lost else { panic!("{lost:?}") };
    assert_eq!(until.get(), file.last.get());
    assert!(offsets(&journal, 0, until.get()).into_iter().eq(until.get()..20));
}

/// Files that belong to the journal: the closed ones and the newest.
fn files_of(journal: &Journal<MemoryMedium>) -> usize {
    let current = journal.current.iter().count();
    let index = journal.shared.read();
    let newest = usize::from(index.last_file().is_some());
    index.closed().count() + newest.max(current)
}
