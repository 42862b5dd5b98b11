//! What a link asks of its caller, and what it can be asked.

use std::time::Duration;

use bytes::Bytes;
use headland_event::{ByteCount, ChannelId, Entry, Lane, Offset, TopicPartition};

use crate::frame::{Announce, ChannelPromise, Goodbye, Hello, RefillAsk, RefillPart, Refusal};
use crate::lease::LeaseMessage;
use crate::peering::Ended;

/// Work the caller does on behalf of a [`super::Link`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an output that is dropped is work that is never done"]
pub enum LinkOutput {
    /// Write a frame to the lane's stream; report it with [`super::Link::on_written`].
    Send {
        /// The lane.
        lane: Lane,
        /// The encoded frame.
        frame: Bytes,
    },
    /// The peer has said who it is, and its certificate agrees.
    PeerReady(Hello),
    /// The peer offers a partition: answer with [`super::Link::subscribe`] or
    /// [`super::Link::refuse`]. Its way was checked; whether it is allowed is the caller's word.
    Announced(Announce),
    /// Read entries of a channel we offered: answer with [`super::Link::on_entries`], once.
    Read {
        /// Our channel.
        channel: ChannelId,
        /// The offset to start at.
        from: Offset,
        /// Where to stop; the first entry is wanted even when it is larger.
        limit: ByteCount,
    },
    /// The next entry of a subscribed channel, in order and once; its base is the peer's offset.
    /// Store it and report with [`super::Link::on_stored`].
    Deliver {
        /// The peer's channel.
        channel: ChannelId,
        /// The entry.
        entry: Entry,
    },
    /// The peer has everything of our channel before `next` on disk.
    Acked {
        /// Our channel.
        channel: ChannelId,
        /// The offset after the last durable record.
        next: Offset,
    },
    /// The peer promises something about event time. It takes effect once every channel in it is
    /// stored up to its end; channels refused here were taken out.
    Promised(ChannelPromise),
    /// A channel we offered will not flow: the peer refused it, or it asked for a position that
    /// our log does not have.
    OfferRefused {
        /// Our channel.
        channel: ChannelId,
        /// Why.
        refusal: Refusal,
        /// Where the peer said that it stands, when it was this side that refused that.
        asked: Option<Offset>,
    },
    /// A channel of the peer ended: it cannot be served from where we stand.
    Ended {
        /// The peer's channel.
        channel: ChannelId,
        /// Why.
        refusal: Refusal,
    },
    /// The peer hub has said something about who is in use.
    Leased(LeaseMessage),
    /// The peer hub asks for what its log lost: answer with [`super::Link::answer_refill`].
    RefillAsked(RefillAsk),
    /// A part of the answer to [`super::Link::ask_refill`].
    Refilled(RefillPart),
    /// Nothing more will come: write what was sent, then close the connection.
    Close(CloseReason),
}

/// Why a link is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This node closed it.
    #[error("closed here: {0}")]
    Here(Goodbye),
    /// The peer closed it.
    #[error("closed by the peer: {0}")]
    Peer(Goodbye),
    /// This node refused the peer.
    #[error("the peer was refused: {0}")]
    RefusedHere(Refusal),
    /// The peer refused this node.
    #[error("refused by the peer: {0}")]
    RefusedByPeer(Refusal),
    /// Nothing was heard for too long.
    #[error("nothing heard for {silence:?}, the limit is {limit:?}")]
    Silent {
        /// How long.
        silence: Duration,
        /// How long is allowed.
        limit: Duration,
    },
}

impl CloseReason {
    /// What it means for dialling again.
    #[must_use]
    pub const fn ended(&self) -> Ended {
        match self {
            Self::Peer(Goodbye::Superseded) => Ended::Superseded,
            Self::Here(_)
            | Self::Peer(Goodbye::ShuttingDown | Goodbye::Reconfigured)
            | Self::RefusedHere(_)
            | Self::RefusedByPeer(_)
            | Self::Silent { .. } => Ended::Lost,
        }
    }

