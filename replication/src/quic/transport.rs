//! How much is buffered, and how a path is probed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headland_event::ByteCount;
use quinn::{
    EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt,
};

use super::datagram;
use super::pace::{Gauge, Pacing};
use super::slot::STREAMS;

/// Largest stream window: quinn-proto kills a connection whose receive buffer has more than 1,024
/// gaps, and a stream with a 16 MiB window had as many within 1.1 s at 400 Mbit/s and 80 ms.
const STREAM_WINDOW_MAX: ByteCount = ByteCount::mebibytes(2);

/// Round trip assumed before the first measurement: between regions, where it matters.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Silence after which QUIC gives up: twice the link's own, which normally comes first.
const IDLE_TIMEOUT_MS: u32 = 10_000;

/// Bytes of datagrams that are kept until they are read, or sent: a handful, and the oldest go.
/// Room is taken for those that there are. The peer is told how large one may be: a build that
/// says 64 bytes takes probes and nothing else.
const DATAGRAM_BYTES: usize = 4 << 10;

/// Handshakes that wait to be taken up; further peers are refused until there is room. quinn takes
/// 65,536, for each of which anybody without a certificate could make it keep packets.
const INCOMING_LIMIT: usize = 1_024;

/// Bytes kept for one of them, two datagrams of early packets, and for all: quinn's own limits are
/// 10 MiB and 100 MiB.
const INCOMING_BYTES_LIMIT: u64 = 4 << 10;
const ALL_INCOMING_BYTES_LIMIT: u64 = 1 << 20;

/// What is done about a record that nothing follows ([`crate::trailing`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trails {
    /// A probe follows it, so that its loss shows a round trip sooner.
    Probed,
    /// Nothing: each record would cost one packet more.
    Left,
}

/// Flow-control windows of a connection. Memory follows them: 7 MB resident with small ones,
/// 23 MB at 16 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Bytes one lane of the peer may send ahead of our reading; 2 MiB at most, more is lowered.
    pub stream: ByteCount,
    /// Bytes all lanes of the peer may send ahead of our reading.
    pub connection: ByteCount,
    /// Bytes we keep until the peer's transport has acknowledged them.
    pub send: ByteCount,
    /// Whether a probe follows what nothing else follows.
    pub trails: Trails,
    /// Bytes of the largest datagram that we send or take. quinn keeps room for ten of them on
    /// each connection, at either end.
    pub datagram: u16,
}

impl Windows {
    /// For a hub: 400 Mbit/s over 300 ms.
    #[must_use]
    pub const fn hub() -> Self {
        let wide = ByteCount::mebibytes(16);
        let datagram = datagram::JUMBO_BYTES;
        let trails = Trails::Probed;
        Self { stream: STREAM_WINDOW_MAX, connection: wide, send: wide, trails, datagram }
    }

    /// For an agent: 100 Mbit/s over 80 ms in little memory.
    #[must_use]
    pub const fn agent() -> Self {
        let narrow = ByteCount::mebibytes(1);
        let datagram = datagram::ETHERNET_BYTES;
        let trails = Trails::Left;
        Self { stream: narrow, connection: narrow, send: narrow, trails, datagram }
    }
}

/// Bounds what peers can make a listener keep before they have shown a certificate.
pub(super) fn bound_incoming(server: &mut ServerConfig) {
    server
        .max_incoming(INCOMING_LIMIT)
        .incoming_buffer_size(INCOMING_BYTES_LIMIT)
        .incoming_buffer_size_total(ALL_INCOMING_BYTES_LIMIT);
}

/// Lets peers send datagrams of every size that is tried; quinn takes 1,472 bytes.
pub(super) fn widen(mut endpoint: EndpointConfig, windows: Windows) -> EndpointConfig {
    // It refuses less than 1,200 and more than 65,527 bytes.
    endpoint.max_udp_payload_size(windows.datagram).ok();
    endpoint
}

/// quinn's settings for one connection to `peer`, whose controller keeps `gauge`.
pub(super) fn transport(peer: SocketAddr, windows: Windows, gauge: Arc<Gauge>) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(datagram::largest(peer, windows.datagram));
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BYTES)
        .congestion_controller_factory(Arc::new(Pacing::new(gauge)))
        .stream_receive_window(varint(windows.stream.min(STREAM_WINDOW_MAX)))
        .receive_window(varint(windows.connection))
        .send_window(windows.send.get())
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(Some(discovery))
        .keep_alive_interval(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))));
    transport
}

fn varint(bytes: ByteCount) -> VarInt {
    VarInt::from_u64(bytes.get()).unwrap_or(VarInt::MAX)
}

#[cfg(test)]
mod tests;
