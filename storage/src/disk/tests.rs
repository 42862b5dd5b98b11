//! The disk backend on real files. What a crash may leave is tested in memory, over the same code.

use std::error::Error;
use std::path::Path;

use bytes::Bytes;
use headland_event::{
    Batch, ByteCount, CommitNumber, EventTime, PartitionIndex, Random, Record, SeededRandom,
    TopicName, TopicPartition,
};

use super::{DiskStore, block, contained};
use crate::commit::{Commit, StateChange, StateOwner};
use crate::composer::Composer;
use crate::conformance::{self, Backend, Checked};
use crate::fault::OpenError;
use crate::log::{AppendError, LogStore};
use crate::place::OnCopy;
use crate::refill::Refill;
use crate::state::{StateError, StateMarks, StateStore};
use crate::store::OpenOptions;
use crate::{CleanPolicy, Cleaning};

struct Directory {
    directory: tempfile::TempDir,
    opened: u64,
}

impl Directory {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), opened: 0 }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Backend for Directory {
    type Store = DiskStore;

    fn open(&mut self) -> Result<DiskStore, Box<dyn Error>> {
        self.opened += 1;
        Ok(DiskStore::open(self.path(), options(self.opened))?)
    }
}

fn options(nonce: u64) -> OpenOptions {
    let small = ByteCount::new(256 << 10);
    OpenOptions { file_bytes: small, reserve_bytes: small, ..OpenOptions::new(nonce) }
}

fn set(key: &'static str, value: &'static str) -> Commit {
    let (key, value) = (Bytes::from(key), Some(Bytes::from(value)));
    let owner = StateOwner::new("positions").unwrap();
    Commit { entries: Vec::new(), state: vec![StateChange { owner, key, value }] }
}

fn get(store: &DiskStore, key: &str) -> Option<Bytes> {
    store.get(&StateOwner::new("positions").unwrap(), key.as_bytes()).unwrap()
}

#[test]
fn the_disk_passes_the_conformance_suite() -> Checked {
    conformance::check(Directory::new)
}

#[test]
fn a_directory_in_use_is_refused_by_name_and_free_after_a_drop() {
    let mut directory = Directory::new();
    let store = directory.open().unwrap();

    let refused = DiskStore::open(directory.path(), options(9)).unwrap_err();
    drop(store);

    let OpenError::Locked { directory: named } = refused else { panic!("{refused}") };
    assert_eq!(named, directory.path().display().to_string());
    assert_eq!(directory.open().unwrap().last_commit(), CommitNumber::new(0));
}

#[test]
fn a_copied_directory_goes_on_as_another_life_with_all_it_had_and_a_moved_one_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let [first, moved, copied] = ["first", "moved", "copied"].map(|name| folder.path().join(name));
    let open = |directory: &Path, nonce: u64| {
        DiskStore::open(directory, OpenOptions { on_copy: OnCopy::NewLife, ..options(nonce) })
    };
    let mut store = open(&first, 1).unwrap();
    store.append(&[set("k", "v")]).unwrap();
    let life = store.incarnation();
    store.close().unwrap();
    std::fs::create_dir(&copied).unwrap();
    for file in std::fs::read_dir(&first).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), copied.join(file.file_name())).unwrap();
        }
    }
    std::fs::rename(&first, &moved).unwrap();

    let lives = [(&moved, 2), (&copied, 3), (&copied, 4)].map(|(directory, nonce)| {
        let store = open(directory, nonce).unwrap();
        assert_eq!(get(&store, "k"), Some(Bytes::from("v")));
        store.incarnation()
    });

    assert_eq!(lives[0], life);
    assert_eq!(lives[1].counter(), life.counter() + 1);
    assert_eq!(lives[2], lives[1], "a copy begins one life");
}

