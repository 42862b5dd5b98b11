//! Files that rules look in: what is said of a row is said of what the file held when it came.

use headland_storage::{StateChange, StoredCommit};
use proptest::prelude::*;

use super::*;
use crate::outbox::owner;

/// How many rows each site has had, and each row with its site.
const LOOKING: &str = "
CREATE TABLE sites (station STRING, site STRING)
  WITH ('connector' = 'filesystem', 'path' = 'sites.csv', 'format' = 'csv');
CREATE VIEW placed AS SELECT air.station, site, pm25 FROM air
  JOIN sites FOR SYSTEM_TIME AS OF air.`time` ON sites.station = air.station;
CREATE TABLE busy (site STRING, n BIGINT) WITH ('topic' = 'busy');
INSERT INTO busy SELECT site, COUNT(*) FROM placed GROUP BY site;
CREATE TABLE seen (station STRING, site STRING, pm25 DOUBLE) WITH ('topic' = 'seen');
INSERT INTO seen SELECT * FROM placed;
CREATE TABLE limits (station STRING, most DOUBLE, PRIMARY KEY (station) NOT ENFORCED)
  WITH ('topic' = 'limits', 'format' = 'csv');
CREATE TABLE judged (station STRING, most DOUBLE, pm25 DOUBLE) WITH ('topic' = 'judged');
INSERT INTO judged SELECT air.station, most, pm25 FROM air
  LEFT JOIN limits FOR SYSTEM_TIME AS OF air.`time` ON limits.station = air.station;
CREATE TABLE excess (station STRING, n BIGINT) WITH ('topic' = 'excess');
INSERT INTO excess SELECT air.station, COUNT(*) FROM air
  JOIN limits FOR SYSTEM_TIME AS OF air.`time` ON limits.station = air.station AND most < pm25
  GROUP BY air.station;
";

fn looking(text: &str) -> Setup {
    let mut setup = Setup::new().with_rules(LOOKING).with_source("limits");
    setup.config = setup.config.replace("1KiB", "64MiB");
    setup.files = vec![("sites", text.to_owned())];
    setup
}

/// What alerts of a topic say, in order.
fn said(bench: &Bench, topic: &str) -> Vec<String> {
    let alerts = bench.records(topic).into_iter().map(|record| {
        let alert: Alert = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        let values: Vec<_> = alert.values.values().map(String::as_str).collect();
        format!("{} {} {:?} at {}", values.join(" "), alert.revision, alert.state, alert.evidence)
    });
    alerts.collect()
}

fn values(bench: &Bench, topic: &str) -> Vec<String> {
    let said = said(bench, topic).into_iter();
    said.map(|said| said.split(" Firing").next().unwrap().to_owned()).collect()
}

/// The line of a station's reading, `minute` minutes into a day.
fn reading(station: u8, minute: u64) -> String {
    format!("s{station},2013-03-01 {:02}:{:02}:00,50", minute / 60, minute % 60)
}

fn feed(bench: &mut Bench, station: u8, number: u64) {
    let text = reading(station, number);
    bench.feed(&[(&text, number)]);
}

#[test]
fn a_file_that_changed_counts_from_the_next_line_on_and_a_bad_one_not_at_all() {
    let mut bench = Bench::of(looking("s0,north\ns1,south\n"));
    bench.header();

    feed(&mut bench, 0, 2);
    bench.setup = looking("s0,west\ns1,south\n");
    let mut bench = bench.restarted();
    bench.node.on_first_line(0, &line("station,time,pm25", 1));
    feed(&mut bench, 0, 3);
    bench.setup = looking("s0,east\ns1\n");
    let mut bench = bench.restarted();
    bench.node.on_first_line(0, &line("station,time,pm25", 1));
    feed(&mut bench, 0, 4);

    assert_eq!(values(&bench, "seen"), ["50.0 north s0 1", "50.0 west s0 1", "50.0 west s0 1"]);
    assert_eq!(values(&bench, "busy"), ["1 north 1", "1 west 1", "2 west 2"]);
}

