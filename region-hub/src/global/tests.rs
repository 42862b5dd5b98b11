//! Rules over the logs of regions that come in any order.

use std::collections::BTreeMap;

use headland_event::{
    Actor, Batch, Dot, Hlc, Incarnation, OffsetDelta, Random, SeededRandom, Sequence, StreamId,
    VectorClock, VerdictAt,
};

use super::*;
use crate::topics::{Replication, Topic};

const REGIONS: [&str; 3] = ["ap", "eu", "us"];

const SQL: &str = "
CREATE TABLE air (station STRING, ts TIMESTAMP(3), pm DOUBLE, WATERMARK FOR ts AS ts)
  WITH ('topic' = 'air@*');
CREATE TABLE means (station STRING, n BIGINT, pm DOUBLE) WITH (
  'topic' = 'means', 'emit.early' = '1 s', 'allowed-lateness' = '4 s');
INSERT INTO means SELECT station, COUNT(*), AVG(pm)
FROM TABLE(TUMBLE(TABLE air, DESCRIPTOR(ts), INTERVAL '2' SECOND))
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
        for name in ["air", "_promises"] {
            let is_local = origin == "ap";
            let here = if is_local { name.to_owned() } else { format!("{origin}.{name}") };
            topics
                .add(Topic {
                    name: topic(&here),
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

fn program(sql: &str) -> Program {
    Program::compile("rules.sql", sql).unwrap()
}

fn rules_of(program: Program) -> Result<Rules, RulesError> {
    Rules::new(program, &region("ap"), &REGIONS.map(region), &topics(), 1)
}

type Stored = (TopicPartition, Entry);

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
    let (offset, hlc) = (Offset::new(offset), Hlc::new(EventTime::from_millis(0), 0));
    let stamp = Stamp { actor, offset, hlc, context: VectorClock::default(), verdicts };
    let dot = Dot {
        stream: StreamId::new([0; 16]),
        incarnation,
        sequence: Sequence::new(offset.get() + 1),
    };
    let batch = Batch::encode(std::slice::from_ref(record)).unwrap();
    let entry = Entry { base: offset, dot, stamp: Some(stamp), batch };
    (TopicPartition::new(topic(&here), partition), entry)
}

/// What a region writes: rows into two partitions and promises between them, late rows among them.
/// A promise stands in another partition than its rows, so that it may come before or behind them.
fn draw_region(random: &mut SeededRandom, origin: &str) -> BTreeMap<TopicPartition, Vec<Stored>> {
    let mut logs: BTreeMap<TopicPartition, Vec<Stored>> = BTreeMap::new();
    let (mut ends, mut promised, mut promises) = ([0_u64; 2], -1_i64, 0_u64);
    for step in 0..40_i64 {
        let time = step * 250 + i64::try_from(random.below(1_500)).unwrap() - 750;
        let partition = usize::from(random.below(2) == 1);
        let verdict = if time <= promised { Verdict::Late } else { Verdict::OnTime };
        let instant = 1_700_000_000_000 + time;
        let text = format!(
            "{{\"station\":\"s{}\",\"ts\":\"{}\",\"pm\":{}.{}}}",
            random.below(3),
            stamp_of(instant),
            random.below(100),
            random.below(1_000)
        );
        let record = Record::new(EventTime::from_millis(instant), "", text);
        let at = (u32::try_from(partition).unwrap(), ends[partition]);
        let (place, stored) = entry(origin, "air", at, &record, verdict);
        logs.entry(place.clone()).or_default().push((place, stored));
        ends[partition] += 1;
        if random.below(4) == 0 && step * 250 - 500 > promised || step == 39 {
            promised = if step == 39 { 1_000_000 } else { step * 250 - 500 };
            let promise = headland_event::Promise {
                topic: topic("air"),
                watermark: EventTime::from_millis(1_700_000_000_000 + promised),
                ends: (0..)
                    .zip(ends)
                    .map(|(p, end)| (PartitionIndex::new(p), Offset::new(end)))
                    .collect(),
            };
            let value = serde_json::to_vec(&promise).unwrap();
            let record = Record::new(EventTime::from_millis(0), "air", value);
            let (place, stored) =
                entry(origin, "_promises", (0, promises), &record, Verdict::OnTime);
            logs.entry(place.clone()).or_default().push((place, stored));
            promises += 1;
        }
    }
    logs
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

/// All finals and all last values that a hub says which receives the logs in an order of its own:
/// regions are cut off for a while, and partitions overtake each other.
fn hub(
    logs: &[Vec<Stored>],
    seed: u64,
    restart: bool,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut random, topics, program) = (SeededRandom::new(seed), topics(), program(SQL));
    let mut rules = rules_of(program.clone()).unwrap();
    let mut heads: Vec<_> = logs.iter().map(|log| log.iter().peekable()).collect();
    let (mut finals, mut last, mut number) = (BTreeMap::new(), BTreeMap::new(), 0);
    let mut revisions: BTreeMap<String, u64> = BTreeMap::new();
    let mut cut = 0;
    while heads.iter_mut().any(|head| head.peek().is_some()) {
        if random.below(20) == 0 {
            cut = usize::try_from(random.below(4)).unwrap();
        }
        let which = usize::try_from(random.below(u64::try_from(heads.len()).unwrap())).unwrap();
        let is_cut = which % 3 == cut && random.below(50) > 0;
        let Some((place, stored)) = (!is_cut).then(|| heads[which].next()).flatten() else {
            continue;
        };
        number += 1;
        rules.on_commit(&topics, CommitNumber::new(number), &[(place.clone(), stored.clone())]);
        while let Some(step) = rules.poll_step() {
            for record in step.batches.iter().flat_map(|(_, batch)| batch.records().unwrap()) {
                let key = String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap();
                let said = revisions.entry(key.clone()).or_default();
                *said += 1;
                assert_eq!(record.header(REVISION_HEADER), Some(said.to_string().as_bytes()));
                let value = String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
                if record.header(FINALITY_HEADER) == Some(b"final") {
                    assert_eq!(finals.insert(key.clone(), value.clone()), None, "final once");
                }
                last.insert(key, value);
            }
        }
        if restart && random.below(10) == 0 {
            let state = rules.snapshot();
            rules = rules_of(program.clone()).unwrap();
            let decoded = rules.decode(state.clone()).unwrap();
            rules.take_up(decoded);
            assert_eq!(rules.snapshot(), state);
        }
    }
    (finals, last)
}

#[test]
fn hubs_that_receive_regions_in_any_order_say_the_same_in_the_end_byte_for_byte() {
    let mut corrected = 0;
    for seed in 1..=200 {
        let mut random = SeededRandom::new(seed);
        // By partition over all regions, so that the three of one kind stand side by side.
        let mut logs: Vec<Vec<Stored>> = REGIONS
            .iter()
            .flat_map(|origin| draw_region(&mut random, origin).into_values())
            .collect();
        logs.sort_by_key(|log| log[0].0.partition);

        let first = hub(&logs, seed * 10, false);
        let others = [hub(&logs, seed * 10 + 1, true), hub(&logs, seed * 10 + 2, false)];

        assert!(!first.0.is_empty(), "seed {seed}");
        corrected += usize::from(first.0 != first.1);
        for other in others {
            assert_eq!(other, first, "seed {seed}");
        }
    }
    assert!(corrected > 100, "late rows correct what was final: {corrected}");
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
fn the_hubs_own_region_has_to_be_among_those_that_count() {
    let refused =
        Rules::new(program(SQL), &region("ap"), &[region("us"), region("eu")], &topics(), 1);

    let text = "the rules' regions are eu, us, expected the hub's own, ap, among them";
    assert_eq!(refused.unwrap_err().to_string(), text);
}
