//! What is read and written of an IP packet: version, addresses, the checksums over them.
//!
//! # Source
//! RFC 791 §3.1, RFC 8200 §3, RFC 1071 and RFC 1624 for the checksum.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Numbers of protocols in IP headers.
pub(crate) const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
pub(crate) const ICMP6: u8 = 58;

/// The length of an IPv6 header.
pub(crate) const IPV6_HEADER: usize = 40;

/// Which address of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    Source,
    Destination,
}

/// Whether a packet goes to one host: what hosts say to all of their network does not cross a WAN,
/// and would meet fates that are meant for others.
pub(crate) fn is_for_one_host(packet: &[u8]) -> bool {
    match destination(packet) {
        Some(IpAddr::V4(address)) => !address.is_multicast() && !address.is_broadcast(),
        Some(IpAddr::V6(address)) => !address.is_multicast(),
        None => false,
    }
}

/// Where a packet goes; `None` when it is no IP packet.
pub(crate) fn destination(packet: &[u8]) -> Option<IpAddr> {
    address(packet, Header::Destination)
}

/// Where a packet comes from; `None` when it is no IP packet.
pub(crate) fn source(packet: &[u8]) -> Option<IpAddr> {
    address(packet, Header::Source)
}

fn address(packet: &[u8], which: Header) -> Option<IpAddr> {
    let at = offset(packet, which)?;
    if is_ipv4(packet) {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
    Some(Ipv6Addr::from(octets).into())
}

fn is_ipv4(packet: &[u8]) -> bool {
    packet.first().is_some_and(|byte| byte >> 4 == 4)
}

fn offset(packet: &[u8], which: Header) -> Option<usize> {
    match (packet.first()? >> 4, which) {
        (4, Header::Source) => Some(12),
        (4, Header::Destination) => Some(16),
        (6, Header::Source) => Some(8),
        (6, Header::Destination) => Some(24),
        _ => None,
    }
}

/// Replaces an address by one of the same version, in the header and in all checksums over it.
///
/// ICMPv4 has none over addresses; an IPv4 fragment after the first has no transport header.
pub(crate) fn rewrite(packet: &mut [u8], which: Header, new: IpAddr) {
    let octets: Vec<u8> = match new {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    };
    let Some(at) = offset(packet, which) else { return };
    let (is_ipv4, sum_at) = (is_ipv4(packet), transport_checksum(packet));
    let Some(field) = packet.get_mut(at..at + octets.len()) else { return };
    let old = field.to_vec();
    field.copy_from_slice(&octets);
    if is_ipv4 {
        patch(packet, 10, &old, &octets);
    }
    if let Some(sum_at) = sum_at {
        patch(packet, sum_at, &old, &octets);
    }
}

/// Where the checksum lies that covers the addresses, for the protocols that have one.
fn transport_checksum(packet: &[u8]) -> Option<usize> {
    let (protocol, start) = if is_ipv4(packet) {
        let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1FFF;
        let start = usize::from(packet.first()? & 0x0F) * 4;
        (*packet.get(9)?, (fragment == 0).then_some(start)?)
    } else {
        (*packet.get(6)?, IPV6_HEADER)
    };
    match protocol {
        TCP => Some(start + 16),
        // 0 says that an IPv4 datagram has no checksum.
        UDP => packet.get(start + 6..start + 8).filter(|sum| *sum != [0, 0]).map(|_| start + 6),
        ICMP6 => Some(start + 2),
        _ => None,
    }
}

/// RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
fn patch(packet: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let Some(field) = packet.get_mut(at..at + 2) else { return };
    let mut sum = u32::from(!word(field));
    for (old, new) in old.chunks(2).zip(new.chunks(2)) {
        sum += u32::from(!word(old)) + u32::from(word(new));
    }
    field.copy_from_slice(&(!folded(sum)).to_be_bytes());
}

/// The internet checksum of some parts, each of even length but the last.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    !folded(words.map(|pair| u32::from(word(pair))).sum())
}

