//! Which handshakes of peers go on, when more come than a node can carry.
//!
//! Whoever has not shown a certificate yet costs memory, so places are few. A peer that means it
//! is through in two round trips and comes again when it was not answered; one that does not holds
//! its place until its time is up. Hence: places of one address are bounded far below all of them,
//! so that no single address shuts out others, and once all are taken, the oldest handshake among
//! the addresses with the most of them makes room.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Handshakes that go on at once. 512 half-open ones were measured to cost a hub 53 MiB, those
/// that linger after they were given up included.
pub const HANDSHAKES_LIMIT: usize = 512;

/// Of these, those that come from one address: many agents may share one behind a router.
pub const HANDSHAKES_PER_ADDRESS_LIMIT: usize = 256;

/// Time for a handshake: two round trips of 600 ms with a packet of each lost, and some more.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

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

/// The handshakes that go on, by address and age.
#[derive(Debug, Clone)]
pub struct Handshakes {
    limit: usize,
    per_address: usize,
    next: u64,
    places: BTreeMap<HandshakeId, IpAddr>,
    by_address: BTreeMap<IpAddr, usize>,
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
        Self { limit, per_address, next: 0, places, by_address }
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

    /// A peer begins a handshake from `address`.
    ///
    /// Cost: O(log n); O(n) when all places are taken.
    pub fn on_arrival(&mut self, address: IpAddr) -> Arrival {
        let address = place_of(address);
        let own = self.by_address.get(&address).copied().unwrap_or(0);
        if own >= self.per_address {
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
            self.on_end(oldest);
        }
        let id = HandshakeId(self.next);
        self.next += 1;
        self.places.insert(id, address);
        *self.by_address.entry(address).or_default() += 1;
        self.check_invariants();
        given_up.map_or(Arrival::Admit(id), |oldest| Arrival::Replace(id, oldest))
    }

    /// A handshake has succeeded, failed or been given up; one that is not known changes nothing.
    pub fn on_end(&mut self, id: HandshakeId) {
        let Some(address) = self.places.remove(&id) else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        self.check_invariants();
    }

    /// The oldest handshake among the addresses that have the most, if that is more than `own`:
    /// between addresses with as many as the newcomer, who came first stays. Age decides and never
    /// the address itself, so that nobody can choose addresses that push out a certain other one.
    fn oldest_of_the_greediest(&self, own: usize) -> Option<HandshakeId> {
        let most = self.by_address.values().copied().max().filter(|most| *most > own)?;
        let mut places = self.places.iter();
        places.find(|(_, at)| self.by_address.get(at) == Some(&most)).map(|(id, _)| *id)
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
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn at(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
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

        let flood = [(); 5].map(|()| handshakes.on_arrival(at(1)));
        let other = handshakes.on_arrival(at(2));

        assert_eq!(flood[3..], [Arrival::Ignore; 2]);
        assert!(matches!(other, Arrival::Admit(_)), "{other:?}");
        assert_eq!(handshakes.len(), 4);
    }

    #[test]
    fn when_all_places_are_taken_the_greediest_address_gives_up_its_oldest() {
        let mut handshakes = Handshakes::new(3, 2);
        let (oldest, alone) =
            (admitted(handshakes.on_arrival(at(1))), handshakes.on_arrival(at(2)));
        handshakes.on_arrival(at(1));

        let newcomer = handshakes.on_arrival(at(3));

        assert!(matches!(newcomer, Arrival::Replace(_, given_up) if given_up == oldest));
        assert!(matches!(alone, Arrival::Admit(_)));
    }

    #[test]
    fn among_addresses_with_one_handshake_each_nobody_is_pushed_out() {
        let mut handshakes = Handshakes::new(2, 2);
        handshakes.on_arrival(at(1));
        handshakes.on_arrival(at(2));

        // It has none, the others have one each: it may push out one.
        let third = handshakes.on_arrival(at(3));
        // It has one by now, and nobody has more.
        let again = handshakes.on_arrival(at(3));

        assert!(matches!(third, Arrival::Replace(..)), "{third:?}");
        assert_eq!(again, Arrival::Ignore);
    }

    #[test]
    fn a_flood_from_lower_addresses_pushes_out_its_own_handshakes_first() {
        let mut handshakes = Handshakes::default();
        let mut flood = (0..=u16::MAX).map(|low| IpAddr::from(Ipv4Addr::from_bits(low.into())));
        let mut arrive = |handshakes: &mut Handshakes, count: usize| -> Vec<Arrival> {
            flood.by_ref().take(count).map(|from| handshakes.on_arrival(from)).collect()
        };
        arrive(&mut handshakes, HANDSHAKES_LIMIT);

        let agent = admitted(handshakes.on_arrival(at(1)));
        let gave_up_agent =
            |arrival: &Arrival| matches!(arrival, Arrival::Replace(_, up) if *up == agent);
        let after = arrive(&mut handshakes, HANDSHAKES_LIMIT);

        // All before the agent were older; it goes with the last place, as the oldest.
        assert_eq!(after.iter().position(gave_up_agent), Some(HANDSHAKES_LIMIT - 1));
    }

    #[test]
    fn a_place_is_free_again_once_its_handshake_has_ended() {
        let mut handshakes = Handshakes::new(1, 1);
        let id = admitted(handshakes.on_arrival(at(1)));

        handshakes.on_end(id);
        handshakes.on_end(id);

        assert!(handshakes.is_empty());
        assert!(matches!(handshakes.on_arrival(at(1)), Arrival::Admit(_)));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one_and_a_mapped_one_as_itself() {
        let mut handshakes = Handshakes::new(9, 1);
        let arrive = |handshakes: &mut Handshakes, text: &str| {
            handshakes.on_arrival(text.parse::<IpAddr>().unwrap()) != Arrival::Ignore
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
                        handshakes.on_end(known.remove(place).1);
                    }
                    continue;
                }
                let has_none = known.iter().all(|(at, _)| *at != address);
                match handshakes.on_arrival(at(address)) {
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
