//! System calls that no safe crate of ours offers: the only `unsafe` of the workspace.
//!
//! Each function makes one call with memory that it owns itself and turns the result into an
//! `io::Error`; nothing here decides anything.

#![expect(unsafe_code, reason = "ioctl, unshare and sched_setscheduler have no safe form")]

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};

use rustix::thread::UnshareFlags;

/// The first real-time priority above those that kernels give their own threads of low urgency.
const PRIORITY: c_int = 10;

/// Gives the calling thread a network namespace of its own, empty but for a loopback device.
pub(crate) fn leave_network() -> io::Result<()> {
    // SAFETY: only CLONE_FILES could take descriptors away from other threads.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(Into::into)
}

/// Lets the calling thread run before all that is not real-time, or says why it may not.
pub(crate) fn run_first() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the parameters outlive the call; 0 is the calling thread.
    ok(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) })
}

/// Makes an opened `/dev/net/tun` the device `name`: whole IP packets, no header before them, and
/// so none of the kernel's segmentation offload.
pub(crate) fn make_tun(file: &File, name: &str) -> io::Result<()> {
    let mut request = named(name);
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: TUNSETIFF takes a pointer to an ifreq, which outlives the call.
    ok(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

/// Gives a device its IPv4 address and the length of its network's prefix.
pub(crate) fn set_ipv4(
    socket: RawFd,
    name: &str,
    address: Ipv4Addr,
    prefix: u32,
) -> io::Result<()> {
    let mut request = named(name);
    request.ifr_ifru.ifru_addr = ipv4(address)?;
    device(socket, libc::SIOCSIFADDR, &mut request)?;
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    request.ifr_ifru.ifru_netmask = ipv4(Ipv4Addr::from(mask))?;
    device(socket, libc::SIOCSIFNETMASK, &mut request)
}

/// Gives a device its IPv6 address; `socket` is one of IPv6.
pub(crate) fn set_ipv6(
    socket: RawFd,
    name: &str,
    address: Ipv6Addr,
    prefix: u32,
) -> io::Result<()> {
    let mut request = named(name);
    device(socket, libc::SIOCGIFINDEX, &mut request)?;
    let in6_addr = libc::in6_addr { s6_addr: address.octets() };
    // SAFETY: SIOCGIFINDEX succeeded and so wrote this field of the union.
    let ifr6_ifindex = unsafe { request.ifr_ifru.ifru_ifindex };
    let mut request = libc::in6_ifreq { ifr6_addr: in6_addr, ifr6_prefixlen: prefix, ifr6_ifindex };
    // SAFETY: SIOCSIFADDR of an IPv6 socket takes a pointer to an in6_ifreq.
    ok(unsafe { libc::ioctl(socket, libc::SIOCSIFADDR, &raw mut request) })
}

/// Sets the largest packet and how many packets wait for us in the kernel.
pub(crate) fn set_sizes(socket: RawFd, name: &str, mtu: u16, packets: u16) -> io::Result<()> {
    let mut request = named(name);
    request.ifr_ifru.ifru_mtu = c_int::from(mtu);
    device(socket, libc::SIOCSIFMTU, &mut request)?;
    request.ifr_ifru.ifru_metric = c_int::from(packets);
    device(socket, libc::SIOCSIFTXQLEN, &mut request)
}

/// Switches a device on.
pub(crate) fn bring_up(socket: RawFd, name: &str) -> io::Result<()> {
    let mut request = named(name);
    device(socket, libc::SIOCGIFFLAGS, &mut request)?;
    let up = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: SIOCGIFFLAGS succeeded and so wrote this field of the union.
    request.ifr_ifru.ifru_flags = unsafe { request.ifr_ifru.ifru_flags } | up;
    device(socket, libc::SIOCSIFFLAGS, &mut request)
}

fn device(socket: RawFd, call: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the calls made here take a pointer to an ifreq, and it outlives the call.
    ok(unsafe { libc::ioctl(socket, call, &raw mut *request) })
}

/// A request about a device; a name too long for the kernel is cut and then not found.
fn named(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq is integers and unions of them, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (letter, byte) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *letter = byte.cast_signed();
    }
    request
}

fn ipv4(address: Ipv4Addr) -> io::Result<libc::sockaddr> {
    let mut data = [0; 14];
    // A sockaddr_in: two bytes of port, then the address in network order.
    for (to, from) in data.iter_mut().skip(2).zip(address.octets()) {
        *to = from.cast_signed();
    }
    let sa_family = libc::sa_family_t::try_from(libc::AF_INET).map_err(io::Error::other)?;
    Ok(libc::sockaddr { sa_family, sa_data: data })
}

fn ok(returned: c_int) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
