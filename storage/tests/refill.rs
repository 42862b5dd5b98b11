//! What damage took is put back at its offsets: over the disk in memory, over every byte, over
//! crashes, and against a model.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, dead_code, reason = "shared by several test binaries")]
mod fixture;

use std::ops::Range;

use headland_event::{ByteCount, Entry, EventTime, Offset, TopicPartition};
use headland_storage::{
    CleanPolicy, Cleaning, LogReader, LogStore, MemoryDisk, MemoryStore, ReadError, Refill,
    RefillRefused, Refilled, StateError, StateMarks, StateStore, Survival, verify,
};
use proptest::prelude::*;

use fixture::{Model, open, owner, partition};

const PLENTY: ByteCount = ByteCount::mebibytes(64);

/// A store of several closed files, of which nothing has to be replayed, and what it holds.
fn written() -> (MemoryDisk, Model) {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let mut store = open(&disk, 1).unwrap();
    for (salt, count) in (1..).zip([2, 1, 3, 1]) {
        append(&mut store, &mut model, count, salt);
    }
    store.close().unwrap();
    disk.crash(Survival::Everything);
    (disk, model)
}

fn append(store: &mut MemoryStore, model: &mut Model, count: u64, salt: u64) {
    let group = model.group(count, salt);
    store.append(&group).unwrap();
    model.commits.extend(group);
}

/// Opens a store and closes its newest file by beginning another.
fn reopened(disk: &MemoryDisk, nonce: u64, at: &TopicPartition) -> MemoryStore {
    let mut store = open(disk, nonce).unwrap();
    let mut group = Model::default().group(1, 0);
    let base = store.reader().end(at);
    for commit in &mut group {
        for (partition, entry) in &mut commit.entries {
            (*partition, entry.base) = (at.clone(), base);
        }
        commit.state.clear();
    }
    store.append(&group).unwrap();
    store
}

fn elsewhere() -> TopicPartition {
    let topic = headland_event::TopicName::new("elsewhere").unwrap();
    TopicPartition::new(topic, headland_event::PartitionIndex::new(0))
}

fn files(disk: &MemoryDisk, suffix: &str) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(suffix)).collect()
}

fn flip(disk: &MemoryDisk, name: &str, at: usize) {
    disk.flip_bit(name, byte_count(at), u8::try_from(at % 8).unwrap());
}

fn byte_count(bytes: usize) -> ByteCount {
    ByteCount::new(u64::try_from(bytes).unwrap())
}

/// What the model holds of a partition.
fn held<'a>(model: &'a Model, at: &'a TopicPartition) -> impl Iterator<Item = &'a Entry> {
    let entries = model.commits.iter().flat_map(|commit| &commit.entries);
    entries.filter(move |(partition, _)| partition == at).map(|(_, entry)| entry)
}

