//! What a link is told when it starts.

use std::time::Duration;

use headland_event::{ByteCount, Incarnation};

use crate::frame::{Hello, Identity};

/// Settings of one link.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// What this node says about itself. Its window bounds what the peer may have in flight
    /// towards us until it is on our disk; default 16 MiB for a hub, which is 300 ms at 400 Mbit/s,
    /// and 1 MiB for an agent. The smaller of both sides' counts. Smaller costs throughput on long
    /// paths, larger costs memory while the disk is slow.
    pub hello: Hello,
    /// Who the peer is, as its certificate says: a hello that differs is refused.
    pub peer: Identity,
    /// Most bytes asked for by one [`super::LinkOutput::Read`], default 256 KiB. Smaller costs
    /// more reads, larger more memory per lane (two reads are staged).
    pub read_bytes: ByteCount,
    /// Most bytes of a lane handed to the driver and not yet written, default 4 MiB for a hub and
    /// 256 KiB for an agent. A driver spreads a lane over several streams, each of which a lost
    /// datagram can hold up: with less than a frame for each of them, one stalls all. They do not
    /// stand before alerts, which have a stream of their own; larger costs memory.
    pub unsent_bytes_limit: ByteCount,
    /// Most channels in each direction, default 8,192: 1,024 topics of 8 partitions. Each costs
    /// about 500 bytes.
    pub channels_limit: usize,
    /// Time between signs of life, default 1 s: also how stale a known lag can be.
    pub keepalive_interval: Duration,
    /// Silence after which the peer counts as lost, default 5 s. Shorter than a few intervals
    /// drops links that only stutter; longer delays the move to another path.
    pub silence_timeout: Duration,
}

impl LinkConfig {
    /// The defaults for a link from `local`, in its life `incarnation`, to `peer`.
    #[must_use]
    pub const fn new(local: Identity, incarnation: Incarnation, peer: Identity) -> Self {
        let (window, unsent_bytes_limit) = match local {
            Identity::Hub { .. } => (ByteCount::mebibytes(16), ByteCount::mebibytes(4)),
            Identity::Agent { .. } => (ByteCount::mebibytes(1), ByteCount::new(256 << 10)),
        };
        let hello = Hello { identity: local, incarnation, window };
        Self {
            hello,
            peer,
            read_bytes: ByteCount::new(256 << 10),
            unsent_bytes_limit,
            channels_limit: 8_192,
            keepalive_interval: Duration::from_secs(1),
            silence_timeout: Duration::from_secs(5),
        }
    }
}
