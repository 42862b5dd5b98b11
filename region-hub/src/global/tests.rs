//! Rules over the logs of regions that come in any order.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use headland_detection::FileRows;
use headland_event::{
    Actor, Batch, ByteCount, Dot, Extent, Hlc, Hole, Incarnation, OffsetDelta, Random,
    SeededRandom, Sequence, Stamp, StreamId, Verdict, VerdictAt,
};

use headland_storage::StateError;

use super::beginning::End;
use super::*;
use crate::topics::{Replication, Topic};

const REGIONS: [&str; 3] = ["ap", "eu", "us"];

/// Windows of every kind, of one topic and of two, by the time of the record and by another: sums
/// whose last digits depend on their order.
const SQL: &str = "
CREATE TABLE air (station STRING, ts TIMESTAMP(3), own TIMESTAMP(3), pm DOUBLE,
  WATERMARK FOR ts AS ts) WITH ('topic' = 'air@*');
CREATE TABLE water (station STRING, ts TIMESTAMP(3), own TIMESTAMP(3), pm DOUBLE,
  WATERMARK FOR ts AS ts) WITH ('topic' = 'water@*');
CREATE VIEW either AS SELECT station, ts, pm FROM air UNION ALL SELECT station, ts, pm FROM water;
CREATE TABLE tumbled (station STRING, n BIGINT, pm DOUBLE) WITH (
  'topic' = 'tumbled', 'emit.early' = '1 s', 'allowed-lateness' = '4 s');
INSERT INTO tumbled SELECT station, COUNT(*), AVG(pm)
FROM TABLE(TUMBLE(TABLE air, DESCRIPTOR(ts), INTERVAL '2' SECOND))
GROUP BY station, window_start, window_end;
CREATE TABLE hopped (station STRING, n BIGINT, pm DOUBLE) WITH (
  'topic' = 'hopped', 'emit.early' = '1 s', 'allowed-lateness' = '1 s');
INSERT INTO hopped SELECT station, COUNT(*), AVG(pm)
FROM TABLE(HOP(TABLE air, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '3' SECOND))
GROUP BY station, window_start, window_end;
CREATE TABLE cumulated (station STRING, n BIGINT, pm DOUBLE) WITH (
  'topic' = 'cumulated', 'allowed-lateness' = '500 ms');
INSERT INTO cumulated SELECT station, COUNT(*), AVG(pm)
FROM TABLE(CUMULATE(TABLE air, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '4' SECOND))
GROUP BY station, window_start, window_end HAVING COUNT(*) > 1;
CREATE TABLE united (station STRING, n BIGINT, pm DOUBLE) WITH (
  'topic' = 'united', 'emit.early' = '1 s', 'allowed-lateness' = '2 s');
INSERT INTO united SELECT station, COUNT(*), AVG(pm)
FROM TABLE(TUMBLE(TABLE either, DESCRIPTOR(ts), INTERVAL '2' SECOND))
GROUP BY station, window_start, window_end;";

/// By another time than the record's.
const OWN_TIME: &str = "
CREATE TABLE air (station STRING, ts TIMESTAMP(3), own TIMESTAMP(3), pm DOUBLE,
  WATERMARK FOR own AS own) WITH ('topic' = 'air@*');
CREATE TABLE owned (station STRING, n BIGINT, pm DOUBLE) WITH (
  'topic' = 'owned', 'emit.early' = '1 s', 'allowed-lateness' = '2 s');
INSERT INTO owned SELECT station, COUNT(*), AVG(pm)
FROM TABLE(TUMBLE(TABLE air, DESCRIPTOR(own), INTERVAL '2' SECOND))
GROUP BY station, window_start, window_end;";

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// The topics of all regions as the hub of `ap` names them.
fn topics() -> Topics {
    let mut topics = Topics::new(&region("ap"), &[]).unwrap();
    for origin in REGIONS {
        for name in ["air", "water", "_promises"] {
            let is_local = origin == "ap";
            let here = if is_local { name.to_owned() } else { format!("{origin}.{name}") };
            topics
                .add(Topic {
                    name: topic(&here),
                    also: Vec::new(),
                    lane: headland_event::Lane::State,
                    partitions: 2,
                    origin: region(origin),
                    origin_name: topic(name),
                    path: if is_local { Vec::new() } else { vec![region(origin)] },
                    replication: Replication::Offered,
                })
                .unwrap();
        }
    }
    topics
}

