//! Promises: how far the region's event time has come, from what its agents promise.
//!
//! An agent's promise takes effect when the log has reached the ends it names. The region's
//! watermark for a topic is the minimum over the agents that may publish it; an agent that was not
//! heard of for the hold time is absent and leaves the minimum. An agent that is known but has
//! promised nothing holds the watermark: silence is never idle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headland_event::{AgentName, EventTime, Monotonic, Offset, TopicName, TopicPartition};

use crate::ingest::Grant;

/// Promises of one agent that wait for their data; a further one replaces the oldest.
const WAITING_LIMIT: usize = 64;

/// A promise that takes effect once the agent's own partitions reached these ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPromise {
    /// The topic it is about.
    pub topic: TopicName,
    /// Up to which event time, inclusive.
    pub watermark: EventTime,
    /// Ends in the agent's log, by its partition.
    pub ends: Vec<(TopicPartition, Offset)>,
}

#[derive(Debug)]
struct Agent {
    topics: Vec<TopicName>,
    offered: BTreeSet<TopicName>,
    heard_at: Monotonic,
    is_connected: bool,
    is_absent: bool,
    has_promised: bool,
    watermarks: BTreeMap<TopicName, EventTime>,
    waiting: Vec<AgentPromise>,
}

impl Agent {
    /// Whether the agent takes part in a topic's minimum, and with what.
    fn part(&self, topic: &TopicName) -> Part {
        if self.is_absent || !self.topics.contains(topic) {
            return Part::None;
        }
        match self.watermarks.get(topic) {
            Some(watermark) => Part::At(*watermark),
            // An agent offers all its topics when it connects and before it promises anything, so
            // from its first promise on a topic that it did not offer is none of its own.
            None if self.has_promised && !self.offered.contains(topic) => Part::None,
            None => Part::Holds,
        }
    }
}

enum Part {
    None,
    Holds,
    At(EventTime),
}

/// What the agents of a region have promised.
#[derive(Debug)]
pub struct Promises {
    agents: BTreeMap<AgentName, Agent>,
    /// When each agent that is not connected becomes absent.
    absent_at: BTreeSet<(Monotonic, AgentName)>,
    hold: Duration,
}

impl Promises {
    /// Knows the configured agents, none of them heard of yet.
    #[must_use]
    pub fn new(grants: &[Grant], hold: Duration, now: Monotonic) -> Self {
        let agents: BTreeMap<AgentName, Agent> = grants
            .iter()
            .map(|grant| {
                let agent = Agent {
                    topics: grant.topics().to_vec(),
                    offered: BTreeSet::new(),
                    heard_at: now,
                    is_connected: false,
                    is_absent: false,
                    has_promised: false,
                    watermarks: BTreeMap::new(),
                    waiting: Vec::new(),
                };
                (grant.agent().clone(), agent)
            })
            .collect();
        let absent_at = agents.keys().map(|name| (now.after(hold), name.clone())).collect();
        Self { agents, absent_at, hold }
    }

    /// An agent's link came up; an absent agent takes part again.
    pub fn on_connected(&mut self, now: Monotonic, name: &AgentName) {
        if let Some(agent) = self.agents.get_mut(name) {
            self.absent_at.remove(&(agent.heard_at.after(self.hold), name.clone()));
            agent.is_connected = true;
            agent.is_absent = false;
            agent.heard_at = now;
            agent.waiting.clear();
            agent.offered.clear();
            agent.has_promised = false;
        }
    }

    /// An agent offered a topic.
    pub fn on_offer(&mut self, name: &AgentName, topic: &TopicName) {
        if let Some(agent) = self.agents.get_mut(name) {
            agent.offered.insert(topic.clone());
        }
    }

    /// An agent's link went down.
    pub fn on_disconnected(&mut self, now: Monotonic, name: &AgentName) {
        if let Some(agent) = self.agents.get_mut(name) {
            self.absent_at.remove(&(agent.heard_at.after(self.hold), name.clone()));
            agent.is_connected = false;
            agent.heard_at = now;
            if !agent.is_absent {
                self.absent_at.insert((now.after(self.hold), name.clone()));
            }
        }
    }

    /// An agent promised something.
    pub fn on_promise(&mut self, name: &AgentName, promise: AgentPromise) {
        let agent = self.agents.get_mut(name);
        if let Some(agent) = agent.filter(|agent| agent.topics.contains(&promise.topic)) {
            agent.has_promised = true;
            if agent.waiting.len() >= WAITING_LIMIT {
                // A later promise of the same topic says all that an earlier one did.
                agent.waiting.remove(0);
            }
            agent.waiting.push(promise);
        }
    }

    /// Lets an agent's promises take effect whose ends `reached` says are in the log.
    pub fn on_progress(&mut self, name: &AgentName, reached: impl Fn(&TopicPartition) -> Offset) {
        let Some(agent) = self.agents.get_mut(name) else { return };
        let watermarks = &mut agent.watermarks;
        agent.waiting.retain(|promise| {
            let holds = promise.ends.iter().all(|(partition, end)| reached(partition) >= *end);
            if holds {
                let known = watermarks.entry(promise.topic.clone()).or_insert(EventTime::MIN);
                *known = promise.watermark.max(*known);
            }
            !holds
        });
    }

