//! An agent over a log in memory, without a hub.

use std::sync::Arc;

use headland_detection::FileRows;
use headland_event::{Alert, AlertState, HubName, Record, RegionId};
use headland_platform::config::Loaded;
use headland_storage::{
    Cleaning as _, LogStore, MemoryDisk, MemoryStore, OpenOptions, Survival, replay_past_damage,
};

use super::*;
use crate::decode::Line;
use crate::outbox::FilePosition;

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

/// Crashes and restarts.
mod restart;
/// Files that rules look in.
mod files;
/// Hubs that are away for longer than there is room.
mod outage;

/// What an agent of a test is made of.
#[derive(Debug, Clone)]
struct Setup {
    config: String,
    rules: String,
    start: Start,
    /// What the files of tables hold.
    files: Vec<(&'static str, String)>,
    hubs: Vec<Identity>,
}

/// What an agent starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Snapshot,
    WholeJournal,
}

impl Setup {
    fn new() -> Self {
        Self {
            config: CONFIG.to_owned(),
            rules: RULES.to_owned(),
            start: Start::Snapshot,
            files: Vec::new(),
            hubs: vec![hub()],
        }
    }

    /// A second file, `/in/other.csv`.
    fn with_source(mut self, table: &str) -> Self {
        self.config += &format!("[[source]]\ntable = \"{table}\"\npath = \"/in/other.csv\"\n");
        self
    }

    fn with_rules(mut self, more: &str) -> Self {
        self.rules += more;
        self
    }

    /// Shows an agent the files of tables, as far as they fit.
    fn look(&self, node: &mut Node) {
        let program = Program::compile("rules.sql", &self.rules).unwrap();
        for (name, text) in &self.files {
            let id = program.table_id(name).unwrap();
            if let Ok(rows) = FileRows::read(program.table(id), name, text.as_bytes()) {
                node.on_file(id, &Arc::new(rows), Bytes::from(text.clone()));
            }
        }
    }

    fn node(&self, store: &MemoryStore) -> Result<Node, StartError> {
        let config: Loaded<AgentConfig> =
            headland_platform::config::parse("agent.toml".as_ref(), self.config.clone()).unwrap();
        let program = Program::compile("rules.sql", &self.rules).unwrap();
        let reader = store.reader();
        let hubs = self.hubs.clone();
        Node::new(&config.value, hubs, program, store.incarnation(), (&reader, store), 3)
    }
}

fn hub() -> Identity {
    Identity::Hub { region: RegionId::new("eu").unwrap(), name: HubName::new("hub-1").unwrap() }
}

/// 2020-01-01: what tests feed is past, unless it is meant not to be.
const NOW: EventTime = EventTime::from_millis(1_577_836_800_000);

/// An agent, its disk, and what it has made durable.
struct Bench {
    setup: Setup,
    disk: MemoryDisk,
    store: MemoryStore,
    node: Node,
    now: Now,
    /// Commits that still become durable before the power fails; `None` means all.
    commits_left: Option<usize>,
    /// Turns at a snapshot that still come before the power fails; `None` means all.
    turns_left: Option<usize>,
}

impl Bench {
    fn new() -> Self {
        Self::of(Setup::new())
    }

    fn of(setup: Setup) -> Self {
        Self::on(MemoryDisk::new(1), setup)
    }

    fn on(disk: MemoryDisk, setup: Setup) -> Self {
        let store = MemoryStore::open(&disk, OpenOptions::new(7)).unwrap();
        let mut node = setup.node(&store).unwrap();
        let from = match setup.start {
            Start::WholeJournal => CommitNumber::new(1),
            Start::Snapshot => {
                let kept = store.snapshots().newest_first(&Node::snapshot_owner());
                node.take_up(kept.unwrap())
            }
        };
        let now = Now { wall: NOW, ..Now::default() };
        let reader = store.reader();
        let missing = replay_past_damage(&reader, from, |commit| node.on_replayed(&commit));
        node.on_replay_ended(now, missing.unwrap());
        setup.look(&mut node);
        let mut bench =
            Self { setup, disk, store, node, now, commits_left: None, turns_left: None };
        bench.settle();
        bench
    }

    fn restarted(self) -> Self {
        let Self { setup, disk, store, node, .. } = self;
        drop((store, node));
        disk.crash(Survival::Nothing);
        Self::on(disk, setup)
    }

    fn header(&mut self) {
        self.feed(&[("station,time,pm25", 1)]);
    }

