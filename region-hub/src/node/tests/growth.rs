//! Topics whose partitions grow while agents write.

use headland_event::{PartitionIndex, TopicPartition};
use headland_storage::LogReader;

use super::hub::{CONFIG, Hub};
use super::remote::{Remote, record};
use crate::peer_link::{LinkId, agent_partition};

const EVENTS: &str = "inventory.events";

/// A hub with so many partitions of inventory, and two agents.
fn config(partitions: u32) -> String {
    let text = CONFIG.replace("partitions = 1", &format!("partitions = {partitions}"));
    text + "[[agent]]\nname = \"eu-2\"\ntopics = [\"inventory.events\"]\ndevices = [\"eu-2-\"]\n"
}

/// How many records of inventory each partition has.
fn ends(hub: &Hub) -> Vec<u64> {
    let topic = hub.node.topics().get(&EVENTS.parse().unwrap()).unwrap();
    let at = |n| TopicPartition::new(topic.name.clone(), PartitionIndex::new(n));
    (0..topic.partitions).map(|n| hub.reader().end(&at(n)).get()).collect()
}

/// Lets the agent go on with the log of a former connection, and publish once more.
fn go_on(hub: &mut Hub, link_id: u64, former: Option<Remote>) -> Remote {
    let mut agent = Remote::agent(hub, link_id);
    if let Some(former) = former {
        agent.take_log_of(former);
    }
    let channel = agent.offer(hub, EVENTS);
    agent.publish(hub, channel, &[record("eu-1-a", "{}")]);
    agent
}

#[test]
fn an_agent_goes_on_in_the_partition_it_wrote_whatever_its_topic_grows_to() {
    assert_ne!(agent_partition("eu-1", 8), PartitionIndex::new(0), "or nothing is tested");
    let mut hub = Hub::configured(&config(1));
    let first = go_on(&mut hub, 1, None);

    hub.restart(&config(2));
    let second = go_on(&mut hub, 2, Some(first));
    hub.restart(&config(8));
    let third = go_on(&mut hub, 3, Some(second));
    // Once more, as it is kept: what was assigned holds over a restart that changes nothing.
    hub.restart(&config(8));
    go_on(&mut hub, 4, Some(third));

    assert_eq!(ends(&hub), [4, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn an_agent_that_writes_first_when_a_topic_has_grown_is_spread_over_all_of_it() {
    let mut hub = Hub::configured(&config(1));
    go_on(&mut hub, 1, None);
    hub.restart(&config(8));

    let mut other = Remote::agent_of(&mut hub, 2, "eu", "eu-2");
    let channel = other.offer(&mut hub, EVENTS);
    other.publish(&mut hub, channel, &[record("eu-2-a", "{}")]);

    let own = usize::try_from(agent_partition("eu-2", 8).get()).unwrap();
    let mut expected = vec![0; 8];
    expected[0] += 1;
    expected[own] += 1;
    assert_eq!(ends(&hub), expected);
}

#[test]
fn a_topic_that_is_configured_with_fewer_partitions_keeps_those_it_has() {
    let mut hub = Hub::configured(&config(8));
    let first = go_on(&mut hub, 1, None);
    let before = ends(&hub);

    hub.restart(&config(4));
    go_on(&mut hub, 2, Some(first));

    let doubled: Vec<u64> = before.iter().map(|records| records * 2).collect();
    assert_eq!(ends(&hub), doubled);
}

#[test]
fn a_copy_of_a_topic_that_grew_has_each_agents_records_in_their_order() {
    let mut eu = Hub::configured(&config(1));
    let peer = CONFIG.replace("[[peer]]\nregion = \"us\"", "[[peer]]\nregion = \"eu\"");
    let mut us = Hub::configured(&peer.replacen("region = \"eu\"", "region = \"us\"", 1));
    let first = go_on(&mut eu, 1, None);
    eu.restart(&config(8));
    go_on(&mut eu, 2, Some(first));

    eu.meet(&mut us, LinkId::new(100));
    eu.talk_to(&mut us, LinkId::new(100));

    assert_eq!(us.entries("eu.inventory.events"), eu.entries(EVENTS));
    assert_eq!(us.records("eu.inventory.events").len(), 2);
}
