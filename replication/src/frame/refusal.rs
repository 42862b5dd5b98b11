//! What is refused, and why.

use std::fmt;

use headland_event::ChannelId;
use headland_event::codec::{CodecError, Reader, Writer};

use super::unknown_code;

/// Most bytes of a refusal's text; a longer one is cut.
pub const REFUSAL_TEXT_LIMIT: usize = 512;

/// Why something is refused, so that the other side can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalCode {
    /// The peer may not publish this.
    NotAuthorised,
    /// The topic is not declared here; the text names the line to add.
    UnknownTopic,
    /// The hello contradicts the certificate.
    IdentityMismatch,
    /// More channels than one connection may have.
    TooManyChannels,
    /// A frame that cannot be read, or that the protocol does not allow here.
    BadFrame,
    /// A protocol version this node does not speak.
    UnsupportedVersion,
    /// More data than the receiver's window allows.
    WindowExceeded,
    /// The topic would return to a region it has been in, or has passed too many.
    Loop,
    /// The sender cannot go on from the receiver's position: trimmed, or beyond its log.
    PositionUnavailable,
    /// An entry that does not fit one frame.
    EntryTooLarge,
    /// The mirrored topic's name would not be a topic's name.
    UnfitName,
    /// The node is stopping.
    ShuttingDown,
}

impl RefusalCode {
    /// Every code, in the order of their bytes.
    pub const ALL: [Self; 12] = [
        Self::NotAuthorised,
        Self::UnknownTopic,
        Self::IdentityMismatch,
        Self::TooManyChannels,
        Self::BadFrame,
        Self::UnsupportedVersion,
        Self::WindowExceeded,
        Self::Loop,
        Self::PositionUnavailable,
        Self::EntryTooLarge,
        Self::UnfitName,
        Self::ShuttingDown,
    ];

    /// The code's byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::NotAuthorised => 1,
            Self::UnknownTopic => 2,
            Self::IdentityMismatch => 3,
            Self::TooManyChannels => 4,
            Self::BadFrame => 5,
            Self::UnsupportedVersion => 6,
            Self::WindowExceeded => 7,
            Self::Loop => 8,
            Self::PositionUnavailable => 9,
            Self::EntryTooLarge => 10,
            Self::UnfitName => 11,
            Self::ShuttingDown => 12,
        }
    }

    /// The code of a byte on the wire.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.code() == code)
    }

    /// Whether the same attempt can succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::ShuttingDown | Self::BadFrame | Self::WindowExceeded => true,
            Self::NotAuthorised
            | Self::UnknownTopic
            | Self::IdentityMismatch
            | Self::TooManyChannels
            | Self::UnsupportedVersion
            | Self::Loop
            | Self::PositionUnavailable
            | Self::EntryTooLarge
            | Self::UnfitName => false,
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAuthorised => "not authorised",
            Self::UnknownTopic => "unknown topic",
            Self::IdentityMismatch => "identity mismatch",
            Self::TooManyChannels => "too many channels",
            Self::BadFrame => "bad frame",
            Self::UnsupportedVersion => "unsupported version",
            Self::WindowExceeded => "window exceeded",
            Self::Loop => "loop",
            Self::PositionUnavailable => "position unavailable",
            Self::EntryTooLarge => "entry too large",
            Self::UnfitName => "unfit name",
            Self::ShuttingDown => "shutting down",
        })
    }
}

/// A reason with the facts for a reader of logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    code: RefusalCode,
    text: String,
}

impl Refusal {
    /// Keeps a reason; text above [`REFUSAL_TEXT_LIMIT`] is cut at a character.
    #[must_use]
    pub fn new(code: RefusalCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(REFUSAL_TEXT_LIMIT));
        Self { code, text }
    }

    /// Why.
    #[must_use]
    pub const fn code(&self) -> RefusalCode {
        self.code
    }

    /// The facts, at most [`REFUSAL_TEXT_LIMIT`] bytes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

/// What a refusal is about. Each side numbers the channels it announces, hence two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole link, which the speaker closes.
    Link,
    /// A channel announced by the one who reads this frame.
    Yours(ChannelId),
    /// A channel announced by the one who wrote this frame, who can serve it no longer.
    Mine(ChannelId),
}

/// Something is refused for the rest of this connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    /// What.
    pub scope: Scope,
    /// Why.
    pub refusal: Refusal,
}

impl Refuse {
    pub(super) fn write(&self, writer: &mut Writer) {
        let Self { scope, refusal: Refusal { code, text } } = self;
        match scope {
            Scope::Link => writer.u8(0),
            Scope::Yours(channel) => {
                writer.u8(1);
                writer.u32(channel.get());
            }
            Scope::Mine(channel) => {
                writer.u8(2);
                writer.u32(channel.get());
            }
        }
        writer.u8(code.code());
        writer.bytes(text.as_bytes());
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let at = reader.position();
        let scope = match reader.u8("scope")? {
            0 => Scope::Link,
            1 => Scope::Yours(ChannelId::new(reader.u32("channel")?)),
            2 => Scope::Mine(ChannelId::new(reader.u32("channel")?)),
            unknown => return Err(unknown_code("scope", at, unknown, "0 to 2")),
        };
        let at = reader.position();
        let raw = reader.u8("refusal code")?;
        let code = RefusalCode::from_code(raw)
            .ok_or_else(|| unknown_code("refusal code", at, raw, "1 to 12"))?;
        let text = reader.text("refusal text", REFUSAL_TEXT_LIMIT)?;
        Ok(Self { scope, refusal: Refusal { code, text } })
    }
}
