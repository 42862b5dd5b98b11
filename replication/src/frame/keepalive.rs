//! Signs of life and the end of it.

use std::fmt;
use std::time::Duration;

use headland_event::Monotonic;
use headland_event::codec::{CodecError, Reader, Writer};

use super::{Presence, read_presence, unknown_code};

/// The peer's last keepalive given back, with how long it lay here.
///
/// The peer takes `held` off the time that passed, so that the answer may wait for the next
/// keepalive and two idle nodes do not answer each other forever.
///
/// # Source
/// RFC 3550, §6.4.1, "last SR timestamp" and "delay since last SR".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// When the peer sent it, on the peer's clock.
    pub sent_at: Monotonic,
    /// How long it has waited here.
    pub held: Duration,
}

/// A sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// When it was sent, on the sender's monotonic clock; meaningless to anybody else.
    pub sent_at: Monotonic,
    /// The peer's last one, once there was one.
    pub echo: Option<Echo>,
}

impl Keepalive {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { sent_at, echo } = self;
        writer.u64(sent_at.nanos());
        Presence::of(echo.as_ref()).write(writer);
        if let Some(Echo { sent_at, held }) = echo {
            writer.u64(sent_at.nanos());
            writer.u64(u64::try_from(held.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let sent_at = Monotonic::from_nanos(reader.u64("sent at")?);
        let echo = match read_presence(reader, "echoes")? {
            Presence::Absent => None,
            Presence::Present => Some(Echo {
                sent_at: Monotonic::from_nanos(reader.u64("echoed sent at")?),
                held: Duration::from_nanos(reader.u64("held")?),
            }),
        };
        Ok(Self { sent_at, echo })
    }
}

/// Why a node closes a link in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// The node is stopping.
    ShuttingDown,
    /// The same two nodes have a newer connection.
    Superseded,
    /// The configuration that allowed the link has changed.
    Reconfigured,
}

impl Goodbye {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::ShuttingDown => 1,
            Self::Superseded => 2,
            Self::Reconfigured => 3,
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let at = reader.position();
        match reader.u8("goodbye reason")? {
            1 => Ok(Self::ShuttingDown),
            2 => Ok(Self::Superseded),
            3 => Ok(Self::Reconfigured),
            unknown => Err(unknown_code("goodbye reason", at, unknown, "1 to 3")),
        }
    }
}

impl fmt::Display for Goodbye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShuttingDown => "shutting down",
            Self::Superseded => "superseded by a newer connection",
            Self::Reconfigured => "reconfigured",
        })
    }
}
