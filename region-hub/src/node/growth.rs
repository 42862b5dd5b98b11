//! Topics whose partitions grow: an agent that wrote before goes on where it wrote.
//!
//! An agent's batches of a topic go to the partition of its name's hash, so that with more
//! partitions it would go on in another one: what it wrote first and what it wrote later would
//! travel over two channels, and a reader would meet them in any order. So the hub keeps how many
//! partitions a topic has, and when that grows, for each agent that wrote it, which one is its own.

use bytes::Bytes;
use headland_event::{AgentName, PartitionIndex, TopicName};
use headland_storage::StateStore;

use super::recovery::{number, owner};
use super::{Node, RecoveryError};
use crate::peer_link::agent_partition;

/// Keys of how many partitions a topic has: this and its name.
const TOPIC: &str = "topic/";

/// Keys of which partition is an agent's: this, its name, `/` and the topic's.
const AGENT: &str = "agent/";

impl Node {
    /// Takes up which partitions are whose, and grows declared topics. One that is configured with
    /// fewer partitions than it has keeps them.
    pub(super) fn restore_partitions(
        &mut self,
        state: &impl StateStore,
    ) -> Result<(), RecoveryError> {
        for (key, value) in state.scan(&owner("assigned"), AGENT.as_bytes())? {
            let key = String::from_utf8_lossy(&key).into_owned();
            let names = key.strip_prefix(AGENT).and_then(|names| names.split_once('/'));
            let Some((agent, topic)) = names else { continue };
            let of = (AgentName::new(agent)?, TopicName::new(topic)?);
            self.topics.assign(of, PartitionIndex::new(count(&value)?));
        }
        let published = self.topics.iter().filter(|topic| topic.is_local() && !topic.is_internal());
        let published: Vec<(TopicName, u32)> =
            published.map(|topic| (topic.name.clone(), topic.partitions)).collect();
        for (topic, configured) in published {
            let key = Bytes::from(format!("{TOPIC}{topic}"));
            let known = state.get(&owner("assigned"), &key)?;
            let known = known.map(|value| count(&value)).transpose()?;
            match known {
                Some(known) if known == configured => continue,
                Some(known) if known > configured => {
                    tracing::warn!(%topic, known, configured, "partitions only grow");
                    self.topics.grow(&topic, known);
                    continue;
                }
                Some(known) => self.assign_writers(&topic, known),
                None => {}
            }
            let value = u64::from(configured).to_be_bytes().to_vec();
            self.composer.set(owner("assigned"), key, Some(value.into()));
        }
        Ok(())
    }

    /// Leaves every agent that wrote a topic of so many partitions where it is.
    fn assign_writers(&mut self, topic: &TopicName, partitions: u32) {
        let writers: Vec<AgentName> =
            self.positions.keys().filter_map(|key| writer(key, topic)).collect();
        for agent in writers {
            let of = (agent.clone(), topic.clone());
            if self.topics.assigned(&of).is_some() {
                continue;
            }
            let own = agent_partition(agent.as_str(), partitions);
            let key = format!("{AGENT}{agent}/{topic}");
            let value = u64::from(own.get()).to_be_bytes().to_vec();
            self.composer.set(owner("assigned"), key.into(), Some(value.into()));
            self.topics.assign(of, own);
        }
    }
}

/// The agent whose position in a topic a key is: `region/<r>/agent/<name>/<life>/<topic>/<n>`.
fn writer(key: &[u8], topic: &TopicName) -> Option<AgentName> {
    let key = std::str::from_utf8(key).ok()?;
    let parts: Vec<&str> = key.split('/').collect();
    match parts.as_slice() {
        ["region", _, "agent", name, _, of, _] if *of == topic.as_str() => {
            AgentName::new(name).ok()
        }
        _ => None,
    }
}

fn count(value: &Bytes) -> Result<u32, RecoveryError> {
    Ok(u32::try_from(number("assigned", value)?).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_says_which_agent_wrote_which_topic() {
        let topic = TopicName::new("air.readings").unwrap();
        let of = |key: &str| writer(key.as_bytes(), &topic).map(|agent| agent.to_string());

        let agent = of("region/eu/agent/eu-1/1.00000000000000ff/air.readings/0");
        let others = [
            "region/eu/agent/eu-1/1.00000000000000ff/air/0",
            "region/us/hub/hub-1/1.00000000000000ff/air.readings/0",
            "anything",
        ]
        .map(of);

        assert_eq!(agent.as_deref(), Some("eu-1"));
        assert_eq!(others, [const { None }; 3]);
    }
}
