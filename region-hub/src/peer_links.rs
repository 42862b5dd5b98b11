//! The connections of a hub, and which of them have something to do.
//!
//! A hub has thousands of agents of which few speak at a time. What it does when it wakes up costs
//! as much as those few, not as all that are connected: a connection is looked at after something
//! has changed it, and when its own time has come.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::Monotonic;

use crate::peer_link::{LinkId, Peer, PeerLink};

/// The connections by their numbers.
#[derive(Debug, Default)]
pub struct PeerLinks {
    /// Boxed, since a map keeps places for about twice as many values as it has.
    slots: BTreeMap<LinkId, Box<Slot>>,
    /// Those of hubs.
    hubs: BTreeSet<LinkId>,
    /// Those that may have changed since they rested.
    awake: BTreeSet<LinkId>,
    /// When each of the others wants to be called: no connection is in both.
    timers: BTreeSet<(Monotonic, LinkId)>,
}

#[derive(Debug)]
struct Slot {
    peer_link: PeerLink,
    /// Its place in the timers, while it rests.
    timer: Option<Monotonic>,
}

impl PeerLinks {
    /// Takes a connection up; it is awake.
    pub fn insert(&mut self, id: LinkId, peer_link: PeerLink) {
        self.remove(&id);
        if matches!(peer_link.peer, Peer::Hub(_)) {
            self.hubs.insert(id);
        }
        self.slots.insert(id, Box::new(Slot { peer_link, timer: None }));
        self.awake.insert(id);
    }

    /// Forgets a connection.
    pub fn remove(&mut self, id: &LinkId) -> Option<PeerLink> {
        let Slot { peer_link, timer } = *self.slots.remove(id)?;
        self.hubs.remove(id);
        self.awake.remove(id);
        if let Some(timer) = timer {
            self.timers.remove(&(timer, *id));
        }
        Some(peer_link)
    }

    /// One connection.
    #[must_use]
    pub fn get(&self, id: &LinkId) -> Option<&PeerLink> {
        self.slots.get(id).map(|slot| &slot.peer_link)
    }

    /// One connection, to change it; it is awake until [`Self::rest`].
    pub fn get_mut(&mut self, id: &LinkId) -> Option<&mut PeerLink> {
        let slot = self.slots.get_mut(id)?;
        if let Some(timer) = slot.timer.take() {
            self.timers.remove(&(timer, *id));
        }
        self.awake.insert(*id);
        Some(&mut slot.peer_link)
    }