#[test]
fn state_is_rebuilt_after_its_directory_was_deleted() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "1"), set("b", "2"), set("a", "3")]).unwrap();
    store.close().unwrap();
    std::fs::remove_dir_all(directory.path().join("state")).unwrap();

    let store = directory.open().unwrap();

    assert_eq!(get(&store, "a").as_deref(), Some(&b"3"[..]));
    assert_eq!(get(&store, "b").as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_closed_store_has_nothing_to_replay_in_doubt_or_cut_off() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "1")]).unwrap();
    store.close().unwrap();

    let store = directory.open().unwrap();

    let report = store.report();
    assert_eq!((report.replayed, report.in_doubt, report.tails.len()), (0, 0, 0));
    assert_eq!(report.last_commit, CommitNumber::new(1));
    assert_eq!(get(&store, "a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn after_a_mark_only_later_commits_are_replayed() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "1"), set("b", "2")]).unwrap();
    store.mark_state().unwrap();
    store.append(&[set("b", "3")]).unwrap();
    drop(store);

    let store = directory.open().unwrap();

    assert_eq!(store.report().replayed, 1);
    assert_eq!(get(&store, "a").as_deref(), Some(&b"1"[..]));
    assert_eq!(get(&store, "b").as_deref(), Some(&b"3"[..]));
}

#[test]
fn a_value_larger_than_a_segment_of_the_cache_survives_a_mark() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    let value = Some(Bytes::from(vec![7; 1 << 20]));
    let mut large = set("a", "");
    large.state[0].value = value.clone();
    store.append(&[large]).unwrap();
    store.close().unwrap();

    let store = directory.open().unwrap();

    assert_eq!(store.report().replayed, 0);
    assert_eq!(get(&store, "a"), value);
}

#[test]
fn a_damaged_marker_costs_a_rebuild_and_nothing_else() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "1")]).unwrap();
    store.close().unwrap();
    std::fs::write(directory.path().join("state.mark"), b"nonsense").unwrap();

    let store = directory.open().unwrap();

    assert_eq!(store.report().replayed, 1);
    assert_eq!(get(&store, "a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_closed_file_takes_no_more_room_than_it_needs() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "1")]).unwrap();
    let file = directory.path().join("0000000001.journal");
    let allocated = std::fs::metadata(&file).unwrap().len();

    store.close().unwrap();

    assert_eq!(allocated, 256 << 10);
    // File header, two frames of an empty chain, one of 56 + 8 + 10 + 5 + 1 + 5 bytes, a seal.
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 76 + 2 * 72 + 85 + 56);
}

/// Keys enough for several pages of sled, some of them deleted.
fn fill(store: &mut DiskStore) {
    for round in 0..3_u8 {
        let changes = (0..200_u8).map(|key| {
            let deletes = round == 2 && key.is_multiple_of(7);
            let value = (!deletes).then(|| Bytes::from(vec![round; 40]));
            let owner = StateOwner::new("positions").unwrap();
            StateChange { owner, key: Bytes::from(vec![key]), value }
        });
        let commit = Commit { entries: Vec::new(), state: changes.collect() };
        store.append(&[commit]).unwrap();
        store.mark_state().unwrap();
    }
}

fn everything(store: &DiskStore) -> Vec<(Bytes, Bytes)> {
    store.scan(&StateOwner::new("positions").unwrap(), b"").unwrap()
}

