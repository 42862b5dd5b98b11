//! A UDP relay that shapes what passes: the tokio shell around [`Shaper`].
//!
//! Clients send to the relay's address. Each gets one upstream socket of its own, so that the
//! target tells clients apart by address as if they came directly. Decisions are made in
//! [`Shaper`] and the flow table; this file only moves datagrams and waits.

/// The same for TCP, as far as a relay can.
pub mod stream;

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use crate::change::{AddressChange, Change};
use crate::control::{Controlled, Sides};
use crate::flow::{FLOW_IDLE, FlowTable};
use crate::path::Datagram;
use crate::profile::Profile;
use crate::report::report;
use crate::shaper::{Counters, Cut, Direction, Shaper};

/// Asked for as send and receive buffer of every socket, so that a burst is dropped by the
/// profile's queue and not by the kernel. A kernel with a lower `net.core.rmem_max` grants less.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The largest UDP payload.
const DATAGRAM_BYTES_LIMIT: usize = 65_535;

/// A relay could not be set up.
#[derive(Debug, Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// A running relay could not go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The socket that clients send to failed.
    #[error("the relay's socket {address} failed")]
    Listen {
        /// The address it listens on.
        address: SocketAddr,
        /// How it failed.
        source: io::Error,
    },
    /// A client's socket towards the target failed or could not be opened.
    #[error("the socket of client {client} towards {target} failed")]
    Upstream {
        /// The client.
        client: SocketAddr,
        /// The target.
        target: SocketAddr,
        /// How it failed.
        source: io::Error,
    },
}

/// A bound relay; [`Self::run`] makes it move datagrams.
#[derive(Debug)]
pub struct Relay {
    listen: UdpSocket,
    address: SocketAddr,
    target: SocketAddr,
    flows: FlowTable<UdpSocket>,
    buffer: Vec<u8>,
    /// Read and not yet given to the shaper: at most one datagram of each socket.
    received: Vec<(Direction, Datagram)>,
    handle: RelayHandle,
}

/// Controls a [`Relay`] while it runs; clones control the same one.
#[derive(Debug, Clone)]
pub struct RelayHandle {
    shaper: Arc<Mutex<Shaper<Datagram>>>,
    stop: Arc<Notify>,
    move_clients: Arc<Notify>,
}

impl Controlled for RelayHandle {
    fn apply(&self, change: &Change) {
        self.lock().apply(change);
        match change.address {
            Some(AddressChange::New) => self.move_clients.notify_one(),
            None => {}
        }
    }

    fn report(&self) -> Value {
        report(&self.counters())
    }

    fn sides(&self) -> Option<Sides> {
        None
    }

    fn stop(&self) {
        self.stop.notify_one();
    }
}

impl RelayHandle {
    /// Cuts the named directions and heals the others, before this returns.
    pub fn set_cut(&self, cut: Cut) {
        self.lock().set_cut(cut);
    }

    /// Shapes by another profile what arrives from now on.
    pub fn set_profile(&self, profile: Profile) {
        self.lock().set_profile(profile);
    }

