//! Rules behind restarts at which they, or their regions, are others; and results that were
//! forgotten.

use headland_event::ByteCount;

use super::super::said::Said;
use super::*;

/// A hub's rules and its disk, over restarts.
struct Hub {
    rules: Rules,
    durable: Durable,
}

impl Hub {
    fn new(sql: &str, regions: &[&str]) -> Self {
        let durable = Durable::default();
        Self { rules: started(sql, regions, &durable), durable }
    }

    fn restart(&mut self, sql: &str, regions: &[&str]) {
        self.rules = started(sql, regions, &self.durable);
    }

    /// Restarts with rules that no snapshot fits, behind a log that ends with commit `last` and
    /// offset `end`.
    fn begin_new(&mut self, sql: &str, regions: &[&str], (last, end): (u64, u64)) {
        self.restart(sql, regions);
        let (life, partition) = (Incarnation::new(1, 1), PartitionIndex::new(0));
        let end = Offset::new(end);
        let end = End { region: 0, life, topic: topic("air"), partition, end };
        self.rules.beginning = Beginning { ends: vec![end], promises: Vec::new() };
        // The snapshot stands at the last commit: nothing is replayed.
        self.rules.begin_new(CommitNumber::new(last));
        self.rules.on_replay_ended(Hlc::new(NOW, 0));
    }

    /// Feeds a commit; what is said with it: rule, finality and count, or that it is taken back.
    fn feed(&mut self, number: u64, entries: &[Stored]) -> Vec<String> {
        self.rules.on_commit(&topics(), CommitNumber::new(number), entries);
        let mut told = Vec::new();
        while let Some(step) = self.rules.poll_step() {
            self.durable.0.extend(step.state);
            let batches = step.batches.iter();
            told.extend(batches.flat_map(|(_, batch)| batch.records().unwrap()).map(told_of));
        }
        told
    }
}

fn started(sql: &str, regions: &[&str], durable: &Durable) -> Rules {
    let regions: Vec<RegionId> = regions.iter().map(|name| region(name)).collect();
    let mut rules = Rules::new(program(sql), &region("ap"), &regions, &topics(), 1).unwrap();
    rules.read_progress(durable).unwrap();
    rules
}

fn told_of(record: Record) -> String {
    let header = |name| String::from_utf8_lossy(record.header(name).unwrap_or(b"-")).into_owned();
    let (finality, anew) = (header(FINALITY_HEADER), header(ANEW_HEADER));
    let revision = header(REVISION_HEADER);
    let revision = if anew == "true" { format!("{revision} anew") } else { revision };
    let Some(value) = record.value else { return format!("{finality} gone, revision {revision}") };
    let value: serde_json::Value = serde_json::from_slice(&value).unwrap();
    let (rule, n) = (value["rule"].as_str().unwrap(), value["values"]["n"].as_str().unwrap());
    format!("{finality} {rule} {n}, revision {revision}")
}

/// `COUNTS`, with corrections.
fn corrected_counts() -> String {
    COUNTS.replace("'topic' = 'n'", "'topic' = 'n', 'allowed-lateness' = '1 min'")
}

/// A row of `air` that its log calls late.
fn late_row(time: i64, offset: u64) -> Stored {
    late(row(time, offset))
}

fn late((at, mut stored): Stored) -> Stored {
    let late = VerdictAt { delta: OffsetDelta::new(0), verdict: Verdict::Late };
    stored.stamp.as_mut().unwrap().verdicts = vec![late];
    (at, stored)
}

#[test]
fn a_result_that_was_forgotten_is_taken_back_and_its_revision_named_to_begin_anew() {
    let sql = corrected_counts().replace("window_end;", "window_end HAVING COUNT(*) < 2;");
    let mut hub = Hub::new(&sql, &["ap"]);
    hub.rules.results.said = Said::of_at_most(1);
    let first =
        hub.feed(1, &[row(100, 0), row(3_000, 1), promise("ap", "air", (4_500, [2, 0]), 0)]);

    let taken_back = hub.feed(2, &[late_row(200, 2), promise("ap", "air", (5_000, [3, 0]), 1)]);

    assert_eq!(first, ["final n 1, revision 1", "final n 1, revision 1"]);
    assert_eq!(taken_back, ["correction gone, revision 1 anew"]);
    assert_eq!(hub.rules.counts().forgotten, 2);
}