    /// Whether there is such a connection.
    #[must_use]
    pub fn contains_key(&self, id: &LinkId) -> bool {
        self.slots.contains_key(id)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every connection, by its number.
    pub fn iter(&self) -> impl Iterator<Item = (&LinkId, &PeerLink)> {
        self.slots.iter().map(|(id, slot)| (id, &slot.peer_link))
    }

    /// The connections to other regions' hubs.
    #[must_use]
    pub fn hubs(&self) -> Vec<LinkId> {
        self.hubs.iter().copied().collect()
    }

    /// Those that may have something to do.
    #[must_use]
    pub fn awake(&self) -> Vec<LinkId> {
        self.awake.iter().copied().collect()
    }

    /// Those whose time has come, or may have come since they are awake.
    #[must_use]
    pub fn due(&self, now: Monotonic) -> Vec<LinkId> {
        let resting = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        resting.chain(self.awake.iter().copied()).collect()
    }

    /// A connection has given out all that it had to do.
    pub fn rest(&mut self, id: &LinkId) {
        if !self.awake.remove(id) {
            return;
        }
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.timer = slot.peer_link.link.poll_timeout();
        if let Some(timer) = slot.timer {
            self.timers.insert((timer, *id));
        }
    }

    /// When the first of them wants to be called. Cost: O(those awake).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let resting = self.timers.first().map(|(at, _)| *at);
        let awake = self.awake.iter().filter_map(|id| self.get(id)?.link.poll_timeout());
        awake.chain(resting).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use headland_event::{AgentName, HubName, Incarnation, RegionId};
    use headland_replication::{Filter, Identity, LinkConfig};
    use proptest::prelude::*;

    use super::*;
    use crate::config::AgentConfig;
    use crate::ingest::Grant;
    use crate::peer_link::{Forwarding, Offering};

    const ID: LinkId = LinkId::new(1);

    fn region() -> RegionId {
        RegionId::new("eu").unwrap()
    }

    fn peer_link(peer: Peer, seed: u64, now: Monotonic) -> PeerLink {
        let hub = Identity::Hub { region: region(), name: HubName::new("hub-1").unwrap() };
        let name = AgentName::new("a").unwrap();
        let agent = Identity::Agent { region: region(), name };
        let config = LinkConfig::new(hub, Incarnation::new(1, 1), agent);
        PeerLink::new(config, peer, seed, now)
    }

    fn agent() -> Peer {
        let name = AgentName::new("a").unwrap();
        let (topics, exclude, devices) = Default::default();
        let config = AgentConfig { name, region: None, topics, exclude, devices };
        Peer::Agent(Grant::new(&config, &[]))
    }

    fn hub() -> Peer {
        let topics = Filter::default();
        Peer::Hub(Offering { forwarding: Forwarding::Own, topics })
    }

    fn after(millis: u64) -> Monotonic {
        Monotonic::from_millis(0).after(Duration::from_millis(millis))
    }

    #[test]
    fn a_connection_that_was_touched_is_awake_until_it_rests() {
        let mut peer_links = PeerLinks::default();
        peer_links.insert(ID, peer_link(agent(), 1, after(0)));
        let new = peer_links.awake();
        peer_links.rest(&ID);
        let rested = peer_links.awake();
        peer_links.get(&ID).unwrap();
        let read = peer_links.awake();
        peer_links.get_mut(&ID).unwrap();

        assert_eq!((new, rested, read), (vec![ID], vec![], vec![]));
        assert_eq!(peer_links.awake(), [ID]);
    }

    #[test]
    fn only_links_to_hubs_are_among_the_hubs() {
        let mut peer_links = PeerLinks::default();
        let (first, second) = (LinkId::new(1), LinkId::new(2));
        peer_links.insert(first, peer_link(agent(), 1, after(0)));
        peer_links.insert(second, peer_link(hub(), 1, after(0)));

        assert_eq!(peer_links.hubs(), [second]);
        peer_links.remove(&second);
        assert_eq!(peer_links.hubs(), []);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64, u64),
        Remove(u64),
        Probe(u64),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6_u64, any::<u64>()).prop_map(|(id, seed)| Step::Insert(id, seed)),
            (0..6_u64).prop_map(Step::Remove),
            (0..6_u64).prop_map(Step::Probe),
            (0..4_000_u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn the_first_timer_is_that_of_all_links_and_who_is_due_is_called(
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let (mut peer_links, mut passed) = (PeerLinks::default(), 0);
            for step in steps {
                match step {
                    Step::Insert(id, seed) => {
                        peer_links.insert(LinkId::new(id), peer_link(agent(), seed, after(passed)));
                    }
                    Step::Remove(id) => drop(peer_links.remove(&LinkId::new(id))),
                    Step::Probe(id) => {
                        if let Some(known) = peer_links.get_mut(&LinkId::new(id)) {
                            known.link.probe(after(passed));
                        }
                    }
                    Step::Pass(millis) => {
                        passed += millis;
                        for id in peer_links.due(after(passed)) {
                            peer_links.get_mut(&id).unwrap().link.on_timeout(after(passed));
                            peer_links.rest(&id);
                        }
                        let overdue = peer_links.iter().filter_map(|(_, known)| {
                            known.link.poll_timeout().filter(|at| *at <= after(passed))
                        });
                        prop_assert_eq!(overdue.count(), 0);
                    }
                }
                let slots = &peer_links.slots;
                prop_assert!(peer_links.awake.iter().all(|id| slots[id].timer.is_none()));
                let timers = peer_links.slots.values().filter(|slot| slot.timer.is_some()).count();
                prop_assert_eq!(peer_links.timers.len(), timers);
                let all = peer_links.iter().filter_map(|(_, known)| known.link.poll_timeout());
                prop_assert_eq!(peer_links.poll_timeout(), all.min());
            }
        }
    }
}