    /// Whether a new connection can succeed without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Here(Goodbye::ShuttingDown | Goodbye::Superseded)
            | Self::Peer(Goodbye::Superseded) => false,
            Self::Here(Goodbye::Reconfigured)
            | Self::Peer(Goodbye::ShuttingDown | Goodbye::Reconfigured)
            | Self::Silent { .. } => true,
            Self::RefusedHere(refusal) | Self::RefusedByPeer(refusal) => {
                refusal.code().is_retryable()
            }
        }
    }
}

/// An offer that cannot be announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// The link has as many channels as it may have.
    #[error("cannot announce {source_partition}: the link has {limit} channels already")]
    TooManyChannels {
        /// What was offered.
        source_partition: TopicPartition,
        /// Most channels of a link.
        limit: usize,
    },
    /// The topic has passed too many regions.
    #[error(
        "cannot announce {source_partition}: {found} regions on its path, the limit is {limit}"
    )]
    PathTooLong {
        /// What was offered.
        source_partition: TopicPartition,
        /// Regions on its path.
        found: usize,
        /// Most that fit.
        limit: usize,
    },
    /// The control lane carries no topics.
    #[error("cannot announce {source_partition} on the control lane")]
    ControlLane {
        /// What was offered.
        source_partition: TopicPartition,
    },
    /// The link is over.
    #[error("cannot announce {source_partition}: the link is closed")]
    Closed {
        /// What was offered.
        source_partition: TopicPartition,
    },
}

impl AnnounceError {
    /// Whether the same offer can be announced on this link later: never.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::TooManyChannels { .. }
            | Self::PathTooLong { .. }
            | Self::ControlLane { .. }
            | Self::Closed { .. } => false,
        }
    }
}

/// A promise that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromiseError {
    /// More ends than a frame may hold.
    #[error("cannot promise over {found} channels, the limit is {limit}")]
    TooManyEnds {
        /// Ends given.
        found: usize,
        /// Most that fit.
        limit: usize,
    },
    /// A channel that was never announced.
    #[error("cannot promise over channel {channel}: it was never announced")]
    UnknownChannel {
        /// The channel.
        channel: ChannelId,
    },
}

/// How far a channel we offered has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferStatus {
    /// Our channel.
    pub channel: ChannelId,
    /// What it carries.
    pub source: TopicPartition,
    /// Everything before it is durable at the peer; `None` until the peer has answered.
    pub acked: Option<Offset>,
    /// The offset after the last record sent.
    pub sent: Offset,
    /// The offset after the last record of our log.
    pub head: Offset,
    /// Records sent and not acknowledged.
    pub in_flight_records: u64,
    /// Bytes of frames sent and not acknowledged.
    pub in_flight_bytes: ByteCount,
}

impl OfferStatus {
    /// Records the peer does not have on disk yet.
    #[must_use]
    pub fn lag_records(&self) -> u64 {
        self.head.since(self.acked.unwrap_or_default())
    }
}

/// What copies of alerts did on a link so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyCounts {
    /// Datagrams sent.
    pub sent: u64,
    /// Alerts that a datagram brought before their stream.
    pub taken: u64,
    /// Alerts in datagrams that had come already, or could not be taken from one.
    pub passed: u64,
}

/// How far a channel we subscribed to has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionStatus {
    /// The peer's channel.
    pub channel: ChannelId,
    /// What it carries, under the peer's name.
    pub source: TopicPartition,
    /// Everything before it is durable here.
    pub stored: Offset,
    /// Everything before it was looked at: what of it is not stored is not kept.
    pub passed: Offset,
    /// The offset after the last entry delivered.
    pub delivered: Offset,
    /// The offset after the last record of the peer's log, as last heard.
    pub head: Offset,
}

impl SubscriptionStatus {
    /// Records the peer has and we have not looked at, as last heard.
    #[must_use]
    pub const fn lag_records(&self) -> u64 {
        self.head.since(self.passed)
    }
}