fn sled_files(path: &Path) -> Vec<std::path::PathBuf> {
    let found = std::fs::read_dir(path.join("state")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = found.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// One file of sled's after another is damaged by a flip, a cut or zeros, at seeded places.
#[test]
fn whatever_is_damaged_in_sleds_files_the_state_read_is_the_one_written() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    fill(&mut store);
    let expected = everything(&store);
    store.close().unwrap();
    let files = sled_files(directory.path()).len();
    let random = &mut SeededRandom::new(7);

    for round in 0..24 * files {
        let file = &sled_files(directory.path())[round % files];
        let mut content = std::fs::read(file).unwrap();
        let at = usize::try_from(random.below(u64::try_from(content.len()).unwrap())).unwrap();
        match round / files % 3 {
            0 => content[at] ^= 1 << random.below(8),
            1 => content.truncate(at),
            _ => content[at..].iter_mut().take(4_096).for_each(|byte| *byte = 0),
        }
        std::fs::write(file, content).unwrap();

        let store = directory.open().unwrap();
        assert_eq!(everything(&store), expected, "round {round}, {} at {at}", file.display());
        store.close().unwrap();
    }
}

#[test]
fn a_cache_put_back_from_an_earlier_mark_is_rebuilt() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "1")]).unwrap();
    store.close().unwrap();
    let copy = directory.path().join("copy");
    std::fs::rename(directory.path().join("state"), &copy).unwrap();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "2")]).unwrap();
    store.close().unwrap();
    std::fs::remove_dir_all(directory.path().join("state")).unwrap();
    std::fs::rename(copy, directory.path().join("state")).unwrap();

    let store = directory.open().unwrap();

    assert_eq!(get(&store, "a").as_deref(), Some(&b"2"[..]));
    assert_eq!(store.report().replayed, 2);
}

/// A closed store with more state than opening reads, and a value by which its bytes are known.
fn large(directory: &mut Directory) -> (StateOwner, Bytes) {
    let owner = StateOwner::new("large").unwrap();
    let known = Bytes::from(vec![b'!'; 450]);
    let mut store = directory.open().unwrap();
    for first in (0..5_000_u32).step_by(500) {
        let value = |number| if number == 2_500 { known.clone() } else { vec![7; 450].into() };
        let set = |number: u32| StateChange {
            owner: owner.clone(),
            key: Bytes::copy_from_slice(&number.to_be_bytes()),
            value: Some(value(number)),
        };
        let state = (first..first + 500).map(set).collect();
        store.append(&[Commit { entries: Vec::new(), state }]).unwrap();
    }
    store.append(&[set("a", "1")]).unwrap();
    store.close().unwrap();
    // From here on sled opens by its own snapshot and does not read its log whole.
    directory.open().unwrap().close().unwrap();
    (owner, known)
}

/// Damages every copy of some bytes in sled's log.
fn damage_state(path: &Path, what: &[u8]) {
    let log = path.join("state").join("db");
    let mut content = std::fs::read(&log).unwrap();
    let mut from = 0;
    while let Some(at) = content[from..].windows(what.len()).position(|bytes| bytes == what) {
        content[from + at] ^= 1;
        from += at + what.len();
    }
    assert!(from > 0, "they are there");
    std::fs::write(log, content).unwrap();
}

/// A store with damage to a large owner's state that its opening did not meet. Now and then sled
/// writes a page again between its snapshot and its end, and reads it when it opens: then opening
/// has mended the damage already, which is another test.
fn opened_on_damage() -> (Directory, DiskStore, StateOwner, Bytes) {
    for _ in 0..20 {
        let mut directory = Directory::new();
        let (owner, known) = large(&mut directory);
        damage_state(directory.path(), &known);
        let store = directory.open().unwrap();
        if store.report().replayed == 0 {
            return (directory, store, owner, known);
        }
    }
    panic!("opening reads a large owner's state");
}

#[test]
fn damage_to_a_large_owners_state_is_found_when_it_is_read_and_mended_by_the_next_commit() {
    let (_directory, mut store, owner, known) = opened_on_damage();

    let before = get(&store, "a");
    let refused = store.scan(&owner, b"").unwrap_err();
    store.append(&[set("b", "2")]).unwrap();

    assert_eq!(before.as_deref(), Some(&b"1"[..]));
    assert!(refused.is_retryable(), "{refused}");
    assert_eq!(store.get(&owner, &2_500_u32.to_be_bytes()).unwrap(), Some(known));
    assert_eq!(store.scan(&owner, b"").unwrap().len(), 5_000);
}

