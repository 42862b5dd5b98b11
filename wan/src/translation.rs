//! The address under which the target's side sees the clients' side, as a NAT would give it.
//!
//! The clients' side keeps its own address. Packets towards the target carry the current outer
//! address as their source, and answers to it are turned back. After a change answers to an older
//! outer address are lost, since the NAT has forgotten it.
//!
//! # Source
//! RFC 1624 for the checksums: they are patched, not computed anew, so one that was wrong stays so.

use std::net::IpAddr;

use crate::packet::{self, Header};

/// The last part of an outer address; the part before it is the network's.
const OUTER_LIMIT: u8 = 250;

/// The addresses of one side, inside and outside.
#[derive(Debug)]
pub(crate) struct Translation {
    inner: [IpAddr; 2],
    changes: u8,
}

/// What became of a packet's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Translated {
    /// It goes on.
    Kept,
    /// It was sent to an address that is no longer anybody's.
    Forgotten,
}

impl Translation {
    /// A translation that changes nothing until [`Self::change`].
    pub(crate) const fn new(inner: [IpAddr; 2]) -> Self {
        Self { inner, changes: 0 }
    }

    /// From now on the side has another outer address.
    pub(crate) fn change(&mut self) {
        // After the last address comes the second: never the inner one again, which an endpoint
        // might take for a return home.
        self.changes = if self.changes >= OUTER_LIMIT { 1 } else { self.changes + 1 };
    }

    /// Gives a packet that leaves the side its outer source address.
    pub(crate) fn outwards(&self, packet: &mut [u8]) {
        let outer = packet::source(packet).filter(|source| self.inner.contains(source));
        if let (Some(source), true) = (outer, self.changes > 0) {
            packet::rewrite(packet, Header::Source, self.outer(source));
        }
    }

    /// Gives a packet that comes to the side its inner destination address.
    pub(crate) fn inwards(&self, packet: &mut [u8]) -> Translated {
        let Some(destination) = packet::destination(packet) else { return Translated::Kept };
        let inner = self.inner.iter().find(|inner| self.outer(**inner) == destination);
        match inner {
            Some(inner) if self.changes > 0 => {
                packet::rewrite(packet, Header::Destination, *inner);
                Translated::Kept
            }
            Some(_) => Translated::Kept,
            None => Translated::Forgotten,
        }
    }

    /// The inner address with its last part moved on by the number of changes.
    fn outer(&self, inner: IpAddr) -> IpAddr {
        match inner {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                IpAddr::from([a, b, c, d.wrapping_add(self.changes)])
            }
            IpAddr::V6(address) => {
                let bits = u128::from(address);
                IpAddr::from((bits + u128::from(self.changes)).to_be_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::{checksum_of_udp, udp_ipv4, udp_ipv6};

    fn inner() -> [IpAddr; 2] {
        ["10.77.1.1".parse().unwrap(), "fd77::1:1".parse().unwrap()]
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn without_a_change_nothing_is_touched() {
        let translation = Translation::new(inner());
        let sent = udp_ipv4([10, 77, 1, 1], [10, 77, 2, 1], b"ping");
        let mut packet = sent.clone();

        translation.outwards(&mut packet);

        assert_eq!(packet, sent);
    }

    #[test]
    fn after_a_change_the_target_sees_another_address_and_answers_reach_the_client() {
        let mut translation = Translation::new(inner());
        translation.change();
        let mut ping = udp_ipv4([10, 77, 1, 1], [10, 77, 2, 1], b"ping");
        let mut pong = udp_ipv4([10, 77, 2, 1], [10, 77, 1, 2], b"pong");

        translation.outwards(&mut ping);
        let translated = translation.inwards(&mut pong);

        assert_eq!(packet::source(&ping), address("10.77.1.2"));
        assert_eq!(packet::destination(&ping), address("10.77.2.1"));
        assert_eq!(translated, Translated::Kept);
        assert_eq!(packet::destination(&pong), address("10.77.1.1"));
        assert_eq!((checksum_of_udp(&ping), checksum_of_udp(&pong)), (0, 0));
    }

    #[test]
    fn an_answer_to_a_forgotten_address_is_lost() {
        let mut translation = Translation::new(inner());
        translation.change();
        let mut late = udp_ipv4([10, 77, 2, 1], [10, 77, 1, 1], b"late");

        assert_eq!(translation.inwards(&mut late), Translated::Forgotten);
    }

    #[test]
    fn ipv6_is_translated_with_its_checksum() {
        let mut translation = Translation::new(inner());
        translation.change();
        let mut ping = udp_ipv6("fd77::1:1", "fd77::2:1", b"ping");

        translation.outwards(&mut ping);

        assert_eq!(packet::source(&ping), address("fd77::1:2"));
        assert_eq!(checksum_of_udp(&ping), 0);
    }

    #[test]
    fn the_inner_address_never_comes_back() {
        let mut translation = Translation::new(inner());

        for _ in 0..1_000 {
            translation.change();
            assert_ne!(translation.outer(inner()[0]), inner()[0]);
        }
    }
}