#[test]
fn corrections_beyond_the_room_to_wait_leave_the_last_of_each_window_also_behind_a_restart() {
    let sql = corrected_counts();
    let mut log = vec![vec![row(100, 0), promise("ap", "air", (2_500, [1, 0]), 0)]];
    let late: Vec<Stored> = (1..=500).map(|offset| late_row(200, offset)).collect();
    // One promise lets all of them count.
    log.push([late, vec![promise("ap", "air", (3_000, [501, 0]), 1)]].concat());
    let mut hub = Hub::new(&sql, &["ap"]);
    let state = hub.rules.snapshot();
    hub.rules.limit_ready(1_000, ByteCount::mebibytes(1));

    let said = [hub.feed(1, &log[0]), hub.feed(2, &log[1])];

    assert_eq!(said[0], ["final n 1, revision 1"]);
    // Those that wait before the bound is reached are said, and the last.
    assert_eq!(said[1].last().map(String::as_str), Some("correction n 501, revision 501"));
    let replaced = hub.rules.counts().replaced;
    assert!(said[1].len() < 9, "{said:?}");
    assert_eq!(u64::try_from(said[1].len()).unwrap() + replaced, 500);

    // What took the place of others is written, and so are they.
    hub.restart(&sql, &["ap"]);
    let state = hub.rules.decode(state).unwrap();
    hub.rules.take_up(state, CommitNumber::new(0), Hlc::new(EventTime::MIN, 0));
    let again: Vec<_> = (1..).zip(&log).flat_map(|(at, entries)| hub.feed(at, entries)).collect();
    assert_eq!(again, Vec::<String>::new());
    let next = [late_row(300, 501), promise("ap", "air", (3_100, [502, 0]), 2)];
    assert_eq!(hub.feed(3, &next), ["correction n 502, revision 502"]);
}

#[test]
fn a_rule_that_begins_anew_over_more_regions_leaves_what_was_final() {
    let sql = corrected_counts();
    let mut hub = Hub::new(&sql, &["ap"]);
    let said = hub.feed(1, &[row(100, 0), row(200, 1), promise("ap", "air", (2_500, [2, 0]), 0)]);
    assert_eq!(said, ["final n 2, revision 1"]);

    hub.begin_new(&sql, &["ap", "eu"], (2, 2));
    let said = hub.feed(
        3,
        &[
            moved(&row(300, 0), "eu"),
            late_row(400, 2),
            moved(&row(3_000, 1), "eu"),
            moved(&promise("ap", "air", (900_000, [2, 0]), 0), "eu"),
            promise("ap", "air", (900_000, [3, 0]), 1),
        ],
    );

    assert_eq!(said, ["provisional n 1, revision 1"]);
    assert!(hub.rules.counts().settled > 0);
}

#[test]
fn what_a_rule_says_again_behind_a_new_beginning_begins_its_revision_anew_by_name() {
    let sql = COUNTS.replace("'topic' = 'n'", "'topic' = 'n', 'emit.early' = '1 s'");
    let promised = |time, end, offset| promise("ap", "air", (time, [end, 0]), offset);
    let log = [row(100, 0), promised(500, 1, 0), row(2_100, 1), promised(3_000, 2, 1)];
    let next = [row(3_100, 2), row(4_100, 3), promised(4_500, 4, 2), promised(5_000, 4, 3)];
    let mut hub = Hub::new(&sql, &["ap"]);
    let said = hub.feed(1, &log);
    assert_eq!(said, ["final n 1, revision 1", "provisional n 1, revision 1"]);

    // Nothing fits, and then all does.
    for restart in 0..2 {
        if restart == 0 {
            hub.begin_new(&sql, &["ap"], (1, 2));
            let said = hub.feed(2, &next);

            let of_before = "provisional n 1, revision 1 anew";
            assert_eq!(said, [of_before, "provisional n 1, revision 1"]);
        }
        let state = hub.rules.snapshot();
        hub.restart(&sql, &["ap"]);
        let state = hub.rules.decode(state).unwrap();
        hub.rules.take_up(state, CommitNumber::new(2), Hlc::new(NOW, 0));
    }
    let end = [row(5_100, 4), promised(7_000, 5, 4)];
    assert_eq!(hub.feed(3, &end), ["provisional n 2, revision 2"]);
}

