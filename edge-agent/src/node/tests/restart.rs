//! Crashes and restarts: from a snapshot, from the whole journal, between two commits of one row.

use headland_storage::StoredCommit;
use proptest::prelude::*;

use super::*;

/// Every commit of an agent's journal.
fn commits(bench: &Bench) -> Vec<StoredCommit> {
    let reader = bench.store.reader();
    reader.replay(CommitNumber::new(1), ByteCount::mebibytes(64)).unwrap().commits
}

/// A line of air, so many minutes into a day, and how long after it the next one comes.
#[derive(Debug, Clone, Copy)]
struct Reading {
    station: u8,
    minutes: u32,
    pm25: u32,
    pause_ms: u64,
}

fn reading() -> impl Strategy<Value = Reading> {
    (0_u8..3, 0_u32..1_400, 0_u32..300, 0_u64..20_000)
        .prop_map(|(station, minutes, pm25, pause_ms)| Reading { station, minutes, pm25, pause_ms })
}

fn feed(bench: &mut Bench, readings: &[Reading]) {
    for (reading, number) in readings.iter().zip(2..) {
        let Reading { station, minutes, pm25, pause_ms } = *reading;
        let (hours, minutes) = (minutes / 60, minutes % 60);
        let text = format!("s{station},2013-03-01 {hours:02}:{minutes:02}:00,{pm25}");
        bench.feed(&[(&text, number)]);
        bench.advance(pause_ms);
    }
}

fn wide() -> Setup {
    let mut setup = Setup::new().with_rules(TWIN);
    setup.config = setup.config.replace("1KiB", "1MiB");
    setup
}

proptest! {
    #[test]
    fn a_restart_from_a_snapshot_goes_on_as_one_from_the_whole_journal_byte_for_byte(
        before in proptest::collection::vec(reading(), 0..30),
        after in proptest::collection::vec(reading(), 0..10),
        turns in proptest::option::of(0_usize..12),
    ) {
        let [quick, whole] = [Start::Snapshot, Start::WholeJournal].map(|start| {
            let mut bench = Bench::of(wide());
            bench.turns_left = turns;
            bench.header();
            feed(&mut bench, &before);
            bench.setup.start = start;
            let mut bench = bench.restarted();
            let state = bench.node.detect.snapshot();
            let reached = bench.node.reached.clone();
            feed(&mut bench, &after);
            (state, reached, commits(&bench))
        });

        prop_assert_eq!(quick, whole);
    }
}

/// What alerts say, whatever traces they belong to.
fn said(bench: &Bench) -> Vec<(String, String, String, AlertState, u32, Offset)> {
    let alerts = bench.alerts().into_iter();
    let said = alerts.map(|it| (it.rule, it.key, it.window, it.state, it.revision, it.evidence));
    said.collect()
}

/// Lines of so many stations at an hour, in files of 400.
fn hour(bench: &mut Bench, hour: u32, stations: u32) {
    for from in (0..stations).step_by(400) {
        let texts = (from..stations.min(from + 400))
            .map(|n| format!("s{n},2013-03-01 {hour:02}:00:00,{}", 90 + n % 30));
        let texts: Vec<String> = texts.collect();
        let lines: Vec<(&str, u64)> = texts.iter().map(String::as_str).zip(2..).collect();
        bench.feed(&lines);
    }
}

/// Stations whose state takes several turns.
const MANY: u32 = 8_000;

/// An agent that has rows of many stations, and is to begin a snapshot with the next lines.
fn due_with_many() -> Bench {
    let mut setup = wide();
    setup.config = setup.config.replace("1MiB", "64MiB");
    let mut bench = Bench::of(setup);
    bench.header();
    hour(&mut bench, 0, MANY);
    bench.advance(11_000);
    bench
}

#[test]
fn no_turn_at_a_snapshot_writes_more_than_its_parts() {
    let mut bench = due_with_many();
    bench.turns_left = Some(0);
    bench.feed(&[("s1,2013-03-01 01:00:00,50", 2)]);
    let written = |bench: &Bench| bench.node.snapshots.written_bytes().unwrap_or_default();
    let (mut before, mut turns) = (written(&bench), Vec::new());
    let begun = before;

    while let Some(due) = bench.node.snapshot_at() {
        bench.node.write_snapshot(Now { monotonic: due, ..bench.now });
        let after = written(&bench);
        turns.push(after.saturating_sub(before));
        before = after;
    }

    let whole: usize = turns.iter().sum();
    assert!(begun < whole / 10, "{begun} of {whole} bytes at the beginning");
    assert!(turns.len() >= 3, "{turns:?}");
    // Three parts of 1,024 entries each, of the 8,000 that there are.
    assert!(turns.iter().all(|turn| *turn <= whole * 3 * 1_100 / 8_000), "{turns:?} of {whole}");
}

