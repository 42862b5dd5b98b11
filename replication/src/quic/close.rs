//! What one side tells the other's transport when it closes a connection.

use std::fmt;

use quinn::VarInt;

use crate::frame::{Goodbye, RefusalCode};
use crate::link::CloseReason;

/// Codes from here on are those of refusals.
const REFUSED: u64 = 0x100;

/// Why a connection is closed, for the transport of the other side.
///
/// The link says the same in its last frame, which may be lost with the connection; the code
/// arrives with the close itself. Both are in `docs/specs/wire.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CloseCode {
    /// Everything was said; the reason is in the last frame.
    #[default]
    Done,
    /// The peer broke the layout of streams.
    Protocol,
    /// The certificate names nobody who may be here.
    Identity,
    /// The node is stopping.
    ShuttingDown,
    /// Another connection of the same two nodes is kept.
    Superseded,
    /// The configuration that allowed the link has changed.
    Reconfigured,
    /// Nothing was heard for too long.
    Silent,
    /// The certificate was revoked, or its authority is believed no more.
    Revoked,
    /// The link was refused.
    Refused(RefusalCode),
    /// A code this build does not know.
    Unknown(u64),
}

impl CloseCode {
    /// The application error code of QUIC's `CONNECTION_CLOSE`.
    #[must_use]
    pub fn code(self) -> u64 {
        match self {
            Self::Done => 0,
            Self::Protocol => 1,
            Self::Identity => 2,
            Self::ShuttingDown => 3,
            Self::Superseded => 4,
            Self::Reconfigured => 5,
            Self::Silent => 6,
            Self::Revoked => 7,
            Self::Refused(code) => REFUSED + u64::from(code.code()),
            Self::Unknown(code) => code,
        }
    }

    /// What a code means.
    #[must_use]
    pub fn from_code(code: u64) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Protocol,
            2 => Self::Identity,
            3 => Self::ShuttingDown,
            4 => Self::Superseded,
            5 => Self::Reconfigured,
            6 => Self::Silent,
            7 => Self::Revoked,
            other => {
                let refusal = other.checked_sub(REFUSED).and_then(|code| u8::try_from(code).ok());
                let refusal = refusal.and_then(RefusalCode::from_code);
                refusal.map_or(Self::Unknown(other), Self::Refused)
            }
        }
    }

    /// Whether a new connection can succeed without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Done
            | Self::Protocol
            | Self::ShuttingDown
            | Self::Reconfigured
            | Self::Silent
            | Self::Unknown(_) => true,
            Self::Identity | Self::Superseded | Self::Revoked => false,
            Self::Refused(code) => code.is_retryable(),
        }
    }

    pub(super) fn varint(self) -> VarInt {
        VarInt::from_u64(self.code()).unwrap_or(VarInt::MAX)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Protocol => f.write_str("protocol broken"),
            Self::Identity => f.write_str("identity not accepted"),
            Self::ShuttingDown => f.write_str("shutting down"),
            Self::Superseded => f.write_str("superseded"),
            Self::Reconfigured => f.write_str("reconfigured"),
            Self::Silent => f.write_str("silent"),
            Self::Revoked => f.write_str("certificate revoked"),
            Self::Refused(code) => write!(f, "refused, {code}"),
            Self::Unknown(code) => write!(f, "code {code}"),
        }
    }
}

/// What the other side is told when a connection is closed in good order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Farewell {
    /// Why.
    pub code: CloseCode,
    /// The same for a reader of logs; may be cut to fit a packet.
    pub text: String,
}

impl From<&CloseReason> for Farewell {
    fn from(reason: &CloseReason) -> Self {
        let (code, text) = match reason {
            CloseReason::Here(goodbye) => (goodbye_code(*goodbye), goodbye.to_string()),
            CloseReason::RefusedHere(refusal) => {
                (CloseCode::Refused(refusal.code()), refusal.text().to_owned())
            }
            CloseReason::Silent { .. } => (CloseCode::Silent, reason.to_string()),
            // The peer was the one who said so.
            CloseReason::Peer(_) | CloseReason::RefusedByPeer(_) => <_>::default(),
        };
        Self { code, text }
    }
}

const fn goodbye_code(goodbye: Goodbye) -> CloseCode {
    match goodbye {
        Goodbye::ShuttingDown => CloseCode::ShuttingDown,
        Goodbye::Superseded => CloseCode::Superseded,
        Goodbye::Reconfigured => CloseCode::Reconfigured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Refusal;

    #[test]
    fn every_code_survives_its_number() {
        let plain = [
            CloseCode::Done,
            CloseCode::Protocol,
            CloseCode::Identity,
            CloseCode::ShuttingDown,
            CloseCode::Superseded,
            CloseCode::Reconfigured,
            CloseCode::Silent,
            CloseCode::Revoked,
            CloseCode::Unknown(8),
            CloseCode::Unknown(REFUSED),
            CloseCode::Unknown(REFUSED + 13),
            CloseCode::Unknown(u64::MAX),
        ];
        for code in plain.into_iter().chain(RefusalCode::ALL.map(CloseCode::Refused)) {
            assert_eq!(CloseCode::from_code(code.code()), code);
        }
        assert_eq!(CloseCode::Refused(RefusalCode::NotAuthorised).code(), 0x101);
    }

    #[test]
    fn a_farewell_says_what_the_link_said() {
        let refusal = Refusal::new(RefusalCode::NotAuthorised, "add [[agent]]");
        let refused = Farewell::from(&CloseReason::RefusedHere(refusal.clone()));
        let superseded = Farewell::from(&CloseReason::Here(Goodbye::Superseded));

        assert_eq!(refused.code, CloseCode::Refused(RefusalCode::NotAuthorised));
        assert_eq!(refused.text, "add [[agent]]");
        assert_eq!(superseded.code, CloseCode::Superseded);
        assert_eq!(Farewell::from(&CloseReason::RefusedByPeer(refusal)), Farewell::default());
    }

    #[test]
    fn a_refusal_is_retried_when_its_code_says_so_and_a_superseded_one_never() {
        assert!(!CloseCode::Refused(RefusalCode::NotAuthorised).is_retryable());
        assert!(CloseCode::Refused(RefusalCode::BadFrame).is_retryable());
        assert!(!CloseCode::Superseded.is_retryable());
        assert!(CloseCode::ShuttingDown.is_retryable());
    }
}
