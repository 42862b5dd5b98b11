//! What keeps two nodes from speaking at all.

use std::fmt;

/// Alerts of TLS travel as this plus their number (RFC 9001, §4.8).
const ALERT: u64 = 0x100;

/// Which side found a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// This node, about the peer.
    Here,
    /// The peer, about this node.
    Peer,
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFault {
    /// The certificate is not signed by an authority that the other side trusts.
    UnknownAuthority,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet, or a clock is wrong.
    NotYetValid,
    /// There is no certificate.
    Missing,
    /// The certificate's authority has revoked it.
    Revoked,
    /// The certificate is of another node, or for another use.
    Unfit,
    /// There is no protocol that both speak.
    NoCommonProtocol,
}

impl HandshakeFault {
    /// What an error code of QUIC's `CONNECTION_CLOSE` means, when it is about a handshake.
    ///
    /// # Source
    /// RFC 8446, §6, "Alert Protocol"; which alert a certificate gets is rustls's choice.
    pub(super) fn from_code(code: u64, text: &str) -> Option<Self> {
        Some(match code.checked_sub(ALERT)? {
            // A signature that does not verify is that of an authority with the right name and
            // another key: 51, decrypt_error.
            48 | 51 => Self::UnknownAuthority,
            // TLS has one alert for both; rustls tells them apart in its text, on both sides.
            45 if text.contains("not valid yet") => Self::NotYetValid,
            45 => Self::Expired,
            44 => Self::Revoked,
            116 => Self::Missing,
            42 | 43 | 46 | 49 => Self::Unfit,
            70 | 120 => Self::NoCommonProtocol,
            _ => return None,
        })
    }

    /// Whether a new handshake can succeed without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::NotYetValid => true,
            Self::UnknownAuthority
            | Self::Expired
            | Self::Missing
            | Self::Revoked
            | Self::Unfit
            | Self::NoCommonProtocol => false,
        }
    }

    pub(super) const fn said_by(self, by: Judge) -> Said {
        Said { fault: self, by }
    }
}

/// A fault as a sentence.
pub(super) struct Said {
    fault: HandshakeFault,
    by: Judge,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            HandshakeFault::UnknownAuthority => {
                "is not signed by an authority in ca_file; both nodes need the same fleet's"
            }
            HandshakeFault::Expired => "has expired; issue a new one",
            HandshakeFault::NotYetValid => "is not valid yet; check both nodes' clocks",
            HandshakeFault::Missing => "is missing",
            HandshakeFault::Revoked => "is revoked; issue a new one",
            HandshakeFault::Unfit => "is of another node or not for this use",
            HandshakeFault::NoCommonProtocol => {
                return f
                    .write_str("the peer speaks no protocol that this build does (headland/2)");
            }
        };
        match self.by {
            Judge::Here => write!(f, "the peer's certificate {what}"),
            Judge::Peer => write!(f, "the peer says that this node's certificate {what}"),
        }
    }
}
