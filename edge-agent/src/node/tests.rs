//! An agent over a log in memory, without a hub.

use headland_event::{Alert, ByteCount, HubName, RegionId};
use headland_platform::config::Loaded;
use headland_storage::{LogStore, MemoryDisk, MemoryStore, OpenOptions};

use super::*;

const RULES: &str = "
CREATE TABLE air (station STRING, `time` TIMESTAMP(3), pm25 DOUBLE,
  WATERMARK FOR `time` AS `time` - INTERVAL '1' HOUR)
  WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');
CREATE TABLE high (station STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3), pm25 DOUBLE)
  WITH ('topic' = 'alerts', 'severity' = 'warning');
INSERT INTO high SELECT station, window_start, window_end, AVG(pm25) AS pm25
FROM TABLE(TUMBLE(TABLE air, DESCRIPTOR(`time`), INTERVAL '3' HOURS))
GROUP BY station, window_start, window_end HAVING AVG(pm25) > 100;
";

const CONFIG: &str = r#"
region = "eu"
name = "eu-1"
data_dir = "data"
[hub]
address = "127.0.0.1:4433"
name = "hub-1"
[tls]
ca_file = "ca.pem"
certificate_file = "eu-1.pem"
key_file = "eu-1.key"
[rules]
file = "rules.sql"
[[source]]
table = "air"
path = "/in/air.csv"
[api]
socket = "eu-1.sock"
[outbox]
bytes_limit = "1KiB"
"#;

/// An agent, its disk, and what it has made durable.
struct Bench {
    disk: MemoryDisk,
    store: MemoryStore,
    node: Node,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Self::on(MemoryDisk::new(1))
    }

    fn on(disk: MemoryDisk) -> Self {
        let store = MemoryStore::open(&disk, OpenOptions::new(7)).unwrap();
        let config: Loaded<AgentConfig> =
            headland_platform::config::parse("agent.toml".as_ref(), CONFIG.to_owned()).unwrap();
        let program = Program::compile("rules.sql", RULES).unwrap();
        let hub = Identity::Hub {
            region: RegionId::new("eu").unwrap(),
            name: HubName::new("hub-1").unwrap(),
        };
        let reader = store.reader();
        let log = (&reader, &store);
        let mut node = Node::new(&config.value, hub, program, store.incarnation(), log, 3).unwrap();
        for commit in
            reader.replay(headland_event::CommitNumber::new(1), ByteCount::mebibytes(64)).unwrap()
        {
            node.on_replayed(&commit);
        }
        Self { disk, store, node, now: Now::default() }
    }

    fn restarted(self) -> Self {
        let Self { disk, store, node, .. } = self;
        drop((store, node));
        Self::on(disk)
    }

    fn header(&mut self) {
        self.feed(&[("station,time,pm25", 1)]);
    }

    /// Feeds lines and makes everything durable that they bring.
    fn feed(&mut self, lines: &[(&str, u64)]) {
        let lines: Vec<Line> = lines.iter().map(|(text, number)| line(text, *number)).collect();
        let last = lines.last().unwrap().number;
        let position = FilePosition { bytes: last * 10, lines: last, generation: None };
        self.node.on_lines(self.now, 0, &lines, position);
        while let Some(output) = self.node.poll_output() {
            if let Output::Commit(composed) = output {
                let appended = self.store.append(&[composed.commit]).unwrap();
                assert_eq!(appended.first, appended.last);
                self.node.on_committed(self.now, composed.ticket);
            }
        }
    }

    fn records(&self, topic: &str) -> Vec<Record> {
        let at = partition_of(&TopicName::new(topic).unwrap());
        let entries = self.store.reader().read(&at, Offset::new(0), ByteCount::mebibytes(64));
        entries.unwrap().iter().flat_map(|entry| entry.batch.records().unwrap()).collect()
    }

    fn alerts(&self) -> Vec<Alert> {
        let records = self.records("alerts");
        records.iter().map(|r| serde_json::from_slice(r.value.as_ref().unwrap()).unwrap()).collect()
    }
}

fn line(text: &str, number: u64) -> Line {
    Line { bytes: Bytes::copy_from_slice(text.as_bytes()), number }
}

const MORNING: [(&str, u64); 2] =
    [("Dongsi,2013-03-01 00:00:00,150", 2), ("Dongsi,2013-03-01 01:00:00,NA", 3)];