/// A rule file, with what is in its files: the rest of the line that begins with `-- FILE: `, where
/// a semicolon ends a row.
fn program(sql: &str) -> Program {
    let program = Program::compile("rules.sql", sql).unwrap();
    let text = sql.lines().find_map(|line| line.strip_prefix("-- FILE: ")).unwrap_or_default();
    let text = text.replace(';', "\n") + "\n";
    let files = program.file_tables();
    let rows = |table| Arc::new(FileRows::read(table, "file", text.as_bytes()).unwrap());
    let files: Vec<_> = files.map(|(id, table, _)| (id, rows(table))).collect();
    files.into_iter().fold(program, |program, (id, rows)| program.with_file(id, rows))
}

/// A rule over all regions that looks in a file.
const SITED: &str = "
CREATE TABLE sites (id STRING, site STRING)
  WITH ('connector' = 'filesystem', 'path' = 'sites.csv', 'format' = 'csv');
CREATE VIEW placed AS SELECT site, ts, pm FROM air
  JOIN sites FOR SYSTEM_TIME AS OF air.ts ON sites.id = air.station;
CREATE TABLE sited (site STRING, n BIGINT, pm DOUBLE) WITH (
  'topic' = 'sited', 'emit.early' = '1 s', 'allowed-lateness' = '2 s');
INSERT INTO sited SELECT site, COUNT(*), AVG(pm)
FROM TABLE(TUMBLE(TABLE placed, DESCRIPTOR(ts), INTERVAL '2' SECOND))
GROUP BY site, window_start, window_end;
-- FILE: ";

fn sited(file: &str) -> String {
    format!("{SQL}{SITED}{file}\n")
}

fn rules_of(program: Program) -> Result<Rules, RulesError> {
    Rules::new(program, &region("ap"), &REGIONS.map(region), &topics(), 1)
}

type Stored = (TopicPartition, Entry);

/// The clocks of all hubs: no row is ahead of it.
const NOW: EventTime = EventTime::from_millis(1_700_000_060_000);

/// One record in a log of a region, with its verdict.
fn entry(
    origin: &str,
    name: &str,
    (partition, offset): (u32, u64),
    record: &Record,
    verdict: Verdict,
) -> Stored {
    let here = if origin == "ap" { name.to_owned() } else { format!("{origin}.{name}") };
    let (incarnation, partition) = (Incarnation::new(1, 1), PartitionIndex::new(partition));
    let actor = Actor { region: region(origin), incarnation, partition };
    let verdicts = if verdict == Verdict::OnTime {
        Vec::new()
    } else {
        vec![VerdictAt { delta: OffsetDelta::new(0), verdict }]
    };
    let (offset, hlc) = (Offset::new(offset), Hlc::new(NOW, 0));
    let stamp = Stamp { actor, offset, hlc, context: Extent::default(), verdicts };
    let dot = Dot {
        stream: stream_of(origin, name, partition),
        incarnation,
        sequence: Sequence::new(offset.get() + 1),
    };
    let batch = Batch::encode(std::slice::from_ref(record)).unwrap();
    let entry = Entry { base: offset, dot, stamp: Some(stamp), batch };
    (TopicPartition::new(topic(&here), partition), entry)
}

/// Every partition of a region is a stream of its own.
fn stream_of(origin: &str, name: &str, partition: PartitionIndex) -> StreamId {
    let mut id = [0; 16];
    id.iter_mut().zip(format!("{partition} {origin} {name}").bytes()).for_each(|(to, of)| *to = of);
    StreamId::new(id)
}