    /// Feeds lines and makes everything durable that they bring.
    fn feed(&mut self, lines: &[(&str, u64)]) {
        self.feed_to(0, lines);
    }

    fn feed_to(&mut self, index: SourceIndex, lines: &[(&str, u64)]) {
        let lines: Vec<Line> = lines.iter().map(|(text, number)| line(text, *number)).collect();
        let last = lines.last().unwrap().number;
        let position = FilePosition { bytes: last * 10, lines: last, generation: None };
        self.node.on_lines(self.now, index, &lines, position);
        self.settle();
    }

    /// Does what the agent asks for until it asks for nothing more, or the power fails; snapshots
    /// are written to their end.
    fn settle(&mut self) {
        self.drain();
        while self.turns_left != Some(0)
            && let Some(due) = self.node.snapshot_at()
        {
            self.turns_left = self.turns_left.map(|left| left - 1);
            self.node.write_snapshot(Now { monotonic: due, ..self.now });
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Commit(composed) => {
                    if self.commits_left == Some(0) {
                        return;
                    }
                    self.commits_left = self.commits_left.map(|left| left - 1);
                    let appended = self.store.append(&[composed.commit]).unwrap();
                    assert_eq!(appended.first, appended.last);
                    self.node.on_committed(self.now, composed.ticket, appended.last);
                }
                Output::Snapshot(Snapshot { at, state }) => {
                    self.store.snapshots().save(&Node::snapshot_owner(), at, &state).unwrap();
                }
                Output::Clean(policy) => {
                    let budget = ByteCount::mebibytes(64);
                    let report = self.store.clean(&policy, self.now.wall, budget).unwrap();
                    let reader = self.store.reader();
                    let starts = report.moved.into_iter().map(|partition| {
                        let start = reader.start(&partition);
                        (partition, start)
                    });
                    self.node.on_cleaned(starts, report.dropped);
                }
                Output::Send { .. }
                | Output::Read { .. }
                | Output::Dial(_)
                | Output::Close(_)
                | Output::Trace(_) => {}
                Output::Scrub(read) => {
                    let scrubbed = read.read(&self.store.reader());
                    self.node.on_scrubbed(self.now, scrubbed);
                }
            }
        }
    }

    fn advance(&mut self, millis: u64) {
        self.now.monotonic = Monotonic::from_nanos(self.now.monotonic.nanos() + millis * 1_000_000);
        self.node.on_timeout(self.now);
        self.settle();
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
fn a_result_that_changes_is_one_alert_with_revisions_also_after_a_restart() {
    let mut bench = Bench::of(Setup::new().with_rules(
        "CREATE TABLE lowest (station STRING, pm25 DOUBLE) WITH ('topic' = 'alerts');
         INSERT INTO lowest SELECT station, MIN(pm25) AS pm25 FROM air
         GROUP BY station HAVING MIN(pm25) > 20;",
    ));
    bench.header();

    bench.feed(&[("Dongsi,2013-03-01 00:00:00,50", 2), ("Dongsi,2013-03-01 00:10:00,40", 3)]);
    let mut bench = bench.restarted();
    bench.node.on_first_line(0, &line("station,time,pm25", 1));
    bench.feed(&[("Dongsi,2013-03-01 00:20:00,10", 4)]);

    let said = bench.alerts().into_iter().map(|alert| {
        (alert.state, alert.revision, alert.values.get("pm25").cloned().unwrap_or_default())
    });
    let said: Vec<_> = said.collect();
    let rules = bench.node.status().rules;
    let rule = rules.iter().find(|rule| rule.name == "lowest").unwrap();
    assert_eq!((rule.rows["accepted"], rule.results, rule.keys), (3, 4, 1));
    assert!(rule.state_bytes > 0 && rule.limited == 0);
    let firing = |revision, pm25: &str| (AlertState::Firing, revision, pm25.to_owned());
    let over = (AlertState::Resolved, 3, "40.0".to_owned());
    assert_eq!(said, [firing(1, "50.0"), firing(2, "40.0"), over]);
    let ids: BTreeSet<_> = bench.alerts().into_iter().map(|alert| alert.id).collect();
    assert_eq!(ids.len(), 1);
}

#[test]
fn the_first_alert_of_a_rule_that_filters_its_updates_has_revision_one() {
    let mut bench = Bench::of(Setup::new().with_rules(
        "CREATE TABLE often (station STRING, n BIGINT) WITH ('topic' = 'alerts');
         INSERT INTO often SELECT station, COUNT(*) FROM air
         GROUP BY station HAVING COUNT(*) >= 3;",
    ));
    bench.header();

    let line = |minute: u64| format!("Dongsi,2013-03-01 00:0{minute}:00,50");
    let lines = [0, 1, 2, 3].map(line);
    let numbered: Vec<_> = lines.iter().map(String::as_str).zip(2..).collect();
    bench.feed(&numbered);

    let said = bench.alerts().into_iter().map(|alert| (alert.state, alert.revision));
    assert_eq!(said.collect::<Vec<_>>(), [(AlertState::Firing, 1), (AlertState::Firing, 2)]);
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
fn a_snapshot_is_made_by_nothing_but_the_agents_timer() {
    let mut bench = Bench::new();
    bench.turns_left = Some(0);
    bench.header();
    bench.feed(&MORNING);
    let saved = |bench: &Bench| {
        bench.store.snapshots().newest_first(&Node::snapshot_owner()).unwrap().len()
    };
    let before = saved(&bench);

    for _ in 0..100 {
        let Some(due) = bench.node.poll_timeout() else { break };
        bench.now.monotonic = bench.now.monotonic.max(due);
        bench.node.on_timeout(bench.now);
        bench.drain();
    }

    assert_eq!((before, saved(&bench)), (0, 1));
}

#[test]
fn a_full_outbox_takes_no_more_lines() {
    let mut bench = Bench::new();
    bench.header();

    assert!(bench.node.wants_lines());
    bench.feed(&MORNING);
    bench.feed(&[LATER; 8]);

    assert!(bench.node.status().unacknowledged_bytes >= 1_024);
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

#[test]
fn files_of_one_table_keep_their_own_columns_over_a_restart() {
    let mut bench = Bench::of(Setup::new().with_source("air"));
    bench.header();
    bench.feed(&MORNING);
    bench.feed_to(1, &[("pm25,station,time", 1), ("150,Gucheng,2013-03-01 00:00:00", 2)]);

    let mut bench = bench.restarted();
    bench.feed(&[("Dongsi,2013-03-01 02:00:00,150", 4)]);
    bench.feed_to(1, &[("10,Gucheng,2013-03-01 04:00:00", 3)]);

    assert!(!bench.node.wants_first_line(0) && !bench.node.wants_first_line(1));
    let mut told: Vec<_> = bench.alerts().into_iter().map(|alert| alert.key).collect();
    told.sort();
    assert_eq!(told, ["Dongsi", "Gucheng"]);
    assert_eq!(bench.records("air.readings.dead"), []);
    let last = bench.records("air.readings").pop().unwrap();
    assert_eq!(last.header("hl-columns"), Some(&b"pm25,station,time"[..]));
}

#[test]
fn a_new_file_at_the_path_brings_its_own_header_or_keeps_the_one_before() {
    let mut bench = Bench::new();
    bench.feed(&[("time,station,pm25", 1), ("2013-03-01 00:00:00,Dongsi,150", 2)]);

    bench.feed(&[("2013-03-01 01:00:00,Dongsi,150", 1)]);
    bench.feed(&[("pm25,time,station", 1), ("10,2013-03-01 04:00:00,Dongsi", 2)]);

    let keys: Vec<_> = bench.records("air.readings").into_iter().map(|r| r.key.unwrap()).collect();
    assert_eq!(keys, ["Dongsi"; 3]);
    assert_eq!(bench.alerts().len(), 1);
}

#[test]
fn lines_behind_a_header_that_does_not_fit_are_dead_letters_until_one_fits() {
    let mut bench = Bench::new();

    bench.feed(&[("station,time,pm52", 1), MORNING[0], ("station,time,pm25", 3), MORNING[1]]);

    assert_eq!(bench.records("air.readings.dead").len(), 2);
    assert_eq!(bench.records("air.readings").len(), 1);
    assert_eq!(bench.node.status().dead_letters, 2);
}

#[test]
fn lines_behind_a_header_that_does_not_fit_are_dead_letters_after_a_restart_too() {
    let mut bench = Bench::new();
    bench.header();
    bench.feed(&[MORNING[0]]);
    bench.feed(&[("station,time,pm52", 1), ("Dongsi,2013-03-01 00:00:00,7", 2)]);

    let mut bench = bench.restarted();
    let wants_first_line = bench.node.wants_first_line(0);
    // The path may hold the next file already: its header is not that of this one.
    bench.node.on_first_line(0, &line("pm25,station,time", 1));
    bench.feed(&[MORNING[1]]);
    let dead = bench.records("air.readings.dead").len();
    bench.feed(&[("station,time,pm25", 1), LATER]);

    assert!(!wants_first_line);
    assert_eq!(dead, 3);
    assert_eq!(bench.records("air.readings.dead").len(), 3);
    assert_eq!(bench.records("air.readings").len(), 2);
}

const TWIN: &str = "
CREATE TABLE twin (station STRING, `time` TIMESTAMP(3), pm25 DOUBLE,
  WATERMARK FOR `time` AS `time` - INTERVAL '2' HOUR)
  WITH ('topic' = 'air.readings', 'format' = 'csv', 'key' = 'station');
CREATE TABLE spike (station STRING, pm25 DOUBLE) WITH ('topic' = 'alerts', 'alert.key' = 'station');
INSERT INTO spike SELECT station, pm25 FROM twin WHERE pm25 > 140;
";

#[test]
fn equal_tables_on_a_topic_see_every_record_and_the_later_watermark_is_promised() {
    let mut bench = Bench::of(Setup::new().with_rules(TWIN));
    bench.header();

    bench.feed(&MORNING);
    bench.feed(&[LATER]);
    let before = bench.node.status();
    let after = bench.restarted().node.status();

    let topic = TopicName::new("air.readings").unwrap();
    // 02:00, two hours behind the last line.
    let expected = EventTime::from_millis(1_362_103_200_000);
    assert_eq!(before.watermarks.get(&topic), Some(&expected));
    assert_eq!(after.watermarks.get(&topic), Some(&expected));
}

#[test]
fn a_rule_sees_the_records_of_an_equal_table() {
    let mut bench = Bench::of(Setup::new().with_rules(TWIN));
    bench.header();

    bench.feed(&MORNING);

    let [alert] = <[Alert; 1]>::try_from(bench.alerts()).unwrap();
    assert_eq!((alert.rule.as_str(), alert.key.as_str()), ("spike", "Dongsi"));
}

#[test]
fn another_table_on_the_topic_of_a_source_is_refused_at_its_declaration() {
    let other = "CREATE TABLE other (sku STRING) WITH ('topic' = 'air.readings');";
    let setup = Setup::new().with_rules(other);
    let store = MemoryStore::open(&MemoryDisk::new(1), OpenOptions::new(7)).unwrap();

    let error = setup.node(&store).unwrap_err();

    let StartError::Source { source, .. } = error else { panic!("{error}") };
    assert_eq!(
        source.to_string(),
        "rules.sql:10:14: topic \"air.readings\" is that of table air on line 2 already, and \
         their columns differ; give table other a topic of its own"
    );
}

/// A rule that says a station's name more often than an alert has room for.
const LONG: &str = "
CREATE TABLE long (a STRING, b STRING, c STRING) WITH ('topic' = 'alerts', 'alert.key' = 'a');
INSERT INTO long SELECT station, station, station FROM air WHERE pm25 = 7;
";

#[test]
fn an_alert_beyond_the_limit_becomes_a_dead_letter_and_takes_no_other_with_it() {
    let mut bench = Bench::of(Setup::new().with_rules(LONG));
    bench.header();
    let lines = [300 << 10, 200 << 10]
        .map(|length| format!("{},2013-03-01 00:00:00,7", "s".repeat(length)));

    bench.feed(&[(&lines[0], 2), (&lines[1], 3)]);

    let [dead] = <[Record; 1]>::try_from(bench.records("alerts.dead")).unwrap();
    let reason = String::from_utf8_lossy(dead.header("hl-reason").unwrap()).into_owned();
    assert!(reason.ends_with("bytes for alerts, the limit is 1048576"), "{reason}");
    assert_eq!(dead.value.as_ref().map(Bytes::len), Some(4 << 10));
    assert_eq!(dead.header("hl-sha256").map(<[u8]>::len), Some(64));
    assert_eq!(bench.records("alerts").len(), 1);
    assert_eq!(bench.records("air.readings").len(), 2);
    assert_eq!(bench.node.status().dead_letters, 1);
}

#[test]
fn a_record_beyond_the_limit_becomes_a_dead_letter_and_no_row() {
    let rules = "CREATE TABLE wide (k STRING, v DOUBLE) WITH ('topic' = 'wide', 'format' = 'csv', \
                 'key' = 'k');";
    let mut bench = Bench::of(Setup::new().with_rules(rules).with_source("wide"));
    let padding = "x".repeat(100 << 10);
    let header = format!("k,v,{padding}");
    // Key, line and header fit one by one, and not together.
    let key = "k".repeat(500 << 10);
    let line = format!("{key},1,");

    bench.feed_to(1, &[(&header, 1), (&line, 2), ("a,1,", 3)]);

    let [dead] = <[Record; 1]>::try_from(bench.records("wide.dead")).unwrap();
    let reason = String::from_utf8_lossy(dead.header("hl-reason").unwrap()).into_owned();
    assert!(reason.contains("/in/other.csv:2: a record of 11"), "{reason}");
    assert_eq!(bench.records("wide").len(), 1);
}

/// Milliseconds of `NOW` plus so many, as a line of air.
fn ahead(millis: i64, pm25: u32) -> String {
    let seconds = millis.div_euclid(1_000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let millis = millis.rem_euclid(1_000);
    format!("Dongsi,2020-01-01 00:{minutes:02}:{seconds:02}.{millis:03},{pm25}")
}

#[test]
fn a_row_beyond_a_minute_ahead_moves_no_window_and_one_at_the_minute_does() {
    let hour = std::time::Duration::from_secs(3_600);
    for (millis, mark, watermark) in
        [(60_000, None, Some(NOW.plus(hour / 60).minus(hour))), (60_001, Some("future"), None)]
    {
        let mut bench = Bench::new();
        bench.header();

        bench.feed(&[(&ahead(millis, 150), 2)]);
        let status = bench.node.status();
        let [record] = <[Record; 1]>::try_from(bench.records("air.readings")).unwrap();
        let again = bench.restarted().node.status();

        let topic = TopicName::new("air.readings").unwrap();
        assert_eq!(record.header("hl-time"), mark.map(str::as_bytes));
        assert_eq!(record.time, NOW.plus(std::time::Duration::from_millis(millis.unsigned_abs())));
        assert_eq!(status.watermarks.get(&topic).copied(), watermark);
        assert_eq!(again.watermarks.get(&topic).copied(), watermark);
        assert_eq!(status.future_records, u64::from(mark.is_some()));
    }
}

#[test]
fn a_future_row_does_not_close_the_windows_of_others() {
    let mut bench = Bench::new();
    bench.header();
    bench.feed(&MORNING);

    bench.feed(&[("Dongsi,2030-01-01 00:00:00,150", 4)]);
    let early = bench.alerts().len();
    bench.feed(&[("Dongsi,2013-03-01 02:00:00,90", 5), ("Dongsi,2013-03-01 04:00:00,10", 6)]);

    let [alert] = <[Alert; 1]>::try_from(bench.alerts()).unwrap();
    assert_eq!(early, 0);
    assert_eq!(alert.values.get("pm25").map(String::as_str), Some("120.0"));
}

#[test]
fn a_log_of_another_agent_is_refused_with_both_names() {
    let mut bench = Bench::new();
    bench.header();
    let mut other = bench.setup.clone();
    other.config = other.config.replace("name = \"eu-1\"", "name = \"eu-2\"");

    let same = bench.setup.node(&bench.store).map(drop);
    let error = other.node(&bench.store).unwrap_err();

    assert!(same.is_ok());
    assert_eq!(
        error.to_string(),
        "the log is of region/eu/agent/eu-1, the configuration is of region/eu/agent/eu-2; give \
         it a data_dir of its own"
    );
}

#[test]
fn an_agent_that_another_one_replaced_waits_longer_each_time() {
    use headland_replication::frame::{Frame, Goodbye, Hello};

    let mut bench = Bench::new();
    let hello = Frame::Hello(Hello {
        identity: hub(),
        incarnation: Incarnation::new(1, 1),
        window: ByteCount::mebibytes(1),
    });
    let goodbye = Frame::Goodbye(Goodbye::Superseded);
    let mut waits = Vec::new();
    bench.advance(0);

    for _ in 0..8 {
        bench.node.on_connected(bench.now, 0);
        for frame in [&hello, &goodbye] {
            let frame = frame.encode().unwrap();
            bench.node.on_frame(bench.now, Lane::Control, frame);
        }
        bench.node.on_disconnected(bench.now);
        let due = bench.node.poll_timeout().unwrap();
        waits.push(due.since(bench.now.monotonic).as_millis());
        bench.now.monotonic = due;
        bench.node.on_timeout(bench.now);
    }

    let full = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
    for (wait, full) in waits.iter().zip(full) {
        assert!((full / 2..=full).contains(wait), "{wait} ms of {full} ms");
    }
}
