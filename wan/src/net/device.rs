//! A TUN device in a namespace: what its processes send, and what they are to receive.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use rustix::fs::OFlags;
use socket2::{Domain, Socket, Type};

use crate::namespace::Namespace;
use crate::sys;

/// The device's name in its namespace.
pub const DEVICE: &str = "wan0";

/// The largest packet of the device; a path's own MTU can only be smaller.
pub const DEVICE_MTU: u16 = 1_500;

/// Packets that wait in the kernel until we read them: at 1 Gbit/s of full packets about 50 ms,
/// more than a busy machine takes to run us. What does not fit is our own drop.
const WAITING_PACKETS_LIMIT: u16 = 4_096;

/// What hosts on long fat pipes set, so that a TCP flow is bounded by the path, not by the host:
/// 32 MiB are 400 Mbit/s over 640 ms. Remembered metrics would tie one run to the next.
const SYSCTLS: [(&str, &str); 6] = [
    ("net/ipv4/tcp_rmem", "4096 131072 33554432"),
    ("net/ipv4/tcp_wmem", "4096 131072 33554432"),
    ("net/ipv4/tcp_no_metrics_save", "1"),
    ("net/ipv4/ping_group_range", "0 2147483647"),
    // Without link-local addresses and solicitations only what processes send meets the path, so
    // that the same seed meets the same packets.
    ("net/ipv6/conf/wan0/addr_gen_mode", "1"),
    ("net/ipv6/conf/wan0/router_solicitations", "0"),
];

/// Where a side of the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
}

/// Every address of the network is on the link: there is no other way out of a namespace.
const IPV4_PREFIX: u32 = 16;
const IPV6_PREFIX: u32 = 64;

/// A TUN device.
#[derive(Debug)]
pub(super) struct Device {
    packets: File,
    /// `/proc/net/dev` of the device's namespace, kept open since it names the opener's.
    table: File,
    dropped: u64,
}

impl Device {
    /// Makes the device in a namespace and switches it and the loopback on.
    pub(super) fn create(namespace: &Namespace, addresses: Addresses) -> io::Result<Self> {
        namespace.inside(|| {
            let mut options = OpenOptions::new();
            let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
            options.read(true).write(true).custom_flags(nonblocking);
            let packets = options.open("/dev/net/tun")?;
            sys::make_tun(&packets, DEVICE)?;
            let ipv4 = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            let ipv6 = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
            sys::set_sizes(ipv4.as_raw_fd(), DEVICE, DEVICE_MTU, WAITING_PACKETS_LIMIT)?;
            for (name, value) in SYSCTLS {
                fs::write(format!("/proc/sys/{name}"), value)?;
            }
            sys::set_ipv4(ipv4.as_raw_fd(), DEVICE, addresses.ipv4, IPV4_PREFIX)?;
            sys::bring_up(ipv4.as_raw_fd(), DEVICE)?;
            sys::bring_up(ipv4.as_raw_fd(), "lo")?;
            sys::set_ipv6(ipv6.as_raw_fd(), DEVICE, addresses.ipv6, IPV6_PREFIX)?;
            let table = File::open("/proc/thread-self/net/dev")?;
            Ok(Self { packets, table, dropped: 0 })
        })
    }

    /// The next packet that a process sent, `None` when there is none; `buffer` is the length of
    /// the largest.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.packets).read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a packet to the namespace's processes; `Err` when the kernel does not take it.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.packets).write(packet).map(drop)
    }

    /// Packets that the kernel dropped since the last call because we did not read them in time.
    pub(super) fn drops(&mut self) -> io::Result<u64> {
        let mut text = [0; 4_096];
        let length = self.table.read_at(&mut text, 0)?;
        let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
        let total = dropped(&text).unwrap_or(self.dropped);
        debug_assert!(total >= self.dropped, "a counter of the kernel only grows");
        let new = total.saturating_sub(self.dropped);
        self.dropped = total;
        Ok(new)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.packets.as_fd()
    }
}

/// The device's dropped outgoing packets in the text of `/proc/net/dev`: the 12th number.
fn dropped(table: &str) -> Option<u64> {
    let line =
        table.lines().find_map(|line| line.trim().strip_prefix(DEVICE)?.strip_prefix(':'))?;
    line.split_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drops_of_the_device_are_found_among_those_of_others() {
        let table = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:       0       1    2    3    4     5          6         7        8       9   10   11
  wan0:    1000      20    0    0    0     0          0         0     2000      40    0   17    0
";

        assert_eq!(dropped(table), Some(17));
        assert_eq!(dropped("lo: 1 2 3"), None);
    }
}