/// What a region writes: rows of two topics into two partitions each, late ones among them, and
/// promises between them. A promise stands in another partition than its rows, so that it may come
/// before or behind them.
fn draw_region(random: &mut SeededRandom, origin: &str) -> BTreeMap<TopicPartition, Vec<Stored>> {
    let mut logs: BTreeMap<TopicPartition, Vec<Stored>> = BTreeMap::new();
    let (mut ends, mut promised, mut promises) = ([[0_u64; 2]; 2], [-1_i64; 2], 0_u64);
    for step in 0..40_i64 {
        let which = usize::from(random.below(3) == 0);
        let name = ["air", "water"][which];
        let (promised, ends) = (&mut promised[which], &mut ends[which]);
        let time = step * 250 + i64::try_from(random.below(3_000)).unwrap() - 2_250;
        let partition = usize::from(random.below(2) == 1);
        let verdict = if time <= *promised { Verdict::Late } else { Verdict::OnTime };
        let record = draw_row(random, time);
        let at = (u32::try_from(partition).unwrap(), ends[partition]);
        let (place, stored) = entry(origin, name, at, &record, verdict);
        logs.entry(place.clone()).or_default().push((place, stored));
        ends[partition] += 1;
        if random.below(4) == 0 && step * 250 - 500 > *promised {
            *promised = step * 250 - 500;
            let (place, stored) = promise(origin, name, (*promised, *ends), promises);
            logs.entry(place.clone()).or_default().push((place, stored));
            promises += 1;
        }
    }
    for (name, ends) in ["air", "water"].into_iter().zip(ends) {
        let (place, stored) = promise(origin, name, (1_000_000, ends), promises);
        logs.entry(place.clone()).or_default().push((place, stored));
        promises += 1;
    }
    logs
}

/// A row whose own time is its record's, or some time around it.
fn draw_row(random: &mut SeededRandom, time: i64) -> Record {
    let instant = 1_700_000_000_000 + time;
    let own = match random.below(3) {
        0 => instant,
        _ => instant + i64::try_from(random.below(3_000)).unwrap() - 2_000,
    };
    let text = format!(
        "{{\"station\":\"s{}\",\"ts\":\"{}\",\"own\":\"{}\",\"pm\":{}.{}}}",
        random.below(3),
        stamp_of(instant),
        stamp_of(own),
        random.below(100),
        random.below(1_000)
    );
    Record::new(EventTime::from_millis(instant), "", text)
}

fn promise(origin: &str, name: &str, (promised, ends): (i64, [u64; 2]), offset: u64) -> Stored {
    let ends = (0..).zip(ends).map(|(p, end)| (PartitionIndex::new(p), Offset::new(end)));
    let watermark = EventTime::from_millis(1_700_000_000_000 + promised);
    let promise = Promise { topic: topic(name), watermark, ends: ends.collect() };
    let value = serde_json::to_vec(&promise).unwrap();
    let record = Record::new(EventTime::from_millis(0), name.to_owned(), value);
    entry(origin, "_promises", (0, offset), &record, Verdict::OnTime)
}

/// `2023-11-14 22:13:20.000` and further.
fn stamp_of(millis: i64) -> String {
    let behind = millis - 1_699_999_980_000;
    format!(
        "2023-11-14 22:{:02}:{:02}.{:03}",
        13 + behind / 60_000,
        behind / 1_000 % 60,
        behind % 1_000
    )
}

/// What is durable of the state.
#[derive(Default)]
struct Durable(BTreeMap<Bytes, Bytes>);

impl StateStore for Durable {
    fn get(&self, _owner: &StateOwner, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan_from(
        &self,
        _owner: &StateOwner,
        _from: &[u8],
        _limit: ByteCount,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        Ok(Vec::new())
    }
}

/// What becomes of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Runs,
    /// It loses its power now and again, and what it had not written with it, and replays what is
    /// behind its last snapshot.
    Restarts,
}

/// All finals and all last values that a hub says.
type Told = (BTreeMap<String, String>, BTreeMap<String, String>);

/// A hub with its log and its disk, and what it has said.
struct Simulated {
    topics: Topics,
    program: Program,
    rules: Rules,
    log: Vec<Stored>,
    durable: Durable,
    snapshot: Option<(usize, Bytes)>,
    told: Told,
    revisions: BTreeMap<String, u64>,
}

impl Simulated {
    fn new(sql: &str) -> Self {
        let program = program(sql);
        let rules = rules_of(program.clone()).unwrap();
        let (durable, told, revisions) = (Durable::default(), Told::default(), BTreeMap::new());
        let (topics, log, snapshot) = (topics(), Vec::new(), None);
        Self { topics, program, rules, log, durable, snapshot, told, revisions }
    }

