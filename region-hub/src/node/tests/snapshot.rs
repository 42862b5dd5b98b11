//! A hub that restarts from a snapshot is the hub that replays everything.

use std::ops::Range;

use bytes::Bytes;
use headland_detection::Program;
use headland_event::{ChannelId, Now, TopicName};
use headland_replication::frame::{ChannelEnd, ChannelPromise};
use headland_storage::Snapshot;

use super::derivation::{assert_each_pair_once, write_concurrently};
use super::hub::{CONFIG, Hub, START};
use super::remote::{Remote, record};
use crate::global::Rules;

/// Writes of each region: few steps, each of them a commit.
const COUNT: usize = 24;

/// A hub whose next commit makes a snapshot due.
fn due() -> Hub {
    let mut hub = Hub::new();
    hub.settle();
    hub.advance(11_000);
    hub
}

#[test]
fn a_restart_replays_what_follows_the_snapshot_and_ends_at_the_same_state() {
    let mut hub = due();
    write_concurrently(&mut hub, COUNT);
    let (fingerprint, commits) = (hub.node.inventory.reconciler().fingerprint(), hub.commits());

    hub.restart(CONFIG);
    hub.settle();

    assert!(hub.replayed < commits, "{} of {commits} were replayed", hub.replayed);
    assert_eq!(hub.node.inventory.reconciler().fingerprint(), fingerprint);
    assert_eq!(hub.commits(), commits);
    assert_each_pair_once(&hub, COUNT);
}

#[test]
fn clocks_go_on_from_a_snapshot_as_they_do_from_a_replay() {
    let mut hub = due();
    write_concurrently(&mut hub, COUNT);
    let disk = hub.disk().clone();
    hub.restart(CONFIG);
    let restored =
        (hub.node.ingest.hlc(), hub.node.ingest.heads().clone(), hub.node.durable.clone());

    for name in disk.names().iter().filter(|name| name.ends_with(".snapshot")) {
        disk.remove(name);
    }
    hub.restart(CONFIG);

    let replayed =
        (hub.node.ingest.hlc(), hub.node.ingest.heads().clone(), hub.node.durable.clone());
    assert_eq!(hub.replayed, hub.commits());
    assert_eq!((restored.1, restored.2), (replayed.1, replayed.2));
    assert!(restored.0 >= replayed.0, "the clock of the snapshot saw what was not durable yet");
}

#[test]
fn a_crash_after_any_commit_leaves_each_conflict_once_whatever_was_saved() {
    let mut whole = due();
    write_concurrently(&mut whole, COUNT);
    let commits = usize::try_from(whole.commits()).unwrap();

    let mut restored = 0;
    for crash in 1..commits {
        let mut hub = due();
        hub.cut_power_after(crash);
        write_concurrently(&mut hub, COUNT);
        let before = hub.keys("inventory.conflicts");
        hub.restart(CONFIG);
        restored += u64::from(hub.replayed < hub.commits());
        hub.settle();
        if hub.records("us.inventory.events").is_empty() {
            continue;
        }

        assert_each_pair_once(&hub, COUNT);
        let after = hub.keys("inventory.conflicts");
        assert_eq!(after.get(..before.len()), Some(&*before), "crash after commit {crash}");
    }
    assert!(restored > 0, "some of the crashes come after a snapshot");
}

#[test]
fn a_snapshot_of_another_topic_is_not_taken_up() {
    let mut hub = due();
    write_concurrently(&mut hub, 2);

    hub.restart(&format!("{CONFIG}\n[reconcile]\ntopic = \"other.events\"\n"));

    assert_eq!(hub.replayed, hub.commits());
}

#[test]
fn a_snapshot_with_another_threshold_for_restock_alerts_is_taken_up() {
    let mut hub = due();
    write_concurrently(&mut hub, COUNT);
    let (fingerprint, commits) = (hub.node.inventory.reconciler().fingerprint(), hub.commits());

    hub.restart(&format!("{CONFIG}\n[reconcile]\nrestock_below = 7\n"));

    assert!(hub.replayed < commits, "{} of {commits} were replayed", hub.replayed);
    assert_eq!(hub.node.inventory.reconciler().fingerprint(), fingerprint);
}

/// Windows of two seconds.
const TUMBLE: &str = "TUMBLE(TABLE air, DESCRIPTOR(ts), INTERVAL '2' SECOND)";

/// Nine hundred and sixty windows a row.
const HOP: &str = "HOP(TABLE air, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '16' MINUTE)";

/// A hub with a rule over all regions, whose next commit makes a snapshot due.
fn due_with_rules() -> Hub {
    let mut hub = with_rules(TUMBLE);
    hub.advance(11_000);
    hub
}

