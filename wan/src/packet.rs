//! What is read of an IP packet: its version and its addresses.
//!
//! # Source
//! RFC 791 §3.1 and RFC 8200 §3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    address(packet, 16, 24)
}

fn address(packet: &[u8], at_ipv4: usize, at_ipv6: usize) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => {
            let octets: [u8; 4] = packet.get(at_ipv4..at_ipv4 + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        6 => {
            let octets: [u8; 16] = packet.get(at_ipv6..at_ipv6 + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}