    fn read(&mut self, number: usize) {
        let commit = CommitNumber::new(u64::try_from(number).unwrap());
        let stored = self.log[number - 1].clone();
        self.rules.on_commit(&self.topics, commit, &[stored]);
    }

    /// Writes the next result; whether there was one.
    fn write_one(&mut self) -> bool {
        let Some(step) = self.rules.poll_step_of(1) else { return false };
        self.durable.0.extend(step.state);
        for record in step.batches.iter().flat_map(|(_, batch)| batch.records().unwrap()) {
            self.tell(&record);
        }
        true
    }

    fn tell(&mut self, record: &Record) {
        let (finals, last) = &mut self.told;
        let key = String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap();
        let said = self.revisions.entry(key.clone()).or_default();
        *said += 1;
        assert_eq!(record.header(REVISION_HEADER), Some(said.to_string().as_bytes()));
        assert_eq!(record.header(ANEW_HEADER), None);
        // One that is taken back leaves nothing.
        let Some(value) = record.value.clone() else {
            last.remove(&key);
            return;
        };
        let value = String::from_utf8(value.to_vec()).unwrap();
        if record.header(FINALITY_HEADER) == Some(b"final") {
            assert_eq!(finals.insert(key.clone(), value.clone()), None, "final once");
        }
        last.insert(key, value);
    }

    fn take_snapshot(&mut self) {
        while self.write_one() {}
        self.snapshot = Some((self.log.len(), self.rules.snapshot()));
    }

    /// Starts again on what is durable: what waited to be written is said again.
    fn restart(&mut self) {
        self.rules = rules_of(self.program.clone()).unwrap();
        self.rules.read_progress(&self.durable).unwrap();
        let mut from = 0;
        if let Some((at, state)) = &self.snapshot {
            let decoded = self.rules.decode(state.clone()).unwrap();
            let commit = CommitNumber::new(u64::try_from(*at).unwrap());
            self.rules.take_up(decoded, commit, Hlc::new(NOW, 0));
            assert_eq!(self.rules.snapshot(), state);
            from = *at;
        }
        (from + 1..=self.log.len()).for_each(|number| self.read(number));
    }
}

/// What a hub says which receives the logs in an order of its own: regions are cut off for a while,
/// and partitions overtake each other.
fn hub(sql: &str, logs: &[Vec<Stored>], seed: u64, fate: Fate) -> Told {
    let (mut random, mut hub) = (SeededRandom::new(seed), Simulated::new(sql));
    let mut heads: Vec<_> = logs.iter().map(|log| log.iter().peekable()).collect();
    let mut cut = 0;
    while heads.iter_mut().any(|head| head.peek().is_some()) {
        if random.below(20) == 0 {
            cut = usize::try_from(random.below(4)).unwrap();
        }
        let which = usize::try_from(random.below(u64::try_from(heads.len()).unwrap())).unwrap();
        let is_cut = which % 3 == cut && random.below(50) > 0;
        let Some(stored) = (!is_cut).then(|| heads[which].next()).flatten() else {
            continue;
        };
        hub.log.push(stored.clone());
        hub.read(hub.log.len());
        match fate {
            Fate::Runs => while hub.write_one() {},
            // Some wait, and are lost with the power.
            Fate::Restarts => while random.below(8) > 0 && hub.write_one() {},
        }
        if fate == Fate::Restarts && random.below(20) == 0 {
            hub.take_snapshot();
        }
        if fate == Fate::Restarts && random.below(20) == 0 {
            hub.restart();
        }
    }
    while hub.write_one() {}
    hub.told
}

#[test]
fn hubs_that_receive_regions_in_any_order_say_the_same_in_the_end_byte_for_byte() {
    let mut corrected = 0;
    let sited = sited("s0,a;s1,b;s1,a");
    for (seed, sql) in (1..=60).zip([SQL, SQL, OWN_TIME, &sited].into_iter().cycle()) {
        let mut random = SeededRandom::new(seed);
        let logs = REGIONS.map(|origin| draw_region(&mut random, origin).into_values());
        let mut logs: Vec<Vec<Stored>> = logs.into_iter().flatten().collect();
        logs.sort_by_key(|log| (log[0].0.partition, log[0].0.topic.to_string()));

        let first = hub(sql, &logs, seed * 10, Fate::Runs);
        let others = [(1, Fate::Restarts), (2, Fate::Runs)]
            .map(|(other, fate)| hub(sql, &logs, seed * 10 + other, fate));

        assert!(!first.0.is_empty(), "seed {seed}");
        corrected += usize::from(first.0 != first.1);
        for other in others {
            assert_eq!(other, first, "seed {seed}");
        }
    }
    assert!(corrected > 40, "late rows correct what was final: {corrected}");
}