#[test]
fn a_page_of_a_scan_does_not_leave_out_damaged_rows_for_newer_ones_that_wait() {
    let (_directory, mut store, owner, _) = opened_on_damage();
    let newer = (4_000..4_010_u32).map(|number| StateChange {
        owner: owner.clone(),
        key: Bytes::copy_from_slice(&number.to_be_bytes()),
        value: Some(vec![8; 450].into()),
    });
    store.append(&[Commit { entries: Vec::new(), state: newer.collect() }]).unwrap();

    let page = store.scan_from(&owner, &2_500_u32.to_be_bytes(), ByteCount::new(1 << 10));

    assert!(matches!(page, Err(StateError::Corrupt { .. } | StateError::Cache { .. })));
}

#[test]
fn damage_that_opening_meets_in_its_replay_is_mended_by_it() {
    let mut directory = Directory::new();
    let (owner, known) = large(&mut directory);
    let mut store = directory.open().unwrap();
    // More than may wait, so that it reaches sled before a mark does, and all around the damage.
    let newer = (2_200..2_800_u32).filter(|number| *number != 2_500).map(|number| StateChange {
        owner: owner.clone(),
        key: Bytes::copy_from_slice(&number.to_be_bytes()),
        value: Some(vec![8; 450].into()),
    });
    store.append(&[Commit { entries: Vec::new(), state: newer.collect() }]).unwrap();
    drop(store);
    damage_state(directory.path(), &known);

    let store = directory.open().unwrap();

    assert_eq!(store.report().replayed, 12);
    assert_eq!(store.get(&owner, &2_500_u32.to_be_bytes()).unwrap(), Some(known));
}

#[test]
fn after_damage_was_found_the_next_opening_rebuilds() {
    let (mut directory, store, owner, known) = opened_on_damage();
    let refused = store.get(&owner, &2_500_u32.to_be_bytes()).unwrap_err();
    drop(store);

    let store = directory.open().unwrap();

    assert!(refused.is_retryable(), "{refused}");
    assert_eq!(store.report().replayed, 11);
    assert_eq!(store.get(&owner, &2_500_u32.to_be_bytes()).unwrap(), Some(known));
}

#[test]
fn a_cache_as_it_was_stored_before_blocks_is_rebuilt() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "1")]).unwrap();
    store.close().unwrap();
    let state = directory.path().join("state");
    std::fs::remove_dir_all(&state).unwrap();
    let sum = |crc: u32| [1, 1, u64::from(crc)].map(u64::to_be_bytes).concat();
    let key = [&b"\x09positions"[..], b"a"].concat();
    let row = block::with_crc(&key, b"\0\0\0\0\0\0\0\x01\x01wrong");
    let totals = block::with_crc(&[0], &sum(block::crc_of(&row)));
    let database = contained::Database::open(&state, ByteCount::mebibytes(1)).unwrap();
    database.run(|sled| sled.insert(key, row)).unwrap();
    database.run(|sled| sled.insert([0], totals)).unwrap();
    drop(database);

    let store = directory.open().unwrap();

    assert_eq!(get(&store, "a").as_deref(), Some(&b"1"[..]));
    assert_eq!(store.report().replayed, 1);
}

#[test]
fn a_deleted_key_is_remembered_across_a_restart_until_it_is_forgotten() {
    let mut directory = Directory::new();
    let owner = StateOwner::new("positions").unwrap();
    let mut store = directory.open().unwrap();
    let mut delete = set("a", "");
    delete.state[0].value = None;
    store.append(&[set("a", "1"), delete]).unwrap();
    store.close().unwrap();

    let mut store = directory.open().unwrap();
    let before = store.newest(&owner, b"a").unwrap();
    store.forget(&owner, b"a", CommitNumber::new(2)).unwrap();

    assert_eq!(before, Some(CommitNumber::new(2)));
    assert_eq!(store.newest(&owner, b"a").unwrap(), None);
    assert_eq!(get(&store, "a"), None);
}

