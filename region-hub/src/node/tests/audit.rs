//! Whether the log holds what agents state that they wrote.

use headland_event::{ChannelId, Monotonic, Record};
use headland_replication::Audit;
use headland_replication::audit::{INTERVAL, Statement};

use super::hub::{CONFIG, Hub, START};
use super::remote::{LIFE, Remote, partition, record};

const EVENTS: &str = "inventory.events";
const STATEMENTS: &str = "_audit";

/// What the log of a channel comes to at the agent.
fn stated(agent: &Remote, channel: ChannelId) -> Statement {
    let start = Monotonic::default();
    let mut audit = Audit::new(LIFE, start);
    agent.log(channel).iter().for_each(|entry| audit.on_entry(&partition(EVENTS), entry));
    audit.on_timeout(start.after(INTERVAL)).remove(0).1
}

/// A hub that took two batches of an agent, and the channel of the agent's statements.
fn hub() -> (Hub, Remote, [ChannelId; 2]) {
    let mut hub = Hub::new();
    let mut agent = Remote::agent(&mut hub, 1);
    let [events, statements] = [EVENTS, STATEMENTS].map(|topic| agent.offer(&mut hub, topic));
    agent.publish(&mut hub, events, &[record("eu-1-till", "a"), record("eu-1-till", "b")]);
    agent.publish(&mut hub, events, &[record("eu-1-till", "c")]);
    (hub, agent, [events, statements])
}

#[test]
fn an_agents_statement_needs_no_grant_and_agrees_with_the_log() {
    let (mut hub, mut agent, [events, statements]) = hub();
    let statement = stated(&agent, events);

    agent.publish(&mut hub, statements, &[Record::new(START, "air/0", statement.encode())]);

    let status = hub.node.audit_status();
    assert_eq!((status.agreed, status.faults), (1, 0));
    assert_eq!(hub.keys("_audit.dead"), Vec::<String>::new());
}

#[test]
fn a_range_that_is_not_what_was_written_is_one_alert_also_after_a_restart() {
    let (mut hub, mut agent, [events, statements]) = hub();
    let mut statement = stated(&agent, events);
    statement.digest.records += 2;

    agent.publish(&mut hub, statements, &[Record::new(START, "air/0", statement.encode())]);
    let raised = hub.alerts();
    hub.restart(CONFIG);
    hub.advance(1_000);
    hub.settle();

    let status = hub.node.audit_status();
    assert_eq!(raised.len(), 1);
    assert_eq!((raised[0].rule.as_str(), raised[0].window.as_str()), ("audit", "4"));
    assert!(raised[0].values["fault"].starts_with("2 records are missing in inventory.events/"));
    assert!(hub.alerts().iter().all(|alert| alert.id == raised[0].id));
    assert_eq!(status.last_faults.len(), 1);
}

#[test]
fn a_hub_states_what_its_own_streams_come_to_and_says_it_once() {
    let (mut hub, mut agent, [events, statements]) = hub();
    let mut statement = stated(&agent, events);
    statement.digest.sum ^= 1;
    agent.publish(&mut hub, statements, &[Record::new(START, "air/0", statement.encode())]);

    let wait = |hub: &mut Hub| {
        hub.advance(u64::try_from(INTERVAL.as_millis()).unwrap());
        hub.settle();
        hub.keys(STATEMENTS)
    };
    let said = wait(&mut hub);
    hub.restart(CONFIG);
    let said_again = wait(&mut hub);

    assert!(matches!(&said[..], [of] if of.starts_with("alerts/")), "{said:?}");
    assert_eq!(said_again, said);
}
