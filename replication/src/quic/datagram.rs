//! How large the datagrams of a connection may become.
//!
//! What a datagram costs the two processors hardly depends on its length, and a datagram of 6,500
//! bytes takes the place of four or five of Ethernet's. Whether the path carries it is found out by
//! probes (RFC 8899), which quinn sends; here is only how far they go. A probe that is lost costs a
//! round trip or more, so none goes beyond what the first link of the path takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Bytes of UDP payload, most. quinn hands ten datagrams to the kernel at once, which takes no more
/// than 65,507 bytes; of a jumbo frame of 9,000 bytes a quarter stays unused for that.
pub(super) const JUMBO_BYTES: u16 = 6_500;

/// Bytes of UDP payload that fit into a frame of Ethernet.
pub(super) const ETHERNET_BYTES: u16 = 1_472;

/// Bytes of UDP payload that are tried on every path: Ethernet, IPv6 and a tunnel's header.
const COMMON_BYTES: u16 = 1_452;

/// Bytes of the headers before the payload: IP's smallest, and UDP's.
const HEADERS_V4: u32 = 20 + 8;
const HEADERS_V6: u32 = 40 + 8;

/// Largest datagram, in bytes of UDP payload, that is worth a probe on the way to `peer`: `most` or
/// less.
///
/// Cost: four system calls, none of which sends anything.
pub(super) fn largest(peer: SocketAddr, most: u16) -> u16 {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let headers = if peer.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
    let payload = first_link_bytes(peer).map_or(0, |bytes| bytes.saturating_sub(headers));
    within(payload, most)
}

fn within(payload: u32, most: u16) -> u16 {
    let payload = u16::try_from(payload).unwrap_or(u16::MAX).min(most);
    // Behind a first link of Ethernet lies many a tunnel: twenty bytes more are not worth its loss.
    if payload > ETHERNET_BYTES { payload } else { COMMON_BYTES }
}

/// Bytes of the largest packet that this machine can send on its way to `peer`; `None` when there
/// is no way, or the system does not say.
fn first_link_bytes(peer: SocketAddr) -> Option<u32> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Sends nothing: the kernel looks the way up.
    socket.connect(peer).ok()?;
    link_bytes(&socket, peer)
}

#[cfg(target_os = "linux")]
fn link_bytes(socket: &UdpSocket, peer: SocketAddr) -> Option<u32> {
    use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
    if peer.is_ipv4() { ip_mtu(socket).ok() } else { ipv6_mtu(socket).ok() }
}

#[cfg(not(target_os = "linux"))]
fn link_bytes(_socket: &UdpSocket, _peer: SocketAddr) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_datagrams_are_what_the_kernel_takes_at_once() {
        assert!(10 * u32::from(JUMBO_BYTES) <= 65_507);
    }

    #[test]
    fn what_the_first_link_takes_bounds_the_probes_and_less_than_ethernet_does_not() {
        assert_eq!(within(0, JUMBO_BYTES), 1_452);
        assert_eq!(within(1_280 - HEADERS_V6, JUMBO_BYTES), 1_452);
        assert_eq!(within(1_500 - HEADERS_V4, JUMBO_BYTES), 1_452);
        assert_eq!(within(4_000, JUMBO_BYTES), 4_000);
        assert_eq!(within(9_000 - HEADERS_V4, JUMBO_BYTES), 6_500);
        assert_eq!(within(u32::MAX, JUMBO_BYTES), 6_500);
        assert_eq!(within(9_000 - HEADERS_V4, ETHERNET_BYTES), 1_452);
    }
}