#[test]
fn what_regions_cannot_be_merged_for_is_refused_with_what_could() {
    let table = |topic: &str, format: &str| {
        format!(
            "CREATE TABLE air (station STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
             WITH ('topic' = '{topic}', 'format' = '{format}');
             CREATE TABLE n (station STRING, n BIGINT) WITH ('topic' = 'alerts');"
        )
    };
    let insert = "INSERT INTO n SELECT station, COUNT(*) FROM air GROUP BY station";
    let window = ", TUMBLE(ts, INTERVAL '1' HOUR)";
    let results = "WITH ('topic' = 'n')";
    let refused = |table: &str, window: &str, target: &str| {
        let table = table.replace("WITH ('topic' = 'alerts')", target);
        rules_of(program(&format!("{table}{insert}{window};"))).unwrap_err().to_string()
    };

    let found = [
        refused(&table("air@*", "json"), "", results),
        refused(&table("air", "json"), window, results),
        refused(&table("air@*", "csv"), window, results),
        refused(&table("air@*", "json"), window, "WITH ('topic' = 'alerts')"),
    ];

    let expected = [
        "rule n cannot run over several regions, expected a TUMBLE, HOP or CUMULATE aggregate \
         over single rows",
        "table air reads topic 'air', expected 'air@*', the topic of all regions",
        "table air has format csv, expected json",
        "rule n writes to topic alerts, which the hub has already, expected a new one",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_last_row_of_a_topic_is_refused_with_its_place_and_what_would_fit() {
    let sql = "CREATE TABLE air (station STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
      WITH ('topic' = 'air@*');
    CREATE TABLE limits (station STRING, most BIGINT, PRIMARY KEY (station) NOT ENFORCED)
      WITH ('topic' = 'limits@*');
    CREATE VIEW bounded AS SELECT air.station, ts, most FROM air
      JOIN limits FOR SYSTEM_TIME AS OF air.ts ON limits.station = air.station;
    CREATE TABLE n (station STRING, n BIGINT) WITH ('topic' = 'n');
    INSERT INTO n SELECT station, MAX(most) FROM bounded
      GROUP BY station, TUMBLE(ts, INTERVAL '1' HOUR);";

    let refused = rules_of(program(sql)).unwrap_err().to_string();

    let expected = "rules.sql:3:18: table limits is looked up in the order of arrival, which is \
                    another one at each hub, expected a file that is the same everywhere: \
                    'connector' = 'filesystem'";
    assert_eq!(refused, expected);
}

#[test]
fn the_hubs_own_region_has_to_be_among_those_that_count() {
    let refused =
        Rules::new(program(SQL), &region("ap"), &[region("us"), region("eu")], &topics(), 1);

    let text = "the rules' regions are eu, us, expected the hub's own, ap, among them";
    assert_eq!(refused.unwrap_err().to_string(), text);
}

/// A hub of `ap` alone, which has read its whole log, and what it says of windows.
fn alone(sql: &str, entries: &[Stored], prepare: impl FnOnce(&mut Rules)) -> Vec<String> {
    let own = [region("ap")];
    let mut rules = Rules::new(program(sql), &own[0], &own, &topics(), 1).unwrap();
    prepare(&mut rules);
    for (number, stored) in (10..).zip(entries) {
        rules.on_commit(&topics(), CommitNumber::new(number), std::slice::from_ref(stored));
    }
    said(&mut rules)
}

/// Finality and count of each result that waits.
fn said(rules: &mut Rules) -> Vec<String> {
    let steps = std::iter::from_fn(|| rules.poll_step());
    let batches: Vec<_> = steps.flat_map(|step| step.batches).collect();
    let records = batches.iter().flat_map(|(_, batch)| batch.records().unwrap());
    let told = records.map(|record| {
        let value: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        format!(
            "{} {}",
            value["finality"].as_str().unwrap(),
            value["values"]["n"].as_str().unwrap()
        )
    });
    told.collect()
}

/// Counts of windows of 2 s.
const COUNTS: &str = "
CREATE TABLE air (station STRING, ts TIMESTAMP(3), own TIMESTAMP(3), pm DOUBLE,
  WATERMARK FOR ts AS ts) WITH ('topic' = 'air@*');
CREATE TABLE n (n BIGINT) WITH ('topic' = 'n');
INSERT INTO n SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE air, DESCRIPTOR(ts), INTERVAL '2' SECOND))
GROUP BY window_start, window_end;";

