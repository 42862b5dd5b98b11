//! From a line of a topic to a row of its table.

/// What every format shares: decoder, errors, event time.
mod decoder;
/// One JSON object per line.
mod json;
/// Comma-separated values by RFC 4180.
mod csv;

pub use decoder::{DecodeError, Decoder, HeaderError};
