//! Frames over QUIC: sockets, streams and nothing else.
//!
//! ```text
//! connection:  one unidirectional stream per slot of a lane and direction, opened by the sender
//! stream:      slot u8 │ frame, frame, …
//! frame:       length u32 │ bytes of a frame, at most FRAME_BYTES_LIMIT
//! ```
//! A slot's byte is [`headland_event::Lane::code`] plus 16 times its number. A stream that breaks
//! this closes the connection.
//!
//! Nothing here starts a task or decides anything: a connection is split into [`quic::Lanes`],
//! whose
//! driver is a future for the caller to run in a task of its own, beside the loop that feeds the
//! [`crate::Link`]. quinn itself runs its endpoint and connections on the tokio runtime.

/// How large datagrams may become.
mod datagram;
/// How much is buffered, and how a path is probed.
mod transport;
/// What quinn may send, as the path allows.
mod pace;
/// The UDP socket under an endpoint.
mod socket;
/// How a node that starts again tells its peers that their connections are gone.
mod reset;
/// Places for handshakes of peers.
mod places;
/// What lies behind a peer that answers nothing.
mod silence;
/// Connecting and accepting.
mod endpoint;
/// One connection, before it is split into lanes.
mod connection;
/// What one side tells the other's transport when it closes a connection.
mod close;
/// What keeps two nodes from speaking at all.
mod handshake;
/// Why a connection is over.
mod lost;
/// A handful of futures side by side.
mod future_set;
/// Which stream a frame travels on.
mod slot;
/// A handful of values by their slots.
mod by_slot;
/// Frames in and out of one connection.
mod lanes;
/// What happens on a connection, on its way to the caller.
mod passing;
/// Frames that wait to be written.
mod outgoing;
/// Frames on their way out.
mod lane_writer;
/// Frames on their way in.
mod lane_reader;

pub use close::{CloseCode, Farewell};
pub use connection::Connection;
pub use endpoint::{BindError, ConnectError, Endpoint, Incoming, TlsConfigs};
pub use handshake::{HandshakeFault, Judge};
pub use lanes::{LaneDriver, LaneEvent, LaneEvents, LaneSender, Lanes, SendError};
pub use lost::{DriverError, Lost};
pub use reset::ResetKey;
pub use silence::Silence;
pub use transport::{Trails, Windows};