#[test]
fn a_journal_that_was_put_back_starts_a_new_life_and_says_so() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "1")]).unwrap();
    let before = store.incarnation();
    store.close().unwrap();
    let journal = directory.path().join("0000000001.journal");
    let older = std::fs::read(&journal).unwrap();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "2")]).unwrap();
    store.close().unwrap();
    std::fs::remove_file(directory.path().join("0000000002.journal")).unwrap();
    std::fs::write(journal, older).unwrap();

    let store = directory.open().unwrap();

    assert_eq!(store.report().lost, Some(CommitNumber::new(2)));
    assert_eq!(store.incarnation().counter(), before.counter() + 1);
    assert_eq!(get(&store, "a").as_deref(), Some(&b"1"[..]));
}

/// Replaces the first of some bytes in a file by others.
fn damage(path: &Path, what: &[u8]) {
    let mut content = std::fs::read(path).unwrap();
    let at = content.windows(what.len()).position(|bytes| bytes == what).unwrap();
    content[at] ^= 1;
    std::fs::write(path, content).unwrap();
}

/// An entry of the partition `air/0`, at offset 0.
fn entry(value: &'static str) -> Commit {
    use headland_event::{
        Batch, Dot, Entry, EventTime, Incarnation, Offset, PartitionIndex, Record, Sequence,
        StreamId, TopicName, TopicPartition,
    };
    let partition = TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0));
    let (stream, incarnation) = (StreamId::new([7; 16]), Incarnation::new(1, 1));
    let dot = Dot { stream, incarnation, sequence: Sequence::new(1) };
    let batch = Batch::encode(&[Record::new(EventTime::from_millis(0), "k", value)]).unwrap();
    let entry = Entry { base: Offset::new(0), dot, stamp: None, batch };
    Commit { entries: vec![(partition, entry)], state: Vec::new() }
}

#[test]
fn an_intact_cache_goes_on_in_the_new_life_that_a_damaged_newest_file_begins() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "precious"), entry("telemetry")]).unwrap();
    let before = store.incarnation();
    store.close().unwrap();
    let journal = directory.path().join("0000000001.journal");
    damage(&journal, b"precious");
    damage(&journal, b"telemetry");

    let store = directory.open().unwrap();

    assert_eq!(store.incarnation().counter(), before.counter() + 1);
    assert_eq!(get(&store, "a").as_deref(), Some(&b"precious"[..]));
    assert_eq!(store.lost_state(), []);
    drop(store);
    let store = directory.open().unwrap();
    assert_eq!(get(&store, "a").as_deref(), Some(&b"precious"[..]));
}

#[test]
fn a_damaged_identity_begins_a_new_life_and_loses_nothing() {
    let mut directory = Directory::new();
    let mut store = directory.open().unwrap();
    store.append(&[set("a", "1")]).unwrap();
    let before = store.incarnation();
    store.close().unwrap();
    std::fs::write(directory.path().join("identity"), b"nonsense").unwrap();

    let store = directory.open().unwrap();

    assert_eq!(store.incarnation().counter(), before.counter() + 1);
    assert_eq!(store.report().damaged_files, ["identity"]);
    assert_eq!(get(&store, "a").as_deref(), Some(&b"1"[..]));
}

/// Set in the process that the test below starts.
const LIMITED: &str = "HEADLAND_TEST_LIMITED_FILES";

