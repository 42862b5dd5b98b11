//! Why a connection is over.

use std::fmt;

use headland_event::Lane;
use quinn::{ConnectionError, VarInt};

/// What one side tells the other's transport when it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// Everything was said; the reason is in the last frame.
    Done,
    /// The peer broke the layout of streams.
    Protocol,
    /// The certificate names nobody who may be here.
    Identity,
    /// A code this build does not know.
    Unknown(u64),
}

impl CloseCode {
    pub(super) fn varint(self) -> VarInt {
        match self {
            Self::Done => VarInt::from_u32(0),
            Self::Protocol => VarInt::from_u32(1),
            Self::Identity => VarInt::from_u32(2),
            Self::Unknown(code) => VarInt::from_u64(code).unwrap_or(VarInt::MAX),
        }
    }

    const fn from_varint(code: VarInt) -> Self {
        match code.into_inner() {
            0 => Self::Done,
            1 => Self::Protocol,
            2 => Self::Identity,
            unknown => Self::Unknown(unknown),
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Protocol => f.write_str("protocol broken"),
            Self::Identity => f.write_str("identity not accepted"),
            Self::Unknown(code) => write!(f, "code {code}"),
        }
    }
}

/// Why the transport has no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The peer's node closed it.
    #[error("closed by the peer ({code}): {text}")]
    ClosedByPeer {
        /// What it said.
        code: CloseCode,
        /// In its own words.
        text: String,
    },
    /// This node closed it.
    #[error("closed here")]
    ClosedHere,
    /// Nothing was heard for too long.
    #[error("nothing heard from the peer's transport")]
    TimedOut,
    /// The peer does not know the connection any more: it has restarted.
    #[error("the peer has lost the connection")]
    Reset,
    /// TLS or QUIC itself failed: certificates, versions, addresses.
    #[error("the transport failed: {text}")]
    Transport {
        /// What it said.
        text: String,
    },
}

impl Lost {
    /// Whether a new connection can succeed without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::ClosedByPeer { code, .. } => match code {
                CloseCode::Done | CloseCode::Protocol | CloseCode::Unknown(_) => true,
                CloseCode::Identity => false,
            },
            // A certificate that fails today may be renewed tomorrow, on either side.
            Self::TimedOut | Self::Reset | Self::Transport { .. } => true,
            Self::ClosedHere => false,
        }
    }
}

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::ClosedByPeer {
                code: CloseCode::from_varint(close.error_code),
                text: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            ConnectionError::LocallyClosed => Self::ClosedHere,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::ConnectionClosed(_)
            | ConnectionError::TransportError(_)
            | ConnectionError::VersionMismatch
            | ConnectionError::CidsExhausted => Self::Transport { text: error.to_string() },
        }
    }
}

/// Why a connection's lanes stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The connection is gone.
    #[error("the connection is lost")]
    Lost(#[from] Lost),
    /// The peer announced a frame above the limit; nothing was allocated for it.
    #[error("the peer sends a frame of {found} bytes on lane {lane}, the limit is {limit}")]
    FrameTooLarge {
        /// The lane.
        lane: Lane,
        /// Bytes announced.
        found: u32,
        /// Most that fit.
        limit: u32,
    },
    /// The peer opened a stream for a lane that does not exist.
    #[error("the peer opened a stream for lane {code}")]
    UnknownLane {
        /// The lane's byte.
        code: u8,
    },
    /// The peer opened a second stream for a lane: their order would be anybody's guess.
    #[error("the peer opened a second stream for lane {lane}")]
    LaneTwice {
        /// The lane.
        lane: Lane,
    },
    /// A stream ended inside a frame, or was reset.
    #[error("the peer's stream broke off: {text}")]
    Broken {
        /// What the transport said.
        text: String,
    },
}

impl DriverError {
    /// Whether a new connection can succeed without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Lost(lost) => lost.is_retryable(),
            Self::FrameTooLarge { .. }
            | Self::UnknownLane { .. }
            | Self::LaneTwice { .. }
            | Self::Broken { .. } => true,
        }
    }
}