#[test]
fn a_rule_that_was_another_for_a_while_names_the_revisions_of_what_that_one_said() {
    let sql = COUNTS.replace("'topic' = 'n'", "'topic' = 'n', 'emit.early' = '500 ms'");
    let edited = sql.replace("COUNT(*)", "COUNT(*) + 10");
    let promised = |time, end, offset| promise("ap", "air", (time, [end, 0]), offset);
    let mut hub = Hub::new(&sql, &["ap"]);
    let said = hub.feed(1, &[row(100, 0), promised(300, 1, 0), promised(700, 1, 1)]);
    assert_eq!(said, ["provisional n 1, revision 1"]);
    let (state, before) = (hub.rules.snapshot(), Hlc::new(EventTime::MIN, 0));
    let log = [row(900, 1), promised(1_100, 2, 2), promised(1_600, 2, 3)];

    // Each from the same snapshot: the second time what it says is written.
    let mut said = Vec::new();
    for sql in [&edited, &sql, &sql] {
        hub.restart(sql, &["ap"]);
        let state = hub.rules.decode(state.clone()).unwrap();
        hub.rules.take_up(state, CommitNumber::new(1), before);
        said.push(hub.feed(2, &log));
    }
    said.push(hub.feed(3, &[promised(2_500, 2, 4)]));

    let expected = [
        vec!["provisional n 11, revision 1 anew"],
        vec!["provisional n 2, revision 1 anew"],
        vec![],
        vec!["final n 2, revision 2"],
    ];
    assert_eq!(said, expected);
}

#[test]
fn late_rows_behind_a_rules_new_beginning_replace_no_final_result_also_after_a_restart() {
    let mut hub = Hub::new(&corrected_counts(), &["ap"]);
    let said = hub.feed(1, &[row(100, 0), row(200, 1), promise("ap", "air", (2_500, [2, 0]), 0)]);
    assert_eq!(said, ["final n 2, revision 1"]);

    // Other windows, of which some end where those of before did.
    let sql = corrected_counts().replace("'2' SECOND", "'1' SECOND");
    hub.begin_new(&sql, &["ap"], (2, 2));
    let mut said = hub.feed(3, &[promise("ap", "air", (2_600, [2, 0]), 1)]);
    let state = hub.rules.snapshot();
    hub.restart(&sql, &["ap"]);
    let state = hub.rules.decode(state).unwrap();
    hub.rules.take_up(state, CommitNumber::new(3), Hlc::new(NOW, 0));
    said.extend(hub.feed(4, &[late_row(1_400, 2), promise("ap", "air", (9_000, [3, 0]), 2)]));

    assert_eq!(said, Vec::<String>::new());
    assert_eq!(hub.rules.counts().settled, 1);
}

#[test]
fn a_rule_that_is_new_beside_others_says_what_is_final_in_the_stretch_that_is_replayed() {
    let other = COUNTS.split_once("CREATE TABLE n").unwrap().1;
    let other = other.replace("INTO n ", "INTO a ").replace("'topic' = 'n'", "'topic' = 'a'");
    let both = format!("{COUNTS}CREATE TABLE a{other}");
    let log = [
        vec![row(100, 0), row(3_000, 1), promise("ap", "air", (2_500, [2, 0]), 0)],
        vec![row(5_000, 2), promise("ap", "air", (6_500, [3, 0]), 1)],
    ];
    // The snapshot is so far back that none of the windows had begun.
    let before = Hlc::new(EventTime::from_millis(1_699_999_900_000), 0);
    let mut hub = Hub::new(COUNTS, &["ap"]);
    let state = hub.rules.snapshot();
    let mut said = Vec::new();
    for (number, entries) in (11..).zip(&log) {
        said.extend(hub.feed(number, entries));
    }
    assert_eq!(said, ["final n 1, revision 1"; 3]);

    let mut replayed = Vec::new();
    for _ in 0..2 {
        hub.restart(&both, &["ap"]);
        let state = hub.rules.decode(state.clone()).unwrap();
        hub.rules.take_up(state, CommitNumber::new(10), before);
        let mut said = Vec::new();
        for (number, entries) in (11..).zip(&log) {
            said.extend(hub.feed(number, entries));
        }
        replayed.push(said);
    }

    assert_eq!(replayed, [vec!["final a 1, revision 1"; 3], Vec::new()]);
}

