//! A disk that is full: alerts flow, all else waits at whoever sent it.

use headland_detection::Program;
use headland_event::ByteCount;
use headland_replication::LinkOutput;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};
use crate::global::Rules;

const EVENTS: &str = "inventory.events";

fn acknowledged(remote: &Remote) -> u64 {
    let acked = remote.said.iter().filter_map(|said| match said {
        LinkOutput::Acked { next, .. } => Some(next.get()),
        _ => None,
    });
    acked.sum()
}

#[test]
fn while_the_disk_is_full_alerts_are_stored_and_events_wait_unacknowledged() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let events = agent.offer(&mut hub, EVENTS);
    let alerts = agent.offer(&mut hub, "alerts");

    hub.node.on_full();
    agent.publish(&mut hub, events, &[record("eu-1-till", "{}")]);
    agent.publish(&mut hub, alerts, &[record("sku", "{}")]);
    hub.advance(1_000);
    hub.talk(&mut agent);
    let full = (hub.records(EVENTS).len(), acknowledged(&agent));
    hub.node.on_resumed(hub.now);
    hub.talk(&mut agent);

    assert_eq!(full, (0, 1), "the alert alone");
    assert_eq!((hub.records(EVENTS).len(), acknowledged(&agent)), (1, 2));
    assert_eq!(hub.records("inventory.rejected").len(), 1);
}

#[test]
fn what_was_held_of_a_connection_that_ended_comes_once_from_the_next() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let events = agent.offer(&mut hub, EVENTS);
    hub.node.on_full();
    agent.publish(&mut hub, events, &[record("eu-1-till", "{}")]);

    hub.node.on_disconnected(hub.now, agent.link_id);
    let mut next = Remote::agent(&mut hub, 2);
    next.take_log_of(agent);
    next.offer(&mut hub, EVENTS);
    hub.node.on_resumed(hub.now);
    hub.talk(&mut next);

    assert_eq!(hub.records(EVENTS).len(), 1);
}

#[test]
fn inventory_waits_while_as_much_as_may_is_not_reconciled_and_keeps_its_order() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let events = agent.offer(&mut hub, EVENTS);

    hub.node.fullness.behind_limit = ByteCount::new(0);
    agent.publish(&mut hub, events, &[record("eu-1-till", "1")]);
    let behind = hub.records(EVENTS).len();
    hub.node.fullness.behind_limit = ByteCount::new(1);
    agent.publish(&mut hub, events, &[record("eu-1-till", "2")]);
    hub.advance(1_000);
    hub.talk(&mut agent);

    assert_eq!(behind, 0);
    assert_eq!(hub.texts(EVENTS), ["1", "2"]);
}

#[test]
fn rows_of_rules_wait_while_as_many_results_as_may_are_not_written_and_others_do_not() {
    let sql = "CREATE TABLE air (ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('topic' = 'air@*');
        CREATE TABLE n (n BIGINT) WITH ('topic' = 'n');
        INSERT INTO n SELECT COUNT(*)
        FROM TABLE(TUMBLE(TABLE air, DESCRIPTOR(ts), INTERVAL '2' SECOND))
        GROUP BY window_start, window_end;";
    let topic = |name| format!("[[topic]]\nname = \"{name}\"\nlane = \"state\"\npartitions = 1\n");
    let topics = format!("{}{}[[peer]]", topic("air"), topic("water"));
    let config = CONFIG.replacen("[[peer]]", &topics, 1);
    let config = config.replace("\"alerts\"]", "\"air\", \"water\"]");
    let mut hub = Hub::configured(&config);
    let eu = [hub.region().clone()];
    let program = Program::compile("rules.sql", sql).unwrap();
    let rules = Rules::new(program, &eu[0], &eu, &hub.node.topics, 1).unwrap();
    hub.node.rules = Some(rules);
    let mut agent = Remote::agent(&mut hub, 1);
    let [air, water] = ["air", "water"].map(|topic| agent.offer(&mut hub, topic));

    hub.node.rules.as_mut().unwrap().limit_ready(0, ByteCount::new(0));
    for channel in [air, water] {
        agent.publish(&mut hub, channel, &[record("eu-1-till", "1")]);
    }
    let behind = ["air", "water"].map(|topic| hub.records(topic).len());
    hub.node.rules.as_mut().unwrap().limit_ready(0, ByteCount::new(1));
    agent.publish(&mut hub, air, &[record("eu-1-till", "2")]);
    hub.advance(1_000);
    hub.talk(&mut agent);

    assert_eq!(behind, [0, 1]);
    assert_eq!(hub.texts("air"), ["1", "2"]);
}

#[test]
fn while_the_disk_is_full_the_alerts_of_a_peer_that_comes_back_flow_again() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let events = agent.offer(&mut hub, EVENTS);
    hub.cut_power_after(0);
    agent.publish(&mut hub, events, &[record("eu-1-till", "{}")]);
    hub.node.on_full();

    hub.node.on_disconnected(hub.now, agent.link_id);
    let mut next = Remote::agent(&mut hub, 2);
    next.take_log_of(agent);
    next.offer(&mut hub, EVENTS);
    let alerts = next.offer(&mut hub, "alerts");
    next.publish(&mut hub, alerts, &[record("sku", "{}")]);

    let on_their_way = hub.node.in_flight.iter().flat_map(|commit| &commit.entries);
    let topics: Vec<&str> = on_their_way.map(|(at, _)| at.topic.as_str()).collect();
    assert_eq!(topics, [EVENTS, "alerts"]);
}