    /// Names the agents that became absent by `now`.
    pub fn on_timeout(&mut self, now: Monotonic) -> Vec<AgentName> {
        let mut absent = Vec::new();
        while self.absent_at.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, name)) = self.absent_at.pop_first() else { break };
            if let Some(agent) = self.agents.get_mut(&name) {
                agent.is_absent = true;
            }
            absent.push(name);
        }
        absent
    }

    /// When the next agent becomes absent.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.absent_at.first().map(|(at, _)| *at)
    }

    /// The region's watermark for a topic, `None` while an agent holds it or nobody publishes it.
    #[must_use]
    pub fn watermark(&self, topic: &TopicName) -> Option<EventTime> {
        let mut minimum = None;
        for agent in self.agents.values() {
            match agent.part(topic) {
                Part::None => {}
                Part::Holds => return None,
                Part::At(watermark) => {
                    minimum = Some(minimum.map_or(watermark, |least| watermark.min(least)));
                }
            }
        }
        minimum
    }

    /// Agents by name, and whether each is connected.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentName, bool)> {
        self.agents.iter().map(|(name, agent)| (name, agent.is_connected))
    }
}

#[cfg(test)]
mod tests {
    use headland_event::PartitionIndex;

    use super::*;
    use crate::config::AgentConfig;

    const HOLD: Duration = Duration::from_secs(60);

    fn events() -> TopicName {
        TopicName::new("inventory.events").unwrap()
    }

    fn air() -> TopicName {
        TopicName::new("air").unwrap()
    }

    fn name(agent: &str) -> AgentName {
        AgentName::new(agent).unwrap()
    }

    fn promises() -> Promises {
        let grants = ["eu-1", "eu-2"].map(|agent| {
            let config = AgentConfig {
                name: name(agent),
                region: None,
                topics: [events(), air()].map(Into::into).to_vec(),
                exclude: Vec::new(),
                devices: Vec::new(),
            };
            Grant::new(&config, &[])
        });
        Promises::new(&grants, HOLD, Monotonic::default())
    }

    fn promise(promises: &mut Promises, agent: &str, watermark: i64, end: u64) {
        let partition = TopicPartition::new(events(), PartitionIndex::new(0));
        let ends = vec![(partition, Offset::new(end))];
        let watermark = EventTime::from_millis(watermark);
        promises.on_offer(&name(agent), &events());
        promises.on_promise(&name(agent), AgentPromise { topic: events(), watermark, ends });
    }

    #[test]
    fn a_promise_takes_effect_when_the_log_reaches_its_ends() {
        let mut promises = promises();
        for agent in ["eu-1", "eu-2"] {
            promise(&mut promises, agent, 100, 10);
        }

        promises.on_progress(&name("eu-1"), |_| Offset::new(10));
        promises.on_progress(&name("eu-2"), |_| Offset::new(9));
        let before = promises.watermark(&events());
        promises.on_progress(&name("eu-2"), |_| Offset::new(10));

        assert_eq!(before, None);
        assert_eq!(promises.watermark(&events()), Some(EventTime::from_millis(100)));
    }

    #[test]
    fn the_slowest_agent_decides_and_one_that_was_never_heard_of_holds() {
        let mut promises = promises();
        promise(&mut promises, "eu-1", 100, 0);
        promises.on_progress(&name("eu-1"), |_| Offset::new(0));
        let with_one_silent = promises.watermark(&events());

        promise(&mut promises, "eu-2", 40, 0);
        promises.on_progress(&name("eu-2"), |_| Offset::new(0));

        assert_eq!(with_one_silent, None);
        assert_eq!(promises.watermark(&events()), Some(EventTime::from_millis(40)));
    }

    #[test]
    fn a_topic_that_an_agent_offers_holds_until_promised_and_one_it_does_not_offer_is_free() {
        let mut promises = promises();
        promise(&mut promises, "eu-1", 100, 0);
        promises.on_progress(&name("eu-1"), |_| Offset::new(0));
        let watermark = EventTime::from_millis(7);

        promises.on_offer(&name("eu-2"), &events());
        let air = AgentPromise { topic: air(), watermark, ends: Vec::new() };
        promises.on_promise(&name("eu-2"), air.clone());
        let offered = promises.watermark(&events());
        promises.on_connected(Monotonic::default(), &name("eu-2"));
        promises.on_promise(&name("eu-2"), air);

        assert_eq!(offered, None);
        assert_eq!(promises.watermark(&events()), Some(EventTime::from_millis(100)));
    }

    #[test]
    fn a_promise_about_a_topic_outside_the_grant_is_ignored() {
        let mut promises = promises();
        let foreign = TopicName::new("orders").unwrap();
        let watermark = EventTime::from_millis(7);

        for agent in ["eu-1", "eu-2"] {
            let topic = foreign.clone();
            promises.on_promise(&name(agent), AgentPromise { topic, watermark, ends: Vec::new() });
            promises.on_progress(&name(agent), |_| Offset::new(0));
        }

        assert_eq!(promises.watermark(&foreign), None);
        assert!(promises.agents.values().all(|agent| agent.waiting.is_empty()));
    }

    #[test]
    fn an_agent_silent_for_the_hold_time_leaves_the_minimum_and_comes_back() {
        let mut promises = promises();
        promises.on_connected(Monotonic::default(), &name("eu-1"));
        promise(&mut promises, "eu-1", 100, 0);
        promises.on_progress(&name("eu-1"), |_| Offset::new(0));
        let due = promises.poll_timeout().unwrap();

        assert_eq!(promises.on_timeout(Monotonic::from_millis(59_999)), []);
        assert_eq!(promises.on_timeout(due), [name("eu-2")]);
        assert_eq!(promises.watermark(&events()), Some(EventTime::from_millis(100)));
        promises.on_connected(due, &name("eu-2"));
        assert_eq!(promises.watermark(&events()), None);
    }
}