    /// What became of the datagrams so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.lock().counters()
    }

    /// Ends [`Relay::run`]; what travels is dropped.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// The lock is never held across an await, and a panic in the shaper leaves plain data.
    fn lock(&self) -> MutexGuard<'_, Shaper<Datagram>> {
        self.shaper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Binds `listen`, port 0 for any free one, and relays to `target` once run.
    ///
    /// # Errors
    /// [`BindError`] when the address is in use or not this machine's.
    pub fn bind(
        listen: SocketAddr,
        target: SocketAddr,
        profile: Profile,
        seed: u64,
    ) -> Result<Self, BindError> {
        let bound = open(listen).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = bound.map_err(|source| BindError { address: listen, source })?;
        Ok(Self {
            listen: socket,
            address,
            target,
            flows: FlowTable::new(),
            buffer: vec![0; DATAGRAM_BYTES_LIMIT],
            received: Vec::new(),
            handle: RelayHandle {
                shaper: Arc::new(Mutex::new(Shaper::new(profile, seed))),
                stop: Arc::new(Notify::new()),
                move_clients: Arc::new(Notify::new()),
            },
        })
    }

    /// The address that clients send to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that stays valid while the relay runs and after.
    #[must_use]
    pub fn handle(&self) -> RelayHandle {
        self.handle.clone()
    }

    /// Relays until [`RelayHandle::stop`], and says what became of the datagrams.
    ///
    /// `clock` is monotonic and counts from any start.
    ///
    /// # Errors
    /// [`RelayError`] when a socket fails; a target that is not there is no failure.
    ///
    /// # Cancel safety
    /// Dropping the future closes the sockets and loses what travels, as [`RelayHandle::stop`].
    pub async fn run<C: Fn() -> Duration>(mut self, clock: C) -> Result<Counters, RelayError> {
        let handle = self.handle();
        loop {
            let wake_at = handle.lock().poll_timeout();
            let wait = wake_at.map_or(FLOW_IDLE, |due| due.saturating_sub(clock()));
            // Every branch may be dropped unfinished: what was read stays in `received`, and the
            // timer and the permit to stop are asked for again.
            tokio::select! {
                biased;
                () = handle.stop.notified() => return Ok(handle.counters()),
                () = handle.move_clients.notified() => self.move_clients()?,
                read = poll_fn(|context| self.poll_receive(context)) => read?,
                () = tokio::time::sleep(wait) => self.flows.expire(clock()),
            }
            self.shape_received(clock())?;
            self.send_due(&clock).await?;
        }
    }

    /// Reads at most one datagram of each socket, so that a busy one cannot starve the others.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<(), RelayError>> {
        let listen = poll_present(|| {
            let mut read = ReadBuf::new(&mut self.buffer);
            self.listen
                .poll_recv_from(context, &mut read)
                .map_ok(|client| Datagram { client, bytes: read.filled().to_vec() })
        });
        match listen {
            Poll::Pending => {}
            Poll::Ready(Ok(datagram)) => self.received.push((Direction::ToTarget, datagram)),
            Poll::Ready(Err(source)) => return Poll::Ready(Err(self.listen_failure(source))),
        }
        for (client, upstream) in self.flows.iter() {
            let answer = poll_present(|| {
                let mut read = ReadBuf::new(&mut self.buffer);
                upstream
                    .poll_recv(context, &mut read)
                    .map_ok(|()| Datagram { client, bytes: read.filled().to_vec() })
            });
            match answer {
                Poll::Pending => {}
                Poll::Ready(Ok(datagram)) => self.received.push((Direction::FromTarget, datagram)),
                Poll::Ready(Err(source)) => {
                    return Poll::Ready(Err(self.upstream_failure(client, source)));
                }
            }
        }
        if self.received.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Hands what was read to the shaper, opening upstreams of clients seen for the first time.
    fn shape_received(&mut self, now: Duration) -> Result<(), RelayError> {
        for (direction, datagram) in std::mem::take(&mut self.received) {
            let client = datagram.client;
            if self.flows.touch(client, now).is_none() {
                let upstream =
                    connect(self.target).map_err(|source| self.upstream_failure(client, source))?;
                self.flows.insert(client, now, upstream);
            }
            self.handle.lock().on_packet(now, direction, datagram);
        }
        Ok(())
    }

    /// Gives every client a new socket towards the target, and so a new port there. What the
    /// target sends to the old one is lost, as when a NAT forgets.
    fn move_clients(&mut self) -> Result<(), RelayError> {
        for (client, upstream) in self.flows.iter_mut() {
            *upstream = connect(self.target).map_err(|source| RelayError::Upstream {
                client,
                target: self.target,
                source,
            })?;
        }
        Ok(())
    }

    /// Sends all that is due.
    async fn send_due<C: Fn() -> Duration>(&mut self, clock: &C) -> Result<(), RelayError> {
        loop {
            let now = clock();
            let Some((direction, datagram)) = self.handle.lock().poll_output(now) else {
                return Ok(());
            };
            let Datagram { client, bytes } = datagram;
            match direction {
                Direction::FromTarget => present(self.listen.send_to(&bytes, client).await)
                    .map_err(|source| self.listen_failure(source))?,
                // A client dropped from a full table while its datagram travelled hears nothing.
                Direction::ToTarget => {
                    if let Some(upstream) = self.flows.touch(client, now) {
                        present(upstream.send(&bytes).await)
                            .map_err(|source| self.upstream_failure(client, source))?;
                    }
                }
            }
        }
    }

    const fn listen_failure(&self, source: io::Error) -> RelayError {
        RelayError::Listen { address: self.address, source }
    }

    const fn upstream_failure(&self, client: SocketAddr, source: io::Error) -> RelayError {
        RelayError::Upstream { client, target: self.target, source }
    }
}

/// Whether an error only says that nobody listens at the other end, which a killed process causes
/// and a real network would not report at all.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

/// Polls again after an absence: the socket reports it once, in front of what it received.
fn poll_present<T>(mut poll: impl FnMut() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    loop {
        match poll() {
            Poll::Ready(Err(error)) if is_absence(&error) => {}
            other => return other,
        }
    }
}

/// The outcome of a send, where an absence loses the datagram as a network would.
fn present(sent: io::Result<usize>) -> io::Result<()> {
    match sent {
        Err(error) if !is_absence(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Binds a UDP socket with large buffers.
fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Opens a socket that speaks to `target` only.
fn connect(target: SocketAddr) -> io::Result<UdpSocket> {
    let any = match target {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = Socket::from(open(any)?.into_std()?);
    socket.connect(&target.into())?;
    UdpSocket::from_std(socket.into())
}