#[test]
fn a_snapshot_shows_the_end_of_its_commit_whatever_lines_come_before_it_is_whole() {
    let [alone, beside] = [false, true].map(|rows| {
        let mut bench = due_with_many();
        bench.turns_left = Some(1);
        bench.feed(&[("s1,2013-03-01 01:00:00,50", 2)]);
        if rows {
            hour(&mut bench, 2, 500);
            hour(&mut bench, 5, 500);
        }
        bench.turns_left = None;
        bench.settle();
        bench.store.snapshots().latest(&Node::snapshot_owner()).unwrap().unwrap()
    });

    assert_eq!((beside.at, beside.state), (alone.at, alone.state));
}

#[test]
fn a_crash_after_any_part_of_a_snapshot_loses_and_repeats_nothing() {
    let run = |turns: Option<usize>| {
        let mut bench = due_with_many();
        let owner = Node::snapshot_owner();
        let before = bench.store.snapshots().latest(&owner).unwrap().unwrap().at;
        bench.turns_left = turns;
        bench.feed(&[("s1,2013-03-01 01:00:00,50", 2)]);
        hour(&mut bench, 2, 500);
        let taken = bench.store.snapshots().latest(&owner).unwrap().unwrap().at > before;
        let mut bench = if turns.is_some() { bench.restarted() } else { bench };
        bench.node.on_first_line(0, &line("station,time,pm25", 1));
        hour(&mut bench, 5, 500);
        (said(&bench), bench.node.detect.snapshot(), taken)
    };
    let (expected, state, _) = run(None);
    assert_eq!(expected.iter().filter(|said| said.0 == "high").count(), 5_063);

    let mut crashes = 0;
    for turns in 0.. {
        let (said, restored, taken) = run(Some(turns));

        assert_eq!(said, expected, "a crash after {turns} turns");
        assert_eq!(restored, state, "a crash after {turns} turns");
        crashes += 1;
        if taken {
            break;
        }
    }
    assert!(crashes > 3, "{crashes}");
}

#[test]
fn a_restart_replays_only_what_came_after_the_snapshot() {
    let mut bench = Bench::of(wide());
    bench.header();
    bench.feed(&MORNING);
    bench.advance(11_000);
    bench.feed(&[LATER]);

    let owner = Node::snapshot_owner();
    let latest = bench.store.snapshots().latest(&owner).unwrap().unwrap();
    let mut node = bench.setup.node(&bench.store).unwrap();
    let from = node.take_up([latest]);

    assert!(from > CommitNumber::new(1));
    let rest = bench.store.reader().replay(from, ByteCount::mebibytes(64)).unwrap();
    rest.commits.iter().for_each(|commit| node.on_replayed(commit));
    assert_eq!(node.detect.snapshot(), bench.node.detect.snapshot());
}

#[test]
fn a_snapshot_of_other_rules_is_not_taken_up_and_the_journal_is_replayed() {
    let mut bench = Bench::of(wide());
    bench.header();
    bench.feed(&MORNING);
    bench.setup.rules = bench.setup.rules.replace("INTERVAL '3' HOURS", "INTERVAL '2' HOURS");

    let mut bench = bench.restarted();
    bench.feed(&[("Dongsi,2013-03-01 03:00:00,10", 4)]);

    let windows = bench.alerts().into_iter().filter(|alert| alert.rule == "high");
    assert_eq!(windows.map(|alert| alert.window).collect::<Vec<_>>(), ["1362103200000"]);
}

#[test]
fn bytes_that_are_no_snapshot_are_passed_over() {
    let mut bench = Bench::new();
    let snapshots = [&[][..], &[9], &[1, 0, 0, 0, 1]]
        .map(|state| Snapshot { at: CommitNumber::new(3), state: Bytes::copy_from_slice(state) });

    assert_eq!(bench.node.take_up(snapshots), CommitNumber::new(1));
}

/// Stations with names so long that their alerts take some seven megabytes.
const STATIONS: u32 = 2_400;

