//! Holes that senders name in the place of what they shed.

use headland_event::{DropPolicy, Hole, Offset};

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record, stamp};

const EVENTS: &str = "inventory.events";

/// A sale of one unit.
fn sale(id: u32) -> String {
    format!(
        r#"{{"id":"eu-1/{id}","kind":"sale","device":"eu-1-till","sku":"85123A","location":"eu-1","#
    ) + r#""quantity":1,"time":"2010-12-01T08:06:00Z"}"#
}

fn dropped(hub: &Hub) -> Vec<(String, DropPolicy, u64)> {
    let dropped = hub.node.dropped();
    dropped.map(|(topic, policy, count)| (topic.to_string(), policy, count)).collect()
}

#[test]
fn a_hole_that_an_agent_names_is_counted_and_what_follows_it_flows() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);

    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(1))]);
    agent.shed(&mut hub, channel, 500, None);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(2))]);

    let ends: Vec<u64> = hub.entries(EVENTS).iter().map(|entry| entry.end().get()).collect();
    assert_eq!(dropped(&hub), [(EVENTS.to_owned(), DropPolicy::Bytes, 500)]);
    assert_eq!(ends, [1, 501, 502]);
    assert_eq!(hub.entries("inventory.events.dead"), []);
    assert_eq!(hub.entries("inventory.rejected"), []);
    let status = hub.node.status();
    assert_eq!(status.applied.into_values().map(|end| end.get()).collect::<Vec<_>>(), [502]);
}

#[test]
fn a_hole_at_the_end_is_part_of_what_the_hub_has_applied_over_a_restart_too() {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let channel = agent.offer(&mut hub, EVENTS);
    agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(1))]);

    agent.shed(&mut hub, channel, 20, None);
    let before = hub.node.status();
    hub.restart(CONFIG);
    let after = hub.node.status();

    assert_eq!(before.applied.values().map(|end| end.get()).collect::<Vec<_>>(), [21]);
    assert_eq!((before.applied, before.fingerprint), (after.applied, after.fingerprint));
}

#[test]
fn a_hole_of_another_region_is_mirrored_with_its_name() {
    let mut hub = Hub::new();
    let mut us = Remote::hub(&mut hub, 1, "us");
    let channel = us.offer(&mut hub, EVENTS);

    us.shed(&mut hub, channel, 7, Some(stamp("us", Offset::new(0))));

    assert_eq!(dropped(&hub), [("us.inventory.events".to_owned(), DropPolicy::Bytes, 7)]);
    assert_eq!(hub.entries("us.inventory.events")[0].batch.span(), 7);
}

#[test]
fn what_an_agent_lost_of_an_earlier_life_is_named_and_missing_to_nobody() {
    let named = [DropPolicy::Damaged, DropPolicy::EarlierLife, DropPolicy::Elsewhere];
    let expected = [DropPolicy::EarlierLife, DropPolicy::EarlierLife, DropPolicy::Elsewhere];
    for (policy, expected) in named.into_iter().zip(expected) {
        let mut hub = Hub::new();
        let mut agent = Remote::agent(&mut hub, 1);
        let channel = agent.offer(&mut hub, EVENTS);
        agent.lose_earlier(&mut hub, channel, policy);
        agent.publish(&mut hub, channel, &[record("eu-1-till", &sale(1))]);

        let before = hub.node.inventory().extent();
        hub.restart(CONFIG);

        let entries = hub.entries(EVENTS);
        let holes: Vec<_> = entries.iter().filter_map(|of| Hole::of(&of.batch)).collect();
        assert_eq!(holes, [Hole { count: 7, policy: expected }]);
        // So do those who mirror it read it.
        assert!(entries.iter().all(|entry| !entry.is_stand_in()), "{policy}");
        let ends: Vec<u64> = before.ends().iter().map(|(_, end)| end.get()).collect();
        assert_eq!((ends, before.gaps().len()), (vec![8], 0), "{policy}");
        assert_eq!(*hub.node.ingest.extent(), before);
        let said: Vec<String> = hub.alerts().into_iter().map(|alert| alert.rule).collect();
        let is_said = said.iter().any(|rule| rule == "damaged_log");
        assert_eq!(is_said, policy == DropPolicy::Damaged, "{policy}: {said:?}");
    }
}
