//! Schemas of what topics hold, in Avro, named by their content.
//!
//! A schema's id is the CRC-64-AVRO fingerprint of its parsing canonical form, so that whoever has
//! the same file names it alike, with no registry to ask. A record that says what it was written
//! with carries the id in the header `SCHEMA_HEADER`; numeric ids of registries stay at the edge
//! where such a registry is spoken to. 64 bits tell the few schemas of one topic apart; they prove
//! nothing against somebody who looks for a second text with the same id.
//!
//! Values here are JSON, so a schema speaks of JSON: `SchemaDefinition::check` says how.
//!
//! # Source
//! Apache Avro 1.12, "Parsing Canonical Form for Schemas" and "Schema Fingerprints".

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::record::Record;

/// One schema, parsed.
#[cfg(feature = "avro")]
mod definition;
/// Whether a JSON value is what a schema describes.
#[cfg(feature = "avro")]
mod conformance;
/// The versions of one topic's schema, each fit to follow those before it.
#[cfg(feature = "avro")]
mod versions;

#[cfg(feature = "avro")]
pub use conformance::Misfit;
#[cfg(feature = "avro")]
pub use definition::{SchemaDefinition, SchemaError};
#[cfg(feature = "avro")]
pub use versions::{Compatibility, SchemaSet, SchemaSetError, SchemaVersion};

/// Header with the id of the schema that a record was written with, 16 hexadecimal digits.
pub const SCHEMA_HEADER: &str = "hl-schema";

/// CRC-64-AVRO of the empty text, and the polynomial it is made with.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

/// Names a schema by its content: CRC-64-AVRO of its parsing canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct SchemaId(u64);

/// A text that is not 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema id {found:?} is not 16 hexadecimal digits")]
pub struct SchemaIdError {
    /// The text as found, its first 64 characters.
    pub found: String,
}

impl SchemaId {
    /// The id of a parsing canonical form. O(bytes).
    #[must_use]
    pub fn of_canonical(text: &str) -> Self {
        let step = |crc: u64, byte: u8| {
            let mut row = (crc ^ u64::from(byte)) & 0xff;
            for _ in 0..8 {
                row = (row >> 1) ^ (EMPTY & (row & 1).wrapping_neg());
            }
            (crc >> 8) ^ row
        };
        Self(text.bytes().fold(EMPTY, step))
    }

    /// The schema that a record says it was written with; `None` when it does not say.
    ///
    /// # Errors
    /// [`SchemaIdError`] when the header is no id.
    pub fn of_record(record: &Record) -> Result<Option<Self>, SchemaIdError> {
        let named = |value: &[u8]| String::from_utf8_lossy(value).parse();
        record.header(SCHEMA_HEADER).map(named).transpose()
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TryFrom<String> for SchemaId {
    type Error = SchemaIdError;

    fn try_from(text: String) -> Result<Self, SchemaIdError> {
        text.parse()
    }
}

impl FromStr for SchemaId {
    type Err = SchemaIdError;

    fn from_str(text: &str) -> Result<Self, SchemaIdError> {
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| SchemaIdError { found: text.chars().take(64).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::EventTime;

    #[test]
    fn ids_are_those_that_avro_publishes() {
        // Of Avro's own test data, `share/test/data/schema-tests.txt`.
        let published =
            [("\"null\"", 7_195_948_357_588_979_594), ("\"int\"", 8_247_732_601_305_521_295)];

        for (canonical, id) in published {
            assert_eq!(SchemaId::of_canonical(canonical), SchemaId(id));
        }
    }

    #[test]
    fn an_id_reads_back_from_its_text_and_nothing_else_does() {
        let id = SchemaId::of_canonical("\"int\"");

        assert_eq!(id.to_string(), "7275d51a3f395c8f");
        assert_eq!("7275d51a3f395c8f".parse(), Ok(id));
        for found in ["", "7275d51a3f395c8", "+275d51a3f395c8f", "7275d51a3f395c8fa"] {
            let error = SchemaIdError { found: found.to_owned() };
            assert_eq!(found.parse::<SchemaId>(), Err(error));
        }
    }

    #[test]
    fn a_record_names_its_schema_in_a_header_or_not_at_all() {
        let record = Record::new(EventTime::default(), "k", "v");
        let named = record.clone().with_header(SCHEMA_HEADER, "7275d51a3f395c8f");
        let garbled = record.clone().with_header(SCHEMA_HEADER, "v1");

        assert_eq!(SchemaId::of_record(&record), Ok(None));
        let id = SchemaId::of_canonical("\"int\"");
        assert_eq!(SchemaId::of_record(&named), Ok(Some(id)));
        assert_eq!(SchemaId::of_record(&garbled), Err(SchemaIdError { found: "v1".to_owned() }));
    }
}
