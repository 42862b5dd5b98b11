//! Agents that offer a log which ends before where the hub has it to.

use headland_event::Alert;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};

const EVENTS: &str = "inventory.events";

/// A hub that has three records of an agent, and that agent.
fn hub() -> (Hub, Remote) {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let events = agent.offer(&mut hub, EVENTS);
    agent.publish(&mut hub, events, &[record("eu-1-till", "a"), record("eu-1-till", "b")]);
    agent.publish(&mut hub, events, &[record("eu-1-till", "c")]);
    (hub, agent)
}

fn raised(hub: &Hub) -> Vec<Alert> {
    hub.alerts().into_iter().filter(|alert| alert.rule == "log_went_back").collect()
}

#[test]
fn a_log_that_ends_before_where_it_is_here_is_named_once_a_run() {
    let (mut hub, _agent) = hub();

    // A copy of the agent's data directory, of before it wrote anything, twice.
    Remote::agent(&mut hub, 2).offer(&mut hub, EVENTS);
    Remote::agent(&mut hub, 3).offer(&mut hub, EVENTS);
    let first = raised(&hub);
    hub.restart(CONFIG);
    Remote::agent(&mut hub, 4).offer(&mut hub, EVENTS);
    let second = raised(&hub);

    assert_eq!(first.len(), 1);
    assert_eq!((first[0].values["ends_at"].as_str(), first[0].window.as_str()), ("0", "3"));
    assert!(first[0].values["fault"].contains("of agent eu-1 ends at 0, and 3 of it are here"));
    assert!(second.iter().all(|alert| alert.id == first[0].id));
}

#[test]
fn a_log_that_is_as_long_as_it_is_here_is_no_cause_for_alarm() {
    let (mut hub, agent) = hub();

    let mut again = Remote::agent(&mut hub, 2);
    again.take_log_of(agent);
    again.offer(&mut hub, EVENTS);

    assert_eq!(raised(&hub), []);
}
