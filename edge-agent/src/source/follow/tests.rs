//! A path in memory, and whoever writes, truncates and rotates what stands there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::source::generation::FINGERPRINT_BYTES;

/// Bytes read at once: lines and fingerprints span several reads.
const READ_BYTES: usize = 7;

/// A folder with one path that is followed.
#[derive(Debug, Default)]
struct Folder {
    files: BTreeMap<u64, Vec<u8>>,
    at_path: Option<u64>,
    last: u64,
}

impl Folder {
    fn append(&mut self, text: &str) {
        let inode = *self.at_path.get_or_insert_with(|| {
            self.last += 1;
            self.last
        });
        self.files.entry(inode).or_default().extend_from_slice(text.as_bytes());
    }

    fn truncate(&mut self) {
        if let Some(inode) = self.at_path {
            self.files.insert(inode, Vec::new());
        }
    }

    /// Gives the file another name; the next bytes make a new one.
    fn rename(&mut self) {
        self.at_path = None;
    }
}

/// A path that is followed, and what was read of it.
#[derive(Debug)]
struct Bench {
    folder: Folder,
    follow: Follow,
    open: Option<u64>,
    durable: FilePosition,
    now: Monotonic,
    lines: Vec<String>,
    cut: Vec<String>,
    changes: Vec<Change>,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: Folder::default(),
            follow: Follow::new(FilePosition::default()),
            open: None,
            durable: FilePosition::default(),
            now: Monotonic::default(),
            lines: Vec::new(),
            cut: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Works until time has to pass, then lets it pass.
    fn look(&mut self) {
        let due = self.work();
        self.now = due;
        self.follow.on_timeout(due);
        self.work();
    }

    /// Works until time has to pass; returns how much.
    fn work(&mut self) -> Monotonic {
        loop {
            match self.follow.poll_step() {
                Some(Step::Take(chunk)) => self.take(chunk),
                Some(Step::Report(change)) => self.changes.push(change),
                Some(Step::Open(place)) => {
                    let opened = self.opened(place);
                    self.follow.on_opened(self.now, opened);
                }
                Some(Step::Read(from)) => {
                    let read = self.read(from);
                    self.follow.on_read(self.now, read);
                }
                None => return self.follow.poll_timeout().expect("an answer was given"),
            }
        }
    }

    fn take(&mut self, chunk: Chunk) {
        let text = |line: Line| String::from_utf8(line.bytes.to_vec()).unwrap();
        self.lines.extend(chunk.lines.into_iter().map(text));
        self.cut.extend(chunk.cut.map(text));
        self.durable = chunk.position;
    }

    fn opened(&mut self, place: Place) -> Option<Opened> {
        self.open = match place {
            Place::Path => self.folder.at_path,
            Place::Renamed(generation) => self.folder.files.keys().copied().find(|inode| {
                Some(*inode) != self.folder.at_path
                    && FileId::new(1, *inode).has_inode_of(generation)
            }),
        };
        let inode = self.open?;
        let bytes = &self.folder.files[&inode];
        let position = usize::try_from(self.follow.position().bytes).unwrap();
        let known = position.min(FINGERPRINT_BYTES);
        let part = |from: usize| bytes.iter().skip(from).take(known).copied().collect();
        Some(Opened {
            file: FileId::new(1, inode),
            length: length(bytes),
            head: part(0),
            tail: part(position - known),
        })
    }

    fn read(&self, from: ByteCount) -> Read {
        let bytes = &self.folder.files[&self.open.unwrap()];
        let some = bytes.iter().skip(from.as_len()).take(FINGERPRINT_BYTES + READ_BYTES);
        let at_path = self.folder.at_path.map(|inode| AtPath {
            file: FileId::new(1, inode),
            length: length(&self.folder.files[&inode]),
        });
        Read { bytes: some.copied().collect(), length: length(bytes), at_path }
    }

    /// The agent is killed and started again on what is durable.
    fn restart(&mut self) {
        self.follow = Follow::new(self.durable);
    }
}

fn length(bytes: &[u8]) -> ByteCount {
    ByteCount::new(u64::try_from(bytes.len()).unwrap())
}

#[test]
fn a_partial_last_line_waits_for_its_end() {
    let mut bench = Bench::new();
    bench.look();

    bench.folder.append("one\r\ntw");
    bench.look();
    let before = bench.lines.clone();
    bench.folder.append("o\n");
    bench.look();

    assert_eq!(before, ["one"]);
    assert_eq!(bench.lines, ["one", "two"]);
}