fn crowd(bench: &mut Bench) {
    for from in (0..STATIONS).step_by(800) {
        let texts = (from..from + 800)
            .map(|n| format!("{n:04}{},2013-03-01 00:00:00,150", "s".repeat(1_000)));
        let texts: Vec<String> = texts.collect();
        let lines: Vec<(&str, u64)> = texts.iter().map(String::as_str).zip(2..).collect();
        bench.feed(&lines);
    }
}

#[test]
fn a_crash_between_any_two_commits_of_one_rows_alerts_leaves_each_alert_once() {
    let mut setup = Setup::new();
    setup.config = setup.config.replace("1KiB", "64MiB");
    let mut commits_of_the_row = 0;
    for durable in 0.. {
        let mut bench = Bench::of(setup.clone());
        bench.header();
        crowd(&mut bench);
        let before = bench.store.reader().last_commit();
        bench.commits_left = Some(durable);
        bench.feed(&[LATER]);
        let is_cut = !bench.node.in_flight.is_empty();

        let mut bench = bench.restarted();
        if durable == 0 {
            bench.feed(&[LATER]);
        }

        let mut keys: Vec<String> = bench.alerts().into_iter().map(|alert| alert.key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!((keys.len(), bench.alerts().len()), (2_400, 2_400), "after {durable} commits");
        assert_eq!(bench.records("air.readings").len(), 2_401);
        assert!(bench.node.wants_lines());
        let rest = bench.store.reader().replay(before.after(1), ByteCount::mebibytes(64)).unwrap();
        let size = |commit: &StoredCommit| -> usize {
            commit.entries.iter().map(|(_, entry)| entry.batch.as_bytes().len()).sum()
        };
        let rest = rest.commits;
        assert!(rest.iter().all(|commit| size(commit) < 3 << 20), "commits are bounded");
        commits_of_the_row = rest.len();
        if !is_cut {
            break;
        }
    }

    assert!(commits_of_the_row >= 3, "{commits_of_the_row}");
}

#[test]
fn a_damaged_commit_is_passed_over_and_alerted_and_rules_go_on() {
    let mut bench = Bench::new();
    bench.setup.start = Start::WholeJournal;
    bench.header();
    bench.feed(&[("Dongsi,2013-03-01 00:00:00,151", 2)]);
    bench.feed(&[("Dongsi,2013-03-01 01:00:00,152", 3)]);
    let name = bench.disk.names().into_iter().find(|name| name.ends_with(".journal")).unwrap();
    let content = bench.disk.content(&name).unwrap();
    let at = content.windows(4).position(|found| found == b",151").unwrap();
    bench.disk.flip_bit(&name, ByteCount::new(u64::try_from(at).unwrap()), 0);

    let bench = bench.restarted();

    let missing: Vec<String> = bench
        .node
        .missing()
        .offsets()
        .map(|lost| format!("{} {}..{}", lost.partition, lost.from, lost.until))
        .collect();
    assert_eq!(missing, ["air.readings/0 0..1"]);
    let rules: Vec<String> = bench.alerts().into_iter().map(|alert| alert.rule).collect();
    assert_eq!(rules, ["damaged_log", "damaged_log"], "of the commit and of the offsets");
}

#[test]
fn damage_behind_a_snapshot_is_found_by_a_scrub_and_alerted() {
    let mut bench = Bench::new();
    bench.header();
    bench.feed(&[("Dongsi,2013-03-01 00:00:00,151", 2)]);
    bench.feed(&[("Dongsi,2013-03-01 01:00:00,152", 3)]);
    let now = bench.now.monotonic;
    bench.node = bench.node.with_scrub(ByteCount::mebibytes(1), &bench.store, now).unwrap();
    let name = bench.disk.names().into_iter().find(|name| name.ends_with(".journal")).unwrap();
    let content = bench.disk.content(&name).unwrap();
    let at = content.windows(4).position(|found| found == b",151").unwrap();
    bench.disk.flip_bit(&name, ByteCount::new(u64::try_from(at).unwrap()), 0);

    for _ in 0..60 {
        bench.advance(1_000);
    }

    let missing = bench.node.missing();
    let offsets: Vec<u64> = missing.offsets().map(|lost| lost.from.get()).collect();
    assert_eq!((missing.commits().len(), offsets), (1, vec![0]));
    let alerts = bench.alerts();
    let rules: Vec<&str> = alerts.iter().map(|alert| &*alert.rule).collect();
    assert_eq!(rules, ["damaged_log", "damaged_log"]);
    let status = bench.node.status().scrub;
    assert_eq!((status.damaged, status.last_pass.is_some()), (2, true));
}
