//! From a line of a topic to a row of its table.

/// What every format shares: decoder, errors, event time.
mod decoder;
/// One JSON object per line.
mod json;
/// The quick way through plain ones.
mod json_fast;
/// Comma-separated values by RFC 4180.
mod csv;

pub(crate) use decoder::base64;
pub use decoder::{DecodeError, Decoder, HeaderError};