#[test]
fn a_truncated_file_is_read_again_from_its_start() {
    let mut bench = Bench::new();
    bench.folder.append("one\ntwo\n");
    bench.look();

    bench.folder.truncate();
    bench.folder.append("six\n");
    bench.look();

    assert_eq!(bench.lines, ["one", "two", "six"]);
    assert_eq!(bench.changes, [Change::Truncated]);
    assert_eq!((bench.durable.bytes, bench.durable.lines), (4, 1));
}

#[test]
fn a_file_that_was_truncated_and_grew_beyond_the_position_is_not_read_from_the_middle() {
    let mut bench = Bench::new();
    bench.folder.append("one\n");
    bench.look();

    bench.folder.truncate();
    bench.folder.append("seven\neight\n");
    bench.look();

    assert_eq!(bench.lines, ["one", "seven", "eight"]);
    assert_eq!(bench.changes, [Change::Overwritten]);
}

#[test]
fn the_beginning_of_a_line_that_is_truncated_is_not_taken_for_a_line() {
    let mut bench = Bench::new();
    bench.folder.append("one\nDongsi,15");
    bench.look();

    bench.folder.truncate();
    bench.folder.append("two\n");
    bench.look();

    assert_eq!(bench.lines, ["one", "two"]);
    assert_eq!(bench.cut, ["Dongsi,15"]);
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_its_successor() {
    let mut bench = Bench::new();
    bench.folder.append("one\n");
    bench.look();

    bench.folder.append("two\nthree");
    bench.folder.rename();
    bench.folder.append("four\n");
    bench.look();

    assert_eq!(bench.lines, ["one", "two", "three", "four"]);
    assert_eq!(bench.changes, [Change::Rotated]);
    assert_eq!((bench.durable.bytes, bench.durable.lines), (5, 1));
}

#[test]
fn a_renamed_file_is_read_while_its_successor_is_empty() {
    let mut bench = Bench::new();
    bench.folder.append("one\n");
    bench.look();

    bench.folder.rename();
    bench.folder.append("");
    bench.look();
    bench.folder.files.get_mut(&1).unwrap().extend_from_slice(b"two\n");
    bench.look();
    bench.folder.append("three\n");
    bench.look();

    assert_eq!(bench.lines, ["one", "two", "three"]);
}

#[test]
fn a_file_that_disappears_and_comes_back_is_read_on() {
    let mut bench = Bench::new();
    bench.folder.append("one\n");
    bench.look();

    let inode = bench.folder.at_path.take();
    bench.look();
    bench.folder.at_path = inode;
    bench.folder.append("two\n");
    bench.look();

    assert_eq!(bench.lines, ["one", "two"]);
    assert_eq!(bench.changes, []);
}

#[test]
fn a_restart_finds_the_rest_of_a_file_that_was_renamed_meanwhile() {
    let mut bench = Bench::new();
    bench.folder.append("one\n");
    bench.look();

    bench.folder.append("two\n");
    bench.folder.rename();
    bench.folder.append("three\nfour\n");
    bench.restart();
    bench.look();

    assert_eq!(bench.lines, ["one", "two", "three", "four"]);
    assert_eq!(bench.changes, [Change::Rotated]);
}

#[test]
fn a_restart_reads_a_renamed_file_until_its_successor_holds_bytes() {
    let mut bench = Bench::new();
    bench.folder.append("one\n");
    bench.look();

    bench.folder.append("tw");
    bench.folder.rename();
    bench.folder.append("");
    bench.restart();
    bench.look();
    let before = bench.lines.clone();
    bench.folder.files.get_mut(&1).unwrap().extend_from_slice(b"o\nthree\n");
    bench.look();
    bench.folder.append("four\n");
    bench.look();

    assert_eq!(before, ["one"]);
    assert_eq!(bench.lines, ["one", "two", "three", "four"]);
    assert_eq!(bench.changes, [Change::Rotated]);
}

#[test]
fn a_restart_does_not_go_on_in_the_middle_of_another_file() {
    let mut bench = Bench::new();
    bench.folder.append("one\n");
    bench.look();

    bench.folder.files.clear();
    bench.folder.rename();
    bench.folder.append("seven\neight\n");
    bench.restart();
    bench.look();

    assert_eq!(bench.lines, ["one", "seven", "eight"]);
    assert_eq!(bench.changes, [Change::Exchanged]);
}

#[test]
fn a_restart_goes_on_in_a_copy_of_the_file() {
    let mut bench = Bench::new();
    bench.folder.append("one\n");
    bench.look();

    bench.folder.files.clear();
    bench.folder.rename();
    bench.folder.append("one\ntwo\n");
    bench.restart();
    bench.look();

    assert_eq!(bench.lines, ["one", "two"]);
    assert_eq!(bench.changes, []);
}

#[test]
fn a_position_of_an_earlier_version_is_taken_up_by_its_length() {
    let mut bench = Bench::new();
    bench.folder.append("one\ntwo\n");
    bench.durable = FilePosition { bytes: 4, lines: 1, generation: None };

    bench.restart();
    bench.look();

    assert_eq!(bench.lines, ["two"]);
    assert!(bench.durable.generation.is_some());
}

#[test]
fn waits_after_failures_double_up_to_half_a_minute_and_start_again_after_success() {
    let mut bench = Bench::new();
    bench.folder.append("one\n");
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert!(matches!(bench.follow.poll_step(), Some(Step::Open(Place::Path))));
        bench.follow.on_failed(bench.now);
        let due = bench.follow.poll_timeout().unwrap();
        waits.push(due.since(bench.now).as_millis());
        bench.follow.on_timeout(due);
        bench.now = due;
    }

    bench.look();
    bench.follow.on_failed(bench.now);

    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    assert_eq!(bench.follow.poll_timeout(), Some(bench.now.after(RETRY_MIN)));
}