#[test]
fn rules_whose_file_never_fitted_refuse_their_rows_while_others_go_on() {
    let mut bench = Bench::of(looking("s0\n"));
    bench.header();

    bench.feed(&MORNING);
    bench.feed(&[LATER]);

    assert_eq!(said(&bench, "seen"), Vec::<String>::new());
    assert_eq!(bench.alerts().len(), 1);
    let rules = bench.node.status().rules;
    let refused = |name: &str| rules.iter().find(|rule| rule.name == name).unwrap().rows["refused"];
    assert_eq!((refused("seen"), refused("high")), (3, 0));
}

#[test]
fn the_last_row_of_a_topic_counts_for_rows_behind_it_also_after_a_restart() {
    let mut bench = Bench::of(looking("s0,north\n"));
    bench.header();

    feed(&mut bench, 0, 2);
    bench.feed_to(1, &[("station,most", 1), ("s0,40", 2), ("s1,60", 3)]);
    feed(&mut bench, 0, 3);
    feed(&mut bench, 1, 4);
    let mut bench = restarted(bench);
    feed(&mut bench, 0, 5);
    bench.feed_to(1, &[("s0,70", 4)]);
    feed(&mut bench, 0, 6);

    let judged = ["NULL 50.0 s0", "40.0 50.0 s0", "60.0 50.0 s1", "40.0 50.0 s0", "70.0 50.0 s0"];
    assert_eq!(values(&bench, "judged"), judged.map(|values| format!("{values} 1")));
    assert_eq!(values(&bench, "excess"), ["1 s0 1", "2 s0 2"]);
}

#[test]
fn contents_that_are_more_together_than_a_commit_holds_come_in_commits_of_their_own() {
    let names = ["f1", "f2", "f3", "f4", "f5"];
    let mut setup = Setup::new();
    for name in names {
        setup.rules += &format!(
            "CREATE TABLE {name} (station STRING, site STRING) WITH ('connector' = 'filesystem', \
             'path' = '{name}.csv', 'format' = 'csv', 'file.bytes' = '4MiB');"
        );
    }
    let text = format!("s0,{}\n", "n".repeat((4 << 20) - 4));
    setup.files = names.map(|name| (name, text.clone())).into();

    let mut bench = Bench::of(setup);
    bench.header();
    bench.feed(&MORNING);
    let mut bench = bench.restarted();
    bench.node.on_first_line(0, &line("station,time,pm25", 1));
    bench.feed(&[LATER]);

    assert_eq!(bench.alerts().len(), 1);
}

#[test]
fn rows_before_a_file_do_not_find_it_when_they_are_replayed_without_a_snapshot() {
    let mut bench = Bench::of(looking("s0\n"));
    bench.turns_left = Some(0);
    bench.header();

    feed(&mut bench, 0, 2);
    feed(&mut bench, 0, 3);
    bench.setup = looking("s0,north\n");
    let mut bench = restarted(bench);
    bench.turns_left = Some(0);
    feed(&mut bench, 0, 4);
    let mut bench = restarted(bench);
    feed(&mut bench, 0, 5);

    assert_eq!(values(&bench, "busy"), ["1 north 1", "2 north 2"]);
}

#[test]
fn a_file_that_comes_back_counts_for_its_rows_when_they_are_replayed_without_a_snapshot() {
    let mut bench = Bench::of(looking("s0,north\n"));
    bench.turns_left = Some(0);
    bench.header();

    feed(&mut bench, 0, 2);
    for (number, text) in [(3, "s0,west\n"), (4, "s0,north\n"), (5, "s0,west\n")] {
        bench.setup = looking(text);
        bench = restarted(bench);
        bench.turns_left = Some(0);
        feed(&mut bench, 0, number);
    }

    assert_eq!(values(&bench, "busy"), ["1 north 1", "1 west 1", "2 north 2", "2 west 2"]);
}

#[test]
fn a_content_that_is_not_known_any_more_leaves_none_in_force() {
    let mut bench = Bench::of(looking("s0,north\n"));
    bench.header();

    feed(&mut bench, 0, 2);
    let (key, value) = (Bytes::from_static(b"c/sites"), Some(Bytes::from_static(b"gone")));
    let change = StateChange { owner: owner("files"), key, value };
    let (number, entries) = (CommitNumber::new(99), Vec::new());
    bench.node.on_replayed(&StoredCommit { number, entries, state: vec![change] });
    feed(&mut bench, 0, 3);

    assert_eq!(values(&bench, "seen"), ["50.0 north s0 1"]);
}

