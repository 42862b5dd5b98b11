//! Which handshakes of peers go on, when more come than a node can carry.
//!
//! Whoever has not shown a certificate yet costs memory, so places are few. A peer that means it
//! is through in two round trips and comes again when it was not answered; one that does not holds
//! its place until its time is up. Hence: places of one address are bounded far below all of them,
//! so that no single address shuts out others, and once all are taken, the oldest handshake among
//! the addresses with the most of them makes room.
//!
//! A peer that waits begins further handshakes beside its first one, as it cannot know whether it
//! was heard. A thousand agents that find their hub again would so have it make five thousand
//! connections, of which all but a thousand are given up as soon as they are made. Hence: while
//! many handshakes go on, another one is not taken up for a while beside one of the same socket
//! whose peer knows that it was heard.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use headland_event::Monotonic;

/// Handshakes that go on at once. 512 half-open ones were measured to cost a hub 53 MiB, those
/// that linger after they were given up included.
pub const HANDSHAKES_LIMIT: usize = 512;

/// Of these, those that come from one address: many agents may share one behind a router.
pub const HANDSHAKES_PER_ADDRESS_LIMIT: usize = 256;

/// Time for a handshake: two round trips of 600 ms with a packet of each lost, and some more.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

/// Handshakes that go on from which on a node is busy: it asks peers to show that they receive at
/// their address (RFC 9000, §8.1.2). Far fewer than there are places, so that nobody takes places
/// in another's name; not 0, as it costs a round trip.
pub const HANDSHAKES_BUSY: usize = 16;

/// Handshakes that go on from which on a node takes up no second one of a socket. More than make
/// it busy: those above it have shown that they receive, so a few forged packets a second do not
/// keep everybody waiting whose answers a cut has swallowed. A fleet that comes back begins
/// hundreds.
pub const HANDSHAKES_CROWDED: usize = 64;

/// Time for which a crowded node takes up no second handshake of a socket: as long as a peer that
/// was answered waits before it begins another one. Less would take up what the peer began before
/// it was answered; with more, a peer whose answers were lost would wait longer.
pub const HANDSHAKE_REPEATED: Duration = Duration::from_secs(2);

/// Time after a handshake that was asked to come again and succeeded for which its socket begins
/// no other one, unless its connection ends before. What arrives then are handshakes that the peer
/// began beside it and has given up, and quinn keeps one whose first packet is its end for as long
/// as a connection may be silent. Of a thousand agents that dialled at once they came within 2.1 s.
pub const HANDSHAKE_SETTLED: Duration = Duration::from_secs(2);

/// Notes of sockets that are kept for that; beyond, the oldest is forgotten, and costs at worst
/// another handshake. Twice what a node can take up in that time, as one that succeeds is noted
/// twice.
const SOCKETS_LIMIT: usize = 16_384;

/// A handshake that has a place; numbers grow with age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HandshakeId(u64);

/// What to do with a peer that begins a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Take it up under this number.
    Admit(HandshakeId),
    /// Take it up under the first number, and give up the handshake with the second.
    Replace(HandshakeId, HandshakeId),
    /// Say nothing: that costs least, and who means it sends its first packet again.
    Ignore,
}

/// What a peer has shown before its handshake is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Nothing: its address may be forged.
    Nothing,
    /// It was asked to come again and did. It knows since then that it was heard, and keeps this
    /// handshake; one that was not asked may be given up for another before its answer arrives,
    /// so that socket must not be held by it.
    Receives,
}

/// How a handshake has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeEnd {
    /// There is a connection.
    Established,
    /// There is none, so its peer may begin another one at once.
    Failed,
}

/// One address: a whole /64 for IPv6, as everybody who has one address there has all of them.
fn place_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => IpAddr::V4(four),
            None => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

/// What is known of a socket whose peer has lately shown that it receives.
#[derive(Debug, Clone, Copy)]
enum Latest {
    /// Its latest handshake was taken up then, and is not known to have succeeded.
    TakenUp(Monotonic),
    /// It has succeeded then.
    Established(Monotonic),
}

impl Latest {
    /// Whether it says nothing any more.
    fn is_over(self, now: Monotonic) -> bool {
        match self {
            Self::TakenUp(at) => now.since(at) >= HANDSHAKE_REPEATED,
            Self::Established(at) => now.since(at) >= HANDSHAKE_SETTLED,
        }
    }
}