#[test]
fn a_file_is_opened_again_only_after_the_wait() {
    let mut follow = Follow::new(FilePosition::default());
    assert!(follow.poll_step().is_some());
    follow.on_failed(Monotonic::default());

    follow.on_timeout(Monotonic::from_millis(499));
    let early = follow.poll_step();
    follow.on_timeout(Monotonic::from_millis(500));

    assert!(early.is_none());
    assert!(matches!(follow.poll_step(), Some(Step::Open(Place::Path))));
}

/// What happens to a path.
#[derive(Debug, Clone)]
enum Event {
    Append(String),
    Look,
    Rename,
    Truncate,
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let text = prop_oneof!["[a-z]{0,3}", "[a-z]{0,3}\n", "[a-z]{250,270}\n[a-z]{0,9}"];
    let event = prop_oneof![
        4 => text.prop_map(Event::Append),
        3 => Just(Event::Look),
        1 => Just(Event::Rename),
        1 => Just(Event::Truncate),
        1 => Just(Event::Restart),
    ];
    proptest::collection::vec(event, 0..60)
}

proptest! {
    #[test]
    fn every_line_is_read_once_and_in_order(events in events()) {
        let mut bench = Bench::new();
        let (mut written, mut number) = (String::new(), 0_u32);
        let mut generations = Vec::new();

        for event in events {
            match event {
                Event::Append(text) => {
                    // Numbers keep lines apart: equal files could not be told from each other.
                    number += 1;
                    let text = format!("{number}{text}");
                    bench.folder.append(&text);
                    written.push_str(&text);
                }
                Event::Look => bench.look(),
                Event::Rename => {
                    // One that comes and goes between two looks is not seen, and one without a
                    // line leaves no position to find it by.
                    bench.look();
                    if written.contains('\n') {
                        bench.folder.rename();
                        generations.push(std::mem::take(&mut written));
                    }
                }
                Event::Truncate => {
                    bench.look();
                    if written.ends_with('\n') {
                        bench.folder.truncate();
                        bench.look();
                        generations.push(std::mem::take(&mut written));
                    }
                }
                Event::Restart => bench.restart(),
            }
        }
        bench.look();
        generations.push(written.rsplit_once('\n').map_or("", |(lines, _)| lines).to_owned());

        let expected: Vec<&str> = generations.iter().flat_map(|text| text.lines()).collect();
        let found: Vec<&str> = bench.lines.iter().map(String::as_str).collect();
        // A renamed file whose last line has no end waits for a successor.
        let waits = expected.len().saturating_sub(found.len());
        prop_assert!(waits <= 1, "{found:?} of {expected:?}");
        prop_assert_eq!(&found[..], &expected[..found.len()]);
        prop_assert_eq!(&bench.cut, &Vec::<String>::new());
    }
}