/// A row of `air` at a time and an offset in partition 0.
fn row(time: i64, offset: u64) -> Stored {
    let instant = 1_700_000_000_000 + time;
    let text = format!("{{\"ts\":\"{}\"}}", stamp_of(instant));
    let record = Record::new(EventTime::from_millis(instant), "", text);
    entry("ap", "air", (0, offset), &record, Verdict::OnTime)
}

#[test]
fn a_window_of_which_rows_never_came_is_not_final() {
    let entries = [
        row(100, 0),
        promise("ap", "air", (2_500, [1, 0]), 0),
        row(3_000, 2),
        promise("ap", "air", (900_000, [3, 0]), 1),
    ];

    let told = alone(COUNTS, &entries, |_| ());

    assert_eq!(told, ["final 1", "provisional 1"]);
}

#[test]
fn a_log_that_comes_over_two_ways_counts_once() {
    let own = [row(100, 0), row(3_000, 1), row(3_100, 2)];
    let entries = [
        own[0].clone(),
        own[1].clone(),
        own[0].clone(),
        promise("ap", "air", (2_500, [1, 0]), 0),
        own[1].clone(),
        own[2].clone(),
        own[2].clone(),
        promise("ap", "air", (900_000, [3, 0]), 1),
    ];

    let told = alone(COUNTS, &entries, |_| ());

    assert_eq!(told, ["final 1", "final 2"]);
}

#[test]
fn a_hole_leaves_the_windows_that_it_may_be_of_without_a_final_result() {
    let (place, mut stored) = row(3_000, 1);
    let hole = Hole { count: 1, policy: headland_event::DropPolicy::Bytes };
    stored.batch = hole.to_batch(1, EventTime::from_millis(0)).unwrap();
    let entries = [
        row(100, 0),
        promise("ap", "air", (2_500, [1, 0]), 0),
        (place, stored),
        row(3_000, 2),
        promise("ap", "air", (900_000, [3, 0]), 1),
    ];

    let told = alone(COUNTS, &entries, |_| ());

    assert_eq!(told, ["final 1", "provisional 1"]);
}

#[test]
fn what_another_hub_has_instead_leaves_windows_final() {
    let (place, mut stored) = row(3_000, 1);
    let hole = Hole { count: 1, policy: headland_event::DropPolicy::Elsewhere };
    stored.batch = hole.to_batch(1, EventTime::from_millis(0)).unwrap();
    let entries =
        [row(100, 0), (place, stored), row(3_000, 2), promise("ap", "air", (900_000, [3, 0]), 1)];

    let told = alone(COUNTS, &entries, |_| ());

    assert_eq!(told, ["final 1", "final 1"]);
}

#[test]
fn a_row_that_an_agent_brought_to_two_hubs_counts_once_over_a_restart_too_and_is_not_final() {
    let brought = row(100, 0);
    // The agent's stream is the same in both logs.
    let (at, mut again) = moved(&brought, "eu");
    again.dot = brought.1.dot;
    let logs = [
        vec![brought, row(3_000, 1), promise("ap", "air", (900_000, [2, 0]), 0)],
        vec![(at, again), moved(&row(3_100, 1), "eu"), promise("eu", "air", (900_000, [2, 0]), 0)],
        vec![promise("us", "air", (900_000, [0, 0]), 0)],
    ];
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
        let mut rules = rules_of(program(COUNTS)).unwrap();

        for log in order {
            for stored in &logs[log] {
                rules.on_commit(&topics(), CommitNumber::new(1), std::slice::from_ref(stored));
            }
            if log != order[2] {
                let state = rules.snapshot();
                rules = rules_of(program(COUNTS)).unwrap();
                let state = rules.decode(state).unwrap();
                rules.take_up(state, CommitNumber::new(0), Hlc::new(NOW, 0));
            }
        }

        assert_eq!(said(&mut rules), ["provisional 1", "final 2"], "in the order {order:?}");
    }
}