fn word(pair: &[u8]) -> u16 {
    let high = pair.first().copied().unwrap_or(0);
    u16::from_be_bytes([high, pair.get(1).copied().unwrap_or(0)])
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A UDP header and payload whose checksum is right.
    fn udp(pseudo: &[u8], payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
        let mut udp = [&[0x23, 0x28, 0x23, 0x28], &length[..], &[0, 0], payload].concat();
        let sum = checksum(&[pseudo, &[0, UDP], &length, &udp]);
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        udp
    }

    pub(crate) fn udp_ipv4(from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let udp = udp(&[from, to].concat(), payload);
        let length = u16::try_from(20 + udp.len()).unwrap().to_be_bytes();
        let mut header = [&[0x45, 0], &length[..], &[0, 0, 0x40, 0, 64, UDP, 0, 0], &from, &to];
        let header: &mut [&[u8]] = &mut header;
        let mut packet = header.concat();
        let sum = checksum(&[&packet]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(udp);
        packet
    }

    pub(crate) fn udp_ipv6(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let (from, to) = (octets(from), octets(to));
        let udp = udp(&[from, to].concat(), payload);
        let length = u16::try_from(udp.len()).unwrap().to_be_bytes();
        [&[0x60, 0, 0, 0], &length[..], &[UDP, 64], &from, &to, &udp].concat()
    }

    /// 0 when the checksums of a UDP packet are right.
    pub(crate) fn checksum_of_udp(packet: &[u8]) -> u16 {
        let (header, addresses) =
            if is_ipv4(packet) { (20, 12..20) } else { (IPV6_HEADER, 8..IPV6_HEADER) };
        let udp = &packet[header..];
        let length = u16::try_from(udp.len()).unwrap().to_be_bytes();
        let outer = if is_ipv4(packet) { checksum(&[&packet[..header]]) } else { 0 };
        outer | checksum(&[&packet[addresses], &[0, UDP], &length, udp])
    }

    #[test]
    fn addresses_of_both_versions_are_read() {
        let ipv4 = udp_ipv4([10, 77, 1, 1], [10, 77, 2, 1], b"x");
        let ipv6 = udp_ipv6("fd77::1:1", "fd77::2:1", b"x");

        assert_eq!(source(&ipv4), Some("10.77.1.1".parse().unwrap()));
        assert_eq!(destination(&ipv4), Some("10.77.2.1".parse().unwrap()));
        assert_eq!(source(&ipv6), Some("fd77::1:1".parse().unwrap()));
        assert_eq!(destination(&ipv6), Some("fd77::2:1".parse().unwrap()));
    }

    #[test]
    fn what_is_said_to_all_or_is_no_packet_goes_to_no_one_host() {
        assert!(is_for_one_host(&udp_ipv4([10, 77, 1, 1], [10, 77, 2, 1], b"x")));
        assert!(!is_for_one_host(&udp_ipv4([10, 77, 1, 1], [224, 0, 0, 22], b"x")));
        assert!(!is_for_one_host(&udp_ipv6("fd77::1:1", "ff02::16", b"x")));
        assert!(!is_for_one_host(&[]));
        assert!(!is_for_one_host(&[0x45; 12]));
    }

    #[test]
    fn a_datagram_without_checksum_keeps_none() {
        let mut packet = udp_ipv4([10, 77, 1, 1], [10, 77, 2, 1], b"x");
        packet[26..28].copy_from_slice(&[0, 0]);

        rewrite(&mut packet, Header::Source, "10.77.1.2".parse().unwrap());

        assert_eq!(packet[26..28], [0, 0]);
    }

    proptest! {
        #[test]
        fn a_rewritten_packet_has_right_checksums(
            from: [u8; 4], to: [u8; 4], new: [u8; 4], payload: Vec<u8>,
        ) {
            let mut packet = udp_ipv4(from, to, &payload);

            rewrite(&mut packet, Header::Source, Ipv4Addr::from(new).into());

            prop_assert_eq!(checksum_of_udp(&packet), 0);
            prop_assert_eq!(source(&packet), Some(Ipv4Addr::from(new).into()));
        }

        #[test]
        fn no_bytes_make_reading_or_rewriting_panic(mut bytes: Vec<u8>, new: [u8; 4]) {
            rewrite(&mut bytes, Header::Destination, Ipv4Addr::from(new).into());
            rewrite(&mut bytes, Header::Source, Ipv6Addr::LOCALHOST.into());

            is_for_one_host(&bytes);
        }
    }
}
