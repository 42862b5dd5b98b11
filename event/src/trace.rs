//! W3C trace context, level 1: the `traceparent` every record carries from its first writer on.

use std::fmt;
use std::str::FromStr;

/// Name of the record header that carries it.
pub const TRACEPARENT_HEADER: &str = "traceparent";

/// Which trace a record belongs to, and the span that wrote it.
///
/// # Source
/// W3C Trace Context, level 1, §3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    span_id: u64,
    is_sampled: Sampled,
}

/// Whether spans of a trace are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampled {
    /// Every node on the way exports its span.
    Yes,
    /// The header only names the trace.
    No,
}

/// Text that is not a `traceparent` of version 00.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "traceparent {found:?} is not of the form 00-<32 hex>-<16 hex>-<2 hex> with ids above zero"
)]
pub struct TraceParentError {
    /// The text as found.
    pub found: String,
}

impl TraceParent {
    /// Builds a trace context; ids of zero are invalid in W3C's format and become one.
    #[must_use]
    pub const fn new(trace_id: u128, span_id: u64, is_sampled: Sampled) -> Self {
        let trace_id = if trace_id == 0 { 1 } else { trace_id };
        let span_id = if span_id == 0 { 1 } else { span_id };
        Self { trace_id, span_id, is_sampled }
    }

    /// The trace's id, never zero.
    #[must_use]
    pub const fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The id of the span that wrote the record, never zero.
    #[must_use]
    pub const fn span_id(self) -> u64 {
        self.span_id
    }

    /// Whether spans of this trace are exported.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        matches!(self.is_sampled, Sampled::Yes)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.is_sampled());
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace_id, self.span_id)
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        parse(text).ok_or_else(|| TraceParentError { found: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<TraceParent> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_lower_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if parts.next().is_some()
        || version != "00"
        || (trace.len(), span.len(), flags.len()) != (32, 16, 2)
        || ![trace, span, flags].into_iter().all(is_lower_hex)
    {
        return None;
    }
    let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    Some(TraceParent {
        trace_id,
        span_id,
        is_sampled: if sampled { Sampled::Yes } else { Sampled::No },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const W3C_EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_standards_example_survives_a_round_trip() {
        let parsed: TraceParent = W3C_EXAMPLE.parse().unwrap();

        assert!(parsed.is_sampled());
        assert_eq!(parsed.to_string(), W3C_EXAMPLE);
    }

    #[test]
    fn zero_ids_capitals_and_extra_parts_are_refused() {
        for text in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "",
        ] {
            assert_eq!(text.parse::<TraceParent>().unwrap_err().found, text);
        }
    }
}