/// What is said of a row that two hubs have, the second of which is read after this.
fn brought_twice(between: impl Fn(u64, &mut Stored)) -> Vec<String> {
    let brought = row(100, 0);
    let (at, mut again) = moved(&brought, "eu");
    again.dot = brought.1.dot;
    let between = (1..=600).map(|offset| {
        let mut stored = row(3_000, offset);
        if offset % 2 == 1 {
            between(offset, &mut stored);
        }
        stored
    });
    let log: Vec<Stored> = [brought].into_iter().chain(between).collect();
    let end = [
        (at, again),
        promise("ap", "air", (900_000, [601, 0]), 0),
        promise("eu", "air", (900_000, [1, 0]), 0),
        promise("us", "air", (900_000, [0, 0]), 0),
    ];
    let mut rules = rules_of(program(COUNTS)).unwrap();
    for stored in log.iter().chain(&end) {
        rules.on_commit(&topics(), CommitNumber::new(1), std::slice::from_ref(stored));
    }
    said(&mut rules)
}

#[test]
fn rows_that_do_not_count_do_not_make_it_forget_what_an_agent_brought_to_two_hubs() {
    let told = brought_twice(|offset, (place, stored)| {
        let record = stored.batch.records().unwrap().remove(0);
        (*place, *stored) = entry("ap", "air", (0, offset), &record, Verdict::Forbidden);
    });

    assert_eq!(told, ["provisional 1", "final 300"]);
}

#[test]
fn a_row_of_which_nobody_knows_any_more_whether_it_has_counted_is_in_no_final_result() {
    let told = brought_twice(|_, (_, stored)| {
        let hole = Hole { count: 1, policy: headland_event::DropPolicy::Elsewhere };
        stored.batch = hole.to_batch(1, EventTime::from_millis(0)).unwrap();
    });

    assert_eq!(told, ["provisional 2", "final 300"]);
}

#[test]
fn a_hole_that_late_rows_may_be_in_makes_what_was_final_provisional_and_what_follows_no_correction()
{
    let sql = COUNTS.replace("'topic' = 'n'", "'topic' = 'n', 'allowed-lateness' = '1 min'");
    let (place, mut stored) = row(3_000, 1);
    let hole = Hole { count: 1, policy: headland_event::DropPolicy::Bytes };
    stored.batch = hole.to_batch(1, EventTime::from_millis(0)).unwrap();
    let (late_place, mut late) = row(200, 2);
    let verdict = VerdictAt { delta: OffsetDelta::new(0), verdict: Verdict::Late };
    late.stamp.as_mut().unwrap().verdicts = vec![verdict];
    let entries = [
        row(100, 0),
        promise("ap", "air", (2_500, [1, 0]), 0),
        (place, stored),
        (late_place, late),
        promise("ap", "air", (3_000, [3, 0]), 1),
    ];

    let told = alone(&sql, &entries, |_| ());

    assert_eq!(told, ["final 1", "provisional 1", "provisional 2"]);
}

#[test]
fn rules_that_begin_where_a_log_ends_say_nothing_final_of_what_they_may_have_missed() {
    let log = [row(100, 0), promise("ap", "air", (50, [1, 0]), 0)];
    // The clock is a minute behind the first window that no row before can be in.
    let later = |time: i64| NOW.millis() - 1_700_000_000_000 + 60_000 + time;
    let mut far = [row(later(-1), 1), row(later(2_500), 2)];
    far.iter_mut().for_each(|(_, stored)| {
        let stamp = stored.stamp.as_mut().unwrap();
        stamp.hlc = Hlc::new(NOW.plus(std::time::Duration::from_secs(60)), 0);
    });
    let [first, second] = far;
    let end = promise("ap", "air", (later(900_000), [3, 0]), 1);

    let told = alone(COUNTS, &[first, second, end], |rules| {
        let (life, partition) = (Incarnation::new(1, 1), PartitionIndex::new(0));
        let end = Offset::new(1);
        let ends = vec![End { region: 0, life, topic: topic("air"), partition, end }];
        rules.beginning = Beginning { ends, promises: Vec::new() };
        rules.begin_new(CommitNumber::new(0));
        for (number, stored) in (1..).zip(&log) {
            rules.on_commit(&topics(), CommitNumber::new(number), std::slice::from_ref(stored));
        }
        rules.on_replay_ended(Hlc::new(NOW, 0));
    });

    assert_eq!(told, ["provisional 1", "final 1"]);
}

