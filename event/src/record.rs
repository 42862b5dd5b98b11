//! Records and their headers.

use bytes::Bytes;

use crate::time::EventTime;
use crate::trace::{TRACEPARENT_HEADER, TraceParent};

/// A header of a record: a short name and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The header's name.
    pub name: String,
    /// Its value.
    pub value: Bytes,
}

/// One record: what a device said, with when and about what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Event time, from the declared column or, marked so, from arrival.
    pub time: EventTime,
    /// What the record is about: the device's id for agents' topics.
    pub key: Option<Bytes>,
    /// The payload; absent means a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// Headers, in the order written.
    pub headers: Vec<Header>,
}

impl Record {
    /// A record with key and value and no headers.
    #[must_use]
    pub fn new(time: EventTime, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { time, key: Some(key.into()), value: Some(value.into()), headers: Vec::new() }
    }

    /// The record with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|header| header.name == name).map(|header| &*header.value)
    }

    /// The trace the record belongs to, when its header is well formed.
    #[must_use]
    pub fn trace_parent(&self) -> Option<TraceParent> {
        std::str::from_utf8(self.header(TRACEPARENT_HEADER)?).ok()?.parse().ok()
    }

    /// Bytes of key, value and headers together, as limits count them.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_finds_its_trace_and_ignores_a_malformed_one() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let record = Record::new(EventTime::from_millis(1), "k", "v");

        let traced = record.clone().with_header(TRACEPARENT_HEADER, text);
        let garbled = record.with_header(TRACEPARENT_HEADER, "00-xyz");

        assert_eq!(traced.trace_parent().unwrap().to_string(), text);
        assert_eq!(garbled.trace_parent(), None);
    }
}