/// What a hub says in the end of each window, whatever it said before.
fn last(told: Vec<String>) -> Vec<String> {
    told.into_iter().filter(|told| !told.starts_with("provisional")).collect()
}

#[test]
fn rows_beyond_the_room_to_wait_correct_the_same_windows_wherever_promises_are_known() {
    let sql = COUNTS.replace("'topic' = 'n'", "'topic' = 'n', 'allowed-lateness' = '1 s'");
    // A row of another partition, which comes at once or last of all.
    let (mut behind, mut stored) = row(100, 0);
    behind.partition = PartitionIndex::new(1);
    stored.stamp.as_mut().unwrap().actor.partition = behind.partition;
    stored.dot.stream = stream_of("ap", "air", behind.partition);
    let other = (behind, stored);
    let mut log = vec![
        row(200, 0),
        promise("ap", "air", (1_000, [1, 1]), 0),
        // It counts by the promise before it.
        late_row(300, 1),
        promise("ap", "air", (3_500, [2, 1]), 1),
        promise("ap", "air", (900_000, [7, 1]), 2),
    ];
    // Those came behind what is too long after their window.
    for offset in 2..7 {
        let (at, mut stored) = late_row(400, offset);
        let record = &stored.batch.records().unwrap()[0];
        let text = String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
        let long = format!("{{\"pad\":\"{}\",{}", "x".repeat(1_000_000), text.replace('{', ""));
        let record = Record::new(record.time, "", long);
        stored.batch = Batch::encode(std::slice::from_ref(&record)).unwrap();
        log.push((at, stored));
    }

    let mut ahead = Hub::new(&sql, &["ap"]);
    let mut at_once = ahead.feed(1, std::slice::from_ref(&other));
    at_once.extend(ahead.feed(2, &log));
    let mut waiting = Hub::new(&sql, &["ap"]);
    let mut at_last = waiting.feed(1, &log);
    at_last.extend(waiting.feed(2, &[other]));

    assert_eq!(last(at_once), ["final n 2, revision 1", "correction n 3, revision 2"]);
    assert_eq!(last(at_last), ["final n 2, revision 1", "correction n 3, revision 2"]);
}

#[test]
fn a_rule_that_stopped_at_a_limit_and_begins_anew_replaces_nothing_that_was_final() {
    let sql = corrected_counts();
    let by_station = |limit: &str| {
        let sql = sql.replace("GROUP BY", "GROUP BY station,");
        sql.replace("'topic' = 'n'", &format!("'topic' = 'n', 'limit.keys' = '{limit}'"))
            .replace("'topic' = 'n'", "'topic' = 'n', 'on-limit' = 'stop-rule'")
    };
    let at = |time: i64, station: &str, offset: u64| {
        let instant = 1_700_000_000_000 + time;
        let text = format!("{{\"station\":\"{station}\",\"ts\":\"{}\"}}", stamp_of(instant));
        let record = Record::new(EventTime::from_millis(instant), "", text);
        entry("ap", "air", (0, offset), &record, Verdict::OnTime)
    };
    let mut hub = Hub::new(&by_station("1"), &["ap"]);
    let said = hub.feed(1, &[at(100, "a", 0), promise("ap", "air", (2_500, [1, 0]), 0)]);
    assert_eq!(said, ["final n 1, revision 1"]);
    hub.feed(2, &[at(3_000, "b", 1)]);
    let state = hub.rules.snapshot();

    hub.restart(&by_station("9"), &["ap"]);
    let state = hub.rules.decode(state).unwrap();
    hub.rules.take_up(state, CommitNumber::new(2), Hlc::new(NOW, 0));
    let said = hub.feed(3, &[late(at(200, "a", 2)), promise("ap", "air", (3_000, [3, 0]), 1)]);

    assert_eq!(said, Vec::<String>::new());
}