#[test]
fn a_rule_that_is_new_beside_others_has_no_final_results_of_what_was_before() {
    let mut before = rules_of(program(COUNTS)).unwrap();
    let state = before.snapshot();
    let more = COUNTS.replace("TABLE n (", "TABLE m (").replace("INTO n ", "INTO m ");
    let more =
        more.split_once("CREATE TABLE m").unwrap().1.replace("'topic' = 'n'", "'topic' = 'm'");
    let both = format!("{COUNTS}CREATE TABLE m{more}");
    let mut rules = rules_of(program(&both)).unwrap();

    let state = rules.decode(state).unwrap();
    rules.take_up(state, CommitNumber::new(0), Hlc::new(NOW, 0));
    for origin in REGIONS {
        for stored in [row(100, 0), promise("ap", "air", (900_000, [1, 0]), 0)] {
            let stored = moved(&stored, origin);
            rules.on_commit(&topics(), CommitNumber::new(1), &[stored]);
        }
    }

    assert_eq!(said(&mut rules), ["provisional 3", "final 3"]);
}

/// The same in the log of another region.
fn moved((at, stored): &Stored, origin: &str) -> Stored {
    let (mut at, mut stored) = (at.clone(), stored.clone());
    if origin != "ap" {
        at.topic = topic(&format!("{origin}.{}", at.topic));
    }
    let actor = &mut stored.stamp.as_mut().unwrap().actor;
    actor.region = region(origin);
    stored.dot.stream = stream_of(origin, "moved", actor.partition);
    (at, stored)
}

#[test]
fn a_state_of_other_topics_or_regions_is_refused_by_its_name() {
    let mut rules = rules_of(program(COUNTS)).unwrap();
    let state = rules.snapshot();
    let one = [region("ap")];

    let alone = Rules::new(program(COUNTS), &one[0], &one, &topics(), 1).unwrap();
    let water = rules_of(program(&COUNTS.replace("air@*", "water@*"))).unwrap();

    let found = [alone, water].map(|rules| rules.decode(state.clone()).unwrap_err().to_string());
    let expected = [
        "the state of rules is of regions ap, eu, us, configured are ap",
        "the state of rules is of topics air, read are water",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_new_life_of_a_hub_lets_its_region_go_on_without_final_results_of_the_change() {
    let life = |(at, mut stored): Stored| {
        stored.stamp.as_mut().unwrap().actor.incarnation = Incarnation::new(2, 9);
        stored.dot.incarnation = Incarnation::new(2, 9);
        (at, stored)
    };
    let entries = [
        row(100, 0),
        promise("ap", "air", (2_500, [1, 0]), 0),
        // Its data is gone with the first life.
        promise("ap", "air", (4_500, [99, 0]), 1),
        life(row(3_000, 0)),
        life(promise("ap", "air", (900_000, [1, 0]), 0)),
    ];

    let told = alone(COUNTS, &entries, |_| ());

    assert_eq!(told, ["final 1", "provisional 1"]);
}

#[test]
fn results_and_inventory_take_turns() {
    let mut rules = rules_of(program(COUNTS)).unwrap();
    for origin in REGIONS {
        for stored in [row(100, 0), promise("ap", "air", (900_000, [1, 0]), 0)] {
            rules.on_commit(&topics(), CommitNumber::new(1), &[moved(&stored, origin)]);
        }
    }

    let turns = [rules.poll_turn().is_some(), rules.poll_turn().is_some()];

    assert!(turns[0] != turns[1], "{turns:?}");
    assert!(rules.is_idle());
}

/// Rules behind restarts at which they are others.
mod renewed;
/// Rules files that are edited while regions are cut off and hubs restart.
mod edited;