/// A hub with a rule over windows of all regions, which is its own alone.
fn with_rules(windows: &str) -> Hub {
    let sql = format!(
        "CREATE TABLE air (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('topic' = 'air@*');
        CREATE TABLE n (k STRING, n BIGINT) WITH ('topic' = 'n', 'emit.early' = '1 s');
        INSERT INTO n SELECT k, COUNT(*) FROM TABLE({windows})
        GROUP BY k, window_start, window_end;"
    );
    let air = "[[topic]]\nname = \"air\"\nlane = \"state\"\npartitions = 1\n[[peer]]";
    let config = CONFIG.replacen("[[peer]]", air, 1).replace("\"alerts\"]", "\"air\"]");
    let config = format!("storage = {{ snapshot_after = \"2s\" }}\n{config}");
    let mut hub = Hub::configured(&config);
    let eu = [hub.region().clone()];
    let program = Program::compile("rules.sql", &sql).unwrap();
    hub.node.rules = Some(Rules::new(program, &eu[0], &eu, &hub.node.topics, 1).unwrap());
    hub.settle();
    hub
}

/// Rows of windows of their own.
fn publish_rows(hub: &mut Hub, agent: &mut Remote, seconds: Range<u32>) -> ChannelId {
    let channel = agent.offer(hub, "air");
    let row = |second: u32| {
        let text = format!(r#"{{"k":"{second}","ts":"2010-12-01 07:45:{second:02}.000"}}"#);
        record("eu-1-till", &text)
    };
    let rows: Vec<_> = seconds.map(row).collect();
    agent.publish(hub, channel, &rows);
    channel
}

/// The snapshot of a hub at whose side rows come, or none, while it is written; and how often the
/// hub did something else in between.
fn snapshot_beside(rows: bool) -> (Snapshot, usize) {
    let mut hub = due_with_rules();
    let mut agent = Remote::agent(&mut hub, 1);
    let _channel = publish_rows(&mut hub, &mut agent, 10..30);
    assert!(hub.saved.is_none(), "it takes several turns");
    let mut turns = 0;
    while hub.node.snapshot_at().is_some() {
        if rows && turns == 0 {
            let _channel = publish_rows(&mut hub, &mut agent, 20..40);
        }
        hub.advance(1);
        hub.settle();
        turns += 1;
    }
    (hub.saved.take().unwrap(), turns)
}

#[test]
fn a_snapshot_of_rules_is_written_in_parts_and_shows_the_end_of_its_commit_whatever_comes() {
    let [(alone, turns), (beside, _)] = [false, true].map(snapshot_beside);

    assert_eq!((beside.at, beside.state), (alone.at, alone.state.clone()));
    assert_eq!(turns, 2, "with other work in between");

    let mut restored = due_with_rules();
    let rules = restored.node.rules.as_mut().unwrap().snapshot();
    let from = restored.node.take_up([alone.clone()]);
    let again = restored.node.rules.as_mut().unwrap().snapshot();
    assert_eq!(from, alone.at.after(1));
    assert!(again.len() > rules.len(), "the rules go on with what they had");
    assert!(alone.state.ends_with(&again));
}

#[test]
fn a_hub_whose_rules_say_more_than_is_written_takes_a_snapshot_that_waits_for_what_they_had_said() {
    let mut hub = with_rules(HOP);
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = publish_rows(&mut hub, &mut agent, 10..50);
    hub.advance(1_500);
    hub.talk(&mut agent);
    let ends = vec![ChannelEnd { channel, end: agent.end(channel) }];
    let topic = TopicName::new("air").unwrap();
    agent.link.promise(ChannelPromise { topic, watermark: START, ends }).unwrap();
    hub.talk(&mut agent);
    assert!(hub.saved.is_none() && hub.records("n").is_empty());
    hub.advance(1_000);

    let (mut begun_at, mut written_when_used) = (None, None);
    while let Some(output) = hub.node.poll_output() {
        hub.perform(output);
        if hub.node.snapshot_at().is_some() && begun_at.is_none() {
            begun_at = Some(hub.commits());
            assert!(!hub.node.rules.as_ref().unwrap().is_idle(), "results wait");
            // It is whole long before the last of them is written.
            while let Some(due) = hub.node.snapshot_at() {
                hub.node.write_snapshot(Now { monotonic: due, ..hub.now });
            }
            assert!(hub.saved.is_none());
        }
        if hub.saved.is_some() && written_when_used.is_none() {
            written_when_used = Some(hub.records("n").len());
        }
    }

    assert_eq!(hub.saved.as_ref().map(|saved| saved.at.get()), begun_at);
    assert_eq!(written_when_used, Some(hub.records("n").len()));
    assert_eq!(hub.records("n").len(), 40 * 960);
}

#[test]
fn a_snapshot_of_before_the_rules_stood_at_its_end_is_taken_up() {
    let mut hub = due();
    write_concurrently(&mut hub, COUNT);
    let Snapshot { at, state } = hub.saved.take().unwrap();
    let mut restored = due();
    restored.node.take_up([Snapshot { at, state: state.clone() }]);
    let reconciler = restored.node.inventory.reconciler().snapshot();
    let head = state.len() - 4 - reconciler.len();
    assert!(state.ends_with(&reconciler));

    let mut before = state[..head].to_vec();
    before[0] = 5;
    before.extend([0; 4]);
    before.extend(&reconciler);
    let mut hub = due();
    let from = hub.node.take_up([Snapshot { at, state: Bytes::from(before) }]);

    assert_eq!(from, at.after(1));
    assert_eq!(hub.node.inventory.reconciler().snapshot(), reconciler);
}