/// An hour past the end of the first window and the delay.
const LATER: (&str, u64) = ("Dongsi,2013-03-01 04:00:00,10", 4);

#[test]
fn a_line_keeps_its_bytes_and_gets_time_key_trace_and_columns() {
    let mut bench = Bench::new();
    bench.header();

    bench.feed(&MORNING);

    let [first, _] = <[Record; 2]>::try_from(bench.records("air.readings")).unwrap();
    assert_eq!(first.value.as_deref(), Some(MORNING[0].0.as_bytes()));
    assert_eq!(first.key.as_deref(), Some(&b"Dongsi"[..]));
    assert_eq!(first.time, EventTime::from_millis(1_362_096_000_000));
    assert_eq!(first.header("hl-columns"), Some(&b"station,time,pm25"[..]));
    assert!(!first.trace_parent().unwrap().is_sampled());
}

#[test]
fn a_window_that_closes_raises_one_alert_with_its_evidence() {
    let mut bench = Bench::new();
    bench.header();

    bench.feed(&MORNING);
    bench.feed(&[LATER]);

    let [alert] = <[Alert; 1]>::try_from(bench.alerts()).unwrap();
    assert_eq!((alert.rule.as_str(), alert.key.as_str()), ("high", "Dongsi"));
    assert_eq!(alert.window, "1362106800000");
    assert_eq!(alert.evidence, Offset::new(2));
    assert_eq!(alert.values.get("pm25").map(String::as_str), Some("150.0"));
}

#[test]
fn a_line_that_does_not_decode_becomes_a_dead_letter_with_its_place() {
    let mut bench = Bench::new();
    bench.header();

    bench.feed(&[("Dongsi,2013-03-01 00:00:00,much", 2), MORNING[1]]);

    let [dead] = <[Record; 1]>::try_from(bench.records("air.readings.dead")).unwrap();
    let reason = String::from_utf8_lossy(dead.header("hl-reason").unwrap()).into_owned();
    assert!(reason.starts_with("/in/air.csv:2: column \"pm25\""), "{reason}");
    assert_eq!(dead.value.as_deref(), Some(&b"Dongsi,2013-03-01 00:00:00,much"[..]));
    assert_eq!(bench.records("air.readings").len(), 1);
}

#[test]
fn a_file_without_a_header_has_the_columns_in_declared_order() {
    let mut bench = Bench::new();

    bench.feed(&MORNING);

    let [first, _] = <[Record; 2]>::try_from(bench.records("air.readings")).unwrap();
    assert_eq!(first.key.as_deref(), Some(&b"Dongsi"[..]));
    assert_eq!(first.header("hl-columns"), None);
}

#[test]
fn a_header_that_lacks_a_column_is_a_dead_letter_and_not_data() {
    let mut bench = Bench::new();

    bench.feed(&[("station,time,pm52", 1)]);

    let [dead] = <[Record; 1]>::try_from(bench.records("air.readings.dead")).unwrap();
    let reason = String::from_utf8_lossy(dead.header("hl-reason").unwrap()).into_owned();
    assert!(reason.contains("does not name column \"pm25\""), "{reason}");
}

#[test]
fn a_restart_goes_on_in_the_file_and_in_the_window() {
    let mut bench = Bench::new();
    bench.header();
    bench.feed(&MORNING);

    let mut bench = bench.restarted();
    let position = bench.node.source_position(0);
    bench.node.on_first_line(0, &line("station,time,pm25", 1));
    bench.feed(&[LATER]);

    assert_eq!(position, Some(FilePosition { bytes: 30, lines: 3, generation: None }));
    assert_eq!(bench.alerts().len(), 1);
    assert_eq!(bench.records("air.readings").len(), 3);
}

#[test]
fn a_full_outbox_takes_no_more_lines() {
    let mut bench = Bench::new();
    bench.header();

    assert!(bench.node.wants_lines());
    bench.feed(&MORNING);
    bench.feed(&[LATER; 8]);

    assert!(bench.node.outbox.unacked_bytes() >= ByteCount::new(1_024));
    assert!(!bench.node.wants_lines());
}

#[test]
fn lines_wait_while_commits_are_on_their_way() {
    let mut bench = Bench::new();
    bench.header();

    for _ in 0..IN_FLIGHT_LIMIT {
        assert!(bench.node.wants_lines());
        bench.node.on_lines(bench.now, 0, &[line(MORNING[0].0, 2)], FilePosition::default());
    }

    assert!(!bench.node.wants_lines());
}