/// Counts by station, early too, of as many as a limit lets in.
fn by_station(keys: usize) -> String {
    let with = format!("'topic' = 'n', 'emit.early' = '1 s', 'limit.keys' = '{keys}'");
    COUNTS.replace("GROUP BY", "GROUP BY station,").replace("'topic' = 'n'", &with)
}

/// A row of a station.
fn of_station(time: i64, station: &str, offset: u64) -> Stored {
    let instant = 1_700_000_000_000 + time;
    let text = format!("{{\"station\":\"{station}\",\"ts\":\"{}\"}}", stamp_of(instant));
    let record = Record::new(EventTime::from_millis(instant), "", text);
    entry("ap", "air", (0, offset), &record, Verdict::OnTime)
}

#[test]
fn a_limit_that_was_edited_holds_behind_the_end_of_the_log_and_a_replay_says_what_was_said() {
    let promised = |time, end, offset| promise("ap", "air", (time, [end, 0]), offset);
    let log = [
        vec![
            of_station(100, "a", 0),
            of_station(200, "b", 1),
            promised(300, 2, 0),
            promised(1_100, 2, 1),
        ],
        vec![of_station(1_500, "a", 2), promised(1_600, 3, 2), promised(2_500, 3, 3)],
        vec![of_station(2_600, "a", 3), of_station(2_700, "b", 4), promised(5_000, 5, 4)],
        vec![of_station(6_100, "a", 5), of_station(6_200, "b", 6), promised(9_000, 7, 5)],
    ];
    let early = "provisional n 1, revision 1";
    let said = [
        vec![early, early],
        vec!["final n 2, revision 2", "final n 1, revision 2"],
        // By one key: what others may say of b is not final.
        vec!["provisional n 1, revision 1"],
        vec!["final n 1, revision 1", "final n 1, revision 1"],
    ];
    for snapshot_at in [0, 1] {
        let mut hub = Hub::new(&by_station(9), &["ap"]);
        let mut state = (snapshot_at == 0).then(|| hub.rules.snapshot());
        for (keys, (number, next)) in [9, 9, 1, 9].into_iter().zip((1_u64..).zip(&log)) {
            // A restart before each commit, from the same snapshot.
            if let Some(state) = &state {
                hub.restart(&by_station(keys), &["ap"]);
                let state = hub.rules.decode(state.clone()).unwrap();
                hub.rules.take_up(
                    state,
                    CommitNumber::new(snapshot_at),
                    Hlc::new(EventTime::MIN, 0),
                );
                let again = (snapshot_at + 1..number)
                    .zip(&log[usize::try_from(snapshot_at).unwrap()..])
                    .flat_map(|(number, entries)| hub.feed(number, entries));
                assert_eq!(again.collect::<Vec<_>>(), Vec::<String>::new(), "before {number}");
                hub.rules.on_replay_ended(Hlc::new(NOW, 0));
            }
            let index = usize::try_from(number - 1).unwrap();
            assert_eq!(hub.feed(number, next), said[index], "commit {number}");
            if number == snapshot_at {
                state = Some(hub.rules.snapshot());
            }
        }
    }
}

#[test]
fn what_a_commit_had_left_to_say_is_said_by_the_limits_it_began_with() {
    let log = [
        of_station(100, "a", 0),
        of_station(200, "b", 1),
        promise("ap", "air", (2_500, [2, 0]), 0),
    ];
    let mut hub = Hub::new(&by_station(9), &["ap"]);
    hub.rules.on_commit(&topics(), CommitNumber::new(1), &log);
    let step = hub.rules.poll_step_of(1).unwrap();
    hub.durable.0.extend(step.state);

    hub.restart(&by_station(1), &["ap"]);
    let rest = hub.feed(1, &log);

    assert_eq!(rest, ["final n 1, revision 1"]);
}