/// All that a reader gets of a partition by going on behind what is quarantined.
fn follow(store: &MemoryStore, at: &TopicPartition) -> (Vec<Entry>, Vec<Range<Offset>>) {
    let (mut next, mut entries, mut lost) = (Offset::new(0), Vec::new(), Vec::new());
    let reader = store.reader();
    while next < reader.end(at) {
        match reader.read(at, next, PLENTY) {
            Ok(read) => {
                next = read.last().unwrap_or_else(|| panic!("{at} skips {next}")).end();
                entries.extend(read);
            }
            Err(ReadError::Quarantined { from, until, .. }) => {
                lost.push(from..until);
                next = until;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (entries, lost)
}

/// The entries of the model that a store has lost.
fn lost(store: &MemoryStore, model: &Model) -> Vec<Refill> {
    let mut found = Vec::new();
    for at in (0..2).map(partition) {
        let (entries, lost) = follow(store, &at);
        let is_lost = |entry: &&Entry| lost.iter().any(|lost| lost.contains(&entry.base));
        let bases: Vec<u64> = entries.iter().map(|entry| entry.base.get()).collect();
        let expected = held(model, &at).filter(|entry| !is_lost(entry));
        let all: Vec<_> = held(model, &at).map(|e| (e.base.get(), e.end().get())).collect();
        assert!(entries.iter().eq(expected), "{at} shows {bases:?}, lost are {lost:?} {all:?}");
        let entries = held(model, &at).filter(is_lost).cloned();
        found.extend(entries.map(|entry| Refill { partition: at.clone(), entry }));
    }
    found
}

/// Hands entries in, and has the store see to them.
fn refill(store: &mut MemoryStore, refills: &[Refill]) -> Vec<Refilled> {
    store.mark_state().unwrap();
    refills.iter().for_each(|refill| store.refill(refill.clone()));
    clean(store)
}

fn clean(store: &mut MemoryStore) -> Vec<Refilled> {
    let mut refilled = Vec::new();
    loop {
        let now = EventTime::from_millis(0);
        let report = store.clean(&CleanPolicy::default(), now, ByteCount::new(300)).unwrap();
        refilled.extend(report.refilled);
        if report.is_done {
            return refilled;
        }
    }
}

fn values(store: &MemoryStore) -> Result<Vec<(bytes::Bytes, bytes::Bytes)>, StateError> {
    store.scan(&owner(), b"")
}

#[test]
fn after_a_flipped_bit_the_entry_that_it_cost_is_read_at_its_offset_again() {
    let (disk, model) = written();
    let names = files(&disk, ".journal");
    assert!(names.len() > 2, "{names:?}");
    let mut mended = 0;
    for name in &names {
        // A bit in every fifth byte: each costs a store that is written, opened and mended.
        for at in (0..disk.content(name).unwrap().len()).step_by(5) {
            let disk = written().0;
            flip(&disk, name, at);
            let mut store = reopened(&disk, 2, &elsewhere());
            let (lost_before, life) = (lost(&store, &model), store.incarnation());
            let (state, records) = (values(&store), store.lost_state());

            let refilled = refill(&mut store, &lost_before);

            assert_eq!(refilled.len(), lost_before.len(), "{name} at {at}");
            assert!(refilled.iter().all(|one| one.result.is_ok()), "{name} at {at}: {refilled:?}");
            assert_eq!(lost(&store, &model), [], "{name} at {at}");
            assert_eq!(format!("{:?}", values(&store)), format!("{state:?}"));
            drop(store);
            disk.crash(Survival::Nothing);
            let store = open(&disk, 3).unwrap();
            assert_eq!(lost(&store, &model), [], "{name} at {at}");
            assert_eq!((store.incarnation(), store.lost_state()), (life, records));
            mended += refilled.len();
        }
    }
    assert!(mended > 100, "a flipped bit in an entry costs it: {mended}");
}

/// A store of which entries of one closed file are damaged, and the two of partition 1 among them.
fn hurt() -> (MemoryDisk, Model, Vec<Refill>) {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let options = headland_storage::OpenOptions {
        file_bytes: ByteCount::new(4_000),
        reserve_bytes: ByteCount::new(0),
        ..headland_storage::OpenOptions::new(1)
    };
    let mut store = MemoryStore::open(&disk, options).unwrap();
    append(&mut store, &mut model, 9, 1);
    store.close().unwrap();
    drop(reopened(&disk, 2, &elsewhere()));
    disk.crash(Survival::Everything);
    let name = files(&disk, ".journal").remove(0);
    let content = disk.content(&name).unwrap();
    let found = content.windows(4).enumerate().filter(|(_, bytes)| *bytes == b"\x03air");
    let parts: Vec<usize> = found.map(|(at, _)| at).collect();
    for nth in [2, 4] {
        flip(&disk, &name, parts.get(nth).unwrap() + 60);
    }
    let store = open(&disk, 3).unwrap();
    let gone = lost(&store, &model);
    assert_eq!(gone.len(), 2, "{gone:?}");
    (disk, model, gone)
}

#[test]
fn what_does_not_come_back_stays_lost_and_can_come_back_later() {
    let (disk, model, gone) = hurt();
    let mut store = open(&disk, 4).unwrap();

    let first = refill(&mut store, &gone[..1]);
    let left = lost(&store, &model);
    drop(store);
    disk.crash(Survival::Nothing);
    let mut store = open(&disk, 5).unwrap();
    let left_after = lost(&store, &model);
    let second = refill(&mut store, &gone[1..]);

    assert_eq!((first.len(), first[0].result), (1, Ok(())));
    assert_eq!((left.as_slice(), left_after.as_slice()), (&gone[1..], &gone[1..]));
    assert_eq!((second.len(), second[0].result), (1, Ok(())));
    assert_eq!(lost(&store, &model), []);
    drop(store);
    assert_eq!(verify(&disk.attach()).unwrap().damage, []);
    assert_eq!(lost(&open(&disk, 6).unwrap(), &model), []);
}

#[test]
fn an_entry_is_refused_where_nothing_is_lost_and_where_it_does_not_fit() {
    let (disk, model, gone) = hurt();
    let mut store = open(&disk, 4).unwrap();
    let names = files(&disk, ".journal");
    let whole = held(&model, &partition(0)).next().unwrap().clone();
    let end = store.reader().end(&partition(0));
    let other = |base: Offset| Refill {
        partition: gone[0].partition.clone(),
        entry: Entry { base, ..gone[0].entry.clone() },
    };
    let beside = other(Offset::new(gone[0].entry.base.get() - 1));
    let refills = [
        Refill { partition: partition(0), entry: whole.clone() },
        Refill { partition: partition(0), entry: Entry { base: end, ..whole.clone() } },
        Refill { partition: partition(7), entry: whole },
        beside,
    ];

    let refused = refill(&mut store, &refills);

    let results: Vec<_> = refused.iter().map(|refused| refused.result).collect();
    let [first, rest @ ..] = results.as_slice() else { panic!("nothing was refused") };
    assert_eq!(*first, Err(RefillRefused::Intact));
    assert_eq!(rest, [Err(RefillRefused::NotLost); 3]);
    assert_eq!(lost(&store, &model), gone);
    assert_eq!((files(&disk, ".journal"), files(&disk, ".cold")), (names, Vec::new()));
}

/// What became of entries, and how many bytes were written for them.
fn refill_counted(store: &mut MemoryStore, refills: &[Refill]) -> (Vec<Refilled>, u64) {
    store.mark_state().unwrap();
    refills.iter().for_each(|refill| store.refill(refill.clone()));
    let (mut refilled, mut written) = (Vec::new(), 0);
    loop {
        let now = EventTime::from_millis(0);
        let report = store.clean(&CleanPolicy::default(), now, ByteCount::new(300)).unwrap();
        refilled.extend(report.refilled);
        written += report.written.get();
        if report.is_done {
            return (refilled, written);
        }
    }
}

fn results(refilled: &[Refilled]) -> Vec<Result<(), RefillRefused>> {
    refilled.iter().map(|one| one.result).collect()
}

#[test]
fn nothing_is_written_for_an_entry_that_can_be_read() {
    let (disk, model) = written();
    let mut store = reopened(&disk, 2, &elsewhere());
    let whole = held(&model, &partition(0)).next().unwrap().clone();
    // What cleaning merges by itself is merged before.
    let (none, _) = refill_counted(&mut store, &[]);
    assert_eq!(none, []);

    let (refused, written) =
        refill_counted(&mut store, &[Refill { partition: partition(0), entry: whole }]);

    assert_eq!(results(&refused), [Err(RefillRefused::Intact)]);
    assert_eq!(written, 0);
}

#[test]
fn an_entry_that_is_not_what_stood_there_is_refused_and_the_right_one_taken_later() {
    let (disk, model, gone) = hurt();
    let mut store = open(&disk, 4).unwrap();
    let Refill { partition, entry } = gone[0].clone();
    let records = entry.batch.records().unwrap().into_iter();
    let another: Vec<_> =
        records.map(|of| headland_event::Record { value: Some("another".into()), ..of }).collect();
    let batch = headland_event::Batch::encode(&another).unwrap();
    assert_eq!(batch.span(), entry.batch.span(), "it fits the place");
    let lie = Refill { partition, entry: Entry { batch, ..entry } };

    let refused = refill(&mut store, &[lie]);
    let left = lost(&store, &model);
    let taken = refill(&mut store, &gone);

    assert_eq!(results(&refused), [Err(RefillRefused::Differs)]);
    assert_eq!(left, gone);
    assert_eq!(results(&taken), [Ok(()); 2]);
    assert_eq!(lost(&store, &model), []);
}

#[test]
fn a_second_entry_for_offsets_that_one_waits_for_is_refused_by_name() {
    let (disk, model, gone) = hurt();
    let mut store = open(&disk, 4).unwrap();

    let refilled = refill(&mut store, &[gone[0].clone(), gone[0].clone(), gone[1].clone()]);

    assert_eq!(results(&refilled), [Err(RefillRefused::Waiting), Ok(()), Ok(())]);
    assert_eq!(lost(&store, &model), []);
}

#[test]
fn what_a_file_lost_that_is_still_written_to_is_refused_and_keeps_no_room() {
    let (disk, mut model) = (MemoryDisk::new(1), Model::default());
    let options =
        headland_storage::OpenOptions { reserve_bytes: ByteCount::new(0), ..big_files(1) };
    let mut store = MemoryStore::open(&disk, options).unwrap();
    append(&mut store, &mut model, 9, 1);
    store.seal().unwrap();
    let name = files(&disk, ".journal").remove(0);
    let content = disk.content(&name).unwrap();
    let entry = content.windows(4).position(|bytes| bytes == b"\x03air").unwrap();
    flip(&disk, &name, entry + 60);
    let gone = lost(&store, &model);

    let refused = refill(&mut store, &gone);

    assert_eq!(results(&refused), [Err(RefillRefused::Open)]);
}

fn big_files(nonce: u64) -> headland_storage::OpenOptions {
    let file_bytes = ByteCount::mebibytes(16);
    headland_storage::OpenOptions { file_bytes, ..headland_storage::OpenOptions::new(nonce) }
}

#[test]
fn a_step_over_a_file_of_zeros_reads_a_mebibyte_or_two() {
    let disk = MemoryDisk::new(1);
    let mut store = MemoryStore::open(&disk, big_files(1)).unwrap();
    let mut group = Model::default().group(8, 1);
    for (base, commit) in (0..).zip(&mut group) {
        let value = vec![u8::try_from(base).unwrap(); 900_000];
        let time = EventTime::from_millis(1);
        let record = headland_event::Record::new(time, "k", value);
        commit.entries.truncate(1);
        commit.state.clear();
        for (at, entry) in &mut commit.entries {
            (*at, entry.base) = (partition(0), Offset::new(base));
            entry.batch = headland_event::Batch::encode(std::slice::from_ref(&record)).unwrap();
        }
    }
    group.retain(|commit| !commit.entries.is_empty());
    for commit in &group {
        store.append(std::slice::from_ref(commit)).unwrap();
    }
    store.close().unwrap();
    drop(reopened(&disk, 2, &elsewhere()));
    let name = files(&disk, ".journal").remove(0);
    let mut content = disk.content(&name).unwrap().to_vec();
    let (from, until) = (1_000_000, content.len() - 1_000_000);
    assert!(until - from > 4 << 20, "the file is large");
    content.get_mut(from..until).unwrap().fill(0);
    disk.set_content(&name, &content);
    let mut store = reopened(&disk, 3, &elsewhere());
    store.mark_state().unwrap();
    let (_, entry) = group[3].entries[0].clone();
    store.refill(Refill { partition: partition(0), entry });

    let (mut refilled, mut most) = (Vec::new(), 0);
    for _ in 0..1_000 {
        let now = EventTime::from_millis(0);
        let report = store.clean(&CleanPolicy::default(), now, ByteCount::new(1)).unwrap();
        most = most.max(report.read.get());
        refilled.extend(report.refilled);
        if report.is_done {
            break;
        }
    }

    assert_eq!(refilled.len(), 1);
    assert!(most <= 5 << 19, "{most} bytes in a step");
}

/// A store that runs, whose first file has lost entries and changes of state that only the cache
/// still has: one of each, or all; and what it holds.
fn hurt_at_rest(is_all: bool) -> (MemoryDisk, MemoryStore, Model) {
    let (disk, mut model) = written();
    let mut store = reopened(&disk, 2, &elsewhere());
    append(&mut store, &mut model, 1, 5);
    store.mark_state().unwrap();
    let name = files(&disk, ".journal").remove(0);
    let content = disk.content(&name).unwrap();
    if is_all {
        (0..content.len()).for_each(|at| flip(&disk, &name, at));
    } else {
        let entry = content.windows(4).position(|bytes| bytes == b"\x03air").unwrap();
        let change = content.windows(10).position(|bytes| bytes == b"\x09positions").unwrap();
        [entry + 60, change + 12].into_iter().for_each(|at| flip(&disk, &name, at));
    }
    (disk, store, model)
}

/// Cuts a closed file short under a store that runs, and hands in what that lost; `None` where it
/// lost no entries.
fn cut_and_refill(
    (disk, model): (MemoryDisk, Model),
    (name, length): (&str, usize),
) -> Option<Vec<Result<(), RefillRefused>>> {
    let mut store = reopened(&disk, 6, &elsewhere());
    store.mark_state().unwrap();
    let state = values(&store).unwrap();
    disk.cut(name, byte_count(length));
    let gone = lost(&store, &model);
    if gone.is_empty() {
        return None;
    }
    let refilled = results(&refill(&mut store, &gone));
    if refilled.iter().all(Result::is_ok) {
        assert_eq!(lost(&store, &model), []);
        drop(store);
        disk.crash(Survival::Everything);
        let store = open(&disk, 7).unwrap();
        assert_eq!((store.lost_state(), values(&store).unwrap()), (vec![], state), "{length}");
    }
    Some(refilled)
}

#[test]
fn a_file_that_was_cut_short_anywhere_is_whole_again_once_what_it_lost_came_back() {
    let (disk, _) = written();
    let name = files(&disk, ".journal").remove(2);
    let all = disk.content(&name).unwrap().len();
    for length in 0..all {
        let Some(refilled) = cut_and_refill(written(), (&name, length)) else { continue };
        assert_eq!(refilled, vec![Ok(()); refilled.len()], "{length} of {all}");
    }
}

#[test]
fn so_is_one_that_cleaning_wrote() {
    let (disk, _) = mended();
    let name = files(&disk, ".cold").remove(2);
    let all = disk.content(&name).unwrap().len();
    for length in 0..all {
        let Some(refilled) = cut_and_refill(mended(), (&name, length)) else { continue };
        assert_eq!(refilled, vec![Ok(()); refilled.len()], "{length} of {all}");
    }
}

#[test]
fn what_only_the_cache_has_of_a_damaged_file_is_set_anew_before_that_is_written_anew() {
    for is_all in [false, true] {
        let (disk, mut store, model) = hurt_at_rest(is_all);
        let (gone, state) = (lost(&store, &model), values(&store).unwrap());
        assert!(!gone.is_empty() && !state.is_empty());

        let refilled = refill(&mut store, &gone);

        assert_eq!(results(&refilled), vec![Ok(()); gone.len()], "{is_all}");
        assert_eq!(lost(&store, &model), []);
        drop(store);
        // The cache of a store in memory is made anew by each opening.
        disk.crash(Survival::Everything);
        let store = open(&disk, 4).unwrap();
        assert_eq!((store.lost_state(), values(&store).unwrap()), (vec![], state), "{is_all}");
        assert_eq!(lost(&store, &model), []);
    }
}

#[test]
fn a_crash_while_state_is_set_anew_leaves_it_whole_or_names_it_as_lost() {
    let (mut named, mut whole) = (0, 0);
    for budget in (0..20_000).step_by(97) {
        let (disk, mut store, model) = hurt_at_rest(budget % 2 == 0);
        let (gone, state) = (lost(&store, &model), values(&store).unwrap());
        gone.iter().for_each(|refill| store.refill(refill.clone()));
        disk.cut_power_after(ByteCount::new(budget));
        for _ in 0..4 {
            let report = store.clean(&CleanPolicy::default(), EventTime::from_millis(0), PLENTY);
            if report.is_err() {
                break;
            }
        }
        drop(store);
        disk.crash(if budget % 4 < 2 { Survival::Seeded } else { Survival::Nothing });

        let mut store = open(&disk, 5).unwrap_or_else(|error| panic!("{budget}: {error}"));

        if store.lost_state().is_empty() {
            assert_eq!(values(&store).unwrap(), state, "{budget}");
            whole += 1;
        } else {
            assert!(values(&store).is_err(), "{budget}");
            named += 1;
        }
        let left = lost(&store, &model);
        refill(&mut store, &left);
        assert_eq!(lost(&store, &model), [], "{budget}");
    }
    assert!(named > 0 && whole > 0, "{named} {whole}");
}

#[test]
fn a_file_waits_until_no_operator_replays_it_and_the_state_is_marked_for_it() {
    let (disk, mut model, gone) = hurt();
    let mut store = open(&disk, 4).unwrap();
    gone.iter().for_each(|refill| store.refill(refill.clone()));
    let policy = CleanPolicy { operators: vec![owner()], ..CleanPolicy::default() };
    let clean = |store: &mut MemoryStore| {
        store.clean(&policy, EventTime::from_millis(0), PLENTY).unwrap().refilled
    };

    let before = clean(&mut store);
    let lost_before = lost(&store, &model).len();
    for _ in 0..2 {
        append(&mut store, &mut model, 1, 5);
        let last = store.reader().last_commit();
        store.snapshots().save(&owner(), last, b"state").unwrap();
    }
    let after = clean(&mut store);

    assert_eq!((before.len(), lost_before), (0, 2));
    assert_eq!(after.iter().filter(|one| one.result.is_ok()).count(), 2);
    assert_eq!(lost(&store, &model), []);
}

#[test]
fn a_crash_at_any_byte_leaves_the_damaged_file_or_the_mended_one() {
    let (mut finished, mut mended) = (false, 0);
    for budget in (0..).step_by(13) {
        let (disk, model, gone) = hurt();
        let mut store = open(&disk, 4).unwrap();
        store.mark_state().unwrap();
        gone.iter().for_each(|refill| store.refill(refill.clone()));
        disk.cut_power_after(ByteCount::new(budget));
        let report = store.clean(&CleanPolicy::default(), EventTime::from_millis(0), PLENTY);
        let is_done = report.is_ok_and(|report| report.refilled.iter().all(|r| r.result.is_ok()));
        drop(store);
        disk.crash(if budget % 2 == 0 { Survival::Seeded } else { Survival::Nothing });

        let mut store = open(&disk, 5).unwrap_or_else(|error| panic!("{budget}: {error}"));
        let left = lost(&store, &model);
        assert!(left == gone || left.is_empty(), "{budget}: {left:?}");
        assert!(!is_done || left.is_empty(), "{budget}: what was said to be mended is");
        mended += usize::from(left.is_empty());
        refill(&mut store, &left);
        assert_eq!(lost(&store, &model), [], "{budget}");

        if is_done {
            finished = true;
            break;
        }
    }
    assert!(finished && mended > 1, "a crash behind the chain keeps the mended file: {mended}");
}

/// A store of cold files that follow each other, of which nothing is lost, and what it holds.
fn mended() -> (MemoryDisk, Model) {
    let (disk, model) = written();
    for name in files(&disk, ".journal") {
        let first = parts(&disk.content(&name).unwrap()).next().unwrap();
        flip(&disk, &name, first + 60);
    }
    let mut store = reopened(&disk, 2, &elsewhere());
    let gone = lost(&store, &model);
    refill(&mut store, &gone);
    assert_eq!(lost(&store, &model), []);
    store.close().unwrap();
    disk.crash(Survival::Everything);
    (disk, model)
}

/// Where the parts of entries begin in a file, before its directory.
fn parts(content: &[u8]) -> impl Iterator<Item = usize> {
    let until = content.windows(7).position(|bytes| bytes == b"HLDINDX").unwrap_or(content.len());
    let found = content.windows(4).enumerate().take(until);
    found.filter(|(_, bytes)| *bytes == b"\x03air").map(|(at, _)| at)
}

#[test]
fn an_entry_that_is_lost_with_the_points_that_lead_to_it_is_named() {
    let cold = files(&mended().0, ".cold");
    assert!(cold.len() > 1, "{cold:?}");
    let mut tried = 0;
    for name in &cold {
        let content = mended().0.content(name).unwrap();
        let directory = content.windows(7).position(|bytes| bytes == b"HLDINDX").unwrap();
        for part in parts(&content) {
            for at in (directory..content.len()).step_by(11) {
                let (disk, model) = mended();
                flip(&disk, name, part + 60);
                flip(&disk, name, at);
                let mut store = open(&disk, 9).unwrap();

                let gone = lost(&store, &model);

                assert!(!gone.is_empty(), "{name}: {part} and {at}");
                refill(&mut store, &gone);
                assert_eq!(lost(&store, &model), [], "{name}: {part} and {at}");
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "{tried}");
}

#[test]
fn what_is_refused_of_one_file_does_not_keep_what_waits_for_another() {
    let (disk, model) = written();
    let (first, last) = {
        let names = files(&disk, ".journal");
        (names.first().cloned().unwrap(), names.iter().nth_back(1).cloned().unwrap())
    };
    flip(&disk, &last, parts(&disk.content(&last).unwrap()).next().unwrap() + 60);
    let mut store = reopened(&disk, 2, &elsewhere());
    let gone = lost(&store, &model);
    let entry = held(&model, &partition(1)).next().unwrap().clone();
    let intact = Refill { partition: partition(1), entry };

    let refilled = refill(&mut store, &[vec![intact], gone.clone()].concat());

    assert!(first < last && gone.len() == 1, "{first} {last} {gone:?}");
    assert_eq!(results(&refilled), [Err(RefillRefused::Intact), Ok(())]);
}

#[test]
fn a_reader_that_began_before_goes_on_and_one_that_waits_behind_sees_the_same_end() {
    let (disk, model, gone) = hurt();
    let mut store = open(&disk, 4).unwrap();
    let (reader, at) = (store.reader(), gone[0].partition.clone());
    let end = reader.end(&at);

    refill(&mut store, &gone);

    let read = reader.read(&at, Offset::new(0), PLENTY).unwrap();
    assert!(read.iter().eq(held(&model, &at)));
    assert_eq!(reader.end(&at), end);
}

/// What happens to a store.
#[derive(Debug, Clone)]
enum Step {
    Append {
        count: u64,
        salt: u64,
    },
    /// Bytes of a closed file are zeroed while the store is closed.
    Zero {
        file: usize,
        at: usize,
        length: usize,
    },
    /// A closed file is cut short, while the store is closed or runs.
    Cut {
        file: usize,
        at: usize,
        runs: bool,
    },
    /// A bit flips under the running store.
    Flip {
        file: usize,
        at: usize,
    },
    /// Of what is lost, some comes back.
    Refill {
        every: usize,
    },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..4_u64, 0..9_u64).prop_map(|(count, salt)| Step::Append { count, salt }),
        2 => (0..9_usize, 76..900_usize, 1..300_usize)
            .prop_map(|(file, at, length)| Step::Zero { file, at, length }),
        2 => (0..9_usize, 76..900_usize).prop_map(|(file, at)| Step::Flip { file, at }),
        1 => (0..9_usize, 0..900_usize, any::<bool>())
            .prop_map(|(file, at, runs)| Step::Cut { file, at, runs }),
        3 => (1..3_usize).prop_map(|every| Step::Refill { every }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..24)
}

/// Closed files, which never change but by being replaced.
fn closed(disk: &MemoryDisk) -> Vec<String> {
    let mut names: Vec<String> =
        [files(disk, ".journal"), files(disk, ".cold")].into_iter().flatten().collect();
    names.sort();
    let newest = files(disk, ".journal").pop();
    names.retain(|name| Some(name) != newest.as_ref());
    names
}

/// A store that runs, and what it has to hold.
struct Run {
    disk: MemoryDisk,
    nonce: u64,
    store: MemoryStore,
    model: Model,
}

impl Run {
    fn new() -> Self {
        let (disk, nonce) = (MemoryDisk::new(7), 1);
        let store = open(&disk, nonce).unwrap();
        Self { disk, nonce, store, model: Model::default() }
    }

    fn append(&mut self, count: u64, salt: u64) {
        let mut group = self.model.group(count, salt);
        // Offsets that were given up are never given again.
        for at in (0..2).map(partition) {
            let mut end = self.store.reader().end(&at);
            let own = group.iter_mut().flat_map(|commit| &mut commit.entries);
            for (_, entry) in own.filter(|(partition, _)| *partition == at) {
                entry.base = end;
                end = entry.end();
            }
        }
        self.store.append(&group).unwrap();
        self.model.commits.extend(group);
    }

    fn reopen(&mut self) {
        self.disk.crash(Survival::Everything);
        self.nonce += 1;
        self.store = open(&self.disk, self.nonce).unwrap();
    }

    /// A closed file; of each partition something stands in a later one, since of one that lost
    /// all it had nothing is known.
    fn file(&mut self, nth: usize) -> Option<String> {
        let names = closed(&self.disk);
        self.append(2, 0);
        self.store.seal().unwrap();
        names.get(nth % names.len().max(1)).cloned()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { count, salt } => self.append(count, salt),
            Step::Zero { file, at, length } => {
                let Some(name) = self.file(file) else { return };
                let mut content = self.disk.content(&name).unwrap().to_vec();
                let until = (at + length).min(content.len());
                content.get_mut(at.min(until)..until).unwrap().fill(0);
                self.disk.set_content(&name, &content);
                self.reopen();
            }
            Step::Cut { file, at, runs } => {
                let Some(name) = self.file(file) else { return };
                let there = self.disk.content(&name).unwrap().len();
                self.disk.cut(&name, ByteCount::new(at.min(there) as u64));
                if !runs {
                    self.reopen();
                }
            }
            Step::Flip { file, at } => {
                let Some(name) = self.file(file) else { return };
                if at < self.disk.content(&name).unwrap().len() {
                    flip(&self.disk, &name, at);
                }
            }
            Step::Refill { every } => {
                let some: Vec<_> =
                    lost(&self.store, &self.model).into_iter().step_by(every).collect();
                let refilled = refill(&mut self.store, &some);
                let left = lost(&self.store, &self.model);
                for Refilled { partition, from, result, .. } in refilled {
                    let is_lost = left
                        .iter()
                        .any(|lost| lost.partition == partition && lost.entry.base == from);
                    assert_eq!(is_lost, result.is_err(), "{partition} {from}: {result:?}");
                }
            }
            Step::Reopen => self.reopen(),
        }
    }

    /// Whatever is not there is named, and no value is an older one.
    fn check(&self) {
        drop(lost(&self.store, &self.model));
        for (key, value) in &self.model.newest() {
            match self.store.get(&owner(), key) {
                Ok(found) => assert_eq!(found, *value, "{key:?}"),
                Err(StateError::Lost { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn whatever_is_damaged_and_comes_back_readers_get_what_was_written_or_are_told_what_is_lost(
        steps in steps(),
    ) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
            run.check();
        }
    }
}
