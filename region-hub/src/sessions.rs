//! The connections of a hub, and which of them have something to do.
//!
//! A hub has thousands of agents of which few speak at a time. What it does when it wakes up costs
//! as much as those few, not as all that are connected: a connection is looked at after something
//! has changed it, and when its own time has come.

use std::collections::{BTreeMap, BTreeSet};

use headland_event::Monotonic;

use crate::session::{Peer, Session, SessionId};

/// The connections by their numbers.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Boxed, since a map keeps places for about twice as many values as it has.
    slots: BTreeMap<SessionId, Box<Slot>>,
    /// Those of hubs.
    hubs: BTreeSet<SessionId>,
    /// Those that may have changed since they rested.
    awake: BTreeSet<SessionId>,
    /// When each of the others wants to be called: no connection is in both.
    timers: BTreeSet<(Monotonic, SessionId)>,
}

#[derive(Debug)]
struct Slot {
    session: Session,
    /// Its place in the timers, while it rests.
    timer: Option<Monotonic>,
}

impl Sessions {
    /// Takes a connection up; it is awake.
    pub fn insert(&mut self, id: SessionId, session: Session) {
        self.remove(&id);
        if matches!(session.peer, Peer::Hub(_)) {
            self.hubs.insert(id);
        }
        self.slots.insert(id, Box::new(Slot { session, timer: None }));
        self.awake.insert(id);
    }

    /// Forgets a connection.
    pub fn remove(&mut self, id: &SessionId) -> Option<Session> {
        let Slot { session, timer } = *self.slots.remove(id)?;
        self.hubs.remove(id);
        self.awake.remove(id);
        if let Some(timer) = timer {
            self.timers.remove(&(timer, *id));
        }
        Some(session)
    }

    /// One connection.
    #[must_use]
    pub fn get(&self, id: &SessionId) -> Option<&Session> {
        self.slots.get(id).map(|slot| &slot.session)
    }

    /// One connection, to change it; it is awake until [`Self::rest`].
    pub fn get_mut(&mut self, id: &SessionId) -> Option<&mut Session> {
        let slot = self.slots.get_mut(id)?;
        if let Some(timer) = slot.timer.take() {
            self.timers.remove(&(timer, *id));
        }
        self.awake.insert(*id);
        Some(&mut slot.session)
    }

    /// Whether there is such a connection.
    #[must_use]
    pub fn contains_key(&self, id: &SessionId) -> bool {
        self.slots.contains_key(id)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every connection, by its number.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.slots.iter().map(|(id, slot)| (id, &slot.session))
    }

    /// The connections to other regions' hubs.
    #[must_use]
    pub fn hubs(&self) -> Vec<SessionId> {
        self.hubs.iter().copied().collect()
    }

    /// Those that may have something to do.
    #[must_use]
    pub fn awake(&self) -> Vec<SessionId> {
        self.awake.iter().copied().collect()
    }

    /// Those whose time has come, or may have come since they are awake.
    #[must_use]
    pub fn due(&self, now: Monotonic) -> Vec<SessionId> {
        let resting = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        resting.chain(self.awake.iter().copied()).collect()
    }

    /// A connection has given out all that it had to do.
    pub fn rest(&mut self, id: &SessionId) {
        if !self.awake.remove(id) {
            return;
        }
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.timer = slot.session.link.poll_timeout();
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
    use crate::session::{Forwarding, Offering};

    const ID: SessionId = SessionId::new(1);

    fn region() -> RegionId {
        RegionId::new("eu").unwrap()
    }

    fn session(peer: Peer, seed: u64, now: Monotonic) -> Session {
        let hub = Identity::Hub { region: region(), name: HubName::new("hub-1").unwrap() };
        let name = AgentName::new("a").unwrap();
        let agent = Identity::Agent { region: region(), name };
        let config = LinkConfig::new(hub, Incarnation::new(1, 1), agent);
        Session::new(config, peer, seed, now)
    }

    fn agent() -> Peer {
        let name = AgentName::new("a").unwrap();
        let config = AgentConfig { name, topics: Vec::new(), devices: Vec::new() };
        Peer::Agent(Grant::new(&config))
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
        let mut sessions = Sessions::default();
        sessions.insert(ID, session(agent(), 1, after(0)));
        let new = sessions.awake();
        sessions.rest(&ID);
        let rested = sessions.awake();
        sessions.get(&ID).unwrap();
        let read = sessions.awake();
        sessions.get_mut(&ID).unwrap();

        assert_eq!((new, rested, read), (vec![ID], vec![], vec![]));
        assert_eq!(sessions.awake(), [ID]);
    }

    #[test]
    fn only_links_to_hubs_are_among_the_hubs() {
        let mut sessions = Sessions::default();
        let (first, second) = (SessionId::new(1), SessionId::new(2));
        sessions.insert(first, session(agent(), 1, after(0)));
        sessions.insert(second, session(hub(), 1, after(0)));

        assert_eq!(sessions.hubs(), [second]);
        sessions.remove(&second);
        assert_eq!(sessions.hubs(), []);
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
            let (mut sessions, mut passed) = (Sessions::default(), 0);
            for step in steps {
                match step {
                    Step::Insert(id, seed) => {
                        sessions.insert(SessionId::new(id), session(agent(), seed, after(passed)));
                    }
                    Step::Remove(id) => drop(sessions.remove(&SessionId::new(id))),
                    Step::Probe(id) => {
                        if let Some(known) = sessions.get_mut(&SessionId::new(id)) {
                            known.link.probe(after(passed));
                        }
                    }
                    Step::Pass(millis) => {
                        passed += millis;
                        for id in sessions.due(after(passed)) {
                            sessions.get_mut(&id).unwrap().link.on_timeout(after(passed));
                            sessions.rest(&id);
                        }
                        let overdue = sessions.iter().filter_map(|(_, known)| {
                            known.link.poll_timeout().filter(|at| *at <= after(passed))
                        });
                        prop_assert_eq!(overdue.count(), 0);
                    }
                }
                prop_assert!(sessions.awake.iter().all(|id| sessions.slots[id].timer.is_none()));
                let timers = sessions.slots.values().filter(|slot| slot.timer.is_some()).count();
                prop_assert_eq!(sessions.timers.len(), timers);
                let all = sessions.iter().filter_map(|(_, known)| known.link.poll_timeout());
                prop_assert_eq!(sessions.poll_timeout(), all.min());
            }
        }
    }
}
