//! Why a connection is over.

use headland_event::Lane;
use quinn::ConnectionError;

use super::close::CloseCode;
use super::handshake::{HandshakeFault, Judge};

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
    /// The two nodes cannot speak: certificates, protocol versions.
    #[error("{}: {text}", fault.said_by(*by))]
    Handshake {
        /// What is wrong.
        fault: HandshakeFault,
        /// Which side found it.
        by: Judge,
        /// What it said.
        text: String,
    },
    /// TLS or QUIC itself failed in any other way.
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
            Self::ClosedByPeer { code, .. } => code.is_retryable(),
            Self::Handshake { fault, .. } => fault.is_retryable(),
            Self::TimedOut | Self::Reset | Self::Transport { .. } => true,
            Self::ClosedHere => false,
        }
    }
}

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::ClosedByPeer {
                code: CloseCode::from_code(close.error_code.into_inner()),
                text: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            ConnectionError::LocallyClosed => Self::ClosedHere,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::ConnectionClosed(close) => {
                let text = String::from_utf8_lossy(&close.reason).into_owned();
                failed(close.error_code.into(), Judge::Peer, text, &close)
            }
            ConnectionError::TransportError(error) => {
                failed(error.code.into(), Judge::Here, error.reason.clone(), &error)
            }
            ConnectionError::VersionMismatch => {
                let (fault, text) = (HandshakeFault::NoCommonProtocol, error.to_string());
                Self::Handshake { fault, by: Judge::Here, text }
            }
            ConnectionError::CidsExhausted => Self::Transport { text: error.to_string() },
        }
    }
}

fn failed(code: u64, by: Judge, text: String, whole: &dyn std::fmt::Display) -> Lost {
    match HandshakeFault::from_code(code, &text) {
        Some(fault) => Lost::Handshake { fault, by, text },
        None => Lost::Transport { text: whole.to_string() },
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
