//! The link protocol as sans-IO state machines, with a thin QUIC driver.
//!
//! One protocol serves agent to hub and hub to hub: both sides announce partitions, the receiver
//! of each says where it stands, and the sender pushes entries from there, in order, within the
//! receiver's credit. A [`Link`] is one connection; after a cut a new one starts from whatever
//! position the receiver has stored. [`Dialer`] decides when to try again, and [`Peering`] which of
//! several connections between two nodes is kept.
//!
//! It does *not* store anything, know what a record means, decide who may publish what, or read a
//! clock. Without the feature `quic` it has no socket and no tokio either; with it, `quic` carries
//! frames and decides nothing.
//!
//! ```
//! use headland_event::{AgentName, HubName, Incarnation, Monotonic, RegionId};
//! use headland_replication::{Identity, Link, LinkConfig, LinkOutput};
//!
//! let region = RegionId::new("eu")?;
//! let hub = Identity::Hub { region: region.clone(), name: HubName::new("hub-1")? };
//! let agent = Identity::Agent { region, name: AgentName::new("eu-1")? };
//! let now = Monotonic::from_millis(0);
//! let here = LinkConfig::new(agent.clone(), Incarnation::new(1, 7), hub.clone());
//! let there = LinkConfig::new(hub, Incarnation::new(1, 8), agent.clone());
//! let (mut uplink, mut downlink) = (Link::new(here, 1, now), Link::new(there, 2, now));
//!
//! while let Some(LinkOutput::Send { lane, frame }) = uplink.poll_output() {
//!     downlink.on_frame(now, lane, frame);
//! }
//!
//! let ready = std::iter::from_fn(|| downlink.poll_output())
//!     .any(|output| matches!(output, LinkOutput::PeerReady(hello) if hello.identity == agent));
//! assert!(ready);
//! # Ok::<(), headland_event::NameError>(())
//! ```

/// Frames and their layouts.
pub mod frame;
/// Which topics travel to whom, and what they are called there.
pub mod route;
/// Which topics and groups a link is for, by patterns.
pub mod filter;
/// When to dial again.
pub mod dialer;
/// How often a handshake that nobody answers is begun anew.
pub mod attempts;
/// Which handshakes of peers go on, when more come than a node can carry.
pub mod handshakes;
/// Which of several connections between two nodes is kept.
pub mod peering;
/// The state machine of one connection.
pub mod link;
/// How far two nodes are apart, also while there is no link between them.
pub mod lag;
/// How many bytes and how much time lie between two offsets of a partition.
pub mod marks;
/// How long records take to a region.
pub mod latency;
/// How a link does: in order, catching up, stalled, held or down.
pub mod condition;
/// Exact translation of offsets between a partition and its mirrors.
pub mod checkpoint;
/// How far a log was read over the lives of its origin.
pub mod read_to;
/// How far consumer groups have read, the same in every region.
pub mod groups;
/// Which regions are in use by leases, and how they are taken over without an operator.
pub mod lease;
/// Regions that were left for another one.
pub mod fence;
/// Whether what one node wrote is what another holds.
pub mod audit;
/// Which dots a reader of several logs has counted.
pub mod counted;
/// How much of a connection may be on its way through the network.
pub mod congestion;
/// How soon a connection notices that its path is back.
pub mod probing;
/// How soon it shows that the last packet of several is lost.
pub mod trailing;
/// Frames over QUIC.
#[cfg(feature = "quic")]
pub mod quic;

pub use audit::Audit;
pub use checkpoint::Checkpoint;
pub use condition::Condition;
pub use counted::{Counted, CountedLayout, Doubled, Known};
pub use dialer::{Dialer, DialerConfig, DialerOutput};
pub use filter::{Filter, NamePattern};
pub use frame::{Frame, FrameError, Identity, Offer, Refusal, RefusalCode};
pub use groups::Groups;
pub use lag::Lag;
pub use link::{CloseReason, Flow, Link, LinkConfig, LinkOutput};
pub use marks::Marks;
pub use peering::{Dialled, Ended, Peering, PeeringConfig, PeeringOutput};
pub use read_to::ReadTo;
