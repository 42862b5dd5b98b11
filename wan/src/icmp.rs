//! What a router says when a packet does not fit: "fragmentation needed", "packet too big".
//!
//! # Source
//! RFC 792 and RFC 1191 §4 (IPv4: type 3, code 4, next-hop MTU), RFC 4443 §3.2 (IPv6: type 2).
//! Emulated routers do not fragment: a packet that allows it is dropped with the same message.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::{ICMP, ICMP6, IPV6_HEADER, checksum, source};
use crate::quantity::Mtu;

/// The router in the middle, for the senders' eyes only: nothing answers there.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// How much of the packet is quoted: enough for IP options and a whole transport header, and
/// within the 576 bytes (IPv4) and 1,280 bytes (IPv6) that an error may be long.
const QUOTED_BYTES: usize = 512;

/// The message to the sender of a packet that did not fit; `None` for what is no IP packet, and for
/// ICMP: errors must not answer errors, and telling them from echoes is not worth the code.
pub(crate) fn too_big(packet: &[u8], mtu: Mtu) -> Option<Vec<u8>> {
    let quoted = packet.get(..packet.len().min(QUOTED_BYTES))?;
    match source(packet)? {
        IpAddr::V4(sender) => {
            let is_icmp = packet.get(9) == Some(&ICMP);
            (!is_icmp).then(|| message_ipv4(sender, quoted, mtu)).flatten()
        }
        IpAddr::V6(sender) => {
            let is_icmp = packet.get(6) == Some(&ICMP6);
            (!is_icmp).then(|| message_ipv6(sender, quoted, mtu)).flatten()
        }
    }
}

fn message_ipv4(sender: Ipv4Addr, quoted: &[u8], mtu: Mtu) -> Option<Vec<u8>> {
    let [high, low] = mtu.get().to_be_bytes();
    let head = |sum: u16| {
        let [a, b] = sum.to_be_bytes();
        [3, 4, a, b, 0, 0, high, low]
    };
    let body = head(checksum(&[&head(0), quoted]));
    let length = u16::try_from(20 + body.len() + quoted.len()).ok()?.to_be_bytes();
    let header = |sum: u16| {
        let fixed = [0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, ICMP];
        [&fixed[..], &sum.to_be_bytes(), &ROUTER.octets(), &sender.octets()].concat()
    };
    Some([&header(checksum(&[&header(0)])), &body[..], quoted].concat())
}

fn message_ipv6(sender: Ipv6Addr, quoted: &[u8], mtu: Mtu) -> Option<Vec<u8>> {
    let [high, low] = mtu.get().to_be_bytes();
    let head = |sum: u16| {
        let [a, b] = sum.to_be_bytes();
        [2, 0, a, b, 0, 0, high, low]
    };
    let length = u16::try_from(head(0).len() + quoted.len()).ok()?.to_be_bytes();
    let addresses = [ROUTER6.octets(), sender.octets()].concat();
    let sum = checksum(&[&addresses, &length, &[0, ICMP6], &head(0), quoted]);
    let header = [&[0x60, 0, 0, 0], &length[..], &[ICMP6, 64], &addresses].concat();
    debug_assert_eq!(header.len(), IPV6_HEADER, "an IPv6 header has one length");
    Some([&header, &head(sum)[..], quoted].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::destination;
    use crate::packet::tests::{udp_ipv4, udp_ipv6};

    fn mtu() -> Mtu {
        Mtu::new(1_400).unwrap()
    }

    #[test]
    fn an_ipv4_sender_is_told_the_mtu_with_its_packet_quoted() {
        let packet = udp_ipv4([10, 77, 1, 1], [10, 77, 2, 1], &[7; 1_400]);

        let told = too_big(&packet, mtu()).unwrap();

        assert_eq!(destination(&told), source(&packet));
        assert_eq!((told[9], told[20], told[21]), (ICMP, 3, 4));
        assert_eq!(u16::from_be_bytes([told[26], told[27]]), 1_400);
        assert_eq!(told[28..], packet[..QUOTED_BYTES]);
        assert_eq!((checksum(&[&told[..20]]), checksum(&[&told[20..]])), (0, 0));
    }

    #[test]
    fn an_ipv6_sender_is_told_the_mtu_with_its_packet_quoted() {
        let packet = udp_ipv6("fd77::1:1", "fd77::2:1", &[7; 1_400]);

        let told = too_big(&packet, mtu()).unwrap();

        assert_eq!(destination(&told), source(&packet));
        assert_eq!((told[6], told[40], told[41]), (ICMP6, 2, 0));
        assert_eq!(u16::from_be_bytes([told[46], told[47]]), 1_400);
        assert_eq!(told[48..], packet[..QUOTED_BYTES]);
        let length = u16::try_from(told.len() - 40).unwrap().to_be_bytes();
        assert_eq!(checksum(&[&told[8..40], &length, &[0, ICMP6], &told[40..]]), 0);
    }

    #[test]
    fn no_error_is_sent_about_an_error() {
        let packet = udp_ipv4([10, 77, 1, 1], [10, 77, 2, 1], &[7; 1_400]);
        let told = too_big(&packet, mtu()).unwrap();

        assert_eq!(too_big(&told, mtu()), None);
        assert_eq!(too_big(b"no packet", mtu()), None);
    }
}
