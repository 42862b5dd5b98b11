//! A WAN in user space: delay, jitter, loss, rate, and cuts, the same for the same seed.
//!
//! The core is sans-IO. [`Path`] shapes one direction, [`Shaper`] two of them: packets and the
//! time go in, packets come out when they are due, and counters say what became of the rest and
//! whether the emulator kept up. [`Net`] drives a [`Shaper`] between two network namespaces,
//! [`Relay`] between UDP sockets without any privilege, [`StreamRelay`] does what it can for TCP.
//! A [`Change`] changes any of them while it runs, told by a [`ControlSocket`] or a [`Scenario`].
//!
//! It does *not* know anything of Headland: it sees packets, not links, regions or records. It
//! does not fragment packets, and it does not read a clock: the caller brings the time.
//!
//! Main types: [`Profile`], [`Shaper`], [`Cut`], [`Change`], [`Net`], [`Relay`].
//!
//! ```
//! use std::time::Duration;
//! use headland_wan::{Datagram, Direction, PathProfile, Profile, Shaper};
//!
//! let slow = PathProfile { delay: Duration::from_millis(40), ..PathProfile::default() };
//! let mut wan = Shaper::new(Profile { to_target: slow, from_target: slow }, 7);
//! let ping = Datagram { client: "127.0.0.1:9".parse().unwrap(), bytes: b"ping".to_vec() };
//! wan.on_packet(Duration::ZERO, Direction::ToTarget, ping.clone());
//!
//! assert_eq!(wan.poll_output(Duration::from_millis(39)), None);
//! assert_eq!(wan.poll_output(Duration::from_millis(40)), Some((Direction::ToTarget, ping)));
//! ```

/// Chances, rates, sizes and durations as profiles write them.
pub mod quantity;
/// What a path does to packets, readable from TOML.
pub mod profile;
/// What chance does to a packet: loss, bursts, duplication, reordering, jitter.
mod fate;
/// One direction: delay, jitter, loss, duplication, rate and its bounded queue.
pub mod path;
/// Both directions, and cuts.
pub mod shaper;
/// Profiles of known networks, by name.
pub mod catalogue;
/// What can change while a network runs.
pub mod change;
/// A timed list of changes, read from TOML.
pub mod scenario;
/// Counters as JSON.
pub mod report;
/// The control socket: how a running network is changed and asked.
pub mod control;
/// The clients of a relay and their sockets, bounded in number.
mod flow;
/// One direction of TCP connections through a relay.
mod line;
/// The tokio driver: a UDP relay that needs no privilege.
pub mod relay;
/// What is read and written of an IP packet.
mod packet;
/// The address under which the target's side sees the clients' side.
mod translation;
/// What a router says when a packet does not fit.
mod icmp;
/// Network namespaces without names.
pub mod namespace;
/// The driver between two namespaces: TUN devices, real-time priority.
pub mod net;
/// System calls without a safe form.
mod sys;

pub use change::{AddressChange, Change, PathPatch};
pub use control::{ControlSocket, Controlled};
pub use namespace::Namespace;
pub use net::{Net, NetHandle};
pub use path::{Admission, Datagram, Packet, Path, PathCounters};
pub use profile::{Bursts, PathProfile, Profile};
pub use quantity::{Chance, Mtu, QuantityError, QueueSize, Rate};
pub use relay::stream::{StreamRelay, StreamRelayHandle};
pub use relay::{BindError, Relay, RelayError, RelayHandle};
pub use scenario::{Scenario, ScenarioError};
pub use shaper::{Counters, Cut, Direction, Shaper, Validity};