/// Runs itself again in a process whose files may have 64 KiB and that lives on when they would
/// be larger, which is what a quota or a full disk looks like without being root.
#[test]
fn files_that_may_not_grow_refuse_a_group_by_name_until_they_may() -> std::io::Result<()> {
    if std::env::vars_os().any(|(name, _)| name == LIMITED) {
        write_until_the_limit_is_lifted();
        return Ok(());
    }
    let test = "disk::tests::files_that_may_not_grow_refuse_a_group_by_name_until_they_may";
    let limited = format!("trap '' XFSZ; ulimit -S -f 128; exec \"$0\" --exact {test} --nocapture");

    let output = std::process::Command::new("sh")
        .args(["-c", &limited])
        .arg(std::env::current_exe()?)
        .env(LIMITED, "1")
        .output()?;

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn write_until_the_limit_is_lifted() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let directory = Directory::new();
    let reserve_bytes = ByteCount::new(4 << 10);
    let mut store =
        DiskStore::open(directory.path(), OpenOptions { reserve_bytes, ..options(1) }).unwrap();
    let mut large = set("a", "");
    large.state[0].value = Some(Bytes::from(vec![7; 96 << 10]));
    store.append(&[set("b", "2")]).unwrap();

    let refused = store.append(std::slice::from_ref(&large)).unwrap_err();
    let small = store.append(&[set("c", "3")]).unwrap();
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
    let accepted = store.append(&[large]).unwrap();

    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    assert_eq!((small.last.get(), accepted.last.get()), (2, 3));
    store.close().unwrap();
    let store = DiskStore::open(directory.path(), options(2)).unwrap();
    assert_eq!(get(&store, "a").map(|value| value.len()), Some(96 << 10));
    assert_eq!(get(&store, "c").as_deref(), Some(&b"3"[..]));
}

/// Records of a partition, each with a change of state, and a store of which the first file is
/// closed and then emptied; with what was in that.
fn emptied(directory: &mut Directory) -> (DiskStore, Vec<Refill>) {
    let partition = TopicPartition::new(TopicName::new("air").unwrap(), PartitionIndex::new(0));
    let mut first = Vec::new();
    for key in ["a", "b", "c"] {
        let mut store = directory.open().unwrap();
        let mut composer = Composer::new(store.incarnation(), &store.reader(), &store).unwrap();
        let batch = Batch::encode(&[Record::new(EventTime::from_millis(5), "k", "v")]).unwrap();
        composer.born(&partition, None, batch, &mut SeededRandom::new(1));
        let mut commit = composer.take().unwrap().commit;
        commit.state.extend(set(key, "1").state);
        let entry = commit.entries[0].1.clone();
        first.push(Refill { partition: partition.clone(), entry });
        store.append(&[commit]).unwrap();
        store.close().unwrap();
    }
    first.truncate(1);
    let name = sorted_journals(directory.path()).remove(0);
    std::fs::write(name, b"").unwrap();
    (directory.open().unwrap(), first)
}

fn sorted_journals(path: &Path) -> Vec<std::path::PathBuf> {
    let found = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        found.filter(|path| path.extension().is_some_and(|of| of == "journal")).collect();
    files.sort();
    files
}

#[test]
fn a_file_that_was_emptied_is_written_anew_though_only_the_cache_has_its_state() {
    let mut directory = Directory::new();
    let (mut store, gone) = emptied(&mut directory);
    assert_eq!(get(&store, "a").as_deref(), Some(&b"1"[..]));
    store.mark_state().unwrap();

    gone.iter().for_each(|refill| store.refill(refill.clone()));
    let mut refilled = Vec::new();
    for _ in 0..20 {
        let now = EventTime::from_millis(0);
        let report = store.clean(&CleanPolicy::default(), now, ByteCount::mebibytes(4)).unwrap();
        refilled.extend(report.refilled);
    }

    let results: Vec<_> = refilled.iter().map(|refilled| refilled.result).collect();
    assert_eq!(results, [Ok(())]);
    store.close().unwrap();
    std::fs::remove_dir_all(directory.path().join("state")).unwrap();
    let store = directory.open().unwrap();
    assert_eq!(store.lost_state(), []);
    ["a", "b", "c"].iter().for_each(|key| assert!(get(&store, key).is_some(), "{key}"));
}