#[test]
fn a_rule_that_is_edited_in_place_begins_anew_and_says_nothing_twice_or_mixed() {
    // A row adds 1 to one sum, and 10 to the other.
    let sql =
        corrected_counts().replace("COUNT(*)", "SUM(a)").replace("pm DOUBLE", "a BIGINT, b BIGINT");
    let sql = sql.replace("window_end;", "window_end HAVING COUNT(*) > 0;");
    let of = |time: i64, offset: u64| {
        let instant = 1_700_000_000_000 + time;
        let text = format!("{{\"ts\":\"{}\",\"a\":1,\"b\":10}}", stamp_of(instant));
        let record = Record::new(EventTime::from_millis(instant), "", text);
        entry("ap", "air", (0, offset), &record, Verdict::OnTime)
    };
    let log = [
        vec![of(2_100, 1), promise("ap", "air", (4_500, [2, 0]), 0)],
        vec![of(5_000, 2), promise("ap", "air", (5_500, [3, 0]), 1)],
    ];
    // EXPLAIN tells of neither.
    let edits = [sql.replace("SUM(a)", "SUM(b)"), sql.replace("COUNT(*) > 0", "COUNT(*) > 1")];
    for edited in edits {
        let mut hub = Hub::new(&sql, &["ap"]);
        hub.feed(1, &[of(100, 0)]);
        let state = hub.rules.snapshot();
        let said: Vec<_> =
            (2..).zip(&log).flat_map(|(number, entries)| hub.feed(number, entries)).collect();
        assert_eq!(said, ["final n 1, revision 1", "final n 1, revision 1"]);

        // What was final stays, also behind a second restart, and what was kept is not mixed in.
        for _ in 0..2 {
            hub.restart(&edited, &["ap"]);
            let state = hub.rules.decode(state.clone()).unwrap();
            hub.rules.take_up(state, CommitNumber::new(1), Hlc::new(NOW, 0));
            let again: Vec<_> =
                (2..).zip(&log).flat_map(|(number, entries)| hub.feed(number, entries)).collect();
            assert_eq!(again, Vec::<String>::new());
        }
        let said = hub
            .feed(4, &[late(of(300, 3)), of(5_600, 4), promise("ap", "air", (7_000, [5, 0]), 2)]);
        let n = if edited.contains("SUM(b)") { 20 } else { 2 };
        assert_eq!(said, [format!("provisional n {n}, revision 1")]);

        // A restart without the edit takes nothing for written that the other rule wrote.
        hub.restart(&sql, &["ap"]);
        let state = hub.rules.decode(state).unwrap();
        hub.rules.take_up(state, CommitNumber::new(1), Hlc::new(NOW, 0));
        let end = [promise("ap", "air", (7_000, [5, 0]), 2)];
        let mut said = hub.feed(2, &log[0]);
        said.extend(hub.feed(3, &log[1]));
        said.extend(hub.feed(4, &[vec![of(5_600, 3), of(5_700, 4)], end.to_vec()].concat()));
        // The other rule has said something of that window.
        assert_eq!(said, ["final n 3, revision 1 anew"]);
    }
}

#[test]
fn rules_behind_a_snapshot_at_the_last_commit_that_does_not_fit_replace_nothing_final() {
    let mut hub = Hub::new(&corrected_counts(), &["ap"]);
    let said = hub.feed(1, &[row(100, 0), row(200, 1), promise("ap", "air", (2_500, [2, 0]), 0)]);
    assert_eq!(said, ["final n 2, revision 1"]);

    hub.begin_new(&corrected_counts(), &["ap"], (1, 2));
    let said = hub.feed(2, &[late_row(300, 2), promise("ap", "air", (3_000, [3, 0]), 1)]);

    assert_eq!(said, Vec::<String>::new());
    assert_eq!(hub.rules.counts().settled, 1);
}