/// One thing that happens to an agent.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A line of a station.
    Line(u8),
    /// A row of a station in the topic that is looked up in.
    Limit(u8, u8),
    /// The file changes, the agent starts again.
    Edit(u8),
    /// The power fails so many commits into a line, which is read again, and before any snapshot.
    Crash(usize, u8),
    /// Time goes by, so that snapshots are due.
    Pause(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..3).prop_map(Step::Line),
        2 => (0_u8..3, 40_u8..60).prop_map(|(station, most)| Step::Limit(station, most)),
        2 => (0_u8..4).prop_map(Step::Edit),
        2 => (0_usize..2, 0_u8..3).prop_map(|(commits, station)| Step::Crash(commits, station)),
        2 => (0_u64..20_000).prop_map(Step::Pause),
    ]
}

/// The file in its `version`: each station at another site.
fn sites(version: u8) -> String {
    (0..3).map(|station| format!("s{station},site{}\n", (station + version) % 4)).collect()
}

/// What is said when nothing fails: files change while the agent runs.
fn undisturbed(steps: &[Step]) -> Bench {
    let mut bench = Bench::of(looking(&sites(0)));
    bench.header();
    bench.feed_to(1, &[("station,most", 1)]);
    let (mut number, mut limits) = (2, 2);
    for step in steps {
        match *step {
            Step::Line(station) | Step::Crash(_, station) => {
                feed(&mut bench, station, number);
                number += 1;
            }
            Step::Limit(station, most) => limit(&mut bench, station, most, &mut limits),
            Step::Edit(version) => {
                bench.setup = looking(&sites(version));
                bench.setup.look(&mut bench.node);
            }
            Step::Pause(millis) => bench.advance(millis),
        }
    }
    bench
}

fn limit(bench: &mut Bench, station: u8, most: u8, number: &mut u64) {
    bench.feed_to(1, &[(&format!("s{station},{most}"), *number)]);
    *number += 1;
}

fn disturbed(steps: &[Step]) -> Bench {
    let mut bench = Bench::of(looking(&sites(0)));
    bench.header();
    bench.feed_to(1, &[("station,most", 1)]);
    let (mut number, mut limits) = (2, 2);
    for step in steps {
        match *step {
            Step::Line(station) => {
                feed(&mut bench, station, number);
                number += 1;
            }
            Step::Limit(station, most) => limit(&mut bench, station, most, &mut limits),
            Step::Edit(version) => {
                bench.setup = looking(&sites(version));
                bench = restarted(bench);
            }
            Step::Crash(commits, station) => {
                (bench.commits_left, bench.turns_left) = (Some(commits), Some(0));
                feed(&mut bench, station, number);
                bench = restarted(bench);
                if bench.node.source_position(0).unwrap().lines < number {
                    feed(&mut bench, station, number);
                }
                number += 1;
            }
            Step::Pause(millis) => bench.advance(millis),
        }
    }
    bench
}

fn restarted(bench: Bench) -> Bench {
    let mut bench = bench.restarted();
    bench.node.on_first_line(0, &line("station,time,pm25", 1));
    bench
}

#[test]
fn rows_are_joined_again_as_they_were_though_the_file_went_back_and_forth_since() {
    let edits = [1, 0, 1, 0, 1, 0].map(Step::Edit);
    let before = [Step::Edit(2), Step::Line(0), Step::Line(2)];
    let steps: Vec<Step> = before.into_iter().chain(edits).chain([Step::Crash(0, 0)]).collect();

    let (one, other) = (undisturbed(&steps), disturbed(&steps));

    assert_eq!(said(&one, "seen"), said(&other, "seen"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_a_row_found_in_a_file_is_said_once_and_alike_whatever_crashed_and_changed(
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let (one, other) = (undisturbed(&steps), disturbed(&steps));

        for topic in ["seen", "busy", "judged", "excess"] {
            prop_assert_eq!(said(&one, topic), said(&other, topic));
        }
    }
}