/// The handshakes that go on, by address and age.
#[derive(Debug, Clone)]
pub struct Handshakes {
    limit: usize,
    per_address: usize,
    next: u64,
    places: BTreeMap<HandshakeId, SocketAddr>,
    by_address: BTreeMap<IpAddr, usize>,
    /// The latest handshake of each socket whose peer has lately shown that it receives.
    sockets: BTreeMap<SocketAddr, (HandshakeId, Latest)>,
    /// The same by age, once more when it has succeeded; those that are not the latest of their
    /// socket count no more.
    heard: VecDeque<(HandshakeId, SocketAddr)>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self::new(HANDSHAKES_LIMIT, HANDSHAKES_PER_ADDRESS_LIMIT)
    }
}

impl Handshakes {
    /// Room for `limit` handshakes, `per_address` of them from one address; at least one of each.
    #[must_use]
    pub fn new(limit: usize, per_address: usize) -> Self {
        let (limit, per_address) = (limit.max(1), per_address.max(1));
        let (places, by_address) = (BTreeMap::new(), BTreeMap::new());
        let (sockets, heard) = (BTreeMap::new(), VecDeque::new());
        Self { limit, per_address, next: 0, places, by_address, sockets, heard }
    }

    /// Handshakes that go on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none goes on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether so many go on that peers are asked to show that they receive where they send from.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.places.len() >= HANDSHAKES_BUSY
    }

    /// Whether a handshake of this socket is to be left alone: one has succeeded a moment ago, or
    /// was taken up and there is enough to do without another.
    #[must_use]
    pub fn is_repeated(&self, now: Monotonic, from: SocketAddr) -> bool {
        let Some((_, latest)) = self.sockets.get(&from) else { return false };
        let is_enough = match latest {
            Latest::TakenUp(_) => self.places.len() >= HANDSHAKES_CROWDED,
            Latest::Established(_) => true,
        };
        is_enough && !latest.is_over(now)
    }

    /// A peer begins a handshake from the socket `from`.
    ///
    /// Cost: O(log n); O(n) when all places are taken.
    pub fn on_arrival(&mut self, now: Monotonic, from: SocketAddr, shown: Shown) -> Arrival {
        let address = place_of(from.ip());
        let own = self.by_address.get(&address).copied().unwrap_or(0);
        if own >= self.per_address || self.is_repeated(now, from) {
            return Arrival::Ignore;
        }
        let given_up = if self.places.len() < self.limit {
            None
        } else {
            match self.oldest_of_the_greediest(own) {
                Some(oldest) => Some(oldest),
                None => return Arrival::Ignore,
            }
        };
        if let Some(oldest) = given_up {
            self.on_end(now, oldest, HandshakeEnd::Failed);
        }
        let id = HandshakeId(self.next);
        self.next += 1;
        self.places.insert(id, from);
        *self.by_address.entry(address).or_default() += 1;
        match shown {
            Shown::Nothing => {}
            Shown::Receives => self.remember(now, from, (id, Latest::TakenUp(now))),
        }
        self.check_invariants();
        given_up.map_or(Arrival::Admit(id), |oldest| Arrival::Replace(id, oldest))
    }

    /// A handshake has ended or been given up; one that is not known changes nothing.
    pub fn on_end(&mut self, now: Monotonic, id: HandshakeId, end: HandshakeEnd) {
        let Some(from) = self.places.remove(&id) else { return };
        let address = place_of(from.ip());
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        let is_latest = self.sockets.get(&from).is_some_and(|(latest, _)| *latest == id);
        match end {
            HandshakeEnd::Failed if is_latest => drop(self.sockets.remove(&from)),
            HandshakeEnd::Established if is_latest => {
                self.remember(now, from, (id, Latest::Established(now)));
            }
            HandshakeEnd::Failed | HandshakeEnd::Established => {}
        }
        self.check_invariants();
    }

    /// The connection that a handshake of the socket `from` has become is over: its peer may begin
    /// another one at once.
    pub fn on_closed(&mut self, id: HandshakeId, from: SocketAddr) {
        if self.sockets.get(&from).is_some_and(|(latest, _)| *latest == id) {
            self.sockets.remove(&from);
        }
    }

    /// Notes what is known of a socket, and forgets those of which nothing was heard lately.
    fn remember(&mut self, now: Monotonic, from: SocketAddr, known: (HandshakeId, Latest)) {
        self.sockets.insert(from, known);
        self.heard.push_back((known.0, from));
        while let Some((oldest, socket)) = self.heard.front().copied() {
            let latest = self.sockets.get(&socket).filter(|(latest, _)| *latest == oldest);
            let is_late = latest.is_none_or(|(_, latest)| latest.is_over(now));
            if !is_late && self.heard.len() <= SOCKETS_LIMIT {
                break;
            }
            if latest.is_some() {
                self.sockets.remove(&socket);
            }
            self.heard.pop_front();
        }
    }

    /// The oldest handshake among the addresses that have the most, if that is more than `own`:
    /// between addresses with as many as the newcomer, who came first stays. Age decides and never
    /// the address itself, so that nobody can choose addresses that push out a certain other one.
    fn oldest_of_the_greediest(&self, own: usize) -> Option<HandshakeId> {
        let most = self.by_address.values().copied().max().filter(|most| *most > own)?;
        let mut places = self.places.iter();
        places
            .find(|(_, from)| self.by_address.get(&place_of(from.ip())) == Some(&most))
            .map(|(id, _)| *id)
    }

    fn check_invariants(&self) {
        debug_assert!(self.places.len() <= self.limit, "places are bounded");
        debug_assert_eq!(
            self.by_address.values().sum::<usize>(),
            self.places.len(),
            "every handshake counts for one address"
        );
        debug_assert!(
            self.by_address.values().all(|count| (1..=self.per_address).contains(count)),
            "an address that is counted has a handshake, and not too many"
        );
        debug_assert!(self.heard.len() <= SOCKETS_LIMIT, "sockets are bounded");
        debug_assert!(self.sockets.len() <= self.heard.len(), "each of them has an age");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const NOW: Monotonic = Monotonic::from_millis(0);

    fn at(last: u8) -> SocketAddr {
        socket(last, 443)
    }

    fn socket(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    /// Handshakes of as many others as make a node crowded.
    fn crowded() -> Handshakes {
        let mut handshakes = Handshakes::new(128, 128);
        for port in 1..=64 {
            admitted(handshakes.on_arrival(NOW, socket(9, port), Shown::Receives));
        }
        handshakes
    }

    fn admitted(arrival: Arrival) -> HandshakeId {
        match arrival {
            Arrival::Admit(id) | Arrival::Replace(id, _) => id,
            Arrival::Ignore => panic!("ignored"),
        }
    }

    #[test]
    fn one_address_takes_its_share_and_leaves_the_others_theirs() {
        let mut handshakes = Handshakes::new(4, 3);

        let flood = [(); 5].map(|()| handshakes.on_arrival(NOW, at(1), Shown::Receives));
        let other = handshakes.on_arrival(NOW, at(2), Shown::Receives);

        assert_eq!(flood[3..], [Arrival::Ignore; 2]);
        assert!(matches!(other, Arrival::Admit(_)), "{other:?}");
        assert_eq!(handshakes.len(), 4);
    }

    #[test]
    fn when_all_places_are_taken_the_greediest_address_gives_up_its_oldest() {
        let mut handshakes = Handshakes::new(3, 2);
        let (oldest, alone) = (
            admitted(handshakes.on_arrival(NOW, at(1), Shown::Receives)),
            handshakes.on_arrival(NOW, at(2), Shown::Receives),
        );
        handshakes.on_arrival(NOW, at(1), Shown::Receives);

        let newcomer = handshakes.on_arrival(NOW, at(3), Shown::Receives);

        assert!(matches!(newcomer, Arrival::Replace(_, given_up) if given_up == oldest));
        assert!(matches!(alone, Arrival::Admit(_)));
    }

    #[test]
    fn among_addresses_with_one_handshake_each_nobody_is_pushed_out() {
        let mut handshakes = Handshakes::new(2, 2);
        handshakes.on_arrival(NOW, at(1), Shown::Receives);
        handshakes.on_arrival(NOW, at(2), Shown::Receives);

        // It has none, the others have one each: it may push out one.
        let third = handshakes.on_arrival(NOW, at(3), Shown::Receives);
        // It has one by now, and nobody has more.
        let again = handshakes.on_arrival(NOW, at(3), Shown::Receives);

        assert!(matches!(third, Arrival::Replace(..)), "{third:?}");
        assert_eq!(again, Arrival::Ignore);
    }

    #[test]
    fn a_flood_from_lower_addresses_pushes_out_its_own_handshakes_first() {
        let mut handshakes = Handshakes::default();
        let mut flood =
            (0..=u16::MAX).map(|low| SocketAddr::from((Ipv4Addr::from_bits(low.into()), 443)));
        let mut arrive = |handshakes: &mut Handshakes, count: usize| -> Vec<Arrival> {
            flood
                .by_ref()
                .take(count)
                .map(|from| handshakes.on_arrival(NOW, from, Shown::Receives))
                .collect()
        };
        arrive(&mut handshakes, HANDSHAKES_LIMIT);

        let agent = admitted(handshakes.on_arrival(NOW, at(1), Shown::Receives));
        let gave_up_agent =
            |arrival: &Arrival| matches!(arrival, Arrival::Replace(_, up) if *up == agent);
        let after = arrive(&mut handshakes, HANDSHAKES_LIMIT);

        // All before the agent were older; it goes with the last place, as the oldest.
        assert_eq!(after.iter().position(gave_up_agent), Some(HANDSHAKES_LIMIT - 1));
    }

    #[test]
    fn a_place_is_free_again_once_its_handshake_has_ended() {
        let mut handshakes = Handshakes::new(1, 1);
        let id = admitted(handshakes.on_arrival(NOW, at(1), Shown::Receives));

        handshakes.on_end(NOW, id, HandshakeEnd::Failed);
        handshakes.on_end(NOW, id, HandshakeEnd::Failed);

        assert!(handshakes.is_empty());
        assert!(matches!(handshakes.on_arrival(NOW, at(1), Shown::Receives), Arrival::Admit(_)));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one_and_a_mapped_one_as_itself() {
        let mut handshakes = Handshakes::new(9, 1);
        let arrive = |handshakes: &mut Handshakes, text: &str| {
            let from = SocketAddr::new(text.parse().unwrap(), 443);
            handshakes.on_arrival(NOW, from, Shown::Receives) != Arrival::Ignore
        };

        let found = [
            "2001:db8:1:1::1",
            "2001:db8:1:1:ffff::2",
            "2001:db8:1:2::1",
            "::ffff:192.0.2.7",
            "192.0.2.7",
        ]
        .map(|text| arrive(&mut handshakes, text));

        assert_eq!(found, [true, false, true, true, false]);
    }

    #[test]
    fn a_crowded_node_takes_up_one_handshake_of_a_socket_at_a_time() {
        let mut handshakes = crowded();

        admitted(handshakes.on_arrival(NOW, socket(1, 1), Shown::Receives));
        let again = handshakes.on_arrival(
            NOW.after(Duration::from_millis(1_999)),
            socket(1, 1),
            Shown::Receives,
        );
        let beside = handshakes.on_arrival(NOW, socket(1, 2), Shown::Receives);
        let later =
            handshakes.on_arrival(NOW.after(HANDSHAKE_REPEATED), socket(1, 1), Shown::Receives);

        assert_eq!(again, Arrival::Ignore);
        assert!(matches!(beside, Arrival::Admit(_)), "{beside:?}");
        assert!(matches!(later, Arrival::Admit(_)), "{later:?}");
    }

    #[test]
    fn a_handshake_whose_peer_has_shown_nothing_does_not_hold_its_socket() {
        let mut handshakes = crowded();

        admitted(handshakes.on_arrival(NOW, socket(1, 1), Shown::Nothing));
        let again = handshakes.on_arrival(NOW, socket(1, 1), Shown::Receives);
        let third = handshakes.on_arrival(NOW, socket(1, 1), Shown::Receives);

        assert!(matches!(again, Arrival::Admit(_)), "{again:?}");
        assert_eq!(third, Arrival::Ignore);
    }

    #[test]
    fn a_busy_node_that_is_not_crowded_takes_up_every_handshake_of_a_socket() {
        let mut handshakes = Handshakes::new(128, 128);

        let all = [(); HANDSHAKES_CROWDED + 1]
            .map(|()| handshakes.on_arrival(NOW, at(1), Shown::Receives));

        let taken = all.iter().filter(|arrival| matches!(arrival, Arrival::Admit(_))).count();
        assert_eq!(taken, HANDSHAKES_CROWDED);
    }

    #[test]
    fn a_node_with_little_to_do_takes_up_every_handshake_of_a_socket() {
        let mut handshakes = Handshakes::default();

        let four = [(); 4].map(|()| handshakes.on_arrival(NOW, at(1), Shown::Receives));

        assert!(four.iter().all(|arrival| matches!(arrival, Arrival::Admit(_))), "{four:?}");
    }

    #[test]
    fn what_a_peer_began_before_it_was_answered_is_not_taken_up_after_it_either() {
        let mut handshakes = crowded();
        let (failed, established) = (socket(1, 1), socket(1, 2));
        for (from, end) in
            [(failed, HandshakeEnd::Failed), (established, HandshakeEnd::Established)]
        {
            let id = admitted(handshakes.on_arrival(NOW, from, Shown::Receives));
            handshakes.on_end(NOW, id, end);
        }

        let after_failure = handshakes.on_arrival(NOW, failed, Shown::Receives);
        let after_success = handshakes.on_arrival(NOW, established, Shown::Receives);

        assert!(matches!(after_failure, Arrival::Admit(_)), "{after_failure:?}");
        assert_eq!(after_success, Arrival::Ignore);
    }

    #[test]
    fn what_a_peer_gave_up_arrives_in_vain_after_its_success_however_few_go_on() {
        let (established, end) = (socket(1, 1), NOW.after(Duration::from_millis(1_500)));
        let mut handshakes = Handshakes::default();
        let id = admitted(handshakes.on_arrival(NOW, established, Shown::Receives));
        handshakes.on_end(end, id, HandshakeEnd::Established);

        let just_before = end.after(Duration::from_millis(1_999));
        let given_up = [Shown::Receives, Shown::Nothing]
            .map(|shown| handshakes.on_arrival(just_before, established, shown));
        let dialled_again =
            handshakes.on_arrival(end.after(HANDSHAKE_SETTLED), established, Shown::Receives);

        assert_eq!(given_up, [Arrival::Ignore; 2]);
        assert!(matches!(dialled_again, Arrival::Admit(_)), "{dialled_again:?}");
    }

    #[test]
    fn a_peer_whose_connection_is_lost_at_once_is_taken_up_at_once_also_in_a_crowd() {
        let from = socket(1, 1);
        for mut handshakes in [crowded(), Handshakes::default()] {
            let beside = admitted(handshakes.on_arrival(NOW, socket(1, 2), Shown::Receives));
            let id = admitted(handshakes.on_arrival(NOW, from, Shown::Receives));
            handshakes.on_end(NOW, id, HandshakeEnd::Established);

            let lost = NOW.after(Duration::from_millis(100));
            handshakes.on_closed(beside, from);
            let before = handshakes.on_arrival(lost, from, Shown::Receives);
            handshakes.on_closed(id, from);
            let after = handshakes.on_arrival(lost, from, Shown::Receives);

            assert_eq!(before, Arrival::Ignore);
            assert!(matches!(after, Arrival::Admit(_)), "{after:?}");
        }
    }

    #[test]
    fn a_socket_whose_success_was_not_asked_to_come_again_may_dial_at_once() {
        let mut handshakes = Handshakes::default();
        let id = admitted(handshakes.on_arrival(NOW, at(1), Shown::Nothing));
        handshakes.on_end(NOW, id, HandshakeEnd::Established);

        let again = handshakes.on_arrival(NOW, at(1), Shown::Nothing);

        assert!(matches!(again, Arrival::Admit(_)), "{again:?}");
    }

    #[test]
    fn sockets_are_forgotten_after_their_time_and_beyond_their_bound() {
        let mut handshakes = crowded();
        let second = |handshakes: &mut Handshakes, at: Monotonic, ports: u16| {
            for port in 0..ports {
                let id = admitted(handshakes.on_arrival(at, socket(3, port), Shown::Receives));
                handshakes.on_end(at, id, HandshakeEnd::Established);
            }
            handshakes.heard.len()
        };

        let bounded = second(&mut handshakes, NOW, 10_000);
        let forgotten = handshakes.on_arrival(NOW, socket(3, 0), Shown::Receives);
        let later = second(&mut handshakes, NOW.after(HANDSHAKE_SETTLED), 1);

        // One that has succeeded is there twice: since it was taken up, and since then.
        assert_eq!((bounded, later), (SOCKETS_LIMIT, 2));
        assert!(matches!(forgotten, Arrival::Admit(_)), "{forgotten:?}");
    }

    proptest! {
        #[test]
        fn places_are_bounded_and_an_address_without_a_handshake_always_gets_one(
            steps in prop::collection::vec((0_u8..6, any::<bool>()), 1..200)
        ) {
            let mut handshakes = Handshakes::new(8, 5);
            let mut known: Vec<(u8, HandshakeId)> = Vec::new();
            for (address, arrives) in steps {
                if !arrives {
                    if let Some(place) = known.iter().position(|(at, _)| *at == address) {
                        handshakes.on_end(NOW, known.remove(place).1, HandshakeEnd::Failed);
                    }
                    continue;
                }
                let has_none = known.iter().all(|(at, _)| *at != address);
                match handshakes.on_arrival(NOW, at(address), Shown::Receives) {
                    Arrival::Admit(id) => known.push((address, id)),
                    Arrival::Replace(id, given_up) => {
                        known.retain(|(_, other)| *other != given_up);
                        known.push((address, id));
                    }
                    Arrival::Ignore => prop_assert!(!has_none, "{address} got no place"),
                }
                prop_assert_eq!(handshakes.len(), known.len());
                prop_assert!(known.len() <= 8);
            }
        }
    }
}
